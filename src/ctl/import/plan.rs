//! What is to be written: joins what the old files say with what becomes of each line. Pure.
//!
//! In: the files' texts and what is known of the machine. Out: the files to write. It judges nothing by guessing: where
//! the old line leaves something open, the report says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::json::Problem;
use super::names::{self, Names};
use super::old::{self, Old, OldCheck};
use super::probe::{self, Pattern, Probing};
use super::recovery::{self, Answer};
use super::secrets::{self, Credential};
use super::service::{Kind, Service, base_name};
use super::{report, unit_file, yaml};

/// What is known of the machine and the old tool's place on it.
#[derive(Clone)]
pub struct Surroundings<'a> {
    /// The old tool's directory, absolute.
    pub old: &'a str,
    /// The directory that is written, absolute.
    pub out: &'a str,
    /// Where the old tool was started, absolute.
    pub cwd: &'a str,
    /// The user that it ran as; `None`: the units are for a user manager.
    pub run_as: Option<&'a str>,
    /// Whether there is such a program: a path, or a name to be looked up.
    pub program_exists: &'a dyn Fn(&str) -> bool,
    /// Whether the machine has a unit of this name.
    pub unit_exists: &'a dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { old, out, cwd, run_as, .. } = self;
        write!(f, "Surroundings {{ old: {old}, out: {out}, cwd: {cwd}, run_as: {run_as:?} }}")
    }
}

#[cfg(test)]
impl Surroundings<'_> {
    /// A machine that has every program and no unit.
    pub(super) fn for_tests() -> Self {
        Self {
            old: "/srv/old",
            out: "/root/new",
            cwd: "/srv/old",
            run_as: Some("ubuntu"),
            program_exists: &|_| true,
            unit_exists: &|_| false,
        }
    }
}

/// The files to write, and what to say on the terminal.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In any order; their directories are private.
    pub files: Vec<PlannedFile>,
    /// A few lines.
    pub summary: String,
}

/// A file to write.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    /// Below the directory that is written.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// All of it.
    pub content: String,
}

/// The name of the credential that holds the mail password.
pub(super) const CREDENTIAL: &str = "smtp-password";
/// How long a probe may take where the old command had no limit: curl without `-m` waited for ever.
const PATIENCE: Duration = Duration::from_secs(30);
/// The shortest timeout that a configuration can have.
const SHORTEST: Duration = Duration::from_millis(10);
/// A target that is away for less than this is not restarted, however short the interval.
const HASTE: Duration = Duration::from_secs(5);

/// Everything that is written, before it is text.
#[derive(Debug)]
pub(super) struct Draft<'o> {
    pub old: &'o Old,
    /// Whom the `mail` section tells; `None`: there is none.
    pub mail_to: Option<Vec<String>>,
    pub checks: Vec<Planned<'o>>,
    /// Checks that never failed.
    pub dropped: Vec<&'o OldCheck>,
    /// By name.
    pub services: BTreeMap<String, Service>,
    /// Their names, by what they were made of.
    by_line: BTreeMap<(String, Kind), String>,
}

/// A check of the new configuration.
#[derive(Debug)]
pub(super) struct Planned<'o> {
    pub was: &'o OldCheck,
    pub name: String,
    pub probing: Probing,
    pub unit: Option<String>,
    /// As it is written behind `recover:`; `None` where there is no unit.
    pub recover: Option<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub failure_threshold: u32,
    pub alert: Alerting,
    /// What was made of it: sentences.
    pub said: Vec<String>,
    /// What a person must look at: sentences.
    pub look: Vec<String>,
}

/// Whom a check tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Alerting {
    /// Those of the `mail` section, or nobody where there is none.
    All,
    These(Vec<String>),
    Nobody,
}

/// Plans the import of two files.
///
/// # Errors
/// Every problem of both files.
pub fn plan(config: &str, checks: &str, around: &Surroundings<'_>) -> Result<Plan, Vec<Problem>> {
    let old = old::read(config, checks)?;
    let draft = draft(&old, around);
    let mut files = vec![
        PlannedFile {
            path: "stealthcheck.yaml".to_owned(),
            mode: 0o640,
            content: yaml::text(&draft, around),
        },
        PlannedFile { path: "REPORT.txt".to_owned(), mode: 0o600, content: report::text(&draft, around) },
    ];
    let wanted_by = if around.run_as.is_some() { "multi-user.target" } else { "default.target" };
    files.extend(draft.services.iter().map(|(name, service)| PlannedFile {
        path: format!("units/{name}"),
        mode: 0o644,
        content: unit_file::text(service, wanted_by),
    }));
    files.extend(draft.checks.iter().filter(|check| check.is_command()).map(|check| PlannedFile {
        path: format!("units/{}", check.drop_in()),
        mode: 0o644,
        content: unit_file::probe_drop_in(&check.was.origin(), around),
    }));
    if let Some(smtp) = old.smtp.as_ref().filter(|_| draft.has_password()) {
        let content = smtp.password.clone();
        files.push(PlannedFile { path: format!("credentials/{CREDENTIAL}"), mode: 0o600, content });
    }
    files.extend(draft.checks.iter().flat_map(Planned::credentials).map(|credential| PlannedFile {
        path: format!("credentials/{}", credential.name),
        mode: 0o600,
        content: credential.content,
    }));
    Ok(Plan { summary: report::summary(&draft, &files, around), files })
}

fn draft<'o>(old: &'o Old, around: &Surroundings<'_>) -> Draft<'o> {
    let mail_to = mail_to(old);
    let mut draft = Draft {
        old,
        mail_to,
        checks: Vec::new(),
        dropped: Vec::new(),
        services: BTreeMap::new(),
        by_line: BTreeMap::new(),
    };
    let mut names = Names::default();
    for was in &old.checks {
        match probe::read(&was.check_command) {
            Probing::Always => draft.dropped.push(was),
            probing => {
                let answer = recovery::read(&was.fail_command, &was.origin(), around);
                let check = check(was, probing, answer, &mut draft, &mut names, around);
                draft.checks.push(check);
            }
        }
    }
    draft
}

/// Whom the `mail` section tells: the old list, or where that is empty everybody that a check names.
fn mail_to(old: &Old) -> Option<Vec<String>> {
    old.smtp.as_ref()?;
    if !old.alert_emails.is_empty() {
        return Some(old.alert_emails.clone());
    }
    let all: BTreeSet<&String> = old.checks.iter().flat_map(|check| &check.alert_emails).collect();
    (!all.is_empty()).then(|| all.into_iter().cloned().collect())
}

fn check<'o>(
    was: &'o OldCheck,
    probing: Probing,
    answer: Answer,
    draft: &mut Draft<'o>,
    names: &mut Names,
    around: &Surroundings<'_>,
) -> Planned<'o> {
    let (probing, answer) = settle(probing, answer);
    let name = names.check(&hints(&probing, &answer));
    let mut check = Planned {
        was,
        name,
        unit: None,
        recover: None,
        interval: was.interval,
        timeout: timeout(&probing).unwrap_or(PATIENCE).max(SHORTEST).min(was.interval),
        failure_threshold: 1,
        alert: alerting(was, draft),
        said: Vec::new(),
        look: Vec::new(),
        probing,
    };
    if was.interval < HASTE {
        let times = HASTE.as_millis().div_ceil(was.interval.as_millis().max(1));
        check.failure_threshold = u32::try_from(times).unwrap_or(1);
    }
    speak_for(&mut check, answer, draft, names, around);
    check
}

/// What can only be told from both commands: whether `pgrep` looks for just what the fail command starts.
fn settle(probing: Probing, answer: Answer) -> (Probing, Answer) {
    let Probing::Process(pattern) = probing else { return (probing, answer) };
    match answer {
        Answer::Run(mut service) if pattern.means(&service.argv) => {
            service.kind = Kind::Kept;
            (Probing::Process(pattern), Answer::Run(service))
        }
        Answer::Job { unit, step, otherwise } if is_unit(&pattern, unit.as_str()) => {
            (Probing::Process(pattern), Answer::Job { unit, step, otherwise })
        }
        other => {
            let why = "it looks for a process, which is not just the one that the fail command starts";
            (Probing::Command(why.to_owned()), other)
        }
    }
}

fn is_unit(pattern: &Pattern, unit: &str) -> bool {
    unit.strip_suffix(".service").is_some_and(|stem| pattern.is_name(stem))
}

fn timeout(probing: &Probing) -> Option<Duration> {
    match probing {
        Probing::Http(request) => request.timeout,
        Probing::Tcp { timeout, .. } => *timeout,
        _ => None,
    }
}

fn alerting(was: &OldCheck, draft: &Draft<'_>) -> Alerting {
    if draft.mail_to.is_none() {
        Alerting::All
    } else if !was.alert_emails.is_empty() {
        Alerting::These(was.alert_emails.clone())
    } else if draft.old.alert_emails.is_empty() {
        Alerting::Nobody
    } else {
        Alerting::All
    }
}

/// Which unit the check speaks for, and what is done about it.
fn speak_for<'o>(
    check: &mut Planned<'o>,
    answer: Answer,
    draft: &mut Draft<'o>,
    names: &mut Names,
    around: &Surroundings<'_>,
) {
    let watched = match &check.probing {
        Probing::Unit(unit) => Some(unit.clone()),
        _ => None,
    };
    match (watched, answer) {
        (None, Answer::Nothing) => check.said.push("it did nothing: a failure is only told".to_owned()),
        (Some(unit), Answer::Nothing) => {
            existing(check, unit.as_str(), around);
            check.recover = Some("none".to_owned());
        }
        (watched, Answer::Job { unit, step, .. })
            if watched.as_ref().is_none_or(|watched| *watched == unit) =>
        {
            existing(check, unit.as_str(), around);
            check.recover = Some(step.to_owned());
            check.said.push(format!("systemd's own {step} of {unit}, asked for over D-Bus"));
        }
        (Some(watched), Answer::Job { otherwise: service, .. } | Answer::Run(service)) => {
            let name = add(check, *service, draft, names, around);
            existing(check, watched.as_str(), around);
            check.recover = Some(format!("{{ start: {} }}", yaml::scalar(&name)));
        }
        (None, Answer::Run(service) | Answer::Job { otherwise: service, .. }) => {
            let recover = match service.kind {
                Kind::Kept => "restart",
                Kind::Launched => "start",
            };
            let name = add(check, *service, draft, names, around);
            check.recover = Some(recover.to_owned());
            check.unit = Some(name);
        }
    }
}

fn existing(check: &mut Planned<'_>, unit: &str, around: &Surroundings<'_>) {
    check.unit = Some(unit.to_owned());
    if !(around.unit_exists)(unit) {
        check.look.push(format!("this machine has no unit {unit}"));
    }
}

/// The name of the service, which is added where no check before had the same line.
fn add<'o>(
    check: &mut Planned<'o>,
    mut service: Service,
    draft: &mut Draft<'o>,
    names: &mut Names,
    around: &Surroundings<'_>,
) -> String {
    let made_of = (service.line.clone(), service.kind);
    if let Some(name) = draft.by_line.get(&made_of) {
        check.said.push(format!("the same line as before: {name}"));
        return name.clone();
    }
    recovery::conclude(&mut service);
    let name = names.service(&check.name, around);
    check.said.append(&mut service.said);
    check.look.append(&mut service.look);
    draft.by_line.insert(made_of, name.clone());
    draft.services.insert(name.clone(), service);
    name
}

/// What a check might be called, the best first.
fn hints(probing: &Probing, answer: &Answer) -> Vec<String> {
    let mut hints = Vec::new();
    let mut last = Vec::new();
    if let Probing::Unit(unit) = probing {
        hints.push(stem(unit.as_str()));
    }
    match answer {
        Answer::Nothing => {}
        Answer::Job { unit, .. } => hints.push(stem(unit.as_str())),
        Answer::Run(service) => {
            let by_ssh = service.argv.first().is_some_and(|program| base_name(program) == "ssh");
            let sure = by_ssh || service.kind == Kind::Kept;
            if sure { &mut hints } else { &mut last }.extend(service.called.clone());
        }
    }
    match probing {
        Probing::Http(request) => {
            let rest = request.url.split_once("://").map_or("", |(_, rest)| rest);
            hints.push(rest.split(['/', '?']).next().unwrap_or_default().to_owned());
        }
        Probing::Tcp { address, .. } => hints.push(address.to_string()),
        Probing::Process(pattern) => hints.push(names::of_program(&pattern.text)),
        Probing::Unit(_) | Probing::Always | Probing::Command(_) => {}
    }
    hints.append(&mut last);
    hints
}

fn stem(unit: &str) -> String {
    unit.rsplit_once('.').map_or(unit, |(stem, _)| stem).to_owned()
}

impl OldCheck {
    /// Where it stands, for unit files.
    pub(super) fn origin(&self) -> String {
        let Self { number, line, .. } = self;
        format!(
            "Written by `stealthctl import` from check {number} of checks.json (line {line}). Change it as you like."
        )
    }
}

impl Draft<'_> {
    /// There is a login, and so a credential.
    pub(super) fn has_password(&self) -> bool {
        self.mail_to.is_some() && self.old.smtp.as_ref().is_some_and(|smtp| !smtp.username.is_empty())
    }
}

impl Planned<'_> {
    /// It runs the old line as it is.
    pub(super) fn is_command(&self) -> bool {
        matches!(self.probing, Probing::Command(_))
    }

    /// The secrets that its command had in it.
    pub(super) fn credentials(&self) -> Vec<Credential> {
        match &self.probing {
            Probing::Http(request) => secrets::credentials(&self.name, request),
            _ => Vec::new(),
        }
    }

    /// The unit that runs its command.
    pub(super) fn probe_unit(&self) -> String {
        format!("stealthcheck-probe@{}.service", self.name)
    }

    /// The drop-in of the unit that runs its command, below `units`.
    pub(super) fn drop_in(&self) -> String {
        format!("stealthcheck-probe@{}.service.d/import.conf", self.name)
    }
}
