//! What becomes of a fail command.
//!
//! In: the line, and what is known of the machine. Out: a job on a unit that exists, or a service that runs the line. A
//! program that the line itself leaves running (`&`, `nohup`) becomes a service like any other. Of everything else
//! nobody can say whether it ends, so it is launched and not waited for, as the old tool did; to guess would be to
//! restart at the wrong time. It never leaves out a line, and never makes one do more than it did.

use super::Surroundings;
use super::names;
use super::service::{Kind, Output, Service, absolute, base_name};
use super::shell::{self, Command, Joint, Sink, Source, Step};
use super::strip_wrappers::{Peeled, strip_wrappers};
use super::unit_file::{fits_path, fits_program};
use crate::unit::UnitName;

/// What a fail command becomes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// It did nothing.
    Nothing,
    /// A job on a unit that is there already; and the same as a service, should the check be about another unit.
    Job { unit: UnitName, step: &'static str, otherwise: Box<Service> },
    /// A service of its own.
    Run(Box<Service>),
}

/// Reads a fail command. `origin`: where it stands, as a sentence.
pub(super) fn read(line: &str, origin: &str, around: &Surroundings<'_>) -> Answer {
    if matches!(line.trim(), "" | "true" | ":") {
        return Answer::Nothing;
    }
    let blank = Service {
        origin: origin.to_owned(),
        line: line.to_owned(),
        description: String::new(),
        kind: Kind::Launched,
        user: around.run_as.map(str::to_owned),
        directory: around.cwd.to_owned(),
        environment: Vec::new(),
        words: Vec::new(),
        argv: Vec::new(),
        output: None,
        error: None,
        called: None,
        old_instance: false,
        said: Vec::new(),
        look: Vec::new(),
    };
    match shell::parse(line) {
        Ok(parsed) => simple(&parsed.steps, blank.clone(), around).unwrap_or_else(|| {
            let why = "it is more than one command";
            Answer::Run(Box::new(by_bash(blank, why)))
        }),
        Err(why) => Answer::Run(Box::new(by_bash(blank, &why))),
    }
}

/// The whole line, left to bash.
fn by_bash(mut service: Service, why: &str) -> Service {
    service.words = vec!["/bin/bash".to_owned(), "-c".to_owned(), service.line.clone()];
    service.description = "A fail command of the old stealthcheck".to_owned();
    service.said.push(format!("the line is left to bash as it stands: {why}"));
    service.look.push(
        "the line is left to bash. If it starts a program that keeps running, make that a service of its own, which \
         systemd can watch, and name it in the check's `unit`"
            .to_owned(),
    );
    service
}

/// One command, at most with a `cd` before it. `None`: it is more than that.
fn simple(steps: &[Step], mut service: Service, around: &Surroundings<'_>) -> Option<Answer> {
    let (command, then) = match steps {
        [only] => (&only.command, only.then),
        [cd, only] if changes_directory(cd) => {
            service.directory = absolute(around.cwd, &cd.command.words[1]);
            service.said.push(format!("`cd` becomes WorkingDirectory={}", service.directory));
            (&only.command, only.then)
        }
        _ => return None,
    };
    if matches!(command.words[0].as_str(), "cd" | "exit") || !fits_path(&service.directory) {
        return None;
    }
    let peeled = strip_wrappers(command, then == Some(Joint::Background), around);
    if command.environment.is_empty()
        && let Some((unit, step)) = job(&peeled.words)
    {
        let otherwise = Box::new(run(service, command, &peeled, around)?);
        return Some(Answer::Job { unit, step, otherwise });
    }
    Some(Answer::Run(Box::new(run(service, command, &peeled, around)?)))
}

/// `cd DIRECTORY &&` or `;`
fn changes_directory(step: &Step) -> bool {
    let command = &step.command;
    matches!(step.then, Some(Joint::And | Joint::Next))
        && command.environment.is_empty()
        && command.output == Sink::Inherited
        && matches!(command.words.as_slice(), [cd, to] if cd == "cd" && !to.starts_with('-') && !to.is_empty())
}

/// `systemctl restart X`, `service X restart`, `/etc/init.d/X restart`: the unit and the job.
fn job(words: &[String]) -> Option<(UnitName, &'static str)> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (verb, name) = match words.as_slice() {
        [program, arguments @ ..] if base_name(program) == "systemctl" => {
            const IDLE: [&str; 5] = ["--no-block", "-q", "--quiet", "--no-ask-password", "--system"];
            let rest: Vec<&str> = arguments.iter().copied().filter(|word| !IDLE.contains(word)).collect();
            let [verb, name] = rest[..] else { return None };
            (verb, name)
        }
        [program, name, verb] if matches!(base_name(program), "service" | "invoke-rc.d") => (*verb, *name),
        [program, verb] => (*verb, program.strip_prefix("/etc/init.d/")?),
        _ => return None,
    };
    let step = ["restart", "start", "stop", "reload"].into_iter().find(|step| *step == verb)?;
    let unit = unit_name(name)?;
    let kind = unit.as_str().rsplit_once('.').map_or("", |(_, kind)| kind);
    (!matches!(kind, "device" | "scope")).then_some((unit, step))
}

/// A unit's name as systemctl reads it: without a suffix it is a service.
pub(super) fn unit_name(name: &str) -> Option<UnitName> {
    let name = name.trim();
    UnitName::new(name).or_else(|_| UnitName::new(&format!("{name}.service"))).ok()
}

/// A service that runs one command. `None`: only bash can.
fn run(
    mut service: Service,
    command: &Command,
    peeled: &Peeled,
    around: &Surroundings<'_>,
) -> Option<Service> {
    let program = peeled.words.first()?;
    let resolved =
        if program.contains('/') { absolute(&service.directory, program) } else { program.clone() };
    if !fits_program(&resolved) {
        return None;
    }
    service.kind = if keeps_running(peeled) { Kind::Kept } else { Kind::Launched };
    service.environment.clone_from(&command.environment);
    service.called = names::called(&peeled.words, &service.directory);
    service.argv.clone_from(&peeled.words);
    let what = peeled.words.join(" ");
    service.description = crate::text::sanitize(&what, 80);
    if let Some(user) = &peeled.user {
        service.said.push(format!("`sudo` becomes User={user}"));
        if user == "root" {
            service.look.push(format!("{what} runs as root, as with sudo: is what it runs root's alone?"));
        }
        service.user = Some(user.clone());
    }
    let ssh = base_name(&resolved) == "ssh";
    let rest = peeled.words.get(1..).unwrap_or_default();
    service.words = std::iter::once(resolved.clone()).chain(rest.iter().cloned()).collect();
    if ssh {
        service.words.splice(1..1, ["-o".to_owned(), "BatchMode=yes".to_owned()]);
        ssh_notes(&mut service);
    }
    if !outputs(&mut service, command) {
        shell_for_files(&mut service, command, ssh);
    }
    if !(around.program_exists)(&resolved) {
        service.look.push(missing(&resolved, program, around));
    }
    old_instance(&mut service, rest, base_name(&resolved));
    Some(service)
}

/// Whether the line itself says that its program keeps running. To take one that ends for a service would be to start
/// it again and again, so where there is a doubt it is not.
fn keeps_running(peeled: &Peeled) -> bool {
    let program = peeled.words.first().map_or("", |program| base_name(program));
    let script = match peeled.words.get(1) {
        Some(script) if matches!(program, "sh" | "bash" | "dash") => script,
        _ => program,
    };
    let may_end = script.ends_with(".sh") || script.starts_with('-');
    !ENDS.contains(&program)
        && !ELSEWHERE.contains(&program)
        && (peeled.nohup || (peeled.background && !may_end))
}

/// Sends the outputs where the line did. Whether a unit's settings can say it.
fn outputs(service: &mut Service, command: &Command) -> bool {
    if command.input != Source::Null {
        return false;
    }
    // systemd opens the file as root before it becomes the user, and follows links in it: where the directory is the
    // user's, that would hand him any file of root's.
    let trusted = service.user.as_deref().is_none_or(|user| user == "root");
    let directory = service.directory.clone();
    let setting = |sink: &Sink| match sink {
        Sink::Inherited => Some(None),
        Sink::Null => Some(Some(Output::Null)),
        Sink::File { path, append } => {
            let path = absolute(&directory, path);
            let fits = trusted && fits_path(&path);
            fits.then_some(Some(if *append { Output::Append(path) } else { Output::Truncate(path) }))
        }
    };
    let (Some(output), Some(error)) = (setting(&command.output), setting(&command.error)) else {
        return false;
    };
    service.error = match (&output, &error) {
        // Else standard error would follow standard output.
        (Some(_), None) => Some(Output::Journal),
        (Some(out), Some(err)) if out == err => Some(Output::Same),
        _ => error,
    };
    service.output = output;
    true
}

/// Lets bash, as the user, open the files, and become the program.
fn shell_for_files(service: &mut Service, command: &Command, ssh: bool) {
    let mut text = command.text.clone();
    if ssh && let Some(rest) = text.strip_prefix("ssh ") {
        text = format!("ssh -o BatchMode=yes {rest}");
    }
    if !text.starts_with("exec ") {
        text = format!("exec {text}");
    }
    service.words = vec!["/bin/bash".to_owned(), "-c".to_owned(), text];
    service.said.push(
        "bash opens the files, with the rights of the service's user, and then becomes the program"
            .to_owned(),
    );
    service.look.push(
        "its output goes to a file, as before. Without the redirection it would be in the journal, and its last lines in \
         each mail about it"
            .to_owned(),
    );
}

fn missing(resolved: &str, written: &str, around: &Surroundings<'_>) -> String {
    if written.starts_with('/') {
        format!("there is no program {resolved} on this machine")
    } else if written.contains('/') {
        let cwd = around.cwd;
        format!(
            "there is no program {resolved} on this machine. `{written}` was looked for from {cwd}: if the old tool was \
             started elsewhere, import again with --cwd DIRECTORY"
        )
    } else {
        format!(
            "`{resolved}` is not in the directories where systemd looks for programs (/usr/local/bin, /usr/bin, ...): \
             write its whole path into ExecStart="
        )
    }
}

fn ssh_notes(service: &mut Service) {
    let whom = service.user.clone().unwrap_or_else(|| "the user".to_owned());
    service.said.push("`-o BatchMode=yes`: nobody is there to type a password".to_owned());
    service.look.push(format!(
        "it acts on another machine through ssh. Better run stealthcheck there, where it sees the unit itself. Until \
         then {whom} needs a key without a passphrase and the host in known_hosts; an ssh agent is not asked"
    ));
}

fn old_instance(service: &mut Service, arguments: &[String], program: &str) {
    if program != "stealthcheck" {
        return;
    }
    let flag = |name: &str| {
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let Some(word) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { continue };
            if word == name {
                return words.next().cloned();
            }
            if let Some(value) = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                return Some(value.to_owned());
            }
        }
        None
    };
    let port = flag("port").unwrap_or_else(|| "8484".to_owned());
    let directory = absolute(&service.directory, &flag("dir").unwrap_or_else(|| ".".to_owned()));
    service.kind = Kind::Kept;
    service.called = Some(format!("stealthcheck-{port}"));
    service.description = format!("The old stealthcheck on port {port}");
    service.old_instance = true;
    service.look.insert(
        0,
        format!(
            "it starts another instance of the old tool, whose own checks would start this one again. Import {directory} \
             as well and take this check out; INSTALL leaves its unit out. systemd watches the new stealthcheck \
             (Restart=, WatchdogSec=), and one on another machine is watched by an http check of its `listen:` address. \
             Only where that instance goes on with the old tool for now: take what starts this one out of its checks.json, \
             and install the unit as well"
        ),
    );
}

/// Programs by which something runs elsewhere, or under another program: that it goes on does not keep these running.
const ELSEWHERE: &[&str] = &["docker", "kubectl", "podman", "screen", "ssh", "systemd-run", "tmux"];

/// Programs that do one thing and end: nobody needs advice on how to keep them running.
const ENDS: &[&str] = &[
    "cp",
    "curl",
    "echo",
    "ip",
    "iptables",
    "iptables-restore",
    "kill",
    "killall",
    "ln",
    "logger",
    "mail",
    "mkdir",
    "mv",
    "nft",
    "pkill",
    "poweroff",
    "reboot",
    "rm",
    "sendmail",
    "service",
    "shutdown",
    "supervisorctl",
    "sync",
    "systemctl",
    "touch",
    "true",
    "wget",
];

/// Notes what systemd can tell of the service, once that is settled.
pub(super) fn conclude(service: &mut Service) {
    let program = service.argv.first().map(|program| base_name(program));
    let known = program.is_none_or(|program| ENDS.contains(&program) || ELSEWHERE.contains(&program));
    let once = "started once for each recovery, and not waited for";
    match service.kind {
        Kind::Kept => {
            service.said.push("it keeps running: a service of its own, which systemd tracks".to_owned());
        }
        Kind::Launched if known => service.said.push(once.to_owned()),
        Kind::Launched => {
            service.said.push(format!("{once}: the line does not say whether it ends"));
            service.look.push(
                "if this program keeps running (a server), make it a service that systemd tracks: in its unit Type=exec, no \
                 KillMode=, no `/usr/bin/setsid --fork`, and [Install] WantedBy=multi-user.target; in the check \
                 `recover: restart`; then enable it"
                    .to_owned(),
            );
        }
    }
}
