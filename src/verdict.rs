//! What a probe saw and how a check is: observations and health. Values only; no I/O, no clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Wall;
use crate::unit::UnitName;

/// What one run of a probe saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Observation {
    /// The target is well.
    Passing {
        /// One clause: `200 OK`.
        detail: String,
        /// How long it took, in whole milliseconds when serialized.
        #[serde(with = "millis")]
        latency: Duration,
    },
    /// The target is not well.
    Failing {
        /// One clause: `connection refused`, `500 Internal Server Error, expected 200-299`.
        reason: String,
    },
    /// The target is not well, and no job on the check's own unit would change that: a certificate that nobody has
    /// renewed. It counts as any failure does, but restarts nothing.
    NotRestartable {
        /// One clause.
        reason: String,
    },
    /// The probe could not measure; this says nothing about the target (rule 15).
    Unknown {
        /// One clause.
        reason: String,
    },
}

impl Observation {
    /// The clause that says what was seen.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Passing { detail, .. } => detail,
            Self::Failing { reason } | Self::NotRestartable { reason } | Self::Unknown { reason } => reason,
        }
    }

    /// The same, judged by how long it took: a pass that took longer than `max_response_time` is none (in whole
    /// milliseconds, as latencies are shown).
    #[must_use]
    pub fn in_time(self, max_response_time: Option<Duration>) -> Self {
        match (self, max_response_time) {
            (Self::Passing { detail, latency }, Some(limit)) if latency.as_millis() > limit.as_millis() => {
                let (took, limit) = (precise(latency), precise(limit));
                Self::Failing { reason: format!("took {took}, slower than {limit} ({detail})") }
            }
            (observation, _) => observation,
        }
    }

    /// The state that a check would have by this observation alone.
    #[must_use]
    pub fn health(&self) -> Health {
        match self {
            Self::Passing { .. } => Health::PASSING,
            Self::Failing { .. } | Self::NotRestartable { .. } => Health::DOWN,
            Self::Unknown { .. } => Health::UNKNOWN,
        }
    }

    /// Whether this and `other` saw the same thing (latency aside), so that a history may count them as one.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.text() == other.text()
    }
}

/// One reading of what a unit or the machine uses. One alone says little: what it means is seen in a row of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sample {
    /// It runs, and uses this.
    Used {
        /// What the reading belongs to: the unit's InvocationID, or the id of the machine's boot. Readings of different
        /// runs say nothing about each other.
        run: String,
        /// CPU time since that run began, in nanoseconds; or memory in use now, in bytes.
        used: u64,
        /// All there is: the number of CPUs; or bytes of memory, the unit's own limit where it has one.
        whole: u64,
    },
    /// The unit does not run, so there is nothing to measure.
    Idle {
        /// What it is in, as `systemctl status` words it.
        state: String,
    },
}

/// An observation in a check's history: equal ones in a row stand as one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The latest of them.
    pub observation: Observation,
    /// When the first was made.
    pub first: Wall,
    /// When the latest was made.
    pub last: Wall,
    /// How many in a row.
    pub count: u64,
}

/// The state of a check, by what its probes saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// Nothing is known yet.
    Starting,
    /// All is well.
    Passing,
    /// It failed, but not often enough to be down.
    Failing {
        /// Consecutive failures so far.
        n: u32,
        /// That many make it down.
        m: u32,
    },
    /// There is an incident.
    Down,
    /// It could not be measured, `failure_threshold` times in a row: nothing is known of the target (rule 15).
    Unknown,
}

impl State {
    /// The state as one word, the same as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Passing => "passing",
            Self::Failing { .. } => "failing",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing { n, m } => write!(f, "failing {n}/{m}"),
            other => f.write_str(other.word()),
        }
    }
}

/// Why a check is left alone now: its failures do not count, no job is requested, no notification is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum SuppressedBy {
    /// An operator has paused it (rule 11).
    Paused {
        /// Until then.
        until: Wall,
    },
    /// A command of an operator holds its unit (rule 10).
    Held {
        /// The hold's id, for `stealthctl release`.
        id: Arc<str>,
        /// Who has it.
        who: Arc<str>,
        /// What for.
        why: Arc<str>,
        /// Until when at the latest.
        until: Wall,
    },
    /// An operator has stopped its unit, and that is respected for a while (rule 12).
    Stopped {
        /// Then it counts as down; `None`: never.
        until: Option<Wall>,
    },
    /// Its unit is down because one that it conflicts with is up, or was a moment ago (rule 8).
    Conflict {
        /// The other unit.
        by: UnitName,
        /// Then it counts as down; `None`: never.
        until: Option<Wall>,
    },
    /// Its unit requires one that has an incident, or that is down and suppressed (rule 9).
    Dependency {
        /// That unit.
        by: UnitName,
        /// That unit is well again; then this check counts as down. `None`: for as long as it takes.
        until: Option<Wall>,
    },
    /// Many checks fail together (rule 14). Unlike the others it lets failures count.
    Storm,
}

impl SuppressedBy {
    /// The reason as one word, the same as in JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Paused { .. } => "paused",
            Self::Held { .. } => "held",
            Self::Stopped { .. } => "stopped",
            Self::Conflict { .. } => "conflict",
            Self::Dependency { .. } => "dependency",
            Self::Storm => "storm",
        }
    }
}

/// How a check is, and why it is left alone, if it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// By what its probes saw.
    #[serde(flatten)]
    pub state: State,
    /// Why it is left alone now.
    pub suppressed_by: Option<SuppressedBy>,
}

impl Health {
    /// Nothing is known yet.
    pub const STARTING: Self = Self::of(State::Starting);
    /// All is well.
    pub const PASSING: Self = Self::of(State::Passing);
    /// There is an incident, and nothing suppresses it.
    pub const DOWN: Self = Self::of(State::Down);
    /// Nothing is known of the target.
    pub const UNKNOWN: Self = Self::of(State::Unknown);

    /// All words that [`Health::word`] can say.
    pub const WORDS: &[&str] = &[
        "starting",
        "passing",
        "failing",
        "down",
        "paused",
        "stopped",
        "held",
        "conflict",
        "dependency",
        "storm",
        "unknown",
    ];

    /// The health of a check that nothing suppresses.
    #[must_use]
    pub const fn of(state: State) -> Self {
        Self { state, suppressed_by: None }
    }

    /// The same state, suppressed.
    #[must_use]
    pub fn suppressed(self, by: SuppressedBy) -> Self {
        Self { suppressed_by: Some(by), ..self }
    }

    /// The word that people see first: the reason of the suppression, or else the state.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if let Some(why) = &self.suppressed_by {
            return why.word();
        }
        self.state.word()
    }

    /// There is an incident that counts: nothing suppresses it, though it may belong to a storm.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state == State::Down && matches!(self.suppressed_by, None | Some(SuppressedBy::Storm))
    }

    /// Whether people see the same: what the state is under a suppression is not shown first.
    #[must_use]
    pub fn is_shown_as(&self, other: &Self) -> bool {
        self.suppressed_by == other.suppressed_by
            && (self.suppressed_by.is_some() || self.state == other.state)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.suppressed_by {
            Some(why) => f.write_str(why.word()),
            None => self.state.fmt(f),
        }
    }
}

/// `850ms`, `3.2s`: no more is rounded away than milliseconds have.
fn precise(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1000 => format!("{ms}ms"),
        ms => {
            let seconds = format!("{}.{:03}", ms / 1000, ms % 1000);
            format!("{}s", seconds.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(millis: u64, max_response_time: Option<u64>) -> Observation {
        let latency = Duration::from_millis(millis);
        let detail = "200 OK".to_owned();
        Observation::Passing { detail, latency }.in_time(max_response_time.map(Duration::from_millis))
    }

    #[test]
    fn a_pass_that_took_too_long_is_none() {
        for (millis, max_response_time, text) in [
            (3200, 2000, "took 3.2s, slower than 2s (200 OK)"),
            (2001, 2000, "took 2.001s, slower than 2s (200 OK)"),
            (850, 90, "took 850ms, slower than 90ms (200 OK)"),
            (60_000, 10_500, "took 60s, slower than 10.5s (200 OK)"),
        ] {
            let seen = took(millis, Some(max_response_time));
            assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
            assert_eq!(seen.text(), text);
        }
        for seen in [took(2000, Some(2000)), took(60_000, None)] {
            assert!(matches!(seen, Observation::Passing { .. }), "{seen:?}");
        }
    }

    #[test]
    fn what_is_no_pass_stays_what_it_is() {
        let reason = || "connection refused".to_owned();
        for seen in [
            Observation::Failing { reason: reason() },
            Observation::NotRestartable { reason: reason() },
            Observation::Unknown { reason: reason() },
        ] {
            assert_eq!(seen.clone().in_time(Some(Duration::ZERO)), seen);
        }
    }
}
