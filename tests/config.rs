//! Configurations from the outside: bad files with their exact messages, good ones with what they mean, and anything
//! at all, which must never panic nor take long.
//!
//! `tests/config/bad/NN-name/` holds a `stealthcheck.yaml`, at times a `conf.d/`, and `expected`: the problems, line by
//! line, without the directory.

// Helpers outside of `#[test]` functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::{fs, io};

use stealthcheck::config::{Config, Problem, load};

#[path = "config/files.rs"]
mod files;
#[path = "config/good.rs"]
mod good;
#[path = "config/own.rs"]
mod own;
#[path = "config/properties.rs"]
mod properties;
mod seeds;

/// The problems as they are printed, with file names relative to `directory`.
fn printed(problems: &[Problem], directory: &Path) -> String {
    let prefix = format!("{}/", directory.display());
    problems.iter().map(|problem| problem.to_string().replace(&prefix, "") + "\n").collect()
}

/// Loads `text` as the main file.
fn load_text(text: &[u8]) -> Result<Config, Vec<Problem>> {
    let directory = tempfile::tempdir().unwrap();
    let main = directory.path().join("stealthcheck.yaml");
    fs::write(&main, text).unwrap();
    load(&main)
}

#[test]
fn bad_files_get_their_exact_messages() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/bad");
    let mut cases: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .collect::<io::Result<Vec<_>>>()
        .unwrap()
        .iter()
        .map(|e| e.path())
        .collect();
    cases.sort();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let expected = fs::read_to_string(case.join("expected")).unwrap();
        let problems = load(&case.join("stealthcheck.yaml")).err().unwrap_or_default();
        let found = printed(&problems, &case);
        if found != expected || found.is_empty() {
            wrong.push(format!("== {}\n-- expected\n{expected}-- found\n{found}", case.display()));
        }
        for problem in problems {
            assert_eq!(problem.to_string().lines().count(), 1, "{problem:?}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
