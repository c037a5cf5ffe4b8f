//! systemd's graph around the guarded units: who needs whom, who cannot stand beside whom, and how each of them is.
//!
//! In: readings of units, guarded or not. Out: answers to questions about a unit's surroundings, and the names of the
//! units whose readings are wanted. Units that no check speaks for are looked at lightly here: they have a state, never
//! an incident and never a job. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::time::{Mono, Now};
use crate::unit::{ActiveState, JobKind, Relations, UnitName, UnitState};

/// Of one transaction of systemd the readings of several units come one by one, in any order. What is no further apart
/// than this may belong together. It is short for a person, and long for a bus.
pub(super) const TOGETHER: Duration = Duration::from_secs(5);

/// systemd stops what is bound to a unit that has ended in the next turn of its loop; two readings of one moment are
/// less apart than this. Longer, and somebody's stop would soon be taken for systemd's.
const BOUND_WITHIN: Duration = Duration::from_secs(2);

/// One unit.
#[derive(Debug, Default)]
struct Node {
    /// A check speaks for it.
    guarded: bool,
    /// Nothing but whether it is up, once it was read.
    active: Option<ActiveState>,
    /// Since when it stands in the way of what it conflicts with: it is up, or about to be.
    occupied: Option<Mono>,
    /// When it began to go down, if it was seen to, and whether a job took it down.
    fell: Option<(Mono, bool)>,
    relations: Option<Arc<Relations>>,
    /// The whole reading, where no check speaks for it: one may after the next change of the configuration.
    reading: Option<Box<UnitState>>,
}

/// The graph.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<UnitName, Node>,
    /// For each guarded unit that has any: what it needs, directly or not, and what conflicts with it or with these.
    around: BTreeMap<UnitName, BTreeSet<UnitName>>,
    /// The same the other way round: the guarded units that have this unit around them.
    of: BTreeMap<UnitName, BTreeSet<UnitName>>,
    /// Other units are wanted than were last asked for.
    changed: bool,
}

impl Graph {
    /// These units are guarded, and no others.
    pub fn guard(&mut self, units: impl Iterator<Item = UnitName>) {
        let guarded: BTreeSet<UnitName> = units.collect();
        self.changed = true;
        for (name, node) in &mut self.nodes {
            node.guarded = guarded.contains(name);
        }
        for name in &guarded {
            self.nodes.entry(name.clone()).or_default().guarded = true;
        }
        for name in self.around.keys().cloned().collect::<Vec<_>>() {
            self.place(&name);
        }
        for name in guarded {
            self.place(&name);
        }
        self.prune();
    }

    /// Takes a reading. Returns whether anything of it matters to others.
    pub fn read(&mut self, now: Now, unit: &UnitName, state: &UnitState) -> bool {
        let Some(node) = self.nodes.get_mut(unit) else { return false };
        let before = (node.active, node.occupied.is_some(), node.fell);
        node.take(now.mono, state);
        let moved = before != (node.active, node.occupied.is_some(), node.fell);
        let rewired = node.relations != state.relations;
        if rewired {
            node.relations.clone_from(&state.relations);
            self.rewire(unit);
        }
        moved || rewired
    }

    /// The reading of a unit that no check spoke for until now.
    pub fn take_reading(&mut self, unit: &UnitName) -> Option<UnitState> {
        self.nodes.get_mut(unit)?.reading.take().map(|reading| *reading)
    }

    /// Whether other units are wanted than when this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Others are wanted, for a reason that the graph does not know.
    pub fn set_changed(&mut self) {
        self.changed = true;
    }

    /// The units whose readings are wanted: the guarded ones and what is around them.
    pub fn wanted(&self) -> impl Iterator<Item = &UnitName> {
        self.nodes.keys()
    }

    /// The guarded units that have this one around them.
    pub fn touched_by(&self, unit: &UnitName) -> Vec<UnitName> {
        self.of.get(unit).into_iter().flatten().cloned().collect()
    }

    /// Whether all that is around the unit has been read.
    pub fn is_known(&self, unit: &UnitName) -> bool {
        let read = |name: &UnitName| self.nodes.get(name).is_some_and(|node| node.active.is_some());
        self.around.get(unit).is_none_or(|around| around.iter().all(read))
    }

    /// What the unit needs, directly or not.
    pub fn required(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        self.closure(unit)
    }

    /// The guarded units that need this one, directly or not.
    pub fn requiring(&self, unit: &UnitName) -> Vec<UnitName> {
        self.touched_by(unit).into_iter().filter(|other| self.required(other).contains(unit)).collect()
    }

    /// The unit that stands in the way of this one's start, and since when: one that is up, or about to be, and conflicts
    /// with it, or with something that it needs, that is down and would be started with it.
    pub fn in_the_way_of(&self, unit: &UnitName) -> Option<(UnitName, Mono)> {
        let direct = self.occupier(unit);
        direct.or_else(|| {
            let down = |name: &&UnitName| self.is_down(name);
            self.closure(unit).iter().filter(down).find_map(|name| self.occupier(name))
        })
    }

    /// Whether the unit is known to be down.
    pub fn is_down(&self, unit: &UnitName) -> bool {
        let active = self.nodes.get(unit).and_then(|node| node.active);
        matches!(active, Some(ActiveState::Inactive | ActiveState::Failed))
    }

    /// When the unit began to go down, if that was seen.
    pub fn fell(&self, unit: &UnitName) -> Option<Mono> {
        self.nodes.get(unit)?.fell.map(|(at, _)| at)
    }

    /// Whether something that the unit needs went down when the unit itself did, and went by itself: then systemd has
    /// stopped the unit (`BindsTo=`), and nobody else has. Where a job took the other one down, somebody may have stopped
    /// both; and a restart leaves no unit stopped.
    pub fn fell_with_required(&self, unit: &UnitName) -> bool {
        let Some(fell) = self.fell(unit) else { return false };
        let together = |at: Mono| at.since(fell).max(fell.since(at)) <= BOUND_WITHIN;
        let by_itself = |name: &UnitName| self.nodes.get(name)?.fell.filter(|(_, by_job)| !by_job);
        self.required(unit).iter().any(|name| by_itself(name).is_some_and(|(at, _)| together(at)))
    }

    fn occupier(&self, unit: &UnitName) -> Option<(UnitName, Mono)> {
        let relations = self.nodes.get(unit)?.relations.as_ref()?;
        relations.conflicts.iter().find_map(|name| Some((name.clone(), self.nodes.get(name)?.occupied?)))
    }

    /// What the unit needs, directly or not, without itself.
    fn closure(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        let mut found = BTreeSet::new();
        let mut open = vec![unit.clone()];
        while let Some(next) = open.pop() {
            let relations = self.nodes.get(&next).and_then(|node| node.relations.as_ref());
            for name in relations.iter().flat_map(|relations| &relations.requires) {
                if name != unit && found.insert(name.clone()) {
                    open.push(name.clone());
                }
            }
        }
        found
    }

    /// The unit's edges are others: so is what is around it, and around those that have it around them.
    fn rewire(&mut self, unit: &UnitName) {
        for name in self.touched_by(unit) {
            self.place(&name);
        }
        self.place(unit);
        self.prune();
    }

    /// Works out what is around a unit, if it is guarded, and adds what is new to the graph.
    fn place(&mut self, unit: &UnitName) {
        let guarded = self.nodes.get(unit).is_some_and(|node| node.guarded);
        let around = if guarded { self.surroundings(unit) } else { BTreeSet::new() };
        for gone in self.around.remove(unit).unwrap_or_default().difference(&around) {
            if let Some(of) = self.of.get_mut(gone) {
                of.remove(unit);
            }
        }
        for name in &around {
            if !self.nodes.contains_key(name) {
                self.nodes.insert(name.clone(), Node::default());
                self.changed = true;
            }
            self.of.entry(name.clone()).or_default().insert(unit.clone());
        }
        if !around.is_empty() {
            self.around.insert(unit.clone(), around);
        }
    }

    fn surroundings(&self, unit: &UnitName) -> BTreeSet<UnitName> {
        let mut around = self.closure(unit);
        let whose: Vec<UnitName> = around.iter().chain([unit]).cloned().collect();
        for name in whose {
            let relations = self.nodes.get(&name).and_then(|node| node.relations.as_ref());
            around.extend(relations.iter().flat_map(|relations| &relations.conflicts).cloned());
        }
        around.remove(unit);
        around
    }

    /// Lets go of what is around nobody any more.
    fn prune(&mut self) {
        self.of.retain(|_, of| !of.is_empty());
        let before = self.nodes.len();
        let of = &self.of;
        self.nodes.retain(|name, node| node.guarded || of.contains_key(name));
        self.changed |= self.nodes.len() != before;
    }
}

impl Node {
    fn take(&mut self, now: Mono, state: &UnitState) {
        let job = state.job.map(|job| job.kind);
        let down = matches!(state.active, ActiveState::Inactive | ActiveState::Failed);
        let comes = matches!(job, Some(JobKind::Start | JobKind::Restart));
        self.occupied = (!down || comes).then(|| self.occupied.unwrap_or(now));
        let goes = matches!(job, Some(JobKind::Stop | JobKind::Restart));
        let falls = down || goes || state.active == ActiveState::Deactivating;
        if !falls {
            self.fell = None;
        } else if self.active.is_some_and(|_| self.fell.is_none() && !self.was_down()) {
            self.fell = Some((now, job.is_some()));
        }
        self.active = Some(state.active);
        self.reading = (!self.guarded).then(|| Box::new(state.clone()));
    }

    fn was_down(&self) -> bool {
        matches!(self.active, Some(ActiveState::Inactive | ActiveState::Failed))
    }
}

#[cfg(test)]
mod tests;
