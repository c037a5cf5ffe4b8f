//! The real `stealthctl`: its messages and exit codes, against files, against no bus at all, and against a made-up bus
//! on a socket on which the real interface is served.

// Clippy allows `unwrap` in tests, but does not see that their helpers are tests.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};

mod ctl_bus;
mod ctl_hold;

use ctl_bus::{Daemon, FakeBus};
use stealthcheck::config::accepted::Record;

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

const RULE: &str = "49-permitted.rules";

/// The places of `authorize` in a directory of its own.
struct Authorize {
    directory: tempfile::TempDir,
}

impl Authorize {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn place(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, yaml: &str, more: &[&str]) -> Output {
        let config = write(self.directory.path(), "stealthcheck.yaml", yaml);
        let [list, rule, probes, record] = ["authorized", RULE, "probes", "record"]
            .map(|name| self.place(name).to_str().unwrap().to_owned());
        let places = ["--output", &list, "--probes", &probes, "--accepted", &record];
        let rule = if more.contains(&"--rule") { vec![] } else { vec!["--rule", &rule] };
        stealthctl(NOWHERE, &[&["authorize", "--config", &config], &places[..], &rule, more].concat())
    }

    fn list(&self) -> String {
        std::fs::read_to_string(self.place("authorized")).unwrap()
    }

    fn rule(&self) -> String {
        std::fs::read_to_string(self.place(RULE)).unwrap()
    }

    fn record(&self) -> Record {
        Record::read(&self.place("record")).unwrap().unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.place(name)).unwrap().permissions().mode() & 0o7777
    }

    /// The names of the accepted checks.
    fn accepted(&self) -> Vec<String> {
        let (config, _) = self.record().config().unwrap().unwrap();
        config.checks.iter().map(|check| check.name.to_string()).collect()
    }
}

#[test]
fn authorize_accepts_a_valid_configuration_and_keeps_it_when_another_is_not() {
    let authorize = Authorize::new();
    ends(&authorize.run(GOOD, &[]), 0);
    let list = authorize.list();
    assert!(list.lines().any(|line| line == "restart mosaic.service") && list.ends_with('\n'), "{list}");
    assert!(list.lines().is_sorted(), "{list}");
    assert_eq!((authorize.mode("authorized"), authorize.mode("record")), (0o644, 0o640));
    let rule = authorize.rule();
    assert!(rule.starts_with("// ") && rule.contains("Do not edit"), "{rule}");
    let entries = rule.lines().filter_map(|line| line.trim().split_once(": true"));
    let permitted: Vec<String> = entries.map(|(pair, _)| serde_json::from_str(pair).unwrap()).collect();
    assert_eq!(permitted, list.lines().collect::<Vec<_>>(), "{rule}");
    assert_eq!(authorize.mode(RULE), 0o644);
    assert_eq!(authorize.accepted(), ["mosaic"]);
    assert_eq!(authorize.record().rejected(), None);

    let (out, err) = ends(&authorize.run(BAD, &[]), 0);
    assert_eq!((out.as_str(), err.lines().count()), ("", 1), "{err}");
    assert!(err.contains("stays in force: ") && err.contains("stealthcheck.yaml:2: "), "{err}");
    assert_eq!((authorize.list(), authorize.rule()), (list.clone(), rule));
    assert_eq!(authorize.accepted(), ["mosaic"]);
    let rejected = authorize.record().rejected().unwrap().clone();
    assert!(rejected.problems.len() >= 2, "{rejected:?}");
    assert!(rejected.problems[1].contains("stealthcheck.yaml:3: checks.mosaic.unitt: "), "{rejected:?}");

    // After a boot /run is empty: the list is that of the accepted configuration.
    std::fs::remove_file(authorize.place("authorized")).unwrap();
    ends(&authorize.run(BAD, &[]), 0);
    assert_eq!(authorize.list(), list);
    assert_eq!(authorize.record().rejected().unwrap().since, rejected.since);

    ends(&authorize.run("checks: { other: { unit: other.service } }\n", &[]), 0);
    assert_eq!(authorize.accepted(), ["other"]);
    assert_eq!(authorize.record().rejected(), None);
    let files = std::fs::read_dir(&authorize.directory).unwrap();
    assert_eq!(files.count(), 4, "nothing is left lying about");
}

#[test]
fn authorize_without_a_valid_configuration_records_its_problems() {
    let authorize = Authorize::new();
    let (_, err) = ends(&authorize.run(BAD, &[]), 0);
    assert!(err.contains("the configuration is not valid: "), "{err}");
    assert!(authorize.record().config().is_none());
    assert!(authorize.record().rejected().is_some());
    assert!(!authorize.place("authorized").exists());
}

/// Where one of the files cannot be written, none is changed.
#[test]
fn authorize_changes_all_files_or_none() {
    let authorize = Authorize::new();
    ends(&authorize.run(GOOD, &[]), 0);
    let list = authorize.list();
    let config =
        write(authorize.directory.path(), "other.yaml", "checks: { other: { unit: other.service } }\n");
    let [output, rule, probes, nowhere] = ["authorized", RULE, "probes", "no/such/directory"]
        .map(|name| authorize.place(name).to_str().unwrap().to_owned());
    let arguments =
        ["authorize", "--config", &config, "--output", &output, "--rule", &rule, "--probes", &probes];
    let failed = stealthctl(NOWHERE, &[&arguments[..], &["--accepted", &nowhere]].concat());
    let (_, err) = ends(&failed, 73);
    assert!(err.contains("no/such/directory cannot be written"), "{err}");
    assert_eq!(authorize.list(), list);
    assert_eq!(authorize.accepted(), ["mosaic"]);
    assert_eq!(std::fs::read_dir(&authorize.directory).unwrap().count(), 5, "something is left behind");
}

/// polkitd reads all rules again whenever one changes, and logs that.
#[test]
fn authorize_replaces_the_rule_only_where_it_changes() {
    let authorize = Authorize::new();
    let inode = || std::fs::metadata(authorize.place(RULE)).unwrap().ino();
    ends(&authorize.run(GOOD, &[]), 0);
    let before = inode();
    ends(&authorize.run(GOOD, &[]), 0);
    assert_eq!(inode(), before);
    ends(&authorize.run(COMMANDS, &[]), 0);
    assert_ne!(inode(), before);
    let rule = authorize.rule();
    assert!(rule.contains("\"stop stealthcheck-probe@a@b:c.service\": true"), "{rule}");
}

/// A read-only /etc, or a polkit without that directory: the list does without the rule.
#[test]
fn a_rule_that_cannot_be_written_is_reported_and_no_failure() {
    let authorize = Authorize::new();
    let run = |rule: &str| ends(&authorize.run(GOOD, &["--rule", rule]), 0).1;
    let err = run("/proc/no-such-directory/49.rules");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("/proc/no-such-directory/49.rules cannot be written"), "{err}");
    assert!(!err.contains("remove it"), "there is none: {err}");
    assert!(authorize.list().contains("restart mosaic.service"));

    // An old one that cannot be replaced stays in force, which is to be said.
    let err = run("/proc/self/status");
    assert!(err.contains("an earlier configuration") && err.contains("remove it"), "{err}");
}

const COMMANDS: &str = "checks:\n  disk: { command: [check_disk, -w, 10%, \"it's\"] }\n  \
                        \"a@b:c\": { command: \"true\" }\n  mosaic: { unit: mosaic.service }\n";

#[test]
fn authorize_hands_out_command_lines_to_their_units_only() {
    let authorize = Authorize::new();
    let probes = authorize.place("probes");
    let files = || -> Vec<(String, String)> {
        let entries = std::fs::read_dir(&probes).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                assert_eq!(authorize.mode(&format!("probes/{name}")), 0o600, "{name}");
                (name, std::fs::read_to_string(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let (out, err) = ends(&authorize.run(COMMANDS, &[]), 0);
    assert!(out.is_empty() && err.is_empty(), "{out}{err}");
    assert_eq!(authorize.mode("probes"), 0o700);
    let own = |name: &str, words: &str| (name.to_owned(), words.to_owned());
    let both = [own("a@b:c", "[\"true\"]"), own("disk", "[\"check_disk\",\"-w\",\"10%\",\"it's\"]")];
    assert_eq!(files(), both);
    let permitted = authorize.list();
    for line in ["restart stealthcheck-probe@disk.service\n", "stop stealthcheck-probe@a@b:c.service\n"] {
        assert!(permitted.contains(line), "{permitted}");
    }
    assert!(!permitted.contains("probe@mosaic"), "{permitted}");

    // A configuration that is not valid changes nothing, and a directory that anybody may look into is closed again.
    std::fs::set_permissions(&probes, std::fs::Permissions::from_mode(0o755)).unwrap();
    ends(&authorize.run("checks:\n  disk: { command: \"a | b\" }\n", &[]), 0);
    assert_eq!(files(), both);
    assert_eq!(authorize.mode("probes"), 0o700);

    // What is not configured any more goes, and what a killed writer left; in a user manager there is no list.
    write(&probes, ".disk.4711", "half a fi");
    std::fs::remove_file(authorize.place("authorized")).unwrap();
    ends(&authorize.run("checks:\n  disk: { command: \"other \" }\n", &["--user"]), 0);
    assert_eq!(files(), [own("disk", "[\"other\"]")]);
    assert!(!authorize.place("authorized").exists());
    ends(&authorize.run(GOOD, &[]), 0);
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
        command.env("HOME", directory.path());
        runtime.map(|runtime| command.env("XDG_RUNTIME_DIR", runtime));
        command.output().unwrap()
    };
    ends(&authorize(Some(directory.path())), 0);
    assert!(directory.path().join("stealthcheck.probes/disk").is_file());
    assert!(directory.path().join(".local/state/stealthcheck/configuration.json").is_file());
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
