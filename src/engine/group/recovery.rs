//! Recovery jobs: requested, ended, and with an outcome (rules 4, 5 and 13).
//!
//! In: checks with an incident, ends of jobs. Out: at most one job at a time on the unit, and one on another unit for each
//! check whose step starts one; attempts with their outcome. It opens and closes no incident.

use std::time::Duration;

use super::Group;
use crate::check::Step;
use crate::engine::attempt::{Attempt, JOB_OVERDUE};
use crate::engine::breaker::Permit;
use crate::engine::check::Check;
use crate::engine::context::Context;
use crate::engine::event::{AttemptId, ChangeKind, Effect, JobRequest, Withdrawal};
use crate::engine::suppression::Suppression;
use crate::engine::unit::{Condition, Unit};
use crate::engine::withheld::Withheld;
use crate::notification::AttemptOutcome;
use crate::time::{Mono, Now, human};
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
        let slowest = is_exhausted(check);
        let reset_failed = if own {
            let reset = unit.needs_reset(now.mono);
            if reset {
                unit.record_reset();
            }
            unit.pace_mut().record(now.mono, &backoff, slowest);
            *unit.attempt_mut() = Some(attempt);
            reset
        } else {
            check.other_pace_mut().record(now.mono, &backoff, slowest);
            *check.other_attempt_mut() = Some(attempt);
            check.other_pace().attempts() > 1
        };
        let displaces = unit.conflict().is_some();
        let unit = unit.id().clone();
        cx.emit(Effect::StartJob(JobRequest {
            unit: unit.clone(),
            attempt: id,
            step: step.clone(),
            reset_failed,
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
        let own = self.unit.as_ref().and_then(Unit::attempt).filter(|attempt| attempt.is_running());
        let own = own.and_then(|attempt| overruled(attempt.by().and_then(|by| self.position(by))));
        let others: Vec<Option<&'static str>> = (0..self.checks.len())
            .map(|index| {
                self.checks[index].other_attempt().filter(|attempt| attempt.is_running())?;
                overruled(Some(index))
            })
            .collect();
        let stays_down = self.unit.as_ref().is_some_and(|unit| *unit.condition() == Condition::Stopped);
        let own = self.unit.as_mut().and_then(|unit| unit.attempt_mut().as_mut()).zip(own);
        let others = self.checks.iter_mut().zip(others);
        let others = others.filter_map(|(check, why)| Some((check.other_attempt_mut().as_mut()?, why?)));
        for (attempt, why) in own.into_iter().chain(others) {
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
        if self
            .unit
            .as_ref()
            .and_then(Unit::attempt)
            .is_none_or(|attempt| attempt.id() != id || !attempt.is_running())
        {
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
        let missing = if done { is_missing(&attempt, unit) } else { Some(result.clause()) };
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
        let (now, grace) = (cx.now.mono, self.checks[index].settings().recovery.grace);
        if let Some(attempt) = self.checks[index].other_attempt_mut() {
            attempt.settle(now, grace);
        }
        if *result == JobResult::Done {
            self.checks[index].timer_mut().probe_afresh(now);
            return;
        }
        if matches!(result, JobResult::Unasked(_) | JobResult::Withdrawn(_))
            && let Some(incident) = self.checks[index].incident_mut()
        {
            incident.refund_attempt();
        }
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

    fn change_for(&self, cx: &mut Context<'_>, attempt: &Attempt, what: ChangeKind) {
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
    fn asker(&self, attempt: &Attempt) -> usize {
        attempt.by().and_then(|by| self.position(by)).unwrap_or(0)
    }

    // --- outcomes

    /// The attempt on the unit has an outcome. `advances`: an ineffective step is left behind, by the check that requested
    /// it, or by `index` where that check's incident is over.
    pub(super) fn conclude(
        &mut self,
        cx: &mut Context<'_>,
        outcome: AttemptOutcome,
        advances: bool,
        index: usize,
    ) {
        let Some(attempt) = self.unit.as_mut().and_then(|unit| unit.attempt_mut().take()) else { return };
        self.record_outcome(cx, &attempt, &outcome);
        let asker =
            attempt.by().and_then(|by| self.position(by)).filter(|asker| self.checks[*asker].is_down());
        self.leave_step(
            cx.now.mono,
            asker.unwrap_or(index),
            attempt.step(),
            advances && outcome.is_failure(),
        );
    }

    fn conclude_other(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        outcome: AttemptOutcome,
        advances: bool,
    ) {
        let Some(attempt) = self.checks[index].other_attempt_mut().take() else { return };
        self.record_outcome(cx, &attempt, &outcome);
        self.leave_step(cx.now.mono, index, attempt.step(), advances && outcome.is_failure());
    }

    /// What an earlier run of the daemon requested on other units is over once there is no job on them.
    pub(super) fn settle_unseen_steps(&mut self, cx: &Context<'_>) {
        for attempt in self.checks.iter_mut().filter_map(|check| check.other_attempt_mut().as_mut()) {
            if let Step::StartUnit(other) = attempt.step()
                && cx.graph.reading(other).is_some_and(|state| state.job.is_none())
            {
                attempt.no_job_read(cx.now.mono);
            }
        }
    }

    /// A step that started another unit has not ended the crash loop: the unit has crashed again after its grace.
    pub(super) fn conclude_steps_in_loop(&mut self, cx: &mut Context<'_>) {
        let Some(crash) = self.unit.as_ref().and_then(|unit| unit.starts().last_crash()) else { return };
        for index in 0..self.checks.len() {
            let attempt = self.checks[index].other_attempt();
            if attempt.and_then(Attempt::grace_until).is_some_and(|until| until <= crash) {
                let why = "systemd still restarts the unit repeatedly".to_owned();
                self.conclude_other(cx, index, AttemptOutcome::Ineffective(why), true);
            }
        }
    }

    fn record_outcome(&mut self, cx: &mut Context<'_>, attempt: &Attempt, outcome: &AttemptOutcome) {
        for (name, number) in attempt.served() {
            let incident = self.check_mut(name).and_then(Check::incident_mut);
            if let Some(recorded) = incident.and_then(|incident| incident.attempt_mut(*number))
                && recorded.outcome.is_none()
            {
                recorded.outcome = Some(outcome.clone());
                let unseen =
                    || JobResult::Unknown("its end was not seen, as the daemon was restarted".to_owned());
                recorded.result.get_or_insert_with(unseen);
            }
        }
        let what = ChangeKind::AttemptConcluded { number: attempt.number(), outcome: outcome.clone() };
        self.change_for(cx, attempt, what);
    }

    /// The next probe comes soon. `advances`: the step was ineffective, and the next one follows it.
    fn leave_step(&mut self, now: Mono, index: usize, step: &Step, advances: bool) {
        let Some(check) = self.checks.get_mut(index) else { return };
        if advances {
            let steps = &check.settings().recovery.steps;
            let (at, last) = (check.step_index(), steps.len().saturating_sub(1));
            let taken = steps.iter().skip(at).position(|one| one == step).map_or(at, |further| at + further);
            check.set_step_index(taken.saturating_add(1));
            if let Some(incident) = check.incident_mut() {
                incident.record_ineffective(last > 0 && taken >= last);
            }
        }
        check.timer_mut().retry_soon(now);
    }

    /// A check that is down fails again: the attempt that served it was ineffective.
    pub(super) fn conclude_by_failure(&mut self, cx: &mut Context<'_>, index: usize, reason: &str) {
        let now = cx.now.mono;
        let outcome = || AttemptOutcome::Ineffective(reason.to_owned());
        if self.checks[index].other_attempt().is_some_and(|attempt| attempt.is_past_grace(now)) {
            self.conclude_other(cx, index, outcome(), true);
        }
        let Some(attempt) =
            self.unit.as_ref().and_then(Unit::attempt).filter(|attempt| !attempt.is_running())
        else {
            return;
        };
        if attempt.serves(self.checks[index].name()) || !self.awaits_window(now) {
            self.conclude(cx, outcome(), true, index);
        }
    }

    /// The unit has ended again: the attempt on it was ineffective.
    pub(super) fn conclude_by_end(&mut self, cx: &mut Context<'_>, reason: &str) {
        let settling =
            self.unit.as_ref().and_then(Unit::attempt).filter(|attempt| !attempt.is_running()).cloned();
        for check in &mut self.checks {
            if let Some(incident) = check.incident_mut() {
                incident.record_failure();
            }
        }
        if let Some(attempt) = settling {
            // A unit that had come up long ago has ended for another reason: the step is not to blame.
            let advances = !self.awaits_window(cx.now.mono);
            let index = self.asker(&attempt);
            self.conclude(cx, AttemptOutcome::Ineffective(reason.to_owned()), advances, index);
        }
    }

    /// A check has passed for its proving time: its attempts have recovered it. The unit's attempt is over with the last
    /// incident that it serves.
    pub(super) fn conclude_by_recovery(&mut self, cx: &mut Context<'_>, index: usize) {
        let name = self.checks[index].name().clone();
        let attempts = [self.unit.as_ref().and_then(Unit::attempt), self.checks[index].other_attempt()];
        let own = attempts.into_iter().flatten().find(|attempt| attempt.by() == Some(&name));
        if let Some(step) = own.map(|attempt| attempt.step().clone()) {
            self.checks[index].record_recovering_step(&step);
        }
        self.conclude_other(cx, index, AttemptOutcome::Recovered, false);
        let Some(attempt) =
            self.unit.as_ref().and_then(Unit::attempt).filter(|attempt| !attempt.is_running())
        else {
            return;
        };
        let name = self.checks[index].name();
        let other = |check: &Check| check.name() != name && check.is_down() && attempt.serves(check.name());
        if !self.checks.iter().any(other) {
            self.conclude(cx, AttemptOutcome::Recovered, false, index);
        } else if let Some(number) =
            attempt.served().iter().find(|(served, _)| served == name).map(|served| served.1)
            && let Some(recorded) =
                self.checks[index].incident_mut().and_then(|incident| incident.attempt_mut(number))
        {
            recorded.outcome = Some(AttemptOutcome::Recovered);
        }
    }

    /// An attempt whose incidents are all gone (checks were removed, or passed before its job ended) is concluded for the
    /// unit when that has stayed up (rule 17).
    pub(super) fn conclude_attempts_without_incident(&mut self, cx: &mut Context<'_>) {
        let Some(unit) = &self.unit else { return };
        let Some(attempt) = unit.attempt() else { return };
        if self.dropped_at(attempt).is_some_and(|at| at <= cx.now.mono) {
            self.conclude(cx, AttemptOutcome::Recovered, false, 0);
        }
    }

    /// The attempt has had its job and its grace, and all incidents that it serves wait for a window to fill, which may
    /// take long. Other trouble of the unit does not wait for it.
    pub(super) fn awaits_window(&self, now: Mono) -> bool {
        let Some(attempt) = self.unit.as_ref().and_then(Unit::attempt) else { return false };
        let mut open =
            self.checks.iter().filter(|check| check.is_down() && attempt.serves(check.name())).peekable();
        attempt.is_past_grace(now) && open.peek().is_some() && open.all(Check::awaits_window)
    }

    // --- incidents

    /// An incident is about to open on a check. After lasting health the steps and the backoff begin again; otherwise they
    /// stay where they were (rule 5).
    pub(super) fn begin_trouble(&mut self, cx: &mut Context<'_>, index: usize) {
        let unit = self.unit_id();
        let Some(own) = &mut self.unit else { return };
        let healthy = own.take_healthy(cx.now.mono);
        let rested = |check: &Check| healthy.is_some_and(|lasting| lasting >= check.rested_after());
        if rested(&self.checks[index]) {
            own.pace_mut().reset();
        }
        for check in &mut self.checks {
            if rested(check) {
                check.set_step_index(0);
                check.other_pace_mut().reset();
            }
        }
        let check = &mut self.checks[index];
        if !rested(check) {
            check.resume_steps();
        }
        if let Some(step) =
            check.settings().recovery.steps.get(check.step_index()).filter(|_| check.step_index() > 0)
        {
            let what = ChangeKind::StepKept { step: step.clone() };
            cx.change(Some(check.name()), unit.as_ref(), None, what);
        }
    }

    /// Calls for a person when what may be tried has been tried, or only a person can change what is wrong.
    pub(super) fn require_action(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(why) = self.needs_person(cx.now, index) else { return };
        let (unit, name) = (self.unit_id(), self.checks[index].name().clone());
        let Some(incident) = self.checks[index].incident_mut() else { return };
        if incident.require_action(&why) {
            let id = incident.id().clone();
            cx.change(Some(&name), unit.as_ref(), Some(&id), ChangeKind::ActionRequired { why });
        }
    }

    fn needs_person(&self, now: Now, index: usize) -> Option<String> {
        let check = &self.checks[index];
        let (incident, recovery) = (check.incident()?, &check.settings().recovery);
        if recovery.steps.is_empty()
            || incident.passing_since().is_some()
            || self.suppression(check, now).is_some()
        {
            return None;
        }
        let unit = self.unit.as_ref();
        for attempt in [unit.and_then(Unit::attempt), check.other_attempt()].into_iter().flatten() {
            if attempt.is_running() {
                let running = now.mono.since(attempt.requested());
                let overdue = running >= self.job_overdue();
                return overdue.then(|| {
                    format!("the {} job has been running for {}", attempt.step().describe(), human(running))
                });
            }
            if attempt.serves(check.name()) {
                return None;
            }
        }
        if let Some(why) = incident.withheld().filter(|why| why.needs_a_person()) {
            return Some(why.to_string());
        }
        let unreachable = incident.attempts().last().and_then(|last| last.result.as_ref()?.not_the_units());
        if let Some(why) = unreachable
            && unit.is_some_and(|unit| unit.pace().attempts() >= recovery.exhausted_after())
        {
            return Some(format!("no recovery can be requested: {why}"));
        }
        is_exhausted(check).then(|| match incident.ineffective() {
            1 => "the recovery attempt was ineffective".to_owned(),
            n => format!("{n} recovery attempts were ineffective"),
        })
    }

    /// A job that runs longer needs a person. The start of a job unit lasts as long as the job.
    pub(super) fn job_overdue(&self) -> Duration {
        let jobs = self.checks.iter().filter_map(|check| check.settings().probe.job());
        jobs.map(|job| job.max_runtime).max().unwrap_or_default().max(JOB_OVERDUE)
    }

    /// When recovery must be looked at again although nothing happens.
    pub(super) fn recovery_due(&self, cx: &Context<'_>, check: &Check) -> Option<Mono> {
        let (incident, unit) = (check.incident()?, self.unit.as_ref()?);
        let running = [unit.attempt(), check.other_attempt()]
            .into_iter()
            .flatten()
            .find(|attempt| attempt.is_running());
        if let Some(attempt) = running {
            return Some(attempt.requested().after(self.job_overdue()));
        }
        let mut at = incident.act_from().max(self.grace_ends(check, unit).unwrap_or_default());
        if let Some(attempt) =
            unit.attempt().into_iter().chain(check.other_attempt()).find_map(Attempt::grace_until)
        {
            at = at.max(attempt);
        }
        let other = check.settings().recovery.steps.get(check.step_index());
        let pace = if matches!(other, Some(Step::StartUnit(_))) {
            check.other_pace().not_before().max(unit.pace().not_before())
        } else {
            unit.pace().not_before()
        };
        let boot = if cx.manager.is_booting(cx.now.mono) { cx.manager.boot_ends() } else { Mono::default() };
        let later = [at.max(pace), boot].into_iter().filter(|at| *at > cx.now.mono);
        later.min()
    }
}

/// The steps of the check have been tried, and did not help in this incident (rule 5): the last of several steps, or a
/// single one until the backoff was at its longest.
fn is_exhausted(check: &Check) -> bool {
    let recovery = &check.settings().recovery;
    check.incident().is_some_and(|incident| {
        incident.is_exhausted()
            || (recovery.steps.len() == 1 && incident.ineffective() >= recovery.exhausted_after())
    })
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
