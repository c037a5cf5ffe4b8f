//! What other units mean for one that is down: its marks (rules 8 to 10).
//!
//! In: the graph's account of the unit's surroundings, and what the unit's readings show. Out: the conflict, the dependency
//! and the fall with another unit that explain why it is down. A mark is about one fall of the unit, and void after the
//! next one.

use serde::{Deserialize, Serialize};

use super::conflict::{Conflict, Displaced};
use super::dependency::Dependency;
use super::{Condition, Unit};
use crate::engine::graph::Root;
use crate::time::{Mono, Now};
use crate::unit::{ActiveState, JobKind, UnitName, UnitState};

/// The marks of one unit. They survive a restart of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Marks {
    conflict: Option<Conflict>,
    dependency: Option<Dependency>,
    /// What it requires and went down with.
    fell_with: Option<UnitName>,
    /// Why it is down: it was not started after a hold.
    not_returned: Option<String>,
    /// `ActiveExitTimestamp` of the fall that the marks are about; `None` while it is up.
    fall_usec: Option<u64>,
    /// `InactiveEnterTimestamp` where systemd has dropped its start job since: only the daemon that saw the job knows that.
    dropped_usec: Option<u64>,
}

/// What the graph says about the surroundings of a unit.
#[derive(Debug)]
pub(in crate::engine) struct Surroundings {
    /// All of them have been read.
    pub known: bool,
    /// The unit that stands in the way of its start, and since when.
    pub in_the_way: Option<(UnitName, Mono)>,
    /// When it began to go down, if that was seen.
    pub fell: Option<Mono>,
    pub root: Option<Root>,
    /// The unit that it went down with, and whether that is up.
    pub fell_with: Option<(UnitName, bool)>,
}

/// What the unit is like when its marks are brought up to date.
#[derive(Debug)]
pub(super) struct Marked<'a> {
    pub condition: &'a Condition,
    pub may_be_displaced: bool,
    /// A stop is remembered from before a restart of the daemon.
    pub remembered_stop: bool,
    /// When it began to go down, by systemd's timestamp.
    pub went_down: Option<Mono>,
    pub oneshot: bool,
    /// systemd has dropped its start job.
    pub start_dropped: bool,
}

impl Marks {
    /// Takes a reading. Of a unit that went down again without having been read as up in between the marks are about the
    /// time before, and void.
    pub fn read(&mut self, state: &UnitState) {
        if !state.is_down() && state.active != ActiveState::Deactivating {
            self.fall_usec = None;
            return;
        }
        let fall = Some(state.active_exit_usec).filter(|usec| *usec != 0);
        if self.fall_usec.is_some() && fall.is_some() && self.fall_usec != fall {
            *self = Self::default();
        }
        self.fall_usec = fall.or(self.fall_usec);
    }

    /// The unit is up or on its way. `entered`: only now.
    pub fn read_rising(&mut self, state: &UnitState, entered: bool) {
        self.not_returned = None;
        if !state.is_down() {
            self.fell_with = None;
        }
        if entered {
            // From here on it has the grace of any unit that comes up.
            self.dependency.take_if(|dependency| dependency.is_over());
        }
    }

    /// Brings the marks up to date with what the graph says.
    pub fn update(&mut self, now: Now, around: Surroundings, unit: &Marked<'_>) {
        let unread = *unit.condition == Condition::Unread;
        let root = around.root;
        // What it requires did not come up: its end is a matter of that one.
        let dropped_for = root.as_ref().filter(|root| unit.start_dropped && !root.held);
        let fell_with = around.fell_with.or_else(|| Some((dropped_for?.by.clone(), false)));
        // After a restart of the daemon: as long as what stood in the way is not read, nothing says that it has gone.
        if around.known || !unread {
            let displaced = Displaced {
                may_be: unit.may_be_displaced,
                stopping: matches!(unit.condition, Condition::Stopping | Condition::Stopped),
                remembered_stop: unit.remembered_stop,
                fell: around.fell,
                went_down: unit.went_down,
            };
            // A oneshot comes and goes; it is what displaces others.
            let in_the_way = around.in_the_way.filter(|_| !unit.oneshot);
            Conflict::update(&mut self.conflict, now, in_the_way, displaced);
        }
        if let Some((by, is_up)) =
            fell_with.filter(|_| !unit.condition.is_rising() && self.fell_with.is_none())
        {
            if is_up && root.is_none() && self.dependency.is_none() {
                // systemd has restarted that one already; it does not bring back what it stopped for it.
                self.dependency = Some(Dependency::back(by.clone(), now));
            }
            self.fell_with = Some(by);
        }
        // Likewise: a root that is not read yet is not back.
        if root.is_some() || (around.known && !unread) {
            Dependency::update(&mut self.dependency, now, root);
        }
    }

    /// Why it is down after a hold.
    pub fn not_returned(&self) -> Option<&str> {
        self.not_returned.as_deref()
    }

    /// Remembers of a unit that is down whether systemd has dropped its start job, as long as it has had no other. Returns
    /// whether an earlier run of the daemon saw that, and the reading does not show it.
    pub fn read_dropped(&mut self, state: &UnitState) -> bool {
        let same = self.dropped_usec == Some(state.inactive_enter_usec) && state.is_down();
        let dropped = state.start_dropped || (same && state.job.is_none() && state.stopped_by.is_none());
        self.dropped_usec = dropped.then_some(state.inactive_enter_usec);
        dropped && !state.start_dropped
    }

    /// Somebody has stopped it since.
    pub fn forget_not_returned(&mut self) {
        self.not_returned = None;
    }

    pub fn set_not_returned(&mut self, reason: String) {
        self.not_returned = Some(reason);
    }

    /// Another unit explains a stop of this one.
    pub fn explain_a_stop(&self) -> bool {
        self.conflict.is_some() || self.dependency.is_some()
    }
}

impl Unit {
    /// It may be down for a conflict, or about to be.
    pub(super) fn may_be_displaced(&self) -> bool {
        let stopping = || {
            let job = self.reading().and_then(|state| state.job).map(|job| job.kind);
            matches!(job, Some(JobKind::Stop | JobKind::Restart))
        };
        match self.condition() {
            Condition::Unread
            | Condition::Stopping
            | Condition::Stopped
            | Condition::Skipped(_)
            | Condition::Ended(_)
            | Condition::Failed(_) => true,
            Condition::Up => self.attempt().is_none() && stopping(),
            Condition::Missing(_) | Condition::AtRest | Condition::Starting | Condition::AutoRestart => false,
        }
    }

    /// The conflict, where the unit is down with it.
    pub fn conflict(&self) -> Option<&Conflict> {
        self.marks().conflict.as_ref().filter(|_| self.may_be_displaced())
    }

    /// A unit that is up and conflicts with something that a job on this unit, which is up, would start.
    pub fn would_stop(&self) -> Option<&UnitName> {
        let conflict = self.marks().conflict.as_ref().filter(|conflict| !conflict.is_over())?;
        (!self.may_be_displaced()).then_some(conflict.by())
    }

    pub fn dependency(&self) -> Option<&Dependency> {
        self.marks().dependency.as_ref()
    }

    /// What it requires and went down with.
    pub fn fell_with(&self) -> Option<&UnitName> {
        // A stop of what was down already is a person's, whatever took it down.
        self.marks().fell_with.as_ref().filter(|_| !self.stops().is_explicit())
    }

    /// It went down with a root that is back, and nothing has started it again.
    pub fn is_left_down(&self) -> bool {
        self.fell_with().is_some() && self.dependency().is_some_and(Dependency::brings_back)
    }

    /// The stop that took it down was not an operator's wish, but made room for another unit.
    pub fn stopped_for_conflict(&self) -> bool {
        let stop = self.stops().stop().map(|stop| stop.since().0);
        stop.zip(self.conflict()).is_some_and(|(stop, conflict)| conflict.explains_stop(stop))
    }
}
