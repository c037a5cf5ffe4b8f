//! The status that people see, taken from the core's state. It changes nothing.

use super::incident::Hold;
use super::outlook;
use super::state::CheckState;
use super::watch::UnitWatch;
use super::{Engine, human_until, unmeasured};
use crate::check::CheckName;
use crate::status::{CheckStatus, IncidentStatus};
use crate::time::{Now, Wall};
use crate::unit::UnitName;
use crate::verdict::Health;

impl Engine {
    /// The status of the named checks, of all where `names` is empty, in name order. `detail` adds history and runbook.
    #[must_use]
    pub fn status(&self, now: Now, names: &[CheckName], detail: bool) -> Vec<CheckStatus> {
        let wanted = |name: &CheckName| names.is_empty() || names.contains(name);
        let states = self.checks.values().filter(|state| wanted(&state.check.name));
        states.map(|state| self.check_status(now, state, detail)).collect()
    }

    /// Whether a check of this name is configured.
    #[must_use]
    pub fn knows(&self, name: &CheckName) -> bool {
        self.checks.contains_key(name)
    }

    /// The names of all checks, in order.
    pub fn names(&self) -> impl Iterator<Item = &CheckName> {
        self.checks.keys()
    }

    fn check_status(&self, now: Now, state: &CheckState, detail: bool) -> CheckStatus {
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let health = state.health(now, watch);
        CheckStatus {
            name: state.check.name.clone(),
            unit: state.check.unit.clone(),
            probe: state.check.probe.describe(),
            next: next(now, state, watch, &health),
            health,
            since: state.since,
            last: state.history.last().cloned(),
            next_probe: (!state.paused() && state.running.is_none()).then(|| now.wall_of(state.next_probe)),
            incident: state.incident.as_ref().map(|incident| IncidentStatus {
                id: incident.id.clone(),
                since: incident.since(now),
                cause: incident.cause.clone(),
                attempts: incident.attempts_total,
                max_attempts: state.check.recovery.max_attempts,
                last_attempt: incident.attempts.last().cloned(),
                action_required: incident.action_required.is_some(),
                holding_back: match &incident.held_back {
                    Some(Hold::Not(why)) => Some(why.clone()),
                    _ => None,
                },
                notifications: (incident.asked, incident.delivered),
                dependents: state
                    .check
                    .unit
                    .as_ref()
                    .map(|unit| self.taken_down_by(unit))
                    .unwrap_or_default(),
            }),
            unit_state: watch.and_then(|watch| watch.state.clone()),
            history: if detail { state.history.clone() } else { Vec::new() },
            runbook: if detail { state.check.runbook.clone() } else { None },
        }
    }
}

fn displaced(now: Now, watch: Option<&UnitWatch>, by: &UnitName, until: Option<Wall>) -> String {
    let over = watch.and_then(|watch| watch.displaced.as_ref()).is_some_and(|mark| mark.over.is_some());
    let Some(until) = until else { return format!("left alone until {by} has ended") };
    let left = human_until(now.mono, now.mono_of(until));
    if over {
        format!("{by} has ended; counts as down in {left} unless it comes back")
    } else {
        format!("left alone while {by} is up; counts as down in {left}")
    }
}

/// One clause: what happens next.
fn next(now: Now, state: &CheckState, watch: Option<&UnitWatch>, health: &Health) -> String {
    let probe = || {
        if state.running.is_some() {
            "probing".to_owned()
        } else {
            format!("probe in {}", human_until(now.mono, state.next_probe))
        }
    };
    match health {
        Health::Paused { until } => format!("resumes in {}", human_until(now.mono, now.mono_of(*until))),
        Health::Held { .. } => {
            watch.and_then(|watch| watch.hold.as_ref()).map_or_else(probe, |hold| hold.next_clause(now))
        }
        Health::Stopped { until: Some(until) } => {
            format!("stopped by somebody; counts as down in {}", human_until(now.mono, now.mono_of(*until)))
        }
        Health::Stopped { until: None } => "stopped by somebody; left alone until it is started".to_owned(),
        Health::Conflict { by, until } => displaced(now, watch, by, *until),
        Health::Dependency { by, until: None } => format!("waits for {by}, which it requires"),
        Health::Dependency { by, until: Some(until) } => {
            let left = human_until(now.mono, now.mono_of(*until));
            format!("{by} is well again; counts as down in {left} unless it comes back")
        }
        Health::Down => {
            let clause = outlook::next_clause(now, state, watch);
            if state.check.recovery.steps.is_empty() { probe() } else { clause }
        }
        Health::Unknown => match &state.unmeasured {
            Some(unmeasured) => format!("{}, {}", unmeasured::clause(now, unmeasured), probe()),
            None => probe(),
        },
        Health::Starting | Health::Passing | Health::Failing { .. } => probe(),
    }
}
