//! The samples that the package ships are valid: each configuration loads as the manual says it is installed, and what
//! it names is shipped beside it.

// Helpers outside of `#[test]` functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use stealthcheck::check::Step;
use stealthcheck::config::{Config, load};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sample configurations of the fleet: drop-ins, and whole ones, which have a `mail:` section of their own.
fn samples() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let all = fs::read_dir(checkout().join("config/iobio")).unwrap();
    let mut files: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|path| !path.ends_with("README.md"));
    files.into_iter().partition(|path| {
        assert!(path.extension().is_some_and(|extension| extension == "yaml"), "{}", path.display());
        !fs::read_to_string(path).unwrap().contains("\nmail:\n")
    })
}

/// The drop-ins.
fn drop_ins() -> Vec<PathBuf> {
    samples().0
}

/// A drop-in's main file.
const MAIN: &str =
    "mail: { from: a@example.org, to: [a@example.org], smtp: { host: localhost, tls: none } }\n";

/// Loads `main` with `drop_ins` in its conf.d. No problem and no warning, but for those in `expected`.
fn loads(main: &str, drop_ins: &[PathBuf], expected: &[&str]) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stealthcheck.yaml");
    fs::write(&file, main).unwrap();
    fs::create_dir(directory.path().join("conf.d")).unwrap();
    for drop_in in drop_ins {
        fs::copy(drop_in, directory.path().join("conf.d").join(drop_in.file_name().unwrap())).unwrap();
    }
    let config = load(&file).unwrap_or_else(|problems| panic!("{drop_ins:?}: {problems:#?}"));
    let warnings: Vec<&str> = config.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, expected, "{drop_ins:?}");
    config
}

/// The default configuration with its examples switched on, as it tells one to: without the `# ` before the lines
/// that are YAML.
fn switched_on(default: &str) -> String {
    let mut sections = ["mail:", "listen: 8484", "defaults:", "checks:"].into_iter();
    let mut next = sections.next();
    let mut on = false;
    let mut yaml = String::new();
    for line in default.lines() {
        let bare = line.strip_prefix("# ").or_else(|| line.strip_prefix('#')).unwrap_or("");
        if next == Some(bare) {
            (on, next) = (true, sections.next());
        }
        on &= line.starts_with('#');
        yaml.push_str(if on { bare } else { "" });
        yaml.push('\n');
    }
    assert_eq!(next, None, "a section is missing in the default configuration");
    yaml
}

#[test]
fn the_default_configuration_names_no_check() {
    let default = fs::read_to_string(checkout().join("config/stealthcheck.yaml")).unwrap();
    let config = loads(&default, &[], &[]);
    assert!(config.checks.is_empty() && config.mail.is_none());
}

#[test]
fn the_examples_in_the_default_configuration_are_valid() {
    let default = fs::read_to_string(checkout().join("config/stealthcheck.yaml")).unwrap();
    let config = loads(&switched_on(&default), &[], &[]);
    assert!(config.mail.is_some());
    assert_eq!(config.listen.len(), 1);
    let names: Vec<&str> = config.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["cron", "database", "web"]);
    // "These are the built-in values", it says.
    let without = switched_on(&default).replace("defaults:", "defaults: {}\nunused:");
    let (head, tail) = without.split_once("unused:").unwrap();
    let tail: String =
        tail.lines().skip_while(|line| *line != "checks:").map(|line| format!("{line}\n")).collect();
    assert_eq!(loads(&format!("{head}{tail}"), &[], &[]).checks, config.checks);
}

#[test]
fn every_sample_is_valid_by_itself_and_all_are_together() {
    let samples = drop_ins();
    assert!(!samples.is_empty());
    for sample in &samples {
        let config = loads(MAIN, std::slice::from_ref(sample), &[]);
        assert!(!config.checks.is_empty(), "{}", sample.display());
    }
    loads(MAIN, &samples, &[]);
}

/// The whole configuration of one of our own machines, by its name in config/iobio.
fn whole(name: &str) -> Config {
    let main = fs::read_to_string(checkout().join("config/iobio").join(name)).unwrap();
    loads(&main, &[], &[])
}

#[test]
fn the_whole_configurations_are_valid() {
    let (_, wholes) = samples();
    assert!(!wholes.is_empty());
    for file in wholes {
        let config = whole(&file.file_name().unwrap().to_string_lossy());
        assert!(!config.checks.is_empty() && config.mail.is_some(), "{}", file.display());
    }
}

#[test]
fn the_units_that_samples_name_are_shipped() {
    let users = whole("pe.yaml").checks.into_iter().map(|check| ("units/user", check));
    let systems = loads(MAIN, &drop_ins(), &[]).checks.into_iter().map(|check| ("units", check));
    for (directory, check) in systems.chain(users) {
        let started = check.recovery.steps.iter().filter_map(|step| match step {
            Step::StartUnit(unit) => Some(unit),
            _ => None,
        });
        for unit in check.unit.iter().chain(started) {
            assert!(checkout().join(directory).join(unit.as_str()).exists(), "{unit} is no sample");
        }
    }
    let manifest = fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
    for directory in ["config", "config/iobio", "units", "units/user"] {
        for entry in fs::read_dir(checkout().join(directory)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let shipped = format!("[\"{directory}/{name}\", \"");
            let listed = entry.path().is_dir() || manifest.contains(&shipped);
            assert!(listed, "{directory}/{name} is not in the package");
        }
    }
}

/// Two samples that name each other's port, one for either side.
#[test]
fn the_two_that_watch_each_other_do() {
    let one = loads(MAIN, &[checkout().join("config/iobio/mutual.yaml")], &[]);
    // It is commented out there: not every host has the other one.
    let pe = fs::read_to_string(checkout().join("config/iobio/pe.yaml")).unwrap();
    let (before, other) = pe.split_once("  # other-stealthcheck:").unwrap();
    let other = format!("{before}  other-stealthcheck:{}", other.replace("\n  # ", "\n  "));
    let other = loads(&other, &[], &[]);
    for (watcher, watched) in [(&one, &other), (&other, &one)] {
        let check = watcher.checks.iter().find(|check| check.name.as_str() == "other-stealthcheck").unwrap();
        let looks_at = check.probe.describe();
        let expected = format!("http GET http://{}/healthz", watched.listen[0]);
        assert_eq!(looks_at, expected);
    }
}
