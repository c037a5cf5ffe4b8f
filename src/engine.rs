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
//! | `schedule` | when a check is probed |
//! | `state` | what is remembered of a check |
//! | `watch` | what a unit's state means, and the attempt under way on it |
//! | `health` | observations become passing, failing, down |
//! | `recovery` | which job may be asked for, when, and whether it helped |
//! | `outlook` | what comes next, for the schedule and for people |
//! | `incident` | which notices are due |
//! | `snapshot` | the status that people see |
//! | `saved` | what survives a restart of the daemon |

mod event;
mod health;
mod incident;
mod outlook;
mod recovery;
pub mod saved;
mod schedule;
mod snapshot;
mod state;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use event::{Action, AttemptId, Change, Command, Event, RunId, What};
use schedule::Wakeups;
use state::{Base, CheckState, Run};
use watch::UnitWatch;

use crate::check::{Check, CheckName, Probe};
use crate::notice::{Notice, NoticeId};
use crate::time::{Mono, Now};
use crate::unit::{LoadState, ManagerState, UnitName, UnitState};
use crate::verdict::Health;

/// A probe that was not heard of this long after its deadline is lost: whoever runs it broke its promise.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// The core's whole state.
#[derive(Debug, Default)]
pub struct Engine {
    checks: BTreeMap<CheckName, CheckState>,
    units: BTreeMap<UnitName, UnitWatch>,
    manager: ManagerState,
    wakeups: Wakeups,
    /// Notices that are not known to be in the spool yet.
    pending: BTreeMap<NoticeId, Notice>,
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
            }
            Event::NoticeDelivered(id) => self.notice_delivered(&id),
        }
        self.run_due(now, &mut out);
        out
    }

    /// When [`Event::Tick`] should come at the latest; `None`: nothing is ever due.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Mono> {
        self.wakeups.earliest()
    }

    /// The notices that are not known to be in the spool: to be asked for again after a restart.
    pub fn pending_notices(&self) -> impl Iterator<Item = &Notice> {
        self.pending.values()
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

    fn configured(&mut self, now: Now, checks: Vec<Check>, out: &mut Vec<Action>) {
        let mut old = std::mem::take(&mut self.checks);
        let mut old_units = std::mem::take(&mut self.units);
        for check in checks {
            let name = check.name.clone();
            if let Some(unit) = &check.unit {
                let watch = self.units.entry(unit.clone()).or_insert_with(|| {
                    let mut watch = old_units.remove(unit).unwrap_or_else(UnitWatch::new);
                    watch.checks.clear();
                    watch
                });
                watch.checks.push(name.clone());
            }
            let previous = old.remove(&name);
            let kept = previous.as_ref().is_some_and(|previous| previous.check.unit == check.unit);
            if let Some(previous) = previous.as_ref().filter(|_| !kept) {
                forgotten(previous, out);
            }
            let state = adopt(now, check, previous);
            self.checks.insert(name, state);
        }
        for (name, state) in old {
            self.wakeups.set(&name, None);
            forgotten(&state, out);
        }
        for watch in self.units.values_mut() {
            watch.checks.sort();
            // A check that asked for an attempt and is gone now can no longer judge it; any that is left can.
            if let Some(attempt) = &mut watch.attempt
                && !watch.checks.contains(&attempt.by)
                && let Some(heir) = watch.checks.first()
            {
                attempt.by = heir.clone();
            }
        }
        let names: Vec<CheckName> = self.checks.keys().cloned().collect();
        for name in &names {
            self.settle(now, name, out);
        }
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
                state.next_probe = now.mono;
            }
        }
        self.settle(now, &name, out);
    }

    fn notice_delivered(&mut self, id: &NoticeId) {
        self.pending.remove(id);
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

    /// Sets the check's wake-up: the earliest of everything that may become due for it.
    fn wake(&mut self, now: Now, name: &CheckName) {
        let Some(state) = self.checks.get(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let later = |at: &Mono| *at > now.mono;
        let at = if let Some((until, _)) = state.pause {
            Some(until)
        } else {
            let probe = state.running.map_or(state.next_probe, |run| run.lost_at);
            let stop_ends = state.stop_respected(now, watch).flatten();
            let tell = match &state.incident {
                Some(incident) if stop_ends.is_none() => {
                    incident.next_due(&state.check, outlook::pending(state, watch)).filter(later)
                }
                _ => None,
            };
            let attempt = watch.and_then(|watch| outlook::next_look(state, watch)).filter(later);
            [Some(probe), stop_ends, tell, attempt].into_iter().flatten().min()
        };
        self.wakeups.set(name, at);
    }

    /// Does what is due for the checks whose moment has come.
    fn run_due(&mut self, now: Now, out: &mut Vec<Action>) {
        // Each check is looked at once: whatever it wants next is at a later moment.
        for _ in 0..self.checks.len() {
            let Some(name) = self.wakeups.pop(now.mono) else { break };
            self.due(now, &name, out);
        }
    }

    fn due(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        if let Some((until, _)) = state.pause
            && until <= now.mono
        {
            state.pause = None;
            state.failures = 0;
            state.next_probe = now.mono;
        }
        if state.running.is_some_and(|run| run.lost_at <= now.mono) {
            state.running = None;
            state.next_probe = now.mono;
            let reason = "the probe was not heard of again".to_owned();
            state.record(now, crate::verdict::Observation::Unknown { reason });
        }
        if !state.paused() && state.running.is_none() && state.next_probe <= now.mono {
            let late = now.mono.since(state.next_probe);
            if late > schedule::MISSED_AFTER && !state.put_off {
                state.put_off = true;
                state.next_probe = schedule::first(name, state.check.schedule.every, now.mono);
            } else {
                self.start_probe(now, name, false, out);
            }
        }
        self.stop_overdue(now, name, out);
        self.settle(now, name, out);
    }

    /// Starts a check's probe, or looks at its unit where that is the check. `by_hand`: an operator asked for it, so a
    /// unit is read afresh.
    fn start_probe(&mut self, now: Now, name: &CheckName, by_hand: bool, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        state.put_off = false;
        state.probed = now.mono;
        if state.check.probe == Probe::Unit && !by_hand {
            state.next_probe = state.next_on_grid(now.mono);
            self.look_at_unit(now, name, out);
            return;
        }
        let run = RunId(self.next_run);
        self.next_run += 1;
        let timeout = state.check.schedule.timeout;
        state.running =
            Some(Run { id: run, started: now.mono, lost_at: now.mono.after(timeout).after(LOST_AFTER) });
        out.push(Action::Probe {
            check: name.clone(),
            run,
            probe: state.check.probe.clone(),
            unit: state.check.unit.clone(),
            timeout,
        });
    }
}

/// The state of a newly configured check: what is known of it under this name is kept; counters only where it is the
/// same check still.
fn adopt(now: Now, check: Check, old: Option<CheckState>) -> CheckState {
    let check = Arc::new(check);
    let first = schedule::first(&check.name, check.schedule.every, now.mono);
    match old {
        None => CheckState::new(check, now, first),
        Some(old) if *old.check == *check => old,
        Some(old) => {
            let same_unit = old.check.unit == check.unit;
            let mut state = CheckState::new(check, now, first);
            state.pause = old.pause;
            state.history = old.history;
            state.last_incident = old.last_incident;
            state.shown = old.shown;
            state.since = old.since;
            if same_unit && old.incident.is_some() {
                state.incident = old.incident;
                state.base = Base::Down;
                state.climbed = old.climbed;
                state.tries = old.tries;
            }
            state
        }
    }
}

/// A check is no longer configured, or speaks for another unit now: its incident ends with it.
fn forgotten(state: &CheckState, out: &mut Vec<Action>) {
    if let Some(incident) = &state.incident {
        let what = What::IncidentClosed { since: incident.since, attempts: incident.attempts_total };
        out.push(changed(Some(&state.check.name), state.check.unit.as_ref(), Some(&incident.id), what));
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
