//! Incidents as they are told: recovery attempts and notifications. Values only; no I/O, no clock.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::check::{CheckName, Step};
use crate::time::Wall;
use crate::unit::{JobResult, UnitName, UnitState};
use crate::verdict::Health;

/// The id of an incident: the check's name and the wall-clock second it opened, `fibridge-1795345200`, counted up
/// where that second is taken (the clock was set back). Unique on a machine, safe in a file name and in a Message-ID.
/// The two other matters that mails are about end in a word, as no incident does: a check that cannot be measured is
/// `fibridge-1795345200-unmeasured`, a storm is `host-1795345200-storm`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub Arc<str>);

impl IncidentId {
    /// The thread of mails that `check` cannot be measured, begun in this wall-clock second.
    #[must_use]
    pub fn unknown(check: &CheckName, second: i64) -> Self {
        Self(Arc::from(format!("{check}-{second}{UNMEASURED}")))
    }

    /// The storm that began in this wall-clock second.
    #[must_use]
    pub fn storm(second: i64) -> Self {
        Self(Arc::from(format!("host-{second}{STORM}")))
    }

    /// The name of the check that it is about; `None` where it is about the machine.
    #[must_use]
    pub fn check(&self) -> Option<&str> {
        let id = self.0.strip_suffix(UNMEASURED).unwrap_or(&self.0);
        let (check, second) = id.rsplit_once('-')?;
        second.bytes().all(|byte| byte.is_ascii_digit()).then_some(check)
    }
}

const UNMEASURED: &str = "-unmeasured";
const STORM: &str = "-storm";

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One recovery attempt, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number in the incident, from 1.
    pub number: u32,
    /// What was asked for.
    pub step: Step,
    /// When.
    pub requested: Wall,
    /// How the job ended; `None` while it runs.
    pub result: Option<JobResult>,
    /// Whether it helped (rule 13); `None` while that is open. The text says why not.
    pub outcome: Option<AttemptOutcome>,
}

impl Attempt {
    /// What became of it, in one clause: `done, recovered`, `done, ineffective: connection refused`, `failed`.
    #[must_use]
    pub fn progress(&self) -> String {
        match (&self.result, &self.outcome) {
            (None, _) => "in progress".to_owned(),
            (Some(result), Some(AttemptOutcome::Recovered)) => format!("{result}, recovered"),
            (Some(JobResult::Done), Some(AttemptOutcome::Ineffective(why))) if why.is_empty() => {
                "done, ineffective".to_owned()
            }
            (Some(JobResult::Done), Some(AttemptOutcome::Ineffective(why))) => {
                format!("done, ineffective: {why}")
            }
            (Some(JobResult::Done), None) => "done, outcome not known yet".to_owned(),
            // The job itself failed: its result says why the attempt was ineffective.
            (Some(result), _) => result.to_string(),
        }
    }
}

/// What a recovery attempt led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "why")]
pub enum AttemptOutcome {
    /// The job is done, the unit has a new InvocationID and its checks pass.
    Recovered,
    /// The job is done, and the check is down all the same, or again within the proving time; the clause says what
    /// failed.
    Ineffective(String),
    /// The job did not end as `done`.
    JobFailed(String),
    /// Somebody stopped or held the unit meanwhile; whether the step would have helped is not known.
    Interrupted(String),
    /// No job was requested: systemd, the bus or polkit did not answer, or refused.
    NotRequested(String),
}

impl AttemptOutcome {
    /// The attempt has not recovered the check.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Recovered)
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recovered => f.write_str("recovered"),
            Self::Ineffective(why) => write!(f, "ineffective: {why}"),
            Self::JobFailed(why) => write!(f, "job failed: {why}"),
            Self::Interrupted(why) => write!(f, "interrupted: {why}"),
            Self::NotRequested(why) => write!(f, "not requested: {why}"),
        }
    }
}

/// Which of an incident's mails this is, or of the mails that a check cannot be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotificationKind {
    /// The incident's first.
    Down,
    /// Nothing that may be tried is left, or nothing helped.
    ActionRequired,
    /// A reminder.
    StillDown,
    /// The incident's last.
    Recovered,
    /// The check could not be measured for long (rule 15). The first of a thread of its own.
    Unknown,
    /// A reminder of that.
    StillUnknown,
    /// It can be measured again: that thread's last.
    KnownAgain,
    /// The first of an incident that is one of many within an hour (rule 13).
    Flapping,
    /// The check left the configuration, or was pointed to another unit, in an incident: the thread's last (rule 17).
    NotMonitored,
}

impl NotificationKind {
    /// What it tells of is over: there is nothing left to look for.
    #[must_use]
    pub fn is_last(self) -> bool {
        matches!(self, Self::Recovered | Self::KnownAgain | Self::NotMonitored)
    }

    /// It is about the measuring, not about the target.
    #[must_use]
    pub fn is_about_measuring(self) -> bool {
        matches!(self, Self::Unknown | Self::StillUnknown | Self::KnownAgain)
    }
}

impl fmt::Display for NotificationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::ActionRequired => "action required",
            Self::StillDown => "still down",
            Self::Recovered => "recovered",
            Self::Unknown => "unknown",
            Self::StillUnknown => "still unknown",
            Self::KnownAgain => "known again",
            Self::Flapping => "flapping",
            Self::NotMonitored => "no longer monitored",
        })
    }
}

/// The identity of a notification: its incident and its number in it. The same notification asked for twice has the
/// same id, and is one mail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NotificationId {
    /// The incident it tells of.
    pub incident: IncidentId,
    /// From 1, in the order they were asked for. Number 1 is the thread's root.
    pub number: u32,
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incident, self.number)
    }
}

/// A mail about an incident, before it is worded: the facts at the moment it was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Which notification of which incident.
    pub id: NotificationId,
    /// What it says.
    pub kind: NotificationKind,
    /// Addresses; never empty.
    pub to: Vec<Arc<str>>,
    /// When it was decided on.
    pub at: Wall,
    /// The check.
    pub check: CheckName,
    /// The unit it speaks for.
    pub unit: Option<UnitName>,
    /// What is probed ([`crate::check::Probe::describe`]).
    pub probe: String,
    /// When the incident opened.
    pub since: Wall,
    /// What failed, in one clause.
    pub cause: String,
    /// The recovery attempts so far (the first and the latest where there were many).
    pub attempts: Vec<Attempt>,
    /// How many there were in all.
    pub attempts_total: u32,
    /// One sentence: what happens next.
    pub next: String,
    /// The unit's state at this moment.
    pub state: Option<UnitState>,
    /// InvocationID of the run that failed (of the latest, where attempts failed too), for its journal; empty where
    /// unknown.
    pub failed_invocation: String,
    /// What the administrator wants the reader to know.
    pub runbook: Option<Arc<str>>,
    /// The checks of units that require this one, which have no incident and no notifications of their own for it.
    #[serde(default)]
    pub dependents: Vec<Dependent>,
}

/// A check whose unit requires one that has an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependent {
    /// The check.
    pub check: CheckName,
    /// Its unit.
    pub unit: UnitName,
    /// It does well all the same, so far.
    pub well: bool,
}

/// Which of a storm's mails this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostNotificationKind {
    /// Many checks fail together: it is the machine, and nothing is restarted (rule 14).
    Storm,
    /// A reminder.
    StillStorm,
    /// The storm's last.
    StormOver,
}

/// A mail about the machine instead of its checks one by one, before it is worded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNotification {
    /// Which notification of which storm.
    pub id: NotificationId,
    /// What it says.
    pub kind: HostNotificationKind,
    /// Everybody whom the checks concerned would have told; the mailer adds the global recipients.
    pub to: Vec<Arc<str>>,
    /// When it was decided on.
    pub at: Wall,
    /// When the storm began.
    pub since: Wall,
    /// So many checks were concerned when it was first told: the same number in every mail of the thread.
    pub affected: usize,
    /// Of so many.
    pub total: usize,
    /// Those concerned, in name order.
    pub checks: Vec<StormCheck>,
}

/// A check in a storm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StormCheck {
    /// The check.
    pub name: CheckName,
    /// How it is now.
    pub health: Health,
    /// What was seen last, in one clause.
    pub seen: String,
    /// It is still not well, and a recovery of its unit is configured.
    pub to_be_recovered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_check_or_the_machine() {
        let name = CheckName::new("gru-dns").unwrap();
        assert_eq!(IncidentId("gru-dns-1795345200".into()).check(), Some("gru-dns"));
        assert_eq!(IncidentId::unknown(&name, 7).check(), Some("gru-dns"));
        assert_eq!(IncidentId::storm(7).check(), None);
        assert_eq!(IncidentId("host!7".into()).check(), None);
    }
}
