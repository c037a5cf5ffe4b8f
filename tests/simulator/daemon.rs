//! The daemon's shell, as `supervisor.rs` is it: events to the real engine, the state saved, then what was wished for done.
//! It can be killed at every step of that.
//!
//! In: what the machine tells, what probes see, what becomes of mails. Out: jobs, probes, submissions to the mailer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stealthcheck::check::{Check, CheckName, Probe, Step};
use stealthcheck::engine::hold::{HoldAction, HoldEvent, HoldId, HowEnded};
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{AttemptId, Effect, Engine, Event, JobRequest, RunId};
use stealthcheck::notification::NotificationId;
use stealthcheck::time::Mono;
use stealthcheck::unit::{ActiveState, JobKind, JobResult, ManagerState, UnitName, UnitState};
use stealthcheck::verdict::{Observation, Sample};

use crate::faults::Fault;
use crate::machine::{By, Service, Unit};
use crate::post::Submission;
use crate::sim::{Coming, Sim};

/// One life of the daemon.
pub struct Daemon {
    pub engine: Engine,
    effects: Vec<Effect>,
    /// Notices that are spooled, to be released once the state says so.
    spooled: Vec<NotificationId>,
    dirty: bool,
    /// The units that systemd's client watches.
    pub wanted: BTreeSet<UnitName>,
    /// The units that attempts are for.
    pub attempts: BTreeMap<AttemptId, UnitName>,
    /// Ends of jobs that came while the bus was away.
    pub missed: Vec<(UnitName, AttemptId, JobResult)>,
    /// What systemd has said comes in order: nothing before this.
    busy_until: Mono,
    /// What is probed now, and what for.
    probing: BTreeMap<(CheckName, u64), Probe>,
}

/// What survives the daemon.
#[derive(Default)]
pub struct Disk {
    /// `state.json`, which becomes text when it is read. It is kept when somebody will read it: a crash is planned, or the
    /// daemon stops in good order.
    pub state: Option<Box<Saved>>,
}

/// What systemd has said, on its way to the engine.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// The first is another name of the second.
    Alias(UnitName, UnitName),
    Unit(UnitName, Box<UnitState>),
    Job(UnitName, AttemptId, JobResult, Option<Box<UnitState>>),
}

/// A `kill -9` that is to come.
#[derive(Clone, Debug)]
pub struct Crash {
    /// So many times more the state is written.
    pub after_writes: u64,
    pub at: Moment,
    pub away: Duration,
}

/// Between which two steps it falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Events are handled, and nothing of that is written.
    BeforeSave,
    /// It is written, and so many things of what is to be done are done.
    AfterActions(usize),
    BeforeRelease,
    AfterRelease,
    /// A letter is on disk, and nobody knows.
    Spooled,
    /// The server has accepted a mail, and so many of its letters are settled on the disk.
    Accepted(usize),
    /// A mail is on its way.
    Sending,
}

const OBSERVED_BY_HAND: Duration = Duration::from_millis(3);

impl Sim {
    /// Hands an event to the engine and keeps what it wants.
    pub fn tell(&mut self, event: Event) {
        if self.daemon.is_none() {
            return;
        }
        if !matches!(event, Event::Tick | Event::Observed { .. } | Event::Sampled { .. }) {
            self.note(|| format!("event: {}", line(&event)));
        } else if let Event::Observed { check, observation, .. } = &event
            && !matches!(observation, Observation::Passing { .. })
        {
            self.note(|| format!("event: {check} saw {observation:?}"));
        }
        self.rules_before(&event);
        let now = self.now();
        let Some(daemon) = &mut self.daemon else { return };
        daemon.dirty |= !matches!(
            event,
            Event::Tick | Event::Observed { .. } | Event::Sampled { .. } | Event::UnitRead { .. }
        );
        let effects = daemon.engine.handle(now, event);
        let wakeup = daemon.engine.next_wakeup();
        daemon.dirty |=
            effects.iter().any(|effect| !matches!(effect, Effect::Probe { .. } | Effect::ReadUnit(_)));
        if wakeup.is_some_and(|at| at <= now.mono) {
            self.broken("the engine wants to be woken in the past", "");
        }
        self.rules.stats.events += 1;
        if !effects.is_empty() {
            self.rules_decided(&effects);
            if let Some(daemon) = &mut self.daemon {
                daemon.effects.extend(effects);
            }
        }
    }

    /// Saves what was decided, then does it.
    pub fn settle(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        if !daemon.dirty && daemon.effects.is_empty() && daemon.spooled.is_empty() {
            return;
        }
        let effects = std::mem::take(&mut daemon.effects);
        if std::mem::take(&mut daemon.dirty) {
            if self.crash.as_ref().is_some_and(|crash| crash.after_writes == 0)
                && self.dies_at(|at| at == Moment::BeforeSave)
            {
                return;
            }
            if let Some(crash) = &mut self.crash {
                crash.after_writes = crash.after_writes.saturating_sub(1);
                self.save();
            }
            self.rules_committed(&effects);
        }
        for (n, effect) in effects.into_iter().enumerate() {
            if self.dies_at(|at| matches!(at, Moment::AfterActions(most) if most <= n)) {
                return;
            }
            self.act(effect);
        }
        let Some(daemon) = &mut self.daemon else { return };
        let spooled = std::mem::take(&mut daemon.spooled);
        if !spooled.is_empty() && self.dies_at(|at| at == Moment::BeforeRelease) {
            return;
        }
        for id in &spooled {
            self.release(id);
        }
        if !spooled.is_empty() && self.dies_at(|at| at == Moment::AfterRelease) {
            return;
        }
        self.watch_what_is_wanted();
    }

    fn save(&mut self) {
        let (now, boot) = (self.now(), self.boot.to_string());
        let Some(daemon) = &self.daemon else { return };
        self.disk.state = Some(Box::new(daemon.engine.save(now, &boot)));
        self.clock_was_set = false;
        self.rules_saved();
    }

    /// The planned `kill -9`, if this is its moment.
    pub fn dies_at(&mut self, is_moment: impl Fn(Moment) -> bool) -> bool {
        let Some(crash) = self.crash.as_ref().filter(|crash| crash.after_writes == 0 && is_moment(crash.at))
        else {
            return false;
        };
        let (at, away) = (crash.at, crash.away);
        self.note(|| format!("kill -9 at {at:?}, away for {away:?}"));
        self.daemon_ends();
        self.later(away, Coming::DaemonStarts);
        true
    }

    /// Plans a `kill -9`. What would be on the disk already is written now.
    pub fn plan_crash(&mut self, crash: Crash) {
        if self.crash.is_none() && self.daemon.is_some() {
            self.note(|| format!("to be killed: {crash:?}"));
            self.settle();
            self.crash = Some(crash);
            self.save();
        }
    }

    fn daemon_ends(&mut self) {
        self.crash = None;
        self.daemon = None;
        self.rules.stats.crashes += 1;
        self.rules_mail_interrupted();
        self.post_dies();
        self.rules_daemon_ended();
        // Whoever comes next has requested none of the jobs that there are.
        for unit in self.units.values_mut() {
            unit.forget_whose_jobs();
        }
    }

    /// SIGTERM: everything is written, then it ends.
    pub fn daemon_stops(&mut self, away: Duration) {
        if self.daemon.is_none() {
            return;
        }
        self.note(|| format!("the daemon is stopped, for {away:?}"));
        self.crash = None;
        self.settle();
        self.save();
        self.daemon_ends();
        self.later(away, Coming::DaemonStarts);
    }

    /// The power fails.
    pub fn power_fails(&mut self, away: Duration) {
        if self.daemon.is_some() {
            self.settle();
            self.save();
            self.daemon_ends();
            self.later(away, Coming::DaemonStarts);
        }
        self.note(|| "the machine reboots".to_owned());
        let until = self.mono.after(Duration::from_secs(20));
        self.advance_to(until);
        self.leases.clear();
        self.manager = ManagerState::Starting;
        self.reboots();
        // Something that never ends keeps some boots from being finished.
        let boots =
            if self.random.percent(25) { self.random.heavy(900, 14_400) } else { self.random.secs(5, 100) };
        self.later(boots, Coming::Over(Fault::Manager));
        self.rules_rebooted();
    }

    pub fn daemon_starts(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        self.life += 1;
        self.note(|| format!("the daemon starts, life {}", self.life));
        let checks = self.plan.checks.clone();
        let saved: Option<Saved> = self.disk.state.as_ref().map(|state| {
            let text = serde_json::to_string(state).unwrap();
            serde_json::from_str(&text).unwrap()
        });
        if let Some(saved) = saved.as_ref().filter(|saved| saved.clock != self.boot.to_string()) {
            self.continue_clock((saved.mono, saved.at));
        }
        let (now, boot) = (self.now(), self.boot.to_string());
        let (engine, effects) = match saved {
            Some(saved) => Engine::restore(now, &boot, saved, checks),
            None => {
                let mut engine = Engine::new();
                let effects = engine.handle(now, Event::Configured(checks));
                (engine, effects)
            }
        };
        let pending: Vec<NotificationId> = engine.pending_notifications().cloned().collect();
        let wanted: BTreeSet<UnitName> = engine.units().cloned().collect();
        // Whoever was down before anybody watched does not say who stopped it.
        for unit in self.units.values_mut().filter(|unit| unit.state.is_down()) {
            unit.state.stopped_by = unit.state.stopped_by.filter(|_| unit.job.is_some());
        }
        self.daemon = Some(Daemon {
            engine,
            effects: vec![],
            spooled: vec![],
            dirty: true,
            wanted: wanted.clone(),
            attempts: BTreeMap::new(),
            missed: vec![],
            busy_until: Mono::default(),
            probing: BTreeMap::new(),
        });
        self.rules_restored();
        self.rules_decided(&effects);
        if let Some(daemon) = &mut self.daemon {
            daemon.effects = effects;
        }
        self.post_starts(pending);
        let open = self.leases.clone();
        self.tell(Event::Hold(HoldEvent::Kept(open)));
        // systemd is asked how the machine is before it is asked for its units.
        self.later(Duration::ZERO, Coming::ManagerTold { life: self.life });
        for unit in wanted {
            self.will_be_told(&unit);
        }
    }

    fn watch_what_is_wanted(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        let Some(wanted) = daemon.engine.take_wanted_units() else { return };
        let fresh: Vec<UnitName> = wanted.difference(&daemon.wanted).cloned().collect();
        daemon.wanted = wanted;
        for unit in fresh {
            self.will_be_told(&unit);
        }
    }

    pub fn latency(&mut self) -> Duration {
        match self.troubles.slow_systemd {
            true => self.random.millis(50, 4000),
            false => self.random.millis(1, 30),
        }
    }

    /// The daemon's client is there and hears systemd.
    pub fn is_watching(&self) -> bool {
        self.daemon.is_some() && self.manager != ManagerState::Unreachable
    }

    fn will_be_told(&mut self, unit: &UnitName) {
        if self.is_watching() {
            let latency = self.latency();
            self.later(latency, Coming::Told { life: self.life, unit: unit.clone() });
        }
    }

    /// Something about the unit is another: the daemon hears so, if it is there to.
    pub fn is_changed(&mut self, unit: &UnitName) {
        self.note(|| format!("{unit} is {}", self.units[unit].state.describe()));
        if self.daemon.as_ref().is_some_and(|daemon| daemon.wanted.contains(unit)) {
            self.will_be_told(unit);
        }
    }

    pub fn unit_is_told(&mut self, unit: &UnitName) {
        let id = crate::config::real(unit);
        if self.is_watching() {
            self.sees_who_stops(&id);
        }
        let Some(state) = self.units.get(&id).map(|unit| unit.state.clone()) else { return };
        if self.is_watching() {
            if id != *unit {
                self.arrives(Arrival::Alias(unit.clone(), id.clone()));
            }
            self.arrives(Arrival::Unit(id, Box::new(state)));
        }
    }

    /// The client has seen the job that takes the unit down, if it read the unit while that was under way.
    fn sees_who_stops(&mut self, unit: &UnitName) {
        if let Some(unit) = self.units.get_mut(unit)
            && unit.state.active == ActiveState::Deactivating
            && unit.state.job.is_some()
        {
            unit.state.stopped_by = unit.state.job;
        }
    }

    /// What was read comes when the daemon finds the time, in order.
    fn arrives(&mut self, arrival: Arrival) {
        let late = match self.troubles.late_readings {
            true => self.random.millis(0, 3000),
            false => Duration::ZERO,
        };
        let Some(daemon) = &mut self.daemon else { return };
        let at = daemon.busy_until.max(self.mono.after(late));
        if at <= self.mono {
            return self.has_arrived(arrival);
        }
        daemon.busy_until = at;
        let coming = Coming::Arrives { life: self.life, arrival: crate::sim::Told(arrival) };
        self.later(at.since(self.mono), coming);
    }

    pub fn has_arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Alias(name, id) => self.tell(Event::UnitResolved { name, id }),
            Arrival::Unit(unit, state) => self.tell(Event::UnitRead { unit, state: *state }),
            Arrival::Job(unit, attempt, result, state) => {
                let state = state.map(|state| *state);
                self.tell(Event::JobEnded { unit, attempt, result, state });
            }
        }
    }

    pub fn job_is_told(&mut self, unit: &UnitName, attempt: AttemptId, result: JobResult) {
        let state = self.units.get(unit).map(|unit| unit.state.clone());
        match &mut self.daemon {
            Some(daemon) if self.manager == ManagerState::Unreachable => {
                daemon.missed.push((unit.clone(), attempt, result));
            }
            Some(_) => self.arrives(Arrival::Job(unit.clone(), attempt, result, state.map(Box::new))),
            None => {}
        }
    }

    pub fn manager_is_told(&mut self) {
        let manager = self.manager;
        self.tell(Event::ManagerChanged(manager));
    }

    /// The bus goes away, or comes back, or systemd is about to shut down.
    pub fn set_manager(&mut self, manager: ManagerState) {
        let before = std::mem::replace(&mut self.manager, manager);
        self.note(|| format!("systemd: {manager:?}"));
        self.tell(Event::ManagerChanged(manager));
        let Some(daemon) = &mut self.daemon else { return };
        if before != ManagerState::Unreachable || manager == before {
            return;
        }
        let (missed, wanted) = (std::mem::take(&mut daemon.missed), daemon.wanted.clone());
        for (unit, attempt, result) in missed {
            self.job_is_told(&unit, attempt, result);
        }
        for unit in wanted {
            self.will_be_told(&unit);
        }
    }

    pub fn notification_is_spooled(&mut self, id: NotificationId) {
        self.tell(Event::NotificationStored(id.clone()));
        if let Some(daemon) = &mut self.daemon {
            daemon.spooled.push(id);
        }
    }

    fn act(&mut self, effect: Effect) {
        if !matches!(effect, Effect::Probe { .. } | Effect::ReadUnit(_) | Effect::Remember) {
            self.note(|| format!("action: {}", short(&effect)));
        }
        match effect {
            Effect::Probe { check, run, probe, timeout, .. } => self.probe(check, run, probe, timeout),
            Effect::StartJob(request) => self.start_job(request),
            Effect::Notify(notification) => self.submit(Submission::Notification(notification)),
            Effect::NotifyHost(notification) => self.submit(Submission::HostNotification(notification)),
            Effect::Hold(HoldAction::Granted { id, .. }) => self.hold_is_granted(&id),
            Effect::Hold(HoldAction::Refused { id, .. } | HoldAction::Over(id)) => {
                self.leases.remove(&id);
            }
            // (Its systemd sends a signal for everything.)
            Effect::Changed(_) | Effect::ReadUnit(_) | Effect::Remember => {}
        }
    }

    fn start_job(&mut self, request: JobRequest) {
        let JobRequest { unit, attempt, step, reset_failed } = request;
        self.rules.stats.jobs += 1;
        let by = By::Us { life: self.life, attempt };
        if let Some(daemon) = &mut self.daemon {
            daemon.attempts.insert(attempt, unit.clone());
        }
        let (target, kind) = match &step {
            Step::Restart => (unit.clone(), JobKind::Restart),
            Step::Start => (unit.clone(), JobKind::Start),
            Step::Stop => (unit.clone(), JobKind::Stop),
            Step::Reload => (unit.clone(), JobKind::Reload),
            Step::StartUnit(other) => (other.clone(), JobKind::Start),
        };
        let queued = if self.manager == ManagerState::Unreachable {
            Err(JobResult::Unasked("the bus is away".into()))
        } else if self.troubles.polkit_denies {
            Err(JobResult::Unasked("Interactive authentication required.".into()))
        } else {
            if reset_failed {
                self.reset_failed(&target);
            }
            self.queue_job(&target, kind, by)
        };
        if queued.is_ok() {
            self.somebody_interferes(&target);
        }
        if let Err(result) = queued {
            let latency = self.latency();
            let result = crate::sim::Told(result);
            self.later(latency, Coming::JobTold { life: self.life, unit, attempt, result });
        }
    }

    fn probe(&mut self, check: CheckName, run: RunId, probe: Probe, timeout: Duration) {
        let takes = match self.service_of(&check) {
            _ if matches!(probe, Probe::Unit | Probe::Job(_) | Probe::Usage(_)) => OBSERVED_BY_HAND,
            _ if self.troubles.network_gone => timeout.min(Duration::from_secs(3)),
            Some((Service::Hung | Service::Broken, true)) => timeout,
            _ if self.is_frozen(&check) => timeout,
            _ => self.random.millis(1, 40),
        };
        // One in ten thousand is never heard of again: its task was lost.
        if self.random.below(10_000) > 0 {
            self.later(takes, Coming::Probed { life: self.life, check: check.clone(), run: run.0 });
        }
        if let Some(daemon) = &mut self.daemon {
            daemon.probing.insert((check, run.0), probe);
        }
    }

    fn is_frozen(&self, check: &CheckName) -> bool {
        self.unit_of(check).and_then(|unit| self.units.get(&unit)).is_some_and(|unit| unit.state.frozen)
    }

    fn service_of(&self, check: &CheckName) -> Option<(Service, bool)> {
        let unit = self.unit_of(check)?;
        self.units.get(&unit).map(|unit| (unit.service, unit.is_up()))
    }

    pub fn check(&self, name: &CheckName) -> Option<&Check> {
        let known = self.plan.checks.iter().find(|check| check.name == *name);
        known.or_else(|| self.former.get(name))
    }

    pub fn unit_of(&self, check: &CheckName) -> Option<UnitName> {
        self.check(check)?.unit.as_ref().map(crate::config::real)
    }

    pub fn probe_ends(&mut self, check: &CheckName, run: u64) {
        let probing = self.daemon.as_mut().and_then(|daemon| daemon.probing.remove(&(check.clone(), run)));
        let (Some(probe), check, run) = (probing, check.clone(), RunId(run)) else { return };
        if matches!(probe, Probe::Usage(_)) {
            let sample = self.sample(&check);
            self.tell(Event::Sampled { check, run, sample });
            return;
        }
        let observation = match &probe {
            Probe::Unit | Probe::Job(_) => self.read_by_hand(&check),
            _ => self.observe(&check),
        };
        self.tell(Event::Observed { check, run, observation });
    }

    /// An operator asked for it: the unit is read afresh.
    fn read_by_hand(&mut self, check: &CheckName) -> Observation {
        if !self.is_watching() {
            return Observation::Unknown { reason: "systemd did not answer in time".into() };
        }
        let Some(unit) = self.unit_of(check) else { return Observation::Unknown { reason: String::new() } };
        self.unit_is_told(&unit);
        let detail = self.units.get(&unit).map(|unit| unit.state.describe()).unwrap_or_default();
        Observation::Passing { detail, latency: Duration::ZERO }
    }

    fn observe(&mut self, check: &CheckName) -> Observation {
        let failing = |reason: &str| Observation::Failing { reason: reason.into() };
        if self.troubles.network_gone {
            return match self.troubles.unmeasurable {
                true => Observation::Unknown { reason: "the resolver does not answer".into() },
                false => failing("no route to host"),
            };
        }
        let Some(unit) = self.unit_of(check) else {
            return if self.troubles.mute.contains(check) { failing("no such host") } else { passing() };
        };
        let rival = crate::config::rival_of(&unit);
        let impostor = self.units.get(&rival).is_some_and(|rival| !rival.state.is_down());
        if self.is_frozen(check) {
            return failing("no answer");
        }
        let answers = |unit: &Unit| {
            unit.left_over || (unit.is_up() && self.mono.since(unit.up_at) >= unit.answers_after)
        };
        match self.units.get(&unit).map(|unit| (unit.is_up() || unit.left_over, unit.service)) {
            Some((true, _)) if !self.units.get(&unit).is_some_and(answers) => failing("connection refused"),
            Some((true, Service::Healthy | Service::Crashes | Service::WontStart)) => passing(),
            Some((true, _)) => failing("no answer"),
            // What has the port in the unit's place may answer.
            _ if impostor && self.random.percent(30) => passing(),
            _ => failing("connection refused"),
        }
    }

    fn sample(&mut self, check: &CheckName) -> Result<Sample, String> {
        if !self.is_watching() {
            return Err("systemd did not answer in time".to_owned());
        }
        let unit = self.unit_of(check).ok_or("no unit")?;
        self.count_cpu(&unit);
        let unit = self.units.get(&unit).ok_or("no unit")?;
        if unit.state.active != ActiveState::Active {
            return Ok(Sample::Idle { state: unit.state.describe() });
        }
        let used = u64::try_from(unit.used.as_nanos()).unwrap_or(u64::MAX);
        Ok(Sample::Used { run: unit.state.invocation_id.clone(), used, whole: 1 })
    }

    /// What the unit's processes have used until now.
    pub fn count_cpu(&mut self, unit: &UnitName) {
        let now = self.mono;
        let Some(unit) = self.units.get_mut(unit) else { return };
        unit.used += now.since(unit.counted) * u32::try_from(unit.cpu).unwrap_or(0) / 100;
        unit.counted = now;
    }

    fn hold_is_granted(&mut self, id: &HoldId) {
        self.leases.insert(id.clone());
        let (stop, lasting) = (self.random.millis(100, 3000), self.random.heavy(5, 5400));
        if self.random.percent(80) {
            self.later(stop, Coming::Holder { id: id.clone(), stop: true });
        }
        let done = self.random.percent(60);
        self.later(stop + lasting, Coming::LeaseCloses { id: id.clone(), done });
    }

    /// The holder's command works on the unit.
    pub fn holder_acts(&mut self, id: &HoldId, stop: bool) {
        let unit = self.daemon.as_ref().and_then(|daemon| daemon.engine.held_unit(id).cloned());
        if let (Some(unit), true) = (unit, self.leases.contains(id)) {
            self.note(|| format!("the holder of {id} works on {unit}"));
            let kind = if stop { JobKind::Stop } else { JobKind::Start };
            let _ = self.queue_job(&unit, kind, By::Holder);
            if stop && self.random.percent(30) {
                let after = self.random.secs(5, 60);
                self.later(after, Coming::Holder { id: id.clone(), stop: false });
            }
        }
    }

    pub fn lease_closes(&mut self, id: &HoldId, how: HowEnded) {
        if self.leases.remove(id) {
            self.tell(Event::Hold(HoldEvent::End(id.clone(), how)));
        }
    }
}

fn passing() -> Observation {
    Observation::Passing { detail: "200 OK".into(), latency: Duration::from_millis(1) }
}

/// One line for what may be a page.
fn short(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    text.chars().take(420).collect()
}

/// The same of an event.
fn line(event: &Event) -> String {
    match event {
        Event::UnitRead { unit, state } => format!("{unit} is read: {}", describe(state)),
        Event::JobEnded { unit, attempt, result, state } => {
            let state = state.as_ref().map(describe);
            format!("the job of {attempt:?} on {unit} ended: {result:?}; {state:?}")
        }
        _ => short(event),
    }
}

/// What is told of a unit in a line.
pub fn describe(state: &UnitState) -> String {
    format!("{} job {:?} stopped by {:?}", state.describe(), state.job, state.stopped_by)
}
