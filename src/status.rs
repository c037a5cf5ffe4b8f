//! One snapshot of everything, as the daemon hands it out and `stealthctl` shows it.
//!
//! Both sides use these types, so the two binaries cannot disagree. Values only; no I/O, no clock.

mod why;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::check::CheckName;
use crate::notification::{Attempt, Dependent, IncidentId};
use crate::time::Wall;
use crate::unit::{UnitName, UnitState};
use crate::verdict::{Health, Seen};

pub use why::{Decision, Explanation, Reason, Topic};

/// Everything that `stealthctl status --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The daemon's version.
    pub version: String,
    /// When this was taken.
    pub at: Wall,
    /// When the daemon started.
    pub started: Wall,
    /// The configuration in force.
    pub configuration: ConfigurationStatus,
    /// The mail queue.
    pub mail: MailStatus,
    /// How many checks there are, and how they are.
    #[serde(default)]
    pub counts: Counts,
    /// A storm that is on, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<String>,
    /// Whatever else an administrator must know, one sentence each: systemd unreachable, an unknown unit, no state
    /// directory.
    pub alerts: Vec<String>,
    /// In name order.
    pub checks: Vec<CheckStatus>,
}

/// Numbers of checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All that are configured.
    pub checks: usize,
    /// Those that are down and not suppressed, or in a storm.
    pub down: usize,
    /// Those that cannot be measured.
    pub unknown: usize,
    /// Those that are left alone.
    pub suppressed: usize,
}

/// What became of a configuration with problems, wherever it is said: by the command, in the journal, by mail.
pub const REJECTED: &str = "the configuration was rejected, the running configuration is kept";

/// The configuration in force, and what became of the last attempt to load another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// When the files of the one in force were read.
    pub loaded: Wall,
    /// The files it came from.
    pub files: Vec<String>,
    /// The files in place were rejected, at the last reload or at the start: when, and the problems, a line each.
    pub refused: Option<(Wall, Vec<String>)>,
}

/// The mail queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailStatus {
    /// Whether the configuration has a `mail:` section.
    pub configured: bool,
    /// Mails not yet accepted by the server.
    pub queued: usize,
    /// When the oldest of them was written.
    pub oldest: Option<Wall>,
    /// Why the last delivery failed; `None` once one succeeded.
    pub last_error: Option<String>,
    /// Addresses that the server refuses for good, each with its words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<(String, String)>,
    /// Mails that were removed because too many waited, and of which their recipients have not been told yet.
    #[serde(default)]
    pub removed: usize,
    /// The same since the daemon started, told or not.
    #[serde(default)]
    pub removed_total: u64,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// The check.
    pub name: CheckName,
    /// The unit it speaks for.
    pub unit: Option<UnitName>,
    /// What is probed.
    pub probe: String,
    /// How it is, and why it is left alone: `state` and `suppressed_by` in JSON.
    #[serde(flatten)]
    pub health: Health,
    /// Since when it is so.
    pub since: Wall,
    /// The latest observation.
    pub last: Option<Seen>,
    /// One clause: what happens next (`probe in 12s`, `restart in 40s (attempt 3)`, `waiting for the restart job`).
    pub next: String,
    /// When the next probe is due.
    pub next_probe: Option<Wall>,
    /// The open incident.
    pub incident: Option<IncidentStatus>,
    /// What systemd says of the unit.
    pub unit_state: Option<UnitState>,
    /// Earlier observations, oldest first; failures are kept longer than successes. Only in the detailed view.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Seen>,
    /// The runbook. Only in the detailed view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Arc<str>>,
}

/// An open incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentStatus {
    /// Its id, as in the journal and in the mails.
    pub id: IncidentId,
    /// When it opened.
    pub since: Wall,
    /// What failed.
    pub cause: String,
    /// How many recovery attempts there were.
    pub attempts: u32,
    /// How many there may be; `None`: no limit.
    pub max_attempts: Option<u32>,
    /// The latest attempt.
    pub last_attempt: Option<Attempt>,
    /// A person is needed.
    pub action_required: bool,
    /// Why no recovery is under way right now, in one clause.
    pub withheld: Option<String>,
    /// Mails asked for, and how many of them the server has accepted.
    pub notifications: (u32, u32),
    /// The checks of units that require this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependents: Vec<Dependent>,
}
