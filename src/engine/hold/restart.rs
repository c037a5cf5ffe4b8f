//! Holds through a restart of the daemon: what is remembered of one, beside its lease in the service manager's store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HoldId, Holder, Over, UnitHold};
use crate::engine::Engine;
use crate::time::{Now, Wall};

/// The hold on a unit, with wall-clock times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHold {
    id: HoldId,
    holder: Holder,
    /// Until when by the wall clock as it was when this was saved, and how many milliseconds were left: a wall clock that
    /// was set back must not prolong it.
    until: (Wall, u64),
    bring_back: bool,
    /// It was over already, and the unit not back yet.
    over: bool,
}

impl SavedHold {
    pub(in crate::engine) fn of(now: Now, hold: &UnitHold) -> Self {
        let left = u64::try_from(hold.until.0.since(now.mono).as_millis()).unwrap_or(u64::MAX);
        Self {
            id: hold.id.clone(),
            holder: hold.holder.clone(),
            until: (now.still(hold.until.1, hold.until.0), left),
            bring_back: hold.bring_back,
            over: hold.over.is_some(),
        }
    }

    /// The hold as it goes on. `then`: a moment at which both clocks are known. The start that was asked for may never have
    /// reached systemd, so it is asked for again where the unit is not up.
    pub(in crate::engine) fn restored(&self, now: Now, then: Now) -> UnitHold {
        let (until, left) = self.until;
        let left = then.mono_of(until).since(now.mono).min(Duration::from_millis(left));
        UnitHold {
            id: self.id.clone(),
            holder: self.holder.clone(),
            until: (now.mono.after(left), now.wall.after(left)),
            bring_back: self.bring_back,
            over: self.over.then_some(Over { since: now.mono, asked: None, overdue: false }),
        }
    }
}

impl Engine {
    /// After a restart: held checks were shown as held before, so that is no news.
    pub(in crate::engine) fn show_held(&mut self, now: Now) {
        for watch in self.units.values().filter(|watch| watch.hold.is_some()) {
            for name in &watch.checks {
                if let Some(state) = self.checks.get_mut(name) {
                    state.shown = state.health(now, Some(watch));
                }
            }
        }
    }
}
