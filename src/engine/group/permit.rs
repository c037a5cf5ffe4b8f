//! Which recovery step is next, and why no job is requested (rules 4, 5, 7 to 9).
//!
//! In: a check that is down and not suppressed, and its unit. Out: a step, or the one reason that withholds it. It changes
//! nothing; what fails together with others is withheld by the breaker.

use super::Group;
use crate::check::Step;
use crate::engine::attempt::Attempt;
use crate::engine::check::Check;
use crate::engine::context::Context;
use crate::engine::unit::{Condition, Unit};
use crate::engine::withheld::Withheld;
use crate::time::Mono;
use crate::unit::ManagerState;

impl Group {
    /// The step to request now for this check: a restart may be a start, see [`job_step`].
    pub(super) fn permitted_step(&self, cx: &Context<'_>, index: usize) -> Result<Step, Withheld> {
        let (check, now) = (&self.checks[index], cx.now);
        let Some(unit) = &self.unit else { return Err(Withheld::NoSteps) };
        let Some(incident) = check.incident() else { return Err(Withheld::Backoff) };
        if now.mono < incident.act_from() {
            return Err(Withheld::Backoff);
        }
        // The check waits for the outcome of its job on another unit; a crash of its own unit does not.
        let waits = check.other_attempt().is_some();
        if let Some(attempt) = check.other_attempt() {
            let ended_since = unit.went_down(now).is_some_and(|at| at > attempt.requested());
            if unit.condition().down().is_none() || (attempt.is_running() && !ended_since) {
                return Err(Withheld::Backoff);
            }
        }
        if incident.successes() > 0 {
            return Err(Withheld::PassesAgain);
        }
        let recovery = &check.settings().recovery;
        if recovery.steps.is_empty() {
            return Err(Withheld::NoSteps);
        }
        self.manager_withholds(cx, unit)?;
        if let Some(max) = recovery.max_attempts.filter(|max| incident.own_attempts() >= *max) {
            return Err(Withheld::MaxAttempts(max));
        }
        let step = self.next_step(check, unit, now.mono, waits)?;
        match step {
            Step::StartUnit(ref other) => {
                let respect = unit.respect_stop();
                let stopped =
                    Some(other).filter(|other| cx.graph.is_left_alone(now.mono, other, respect)).cloned();
                if let Some(stopped) =
                    stopped.or_else(|| cx.graph.would_start(now.mono, other, false, respect))
                {
                    return Err(Withheld::WouldStart(stopped));
                }
                if let Some(rival) = cx.graph.would_displace(other, false, unit.id()) {
                    return Err(Withheld::WouldStop(rival));
                }
                let triggered =
                    Some(other).filter(|other| cx.graph.start_may_trigger(now.mono, other)).cloned();
                let along = || cx.graph.would_trigger(now.mono, other, (true, false));
                if let Some(triggered) = triggered.or_else(along) {
                    return Err(Withheld::WouldTrigger(triggered));
                }
                self.permit_other(check, unit, cx)?;
                Ok(step)
            }
            _ => {
                let step = job_step(unit, cx, step);
                self.permit_own(check, unit, cx, &step)?;
                Ok(step)
            }
        }
    }

    fn manager_withholds(&self, cx: &Context<'_>, unit: &Unit) -> Result<(), Withheld> {
        match cx.manager.state() {
            _ if !cx.manager.is_known() => Err(Withheld::Unread),
            ManagerState::Stopping => Err(Withheld::ShuttingDown),
            ManagerState::Unreachable => Err(Withheld::Unreachable),
            // A unit that was up already in this boot is not waited for.
            ManagerState::Starting if cx.manager.is_booting(cx.now.mono) && !unit.was_active() => {
                Err(Withheld::Booting)
            }
            ManagerState::Starting | ManagerState::Running => Ok(()),
        }
    }

    /// The first step from the check's step index on that can change anything; where there is none, the last before it.
    /// `on_unit`: only steps that act on the unit itself.
    fn next_step(&self, check: &Check, unit: &Unit, now: Mono, on_unit: bool) -> Result<Step, Withheld> {
        let steps = &check.settings().recovery.steps;
        let (earlier, later) = steps.split_at(check.step_index().min(steps.len().saturating_sub(1)));
        let mut reason = None;
        let mut applies = |step: &&Step| match step_applies(step, check, unit, now) {
            Ok(()) if on_unit && matches!(step, Step::StartUnit(_)) => false,
            Ok(()) => true,
            Err(why) => {
                reason.get_or_insert(why);
                false
            }
        };
        let found = later.iter().find(&mut applies).or_else(|| earlier.iter().rev().find(&mut applies));
        found.cloned().ok_or_else(|| {
            reason.unwrap_or(if on_unit { Withheld::Backoff } else { Withheld::NoStepApplies })
        })
    }

    /// A job on the unit itself.
    fn permit_own(&self, check: &Check, unit: &Unit, cx: &Context<'_>, step: &Step) -> Result<(), Withheld> {
        let now = cx.now;
        if let Some(attempt) = unit.attempt() {
            // Its effect is awaited: until the grace is over, and by the checks that it serves until they tell.
            let superseded = attempt.is_past_grace(now.mono)
                && (!attempt.serves(check.name()) || self.awaits_window(now.mono));
            let other_waits = attempt.serves(check.name()) && check.awaits_window();
            if !superseded || other_waits {
                return Err(Withheld::Backoff);
            }
        }
        if check.awaits_window() && unit.condition().down().is_none() {
            return Err(Withheld::Backoff);
        }
        if let Some(why) = unit.withholds(now) {
            return Err(why);
        }
        if let Some(dependency) = unit.dependency().filter(|dependency| !dependency.is_over()) {
            // A root that is silent does not suppress the check, but its job is still the one that helps.
            return Err(Withheld::Dependency(dependency.by().clone()));
        }
        if let Some(other) = unit.would_stop() {
            return Err(Withheld::WouldStop(other.clone()));
        }
        let (starts, stops) =
            (matches!(step, Step::Restart | Step::Start), matches!(step, Step::Restart | Step::Stop));
        if stops && let Some(other) = cx.graph.would_disturb(unit.id()) {
            return Err(Withheld::WouldDisturb(other));
        }
        if let Some(why) = unit.withholds_job(now, (starts, stops)) {
            return Err(why);
        }
        if starts {
            if let Some(other) =
                cx.graph.would_start(now.mono, unit.id(), *step == Step::Restart, unit.respect_stop())
            {
                return Err(Withheld::WouldStart(other));
            }
            if let Some(rival) = cx.graph.would_displace(unit.id(), *step == Step::Restart, unit.id()) {
                return Err(Withheld::WouldStop(rival));
            }
            if let Some(service) = cx.graph.socket_user(unit.id()) {
                return Err(Withheld::SocketInUse(service));
            }
        }
        if let Some(other) = cx.graph.would_trigger(now.mono, unit.id(), (starts, stops)) {
            return Err(Withheld::WouldTrigger(other));
        }
        if self.grace_ends(check, unit).is_some_and(|until| now.mono < until) {
            return Err(Withheld::Grace);
        }
        if now.mono < unit.pace().not_before() { Err(Withheld::Backoff) } else { Ok(()) }
    }

    /// A job on another unit.
    fn permit_other(&self, check: &Check, unit: &Unit, cx: &Context<'_>) -> Result<(), Withheld> {
        let now = cx.now;
        if unit.has_job_of_ours() {
            return Err(Withheld::Backoff);
        }
        let looping = unit.starts().crash_loop(now.mono).is_some();
        if let Some(why) = unit.withholds(now).filter(|_| !looping) {
            return Err(why);
        }
        if let Some(dependency) = unit.dependency().filter(|dependency| !dependency.is_over()) {
            return Err(Withheld::Dependency(dependency.by().clone()));
        }
        // What only this step was meant for is not a crash: another check of the unit acts on the unit itself first.
        if check.step_index() == 0
            && unit.condition().down().is_some()
            && let Some(other) =
                self.checks.iter().find(|other| other.name() != check.name() && starts_unit(other))
        {
            return Err(Withheld::OtherCheck(other.name().clone()));
        }
        if let Some(attempt) = unit.attempt()
            && attempt.serves(check.name())
            && !attempt.is_past_grace(now.mono)
        {
            return Err(Withheld::Backoff);
        }
        if !looping && self.grace_ends(check, unit).is_some_and(|until| now.mono < until) {
            return Err(Withheld::Grace);
        }
        // In a crash loop no attempt on the unit itself is waited for.
        let of_unit = if looping { Mono::default() } else { unit.pace().not_before() };
        if now.mono < check.other_pace().not_before().max(of_unit) { Err(Withheld::Backoff) } else { Ok(()) }
    }

    /// The unit came up otherwise than by an attempt, by an operator's restart for instance: until when it may still
    /// become ready.
    pub(super) fn grace_ends(&self, check: &Check, unit: &Unit) -> Option<Mono> {
        let up = *unit.condition() == Condition::Up;
        let started = unit.started().filter(|_| up)?;
        let by_attempt = |attempt: &Attempt| attempt.ended().is_none_or(|ended| ended >= started);
        if unit.attempt().is_some_and(by_attempt) {
            return None;
        }
        (!check.passed_since(started)).then(|| started.after(check.settings().recovery.grace))
    }
}

/// The job for a step on the unit itself. A restart also restarts what requires the unit, and starts what that pulls in: where
/// an operator has stopped some of it, a unit that is down is started instead (rule 9); so is one that systemd refuses to stop.
fn job_step(unit: &Unit, cx: &Context<'_>, step: Step) -> Step {
    let down = unit.reading().is_some_and(|state| state.is_down());
    let refused = unit.reading().is_some_and(|state| state.settings.refuses_stop);
    let starts_instead = step == Step::Restart
        && down
        && (refused || cx.graph.would_start(cx.now.mono, unit.id(), true, unit.respect_stop()).is_some());
    if starts_instead { Step::Start } else { step }
}

/// Whether a step can change anything in the unit's present state.
fn step_applies(step: &Step, check: &Check, unit: &Unit, now: Mono) -> Result<(), Withheld> {
    if matches!(step, Step::StartUnit(_)) {
        return Ok(());
    }
    let down = unit.condition().down().is_some();
    if check.incident().is_some_and(|incident| incident.is_not_restartable()) && !down {
        return Err(Withheld::NotRestartable);
    }
    // systemd restarts it already; where it has given up, a restart of ours is something else.
    let looping = unit.starts().crash_loop(now).is_some()
        && matches!(unit.condition(), Condition::Up | Condition::Starting | Condition::AutoRestart);
    match step {
        Step::Stop if unit.is_stopped_by_step() => Err(Withheld::StoppedByStep),
        Step::Stop if unit.reading().is_some_and(|state| state.is_down()) => Err(Withheld::NoStepApplies),
        Step::Restart | Step::Start | Step::Reload if looping => Err(Withheld::CrashLoop),
        Step::Reload if *unit.condition() != Condition::Up => Err(Withheld::NoStepApplies),
        Step::Start if *unit.condition() == Condition::Up => Err(Withheld::NoStepApplies),
        _ => Ok(()),
    }
}

/// The check is down and its next step starts the unit itself.
fn starts_unit(check: &Check) -> bool {
    let steps = &check.settings().recovery.steps;
    let next = steps.get(check.step_index()).or(steps.last());
    check.is_down() && matches!(next, Some(Step::Restart | Step::Start))
}
