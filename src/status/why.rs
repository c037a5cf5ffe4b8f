//! Why a check is as it is, and what was done about it or not: what `stealthctl why` shows. Values only.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::check::CheckName;
use crate::time::Wall;
use crate::unit::UnitName;
use crate::verdict::Health;

/// The answer to "why".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The check.
    pub name: CheckName,
    /// The unit it speaks for.
    pub unit: Option<UnitName>,
    /// When this was asked.
    pub at: Wall,
    /// How the check is.
    #[serde(flatten)]
    pub health: Health,
    /// What holds now, a sentence for each rule that applies.
    pub now: Vec<Reason>,
    /// The decision log, oldest first.
    pub log: Vec<Decision>,
}

/// What a sentence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// What a probe saw, and whether it counts.
    Seen,
    /// What systemd says of the unit.
    Unit,
    /// Why the check is suppressed.
    Suppressed,
    /// The incident.
    Incident,
    /// What is done about it, or not.
    Recovery,
    /// Who is told, or not.
    Notification,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Seen => "seen",
            Self::Unit => "unit",
            Self::Suppressed => "suppressed",
            Self::Incident => "incident",
            Self::Recovery => "recovery",
            Self::Notification => "notification",
        })
    }
}

/// One sentence on what holds now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What it is about.
    pub topic: Topic,
    /// The sentence, without its full stop.
    pub text: String,
}

/// One sentence on what was decided. Equal ones in a row are one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What it is about.
    pub topic: Topic,
    /// The sentence, without its full stop.
    pub text: String,
    /// When it was decided first.
    pub first: Wall,
    /// When it was decided last.
    pub last: Wall,
    /// How often in a row.
    pub count: u32,
}
