//! What a probe saw and how a check is: observations and health. Values only; no I/O, no clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Wall;

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
    /// The probe could not measure; this says nothing about the target (DESIGN: rule 15).
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
            Self::Failing { reason } | Self::Unknown { reason } => reason,
        }
    }

    /// Whether this and `other` saw the same thing (latency aside), so that a history may count them as one.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.text() == other.text()
    }
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

/// How a check is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Health {
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
    /// It could not be measured, `fail_after` times in a row: nothing is known of the target (DESIGN: rule 15).
    Unknown,
    /// An operator said to leave it alone.
    Paused {
        /// Until then.
        until: Wall,
    },
    /// Somebody stopped its unit, and that is respected for a while.
    Stopped {
        /// Then it counts as down; `None`: never.
        until: Option<Wall>,
    },
}

impl Health {
    /// The state as one word, the same as in JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Passing => "passing",
            Self::Failing { .. } => "failing",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Paused { .. } => "paused",
            Self::Stopped { .. } => "stopped",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing { n, m } => write!(f, "failing {n}/{m}"),
            other => f.write_str(other.word()),
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
