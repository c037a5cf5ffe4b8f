//! Unit files as text, with every value quoted as systemd reads it back.
//!
//! In: what a service runs, where and as whom. Out: the file. Whoever calls it sees to it that what goes into a path
//! setting [`fits_path`]; command lines take any text.
//!
//! The rules are those of systemd.service(5), COMMAND LINES, and systemd.syntax(7): a word in double quotes has C
//! escapes, `%` begins a specifier in it and `$` a variable, each doubled stands for itself.

use std::fmt::Write as _;

use super::Surroundings;
use super::service::{Kind, Output, Service};
use crate::text::{acts, visible};

/// The file of a service that was made from a line of the old tool's.
pub(super) fn text(service: &Service, wanted_by: &str) -> String {
    let mut file = String::new();
    for line in [&service.origin, &format!("The old line: {}", visible(&service.line))] {
        let _ = writeln!(file, "# {line}");
    }
    let _ = write!(file, "\n[Unit]\nDescription={}\n", description(service));
    if service.kind == Kind::Kept {
        file.push_str("After=network.target\n");
    }
    file.push_str("\n[Service]\n");
    match service.kind {
        Kind::Kept => {
            file.push_str("Type=exec\n");
            file.push_str("# Up for as long as any of its processes lives, also where a script starts the program and ends.\n");
            file.push_str("ExitType=cgroup\n");
        }
        Kind::Launched => {
            file.push_str("# Each start runs the old line once and does not wait for its end: it may be a server or a script.\n");
            file.push_str("Type=oneshot\n");
            file.push_str("KillMode=process\n");
        }
    }
    if let Some(user) = &service.user {
        let _ = writeln!(file, "User={}", percent(user));
    }
    let _ = writeln!(file, "WorkingDirectory={}", percent(&service.directory));
    for (name, value) in &service.environment {
        let _ = writeln!(file, "Environment={}", quoted(&percent(&format!("{name}={value}"))));
    }
    let _ = writeln!(file, "ExecStart={}", command_line(service));
    if let Some(output) = &service.output {
        let _ = writeln!(file, "StandardOutput={}", standard(output));
    }
    if let Some(error) = &service.error {
        let _ = writeln!(file, "StandardError={}", standard(error));
    }
    if service.kind == Kind::Kept {
        let _ = write!(file, "\n[Install]\nWantedBy={wanted_by}\n");
    }
    file
}

/// What loosens the unit of a `command` probe, so that the old line finds what it found before: its user, its directory
/// and the whole machine. stealthcheck-probe@.service has a sandbox that only a command made for it is sure to bear.
pub(super) fn probe_drop_in(origin: &str, around: &Surroundings<'_>) -> String {
    let mut file = format!("# {origin}\n[Service]\n");
    if let Some(user) = around.run_as {
        let _ = writeln!(
            file,
            "# As whom and where the old tool ran it.\nDynamicUser=no\nUser={}",
            percent(user)
        );
    }
    let _ = writeln!(file, "WorkingDirectory={}", percent(around.cwd));
    file.push_str("# No sandbox, as before. Take these lines out if the command does without.\n");
    for setting in SANDBOX {
        let _ = writeln!(file, "{setting}");
    }
    file
}

/// Each setting of the sandbox, taken back.
const SANDBOX: &[&str] = &[
    "CapabilityBoundingSet=~",
    "DevicePolicy=auto",
    "KeyringMode=inherit",
    "LockPersonality=no",
    "MemoryDenyWriteExecute=no",
    "NoNewPrivileges=no",
    "PrivateDevices=no",
    "PrivateIPC=no",
    "PrivateTmp=no",
    "PrivateUsers=no",
    "ProtectClock=no",
    "ProtectControlGroups=no",
    "ProtectHome=no",
    "ProtectHostname=no",
    "ProtectKernelLogs=no",
    "ProtectKernelModules=no",
    "ProtectKernelTunables=no",
    "ProtectProc=default",
    "ProtectSystem=no",
    "RemoveIPC=no",
    "RestrictAddressFamilies=",
    "RestrictNamespaces=no",
    "RestrictRealtime=no",
    "RestrictSUIDSGID=no",
    "SystemCallArchitectures=",
    "SystemCallFilter=",
    "UMask=0022",
];

fn description(service: &Service) -> String {
    percent(&visible(&service.description)).trim_end_matches('\\').to_owned()
}

fn standard(output: &Output) -> String {
    match output {
        Output::Null => "null".to_owned(),
        Output::Same => "inherit".to_owned(),
        Output::Journal => "journal".to_owned(),
        Output::Append(path) => format!("append:{}", percent(path)),
        Output::Truncate(path) => format!("truncate:{}", percent(path)),
    }
}

/// `ExecStart=`'s value.
pub(super) fn command_line(service: &Service) -> String {
    let launcher = match service.kind {
        Kind::Kept => &[][..],
        // setsid(1) is in util-linux, which every Debian has.
        Kind::Launched => &["/usr/bin/setsid", "--fork"],
    };
    let words = launcher.iter().copied().chain(service.words.iter().map(String::as_str));
    words.map(word).collect::<Vec<_>>().join(" ")
}

/// A word of a command line.
pub(super) fn word(text: &str) -> String {
    quoted(&percent(text).replace('$', "$$"))
}

/// In double quotes where it must be.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,+%$".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut word = String::with_capacity(text.len() + 2);
    word.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '\n' => word.push_str("\\n"),
            '\t' => word.push_str("\\t"),
            '\r' => word.push_str("\\r"),
            c if c.is_ascii_control() => {
                let _ = write!(word, "\\x{:02x}", u32::from(c));
            }
            // What turns a line round, or cannot be seen, stands written out for whoever reads the file.
            c if acts(c) => {
                let _ = write!(word, "\\U{:08x}", u32::from(c));
            }
            c => word.push(c),
        }
    }
    word.push('"');
    word
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
            ("a\nb\tc\u{1}", "\"a\\nb\\tc\\x01\""),
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
