//! Unit files as text, with every value quoted as systemd reads it back.
//!
//! In: what a service runs, where and as whom. Out: the file. Whoever calls it sees to it that what goes into a path
//! setting [`fits_path`]; command lines take any text.
//!
//! The rules are those of systemd.service(5), COMMAND LINES, and systemd.syntax(7): a word in double quotes has C
//! escapes, `%` begins a specifier in it and `$` a variable, each doubled stands for itself.

use std::fmt::Write as _;

use super::Surroundings;
use super::recovery::Service;
use crate::text::{acts, sanitize};

/// A service that is up for as long as any of its processes lives, also where a script starts the program and ends.
const KEEPS_RUNNING: &str = "Type=exec\nExitType=cgroup\n";
const LAUNCHED: &str = "# Each start runs the old line once and does not wait for its end: it may be a server or a script.\n\
                        Type=oneshot\nKillMode=process\n";

/// The file of the service that runs the fail command of the check with this number. `line`: the old one, for people.
pub(super) fn text(service: &Service, number: usize, line: &str, around: &Surroundings<'_>) -> String {
    let description = percent(&sanitize(line, 80));
    let mut file = format!(
        "{}# The old line: {line}\n\n[Unit]\nDescription={}\nAfter=network.target\n\n[Service]\n{}",
        origin(number),
        description.trim_end_matches('\\'),
        if service.keeps_running { KEEPS_RUNNING } else { LAUNCHED },
    );
    if let Some(user) = around.run_as {
        let _ = writeln!(file, "User={user}");
    }
    let _ = writeln!(file, "WorkingDirectory={}", percent(&service.directory));
    // setsid(1) is in util-linux, which every Debian has.
    let launcher = if service.keeps_running { "" } else { "/usr/bin/setsid --fork " };
    let words: Vec<String> = service.exec.iter().map(|text| word(text)).collect();
    let _ = writeln!(file, "ExecStart={launcher}{}", words.join(" "));
    if service.keeps_running {
        let target = if around.run_as.is_some() { "multi-user.target" } else { "default.target" };
        let _ = write!(file, "\n[Install]\nWantedBy={target}\n");
    }
    file
}

/// Where a file comes from.
fn origin(number: usize) -> String {
    format!("# Written by `stealthctl import` from check {number} of checks.json. Change it as you like.\n")
}

/// What loosens the unit of a `command` probe, so that the old line finds what it found before: its user, its directory
/// and the whole machine. stealthcheck-probe@.service has a sandbox that only a command made for it is sure to bear.
pub(super) fn probe_drop_in(number: usize, around: &Surroundings<'_>) -> String {
    let mut file = format!("{}[Service]\n", origin(number));
    if let Some(user) = around.run_as {
        let _ = write!(file, "# As whom and where the old tool ran it.\nDynamicUser=no\nUser={user}\n");
    }
    let _ = writeln!(file, "WorkingDirectory={}", percent(around.cwd));
    file.push_str("# No sandbox, as before. Take these lines out if the command does without.\n");
    file.extend(OFF.split_whitespace().map(|setting| format!("{setting}=no\n")));
    file + OTHERS
}

/// The settings of the sandbox that are taken back by `no`, and the others.
const OFF: &str = "LockPersonality MemoryDenyWriteExecute NoNewPrivileges PrivateDevices PrivateIPC PrivateTmp \
    PrivateUsers ProtectClock ProtectControlGroups ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules \
    ProtectKernelTunables ProtectSystem RemoveIPC RestrictNamespaces RestrictRealtime RestrictSUIDSGID";
const OTHERS: &str = "CapabilityBoundingSet=~\nDevicePolicy=auto\nKeyringMode=inherit\nProtectProc=default\n\
    RestrictAddressFamilies=\nSystemCallArchitectures=\nSystemCallFilter=\nUMask=0022\n";

/// A word of a command line.
fn word(text: &str) -> String {
    quoted(&percent(text).replace('$', "$$"))
}

/// In double quotes where it must be.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,+%$".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut word = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '\n' => word.push_str("\\n"),
            // What turns a line round, or cannot be seen, stands written out for whoever reads the file.
            c if acts(c) => word.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => word.push(c),
        }
    }
    word + "\""
}

/// No specifier in it.
fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

/// Whether a setting that takes a path as it stands can have this one: absolute, without `..`, and nothing in it that
/// ends a line, continues it, or is trimmed.
pub(super) fn fits_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains(acts)
        && !path.ends_with('\\')
        && path.trim() == path
        && !path.split('/').any(|part| part == "..")
}

/// Whether this can be the program of a command line: it is not subject to variables as the arguments are, and a name
/// has no prefix that means something.
pub(super) fn fits_program(program: &str) -> bool {
    let plain = |c: char| !acts(c) && c != '$' && c != '\\';
    let absolute = program.starts_with('/') && !program.ends_with('/');
    let name = !program.contains('/') && !program.starts_with(['-', '@', ':', '+', '!', '|']);
    !program.is_empty() && (absolute || name) && program.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What systemd makes of a command line: words by the rules of extract_first_word() with unquoting and C escapes,
    /// then specifiers, then variables of an empty environment.
    fn read_back(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut chars = line.chars().peekable();
        loop {
            while chars.next_if(|c| *c == ' ').is_some() {}
            if chars.peek().is_none() {
                return words;
            }
            let mut word = String::new();
            let mut quote = false;
            while let Some(c) = chars.next() {
                match c {
                    '"' => quote = !quote,
                    '\\' => match chars.next().unwrap() {
                        'n' => word.push('\n'),
                        't' => word.push('\t'),
                        'r' => word.push('\r'),
                        'x' => {
                            let hex: String = chars.by_ref().take(2).collect();
                            word.push(char::from(u8::from_str_radix(&hex, 16).unwrap()));
                        }
                        c @ ('"' | '\\') => word.push(c),
                        'U' => {
                            let hex: String = chars.by_ref().take(8).collect();
                            word.push(char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap());
                        }
                        other => panic!("escape {other}"),
                    },
                    ' ' if !quote => break,
                    '\'' if !quote => panic!("a quote outside of quotes"),
                    c => word.push(c),
                }
            }
            assert!(!quote, "an open quote: {line}");
            words.push(halved(&halved(&word, '%'), '$'));
        }
    }

    /// Each pair is one; a single one would be a specifier or a variable.
    fn halved(text: &str, sign: char) -> String {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c == sign {
                assert_eq!(chars.next(), Some(sign), "a lone {sign} in {text}");
            }
            out.push(c);
        }
        out
    }

    #[test]
    fn words_are_quoted_where_they_must_be() {
        for (text, written) in [
            ("./service1", "./service1"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            (";", "\";\""),
            ("100%", "100%%"),
            ("$HOME", "$$HOME"),
            ("say \"hi\" \\ 'x'", "\"say \\\"hi\\\" \\\\ 'x'\""),
            ("a\nb\tc\u{1}", "\"a\\nb\\U00000009c\\U00000001\""),
            ("é", "\"é\""),
        ] {
            assert_eq!(word(text), written);
        }
    }

    #[test]
    fn paths_that_a_setting_would_read_otherwise_are_told_apart() {
        assert!(fits_path("/srv/a b/100%/log.txt"));
        for bad in ["log.txt", "", "/a\n", "/a\\", "/a ", "/a/../b", "/a\u{7f}"] {
            assert!(!fits_path(bad), "{bad:?}");
        }
        assert!(fits_program("/usr/bin/env") && fits_program("node"));
        for bad in ["", "-x", "@x", "./x", "/a$b", "/a/", "a/b"] {
            assert!(!fits_program(bad), "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_what_systemd_reads(words in proptest::collection::vec("[^\0]{0,20}", 1..6)) {
            let line = words.iter().map(|text| word(text)).collect::<Vec<_>>().join(" ");
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(read_back(&line), words);
        }

        #[test]
        fn shell_lines_survive(line in r#"[ -~\n\t]{0,60}"#) {
            prop_assert_eq!(read_back(&word(&line)), [line]);
        }
    }
}
