//! Who took a unit down: the one place that decides whether an operator has stopped it (rule 12).
//!
//! In: readings in order, the ends of our own jobs, what an earlier run of the daemon remembered. Out: whether the stop is
//! an operator's. The client (`systemd/`) reports in `UnitState::stopped_by` the *last* job that was on the unit while it
//! went down, and whether this daemon requested it.
//!
//! | the unit is down, and | meaning |
//! |---|---|
//! | the last job on it was a stop (or one that was gone before its type could be read), not ours | operator |
//! | the same while a job of ours was queued or ran: theirs replaced ours | operator |
//! | our job was canceled, and no job is left | operator: `systemctl stop` or `cancel` before our start began |
//! | our own `stop` step was the last job | a recovery step |
//! | a start or restart job is queued | on its way, see `unit/condition.rs` |
//! | no job, systemd calls it failed | a failure |
//! | no job, it was up at the reading before | ended by itself |
//! | first reading of this run of the daemon, the stop remembered, not active since | the same operator's stop, also after a reboot |
//! | first reading, it was down at the end of the run before and has not changed | what it was then |
//! | first reading, inactive, and it has been up since the boot (by systemd's timestamp, or by an earlier reading: systemd forgets a unit that nothing keeps loaded): nothing tells who took it down | operator: to fight a person is worse than to come five minutes late |
//! | first reading, failed, and its process ended only after the unit had left `active` (a stop whose process exits with a status, or is killed at `TimeoutStopSec=`) | the same |
//! | first reading, inactive, and it had failed | the same: systemd forgets no unit that has failed |
//! | first reading, inactive, it was up before, and a unit to which it is bound (`BindsTo=`) has ended by itself meanwhile | that unit took it down |
//! | first reading, a oneshot that failed as SIGTERM ended its process | operator |
//! | first reading, failed before it was up (in `ExecStartPre=`) | a failure: nothing tells a stop from a crash |
//! | a stop job on a unit that was down already, or had not come up since | operator, whatever took it down |
//! | a stop of a unit that is bound (`BindsTo=`) to one that has just ended by itself | systemd's own, as a second stop of a unit that is stopping leaves no trace; an operator's once the unit is down |
//! | frozen (`systemctl freeze`) | operator, see `Unit::is_frozen` |

use serde::{Deserialize, Serialize};

use crate::time::{Mono, Now, Wall};
use crate::unit::{ActiveState, JobKind, UnitState};

/// A stop that is respected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Stop {
    since: Mono,
    since_wall: Wall,
    /// The unit's `InactiveEnterTimestamp`, by which the stop is recognized; 0 where systemd has forgotten it.
    inactive_enter_usec: u64,
    /// The job that stopped it, where it was seen.
    job: Option<u32>,
    /// The unit was up when the daemon was last there, and nothing tells who took it down.
    unexplained: bool,
}

impl Stop {
    /// When it was seen, or had happened by systemd's timestamp.
    pub fn since(&self) -> (Mono, Wall) {
        (self.since, self.since_wall)
    }

    /// The unit was up when the daemon was last there, and nothing tells who took it down.
    pub fn is_unexplained(&self) -> bool {
        self.unexplained
    }

    /// The job that stopped it, where it was seen.
    pub fn job(&self) -> Option<u32> {
        self.job
    }

    /// The job that is reported now is another than the one of this stop.
    fn is_before(&self, state: &UnitState) -> bool {
        state.stopped_by.is_some_and(|job| Some(job.id) != self.job)
    }

    /// The unit has not been active since this stop.
    fn still_holds(&self, state: &UnitState) -> bool {
        let same = state.inactive_enter_usec == self.inactive_enter_usec;
        // Forgotten with the unit, or by a reboot.
        same || (state.inactive_enter_usec == 0 && state.active_enter_usec == 0)
    }
}

/// What is remembered of how the unit went down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct StopRecord {
    stop: Option<Stop>,
    /// The last stop was requested by a recovery step.
    by_step: bool,
    /// `InactiveEnterTimestamp` at the last reading that found the unit down.
    down_since_usec: Option<u64>,
    /// The latest reading found the unit up, in this boot.
    up: bool,
    /// The latest reading found it failed, in this boot.
    failed: bool,
    /// A job stopped it that found it down already, or being started.
    explicit: bool,
    /// `InactiveEnterTimestamp` of a stop that is over although the unit is down.
    spent: Option<u64>,
    /// Our own job on the unit was canceled: whoever did that wants the unit as it is.
    #[serde(skip)]
    canceled: bool,
}

impl StopRecord {
    pub fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// A person stopped the unit, which was down already, or had not come up since: nothing else has a stop job run on such
    /// a unit.
    pub fn is_explicit(&self) -> bool {
        self.explicit
    }

    pub fn is_by_step(&self) -> bool {
        self.by_step
    }

    /// The stop is no longer respected, and the unit is at rest: it has no stop until it is up again.
    pub fn spend(&mut self) {
        self.spent = self.stop.take().map(|stop| stop.inactive_enter_usec);
    }

    /// The stop was not a person's wish.
    pub fn forget(&mut self) {
        self.stop = None;
    }

    /// Our `stop` step is done.
    pub fn record_step(&mut self) {
        self.by_step = true;
    }

    /// Our job was canceled.
    pub fn record_canceled(&mut self) {
        self.canceled = true;
    }

    /// The unit is up or on its way: no stop is in force.
    pub fn read_up(&mut self) {
        *self = Self { up: true, ..Self::default() };
    }

    /// The machine was rebooted: what was up is down by that. What was stopped since `shutdown`, nobody has stopped.
    pub fn record_reboot(&mut self, shutdown: Option<Mono>) {
        self.stop.take_if(|stop| shutdown.is_some_and(|since| stop.since >= since));
        self.up = false;
        self.failed = false;
    }

    /// Takes a reading of a unit that is down. `unseen`: since when nothing was seen of the unit, where the reading is the
    /// first after that. Returns whether an operator has stopped it.
    pub fn read_down(&mut self, now: Now, state: &UnitState, unseen: Option<Mono>) -> bool {
        let first = unseen.is_some();
        let known_down = self.down_since_usec == Some(state.inactive_enter_usec);
        self.down_since_usec = Some(state.inactive_enter_usec);
        let was_up = std::mem::take(&mut self.up);
        let failed = std::mem::replace(&mut self.failed, state.active == ActiveState::Failed);
        if self.spent == Some(state.inactive_enter_usec) {
            return false;
        }
        // systemd forgets a unit that is inactive, not one that has failed: somebody has started and stopped it since.
        let has_run = was_up || (failed && state.active == ActiveState::Inactive);
        if self.is_operators(state, first.then_some(has_run), known_down) {
            let another = self.stop.is_none_or(|stop| stop.is_before(state));
            self.explicit |= !was_up && another && state.stopped_by.is_some() && !first;
            // Another stop than the one known, or another end of the unit by it, is respected from now on.
            let later = |stop: &Stop| {
                let forgotten = state.inactive_enter_usec == 0;
                (state.stopped_by.is_some() || first)
                    && !forgotten
                    && stop.inactive_enter_usec != state.inactive_enter_usec
            };
            self.stop.take_if(|stop| stop.is_before(state) || later(stop));
            let begin = || Stop::found(now, state, unseen, was_up);
            let stop = self.stop.get_or_insert_with(begin);
            stop.inactive_enter_usec = state.inactive_enter_usec;
            true
        } else {
            self.stop = None;
            false
        }
    }

    /// `first`: whether the unit has run since the reading before, as far as that tells, where this is the first of this run
    /// of the daemon.
    fn is_operators(&self, state: &UnitState, first: Option<bool>, known_down: bool) -> bool {
        if is_operators_job(state) {
            return true;
        }
        if self.by_step {
            return false;
        }
        if self.stop.is_some_and(|stop| stop.still_holds(state)) {
            return true;
        }
        if self.canceled && state.job.is_none() {
            return true;
        }
        let stopped = match state.oneshot {
            // A run that ended well is none; of one that was ended by SIGTERM systemd keeps no more than that.
            true => state.was_terminated(),
            false => state.active == ActiveState::Inactive || state.ended_in_stop(),
        };
        first.is_some_and(|has_run| has_run || state.inactive_enter_usec != 0)
            && !known_down
            && stopped
            && state.start_skipped.is_none()
    }
}

/// The last job on the unit while it went down was a stop, and not ours.
pub(in crate::engine) fn is_operators_job(state: &UnitState) -> bool {
    state.stopped_by.is_some_and(|job| !job.ours && matches!(job.kind, JobKind::Stop | JobKind::Other))
}

impl Stop {
    /// `unseen`: as in [`StopRecord::read_down`]. `was_up`: the unit was up then. Where systemd's timestamp says that it went
    /// down before, the wall clock has been set, and nothing tells when it was: just now, which respects it longest.
    fn found(now: Now, state: &UnitState, unseen: Option<Mono>, was_up: bool) -> Self {
        let inactive_enter_usec = state.inactive_enter_usec;
        let seen_up = unseen.filter(|_| was_up);
        let at =
            i64::try_from(inactive_enter_usec / 1000).ok().filter(|millis| unseen.is_some() && *millis > 0);
        let at = at.map(Wall).filter(|at| seen_up.is_none_or(|seen| now.mono_of(*at) >= seen));
        let since_wall = at.unwrap_or(now.wall).min(now.wall);
        let since = now.mono_of(since_wall);
        Self {
            since,
            since_wall,
            inactive_enter_usec,
            job: state.stopped_by.map(|job| job.id),
            unexplained: seen_up.is_some(),
        }
    }
}
