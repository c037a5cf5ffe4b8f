//! A model of systemd as far as a client on the bus can see it: units, jobs, signals, timestamps. Pure and
//! deterministic: time is handed in, and nothing here knows of the daemon under test.
//!
//! It follows systemd 252's src/core (job.c, transaction.c, unit.c, service.c); where 257 differs, [`Version`] says
//! which. In: requests ([`Systemd::request`] and the like) and the passing of time ([`Systemd::advance_to`]). Out:
//! [`Signal`]s in the order in which systemd sends them, and readings ([`Systemd::read`]).

mod account;
mod boot;
mod dispatch;
mod job;
mod service;
mod start;
mod state;
mod transaction;
mod unit;
mod unit_file;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use stealthcheck::time::{Mono, Now};
use stealthcheck::unit::{ActiveState, JobKind, JobResult, ManagerState, Relations, UnitName, UnitState};

pub use account::Happened;
pub use job::{By, JobType};
use unit::Unit;
pub use unit_file::{
    Exit, Kind, Limit, Program, Restart, UnitFile, oneshot, service, socket, target, timer, unit_name,
    wrapper,
};

/// Which systemd it is, where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A job on a frozen unit thaws it.
    V252,
    /// A job on a frozen unit ends as `frozen`.
    V257,
}

/// What systemd sends on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    JobNew {
        id: u32,
        unit: UnitName,
    },
    JobRemoved {
        id: u32,
        unit: UnitName,
        result: JobResult,
    },
    /// `PropertiesChanged`, with the values at the moment it is sent.
    Changed {
        unit: UnitName,
        state: Box<Changed>,
    },
    /// `SystemState` is another.
    Manager(ManagerState),
}

/// The part of `PropertiesChanged` that tells more than that there is news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub active: ActiveState,
    /// 0 for none.
    pub job: u32,
    pub invocation: u64,
    pub inactive_enter: u64,
    pub active_exit: u64,
    /// `ConditionTimestamp`.
    pub started: u64,
}

/// What a service does when it is asked something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Well,
    /// It answers that something it needs is not there.
    Error,
    /// Nobody listens.
    Refused,
    /// The connection is accepted, and nothing follows.
    Silent,
}

/// What is to happen to a unit when some time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// What the state that the unit is in waits for is over.
    State {
        unit: usize,
        serial: u64,
    },
    /// The main process ends.
    Exit {
        unit: usize,
        serial: u64,
        exit: Exit,
    },
    StartTimeout {
        unit: usize,
        serial: u64,
    },
    /// A job has run for too long.
    JobTimeout {
        unit: usize,
        job: u32,
        kind: JobType,
    },
    Elapse {
        unit: usize,
        serial: u64,
    },
}

/// Checks of a state that hold after all jobs that can run have (systemd's queues).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Review {
    Upheld,
    Bound,
    Unneeded,
}

#[derive(Debug)]
pub struct Systemd {
    pub version: Version,
    now: Mono,
    /// Microseconds since 1970.
    usec: u64,
    units: Vec<Unit>,
    /// Primary names and aliases.
    names: BTreeMap<UnitName, usize>,
    next_job: u32,
    /// The mode of the daemon's next request.
    mode_replace: bool,
    next_invocation: u64,
    run_queue: VecDeque<usize>,
    reviews: BTreeSet<(Review, usize)>,
    /// Units of which a signal is to be sent.
    changed: Vec<usize>,
    signals: Vec<Signal>,
    timers: BinaryHeap<Reverse<(Mono, u64, Timer)>>,
    sequence: u64,
    booting: bool,
    stopping: bool,
    /// `StartLimitAction=` or `FailureAction=` wants the machine to reboot, and why.
    pub reboot_wanted: Option<String>,
    /// What happened, in lines; not kept unless wanted.
    pub notes: Vec<String>,
    pub keeps_notes: bool,
    /// What happened, for whoever checks the daemon's decisions; not kept unless wanted.
    pub account: Vec<Happened>,
    pub keeps_account: bool,
    /// Each start and each stop takes so much longer.
    pub slowness: Duration,
    /// Grows with whatever may change a reading.
    changes: u64,
}

impl Systemd {
    /// A machine that is off.
    pub fn new(now: Now) -> Self {
        Self {
            version: Version::V257,
            now: now.mono,
            usec: usec(now),
            units: Vec::new(),
            names: BTreeMap::new(),
            next_job: 100,
            next_invocation: 0x1000,
            run_queue: VecDeque::new(),
            reviews: BTreeSet::new(),
            changed: Vec::new(),
            signals: Vec::new(),
            timers: BinaryHeap::new(),
            sequence: 0,
            booting: false,
            stopping: false,
            mode_replace: false,
            reboot_wanted: None,
            notes: Vec::new(),
            keeps_notes: false,
            account: Vec::new(),
            keeps_account: false,
            slowness: Duration::ZERO,
            changes: 0,
        }
    }

    /// Installs a unit file.
    pub fn add(&mut self, file: UnitFile) {
        let index = self.units.len();
        for name in file.aliases.iter().chain([&file.name]) {
            self.names.insert(name.clone(), index);
        }
        self.units.push(Unit::new(file));
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.keeps_notes {
            self.notes.push(what());
        }
    }

    fn later(&mut self, after: Duration, timer: Timer) {
        self.sequence += 1;
        self.timers.push(Reverse((self.now.after(after), self.sequence, timer)));
    }

    /// When something happens though nothing is requested.
    pub fn next_due(&self) -> Option<Mono> {
        self.timers.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Sets the clocks. What is due until then must have been fired.
    pub fn set_time(&mut self, now: Now) {
        self.now = now.mono;
        self.usec = usec(now);
    }

    /// Lets the first thing happen that is due by now. Returns whether there was one.
    pub fn fire(&mut self) -> bool {
        let due = self.timers.peek().is_some_and(|Reverse((at, _, _))| *at <= self.now);
        if !due {
            return false;
        }
        if let Some(Reverse((_, _, timer))) = self.timers.pop() {
            self.changes += 1;
            self.timer_fires(timer);
            self.dispatch();
        }
        true
    }

    pub fn take_signals(&mut self) -> Vec<Signal> {
        std::mem::take(&mut self.signals)
    }

    fn index(&self, name: &UnitName) -> Option<usize> {
        self.names.get(name).copied()
    }

    fn at(&self, name: &UnitName) -> &Unit {
        let index = self.index(name).unwrap_or_else(|| panic!("there is no unit {name}"));
        &self.units[index]
    }

    fn at_mut(&mut self, name: &UnitName) -> &mut Unit {
        let index = self.index(name).unwrap_or_else(|| panic!("there is no unit {name}"));
        self.changes += 1;
        &mut self.units[index]
    }

    /// The primary name (`Id`) of a unit.
    pub fn id(&self, name: &UnitName) -> UnitName {
        self.index(name).map_or_else(|| name.clone(), |index| self.units[index].name().clone())
    }

    /// The mode of the daemon's next request: `replace`, or `fail`.
    pub fn set_mode_replace(&mut self, replace: bool) {
        self.mode_replace = replace;
    }

    /// `StartUnit`, `StopUnit`, `RestartUnit`, `ReloadUnit`. Returns the job's id, or systemd's sentence.
    pub fn request(&mut self, name: &UnitName, kind: JobType, by: By) -> Result<u32, String> {
        let unit = self.index(name).ok_or_else(|| format!("Unit {name} not found."))?;
        if self.stopping && kind != JobType::Stop {
            return Err("Transaction is destructive.".to_owned());
        }
        let file = &self.units[unit].file;
        let starts = matches!(kind, JobType::Start | JobType::Restart);
        if (starts && file.refuses_start) || (kind.stops() && file.refuses_stop) {
            return Err(format!("Operation refused, unit {name} may be requested by dependency only."));
        }
        self.changes += 1;
        let id = self.add_job(unit, kind, by)?;
        self.note(|| format!("systemd: {kind:?} of {name} requested by {by:?}, job {id}"));
        self.flush();
        Ok(id)
    }

    /// Runs what has been requested. Requests that come at one moment are queued before any of them runs.
    pub fn run(&mut self) {
        self.dispatch();
    }

    /// `systemctl cancel`.
    pub fn cancel_job(&mut self, name: &UnitName) {
        if let Some(unit) = self.index(name)
            && self.units[unit].job.is_some()
        {
            self.finish_job(unit, JobResult::Canceled, true);
            self.dispatch();
        }
    }

    /// `ResetFailedUnit`.
    pub fn reset_failed(&mut self, name: &UnitName) {
        let Some(unit) = self.index(name) else { return };
        self.changes += 1;
        self.note(|| format!("systemd: the failures of {name} are reset"));
        if self.units[unit].sub == unit::Sub::Failed {
            self.set_state(unit, unit::Sub::Dead, false);
        }
        let this = &mut self.units[unit];
        this.result = "success";
        (this.n_restarts, this.flush_n_restarts) = (0, false);
        (this.limit_began, this.starts) = (None, 0);
        self.mark_changed(unit);
        self.dispatch();
    }

    /// A reading of the unit's properties. The kind of its job is asked for besides.
    pub fn read(&self, name: &UnitName) -> UnitState {
        let Some(index) = self.index(name) else { return UnitState::default() };
        let mut state = self.units[index].read();
        self.forget_unloaded(index, &mut state);
        state
    }

    /// What other units say of this one is not known while they are not loaded.
    fn forget_unloaded(&self, unit: usize, state: &mut UnitState) {
        let Some(relations) = &state.relations else { return };
        let forgotten = |name: &UnitName| {
            self.index(name).is_some_and(|other| {
                !self.units[other].links.referenced_by.contains(&unit)
                    && !self.stays_loaded(other, &mut BTreeSet::from([unit]))
            })
        };
        let stops = |name: &UnitName| !relations.requires.contains(name) && forgotten(name);
        let told = [&relations.consists_of, &relations.required_by, &relations.conflicts];
        if !told.into_iter().flatten().any(forgotten) && !relations.binds_to.iter().any(stops) {
            return;
        }
        let mut known = Relations::clone(relations);
        known.binds_to.retain(|name| !stops(name));
        for names in [&mut known.consists_of, &mut known.required_by, &mut known.conflicts] {
            names.retain(|name| !forgotten(name));
        }
        state.relations = (!known.is_empty()).then(|| Arc::new(known));
    }

    /// The unit's `ConditionTimestamp`.
    pub fn condition_usec(&self, name: &UnitName) -> u64 {
        self.index(name).map_or(0, |index| self.units[index].times.condition)
    }

    /// The unit's job now: its id and kind.
    pub fn job_on(&self, name: &UnitName) -> Option<(u32, JobKind)> {
        let job = self.index(name).and_then(|index| self.units[index].job)?;
        Some((job.id, job.kind.kind()))
    }

    /// Who requested the job that is on the unit now.
    pub fn job_by(&self, name: &UnitName) -> Option<By> {
        Some(self.units[self.index(name)?].job?.by)
    }

    /// The kind of a job; `None` where it is gone.
    pub fn job_kind(&self, id: u32) -> Option<JobKind> {
        let mut jobs = self.units.iter().filter_map(|unit| unit.job);
        jobs.find(|job| job.id == id).map(|job| job.kind.kind())
    }

    pub fn manager(&self) -> ManagerState {
        match (self.stopping, self.booting) {
            (true, _) => ManagerState::Stopping,
            (_, true) => ManagerState::Starting,
            _ => ManagerState::Running,
        }
    }

    /// The same number: every reading is as it was.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub fn unit_names(&self) -> impl Iterator<Item = &UnitName> {
        self.units.iter().map(Unit::name)
    }

    pub fn is_up(&self, name: &UnitName) -> bool {
        self.at(name).is_up()
    }

    pub fn is_down(&self, name: &UnitName) -> bool {
        self.at(name).is_down()
    }

    /// How many runs of the unit's processes there have been since the first boot.
    pub fn runs(&self, name: &UnitName) -> u64 {
        self.at(name).runs
    }

    /// Changes what the unit's program does from now on.
    pub fn program(&mut self, name: &UnitName) -> &mut Program {
        &mut self.at_mut(name).file.program
    }

    /// Changes the unit's file and has systemd read it (`systemctl daemon-reload`).
    pub fn edit(&mut self, name: &UnitName, change: impl FnOnce(&mut UnitFile)) {
        change(&mut self.at_mut(name).file);
        self.link();
        if let Some(unit) = self.index(name) {
            self.mark_changed(unit);
        }
        self.dispatch();
    }

    /// `systemctl freeze`, `systemctl thaw`. No signal tells of it.
    pub fn freeze(&mut self, name: &UnitName, frozen: bool) {
        self.at_mut(name).frozen = frozen;
        self.note(|| format!("{name} is {}", if frozen { "frozen" } else { "thawed" }));
        self.dispatch();
    }
}

fn usec(now: Now) -> u64 {
    let below = now.mono.0.subsec_micros() % 1000;
    u64::try_from(now.wall.0).unwrap_or(0) * 1000 + u64::from(below)
}
