//! How a unit relates to other units in systemd's own graph.
//!
//! The systemd client fills these from D-Bus properties, the core reads them. Nothing here performs I/O.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::UnitName;

/// The edges of systemd's graph that matter here, without those that every unit has. Most units have none.
/// All names are primary ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Relations {
    /// `Requires`, `BindsTo` and `Requisite`: without these it is not started, and with some of them it stops.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<UnitName>,
    /// `BindsTo` (which is in `requires` as well) and `StopPropagatedFrom`: the end of one of these stops the unit, also
    /// where no job ended it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub binds_to: Vec<UnitName>,
    /// `Wants` and `Upholds`: a start of the unit starts these as well; it does not depend on them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<UnitName>,
    /// `PartOf`: a stop or restart of one of these stops or restarts the unit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub part_of: Vec<UnitName>,
    /// `ConsistsOf`: the units that are `PartOf` this one. A wrapper (Debian's postgresql.service) has nothing else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consists_of: Vec<UnitName>,
    /// `RequiredBy`, `BoundBy` and `RequisiteOf`: a stop or restart of the unit stops or restarts these as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_by: Vec<UnitName>,
    /// `Conflicts` and `ConflictedBy`: the start of either stops the other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<UnitName>,
    /// `OnFailure` and `OnSuccess`: the end of the unit starts these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub at_end: Vec<UnitName>,
}

impl Relations {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds to the relations of a unit that is down those stops that were propagated to it by an earlier reading
    /// (`StopPropagatedFrom`, see `binds_to`): they are settings of the other unit, and systemd does not know them while
    /// it has unloaded that one, as it does with one that is inactive and not enabled.
    pub fn keep_propagated_stops(relations: &mut Option<Arc<Self>>, before: &Self) {
        let known = relations.as_deref().map_or(&[][..], |known| &known.binds_to);
        let lost: Vec<UnitName> = before
            .binds_to
            .iter()
            .filter(|name| !before.requires.contains(name) && !known.contains(name))
            .cloned()
            .collect();
        if !lost.is_empty() {
            let kept = Arc::make_mut(relations.get_or_insert_default());
            kept.binds_to.extend(lost);
            kept.binds_to.sort();
        }
    }
}
