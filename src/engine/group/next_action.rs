//! What happens next about a check: one clause for the status, one sentence for notifications.

use super::Group;
use crate::engine::check::Check;
use crate::engine::withheld::{Withheld, human_until};
use crate::time::Now;

const WINDOW_FILLS: &str = "waiting for the measuring window to fill";

/// What happens next about a check in an incident.
pub(in crate::engine) fn incident_clause(now: Now, group: &Group, check: &Check) -> String {
    let Some(incident) = check.incident() else { return String::new() };
    let recovery = &check.settings().recovery;
    if incident.passing_since().is_some()
        && let Some(at) = group.proven_at(now.mono, check)
    {
        return format!("passes again; recovered in {} if it stays so", human_until(now.mono, at));
    }
    if recovery.steps.is_empty() {
        return Withheld::NoSteps.to_string();
    }
    let Some(unit) = group.unit() else { return String::new() };
    for attempt in unit.attempt().into_iter().chain(check.other_attempt()) {
        let step = attempt.step().describe();
        match attempt.grace_until() {
            None => return format!("waiting for the {step} job"),
            Some(until) if now.mono < until => {
                return format!(
                    "{step} done, waiting {} for the unit to come up",
                    human_until(now.mono, until)
                );
            }
            Some(_) if !attempt.serves(check.name()) => {}
            Some(_) if check.awaits_window() => return format!("{step} done, {WINDOW_FILLS}"),
            Some(_) => return format!("{step} done, waiting for the next probe"),
        }
    }
    if let Some(why) = incident.withheld().filter(|why| !why.is_routine()) {
        return format!("no recovery: {why}");
    }
    if check.awaits_window() && unit.condition().down().is_none() {
        return WINDOW_FILLS.to_owned();
    }
    let step = recovery.steps.get(check.step_index()).map_or_else(String::new, |step| step.describe());
    let at = unit.pace().not_before().max(incident.act_from());
    format!(
        "{step} in {} (attempt {})",
        human_until(now.mono, at),
        incident.attempts_total().saturating_add(1)
    )
}

/// The sentence for a notification.
pub(super) fn next_sentence(now: Now, group: &Group, check: &Check) -> String {
    let Some(incident) = check.incident() else { return String::new() };
    if check.settings().recovery.steps.is_empty() {
        return "No action is taken: no recovery is configured for this check.".to_owned();
    }
    let clause = incident_clause(now, group, check);
    match incident.action_required() {
        Some(why) if clause == format!("no recovery: {why}") => format!("Action required: {why}."),
        Some(why) => format!("Action required: {why}. Next: {clause}."),
        None => format!("{}.", capitalized(&clause)),
    }
}

fn capitalized(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
