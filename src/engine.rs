//! The core: events go in, effects come out.
//!
//! [`Engine::handle`] takes one [`Event`] at one [`Now`] and returns the [`Effect`]s that follow; [`Engine::next_wakeup`]
//! says when it wants an [`Event::Tick`] although nothing happened. There is no I/O, no clock and no randomness in here.
//! "Requested" and "done" are always two events.
//!
//! The rules are numbered in `rules.md` below; code, tests and `stealthctl why` cite these numbers.
//!
//! | module | owns |
//! |---|---|
//! | `event` | the vocabulary at the border |
//! | `group` | one unit (or none) and the checks that monitor it: every decision about them |
//! | `check` | a check's phase, incident, history, probe timer, sampling window |
//! | `unit` | a unit's reading, condition, attempt and backoff |
//! | `stop` | who took a unit down |
//! | `starts` | crash loops and start limits |
//! | `attempt` | one recovery attempt and its stages |
//! | `suppression` | why a check is left alone now, with its end |
//! | `withheld` | why no job is requested now, one wording each |
//! | `graph` | requires, wants and conflicts among units, and what each group publishes about itself |
//! | `breaker` | the brake on correlated failures: surveys, storms, staggered recovery |
//! | `storm_report` | the notifications and journal entries about a storm |
//! | `view` | status, explanation, decision log: read-only |
//! | `configured` | what becomes of everything when the configuration or a unit's name changes |
//! | `saved` | what survives a restart of the daemon |
#![doc = include_str!("engine/rules.md")]

mod attempt;
mod breaker;
mod check;
mod configured;
mod context;
mod event;
mod graph;
mod group;
pub mod hold;
pub mod saved;
mod starts;
mod stop;
mod storm_report;
mod suppression;
mod timers;
mod unit;
mod view;
mod withheld;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use event::{
    AttemptId, Change, ChangeKind, Command, Effect, Event, JobRequest, Reset, RunId, Withdrawal,
};
pub use withheld::Withheld;

use breaker::Breaker;
use context::{Context, Ids, Manager, Outbox};
use graph::Graph;
use group::{Group, GroupKey};
use hold::{HoldAction, HoldEvent, HoldId};
use timers::Timers;

use crate::check::CheckName;
use crate::notification::NotificationId;
use crate::time::{Mono, Now};
use crate::unit::{ManagerState, UnitName, UnitState};

/// Sampling windows are saved no more often than this, as long as nothing else has the state saved.
const WINDOWS_SAVED_EVERY: Duration = Duration::from_secs(60);

/// A group is evaluated at most this often within one event; whatever it still wants comes with the next.
const ROUNDS: usize = 6;

/// The core's whole state.
#[derive(Debug, Default)]
pub struct Engine {
    groups: BTreeMap<GroupKey, Group>,
    /// The group of each check.
    index: BTreeMap<CheckName, GroupKey>,
    /// The primary id of each configured name that is an alias.
    aliases: BTreeMap<UnitName, UnitName>,
    graph: Graph,
    breaker: Breaker,
    manager: Manager,
    timers: Timers<GroupKey>,
    /// Groups that are to be evaluated before the event is over.
    dirty: BTreeSet<GroupKey>,
    outbox: Outbox,
    ids: Ids,
    windows_saved: Mono,
    storm_due: Option<Mono>,
}

impl Engine {
    /// A core that monitors nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event and returns what is to be done, in order.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.manager.pass_time(now.mono) {
            self.manager_changed(now, self.manager.state());
        }
        self.take_in(now, event, &mut out);
        self.evaluate_dirty(now, &mut out);
        self.run_breaker(now, &mut out);
        self.log_decisions(now, &out);
        out
    }

    /// When [`Event::Tick`] should come at the latest; `None`: nothing is ever due.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Mono> {
        let awaited = self.manager.step_ends();
        [self.timers.earliest(), self.breaker.due(), self.storm_due, awaited].into_iter().flatten().min()
    }

    /// The notifications that are not known to be stored: they are requested again after a restart.
    pub fn pending_notifications(&self) -> impl Iterator<Item = &NotificationId> {
        self.outbox.ids()
    }

    /// The units whose readings are wanted: the monitored ones by the names that the configuration uses, and those around
    /// them. Some may come twice.
    pub fn units(&self) -> impl Iterator<Item = &UnitName> {
        self.graph.wanted().chain(self.aliases.keys())
    }

    /// The same, if they are others than when this was last called.
    pub fn take_wanted_units(&mut self) -> Option<BTreeSet<UnitName>> {
        self.graph.take_changed().then(|| self.units().cloned().collect())
    }

    /// The hold with this id that is in force, and its unit.
    #[must_use]
    pub fn held_unit(&self, id: &HoldId) -> Option<&UnitName> {
        self.holds().find(|(_, held)| *held == id).map(|(unit, _)| unit)
    }

    /// The hold that is in force on a unit.
    #[must_use]
    pub fn hold_on(&self, unit: &UnitName) -> Option<&HoldId> {
        let unit = self.primary_id(unit);
        self.holds().find(|(held, _)| *held == unit).map(|(_, id)| id)
    }

    fn holds(&self) -> impl Iterator<Item = (&UnitName, &HoldId)> {
        let units = self.groups.values().filter_map(Group::unit);
        units.filter_map(|unit| Some((unit.id(), unit.hold().filter(|hold| hold.is_open())?.id())))
    }

    fn primary_id<'a>(&'a self, unit: &'a UnitName) -> &'a UnitName {
        self.aliases.get(unit).unwrap_or(unit)
    }

    fn key_of(&self, unit: &UnitName) -> GroupKey {
        GroupKey::Unit(self.primary_id(unit).clone())
    }

    // --- phase 1: the event is taken in

    fn take_in(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Tick => {}
            Event::Observed { check, run, observation } => {
                self.breaker.probe_finished(&check);
                let Some(key) = self.index.get(&check).cloned() else { return };
                let matters =
                    self.with_group(now, &key, out, |group, cx| group.observed(cx, &check, run, observation));
                if matters == Some(true) {
                    self.dirty.insert(key);
                } else {
                    self.set_timer(now, &key);
                }
            }
            Event::Sampled { check, run, sample } => {
                let Some(key) = self.index.get(&check).cloned() else { return };
                self.with_group(now, &key, out, |group, cx| group.sampled(cx, &check, run, sample));
                self.remember_windows(now, out);
                self.dirty.insert(key);
            }
            Event::UnitRead { unit, state } => self.unit_read(now, &unit, Arc::new(state), out),
            Event::UnitResolved { name, id } => self.unit_resolved(now, name, id, out),
            Event::FailuresReset(unit) => self.failures_reset(&unit),
            Event::JobEnded { unit, attempt, result, state } => {
                let state = state.map(Arc::new);
                self.job_ended(now, &unit, (attempt, result), state, out);
            }
            Event::ManagerChanged(state) => self.manager_changed(now, state),
            Event::Command(command) => self.command(now, command, out),
            Event::Hold(event) => self.hold_event(now, event, out),
            Event::Configured(checks) => self.configured(now, checks, out),
            Event::NotificationStored(id) => self.outbox.remove(&id),
            Event::NotificationDelivered(id) => {
                self.outbox.remove(&id);
                self.notification_delivered(&id);
            }
        }
    }

    fn unit_read(&mut self, now: Now, unit: &UnitName, state: Arc<UnitState>, out: &mut Vec<Effect>) {
        let unit = self.primary_id(unit).clone();
        let matters = self.graph.read(now, &unit, &state);
        let key = GroupKey::Unit(unit.clone());
        if self.with_group(now, &key, out, |group, cx| group.unit_read(cx, state)).is_some() {
            self.publish(now, &key);
            self.dirty.insert(key.clone());
        }
        self.take_deferred_readings(now, &unit, out);
        for key in self.graph.touched_by(&unit).into_iter().map(GroupKey::Unit).chain([key]) {
            // What a timer triggers tells about the runs of a job.
            self.with_group(now, &key, out, |group, cx| group.record_runs(cx));
            if matters && self.groups.contains_key(&key) {
                self.dirty.insert(key);
            }
        }
    }

    /// First readings that waited for this one: all of them are taken, and published, before anything is drawn from any.
    fn take_deferred_readings(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Effect>) {
        for name in self.graph.touched_by(unit) {
            let key = GroupKey::Unit(name.clone());
            let taken = self.with_group(now, &key, out, |group, cx| group.take_deferred_reading(cx));
            if taken == Some(true) {
                self.publish(now, &key);
            }
        }
    }

    fn failures_reset(&mut self, unit: &UnitName) {
        let unit = self.primary_id(unit).clone();
        self.graph.record_reset(&unit);
        if let Some(unit) = self.groups.get_mut(&GroupKey::Unit(unit)).and_then(Group::unit_mut) {
            unit.record_reset();
        }
    }

    fn job_ended(
        &mut self,
        now: Now,
        unit: &UnitName,
        (attempt, result): (AttemptId, crate::unit::JobResult),
        state: Option<Arc<UnitState>>,
        out: &mut Vec<Effect>,
    ) {
        let unit = self.primary_id(unit).clone();
        if let Some(state) = &state {
            self.graph.read(now, &unit, state);
        }
        let key = GroupKey::Unit(unit.clone());
        let taken = self
            .with_group(now, &key, out, |group, cx| group.job_ended(cx, attempt, &result, state.as_ref()));
        if taken == Some(false)
            && let Some(state) = state
        {
            // Its attempt was given up; the reading is one like any other.
            self.with_group(now, &key, out, |group, cx| group.unit_read(cx, state));
        }
        self.dirty.extend(self.groups.contains_key(&key).then(|| key.clone()));
        self.mark_neighbours(&unit);
    }

    fn manager_changed(&mut self, now: Now, state: ManagerState) {
        self.manager.change(now.mono, state);
        self.graph.set_unwatched(state == ManagerState::Unreachable);
        let units = self.groups.values_mut().filter_map(Group::unit_mut);
        if state == ManagerState::Unreachable {
            units.for_each(|unit| unit.lose_sight(now.mono));
        } else {
            // All units have been read by now; what has changed was reported.
            units.for_each(unit::Unit::regain_sight);
        }
        self.dirty.extend(self.groups.keys().filter(|key| matches!(key, GroupKey::Unit(_))).cloned());
    }

    fn command(&mut self, now: Now, command: Command, out: &mut Vec<Effect>) {
        let (Command::Check(name) | Command::Pause(name, _) | Command::Resume(name)) = &command;
        let Some(key) = self.index.get(name).cloned() else { return };
        self.with_group(now, &key, out, |group, cx| match &command {
            Command::Check(name) => group.probe_by_command(cx, name),
            Command::Pause(name, lasting) => {
                if let Some(check) = group.check_mut(name) {
                    check.begin_pause(now, *lasting);
                }
            }
            Command::Resume(name) => {
                if let Some(check) = group.check_mut(name) {
                    check.end_pause(now.mono);
                }
            }
        });
        self.dirty.insert(key);
    }

    fn hold_event(&mut self, now: Now, event: HoldEvent, out: &mut Vec<Effect>) {
        match event {
            HoldEvent::Take { id, unit, holder, lasting } => {
                let key = self.key_of(&unit);
                let refused = match self.with_group(now, &key, out, |group, cx| group.refuses_hold(cx)) {
                    None => Some(format!("no check monitors {unit}")),
                    Some(None) if self.holds().count() >= hold::MOST_HOLDS => {
                        Some(format!("there are {} holds already, and no more are given", hold::MOST_HOLDS))
                    }
                    Some(refused) => refused,
                };
                if let Some(why) = refused {
                    out.push(Effect::Hold(HoldAction::Refused { id, why }));
                    return;
                }
                self.with_group(now, &key, out, |group, cx| group.take_hold(cx, id, holder, lasting));
                self.dirty.insert(key);
            }
            HoldEvent::End(id, how) => {
                if let Some(unit) = self.held_unit(&id).cloned() {
                    let key = GroupKey::Unit(unit);
                    self.with_group(now, &key, out, |group, cx| group.end_hold(cx, how));
                    self.dirty.insert(key);
                }
            }
            HoldEvent::Kept(ids) => {
                let lost: Vec<UnitName> =
                    self.holds().filter(|(_, id)| !ids.contains(*id)).map(|(unit, _)| unit.clone()).collect();
                for key in lost.into_iter().map(GroupKey::Unit) {
                    self.with_group(now, &key, out, |group, cx| group.end_hold(cx, hold::HowEnded::Lost));
                    self.dirty.insert(key);
                }
            }
        }
    }

    fn notification_delivered(&mut self, id: &NotificationId) {
        let named = id.incident.check().and_then(|check| CheckName::new(check).ok());
        let Some(name) = named else { return };
        let Some(group) = self.index.get(&name).and_then(|key| self.groups.get_mut(key)) else { return };
        let incident = group.check_mut(&name).and_then(check::Check::incident_mut);
        if let Some(incident) = incident.filter(|incident| *incident.id() == id.incident) {
            incident.record_delivery();
        }
    }

    /// Has the state saved every now and then, so that a daemon that is killed forgets little of its windows.
    fn remember_windows(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.mono.since(self.windows_saved) >= WINDOWS_SAVED_EVERY {
            self.windows_saved = now.mono;
            out.push(Effect::Remember);
        }
    }

    // --- phase 2: what it made dirty, and what is due, is evaluated

    /// First every group that is concerned draws its consequences, and publishes them; then they act, one after the other.
    fn evaluate_dirty(&mut self, now: Now, out: &mut Vec<Effect>) {
        let mut rounds: BTreeMap<GroupKey, usize> = BTreeMap::new();
        let mut acting: BTreeSet<GroupKey> = BTreeSet::new();
        loop {
            let key = if let Some(key) = self.dirty.pop_first() {
                key
            } else if let Some(key) = self.timers.pop(now.mono) {
                if self.with_group(now, &key, out, Group::probe_if_calm) == Some(true) {
                    self.set_timer(now, &key);
                    continue;
                }
                key
            } else if let Some(key) = acting.pop_first() {
                self.act(now, &key, out);
                continue;
            } else {
                return;
            };
            let round = rounds.entry(key.clone()).or_default();
            *round += 1;
            if *round > ROUNDS {
                // Whatever it still wants at this very moment comes with the next event.
                self.timers.set(&key, Some(now.mono.after(Duration::from_millis(1))));
                continue;
            }
            self.observe(now, &key, out);
            acting.insert(key);
        }
    }

    fn observe(&mut self, now: Now, key: &GroupKey, out: &mut Vec<Effect>) {
        if self.with_group(now, key, out, |group, cx| group.expire(cx)).is_none() {
            self.timers.set(key, None);
            return;
        }
        self.publish(now, key);
        self.with_group(now, key, out, |group, cx| group.observe(cx));
        self.publish(now, key);
    }

    fn act(&mut self, now: Now, key: &GroupKey, out: &mut Vec<Effect>) {
        self.with_group(now, key, out, |group, cx| group.act(cx));
        self.set_timer(now, key);
        self.publish(now, key);
    }

    /// Publishes the group's summary in the graph; where it has changed, its neighbours are evaluated as well.
    fn publish(&mut self, now: Now, key: &GroupKey) {
        let summary = self.groups.get(key).map(|group| group.summary(now));
        if let (GroupKey::Unit(unit), Some(summary)) = (key, summary)
            && self.graph.publish(unit, summary)
        {
            self.mark_neighbours(unit);
        }
    }

    fn mark_neighbours(&mut self, unit: &UnitName) {
        self.dirty.extend(self.graph.touched_by(unit).into_iter().map(GroupKey::Unit));
    }

    fn set_timer(&mut self, now: Now, key: &GroupKey) {
        let mut unused = Vec::new();
        let at = self.with_group(now, key, &mut unused, |group, cx| group.next_wakeup(cx));
        self.timers.set(key, at.flatten());
    }

    /// Lets a group take a step.
    fn with_group<R>(
        &mut self,
        now: Now,
        key: &GroupKey,
        out: &mut Vec<Effect>,
        step: impl FnOnce(&mut Group, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(key)?;
        let mut probe_units = Vec::new();
        let mut context = Context {
            now,
            manager: self.manager,
            graph: &self.graph,
            breaker: &mut self.breaker,
            ids: &mut self.ids,
            outbox: &mut self.outbox,
            out,
            probe_units: &mut probe_units,
        };
        let result = step(group, &mut context);
        for key in probe_units.into_iter().map(GroupKey::Unit) {
            if let Some(group) = self.groups.get_mut(&key) {
                group.probe_for_dependent(now.mono);
                self.dirty.insert(key);
            }
        }
        Some(result)
    }

    // --- phase 3: the breaker

    fn run_breaker(&mut self, now: Now, out: &mut Vec<Effect>) {
        for _ in 0..ROUNDS {
            let waiting = self.breaker.review(now);
            let probes = self.breaker.take_probes();
            self.report_storms(now, out);
            if waiting.is_empty() && probes.is_empty() {
                break;
            }
            for name in probes {
                let Some(key) = self.index.get(&name).cloned() else { continue };
                self.with_group(now, &key, out, |group, cx| group.probe_for_survey(cx, &name));
                self.set_timer(now, &key);
            }
            self.dirty.extend(waiting.iter().filter_map(|name| self.index.get(name)).cloned());
            self.evaluate_dirty(now, out);
        }
        self.notify_storm(now, out);
    }
}
