//! What the engine wants is done here: probes are started, jobs asked for, notifications handed to the mailer,
//! transitions logged and signalled. Each answer comes back as an event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::dbus_server::Waiting;
use super::start::recipients;
use super::{Supervisor, clock, loaded, sample};
use crate::bus::{Refusal, Signal, Transition};
use crate::check::{CheckName, Probe};
use crate::config::{self, Config, Credentials, Problem};
use crate::engine::hold::HoldId;
use crate::engine::{Change, ChangeKind, Effect, Event, RunId};
use crate::journal;
use crate::lease::Closed;
use crate::service_manager;
use crate::status::{MailStatus, Snapshot};
use crate::systemd::Request;
use crate::time::Wall;
use crate::unit::{JobResult, UnitName, UnitState};
use crate::verdict::{Observation, Sample};

/// What our own tasks report.
#[derive(Debug)]
pub(super) enum Internal {
    /// A probe ended.
    Observed { check: CheckName, run: RunId, observation: Observation },
    /// A sample of what is used was taken, or could not be.
    Sampled { check: CheckName, run: RunId, sample: Result<Sample, String> },
    /// A unit was read because an operator asked for it.
    Read { check: CheckName, run: RunId, reading: Result<Box<(UnitName, UnitState)>, String> },
    /// The lease of a hold has closed.
    LeaseClosed { id: HoldId, how: Closed },
    /// The configuration was read again.
    Loaded { config: Box<Result<Config, Vec<Problem>>>, reply: Option<Waiting<Vec<String>>> },
}

impl Supervisor {
    pub(super) fn internal(&mut self, internal: Internal) {
        match internal {
            Internal::Observed { check, run, observation } => self.observed(check, run, observation),
            Internal::Sampled { check, run, sample } => {
                self.tell(Event::Sampled { check: check.clone(), run, sample });
                self.answer_waiting(&check);
            }
            Internal::Read { check, run, reading } => {
                let observation = match reading {
                    Ok(reading) => {
                        let (unit, state) = *reading;
                        let detail = state.describe();
                        self.tell(Event::UnitRead { unit, state });
                        Observation::Passing { detail, latency: Duration::ZERO }
                    }
                    Err(reason) => Observation::Unknown { reason },
                };
                self.observed(check, run, observation);
            }
            Internal::LeaseClosed { id, how } => self.lease_closed(id, how),
            Internal::Loaded { config, reply } => self.loaded(*config, reply),
        }
    }

    fn observed(&mut self, check: CheckName, run: RunId, observation: Observation) {
        // (A handle holds on to all that its task was made of.)
        if self.probes.get(&check).is_some_and(|(current, _)| *current == run) {
            self.probes.remove(&check);
        }
        self.tell(Event::Observed { check: check.clone(), run, observation });
        self.answer_waiting(&check);
    }

    /// Does one thing that the engine wants.
    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Probe { check, run, probe, unit, timeout } => {
                self.probe(check, run, probe, unit, timeout)
            }
            Effect::ReadUnit(unit) => {
                // A client that is too busy is reading anyway.
                let _ = self.requests.try_send(Request::Report(unit));
            }
            Effect::StartJob(request) => {
                let (unit, attempt) = (request.unit.clone(), request.attempt);
                if let Err(refused) = self.requests.try_send(Request::Job(request)) {
                    // The client takes requests even while the bus is away: this should not happen.
                    let result =
                        JobResult::Unasked(format!("the systemd client takes no requests: {refused}"));
                    self.tell(Event::JobEnded { unit, attempt, result, state: None });
                }
            }
            Effect::WithdrawJob(withdrawal) => {
                // A client that is too busy has it asked for already.
                let _ = self.requests.try_send(Request::Withdraw(withdrawal));
            }
            Effect::Hold(effect) => self.act_on_hold(effect),
            Effect::Notify(notification) => self.mailer.submit(*notification),
            Effect::NotifyHost(notification) => self.mailer.submit_host_notification(*notification),
            Effect::Changed(change) => self.changed(&change),
            // To want anything at all has the state saved.
            Effect::Remember => {}
        }
    }

    fn probe(
        &mut self,
        check: CheckName,
        run: RunId,
        probe: Probe,
        unit: Option<UnitName>,
        timeout: Duration,
    ) {
        let internal = self.internal.clone();
        match (probe, unit) {
            (Probe::Unit | Probe::Job(_), Some(unit)) => {
                self.read_unit(check, run, unit, timeout, internal);
            }
            (Probe::Usage(probe), unit) => {
                let (requests, boot) = (self.requests.clone(), self.boot.clone());
                tokio::spawn(async move {
                    let sample = sample::take(&probe, unit.as_ref(), &boot, &requests, timeout).await;
                    let _ = internal.send(Internal::Sampled { check, run, sample }).await;
                });
            }
            (Probe::Command(_), _) => self.run_command(check, run, timeout),
            (probe, _) => {
                let prober = Arc::clone(&self.prober);
                let name = check.clone();
                let task = tokio::spawn(async move {
                    let observation = prober.run(&probe, timeout).await;
                    // The supervisor outlives its probes; when it ends nobody wants the answer.
                    let _ = internal.send(Internal::Observed { check, run, observation }).await;
                });
                // Where the run before is still under way the engine has given it up (its unit began anew): it ends, so
                // that no check overlaps itself.
                if let Some((_, before)) = self.probes.insert(name, (run, task.abort_handle())) {
                    before.abort();
                }
            }
        }
    }

    fn read_unit(
        &self,
        check: CheckName,
        run: RunId,
        unit: UnitName,
        timeout: Duration,
        internal: mpsc::Sender<Internal>,
    ) {
        let (reply, answer) = oneshot::channel();
        let asked = self.requests.try_send(Request::Read { unit, reply });
        tokio::spawn(async move {
            let reading = match asked {
                Ok(()) => match tokio::time::timeout(timeout, answer).await {
                    Ok(Ok(reading)) => reading.map(Box::new),
                    Ok(Err(_)) => Err("systemd was not asked: the client is busy".to_owned()),
                    Err(_) => Err("systemd did not answer in time".to_owned()),
                },
                Err(_) => Err("systemd was not asked: the client is busy".to_owned()),
            };
            let _ = internal.send(Internal::Read { check, run, reading }).await;
        });
    }

    fn changed(&mut self, change: &Change) {
        journal::log_change(change);
        self.counters.changed(change);
        if let Some(check) = &change.check {
            if let Some(transition) = transition(change) {
                self.signal(Signal::Transition(check.clone(), transition));
            }
            // (No property shows the history or the runbook.)
            let status = self.engine.status(clock::now(), std::slice::from_ref(check), false).pop();
            if let Some(status) = status {
                self.signal(Signal::Check(Box::new(status)));
            }
        }
        self.announce = true;
    }

    /// Tells the bus. One that does not take signals (or has nobody on it) loses them: whoever listens can ask.
    fn signal(&self, signal: Signal) {
        let _ = self.signals.try_send(signal);
    }

    /// Tells the bus how the daemon is, if that may be new.
    pub(super) fn announce(&mut self) {
        if !std::mem::take(&mut self.announce) {
            return;
        }
        // Of what changes all the time, nobody is told.
        let told = Snapshot { at: Wall(0), mail: MailStatus::default(), ..self.snapshot(&[], false) };
        if self.announced.as_ref() != Some(&told) {
            self.announced = Some(told.clone());
            self.signal(Signal::Daemon(Box::new(told)));
        }
    }

    /// Reads the configuration again, off the loop.
    pub(super) fn reload(&mut self, reply: Option<Waiting<Vec<String>>>) {
        service_manager::reloading();
        let path = self.options.config.clone();
        let internal = self.internal.clone();
        tokio::spawn(async move {
            let read = tokio::task::spawn_blocking(move || config::load(&path)).await;
            let Ok(config) = read else { return };
            let _ = internal.send(Internal::Loaded { config: Box::new(config), reply }).await;
        });
    }

    /// All or nothing: a configuration with a problem changes nothing, and is told everywhere.
    fn loaded(&mut self, config: Result<Config, Vec<Problem>>, reply: Option<Waiting<Vec<String>>>) {
        let answer = match config {
            Ok(config) => {
                self.alerts.credentials = Credentials::of_this_process().problems(&config);
                let warnings = config.warnings.iter().map(Problem::to_string);
                let warnings: Vec<String> = warnings.chain(self.alerts.credentials.iter().cloned()).collect();
                self.adopt(config, &warnings);
                Ok(warnings)
            }
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
                self.refuse(&problems);
                Err(Refusal::InvalidConfiguration(problems))
            }
        };
        service_manager::ready();
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    fn adopt(&mut self, config: Config, warnings: &[String]) {
        let before: BTreeSet<CheckName> = self.engine.names().cloned().collect();
        self.configuration = loaded(&config, clock::now().wall);
        self.mailer.reconfigure(config.mail.clone(), recipients(&config));
        self.tell(Event::Configured(config.checks.clone()));
        let engine = &self.engine;
        self.waiting.retain(|(name, _)| engine.knows(name));
        self.listen.send_replace(config.listen.clone());
        self.counters.retain(|name| engine.knows(name));
        journal::log_configuration_loaded(config.checks.len(), &self.configuration.files);
        for warning in warnings {
            journal::log_trouble(warning);
        }
        self.config = config;
        let now: BTreeSet<CheckName> = self.engine.names().cloned().collect();
        for name in now.symmetric_difference(&before) {
            self.signal(Signal::Configured(name.clone(), now.contains(name)));
        }
        self.announce = true;
    }

    fn refuse(&mut self, problems: &[String]) {
        journal::log_configuration_refused(problems);
        let again = self.configuration.refused.as_ref().is_some_and(|(_, known)| known == problems);
        self.configuration.refused = Some((clock::now().wall, problems.to_vec()));
        if !again {
            let user = if self.options.user { " --user" } else { "" };
            let body = format!(
                "A reload was requested, but the new configuration has errors. The running configuration is kept, \
                 and all checks continue.\n\n{}\n\nCorrect the file, then run:\n\n    stealthctl{user} validate\n    \
                 systemctl{user} reload stealthcheck\n",
                problems.join("\n")
            );
            self.mailer.submit_host("the new configuration was rejected", body);
        }
    }
}

/// What the bus is told of a change besides the properties.
fn transition(change: &Change) -> Option<Transition> {
    let incident = change.incident.as_ref().map(ToString::to_string).unwrap_or_default();
    let unit = change.unit.as_ref().map(ToString::to_string).unwrap_or_default();
    Some(match &change.what {
        ChangeKind::IncidentOpened { cause } => Transition::IncidentOpened { incident, cause: cause.clone() },
        ChangeKind::IncidentClosed { passes, .. } => Transition::IncidentClosed { incident, passes: *passes },
        ChangeKind::RecoveryRequested { number, step } => {
            Transition::RecoveryRequested { unit, incident, step: step.describe(), attempt: *number }
        }
        ChangeKind::RecoveryEnded { number, step, result } => Transition::RecoveryFinished {
            unit,
            incident,
            step: step.describe(),
            result: result.to_string(),
            attempt: *number,
        },
        _ => return None,
    })
}
