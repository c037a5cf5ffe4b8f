//! Whether a job may be asked for now (rules 5 and 7).
//!
//! In: a check that is down and not left alone, and its unit. Out: the step that is next, or the reason why nothing is asked
//! for, as people are told it. It changes nothing; what fails together with others is held back in `brake`.

use super::incident::Hold;
use super::incurable;
use super::state::CheckState;
use super::watch::{Condition, InFlight, UnitWatch};
use crate::check::Step;
use crate::time::{Mono, Now};
use crate::unit::ManagerState;

/// The step to ask for now, or why nothing is asked for.
/// `awaits_usage`: see [`super::Engine::awaits_usage`].
pub(super) fn permitted(
    now: Now,
    manager: ManagerState,
    state: &CheckState,
    watch: &UnitWatch,
    awaits_usage: bool,
) -> Result<Step, Hold> {
    let not = |why: &str| Err(Hold::Not(why.to_owned()));
    let in_the_way = |attempt: &InFlight| !awaits_usage || attempt.serves(&state.check.name);
    let not_yet = state.incident.as_ref().is_some_and(|incident| now.mono < incident.act_from);
    if not_yet || watch.attempt.as_ref().is_some_and(in_the_way) {
        return Err(Hold::Waiting);
    }
    if state.successes > 0 {
        // Not often enough yet to count as well (`success_threshold`), and no reason to do anything to the unit.
        return not("it passes again, and it is seen whether that lasts");
    }
    if state.usage.too_soon() && watch.condition.down().is_none() {
        return Err(Hold::Waiting);
    }
    match manager {
        ManagerState::Running => {}
        ManagerState::Starting => return not("the machine is still booting"),
        ManagerState::Stopping => return not("the machine is shutting down"),
        ManagerState::Unreachable => return not("systemd cannot be reached over D-Bus"),
    }
    if let Some(limit) = state.check.recovery.max_attempts
        && state.tries >= limit
    {
        return Err(Hold::Not(format!("the limit of {limit} attempts is reached")));
    }
    if state.check.recovery.steps.is_empty() {
        return not("no recovery is configured");
    }
    let Some(step) = incurable::step(state, watch) else {
        return not(incurable::WHY);
    };
    // One reason for all the states that such a unit goes through: each change of it is told.
    if state.incident.as_ref().is_some_and(|incident| incident.crash_loop)
        && matches!(watch.condition, Condition::Up | Condition::Starting | Condition::AutoRestart)
    {
        return not("systemd itself restarts the unit each time; once more would not help");
    }
    if let Some(why) = watch.not_ours() {
        return Err(Hold::Not(why));
    }
    if let Some(why) = watch.needs_first() {
        return Err(Hold::Not(why));
    }
    if let Some(other) = watch.job_would_stop() {
        return Err(Hold::Not(format!("a job would stop {other}, which is up and conflicts with the unit")));
    }
    if come_up_by(state, watch).is_some_and(|until| now.mono < until) {
        return not("the unit has only just been started");
    }
    if step == Step::Stop && watch.stopped_by_us {
        return not("the unit was stopped as the last resort");
    }
    if now.mono < watch.next_attempt { Err(Hold::Waiting) } else { Ok(step) }
}

/// The unit came up otherwise than by an attempt that is under way, by somebody's restart for instance: until when it
/// has the time to answer.
pub(super) fn come_up_by(state: &CheckState, watch: &UnitWatch) -> Option<Mono> {
    let settling = watch.settling.filter(|_| watch.condition == Condition::Up && watch.attempt.is_none())?;
    Some(settling.after(state.check.recovery.grace))
}
