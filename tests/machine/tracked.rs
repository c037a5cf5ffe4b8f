//! What the client knows of one unit, and by which job it was taken down.

use stealthcheck::unit::{ActiveState, Job, JobKind, JobResult, Relations, UnitState};

use super::driver;
use super::systemd::Changed;

#[derive(Clone, Copy, Debug)]
struct SeenJob {
    id: u32,
    /// `None` while it is being asked for; `Other` where the job was gone before it could be answered.
    kind: Option<JobKind>,
    /// The unit was started with it.
    started_unit: bool,
    took_down: bool,
    /// How it ended: whether it was done.
    ended: Option<bool>,
    /// It was not attempted: its result was `dependency`.
    dropped: bool,
}

/// What is known of one unit.
#[derive(Debug, Default)]
pub struct Tracked {
    active: Option<ActiveState>,
    /// `ConditionTimestamp`.
    started: u64,
    last: Option<SeenJob>,
    /// The stop job that took the unit down, or keeps it down, and whether it was done.
    stop: Option<(u32, bool)>,
    /// The end of its latest run that did not fail, microseconds since 1970.
    ended: u64,
    /// The starts that signals and readings showed after the first.
    starts: u32,
    /// The runs that they showed to end in `failed` otherwise than by a job.
    failures: u32,
    /// It goes down, or is down, by a job that was on it when it began to.
    goes_by_job: bool,
    /// When it last ceased to be active, by the signals.
    active_exit: u64,
    oneshot: bool,
    reading: Option<UnitState>,
    pub reported: Option<UnitState>,
    pub to_be_read: bool,
    /// Signals may have been missed; the state before.
    missed: Option<Option<ActiveState>>,
}

fn is_down(active: ActiveState) -> bool {
    matches!(active, ActiveState::Inactive | ActiveState::Failed)
}

fn is_up(active: ActiveState) -> bool {
    !is_down(active) && active != ActiveState::Deactivating
}

impl Tracked {
    /// Returns whether the job's kind is to be asked for.
    pub fn seen(&mut self, id: u32) -> bool {
        if self.last.is_some_and(|last| last.id == id) {
            return false;
        }
        let job =
            SeenJob { id, kind: None, started_unit: false, took_down: false, ended: None, dropped: false };
        self.last = Some(job);
        true
    }

    pub fn learn(&mut self, id: u32, kind: JobKind) {
        if let Some(last) = self.last.as_mut().filter(|last| last.id == id && last.kind.is_none()) {
            last.kind = Some(kind);
        }
        self.attribute();
    }

    pub fn changed(&mut self, change: &Changed) {
        let known = self.reading.as_ref().map_or(u64::MAX, |read| read.inactive_enter_usec.max(self.ended));
        let ran = self.active.is_some_and(|before| !is_down(before)) || change.inactive_enter > known;
        if change.active == ActiveState::Inactive && ran {
            self.ended = self.ended.max(change.inactive_enter);
        }
        self.active_exit = self.active_exit.max(change.active_exit);
        self.observe(change.active, change.job, change.started);
    }

    fn observe(&mut self, active: ActiveState, job: u32, started: u64) {
        if job != 0 {
            self.seen(job);
        }
        match active {
            ActiveState::Deactivating => self.goes_by_job |= job != 0,
            ActiveState::Failed if self.active != Some(active) => {
                self.failures += u32::from(!self.goes_by_job && self.stop.is_none());
            }
            ActiveState::Failed | ActiveState::Inactive => {}
            _ => self.goes_by_job = false,
        }
        let before = self.active.replace(active);
        let started_now = started > self.started && before.is_some();
        self.starts += u32::from(started_now && self.started != 0);
        self.started = self.started.max(started);
        let falls = before.is_some_and(is_up) && !is_up(active);
        if let Some(last) = &mut self.last {
            last.dropped &= !started_now;
        }
        if let Some(last) = self.last.as_mut().filter(|last| last.ended.is_none()) {
            last.started_unit |= started_now || (job != 0 && before.is_some_and(is_down) && is_up(active));
            last.took_down |= falls && job == last.id;
        }
        if is_up(active) {
            self.stop = None;
        }
        self.attribute();
    }

    pub fn job_removed(&mut self, id: u32, result: &JobResult) {
        if let Some(last) = self.last.as_mut().filter(|last| last.id == id) {
            last.ended = Some(*result == JobResult::Done);
            last.dropped = *result == JobResult::Dependency;
        }
        self.attribute();
    }

    /// Takes what is known of the latest job into `stop`. One that has ended while the unit is up does not explain what
    /// comes later.
    fn attribute(&mut self) {
        self.note_stop();
        if self.active.is_some_and(is_up) {
            self.last = self.last.filter(|last| last.ended.is_none());
        }
    }

    fn note_stop(&mut self) {
        let Some(last) = self.last else { return };
        let down = self.active.is_some_and(is_down);
        let stops = match last.kind {
            Some(JobKind::Stop) => true,
            // Gone before it could be asked for: done, and the unit is down.
            Some(JobKind::Other) => {
                last.ended == Some(true) && down && !last.started_unit && (last.took_down || !self.oneshot)
            }
            Some(JobKind::Start | JobKind::Restart) => {
                // It replaced a stop that was not done.
                self.stop = self.stop.filter(|(_, done)| *done);
                false
            }
            Some(JobKind::Reload) | None => false,
        };
        let canceled = last.ended == Some(false);
        if stops && !canceled && !self.active.is_some_and(|active| is_up(active) && last.ended.is_some()) {
            self.stop = Some((last.id, last.ended == Some(true)));
        } else if stops && canceled && self.active == Some(ActiveState::Deactivating) {
            self.stop = Some((last.id, false));
        }
    }

    /// The unit's properties were read.
    /// `started`: its `ConditionTimestamp`.
    pub fn read(&mut self, mut state: UnitState, started: u64) {
        self.oneshot = state.oneshot;
        self.observe(state.active, state.job.map_or(0, |job| job.id), started);
        if let Some(job) = state.job {
            self.learn(job.id, job.kind);
        }
        if let Some(before) = self.missed.take() {
            self.note_missed(before, &state);
        }
        let earlier = self.reading.as_ref().and_then(|before| before.relations.clone());
        if let Some(earlier) = earlier.filter(|_| is_down(state.active)) {
            Relations::keep_propagated_stops(&mut state.relations, &earlier);
        }
        self.reading = Some(state);
    }

    /// Signals are missed from here on, and what was asked is not answered.
    pub fn lose_signals(&mut self) {
        self.missed = Some(self.active);
        self.to_be_read = false;
        if let Some(last) = &mut self.last {
            last.kind.get_or_insert(JobKind::Other);
        }
    }

    /// A reading follows the loss of signals: a unit that went down meanwhile may have been stopped.
    fn note_missed(&mut self, before: Option<ActiveState>, state: &UnitState) {
        let job = state.job.map(|job| job.id);
        if let Some(last) = self.last.as_mut().filter(|last| last.ended.is_none() && Some(last.id) != job) {
            last.ended = Some(false);
        }
        let at_rest = state.oneshot || !state.settings.triggered_by.is_empty();
        let down = state.active == ActiveState::Inactive && job.is_none();
        if before.is_some_and(is_up) && down && !at_rest && self.stop.is_none() {
            self.stop = Some((0, true));
        }
    }

    /// The kind of the latest job is being asked for.
    pub fn is_undecided(&self) -> bool {
        self.last.is_some_and(|last| last.kind.is_none())
    }

    /// The latest reading with what the signals add to it; nothing while the kind of a job is being asked for.
    pub fn current(&self) -> Option<UnitState> {
        let mut state = self.reading.clone()?;
        let queued = self.last.filter(|last| last.ended.is_none()).map(|last| last.id);
        // A job came after the reading: another one is on its way.
        if self.is_undecided() || (queued.is_some() && queued != state.job.map(|job| job.id)) {
            return None;
        }
        state.seen_ended_usec = self.ended;
        state.starts_seen = self.starts;
        state.failures_seen = self.failures;
        if state.active_exit_usec == 0 && is_down(state.active) {
            state.active_exit_usec = self.active_exit;
        }
        state.start_dropped = is_down(state.active) && self.last.is_some_and(|last| last.dropped);
        state.stopped_by = if is_up(state.active) { None } else { self.stopped_by(state.active) };
        Some(state)
    }

    fn stopped_by(&self, active: ActiveState) -> Option<Job> {
        let kind = |id: u32| if id == 0 { JobKind::Other } else { JobKind::Stop };
        let stop = self.stop.map(|(id, _)| driver::job(id, kind(id), false));
        let Some(last) = self.last.filter(|last| last.ended.is_none()) else { return stop };
        match last.kind? {
            JobKind::Restart if active == ActiveState::Deactivating => {
                Some(driver::job(last.id, JobKind::Restart, false))
            }
            JobKind::Other if last.took_down || active == ActiveState::Deactivating => {
                stop.or(Some(driver::job(last.id, JobKind::Other, false)))
            }
            _ => stop,
        }
    }
}
