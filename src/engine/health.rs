//! From what is seen to how a check is (rules 1, 2, 6, 12).
//!
//! In: observations and the conditions of units. Out: incidents opened and closed, and their notifications. What may be done
//! about an incident is decided in `recovery`.

use std::sync::Arc;
use std::time::Duration;

use super::event::{ChangeKind, Effect, RunId};
use super::incident::Incident;
use super::state::Base;
use super::watch::Condition;
use super::{Engine, changed, outlook};
use crate::check::CheckName;
use crate::notification::{AttemptOutcome, Dependent, IncidentId, Notification};
use crate::status::Topic;
use crate::time::Now;
use crate::unit::UnitName;
use crate::verdict::Observation;

/// What a probe saw may be the consequence of what systemd tells only now: its signal and the reading that follows take
/// some milliseconds, on a busy machine more. So long nothing is done about an incident that a probe has opened.
const SIGNALS_COME_WITHIN: Duration = Duration::from_millis(200);

impl Engine {
    /// Takes the observation of the run that is under way; any other is late and means nothing any more.
    pub(super) fn observed(
        &mut self,
        now: Now,
        name: &CheckName,
        run: RunId,
        observation: Observation,
        out: &mut Vec<Effect>,
    ) {
        self.heard(name);
        let Some(state) = self.checks.get_mut(name) else { return };
        let Some(current) = state.running.filter(|current| current.id == run) else { return };
        state.running = None;
        let observation = observation.in_time(state.check.schedule.max_response_time);
        if state.paused() {
            state.record(now, observation);
            self.wake(now, name);
            return;
        }
        if state.check.probe.looks_at_unit() {
            // The unit was read for it; what that says is judged like any other look at the unit.
            state.next_probe = state.next_on_grid(now.mono);
            if let Observation::Unknown { reason } = &observation {
                let reason = reason.clone();
                state.record(now, observation);
                self.could_not_measure(now, name, reason, out);
            } else {
                self.look_at_unit(now, name, out);
            }
            self.settle(now, name, out);
            return;
        }
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let stale = watch.and_then(|watch| watch.settling).is_some_and(|since| current.started < since);
        let quiet = state.base == Base::Passing
            && state.incident.is_none()
            && state.failures == 0
            && state.bad.is_none()
            && state.unmeasured.is_none()
            && matches!(observation, Observation::Passing { .. });
        state.record(now, observation.clone());
        if stale {
            // It saw the run of the unit before this one: look again.
            state.trail.note(now, Topic::Seen, "an answer of the unit's run before did not count".to_owned());
            state.next_probe = now.mono;
            self.start_probe(now, name, false, out);
            self.wake(now, name);
            return;
        }
        if quiet {
            state.next_probe = state.next_on_grid(now.mono);
            self.wake(now, name);
            return;
        }
        self.judge_observation(now, name, observation, out);
        self.settle(now, name, out);
    }

    /// What an observation counts for.
    pub(super) fn judge_observation(
        &mut self,
        now: Now,
        name: &CheckName,
        observation: Observation,
        out: &mut Vec<Effect>,
    ) {
        if !matches!(observation, Observation::Unknown { .. }) {
            self.measured(now, name, &observation, out);
        }
        match observation {
            Observation::Passing { .. } => self.pass(now, name, out),
            Observation::Failing { reason } => {
                self.fail(now, name, reason, out);
                self.set_incurable(name, false);
            }
            Observation::NotRestartable { reason } => {
                self.fail(now, name, reason, out);
                self.set_incurable(name, true);
            }
            Observation::Unknown { reason } => self.could_not_measure(now, name, reason, out),
        }
    }

    /// A passing observation. That a service which systemd restarts again and again answers in between is no cure.
    fn pass(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) {
        if self.crash_loop_told_by(now, name).is_none() {
            self.pass_counts(now, name, out);
        }
        self.plan_next(now, name);
    }

    fn pass_counts(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        // While systemd's own word is that the unit is down, something else answers in its place. While the job of an
        // attempt runs, the old run of the unit may still answer.
        let impostor = watch.is_some_and(|watch| {
            watch.condition.down().is_some()
                || watch.attempt.as_ref().is_some_and(|attempt| attempt.ended.is_none())
        });
        if impostor && state.incident.is_some() {
            let text = "a pass did not count: the unit is down, or its job is under way".to_owned();
            state.trail.note(now, Topic::Seen, text);
        }
        if impostor || state.aside(now, watch).is_some_and(|aside| aside.answered_by_others()) {
            return;
        }
        self.turned_good(now, name);
        let Some(state) = self.checks.get_mut(name) else { return };
        state.failures = 0;
        state.successes = state.successes.saturating_add(1);
        if state.incident.is_some() {
            if state.successes >= state.check.schedule.success_threshold {
                self.close_incident(now, name, out);
            }
        } else {
            state.base = Base::Passing;
        }
    }

    /// A failing observation.
    fn fail(&mut self, now: Now, name: &CheckName, reason: String, out: &mut Vec<Effect>) {
        self.fail_counts(now, name, reason, out);
        self.plan_next(now, name);
    }

    fn fail_counts(&mut self, now: Now, name: &CheckName, reason: String, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        if state.aside(now, watch).is_some() {
            return;
        }
        if let Some((why, _)) = state.excuse(now.mono, watch) {
            self.note(now, name, Topic::Seen, format!("a failure did not count ({reason}): {why}"));
            return;
        }
        // Where it did not happen by systemd's own word, a word that explains it may be under way.
        let on_its_way =
            !state.check.probe.looks_at_unit() && watch.is_some_and(|watch| watch.condition == Condition::Up);
        let suspect = self.suspect(name);
        let Some(state) = self.checks.get_mut(name) else { return };
        let first = state.failures == 0;
        state.successes = 0;
        state.failures = state.failures.saturating_add(1);
        // A unit's own state says nothing about the machine.
        if !state.check.probe.looks_at_unit() {
            self.turned_bad(now, name, out);
        }
        let Some(state) = self.checks.get_mut(name) else { return };
        let failure_threshold = state.check.schedule.failure_threshold;
        let enough = match suspect {
            // What it needs fails as well: whose trouble it is will be known when that one's failures are enough.
            Some(_) => failure_threshold.saturating_mul(2),
            None => failure_threshold,
        };
        if state.incident.is_some() {
            if let Some(unit) = state.check.unit.clone() {
                self.judge_failed(now, &unit, name, reason, out);
            }
        } else if state.failures >= enough {
            self.go_down(now, name, reason, out);
            if let Some(incident) = self.checks.get_mut(name).and_then(|state| state.incident.as_mut())
                && on_its_way
            {
                incident.act_from = now.mono.after(SIGNALS_COME_WITHIN);
            }
        } else {
            state.base = Base::Failing;
        }
        if first {
            self.look_at_required(now, name);
        }
    }

    /// The next probe: on the grid while all is well, after `retry_interval` while it is not.
    pub(super) fn plan_next(&mut self, now: Now, name: &CheckName) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let grid = state.next_on_grid(now.mono);
        let failed_last =
            state.history.last().is_some_and(|seen| !matches!(seen.observation, Observation::Passing { .. }));
        let uneasy = state.incident.is_some() || state.failures > 0 || failed_last;
        let left_alone = state.aside(now, watch).is_some_and(|aside| !aside.is_ending());
        state.next_probe = if uneasy && !left_alone {
            now.mono.after(state.retry(now, watch).min(state.check.schedule.interval))
        } else {
            grid
        };
    }

    /// Opens an incident; in an open one it only counts as another failure.
    pub(super) fn go_down(&mut self, now: Now, name: &CheckName, reason: String, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        state.base = Base::Down;
        state.successes = 0;
        if state.incident.is_some() {
            return;
        }
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get_mut(unit));
        let invocation = watch
            .as_ref()
            .and_then(|watch| watch.subject())
            .map_or_else(String::new, |unit| unit.invocation_id.clone());
        state.last_incident = (now.wall.0.div_euclid(1000)).max(state.last_incident.saturating_add(1));
        let id = IncidentId(Arc::from(format!("{name}-{}", state.last_incident)));
        let incident = Incident::open(id, now, reason.clone(), invocation);
        let unit = state.check.unit.clone();
        out.push(changed(
            Some(name),
            unit.as_ref(),
            Some(&incident.id),
            ChangeKind::IncidentOpened { cause: reason },
        ));
        state.incident = Some(incident);
        state.next_probe = state.next_probe.min(now.mono.after(state.check.schedule.retry_interval));
        if let Some(unit) = unit {
            self.begin_trouble(now, &unit, name);
            self.stir(now, &unit);
        }
    }

    fn close_incident(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get(name) else { return };
        let unit = state.check.unit.clone();
        if let Some(unit) = &unit {
            self.judge_passed(now, unit, name, out);
        }
        let Some(state) = self.checks.get_mut(name) else { return };
        state.base = Base::Passing;
        state.failures = 0;
        state.successes = 0;
        let Some(mut incident) = state.incident.take() else { return };
        incident.dependents = unit.as_ref().map(|unit| self.taken_down_by(unit)).unwrap_or_default();
        let Some(state) = self.checks.get_mut(name) else { return };
        let what =
            ChangeKind::IncidentClosed { since: incident.since(now), attempts: incident.attempts_total };
        out.push(changed(Some(name), unit.as_ref(), Some(&incident.id), what));
        let watch = unit.as_ref().and_then(|unit| self.units.get(unit));
        let in_storm = self.brake.storm.as_ref().is_some_and(|storm| storm.members.contains_key(name));
        let notifications = match in_storm && !incident.notified_down {
            // The storm was told, or was over before anybody had to hear of it.
            true => Vec::new(),
            false => incident.close(now, &state.check, watch),
        };
        for notification in notifications {
            self.notify(notification, out);
        }
        if let Some(unit) = &unit {
            self.end_trouble(now, unit);
            self.stir(now, unit);
        }
    }

    /// Asks for the notifications of a check that are due.
    pub(super) fn tell(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) {
        self.hush_explained(now, name);
        if !self.may_tell(now, name, out) {
            return;
        }
        self.tell_unmeasured(now, name, out);
        let mut notifications = Vec::new();
        let dependents = self.dependents(name);
        if let Some(state) = self.checks.get_mut(name) {
            let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
            let pending = outlook::pending(state, watch);
            let next = outlook::next_sentence(now, state, watch);
            let Some(incident) = &mut state.incident else { return };
            incident.dependents = dependents;
            while let Some(notification) =
                incident.take_due(now, &state.check, watch, pending, |_| next.clone())
            {
                notifications.push(notification);
            }
        }
        for notification in notifications {
            self.notify(notification, out);
        }
    }

    /// The checks that an open incident of this one takes down with it.
    fn dependents(&self, name: &CheckName) -> Vec<Dependent> {
        let in_trouble = self.checks.get(name).filter(|state| state.incident.is_some());
        let unit = in_trouble.and_then(|state| state.check.unit.as_ref());
        unit.map(|unit| self.taken_down_by(unit)).unwrap_or_default()
    }

    /// An incident that opened just before something that explains it is not told while that lasts.
    fn hush_explained(&mut self, now: Now, name: &CheckName) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let explained = state.aside(now, watch).is_some_and(|aside| aside.explains_incidents());
        if let Some(incident) =
            state.incident.as_mut().filter(|incident| explained && !incident.notified_down)
        {
            incident.hushed = Some((now.mono, now.wall));
        }
    }

    /// Whether anybody is to hear of the check now.
    fn may_tell(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) -> bool {
        let Some(state) = self.checks.get(name) else { return false };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        if state.aside(now, watch).is_some() || self.is_in_storm(name) {
            return false;
        }
        let pending = outlook::pending(state, watch);
        let opening = state.incident.as_ref().filter(|incident| !incident.notified_down);
        let due = opening.and_then(|incident| incident.next_due(&state.check, pending));
        due.is_none_or(|due| due > now.mono) || !self.hushes(now, name, out)
    }

    pub(super) fn notify(&mut self, notification: Notification, out: &mut Vec<Effect>) {
        self.pending.insert(notification.id.clone(), notification.clone());
        out.push(Effect::Notify(Box::new(notification)));
    }

    /// An attempt is settled by a failure: for each check that is still in an incident. One that went down since is new
    /// trouble, and says nothing about an attempt whose effect only shows after a while.
    pub(super) fn judge_failed(
        &mut self,
        now: Now,
        unit: &UnitName,
        name: &CheckName,
        reason: String,
        out: &mut Vec<Effect>,
    ) {
        let Some(watch) = self.units.get(unit) else { return };
        let Some(attempt) = &watch.attempt else {
            self.judge_of_old(unit, name, reason, out);
            return;
        };
        if !attempt.is_over(now.mono) {
            return;
        }
        if attempt.serves(name) || !self.awaits_usage(now, unit) {
            self.hand_over(unit, name);
            self.judge(now, unit, AttemptOutcome::Ineffective(reason), true, out);
        }
    }

    /// An attempt is settled by systemd's own word that the unit is down again.
    pub(super) fn judge_failed_now(
        &mut self,
        now: Now,
        unit: &UnitName,
        reason: String,
        out: &mut Vec<Effect>,
    ) {
        let ended = |attempt: &super::watch::InFlight| attempt.ended.is_some();
        if self.units.get(unit).and_then(|watch| watch.attempt.as_ref()).is_some_and(ended) {
            // A unit that had long come up again went down for another reason: the step is not to blame.
            let climbs = !self.awaits_usage(now, unit);
            self.judge(now, unit, AttemptOutcome::Ineffective(reason), climbs, out);
        }
    }

    /// A check passes: its unit's attempt has worked if no other check of the unit is still down (rule 13).
    fn judge_passed(&mut self, now: Now, unit: &UnitName, name: &CheckName, out: &mut Vec<Effect>) {
        let Some(watch) = self.units.get(unit) else { return };
        if watch.attempt.as_ref().is_none_or(|attempt| attempt.ended.is_none()) {
            return;
        }
        let others_down = watch.checks.iter().any(|other| {
            other != name && self.checks.get(other).is_some_and(|state| state.incident.is_some())
        });
        if !others_down {
            self.judge(now, unit, AttemptOutcome::Recovered, false, out);
        }
    }
}
