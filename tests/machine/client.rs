//! The daemon's client of systemd: what it learns of each unit from signals and readings, each with its delay.
//!
//! A signal, the answer to a question and a reading each take [`Client::latency`]; a reading shows the unit as it is
//! when systemd answers. Which job took a unit down is derived from the signals, as the properties do not say it:
//!
//! - The last job on the unit counts, whoever requested it. The kind of a job is asked for when the job is first seen;
//!   by then systemd may have turned a restart into a start, or the job is gone.
//! - A stop takes the unit down until it comes up again. A restart does while the unit is on its way down; after that a
//!   start is left. A unit that ends without a job, and a start that fails, were stopped by no job.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, Job, JobKind, JobResult, ManagerState, UnitName, UnitState};

use super::driver;
use super::systemd::{Changed, Signal, Systemd};

/// What the client reports to the daemon.
#[derive(Clone, Debug)]
pub enum Report {
    Unit {
        unit: UnitName,
        state: Box<UnitState>,
    },
    /// A job that the daemon requested is over, by the number that the daemon gave it.
    Job {
        request: u64,
        result: JobResult,
        state: Option<Box<UnitState>>,
    },
    Manager(ManagerState),
}

#[derive(Clone, Debug)]
enum Work {
    Signal(Signal),
    Kind { unit: UnitName, id: u32 },
    Read { unit: UnitName },
    Ended { request: u64, result: JobResult },
}

pub struct Client {
    /// From an event to its report: half of it for the signal, half for the answer to the question that follows.
    pub latency: Duration,
    units: BTreeMap<UnitName, Tracked>,
    queue: BinaryHeap<Reverse<(Mono, u64)>>,
    work: BTreeMap<u64, Work>,
    sequence: u64,
    /// The daemon's jobs: the number of the request, and the unit it is for.
    own: BTreeMap<u32, (u64, UnitName)>,
    /// Every job that a request of the daemon has queued.
    ours: BTreeSet<u32>,
    requests: BTreeMap<u64, UnitName>,
}

impl Client {
    pub fn new(latency: Duration) -> Self {
        Self {
            latency,
            units: BTreeMap::new(),
            queue: BinaryHeap::new(),
            work: BTreeMap::new(),
            sequence: 0,
            own: BTreeMap::new(),
            ours: BTreeSet::new(),
            requests: BTreeMap::new(),
        }
    }

    fn later(&mut self, at: Mono, work: Work) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.work.insert(self.sequence, work);
    }

    fn step(&self) -> Duration {
        self.latency / 2
    }

    /// The units whose readings are wanted, by their primary names. New ones are read.
    pub fn watch(&mut self, now: Mono, wanted: BTreeSet<UnitName>) {
        self.units.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if !self.units.contains_key(&name) {
                self.units.insert(name.clone(), Tracked::default());
                self.will_read(now, &name);
            }
        }
    }

    /// Reads every unit again: the slow reconcile, and what a new connection begins with.
    pub fn read_all(&mut self, now: Mono) {
        for name in self.units.keys().cloned().collect::<Vec<_>>() {
            self.will_read(now, &name);
        }
    }

    /// The daemon wants the unit read again.
    pub fn read_again(&mut self, now: Mono, name: &UnitName) {
        self.will_read(now, name);
    }

    fn will_read(&mut self, now: Mono, name: &UnitName) {
        let at = now.after(self.step());
        let Some(unit) = self.units.get_mut(name) else { return };
        if !std::mem::replace(&mut unit.to_be_read, true) {
            self.later(at, Work::Read { unit: name.clone() });
        }
    }

    /// systemd has sent this.
    pub fn signal(&mut self, now: Mono, signal: Signal) {
        let at = now.after(self.step());
        self.later(at, Work::Signal(signal));
    }

    /// The daemon's request for a job on `target` has come to this. `unit`: the one that the attempt is for.
    pub fn requested(
        &mut self,
        now: Mono,
        request: u64,
        unit: UnitName,
        target: &UnitName,
        kind: JobKind,
        answer: Result<(u32, bool), JobResult>,
    ) {
        self.requests.insert(request, unit.clone());
        match answer {
            Ok((id, fresh)) => {
                self.own.insert(id, (request, unit));
                if fresh {
                    self.ours.insert(id);
                    if let Some(tracked) = self.units.get_mut(target) {
                        tracked.seen(id);
                        tracked.learn(id, kind);
                    }
                }
            }
            Err(result) => {
                let at = now.after(self.latency);
                self.later(at, Work::Ended { request, result });
            }
        }
    }

    pub fn next_due(&self) -> Option<Mono> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// Does the first thing that is due by now. `None`: nothing is due.
    pub fn work(&mut self, now: Mono, systemd: &Systemd) -> Option<Vec<Report>> {
        if self.next_due().is_none_or(|at| at > now) {
            return None;
        }
        let Reverse((_, number)) = self.queue.pop()?;
        let work = self.work.remove(&number)?;
        let mut reports = Vec::new();
        match work {
            Work::Signal(signal) => self.signal_arrives(now, signal, &mut reports),
            Work::Kind { unit, id } => {
                if let Some(tracked) = self.units.get_mut(&unit) {
                    tracked.learn(id, systemd.job_kind(id).unwrap_or(JobKind::Other));
                }
                self.report(&unit, &mut reports);
            }
            Work::Read { unit } => {
                let state = self.read(systemd, &unit);
                if let Some(tracked) = self.units.get_mut(&unit) {
                    tracked.to_be_read = false;
                    tracked.read(state);
                }
                self.report(&unit, &mut reports);
            }
            Work::Ended { request, result } => {
                let unit = self.requests.remove(&request);
                let state = unit.as_ref().map(|unit| {
                    let state = self.read(systemd, unit);
                    match self.units.get_mut(unit) {
                        Some(tracked) => {
                            tracked.read(state.clone());
                            tracked.current().unwrap_or(state)
                        }
                        None => state,
                    }
                });
                reports.push(Report::Job { request, result, state: state.map(Box::new) });
            }
        }
        Some(reports)
    }

    /// A reading as systemd answers it, with the job that is on the unit at this moment.
    fn read(&self, systemd: &Systemd, unit: &UnitName) -> UnitState {
        let job = systemd.job_on(unit).map(|(id, kind)| driver::job(id, kind, self.ours.contains(&id)));
        UnitState { job, ..systemd.read(unit) }
    }

    fn signal_arrives(&mut self, now: Mono, signal: Signal, reports: &mut Vec<Report>) {
        match signal {
            Signal::JobNew { id, unit } => self.job_is_seen(now, &unit, id),
            Signal::Changed { unit, state } => {
                if state.job != 0 {
                    self.job_is_seen(now, &unit, state.job);
                }
                if let Some(tracked) = self.units.get_mut(&unit) {
                    tracked.changed(&state);
                    self.will_read(now, &unit);
                }
            }
            Signal::JobRemoved { id, unit, result } => {
                if let Some(tracked) = self.units.get_mut(&unit) {
                    tracked.job_removed(id, result == JobResult::Done);
                    self.will_read(now, &unit);
                }
                if let Some((request, _)) = self.own.remove(&id) {
                    let at = now.after(self.step());
                    self.later(at, Work::Ended { request, result });
                }
            }
            Signal::Manager(state) => reports.push(Report::Manager(state)),
        }
    }

    fn job_is_seen(&mut self, now: Mono, unit: &UnitName, id: u32) {
        let at = now.after(self.step());
        if self.units.get_mut(unit).is_some_and(|tracked| tracked.seen(id)) {
            self.later(at, Work::Kind { unit: unit.clone(), id });
        }
    }

    fn report(&mut self, unit: &UnitName, reports: &mut Vec<Report>) {
        let ours = &self.ours;
        let Some(tracked) = self.units.get_mut(unit) else { return };
        let Some(mut state) = tracked.current() else { return };
        if let Some(job) = state.stopped_by {
            state.stopped_by = Some(driver::job(job.id, job.kind, ours.contains(&job.id)));
        }
        if tracked.reported.as_ref() != Some(&state) {
            tracked.reported = Some(state.clone());
            reports.push(Report::Unit { unit: unit.clone(), state: Box::new(state) });
        }
    }
}

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
}

/// What is known of one unit.
#[derive(Debug, Default)]
struct Tracked {
    active: Option<ActiveState>,
    /// `ConditionTimestamp`.
    started: u64,
    last: Option<SeenJob>,
    /// The stop job that took the unit down, or keeps it down, and whether it was done.
    stop: Option<(u32, bool)>,
    /// The end of its latest run that did not fail, microseconds since 1970.
    ended: u64,
    /// When it last ceased to be active, by the signals.
    active_exit: u64,
    oneshot: bool,
    reading: Option<UnitState>,
    reported: Option<UnitState>,
    to_be_read: bool,
}

fn is_down(active: ActiveState) -> bool {
    matches!(active, ActiveState::Inactive | ActiveState::Failed)
}

fn is_up(active: ActiveState) -> bool {
    !is_down(active) && active != ActiveState::Deactivating
}

impl Tracked {
    /// Returns whether the job's kind is to be asked for.
    fn seen(&mut self, id: u32) -> bool {
        if self.last.is_some_and(|last| last.id == id) {
            return false;
        }
        let job = SeenJob { id, kind: None, started_unit: false, took_down: false, ended: None };
        self.last = Some(job);
        true
    }

    fn learn(&mut self, id: u32, kind: JobKind) {
        if let Some(last) = self.last.as_mut().filter(|last| last.id == id && last.kind.is_none()) {
            last.kind = Some(kind);
        }
        self.attribute();
    }

    fn changed(&mut self, change: &Changed) {
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
        let before = self.active.replace(active);
        let started_now = started > self.started;
        self.started = self.started.max(started);
        let falls = before.is_some_and(is_up) && !is_up(active);
        if let Some(last) = self.last.as_mut().filter(|last| last.ended.is_none()) {
            last.started_unit |= started_now || (job != 0 && before.is_some_and(is_down) && is_up(active));
            last.took_down |= falls && job == last.id;
        }
        if is_up(active) {
            self.stop = None;
        }
        self.attribute();
    }

    fn job_removed(&mut self, id: u32, done: bool) {
        if let Some(last) = self.last.as_mut().filter(|last| last.id == id) {
            last.ended = Some(done);
        }
        self.attribute();
    }

    /// Takes what is known of the latest job into `stop`.
    fn attribute(&mut self) {
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
    fn read(&mut self, state: UnitState) {
        self.oneshot = state.oneshot;
        self.observe(state.active, state.job.map_or(0, |job| job.id), 0);
        if let Some(job) = state.job {
            self.learn(job.id, job.kind);
        }
        self.reading = Some(state);
    }

    /// The latest reading with what the signals add to it; nothing while the kind of a job is being asked for.
    fn current(&self) -> Option<UnitState> {
        let mut state = self.reading.clone()?;
        if self.last.is_some_and(|last| last.kind.is_none()) {
            return None;
        }
        state.seen_ended_usec = self.ended;
        if state.active_exit_usec == 0 && is_down(state.active) {
            state.active_exit_usec = self.active_exit;
        }
        state.stopped_by = if is_up(state.active) { None } else { self.stopped_by(state.active) };
        Some(state)
    }

    fn stopped_by(&self, active: ActiveState) -> Option<Job> {
        let stop = self.stop.map(|(id, _)| driver::job(id, JobKind::Stop, false));
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
