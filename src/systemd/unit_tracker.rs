//! One unit: its latest reading, what signals showed besides, and what was reported of it. Pure: no I/O, no clock.
//!
//! In: signals, readings and kinds of jobs, in the order in which systemd sent them. Out: the [`UnitState`] to report, if
//! it differs from the one before. Which job took the unit down is decided in `job_tracker.rs`.

use std::sync::Arc;

use super::job_tracker::{End, JobTracker, Undecided};
use super::properties::Properties;
use super::start_conditions::{ConditionKind, StartConditions};
use crate::unit::{ActiveState, JobKind, LoadState, Relations, UnitState};

#[derive(Debug, Default)]
pub(super) struct UnitTracker {
    pub jobs: JobTracker,
    /// The latest reading, complete.
    reading: Option<UnitState>,
    /// Its `stopped_by` depends on the kind of a job that is being asked for.
    undecided: bool,
    /// When its latest run ended that was seen to end otherwise than in `failed`.
    ended: u64,
    /// The latest run that a signal or a reading showed, and how many were shown after the first.
    latest_run: String,
    starts: u32,
    /// How many runs were seen to end in `failed` otherwise than by a job.
    failures: u32,
    /// It goes down, or is down, by a job that was on it when it began to.
    goes_by_job: bool,
    /// When it last ceased to be active, by the signals: systemd forgets that with the unit.
    active_exit: u64,
    /// A signal showed that the latest start was skipped. systemd unloads a unit that nothing refers to right after that,
    /// and a reading does not show it any more.
    skipped: Option<ConditionKind>,
    /// `ConditionTimestamp` and `ConditionResult` of the latest signal that had them.
    conditions: Option<(u64, bool)>,
    /// What was reported last.
    reported: Option<UnitState>,
    /// Where its reading stands.
    pub read: Read,
}

/// Where the reading of a unit's properties stands: at most one is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Read {
    /// None is wanted.
    #[default]
    Idle,
    /// It waits behind the others.
    Waiting,
    /// It is next.
    Queued,
    /// It is under way.
    Running,
    /// It is under way, and a hint came since: once more.
    Stale,
}

/// What a `PropertiesChanged` shows.
#[derive(Debug)]
pub(super) struct Change {
    pub active: ActiveState,
    /// 0 for none.
    pub job: u32,
    pub invocation: String,
    pub inactive_enter: Option<u64>,
    pub active_exit: Option<u64>,
    pub start: StartConditions,
}

impl Change {
    /// `None` where it has nothing of the unit's state.
    pub fn new(properties: &Properties) -> Option<Self> {
        Some(Self {
            active: super::names::active_state(properties.active.as_deref()?),
            job: properties.job_id().unwrap_or(0),
            invocation: properties.invocation(),
            inactive_enter: properties.inactive_enter,
            active_exit: properties.active_exit,
            start: properties.start.clone(),
        })
    }
}

fn is_down(active: ActiveState) -> bool {
    matches!(active, ActiveState::Inactive | ActiveState::Failed)
}

impl UnitTracker {
    /// A signal shows the unit in another state. Returns a job whose kind must be asked for.
    pub fn changed(&mut self, change: &Change) -> Option<u32> {
        self.note_end(change.active, change.inactive_enter);
        self.active_exit = change.active_exit.unwrap_or(0).max(self.active_exit);
        self.note_run(change.active, change.job, &change.invocation);
        let started = change.start.started();
        self.note_start(change);
        self.jobs.observe(change.active, change.job, &change.invocation, started.unwrap_or(0))
    }

    /// Counts runs, and those that failed otherwise than by a job: many a program ends with a status when it is stopped.
    /// Several can lie between two readings.
    fn note_run(&mut self, active: ActiveState, job: u32, invocation: &str) {
        if !invocation.is_empty() && self.latest_run != invocation {
            self.starts += u32::from(!self.latest_run.is_empty());
            invocation.clone_into(&mut self.latest_run);
        }
        match active {
            ActiveState::Deactivating => self.goes_by_job |= job != 0,
            // (A signal may show it once more, with the id of the run that follows.)
            ActiveState::Failed if self.jobs.active() != Some(active) => {
                self.failures += u32::from(!self.goes_by_job && !self.jobs.is_stopped());
            }
            ActiveState::Failed | ActiveState::Inactive => {}
            _ => self.goes_by_job = false,
        }
    }

    /// Notes why the latest start was skipped, if it was.
    fn note_start(&mut self, change: &Change) {
        let met = change.start.conditions.met.unwrap_or(false);
        let earlier = match change.start.started() {
            Some(at) => self.conditions.replace((at, met)).filter(|(before, _)| *before == at),
            None if is_down(change.active) => return,
            None => None,
        };
        let same_start = earlier.is_some();
        self.skipped = match (change.start.unmet(), self.skipped) {
            _ if !is_down(change.active) => None,
            (Some(ConditionKind::Condition), _) if earlier.is_some_and(|(_, met)| met) => {
                Some(ConditionKind::ExecCondition)
            }
            (Some(_), known @ Some(_)) if same_start => known,
            (unmet, _) => unmet,
        };
    }

    /// Of a run of some milliseconds systemd signals the end alone: that its time is new shows the run.
    fn note_end(&mut self, active: ActiveState, inactive_enter: Option<u64>) {
        let known =
            self.reading.as_ref().map_or(u64::MAX, |reading| reading.inactive_enter_usec.max(self.ended));
        let ran = self.jobs.active().is_some_and(|before| !is_down(before)) || inactive_enter > Some(known);
        if active == ActiveState::Inactive && ran {
            self.ended = inactive_enter.unwrap_or(self.ended).max(self.ended);
        }
    }

    /// The job `id` is over. `now`: microseconds since 1970.
    pub fn job_removed(&mut self, id: u32, end: End, now: u64) {
        if end == End::Done {
            self.note_quick_run(id, now);
        }
        self.jobs.job_removed(id, end);
        if let Some(reading) = &mut self.reading {
            reading.start_dropped = self.jobs.start_dropped();
        }
    }

    /// Of a oneshot that ran for some milliseconds, and that nothing refers to, systemd signals no more than that its job is
    /// done: it has loaded and unloaded the unit in between.
    fn note_quick_run(&mut self, id: u32, now: u64) {
        let at_rest = |reading: &UnitState| reading.oneshot && reading.job.is_none_or(|job| job.id == id);
        let oneshot = self.reading.as_ref().is_some_and(at_rest);
        let kind = self.jobs.describe(id).map(|job| job.kind);
        let may_have_run = matches!(kind, None | Some(JobKind::Start | JobKind::Restart | JobKind::Other));
        let down = self.jobs.active() == Some(ActiveState::Inactive);
        if oneshot && may_have_run && down && !self.jobs.is_stopped() {
            self.ended = self.ended.max(now);
        }
    }

    /// The kind of the job `id` is known; [`JobKind::Other`] where it could not be read.
    pub fn job_kind(&mut self, id: u32, kind: JobKind) {
        self.jobs.job_kind(id, kind);
        self.attribute();
    }

    /// A request of ours has queued the job `id`.
    pub fn own_job(&mut self, id: u32, kind: JobKind) {
        self.jobs.own_job(id, kind);
        self.attribute();
    }

    /// The unit's properties were read, with the kind of its job. `stopped_by`, `start_dropped`, `seen_ended_usec`,
    /// `starts_seen`, `failures_seen` and `Job::ours` are filled in here.
    pub fn read_done(&mut self, mut state: UnitState, start: &StartConditions) {
        let before = self.jobs.active();
        self.jobs.oneshot = state.oneshot;
        let started = start.started();
        let job = state.job.map_or(0, |job| job.id);
        self.note_run(state.active, job, &state.invocation_id);
        self.jobs.observe(state.active, job, &state.invocation_id, started.unwrap_or(0));
        if let Some(job) = state.job {
            // The reading has asked for the kind where it was not known.
            self.jobs.job_kind(job.id, job.kind);
        }
        self.jobs.note_missed(before, state.oneshot || !state.settings.triggered_by.is_empty());
        if started.is_some() || !is_down(state.active) {
            self.skipped = None;
        } else if let Some(unmet) = self.skipped {
            state.start_skipped = Some(start.describe(unmet));
        }
        if let Some(before) = &self.reading {
            if let Some(earlier) = before.relations.as_deref().filter(|_| is_down(state.active)) {
                Relations::keep_propagated_stops(&mut state.relations, earlier);
            }
            // Equal values are in memory once.
            if before.relations == state.relations {
                state.relations.clone_from(&before.relations);
            }
            if before.settings == state.settings {
                state.settings = Arc::clone(&before.settings);
            }
        }
        state.seen_ended_usec = self.ended;
        state.starts_seen = self.starts;
        state.failures_seen = self.failures;
        state.start_dropped = self.jobs.start_dropped();
        self.active_exit = self.active_exit.max(state.active_exit_usec);
        if state.active_exit_usec == 0 && is_down(state.active) {
            state.active_exit_usec = self.active_exit;
        }
        self.reading = Some(state);
        self.undecided = true;
        self.attribute();
    }

    /// systemd has no such unit.
    pub fn not_found(&mut self) {
        self.read_done(UnitState::default(), &StartConditions::default());
    }

    /// Fills in the reading what is known of its jobs.
    fn attribute(&mut self) {
        let Some(reading) = &mut self.reading else { return };
        if self.jobs.active() != Some(reading.active) {
            // A signal has shown another state since. The next reading is on its way.
            return;
        }
        if let Some(job) = &mut reading.job
            && let Some(known) = self.jobs.describe(job.id)
        {
            *job = known;
        }
        if !self.undecided {
            // It is attributed; only the owner of a job may be new.
            let known = reading.stopped_by.and_then(|job| self.jobs.describe(job.id));
            if let (Some(job), Some(known)) = (&mut reading.stopped_by, known) {
                job.ours = known.ours;
            }
            return;
        }
        match self.jobs.stopped_by() {
            Ok(job) => {
                reading.stopped_by = job;
                self.undecided = false;
            }
            Err(Undecided(_)) => reading.stopped_by = None,
        }
    }

    /// The state to report, if it differs from what was reported; nothing while it is undecided.
    pub fn news(&mut self) -> Option<UnitState> {
        let reading = self.current()?;
        if self.reported.as_ref() == Some(reading) {
            return None;
        }
        let reading = reading.clone();
        self.reported = Some(reading.clone());
        Some(reading)
    }

    /// The next reading is reported whether it differs or not.
    pub fn forget_report(&mut self) {
        self.reported = None;
    }

    /// The latest reading; nothing while it is undecided.
    pub fn current(&self) -> Option<&UnitState> {
        self.reading.as_ref().filter(|_| !self.undecided)
    }

    /// The run of the unit at the latest reading.
    pub fn invocation(&self) -> Option<&str> {
        self.reading.as_ref().map(|reading| reading.invocation_id.as_str())
    }

    /// Whether a listing that says this of the unit agrees with the latest reading.
    pub fn agrees(&self, listed: &Listed) -> bool {
        self.reading.as_ref().is_some_and(|read| {
            read.load == listed.load
                && read.active == listed.active
                && read.sub == listed.sub
                && read.job.map_or(0, |job| job.id) == listed.job
        })
    }
}

/// One line of systemd's list of units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// The unit's primary name; `None` where it is none that a check could have.
    pub id: Option<crate::unit::UnitName>,
    pub load: LoadState,
    pub active: ActiveState,
    pub sub: String,
    /// 0 for none.
    pub job: u32,
}

impl Listed {
    /// There is nothing to read.
    pub fn is_nothing(&self) -> bool {
        self.load == LoadState::NotFound && self.active == ActiveState::Inactive && self.job == 0
    }
}

#[cfg(test)]
mod tests;
