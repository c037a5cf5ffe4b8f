//! What fuzzing found (tests/fuzz/), played again: files that once broke a promise, in `tests/fuzz/found/TARGET/`, and
//! the seeds that the fuzzer starts from, in `tests/fuzz/seeds/TARGET/`; and some that differ a little from these.
//!
//! `MUTATIONS=100000 cargo test --test found import` tries that many, for a machine without cargo-fuzz.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fuzz/harness/mod.rs"]
// The targets have their directory from it; a test has one of its own.
#[allow(dead_code)]
mod harness;

#[path = "fuzz/mutate.rs"]
mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
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

/// Plays all files of a target, and `mutations` more; the one that fails is printed.
fn replay(target: &str, mutations: usize, play: impl Fn(&Path, &[u8])) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = files(target);
    for (name, bytes) in &files {
        println!("{name}");
        play(directory.path(), bytes);
    }
    let wanted = std::env::var("MUTATIONS").ok().and_then(|wanted| wanted.parse().ok());
    for n in 0..wanted.unwrap_or(mutations) {
        let mut mutator = mutate::Mutator::new(n as u64);
        let (name, bytes) = &files[n % files.len()];
        let (_, other) = &files[n / files.len() % files.len()];
        let changed = mutator.change(bytes, other);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(directory.path(), &changed))) {
            let kept = std::env::temp_dir().join(format!("found-{target}-{n}"));
            let _ = fs::write(&kept, &changed);
            println!(
                "{name}, changed ({n}), which is now {}:\n{:?}",
                kept.display(),
                changed.escape_ascii().to_string()
            );
            resume_unwind(panic);
        }
    }
}

#[test]
fn configurations() {
    replay("config", 300, harness::config);
}

#[test]
fn states() {
    replay("state", 6, |_, bytes| harness::state(bytes));
}

#[test]
fn spooled_mails() {
    replay("spool", 300, harness::spool);
}

#[test]
fn calls_on_the_bus() {
    replay("bus", 40, |_, bytes| harness::calls(bytes));
}

#[test]
fn files_of_the_old_tool() {
    replay("import", 300, harness::import);
}

#[test]
fn names() {
    replay("name", 3000, |_, bytes| harness::name(bytes));
}

#[test]
fn texts_from_outside() {
    replay("text", 200, |_, bytes| {
        harness::shown(bytes);
        harness::notification(bytes);
    });
}

#[test]
fn answers_of_dns_servers() {
    replay("dns", 30, |_, bytes| harness::dns(bytes));
}

#[test]
fn certificates_of_servers() {
    replay("certificate", 60, |_, bytes| harness::certificate(bytes));
}

#[test]
fn requests_to_the_listener() {
    replay("request", 40, |_, bytes| harness::request(bytes));
}
