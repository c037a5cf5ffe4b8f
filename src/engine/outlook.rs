//! What comes next for a check in an incident: when it must be looked at again, and how that is said.
//!
//! Questions only; what is decided is decided in `recovery`.

use super::incident::Hold;
use super::permit::come_up_by;
use super::recovery::overdue;
use super::state::CheckState;
use super::watch::{Condition, UnitWatch};
use super::{human_until, incurable};
use crate::time::{Mono, Now};

/// The opening notification should wait: a first attempt is about to be asked for, or its job runs.
pub(super) fn pending(state: &CheckState, watch: Option<&UnitWatch>) -> bool {
    let Some(incident) = &state.incident else { return false };
    if state.check.recovery.steps.is_empty() {
        return false;
    }
    match incident.attempts.last() {
        Some(attempt) => attempt.result.is_none(),
        None => watch.is_some_and(|watch| !matches!(watch.condition, Condition::Missing(_))),
    }
}

/// The moment at which recovery must be looked at again though nothing happened.
pub(super) fn next_look(state: &CheckState, watch: &UnitWatch) -> Option<Mono> {
    let act_from = state.incident.as_ref()?.act_from;
    match &watch.attempt {
        Some(attempt) if attempt.ended.is_none() => Some(attempt.requested.after(overdue(Some(watch)))),
        // A check that it does not serve may ask for another while it waits.
        Some(attempt) if !attempt.serves(&state.check.name) => {
            Some(watch.next_attempt.max(attempt.grace_until))
        }
        Some(_) => None,
        None => {
            let come_up_by = come_up_by(state, watch).unwrap_or_default();
            Some(watch.next_attempt.max(come_up_by).max(act_from))
        }
    }
}

/// One clause for the status and one sentence for mails: what happens next about a check in an incident.
pub(super) fn next_clause(now: Now, state: &CheckState, watch: Option<&UnitWatch>) -> String {
    let in_ = |at: Mono| human_until(now.mono, at);
    let Some(incident) = &state.incident else { return String::new() };
    let recovery = &state.check.recovery;
    if recovery.steps.is_empty() {
        return "no recovery is configured".to_owned();
    }
    if let Some(Hold::Not(why)) = &incident.held_back {
        return format!("no recovery: {why}");
    }
    let Some(watch) = watch else { return String::new() };
    if let Some(attempt) = &watch.attempt {
        let step = attempt.step.describe();
        return match attempt.ended {
            None => format!("waiting for the {step} job"),
            Some(_) if now.mono < attempt.grace_until => {
                format!("{step} done, waiting {} for it to come up", in_(attempt.grace_until))
            }
            Some(_) if state.usage.too_soon() => format!("{step} done, {NOT_KNOWN_YET}"),
            Some(_) => format!("{step} done, waiting for the next probe"),
        };
    }
    if state.usage.too_soon() && watch.condition.down().is_none() {
        return NOT_KNOWN_YET.to_owned();
    }
    let step = incurable::step(state, watch).map_or_else(String::new, |step| step.describe());
    format!("{step} in {} (attempt {})", in_(watch.next_attempt), incident.attempts_total.saturating_add(1))
}

/// For a check of what is used, whose unit has begun anew.
const NOT_KNOWN_YET: &str = "measuring whether too much is still used";

fn capitalised(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The sentence for a mail: what happens next.
pub(super) fn next_sentence(now: Now, state: &CheckState, watch: Option<&UnitWatch>) -> String {
    let Some(incident) = &state.incident else { return String::new() };
    if state.check.recovery.steps.is_empty() {
        return "Nothing is done about it: no recovery is configured for this check.".to_owned();
    }
    let clause = next_clause(now, state, watch);
    match &incident.action_required {
        Some(why) => format!("It needs you: {why}. Next: {clause}."),
        // Stands under a heading that says "next".
        None => format!("{}.", capitalised(&clause)),
    }
}
