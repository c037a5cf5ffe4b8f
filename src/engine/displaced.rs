//! Displaced: a unit is down because one that it conflicts with is up (rule 8).
//!
//! In: what stands in the way of a unit's start, by systemd's graph. Out: a mark on the unit, and what it means for each
//! of its checks: nothing is counted and nothing is done for `respect_conflict`, since a restart would stop the other
//! unit; when that has ended by itself, the unit has its grace to come back. It asks for nothing.

use std::time::Duration;

use super::Engine;
use super::graph::TOGETHER;
use super::state::{Aside, CheckState};
use super::watch::{Condition, UnitWatch};
use crate::check::Respect;
use crate::time::{Mono, Now, Wall, human};
use crate::unit::{JobKind, UnitName};

/// A unit that comes back to displace this one within this time has not gone: one that fails and is started again by
/// systemd must not prolong it for ever. Another unit has its own time.
const RETURNS: Duration = Duration::from_secs(300);

/// The mark on the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Displaced {
    /// What is up in its place.
    pub by: UnitName,
    /// Since when the unit is down for it.
    pub since: (Mono, Wall),
    /// When the other one ended, once it has.
    pub over: Option<(Mono, Wall)>,
    /// Somebody stopped the unit, before the other one came or long after: it stays stopped by somebody.
    pub stopped_apart: bool,
}

impl UnitWatch {
    /// Takes what stands in the way of the unit's start (and since when), and when the unit began to go down.
    pub(super) fn displace(&mut self, now: Now, in_the_way: Option<(UnitName, Mono)>, fell: Option<Mono>) {
        let moment = (now.mono, now.wall);
        let may_be = self.may_be_displaced();
        // A oneshot comes and goes; it is what displaces. That what it made room in is up again is its end, and to start
        // it means to displace that again: a check that says so wants a renewal.
        let oneshot = self.state.as_ref().is_some_and(|state| state.oneshot);
        let in_the_way = in_the_way.filter(|_| !oneshot);
        match (in_the_way, &mut self.displaced) {
            (Some((by, came)), mark) => {
                let known = mark.take();
                let goes_on = |mark: &Displaced| {
                    let ended = mark.over.is_none_or(|(over, _)| now.mono.since(over) < RETURNS);
                    mark.by == by && ended && self.down_displaced
                };
                *mark = Some(match known.filter(goes_on) {
                    Some(known) => Displaced { by, over: None, ..known },
                    None => Displaced {
                        by,
                        since: moment,
                        over: None,
                        stopped_apart: matches!(self.condition, Condition::Stopping | Condition::Stopped)
                            && match fell {
                                Some(fell) => came.since(fell).max(fell.since(came)) > TOGETHER,
                                None => self.restored_stop.is_some(),
                            },
                    },
                });
                self.down_displaced = may_be;
            }
            (None, Some(mark)) => {
                if !may_be {
                    self.displaced = None;
                    self.down_displaced = false;
                } else if mark.over.is_none() {
                    mark.over = Some(moment);
                }
            }
            (None, None) => {}
        }
    }

    /// The unit is down, or is being stopped, or nobody knows yet.
    fn may_be_displaced(&self) -> bool {
        let stopping = || {
            let job = self.state.as_ref().and_then(|state| state.job).map(|job| job.kind);
            matches!(job, Some(JobKind::Stop | JobKind::Restart))
        };
        match self.condition {
            Condition::Unread
            | Condition::Stopping
            | Condition::Stopped
            | Condition::Ended(_)
            | Condition::Failed(_) => true,
            Condition::Up => self.attempt.is_none() && stopping(),
            Condition::Missing(_) | Condition::Resting | Condition::Starting | Condition::AutoRestart => {
                false
            }
        }
    }

    /// The mark, where the unit is down with it.
    fn displaced_now(&self) -> Option<&Displaced> {
        self.displaced.as_ref().filter(|_| self.may_be_displaced())
    }

    /// The stop that took the unit down was not somebody's wish, but made room for another unit.
    pub(super) fn stopped_for_another(&self) -> bool {
        self.displaced_now().is_some_and(|mark| !mark.stopped_apart)
    }

    /// Why a unit that is down counts as such, where it was displaced.
    pub(super) fn displaced_too_long(&self, now: Now) -> Option<String> {
        let Displaced { by, since, over, .. } = self.displaced_now()?;
        Some(match over {
            None => {
                let lasting = human(now.mono.since(since.0));
                format!("unit has been displaced by {by} for {lasting} (respect_conflict is over)")
            }
            Some((over, _)) => {
                let ended = human(now.mono.since(*over));
                format!("unit was displaced by {by}, which ended {ended} ago, and has not come back")
            }
        })
    }

    /// What a job on a unit that is up would stop: something that it needs is down, and would be started with it.
    pub(super) fn job_would_stop(&self) -> Option<&UnitName> {
        let mark = self.displaced.as_ref().filter(|mark| mark.over.is_none())?;
        (!self.may_be_displaced()).then_some(&mark.by)
    }
}

impl Engine {
    /// Another unit is up in the place of this one, and at least one check puts up with that still.
    pub(super) fn is_displaced(&self, now: Now, unit: &UnitName) -> bool {
        let Some(watch) = self.units.get(unit) else { return false };
        watch
            .checks
            .iter()
            .filter_map(|name| self.checks.get(name))
            .any(|state| matches!(state.displacement(now, watch), Some(Aside::Displaced { over: false, .. })))
    }
}

impl CheckState {
    /// The unit is down for another one, and not for too long yet.
    pub(super) fn displacement(&self, now: Now, watch: &UnitWatch) -> Option<Aside> {
        let mark = watch.displaced_now()?;
        let recovery = &self.check.recovery;
        let bound = match recovery.respect_conflict {
            Respect::For(lasting) => Some(mark.since.0.after(lasting)),
            Respect::Forever => None,
        };
        let ((since, wall), lasting) = match (mark.over, recovery.respect_conflict) {
            // It has counted as down already.
            (Some((over, _)), _) if bound.is_some_and(|bound| over >= bound) => return None,
            (Some(over), _) => (over, recovery.grace),
            (None, Respect::For(lasting)) => (mark.since, lasting),
            (None, Respect::Forever) => {
                return Some(Aside::Displaced { by: mark.by.clone(), until: None, over: false });
            }
        };
        let (at, until) = (since.after(lasting), wall.after(lasting));
        (now.mono < at).then(|| Aside::Displaced {
            by: mark.by.clone(),
            until: Some((at, until)),
            over: mark.over.is_some(),
        })
    }
}
