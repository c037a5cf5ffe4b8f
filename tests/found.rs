//! What fuzzing found (tests/fuzz/), played again: files that once broke a promise, in `tests/fuzz/found/TARGET/`, and the
//! seeds that the fuzzer starts from, in `tests/fuzz/seeds/TARGET/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fuzz/harness/mod.rs"]
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

/// Plays all files of a target.
fn replay(target: &str, play: impl Fn(&Path, &[u8])) {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files(target) {
        println!("{name}");
        play(directory.path(), &bytes);
    }
}

#[test]
fn configurations() {
    replay("config", harness::config);
}

#[test]
fn states() {
    replay("state", |_, bytes| harness::state(bytes));
}

#[test]
fn spooled_mails() {
    replay("spool", harness::spool);
}

#[test]
fn calls_on_the_bus() {
    replay("bus", |_, bytes| harness::calls(bytes));
}

#[test]
fn files_of_the_old_tool() {
    replay("import", harness::import);
}

#[test]
fn names() {
    replay("name", |_, bytes| harness::name(bytes));
}

#[test]
fn texts_from_outside() {
    replay("text", |_, bytes| {
        harness::shown(bytes);
        harness::notice(bytes);
    });
}

#[test]
fn answers_of_dns_servers() {
    replay("dns", |_, bytes| harness::dns(bytes));
}

#[test]
fn certificates_of_servers() {
    replay("certificate", |_, bytes| harness::certificate(bytes));
}

#[test]
fn requests_to_the_listener() {
    replay("request", |_, bytes| harness::request(bytes));
}
