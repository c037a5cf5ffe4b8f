//! Which configuration runs: at the start, and after a reload.
//!
//! In: files, or root's record of the accepted configuration ([`config::accepted`]). Out: a configuration that is adopted as
//! a whole, or a rejection that is reported in the journal, in the status and by mail, while the running configuration is
//! kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::act::Internal;
use super::dbus_server::Waiting;
use super::start::recipients;
use super::{Fatal, Supervisor, clock};
use crate::bus::{Refusal, Signal};
use crate::check::CheckName;
use crate::config::accepted::{Record, Rejected};
use crate::config::{self, Config, Credentials, Problem};
use crate::engine::Event;
use crate::status::{self, ConfigurationStatus};
use crate::time::{Wall, human};
use crate::{journal, service_manager};

/// Where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In this file and the drop-ins beside it.
    Files(PathBuf),
    /// In the record that `stealthctl authorize` writes.
    Accepted(PathBuf),
}

/// A valid configuration.
#[derive(Debug)]
pub(super) struct Loaded {
    pub config: Config,
    /// When its files were read.
    pub at: Wall,
}

impl Origin {
    /// The configuration to start with, and why it is not that of the files that are in place now, where it is not.
    pub(super) fn at_start(&self) -> Result<(Loaded, Option<Rejected>), Fatal> {
        let path = match self {
            Self::Accepted(path) => path,
            Self::Files(main) => {
                let at = clock::now().wall;
                let config = config::load(main).map_err(|problems| Fatal::Configuration(lines(&problems)))?;
                return Ok((Loaded { config, at }, None));
            }
        };
        let record = read(path).map_err(Fatal::NothingAccepted)?;
        let rejected = record.rejected().cloned();
        match (record.config(), rejected) {
            (Some(Ok((config, at))), rejected) => {
                let rejected = passed_over(&record, at).or(rejected);
                Ok((Loaded { config, at }, rejected))
            }
            // What another version accepted is of no use to this one; the files in place are those to correct.
            (_, Some(rejected)) => Err(Fatal::Configuration(rejected.problems)),
            (Some(Err(problems)), None) => Err(Fatal::Configuration(lines(&problems))),
            (None, None) => Err(Fatal::NothingAccepted(nothing(path, "is empty"))),
        }
    }

    /// The configuration that was asked for by a reload.
    fn at_reload(&self) -> Result<Loaded, Rejected> {
        let now = clock::now().wall;
        let rejected = |problems| Rejected { since: now, at: now, problems };
        let path = match self {
            Self::Accepted(path) => path,
            Self::Files(main) => {
                let config = config::load(main).map_err(|problems| rejected(lines(&problems)))?;
                return Ok(Loaded { config, at: now });
            }
        };
        let record = read(path).map_err(|why| rejected(vec![why]))?;
        match (record.rejected(), record.config()) {
            (Some(found), _) => Err(found.clone()),
            (None, Some(Ok((config, at)))) => Ok(Loaded { config, at }),
            (None, Some(Err(problems))) => Err(rejected(lines(&problems))),
            (None, None) => Err(rejected(vec![nothing(path, "is empty")])),
        }
    }
}

fn read(path: &Path) -> Result<Record, String> {
    match Record::read(path) {
        Ok(Some(record)) => Ok(record),
        Ok(None) => Err(nothing(path, "does not exist")),
        Err(error) => Err(nothing(path, &format!("cannot be read: {error}"))),
    }
}

fn nothing(path: &Path, how: &str) -> String {
    let path = path.display();
    format!(
        "{path} {how}: `stealthctl authorize`, which the service runs first, could not write the configuration there"
    )
}

/// The service ran `stealthctl authorize` for this start, and it could not write (a full disk): what the files say now is
/// unknown. systemd gives each start an id, to all its processes the same.
fn passed_over(record: &Record, accepted: Wall) -> Option<Rejected> {
    let invocation = std::env::var("INVOCATION_ID").ok()?;
    let missing = "`stealthctl authorize` could not write the configuration at this start of the service; see \
                   `journalctl -u stealthcheck`";
    // Since the same moment at each start, for it is one piece of news.
    let rejected = Rejected { since: accepted, at: clock::now().wall, problems: vec![missing.to_owned()] };
    (!record.is_of(&invocation)).then_some(rejected)
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// What is said of a configuration that is in force.
pub(super) fn status_of(loaded: &Loaded) -> ConfigurationStatus {
    let files = loaded.config.files.iter().map(|file| file.display().to_string()).collect();
    ConfigurationStatus { loaded: loaded.at, files, refused: None }
}

impl Supervisor {
    /// Reads the configuration again, off the loop.
    pub(super) fn reload(&mut self, reply: Option<Waiting<Vec<String>>>) {
        service_manager::reloading();
        let origin = self.options.configuration.clone();
        let internal = self.internal.clone();
        tokio::spawn(async move {
            let read = tokio::task::spawn_blocking(move || origin.at_reload()).await;
            let Ok(loaded) = read else { return };
            let _ = internal.send(Internal::Loaded { loaded: Box::new(loaded), reply }).await;
        });
    }

    /// All or nothing: a configuration with a problem changes nothing, and is told everywhere.
    pub(super) fn loaded(&mut self, loaded: Result<Loaded, Rejected>, reply: Option<Waiting<Vec<String>>>) {
        let answer = match loaded {
            Ok(loaded) => {
                self.alerts.credentials = Credentials::of_this_process().problems(&loaded.config);
                let mut warnings = lines(&loaded.config.warnings);
                warnings.extend(self.alerts.credentials.iter().cloned());
                self.adopt(loaded, &warnings);
                Ok(warnings)
            }
            Err(rejected) => {
                let problems = rejected.problems.clone();
                journal::log_configuration_refused(&problems);
                self.reject(
                    rejected,
                    "A reload was requested, but the new configuration has errors. The running configuration is kept, \
                     and all checks continue.",
                );
                Err(Refusal::InvalidConfiguration(problems))
            }
        };
        service_manager::ready();
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    /// The daemon has started with the last valid configuration, for want of another.
    pub(super) fn rejected_at_start(&mut self, rejected: Rejected) {
        let age = clock::now().wall.since(self.configuration.loaded);
        let age = human(Duration::from_secs(age.as_secs()));
        journal::log_configuration_refused_at_start(&rejected.problems, &age);
        let introduction = format!(
            "stealthcheck was started, but the configuration has errors. The last valid configuration, accepted {age} ago, \
             is running, and all its checks continue."
        );
        self.reject(rejected, &introduction);
    }

    fn adopt(&mut self, loaded: Loaded, warnings: &[String]) {
        let before: BTreeSet<CheckName> = self.engine.names().cloned().collect();
        self.configuration = status_of(&loaded);
        self.notified_rejection = None;
        let config = loaded.config;
        self.mailer.reconfigure(config.mail.clone(), recipients(&config));
        self.tell(Event::Configured(config.checks.clone()));
        let engine = &self.engine;
        self.waiting.retain(|(name, _)| engine.knows(name));
        self.listen.send_replace(config.listen.clone());
        self.counters.retain(|name| engine.knows(name));
        journal::log_configuration_loaded(config.checks.len(), &self.configuration.files);
        for warning in warnings {
            journal::log_trouble(warning);
        }
        self.config = config;
        let now: BTreeSet<CheckName> = self.engine.names().cloned().collect();
        for name in now.symmetric_difference(&before) {
            self.signal(Signal::Configured(name.clone(), now.contains(name)));
        }
        self.announce = true;
    }

    /// Shows what is wrong, and mails it once, however often it is found again.
    fn reject(&mut self, rejected: Rejected, introduction: &str) {
        let Rejected { since, at, problems } = rejected;
        let known = self.configuration.refused.replace((at, problems.clone()));
        self.announce = true;
        // Files that the daemon reads itself have no record of since when they are so.
        let again =
            known.is_some_and(|(_, known)| known == problems) || self.notified_rejection == Some(since);
        self.notified_rejection = Some(since);
        self.dirty = true;
        if !again {
            let user = if self.options.user { " --user" } else { "" };
            let body = format!(
                "{introduction}\n\n{}\n\nCorrect the file, then run:\n\n    stealthctl{user} validate\n    \
                 systemctl{user} reload stealthcheck\n",
                problems.join("\n")
            );
            self.mailer.submit_host(status::REJECTED, body);
        }
    }
}
