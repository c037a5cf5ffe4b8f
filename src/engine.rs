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
//! | `graph` | who needs whom and who displaces whom, by systemd's word |
//! | `displaced` | a unit that is down because another is up |
//! | `blocked` | a unit that needs one with an incident |
//! | `look` | what a reading of a unit means for its checks |
//! | `usage` | a row of samples becomes an observation |
//! | `ran` | when a job last ran well |
//! | `crash_loop` | systemd restarting a unit again and again |
//! | `hold` | units that somebody's command has, and their return |
//! | `health` | observations become passing, failing, down |
//! | `unmeasured` | checks that cannot be measured |
//! | `storm` | what is remembered while many fail together |
//! | `brake` | when that is the machine, and what is not done then |
//! | `storm_told` | the mails about it |
//! | `recovery` | which job is asked for, when, and whether it helped |
//! | `permit` | whether a job may be asked for now |
//! | `proof` | attempts whose effect shows only after a while |
//! | `incurable` | the rung that is next, and failures that no job on the unit would change |
//! | `outlook` | what comes next, for the schedule and for people |
//! | `incident` | which notices are due |
//! | `snapshot` | the status that people see |
//! | `trail` | what was decided about each check |
//! | `why` | why a check is as it is now |
//! | `saved` | what survives a restart of the daemon |

mod blocked;
mod brake;
mod configured;
mod crash_loop;
mod displaced;
mod event;
mod graph;
mod health;
pub mod hold;
mod incident;
mod incurable;
mod look;
mod outlook;
mod permit;
mod proof;
mod ran;
mod recovery;
pub mod saved;
mod schedule;
mod snapshot;
mod state;
mod storm;
mod storm_told;
mod trail;
mod turn;
mod unmeasured;
mod usage;
mod watch;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use event::{Action, AttemptId, Change, Command, Event, JobRequest, RunId, What};
use graph::Graph;
use schedule::Wakeups;
use state::{Base, CheckState};
use storm::Brake;
use watch::{Condition, UnitWatch};

use crate::check::CheckName;
use crate::notice::{HostNotice, Notice, NoticeId};
use crate::time::{Mono, Now};
use crate::unit::{ActiveState, LoadState, ManagerState, UnitName, UnitState};
use crate::verdict::{Health, Observation, Seen};

/// The core's whole state.
#[derive(Debug, Default)]
pub struct Engine {
    checks: BTreeMap<CheckName, CheckState>,
    units: BTreeMap<UnitName, UnitWatch>,
    graph: Graph,
    /// Guarded units whose surroundings have changed in this event.
    stirred: BTreeSet<UnitName>,
    manager: ManagerState,
    wakeups: Wakeups,
    brake: Brake,
    /// Notices that are not known to be in the spool yet.
    pending: BTreeMap<NoticeId, Notice>,
    /// The same of notices about the machine.
    pending_host: BTreeMap<NoticeId, HostNotice>,
    /// When the state was last saved for the sake of the windows of samples.
    windows_saved: Mono,
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
            Event::Sampled { check, run, sample } => self.sampled(now, &check, run, sample, &mut out),
            Event::UnitResolved { .. } => {}
            Event::UnitChanged { unit, state } => self.unit_changed(now, &unit, state, &mut out),
            Event::JobEnded { unit, attempt, result, state } => {
                self.job_ended(now, &unit, attempt, result, state, &mut out);
            }
            Event::ManagerChanged(manager) => self.manager_changed(now, manager, &mut out),
            Event::Tick => {}
            Event::Command(command) => self.command(now, command, &mut out),
            Event::Hold(event) => self.hold_event(now, event, &mut out),
            Event::Configured(checks) => self.configured(now, checks, &mut out),
            Event::NoticeSpooled(id) => {
                self.pending.remove(&id);
                self.pending_host.remove(&id);
            }
            Event::NoticeDelivered(id) => self.notice_delivered(&id),
        }
        // What is due may stir up what needs it, which is then due itself, along the longest way through the graph.
        for _ in 0..=self.units.len() {
            self.settle_stirred(now, &mut out);
            self.run_due(now, &mut out);
            if self.stirred.is_empty() && self.wakeups.earliest().is_none_or(|at| at > now.mono) {
                break;
            }
        }
        self.review_brake(now, &mut out);
        self.remember(now, &out);
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

    /// The units whose readings are wanted: those that checks speak for, what these require, directly or not, what
    /// conflicts with any of these, and what timers among them trigger. Some may come twice.
    pub fn units(&self) -> impl Iterator<Item = &UnitName> {
        let triggered = self.units.values().filter_map(|watch| watch.triggered.as_ref());
        self.graph.wanted().chain(triggered.map(|triggered| &triggered.name))
    }

    /// The same, if they are others than when this was last called.
    pub fn take_wanted_units(&mut self) -> Option<BTreeSet<UnitName>> {
        self.graph.take_changed().then(|| self.units().cloned().collect())
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
                state.usage.forget();
            }
            Command::Resume(_) => {
                state.pause = None;
                state.failures = 0;
                state.forget_unmeasured();
                state.next_probe = now.mono;
            }
        }
        self.settle(now, &name, out);
        if let Some(unit) = self.checks.get(&name).and_then(|state| state.check.unit.clone()) {
            self.stir(now, &unit);
        }
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
        self.triggered_changed(now, unit, &state, out);
        let matters = self.graph.read(now, unit, &state);
        if self.must_wait_for_its_place(now, unit, &state) {
            if let Some(watch) = self.units.get_mut(unit) {
                let since = watch.unplaced.take().map_or(now.mono, |unplaced| unplaced.1);
                watch.unplaced = Some(Box::new((state, since)));
            }
            self.settle_unit(now, unit, out);
        } else {
            self.unit_read(now, unit, state, out);
        }
        if matters {
            self.stir(now, unit);
        }
    }

    /// Takes a reading of a guarded unit whose surroundings are known.
    fn unit_read(&mut self, now: Now, unit: &UnitName, state: UnitState, out: &mut Vec<Action>) {
        let Some(watch) = self.units.get_mut(unit) else { return };
        watch.unplaced = None;
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
        self.follow_timer(unit);
        self.look_around(now, unit);
        self.condition_changed(now, unit, &was, out);
        self.settle_unit(now, unit, out);
    }

    /// A unit that is found down at the first look may be so because of another one, which is not read yet: what is
    /// around a unit is known only from its first reading.
    fn must_wait_for_its_place(&self, now: Now, unit: &UnitName, state: &UnitState) -> bool {
        let Some(watch) = self.units.get(unit) else { return false };
        let down = matches!(state.active, ActiveState::Inactive | ActiveState::Failed);
        let patient = watch.placed_by().is_none_or(|by| now.mono < by);
        watch.condition == Condition::Unread && down && patient && !self.graph.is_known(unit)
    }

    /// Takes the first reading of a unit that waited for those of what is around it, once they are there.
    fn place_reading(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Action>) {
        let waiting = self.units.get(unit).and_then(|watch| watch.unplaced.as_ref());
        let Some(state) = waiting.map(|unplaced| unplaced.0.clone()) else { return };
        if !self.must_wait_for_its_place(now, unit, &state) {
            self.unit_read(now, unit, state, out);
            self.stir(now, unit);
        }
    }

    /// Everything that follows from what changed about a unit.
    fn settle_unit(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Action>) {
        self.bring_back(now, unit, out);
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
        if health == state.shown
            || watch.and_then(|watch| watch.stop_shown_from()).is_some_and(|at| now.mono < at)
        {
            return;
        }
        if health.word() != state.shown.word() {
            state.since = now.wall;
        }
        let from = std::mem::replace(&mut state.shown, health.clone());
        let passes = |seen: &Seen| matches!(seen.observation, Observation::Passing { .. });
        let because = match state.history.last() {
            // What was seen while it was left alone does not count.
            last if health == Health::Passing && !last.is_some_and(passes) => {
                "no failure counts against it".to_owned()
            }
            last => last.map_or_else(String::new, |seen| seen.observation.text().to_owned()),
        };
        let incident = state.incident.as_ref().map(|incident| &incident.id);
        let what = What::Health { from, to: health, because };
        let unit = state.check.unit.clone();
        out.push(changed(Some(name), unit.as_ref(), incident, what));
        if let Some(unit) = unit {
            // Whether it is left alone is of concern to those that need it.
            self.stir(now, &unit);
        }
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
