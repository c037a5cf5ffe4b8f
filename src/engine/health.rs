//! From what is seen to how a check is (DESIGN: rules 1, 2, 6, 12).
//!
//! In: observations and the conditions of units. Out: incidents opened and closed, and their notices. What may be done
//! about an incident is decided in `recovery`.

use std::sync::Arc;

use super::event::{Action, RunId, What};
use super::incident::Incident;
use super::state::{Base, CheckState};
use super::watch::{Condition, UnitWatch};
use super::{Engine, changed, outlook};
use crate::check::{CheckName, Probe};
use crate::notice::{IncidentId, Notice, Proof};
use crate::time::{Now, human};
use crate::unit::UnitName;
use crate::verdict::Observation;

impl Engine {
    /// Takes the observation of the run that is under way; any other is late and means nothing any more.
    pub(super) fn observed(
        &mut self,
        now: Now,
        name: &CheckName,
        run: RunId,
        observation: Observation,
        out: &mut Vec<Action>,
    ) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let Some(current) = state.running.filter(|current| current.id == run) else { return };
        state.running = None;
        if state.paused() {
            state.record(now, observation);
            self.wake(now, name);
            return;
        }
        if state.check.probe == Probe::Unit {
            // The unit was read for it; what that says is judged like any other look at the unit.
            state.next_probe = state.next_on_grid(now.mono);
            if let Observation::Unknown { .. } = observation {
                state.record(now, observation);
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
            && matches!(observation, Observation::Passing { .. });
        state.record(now, observation.clone());
        if stale {
            // It saw the run of the unit before this one: look again.
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
        match observation {
            Observation::Passing { .. } => self.pass(now, name, out),
            Observation::Failing { reason } => self.fail(now, name, reason, out),
            Observation::Unknown { .. } => self.plan_next(now, name),
        }
        self.settle(now, name, out);
    }

    /// A passing observation. That a service which systemd restarts again and again answers in between is no cure.
    fn pass(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        if self.crash_loop_told_by(now, name).is_none() {
            self.pass_counts(now, name, out);
        }
        self.plan_next(now, name);
    }

    fn pass_counts(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        // While systemd's own word is that the unit is down, something else answers in its place. While the job of an
        // attempt runs, the old run of the unit may still answer.
        let impostor = watch.is_some_and(|watch| {
            watch.condition.down().is_some()
                || watch.attempt.as_ref().is_some_and(|attempt| attempt.ended.is_none())
        });
        if impostor || state.stop_respected(now, watch).is_some() {
            return;
        }
        state.failures = 0;
        state.successes = state.successes.saturating_add(1);
        if state.incident.is_some() {
            if state.successes >= state.check.schedule.pass_after {
                self.close_incident(now, name, out);
            }
        } else {
            state.base = Base::Passing;
        }
    }

    /// A failing observation.
    pub(super) fn fail(&mut self, now: Now, name: &CheckName, reason: String, out: &mut Vec<Action>) {
        self.fail_counts(now, name, reason, out);
        self.plan_next(now, name);
    }

    fn fail_counts(&mut self, now: Now, name: &CheckName, reason: String, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        if state.excused(now.mono, watch) || state.stop_respected(now, watch).is_some() {
            return;
        }
        state.successes = 0;
        state.failures = state.failures.saturating_add(1);
        if state.incident.is_some() {
            if let Some(unit) = state.check.unit.clone() {
                self.judge_failed(now, &unit, reason, out);
            }
        } else if state.failures >= state.check.schedule.fail_after {
            self.go_down(now, name, reason, out);
        } else {
            state.base = Base::Failing;
        }
    }

    /// The next probe: on the grid while all is well, after `retry` while it is not.
    fn plan_next(&mut self, now: Now, name: &CheckName) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let grid = state.next_on_grid(now.mono);
        let failed_last =
            state.history.last().is_some_and(|seen| !matches!(seen.observation, Observation::Passing { .. }));
        let uneasy = state.incident.is_some() || state.failures > 0 || failed_last;
        let respected = state.stop_respected(now, watch).is_some();
        state.next_probe = if uneasy && !respected {
            now.mono.after(state.retry(now.mono, watch).min(state.check.schedule.every))
        } else {
            grid
        };
    }

    /// Opens an incident; in an open one it only counts as another failure.
    pub(super) fn go_down(&mut self, now: Now, name: &CheckName, reason: String, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        state.base = Base::Down;
        state.successes = 0;
        if state.incident.is_some() {
            return;
        }
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get_mut(unit));
        let invocation = watch
            .as_ref()
            .and_then(|watch| watch.state.as_ref())
            .map_or_else(String::new, |unit| unit.invocation_id.clone());
        state.last_incident = (now.wall.0.div_euclid(1000)).max(state.last_incident.saturating_add(1));
        let id = IncidentId(Arc::from(format!("{name}-{}", state.last_incident)));
        let incident = Incident::open(id, now, reason.clone(), invocation);
        let unit = state.check.unit.clone();
        out.push(changed(
            Some(name),
            unit.as_ref(),
            Some(&incident.id),
            What::IncidentOpened { cause: reason },
        ));
        state.incident = Some(incident);
        state.next_probe = state.next_probe.min(now.mono.after(state.check.schedule.retry));
        if let Some(unit) = unit {
            self.begin_trouble(now, &unit, name);
        }
    }

    fn close_incident(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
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
        let what = What::IncidentClosed { since: incident.since, attempts: incident.attempts_total };
        out.push(changed(Some(name), unit.as_ref(), Some(&incident.id), what));
        let watch = unit.as_ref().and_then(|unit| self.units.get(unit));
        let notices = incident.close(now, &state.check, watch);
        for notice in notices {
            self.notify(notice, out);
        }
        if let Some(unit) = &unit {
            self.end_trouble(now, unit);
        }
    }

    /// Asks for the notices of a check that are due.
    pub(super) fn tell(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        let mut notices = Vec::new();
        if let Some(state) = self.checks.get_mut(name) {
            let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
            if state.paused() || state.stop_respected(now, watch).is_some() {
                return;
            }
            let pending = outlook::pending(state, watch);
            let next = outlook::next_sentence(now, state, watch);
            let Some(incident) = &mut state.incident else { return };
            while let Some(notice) = incident.take_due(now, &state.check, watch, pending, |_| next.clone()) {
                notices.push(notice);
            }
        }
        for notice in notices {
            self.notify(notice, out);
        }
    }

    fn notify(&mut self, notice: Notice, out: &mut Vec<Action>) {
        self.pending.insert(notice.id.clone(), notice.clone());
        out.push(Action::Notify(Box::new(notice)));
    }

    /// The unit was read: what that means for its checks.
    pub(super) fn condition_changed(
        &mut self,
        now: Now,
        unit: &UnitName,
        was: &Condition,
        out: &mut Vec<Action>,
    ) {
        let Some(watch) = self.units.get(unit) else { return };
        let condition = watch.condition.clone();
        let job_running = watch.attempt.as_ref().is_some_and(|attempt| attempt.ended.is_none());
        let entered = condition != *was;
        let names = watch.checks.clone();
        if let (Some(reason), true) = (condition.down(), entered)
            && !job_running
        {
            self.judge_failed_now(now, unit, reason.to_owned(), out);
        }
        for name in &names {
            if self.checks.get(name).is_none_or(CheckState::paused) {
                continue;
            }
            match condition.down() {
                // A job of ours is on it: its end will tell more.
                Some(_) if job_running => {}
                Some(reason) => self.go_down(now, name, reason.to_owned(), out),
                None => self.unit_not_down(now, name, &condition, entered, out),
            }
        }
        self.tell_crash_loop(now, unit, out);
    }

    fn unit_not_down(
        &mut self,
        now: Now,
        name: &CheckName,
        condition: &Condition,
        entered: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(state) = self.checks.get_mut(name) else { return };
        match condition {
            Condition::Stopped => state.failures = 0,
            Condition::Up if entered && state.base != Base::Passing => state.next_probe = now.mono,
            _ => {}
        }
        if entered && state.check.probe == Probe::Unit {
            self.look_at_unit(now, name, out);
        }
        self.stop_overdue(now, name, out);
    }

    /// A stop by somebody is over: `after_stop` has passed and the unit is still down (DESIGN: rule 12).
    pub(super) fn stop_overdue(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let Some(watch) = watch.filter(|watch| watch.condition == Condition::Stopped) else { return };
        if state.paused() || state.incident.is_some() || state.stop_respected(now, Some(watch)).is_some() {
            return;
        }
        let since = watch.stopped.map_or(now.mono, |(since, _)| since);
        let lasting = human(now.mono.since(since));
        let reason =
            format!("unit was stopped {lasting} ago and has not been started again (after_stop is over)");
        self.go_down(now, name, reason, out);
    }

    /// One look at the unit, for a check whose probe is the unit's state.
    pub(super) fn look_at_unit(&mut self, now: Now, name: &CheckName, out: &mut Vec<Action>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let Some(watch) = state.check.unit.as_ref().and_then(|unit| self.units.get(unit)) else { return };
        let Some(observation) = unit_observation(now, state, watch) else {
            self.plan_next(now, name);
            return;
        };
        state.record(now, observation.clone());
        match observation {
            Observation::Passing { .. } => self.pass(now, name, out),
            Observation::Failing { reason } => self.fail(now, name, reason, out),
            Observation::Unknown { .. } => self.plan_next(now, name),
        }
    }

    /// The sentence for a crash loop, if this is the check that tells of its unit's.
    fn crash_loop_told_by(&mut self, now: Now, name: &CheckName) -> Option<String> {
        let unit = self.checks.get(name)?.check.unit.clone()?;
        if self.crash_teller(&unit)? != *name {
            return None;
        }
        let (times, within) = self.units.get_mut(&unit)?.crash_loop(now.mono)?;
        Some(format!("crash-looping: systemd restarted the unit {times} times within {}", human(within)))
    }

    /// One check tells of a unit's crash loop: the one that checks the unit's state, else the first by name.
    fn crash_teller(&self, unit: &UnitName) -> Option<CheckName> {
        let names = &self.units.get(unit)?.checks;
        let by_state =
            |name: &&CheckName| self.checks.get(*name).is_some_and(|state| state.check.probe == Probe::Unit);
        names.iter().find(by_state).or_else(|| names.first()).cloned()
    }

    fn tell_crash_loop(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Action>) {
        let Some(name) = self.crash_teller(unit) else { return };
        if self.checks.get(&name).is_none_or(|state| state.paused() || state.incident.is_some()) {
            return;
        }
        if let Some(reason) = self.crash_loop_told_by(now, &name) {
            let restarts = self.units.get(unit).map_or(0, |watch| watch.restarts.len());
            let restarts = u32::try_from(restarts).unwrap_or(u32::MAX);
            self.go_down(now, &name, reason, out);
            let incident = self.checks.get_mut(&name).and_then(|state| state.incident.as_mut());
            let Some(incident) = incident else { return };
            incident.crash_loop = true;
            out.push(changed(Some(&name), Some(unit), Some(&incident.id), What::CrashLoop { restarts }));
        }
    }

    /// An attempt is settled by a failure: for each check that is still in an incident.
    fn judge_failed(&mut self, now: Now, unit: &UnitName, reason: String, out: &mut Vec<Action>) {
        let over =
            |attempt: &super::watch::InFlight| attempt.ended.is_some() && now.mono >= attempt.grace_until;
        if self.units.get(unit).and_then(|watch| watch.attempt.as_ref()).is_some_and(over) {
            self.judge(now, unit, Proof::DidNotHelp(reason), true, out);
        }
    }

    /// An attempt is settled by systemd's own word that the unit is down again.
    fn judge_failed_now(&mut self, now: Now, unit: &UnitName, reason: String, out: &mut Vec<Action>) {
        let ended = |attempt: &super::watch::InFlight| attempt.ended.is_some();
        if self.units.get(unit).and_then(|watch| watch.attempt.as_ref()).is_some_and(ended) {
            self.judge(now, unit, Proof::DidNotHelp(reason), true, out);
        }
    }

    /// A check passes: its unit's attempt has worked if no other check of the unit is still down (DESIGN: rule 13).
    fn judge_passed(&mut self, now: Now, unit: &UnitName, name: &CheckName, out: &mut Vec<Action>) {
        let Some(watch) = self.units.get(unit) else { return };
        if watch.attempt.as_ref().is_none_or(|attempt| attempt.ended.is_none()) {
            return;
        }
        let others_down = watch.checks.iter().any(|other| {
            other != name && self.checks.get(other).is_some_and(|state| state.incident.is_some())
        });
        if !others_down {
            self.judge(now, unit, Proof::Worked, false, out);
        }
    }
}

/// What a unit's condition says of a check whose probe is the unit's state; `None`: nothing yet.
fn unit_observation(now: Now, state: &CheckState, watch: &UnitWatch) -> Option<Observation> {
    let described = || watch.state.as_ref().map_or_else(String::new, crate::unit::UnitState::describe);
    let failing = |reason: String| Some(Observation::Failing { reason });
    match &watch.condition {
        Condition::Up | Condition::Resting => {
            Some(Observation::Passing { detail: described(), latency: std::time::Duration::ZERO })
        }
        Condition::Ended(reason) | Condition::Failed(reason) => failing(reason.clone()),
        Condition::Missing(what) => failing(format!("unit is {what}")),
        Condition::AutoRestart => failing(format!("unit is {}", described())),
        Condition::Starting | Condition::Stopping => {
            if state.excused(now.mono, Some(watch)) || watch.settling.is_none() {
                return None;
            }
            failing(format!("unit is still {}", described()))
        }
        Condition::Stopped if state.stop_respected(now, Some(watch)).is_none() => {
            failing("unit was stopped and has not been started again".to_owned())
        }
        Condition::Unread | Condition::Stopped => None,
    }
}
