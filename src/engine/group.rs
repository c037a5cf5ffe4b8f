//! A group: one unit (or none) and all checks that monitor it. What happens to it is decided here, and nowhere else.
//!
//! In: observations, readings, ends of jobs, commands, time; the summary that the graph has of its neighbours. Out: effects.
//! [`Group::observe`] draws every consequence, and [`Group::act`] requests what follows; both may be called at any time, and
//! do nothing twice.
//!
//! | file | what it does |
//! |---|---|
//! | `reading` | a reading of the unit becomes failures and passes of its checks |
//! | `observation` | an observation counts, or does not |
//! | `excuse` | why a failure does not count although the check is not suppressed |
//! | `incidents` | an incident opens, is proven to be over, and closes |
//! | `permit` | which step is next, or why no job is requested |
//! | `recovery` | a job is requested, withdrawn, and ends |
//! | `outcome` | an attempt has an outcome; the next step, or a person, follows |
//! | `hold` | a hold begins and ends, and the unit is started again |
//! | `notify` | which notifications are due, and which state is shown |
//! | `rest` | which probes are left out, as they would start the unit |
//! | `summary` | what the graph and the breaker are told |

mod excuse;
mod hold;
mod incidents;
mod next_action;
mod notify;
mod observation;
mod outcome;
mod permit;
mod reading;
mod recovery;
mod rest;
mod summary;

pub(super) use hold::withholds_start;
pub(super) use next_action::incident_clause;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::attempt::Attempt;
use super::check::{Check, schedule};
use super::context::Context;
use super::event::Effect;
use super::stop::Stop;
use super::suppression::Suppression;
use super::unit::{Condition, Surroundings, Unit, UnitHold};
use crate::check::{CheckName, Respect};
use crate::status::Topic;
use crate::time::{Mono, Now};
use crate::unit::UnitName;

/// What a group is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupKey {
    /// The unit's primary id.
    Unit(UnitName),
    /// A check without a unit.
    Check(CheckName),
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Group {
    unit: Option<Unit>,
    /// In name order.
    checks: Vec<Check>,
}

impl Group {
    pub fn new(key: &GroupKey) -> Self {
        let unit = match key {
            GroupKey::Unit(id) => Some(Unit::new(id.clone())),
            GroupKey::Check(_) => None,
        };
        Self { unit, checks: Vec::new() }
    }

    pub fn unit(&self) -> Option<&Unit> {
        self.unit.as_ref()
    }

    pub fn unit_mut(&mut self) -> Option<&mut Unit> {
        self.unit.as_mut()
    }

    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    pub fn check(&self, name: &CheckName) -> Option<&Check> {
        self.checks.iter().find(|check| check.name() == name)
    }

    pub fn check_mut(&mut self, name: &CheckName) -> Option<&mut Check> {
        self.checks.iter_mut().find(|check| check.name() == name)
    }

    /// What the unit triggers matters: a timer of a job that is checked, a socket.
    pub fn follows_trigger(&self) -> bool {
        let kind = self.unit.as_ref().map(|unit| unit.id().kind());
        kind == Some("socket") || self.checks.iter().any(|check| check.runs().is_some())
    }

    /// The other units that steps of its checks start.
    pub fn started_units(&self) -> BTreeSet<UnitName> {
        let steps = self.checks.iter().flat_map(|check| &check.settings().recovery.steps);
        let other = |step: &crate::check::Step| match step {
            crate::check::Step::StartUnit(unit) => Some(unit.clone()),
            _ => None,
        };
        steps.filter_map(other).collect()
    }

    fn position(&self, name: &CheckName) -> Option<usize> {
        self.checks.iter().position(|check| check.name() == name)
    }

    /// Adds a check, in name order.
    pub fn add(&mut self, check: Check) {
        let at = self.checks.partition_point(|other| other.name() < check.name());
        self.checks.insert(at, check);
        self.note_checks();
    }

    /// The checks after a restart of the daemon.
    pub fn restore_checks(&mut self, now: Now, saved: &mut BTreeMap<CheckName, super::check::Memory>) {
        for check in &mut self.checks {
            if let Some(memory) = saved.remove(check.name()) {
                check.restore(memory, now);
            }
        }
    }

    /// Takes all checks out; the unit stays as it is.
    pub fn take_checks(&mut self) -> Vec<Check> {
        std::mem::take(&mut self.checks)
    }

    /// Whether the unit is a job, and how long a stop is respected, is a matter of the checks that monitor it.
    fn note_checks(&mut self) {
        let Some(unit) = &mut self.unit else { return };
        let timer = unit.id().kind() == "timer";
        let jobs = self.checks.iter().filter_map(|check| check.settings().probe.job());
        unit.set_job(jobs.map(|job| job.max_runtime).max().filter(|_| !timer));
        let respect = self.checks.iter().map(|check| check.settings().recovery.respect_stop).max();
        unit.set_respect_stop(respect.unwrap_or(Respect::Forever));
    }

    /// The attempt on the unit.
    fn attempt(&self) -> Option<&Attempt> {
        self.unit.as_ref().and_then(Unit::attempt)
    }

    /// The name of the unit, as a part of changes.
    fn unit_id(&self) -> Option<UnitName> {
        self.unit.as_ref().map(|unit| unit.id().clone())
    }

    pub fn suppression(&self, check: &Check, now: Now) -> Option<Suppression> {
        Suppression::of(check, self.unit.as_ref(), now)
    }

    fn suppression_at(&self, index: usize, now: Now) -> Option<Suppression> {
        self.suppression(&self.checks[index], now)
    }

    fn log(&mut self, index: usize, now: Now, topic: Topic, text: String) {
        self.checks[index].log_mut().add(now, topic, text);
    }

    // --- commands

    /// Probes a check now, whatever its schedule says.
    pub fn probe_by_command(&mut self, cx: &mut Context<'_>, name: &CheckName) {
        if let Some(index) = self.position(name)
            && !self.checks[index].timer().is_running()
        {
            self.start_probe(cx, index, true);
        }
    }

    // --- evaluation

    /// What ends by itself, ends: pauses and holds. Called before [`Self::observe`], so that the summary which the group
    /// has published by then is true.
    pub fn expire(&mut self, cx: &mut Context<'_>) {
        self.expire_hold(cx);
        for check in &mut self.checks {
            check.expire_pause(cx.now.mono);
        }
    }

    /// Draws every consequence of what has changed, and of the time that has passed, for the checks.
    pub fn observe(&mut self, cx: &mut Context<'_>) {
        self.take_deferred_reading(cx);
        self.refresh_marks(cx);
        self.settle_unseen_steps(cx);
        self.run_timers(cx);
        self.report_crash_loop(cx);
        for index in 0..self.checks.len() {
            self.count_overdue(cx, index);
        }
        self.publish_vitals(cx);
        self.conclude_attempts_without_incident(cx);
        for index in 0..self.checks.len() {
            self.close_if_proven(cx, index);
        }
    }

    /// Requests what follows: jobs and notifications.
    pub fn act(&mut self, cx: &mut Context<'_>) {
        self.withdraw_overruled(cx);
        self.start_after_hold(cx);
        self.recover(cx);
        for index in 0..self.checks.len() {
            self.require_action(cx, index);
            self.notify(cx, index);
            self.show(cx, index);
        }
        self.publish_vitals(cx);
    }

    /// A probe is due and nothing else: the ordinary case, in which nothing is to be drawn from anything.
    pub fn probe_if_calm(&mut self, cx: &mut Context<'_>) -> bool {
        let calm = self.checks.iter().all(Check::is_quiet)
            && self.unit.as_ref().is_none_or(|unit| {
                matches!(unit.condition(), Condition::Up | Condition::AtRest)
                    && unit.hold().is_none()
                    && unit.attempt().is_none()
                    && unit.conflict().is_none()
                    && unit.dependency().is_none()
                    && !unit.is_frozen()
            });
        let overdue = |check: &Check| {
            cx.now.mono.since(check.timer().due()) > schedule::MISSED_AFTER || check.timer().is_running()
        };
        let now = cx.now.mono;
        let due: Vec<usize> =
            (0..self.checks.len()).filter(|index| self.checks[*index].timer().due() <= now).collect();
        if !calm || due.is_empty() || due.iter().any(|index| overdue(&self.checks[*index])) {
            return false;
        }
        let plain = |index: &usize| !self.checks[*index].looks_at_unit();
        if !due.iter().all(plain) {
            return false;
        }
        for index in due {
            self.start_probe(cx, index, false);
        }
        true
    }

    /// Brings the marks of the unit up to date with its surroundings.
    fn refresh_marks(&mut self, cx: &mut Context<'_>) {
        let Some(unit) = &mut self.unit else { return };
        let (graph, id) = (cx.graph, unit.id().clone());
        let unexplained = unit.stops().stop().is_some_and(Stop::is_unexplained);
        let fell_with = graph.fell_with(&id).or_else(|| graph.bound_to_ended(&id).filter(|_| unexplained));
        let around = Surroundings {
            known: graph.is_known(&id),
            in_the_way: graph.in_the_way_of(&id),
            fell: graph.fell(&id),
            root: graph.root_for(&id).or_else(|| graph.root_of_fall(fell_with.as_ref()?)),
            fell_with: fell_with.map(|by| (by.clone(), graph.is_up(&by))),
        };
        unit.update_marks(cx.now, around);
        let part_changed = unit.update_failed_part(graph.failed_part(&id).map(|(part, _)| part));
        let root_back = unit.dependency().is_some_and(|dependency| dependency.ends_now(cx.now));
        // Of a unit with parts these tell.
        let matters = |check: &&mut Check| root_back || (part_changed && check.looks_at_unit());
        self.checks.iter_mut().filter(matters).for_each(|check| check.timer_mut().probe_by(cx.now.mono));
    }

    /// Lost probes, due probes.
    fn run_timers(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.checks.len() {
            let check = &mut self.checks[index];
            if check.timer_mut().take_lost_run(cx.now.mono) {
                self.probe_lost(cx, index);
            }
            let check = &mut self.checks[index];
            let due = !check.is_paused()
                && !check.timer().is_running()
                && check.timer().next_probe() <= cx.now.mono;
            if due && !check.timer_mut().defer_missed(cx.now.mono) {
                self.start_probe(cx, index, false);
            }
        }
    }

    /// Starts a check's probe, or looks at its unit where that is the check. `afresh`: an operator asked for it, so the
    /// unit is read again.
    fn start_probe(&mut self, cx: &mut Context<'_>, index: usize, afresh: bool) {
        if !afresh && self.is_resting(&self.checks[index], cx.now) {
            self.checks[index].timer_mut().plan_on_grid(cx.now.mono);
            return;
        }
        let check = &mut self.checks[index];
        check.timer_mut().note_probed(cx.now.mono);
        if check.looks_at_unit() && !afresh {
            check.timer_mut().plan_on_grid(cx.now.mono);
            self.look_at_unit(cx, index);
            return;
        }
        let run = cx.ids.next_run();
        check.timer_mut().begin_run(cx.now.mono, run);
        cx.emit(Effect::Probe {
            check: check.name().clone(),
            run,
            probe: check.probe().clone(),
            unit: self.unit.as_ref().map(|unit| unit.id().clone()),
            timeout: check.settings().schedule.timeout,
        });
    }

    /// Starts the probe of a check of this group, for the breaker's survey.
    pub fn probe_for_survey(&mut self, cx: &mut Context<'_>, name: &CheckName) {
        if let Some(index) = self.position(name)
            && !self.checks[index].timer().is_running()
        {
            self.start_probe(cx, index, false);
        }
    }

    /// Something that requires this unit fails: its checks are probed now, as it may be what fails.
    pub fn probe_for_dependent(&mut self, now: Mono) {
        for check in &mut self.checks {
            if !check.is_failing() && !check.is_down() && !check.timer().is_running() && !check.is_paused() {
                check.timer_mut().probe_by(now);
            }
        }
    }

    /// All checks are to be probed at once: what they saw before is of another run of the unit.
    fn probe_all_afresh(&mut self, now: Mono) {
        for check in &mut self.checks {
            check.timer_mut().probe_afresh(now);
        }
    }

    /// When something may be due next.
    pub fn next_wakeup(&self, cx: &Context<'_>) -> Option<Mono> {
        let now = cx.now;
        let mut earliest: Option<Mono> = None;
        let mut add = |at: Option<Mono>| {
            if let Some(at) = at {
                earliest = Some(earliest.map_or(at, |known| known.min(at)));
            }
        };
        let later = |at: Option<Mono>| at.filter(|at| *at > now.mono);
        for check in &self.checks {
            let suppression = self.suppression(check, now);
            add(later(suppression.as_ref().and_then(Suppression::ends)));
            if check.is_paused() {
                continue;
            }
            add(Some(check.timer().due()));
            let silent = suppression.is_some() || cx.breaker.is_member(check.name());
            if !silent {
                add(later(self.notification_due(check)));
                add(later(check.unknown().and_then(|unknown| unknown.next_due(check.settings()))));
            }
            add(later(self.proven_at(now.mono, check)));
            add(later(self.recovery_due(cx, check)));
        }
        if let Some(unit) = &self.unit {
            add(later(unit.deferred_until()));
            add(later(unit.stop_shown_from()));
            add(later(unit.explained_until()));
            add(later(unit.hold().and_then(UnitHold::next_look)));
            add(later(unit.hold().and_then(UnitHold::stop_read_by)));
            add(later(unit.starts().crash_loop_ends(now.mono)));
            if let Some(attempt) = unit.attempt() {
                add(later(attempt.grace_until()));
                add(later(self.dropped_at(attempt)));
            }
        }
        earliest
    }
}

/// The longest `grace` of some checks.
pub(super) fn longest_grace(checks: &[Check]) -> Duration {
    checks.iter().map(|check| check.settings().recovery.grace).max().unwrap_or_default()
}
