//! What a job on a unit would do to other units, where that forbids the job (rules 7, 9 and 10).
//!
//! In: the readings and summaries of the units that the job would start, stop or restart as well. Out: the one that forbids
//! it. It changes nothing.

use std::collections::BTreeSet;

use super::Graph;
use super::node::Node;
use crate::check::Respect;
use crate::time::Mono;
use crate::unit::UnitName;

impl Graph {
    /// A unit that a job on this one would start, although an operator has stopped it or holds it (rules 9 and 10): the job
    /// starts what the unit pulls in, and what those pull in that a restart of it restarts. `restarts`: it is a restart.
    /// `respect`: how long stops are respected for which no check says it.
    pub fn would_start(
        &self,
        now: Mono,
        unit: &UnitName,
        restarts: bool,
        respect: Respect,
    ) -> Option<UnitName> {
        let mut others = self.started_with(unit, restarts).into_iter().filter(|name| name != unit);
        others.find(|name| self.is_left_alone(now, name, respect))
    }

    /// What a start or restart of the unit starts as well: what it pulls in, and what those pull in that a restart of it
    /// restarts.
    fn started_with(&self, unit: &UnitName, restarts: bool) -> Vec<UnitName> {
        let along = if restarts { self.taken_along(unit) } else { BTreeSet::new() };
        let acted_on = along.iter().filter(|name| self.is_up(name)).chain([unit]);
        acted_on.flat_map(|name| self.pulled_in(name)).collect()
    }

    /// A unit that is up and would be stopped, as it conflicts with what the job would start (beside the unit itself, whose
    /// conflicts are rule 8's): one that no check monitors, and so nobody would be told of and nothing bring back, or one
    /// that runs a job. `spared`: the unit of the check, which may make room for its own step.
    pub fn would_displace(&self, unit: &UnitName, restarts: bool, spared: &UnitName) -> Option<UnitName> {
        let mut started = BTreeSet::from_iter(self.started_with(unit, restarts));
        if unit != spared {
            started.insert(unit.clone());
        }
        let down = started.iter().filter(|name| self.is_down(name));
        let rivals = down.filter_map(|name| self.relations(name)).flat_map(|relations| &relations.conflicts);
        rivals
            .filter(|rival| *rival != spared && !started.contains(*rival))
            .find(|rival| self.must_stay(rival))
            .cloned()
    }

    fn must_stay(&self, unit: &UnitName) -> bool {
        self.node(unit)
            .is_some_and(|node| node.occupied().is_some() && (!node.is_monitored() || node.is_coming()))
    }

    /// A held unit that a restart of this one would restart (rule 10).
    pub fn would_disturb(&self, unit: &UnitName) -> Option<UnitName> {
        self.taken_along(unit).into_iter().find(|name| self.is_up(name) && self.is_held(name))
    }

    /// A unit that a job on this one would start or stop as well, where that may trigger an action of systemd's that takes
    /// the machine down (rule 7).
    pub fn would_trigger(
        &self,
        now: Mono,
        unit: &UnitName,
        (starts, stops): (bool, bool),
    ) -> Option<UnitName> {
        let pulled_in: Vec<UnitName> =
            self.pulled_in(unit).into_iter().filter(|name| self.is_down(name)).collect();
        let taken_along: Vec<UnitName> =
            self.taken_along(unit).into_iter().filter(|name| self.is_up(name)).collect();
        let by_start = |name: &UnitName| starts && self.node(name).is_some_and(|node| node.is_armed(now));
        let by_stop = |name: &UnitName| self.node(name).is_some_and(Node::ends_the_machine);
        let fences: Vec<UnitName> = [unit]
            .into_iter()
            .chain(&pulled_in)
            .chain(&taken_along)
            .filter_map(|name| self.fence(name))
            .collect();
        let started = pulled_in.into_iter().find(by_start);
        let stopped =
            || taken_along.into_iter().filter(|_| stops).find(|name| by_start(name) || by_stop(name));
        started.or_else(stopped).or_else(|| fences.into_iter().next())
    }

    /// A unit of an administrator's own that takes the machine down, and that the end of this one starts (`OnFailure=`,
    /// `OnSuccess=`).
    fn fence(&self, unit: &UnitName) -> Option<UnitName> {
        let fences = |name: &&UnitName| self.node(name).is_some_and(Node::ends_the_machine);
        self.relations(unit)?.at_end.iter().find(fences).cloned()
    }

    /// Whether a start of the unit may trigger an action of its own that takes the machine down.
    pub fn start_may_trigger(&self, now: Mono, unit: &UnitName) -> bool {
        self.is_down(unit) && self.node(unit).is_some_and(|node| node.is_armed(now))
    }

    /// Whether a `start` step may not start this unit: an operator has stopped it, or holds it.
    pub fn is_left_alone(&self, now: Mono, unit: &UnitName, respect: Respect) -> bool {
        let stopped = || self.node(unit).is_some_and(|node| node.is_stopped_for(now, respect));
        self.is_down(unit) && (self.is_held(unit) || stopped())
    }

    /// The running service of a socket: a restart would close the socket and could not open it again.
    pub fn socket_user(&self, unit: &UnitName) -> Option<UnitName> {
        let service = self.reading(unit)?.triggers.as_ref().filter(|_| unit.kind() == "socket")?;
        self.is_up(service).then(|| service.clone())
    }
}
