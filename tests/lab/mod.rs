//! A real machine for a test: boots it, runs commands in it, guards services on it, reads its mail.
//!
//! ```ignore
//! let machine = Machine::boot("hung-service");
//! machine.smtp();
//! let web = machine.victim("web", 9001);
//! machine.install_deb();
//! machine.configure(&format!("{MAIL_YAML}{}", "checks: ..."));
//! machine.start_stealthcheck();
//! web.fault("hang-once");
//! let mail = machine.wait_for("the down mail", MINUTE, || machine.mailbox().into_iter().next());
//! ```
//!
//! The machine logic is in `tests/lab/machine` (bash), as packaging/quickstart needs it before anything
//! is compiled; this calls it. What is here waits for states with deadlines, and never for times.

// A helper for tests to come: not each of its functions has a caller at each commit.
#![allow(dead_code, unused_imports)]

mod mail;
mod service;

pub use mail::{MAIL_YAML, Mail, SMTP_PASSWORD, SMTP_USER};
pub use service::Victim;

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The oldest Debian that is supported, and the one that comes after it.
pub const OLDEST: &str = "bookworm";
pub const NEXT: &str = "trixie";

/// The deadline of most waits: generous, for a busy host must not fail a test.
pub const MINUTE: Duration = Duration::from_secs(60);

/// So many times its deadline a wait lasts before it fails: nothing but a failure takes longer for it.
const PATIENCE: u32 = 3;

/// No command in the guest takes longer, lest one that hangs hang the whole run.
const COMMAND_LIMIT: &str = "180";

/// How many machines run at once where `STEALTHCHECK_MACHINES` says nothing else (and `--test-threads`, for a test has
/// at most one): more would only wait for each other's CPU, and miss deadlines.
const MACHINES_AT_ONCE: usize = 6;

/// The names of the machines that run, for this process.
static RUNNING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static ENDED: Condvar = Condvar::new();

/// What a command in the guest came to.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status; 124 where it ran into the limit, -1 where a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the command exited with 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit status {}\n{}{}", self.code, self.stdout, self.stderr)
    }
}

/// A booted machine. It ends with this value; where the test panicked, its journal is printed first.
pub struct Machine {
    name: String,
    /// The last command and what came of it, to be told where a wait ends in vain.
    last: Mutex<String>,
}

impl Machine {
    /// Boots a fresh Debian of this name (letters, digits, dashes; best the test's own), waiting where enough
    /// machines run. Takes about a second; the very first time on a host, a minute. It is Debian 12, or what
    /// `STEALTHCHECK_SUITE` names (`trixie`): each test can be run on each.
    pub fn boot(name: &str) -> Self {
        let suite = std::env::var("STEALTHCHECK_SUITE");
        Self::boot_suite(name, suite.as_deref().unwrap_or(OLDEST))
    }

    /// The same with this Debian, whatever is said elsewhere.
    pub fn boot_suite(name: &str, suite: &str) -> Self {
        let places = std::env::var("STEALTHCHECK_MACHINES").ok().and_then(|number| number.parse().ok());
        let mut running = lock(&RUNNING);
        while running.len() >= places.unwrap_or(MACHINES_AT_ONCE) {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        assert!(running.insert(name.to_owned()), "two tests want a machine named {name}");
        drop(running);
        // From here on Drop gives the place back, also where the boot fails.
        let machine = Self { name: name.to_owned(), last: Mutex::default() };
        let owner = std::process::id().to_string();
        machine.control_ok("start", &["--suite", suite, "--owner", &owner]);
        machine
    }

    /// Runs a command in the guest, as root, with a clean environment and no input. Its output is read to
    /// the end, so what shall go on in the background belongs in a unit (`systemd-run`).
    pub fn run(&self, argv: &[&str]) -> Output {
        let limited = [&["timeout", "-k", "5", COMMAND_LIMIT], argv].concat();
        let output = self.control("exec", &limited, None);
        *lock(&self.last) = format!("{}: {output}", argv.join(" "));
        assert!(output.code != 124, "{} has not ended after {COMMAND_LIMIT} s", argv.join(" "));
        output
    }

    /// Runs a shell script in the guest.
    pub fn sh(&self, script: &str) -> Output {
        self.run(&["sh", "-c", script])
    }

    /// Runs a shell script that must succeed, and returns its standard output without the last newline.
    pub fn sh_ok(&self, script: &str) -> String {
        let output = self.sh(script);
        assert!(output.success(), "in machine {}: {script}\n{output}", self.name);
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs a shell script, on the host's file system, on the network outside the guest. There the guest is
    /// 192.0.2.1 and this end 192.0.2.2, and nothing else can be reached.
    pub fn outside(&self, script: &str) -> Output {
        let output = self.control("outside", &["sh", "-c", script], None);
        *lock(&self.last) = format!("outside, {script}: {output}");
        output
    }

    /// Runs a shell script that must succeed, with this typed into it. `set -eu`: the first command that fails ends it.
    pub fn sh_typing(&self, script: &str, input: &str) -> String {
        let argv = ["timeout", "-k", "5", COMMAND_LIMIT, "sh", "-euc", script];
        let output = self.control("exec", &argv, Some(input));
        assert!(output.success(), "in machine {}: {script}\n{output}", self.name);
        output.stdout
    }

    /// Starts a program on the network outside the guest. It is killed when the value is dropped, or its thread ends.
    pub fn start_outside(&self, argv: &[&str]) -> Outside {
        let child = Command::new(checkout().join("tests/lab/machine"))
            .args(["outside", &self.name, "setpriv", "--pdeathsig", "KILL"])
            .args(argv)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Outside(child.expect("tests/lab/machine"))
    }

    /// Copies a file of the host into the guest, with its mode. A destination that ends in `/` is a directory.
    pub fn push(&self, file: &Path, dest: &str) {
        let file = file.to_str().expect("the checkout's path is UTF-8");
        self.control_ok("push", &[file, dest]);
    }

    /// Writes a file in the guest: in place, so that one that is there keeps its owner and mode.
    pub fn write(&self, path: &str, text: &str) {
        let script = r#"mkdir -p "$(dirname "$1")" && cat >"$1""#;
        let output = self.control("exec", &["sh", "-c", script, "sh", path], Some(text));
        assert!(output.success(), "could not write {path} in machine {}: {output}", self.name);
    }

    /// Reads a file in the guest.
    pub fn read(&self, path: &str) -> String {
        let output = self.run(&["cat", path]);
        assert!(output.success(), "{output}");
        output.stdout
    }

    /// Reboots the guest in good order, and returns when it has booted. Its files stay.
    pub fn reboot(&self) {
        self.control_ok("reboot", &[]);
    }

    /// Reboots the guest, and returns when this unit of the next boot is active: for a boot that does not end.
    pub fn reboot_until(&self, unit: &str) {
        self.control_ok("reboot", &[unit]);
    }

    /// Cuts the guest's power and lets it boot again: nothing in it gets to say a last word.
    pub fn crash(&self) {
        self.control_ok("crash", &[]);
    }

    /// Stops all processes of the guest for so long, as those of a machine that is suspended.
    pub fn sleeps(&self, lasting: Duration) {
        self.control_ok("freeze", &[]);
        thread::sleep(lasting);
        self.control_ok("thaw", &[]);
    }

    /// Sends the guest's PID 1 a signal, as only the host can: `STOP` hangs it, `CONT` ends that.
    pub fn signal_init(&self, signal: &str) {
        self.control_ok("signal", &[signal]);
    }

    /// Installs the package with apt, as an administrator does: the one that `STEALTHCHECK_DEB` names, or
    /// else the newest in target/debian. Panics where apt fails, and returns what it said.
    pub fn install_deb(&self) -> Output {
        let deb = deb();
        self.push(&deb, "/root/stealthcheck.deb");
        let output = self.sh("DEBIAN_FRONTEND=noninteractive apt-get install -y /root/stealthcheck.deb 2>&1");
        assert!(output.success(), "{} does not install:\n{output}", deb.display());
        output
    }

    /// Writes /etc/stealthcheck/stealthcheck.yaml. Tells nobody: start or reload comes after.
    pub fn configure(&self, yaml: &str) {
        self.write("/etc/stealthcheck/stealthcheck.yaml", yaml);
    }

    /// Starts the daemon (again, where it runs): a unit of Type=notify, so it is READY when this returns.
    pub fn start_stealthcheck(&self) {
        self.sh_ok("systemctl restart stealthcheck.service");
    }

    /// What `stealthctl status --json` prints. Its exit status tells of checks that are down, so it is not
    /// looked at here; what is no JSON panics.
    pub fn status_json(&self) -> serde_json::Value {
        let output = self.run(&["stealthctl", "status", "--json"]);
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("stealthctl status --json is no JSON: {error}\n{output}"))
    }

    /// Whether the guest has powered itself off: nothing runs in it any more, and nobody made it end.
    pub fn powered_off(&self) -> bool {
        !self.control("exec", &["true"], None).success()
            && self.control("status", &[], None).stdout == "ended 0\n"
    }

    /// Calls `attempt` until it returns something, which is returned. At the deadline panics with what was
    /// awaited, and with the last command that ran in the guest, which is mostly the one in `attempt`.
    pub fn wait_for<T>(&self, what: &str, deadline: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
        let deadline = deadline * PATIENCE;
        let start = Instant::now();
        loop {
            if let Some(value) = attempt() {
                return value;
            }
            assert!(
                start.elapsed() < deadline,
                "waited {} s in machine {} for {what}; last seen: {}",
                deadline.as_secs(),
                self.name,
                lock(&self.last)
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The journal of the present boot and those before, as journalctl prints it with precise times.
    pub fn journal(&self) -> String {
        self.run(&["journalctl", "--no-pager", "-o", "short-precise", "-n", "400"]).stdout
    }

    /// The journal's entries that match (`["-u", "web.service"]`, `["MESSAGE_ID=..."]`), oldest first, with
    /// all their fields. `__REALTIME_TIMESTAMP` and `__MONOTONIC_TIMESTAMP` are microseconds, as strings.
    pub fn journal_entries(&self, matches: &[&str]) -> Vec<serde_json::Value> {
        let argv = [&["journalctl", "--no-pager", "--all", "-o", "json"], matches].concat();
        let output = self.run(&argv);
        output.stdout.lines().map(|line| serde_json::from_str(line).expect("journalctl -o json")).collect()
    }

    /// Whatever the host still has of a machine of this name, a line each; empty after its end.
    pub fn leftovers(name: &str) -> String {
        let output = control(&["leftovers", name], None);
        assert!(output.success(), "{output}");
        output.stdout
    }

    /// The machine's name, which is its host name too.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn control(&self, command: &str, rest: &[&str], input: Option<&str>) -> Output {
        control(&[&[command, self.name.as_str()], rest].concat(), input)
    }

    fn control_ok(&self, command: &str, rest: &[&str]) {
        let output = self.control(command, rest, None);
        assert!(output.success(), "machine {command} {} {}: {output}", self.name, rest.join(" "));
        // A boot that is not all well says so there.
        eprint!("{}", output.stderr);
    }
}

/// A program on the network outside a guest.
pub struct Outside(std::process::Child);

impl Outside {
    /// Sends it a signal: `STOP` hangs it, `CONT` ends that.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.0.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{signal} {}", self.0.id());
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            // Not through run(): a panic in here would abort the whole run.
            let status = self.control("exec", &["timeout", "20", "stealthctl", "status"], None);
            eprintln!("---- machine {}: stealthctl status: {status}", self.name);
            let journal = ["timeout", "20", "journalctl", "--no-pager", "-o", "short-precise", "-n", "400"];
            eprintln!("---- machine {}: its journal: {}", self.name, self.control("exec", &journal, None));
        }
        let stopped = self.control("stop", &[], None);
        if !stopped.success() {
            eprintln!("machine {} did not stop: {stopped}", self.name);
        }
        lock(&RUNNING).remove(&self.name);
        ENDED.notify_all();
    }
}

/// The checkout's root.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The package under test.
pub fn deb() -> PathBuf {
    if let Some(named) = std::env::var_os("STEALTHCHECK_DEB") {
        return named.into();
    }
    let directory = checkout().join("target/debian");
    let newest = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok());
    newest.unwrap_or_else(|| panic!("no .deb in {}: build one with tests/run", directory.display()))
}

/// Calls tests/lab/machine. Never panics for what the command comes to.
fn control(argv: &[&str], input: Option<&str>) -> Output {
    let mut command = Command::new(checkout().join("tests/lab/machine"));
    command.args(argv).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let ran = command.spawn().and_then(|mut child| {
        // Our inputs are smaller than what a pipe holds or the guest reads at once: no deadlock on output.
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
            stdin.write_all(text.as_bytes())?;
        }
        child.wait_with_output()
    });
    match ran {
        Ok(ran) => Output {
            code: ran.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
        },
        Err(error) => {
            Output { code: -1, stdout: String::new(), stderr: format!("tests/lab/machine: {error}\n") }
        }
    }
}

/// A test that panicked with the lock held is no reason for the others to fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
