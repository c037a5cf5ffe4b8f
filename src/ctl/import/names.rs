//! Names: the old tool's checks had none.
//!
//! In: hints, such as the name of a program or the host of a URL. Out: names that are valid for a check and a unit,
//! each given once. A unit never gets the name of one that the machine already has: its file would take that one's
//! place.

use std::collections::{BTreeMap, BTreeSet};

use super::Surroundings;
use super::service::{absolute, base_name};

/// Well within what a check's name (64), and a unit's instance made of it, may have, with room for a number.
const LONGEST: usize = 48;
/// Names of programs that say nothing: the directory they are in says more.
const GENERIC: &[&str] =
    &["index", "main", "app", "server", "run", "start", "service", "daemon", "bin", "dist", "build"];

/// The names that are given.
#[derive(Debug, Default)]
pub(super) struct Names {
    checks: Given,
    units: Given,
}

/// Names, and the last number that was put behind each.
#[derive(Debug, Default)]
struct Given {
    names: BTreeSet<String>,
    numbers: BTreeMap<String, u32>,
}

impl Given {
    /// `stem`, or with the next number behind it that nobody has.
    fn give(&mut self, stem: &str, taken: impl Fn(&str) -> bool) -> String {
        let number = self.numbers.entry(stem.to_owned()).or_insert(1);
        let mut name = stem.to_owned();
        while self.names.contains(&name) || taken(&name) {
            *number += 1;
            name = format!("{stem}-{number}");
        }
        self.names.insert(name.clone());
        name
    }
}

impl Names {
    /// A name for a check, from the first hint that has something to it.
    pub(super) fn check(&mut self, hints: &[String]) -> String {
        let stem = hints.iter().map(|hint| plain(hint)).find(|hint| !hint.is_empty());
        self.checks.give(&stem.unwrap_or_else(|| "check".to_owned()), |_| false)
    }

    /// The name of a new unit, with its suffix.
    pub(super) fn service(&mut self, stem: &str, around: &Surroundings<'_>) -> String {
        let taken = |stem: &str| stem == "stealthcheck" || (around.unit_exists)(&format!("{stem}.service"));
        format!("{}.service", self.units.give(stem, taken))
    }
}

/// What of a hint can stand in the name of a check and of a unit.
fn plain(hint: &str) -> String {
    let can = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut name: String = hint.chars().map(|c| if can(c) { c } else { '-' }).collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    name.truncate(LONGEST);
    name.trim_matches(['-', '.']).to_owned()
}

/// What a program is called for short: `gru` for `/srv/gru/index.js`, `service1` for `./service1.sh`.
pub(super) fn of_program(path: &str) -> String {
    let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..").rev();
    let file = parts.next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let stem = if stem.is_empty() { file } else { stem };
    match parts.find(|part| !GENERIC.contains(part)) {
        Some(directory) if GENERIC.contains(&stem) => directory.to_owned(),
        _ => stem.to_owned(),
    }
}

/// What a program is called, by the script that an interpreter runs or the program that ssh runs elsewhere.
pub(super) fn called(words: &[String], directory: &str) -> Option<String> {
    const INTERPRETERS: [&str; 14] = [
        "node", "nodejs", "python", "python3", "perl", "ruby", "php", "java", "bash", "sh", "env", "nice",
        "timeout", "xvfb-run",
    ];
    let program = words.first()?;
    let base = base_name(program);
    let name = if base == "ssh" {
        let remote = words.get(ssh_destination(words)? + 1)?;
        of_program(remote.split_whitespace().next()?)
    } else if INTERPRETERS.contains(&base) {
        let script = words.iter().skip(1).find(|word| !word.starts_with('-'))?;
        match script.contains(char::is_whitespace) {
            true => base.to_owned(),
            false => of_program(&absolute(directory, script)),
        }
    } else if program.contains('/') {
        of_program(&absolute(directory, program))
    } else {
        of_program(program)
    };
    Some(name)
}

/// Where in ssh's words the destination is: behind the options of ssh(1), some of which take a value.
fn ssh_destination(words: &[String]) -> Option<usize> {
    const WITH_VALUE: &str = "BbcDEeFIiJLlmOopQRSWw";
    let mut at = 1;
    while let Some(option) = words.get(at)?.strip_prefix('-') {
        let value_follows = option.chars().position(|c| WITH_VALUE.contains(c))
            == Some(option.chars().count() - 1)
            && !option.is_empty();
        at += if value_follows { 2 } else { 1 };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_called_by_what_tells_them_apart() {
        for (path, name) in [
            ("./service1", "service1"),
            ("/srv/gru/index.js", "gru"),
            ("/srv/gru/dist/main.js", "gru"),
            ("index.js", "index"),
            ("../stealthcheck", "stealthcheck"),
            ("./restart_it.sh", "restart_it"),
            (".hidden", ".hidden"),
            ("", ""),
        ] {
            assert_eq!(of_program(path), name, "{path}");
        }
    }

    #[test]
    fn a_name_is_given_once_and_never_taken_from_a_unit_of_the_machine() {
        let exists = |unit: &str| unit == "nginx.service";
        let around = Surroundings { unit_exists: &exists, ..Surroundings::for_tests() };
        let mut names = Names::default();
        assert_eq!(names.check(&["a b/c".into()]), "a-b-c");
        assert_eq!(names.check(&[String::new(), "a-b-c".into()]), "a-b-c-2");
        assert_eq!(names.check(&["é".into()]), "check");
        assert_eq!(names.check(&["x".repeat(300)]).len(), LONGEST);
        assert_eq!(names.service("web", &around), "web.service");
        assert_eq!(names.service("web", &around), "web-2.service");
        assert_eq!(names.service("nginx", &around), "nginx-2.service");
        assert_eq!(names.service("stealthcheck", &around), "stealthcheck-2.service");
    }
}
