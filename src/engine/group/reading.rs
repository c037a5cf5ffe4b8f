//! A reading of the unit, and what it means for the checks that monitor it (rules 1, 6 to 9).
//!
//! In: readings. Out: checks that go down by systemd's account, and the observations of checks whose probe is the unit's
//! state. What an observation counts for is decided in `observation`.

use std::sync::Arc;
use std::time::Duration;

use super::Group;
use crate::check::Probe;
use crate::engine::check::JobVerdict;
use crate::engine::context::Context;
use crate::engine::event::{ChangeKind, Effect};
use crate::engine::graph::Graph;
use crate::engine::unit::{Condition, Unit};
use crate::notification::AttemptOutcome;
use crate::time::{Now, human};
use crate::unit::{LoadState, UnitState};
use crate::verdict::Observation;

/// A probe that is due is reported this long after its timeout, at the latest.
const PROBED_WITHIN: Duration = Duration::from_secs(2);

impl Group {
    /// Takes a reading of the unit.
    pub fn unit_read(&mut self, cx: &mut Context<'_>, state: Arc<UnitState>) {
        let Some(unit) = &mut self.unit else { return };
        if unit.must_wait(cx.now.mono, &state, cx.graph.is_known(unit.id())) {
            unit.defer_reading(cx.now.mono, state);
        } else {
            self.take_reading(cx, state);
        }
    }

    /// Takes the first reading that waited for those of the units around, once they are there.
    /// Returns whether one was taken.
    pub fn take_deferred_reading(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(unit) = &self.unit else { return false };
        let Some(state) = unit.deferred_reading().cloned() else { return false };
        let takes = !unit.must_wait(cx.now.mono, &state, cx.graph.is_known(unit.id()));
        if takes {
            self.take_reading(cx, state);
        }
        takes
    }

    pub(super) fn take_reading(&mut self, cx: &mut Context<'_>, state: Arc<UnitState>) {
        let Some(unit) = &mut self.unit else { return };
        let before = unit.condition().clone();
        let was_frozen = unit.is_frozen();
        unit.read(cx.now, state);
        let thawed = was_frozen && !unit.is_frozen();
        if let Some(unknown) = unit.take_unknown_change() {
            let id = unit.id().clone();
            cx.change(None, Some(&id), None, ChangeKind::UnitUnknown(unknown));
        }
        if thawed {
            self.look_after_thaw(cx);
        }
        self.refresh_marks(cx);
        self.condition_changed(cx, &before);
    }

    /// What was seen of the unit while it was frozen does not count: each check looks afresh before anything is done.
    fn look_after_thaw(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.mono;
        for check in &mut self.checks {
            check.timer_mut().probe_at(now);
            let timeout = check.settings().schedule.timeout;
            if let Some(incident) = check.incident_mut() {
                incident.wait_until(now.after(timeout).after(PROBED_WITHIN));
            }
        }
    }

    /// What a change of the condition means for the checks.
    pub(super) fn condition_changed(&mut self, cx: &mut Context<'_>, before: &Condition) {
        let Some(unit) = &self.unit else { return };
        let condition = unit.condition().clone();
        let entered = condition != *before;
        let (ours, left_down) = (unit.has_job_of_ours(), unit.is_left_down());
        if entered {
            self.record_not_up();
        }
        if let Some(reason) = condition.down().filter(|_| entered && !ours) {
            self.conclude_by_end(cx, reason);
        }
        if condition == Condition::Stopped && entered && !ours {
            // The step is not to blame.
            let why = "an operator stopped the unit".to_owned();
            self.conclude(cx, AttemptOutcome::Interrupted(why), false, 0);
        }
        for index in 0..self.checks.len() {
            if self.checks[index].is_paused() {
                continue;
            }
            if entered && condition.down().is_some() {
                // Whatever happens to the machine, the unit's end is its own.
                self.checks[index].clear_failing();
                cx.breaker.leave(self.checks[index].name());
            }
            match condition.down() {
                // A job of ours is on it: its end tells more.
                Some(_) if ours || self.is_left_alone(index, cx.now) => {}
                // A unit that went down with another goes down in `count_overdue`, which names that one.
                Some(reason) if entered && !left_down => self.go_down(cx, index, reason.to_owned()),
                Some(_) => {}
                None => self.not_down(cx, index, &condition, entered),
            }
        }
        self.report_crash_loop(cx);
    }

    fn not_down(&mut self, cx: &mut Context<'_>, index: usize, condition: &Condition, entered: bool) {
        let frozen = self.unit.as_ref().is_some_and(Unit::is_frozen);
        let check = &mut self.checks[index];
        match condition {
            Condition::Stopped => check.forget_failures(),
            _ if frozen => check.forget_failures(),
            Condition::Up if entered && !check.is_passing() => check.timer_mut().probe_at(cx.now.mono),
            _ => {}
        }
        if (entered && check.looks_at_unit()) || check.runs().is_some() {
            self.look_at_unit(cx, index);
        }
    }

    /// The check is suppressed, or may turn out to be.
    fn is_left_alone(&self, index: usize, now: Now) -> bool {
        let explained =
            self.unit.as_ref().and_then(Unit::explained_until).is_some_and(|until| now.mono < until);
        explained || self.suppression_at(index, now).is_some()
    }

    /// The unit is down, and the check is not, or no longer, suppressed for it.
    pub(super) fn count_overdue(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(unit) = &self.unit else { return };
        let check = &self.checks[index];
        if unit.has_job_of_ours() || check.is_down() || self.is_left_alone(index, cx.now) {
            return;
        }
        if self.unit.as_mut().is_some_and(|unit| unit.rests_after_stop(cx.now)) {
            return self.condition_changed(cx, &Condition::Stopped);
        }
        let Some(unit) = &self.unit else { return };
        let now = cx.now.mono;
        let left_down = unit.is_left_down();
        if left_down && cx.graph.has_failing_dependency(unit.id()) {
            // It is not settled yet whether what it went down with is back.
            return;
        }
        let conflict = unit.conflict().map(|conflict| conflict.too_long(now));
        let other = conflict
            .or_else(|| {
                unit.dependency().filter(|_| left_down).and_then(|dependency| dependency.too_long(now))
            })
            .or_else(|| Some(format!("unit was stopped with {}, which has ended", unit.fell_with()?)));
        let reason = match unit.condition() {
            Condition::Stopped => other.unwrap_or_else(|| {
                let lasting = human(now.since(unit.stopped_since().map_or(now, |(since, _)| since)));
                let besides = match unit.reading() {
                    Some(state) if state.load != LoadState::Loaded => format!(", and is {}", state.describe()),
                    Some(state) if state.is_disabled() => ", and is disabled".to_owned(),
                    _ => String::new(),
                };
                format!(
                    "unit was stopped {lasting} ago and has not been started again{besides} (respect_stop is over)"
                )
            }),
            condition => match condition.down() {
                // A job that has failed and was mended otherwise stays failed for systemd; the check's probe tells.
                Some(_) if unit.reading().is_some_and(|state| state.oneshot) && !check.looks_at_unit() && check.is_passing() => {
                    return;
                }
                Some(reason) => other.unwrap_or_else(|| reason.to_owned()),
                None => return,
            },
        };
        self.go_down(cx, index, reason);
        if left_down && let Some(incident) = self.checks[index].incident_mut() {
            // The root's notifications have named it; it is started again, and reported only if that does not help.
            incident.mute(cx.now);
        }
    }

    /// Looks at the unit in place of a probe, for a check whose probe is the unit's state.
    pub(super) fn look_at_unit(&mut self, cx: &mut Context<'_>, index: usize) {
        let seen = match self.checks[index].settings().probe {
            Probe::Job(_) => self.job_observation(cx, index),
            _ => self.state_observation(cx, index),
        };
        let Some((observation, counts)) = seen else {
            self.plan_next(cx.now, index);
            return;
        };
        self.checks[index].record(cx.now, observation.clone());
        if counts {
            self.count(cx, index, observation);
        } else {
            self.plan_next(cx.now, index);
        }
    }

    /// What the unit's condition says of a check whose probe is the unit's state; `None`: nothing yet. The flag: whether it
    /// counts.
    fn state_observation(&self, cx: &Context<'_>, index: usize) -> Option<(Observation, bool)> {
        let unit = self.unit.as_ref()?;
        if !Self::is_reachable(cx) {
            // What it said last may have changed long ago.
            let reason = "systemd cannot be reached over D-Bus".to_owned();
            return Some((Observation::Unknown { reason }, true));
        }
        let described = || unit.reading().map_or_else(String::new, |state| state.describe());
        let failing = |reason: String| Some((Observation::Failing { reason }, true));
        let check = &self.checks[index];
        match unit.condition() {
            Condition::Up | Condition::AtRest => {
                if let Some((part, state)) = cx.graph.failed_part(unit.id()) {
                    return failing(format!("{part}, a part of {}, is {state}", unit.id()));
                }
                Some((Observation::Passing { detail: described(), latency: Duration::ZERO }, true))
            }
            Condition::Ended(reason) | Condition::Failed(reason) => failing(reason.clone()),
            Condition::Skipped(reason) => {
                Some((Observation::NotRestartable { reason: reason.clone() }, true))
            }
            Condition::Missing(what) => failing(format!("unit is {what}")),
            Condition::AutoRestart => failing(format!("unit is {}", described())),
            Condition::Starting | Condition::Stopping => {
                if self.excuse(check, cx.now).is_some() {
                    return None;
                }
                failing(format!("unit is still {}", described()))
            }
            Condition::Stopped if self.suppression(check, cx.now).is_none() => {
                failing("unit was stopped and has not been started again".to_owned())
            }
            Condition::Stopped => {
                Some((Observation::Failing { reason: format!("unit is {}", described()) }, false))
            }
            Condition::Unread => None,
        }
    }

    /// The reading of the job's unit: this unit, or what it triggers where it is a timer.
    fn job_reading<'a>(&'a self, graph: &'a Graph) -> Option<&'a Arc<UnitState>> {
        let unit = self.unit.as_ref()?;
        match unit.reading()?.triggers.as_ref().filter(|_| unit.id().kind() == "timer") {
            Some(triggered) => graph.reading(triggered),
            None => unit.reading(),
        }
    }

    /// The unit that an incident is about: of a timer that works, what it triggers.
    pub(super) fn subject<'a>(&'a self, graph: &'a Graph) -> Option<&'a Arc<UnitState>> {
        let unit = self.unit.as_ref()?;
        let job =
            self.job_reading(graph).filter(|_| self.has_job_check() && *unit.condition() == Condition::Up);
        job.or_else(|| unit.reading())
    }

    /// Its name, where it is not the unit.
    pub(super) fn subject_name(&self, graph: &Graph) -> Option<crate::unit::UnitName> {
        let unit = self.unit.as_ref()?;
        let triggered = unit.reading()?.triggers.as_ref().filter(|_| unit.id().kind() == "timer")?;
        let works =
            self.has_job_check() && *unit.condition() == Condition::Up && graph.reading(triggered).is_some();
        works.then(|| triggered.clone())
    }

    fn has_job_check(&self) -> bool {
        self.checks.iter().any(|check| check.runs().is_some())
    }

    /// The job's unit was read (it may be another than this one): its runs are recorded.
    pub fn record_runs(&mut self, cx: &mut Context<'_>) {
        let Some(state) = self.job_reading(cx.graph).cloned() else { return };
        let mut learned = false;
        for index in 0..self.checks.len() {
            if let Some(runs) = self.checks[index].runs_mut() {
                learned |= runs.record(cx.now, &state);
                if !self.checks[index].is_paused() {
                    self.look_at_unit(cx, index);
                }
            }
        }
        if learned {
            cx.emit(Effect::Remember);
        }
    }

    /// What a check of a job sees; `None`: nothing yet. The flag: whether it counts.
    fn job_observation(&mut self, cx: &Context<'_>, index: usize) -> Option<(Observation, bool)> {
        let state = self.job_reading(cx.graph)?.clone();
        if let Some(runs) = self.checks[index].runs_mut() {
            runs.record(cx.now, &state);
        }
        let unit = self.unit.as_ref()?;
        let check = &self.checks[index];
        let (job, runs) = (check.settings().probe.job()?, check.runs()?);
        let failing = |reason| Some((Observation::Failing { reason }, true));
        let passing = |detail| Observation::Passing { detail, latency: Duration::ZERO };
        let timer = unit.id().kind() == "timer";
        match unit.condition() {
            Condition::Unread => return None,
            Condition::Missing(what) => return failing(format!("unit is {what}")),
            // Of a timer that is not active its own state tells, as of any unit.
            condition if timer && *condition != Condition::Up => return None,
            _ => {}
        }
        let triggered = unit.reading()?.triggers.as_ref().filter(|_| timer);
        let of = triggered.map_or_else(String::new, |name| format!("{name}: "));
        if matches!(
            state.load,
            LoadState::NotFound | LoadState::Masked | LoadState::BadSetting | LoadState::Error
        ) {
            return failing(format!("{of}unit is {}", state.describe()));
        }
        let timer_since =
            unit.reading().filter(|_| timer).map(|timer| cx.now.mono_of_usec(timer.active_enter_usec));
        match runs.verdict(cx.now.mono, job, &state, timer_since) {
            JobVerdict::OnTime(detail) => Some((passing(detail), true)),
            JobVerdict::Failing(reason) => failing(format!("{of}{reason}")),
            JobVerdict::Running(detail) => Some((passing(detail), !check.is_down())),
        }
    }

    // --- crash loops

    /// One check reports the unit's crash loop: the one that checks the unit's state, else the first by name.
    pub(super) fn crash_reporter(&self) -> Option<usize> {
        let by_state = self.checks.iter().position(|check| *check.probe() == Probe::Unit);
        by_state.or(if self.checks.is_empty() { None } else { Some(0) })
    }

    /// The unit is started repeatedly after failures: that is an incident of its own, and ends when the restarts end (rule 7).
    pub(super) fn report_crash_loop(&mut self, cx: &mut Context<'_>) {
        let Some(index) = self.crash_reporter() else { return };
        let Some(unit) = &self.unit else { return };
        if *unit.condition() == Condition::Unread {
            return;
        }
        let looping = unit.starts().crash_loop(cx.now.mono);
        if let Some(incident) = self.checks[index].incident_mut().filter(|incident| incident.is_crash_loop())
        {
            incident.set_crash_loop(looping.is_some());
            if looping.is_some() {
                self.conclude_steps_in_loop(cx);
            }
            return;
        }
        let Some((times, within)) = looping else { return };
        if self.suppression_at(index, cx.now).is_some() {
            return;
        }
        // In an incident that is open already it is one more thing to know: what was tried has not helped.
        let reason = format!(
            "crash-looping: the unit was started {times} times after failures within {}",
            human(within)
        );
        self.conclude_by_end(cx, &reason);
        self.go_down(cx, index, reason);
        let (unit, name) = (self.unit_id(), self.checks[index].name().clone());
        if let Some(incident) = self.checks[index].incident_mut() {
            incident.set_crash_loop(true);
            let id = incident.id().clone();
            let restarts = u32::try_from(times).unwrap_or(u32::MAX);
            cx.change(Some(&name), unit.as_ref(), Some(&id), ChangeKind::CrashLoop { restarts });
        }
    }
}
