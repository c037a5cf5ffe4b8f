//! Holds: the unit is left alone while a command of an operator has it, and started when that is over (rule 10).
//!
//! In: leases granted and closed, the state of the unit. Out: one start where the unit was up (or should have been) when the
//! hold began and is down when it ends. That start is no recovery attempt: it counts in no backoff. Where it fails the
//! checks go down, and recovery begins as after any other failure.

use std::sync::Arc;
use std::time::Duration;

use super::Group;
use crate::check::Step;
use crate::engine::attempt::{Attempt, JOB_OVERDUE};
use crate::engine::check::Check;
use crate::engine::context::Context;
use crate::engine::event::{AttemptId, ChangeKind, Effect, JobRequest};
use crate::engine::graph::Graph;
use crate::engine::hold::{HoldAction, HoldId, Holder, HowEnded};
use crate::engine::unit::{Condition, DEFERRED_AT_MOST, Unit, UnitHold};
use crate::engine::withheld::Withheld;
use crate::notification::AttemptOutcome;
use crate::time::{Now, human};
use crate::unit::{JobResult, ManagerState, UnitState};

impl Group {
    /// A hold is granted.
    pub fn take_hold(&mut self, cx: &mut Context<'_>, id: HoldId, holder: Holder, lasting: Duration) {
        let Some(unit) = &mut self.unit else { return };
        let start_after = unit.is_wanted_up();
        let hold = UnitHold::new(id.clone(), holder.clone(), cx.now, lasting, start_after);
        let until = hold.until();
        *unit.hold_mut() = Some(hold);
        let name = unit.id().clone();
        cx.change(None, Some(&name), None, ChangeKind::HoldTaken { holder, until });
        let checks = self.checks.iter().map(|check| check.name().clone()).collect();
        cx.emit(Effect::Hold(HoldAction::Granted { id, checks }));
    }

    /// Why there can be no hold on the unit now.
    pub fn refuses_hold(&self, cx: &Context<'_>) -> Option<String> {
        let unit = self.unit.as_ref()?;
        let name = unit.id();
        if let Some(hold) = unit.hold() {
            let Holder { who, why } = hold.holder();
            return Some(if hold.is_open() {
                let left = hold
                    .next_look()
                    .map_or_else(String::new, |at| crate::engine::withheld::human_until(cx.now.mono, at));
                format!(
                    "{name} is held already, by {who} ({why}), for {left} at most; `stealthctl release {name}` ends that"
                )
            } else {
                format!("{name} is being started after the hold of {who}; try again when it is up")
            });
        }
        match (cx.manager.state(), unit.condition()) {
            (ManagerState::Stopping, _) => Some("the machine is shutting down".to_owned()),
            (ManagerState::Unreachable, _) => Some("systemd cannot be reached over D-Bus".to_owned()),
            (_, Condition::Unread) => {
                Some(format!("systemd has not reported the state of {name} yet; try again in a moment"))
            }
            (_, Condition::Missing(what)) => Some(format!("there is no {name} to hold: it is {what}")),
            _ => None,
        }
    }

    /// The hold is over: the unit is started again.
    pub fn end_hold(&mut self, cx: &mut Context<'_>, how: HowEnded) {
        let Some(unit) = &mut self.unit else { return };
        let name = unit.id().clone();
        let Some(hold) = unit.hold_mut().as_mut().filter(|hold| hold.is_open()) else { return };
        hold.end(cx.now.mono, how);
        let (id, holder) = (hold.id().clone(), hold.holder().clone());
        cx.change(None, Some(&name), None, ChangeKind::HoldOver { holder, how });
        cx.emit(Effect::Hold(HoldAction::Over(id)));
        cx.emit(Effect::ReadUnit(name));
    }

    /// The unit is no longer monitored; a hold on it ends with that, and the unit is not started: nothing permits it.
    pub fn drop_hold(&mut self, cx: &mut Context<'_>) {
        self.end_hold(cx, HowEnded::NotMonitored);
    }

    pub(super) fn expire_hold(&mut self, cx: &mut Context<'_>) {
        if self.unit.as_ref().and_then(Unit::hold).is_some_and(|hold| hold.is_expired(cx.now.mono)) {
            self.end_hold(cx, HowEnded::Expired);
        }
    }

    /// Starts the unit after a hold, as soon as nothing withholds that.
    pub(super) fn start_after_hold(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let Some(unit) = &mut self.unit else { return };
        let Some(hold) = unit.hold().filter(|hold| !hold.is_open()).cloned() else { return };
        if let Some(requested) = hold.start_requested() {
            let lasting = now.mono.since(requested);
            if lasting >= JOB_OVERDUE {
                if let Some(hold) = unit.hold_mut() {
                    hold.record_overdue();
                }
                let why = format!("the start job has been running for {}", human(lasting));
                self.all_down(cx, &not_started(&why));
            }
            return;
        }
        let Some(since) = hold.over_since() else { return };
        let unknown = !cx.manager.is_known()
            || cx.manager.state() == ManagerState::Unreachable
            || *unit.condition() == Condition::Unread;
        if unknown || self.is_displaced(now) {
            // Nothing tells how it is, or a start would stop what is up in its place.
            if let Some(hold) = self.unit.as_mut().and_then(|unit| unit.hold_mut().as_mut()) {
                hold.postpone(now.mono);
            }
            return;
        }
        let Some(unit) = &mut self.unit else { return };
        // What was done in the hold is read first, with the units around that it concerns.
        let reads = unit.read_at().is_none_or(|at| at < since) || !cx.graph.is_known(unit.id());
        if reads && hold.stop_read_by().is_some_and(|at| now.mono < at) {
            return;
        }
        let up = unit.is_up_or_coming();
        if up && hold.starts_after() && hold.stop_read_by().is_some_and(|at| now.mono < at) {
            return;
        }
        // What was stopped when the hold had ended is no matter of the hold.
        let seen = unit.stopped_since().map(|(since, _)| since);
        // (systemd's timestamp is by a clock that may have been set since.)
        let went_down = unit.went_down(now).map(|at| seen.map_or(at, |seen| at.min(seen)));
        let later = went_down.zip(hold.stops_until()).is_some_and(|(at, until)| until < at);
        if up || !hold.starts_after() || later || unit.is_stopped_after_hold() {
            self.finish_hold(cx);
            return;
        }
        let withheld = match cx.manager.state() {
            ManagerState::Stopping => Some(Withheld::ShuttingDown),
            _ if unit.has_job_of_ours() => Some(Withheld::Starting),
            _ => withholds_start(unit, cx.graph, now),
        };
        match withheld {
            None => self.request_start(cx, &hold),
            // That may take as long as systemd gives it.
            Some(Withheld::Stopping) => {}
            Some(why) if now.mono.since(since) >= DEFERRED_AT_MOST => self.not_returned(cx, &why.to_string()),
            Some(_) => {}
        }
    }

    /// Another unit is up in the place of this one, and at least one check respects that.
    fn is_displaced(&self, now: Now) -> bool {
        let displaced = |check: &Check| {
            let conflict = self.unit.as_ref().and_then(Unit::conflict).filter(|conflict| !conflict.is_over());
            conflict
                .is_some_and(|conflict| conflict.suppresses(now.mono, &check.settings().recovery).is_some())
        };
        self.checks.iter().any(displaced)
    }

    fn request_start(&mut self, cx: &mut Context<'_>, hold: &UnitHold) {
        // An attempt from before the hold, whose effect cannot be known any more.
        self.conclude(cx, AttemptOutcome::Interrupted("the unit was held".to_owned()), false, 0);
        let now = cx.now.mono;
        let Some(unit) = &mut self.unit else { return };
        let id = cx.ids.next_attempt();
        let invocation = unit.reading().map_or_else(String::new, |state| state.invocation_id.clone());
        let reset = unit.reset_before(&Step::Start, now);
        *unit.attempt_mut() = Some(Attempt::new(id, None, Step::Start, now, invocation));
        if let Some(hold) = unit.hold_mut() {
            hold.record_start(now, id);
        }
        let name = unit.id().clone();
        let request =
            JobRequest { unit: name.clone(), attempt: id, step: Step::Start, reset, displaces: false };
        cx.emit(Effect::StartJob(request));
        cx.change(None, Some(&name), None, ChangeKind::HoldStartRequested { holder: hold.holder().clone() });
    }

    /// A job of ours has ended. `true`: it was the start after a hold.
    pub(super) fn hold_start_ended(
        &mut self,
        cx: &mut Context<'_>,
        attempt: AttemptId,
        result: &JobResult,
        state: Option<&Arc<UnitState>>,
    ) -> bool {
        let Some(unit) = &mut self.unit else { return false };
        if !unit.hold().is_some_and(|hold| hold.starts_by(attempt)) {
            return false;
        }
        if *result == JobResult::Canceled {
            unit.record_canceled();
        }
        if let Some(state) = state {
            // Read while the job is ours: what it did to the unit is no news yet.
            unit.read(cx.now, Arc::clone(state));
        }
        *unit.attempt_mut() = None;
        if *result == JobResult::Done {
            unit.set_started(cx.now.mono);
        }
        // (systemd refuses a start while a stop is queued.)
        let stopped = unit.is_stopped_after_hold() || *unit.condition() == Condition::Stopping;
        let (rising, name) = (unit.is_up_or_coming(), unit.id().clone());
        cx.change(None, Some(&name), None, ChangeKind::HoldStartEnded { result: result.clone() });
        let skipped =
            unit.reading().filter(|state| state.is_down()).and_then(|state| state.start_skipped.clone());
        match result {
            JobResult::Done if skipped.is_some() => {
                self.not_returned(cx, &format!("systemd skips its start: {}", skipped.unwrap_or_default()));
            }
            // Another job took the place of ours: an operator's, for a reason of their own.
            JobResult::Done | JobResult::Canceled => self.finish_hold(cx),
            _ if rising || stopped => self.finish_hold(cx),
            _ => self.not_returned(cx, &result.clause()),
        }
        true
    }

    /// The unit is not up after a hold: from now on that is a failure like any other.
    fn not_returned(&mut self, cx: &mut Context<'_>, why: &str) {
        let Some(unit) = &mut self.unit else { return };
        let reason = not_started(why);
        unit.set_not_returned(reason.clone());
        unit.classify_again(cx.now);
        self.finish_hold(cx);
        // Where systemd does not call it down (it is being stopped, say), we do.
        self.all_down(cx, &reason);
    }

    fn all_down(&mut self, cx: &mut Context<'_>, reason: &str) {
        for index in 0..self.checks.len() {
            if !self.checks[index].is_paused() {
                self.go_down(cx, index, reason.to_owned());
            }
        }
    }

    /// Nothing is left of the hold: the checks count from now on.
    fn finish_hold(&mut self, cx: &mut Context<'_>) {
        let Some(unit) = &mut self.unit else { return };
        *unit.hold_mut() = None;
        let before = Condition::Unread;
        for check in &mut self.checks {
            check.forget_failures();
        }
        self.probe_all_afresh(cx.now.mono);
        self.condition_changed(cx, &before);
    }
}

/// Why the unit is not started after a hold, by its own state and by what a start would start as well.
pub(in crate::engine) fn withholds_start(unit: &Unit, graph: &Graph, now: Now) -> Option<Withheld> {
    unit.withholds(now).or_else(|| {
        graph.would_start(now.mono, unit.id(), false, unit.respect_stop()).map(Withheld::WouldStart)
    })
}

fn not_started(why: &str) -> String {
    format!("unit was not started again after a hold: {why}")
}
