//! Files: which are read, in which order, and what is said of those that cannot be.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::{load, printed};

struct Place(tempfile::TempDir);

impl Place {
    fn new(main: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.main(), main).unwrap();
        place
    }

    fn main(&self) -> PathBuf {
        self.0.path().join("stealthcheck.yaml")
    }

    fn drop_in(self, name: &str, text: &str) -> Self {
        fs::create_dir_all(self.0.path().join("conf.d")).unwrap();
        fs::write(self.0.path().join("conf.d").join(name), text).unwrap();
        self
    }

    fn problems(&self) -> String {
        printed(&load(&self.main()).unwrap_err(), self.0.path())
    }
}

#[test]
fn drop_ins_are_read_in_name_order_and_others_are_named() {
    let place = Place::new("# main\n")
        .drop_in("20-b.yaml", "checks: { b: { unit: b.service } }")
        .drop_in("10-a.yaml", "checks: { a: { unit: a.service } }")
        .drop_in("30-c.yml", "checks: { c: { unit: c.service } }")
        .drop_in(".hidden.yaml", "nonsense")
        .drop_in("README", "nonsense");
    symlink("/dev/null", place.0.path().join("conf.d/40-off.yaml")).unwrap();
    let config = load(&place.main()).unwrap();
    let names: Vec<_> = config.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["stealthcheck.yaml", "10-a.yaml", "20-b.yaml"]);
    assert_eq!(config.checks.len(), 2);
    assert_eq!(
        printed(&config.warnings, place.0.path()),
        "stealthcheck.yaml: there is no `mail:` section: no notifications will be sent\n\
         conf.d/30-c.yml: ignored: the name of a drop-in ends in `.yaml`\n"
    );
}

#[test]
fn what_is_no_file_is_said_to_be_none() {
    let place = Place::new("");
    fs::create_dir_all(place.0.path().join("conf.d/a.yaml")).unwrap();
    symlink("nowhere", place.0.path().join("conf.d/b.yaml")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.0.path().join("conf.d/c.yaml")).unwrap();
    assert_eq!(
        place.problems(),
        "conf.d/a.yaml: this is a directory; a file was expected\n\
         conf.d/b.yaml: the link leads nowhere\n\
         conf.d/c.yaml: this is not a regular file\n"
    );
    let place = Place::new("");
    fs::write(place.0.path().join("conf.d"), "").unwrap();
    assert_eq!(place.problems(), "conf.d: this is a file; a directory with drop-ins was expected\n");
    let inside = place.main().join("stealthcheck.yaml");
    assert_eq!(
        printed(&load(&inside).unwrap_err(), place.0.path()).lines().next().unwrap(),
        "stealthcheck.yaml/stealthcheck.yaml: cannot be read: not a directory"
    );
}

#[test]
fn a_file_of_more_than_a_mebibyte_is_refused() {
    let place = Place::new(&"# comment\n".repeat((1 << 20) / 10));
    assert!(load(&place.main()).is_ok());
    let place = Place::new(&"# comment\n".repeat((1 << 20) / 10 + 1));
    assert_eq!(place.problems(), "stealthcheck.yaml: larger than 1 MiB: this is not a configuration\n");
}

#[test]
fn no_name_breaks_a_problem_into_two_lines() {
    let place =
        Place::new("").drop_in("a\nb\u{1b}.yaml", "checks: { \"x\\ny\": { \"k\\nl\": 1, unit: \"u\\nv\" } }");
    let odd = std::ffi::OsString::from_vec(b"z\xff.yaml".to_vec());
    fs::write(place.0.path().join("conf.d").join(odd), "[]").unwrap();
    let problems = load(&place.main()).unwrap_err();
    assert_eq!(problems.len(), 4, "{problems:?}");
    for problem in problems {
        assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
    }
}

#[test]
fn the_list_of_problems_has_an_end() {
    let keys: String = (0..2_000).map(|n| format!("  - [{n}]\n")).collect();
    let place = Place::new(&format!(
        "checks:\n  a:\n    unit: a.service\n    recover:\n{}",
        keys.replace("  -", "    -")
    ));
    let problems = load(&place.main()).unwrap_err();
    assert_eq!(problems.len(), 501);
    assert_eq!(problems.last().unwrap().message, "1500 more errors are not shown");
}

/// A number has no position of its own: its line is found by another reading.
#[test]
fn each_of_many_errors_in_a_list_has_its_line() {
    let items = "          - 1000\n".repeat(60);
    let place = Place::new(&format!(
        "checks:\n  web:\n    http:\n        url: \"http://127.0.0.1/\"\n        status:\n{items}"
    ));
    let problems = load(&place.main()).unwrap_err();
    let lines: Vec<Option<usize>> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, (6..66).map(Some).collect::<Vec<_>>());
}
