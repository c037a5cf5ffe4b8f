//! The core: what is seen goes in, what is to be done comes out.
//!
//! [`Engine::handle`] takes one [`Event`] at one [`Now`] and returns the [`Action`]s that follow; [`Engine::next_wakeup`]
//! says when it wants to be asked again though nothing happened. There is no I/O, no clock and no randomness in here, so
//! a year of outages plays in a second and every rule of the design is a property that a test can state.
//! "Asked for" and "done" are always two events: an action is a wish, the event that answers it is the fact.
//!
//! | module | what it knows |
//! |---|---|
//! | `event` | the vocabulary at the border |
//! | `configured` | what becomes of everything when the configuration is replaced |
//! | `turn` | what is due, and when the next thing will be |
//! | `schedule` | when a check is probed |
//! | `state` | what is remembered of a check |
//! | `watch` | what a unit's state means, and the attempt under way on it |
//! | `look` | what a reading of a unit means for its checks |
//! | `crash_loop` | systemd restarting a unit again and again |
//! | `health` | observations become passing, failing, down |
//! | `unmeasured` | checks that cannot be measured |
//! | `storm` | what is remembered while many fail together |
//! | `brake` | when that is the machine, and what is not done then |
//! | `storm_told` | the mails about it |
//! | `recovery` | which job may be asked for, when, and whether it helped |
//! | `outlook` | what comes next, for the schedule and for people |
//! | `incident` | which notices are due |
//! | `snapshot` | the status that people see |
//! | `saved` | what survives a restart of the daemon |

mod brake;
mod configured;
mod crash_loop;
mod event;
mod health;
mod incident;
mod look;
mod outlook;
mod recovery;
pub mod saved;
mod schedule;
mod snapshot;
mod state;
mod storm;
mod storm_told;
mod turn;
mod unmeasured;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

pub use event::{Action, AttemptId, Change, Command, Event, RunId, What};
use schedule::Wakeups;
use state::{Base, CheckState};
use storm::Brake;
use watch::UnitWatch;

use crate::check::CheckName;
use crate::notice::{HostNotice, Notice, NoticeId};
use crate::time::{Mono, Now};
use crate::unit::{LoadState, ManagerState, UnitName, UnitState};
use crate::verdict::Health;

/// The core's whole state.
#[derive(Debug, Default)]
pub struct Engine {
    checks: BTreeMap<CheckName, CheckState>,
    units: BTreeMap<UnitName, UnitWatch>,
    manager: ManagerState,
    wakeups: Wakeups,
    brake: Brake,
    /// Notices that are not known to be in the spool yet.
    pending: BTreeMap<NoticeId, Notice>,
    /// The same of notices about the machine.
    pending_host: BTreeMap<NoticeId, HostNotice>,
    next_run: u64,
    next_attempt: u64,
}

impl Engine {
    /// A core that guards nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event and returns what is to be done, in order.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Observed { check, run, observation } => {
                self.observed(now, &check, run, observation, &mut out)
            }
            Event::UnitChanged { unit, state } => self.unit_changed(now, &unit, state, &mut out),
            Event::JobEnded { unit, attempt, result, state } => {
                self.job_ended(now, &unit, attempt, result, state, &mut out);
            }
            Event::ManagerChanged(manager) => self.manager_changed(now, manager, &mut out),
            Event::Tick => {}
            Event::Command(command) => self.command(now, command, &mut out),
            Event::Configured(checks) => self.configured(now, checks, &mut out),
            Event::NoticeSpooled(id) => {
                self.pending.remove(&id);
                self.pending_host.remove(&id);
            }
            Event::NoticeDelivered(id) => self.notice_delivered(&id),
        }
        self.run_due(now, &mut out);
        self.review_brake(now, &mut out);
        out
    }

    /// When [`Event::Tick`] should come at the latest; `None`: nothing is ever due.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Mono> {
        [self.wakeups.earliest(), self.brake.due].into_iter().flatten().min()
    }

    /// The notices that are not known to be in the spool: to be asked for again after a restart.
    pub fn pending_notices(&self) -> impl Iterator<Item = &NoticeId> {
        self.pending.keys().chain(self.pending_host.keys())
    }

    /// The units that any check speaks for.
    pub fn units(&self) -> impl Iterator<Item = &UnitName> {
        self.units.keys()
    }

    /// How many checks there are, and the names of those that are down.
    #[must_use]
    pub fn summary(&self) -> (usize, Vec<&CheckName>) {
        let down = self.checks.iter().filter(|(_, state)| state.shown == Health::Down);
        (self.checks.len(), down.map(|(name, _)| name).collect())
    }

    /// How many checks cannot be measured.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.checks.values().filter(|state| state.shown == Health::Unknown).count()
    }

    fn manager_changed(&mut self, now: Now, manager: ManagerState, out: &mut Vec<Action>) {
        self.manager = manager;
        let units: Vec<UnitName> = self.units.keys().cloned().collect();
        for unit in &units {
            self.settle_unit(now, unit, out);
        }
    }

    fn command(&mut self, now: Now, command: Command, out: &mut Vec<Action>) {
        let name = match &command {
            Command::Check(name) | Command::Pause(name, _) | Command::Resume(name) => name.clone(),
        };
        let Some(state) = self.checks.get_mut(&name) else { return };
        match command {
            Command::Check(_) => {
                if state.running.is_none() {
                    self.start_probe(now, &name, true, out);
                }
            }
            Command::Pause(_, lasting) => {
                state.pause = Some((now.mono.after(lasting), now.wall.after(lasting)));
                state.running = None;
            }
            Command::Resume(_) => {
                state.pause = None;
                state.failures = 0;
                state.forget_unmeasured();
                state.next_probe = now.mono;
            }
        }
        self.settle(now, &name, out);
    }

    fn notice_delivered(&mut self, id: &NoticeId) {
        self.pending.remove(id);
        self.pending_host.remove(id);
        let open = self.checks.values_mut().filter_map(|state| state.incident.as_mut());
        for incident in open {
            if incident.id == id.incident {
                incident.delivered = incident.delivered.saturating_add(1);
            }
        }
    }

    fn unit_changed(&mut self, now: Now, unit: &UnitName, state: UnitState, out: &mut Vec<Action>) {
        let Some(watch) = self.units.get_mut(unit) else { return };
        let was = watch.condition.clone();
        let expected_up = watch.checks.iter().any(|name| {
            self.checks.get(name).is_some_and(|check| check.incident.is_some() && check.base == Base::Down)
        });
        let unknown = state.load == LoadState::NotFound;
        watch.read(now, state, expected_up);
        if unknown != watch.unknown_told {
            watch.unknown_told = unknown;
            out.push(changed(None, Some(unit), None, What::UnitUnknown(unknown)));
        }
        self.condition_changed(now, unit, &was, out);
        self.settle_unit(now, unit, out);
    }

    /// Everything that follows from what changed about a unit.
    fn settle_unit(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Action>) {
        self.consider_recovery(now, unit, out);
        let Some(watch) = self.units.get(unit) else { return };
        for name in watch.checks.clone() {
            self.settle_check(now, &name, out);
        }
    }

    /// Everything that follows from what changed about a check.
    fn settle(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        match self.checks.get(name).and_then(|state| state.check.unit.clone()) {
            Some(unit) => self.settle_unit(now, &unit, out),
            None => self.settle_check(now, name, out),
        }
    }

    fn settle_check(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        self.review(now, name, out);
        self.tell(now, name, out);
        self.show(now, name, out);
        self.wake(now, name);
    }

    /// Logs a check's health where it is another than the one last told.
    fn show(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let health = state.health(now, watch);
        if health == state.shown {
            return;
        }
        if health.word() != state.shown.word() {
            state.since = now.wall;
        }
        let from = std::mem::replace(&mut state.shown, health.clone());
        let because =
            state.history.last().map_or_else(String::new, |seen| seen.observation.text().to_owned());
        let incident = state.incident.as_ref().map(|incident| &incident.id);
        let what = What::Health { from, to: health, because };
        out.push(changed(Some(name), state.check.unit.as_ref(), incident, what));
    }
}

/// A transition as an action.
fn changed(
    check: Option<&CheckName>,
    unit: Option<&UnitName>,
    incident: Option<&crate::notice::IncidentId>,
    what: What,
) -> Action {
    Action::Changed(Change { check: check.cloned(), unit: unit.cloned(), incident: incident.cloned(), what })
}

/// How long it is until `at`, in whole seconds, upwards, as people count down.
fn human_until(now: Mono, at: Mono) -> String {
    let seconds = u64::try_from(at.since(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
    crate::time::human(Duration::from_secs(seconds))
}
