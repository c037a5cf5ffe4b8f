//! What a unit has to do with other units: what it needs and what it cannot stand beside, in systemd's own graph.
//!
//! The systemd client fills these from D-Bus properties, the core reads them. Nothing here performs I/O.

use serde::{Deserialize, Serialize};

use super::UnitName;

/// The edges of systemd's graph that matter here, without those that every unit has. Most units have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations {
    /// The unit's own name (`Id`) where it is watched by another (an alias): the name that other units' edges use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<UnitName>,
    /// `Requires`, `BindsTo` and `Requisite`: without these it is not started, and with some of them it stops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<UnitName>,
    /// `Conflicts` and `ConflictedBy`: the start of either stops the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<UnitName>,
}

impl Relations {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.id.is_none() && self.requires.is_empty() && self.conflicts.is_empty()
    }
}
