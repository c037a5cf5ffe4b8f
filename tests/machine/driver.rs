//! The engine under test, behind the words of the simulated machine. The only file that names the engine's events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{Check, CheckName, Probe, Step};
use stealthcheck::engine::hold::{HoldAction, HoldEvent, HoldId, Holder, HowEnded};
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{self, AttemptId, Command, Effect, Engine, Event, Reset, RunId};
use stealthcheck::notification::{HostNotification, Notification, NotificationId};
use stealthcheck::status::CheckStatus;
use stealthcheck::time::{Mono, Now};
use stealthcheck::unit::{Job, JobKind, JobResult, ManagerState, UnitName, UnitState};
use stealthcheck::verdict::{Observation, Sample};

/// What happens to the daemon.
#[derive(Clone, Debug)]
pub enum Input {
    Tick,
    Observed {
        check: CheckName,
        run: u64,
        observation: Observation,
    },
    Sampled {
        check: CheckName,
        run: u64,
        sample: Result<Sample, String>,
    },
    /// A configured name is an alias of this unit.
    /// `ResetFailedUnit` succeeded.
    Reset(UnitName),
    Resolved {
        name: UnitName,
        id: UnitName,
    },
    /// A reading of a unit, by its primary id.
    Unit {
        unit: UnitName,
        state: Box<UnitState>,
    },
    JobEnded {
        request: u64,
        result: JobResult,
        state: Option<Box<UnitState>>,
    },
    Manager(ManagerState),
    Probe(CheckName),
    Pause(CheckName, Duration),
    Resume(CheckName),
    Hold {
        id: String,
        unit: UnitName,
        lasting: Duration,
    },
    HoldEnds {
        id: String,
        how: HowEnded,
    },
    /// After a start of the daemon: the leases that are still open.
    Leases(BTreeSet<String>),
    Configured(Vec<Check>),
    Stored(NotificationId),
    Delivered(NotificationId),
}

/// A job that the daemon requests.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// To be handed back.
    pub request: u64,
    /// The unit that the attempt is for.
    pub unit: UnitName,
    /// The unit that the job is on.
    pub target: UnitName,
    pub kind: JobKind,
    pub reset: Reset,
    /// Mode `replace` instead of `fail`.
    pub displaces: bool,
}

/// What the daemon wants done.
#[derive(Clone, Debug)]
pub enum Output {
    Probe {
        check: CheckName,
        run: u64,
        probe: Probe,
        timeout: Duration,
    },
    ReadUnit(UnitName),
    Job(JobRequest),
    /// This request is not to reach systemd any more.
    Withdraw(u64),
    Notify(Box<Notification>),
    NotifyHost(Box<HostNotification>),
    HoldGranted {
        id: String,
        /// What is suppressed by it.
        checks: Vec<CheckName>,
    },
    HoldRefused {
        id: String,
        why: String,
    },
    HoldOver(String),
    /// A line for the timeline.
    Logged(String),
}

pub struct Driver {
    pub engine: Engine,
    /// The units that requests are for.
    requests: BTreeMap<u64, UnitName>,
}

/// A job as the client reports it.
pub fn job(id: u32, kind: JobKind, ours: bool) -> Job {
    Job { id, kind, ours }
}

impl Driver {
    /// A daemon that has never run before.
    pub fn new(now: Now, checks: Vec<Check>) -> (Self, Vec<Effect>) {
        let mut engine = Engine::new();
        let effects = engine.handle(now, Event::Configured(checks));
        (Self { engine, requests: BTreeMap::new() }, effects)
    }

    /// A daemon that finds the state of an earlier one.
    pub fn restore(now: Now, boot: &str, saved: Saved, checks: Vec<Check>) -> (Self, Vec<Effect>) {
        let (engine, effects) = Engine::restore(now, boot, saved, checks);
        (Self { engine, requests: BTreeMap::new() }, effects)
    }

    pub fn save(&self, now: Now, boot: &str) -> String {
        serde_json::to_string(&self.engine.save(now, boot)).unwrap()
    }

    pub fn next_wakeup(&self) -> Option<Mono> {
        self.engine.next_wakeup()
    }

    /// The units whose readings are wanted, as the configuration and systemd name them.
    pub fn wanted(&self) -> BTreeSet<UnitName> {
        self.engine.units().cloned().collect()
    }

    /// The same, if they are others than when this was last asked.
    pub fn take_wanted(&mut self) -> Option<BTreeSet<UnitName>> {
        self.engine.take_wanted_units()
    }

    pub fn status(&self, now: Now, check: &CheckName) -> CheckStatus {
        self.engine.status(now, std::slice::from_ref(check), true).remove(0)
    }

    /// What `stealthctl why` shows, as text.
    pub fn why(&self, now: Now, check: &CheckName) -> String {
        let Some(explanation) = self.engine.why(now, check) else { return String::new() };
        let now = explanation.now.iter().map(|reason| format!("{}: {}", reason.topic, reason.text));
        let before = explanation.log.iter().map(|entry| format!("{}: {}", entry.topic, entry.text));
        before.chain(now).collect::<Vec<_>>().join("\n")
    }

    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Output> {
        let Some(event) = self.event(input) else { return vec![] };
        let effects = self.engine.handle(now, event);
        effects.into_iter().filter_map(|effect| self.output(effect)).collect()
    }

    /// The engine's event for an input; `None`: it is of an earlier life.
    pub fn event(&mut self, input: Input) -> Option<Event> {
        Some(match input {
            Input::Tick => Event::Tick,
            Input::Observed { check, run, observation } => {
                Event::Observed { check, run: RunId(run), observation }
            }
            Input::Sampled { check, run, sample } => Event::Sampled { check, run: RunId(run), sample },
            Input::Reset(unit) => Event::FailuresReset(unit),
            Input::Resolved { name, id } => Event::UnitResolved { name, id },
            Input::Unit { unit, state } => Event::UnitRead { unit, state: *state },
            Input::JobEnded { request, result, state } => {
                let unit = self.requests.remove(&request)?;
                let state = state.map(|state| *state);
                Event::JobEnded { unit, attempt: AttemptId(request), result, state }
            }
            Input::Manager(state) => Event::ManagerChanged(state),
            Input::Probe(check) => Event::Command(Command::Check(check)),
            Input::Pause(check, lasting) => Event::Command(Command::Pause(check, lasting)),
            Input::Resume(check) => Event::Command(Command::Resume(check)),
            Input::Hold { id, unit, lasting } => {
                let holder = Holder { who: "root (pid 7)".into(), why: "certbot renew".into() };
                Event::Hold(HoldEvent::Take { id: hold_id(&id), unit, holder, lasting })
            }
            Input::HoldEnds { id, how } => Event::Hold(HoldEvent::End(hold_id(&id), how)),
            Input::Leases(open) => Event::Hold(HoldEvent::Kept(open.iter().map(|id| hold_id(id)).collect())),
            Input::Configured(checks) => Event::Configured(checks),
            Input::Stored(id) => Event::NotificationStored(id),
            Input::Delivered(id) => Event::NotificationDelivered(id),
        })
    }

    /// What the shell has to do.
    pub fn output(&mut self, effect: Effect) -> Option<Output> {
        Some(match effect {
            Effect::Probe { check, run, probe, timeout, .. } => {
                Output::Probe { check, run: run.0, probe, timeout }
            }
            Effect::ReadUnit(unit) => Output::ReadUnit(unit),
            Effect::StartJob(engine::JobRequest { unit, attempt, step, reset, displaces }) => {
                self.requests.insert(attempt.0, unit.clone());
                let (target, kind) = match step {
                    Step::Restart => (unit.clone(), JobKind::Restart),
                    Step::Start => (unit.clone(), JobKind::Start),
                    Step::Stop => (unit.clone(), JobKind::Stop),
                    Step::Reload => (unit.clone(), JobKind::Reload),
                    Step::StartUnit(other) => (other, JobKind::Start),
                };
                Output::Job(JobRequest { request: attempt.0, unit, target, kind, reset, displaces })
            }
            Effect::WithdrawJob(withdrawal) => Output::Withdraw(withdrawal.attempt.0),
            Effect::Notify(notification) => Output::Notify(notification),
            Effect::NotifyHost(notification) => Output::NotifyHost(notification),
            Effect::Hold(HoldAction::Granted { id, checks, .. }) => {
                Output::HoldGranted { id: id.0.to_string(), checks }
            }
            Effect::Hold(HoldAction::Refused { id, why }) => {
                Output::HoldRefused { id: id.0.to_string(), why }
            }
            Effect::Hold(HoldAction::Over(id)) => Output::HoldOver(id.0.to_string()),
            Effect::Changed(change) => Output::Logged(format!("{change:?}")),
            Effect::Remember => return None,
        })
    }
}

fn hold_id(id: &str) -> HoldId {
    HoldId(Arc::from(id))
}
