//! What fuzzing found (tests/fuzz/), played again: files that once broke a promise, in `tests/fuzz/found/TARGET/`, and the
//! seeds that the fuzzer starts from, in `tests/fuzz/seeds/TARGET/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fuzz/harness.rs"]
// The targets have their directory from it; a test has one of its own.
#[allow(dead_code)]
mod harness;

use std::fs;
use std::path::Path;

/// The files of a target; there is at least a seed.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut found = Vec::new();
    for kind in ["seeds", "found"] {
        let Ok(directory) = fs::read_dir(top.join(kind).join(target)) else { continue };
        for entry in directory.map(Result::unwrap) {
            found.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap()));
        }
    }
    assert!(!found.is_empty(), "no seeds for {target}");
    found
}

#[test]
fn configurations() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files("config") {
        println!("{name}");
        harness::config(directory.path(), &bytes);
    }
}

#[test]
fn states() {
    for (name, bytes) in files("state") {
        println!("{name}");
        harness::state(&bytes);
    }
}

#[test]
fn spooled_mails() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files("spool") {
        println!("{name}");
        harness::spool(directory.path(), &bytes);
    }
}
