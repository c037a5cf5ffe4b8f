//! What comes next for a check in an incident: when it must be looked at again, and how that is said.
//!
//! Questions only; what is decided is decided in `recovery`.

use super::incident::Hold;
use super::recovery::{JOB_OVERDUE, come_up_by};
use super::state::CheckState;
use super::watch::{Condition, UnitWatch};
use super::{human_until, incurable};
use crate::time::{Mono, Now};

/// The opening notice should wait: a first attempt is about to be asked for, or its job runs.
pub(super) fn pending(state: &CheckState, watch: Option<&UnitWatch>) -> bool {
    let Some(incident) = &state.incident else { return false };
    if state.check.recovery.ladder.is_empty() {
        return false;
    }
    match incident.attempts.last() {
        Some(attempt) => attempt.result.is_none(),
        None => watch.is_some_and(|watch| !matches!(watch.condition, Condition::Missing(_))),
    }
}

/// The moment at which recovery must be looked at again though nothing happened.
pub(super) fn next_look(state: &CheckState, watch: &UnitWatch) -> Option<Mono> {
    state.incident.as_ref()?;
    match &watch.attempt {
        Some(attempt) if attempt.ended.is_none() => Some(attempt.asked.after(JOB_OVERDUE)),
        Some(_) => None,
        None => Some(watch.next_attempt.max(come_up_by(state, watch).unwrap_or_default())),
    }
}

/// One clause for the status and one sentence for mails: what happens next about a check in an incident.
pub(super) fn next_clause(now: Now, state: &CheckState, watch: Option<&UnitWatch>) -> String {
    let in_ = |at: Mono| human_until(now.mono, at);
    let Some(incident) = &state.incident else { return String::new() };
    let recovery = &state.check.recovery;
    if recovery.ladder.is_empty() {
        return "no recovery is configured".to_owned();
    }
    if let Some(Hold::Not(why)) = &incident.held_back {
        return format!("no recovery: {why}");
    }
    let Some(watch) = watch else { return String::new() };
    if let Some(attempt) = &watch.attempt {
        let rung = attempt.rung.describe();
        return match attempt.ended {
            None => format!("waiting for the {rung} job"),
            Some(_) if now.mono < attempt.grace_until => {
                format!("{rung} done, waiting {} for it to come up", in_(attempt.grace_until))
            }
            Some(_) => format!("{rung} done, waiting for the next probe"),
        };
    }
    let rung = incurable::rung(state, watch).map_or_else(String::new, |rung| rung.describe());
    format!("{rung} in {} (attempt {})", in_(watch.next_attempt), incident.attempts_total.saturating_add(1))
}

fn capitalised(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The sentence for a mail: what happens next.
pub(super) fn next_sentence(now: Now, state: &CheckState, watch: Option<&UnitWatch>) -> String {
    let Some(incident) = &state.incident else { return String::new() };
    if state.check.recovery.ladder.is_empty() {
        return "Nothing is done about it: no recovery is configured for this check.".to_owned();
    }
    let clause = next_clause(now, state, watch);
    match &incident.needs_you {
        Some(why) => format!("It needs you: {why}. Next: {clause}."),
        // Stands under a heading that says "next".
        None => format!("{}.", capitalised(&clause)),
    }
}
