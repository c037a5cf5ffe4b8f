//! Recovery jobs: requested, withdrawn, ended (rules 4 and 5).
//!
//! In: checks with an incident, ends of jobs. Out: at most one job at a time on the unit, and one on another unit for each
//! check whose step starts one. What an attempt has achieved is decided in `outcome`.

use std::time::Duration;

use super::{Group, outcome};
use crate::check::Step;
use crate::engine::attempt::Attempt;
use crate::engine::breaker::Permit;
use crate::engine::check::Check;
use crate::engine::context::Context;
use crate::engine::event::{AttemptId, ChangeKind, Effect, JobRequest, Reset, Withdrawal};
use crate::engine::suppression::Suppression;
use crate::engine::unit::{Condition, Unit};
use crate::engine::withheld::Withheld;
use crate::notification::AttemptOutcome;
use crate::time::Now;
use crate::unit::{JobResult, UnitState};

impl Group {
    /// Requests the jobs that are due and permitted, and says why others are not.
    pub(super) fn recover(&mut self, cx: &mut Context<'_>) {
        for index in self.candidates(cx.now) {
            match self.permitted_step(cx, index).and_then(|step| self.ask_breaker(cx, index).map(|()| step)) {
                Ok(step) => self.request(cx, index, step),
                Err(why) => self.withhold(cx, index, why),
            }
        }
    }

    /// The checks that call for a job: down, not suppressed, with steps. The one with the fewest attempts comes first, so
    /// that no check keeps another from its turn (rule 4).
    fn candidates(&self, now: Now) -> Vec<usize> {
        if self.unit.is_none() || !self.checks.iter().any(Check::is_down) {
            return Vec::new();
        }
        let calls = |index: &usize| {
            let check = &self.checks[*index];
            check.is_down()
                && !check.settings().recovery.steps.is_empty()
                && self.suppression(check, now).is_none()
        };
        let mut found: Vec<usize> = (0..self.checks.len()).filter(calls).collect();
        found.sort_by_key(|index| {
            let incident = self.checks[*index].incident();
            incident.map(|incident| (incident.own_attempts(), incident.opened()))
        });
        found
    }

    /// A unit that is down by systemd's account is never held back by the breaker (rule 14).
    fn ask_breaker(&self, cx: &mut Context<'_>, index: usize) -> Result<(), Withheld> {
        let Some(unit) = &self.unit else { return Ok(()) };
        if unit.condition().explains_failures() {
            return Ok(());
        }
        match cx.breaker.permits(cx.now, unit.id(), self.checks[index].name()) {
            Permit::Yes => Ok(()),
            Permit::AfterSurvey => Err(Withheld::Survey),
            Permit::No(why) => Err(why),
        }
    }

    fn withhold(&mut self, cx: &mut Context<'_>, index: usize, why: Withheld) {
        let (unit, name) = (self.unit_id(), self.checks[index].name().clone());
        let Some(incident) = self.checks[index].incident_mut() else { return };
        if incident.withhold(&why) {
            let id = incident.id().clone();
            cx.change(Some(&name), unit.as_ref(), Some(&id), ChangeKind::RecoveryWithheld { why });
        }
    }

    fn request(&mut self, cx: &mut Context<'_>, index: usize, step: Step) {
        let (id, name, now) = (cx.ids.next_attempt(), self.checks[index].name().clone(), cx.now);
        let own = !matches!(step, Step::StartUnit(_));
        if own {
            let why = "another attempt was due before its effect could be measured".to_owned();
            self.conclude(cx, AttemptOutcome::Ineffective(why), false, index);
        } else {
            self.conclude_other(
                cx,
                index,
                AttemptOutcome::Ineffective("the next attempt was due".to_owned()),
                false,
            );
        }
        let Some(unit) = &mut self.unit else { return };
        let invocation = unit.reading().map_or_else(String::new, |state| state.invocation_id.clone());
        let mut numbers = Vec::new();
        for check in &mut self.checks {
            let asks = check.name() == &name;
            // A job on the unit serves every incident of it; one on another unit only that of the check.
            if let Some(incident) = check.incident_mut().filter(|_| own || asks) {
                let number = incident.record_attempt(step.clone(), now.wall, asks);
                numbers.push((check.name().clone(), number));
            }
        }
        let number = numbers.iter().find(|(served, _)| *served == name).map_or(0, |(_, number)| *number);
        let mut attempt = Attempt::new(id, Some((name.clone(), number)), step.clone(), now.mono, invocation);
        for (served, number) in numbers {
            attempt.serve(served, number);
        }
        let check = &mut self.checks[index];
        let backoff = check.settings().recovery.backoff;
        let slowest = outcome::is_exhausted(check);
        let reset = if own {
            let reset = unit.reset_before(&step, now.mono);
            unit.pace_mut().record(now.mono, &backoff, slowest);
            *unit.attempt_mut() = Some(attempt);
            reset
        } else {
            check.other_pace_mut().record(now.mono, &backoff, slowest);
            *check.other_attempt_mut() = Some(attempt);
            if check.other_pace().attempts() > 1 { Reset::IfPossible } else { Reset::No }
        };
        let displaces = unit.conflict().is_some();
        let unit = unit.id().clone();
        cx.emit(Effect::StartJob(JobRequest {
            unit: unit.clone(),
            attempt: id,
            step: step.clone(),
            reset,
            displaces,
        }));
        let incident = self.checks[index].incident().map(|incident| incident.id().clone());
        cx.change(
            Some(&name),
            Some(&unit),
            incident.as_ref(),
            ChangeKind::RecoveryRequested { number, step },
        );
    }

    /// A job that was requested may not be queued yet: an operator who stops, holds or pauses meanwhile comes first.
    pub(super) fn withdraw_overruled(&mut self, cx: &mut Context<'_>) {
        let overruled = |by: Option<usize>| match by.map(|index| self.suppression_at(index, cx.now)) {
            Some(Some(Suppression::Paused { .. })) => Some("the check is paused"),
            Some(Some(Suppression::Held { .. })) => Some("the unit is held"),
            Some(Some(Suppression::Stopped { .. })) => Some("an operator stopped the unit"),
            Some(_) => None,
            // The start after a hold.
            None => {
                let unit = self.unit.as_ref().filter(|unit| *unit.condition() == Condition::Stopped)?;
                unit.is_stopped_after_hold().then_some("an operator stopped the unit")
            }
        };
        let own = self.attempt().filter(|attempt| attempt.is_running());
        let own = own.and_then(|attempt| overruled(attempt.by().and_then(|by| self.position(by))));
        let others: Vec<Option<&'static str>> = (0..self.checks.len())
            .map(|index| {
                self.checks[index].other_attempt().filter(|attempt| attempt.is_running())?;
                overruled(Some(index))
            })
            .collect();
        let stays_down = self.unit.as_ref().is_some_and(|unit| *unit.condition() == Condition::Stopped);
        let own = self.unit.as_mut().and_then(|unit| unit.attempt_mut().as_mut()).zip(own);
        let own = own.map(|(attempt, why)| (attempt, why, stays_down));
        let others = self.checks.iter_mut().zip(others);
        // What runs may itself have stopped the unit, and starts it again.
        let others =
            others.filter_map(|(check, why)| Some((check.other_attempt_mut().as_mut()?, why?, false)));
        for (attempt, why, stays_down) in own.into_iter().chain(others) {
            if attempt.withdraw() {
                cx.out.push(Effect::WithdrawJob(Withdrawal { attempt: attempt.id(), why, stays_down }));
            }
        }
    }

    /// A job of ours has ended. Returns `false` where this group has not requested it (any more).
    pub fn job_ended(
        &mut self,
        cx: &mut Context<'_>,
        id: AttemptId,
        result: &JobResult,
        state: Option<&std::sync::Arc<UnitState>>,
    ) -> bool {
        if self.hold_start_ended(cx, id, result, state) {
            return true;
        }
        if let Some(index) = self
            .checks
            .iter()
            .position(|check| check.other_attempt().is_some_and(|attempt| attempt.id() == id))
        {
            self.other_job_ended(cx, index, result);
            if let Some(state) = state {
                self.take_reading(cx, std::sync::Arc::clone(state));
            }
            return true;
        }
        if self.attempt().is_none_or(|attempt| attempt.id() != id || !attempt.is_running()) {
            return false;
        }
        self.own_job_ended(cx, result, state);
        true
    }

    fn own_job_ended(
        &mut self,
        cx: &mut Context<'_>,
        result: &JobResult,
        state: Option<&std::sync::Arc<UnitState>>,
    ) {
        let now = cx.now;
        let Some(unit) = &mut self.unit else { return };
        let Some(attempt) = unit.attempt().cloned() else { return };
        let done = *result == JobResult::Done;
        match attempt.step() {
            Step::Stop if done => unit.record_stop_step(),
            _ if *result == JobResult::Canceled => unit.record_canceled(),
            _ => {}
        }
        let before = unit.condition().clone();
        if let Some(state) = state {
            // Read while the attempt is still running: what its job did to the unit is no news yet.
            unit.read(now, std::sync::Arc::clone(state));
        }
        if done && !matches!(attempt.step(), Step::Stop) {
            unit.set_started(now.mono);
        }
        self.report_job_end(cx, &attempt, result);
        let grace = self.grace_of(&attempt);
        let Some(unit) = &mut self.unit else { return };
        if let Some(attempt) = unit.attempt_mut() {
            attempt.settle(now.mono, grace);
        }
        let missing = match state {
            _ if !done => Some(result.clause()),
            // What the unit was before the job says nothing; the checks and the next reading will tell.
            None if *attempt.step() != Step::Stop => None,
            _ => is_missing(&attempt, unit),
        };
        match missing {
            Some(why) => {
                if matches!(result, JobResult::Unasked(_) | JobResult::Withdrawn(_)) {
                    self.refund(&attempt);
                }
                // Another job took the place of ours, or nobody could be asked: that says nothing about the step.
                // What systemd skips, a later step would not mend.
                let advances =
                    !matches!(result, JobResult::Canceled | JobResult::Skipped | JobResult::Withdrawn(_))
                        && result.not_the_units().is_none();
                let index = self.asker(&attempt);
                self.conclude(cx, outcome_of(result, why), advances, index);
            }
            None => self.probe_all_afresh(now.mono),
        }
        self.refresh_marks(cx);
        self.condition_changed(cx, &before);
    }

    fn other_job_ended(&mut self, cx: &mut Context<'_>, index: usize, result: &JobResult) {
        let Some(attempt) = self.checks[index].other_attempt().cloned() else { return };
        self.report_job_end(cx, &attempt, result);
        let (now, grace) = (cx.now.mono, self.grace_of(&attempt));
        if let Some(attempt) = self.checks[index].other_attempt_mut() {
            attempt.settle(now, grace);
        }
        if *result == JobResult::Done {
            self.checks[index].timer_mut().probe_afresh(now);
            return;
        }
        if matches!(result, JobResult::Unasked(_) | JobResult::Withdrawn(_)) {
            self.refund(&attempt);
        }
        // (What systemd skips on this unit, a later step may mend: it is on another one.)
        let advances = !matches!(result, JobResult::Canceled | JobResult::Withdrawn(_))
            && result.not_the_units().is_none();
        let outcome = outcome_of(result, result.clause());
        self.conclude_other(cx, index, outcome, advances);
    }

    fn report_job_end(&mut self, cx: &mut Context<'_>, attempt: &Attempt, result: &JobResult) {
        for (name, number) in attempt.served() {
            let incident = self.check_mut(name).and_then(Check::incident_mut);
            if let Some(recorded) = incident.and_then(|incident| incident.attempt_mut(*number)) {
                recorded.result = Some(result.clone());
            }
        }
        let what = ChangeKind::RecoveryEnded {
            number: attempt.number(),
            step: attempt.step().clone(),
            result: result.clone(),
        };
        self.change_for(cx, attempt, what);
    }

    pub(super) fn change_for(&self, cx: &mut Context<'_>, attempt: &Attempt, what: ChangeKind) {
        let by = attempt.by().and_then(|by| self.check(by));
        let incident = by.and_then(|check| check.incident()).map(|incident| incident.id().clone());
        cx.change(attempt.by(), self.unit_id().as_ref(), incident.as_ref(), what);
    }

    fn refund(&mut self, attempt: &Attempt) {
        let by = attempt.by().cloned();
        if let Some(incident) = by.and_then(|by| self.check_mut(&by)?.incident_mut()) {
            incident.refund_attempt();
        }
    }

    fn grace_of(&self, attempt: &Attempt) -> Duration {
        let by = attempt.by().and_then(|by| self.check(by));
        by.map_or_else(|| super::longest_grace(&self.checks), |check| check.settings().recovery.grace)
    }

    /// The check that requested an attempt, or the first.
    pub(super) fn asker(&self, attempt: &Attempt) -> usize {
        attempt.by().and_then(|by| self.position(by)).unwrap_or(0)
    }
}

/// What a job that is done lacks to have had an effect; `None`: the checks will tell.
fn is_missing(attempt: &Attempt, unit: &Unit) -> Option<String> {
    if *attempt.step() == Step::Stop {
        return Some("the unit was stopped".to_owned());
    }
    if let Some(reason) = unit.condition().down() {
        return Some(reason.to_owned());
    }
    let fresh = matches!(attempt.step(), Step::Restart | Step::Start);
    let same_run = unit.reading().is_some_and(|state| {
        !state.invocation_id.is_empty() && state.invocation_id == attempt.invocation_before()
    });
    (fresh && same_run).then(|| "the job is done, but the unit's InvocationID is the old one".to_owned())
}

fn outcome_of(result: &JobResult, why: String) -> AttemptOutcome {
    match result {
        JobResult::Done => AttemptOutcome::Ineffective(why),
        JobResult::Unasked(why) => AttemptOutcome::NotRequested(why.clone()),
        JobResult::Withdrawn(why) => AttemptOutcome::Interrupted(why.clone()),
        _ => AttemptOutcome::JobFailed(why),
    }
}
