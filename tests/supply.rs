//! What the crate is made of: no unsafe code of its own, in whatever is built from this repository, and dependencies by
//! rules whose exceptions have reasons. (The rules are kept by cargo-deny, a stage of ./tests/run.)

// Helpers outside of `#[test]` functions may fail a test as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust of the repository, the fuzz targets (a package of their own) included.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Whether a line of code has this as a word of its own.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.split(|c| !part(c)).any(|each| each == word)
}

#[test]
fn there_is_no_unsafe_code_and_none_can_be_added() {
    // Held by the compiler for all targets of this package: `forbid` cannot be allowed again further in.
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lints = manifest.split("[lints.rust]\n").nth(1).expect("a section [lints.rust]");
    let lints = lints.split("\n[").next().unwrap();
    assert!(lints.lines().any(|line| line == "unsafe_code = \"forbid\""), "{lints}");
    // And held here for what is none of its targets.
    // (Not written out, or this line would be found.)
    let word = ["un", "safe"].concat();
    let files = sources(root());
    assert!(files.len() > 200, "only {} files were found", files.len());
    assert!(
        files.iter().any(|file| file.ends_with("tests/fuzz/targets/config.rs")),
        "the fuzz targets are not among them"
    );
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in code {
            assert!(!has_word(line, &word), "{}:{}: {line}", file.display(), number + 1);
        }
    }
}

#[test]
fn every_exception_of_the_supply_chain_has_a_reason() {
    let rules = fs::read_to_string(root().join("deny.toml")).unwrap();
    for rule in [
        "multiple-versions = \"deny\"",
        "wildcards = \"deny\"",
        "yanked = \"deny\"",
        "unmaintained = \"all\"",
        "unsound = \"all\"",
        "unknown-registry = \"deny\"",
        "unknown-git = \"deny\"",
        "allow-git = []",
    ] {
        assert!(rules.lines().any(|line| line == rule), "{rule} is gone from deny.toml");
    }
    // An entry is a line: a crate or an advisory, and why.
    let entries = rules.lines().filter(|line| line.trim_start().starts_with('{'));
    let mut seen = 0;
    for entry in entries {
        let reason =
            entry.split("reason = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        assert!(reason.len() >= 10, "without a reason: {entry}");
        seen += 1;
    }
    assert!(seen >= 4, "{seen} entries were found");
    // Neither list has an entry of another form.
    for list in ["skip", "skip-tree", "ignore", "exceptions"] {
        let Some(text) = rules.split(&format!("\n{list} = [")).nth(1) else { continue };
        let text = text.split(']').next().unwrap();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            assert!(line.starts_with('{'), "{list}: {line}");
        }
    }
}
