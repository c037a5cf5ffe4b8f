//! What a reading of a unit means for the checks that speak for it.
//!
//! In: a unit's condition, and what it was before. Out: checks that go down by systemd's word, and the observations of
//! checks whose probe is the unit's state. What an observation counts for is decided in `health`.

use super::Engine;
use super::event::Effect;
use super::state::{Base, CheckState};
use super::watch::{Condition, UnitWatch};
use crate::check::CheckName;
use crate::time::{Now, human};
use crate::unit::{ManagerState, UnitName};
use crate::verdict::Observation;

impl Engine {
    /// The unit was read: what that means for its checks.
    pub(super) fn condition_changed(
        &mut self,
        now: Now,
        unit: &UnitName,
        was: &Condition,
        out: &mut Vec<Effect>,
    ) {
        self.note_runs(now, unit, out);
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
            let Some(state) = self.checks.get(name) else { continue };
            let left_alone = state.aside(now, self.units.get(unit)).is_some();
            if state.paused() {
                continue;
            }
            if entered && condition.down().is_some() {
                self.leave_storm(name);
            }
            match condition.down() {
                // A job of ours is on it: its end will tell more.
                Some(_) if job_running || left_alone => {}
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
        out: &mut Vec<Effect>,
    ) {
        let Some(state) = self.checks.get_mut(name) else { return };
        match condition {
            Condition::Stopped => state.failures = 0,
            Condition::Up if entered && state.base != Base::Passing => state.next_probe = now.mono,
            _ => {}
        }
        if (entered && state.check.probe.looks_at_unit()) || state.runs.is_some() {
            self.look_at_unit(now, name, out);
        }
        self.overdue(now, name, out);
    }

    /// The unit is down, and the check is not, or no longer, left alone for it: a stop by somebody has lasted longer than
    /// `respect_stop` (rule 12), or the unit went down while the check was set aside.
    pub(super) fn overdue(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get(name) else { return };
        let Some(watch) = state.check.unit.as_ref().and_then(|unit| self.units.get(unit)) else { return };
        let job_running = watch.attempt.as_ref().is_some_and(|attempt| attempt.ended.is_none());
        if job_running || state.incident.is_some() || state.aside(now, Some(watch)).is_some() {
            return;
        }
        let other = watch.displaced_too_long(now).or_else(|| watch.blocked_too_long(now));
        let left_behind = watch.left_behind();
        let reason = match &watch.condition {
            Condition::Stopped if other.is_some() => other.unwrap_or_default(),
            Condition::Stopped => {
                let since = watch.stopped.map_or(now.mono, |(since, _)| since);
                let lasting = human(now.mono.since(since));
                format!(
                    "unit was stopped {lasting} ago and has not been started again (respect_stop is over)"
                )
            }
            condition => match condition.down() {
                Some(reason) => other.unwrap_or_else(|| reason.to_owned()),
                None => return,
            },
        };
        self.go_down(now, name, reason, out);
        if let Some(incident) = self.checks.get_mut(name).and_then(|state| state.incident.as_mut())
            && left_behind
        {
            // What the root's notifications have named is brought back with it, and told only if that does not help.
            incident.hushed = Some((now.mono, now.wall));
        }
    }

    /// One look at the unit, for a check whose probe is the unit's state.
    pub(super) fn look_at_unit(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let Some(watch) = state.check.unit.as_ref().and_then(|unit| self.units.get(unit)) else { return };
        let seen = match state.runs {
            Some(_) => self.job_observation(now, name),
            None => unit_observation(now, self.manager, state, watch).map(|observation| (observation, true)),
        };
        let (Some((observation, counts)), Some(state)) = (seen, self.checks.get_mut(name)) else {
            self.plan_next(now, name);
            return;
        };
        state.record(now, observation.clone());
        if counts {
            self.judge_observation(now, name, observation, out);
        } else {
            self.plan_next(now, name);
        }
    }
}

/// What a unit's condition says of a check whose probe is the unit's state; `None`: nothing yet.
fn unit_observation(
    now: Now,
    manager: ManagerState,
    state: &CheckState,
    watch: &UnitWatch,
) -> Option<Observation> {
    if manager == ManagerState::Unreachable {
        // What it said last may have long been otherwise.
        return Some(Observation::Unknown { reason: "systemd cannot be reached over D-Bus".to_owned() });
    }
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
        Condition::Stopped if state.aside(now, Some(watch)).is_none() => {
            failing("unit was stopped and has not been started again".to_owned())
        }
        Condition::Unread | Condition::Stopped => None,
    }
}
