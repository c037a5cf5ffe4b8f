//! One unit of the graph: its latest reading, and what was seen of how it came and went.

use std::sync::Arc;
use std::time::Duration;

use super::{Summary, TOGETHER, is_down};
use crate::engine::starts::Starts;
use crate::engine::stop::StopRecord;
use crate::time::{Mono, Now};
use crate::unit::{ActiveState, JobKind, UnitState};

/// systemd stops what is bound to a unit that has ended in the next turn of its loop; two readings of one moment are less
/// apart than this.
const BOUND_WITHIN: Duration = Duration::from_secs(2);

/// When a unit began to go down, and whether a job took it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fall {
    pub at: Mono,
    by_job: bool,
}

/// When a unit ceased to be active by systemd's timestamp (`ActiveExitTimestamp`), and whether by a job.
#[derive(Clone, Copy, Debug)]
struct End {
    usec: u64,
    by_job: bool,
}

/// One unit.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// A check monitors it.
    pub monitored: bool,
    /// Its checks depend on the state of the unit that it triggers.
    pub follows_trigger: bool,
    pub reading: Option<Arc<UnitState>>,
    /// When it became active, or got a start job, after it was last down: since then it blocks the units that conflict with it.
    pub occupied: Option<Mono>,
    pub fall: Option<Fall>,
    /// The operator's stop of a unit without checks. (For a monitored unit, see `summary`.)
    stops: StopRecord,
    /// When it last ceased to be active, where that was seen.
    end: Option<End>,
    starts: Starts,
    pub summary: Summary,
}

impl Node {
    pub fn active(&self) -> Option<ActiveState> {
        self.reading.as_ref().map(|state| state.active)
    }

    /// An operator has stopped it.
    pub fn is_stopped(&self) -> bool {
        self.stops.stop().is_some()
    }

    pub fn stops(&self) -> &StopRecord {
        &self.stops
    }

    /// Takes over a stop that an earlier run of the daemon or an earlier configuration recorded.
    pub fn recall(&mut self, stops: StopRecord) {
        self.stops = stops;
    }

    /// A command holds it.
    pub fn is_held(&self) -> bool {
        self.summary.held_since.is_some()
    }

    /// A failure of it, or one more start, triggers an action of systemd's.
    pub fn is_armed(&self, now: Mono) -> bool {
        let Some(settings) = self.reading.as_ref().map(|state| &state.settings) else { return false };
        let limit = settings.start_limit.filter(|limit| limit.action);
        settings.failure_action || limit.is_some_and(|limit| self.starts.limited_until(now, limit).is_some())
    }

    /// The other one ended by itself, and systemd stopped this one for it.
    pub fn ended_with(&self, other: &Self) -> bool {
        let ended = self.reading.as_ref().map_or(0, |state| state.active_exit_usec);
        match (ended, other.end) {
            (1.., Some(end)) => {
                let after = ended.checked_sub(end.usec).map(Duration::from_micros);
                !end.by_job && after.is_some_and(|after| after <= BOUND_WITHIN)
            }
            // systemd has forgotten the one or the other.
            _ => self.fell_near(other, BOUND_WITHIN, |fall| !fall.by_job),
        }
    }

    /// The other one is held, and was taken down with this one.
    pub fn was_held_with(&self, other: &Self) -> bool {
        let Some(since) = other.summary.held_since else { return false };
        let in_hold = |fall: &Fall| since <= fall.at;
        self.fall.as_ref().is_some_and(in_hold) && self.fell_near(other, TOGETHER, in_hold)
    }

    fn fell_near(&self, other: &Self, within: Duration, of: impl Fn(&Fall) -> bool) -> bool {
        let (Some(own), Some(fall)) = (self.fall, other.fall) else { return false };
        of(&fall) && fall.at.since(own.at).max(own.at.since(fall.at)) <= within
    }

    pub fn take(&mut self, now: Now, state: &Arc<UnitState>) {
        let job = state.job.map(|job| job.kind);
        let down = is_down(state.active);
        let comes = matches!(job, Some(JobKind::Start | JobKind::Restart));
        self.occupied = (!down || comes).then(|| self.occupied.unwrap_or(now.mono));
        let goes = matches!(job, Some(JobKind::Stop | JobKind::Restart));
        let falls = down || goes || state.active == ActiveState::Deactivating;
        let was_down = self.active().is_some_and(is_down);
        let by_job = job.is_some() || state.stopped_by.is_some();
        if let Some(old) = self
            .reading
            .as_ref()
            .filter(|old| state.active_exit_usec != 0 && old.active_exit_usec != state.active_exit_usec)
        {
            // Of an end that is over already, systemd's own restart tells that it was none by a job.
            let gone = falls || state.auto_restart();
            let by_job = if gone { by_job } else { state.n_restarts <= old.n_restarts };
            self.end = Some(End { usec: state.active_exit_usec, by_job });
        }
        self.starts.read(now, self.reading.as_deref(), state);
        if !falls {
            self.fall = None;
        } else if self.fall.is_none() && self.reading.is_some() && !was_down {
            self.fall = Some(Fall { at: now.mono, by_job });
        }
        if down && !comes && !state.oneshot {
            // What it was before the daemon knew it is not guessed: nothing would ever end that stop.
            self.stops.read_down(now, state, false);
        } else {
            self.stops.read_up();
        }
        self.reading = Some(Arc::clone(state));
    }
}
