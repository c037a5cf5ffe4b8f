//! Incidents as they are told: recovery attempts and notices. Values only; no I/O, no clock.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::check::{CheckName, Rung};
use crate::time::Wall;
use crate::unit::{JobResult, UnitName, UnitState};

/// The id of an incident: the check's name and the wall-clock second it opened, `fibridge-1795345200`, counted up
/// where that second is taken (the clock was set back). Unique on a machine, safe in a file name and in a Message-ID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub Arc<str>);

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
    pub rung: Rung,
    /// When.
    pub asked: Wall,
    /// How the job ended; `None` while it runs.
    pub result: Option<JobResult>,
    /// Whether it helped (DESIGN: rule 13); `None` while that is open. The text says why not.
    pub verdict: Option<Proof>,
}

/// Whether a recovery attempt worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "proof", content = "why")]
pub enum Proof {
    /// The job is done, the unit has a new InvocationID and its checks pass.
    Worked,
    /// Anything less; one clause says what is missing.
    DidNotHelp(String),
}

/// Which of an incident's mails this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// The incident's first.
    Down,
    /// Nothing that may be tried is left, or nothing helped.
    NeedsYou,
    /// A reminder.
    StillDown,
    /// The incident's last.
    Recovered,
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::NeedsYou => "needs you",
            Self::StillDown => "still down",
            Self::Recovered => "recovered",
        })
    }
}

/// The identity of a notice: its incident and its number in it. The same notice asked for twice has the same id, and is
/// one mail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NoticeId {
    /// The incident it tells of.
    pub incident: IncidentId,
    /// From 1, in the order they were asked for. Number 1 is the thread's root.
    pub number: u32,
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incident, self.number)
    }
}

/// A mail about an incident, before it is worded: the facts at the moment it was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Which notice of which incident.
    pub id: NoticeId,
    /// What it says.
    pub kind: NoticeKind,
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
    /// InvocationID of the run that failed (of the latest, where attempts failed too), for its journal; empty where unknown.
    pub failed_invocation: String,
    /// What the administrator wants the reader to know.
    pub runbook: Option<Arc<str>>,
    /// The checks of units that require this one, which have no incident and no notices of their own for it.
    #[serde(default)]
    pub takes_down: Vec<TakenDown>,
}

/// A check whose unit requires one that has an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenDown {
    /// The check.
    pub check: CheckName,
    /// Its unit.
    pub unit: UnitName,
    /// It does well all the same, so far.
    pub well: bool,
}
