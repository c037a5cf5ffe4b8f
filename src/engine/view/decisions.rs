//! The decision log: what each event led to, as sentences for `stealthctl why` (rule 16).
//!
//! In: the effects of an event. Out: entries in the logs of the checks that they concern.

use crate::check::{CheckName, Step};
use crate::engine::withheld::human_until;
use crate::engine::{Change, ChangeKind, Effect, Engine};
use crate::status::Topic;
use crate::time::{Now, Wall};
use crate::unit::UnitName;
use crate::verdict::{Health, State, SuppressedBy};

impl Engine {
    /// Logs what an event has led to.
    pub(in crate::engine) fn log_decisions(&mut self, now: Now, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Changed(change) => self.log_change(now, change),
                Effect::Notify(notification) => {
                    let text =
                        format!("notification `{}` to {}", notification.kind, notification.to.join(", "));
                    self.log(now, &notification.check, Topic::Notification, text);
                }
                // A storm is reported in the journal; what it means for a check is logged where its job is withheld.
                Effect::Probe { .. }
                | Effect::ReadUnit(_)
                | Effect::StartJob(_)
                | Effect::WithdrawJob(_)
                | Effect::Hold(_)
                | Effect::Remember
                | Effect::NotifyHost(_) => {}
            }
        }
    }

    fn log(&mut self, now: Now, check: &CheckName, topic: Topic, text: String) {
        let group = self.index.get(check).and_then(|key| self.groups.get_mut(key));
        if let Some(check) = group.and_then(|group| group.check_mut(check)) {
            check.log_mut().add(now, topic, text);
        }
    }

    /// What is done to a unit is logged for all checks that monitor it: whichever of them asked.
    fn log_change(&mut self, now: Now, change: &Change) {
        let Some((topic, text)) = sentence(now, change) else { return };
        let shared = change.check.is_none()
            || matches!(change.what, ChangeKind::RecoveryRequested { .. } | ChangeKind::RecoveryEnded { .. });
        let group =
            change.unit.as_ref().filter(|_| shared).and_then(|unit| self.groups.get(&self.key_of(unit)));
        let names: Vec<CheckName> = match (group, &change.check) {
            (Some(group), _) => group.checks().iter().map(|check| check.name().clone()).collect(),
            (None, Some(check)) => vec![check.clone()],
            (None, None) => return,
        };
        for name in names {
            let text = match change.check.as_ref().filter(|check| **check != name) {
                Some(asker) => format!("{text}, for {asker}"),
                None => text.clone(),
            };
            self.log(now, &name, topic, text);
        }
    }
}

fn sentence(now: Now, change: &Change) -> Option<(Topic, String)> {
    let unit = change.unit.as_ref().map_or("the unit", UnitName::as_str);
    Some(match &change.what {
        ChangeKind::Health { from, to, because } => return health(now, unit, from, to, because),
        ChangeKind::IncidentOpened { cause } => (Topic::Incident, format!("down: {cause}")),
        ChangeKind::IncidentClosed { passes: false, .. } => (
            Topic::Incident,
            "the incident is closed: the check is no longer monitored under this name and unit".to_owned(),
        ),
        ChangeKind::IncidentClosed { attempts, helped, .. } => {
            let took = match (attempts, helped) {
                (0, _) => "without a recovery attempt".to_owned(),
                (1, true) => "after 1 recovery attempt".to_owned(),
                (n, true) => format!("after {n} recovery attempts"),
                (1, false) => "after 1 recovery attempt that did not help".to_owned(),
                (n, false) => format!("after {n} recovery attempts that did not help"),
            };
            (Topic::Incident, format!("recovered, {took} (rule 13)"))
        }
        ChangeKind::RecoveryRequested { number, step } => {
            let what = requested(step, unit);
            (Topic::Recovery, format!("requested a {what} from systemd (attempt {number})"))
        }
        ChangeKind::RecoveryEnded { number, step, result } => {
            (Topic::Recovery, format!("the {} job (attempt {number}) ended: {result}", step.describe()))
        }
        ChangeKind::AttemptConcluded { number, outcome } => {
            (Topic::Recovery, format!("attempt {number}: {outcome} (rule 13)"))
        }
        ChangeKind::RecoveryWithheld { why } => (Topic::Recovery, format!("no recovery: {why}")),
        ChangeKind::ActionRequired { why } => (Topic::Incident, format!("action required: {why} (rule 5)")),
        ChangeKind::StepKept { step } => (
            Topic::Recovery,
            format!(
                "the steps continue with {}, as the unit failed again before lasting health (rule 5)",
                step.describe()
            ),
        ),
        ChangeKind::Flapping { incidents } => {
            (Topic::Incident, format!("flapping: {incidents} incidents within an hour (rule 13)"))
        }
        ChangeKind::HoldTaken { holder, .. } => {
            (Topic::Suppressed, format!("{unit} is held by {}: {}", holder.who, holder.why))
        }
        ChangeKind::HoldOver { holder, how } => {
            (Topic::Suppressed, format!("the hold of {} is over: {}", holder.who, how.clause()))
        }
        ChangeKind::HoldStartRequested { holder } => {
            (Topic::Suppressed, format!("requested a start of {unit} after the hold of {}", holder.who))
        }
        ChangeKind::HoldStartEnded { result } => {
            (Topic::Suppressed, format!("the start of {unit} after the hold ended: {result}"))
        }
        ChangeKind::StormBegan { .. } | ChangeKind::StormOver { .. } => return None,
        ChangeKind::UnitUnknown(true) => (Topic::Unit, format!("systemd knows no unit {unit}")),
        ChangeKind::UnitUnknown(false) => (Topic::Unit, format!("systemd knows {unit} now")),
        ChangeKind::CrashLoop { restarts } => {
            (Topic::Unit, format!("{unit} fails and is started again repeatedly ({restarts} times; rule 7)"))
        }
    })
}

fn requested(step: &Step, unit: &str) -> String {
    match step {
        Step::StartUnit(_) => step.describe(),
        _ => format!("{} of {unit}", step.describe()),
    }
}

/// What an incident's own entries say is not repeated.
fn health(now: Now, unit: &str, from: &Health, to: &Health, because: &str) -> Option<(Topic, String)> {
    let lasting = |until: &Option<Wall>| match until {
        Some(until) => format!("for {}", human_until(now.mono, now.mono_of(*until))),
        None => "without end".to_owned(),
    };
    let Some(why) = &to.suppressed_by else {
        let text = match to.state {
            State::Starting | State::Down => return None,
            State::Passing if *from == Health::STARTING || *from == Health::DOWN => return None,
            State::Unknown => format!("unknown: {because}"),
            State::Failing { .. } => format!("a failure: {because}"),
            State::Passing => format!("passes: {because}"),
        };
        return Some((Topic::Seen, text));
    };
    let text = match (&from.suppressed_by, why) {
        (Some(SuppressedBy::Conflict { .. }), SuppressedBy::Conflict { .. }) => return None,
        (_, SuppressedBy::Paused { until }) => format!("paused {}", lasting(&Some(*until))),
        // The hold itself is logged, with its holder; the storm in the journal.
        (_, SuppressedBy::Held { .. } | SuppressedBy::Storm) => return None,
        (_, SuppressedBy::Stopped { until }) => {
            format!("{unit} was stopped by an operator: respected {} (rule 12)", lasting(until))
        }
        (_, SuppressedBy::Conflict { by, until }) => {
            format!("{unit} conflicts with {by}, which is up: suppressed {} (rule 8)", lasting(until))
        }
        (_, SuppressedBy::Dependency { by, until: None }) => {
            format!("{unit} depends on {by}, which must be recovered first (rule 9)")
        }
        (_, SuppressedBy::Dependency { by, until }) => {
            format!("{by} is back: {unit} may come back with it {} (rule 9)", lasting(until))
        }
    };
    Some((Topic::Suppressed, text))
}
