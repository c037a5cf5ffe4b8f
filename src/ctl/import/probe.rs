//! What becomes of a check command.
//!
//! In: the line. Out: a probe that passes and fails when the command did, as far as one can; any other line is a
//! command still. It decides nothing about units: what `pgrep` looked for is matched with the fail command by `plan`.

use std::time::Duration;

use super::curl::{self, Request};
use super::options;
use super::recovery::{base_name, unit_name};
use super::shell::{self, Around, Command};
use crate::check::HostPort;
use crate::unit::UnitName;

/// What a check command becomes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Probe {
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
    /// `pgrep` of a program's name.
    Process(String),
    /// Whatever else; the clause says why it is no other probe.
    Command(String),
}

/// Reads a check command.
pub(super) fn read(line: &str) -> Probe {
    if shell::does_nothing(line) {
        return Probe::Always;
    }
    shell::parse(line).and_then(|commands| known(alone(&commands)?)).unwrap_or_else(Probe::Command)
}

/// The only command of the line: what stands around it changes nothing about its result.
fn alone(commands: &[Command]) -> Result<&Command, String> {
    let command = match commands {
        [only] if only.then.is_empty() => only,
        [only, otherwise] if only.then == "||" && matches!(otherwise.text.as_str(), "exit 1" | "false") => {
            only
        }
        _ => return Err("it is more than one command".to_owned()),
    };
    match command.around {
        Around::Nothing | Around::NullOutput => Ok(command),
        Around::Files | Around::Variables => Err("it sets variables, or reads or writes files".to_owned()),
    }
}

fn known(command: &Command) -> Result<Probe, String> {
    let (program, arguments) = command.words.split_first().ok_or("it is empty")?;
    match base_name(program) {
        "curl" => curl::read(arguments).map(Probe::Http),
        "nc" | "netcat" | "ncat" => nc(arguments),
        "pgrep" | "pidof" => pgrep(arguments),
        "systemctl" => is_active(arguments),
        other => Err(format!("there is no probe like `{other}`")),
    }
}

/// `nc -z [-v] [-w SECONDS] HOST PORT`
fn nc(arguments: &[String]) -> Result<Probe, String> {
    let (options, place) = options::read(arguments, "-w")?;
    let mut timeout = None;
    for (option, value) in &options {
        match option.as_str() {
            "-z" | "-v" | "-n" => {}
            "-w" => timeout = curl::seconds(value)?,
            other => return Err(format!("a tcp probe has nothing like nc's {other}")),
        }
    }
    let [host, port] = place[..] else { return Err("nc is not given one host and one port".to_owned()) };
    if !options.iter().any(|(option, _)| option == "-z") {
        return Err("without -z nc waits for input".to_owned());
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let address = HostPort::parse(&format!("{host}:{port}"))?;
    Ok(Probe::Tcp { address, timeout })
}

/// `pgrep [-x] NAME`
fn pgrep(arguments: &[String]) -> Result<Probe, String> {
    let (options, texts) = options::read(arguments, "")?;
    // `-a`, `-l` and `-c` are only about what is printed.
    let known = options.iter().all(|(option, _)| matches!(option.as_str(), "-x" | "-a" | "-l" | "-c"));
    // A text that means itself in a regular expression; a dot is as good as one.
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    match texts[..] {
        [text] if known && text.chars().all(plain) => Ok(Probe::Process(text.to_owned())),
        _ => Err("it is not `pgrep` of one program's name".to_owned()),
    }
}

/// `systemctl is-active [--quiet] UNIT`
fn is_active(arguments: &[String]) -> Result<Probe, String> {
    let (options, words) = options::read(arguments, "")?;
    let quiet = options.iter().all(|(option, _)| matches!(option.as_str(), "-q" | "--quiet"));
    match words[..] {
        ["is-active", name] if quiet => {
            unit_name(name).map(Probe::Unit).ok_or_else(|| "it names no unit".to_owned())
        }
        _ => Err("it is not `systemctl is-active` of one unit".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(text: &str) -> Probe {
        Probe::Process(text.into())
    }

    fn tcp(address: &str, seconds: Option<u64>) -> Probe {
        Probe::Tcp { address: HostPort::parse(address).unwrap(), timeout: seconds.map(Duration::from_secs) }
    }

    fn url(url: &str) -> Probe {
        Probe::Http(Request { url: url.to_owned(), ..Request::default() })
    }

    #[test]
    fn lines_become_the_probe_that_does_the_same() {
        let unit = |name: &str| Probe::Unit(UnitName::new(name).unwrap());
        for (line, probing) in [
            ("", Probe::Always),
            (" true ", Probe::Always),
            ("curl localhost:8486", url("http://localhost:8486/")),
            ("/usr/bin/curl -s 'http://a/?b&c' >/dev/null 2>&1", url("http://a/?b&c")),
            ("curl a || exit 1", url("http://a/")),
            ("curl a || false", url("http://a/")),
            ("nc -z localhost 22", tcp("localhost:22", None)),
            ("nc -vzw3 ::1 22", tcp("[::1]:22", Some(3))),
            ("nc -z -w 3 h 22", tcp("h:22", Some(3))),
            ("pgrep nginx", process("nginx")),
            ("pgrep -x nginx > /dev/null", process("nginx")),
            ("pidof gru", process("gru")),
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
            ("curl a | grep -q ok", "a pipe"),
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
            ("pgrep -u root sshd", "one program's name"),
            ("pgrep -f 'node index.js'", "one program's name"),
            ("pgrep 'a|b'", "one program's name"),
            ("pidof -s gru", "one program's name"),
            ("systemctl is-enabled x", "is-active"),
            ("systemctl is-active a b", "is-active"),
        ] {
            let Probe::Command(reason) = read(line) else { panic!("{line}: {:?}", read(line)) };
            assert!(reason.contains(why), "{line}: {reason}");
        }
    }
}
