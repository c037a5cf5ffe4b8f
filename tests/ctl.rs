//! The real `stealthctl`: its messages and exit codes, against files, against no bus at all, and against a made-up bus
//! on a socket on which the real interface is served.

// Clippy allows `unwrap` in tests, but does not see that their helpers are tests.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

mod ctl_bus;
mod ctl_hold;

use ctl_bus::{Daemon, FakeBus};

/// No bus is there.
const NOWHERE: &str = "unix:path=/nonexistent/stealthcheck-test-bus";

fn stealthctl(bus: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stealthctl"))
        .args(arguments)
        .env_clear()
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .env("DBUS_SESSION_BUS_ADDRESS", bus)
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    (out, err)
}

fn write(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

const GOOD: &str = "checks:\n  mosaic:\n    unit: mosaic.service\n    recover: restart\n";
const BAD: &str = "checks:\n  mosaic:\n    unitt: mosaic.service\n  other: 3\n";

#[test]
fn without_a_bus_the_bus_is_named() {
    let (out, err) = ends(&stealthctl(NOWHERE, &["status"]), 69);
    assert_eq!(out, "");
    let why = format!("{NOWHERE}: No such file or directory (os error 2)");
    assert_eq!(err, format!("stealthctl: the system bus cannot be reached: {why}\n"));
    let (_, err) = ends(&stealthctl(NOWHERE, &["--user", "pause", "x"]), 69);
    assert!(
        err.contains("the user bus cannot be reached") && err.contains("loginctl enable-linger"),
        "{err}"
    );
}

#[test]
fn without_the_daemon_it_is_said_how_to_start_it() {
    let bus = FakeBus::start(Daemon::Absent);
    let (_, err) = ends(&stealthctl(bus.address(), &["status"]), 4);
    let says = "stealthctl: stealthcheck is not running; start it: `systemctl enable --now stealthcheck`\n";
    assert_eq!(err, says);
    let (_, err) = ends(&stealthctl(bus.address(), &["--user", "reload"]), 4);
    assert!(err.contains("`systemctl --user enable --now stealthcheck`"), "{err}");
}

#[test]
fn status_tells_what_is_down_and_is_plain_in_a_pipe() {
    let bus = FakeBus::start(Daemon::Running { job: "done" });
    let (out, err) = ends(&stealthctl(bus.address(), &["status"]), 3);
    assert!(out.starts_with("✖ 2 checks: 1 down, 1 passing"), "{out}");
    for text in ["\n✖ gru ", "connection refused", "\n✔ mosaic "] {
        assert!(out.contains(text), "{out}");
    }
    assert!(!out.contains('\x1b') && err.is_empty(), "{out}{err}");

    let (without_command, _) = ends(&stealthctl(bus.address(), &[]), 3);
    assert_eq!(without_command, out, "status is what one wants to know");

    let (out, _) = ends(&stealthctl(bus.address(), &["status", "--color=always"]), 3);
    assert!(out.contains("\x1b[1;31m"), "{out}");

    let (out, _) = ends(&stealthctl(bus.address(), &["status", "mosaic"]), 0);
    assert!(out.contains("State: passing for") && out.contains("Runbook: ssh there"), "{out}");

    let (_, err) = ends(&stealthctl(bus.address(), &["status", "gruu"]), 1);
    assert_eq!(err, "stealthctl: no check is named `gruu`: did you mean `gru`?\n");
}

#[test]
fn json_is_the_whole_snapshot() {
    let bus = FakeBus::start(Daemon::Running { job: "done" });
    let (out, _) = ends(&stealthctl(bus.address(), &["status", "--json"]), 3);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["checks"][0]["name"], "gru");
    assert_eq!(json["checks"][0]["state"], "down");
    assert_eq!(json["checks"][1]["runbook"], "ssh there");
    let snapshot: stealthcheck::status::Snapshot = serde_json::from_str(&out).unwrap();
    assert_eq!(snapshot.checks.len(), 2);
}

#[test]
fn a_reload_says_what_came_of_it() {
    let reload = |result| {
        let bus = FakeBus::start(Daemon::Running { job: result });
        stealthctl(bus.address(), &["reload"])
    };
    assert_eq!(ends(&reload("done"), 0).0, "Reloaded: 2 checks in 1 file.\n");
    let (_, err) = ends(&reload("failed"), 78);
    let says = "stealthctl: the configuration was rejected, the running configuration is kept:\na.yaml:3: checks.gru: wrong\n";
    assert_eq!(err, says);
    let (_, err) = ends(&reload("timeout"), 1);
    assert_eq!(err, "stealthctl: the reload ended as `timeout`; see `journalctl -eu stealthcheck`\n");
}

#[test]
fn wrong_usage_has_the_code_of_sysexits() {
    for arguments in [&["bogus"][..], &["pause"], &["pause", "x", "--for", "0s"], &["status", "--color=red"]]
    {
        ends(&stealthctl(NOWHERE, arguments), 64);
    }
    let (out, _) = ends(&stealthctl(NOWHERE, &["--version"]), 0);
    assert_eq!(out, format!("stealthctl {}\n", env!("CARGO_PKG_VERSION")));
    let (out, _) = ends(&stealthctl(NOWHERE, &["--help"]), 0);
    for word in ["status", "check", "pause", "resume", "reload", "validate", "test-mail", "Exit codes", "78"]
    {
        assert!(out.contains(word), "{word} is missing in {out}");
    }
    assert!(
        !out.contains("authorize") && !out.contains("run-probe"),
        "what is for units only does not stand in the way of people"
    );
}

#[test]
fn validate_names_every_problem() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), "good.yaml", GOOD);
    let (out, err) = ends(&stealthctl(NOWHERE, &["validate", &good]), 0);
    assert_eq!(out, "OK: 1 check in 1 file\n", "{err}");
    let bad = write(directory.path(), "bad.yaml", BAD);
    let (out, err) = ends(&stealthctl(NOWHERE, &["validate", &bad]), 78);
    assert_eq!(out, "");
    assert!(err.lines().count() >= 2 && err.lines().all(|line| line.starts_with(&bad)), "{err}");
}

#[test]
fn validate_finds_the_users_own_configuration() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("stealthcheck")).unwrap();
    write(directory.path(), "stealthcheck/stealthcheck.yaml", GOOD);
    let output = Command::new(env!("CARGO_BIN_EXE_stealthctl"))
        .args(["--user", "validate"])
        .env_clear()
        .env("XDG_CONFIG_HOME", directory.path())
        .output()
        .unwrap();
    assert_eq!(ends(&output, 0).0, "OK: 1 check in 1 file\n");
}

/// What `stealthctl authorize` writes.
struct Authorized {
    list: PathBuf,
    rule: PathBuf,
    probes: PathBuf,
}

impl Authorized {
    fn below(directory: &Path) -> Self {
        let [list, rule, probes] =
            ["authorized", "49-permitted.rules", "probes"].map(|name| directory.join(name));
        Self { list, rule, probes }
    }

    fn write(&self, config: &str, more: &[&str]) -> Output {
        let [list, rule, probes] = [&self.list, &self.rule, &self.probes].map(|path| path.to_str().unwrap());
        let places = ["--output", list, "--rule", rule, "--probes", probes];
        stealthctl(NOWHERE, &[&["authorize", "--config", config], &places[..], more].concat())
    }

    fn list(&self) -> String {
        std::fs::read_to_string(&self.list).unwrap()
    }

    fn rule(&self) -> String {
        std::fs::read_to_string(&self.rule).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn authorize_writes_what_is_permitted_and_leaves_it_when_the_configuration_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let authorized = Authorized::below(directory.path());
    let good = write(directory.path(), "good.yaml", GOOD);
    ends(&authorized.write(&good, &[]), 0);
    let (list, rule) = (authorized.list(), authorized.rule());
    assert!(list.lines().any(|line| line == "restart mosaic.service") && list.ends_with('\n'), "{list}");
    assert!(list.lines().is_sorted(), "{list}");
    assert!(rule.starts_with("// ") && rule.contains("Do not edit"), "{rule}");
    let entries = rule.lines().filter_map(|line| line.trim().split_once(": true"));
    let permitted: Vec<String> = entries.map(|(pair, _)| serde_json::from_str(pair).unwrap()).collect();
    assert_eq!(permitted, list.lines().collect::<Vec<_>>(), "{rule}");
    assert_eq!((mode(&authorized.list), mode(&authorized.rule)), (0o644, 0o644));

    let bad = write(directory.path(), "bad.yaml", BAD);
    let (_, err) = ends(&authorized.write(&bad, &[]), 78);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("stays as it is"), "{err}");
    assert_eq!((authorized.list(), authorized.rule()), (list, rule));

    let names: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "nothing is left lying about: {names:?}");

    let nowhere = Authorized { list: directory.path().join("no/such/directory"), ..authorized };
    let (_, err) = ends(&nowhere.write(&good, &[]), 73);
    assert!(err.contains("cannot be written"), "{err}");
}

/// polkitd reads all rules again whenever one changes, and logs that.
#[test]
fn authorize_replaces_the_rule_only_where_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let authorized = Authorized::below(directory.path());
    let inode = || std::fs::metadata(&authorized.rule).unwrap().ino();
    let good = write(directory.path(), "good.yaml", GOOD);
    ends(&authorized.write(&good, &[]), 0);
    let before = inode();
    ends(&authorized.write(&good, &[]), 0);
    assert_eq!(inode(), before);
    let other = write(directory.path(), "other.yaml", COMMANDS);
    ends(&authorized.write(&other, &[]), 0);
    assert_ne!(inode(), before);
    let rule = authorized.rule();
    assert!(rule.contains("\"stop stealthcheck-probe@a@b:c.service\": true"), "{rule}");
}

/// A read-only /etc, or a polkit without that directory: the list does without the rule.
#[test]
fn a_rule_that_cannot_be_written_is_reported_and_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), "good.yaml", GOOD);
    let mut authorized = Authorized::below(directory.path());
    authorized.rule = "/proc/no-such-directory/49.rules".into();
    let (_, err) = ends(&authorized.write(&good, &[]), 0);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("/proc/no-such-directory/49.rules cannot be written"), "{err}");
    assert!(!err.contains("remove it"), "there is none: {err}");
    assert!(authorized.list().contains("restart mosaic.service"));

    // An old one that cannot be replaced stays in force, which is to be said.
    authorized.rule = "/proc/self/status".into();
    let (_, err) = ends(&authorized.write(&good, &[]), 0);
    assert!(err.contains("an earlier configuration") && err.contains("remove it"), "{err}");
}

const COMMANDS: &str = "checks:\n  disk: { command: [check_disk, -w, 10%, \"it's\"] }\n  \
                        \"a@b:c\": { command: \"true\" }\n  mosaic: { unit: mosaic.service }\n";

#[test]
fn authorize_hands_out_command_lines_to_their_units_only() {
    let directory = tempfile::tempdir().unwrap();
    let authorized = Authorized::below(directory.path());
    let (list, probes) = (&authorized.list, &authorized.probes);
    let files = || -> Vec<(String, String)> {
        let entries = std::fs::read_dir(probes).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .map(|path| {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read_to_string(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let good = write(directory.path(), "good.yaml", COMMANDS);
    let (out, err) = ends(&authorized.write(&good, &[]), 0);
    assert!(out.is_empty() && err.is_empty(), "{out}{err}");
    assert_eq!(mode(probes), 0o700);
    let own = |name: &str, words: &str| (name.to_owned(), words.to_owned());
    let both = [own("a@b:c", "[\"true\"]"), own("disk", "[\"check_disk\",\"-w\",\"10%\",\"it's\"]")];
    assert_eq!(files(), both);
    let permitted = authorized.list();
    for line in ["restart stealthcheck-probe@disk.service\n", "stop stealthcheck-probe@a@b:c.service\n"] {
        assert!(permitted.contains(line), "{permitted}");
    }
    assert!(!permitted.contains("probe@mosaic"), "{permitted}");

    // A refused configuration changes nothing, and one that anybody may look into is closed again.
    std::fs::set_permissions(probes, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bad = write(directory.path(), "bad.yaml", "checks:\n  disk: { command: \"a | b\" }\n");
    ends(&authorized.write(&bad, &[]), 78);
    assert_eq!(files(), both);

    // What is not configured any more goes, and what a killed writer left; in a user manager there is no list.
    write(probes, ".disk.4711", "half a fi");
    std::fs::remove_file(list).unwrap();
    let less = write(directory.path(), "less.yaml", "checks:\n  disk: { command: \"other \" }\n");
    ends(&authorized.write(&less, &["--user"]), 0);
    assert_eq!(files(), [own("disk", "[\"other\"]")]);
    assert_eq!(mode(probes), 0o700);
    assert!(!list.exists());
    let none = write(directory.path(), "none.yaml", GOOD);
    ends(&authorized.write(&none, &[]), 0);
    assert!(files().is_empty());
}

#[test]
fn a_users_command_lines_are_in_the_users_runtime_directory() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), "stealthcheck.yaml", COMMANDS);
    let authorize = |runtime: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stealthctl"));
        command.args(["--user", "authorize", "--config", &config]).env_clear();
        command.env("DBUS_SESSION_BUS_ADDRESS", NOWHERE);
        runtime.map(|runtime| command.env("XDG_RUNTIME_DIR", runtime));
        command.output().unwrap()
    };
    ends(&authorize(Some(directory.path())), 0);
    assert!(directory.path().join("stealthcheck.probes/disk").is_file());
    let (_, err) = ends(&authorize(None), 64);
    assert!(err.contains("XDG_RUNTIME_DIR is not set"), "{err}");
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let bus = FakeBus::start(Daemon::Running { job: "done" });
    let mut child = Command::new(env!("CARGO_BIN_EXE_stealthctl"))
        .arg("status")
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(ends(&output, 3).1, "");
}

#[test]
fn why_explains_a_check_and_json_is_a_list() {
    let bus = FakeBus::start(Daemon::Running { job: "done" });
    let (out, err) = ends(&stealthctl(bus.address(), &["why", "gru"]), 0);
    let expected = "✖ gru is down\n        unit: gru.service is masked\n\n  14:05:31  recovery     no recovery: the unit is masked\n";
    assert_eq!((out.replace("2026-11-23 ", "").as_str(), err.as_str()), (expected, ""));
    let (out, err) = ends(&stealthctl(bus.address(), &["why", "gru", "grru", "--json"]), 1);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json[0]["log"][0]["topic"], "recovery");
    assert!(err.contains("no check is named `grru`: did you mean `gru`?"), "{err}");
    ends(&stealthctl(bus.address(), &["why"]), 64);
}
