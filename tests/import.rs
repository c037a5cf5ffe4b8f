//! `stealthctl import`, from the old tool's files to everything that it writes.
//!
//! `tests/import/cases/NN-name/` holds a config.json and a checks.json, and in `expected/` each file that comes of
//! them, on a machine that is the same everywhere. `tests/import/bad/NN-name/` holds files that are refused, and in
//! `expected` why. `BLESS=1` writes what is expected anew and fails, so that `git diff` is looked at.

// Helpers outside of `#[test]` functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use stealthcheck::config::{Config, load};
use stealthcheck::ctl::import::{Plan, Surroundings, plan};

#[path = "import/command.rs"]
mod command;
#[path = "import/lines.rs"]
mod lines;
mod seeds;

/// A machine with these programs and units.
fn around<'a>(run_as: Option<&'a str>) -> Surroundings<'a> {
    Surroundings {
        old: "/srv/stealth1",
        out: "/root/new",
        cwd: "/srv/stealth1",
        run_as,
        program_exists: &|program| {
            ["ssh", "node", "python3", "bash", "/srv/stealthcheck", "/srv/stealth1/service1", "/opt/gru/gru"]
                .contains(&program)
        },
        unit_exists: &|unit| ["nginx.service", "web.socket"].contains(&unit),
    }
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(kind);
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn old(case: &Path) -> (String, String) {
    let read = |name: &str| fs::read_to_string(case.join(name)).unwrap();
    (read("config.json"), read("checks.json"))
}

fn files(plan: &Plan) -> BTreeMap<String, String> {
    plan.files.iter().map(|file| (file.path.clone(), file.content.clone())).collect()
}

/// Every file below a directory, by its path there.
fn below(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// The daemon's own reading of the configuration in a plan.
#[track_caller]
fn loaded(plan: &Plan) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stealthcheck.yaml");
    let yaml = &files(plan)["stealthcheck.yaml"];
    fs::write(&file, yaml).unwrap();
    load(&file).unwrap_or_else(|problems| panic!("{problems:?}\nin\n{yaml}"))
}

fn bless() -> bool {
    std::env::var_os("BLESS").is_some()
}

#[test]
fn each_case_becomes_just_these_files() {
    let mut wrong = Vec::new();
    let cases = cases("cases");
    assert!(cases.len() >= 5, "{cases:?}");
    for case in cases {
        let (config, checks) = old(&case);
        let run_as = if case.to_str().unwrap().contains("-root") { "root" } else { "ubuntu" };
        let run_as = Some(run_as).filter(|_| !case.to_str().unwrap().contains("-user-manager"));
        let plan = plan(&config, &checks, &around(run_as)).unwrap();
        let (found, expected) = (files(&plan), below(&case.join("expected")));
        if found == expected {
            continue;
        }
        wrong.push(format!("{}", case.display()));
        for (path, content) in &found {
            if expected.get(path) != Some(content) {
                wrong.push(format!(
                    "-- {path} is\n{content}-- and should be\n{}",
                    expected.get(path).map_or("", |text| text)
                ));
            }
        }
        wrong.extend(
            expected
                .keys()
                .filter(|path| !found.contains_key(*path))
                .map(|path| format!("-- {path} is missing")),
        );
        if bless() {
            let _ = fs::remove_dir_all(case.join("expected"));
            for (path, content) in found {
                let path = case.join("expected").join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_configuration_that_comes_of_a_case_is_valid() {
    for case in cases("cases") {
        let (config, checks) = old(&case);
        let plan = plan(&config, &checks, &around(Some("ubuntu"))).unwrap();
        let entries: serde_json::Value = serde_json::from_str(&checks).unwrap();
        let written = entries["checks"].as_array().unwrap().len();
        let dropped = files(&plan)["REPORT.txt"].matches("left out.\n").count();
        assert!(loaded(&plan).checks.len() + dropped >= written, "{}", case.display());
    }
}

#[test]
fn bad_files_get_their_exact_messages() {
    let mut wrong = Vec::new();
    for case in cases("bad") {
        let (config, checks) = old(&case);
        let problems = plan(&config, &checks, &around(None)).err().unwrap_or_default();
        let found: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        let expected = fs::read_to_string(case.join("expected")).unwrap_or_default();
        if found != expected || found.is_empty() {
            wrong.push(format!("== {}\n-- found\n{found}-- expected\n{expected}", case.display()));
            if bless() {
                fs::write(case.join("expected"), found).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hostile_files_are_done_with_soon() {
    let full = |unit: &str| unit.repeat((1 << 20) / unit.len());
    let list = |unit: &str| format!(r#"{{"checks":[{}null]}}"#, full(unit));
    let began = std::time::Instant::now();
    let wrong = |config: &str, checks: &str| plan(config, checks, &around(Some("ubuntu"))).unwrap_err();
    for text in [full("["), full("{\"a\":"), full("\""), full("\\"), full(" "), full("7,"), full("[]")] {
        assert!(!wrong(&text, &text).is_empty());
    }
    let deep = |open: &str, close: &str| format!(r#"{{"note":{}7{},"checks":[]}}"#, full(open), full(close));
    assert!(!wrong("{}", &deep("[", "]")).is_empty(), "serde_json goes 128 levels deep");
    let problems = wrong("{}", &list("7,"));
    assert!((1..=100).contains(&problems.len()), "{}", problems.len());
    wrong("{}", &list("{},"));
    wrong("{}", &list(r#"{"interval_ms":100,"check_command":"./a","fail_command":"./b"},"#));
    let many: Vec<_> = (0..2_000)
        .map(|n| format!(r#"{{"interval_ms":100,"check_command":"./a","fail_command":"./b {n}"}}"#))
        .collect();
    let many = format!(r#"{{"checks":[{}]}}"#, many.join(","));
    let plan = plan("{}", &many, &around(Some("ubuntu"))).unwrap();
    assert!(plan.files.len() > 4_000);
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn the_password_is_in_its_own_file_alone() {
    let config = r#"{"alert_emails":["a@example.org"],"smtp":{"server":"mail.example.org","port":587,"username":"u",
        "password":"p4ss\"w\\ö rd","sender":"s@example.org"}}"#;
    let plan = plan(config, r#"{"checks":[]}"#, &around(Some("ubuntu"))).unwrap();
    for file in &plan.files {
        if file.path == "credentials/smtp-password" {
            assert_eq!((file.content.as_str(), file.mode), ("p4ss\"w\\ö rd", 0o600));
        } else {
            assert!(!file.content.contains("p4ss"), "{}", file.path);
        }
    }
    assert_eq!(plan.files.len(), 3);
    let mail = loaded(&plan).mail.unwrap();
    assert_eq!(mail.smtp.password_credential.as_ref().map(|name| name.as_str()), Some("smtp-password"));
    assert_eq!((mail.smtp.username.as_deref(), mail.from.contains("<s@example.org>")), (Some("u"), true));
}
