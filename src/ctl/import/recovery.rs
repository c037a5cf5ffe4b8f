//! What becomes of a fail command.
//!
//! In: the line, and what is known of the machine. Out: a job on a unit that exists, or a service that runs the line. A
//! program that the line itself leaves running (`&`, `nohup`) becomes a service like any other. Of everything else
//! nobody can say whether it ends, so it is launched and not waited for, as the old tool did; to guess would be to
//! restart at the wrong time. It never makes a line do more than it did.

use std::path::{Component, Path, PathBuf};

use super::shell::{self, Around, Command};
use super::unit_file::{fits_path, fits_program};
use super::{Surroundings, names};
use crate::unit::UnitName;

/// What a fail command becomes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Recovery {
    /// Nothing is done. Where it did something before: a clause for the report.
    Nothing(Option<&'static str>),
    /// A job on a unit that is there already.
    Job { unit: UnitName, step: &'static str },
    /// A service of its own.
    Run(Service),
}

/// A service that runs a fail command.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Service {
    /// The line says that its program keeps running: a service like any other. Else each start runs it once.
    pub keeps_running: bool,
    pub directory: String,
    /// `ExecStart=`: the program, absolute or a name, and its arguments.
    pub exec: Vec<String>,
    /// The program without its path, `sudo` and `nohup`; empty where bash runs the whole line.
    pub program: String,
    /// What it might be called, if that can be told.
    pub called: Option<String>,
    /// Why bash runs the line, and what a person must look at: clauses for the report.
    pub look: Vec<String>,
}

/// Words that only bash itself can do.
const BASH_ONLY: [&str; 22] = [
    "!", ".", ":", "alias", "cd", "command", "declare", "eval", "exec", "exit", "export", "read", "select",
    "set", "shopt", "source", "time", "trap", "type", "ulimit", "umask", "wait",
];
/// Programs that do one thing and end, or by which something runs elsewhere: that it goes on does not keep them running.
const ENDS: &str = "cp curl docker echo ip iptables iptables-restore kill killall kubectl ln logger mail mkdir mv nft \
                    pkill podman poweroff reboot rm screen sendmail service shutdown sleep ssh sudo supervisorctl sync \
                    systemctl systemd-run timeout tmux touch true wget";

/// What a person must know of some fail commands: clauses for the report.
const OLD_INSTANCE: &str = "it starts another instance of the old tool, whose checks would start this one again: left out. \
    Import that instance as well, and take this check out then: systemd watches stealthcheck";
const SSH: &str = "it acts on another machine through ssh. Better run stealthcheck there. Until then the user needs a key \
    without a passphrase, and the host in known_hosts; an ssh agent is not asked";
const UNCLEAR: &str = "it does not say whether it ends. If it starts a program that keeps running (a server), make \
    its unit a service that systemd tracks: Type=exec, no KillMode=, no `/usr/bin/setsid --fork`, and [Install] \
    WantedBy=multi-user.target; in the check `recover: restart`; then enable it";

/// Reads a fail command.
pub(super) fn read(line: &str, around: &Surroundings<'_>) -> Recovery {
    if shell::does_nothing(line) {
        return Recovery::Nothing(None);
    }
    shell::parse(line).and_then(|commands| simple(&commands, around)).unwrap_or_else(|why| {
        Recovery::Run(Service {
            directory: around.cwd.to_owned(),
            exec: by_bash(line.to_owned()),
            look: vec![format!("{why}. bash runs it as it stands; {UNCLEAR}")],
            ..Service::default()
        })
    })
}

/// One command, at most with a `cd` before it.
fn simple(commands: &[Command], around: &Surroundings<'_>) -> Result<Recovery, String> {
    let (command, directory) = match commands {
        [only] => (only, around.cwd.to_owned()),
        [cd, only] if changes_directory(cd) => (only, absolute(around.cwd, &cd.words[1])),
        _ => return Err("it is more than one command".to_owned()),
    };
    let argv = bare(&command.words);
    if let Some((unit, step)) = job(argv).filter(|_| command.around < Around::Files) {
        return Ok(Recovery::Job { unit, step });
    }
    let base = argv.first().map_or("", |program| base_name(program));
    if base == "stealthcheck" {
        return Ok(Recovery::Nothing(Some(OLD_INSTANCE)));
    }
    let path = |word: &str| if word.contains('/') { absolute(&directory, word) } else { word.to_owned() };
    let (first, program) = (path(&command.words[0]), path(&argv[0]));
    let bash_only = BASH_ONLY.contains(&command.words[0].as_str()) || first.contains('=');
    if bash_only || !fits_program(&first) || !fits_path(&directory) {
        return Err("it is bash's own, or cannot stand in a unit file".to_owned());
    }
    let mut look = Vec::new();
    let exec = match command.around {
        Around::Nothing => std::iter::once(&first).chain(&command.words[1..]).cloned().collect(),
        Around::Variables => by_bash(format!("exec env {}", command.text)),
        // systemd would open files as root, and follow a link that the user has put in their place.
        Around::NullOutput | Around::Files => by_bash(format!("exec {}", command.text)),
    };
    if !(around.program_exists)(&program) {
        look.push(format!(
            "there is no program {program} on this machine, or not where systemd looks for it: correct ExecStart=, or \
             import again with --cwd and the directory where the old tool was started"
        ));
    }
    let keeps_running = keeps_running(base, argv, command);
    match base {
        "ssh" => look.push(SSH.to_owned()),
        _ if keeps_running || ends(base) => {}
        _ => look.push(UNCLEAR.to_owned()),
    }
    Ok(Recovery::Run(Service {
        keeps_running,
        exec,
        program: base.to_owned(),
        called: names::called(argv, &directory),
        look,
        directory,
    }))
}

fn by_bash(line: String) -> Vec<String> {
    vec!["/bin/bash".to_owned(), "-c".to_owned(), line]
}

/// `cd DIRECTORY &&` or `;`
fn changes_directory(command: &Command) -> bool {
    matches!(command.then, "&&" | ";")
        && command.around == Around::Nothing
        && matches!(command.words.as_slice(), [cd, to] if cd == "cd" && !to.starts_with('-') && !to.is_empty())
}

/// The command behind `nohup`, `setsid` and `sudo`, where these have no options of their own but sudo's `-n`.
fn bare(words: &[String]) -> &[String] {
    let rest = match words {
        [sudo, option, rest @ ..] if sudo == "sudo" && option == "-n" => rest,
        [wrapper, rest @ ..] if matches!(wrapper.as_str(), "nohup" | "setsid" | "sudo") => rest,
        _ => return words,
    };
    let is_program = |word: &String| !word.starts_with('-') && !word.contains('=');
    if rest.first().is_some_and(is_program) { bare(rest) } else { words }
}

/// `systemctl restart X`, `service X restart`, `/etc/init.d/X restart`: the unit and the job.
fn job(argv: &[String]) -> Option<(UnitName, &'static str)> {
    let words = argv.iter().map(String::as_str);
    let words: Vec<&str> = words.filter(|word| !matches!(*word, "--no-block" | "-q" | "--quiet")).collect();
    let (verb, name) = match words[..] {
        [program, verb, name] if base_name(program) == "systemctl" => (verb, name),
        [program, name, verb] if base_name(program) == "service" => (verb, name),
        [program, verb] => (verb, program.strip_prefix("/etc/init.d/")?),
        _ => return None,
    };
    let step = ["restart", "start", "stop", "reload"].into_iter().find(|step| *step == verb)?;
    Some((unit_name(name)?, step))
}

/// A unit's name as systemctl reads it: without a suffix it is a service.
pub(super) fn unit_name(name: &str) -> Option<UnitName> {
    UnitName::new(name).or_else(|_| UnitName::new(&format!("{name}.service"))).ok()
}

/// Whether the line itself says that its program keeps running. To take one that ends for a service would be to start
/// it again and again, so where there is a doubt it is not.
fn keeps_running(program: &str, argv: &[String], command: &Command) -> bool {
    let script =
        argv.get(1).filter(|_| matches!(program, "sh" | "bash" | "dash")).map_or(program, String::as_str);
    let may_end = script.ends_with(".sh") || script.starts_with('-');
    !ends(program) && (command.words[0] == "nohup" || (command.then == "&" && !may_end))
}

/// Whether the program is known not to keep running.
pub(super) fn ends(program: &str) -> bool {
    ENDS.split_whitespace().any(|known| known == program)
}

/// `path` as seen from `directory`, without `.`, `..` and doubled slashes. `directory` has no links in it, so that `..`
/// is what it looks like.
pub(super) fn absolute(directory: &str, path: &str) -> String {
    let mut out = PathBuf::from("/");
    for part in Path::new(directory).join(path).components() {
        match part {
            Component::ParentDir => _ = out.pop(),
            Component::Normal(part) => out.push(part),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out.to_string_lossy().into_owned()
}

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_a_directory() {
        for (path, seen) in [
            ("./x", "/srv/old/x"),
            ("../stealth2/log.txt", "/srv/stealth2/log.txt"),
            ("/bin//y/", "/bin/y"),
            ("../../../..", "/"),
            (".", "/srv/old"),
        ] {
            assert_eq!(absolute("/srv/old", path), seen, "{path}");
        }
    }
}
