//! What a unit is down for, or went down with: the root of its trouble (rule 9).
//!
//! In: the readings and summaries of the units around it. Out: one root, or none. It changes nothing.

use super::Graph;
use super::node::Node;
use crate::time::Mono;
use crate::unit::{ActiveState, UnitName};

/// What must be recovered before a unit can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Root {
    pub by: UnitName,
    /// When its incident opened; `None`: it is down and suppressed.
    pub opened: Option<Mono>,
    pub silent: bool,
    /// It is held, or was when the unit went down.
    pub held: bool,
    /// It has ended and systemd restarts it itself, or it has made room for another unit.
    pub comes_back: bool,
}

impl Graph {
    /// What must be recovered before this unit can be, and is not suppressed by another unit itself.
    pub fn root_for(&self, unit: &UnitName) -> Option<Root> {
        let mut required = self.required(unit);
        required.extend(self.stopped_with(unit).into_iter().filter(|name| self.is_held(name)));
        let unit_up = self.is_up(unit);
        let trouble = |name: &UnitName| self.trouble(name, unit_up);
        let mut roots: Vec<Root> = required.iter().filter_map(trouble).collect();
        if roots.is_empty() {
            return None;
        }
        // In a circle the one that was first is the root of the others; where all wait for each other, none is.
        let own = self.trouble(unit, true);
        let waits = |root: &Root| {
            let summary = self.node(&root.by).and_then(Node::summary);
            root.opened.is_none() && summary.is_some_and(|summary| summary.deferred)
        };
        roots.retain(|root| {
            let circle = self.required(&root.by).contains(unit);
            !circle || (!waits(root) && own.as_ref().is_none_or(|own| precedes(root, own)))
        });
        let is_root = |root: &&Root| {
            let deeper = self.required(&root.by);
            let circle = |other: &Root| self.required(&other.by).contains(&root.by);
            !deeper.iter().filter_map(trouble).any(|other| !circle(&other) || precedes(&other, root))
        };
        let order = |root: &&Root| (root.opened.is_none(), root.opened, root.by.clone());
        roots.iter().filter(is_root).min_by_key(order).or_else(|| roots.iter().min_by_key(order)).cloned()
    }

    /// What is wrong with a monitored unit itself, whatever it requires. A unit that is up is a reason only for those that
    /// are up as well (their probes fail with it), and only while a job may still recover it.
    fn trouble(&self, name: &UnitName, dependent_is_up: bool) -> Option<Root> {
        let node = self.node(name)?;
        let (summary, held, down) = (node.summary()?, node.held_since().is_some(), node.is_down());
        if node.reading().is_some_and(|state| state.auto_restart()) && !held {
            // It is down until systemd starts it (`RestartSec=`), and a job on a dependent would start it before.
            let (opened, silent) =
                summary.incident.map_or((None, false), |incident| (Some(incident.opened), incident.silent));
            return Some(Root { by: name.clone(), opened, silent, held, comes_back: true });
        }
        if let Some(incident) = summary.incident
            && (down || (incident.recoverable && dependent_is_up))
        {
            return Some(Root {
                by: name.clone(),
                opened: Some(incident.opened),
                silent: incident.silent,
                held,
                comes_back: false,
            });
        }
        // What it is down for is not settled while its first reading waits for others.
        let (silent, comes_back) = match summary.suppressed.filter(|_| down) {
            Some(suppressed) => (suppressed.silent, suppressed.displaced),
            None if down && summary.deferred => (false, false),
            None => return None,
        };
        Some(Root { by: name.clone(), opened: None, silent, held, comes_back })
    }

    /// The unit that took this one down with it: it is bound to one that ended by itself; or what it requires, is bound to or
    /// is a part of was stopped by the holder of a hold (rule 10), by a recovery step, or to make room for another unit. If
    /// another job stopped that, an operator may have stopped both.
    pub fn fell_with(&self, unit: &UnitName) -> Option<UnitName> {
        // (One that is up has fallen with nothing.)
        let node = self.node(unit).filter(|node| node.fell().is_some() || node.is_down())?;
        let ended = |name: &&UnitName| self.node(name).is_some_and(|other| node.ended_with(other));
        let stopped = |name: &&UnitName| {
            let displaced = || self.is_displaced(name);
            self.node(name).is_some_and(|other| node.was_stopped_with(other, displaced))
        };
        let bound = self.bound_to(unit);
        bound.iter().find(ended).cloned().or_else(|| self.stopped_with(unit).iter().find(stopped).cloned())
    }

    /// A unit to which this one is bound, and whose first reading showed that it had ended by itself: what became of this one
    /// meanwhile systemd has forgotten.
    pub fn bound_to_ended(&self, unit: &UnitName) -> Option<UnitName> {
        let ended = |name: &UnitName| self.node(name).is_some_and(Node::was_found_ended);
        self.bound_to(unit).into_iter().find(ended)
    }

    /// The unit is down, and one that conflicts with it is up.
    fn is_displaced(&self, unit: &UnitName) -> bool {
        self.is_down(unit) && self.occupier(unit).is_some()
    }

    /// The root of what fell with `by`, although it need not require that: one that has an incident, that systemd brings
    /// back itself, or that has made room for another unit.
    pub fn root_of_fall(&self, by: &UnitName) -> Option<Root> {
        let coming = self.node(by).and_then(Node::active) == Some(ActiveState::Activating);
        let coming = (coming || self.is_displaced(by)).then(|| Root {
            by: by.clone(),
            opened: None,
            silent: false,
            held: false,
            comes_back: true,
        });
        self.trouble(by, false).filter(|root| root.opened.is_some()).or(coming)
    }
}

/// Of two that require each other, whose trouble came first. One without an incident is down on purpose: that is why the
/// other is.
fn precedes(one: &Root, other: &Root) -> bool {
    (one.opened, &one.by) < (other.opened, &other.by)
}
