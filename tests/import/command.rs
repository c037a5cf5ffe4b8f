//! The command itself: what it writes and how, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

fn import(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stealthctl"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
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

const CONFIG: &str = r#"{"alert_emails":["a@example.org"],
    "smtp":{"server":"h.example.org","port":587,"username":"u","password":"s3cret","sender":"s@example.org"}}"#;
const CHECKS: &str =
    r#"{"checks":[{"interval_ms":10000,"check_command":"curl localhost:1","fail_command":"./x &"}]}"#;

fn old() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("config.json"), CONFIG).unwrap();
    fs::write(old.join("checks.json"), CHECKS).unwrap();
    directory
}

/// What is in a directory, by name.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn it_writes_a_directory_that_is_private_and_valid() {
    let old = old();
    let root = old.path();
    let (out, err) = ends(&import(root, &["import", "--dir", "old", "--out", "new"]), 0);
    assert_eq!(err, "");
    let real = fs::canonicalize(root).unwrap();
    let first = format!("1 check in {}/new; ", real.display());
    assert!(out.starts_with(&first) && out.contains("/new/REPORT.txt"), "{out}");
    let mode = |path: &str| fs::metadata(root.join("new").join(path)).unwrap().permissions().mode() & 0o7777;
    for (path, wanted) in [
        ("", 0o700),
        ("credentials", 0o700),
        ("credentials/smtp-password", 0o600),
        ("REPORT.txt", 0o600),
        ("stealthcheck.yaml", 0o640),
        ("units/x.service", 0o644),
    ] {
        assert_eq!(mode(path), wanted, "{path}");
    }
    assert_eq!(fs::read_to_string(root.join("new/credentials/smtp-password")).unwrap(), "s3cret");
    let (out, _) = ends(&import(root, &["validate", "new/stealthcheck.yaml"]), 0);
    assert_eq!(out, "OK: 1 check in 1 file\n");

    // It ran where its files are, as who owns them, unless somebody knows better.
    let unit = fs::read_to_string(root.join("new/units/x.service")).unwrap();
    assert!(unit.contains(&format!("WorkingDirectory={}/old\n", real.display())), "{unit}");
    let arguments = ["import", "--dir", "old", "--out", "other", "--cwd", "/usr", "--run-as", "nobody"];
    ends(&import(root, &arguments), 0);
    let unit = fs::read_to_string(root.join("other/units/x.service")).unwrap();
    for line in ["User=nobody\n", "WorkingDirectory=/usr\n", "ExecStart=/usr/x\n"] {
        assert!(unit.contains(line), "{unit}");
    }
    ends(&import(root, &["--user", "import", "--dir", "old", "--out", "third"]), 0);
    let unit = fs::read_to_string(root.join("third/units/x.service")).unwrap();
    assert!(!unit.contains("User=") && unit.contains("WantedBy=default.target\n"), "{unit}");
}

#[test]
fn the_owner_is_named_where_he_has_a_name() {
    let old = old();
    let root = old.path();
    if !rustix::process::getuid().is_root() {
        // Only root can give a directory away; as anybody else the owner is who runs this.
        ends(&import(root, &["import", "--dir", "old", "--out", "new"]), 0);
        return;
    }
    for (uid, user) in [(65_534, "nobody"), (0, "root"), (4_000_000_000, "4000000000")] {
        std::os::unix::fs::chown(root.join("old"), Some(uid), None).unwrap();
        ends(&import(root, &["import", "--dir", "old", "--out", user]), 0);
        let unit = fs::read_to_string(root.join(user).join("units/x.service")).unwrap();
        assert!(unit.contains(&format!("User={user}\n")), "{unit}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let old = old();
    let root = old.path();
    let import_to = |out: &str| import(root, &["import", "--dir", "old", "--out", out]);
    fs::create_dir(root.join("empty")).unwrap();
    let (_, err) = ends(&import_to("empty"), 73);
    assert_eq!(err, "stealthctl: empty is there already, and nothing is overwritten; name a new directory\n");
    fs::write(root.join("file"), "mine").unwrap();
    let (_, err) = ends(&import_to("file"), 73);
    assert!(err.contains("file is there already"), "{err}");
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "mine");
    std::os::unix::fs::symlink("elsewhere", root.join("link")).unwrap();
    ends(&import_to("link"), 73);
    let (_, err) = ends(&import_to("no/such/place"), 73);
    assert!(err.contains("no/such/place cannot be written: No such file"), "{err}");
    ends(&import_to("old"), 73);
    ends(&import_to("."), 73);
    assert_eq!(names(root), ["empty", "file", "link", "old"], "nothing is left lying about");
    assert_eq!(names(&root.join("empty")), Vec::<String>::new());
    assert_eq!(names(&root.join("old")), ["checks.json", "config.json"]);
}

#[test]
fn what_cannot_be_imported_is_said_with_its_place_and_leaves_nothing() {
    let old = old();
    let root = old.path();
    let refused = |code: i32| {
        let (out, err) = ends(&import(root, &["import", "--dir", "old", "--out", "new"]), code);
        assert_eq!(out, "");
        assert_eq!(names(root), ["old"]);
        err
    };
    fs::write(root.join("old/checks.json"), "{\n  \"checks\": [\n    {,}\n").unwrap();
    let err = refused(78);
    assert!(err.starts_with("stealthctl: nothing was written; in old:\nchecks.json:3:6: no JSON: "), "{err}");
    // Valid for the old tool, but not for the configuration: said of the old file, where it can be mended.
    fs::write(root.join("old/checks.json"), CHECKS).unwrap();
    fs::write(root.join("old/config.json"), CONFIG.replace("h.example.org", "h..example\\\\org")).unwrap();
    let err = refused(78);
    assert!(err.contains("config.json: `server` should be the name of a mail server"), "{err}");
    fs::write(root.join("old/config.json"), b"{\n\"\xff").unwrap();
    assert!(refused(66).contains("old/config.json cannot be read: stream did not contain valid UTF-8"));
    fs::write(root.join("old/config.json"), vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(refused(66).contains("at most 1 MiB"));
    fs::remove_file(root.join("old/config.json")).unwrap();
    assert!(refused(66).contains("old/config.json cannot be read: No such file"));
    fs::create_dir(root.join("old/config.json")).unwrap();
    assert!(refused(66).contains("not a regular file"));
    let (_, err) = ends(&import(root, &["import", "--dir", "none", "--out", "new"]), 66);
    assert!(err.starts_with("stealthctl: none cannot be read: "), "{err}");
    for arguments in [
        &["import", "--dir", "old"][..],
        &["import", "--dir", "old", "--out", "new", "--run-as", "a b"],
        &["--user", "import", "--dir", "old", "--out", "new", "--run-as", "x"],
    ] {
        fs::remove_dir_all(root.join("old/config.json")).ok();
        fs::write(root.join("old/config.json"), CONFIG).unwrap();
        ends(&import(root, arguments), 64);
    }
}
