//! README.md keeps its word: its configurations load, its `stealthctl` commands and files exist.

// Helpers outside of `#[test]` functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use stealthcheck::config::load;

const README: &str = include_str!("../README.md");

/// The blocks that begin with "```yaml".
fn yaml() -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while lines.by_ref().any(|line| line == "```yaml") {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n") + "\n");
    }
    blocks
}

#[test]
fn every_configuration_loads_without_a_warning() {
    let blocks = yaml();
    assert!(blocks.len() >= 2, "{} configurations", blocks.len());
    for block in blocks {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("stealthcheck.yaml");
        std::fs::write(&file, &block).unwrap();
        match load(&file) {
            Ok(config) => {
                assert!(!config.checks.is_empty(), "no check in\n{block}");
                let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
                assert_eq!(warnings, Vec::<String>::new(), "{block}");
            }
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                panic!("{}\nin\n{block}", problems.join("\n"));
            }
        }
    }
}

#[test]
fn the_session_is_of_the_configuration_that_quickstart_writes() {
    let quickstart = include_str!("../packaging/quickstart");
    assert!(yaml().iter().any(|block| quickstart.contains(block)), "README.md shows another one");
}

/// Where `text` goes on after each `what` that stands as a word.
fn after<'a>(text: &'a str, what: &str) -> impl Iterator<Item = &'a str> {
    text.match_indices(what).map(move |(at, _)| &text[at + what.len()..])
}

#[test]
fn every_command_exists() {
    let output = Command::new(env!("CARGO_BIN_EXE_stealthctl")).arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    let known: BTreeSet<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let word = |rest: &'static str| {
        let rest = rest.strip_prefix("--user ").unwrap_or(rest);
        rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap()
    };
    let named: BTreeSet<&str> =
        after(README, "stealthctl ").map(word).filter(|word| !word.is_empty()).collect();
    assert!(named.len() >= 7, "{named:?}");
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "not in stealthctl --help: {unknown:?}\n{help}");
    // And the other way round: what there is, README.md tells.
    let untold: Vec<_> = known.difference(&named).filter(|word| **word != "help").collect();
    assert!(untold.is_empty(), "not in README.md: {untold:?}");
}

#[test]
fn every_script_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts: BTreeSet<&str> =
        after(README, " ./").filter_map(|rest| rest.split([' ', '\n', '`']).next()).collect();
    for script in scripts.iter().filter(|script| !script.ends_with(".deb")) {
        assert!(root.join(script).is_file(), "{script}");
    }
    assert!(scripts.contains("packaging/quickstart") && scripts.contains("tests/run"), "{scripts:?}");
}

/// src/engine/rules.md names the file in which each rule is decided, and in many the function: a reader finds it in one
/// step. `file.rs`: `function`, `another`.
#[test]
fn every_rule_names_code_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = include_str!("../src/engine/rules.md");
    let (mut code, mut files, mut in_file) = (String::new(), 0, false);
    let mut between = "";
    for (n, part) in rules.split('`').enumerate() {
        if n % 2 == 0 {
            between = part;
            continue;
        }
        let identifier = part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if part.ends_with(".rs") && !part.contains(' ') {
            let path =
                if part.starts_with("src/") { root.join(part) } else { root.join("src/engine").join(part) };
            code = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{part}: {error}"));
            (files, in_file) = (files + 1, true);
        } else if in_file && identifier && matches!(between, ": " | ", " | ":\n   " | ",\n   " | ":\n    ") {
            let defined = ["fn ", "struct ", "enum "].iter().any(|what| {
                after(&code, &format!("{what}{part}"))
                    .any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            });
            assert!(defined, "there is no {part} in the file that rules.md names before it");
        } else {
            in_file = false;
        }
    }
    assert!(files >= 30, "{files} files");
    let (rules, _) = rules.split_once("# States").unwrap();
    for number in 1..=17 {
        let (_, rest) = rules.split_once(&format!("\n{number}. ")).unwrap();
        let rule = rest.split_once(&format!("\n{}. ", number + 1)).map_or(rest, |(rule, _)| rule);
        assert!(rule.contains(".rs`"), "rule {number} names no file");
    }
}

/// The files of the source that README.md names.
#[test]
fn every_source_file_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named: BTreeSet<&str> =
        README.split('`').filter(|part| part.starts_with("src/") && part.ends_with(".rs")).collect();
    for file in &named {
        assert!(root.join(file).is_file(), "{file}");
    }
    assert!(!named.is_empty());
}
