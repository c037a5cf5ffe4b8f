//! What becomes of a check command.
//!
//! In: the line. Out: a probe that passes and fails when the command did, as far as one can; any other line is a
//! command still. It decides nothing about units: what `pgrep` looked for is matched with the fail command by `plan`.

use std::time::Duration;

use super::curl::{self, Request};
use super::recovery::unit_name;
use super::service::base_name;
use super::shell::{self, Command, Joint, Line, Sink, Source};
use crate::check::HostPort;
use crate::unit::UnitName;

/// What a check command becomes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Probing {
    /// It always passed.
    Always,
    Http(Request),
    /// `nc -z`
    Tcp {
        address: HostPort,
        timeout: Option<Duration>,
    },
    /// `systemctl is-active`
    Unit(UnitName),
    /// `pgrep`
    Process(Pattern),
    /// Whatever else; the clause says why it is no other probe.
    Command(String),
}

/// What `pgrep` looked for, where that is a plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub text: String,
    /// `-f`: in the whole command line, not only in the program's name.
    pub whole_line: bool,
    /// `-x`, `pidof`: the whole name.
    pub exact: bool,
}

impl Pattern {
    /// Whether what it looks for is just the program that runs as `argv`, and not another that this one starts.
    pub(super) fn means(&self, argv: &[String]) -> bool {
        let Some((program, arguments)) = argv.split_first() else { return false };
        let name = base_name(program);
        if !self.whole_line {
            return self.is_name(name);
        }
        let line = |program: &str| {
            let words = std::iter::once(program).chain(arguments.iter().map(String::as_str));
            words.collect::<Vec<_>>().join(" ")
        };
        let script = arguments.first().map(String::as_str);
        let whole = [line(program), line(name)].contains(&self.text);
        whole
            || (!self.exact && [program, name].contains(&self.text.as_str()))
            || (!self.exact
                && script.is_some_and(|script| self.text == script || self.text == base_name(script)))
    }

    /// Whether it looks for a process of this name.
    pub(super) fn is_name(&self, name: &str) -> bool {
        /// The kernel keeps 15 bytes of a name, and pgrep compares with those.
        const KERNEL_NAME: usize = 15;
        !self.whole_line && (name == self.text || name.get(..KERNEL_NAME) == Some(&self.text))
    }
}

/// Reads a check command.
pub(super) fn read(line: &str) -> Probing {
    if matches!(line.trim(), "" | "true" | ":") {
        return Probing::Always;
    }
    let read =
        shell::parse(line).and_then(|parsed| alone(&parsed).cloned()).and_then(|command| known(&command));
    read.unwrap_or_else(Probing::Command)
}

/// The only command of the line: what stands around it changes nothing about its result.
fn alone(line: &Line) -> Result<&Command, String> {
    let fails = |command: &Command| match command.words.as_slice() {
        [program] => program == "false",
        [exit, status] => exit == "exit" && status.parse::<u8>().is_ok_and(|status| status != 0),
        _ => false,
    };
    let command = match line.steps.as_slice() {
        [only] if only.then.is_none() => &only.command,
        [only, otherwise]
            if only.then == Some(Joint::Or) && otherwise.then.is_none() && fails(&otherwise.command) =>
        {
            &only.command
        }
        _ => return Err("it is more than one command".to_owned()),
    };
    let quiet = |sink: &Sink| !matches!(sink, Sink::File { .. });
    if command.environment.is_empty()
        && command.input == Source::Null
        && quiet(&command.output)
        && quiet(&command.error)
    {
        Ok(command)
    } else {
        Err("it sets variables, or reads or writes files".to_owned())
    }
}

fn known(command: &Command) -> Result<Probing, String> {
    let (program, arguments) = command.words.split_first().ok_or("it is empty")?;
    match base_name(program) {
        "curl" => curl::read(arguments).map(Probing::Http),
        "nc" | "netcat" | "ncat" => nc(arguments),
        "pgrep" => pgrep(arguments).map(Probing::Process),
        "pidof" => match arguments {
            [name] => pattern(name, false, true).map(Probing::Process),
            _ => Err("it has options or several names".to_owned()),
        },
        "systemctl" => is_active(arguments).map(Probing::Unit),
        other => Err(format!("there is no probe like `{other}`")),
    }
}

/// `nc -z [-v] [-w SECONDS] HOST PORT`
fn nc(arguments: &[String]) -> Result<Probing, String> {
    let mut arguments = arguments.iter().map(String::as_str);
    let (mut scans, mut timeout, mut where_) = (false, None, Vec::new());
    while let Some(argument) = arguments.next() {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            where_.push(argument);
            continue;
        };
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            match letter {
                'z' => scans = true,
                'v' | 'n' => {}
                'w' => {
                    let here = letters.as_str();
                    let value = if here.is_empty() { arguments.next().unwrap_or_default() } else { here };
                    let seconds: u32 =
                        value.parse().map_err(|_| format!("`{value}` is no number of seconds"))?;
                    timeout = Some(Duration::from_secs(seconds.into())).filter(|time| !time.is_zero());
                    break;
                }
                other => return Err(format!("a tcp probe has nothing like nc's -{other}")),
            }
        }
    }
    let [host, port] = where_[..] else { return Err("nc is not given one host and one port".to_owned()) };
    if !scans {
        return Err("without -z nc waits for input".to_owned());
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let address = HostPort::parse(&format!("{host}:{port}"))?;
    Ok(Probing::Tcp { address, timeout })
}

/// `pgrep [-f] [-x] NAME`
fn pgrep(arguments: &[String]) -> Result<Pattern, String> {
    let (mut whole_line, mut exact, mut texts) = (false, false, Vec::new());
    for argument in arguments {
        match argument.strip_prefix('-') {
            Some(letters) if !letters.is_empty() => {
                for letter in letters.chars() {
                    match letter {
                        'f' => whole_line = true,
                        'x' => exact = true,
                        // Only what is printed.
                        'a' | 'l' | 'c' => {}
                        other => return Err(format!("pgrep's -{other} has no counterpart")),
                    }
                }
            }
            _ => texts.push(argument),
        }
    }
    match texts[..] {
        [text] => pattern(text, whole_line, exact),
        _ => Err("pgrep is not given one pattern".to_owned()),
    }
}

/// Only a text that means itself in a regular expression; a dot is as good as one.
fn pattern(text: &str, whole_line: bool, exact: bool) -> Result<Pattern, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./ :=,@%".contains(c);
    if text.is_empty() || !text.chars().all(plain) {
        return Err("it looks for a regular expression".to_owned());
    }
    Ok(Pattern { text: text.to_owned(), whole_line, exact })
}

/// `systemctl is-active [--quiet] UNIT`
fn is_active(arguments: &[String]) -> Result<UnitName, String> {
    let idle = |word: &&String| !matches!(word.as_str(), "-q" | "--quiet" | "--system");
    let words: Vec<&String> = arguments.iter().filter(idle).collect();
    match words[..] {
        [verb, name] if verb == "is-active" => {
            unit_name(name).ok_or_else(|| format!("`{name}` is no unit's name"))
        }
        _ => Err("it is not `systemctl is-active UNIT`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(text: &str, whole_line: bool, exact: bool) -> Probing {
        Probing::Process(Pattern { text: text.into(), whole_line, exact })
    }

    fn tcp(address: &str, seconds: Option<u64>) -> Probing {
        Probing::Tcp { address: HostPort::parse(address).unwrap(), timeout: seconds.map(Duration::from_secs) }
    }

    fn url(url: &str) -> Probing {
        Probing::Http(Request { url: url.to_owned(), ..Request::default() })
    }

    #[test]
    fn lines_become_the_probe_that_does_the_same() {
        let unit = |name: &str| Probing::Unit(UnitName::new(name).unwrap());
        for (line, probing) in [
            ("", Probing::Always),
            (" true ", Probing::Always),
            ("curl localhost:8486", url("http://localhost:8486/")),
            ("/usr/bin/curl -s 'http://a/?b&c' >/dev/null 2>&1", url("http://a/?b&c")),
            ("curl a || exit 1", url("http://a/")),
            ("curl a || false", url("http://a/")),
            ("nc -z localhost 22", tcp("localhost:22", None)),
            ("nc -vzw3 ::1 22", tcp("[::1]:22", Some(3))),
            ("nc -z -w 3 h 22", tcp("h:22", Some(3))),
            ("pgrep nginx", process("nginx", false, false)),
            ("pgrep -x nginx > /dev/null", process("nginx", false, true)),
            ("pgrep -fa 'node index.js'", process("node index.js", true, false)),
            ("pidof gru", process("gru", false, true)),
            ("systemctl is-active --quiet nginx", unit("nginx.service")),
            ("systemctl -q is-active a.socket", unit("a.socket")),
        ] {
            assert_eq!(read(line), probing, "{line}");
        }
    }

    #[test]
    fn everything_else_stays_a_command() {
        for (line, why) in [
            ("./custom_checker_script.sh", "no probe like `custom_checker_script.sh`"),
            ("test -f /run/x", "no probe like `test`"),
            ("ping -c1 host", "no probe like `ping`"),
            ("curl a | grep -q ok", "more than one command"),
            ("curl a || true", "more than one command"),
            ("curl a || exit 0", "more than one command"),
            ("curl a &", "more than one command"),
            ("cd /x && ./y", "more than one command"),
            ("curl $URL", "a variable"),
            ("curl a > /tmp/x", "writes files"),
            ("http_proxy=x curl a", "variables"),
            ("curl -d x a", "curl's -d"),
            ("nc host 22", "without -z"),
            ("nc -zu host 22", "nc's -u"),
            ("nc -z host 20-30", "not a port"),
            ("nc -z host", "one port"),
            ("pgrep -u root sshd", "pgrep's -u"),
            ("pgrep 'a|b'", "regular expression"),
            ("pidof -s gru", "options"),
            ("systemctl is-enabled x", "is-active"),
            ("systemctl is-active a b", "is-active"),
        ] {
            let Probing::Command(reason) = read(line) else { panic!("{line}: {:?}", read(line)) };
            assert!(reason.contains(why), "{line}: {reason}");
        }
    }

    #[test]
    fn a_pattern_means_a_program_and_not_what_starts_it() {
        let means = |pattern: &str, line: &str| {
            let Probing::Process(pattern) = read(pattern) else { panic!("{pattern}") };
            pattern.means(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        };
        for (pattern, line) in [
            ("pgrep gru", "./gru --port 1"),
            ("pgrep -x gru", "/srv/gru"),
            ("pgrep a-program-with-", "/srv/a-program-with-a-long-name"),
            ("pgrep -f 'node index.js'", "node index.js"),
            ("pgrep -f index.js", "node index.js"),
            ("pgrep -f gru", "./gru --port 1"),
            ("pgrep -f 'gru --port 1'", "./gru --port 1"),
        ] {
            assert!(means(pattern, line), "{pattern} of {line}");
        }
        for (pattern, line) in [
            ("pgrep gru", "./start_gru.sh"),
            ("pgrep -f gru", "./start_gru.sh"),
            ("pgrep node", "./run"),
            ("pgrep -xf gru", "./gru --port 1"),
        ] {
            assert!(!means(pattern, line), "{pattern} of {line}");
        }
    }
}
