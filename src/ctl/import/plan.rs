//! What is to be written: joins what the old files say with what becomes of each line. Pure.
//!
//! In: the files' texts and what is known of the machine. Out: the files to write. It judges nothing by guessing: where
//! the old line leaves something open, the report says so.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_yaml::Value;

use super::curl::may_be_secret;
use super::names::{self, Names};
use super::old::{self, Config, OldCheck, Smtp};
use super::probe::{self, Probe};
use super::recovery::{self, Recovery, Service};
use super::yaml::{duration, mapping};
use super::{report, unit_file, yaml};
use crate::text::visible;

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
const HASTE_MS: u64 = 5_000;

/// Everything that is written, before it is text.
pub(super) struct Draft<'o> {
    pub config: &'o Config,
    pub around: &'o Surroundings<'o>,
    /// Whom a `mail` section notifies.
    pub mail_to: Vec<String>,
    pub checks: Vec<Planned>,
    /// Units and credentials.
    pub files: Vec<PlannedFile>,
    /// The services that keep running.
    pub enabled: Vec<String>,
    /// What a person must look at: sentences.
    pub look: Vec<String>,
    /// The unit of each fail command, by the line and whether it keeps running.
    units: BTreeMap<(&'o str, bool), String>,
    names: Names,
}

/// A check of the new configuration.
pub(super) struct Planned {
    pub name: String,
    /// The old lines with their keys, for people.
    pub lines: [(&'static str, String); 2],
    /// What became of them, as the configuration says it.
    pub settings: Value,
}

/// Plans the import of two files.
///
/// # Errors
/// What is wrong with the files, each with its place.
pub fn plan(config: &str, checks: &str, around: &Surroundings<'_>) -> Result<Plan, Vec<String>> {
    let (config, checks) = old::read(config, checks)?;
    let mut draft = Draft {
        config: &config,
        around,
        mail_to: config.alert_emails.clone(),
        checks: Vec::new(),
        files: Vec::new(),
        enabled: Vec::new(),
        look: Vec::new(),
        units: BTreeMap::new(),
        names: Names::default(),
    };
    if draft.mail_to.is_empty() {
        draft.mail_to.extend(checks.iter().flat_map(|check| check.alert_emails.clone()));
    }
    draft.look = report::look_at_mail(&draft);
    if let Some(smtp) = draft.smtp().filter(|smtp| !smtp.username.is_empty()) {
        draft.file(format!("credentials/{CREDENTIAL}"), 0o600, smtp.password.clone());
    }
    for (number, was) in (1..).zip(&checks) {
        draft.add(number, was);
    }
    let yaml =
        yaml::text(&draft).map_err(|error| vec![format!("checks.json: {}", visible(&error.to_string()))])?;
    let report = report::text(&draft);
    draft.file("stealthcheck.yaml".to_owned(), 0o640, yaml);
    draft.file("REPORT.txt".to_owned(), 0o600, report);
    Ok(Plan { summary: report::summary(&draft), files: draft.files })
}

impl<'o> Draft<'o> {
    /// The mail server, if there is anybody to notify through it.
    pub(super) fn smtp(&self) -> Option<&'o Smtp> {
        self.config.smtp.as_ref().filter(|_| !self.mail_to.is_empty())
    }

    fn file(&mut self, path: String, mode: u32, content: String) {
        self.files.push(PlannedFile { path, mode, content });
    }

    fn add(&mut self, number: usize, was: &'o OldCheck) {
        let probe = probe::read(&was.check_command);
        if probe == Probe::Always {
            self.look.push(format!("check {number} always passed, so nothing ever came of it: left out."));
            return;
        }
        let (probe, recovery) = match_up(probe, recovery::read(&was.fail_command, self.around));
        let is_taken = |name: &str| {
            let unit = format!("{name}.service");
            matches!(recovery, Recovery::Run(_))
                && (name == "stealthcheck" || (self.around.unit_exists)(&unit))
        };
        let name = self.names.give(&name(&probe, &recovery), is_taken);
        let shown = |line: &str| match may_be_secret(line) {
            true => format!("(not shown, as it may have a secret in it: see check {number} in checks.json)"),
            false => visible(line).into_owned(),
        };
        let (check_command, fail_command) = (shown(&was.check_command), shown(&was.fail_command));
        let mut look = Vec::new();
        let limit = match &probe {
            Probe::Http(request) => request.timeout,
            Probe::Tcp { timeout, .. } => *timeout,
            _ => None,
        };
        let watched = match &probe {
            Probe::Unit(unit) => Some(unit.to_string()),
            _ => None,
        };
        let probe = match probe {
            Probe::Http(request) => Some(("http", request.settings())),
            Probe::Tcp { address, .. } => Some(("tcp", address.to_string().into())),
            Probe::Command(why) => {
                let path = format!("units/stealthcheck-probe@{name}.service.d/import.conf");
                look.push(format!(
                    "its check command `{check_command}`: {why}. bash runs it as before, with the old user's rights and no \
                     sandbox ({path}). Where another probe can say the same, that is cheaper and safer"
                ));
                self.file(path, 0o644, unit_file::probe_drop_in(number, self.around));
                Some(("command", vec!["/bin/bash", "-c", &was.check_command].into()))
            }
            Probe::Unit(_) | Probe::Process(_) | Probe::Always => None,
        };
        let (unit, recover) = match recovery {
            // Without `none` a service would be restarted.
            Recovery::Nothing(why) => {
                look.extend(why.map(|why| format!("its fail command `{fail_command}`: {why}")));
                (watched.clone(), watched.map(|_| "none"))
            }
            Recovery::Job { unit, step } => {
                if !(self.around.unit_exists)(unit.as_str()) {
                    look.push(format!("this machine has no unit {unit}"));
                }
                (Some(unit.to_string()), Some(step))
            }
            Recovery::Run(service) => {
                let step = if service.keeps_running { "restart" } else { "start" };
                let unit = self.unit(number, &name, &service, &was.fail_command, &fail_command);
                let clauses = service.look.iter();
                look.extend(clauses.map(|clause| format!("its fail command `{fail_command}`: {clause}")));
                (Some(unit), Some(step))
            }
        };
        let alert = match was.alert_emails.is_empty() {
            _ if self.smtp().is_none() => None,
            false => Some(mapping([("to", Some(was.alert_emails.clone().into()))])),
            true => self.config.alert_emails.is_empty().then(|| mapping([("off", Some(true.into()))])),
        };
        let interval = Duration::from_millis(was.interval_ms);
        let (key, probe) = probe.unzip();
        let settings = mapping([
            ("unit", unit.map(Value::from)),
            (key.unwrap_or_default(), probe),
            ("interval", Some(duration(interval).into())),
            ("timeout", Some(duration(limit.unwrap_or(PATIENCE).max(SHORTEST).min(interval)).into())),
            ("failure_threshold", Some(HASTE_MS.div_ceil(was.interval_ms).into())),
            ("recover", recover.map(Value::from)),
            ("alert", alert),
        ]);
        self.look.extend(look.iter().map(|clause| format!("{name}: {clause}.")));
        let lines = [("check_command", check_command), ("fail_command", fail_command)];
        self.checks.push(Planned { name, lines, settings });
    }

    /// The name of the unit of a service, which is written where no check before had the same line.
    fn unit(&mut self, number: usize, name: &str, service: &Service, line: &'o str, shown: &str) -> String {
        let key = (line, service.keeps_running);
        if let Some(unit) = self.units.get(&key) {
            return unit.clone();
        }
        let unit = format!("{name}.service");
        self.file(format!("units/{unit}"), 0o644, unit_file::text(service, number, shown, self.around));
        self.enabled.extend(service.keeps_running.then(|| unit.clone()));
        self.units.insert(key, unit.clone());
        unit
    }
}

/// What can only be told from both commands: whether a unit or a process that is looked for is just what the fail command
/// acts on. If not, the check stays a command.
fn match_up(probe: Probe, mut recovery: Recovery) -> (Probe, Recovery) {
    let same = match (&probe, &mut recovery) {
        (Probe::Unit(_), Recovery::Nothing(_)) => true,
        (Probe::Unit(watched), Recovery::Job { unit, .. }) => watched == unit,
        (Probe::Process(name), Recovery::Job { unit, .. }) => unit.as_str() == format!("{name}.service"),
        (Probe::Process(name), Recovery::Run(service)) if service.program == *name => {
            service.keeps_running = true;
            service.look.clear();
            true
        }
        (Probe::Unit(_) | Probe::Process(_), _) => false,
        _ => true,
    };
    let why = "it does not look for just what the fail command starts or restarts";
    (if same { probe } else { Probe::Command(why.to_owned()) }, recovery)
}

/// What a check might be called.
fn name(probe: &Probe, recovery: &Recovery) -> String {
    let stem = |unit: &str| unit.rsplit_once('.').map(|(stem, _)| stem.to_owned());
    let acted_on = match recovery {
        Recovery::Nothing(_) => None,
        Recovery::Job { unit, .. } => stem(unit.as_str()),
        Recovery::Run(service) => service.called.clone(),
    };
    let looked_at = match probe {
        Probe::Http(request) => request.url.split(['/', '?']).nth(2).map(str::to_owned),
        Probe::Tcp { address, .. } => Some(address.to_string()),
        Probe::Unit(unit) => stem(unit.as_str()),
        Probe::Process(_) | Probe::Always | Probe::Command(_) => None,
    };
    let mut names = [acted_on, looked_at].into_iter().flatten().map(|hint| names::plain(&hint));
    names.find(|name| !name.is_empty()).unwrap_or_else(|| "check".to_owned())
}
