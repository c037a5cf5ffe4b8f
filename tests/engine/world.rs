//! A simulated machine for the core: units that break and heal, an operator, a mail server, and a clock that jumps.
//!
//! It answers every action as the real shell would, and checks at every step what must hold whatever happens. A broken
//! promise panics with the timeline.

mod faults;
mod holds;
mod load;
mod rivals;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{Check, CheckName, Probe, Step};
use stealthcheck::engine::{AttemptId, Effect, Engine, Event, JobRequest, RunId};
use stealthcheck::notification::{
    HostNotification, HostNotificationKind, IncidentId, Notification, NotificationKind,
};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, ManagerState, Relations, UnitName, UnitState,
};
use stealthcheck::verdict::{Health, Observation, SuppressedBy};

use rivals::{Rival, rival_of};

/// How a simulated service behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Healthy,
    /// Runs and answers nothing; a restart mends it.
    Hung,
    /// Runs and answers nothing, whatever is done.
    Broken,
    /// Dies at every start.
    WontStart,
}

/// One simulated unit.
#[derive(Debug)]
pub struct Unit {
    pub service: Service,
    pub state: UnitState,
    /// Our job on it: who asked, and when.
    pub our_job: Option<AttemptId>,
    /// The attempts asked for, by time.
    pub asked: Vec<Mono>,
    /// Somebody stopped it then.
    pub stopped_at: Option<Mono>,
    /// What its processes do.
    pub load: load::Load,
}

/// What is to come.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    Observed { check: CheckName, run: u64 },
    JobEnds { unit: UnitName, attempt: u64, restart: bool },
    OperatorJobEnds { unit: UnitName, up: bool },
    RivalEnds { unit: UnitName, comes_back: bool },
    Spooled(stealthcheck::notification::NotificationId),
    Delivered(stealthcheck::notification::NotificationId),
}

/// The simulated machine.
pub struct World {
    pub engine: Engine,
    pub now: Now,
    pub checks: Vec<Check>,
    pub units: BTreeMap<UnitName, Unit>,
    /// What conflicts with them.
    pub rivals: BTreeMap<UnitName, Rival>,
    /// Which of them needs which.
    pub needs: Vec<(UnitName, UnitName)>,
    /// Units that ended by themselves, and when.
    died: Vec<(UnitName, Mono)>,
    pub manager: ManagerState,
    pub notifications: Vec<Notification>,
    pub host_notifications: Vec<HostNotification>,
    /// What the probes of these checks see in place of what their services answer: the machine's own troubles.
    pub seen_instead: BTreeMap<CheckName, Observation>,
    /// Jobs asked for while a storm was on, on units that run.
    pub jobs_in_storm: usize,
    /// The latest of them while it runs.
    storm_job: Option<UnitName>,
    pub log: Vec<String>,
    pub probes: u64,
    pub holds: holds::Holds,
    running: BTreeMap<CheckName, u64>,
    coming: BinaryHeap<Reverse<(Mono, u64, Coming)>>,
    sequence: u64,
    next_invocation: u64,
    pub job_takes: Duration,
    /// What each order comes to, where none becomes a job.
    pub refuses: Option<JobResult>,
    /// The orders that came to that.
    pub refused: Vec<Step>,
    pub answers_in: Duration,
    /// What every probe sees, whatever the unit is like.
    pub seen: Option<Observation>,
}

/// The simulated machine is never rebooted, only the daemon.
const BOOT: &str = "boot";

/// The monotonic clock of a test begins here, so that points before a restart can be told.
pub const START: Duration = Duration::from_secs(1_000_000);

impl World {
    pub fn new(checks: Vec<Check>) -> Self {
        Self::with_needs(checks, vec![])
    }

    /// Each unit of the first kind needs that of the second; every unit has a rival.
    pub fn with_needs(checks: Vec<Check>, needs: Vec<(UnitName, UnitName)>) -> Self {
        let mut units = BTreeMap::new();
        let mut rivals = BTreeMap::new();
        for (n, unit) in checks.iter().filter_map(|check| check.unit.clone()).enumerate() {
            let state = UnitState {
                load: LoadState::Loaded,
                active: ActiveState::Active,
                sub: "running".into(),
                result: "success".into(),
                invocation_id: format!("{n:032x}"),
                active_enter_usec: 1,
                relations: Some(Arc::new(Relations {
                    requires: needs.iter().filter(|(a, _)| *a == unit).map(|(_, b)| b.clone()).collect(),
                    conflicts: vec![rival_of(&unit)],
                    ..Relations::default()
                })),
                ..UnitState::default()
            };
            rivals.insert(rival_of(&unit), Rival::new());
            let unit_ = Unit {
                service: Service::Healthy,
                state,
                our_job: None,
                asked: vec![],
                stopped_at: None,
                load: load::Load::default(),
            };
            units.insert(unit, unit_);
        }
        let mut world = Self {
            engine: Engine::new(),
            now: Now { mono: Mono(START), wall: Wall(1_795_000_000_000) },
            checks: checks.clone(),
            units,
            rivals,
            needs,
            died: vec![],
            manager: ManagerState::Running,
            notifications: Vec::new(),
            host_notifications: Vec::new(),
            seen_instead: BTreeMap::new(),
            jobs_in_storm: 0,
            storm_job: None,
            log: Vec::new(),
            probes: 0,
            holds: holds::Holds::default(),
            running: BTreeMap::new(),
            coming: BinaryHeap::new(),
            sequence: 0,
            next_invocation: 1000,
            job_takes: Duration::from_millis(300),
            refuses: None,
            refused: Vec::new(),
            answers_in: Duration::from_millis(5),
            seen: None,
        };
        world.tell(Event::Configured(checks));
        world.tell(Event::ManagerChanged(ManagerState::Running));
        world.tell_all_units();
        world
    }

    /// Hands an event to the core, answers its actions, and checks what must always hold.
    pub fn tell(&mut self, event: Event) {
        if !matches!(event, Event::Tick | Event::Observed { .. } | Event::Sampled { .. }) {
            self.note(format!("{event:?}"));
        }
        let effects = self.engine.handle(self.now, event);
        self.perform(effects);
        if let Some(at) = self.engine.next_wakeup() {
            assert!(at > self.now.mono, "the core wants to be woken in the past\n{}", self.timeline());
        }
    }

    fn note(&mut self, what: String) {
        let at = self.now.mono.0.saturating_sub(START);
        self.log.push(format!("{:>12.3} {what}", at.as_secs_f64()));
    }

    pub fn timeline(&self) -> String {
        self.log.iter().rev().take(120).rev().cloned().collect::<Vec<_>>().join("\n")
    }

    fn perform(&mut self, mut effects: Vec<Effect>) {
        // A job changes its unit at once, which is told from within here: what was wanted before that comes first.
        effects.sort_by_key(|effect| !matches!(effect, Effect::Probe { .. }));
        self.note_returns(&effects);
        for effect in effects {
            if !matches!(effect, Effect::Probe { .. } | Effect::WithdrawJob(_) | Effect::Remember) {
                self.note(format!("{effect:?}"));
            }
            match effect {
                Effect::Probe { check, run, probe, .. } => self.probe(check, run, &probe),
                Effect::StartJob(JobRequest { unit, attempt, step, .. }) => {
                    self.start_job(unit, attempt, &step)
                }
                Effect::Notify(notification) => self.notify(*notification),
                Effect::Hold(answer) => self.hold_answer(answer),
                Effect::NotifyHost(notification) => self.notify_host(*notification),
                Effect::ReadUnit(unit) => self.tell_unit(&unit),
                Effect::Changed(_) | Effect::WithdrawJob(_) | Effect::Remember => {}
            }
        }
    }

    fn later(&mut self, in_: Duration, what: Coming) {
        self.sequence += 1;
        self.coming.push(Reverse((self.now.mono.after(in_), self.sequence, what)));
    }

    fn probe(&mut self, check: CheckName, run: RunId, probe: &Probe) {
        self.probes += 1;
        assert_ne!(*probe, Probe::Unit, "a unit is read by hand only, which this world does not do");
        let before = self.running.insert(check.clone(), run.0);
        // A run that the core has given up (pause, restart of the unit) is still heard of here; only one that it still
        // waits for may not be overlapped, and of those there is one by construction.
        if let Some(before) = before {
            assert!(before < run.0, "run numbers grow\n{}", self.timeline());
        }
        let takes = match self.service_of(&check) {
            _ if self.seen_instead.contains_key(&check) => self.answers_in,
            Some(Service::Hung | Service::Broken) => Duration::from_secs(5),
            _ => self.answers_in,
        };
        self.later(takes, Coming::Observed { check, run: run.0 });
    }

    fn service_of(&self, check: &CheckName) -> Option<Service> {
        let unit = self.checks.iter().find(|c| c.name == *check)?.unit.clone()?;
        Some(self.units.get(&unit)?.service)
    }

    fn start_job(&mut self, unit: UnitName, attempt: AttemptId, step: &Step) {
        assert!(!self.is_held(&unit), "a job on {unit}, which is held\n{}", self.timeline());
        if self.start_after_hold(&unit, attempt) {
            return;
        }
        if let Some(result) = self.refuses.clone() {
            self.refused.push(step.clone());
            return self.tell(Event::JobEnded { unit, attempt, result, state: None });
        }
        let timeline = self.timeline();
        let takes = self.job_takes;
        self.assert_the_graph_allows_a_job_on(&unit);
        self.later(Duration::from_millis(1), Coming::RivalEnds { unit: unit.clone(), comes_back: false });
        let Some(target) = self.units.get_mut(&unit) else { panic!("a job on an unknown unit\n{timeline}") };
        assert!(target.our_job.is_none(), "two jobs of ours on {unit}\n{timeline}");
        assert!(target.state.job.is_none(), "a job on {unit}, on which there is one already\n{timeline}");
        assert_ne!(target.state.load, LoadState::Masked, "a job on a masked unit\n{timeline}");
        assert_eq!(self.manager, ManagerState::Running, "a job while the manager is not running\n{timeline}");
        if let Some(stopped) = target.stopped_at {
            let rested = self.now.mono.since(stopped);
            assert!(rested >= Duration::from_secs(300), "{unit} was stopped {rested:?} ago\n{timeline}");
        }
        if let Some(last) = target.asked.last() {
            let gap = self.now.mono.since(*last);
            assert!(gap >= Duration::from_secs(10), "attempts on {unit} {gap:?} apart\n{timeline}");
        }
        target.asked.push(self.now.mono);
        if target.state.active == ActiveState::Active && self.engine.storm(self.now).is_some() {
            self.jobs_in_storm += 1;
            let before = self.storm_job.replace(unit.clone());
            assert_eq!(before, None, "a storm is on, and {unit} is restarted beside another\n{timeline}");
        }
        let recent =
            target.asked.iter().filter(|at| self.now.mono.since(**at) < Duration::from_secs(300)).count();
        assert!(recent <= 6, "{recent} attempts on {unit} in five minutes\n{timeline}");
        let paused = self.engine.status(self.now, &[], false).into_iter().filter(|status| {
            status.unit.as_ref() == Some(&unit)
                && !matches!(&status.health.suppressed_by, Some(SuppressedBy::Paused { .. }))
        });
        assert!(paused.count() > 0, "a job on {unit}, whose checks are all paused\n{timeline}");
        target.our_job = Some(attempt);
        let job = Some(Job { id: 1, kind: JobKind::Restart, ours: true });
        target.state =
            UnitState { active: ActiveState::Deactivating, job, stopped_by: job, ..target.state.clone() };
        let restart = matches!(step, Step::Restart | Step::Start);
        self.tell_unit(&unit.clone());
        self.later(takes, Coming::JobEnds { unit, attempt: attempt.0, restart });
    }

    fn notify(&mut self, notification: Notification) {
        let timeline = self.timeline();
        if let Some(unit) = &notification.unit {
            assert!(!self.is_held(unit), "a notice of {unit}, which is held\n{timeline}");
        }
        // The same notification asked for again (after a restart of the daemon) is one mail.
        if !self.notifications.iter().any(|known| known.id == notification.id) {
            let of_incident: Vec<&Notification> =
                self.notifications.iter().filter(|n| n.id.incident == notification.id.incident).collect();
            let number = u32::try_from(of_incident.len()).unwrap() + 1;
            assert_eq!(notification.id.number, number, "numbers count up\n{timeline}");
            assert_eq!(
                number == 1,
                matches!(
                    notification.kind,
                    NotificationKind::Down | NotificationKind::Flapping | NotificationKind::Unknown
                ) || (number == 1 && notification.kind == NotificationKind::ActionRequired),
                "one opening notice, the first\n{timeline}"
            );
            assert!(
                of_incident.iter().all(|n| !n.kind.is_last()),
                "nothing follows the closing notice\n{timeline}"
            );
            self.assert_proven(&notification);
            self.notifications.push(notification.clone());
        }
        self.later(Duration::from_millis(3), Coming::Spooled(notification.id.clone()));
        self.later(Duration::from_secs(2), Coming::Delivered(notification.id));
    }

    /// What a job has recovered is reported when it has lasted (rule 13).
    fn assert_proven(&self, notification: &Notification) {
        let target = notification.unit.as_ref().and_then(|unit| self.units.get(unit));
        let Some(target) = target.filter(|_| notification.kind == NotificationKind::Recovered) else {
            return;
        };
        if let Some(last) = target.asked.last() {
            let lasting = self.now.mono.since(*last);
            assert!(lasting >= Duration::from_secs(10), "recovered after {lasting:?}\n{}", self.timeline());
        }
    }

    fn notify_host(&mut self, notification: HostNotification) {
        let timeline = self.timeline();
        if !self.host_notifications.iter().any(|known| known.id == notification.id) {
            let of_storm =
                self.host_notifications.iter().filter(|n| n.id.incident == notification.id.incident);
            let of_storm: Vec<HostNotificationKind> = of_storm.map(|n| n.kind).collect();
            let number = u32::try_from(of_storm.len()).unwrap() + 1;
            assert_eq!(notification.id.number, number, "numbers count up\n{timeline}");
            assert_eq!(
                number == 1,
                notification.kind == HostNotificationKind::Storm,
                "the first opens\n{timeline}"
            );
            assert!(
                !of_storm.contains(&HostNotificationKind::StormOver),
                "nothing follows the last\n{timeline}"
            );
            self.host_notifications.push(notification.clone());
        }
        self.later(Duration::from_millis(3), Coming::Spooled(notification.id.clone()));
        self.later(Duration::from_secs(2), Coming::Delivered(notification.id));
    }

    /// Plays until `lasting` has passed.
    pub fn play(&mut self, lasting: Duration) {
        let end = self.now.mono.after(lasting);
        loop {
            let wakeup = self.engine.next_wakeup();
            let coming = self.coming.peek().map(|Reverse((at, _, _))| *at);
            let Some(next) = [wakeup, coming].into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.advance_to(next);
            if coming == Some(next) {
                if let Some(Reverse((_, _, what))) = self.coming.pop() {
                    self.happen(what);
                }
            } else {
                self.tell(Event::Tick);
            }
        }
        self.advance_to(end);
    }

    fn advance_to(&mut self, at: Mono) {
        self.now = Now { mono: at.max(self.now.mono), wall: self.now.wall.after(at.since(self.now.mono)) };
    }

    fn happen(&mut self, what: Coming) {
        match what {
            Coming::Observed { check, run } => {
                if self.running.get(&check) == Some(&run) {
                    self.running.remove(&check);
                }
                if self.samples(&check) {
                    let sample = self.sample(&check);
                    self.tell(Event::Sampled { check, run: RunId(run), sample });
                    return;
                }
                let observation = self.observe(&check);
                self.tell(Event::Observed { check, run: RunId(run), observation });
            }
            Coming::JobEnds { unit, attempt, restart } => self.job_ends(&unit, AttemptId(attempt), restart),
            Coming::OperatorJobEnds { unit, up } => self.operator_job_ends(&unit, up),
            Coming::RivalEnds { unit, comes_back } => self.rival_ends(&unit, comes_back),
            Coming::Spooled(id) => self.tell(Event::NotificationStored(id)),
            Coming::Delivered(id) => self.tell(Event::NotificationDelivered(id)),
        }
    }

    fn observe(&self, check: &CheckName) -> Observation {
        if let Some(seen) = self.seen_instead.get(check).or(self.seen.as_ref()) {
            return seen.clone();
        }
        let failing = |reason: &str| Observation::Failing { reason: reason.into() };
        let unit = self.checks.iter().find(|c| c.name == *check).and_then(|c| c.unit.clone());
        let Some(unit) = unit.and_then(|unit| self.units.get(&unit)) else { return failing("no such host") };
        match (unit.state.active, unit.service) {
            (ActiveState::Active, Service::Healthy) => {
                Observation::Passing { detail: "200 OK".into(), latency: Duration::from_millis(1) }
            }
            (ActiveState::Active, _) => failing("no answer within 5s"),
            _ => failing("connection refused"),
        }
    }

    fn job_ends(&mut self, unit: &UnitName, attempt: AttemptId, restart: bool) {
        let invocation = self.fresh_invocation();
        let Some(target) = self.units.get_mut(unit) else { return };
        if target.our_job != Some(attempt) {
            return;
        }
        if self.storm_job.as_ref() == Some(unit) {
            self.storm_job = None;
        }
        target.our_job = None;
        target.state.job = None;
        target.stopped_at = None;
        let result = match target.service {
            Service::WontStart if restart => {
                target.state.active = ActiveState::Failed;
                target.state.result = "exit-code".into();
                JobResult::Failed
            }
            _ if restart => {
                if target.service == Service::Hung {
                    target.service = Service::Healthy;
                }
                target.state = up(&target.state, invocation);
                JobResult::Done
            }
            _ => {
                target.state = up(&target.state, target.state.invocation_id.clone());
                JobResult::Done
            }
        };
        let state = target.state.clone();
        self.tell(Event::JobEnded { unit: unit.clone(), attempt, result, state: Some(state) });
    }

    fn fresh_invocation(&mut self) -> String {
        self.next_invocation += 1;
        format!("{:032x}", self.next_invocation)
    }

    fn operator_job_ends(&mut self, unit: &UnitName, up_: bool) {
        let invocation = self.fresh_invocation();
        let Some(target) = self.units.get_mut(unit) else { return };
        target.state.job = None;
        if up_ {
            target.state = up(&target.state, invocation);
            target.stopped_at = None;
            if target.service == Service::Hung {
                target.service = Service::Healthy;
            }
        } else {
            target.state.active = ActiveState::Inactive;
            target.state.sub = "dead".into();
        }
        self.tell_unit(unit);
    }

    pub fn tell_unit(&mut self, unit: &UnitName) {
        if let Some(target) = self.units.get(unit) {
            let event = Event::UnitRead { unit: unit.clone(), state: target.state.clone() };
            self.tell(event);
        }
    }

    pub fn tell_all_units(&mut self) {
        for unit in self.units.keys().cloned().collect::<Vec<_>>() {
            self.tell_unit(&unit);
            self.tell_rival(&unit);
        }
    }

    /// Incidents by the notifications that were sent: open ones have no closing notification.
    pub fn open_incidents(&self) -> Vec<IncidentId> {
        let closed =
            |id: &IncidentId| self.notifications.iter().any(|n| n.id.incident == *id && n.kind.is_last());
        let opened = self.notifications.iter().filter(|n| n.id.number == 1).map(|n| n.id.incident.clone());
        opened.filter(|id| !closed(id)).collect()
    }

    pub fn health(&self, check: &CheckName) -> Health {
        self.engine.status(self.now, std::slice::from_ref(check), false).remove(0).health
    }

    pub fn kinds(&self) -> Vec<NotificationKind> {
        self.notifications.iter().map(|notification| notification.kind).collect()
    }

    pub fn host_kinds(&self) -> Vec<HostNotificationKind> {
        self.host_notifications.iter().map(|notification| notification.kind).collect()
    }

    pub fn jobs(&self, unit: &UnitName) -> usize {
        self.units.get(unit).map_or(0, |unit| unit.asked.len())
    }
}

fn up(state: &UnitState, invocation_id: String) -> UnitState {
    UnitState {
        active: ActiveState::Active,
        sub: "running".into(),
        result: "success".into(),
        job: None,
        stopped_by: None,
        invocation_id,
        ..state.clone()
    }
}
