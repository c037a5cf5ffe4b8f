//! What a storm, and a machine without its network, restarts (rule 14).

use std::collections::BTreeSet;
use std::time::Duration;

use stealthcheck::check::{Check, Probe};
use stealthcheck::engine::AttemptId;
use stealthcheck::unit::{ActiveState, UnitName};

use crate::config::real;
use crate::machine::Answer;
use crate::sim::Sim;

/// A job that has not ended after this long is a person's matter, and others are not kept waiting for it.
const OVERDUE: Duration = Duration::from_secs(300);

/// No check's `grace` is longer.
const LONGEST_GRACE: Duration = Duration::from_secs(120);

impl Sim {
    /// Rule 14: while a storm is on, of the units that run one is restarted at a time.
    pub fn a_storm_restarts_one_at_a_time(&self, unit: &UnitName, attempt: AttemptId) {
        let runs = |unit: &UnitName| {
            self.rules.told.get(unit).is_some_and(|told| told.active == ActiveState::Active)
        };
        if !self.rules.storm || !runs(unit) {
            return;
        }
        let beside = self.rules.units.iter().find(|(name, book)| {
            book.open.is_some_and(|(open, since)| {
                // (The start after a hold is no recovery.)
                open != attempt
                    && book.hold_start != since
                    && since >= self.rules.storm_since
                    && self.mono.since(since) < OVERDUE
            }) && *name != unit
                && runs(name)
        });
        if let Some((beside, _)) = beside {
            self.broken("a storm restarts one at a time", &format!("{unit} beside {beside}"));
        }
    }

    /// Rule 14: where all that is probed over the network fails at once, units that are well are let be. The first may be
    /// restarted before anybody can know.
    pub fn a_machine_without_network_restarts_nothing(&mut self, unit: &UnitName, check: &Check) {
        let Some(gone) = self.rules.network_gone else { return };
        let opened = self.rules.checks.get(&check.name).map(|book| book.opened);
        if !matches!(check.probe, Probe::Tcp(_)) || opened.is_none_or(|opened| opened < gone) {
            return;
        }
        // (A process that was left over may answer for a unit that is down.)
        let well = self.machine.systemd.is_up(unit) && self.machine.systemd.answer(unit) == Answer::Well;
        // What needs another unit may fail for that one's sake, and says nothing about the machine.
        let alone = |unit: &UnitName| {
            self.plan.units.iter().any(|plan| plan.name == *unit && plan.requires.is_empty())
        };
        // What has only just come up may fail for that.
        let settled = |unit: &UnitName| {
            let changed = self.rules.units.get(unit).map(|book| book.changed);
            changed.is_some_and(|at| self.mono.since(at) > LONGEST_GRACE)
        };
        // What is paused is not watched.
        let watched = |check: &Check| {
            let paused = self.rules.checks.get(&check.name).and_then(|book| book.paused);
            paused.is_none_or(|until| until.after(LONGEST_GRACE) < gone)
        };
        let quick = |check: &&Check| {
            watched(check)
                && matches!(check.probe, Probe::Tcp(_))
                && check.schedule.interval <= Duration::from_secs(900)
                && check.unit.as_ref().is_none_or(|unit| alone(&real(unit)) && settled(&real(unit)))
        };
        let things: BTreeSet<String> = self
            .plan
            .checks
            .iter()
            .filter(quick)
            .map(|check| {
                check.unit.as_ref().map_or_else(|| check.name.to_string(), |unit| real(unit).to_string())
            })
            .collect();
        let all: BTreeSet<String> = self
            .plan
            .checks
            .iter()
            .filter(|check| !check.probe.looks_at_unit())
            .map(|check| {
                check.unit.as_ref().map_or_else(|| check.name.to_string(), |unit| real(unit).to_string())
            })
            .collect();
        if !well || things.len() < 8 || things.len() * 2 < all.len() {
            return;
        }
        self.rules.jobs_without_network.insert(unit.clone());
        if self.rules.jobs_without_network.len() > 1 {
            let what =
                format!("{:?} are well and restarted, beside {things:?}", self.rules.jobs_without_network);
            self.broken("a machine without its network restarts nothing", &what);
        }
    }
}
