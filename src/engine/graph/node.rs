//! One unit of the graph: its latest reading, and what was seen of how it came and went.

use std::sync::Arc;
use std::time::Duration;

use super::{Summary, TOGETHER, is_down};
use crate::check::Respect;
use crate::engine::starts::Starts;
use crate::engine::stop::{Stop, StopRecord};
use crate::time::{Mono, Now};
use crate::unit::{ActiveState, JobKind, Relations, UnitState};

/// systemd stops what is bound to a unit that has ended in the next turn of its loop; two readings of one moment are less
/// apart than this.
const BOUND_WITHIN: Duration = Duration::from_secs(2);

/// When a unit began to go down, and whether a job took it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fall {
    at: Mono,
    by_job: bool,
    /// The job was a stop that a recovery step requested.
    by_step: bool,
    /// The job, where it was not ours and could be read.
    job: Option<u32>,
}

/// When a unit ceased to be active by systemd's timestamp (`ActiveExitTimestamp`), and whether by a job.
#[derive(Clone, Copy, Debug)]
struct End {
    usec: u64,
    by_job: bool,
}

/// The owner of the record of the unit's stops and starts.
#[derive(Debug)]
enum Account {
    /// Its group, of which this is the latest summary.
    Group { summary: Summary, follows_trigger: bool },
    /// The graph, as no check monitors the unit.
    Graph { stops: StopRecord, starts: Starts },
}

/// One unit.
#[derive(Debug)]
pub(super) struct Node {
    account: Account,
    reading: Option<Arc<UnitState>>,
    /// When it became active, or got a start job, after it was last down: since then it blocks the units that conflict with it.
    occupied: Option<Mono>,
    /// When it last did.
    came: Option<Mono>,
    fall: Option<Fall>,
    /// When it last ceased to be active, where that was seen.
    end: Option<End>,
    /// Its first reading showed that it had ended by itself.
    found_ended: bool,
    /// systemd could not be reached since the latest reading.
    unwatched: bool,
}

impl Default for Node {
    fn default() -> Self {
        let account = Account::Graph { stops: StopRecord::default(), starts: Starts::default() };
        Self {
            account,
            reading: None,
            occupied: None,
            came: None,
            fall: None,
            end: None,
            found_ended: false,
            unwatched: false,
        }
    }
}

impl Node {
    /// A check monitors it from now on. `follows_trigger`: its checks depend on the state of the unit that it triggers.
    pub fn monitor(&mut self, follows: bool) {
        match &mut self.account {
            Account::Group { follows_trigger, .. } => *follows_trigger = follows,
            account @ Account::Graph { .. } => {
                *account = Account::Group { summary: Summary::default(), follows_trigger: follows };
            }
        }
    }

    /// No check monitors it any more: its starts are counted here from now on.
    pub fn release(&mut self, now: Now) {
        if self.is_monitored() {
            let mut starts = Starts::default();
            if let Some(state) = &self.reading {
                starts.read(now, None, state, false);
            }
            self.account = Account::Graph { stops: StopRecord::default(), starts };
        }
    }

    pub fn is_monitored(&self) -> bool {
        matches!(self.account, Account::Group { .. })
    }

    pub fn follows_trigger(&self) -> bool {
        matches!(self.account, Account::Group { follows_trigger: true, .. })
    }

    /// What its group has published; `None`: it has none.
    pub fn summary(&self) -> Option<&Summary> {
        match &self.account {
            Account::Group { summary, .. } => Some(summary),
            Account::Graph { .. } => None,
        }
    }

    /// Takes its group's summary. Returns whether it has changed.
    pub fn publish(&mut self, new: Summary) -> bool {
        let Account::Group { summary, .. } = &mut self.account else { return false };
        let changed = *summary != new;
        *summary = new;
        changed
    }

    pub fn reading(&self) -> Option<&Arc<UnitState>> {
        self.reading.as_ref()
    }

    pub fn relations(&self) -> Option<&Relations> {
        self.reading.as_ref()?.relations.as_deref()
    }

    pub fn active(&self) -> Option<ActiveState> {
        self.reading.as_ref().map(|state| state.active)
    }

    pub fn is_down(&self) -> bool {
        self.active().is_some_and(is_down)
    }

    /// It is being started, as a oneshot is while it runs.
    pub fn is_coming(&self) -> bool {
        self.reading
            .as_ref()
            .is_some_and(|state| state.has_start_job() || state.active == ActiveState::Activating)
    }

    /// When it became active, or got a start job, if it is so.
    pub fn occupied(&self) -> Option<Mono> {
        self.occupied
    }

    /// When it began to go down, if that was seen.
    pub fn fell(&self) -> Option<Mono> {
        Some(self.fall?.at)
    }

    /// An operator has stopped it, and that is respected; or its own `stop` step has.
    pub fn is_stopped(&self) -> bool {
        self.is_down()
            && match &self.account {
                Account::Group { summary, .. } => summary.stopped,
                Account::Graph { stops, .. } => stops.stop().is_some(),
            }
    }

    /// The same, for a job on a unit whose stops are respected for so long: nobody has said it for a unit without checks.
    pub fn is_stopped_for(&self, now: Mono, respect: Respect) -> bool {
        let respected = |stop: &Stop| match respect {
            Respect::Forever => true,
            Respect::For(lasting) => now.since(stop.since().0) < lasting,
        };
        self.is_stopped()
            && match &self.account {
                Account::Group { .. } => true,
                Account::Graph { stops, .. } => stops.stop().is_some_and(respected),
            }
    }

    /// The stop record of a unit without checks, once it has been read.
    pub fn stops(&self) -> Option<&StopRecord> {
        match &self.account {
            Account::Graph { stops, .. } => self.reading.as_ref().map(|_| stops),
            Account::Group { .. } => None,
        }
    }

    /// systemd's counters of a unit without checks were reset.
    pub fn record_reset(&mut self) {
        if let Account::Graph { starts, .. } = &mut self.account {
            starts.reset();
        }
    }

    /// Takes over a stop that an earlier run of the daemon or an earlier configuration recorded.
    pub fn recall(&mut self, known: StopRecord) {
        if let Account::Graph { stops, .. } = &mut self.account {
            *stops = known;
        }
    }

    /// It has no checks, and a job stopped it when the other one, which conflicts with it, came.
    pub fn made_room_for(&self, other: &Self) -> bool {
        let Account::Graph { stops, .. } = &self.account else { return false };
        let (Some(fall), Some(came)) = (self.fall, other.came) else { return false };
        stops.stop().is_some()
            && !stops.is_explicit()
            && fall.by_job
            && fall.at.since(came).max(came.since(fall.at)) <= TOGETHER
    }

    /// The stop of a unit without checks was none of an operator's.
    pub fn forget_stop(&mut self) {
        if let Account::Graph { stops, .. } = &mut self.account {
            stops.forget();
        }
    }

    /// Since when a command holds it.
    pub fn held_since(&self) -> Option<Mono> {
        self.summary()?.held_since
    }

    /// A failure of it, or one more start, triggers an action of systemd's.
    pub fn is_armed(&self, now: Mono) -> bool {
        let Some(settings) = self.reading.as_ref().map(|state| &state.settings) else { return false };
        let Some(limit) = settings.start_limit.filter(|limit| limit.action) else {
            return settings.failure_action;
        };
        let limited = match &self.account {
            Account::Group { summary, .. } => {
                summary.start_limit_action_until.is_some_and(|until| now < until)
            }
            Account::Graph { starts, .. } => starts.limited_until(now, limit).is_some(),
        };
        settings.failure_action || limited
    }

    /// Its end, by a stop, a failure or otherwise, triggers an action of systemd's that takes the machine down.
    pub fn ends_the_machine(&self) -> bool {
        let settings = self.reading.as_ref().map(|state| &state.settings);
        settings.is_some_and(|settings| settings.success_action || settings.failure_action)
    }

    /// What of it matters to other units: whether it has changed tells whether they must look again.
    pub fn outline(&self) -> impl PartialEq + use<> {
        (self.active(), self.occupied.is_some(), self.fall, self.is_stopped())
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

    /// Its first reading showed that it had ended by itself.
    pub fn was_found_ended(&self) -> bool {
        self.found_ended
    }

    /// The other one is held, stopped by a recovery step, or `displaced`, and was taken down with this one.
    pub fn was_stopped_with(&self, other: &Self, displaced: impl Fn() -> bool) -> bool {
        let since = other.held_since();
        let in_hold = |fall: &Fall| since.is_some_and(|since| since <= fall.at);
        let held = self.fall.as_ref().is_some_and(in_hold);
        // systemd numbers jobs in the order in which they are requested, of one request those of dependents after the one
        // that is asked for: an earlier one was requested by itself.
        let own = self.fall.and_then(|fall| fall.job);
        let separately = |fall: &Fall| fall.job.is_some_and(|job| own.is_some_and(|own| own < job));
        self.fell_near(other, BOUND_WITHIN, |fall| {
            !separately(fall) && ((held && in_hold(fall)) || fall.by_step || displaced())
        })
    }

    fn fell_near(&self, other: &Self, within: Duration, of: impl Fn(&Fall) -> bool) -> bool {
        let (Some(own), Some(fall)) = (self.fall, other.fall) else { return false };
        of(&fall) && fall.at.since(own.at).max(own.at.since(fall.at)) <= within
    }

    /// Whether systemd cannot be reached: what becomes of the unit meanwhile is not seen.
    pub fn set_unwatched(&mut self, unwatched: bool) {
        self.unwatched = unwatched;
    }

    /// Takes a reading.
    pub fn read(&mut self, now: Now, state: &Arc<UnitState>) {
        let job = state.job.map(|job| job.kind);
        let down = is_down(state.active);
        let comes = state.has_start_job();
        let occupied = (!down || comes).then(|| self.occupied.unwrap_or(now.mono));
        self.came = occupied.filter(|_| self.reading.is_some()).or(self.came);
        self.occupied = occupied;
        let goes = matches!(job, Some(JobKind::Stop | JobKind::Restart));
        let falls = down || goes || state.active == ActiveState::Deactivating;
        let was_down = self.is_down();
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
        if self.reading.is_none() && state.active_exit_usec != 0 && ended_by_itself(state) {
            self.end = Some(End { usec: state.active_exit_usec, by_job: false });
            self.found_ended = true;
        }
        if !falls {
            self.fall = None;
        } else if self.fall.is_none() && self.reading.is_some() && !was_down {
            let stop = state.job.or(state.stopped_by);
            let by_step = stop.is_some_and(|job| job.ours && job.kind == JobKind::Stop);
            let job = stop.filter(|job| !job.ours && job.id != 0).map(|job| job.id);
            self.fall = Some(Fall { at: now.mono, by_job, by_step, job });
        }
        let unwatched = std::mem::take(&mut self.unwatched);
        if let Account::Graph { stops, starts } = &mut self.account {
            let by_us = state.job.is_some_and(|job| job.ours);
            starts.read(now, self.reading.as_deref().filter(|_| !unwatched), state, by_us);
            if down && !comes && !state.oneshot {
                // A unit without a record is not taken for stopped: nothing would ever end such a stop.
                let first = self.reading.is_none() && *stops != StopRecord::default();
                stops.read_down(now, state, first.then(Mono::default));
            } else {
                stops.read_up();
            }
        }
        self.reading = Some(Arc::clone(state));
    }
}

/// A first reading shows that the latest run ended without a job.
fn ended_by_itself(state: &UnitState) -> bool {
    let failed = state.active == ActiveState::Failed && !state.ended_in_stop();
    failed || state.auto_restart() || (state.active == ActiveState::Active && state.n_restarts > 0)
}
