//! A core with several units, of which every reading is told by hand: for what depends on the order of events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{AttemptId, Effect, Engine, Event, JobRequest, RunId};
use stealthcheck::notification::{Notification, NotificationKind};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, ManagerState, Relations, UnitName, UnitState,
};
use stealthcheck::verdict::{Health, Observation};

pub fn unit(name: &str) -> UnitName {
    UnitName::new(&format!("{name}.service")).unwrap()
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The stage.
pub struct Stage {
    pub engine: Engine,
    pub now: Now,
    checks: Vec<Check>,
    /// What systemd would say of each unit.
    states: BTreeMap<UnitName, UnitState>,
    /// Checks whose probes fail.
    failing: Vec<CheckName>,
    /// Probes are not answered.
    pub unanswered: bool,
    runs: Vec<(CheckName, RunId)>,
    /// Jobs that have not ended.
    pub open: Vec<(UnitName, AttemptId)>,
    /// All that were asked for, with their moment in milliseconds of the story.
    pub jobs: Vec<(String, u64)>,
    pub notifications: Vec<Notification>,
    pub log: Vec<String>,
}

const START: u64 = 1_000_000;

impl Stage {
    /// Checks and units; each unit with what it is bound to (`BindsTo=`) and what it conflicts with. All are up and pass. Each edge is told
    /// from one side only, as the core must do with.
    pub fn new(checks: Vec<Check>, graph: &[(&str, &[&str], &[&str])]) -> Self {
        let mut stage = Self::before(checks, graph);
        stage.tell_all();
        stage.play(secs(60));
        for check in stage.checks.clone() {
            assert_eq!(stage.health(check.name.as_str()), Health::PASSING);
        }
        stage
    }

    /// The same before anything was read.
    pub fn before(checks: Vec<Check>, graph: &[(&str, &[&str], &[&str])]) -> Self {
        let names = |names: &[&str]| names.iter().map(|name| unit(name)).collect();
        let states = graph.iter().map(|(name, requires, conflicts)| {
            let relations = Relations {
                binds_to: names(requires),
                requires: names(requires),
                conflicts: names(conflicts),
                ..Relations::default()
            };
            let relations = (!relations.is_empty()).then(|| Arc::new(relations));
            (unit(name), UnitState { relations, ..running(1) })
        });
        let states = states.collect();
        let now = Now { mono: Mono(secs(START)), wall: Wall(1_795_000_000_000) };
        let mut stage = Self {
            engine: Engine::new(),
            now,
            checks: checks.clone(),
            states,
            failing: vec![],
            unanswered: false,
            runs: vec![],
            open: vec![],
            jobs: vec![],
            notifications: vec![],
            log: vec![],
        };
        stage.tell(Event::Configured(checks));
        stage.tell(Event::ManagerChanged(ManagerState::Running));
        stage
    }

    pub fn tell(&mut self, event: Event) {
        if !matches!(event, Event::Tick | Event::Observed { .. }) {
            self.log.push(format!("{:>8} {event:?}", self.at()));
        }
        let effects = self.engine.handle(self.now, event);
        self.take(effects);
        if let Some(at) = self.engine.next_wakeup() {
            assert!(at > self.now.mono, "woken in the past\n{}", self.timeline());
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if !matches!(effect, Effect::Probe { .. }) {
                self.log.push(format!("{:>8}   {effect:?}", self.at()));
            }
            match effect {
                Effect::Probe { check, run, .. } => self.runs.push((check, run)),
                Effect::StartJob(JobRequest { unit, attempt, step, .. }) => {
                    self.jobs.push((format!("{} {unit}", step.describe()), self.at()));
                    self.open.push((unit, attempt));
                }
                Effect::Notify(notification) => {
                    let id = notification.id.clone();
                    if !self.notifications.iter().any(|known| known.id == id) {
                        self.notifications.push(*notification);
                    }
                    self.engine.handle(self.now, Event::NotificationStored(id));
                }
                Effect::Changed(_)
                | Effect::NotifyHost(_)
                | Effect::Hold(_)
                | Effect::ReadUnit(_)
                | Effect::WithdrawJob(_)
                | Effect::Remember => {}
            }
        }
    }

    pub fn timeline(&self) -> String {
        self.log.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Milliseconds since the story began.
    pub fn at(&self) -> u64 {
        u64::try_from(self.now.mono.since(Mono(secs(START))).as_millis()).unwrap()
    }

    /// Lets time pass. Probes are answered at once.
    pub fn play(&mut self, lasting: Duration) {
        let end = self.now.mono.after(lasting);
        loop {
            if !self.unanswered {
                self.answer();
            }
            let next = self.engine.next_wakeup().filter(|at| *at <= end);
            let to = next.unwrap_or(end);
            self.now.wall = self.now.wall.after(to.since(self.now.mono));
            self.now.mono = to;
            if next.is_none() {
                return;
            }
            self.tell(Event::Tick);
        }
    }

    /// Answers the probes that are under way.
    pub fn answer(&mut self) {
        for (check, run) in std::mem::take(&mut self.runs) {
            let observation = if self.failing.contains(&check) {
                Observation::Failing { reason: "connection refused".into() }
            } else {
                Observation::Passing { detail: "200 OK".into(), latency: Duration::ZERO }
            };
            self.tell(Event::Observed { check, run, observation });
        }
    }

    /// From now on this check's probe fails, or passes.
    pub fn fails(&mut self, check: &str, fails: bool) {
        let name = CheckName::new(check).unwrap();
        self.failing.retain(|failing| *failing != name);
        if fails {
            self.failing.push(name);
        }
    }

    /// Probes now.
    pub fn probe(&mut self, check: &str) {
        let name = CheckName::new(check).unwrap();
        self.tell(Event::Command(stealthcheck::engine::Command::Check(name)));
        self.answer();
    }

    /// systemd's word on a unit becomes this, and is told.
    pub fn reads(&mut self, name: &str, change: impl FnOnce(UnitState) -> UnitState) {
        self.becomes(name, change);
        self.read(name);
    }

    /// The same, without being told yet.
    pub fn becomes(&mut self, name: &str, change: impl FnOnce(UnitState) -> UnitState) {
        let state = self.states.get_mut(&unit(name)).unwrap();
        *state = change(state.clone());
    }

    /// What systemd says of the unit is told, if it is wanted.
    pub fn read(&mut self, name: &str) {
        let unit = unit(name);
        if self.engine.units().any(|wanted| *wanted == unit) {
            let state = self.states[&unit].clone();
            self.tell(Event::UnitRead { unit, state });
        }
    }

    /// All readings that are wanted, and those that they make wanted.
    pub fn tell_all(&mut self) {
        let mut told = Vec::new();
        loop {
            let next = self.engine.units().find(|unit| !told.contains(*unit)).cloned();
            let Some(next) = next else { return };
            told.push(next.clone());
            if let Some(state) = self.states.get(&next).cloned() {
                self.tell(Event::UnitRead { unit: next, state });
            }
        }
    }

    /// Ends the oldest job that was asked for.
    pub fn job_ends(&mut self, result: JobResult, change: impl FnOnce(UnitState) -> UnitState) {
        assert!(!self.open.is_empty(), "no job was asked for\n{}", self.timeline());
        let (unit, attempt) = self.open.remove(0);
        let state = self.states.get_mut(&unit).unwrap();
        *state = change(state.clone());
        let state = Some(state.clone());
        self.tell(Event::JobEnded { unit, attempt, result, state });
    }

    /// The daemon is killed and started again. Nothing is read yet.
    pub fn daemon_dies(&mut self, away: Duration) {
        let saved = serde_json::to_string(&self.engine.save(self.now, "boot")).unwrap();
        let saved: Saved = serde_json::from_str(&saved).unwrap();
        self.now.mono = self.now.mono.after(away);
        self.now.wall = self.now.wall.after(away);
        self.runs.clear();
        self.open.clear();
        let (engine, effects) = Engine::restore(self.now, "boot", saved, self.checks.clone());
        self.engine = engine;
        self.take(effects);
        self.tell(Event::ManagerChanged(ManagerState::Running));
    }

    pub fn health(&self, check: &str) -> Health {
        let name = CheckName::new(check).unwrap();
        self.engine.status(self.now, &[name], false).remove(0).health
    }

    /// The kinds of the notifications about a check.
    pub fn told(&self, check: &str) -> Vec<NotificationKind> {
        let about = self.notifications.iter().filter(|notification| notification.check.as_str() == check);
        about.map(|notification| notification.kind).collect()
    }

    /// Nothing was asked for, and nobody was told.
    pub fn assert_quiet(&self) {
        assert!(
            self.jobs.is_empty() && self.notifications.is_empty(),
            "{:?}\n{}",
            self.jobs,
            self.timeline()
        );
    }
}

fn running(run: u32) -> UnitState {
    UnitState {
        load: LoadState::Loaded,
        active: ActiveState::Active,
        sub: "running".into(),
        result: "success".into(),
        invocation_id: format!("{run:032x}"),
        active_enter_usec: 1,
        ..UnitState::default()
    }
}

fn job(kind: JobKind) -> Option<Job> {
    Some(Job { id: 9, kind, ours: false })
}

/// Up, in another run.
pub fn up(state: UnitState) -> UnitState {
    let run = u32::from_str_radix(&state.invocation_id, 16).unwrap();
    UnitState { relations: state.relations, ..running(run + 1) }
}

/// A stop job was queued on it.
pub fn to_be_stopped(state: UnitState) -> UnitState {
    UnitState { job: job(JobKind::Stop), ..state }
}

/// On its way down by a stop job.
pub fn stopping(state: UnitState) -> UnitState {
    let by = job(JobKind::Stop);
    UnitState {
        active: ActiveState::Deactivating,
        sub: "stop-sigterm".into(),
        job: by,
        stopped_by: by,
        ..state
    }
}

/// Down by a stop job.
pub fn stopped(state: UnitState) -> UnitState {
    let stopped_by = job(JobKind::Stop);
    UnitState {
        active: ActiveState::Inactive,
        sub: "dead".into(),
        job: None,
        stopped_by,
        inactive_enter_usec: 1_795_000_000_000_000,
        ..state
    }
}

/// Its process was killed.
pub fn killed(state: UnitState) -> UnitState {
    UnitState {
        active: ActiveState::Failed,
        sub: "failed".into(),
        result: "signal".into(),
        stopped_by: None,
        ..stopped(state)
    }
}

/// Down, as systemd says of a unit that nobody saw going down.
pub fn found_down(state: UnitState) -> UnitState {
    UnitState { stopped_by: None, ..stopped(state) }
}

/// Down, with a start job that waits.
pub fn to_be_started(state: UnitState) -> UnitState {
    UnitState { job: job(JobKind::Start), ..state }
}

/// A oneshot that runs.
pub fn activating(state: UnitState) -> UnitState {
    UnitState {
        active: ActiveState::Activating,
        sub: "start".into(),
        job: job(JobKind::Start),
        stopped_by: None,
        oneshot: true,
        ..state
    }
}

/// A oneshot that has run, or never has.
pub fn ended(state: UnitState) -> UnitState {
    UnitState {
        active: ActiveState::Inactive,
        sub: "dead".into(),
        job: None,
        stopped_by: None,
        oneshot: true,
        ..state
    }
}
