//! Probes that rest (rule 3): a connection to the socket of a unit that an operator has stopped, or that a command holds,
//! would have systemd start the unit.
//!
//! In: the unit's reading, and why the check is suppressed. Out: whether the check's probe is left out now. It changes
//! nothing; what an operator asks for is probed all the same.

use super::Group;
use crate::engine::check::Check;
use crate::engine::suppression::Suppression;
use crate::engine::unit::{Condition, UnitHold};
use crate::time::Now;

impl Group {
    /// The check's probe would start a unit that is to stay down.
    pub fn is_resting(&self, check: &Check, now: Now) -> bool {
        let Some(unit) = self.unit.as_ref() else { return false };
        if check.looks_at_unit() || check.probe().usage().is_some() {
            return false;
        }
        let Some(state) = unit.reading() else {
            // After a restart of the daemon: what was to stay down still is, as far as known.
            return unit.may_be_stopped() || unit.hold().is_some_and(UnitHold::is_open);
        };
        if !state.settings.triggered_by.iter().any(|by| by.kind() == "socket") {
            return false;
        }
        if *unit.condition() == Condition::Stopping {
            return self.excuse(check, now).is_some();
        }
        let why = self.suppression(check, now);
        state.is_down() && matches!(why, Some(Suppression::Held { .. } | Suppression::Stopped { .. }))
    }
}
