//! What an attempt has achieved, and what follows from it: the next step, a person, or the end of the incident (rules 5, 13
//! and 17).
//!
//! In: failures and passes of the checks that an attempt serves, ends of the unit. Out: attempts with their outcome, and
//! the step that is next. It opens and closes no incident, and requests no job.

use std::time::Duration;

use super::Group;
use crate::check::Step;
use crate::engine::attempt::{Attempt, JOB_OVERDUE};
use crate::engine::check::Check;
use crate::engine::context::Context;
use crate::engine::event::ChangeKind;
use crate::notification::AttemptOutcome;
use crate::time::{Mono, Now, human};
use crate::unit::JobResult;

impl Group {
    /// The attempt on the unit whose job has ended and whose outcome is not known yet.
    fn settling_attempt(&self) -> Option<&Attempt> {
        self.attempt().filter(|attempt| !attempt.is_running())
    }

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

    pub(super) fn conclude_other(
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
                let why = "the unit is still started repeatedly after failures".to_owned();
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
        let Some(attempt) = self.settling_attempt() else { return };
        if attempt.serves(self.checks[index].name()) || !self.awaits_window(now) {
            self.conclude(cx, outcome(), true, index);
        }
    }

    /// The unit has ended again: the attempt on it was ineffective.
    pub(super) fn conclude_by_end(&mut self, cx: &mut Context<'_>, reason: &str) {
        let settling = self.settling_attempt().cloned();
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
        let attempts = [self.attempt(), self.checks[index].other_attempt()];
        let own = attempts.into_iter().flatten().find(|attempt| attempt.by() == Some(&name));
        if let Some(step) = own.map(|attempt| attempt.step().clone()) {
            self.checks[index].record_recovering_step(&step);
        }
        self.conclude_other(cx, index, AttemptOutcome::Recovered, false);
        let Some(attempt) = self.settling_attempt() else { return };
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
        if self.attempt().and_then(|attempt| self.dropped_at(attempt)).is_some_and(|at| at <= cx.now.mono) {
            self.conclude(cx, AttemptOutcome::Recovered, false, 0);
        }
    }

    /// When an attempt that serves no open incident any more is dropped.
    pub(super) fn dropped_at(&self, attempt: &Attempt) -> Option<Mono> {
        let served = |check: &Check| check.is_down() && attempt.serves(check.name());
        if self.checks.iter().any(served) {
            return None;
        }
        let ended = attempt.ended()?;
        Some(ended.after(longest_proving(&self.checks, ended)))
    }

    /// The attempt has had its job and its grace, and all incidents that it serves wait for a window to fill, which may
    /// take long. Other trouble of the unit does not wait for it.
    pub(super) fn awaits_window(&self, now: Mono) -> bool {
        let Some(attempt) = self.attempt() else { return false };
        let mut open =
            self.checks.iter().filter(|check| check.is_down() && attempt.serves(check.name())).peekable();
        attempt.is_past_grace(now) && open.peek().is_some() && open.all(Check::awaits_window)
    }

    // --- what follows

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
        for attempt in [self.attempt(), check.other_attempt()].into_iter().flatten() {
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
            && self.unit.as_ref().is_some_and(|unit| unit.pace().attempts() >= recovery.exhausted_after())
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
pub(super) fn is_exhausted(check: &Check) -> bool {
    let recovery = &check.settings().recovery;
    check.incident().is_some_and(|incident| {
        incident.is_exhausted()
            || (recovery.steps.len() == 1 && incident.ineffective() >= recovery.exhausted_after())
    })
}

/// The attempt's proving time: the longest of the checks that monitor the unit.
fn longest_proving(checks: &[Check], now: Mono) -> Duration {
    checks.iter().map(|check| check.proving_time(now)).max().unwrap_or_default()
}
