//! Conflict: a unit is down because one that it conflicts with is up (rule 8).
//!
//! In: what stands in the way of the unit's start, by the graph. Out: a mark on the unit, and until when each check is
//! suppressed for it: for `respect_conflict` while the other unit is up, and for the grace after it has ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::{Recovery, Respect};
use crate::engine::graph::TOGETHER;
use crate::time::{Mono, Now, Wall, human};
use crate::unit::UnitName;

/// A unit that comes back within this time has not gone: one that fails and is started again by systemd must not prolong
/// the suppression without end. Another unit has its own time.
const RETURNS: Duration = Duration::from_secs(300);

/// A moment on both clocks.
pub(in crate::engine) type Moment = (Mono, Wall);

/// The mark on a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Conflict {
    by: UnitName,
    /// When that came up, or got a start job.
    came: Mono,
    /// Since when the unit is down for it.
    since: Moment,
    /// When the other one ended, once it has.
    over: Option<Moment>,
    /// An operator stopped the unit before the other one came, or long after: it stays stopped by the operator.
    stopped_apart: bool,
    /// The unit was down, as far as known, when the mark was last brought up to date.
    down: bool,
}

/// What the unit is like when its mark is brought up to date.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Displaced {
    /// It is down, or being stopped, or not known yet.
    pub may_be: bool,
    /// It is being stopped, or is stopped.
    pub stopping: bool,
    /// A stop is remembered from before a restart of the daemon.
    pub remembered_stop: bool,
    /// When it began to go down, as far as that was seen.
    pub fell: Option<Mono>,
    /// The same, by systemd's timestamp.
    pub went_down: Option<Mono>,
}

impl Conflict {
    /// Brings the mark up to date with what stands in the way (and since when).
    pub fn update(mark: &mut Option<Self>, now: Now, in_the_way: Option<(UnitName, Mono)>, unit: Displaced) {
        let moment = (now.mono, now.wall);
        match (in_the_way, mark.as_mut()) {
            (Some((by, came)), known) => {
                let same = known.filter(|mark| {
                    let ended = mark.over.is_none_or(|(over, _)| now.mono.since(over) < RETURNS);
                    mark.by == by && ended && mark.down
                });
                match same {
                    Some(same) => {
                        same.over = None;
                        same.came = came;
                        same.down = unit.may_be;
                    }
                    None => {
                        let apart = match unit.fell {
                            Some(fell) => came.since(fell).max(fell.since(came)) > TOGETHER,
                            None => unit.remembered_stop,
                        };
                        let stopped_apart = unit.stopping && apart;
                        *mark = Some(Self {
                            by,
                            came,
                            since: moment,
                            over: None,
                            stopped_apart,
                            down: unit.may_be,
                        });
                    }
                }
            }
            (None, Some(known)) => {
                // It was up when it was last seen, and fell when the other one had come long before.
                let fell_later = !known.down
                    && unit.fell.or(unit.went_down).is_some_and(|fell| fell.since(known.came) > TOGETHER);
                if !unit.may_be || fell_later {
                    *mark = None;
                } else {
                    known.down |= unit.went_down.is_some();
                    known.over.get_or_insert(moment);
                }
            }
            (None, None) => {}
        }
    }

    pub fn by(&self) -> &UnitName {
        &self.by
    }

    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// The unit's stop, which was seen at that moment, made room for the other unit.
    pub fn explains_stop(&self, stopped: Mono) -> bool {
        !self.stopped_apart && stopped <= self.came.max(self.since.0).after(TOGETHER)
    }

    /// Why a unit that is down counts as such, although a conflict explains it.
    pub fn too_long(&self, now: Mono) -> String {
        let by = &self.by;
        match self.over {
            None => {
                let lasting = human(now.since(self.since.0));
                format!(
                    "unit has been down for {lasting} as it conflicts with {by} (respect_conflict is over)"
                )
            }
            Some((over, _)) => {
                let ended = human(now.since(over));
                format!(
                    "{by}, which conflicts with the unit, has been out of its way for {ended}, and the unit has not come back"
                )
            }
        }
    }

    /// Until when a check with these settings is suppressed (`Some(None)`: without end); `None`: it is not.
    pub fn suppresses(&self, now: Mono, recovery: &Recovery) -> Option<Option<Moment>> {
        let bound = match recovery.respect_conflict {
            Respect::For(lasting) => Some(self.since.0.after(lasting)),
            Respect::Forever => None,
        };
        let ((since, wall), lasting) = match (self.over, recovery.respect_conflict) {
            // It has counted as down already.
            (Some((over, _)), _) if bound.is_some_and(|bound| over >= bound) => return None,
            (Some(over), _) => (over, recovery.grace),
            (None, Respect::For(lasting)) => (self.since, lasting),
            (None, Respect::Forever) => return Some(None),
        };
        let at = since.after(lasting);
        (now < at).then_some(Some((at, wall.after(lasting))))
    }
}
