//! The simulated machine: systemd with its units and jobs, the services that run in them, and the people at it.
//!
//! It answers as a real systemd does where that matters to the daemon: a job takes its time and can be replaced, a
//! reading comes some milliseconds after what it tells of and says how the unit is by then, what conflicts is stopped,
//! what was stopped while nobody watched does not say by whom.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stealthcheck::engine::AttemptId;
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, Job, JobKind, JobResult, LoadState, Relations, UnitName, UnitState};

use crate::config::{Plan, helper, rival_of};
use crate::sim::{Coming, Sim, Told};

/// How a simulated service behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Healthy,
    /// Runs and answers nothing; a restart mends it.
    Hung,
    /// Runs and answers nothing, whatever is done.
    Broken,
    /// Dies at every start.
    WontStart,
    /// Dies a few seconds after every start.
    Crashes,
}

/// Who asked systemd for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Us { life: u64, attempt: AttemptId },
    Somebody,
    Systemd,
}

/// A job on a unit.
#[derive(Clone, Copy, Debug)]
pub struct UnitJob {
    pub job: Job,
    pub by: By,
    since: Mono,
}

/// One unit.
#[derive(Debug)]
pub struct Unit {
    pub service: Service,
    pub state: UnitState,
    pub job: Option<UnitJob>,
    pub auto_restart: bool,
    /// Something that a timer starts, or that displaces another: it runs this long.
    pub runs_for: Option<Duration>,
    /// When its run has ended this is started again (`OnSuccess=`).
    pub brings_back: bool,
    dies_of_stop: bool,
    /// Grows with each change, so that what was to come before it is known to be void.
    serial: u64,
    /// CPU time: in percent of one CPU, and what the run has used until `counted`.
    pub cpu: u64,
    pub used: Duration,
    pub counted: Mono,
}

impl Unit {
    pub fn is_up(&self) -> bool {
        self.state.active == ActiveState::Active
    }
}

/// All units of a plan, what conflicts with them, and the one that ladders start: all services are up.
pub fn units(plan: &Plan) -> BTreeMap<UnitName, Unit> {
    let unit = |up: bool, relations: Relations, n: usize| {
        let state = UnitState {
            load: LoadState::Loaded,
            active: if up { ActiveState::Active } else { ActiveState::Inactive },
            sub: if up { "running" } else { "dead" }.into(),
            result: "success".into(),
            invocation_id: if up { format!("{n:032x}") } else { String::new() },
            active_enter_usec: u64::from(up),
            oneshot: !up,
            relations: (!relations.is_empty()).then(|| Arc::new(relations)),
            ..UnitState::default()
        };
        Unit {
            service: Service::Healthy,
            state,
            job: None,
            auto_restart: false,
            runs_for: None,
            brings_back: false,
            dies_of_stop: false,
            serial: 0,
            cpu: 5,
            used: Duration::ZERO,
            counted: Mono::default(),
        }
    };
    let mut units = BTreeMap::new();
    for (n, plan) in plan.units.iter().enumerate() {
        let conflicts = if plan.rival { vec![rival_of(&plan.name)] } else { vec![] };
        let relations = Relations { requires: plan.requires.clone(), conflicts, ..Relations::default() };
        let mut built = unit(plan.job.is_none(), relations, n);
        built.auto_restart = plan.auto_restart && plan.job.is_none();
        built.dies_of_stop = plan.dies_of_stop;
        built.runs_for = plan.job.map(|_| Duration::from_secs(120));
        units.insert(plan.name.clone(), built);
        if plan.rival {
            let relations = Relations { conflicts: vec![plan.name.clone()], ..Relations::default() };
            let mut rival = unit(false, relations, 0);
            rival.runs_for = Some(Duration::from_secs(60));
            units.insert(rival_of(&plan.name), rival);
        }
    }
    let mut started = unit(false, Relations::default(), 0);
    started.runs_for = Some(Duration::from_secs(1));
    units.insert(helper(), started);
    units
}

impl Sim {
    /// systemd is asked for a job; `Err` where it queues none.
    pub fn queue_job(&mut self, name: &UnitName, kind: JobKind, by: By) -> Result<(), JobResult> {
        let Some(unit) = self.units.get(name) else {
            return Err(JobResult::Refused(format!("Unit {name} not found.")));
        };
        if kind != JobKind::Stop && unit.state.load != LoadState::Loaded {
            return Err(JobResult::Refused(format!("Unit {name} is {}.", unit.state.describe())));
        }
        if kind == JobKind::Reload && !unit.is_up() {
            return Err(JobResult::Other("invalid".into()));
        }
        if let Some(old) = self.units.get_mut(name).and_then(|unit| unit.job.take()) {
            self.job_is_over(name, old, JobResult::Canceled);
        }
        self.next_id += 1;
        let job = Job { id: u32::try_from(self.next_id).unwrap_or(0), kind, ours: false };
        let unit_job = UnitJob { job, by, since: self.mono };
        self.note(|| format!("systemd: {kind:?} job on {name} by {by:?}"));
        // Before those of what it requires, which may require it in turn.
        if let Some(unit) = self.units.get_mut(name) {
            unit.job = Some(unit_job);
        }
        if matches!(kind, JobKind::Start | JobKind::Restart) {
            self.start_what_it_requires(name);
            self.stop_what_conflicts(name);
        }
        let watched = self.is_watching();
        let Some(unit) = self.units.get_mut(name) else { return Ok(()) };
        let up = !unit.state.is_down();
        let nothing_to_do = (kind == JobKind::Start && unit.is_up()) || (kind == JobKind::Stop && !up);
        if nothing_to_do {
            unit.job = None;
            self.job_is_over(name, unit_job, JobResult::Done);
            return Ok(());
        }
        unit.job = Some(unit_job);
        unit.state.job = Some(job);
        match kind {
            JobKind::Stop | JobKind::Restart if up => {
                unit.state.active = ActiveState::Deactivating;
                unit.state.sub = "stop-sigterm".into();
                unit.state.stopped_by = watched.then_some(job);
            }
            JobKind::Reload => unit.state.active = ActiveState::Reloading,
            _ => self.begins(name),
        }
        self.goes_on(name);
        Ok(())
    }

    /// The unit's run begins.
    fn begins(&mut self, name: &UnitName) {
        let usec = self.usec();
        self.next_id += 1;
        let invocation_id = format!("{:032x}", self.next_id + 1_000_000);
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.state.active = ActiveState::Activating;
        unit.state.sub = "start".into();
        unit.state.result = "success".into();
        unit.state.stopped_by = None;
        unit.state.inactive_exit_usec = usec;
        unit.state.invocation_id = invocation_id;
        (unit.used, unit.cpu, unit.counted) = (Duration::ZERO, 5, self.mono);
    }

    /// The unit is in a state that it will leave: when, and that it is in it, is on its way.
    fn goes_on(&mut self, name: &UnitName) {
        let slow = self.troubles.slow_jobs;
        let quick = self.random.millis(20, 1500);
        let crash = self.random.secs(2, 20);
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.serial += 1;
        let serial = unit.serial;
        let takes = match (&unit.job, unit.state.active) {
            (Some(job), ActiveState::Activating) if job.job.kind != JobKind::Stop => {
                Some(unit.runs_for.unwrap_or(slow.unwrap_or(quick)))
            }
            (Some(_), _) => Some(slow.unwrap_or(quick)),
            (None, ActiveState::Activating) => Some(unit.runs_for.unwrap_or(Duration::from_secs(1))),
            (None, ActiveState::Active) if unit.service == Service::Crashes => Some(crash),
            _ => None,
        };
        if let Some(takes) = takes {
            self.later(takes, Coming::Transition { unit: name.clone(), serial });
        }
        self.is_changed(name);
    }

    /// What the unit was in is over.
    pub fn transition(&mut self, name: &UnitName, serial: u64) {
        let Some(unit) = self.units.get_mut(name).filter(|unit| unit.serial == serial) else { return };
        let kind = unit.job.map(|job| job.job.kind);
        match (kind, unit.state.active) {
            (Some(JobKind::Stop), ActiveState::Deactivating) => {
                let failed = unit.dies_of_stop;
                self.goes_down(name, failed, "exit-code");
                self.finish_job(name, JobResult::Done);
            }
            (Some(JobKind::Restart), ActiveState::Deactivating) => {
                self.begins(name);
                self.goes_on(name);
            }
            (Some(JobKind::Reload), _) => {
                unit.state.active = ActiveState::Active;
                self.finish_job(name, JobResult::Done);
            }
            (Some(_), ActiveState::Activating) => self.start_ends(name),
            (None, ActiveState::Activating) => {
                if unit.state.sub == "auto-restart" {
                    unit.state.n_restarts += 1;
                    self.begins(name);
                    self.comes_up(name);
                } else {
                    self.start_ends(name);
                }
            }
            (None, ActiveState::Active) if unit.service == Service::Crashes => self.dies(name, true),
            _ => {}
        }
    }

    fn start_ends(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get(name) else { return };
        let wont = unit.service == Service::WontStart;
        let timeout = unit.job.is_some_and(|job| self.mono.since(job.since) >= Duration::from_secs(90));
        let oneshot = unit.runs_for.is_some();
        match (wont, oneshot) {
            (true, _) => {
                self.goes_down(name, true, "exit-code");
                self.finish_job(name, JobResult::Failed);
            }
            (false, false) if timeout => {
                self.goes_down(name, true, "timeout");
                self.finish_job(name, JobResult::Timeout);
            }
            (false, false) => {
                self.comes_up(name);
                self.finish_job(name, JobResult::Done);
            }
            (false, true) => {
                self.goes_down(name, false, "success");
                self.finish_job(name, JobResult::Done);
                self.bring_back_after(name);
            }
        }
    }

    fn comes_up(&mut self, name: &UnitName) {
        let usec = self.usec();
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.state.active = ActiveState::Active;
        unit.state.sub = "running".into();
        unit.state.active_enter_usec = usec;
        if unit.service == Service::Hung {
            unit.service = Service::Healthy;
        }
        self.goes_on(name);
    }

    fn goes_down(&mut self, name: &UnitName, failed: bool, result: &str) {
        let usec = self.usec();
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.state.active = if failed { ActiveState::Failed } else { ActiveState::Inactive };
        unit.state.sub = if failed { "failed" } else { "dead" }.into();
        unit.state.result = result.into();
        unit.state.inactive_enter_usec = usec;
        (unit.state.exit_code, unit.state.exit_status) = (1, i32::from(failed));
        unit.serial += 1;
        if failed && result == "success" {
            unit.state.result = "exit-code".into();
        } else if !failed {
            unit.state.result = "success".into();
        }
        self.is_changed(name);
    }

    /// The process ends by itself: killed, crashed, or a clean exit, without a stop job.
    pub fn dies(&mut self, name: &UnitName, failed: bool) {
        let Some(unit) = self.units.get_mut(name) else { return };
        if unit.job.is_some() || !unit.is_up() {
            return;
        }
        self.note(|| format!("the process of {name} ends ({})", if failed { "killed" } else { "clean" }));
        let Some(unit) = self.units.get_mut(name) else { return };
        if unit.auto_restart {
            unit.state.active = ActiveState::Activating;
            unit.state.sub = "auto-restart".into();
            unit.state.result = if failed { "signal" } else { "success" }.into();
            self.goes_on(name);
        } else {
            unit.state.stopped_by = None;
            self.goes_down(name, failed, "signal");
        }
        self.rules_note_death(name);
    }

    fn finish_job(&mut self, name: &UnitName, result: JobResult) {
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.state.job = None;
        let Some(job) = unit.job.take() else { return };
        if unit.is_up() {
            unit.state.stopped_by = None;
        }
        self.is_changed(name);
        self.job_is_over(name, job, result);
        // What crashes does so from here.
        if self.units.get(name).is_some_and(|unit| unit.is_up() && unit.service == Service::Crashes) {
            self.goes_on(name);
        }
    }

    fn job_is_over(&mut self, name: &UnitName, job: UnitJob, result: JobResult) {
        self.note(|| format!("systemd: the {:?} job on {name} is over: {result}", job.job.kind));
        if let By::Us { life, attempt } = job.by {
            // (While the bus is away this is kept until it is back: then the client finds out.) A ladder's other unit: the
            // attempt is for the check's own.
            let unit = self.rules_unit_of_attempt(life, attempt).unwrap_or_else(|| name.clone());
            let latency = self.latency();
            self.later(latency, Coming::JobTold { life, unit, attempt, result: Told(result) });
        }
    }

    fn start_what_it_requires(&mut self, name: &UnitName) {
        let relations = self.units.get(name).and_then(|unit| unit.state.relations.clone());
        for required in relations.iter().flat_map(|relations| relations.requires.clone()) {
            let down = self.units.get(&required).is_some_and(|unit| {
                unit.state.is_down() && unit.job.is_none() && unit.state.load == LoadState::Loaded
            });
            if down {
                let _ = self.queue_job(&required, JobKind::Start, By::Systemd);
            }
        }
    }

    fn stop_what_conflicts(&mut self, name: &UnitName) {
        let relations = self.units.get(name).and_then(|unit| unit.state.relations.clone());
        for other in relations.iter().flat_map(|relations| relations.conflicts.clone()) {
            if self.units.get(&other).is_some_and(|unit| !unit.state.is_down()) {
                let _ = self.queue_job(&other, JobKind::Stop, By::Systemd);
            }
        }
    }

    /// `OnSuccess=`: what made room for a run is started after it.
    fn bring_back_after(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get(name).filter(|unit| unit.brings_back) else { return };
        let relations = unit.state.relations.clone();
        for other in relations.iter().flat_map(|relations| relations.conflicts.clone()) {
            if self.units.get(&other).is_some_and(|unit| unit.state.is_down() && unit.job.is_none()) {
                let _ = self.queue_job(&other, JobKind::Start, By::Systemd);
            }
        }
    }

    /// A timer starts its job, and will again.
    pub fn timer_elapses(&mut self, name: &UnitName) {
        let takes = self.random.secs(30, 900);
        let Some(unit) = self.units.get_mut(name) else { return };
        if unit.job.is_none() && unit.state.is_down() {
            unit.runs_for = Some(takes);
            let _ = self.queue_job(name, JobKind::Start, By::Systemd);
        }
        let every = self.plan.units.iter().find(|plan| plan.name == *name).and_then(|plan| plan.job);
        if let Some(every) = every {
            self.later(every, Coming::Timer(name.clone()));
        }
    }

    /// The machine comes up again after a power failure: everything begins anew, and nothing is remembered but the disk.
    pub fn reboots(&mut self) {
        self.boot += 1;
        self.booted = self.mono;
        let names: Vec<UnitName> = self.units.keys().cloned().collect();
        for name in names {
            let usec = self.usec();
            self.next_id += 1;
            let id = format!("{:032x}", self.next_id + 1_000_000);
            let Some(unit) = self.units.get_mut(&name) else { continue };
            let (relations, load) = (unit.state.relations.clone(), unit.state.load);
            let oneshot = unit.runs_for.is_some();
            unit.serial += 1;
            unit.job = None;
            unit.state = UnitState { load, relations, oneshot, ..UnitState::default() };
            if oneshot || load != LoadState::Loaded {
                continue;
            }
            if unit.service == Service::Hung {
                unit.service = Service::Healthy;
            }
            let well = unit.service != Service::WontStart;
            unit.state.active = if well { ActiveState::Active } else { ActiveState::Failed };
            unit.state.sub = if well { "running" } else { "failed" }.into();
            unit.state.result = if well { "success" } else { "exit-code" }.into();
            unit.state.invocation_id = id;
            unit.state.inactive_exit_usec = usec;
            (unit.state.active_enter_usec, unit.state.inactive_enter_usec) =
                if well { (usec, 0) } else { (0, usec) };
            (unit.used, unit.counted) = (Duration::ZERO, self.mono);
            self.goes_on(&name);
        }
    }
}
