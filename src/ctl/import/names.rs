//! Names: the old tool's checks had none.
//!
//! In: hints, such as the name of a program or the host of a URL. Out: names that are valid for a check and a unit,
//! each given once.

use std::collections::BTreeMap;

use super::recovery::{absolute, base_name, ends};

/// Well within what a check's name (64), and a unit's instance made of it, may have, with room for a number.
const LONGEST: usize = 48;
/// Names of programs that say nothing: the directory they are in says more.
const GENERIC: [&str; 9] = ["index", "main", "app", "server", "run", "start", "bin", "dist", "build"];
/// Programs that are called by the script that they run.
const INTERPRETERS: [&str; 8] = ["node", "python", "python3", "perl", "ruby", "php", "bash", "sh"];

/// The names that are given, and the last number that was put behind each.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, u32>);

impl Names {
    /// `wanted`, or with the next number behind it that makes it a new name.
    pub(super) fn give(&mut self, wanted: &str, taken: impl Fn(&str) -> bool) -> String {
        let mut name = wanted.to_owned();
        while self.0.contains_key(&name) || taken(&name) {
            let number = self.0.entry(wanted.to_owned()).or_insert(1);
            *number += 1;
            name = format!("{wanted}-{number}");
        }
        self.0.insert(name.clone(), 1);
        name
    }
}

/// What of a hint can stand in the name of a check and of a unit.
pub(super) fn plain(hint: &str) -> String {
    let can = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let parts = hint.split(|c| !can(c)).filter(|part| !part.is_empty());
    let mut name = parts.collect::<Vec<_>>().join("-");
    name.truncate(LONGEST);
    name.trim_matches(['-', '.']).to_owned()
}

/// What a command is called for short: `gru` for `node /srv/gru/index.js`, `service1` for `ssh me@host ./service1.sh`.
/// `None` for one that says more about what it does than about what it is for.
pub(super) fn called(argv: &[String], directory: &str) -> Option<String> {
    let program = argv.first()?;
    let told = match base_name(program) {
        "ssh" => argv.iter().skip_while(|word| !word.contains('@')).nth(1)?.split_whitespace().next()?,
        name if INTERPRETERS.contains(&name) => argv.iter().skip(1).find(|word| !word.starts_with('-'))?,
        name if ends(name) => return None,
        _ => program,
    };
    let path = absolute(directory, told);
    let mut names = path.rsplit('/').map(|part| part.rsplit_once('.').map_or(part, |(stem, _)| stem));
    names.find(|name| !GENERIC.contains(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_called_by_what_tells_them_apart() {
        for (command, name) in [
            ("./service1", "service1"),
            ("node /srv/gru/index.js", "gru"),
            ("node /srv/gru/dist/main.js", "gru"),
            ("node --no-warnings index.js", "old"),
            ("../stealthcheck -port 1", "stealthcheck"),
            ("bash ./restart_it.sh", "restart_it"),
            ("ssh -p 22 me@host ./service1", "service1"),
            (".hidden", ""),
        ] {
            let argv: Vec<_> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(called(&argv, "/srv/old").as_deref(), Some(name), "{command}");
        }
        for unclear in ["ssh host x", "killall x", "sudo -E x"] {
            let argv: Vec<_> = unclear.split(' ').map(str::to_owned).collect();
            assert_eq!(called(&argv, "/"), None, "{unclear}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        for (hint, name) in [("a b/c", "a-b-c"), ("é", ""), ("-x.", "x"), ("localhost:80", "localhost-80")] {
            assert_eq!(plain(hint), name);
        }
        assert_eq!(plain(&"x".repeat(300)).len(), LONGEST);
        let taken = |name: &str| name == "nginx";
        let mut names = Names::default();
        for (wanted, given) in [
            ("web", "web"),
            ("web", "web-2"),
            ("web-2", "web-2-2"),
            ("web", "web-3"),
            ("nginx", "nginx-2"),
            ("nginx", "nginx-3"),
        ] {
            assert_eq!(names.give(wanted, taken), given);
        }
    }
}
