//! Whether an observation counts, and what it counts for (rules 1, 2 and 15).
//!
//! In: observations and samples of the run that is under way. Out: failures and passes of a check, and when it is probed
//! next. What excuses a failure is in `excuse`; incidents open and close in `incidents`.

use std::time::Duration;

use super::Group;
use crate::check::CheckName;
use crate::engine::check::{Check, UsageSample, WindowVerdict};
use crate::engine::context::Context;
use crate::engine::event::{Effect, RunId};
use crate::engine::suppression::Suppression;
use crate::engine::unit::Condition;
use crate::status::Topic;
use crate::time::{Mono, Now};
use crate::unit::ManagerState;
use crate::verdict::{Observation, Sample};

/// A probe may see the consequence of what systemd is about to report: its signal and the reading that follows take some
/// milliseconds, on a busy machine more. No job is requested so long for an incident that a probe has opened.
const READINGS_WITHIN: Duration = Duration::from_millis(200);

impl Group {
    /// Takes the observation of the run that is under way; any other is late. Returns `false` where nothing follows.
    pub fn observed(
        &mut self,
        cx: &mut Context<'_>,
        name: &CheckName,
        run: RunId,
        observation: Observation,
    ) -> bool {
        let Some(index) = self.position(name) else { return false };
        let Some(began) = self.checks[index].timer_mut().finish_run(run) else { return false };
        self.take_observation(cx, index, began, observation)
    }

    fn take_observation(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        began: Mono,
        observation: Observation,
    ) -> bool {
        let now = cx.now;
        let check = &mut self.checks[index];
        let observation = observation.in_time(check.settings().schedule.max_response_time);
        if check.is_paused() {
            check.record(now, observation);
            return true;
        }
        if check.looks_at_unit() {
            // The unit was read for it; what the reading says is counted like any other.
            check.timer_mut().plan_on_grid(now.mono);
            if let Observation::Unknown { reason } = &observation {
                let reason = reason.clone();
                check.record(now, observation);
                self.count_unknown(cx, index, reason);
            } else {
                self.look_at_unit(cx, index);
            }
            return true;
        }
        let started = self.unit.as_ref().and_then(|unit| unit.started());
        let stale = started.is_some_and(|started| began < started);
        // The first pass of a run ends the grace, which others may wait for.
        let ends_grace = started.is_some_and(|started| !check.passed_since(started));
        let quiet = check.is_quiet() && !ends_grace && matches!(observation, Observation::Passing { .. });
        check.record(now, observation.clone());
        if stale {
            // It saw the run of the unit before this one.
            self.log(
                index,
                now,
                Topic::Seen,
                "a result from the unit's previous run did not count".to_owned(),
            );
            self.start_probe(cx, index, false);
            return true;
        }
        if quiet {
            check.record_pass(now.mono);
            check.timer_mut().plan_on_grid(now.mono);
            return false;
        }
        self.count(cx, index, observation);
        true
    }

    /// Takes the sample of the run that is under way.
    pub fn sampled(
        &mut self,
        cx: &mut Context<'_>,
        name: &CheckName,
        run: RunId,
        sample: Result<Sample, String>,
    ) {
        let Some(index) = self.position(name) else { return };
        let Some(began) = self.checks[index].timer_mut().finish_run(run) else { return };
        let now = cx.now.mono;
        if self.unit.as_ref().and_then(|unit| unit.started()).is_some_and(|started| began < started) {
            // It may be of the run of the unit before this one.
            self.start_probe(cx, index, false);
            return;
        }
        let passing = |detail| Observation::Passing { detail, latency: Duration::ZERO };
        let at_rest = self.unit.as_ref().is_none_or(|unit| *unit.condition() == Condition::AtRest);
        let check = &mut self.checks[index];
        let (in_incident, interval) = (check.is_down(), check.settings().schedule.interval);
        let probe = check.settings().probe.usage().cloned();
        let (Some(probe), Some(usage)) = (probe, check.usage_mut()) else { return };
        let (observation, counts) = match sample {
            Err(reason) => (Observation::Unknown { reason }, true),
            Ok(Sample::Idle { state }) => {
                usage.idle(at_rest);
                // Of a unit that is down and not at rest its state tells.
                (passing(format!("nothing to measure: the unit is {state}")), at_rest)
            }
            Ok(Sample::Used { run, used, whole }) => {
                let sample = UsageSample { probe: &probe, run: &run, used, whole };
                let (verdict, counts) = usage.sample((began, now), &sample, interval, in_incident);
                let observation = match verdict {
                    WindowVerdict::Below(detail) | WindowVerdict::TooSoon(detail) => passing(detail),
                    WindowVerdict::TooMuch(reason) => Observation::Failing { reason },
                };
                (observation, counts)
            }
        };
        if counts {
            self.take_observation(cx, index, began, observation);
        } else {
            self.checks[index].record(cx.now, observation);
            self.plan_next(cx.now, index);
        }
    }

    /// A probe did not report back.
    pub(super) fn probe_lost(&mut self, cx: &mut Context<'_>, index: usize) {
        let reason = "the probe did not report back".to_owned();
        self.checks[index].record(cx.now, Observation::Unknown { reason: reason.clone() });
        cx.breaker.probe_finished(self.checks[index].name());
        self.count_unknown(cx, index, reason);
    }

    /// What an observation counts for.
    pub(super) fn count(&mut self, cx: &mut Context<'_>, index: usize, observation: Observation) {
        if !matches!(observation, Observation::Unknown { .. }) {
            self.known_again(cx, index, &observation);
        }
        match observation {
            Observation::Passing { .. } => self.count_pass(cx, index),
            Observation::Failing { reason } => self.count_failure(cx, index, reason, false),
            Observation::NotRestartable { reason } => self.count_failure(cx, index, reason, true),
            Observation::Unknown { reason } => self.count_unknown(cx, index, reason),
        }
        self.plan_next(cx.now, index);
    }

    fn count_pass(&mut self, cx: &mut Context<'_>, index: usize) {
        let now = cx.now;
        if let Some(why) = self.answers_for_unit(index) {
            if self.checks[index].is_down() {
                self.log(index, now, Topic::Seen, format!("a pass did not count: {why}"));
            }
            return;
        }
        if self.suppression_at(index, now).is_some_and(|why| why.answered_by_others()) {
            if let Some(unit) = self.unit.as_ref().filter(|unit| unit.is_frozen()) {
                // What is frozen answers nothing.
                cx.emit(Effect::ReadUnit(unit.id().clone()));
            }
            return;
        }
        let check = &mut self.checks[index];
        check.record_pass(now.mono);
        match check.incident_mut() {
            Some(incident) => incident.record_pass(now.mono),
            None => check.set_passing(),
        }
        cx.breaker.passed(now.mono, self.checks[index].name());
    }

    /// Why what answered a probe is not the unit; `None`: it may be.
    fn answers_for_unit(&self, index: usize) -> Option<String> {
        let unit = self.unit.as_ref()?;
        if unit.attempt().is_some_and(|attempt| attempt.is_running()) {
            return Some("a recovery job of the unit is running".to_owned());
        }
        // A oneshot (a renewal) answers no probe itself: it says nothing that it has failed.
        let serves = unit.reading().is_some_and(|state| !state.oneshot) || self.checks[index].looks_at_unit();
        let stopped = (*unit.condition() == Condition::Stopped).then_some("unit was stopped");
        let down = unit.condition().down().or(stopped).filter(|_| serves)?;
        Some(format!("systemd says that the {down}; another process answered"))
    }

    fn count_failure(&mut self, cx: &mut Context<'_>, index: usize, reason: String, not_restartable: bool) {
        let now = cx.now;
        if self.suppression_at(index, now).is_some() {
            return;
        }
        let left_down = self.unit.as_ref().is_some_and(|unit| unit.is_left_down());
        if left_down && self.checks[index].looks_at_unit() && !self.checks[index].is_down() {
            // The reason is the unit that it went down with.
            return self.count_overdue(cx, index);
        }
        if let Some(excuse) = self.excuse(&self.checks[index], now) {
            let text = format!("a failure did not count ({reason}): {}", excuse.why);
            self.log(index, now, Topic::Seen, text);
            return;
        }
        let first = self.checks[index].failures() == 0 && !self.checks[index].is_down();
        if let Some(unit) = self.unit.as_ref().filter(|_| first && !self.checks[index].looks_at_unit()) {
            // It may be frozen.
            cx.emit(Effect::ReadUnit(unit.id().clone()));
        }
        if !self.checks[index].looks_at_unit() {
            // The unit's own state says nothing about the machine.
            self.checks[index].set_failing(now.mono);
            self.publish_vitals(cx);
        }
        if self.checks[index].is_down() {
            self.fails_in_incident(cx, index, &reason);
        } else {
            let n = self.checks[index].count_failure();
            let threshold = self.checks[index].settings().schedule.failure_threshold;
            // What the unit requires fails as well: which of them is down will be known when that one's failures suffice.
            let dependency =
                self.unit.as_ref().is_some_and(|unit| cx.graph.has_failing_dependency(unit.id()));
            let enough = if dependency { threshold.saturating_mul(2) } else { threshold };
            if n >= enough {
                let by_probe = !self.checks[index].looks_at_unit()
                    && self.unit.as_ref().is_some_and(|unit| *unit.condition() == Condition::Up);
                self.go_down(cx, index, reason);
                if let Some(incident) = self.checks[index].incident_mut().filter(|_| by_probe) {
                    incident.wait_until(now.mono.after(READINGS_WITHIN));
                }
            }
        }
        if let Some(incident) = self.checks[index].incident_mut() {
            incident.set_not_restartable(not_restartable);
        }
        if first && let Some(unit) = &self.unit {
            cx.probe_units.extend(cx.graph.required(unit.id()));
        }
    }

    /// Another failure of a check that is down: its attempt was ineffective.
    fn fails_in_incident(&mut self, cx: &mut Context<'_>, index: usize, reason: &str) {
        if let Some(incident) = self.checks[index].incident_mut() {
            incident.record_failure();
        }
        self.conclude_by_failure(cx, index, reason);
    }

    fn count_unknown(&mut self, cx: &mut Context<'_>, index: usize, reason: String) {
        if self.suppression_at(index, cx.now).is_none() {
            let check = &mut self.checks[index];
            check.record_unknown(cx.now, reason);
            if !check.looks_at_unit() {
                check.set_failing(cx.now.mono);
            }
            self.publish_vitals(cx);
        }
        self.plan_next(cx.now, index);
    }

    fn known_again(&mut self, cx: &mut Context<'_>, index: usize, seen: &Observation) {
        let Some(unknown) = self.checks[index].take_unknown() else { return };
        let fails = !matches!(seen, Observation::Passing { .. });
        if let Some(notification) = unknown.take_closing(cx.now, self.checks[index].settings(), fails) {
            cx.notify(notification);
        }
    }

    /// The next probe: on the grid while all is well, after `retry_interval` while it is not.
    pub(super) fn plan_next(&mut self, now: Now, index: usize) {
        let check = &self.checks[index];
        let uneasy = check.is_down()
            || check.is_failing()
            || check
                .history()
                .last()
                .is_some_and(|seen| !matches!(seen.observation, Observation::Passing { .. }));
        let suppression = self.suppression(check, now);
        let left_alone = suppression.as_ref().is_some_and(|why| !why.is_ending());
        if uneasy && !left_alone {
            let rising_since = self.rising_since(check, suppression.as_ref(), now);
            self.checks[index].timer_mut().plan_retry(now.mono, rising_since);
        } else {
            self.checks[index].timer_mut().plan_on_grid(now.mono);
        }
    }

    /// Since when the unit is expected to answer soon: it comes up, or what suppressed it is over.
    fn rising_since(&self, check: &Check, suppression: Option<&Suppression>, now: Now) -> Option<Mono> {
        if suppression.is_some_and(Suppression::is_ending) {
            return Some(now.mono);
        }
        self.excuse(check, now)?;
        let unit = self.unit.as_ref()?;
        unit.attempt().and_then(|attempt| attempt.ended()).or_else(|| unit.started()).or(Some(now.mono))
    }

    /// systemd can be asked.
    pub(super) fn is_reachable(cx: &Context<'_>) -> bool {
        cx.manager.state() != ManagerState::Unreachable
    }
}
