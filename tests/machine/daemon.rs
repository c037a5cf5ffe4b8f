//! The daemon's shell: the engine's outputs are done, and what comes of them goes in again.

use std::collections::BTreeMap;
use std::time::Duration;

use stealthcheck::check::{Check, CheckName, Probe};
use stealthcheck::engine::{Effect, Reset};
use stealthcheck::engine::saved::Saved;
use stealthcheck::unit::{JobKind, JobResult, UnitName};
use stealthcheck::verdict::Observation;

use super::client::{Client, Report};
use super::driver::{Driver, Input, JobRequest, Output};
use super::facts::{Requested, Sent};
use super::network::Network;
use super::systemd::{Answer, By, JobType};
use super::{Coming, Machine, RECONCILE};

/// One life of the daemon.
pub struct Daemon {
    pub driver: Driver,
    pub client: Client,
    /// Probes under way.
    probes: BTreeMap<(CheckName, u64), Probe>,
}

impl Machine {
    pub fn start_daemon(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        let effects = self.begin_life();
        for effect in effects {
            self.perform_effect(effect);
        }
        self.greet();
    }

    /// The daemon has its state. Nothing of what it wants is done yet.
    pub(super) fn begin_life(&mut self) -> Vec<Effect> {
        self.life += 1;
        self.note(format!("the daemon starts (life {})", self.life));
        let boot = self.boot.to_string();
        let checks = self.checks.clone();
        let saved: Option<Saved> = self.saved.as_ref().map(|saved| serde_json::from_str(saved).unwrap());
        if let Some(saved) = saved.as_ref().filter(|saved| saved.clock != boot) {
            self.clock = (self.time, saved.mono.after(self.now().wall.since(saved.at)));
        }
        let now = self.daemon_now();
        let (driver, effects) = match saved {
            Some(saved) => Driver::restore(now, &boot, saved, checks),
            None => Driver::new(now, checks),
        };
        // What systemd sent before is of no concern to this life.
        self.systemd.take_signals();
        let client = Client::new(self.latency, self.late);
        self.daemon = Some(Daemon { driver, client, probes: BTreeMap::new() });
        effects
    }

    /// The daemon learns which leases are open and how the machine is, and asks for its units.
    pub(super) fn greet(&mut self) {
        let leases = self.leases.keys().cloned().collect();
        self.tell(Input::Leases(leases));
        self.watch_wanted();
        let now = self.now().mono;
        if !self.has_bus {
            self.lose_bus();
        } else if let Some(daemon) = &mut self.daemon {
            daemon.client.connect(now, &self.systemd);
        }
        self.later(RECONCILE, Coming::Reconcile { life: self.life });
    }

    /// The daemon ends, with its state on the disk.
    pub fn stop_daemon(&mut self) {
        let (now, boot) = (self.daemon_now(), self.boot.to_string());
        if let Some(daemon) = self.daemon.take() {
            self.saved = Some(daemon.driver.save(now, &boot));
            self.note("the daemon ends");
        }
    }

    /// `systemctl restart stealthcheck`.
    pub fn restart_daemon(&mut self) {
        self.stop_daemon();
        self.run_for_millis(50);
        self.start_daemon();
    }

    /// `systemctl reload stealthcheck` with these checks in the configuration.
    pub fn reload(&mut self, builders: Vec<super::CheckBuilder>) {
        self.checks.clear();
        self.asks.clear();
        for builder in builders {
            let (check, asks) = builder.build();
            if let Some(asks) = asks {
                self.asks.insert(check.name.clone(), asks);
            }
            self.checks.push(check);
        }
        let checks = self.checks.clone();
        self.tell(Input::Configured(checks));
    }

    /// Hands an input to the engine and does what it wants.
    pub(super) fn tell(&mut self, input: Input) {
        if let Some(inputs) = &mut self.inputs {
            if self.daemon.is_some() {
                inputs.push_back(input);
            }
            return;
        }
        let now = self.daemon_now();
        self.note_input(&input);
        let Some(daemon) = &mut self.daemon else { return };
        let outputs = daemon.driver.handle(now, input);
        if let Some(at) = daemon.driver.next_wakeup() {
            assert!(at > now.mono, "the engine wants to be woken in the past");
        }
        self.perform(outputs);
        self.watch_wanted();
    }

    pub(super) fn note_input(&mut self, input: &Input) {
        match input {
            _ if !self.keeps_log => {}
            Input::Tick | Input::Sampled { .. } | Input::Stored(_) | Input::Delivered(_) => {}
            Input::Observed { check, observation, .. } => {
                if !matches!(observation, Observation::Passing { .. }) {
                    self.note(format!("probe {check}: {}", observation.text()));
                }
            }
            Input::Unit { unit, state } => {
                let (job, by) = (state.job, state.stopped_by);
                self.note(format!("  read {unit}: {}, job {job:?}, stopped by {by:?}", state.describe()));
            }
            Input::Configured(checks) => {
                let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
                self.note(format!("configuration: {}", names.join(", ")));
            }
            other => {
                let text = format!("{other:?}");
                self.note(format!("  input {}", text.chars().take(200).collect::<String>()));
            }
        }
    }

    pub(super) fn watch_wanted(&mut self) {
        let now = self.now().mono;
        let Some(daemon) = &mut self.daemon else { return };
        if let Some(wanted) = daemon.driver.take_wanted() {
            let wanted = wanted.iter().map(|name| self.systemd.id(name)).collect();
            daemon.client.watch(now, wanted);
        }
    }

    pub(super) fn client_works(&mut self) {
        let now = self.now().mono;
        let Some(daemon) = &mut self.daemon else { return };
        let reports = daemon.client.work(now, &self.systemd).unwrap_or_default();
        for report in reports {
            match report {
                Report::Unit { unit, state } => self.unit_is_read(&unit, state),
                Report::Job { request, result, state } => {
                    self.tell(Input::JobEnded { request, result, state })
                }
                Report::Manager(state) => self.tell(Input::Manager(state)),
            }
        }
    }

    /// The client announces each alias that the configuration uses, and reads the unit under its primary id.
    fn unit_is_read(&mut self, unit: &UnitName, state: Box<stealthcheck::unit::UnitState>) {
        let Some(daemon) = &self.daemon else { return };
        let mut names = daemon.driver.wanted();
        names.retain(|name| self.systemd.id(name) == *unit && name != unit);
        for name in names {
            self.tell(Input::Resolved { name, id: unit.clone() });
        }
        self.tell(Input::Unit { unit: unit.clone(), state });
    }

    /// Does one thing that the engine wants.
    pub(super) fn perform_effect(&mut self, effect: Effect) {
        let Some(daemon) = &mut self.daemon else { return };
        if let Some(output) = daemon.driver.output(effect) {
            self.perform(vec![output]);
        }
    }

    pub(super) fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Probe { check, run, probe, timeout } => self.probe(check, run, probe, timeout),
                Output::ReadUnit(unit) => {
                    let now = self.now().mono;
                    if let Some(daemon) = &mut self.daemon {
                        daemon.client.read_again(now, &unit);
                    }
                }
                Output::Job(request) if self.request_takes.is_zero() => self.job_is_requested(request),
                Output::Job(request) => {
                    self.in_line.insert(request.request);
                    self.later(self.request_takes, Coming::Request { life: self.life, request });
                }
                Output::Withdraw(request) => self.job_is_withdrawn(request),
                Output::Notify(notification) => {
                    let id = notification.id.clone();
                    self.note(format!(
                        "NOTIFICATION {} about {}: {}",
                        notification.kind, notification.check, notification.cause
                    ));
                    self.record.sent(Sent { at: self.time, notification: *notification });
                    self.store(id);
                }
                Output::NotifyHost(notification) => {
                    self.note(format!("NOTIFICATION about the machine: {:?}", notification.kind));
                    self.store(notification.id.clone());
                    self.record.host_sent(*notification);
                }
                Output::HoldGranted { id, checks } => {
                    self.note(format!("hold {id} is granted"));
                    self.record.granted_holds.push(checks);
                    if let Some(unit) = self.wanted_leases.remove(&id) {
                        self.leases.insert(id, unit);
                    }
                }
                Output::HoldRefused { id, why } => {
                    self.note(format!("hold {id} is refused: {why}"));
                    self.wanted_leases.remove(&id);
                    self.record.refused_holds.push(why);
                }
                Output::HoldOver(id) => {
                    self.note(format!("hold {id} is over"));
                    self.leases.remove(&id);
                }
                Output::Logged(line) => self.note(format!("    {line}")),
            }
        }
    }

    fn store(&mut self, id: stealthcheck::notification::NotificationId) {
        let life = self.life;
        self.later(Duration::from_millis(3), Coming::Stored { life, id: id.clone() });
        self.later(Duration::from_secs(2), Coming::Delivered { life, id });
    }

    /// (The real client also cancels the job of a request that it cannot take back any more.)
    fn job_is_withdrawn(&mut self, request: u64) {
        self.note(format!("WITHDRAWN {request}"));
        if self.in_line.remove(&request) {
            let result = JobResult::Withdrawn("an operator came first".to_owned());
            let input = Input::JobEnded { request, result, state: None };
            self.later(Duration::from_millis(2), Coming::Input { life: self.life, input });
        }
    }

    /// A request that was in line reaches systemd, if it was not withdrawn.
    pub(super) fn request_arrives(&mut self, request: JobRequest) {
        if self.in_line.remove(&request.request) {
            self.job_is_requested(request);
        }
    }

    fn job_is_requested(&mut self, request: JobRequest) {
        let JobRequest { request, unit, target, kind, reset, displaces } = request;
        self.note(format!("REQUEST {kind:?} of {target} (for {unit}, reset {reset:?})"));
        let id = self.systemd.id(&target);
        let in_storm = self.storm().is_some() && !self.systemd.read(&id).is_down();
        let job = Requested { at: self.time, unit: id.clone(), kind, for_unit: unit.clone(), in_storm };
        let not_reset = || {
            let refused = self.rejects_resets && reset == Reset::Required;
            refused.then(|| JobResult::Unasked("it did not reset the failures of the unit".to_owned()))
        };
        if let Some(result) = self.rejection(&target, kind).or_else(not_reset) {
            self.record.rejected.push(job);
            let input = Input::JobEnded { request, result, state: None };
            return self.later(Duration::from_millis(2), Coming::Input { life: self.life, input });
        }
        self.record.requested(job);
        if reset != Reset::No && !self.rejects_resets {
            self.systemd.reset_failed(&target);
            let input = Input::Reset(id.clone());
            self.later(Duration::ZERO, Coming::Input { life: self.life, input });
        }
        let wanted = match kind {
            JobKind::Start => JobType::Start,
            JobKind::Stop => JobType::Stop,
            JobKind::Reload => JobType::Reload,
            JobKind::Restart | JobKind::Other => JobType::Restart,
        };
        let invocation = self.systemd.read(&target).invocation_id;
        let before = self.systemd.job_on(&target).map(|(id, _)| id);
        self.systemd.set_mode_replace(displaces);
        let answer = self.systemd.request(&target, wanted, By::Daemon);
        let refused = |why: String| match why.as_str() {
            "Transaction is destructive." => JobResult::Unasked(why),
            _ => JobResult::Refused(why),
        };
        let answer = answer.map(|id| (id, before != Some(id))).map_err(refused);
        let now = self.now().mono;
        let for_unit = self.systemd.id(&unit);
        if let Some(daemon) = &mut self.daemon {
            daemon.client.requested(now, request, for_unit, &id, (kind, invocation), answer);
        }
        self.systemd.run();
    }

    pub(super) fn check_of(&self, name: &CheckName) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == *name)
    }

    /// The unit whose program answers the check's probes.
    pub(super) fn asked_unit(&self, name: &CheckName) -> Option<UnitName> {
        self.asks.get(name).cloned().or_else(|| self.check_of(name)?.unit.clone())
    }

    fn probe(&mut self, check: CheckName, run: u64, probe: Probe, timeout: Duration) {
        if self.inputs.is_none() {
            self.record.probe(&check, self.time);
        }
        if let Some(unit) =
            self.asked_unit(&check).filter(|_| !probe.looks_at_unit() && probe.usage().is_none())
            && let Some(service) = unit.as_str().strip_suffix(".service")
        {
            let service = service.to_owned();
            self.connect(&service);
        }
        let answer = self.asked_unit(&check).map(|unit| self.systemd.answer(&unit));
        let takes = match answer {
            _ if self.seen_instead.contains_key(&check) || probe.looks_at_unit() => Duration::from_millis(3),
            _ if self.network != Network::Up => timeout.min(Duration::from_secs(3)),
            Some(Answer::Silent) => timeout,
            _ => self.probe_takes.next(),
        };
        let life = self.life;
        if let Some(daemon) = &mut self.daemon {
            daemon.probes.insert((check.clone(), run), probe);
        }
        self.later(takes, Coming::ProbeEnds { life, check, run });
    }

    pub(super) fn probe_ends(&mut self, check: &CheckName, run: u64) {
        let Some(daemon) = &mut self.daemon else { return };
        let Some(probe) = daemon.probes.remove(&(check.clone(), run)) else { return };
        if probe.usage().is_some() && !self.seen_instead.contains_key(check) {
            let sample = self.sample(check);
            return self.tell(Input::Sampled { check: check.clone(), run, sample });
        }
        let observation = self.observe(check, &probe);
        self.tell(Input::Observed { check: check.clone(), run, observation });
    }

    fn observe(&self, check: &CheckName, probe: &Probe) -> Observation {
        let passing = |detail: &str| Observation::Passing {
            detail: detail.to_owned(),
            latency: Duration::from_millis(5),
        };
        let failing = |reason: &str| Observation::Failing { reason: reason.to_owned() };
        if let Some(seen) = self.seen_instead.get(check) {
            return seen.clone();
        }
        let by_network = self.network.observation().filter(|_| !probe.looks_at_unit());
        if let Some(seen) = by_network {
            return seen;
        }
        let Some(unit) = self.asked_unit(check) else { return passing("200 OK") };
        if probe.looks_at_unit() && !self.has_bus {
            return Observation::Unknown { reason: "systemd did not answer in time".to_owned() };
        }
        if probe.looks_at_unit() {
            return passing(&self.systemd.read(&unit).describe());
        }
        match self.systemd.answer(&unit) {
            Answer::Well => passing("200 OK"),
            Answer::Error => failing("500 Internal Server Error"),
            Answer::Refused => failing("connection refused"),
            Answer::Silent => failing("no answer within the timeout"),
        }
    }
}
