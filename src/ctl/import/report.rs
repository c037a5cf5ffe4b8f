//! REPORT.txt: what was made of each line of the old files, what a person must look at, and how to install it. And the
//! few lines of it that go to the terminal.
//!
//! In: what is planned. Out: text. The old lines stand in it as they were; the mail password never does.

use std::fmt::Write as _;

use super::Surroundings;
use super::curl::Request;
use super::old::Smtp;
use super::plan::{Alerting, CREDENTIAL, Draft, Planned, PlannedFile};
use super::probe::Probing;
use super::secrets;
use super::service::{Kind, Service};
use super::yaml::{duration, from, tls};
use crate::text::visible;

/// Lines are no longer than this.
const WIDTH: usize = 100;

/// The whole report.
pub(super) fn text(draft: &Draft<'_>, around: &Surroundings<'_>) -> String {
    let mut out = format!(
        "What `stealthctl import` made of {}\n\nNothing is installed or started yet. Read this, then follow INSTALL.\n",
        visible(around.old)
    );
    heading(&mut out, "LOOK AT");
    let look = look(draft);
    if look.is_empty() {
        out.push_str("Nothing: each line has become something that does the same.\n");
    }
    for (number, sentence) in look.iter().enumerate() {
        paragraph(&mut out, &format!("{:>3}. ", number + 1), sentence);
    }
    heading(&mut out, "INSTALL");
    install(&mut out, draft, around);
    heading(&mut out, "config.json");
    config(&mut out, draft);
    for check in &draft.checks {
        self::check(&mut out, check, draft);
    }
    for was in &draft.dropped {
        heading(&mut out, &format!("checks.json, check {} (line {})", was.number, was.line));
        command(&mut out, "check_command", &was.check_command);
        paragraph(&mut out, "  ", "It always passed, so nothing ever came of it: left out.");
    }
    heading(&mut out, "WHAT IS DIFFERENT NOW");
    for sentence in DIFFERENCES {
        paragraph(&mut out, "  - ", sentence);
    }
    out
}

const DIFFERENCES: &[&str] = &[
    "One mail when a check goes down, with what was done about it, one every 4 h while it stays down (`repeat_interval`), and one when it is \
     well again. The old tool sent one for each address at each failing interval, and none at the end.",
    "A recovery is tried again after 10 s, 20 s and so on up to 5 min (`backoff`), one at a time. The old tool ran the fail \
     command at each failing interval, also while the one before was still at it.",
    "A check has a deadline (`timeout`). The old tool waited for ever for a command that hung, and never failed it.",
    "A service that hangs is restarted: systemd ends the old process first. The old tool started one more beside it.",
    "A service of its own is also seen when it crashes, at once and whatever the probe says, and starts at boot.",
    "After `systemctl stop` of a unit it is left alone for 5 min (`respect_stop`).",
    "`failure_threshold: 1` acts on the first failure, as the old tool did. 3, the default, forgives a hiccup: consider it.",
    "Probes use no proxy and no ~/.curlrc.",
    "The subjects of the mails are others; the sender is the same.",
];

fn heading(out: &mut String, text: &str) {
    let _ = write!(out, "\n\n{text}\n{}\n", "-".repeat(text.chars().count()));
}

/// A sentence, wrapped, behind a mark and with its further lines indented as far.
fn paragraph(out: &mut String, mark: &str, sentence: &str) {
    let indent = " ".repeat(mark.chars().count());
    let room = WIDTH.saturating_sub(indent.len());
    for (index, line) in crate::ctl::text::wrap(sentence, room).iter().enumerate() {
        let _ = writeln!(out, "{}{line}", if index == 0 { mark } else { &indent });
    }
}

/// What a person must look at, each with where it belongs.
fn look(draft: &Draft<'_>) -> Vec<String> {
    let mut look = Vec::new();
    mail_look(&mut look, draft);
    for key in &draft.old.ignored {
        look.push(format!("{key} meant nothing to the old tool: left out."));
    }
    for check in &draft.checks {
        let mut say = |sentence: &str| look.push(format!("{}: {sentence}.", check.name));
        if let Probing::Command(_) = check.probing {
            say(&format!(
                "its command runs as before, by {}, with the old user's rights and no sandbox (units/{}). Where an http, \
                 tcp or other probe can say the same, that is cheaper and safer",
                check.probe_unit(),
                check.drop_in()
            ));
        }
        for credential in check.credentials() {
            say(&format!(
                "{} may have a secret in it: it is not in the YAML but in the file credentials/{}, a systemd credential",
                credential.of, credential.name
            ));
        }
        if check.failure_threshold > 1 {
            say(&format!(
                "every {} leaves little time for an answer. It is down after {} failures, so that what takes a few \
                 seconds is not restarted for it; a longer `interval` would be better",
                duration(check.interval),
                check.failure_threshold
            ));
        }
        if !check.was.success_command.is_empty() {
            say("its success_command never ran, and is left out");
        }
        check.look.iter().for_each(|sentence| say(sentence));
    }
    look
}

fn mail_look(look: &mut Vec<String>, draft: &Draft<'_>) {
    let addresses = !draft.old.alert_emails.is_empty()
        || draft.old.checks.iter().any(|check| !check.alert_emails.is_empty());
    let Some(smtp) = &draft.old.smtp else {
        let also = if addresses { " The old tool would have crashed at its first mail." } else { "" };
        look.push(format!("mail: config.json names no mail server, so nobody is told of a failure.{also}"));
        return;
    };
    if draft.mail_to.is_none() {
        look.push("mail: neither file names an address, so nobody is told of a failure.".to_owned());
        return;
    }
    if draft.old.alert_emails.is_empty() {
        look.push(
            "mail: config.json has no alert_emails. `to` has all addresses of the checks, for there must be one; checks \
             without addresses tell nobody, as before."
                .to_owned(),
        );
    }
    if smtp.port == Some(465) {
        look.push(
            "mail: port 465 speaks TLS from the first byte, which the old tool could not: `tls: implicit`. Has it ever \
             sent a mail?"
                .to_owned(),
        );
    }
    if smtp.port.is_none() {
        look.push("mail: config.json has no port; 587 is assumed.".to_owned());
    }
    if matches!(smtp.server.as_str(), "localhost" | "127.0.0.1" | "::1") {
        look.push(
            "mail: the old tool used STARTTLS with a server on this machine only where it was offered; now it is required. \
             Where it is not, write `tls: none`."
                .to_owned(),
        );
    }
    if smtp.username.is_empty() {
        look.push(
            "mail: config.json has no username, so there is no login. Has the old tool ever sent a mail?"
                .to_owned(),
        );
    } else if smtp.password.is_empty() {
        look.push(format!("mail: the password is empty; write it into credentials/{CREDENTIAL}."));
    }
}

fn install(out: &mut String, draft: &Draft<'_>, around: &Surroundings<'_>) {
    let mut step = 0;
    let mut say = |out: &mut String, sentence: &str, commands: &[String]| {
        step += 1;
        paragraph(out, &format!("{step}. "), sentence);
        for command in commands {
            let _ = writeln!(out, "       {command}");
        }
        out.push('\n');
    };
    let place = Place::of(around);
    let kept: Vec<&str> =
        installed(draft).filter(|(_, service)| service.kind == Kind::Kept).map(|(name, _)| name).collect();
    say(
        out,
        "Stop the old tool, all instances of it, and whatever starts it (crontab, rc.local, tmux):",
        &["pgrep -af 'stealthcheck.*-(port|dir)'".to_owned()],
    );
    let mut commands = vec![format!("cd {}", shell(around.out))];
    commands.extend(place.configuration(draft));
    let units: Vec<String> = installed(draft).map(|(name, _)| format!("units/{name}")).collect();
    if !units.is_empty() {
        commands.push(format!("{}install -D -m 0644 -t {} {}", place.sudo, place.units, units.join(" ")));
    }
    for check in draft.checks.iter().filter(|check| check.is_command()) {
        let drop_in = check.drop_in();
        commands.push(format!("{}install -D -m 0644 units/{drop_in} {}/{drop_in}", place.sudo, place.units));
    }
    commands.push(format!("{} daemon-reload", place.systemctl));
    commands.push(place.validate.to_owned());
    say(out, "Install (the first command takes the place of the configuration that is there):", &commands);
    if !kept.is_empty() {
        say(
            out,
            "For each of these services: end the process that the old tool has left running, for a second one would find its \
             port taken; then have systemd run it:",
            &kept.iter().map(|name| format!("{} enable --now {name}", place.systemctl)).collect::<Vec<_>>(),
        );
    }
    let test_mail = draft.mail_to.as_ref().map(|_| place.test_mail.to_owned());
    let mut commands: Vec<String> = place.linger.iter().map(ToString::to_string).collect();
    commands.extend(["enable", "restart"].map(|verb| format!("{} {verb} stealthcheck", place.systemctl)));
    commands.extend(test_mail);
    commands.push(place.status.to_owned());
    say(out, "Start, and look:", &commands);
    say(
        out,
        match draft.checks.iter().any(|check| !check.credentials().is_empty()) {
            false => "Keep this report. The mail password is still in config.json, and in this directory:",
            true => {
                "Keep this report where only you can read it. Secrets are still in it, in config.json, in checks.json, and in this \
                 directory:"
            }
        },
        &[format!("rm -r {}/credentials", shell(around.out))],
    );
}

/// Where things are, and how one gets there.
#[derive(Debug)]
struct Place {
    sudo: &'static str,
    systemctl: &'static str,
    units: &'static str,
    validate: &'static str,
    test_mail: &'static str,
    status: &'static str,
    /// What has a user's services run while the user is not logged in.
    linger: Option<&'static str>,
    user: bool,
}

impl Place {
    fn of(around: &Surroundings<'_>) -> Self {
        if around.run_as.is_some() {
            Self {
                sudo: "sudo ",
                systemctl: "sudo systemctl",
                units: "/etc/systemd/system",
                validate: "sudo stealthctl validate",
                test_mail: "sudo stealthctl test-mail",
                status: "stealthctl status",
                linger: None,
                user: false,
            }
        } else {
            Self {
                sudo: "",
                systemctl: "systemctl --user",
                units: "~/.config/systemd/user",
                validate: "stealthctl --user validate",
                test_mail: "stealthctl --user test-mail",
                status: "stealthctl --user status",
                linger: Some("loginctl enable-linger"),
                user: true,
            }
        }
    }

    fn configuration(&self, draft: &Draft<'_>) -> Vec<String> {
        let (owner, directory) = match self.user {
            true => ("-m 0600", "~/.config/stealthcheck"),
            false => ("-o root -g stealthcheck -m 0640", "/etc/stealthcheck"),
        };
        let sudo = self.sudo;
        let mut commands =
            vec![format!("{sudo}install -D {owner} stealthcheck.yaml {directory}/stealthcheck.yaml")];
        let password = draft.has_password().then(|| CREDENTIAL.to_owned());
        let of_checks = draft.checks.iter().flat_map(Planned::credentials).map(|credential| credential.name);
        let files: Vec<String> =
            password.into_iter().chain(of_checks).map(|name| shell(&format!("credentials/{name}"))).collect();
        if !files.is_empty() {
            commands.push(format!("{sudo}install -d -m 0700 {directory}/credentials"));
            commands.push(format!("{sudo}install -m 0600 {} {directory}/credentials/", files.join(" ")));
        }
        commands
    }
}

/// The units that are installed: all but those that would start the old tool again.
fn installed<'d>(draft: &'d Draft<'_>) -> impl Iterator<Item = (&'d str, &'d Service)> {
    let services = draft.services.iter().filter(|(_, service)| !service.old_instance);
    services.map(|(name, service)| (name.as_str(), service))
}

/// A word for a shell.
fn shell(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn config(out: &mut String, draft: &Draft<'_>) {
    let mut row = |from: &str, to: &str| paragraph(out, "  ", &format!("{from} -> {to}"));
    if let (Some(to), Some(smtp)) = (&draft.mail_to, &draft.old.smtp) {
        row("alert_emails", &format!("mail.to: {}", to.join(", ")));
        smtp_rows(&mut row, smtp);
    } else {
        paragraph(out, "  ", "There is no `mail` section, see LOOK AT.");
    }
}

fn smtp_rows(row: &mut impl FnMut(&str, &str), smtp: &Smtp) {
    row("smtp.server", &format!("mail.smtp.host: {}", smtp.server));
    let port = smtp.port.map_or_else(|| "587".to_owned(), |port| port.to_string());
    row("smtp.port", &format!("mail.smtp.port: {port}, tls: {}", tls(smtp)));
    row("smtp.sender", &format!("mail.from: {}", from(&smtp.sender)));
    if !smtp.username.is_empty() {
        row("smtp.username", &format!("mail.smtp.username: {}", visible(&smtp.username)));
        row(
            "smtp.password",
            &format!("the file credentials/{CREDENTIAL}, a systemd credential; it is not in the YAML"),
        );
    }
}

fn check(out: &mut String, check: &Planned<'_>, draft: &Draft<'_>) {
    let was = check.was;
    heading(out, &format!("checks.json, check {} (line {}): {}", was.number, was.line, check.name));
    paragraph(
        out,
        "  ",
        &format!("interval_ms {} -> interval: {}", was.interval.as_millis(), duration(check.interval)),
    );
    command(out, "check_command", &was.check_command);
    paragraph(out, "    -> ", &probe(check));
    if !was.fail_command.is_empty() {
        command(out, "fail_command", &was.fail_command);
    }
    match (&check.unit, &check.recover) {
        (Some(unit), Some(recover)) => {
            paragraph(out, "    -> ", &format!("unit: {unit}, recover: {recover}"))
        }
        _ => paragraph(out, "    -> ", "no unit"),
    }
    for sentence in &check.said {
        paragraph(out, "       ", &capital(sentence));
    }
    let told = match &check.alert {
        Alerting::All if draft.mail_to.is_none() => return,
        Alerting::All => "those of config.json, as before".to_owned(),
        Alerting::These(to) => {
            format!("alert.to: {}, and not those of config.json, as before", to.join(", "))
        }
        Alerting::Nobody => "nobody, as before: `alert: { off: true }`".to_owned(),
    };
    paragraph(out, "  ", &format!("alert_emails -> {told}"));
}

/// A clause as a sentence.
fn capital(clause: &str) -> String {
    let mut chars = clause.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

/// A line of the old tool's, as it was.
fn command(out: &mut String, key: &str, line: &str) {
    let _ = writeln!(out, "  {key}: {}", visible(line));
}

fn probe(check: &Planned<'_>) -> String {
    let limit = duration(check.timeout);
    match &check.probing {
        Probing::Http(request) => format!("{}, within {limit}", http(&check.name, request)),
        Probing::Tcp { address, .. } => format!("tcp probe: a connection to {address}, within {limit}"),
        Probing::Unit(unit) => format!("the state of {unit}, which systemd tells at once when it changes"),
        Probing::Process(_) => {
            let unit = check.unit.as_deref().unwrap_or_default();
            format!("the state of {unit}, whose process it looked for; systemd tells at once when it ends")
        }
        Probing::Always => String::new(),
        Probing::Command(why) => format!("command probe: bash runs the old line, within {limit}; {why}"),
    }
}

fn http(check: &str, request: &Request) -> String {
    let method = request.method.as_deref().unwrap_or("GET");
    let passes = if request.fail {
        "a status from 200 to 399 passes, as for curl with -f"
    } else {
        "any status passes, 500 as well, as for curl without -f"
    };
    let url = match secrets::url(check, request) {
        Some(credential) => format!("the URL in credentials/{credential}"),
        None => request.url.clone(),
    };
    format!("http probe: {method} {url}; {passes}")
}

/// What is said on the terminal.
pub(super) fn summary(draft: &Draft<'_>, files: &[PlannedFile], around: &Surroundings<'_>) -> String {
    let count = |number: usize, what: &str| crate::ctl::reload::plural(number, what);
    let out = visible(around.out);
    format!(
        "{} and {} are in {out}, {} in all; {} to look at.\nRead {out}/REPORT.txt: it says what became of each line, and how to \
         install it.\n",
        count(draft.checks.len(), "check"),
        count(draft.services.len(), "unit"),
        count(files.len(), "file"),
        count(look(draft).len(), "thing"),
    )
}
