//! The simulated machine: systemd with its units and jobs, the services that run in them, and the people at it.
//!
//! It answers as a real systemd does where that matters to the daemon: a job takes its time and can be replaced, a
//! reading comes some milliseconds after what it tells of and says how the unit is by then, what conflicts is stopped,
//! what was stopped while nobody watched does not say by whom.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use stealthcheck::engine::AttemptId;
use stealthcheck::time::Mono;
use stealthcheck::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, Relations, UnitName, UnitSettings, UnitState,
};

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
    Us {
        life: u64,
        attempt: AttemptId,
    },
    /// An operator.
    Somebody,
    /// The command that holds a unit.
    Holder,
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
    /// An operator has stopped it, and nobody has asked for a start since.
    pub stopped_by_operator: Option<Mono>,
    /// When it was started, by anybody, since the last `reset-failed`.
    pub starts: VecDeque<Mono>,
    /// When its process failed, the latest last.
    pub failures: VecDeque<Mono>,
    /// In the boot its start job waits until then.
    boot_wait: Mono,
    /// A condition of its start is not met.
    pub unmet: bool,
    /// A process of the run before answers in its place.
    pub left_over: bool,
    /// When it came up, and how long from then until it answers.
    pub up_at: Mono,
    pub answers_after: Duration,
    /// How it last went down: by a stop or restart job, or by itself.
    pub ended_by_job: bool,
    /// Grows with each change, so that what was to come before it is known to be void.
    serial: u64,
    /// CPU time: in percent of one CPU, and what the run has used until `counted`.
    pub cpu: u64,
    pub used: Duration,
    pub counted: Mono,
}

impl Unit {
    /// The daemon that requested the jobs is gone.
    pub fn forget_whose_jobs(&mut self) {
        for job in self.state.job.iter_mut().chain(&mut self.state.stopped_by) {
            job.ours = false;
        }
        if let Some(job) = &mut self.job {
            job.job.ours = false;
        }
    }

    pub fn is_up(&self) -> bool {
        self.state.active == ActiveState::Active
    }
}

/// All units of a plan, what conflicts with them, and the one that steps start: all services are up.
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
            stopped_by_operator: None,
            starts: VecDeque::new(),
            failures: VecDeque::new(),
            boot_wait: Mono::default(),
            unmet: false,
            left_over: false,
            up_at: Mono::default(),
            answers_after: Duration::ZERO,
            ended_by_job: false,
            serial: 0,
            cpu: 5,
            used: Duration::ZERO,
            counted: Mono::default(),
        }
    };
    let mut units = BTreeMap::new();
    for (n, plan) in plan.units.iter().enumerate() {
        let conflicts = if plan.rival { vec![rival_of(&plan.name)] } else { vec![] };
        let relations = Relations {
            requires: plan.requires.clone(),
            wants: plan.wants.clone(),
            conflicts,
            ..Relations::default()
        };
        let mut built = unit(plan.job.is_none(), relations, n);
        built.auto_restart = plan.auto_restart && plan.job.is_none();
        built.dies_of_stop = plan.dies_of_stop;
        built.answers_after = plan.answers_after;
        let socket = UnitName::new(&plan.name.as_str().replace(".service", ".socket")).unwrap();
        built.state.settings = Arc::new(UnitSettings {
            transient: plan.transient,
            triggered_by: if plan.triggered { vec![socket] } else { vec![] },
            start_limit: plan.start_limit,
            restarts: built.auto_restart,
            restarts_on_success: built.auto_restart,
            restart_delay: Duration::from_secs(u64::from(built.auto_restart)),
            can_reload: true,
            ..UnitSettings::default()
        });
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
        let usec = self.usec();
        let before = self.units.get_mut(name).and_then(|unit| unit.job.take());
        if let Some(old) = before {
            self.job_is_over(name, old, JobResult::Canceled);
        }
        self.note_operators_stop(name, kind, by, before.is_some());
        self.next_id += 1;
        let ours = matches!(by, By::Us { life, .. } if life == self.life);
        let job = Job { id: u32::try_from(self.next_id).unwrap_or(0), kind, ours };
        let unit_job = UnitJob { job, by, since: self.mono };
        self.note(|| format!("systemd: {kind:?} job on {name} by {by:?}"));
        // Before those of what it requires, which may require it in turn.
        if let Some(unit) = self.units.get_mut(name) {
            unit.job = Some(unit_job);
        }
        if matches!(kind, JobKind::Start | JobKind::Restart) {
            self.start_what_it_requires(name, by);
            self.stop_what_conflicts(name);
        }
        if matches!(kind, JobKind::Stop | JobKind::Restart) {
            self.propagate(name, kind);
        }
        let watched = self.is_watching();
        let Some(unit) = self.units.get_mut(name) else { return Ok(()) };
        let up = !unit.state.is_down();
        let nothing_to_do = (kind == JobKind::Start && unit.is_up()) || (kind == JobKind::Stop && !up);
        if nothing_to_do {
            (unit.job, unit.state.job) = (None, None);
            unit.serial += 1;
            if kind == JobKind::Stop && before.is_some() {
                // What keeps it down, as the client reports it: a start that was waiting is gone.
                unit.state.stopped_by = watched.then_some(job);
            }
            self.is_changed(name);
            self.job_is_over(name, unit_job, JobResult::Done);
            return Ok(());
        }
        unit.job = Some(unit_job);
        unit.state.job = Some(job);
        match kind {
            JobKind::Stop | JobKind::Restart if up => {
                if unit.is_up() {
                    unit.state.active_exit_usec = usec;
                }
                unit.state.active = ActiveState::Deactivating;
                unit.state.sub = "stop-sigterm".into();
                unit.state.stopped_by = watched.then_some(job);
            }
            JobKind::Reload => unit.state.active = ActiveState::Reloading,
            _ => self.begins_in_order(name),
        }
        self.goes_on(name);
        Ok(())
    }

    /// Whoever stops what runs, or what is about to, wants it down; whoever starts it does not.
    fn note_operators_stop(&mut self, name: &UnitName, kind: JobKind, by: By, on_its_way: bool) {
        let now = self.mono;
        let Some(unit) = self.units.get_mut(name) else { return };
        let goes = on_its_way || !unit.state.is_down();
        match (kind, by) {
            (JobKind::Stop, By::Somebody) if goes => unit.stopped_by_operator = Some(now),
            (JobKind::Start | JobKind::Restart, _) => unit.stopped_by_operator = None,
            _ => {}
        }
    }

    /// A stop or restart of a unit is one of what requires it as well.
    fn propagate(&mut self, name: &UnitName, kind: JobKind) {
        let requires = |unit: &Unit| {
            let relations = unit.state.relations.as_ref();
            relations.is_some_and(|relations| relations.requires.contains(name))
        };
        let idle = |unit: &Unit| !unit.state.is_down() && unit.job.is_none();
        let dependents = self.units.iter().filter(|(_, unit)| requires(unit) && idle(unit));
        for dependent in dependents.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let _ = self.queue_job(&dependent, kind, By::Systemd);
        }
    }

    /// The start job waits for those of the units that this one requires.
    fn waits(&self, name: &UnitName) -> bool {
        if self.units.get(name).is_some_and(|unit| unit.boot_wait > self.mono) {
            return true;
        }
        let relations = self.units.get(name).and_then(|unit| unit.state.relations.as_ref());
        !self.plan.circle
            && relations.is_some_and(|relations| {
                relations.requires.iter().any(|required| {
                    self.units.get(required).is_some_and(|required| {
                        required.job.is_some_and(|job| job.job.kind != JobKind::Stop) && !required.is_up()
                    })
                })
            })
    }

    /// The unit's run begins, once its turn has come. From here on systemd calls a restart a start.
    fn begins_in_order(&mut self, name: &UnitName) {
        let waits = self.waits(name);
        let Some(unit) = self.units.get_mut(name) else { return };
        for job in unit.state.job.iter_mut().chain(unit.job.as_mut().map(|job| &mut job.job)) {
            job.kind = JobKind::Start;
        }
        if !waits {
            self.begins(name);
            return;
        }
        let Some(unit) = self.units.get_mut(name) else { return };
        if !unit.state.is_down() {
            unit.state.active = ActiveState::Inactive;
            unit.state.sub = "dead".into();
        }
    }

    /// The unit's run begins.
    fn begins(&mut self, name: &UnitName) {
        if self.is_skipped(name) || self.is_limited(name) {
            return;
        }
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
        unit.state.start_skipped = None;
        unit.state.frozen = false;
        unit.left_over = false;
        (unit.used, unit.cpu, unit.counted) = (Duration::ZERO, 5, self.mono);
        if let Some(job) = &mut unit.job {
            job.since = self.mono;
        }
    }

    /// A condition is not met: systemd calls the job done and starts nothing.
    fn is_skipped(&mut self, name: &UnitName) -> bool {
        let Some(unit) = self.units.get_mut(name).filter(|unit| unit.unmet) else { return false };
        if !unit.state.is_down() {
            unit.state.active = ActiveState::Inactive;
            unit.state.sub = "dead".into();
            unit.state.result = "success".into();
        }
        unit.state.start_skipped = Some("ConditionPathExists=/etc/x was not met".to_owned());
        unit.serial += 1;
        self.finish_job(name, JobResult::Done);
        true
    }

    /// The start limit: the unit fails, or the machine reboots.
    fn is_limited(&mut self, name: &UnitName) -> bool {
        let now = self.mono;
        let Some(unit) = self.units.get_mut(name) else { return false };
        let Some(limit) = unit.state.settings.start_limit else { return false };
        unit.starts.retain(|at| now.since(*at) < limit.interval);
        let ours = unit.job.is_some_and(|job| matches!(job.by, By::Us { .. }));
        if unit.starts.len() < usize::try_from(limit.burst).unwrap_or(usize::MAX) {
            unit.starts.push_back(now);
            return false;
        }
        if limit.action {
            if ours {
                self.broken("no job of ours reboots the machine", name.as_str());
            }
            return false;
        }
        self.note(|| format!("{name} hits its start limit"));
        self.ended_by_itself(name);
        self.goes_down(name, true, "start-limit-hit");
        self.finish_job(name, JobResult::Failed);
        true
    }

    /// `systemctl reset-failed`.
    pub fn reset_failed(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get_mut(name) else { return };
        if unit.state.settings.transient {
            self.broken("a transient unit is never reset", name.as_str());
        }
        unit.starts.clear();
        unit.state.n_restarts = 0;
        if unit.state.active == ActiveState::Failed {
            unit.state.active = ActiveState::Inactive;
            unit.state.sub = "dead".into();
            unit.state.result = "success".into();
            self.is_changed(name);
        }
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
            // A start that waits for others looks again soon.
            (Some(_), ActiveState::Inactive | ActiveState::Failed) => {
                Some(unit.boot_wait.since(self.mono).max(quick))
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
                unit.ended_by_job = true;
                self.goes_down(name, failed, "exit-code");
                self.finish_job(name, JobResult::Done);
            }
            (Some(JobKind::Restart), ActiveState::Deactivating) => {
                unit.ended_by_job = true;
                let usec = self.usec();
                if let Some(unit) = self.units.get_mut(name) {
                    unit.state.inactive_enter_usec = usec;
                }
                self.begins_in_order(name);
                self.goes_on(name);
            }
            (Some(JobKind::Start), ActiveState::Inactive | ActiveState::Failed) => {
                if !self.waits(name) {
                    self.begins(name);
                }
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
                    if self.units.get(name).is_some_and(|unit| unit.state.active == ActiveState::Activating) {
                        self.comes_up(name);
                    }
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
                self.ended_by_itself(name);
                self.goes_down(name, true, "exit-code");
                self.finish_job(name, JobResult::Failed);
            }
            (false, false) if timeout => {
                self.ended_by_itself(name);
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

    fn ended_by_itself(&mut self, name: &UnitName) {
        if let Some(unit) = self.units.get_mut(name) {
            unit.ended_by_job = false;
        }
    }

    fn comes_up(&mut self, name: &UnitName) {
        let (usec, now) = (self.usec(), self.mono);
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.up_at = now;
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
        unit.ended_by_job &= unit.job.is_some();
        if unit.is_up() {
            unit.state.active_exit_usec = usec;
        }
        unit.state.active = if failed { ActiveState::Failed } else { ActiveState::Inactive };
        unit.state.sub = if failed { "failed" } else { "dead" }.into();
        unit.state.result = result.into();
        unit.state.inactive_enter_usec = usec;
        (unit.state.exit_code, unit.state.exit_status) = (1, i32::from(failed));
        unit.serial += 1;
        unit.state.frozen = false;
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
        self.ended_by_itself(name);
        let left_over = failed && self.random.percent(10);
        let (now, usec) = (self.mono, self.usec());
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.left_over = left_over;
        if failed {
            unit.failures.push_back(now);
        }
        if unit.auto_restart {
            unit.state.active = ActiveState::Activating;
            unit.state.active_exit_usec = usec;
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
            // (While the bus is away this is kept until it is back: then the client finds out.) A steps' other unit: the
            // attempt is for the check's own.
            let unit = self.rules_unit_of_attempt(life, attempt).unwrap_or_else(|| name.clone());
            let latency = self.latency();
            self.later(latency, Coming::JobTold { life, unit, attempt, result: Told(result) });
        }
    }

    fn start_what_it_requires(&mut self, name: &UnitName, by: By) {
        let relations = self.units.get(name).and_then(|unit| unit.state.relations.clone());
        let pulled_in =
            relations.iter().flat_map(|relations| relations.requires.iter().chain(&relations.wants));
        for required in pulled_in.cloned().collect::<Vec<_>>() {
            let down = self.units.get(&required).is_some_and(|unit| {
                unit.state.is_down() && unit.job.is_none() && unit.state.load == LoadState::Loaded
            });
            if down {
                self.rules_pulled_in(name, &required, by);
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
        let interval = self.plan.units.iter().find(|plan| plan.name == *name).and_then(|plan| plan.job);
        if let Some(interval) = interval {
            self.later(interval, Coming::Timer(name.clone()));
        }
    }

    /// The machine comes up again after a power failure: everything begins anew, and nothing is remembered but the disk.
    pub fn reboots(&mut self) {
        self.boot += 1;
        let names: Vec<UnitName> = self.units.keys().cloned().collect();
        for name in names {
            // Most are up before the daemon starts, some wait for something slow.
            let wait = if self.random.percent(30) { self.random.secs(5, 90) } else { Duration::ZERO };
            let Some(unit) = self.units.get_mut(&name) else { continue };
            let (relations, load) = (unit.state.relations.clone(), unit.state.load);
            let settings = Arc::clone(&unit.state.settings);
            let oneshot = unit.runs_for.is_some();
            unit.serial += 1;
            unit.job = None;
            unit.state = UnitState { load, relations, oneshot, settings, ..UnitState::default() };
            unit.starts.clear();
            (unit.left_over, unit.stopped_by_operator) = (false, None);
            if oneshot || load != LoadState::Loaded {
                continue;
            }
            if unit.service == Service::Hung {
                unit.service = Service::Healthy;
            }
            (unit.used, unit.counted) = (Duration::ZERO, self.mono);
            unit.boot_wait = self.mono.after(wait);
            let job = Job { id: 1, kind: JobKind::Start, ours: false };
            unit.job = Some(UnitJob { job, by: By::Systemd, since: self.mono });
            unit.state.job = Some(job);
            self.goes_on(&name);
        }
    }
}
