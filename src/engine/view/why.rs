//! Why a check is as it is now: one sentence for each rule that applies (rule 16).

use std::time::Duration;

use crate::check::{CheckName, Step};
use crate::engine::Engine;
use crate::engine::check::{Check, Incident};
use crate::engine::group::{Group, incident_clause, withholds_start};
use crate::engine::suppression::Suppression;
use crate::engine::unit::Unit;
use crate::engine::withheld::{Withheld, human_until};
use crate::status::{Explanation, Reason, Topic};
use crate::time::{Now, human};
use crate::verdict::{Observation, State, SuppressedBy};

impl Engine {
    /// The explanation of a check; `None` where no check has this name.
    #[must_use]
    pub fn why(&self, now: Now, name: &CheckName) -> Option<Explanation> {
        let group = self.groups.get(self.index.get(name)?)?;
        let check = group.check(name)?;
        let mut reasons = Reasons(Vec::new());
        reasons.add(Topic::Seen, seen(now, check));
        if group.is_resting(check, now) {
            let text = "not probed now: a connection to its socket would start the unit (rule 3)";
            reasons.add(Topic::Seen, text.to_owned());
        }
        if let Some(counts) = counts(now, group, check) {
            reasons.add(Topic::Seen, counts);
        }
        if let Some(unit) = group.unit() {
            reasons.add(
                Topic::Unit,
                match unit.reading() {
                    Some(state) => format!("{} is {}", unit.id(), state.describe()),
                    None => format!("systemd has not reported the state of {} yet", unit.id()),
                },
            );
        }
        if let Some(why) = group.suppression(check, now) {
            let started = group.unit().filter(|unit| unit.hold().is_some_and(|hold| !hold.is_open()));
            let text = match started {
                Some(unit) => started_after_hold(now, unit, withholds_start(unit, &self.graph, now)),
                None => suppressed(now, group, &why),
            };
            reasons.add(Topic::Suppressed, text);
        }
        if self.breaker.is_member(name) {
            let text =
                "storm: many checks fail together; its own jobs and notifications are withheld (rule 14)";
            reasons.add(Topic::Suppressed, text.to_owned());
        }
        match check.incident() {
            Some(incident) => {
                let lasting = human(Duration::from_secs(now.mono.since(incident.opened()).as_secs()));
                let began = if fails_otherwise(check, incident) { "; it began as" } else { "" };
                let text = format!("down for {lasting}{began}: {}", incident.cause());
                reasons.add(Topic::Incident, text);
                for sentence in recovery(now, group, check, incident) {
                    reasons.add(Topic::Recovery, sentence);
                }
            }
            None => reasons.add(Topic::Recovery, would_be_done(now, group, check)),
        }
        reasons.add(Topic::Notification, notifications(now, group, check));
        Some(Explanation {
            name: name.clone(),
            unit: check.settings().unit.clone(),
            at: now.wall,
            health: self.shown_health(now, group, check),
            now: reasons.0,
            log: check.log().all(),
        })
    }
}

struct Reasons(Vec<Reason>);

impl Reasons {
    fn add(&mut self, topic: Topic, text: String) {
        self.0.push(Reason { topic, text });
    }
}

fn seen(now: Now, check: &Check) -> String {
    let Some(last) = check.history().last() else { return "no result yet".to_owned() };
    let ago = human(Duration::from_secs(now.wall.since(last.last).as_secs()));
    let times = if last.count > 1 { format!(", {} times in a row", last.count) } else { String::new() };
    match &last.observation {
        Observation::Passing { detail, .. } => format!("passed {ago} ago{times}: {detail}"),
        Observation::Failing { reason } | Observation::NotRestartable { reason } => {
            format!("failed {ago} ago{times}: {reason}")
        }
        Observation::Unknown { reason } => format!("unknown {ago} ago{times}: {reason}"),
    }
}

/// What fails now is something else than what the incident began with.
fn fails_otherwise(check: &Check, incident: &Incident) -> bool {
    let last = check.history().last().filter(|_| check.history().failed_last());
    last.is_some_and(|seen| seen.observation.text() != incident.cause())
}

/// What a failure would count for now.
fn counts(now: Now, group: &Group, check: &Check) -> Option<String> {
    let m = check.settings().schedule.failure_threshold;
    if let Some(excuse) = group.excuse(check, now) {
        let until =
            excuse.until.map_or_else(String::new, |at| format!(" for {} more", human_until(now.mono, at)));
        return Some(format!("a failure does not count{until}: {} (rule 6)", excuse.why));
    }
    match (Group::state(check), check.incident()) {
        (State::Failing { .. }, _) => Some(format!(
            "{} in a row, {m} make it down (failure_threshold, rule 1)",
            match check.failures() {
                1 => "1 failure".to_owned(),
                n => format!("{n} failures"),
            }
        )),
        (_, Some(incident)) if incident.successes() > 0 => {
            let of = check.settings().schedule.success_threshold;
            Some(match group.proven_at(now.mono, check) {
                Some(at) => {
                    format!(
                        "passes again; the incident closes in {} if it stays so (rule 13)",
                        human_until(now.mono, at)
                    )
                }
                None => format!(
                    "{} passes of {of} that close the incident (success_threshold, rule 2)",
                    incident.successes()
                ),
            })
        }
        _ => None,
    }
}

fn started_after_hold(now: Now, unit: &Unit, withheld: Option<Withheld>) -> String {
    let what = unit.hold().map_or_else(String::new, |hold| hold.next_clause(now));
    match withheld {
        Some(why) => format!("the unit is {what} (rule 10), which is withheld: {why}"),
        None => format!("the unit is {what} (rule 10)"),
    }
}

fn suppressed(now: Now, group: &Group, why: &Suppression) -> String {
    let text = match why {
        Suppression::Paused { .. } => "paused by an operator (rule 11)".to_owned(),
        Suppression::Held { by: SuppressedBy::Held { who, why, .. }, .. } => {
            format!("{who} holds the unit: {why} (rule 10)")
        }
        Suppression::Held { .. } => "the unit is held (rule 10)".to_owned(),
        Suppression::Stopped { until: Some(_) } => {
            let reading = group.unit().and_then(|unit| unit.reading());
            let disabled = reading.is_some_and(|state| state.is_disabled());
            let disabled = if disabled { ", which is disabled," } else { "" };
            format!("the unit{disabled} was stopped by an operator (respect_stop, rule 12)")
        }
        Suppression::Stopped { until: None } => match group.unit().filter(|unit| unit.is_frozen()) {
            Some(unit) => format!("an operator has frozen the unit: systemctl thaw {} (rule 12)", unit.id()),
            None => {
                "the unit was stopped by an operator, which is respected without end (respect_stop, rule 12)"
                    .to_owned()
            }
        },
        Suppression::Conflict { by, over: false, .. } => {
            format!(
                "{by}, which the unit conflicts with, is up; a restart would stop it (respect_conflict, rule 8)"
            )
        }
        Suppression::Conflict { by, .. } => format!("{by} has ended, and the unit may come back (rule 8)"),
        Suppression::Dependency { by, until: None } => {
            format!("{by}, which the unit depends on, must be recovered first (rule 9)")
        }
        Suppression::Dependency { by, .. } => {
            format!("{by} is back, and the unit may come back with it (rule 9)")
        }
    };
    match why.ends() {
        Some(end) => format!("for {} more: {text}", human_until(now.mono, end)),
        None => text,
    }
}

fn recovery(now: Now, group: &Group, check: &Check, incident: &Incident) -> Vec<String> {
    if check.settings().recovery.steps.is_empty() {
        return vec!["no action is taken: no recovery is configured".to_owned()];
    }
    let mut sentences = Vec::new();
    if let Some(last) = incident.attempts().last() {
        let ago = human(Duration::from_secs(now.wall.since(last.requested).as_secs()));
        let running = group.unit().and_then(|unit| unit.attempt()).into_iter().chain(check.other_attempt());
        let unseen = if running.into_iter().any(|attempt| attempt.is_running()) {
            "its job is running"
        } else {
            "its end was not seen, as the daemon was restarted"
        };
        let result = last.result.as_ref().map_or_else(|| unseen.to_owned(), ToString::to_string);
        sentences.push(format!(
            "attempt {} ({}) was requested {ago} ago: {result}",
            last.number,
            last.step.describe()
        ));
    }
    if group.suppression(check, now).is_some() {
        sentences.push("no job is requested while the check is suppressed".to_owned());
        return sentences;
    }
    let clause = incident_clause(now, group, check);
    let backoff =
        group.unit().is_some_and(|unit| unit.attempt().is_none() && now.mono < unit.pace().not_before());
    match incident.withheld().filter(|why| !why.is_routine()) {
        Some(_) => sentences.push(clause),
        None if backoff && incident.passing_since().is_none() => {
            let left =
                group.unit().map_or_else(String::new, |unit| human_until(now.mono, unit.pace().not_before()));
            sentences.push(format!("next: {clause}; waiting for the backoff to end ({left} left, rule 5)"));
        }
        None => sentences.push(format!("next: {clause}")),
    }
    if let Some(why) = incident.action_required() {
        sentences.push(format!("action required: {why} (rule 5)"));
    }
    sentences
}

fn would_be_done(now: Now, group: &Group, check: &Check) -> String {
    let withheld = group.unit().and_then(|unit| unit.withholds(now));
    if let Some(why @ (Withheld::Missing(_) | Withheld::Masked)) = withheld {
        return format!("if it went down, no job would be requested: {why} (rule 7)");
    }
    let steps = &check.settings().recovery.steps;
    match steps.get(check.step_index()).or(steps.last()) {
        None if check.settings().unit.is_none() => {
            "no action would be taken if it went down: it has no unit".to_owned()
        }
        None => "no action would be taken if it went down: no recovery is configured".to_owned(),
        Some(Step::StartUnit(unit)) => format!("if it went down, a start of {unit} would be requested"),
        Some(step) => format!("if it went down, a {} would be requested", step.describe()),
    }
}

fn notifications(now: Now, group: &Group, check: &Check) -> String {
    let alert = &check.settings().alert;
    if alert.off {
        return "no notifications are sent (alert.off)".to_owned();
    }
    if alert.is_silent() {
        return "no notifications are sent: there are no recipients".to_owned();
    }
    let to = alert.to.join(", ");
    let Some(incident) = check.incident() else { return format!("notifications would go to {to}") };
    let suppressed = group.suppression(check, now).is_some();
    if incident.notified_down() {
        let (requested, delivered) = incident.notifications();
        let waiting = requested.saturating_sub(delivered);
        let repeat = alert.repeat_interval.map(|repeat| incident.last_notified().after(repeat));
        let next = match repeat {
            Some(at) if !suppressed => format!("; the next in {}", human_until(now.mono, at)),
            _ => String::new(),
        };
        let sent = match requested {
            1 => "1 notification".to_owned(),
            n => format!("{n} notifications"),
        };
        let late = if waiting > 0 { format!(", {waiting} not delivered yet") } else { String::new() };
        return format!("{sent} to {to}{late}{next}");
    }
    if suppressed {
        return "no notifications are sent while the check is suppressed".to_owned();
    }
    match incident.next_due(check.settings(), group.is_pending(check)) {
        Some(at) => format!("not notified yet; a notification goes to {to} in {}", human_until(now.mono, at)),
        None => "no notifications are sent".to_owned(),
    }
}
