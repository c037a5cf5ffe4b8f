//! The daemon's client of systemd: what it learns of each unit from signals and readings, each with its delay.
//!
//! A signal, the answer to a question and a reading each take half of [`Client::delay`]; a reading shows the unit as it
//! is when systemd answers. Which job took a unit down is derived from the signals (`tracked`), as the properties do not
//! say it:
//!
//! - The last job on the unit counts, whoever requested it. The kind of a job is asked for when the job is first seen;
//!   by then systemd may have turned a restart into a start, or the job is gone.
//! - A stop takes the unit down until it comes up again. A restart does while the unit is on its way down; after that a
//!   start is left. A unit that ends without a job, and a start that fails, were stopped by no job.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, JobKind, JobResult, ManagerState, UnitName, UnitState};

use super::delay::Delay;
use super::driver;
use super::systemd::{Signal, Systemd};
use super::tracked::Tracked;

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
    Kind {
        unit: UnitName,
        id: u32,
    },
    Read {
        unit: UnitName,
    },
    Ended {
        request: u64,
        result: JobResult,
    },
    /// systemd has answered this, and the answer is on its way behind signals.
    Answered(Answer),
    /// All is read, and systemd says how the machine is.
    Reachable,
    /// A report reaches the daemon.
    Arrives(Report),
}

/// What systemd answers.
#[derive(Clone, Debug)]
enum Answer {
    Kind { unit: UnitName, id: u32, kind: JobKind },
    Read { unit: UnitName, state: Reading },
    Ended { request: u64, result: JobResult, state: Option<Reading> },
}

/// A unit's properties, with its `ConditionTimestamp`.
type Reading = (Box<UnitState>, u64);

/// A request of the daemon that is not answered.
struct Request {
    /// The unit that the attempt is for.
    unit: UnitName,
    /// The unit that the job is on, and its run before.
    target: UnitName,
    invocation: String,
    kind: JobKind,
}

pub struct Client {
    /// From an event to its report: half of it for the signal, half for the answer to the question that follows.
    pub delay: Delay,
    /// So late the daemon takes a report, in order.
    pub late: Delay,
    /// Signals are sent in order, and so are reports: none comes before these.
    signals_until: Mono,
    reports_until: Mono,
    is_connected: bool,
    units: BTreeMap<UnitName, Tracked>,
    queue: BinaryHeap<Reverse<(Mono, u64)>>,
    work: BTreeMap<u64, Work>,
    sequence: u64,
    /// The daemon's jobs, with the numbers of the requests that were merged into each.
    own: BTreeMap<u32, Vec<u64>>,
    /// Every job that a request of the daemon has queued.
    ours: BTreeSet<u32>,
    requests: BTreeMap<u64, Request>,
    /// systemd as it was when everything was last read.
    reconciled: Option<u64>,
}

impl Client {
    pub fn new(delay: Delay, late: Delay) -> Self {
        Self {
            delay,
            late,
            signals_until: Mono::default(),
            reports_until: Mono::default(),
            is_connected: true,
            units: BTreeMap::new(),
            queue: BinaryHeap::new(),
            work: BTreeMap::new(),
            sequence: 0,
            own: BTreeMap::new(),
            ours: BTreeSet::new(),
            requests: BTreeMap::new(),
            reconciled: None,
        }
    }

    fn later(&mut self, at: Mono, work: Work) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.work.insert(self.sequence, work);
    }

    fn step(&mut self) -> Duration {
        self.delay.next() / 2
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

    /// The slow reconcile. Nothing is read where nothing has happened since (`changes`: systemd's own count).
    pub fn reconcile(&mut self, now: Mono, changes: u64) {
        if self.reconciled != Some(changes) {
            self.reconciled = Some(changes);
            self.read_all(now);
        }
    }

    /// Reads every unit again.
    pub fn read_all(&mut self, now: Mono) {
        for name in self.units.keys().cloned().collect::<Vec<_>>() {
            self.will_read(now, &name);
        }
    }

    /// The daemon wants the unit read again.
    pub fn read_again(&mut self, now: Mono, name: &UnitName) {
        if let Some(unit) = self.units.get_mut(name) {
            // It is reported whether it has changed or not.
            unit.reported = None;
        }
        self.will_read(now, name);
    }

    fn will_read(&mut self, now: Mono, name: &UnitName) {
        if !self.is_connected {
            return;
        }
        let Some(unit) = self.units.get_mut(name) else { return };
        if !std::mem::replace(&mut unit.to_be_read, true) {
            let at = now.after(self.step());
            self.later(at, Work::Read { unit: name.clone() });
        }
    }

    /// systemd has sent this.
    pub fn signal(&mut self, now: Mono, signal: Signal) {
        if self.is_connected {
            self.signals_until = self.signals_until.max(now.after(self.step()));
            self.later(self.signals_until, Work::Signal(signal));
        }
    }

    /// The daemon's request for a job on `target` has come to this. `unit`: the one that the attempt is for.
    pub fn requested(
        &mut self,
        now: Mono,
        request: u64,
        unit: UnitName,
        target: &UnitName,
        (kind, invocation): (JobKind, String),
        answer: Result<(u32, bool), JobResult>,
    ) {
        let asked = Request { unit, target: target.clone(), invocation, kind };
        self.requests.insert(request, asked);
        match answer {
            Ok((id, fresh)) => {
                self.own.entry(id).or_default().push(request);
                if fresh {
                    self.ours.insert(id);
                    if let Some(tracked) = self.units.get_mut(target) {
                        tracked.seen(id);
                        tracked.learn(id, kind);
                    }
                }
            }
            Err(result) => {
                let at = now.after(self.delay.next());
                self.later(at, Work::Ended { request, result });
            }
        }
    }

    /// The connection to systemd is lost: no signal and no answer comes any more. Returns the requests that have their
    /// result, whose units are not read.
    pub fn lose_connection(&mut self) -> Vec<Report> {
        self.is_connected = false;
        let lost = std::mem::take(&mut self.work);
        let mut reports = Vec::new();
        for (number, work) in lost {
            match work {
                Work::Ended { request, result } | Work::Answered(Answer::Ended { request, result, .. }) => {
                    self.requests.remove(&request);
                    reports.push(Report::Job { request, result, state: None });
                }
                Work::Arrives(_) => drop(self.work.insert(number, work)),
                _ => {}
            }
        }
        self.units.values_mut().for_each(Tracked::lose_signals);
        reports
    }

    /// There is a connection again: everything is read, and of the requested jobs that are gone it is found out how they
    /// ended.
    pub fn connect(&mut self, now: Mono, systemd: &Systemd) {
        self.is_connected = true;
        self.read_all(now);
        let gone: Vec<u32> = self.own.keys().copied().filter(|id| systemd.job_kind(*id).is_none()).collect();
        let gone: Vec<u64> = gone.iter().flat_map(|id| self.own.remove(id).unwrap_or_default()).collect();
        for request in gone {
            let Some(asked) = self.requests.get(&request) else { continue };
            let state = systemd.read(&asked.target);
            let another_run = state.invocation_id != asked.invocation;
            let done = match asked.kind {
                JobKind::Stop => state.active == ActiveState::Inactive,
                JobKind::Reload => false,
                _ => another_run && state.active != ActiveState::Failed,
            };
            let unknown = || JobResult::Unknown("the job ended while signals were missed".to_owned());
            let result = if done { JobResult::Done } else { unknown() };
            let at = now.after(self.delay.next());
            self.later(at, Work::Ended { request, result });
        }
        let at = now.after(self.delay.longest());
        self.later(at, Work::Reachable);
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
        // What was dropped with a connection is not there any more.
        let Some(work) = self.work.remove(&number) else { return Some(vec![]) };
        let mut reports = Vec::new();
        match work {
            Work::Arrives(report) => return Some(vec![report]),
            Work::Reachable => reports.push(Report::Manager(systemd.manager())),
            Work::Signal(signal) => self.signal_arrives(now, signal, &mut reports),
            Work::Kind { unit, id } => {
                let kind = systemd.job_kind(id).unwrap_or(JobKind::Other);
                self.answers(now, Answer::Kind { unit, id, kind }, &mut reports);
            }
            Work::Read { unit } => {
                let state = self.read(systemd, &unit);
                if let Some(tracked) = self.units.get_mut(&unit) {
                    tracked.to_be_read = false;
                }
                self.answers(now, Answer::Read { unit, state }, &mut reports);
            }
            Work::Ended { request, result } => {
                let asked = self.requests.get(&request);
                let state = asked.map(|asked| self.read(systemd, &asked.unit));
                self.answers(now, Answer::Ended { request, result, state }, &mut reports);
            }
            Work::Answered(answer) => self.take(now, answer, &mut reports),
        }
        Some(self.in_order(now, reports))
    }

    /// An answer comes behind the signals that systemd sent before it.
    fn answers(&mut self, now: Mono, answer: Answer, reports: &mut Vec<Report>) {
        if self.signals_until > now {
            self.later(self.signals_until, Work::Answered(answer));
        } else {
            self.take(now, answer, reports);
        }
    }

    /// The kind of the job on the request's unit is still being asked for.
    fn is_undecided(&self, request: u64) -> bool {
        let unit = self.requests.get(&request).and_then(|asked| self.units.get(&asked.unit));
        unit.is_some_and(Tracked::is_undecided)
    }

    fn take(&mut self, now: Mono, answer: Answer, reports: &mut Vec<Report>) {
        match answer {
            Answer::Kind { unit, id, kind } => {
                if let Some(tracked) = self.units.get_mut(&unit) {
                    tracked.learn(id, kind);
                }
                self.report(&unit, reports);
            }
            Answer::Read { unit, state } => {
                if let Some(tracked) = self.units.get_mut(&unit) {
                    tracked.read(*state.0, state.1);
                }
                self.report(&unit, reports);
            }
            Answer::Ended { request, result, state: Some((state, started)) }
                if self.is_undecided(request) =>
            {
                // It is read again, until the kind of the unit's job is known.
                if let Some(asked) = self.requests.get(&request)
                    && let Some(tracked) = self.units.get_mut(&asked.unit)
                {
                    tracked.read(*state, started);
                }
                let at = now.after(self.step());
                self.later(at, Work::Ended { request, result });
            }
            Answer::Ended { request, result, state } => {
                let asked = self.requests.remove(&request);
                let state = state.zip(asked).map(|((state, started), asked)| {
                    let Some(tracked) = self.units.get_mut(&asked.unit) else { return state };
                    tracked.read((*state).clone(), started);
                    with_owner(tracked, &self.ours).map_or(state, Box::new)
                });
                reports.push(Report::Job { request, result, state });
            }
        }
    }

    /// The reports that the daemon takes at once; the others are late.
    fn in_order(&mut self, now: Mono, reports: Vec<Report>) -> Vec<Report> {
        let mut at_once = Vec::new();
        for report in reports {
            let at = self.reports_until.max(now.after(self.late.next()));
            if at <= now && self.reports_until < now {
                at_once.push(report);
            } else {
                self.reports_until = at;
                self.later(at, Work::Arrives(report));
            }
        }
        at_once
    }

    /// A reading as systemd answers it, with the job that is on the unit at this moment.
    fn read(&self, systemd: &Systemd, unit: &UnitName) -> Reading {
        let job = systemd.job_on(unit).map(|(id, kind)| driver::job(id, kind, self.ours.contains(&id)));
        (Box::new(UnitState { job, ..systemd.read(unit) }), systemd.condition_usec(unit))
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
                    tracked.job_removed(id, &result);
                    self.will_read(now, &unit);
                }
                for request in self.own.remove(&id).unwrap_or_default() {
                    let at = now.after(self.step());
                    self.later(at, Work::Ended { request, result: result.clone() });
                }
            }
            Signal::Manager(state) => reports.push(Report::Manager(state)),
        }
    }

    fn job_is_seen(&mut self, now: Mono, unit: &UnitName, id: u32) {
        if self.units.get_mut(unit).is_some_and(|tracked| tracked.seen(id)) {
            let at = now.after(self.step());
            self.later(at, Work::Kind { unit: unit.clone(), id });
        }
    }

    fn report(&mut self, unit: &UnitName, reports: &mut Vec<Report>) {
        let Some(tracked) = self.units.get_mut(unit) else { return };
        let Some(state) = with_owner(tracked, &self.ours) else { return };
        if tracked.reported.as_ref() != Some(&state) {
            tracked.reported = Some(state.clone());
            reports.push(Report::Unit { unit: unit.clone(), state: Box::new(state) });
        }
    }
}

/// The latest reading, with whether the daemon requested the job that took the unit down.
fn with_owner(tracked: &Tracked, ours: &BTreeSet<u32>) -> Option<UnitState> {
    let mut state = tracked.current()?;
    if let Some(job) = &mut state.stopped_by {
        job.ours = ours.contains(&job.id);
    }
    Some(state)
}
