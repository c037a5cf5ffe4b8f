//! systemd's graph around the monitored units: what they require, what their start pulls in, what they conflict with, and
//! how each of those is (rules 8 and 9).
//!
//! In: readings of units, monitored or not, and a summary that each group publishes about itself. Out: answers about a
//! unit's surroundings, and the names of the units whose readings are wanted. It decides nothing.
//!
//! | file | what it owns |
//! |---|---|
//! | `node` | one unit: its reading, and how it came and went |
//! | `neighbours` | which units are around which |
//! | `roots` | what a unit is down for, or went down with |
//! | `consequences` | what a job on a unit would do to others |

mod consequences;
mod neighbours;
mod node;
mod roots;

pub(super) use roots::Root;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::stop::StopRecord;
use crate::check::CheckName;
use crate::time::{Mono, Now};
use crate::unit::{ActiveState, Relations, UnitName, UnitState};
use neighbours::Neighbours;
use node::Node;

/// Readings of one systemd transaction come one by one, in any order. What is no further apart than this may belong
/// together. It is short for a person, and long for a bus.
pub(super) const TOGETHER: Duration = Duration::from_secs(5);

/// What a group publishes about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// The earliest open incident that does not pass again.
    pub incident: Option<RootIncident>,
    /// Its checks are suppressed, for a reason of its own (not a dependency).
    pub suppressed: Option<Suppressed>,
    /// Its first reading is kept until those of the units around it are there.
    pub deferred: bool,
    /// A check of it fails, and is not down yet.
    pub failing: bool,
    /// An operator has stopped it and that is still respected, or its own `stop` step has.
    pub stopped: bool,
    /// Since when it is held.
    pub held_since: Option<Mono>,
    /// Until when one more start would trigger its `StartLimitAction=`.
    pub start_limit_action_until: Option<Mono>,
    /// Its checks, and whether each does well.
    pub checks: Vec<(CheckName, bool)>,
}

/// An open incident, as its dependents see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RootIncident {
    pub opened: Mono,
    /// A job on the unit may still recover it.
    pub recoverable: bool,
    /// No notification is sent about it.
    pub silent: bool,
}

/// A unit whose checks are suppressed, as its dependents see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    /// It is paused: it may be down for any reason, and no notification is sent.
    pub silent: bool,
    /// It has made room for another unit.
    pub displaced: bool,
}

/// The graph.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<UnitName, Node>,
    neighbours: Neighbours,
    /// The records of units without checks from an earlier run of the daemon or an earlier configuration, until a node
    /// takes them over.
    remembered: Memory,
    /// For each monitored unit: the units that steps of its checks start.
    started: BTreeMap<UnitName, BTreeSet<UnitName>>,
    /// The set of wanted units has changed since it was last taken.
    changed: bool,
}

/// The stop records of units without checks. They survive a restart of the daemon.
pub(super) type Memory = BTreeMap<UnitName, StopRecord>;

impl Graph {
    /// Sets the units that checks monitor, with whether what each triggers matters to its checks, and the units that their
    /// steps start.
    pub fn set_monitored(
        &mut self,
        now: Now,
        monitored: &BTreeMap<UnitName, bool>,
        started: BTreeMap<UnitName, BTreeSet<UnitName>>,
    ) {
        self.changed = true;
        self.started = started;
        for (name, node) in &mut self.nodes {
            if !monitored.contains_key(name) {
                node.release(now);
            }
        }
        for (name, follows_trigger) in monitored {
            self.nodes.entry(name.clone()).or_default().monitor(*follows_trigger);
        }
        for name in self.neighbours.centres().cloned().collect::<Vec<_>>() {
            self.place(&name);
        }
        for name in monitored.keys() {
            self.place(name);
        }
        self.prune();
        for (name, node) in &mut self.nodes {
            if node.reading().is_some()
                && !node.is_monitored()
                && let Some(stops) = self.remembered.remove(name)
            {
                node.recall(stops);
            }
        }
    }

    /// Takes a reading. Returns whether anything of it matters to other units.
    pub fn read(&mut self, now: Now, unit: &UnitName, state: &Arc<UnitState>) -> bool {
        let Some(node) = self.nodes.get_mut(unit) else { return false };
        if node.reading().is_none()
            && let Some(stops) = self.remembered.remove(unit)
        {
            node.recall(stops);
        }
        let before = node.outline();
        let rewired = node
            .reading()
            .is_none_or(|old| old.relations != state.relations || old.triggers != state.triggers)
            && (state.relations.is_some() || state.triggers.is_some() || node.reading().is_some());
        node.read(now, state);
        self.forget_displacing_stops(unit);
        let moved = self.node(unit).is_some_and(|node| before != node.outline());
        if rewired {
            for name in self.touched_by(unit) {
                self.place(&name);
            }
            self.place(unit);
            self.prune();
        }
        moved || rewired || self.neighbours.contains(unit)
    }

    /// systemd stops what conflicts with a unit that it starts: of units without checks such a stop is no operator's.
    fn forget_displacing_stops(&mut self, unit: &UnitName) {
        let conflicts = self.relations(unit).map(|relations| relations.conflicts.clone()).unwrap_or_default();
        for rival in conflicts {
            for (down, up) in [(unit, &rival), (&rival, unit)] {
                let made_room =
                    self.node(up).zip(self.node(down)).is_some_and(|(up, down)| down.made_room_for(up));
                if made_room && let Some(node) = self.nodes.get_mut(down) {
                    node.forget_stop();
                }
            }
        }
    }

    /// Whether systemd cannot be reached.
    pub fn set_unwatched(&mut self, unwatched: bool) {
        self.nodes.values_mut().for_each(|node| node.set_unwatched(unwatched));
    }

    /// Keeps the stop record of a unit that no check monitors any more.
    pub fn remember(&mut self, unit: &UnitName, stops: &StopRecord) {
        self.remembered.insert(unit.clone(), stops.clone());
    }

    /// The remembered stop of a unit that a check monitors from now on, if there is one.
    pub fn recall(&mut self, unit: &UnitName) -> Option<StopRecord> {
        let seen = self.node(unit).and_then(Node::stops).cloned();
        seen.or_else(|| self.remembered.remove(unit)).filter(|stops| stops.stop().is_some())
    }

    /// systemd's counters of a unit were reset.
    pub fn record_reset(&mut self, unit: &UnitName) {
        if let Some(node) = self.nodes.get_mut(unit) {
            node.record_reset();
        }
    }

    /// See [`Memory`].
    pub fn memory(&self) -> Memory {
        let seen = self.nodes.iter().filter_map(|(name, node)| Some((name.clone(), node.stops()?.clone())));
        self.remembered.clone().into_iter().chain(seen).collect()
    }

    /// The graph after a restart of the daemon in the same boot.
    pub fn restore(&mut self, memory: Memory) {
        self.remembered = memory;
    }

    /// Publishes a group's summary. Returns whether it has changed.
    pub fn publish(&mut self, unit: &UnitName, summary: Summary) -> bool {
        self.nodes.get_mut(unit).is_some_and(|node| node.publish(summary))
    }

    /// The latest reading of a unit.
    pub fn reading(&self, unit: &UnitName) -> Option<&Arc<UnitState>> {
        self.node(unit)?.reading()
    }

    /// Whether other units are wanted than when this was last called.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The units whose readings are wanted.
    pub fn wanted(&self) -> impl Iterator<Item = &UnitName> {
        self.nodes.keys()
    }

    /// The monitored units that have this one around them.
    pub fn touched_by(&self, unit: &UnitName) -> Vec<UnitName> {
        self.neighbours.touched_by(unit).cloned().collect()
    }

    /// Whether all that is around the unit has been read.
    pub fn is_known(&self, unit: &UnitName) -> bool {
        let read = |name: &UnitName| self.node(name).is_some_and(|node| node.reading().is_some());
        self.neighbours.around(unit).is_none_or(|around| around.iter().all(read))
    }

    /// What the unit requires, directly or not.
    pub fn required(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        self.closure(unit, |relations, found| found.extend(relations.requires.iter().cloned()))
    }

    /// The units whose stop stops this one, directly or not: what it requires, is bound to or is a part of.
    fn stopped_with(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        self.closure(unit, |relations, found| {
            let lists = [&relations.requires, &relations.binds_to, &relations.part_of];
            found.extend(lists.into_iter().flatten().cloned());
        })
    }

    /// The units that this one is bound to, directly or indirectly: systemd stops it when one of them ends.
    fn bound_to(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        self.closure(unit, |relations, found| found.extend(relations.binds_to.iter().cloned()))
    }

    /// What a start of the unit starts as well, directly or not.
    fn pulled_in(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        self.closure(unit, |relations, found| {
            // A target wants everything there is; what it needs is not followed.
            let wants = relations.wants.iter().filter(|name| name.kind() != "target");
            found.extend(relations.requires.iter().chain(wants).cloned());
        })
    }

    /// The monitored units that require this one, directly or not.
    pub fn requiring(&self, unit: &UnitName) -> Vec<UnitName> {
        self.touched_by(unit).into_iter().filter(|other| self.required(other).contains(unit)).collect()
    }

    /// The checks of the monitored units that require this one, with their unit and whether they do well.
    pub fn dependents(&self, unit: &UnitName) -> Vec<(CheckName, UnitName, bool)> {
        let mut found = Vec::new();
        for name in self.requiring(unit) {
            let checks = self.node(&name).and_then(Node::summary).map(|summary| &summary.checks);
            found.extend(
                checks.into_iter().flatten().map(|(check, well)| (check.clone(), name.clone(), *well)),
            );
        }
        found
    }

    /// The unit that stands in the way of this one's start, and since when: one that is up, or about to be, and conflicts
    /// with it, or with something it requires that is down and would be started with it.
    pub fn in_the_way_of(&self, unit: &UnitName) -> Option<(UnitName, Mono)> {
        self.occupier(unit).or_else(|| {
            let required = self.required(unit);
            required.iter().filter(|name| self.is_down(name)).find_map(|name| self.occupier(name))
        })
    }

    /// Whether the unit is known to be down.
    pub fn is_down(&self, unit: &UnitName) -> bool {
        self.node(unit).is_some_and(Node::is_down)
    }

    /// Whether the unit is known to be up.
    pub fn is_up(&self, unit: &UnitName) -> bool {
        matches!(self.node(unit).and_then(Node::active), Some(ActiveState::Active | ActiveState::Reloading))
    }

    /// When the unit began to go down, if that was seen.
    pub fn fell(&self, unit: &UnitName) -> Option<Mono> {
        self.node(unit)?.fell()
    }

    /// The units that a stop or restart of this unit stops or restarts as well, directly or indirectly.
    fn taken_along(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        self.closure(unit, |relations, found| {
            found.extend(relations.required_by.iter().chain(&relations.consists_of).cloned());
        })
    }

    fn is_held(&self, unit: &UnitName) -> bool {
        self.node(unit).and_then(Node::held_since).is_some()
    }

    /// A check of something that the unit requires fails, and it is not settled yet whether that is down.
    pub fn has_failing_dependency(&self, unit: &UnitName) -> bool {
        self.neighbours.around(unit).is_some()
            && self
                .required(unit)
                .iter()
                .any(|name| self.node(name).and_then(Node::summary).is_some_and(|summary| summary.failing))
    }

    /// A part of the unit (`ConsistsOf=`) that has failed, with its state.
    pub fn failed_part(&self, unit: &UnitName) -> Option<(UnitName, String)> {
        let relations = self.relations(unit)?;
        relations.consists_of.iter().find_map(|part| {
            let state = self.reading(part)?;
            (state.active == ActiveState::Failed).then(|| (part.clone(), state.describe()))
        })
    }

    fn occupier(&self, unit: &UnitName) -> Option<(UnitName, Mono)> {
        let relations = self.relations(unit)?;
        relations.conflicts.iter().find_map(|name| Some((name.clone(), self.node(name)?.occupied()?)))
    }

    fn node(&self, unit: &UnitName) -> Option<&Node> {
        self.nodes.get(unit)
    }

    fn relations(&self, unit: &UnitName) -> Option<&Relations> {
        self.node(unit)?.relations()
    }

    /// What is reached from the unit by `edges`, without the unit itself.
    fn closure(&self, unit: &UnitName, edges: impl Fn(&Relations, &mut Vec<UnitName>)) -> BTreeSet<UnitName> {
        let mut found = BTreeSet::new();
        let mut open = vec![unit.clone()];
        let mut next = Vec::new();
        while let Some(name) = open.pop() {
            if let Some(relations) = self.relations(&name) {
                edges(relations, &mut next);
            }
            for name in next.drain(..) {
                if name != *unit && found.insert(name.clone()) {
                    open.push(name);
                }
            }
        }
        found
    }

    /// Works out what is around a unit, if it is monitored, and adds what is new to the graph.
    fn place(&mut self, unit: &UnitName) {
        let monitored = self.node(unit).is_some_and(Node::is_monitored);
        let around = if monitored { self.surroundings(unit) } else { BTreeSet::new() };
        for name in &around {
            if !self.nodes.contains_key(name) {
                self.nodes.insert(name.clone(), Node::default());
                self.changed = true;
            }
        }
        self.neighbours.set(unit, around);
    }

    fn surroundings(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        let mut around = self.stopped_with(unit);
        // What a job on the unit, or a step, starts or restarts; what a start of these starts as well; what would be stopped
        // for that, and what their end starts.
        let steps = self.started.get(unit).into_iter().flatten().cloned();
        let acted_on: Vec<UnitName> =
            self.taken_along(unit).into_iter().chain(steps).chain([unit.clone()]).collect();
        let started: Vec<UnitName> = acted_on.iter().flat_map(|name| self.pulled_in(name)).collect();
        let of = |name| self.relations(name);
        let rivals =
            around.iter().chain(&acted_on).chain(&started).filter_map(of).flat_map(|of| &of.conflicts);
        let at_end = acted_on.iter().chain(&started).filter_map(of).flat_map(|of| &of.at_end);
        let others: Vec<UnitName> = rivals.chain(at_end).cloned().collect();
        if self.node(unit).is_some_and(Node::follows_trigger) {
            around.extend(self.reading(unit).and_then(|state| state.triggers.clone()));
        }
        around.extend(acted_on.into_iter().chain(started).chain(others));
        around.remove(unit);
        around
    }

    /// Drops what is around no unit any more.
    fn prune(&mut self) {
        let before = self.nodes.len();
        self.nodes.retain(|name, node| node.is_monitored() || self.neighbours.contains(name));
        self.changed |= self.nodes.len() != before;
    }
}

fn is_down(active: ActiveState) -> bool {
    matches!(active, ActiveState::Inactive | ActiveState::Failed)
}

#[cfg(test)]
mod tests;
