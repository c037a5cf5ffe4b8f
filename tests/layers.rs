//! Dependencies point one way. This reads the `use` lines and every `crate::` path of src/ and holds the rule that
//! stands in src/lib.rs: bin → supervisor, ctl → the shell's modules → engine, config → the vocabulary. The shell's
//! modules do not know each other, and the core touches no clock, no file and no socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Values that everybody may speak of.
const VOCABULARY: &[&str] = &["check", "notification", "status", "text", "time", "unit", "verdict"];
/// Pure, and on top of the vocabulary.
const CORE: &[&str] = &["engine", "config"];
/// Each talks to one part of the world.
const SHELL: &[&str] = &["bus", "journal", "lease", "listen", "mail", "probe", "service_manager", "systemd"];
/// What `bus` and `systemd` have in common.
const TRANSPORT: &str = "dbus_socket";
/// They join the parts.
const TOP: &[&str] = &["supervisor", "ctl"];

fn allowed(module: &str) -> Option<BTreeSet<&'static str>> {
    let mut allowed: BTreeSet<&str> = VOCABULARY.iter().copied().collect();
    if VOCABULARY.contains(&module) || CORE.contains(&module) {
        return Some(allowed);
    }
    if module == TRANSPORT {
        return Some(allowed);
    }
    allowed.extend(CORE);
    allowed.insert(TRANSPORT);
    if SHELL.contains(&module) {
        return Some(allowed);
    }
    allowed.extend(SHELL);
    TOP.contains(&module).then_some(allowed)
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The modules below `parent` that `text` names: of `crate::` in `use crate::{a, b::c}` and in `crate::a::b` alike.
fn named(text: &str, parent: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(parent) {
        let rest = &text[at + parent.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            for (start, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    _ => {}
                }
                let begins = depth == 0
                    && (start == 0 || group[..start].trim_end().ends_with(','))
                    && c.is_ascii_lowercase();
                if begins {
                    names.insert(word(&group[start..]));
                }
            }
        } else {
            names.insert(word(rest));
        }
    }
    names.remove("");
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit()).collect()
}

/// The text without comments: prose may speak of anything.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn module_of(path: &Path, src: &Path) -> String {
    let first = path.strip_prefix(src).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

#[test]
fn modules_know_only_what_is_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for path in sources(&src) {
        let module = module_of(&path, &src);
        if module == "lib" || module == "bin" {
            continue;
        }
        let allowed = allowed(&module).unwrap_or_else(|| panic!("{module} has no place in the layers"));
        for name in named(&code(&fs::read_to_string(&path).unwrap()), "crate::") {
            if name != module && !allowed.contains(name.as_str()) {
                broken.push(format!("{} names crate::{name}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What owns a type in the engine: a file with the folder of its name.
#[test]
fn owners_in_the_engine_form_no_circle() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources(&engine) {
        let owner = module_of(&path, &engine);
        let text = code(&fs::read_to_string(&path).unwrap());
        let text = text.split("#[cfg(test)]").next().unwrap();
        let mut names = named(text, "crate::engine::");
        let own_file = path.parent() == Some(&engine);
        names.extend(named(text, if own_file { "super::" } else { "super::super::" }));
        names.remove(&owner);
        arrows.entry(owner).or_default().extend(names);
    }
    assert!(arrows["group"].contains("check") && arrows["view"].contains("group"), "{arrows:#?}");
    // Whoever points at nobody that is left is in no circle.
    loop {
        let left: BTreeSet<String> = arrows.keys().cloned().collect();
        let before = arrows.len();
        arrows.retain(|_, names| names.iter().any(|name| left.contains(name)));
        if arrows.len() == before {
            break;
        }
    }
    assert!(arrows.is_empty(), "these name each other in a circle: {arrows:#?}");
}

#[test]
fn the_core_touches_no_clock_no_file_and_no_socket() {
    const OUTSIDE: &[&str] = &[
        "tokio",
        "zbus",
        "std::fs",
        "std::net",
        "std::io",
        "Instant::now",
        "SystemTime::now",
        "std::env",
        "rand",
        "std::process",
        "rustix",
        "Zoned::now",
        "Timestamp::now",
    ];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for path in sources(&src) {
        let module = module_of(&path, &src);
        if module == "engine" || VOCABULARY.contains(&module.as_str()) {
            let text = code(&fs::read_to_string(&path).unwrap());
            let found = OUTSIDE.iter().filter(|word| text.contains(**word));
            broken.extend(found.map(|word| format!("{} speaks of {word}", path.display())));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_reader_of_paths_sees_them_all() {
    let text = "use crate::{mail, probe::text, engine::{Action, saved}};\nlet x = crate::systemd::run();";
    let names: Vec<String> = named(text, "crate::").into_iter().collect();
    assert_eq!(names, ["engine", "mail", "probe", "systemd"]);
}
