//! Why a check is as it is now: one sentence for each rule that applies (rule 16). It changes nothing.

use std::time::Duration;

use super::incident::{Hold, Incident};
use super::outlook;
use super::state::{Aside, Base, CheckState};
use super::watch::UnitWatch;
use super::{Engine, human_until, incurable};
use crate::check::{CheckName, Step};
use crate::status::{Explanation, Reason, Topic};
use crate::time::{Mono, Now, human};
use crate::verdict::Observation;

impl Engine {
    /// The explanation of a check; `None` where no check has this name.
    #[must_use]
    pub fn why(&self, now: Now, name: &CheckName) -> Option<Explanation> {
        let state = self.checks.get(name)?;
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let mut reasons = Reasons(Vec::new());
        reasons.add(Topic::Seen, seen(now, state));
        if let Some(counts) = counts(now, state, watch) {
            reasons.add(Topic::Seen, counts);
        }
        match (&state.check.unit, watch.and_then(|watch| watch.state.as_ref())) {
            (Some(unit), Some(read)) => reasons.add(Topic::Unit, format!("{unit} is {}", read.describe())),
            (Some(unit), None) => {
                reasons.add(Topic::Unit, format!("systemd has not told the state of {unit} yet"));
            }
            (None, _) => {}
        }
        if let Some(aside) = state.aside(now, watch) {
            reasons.add(Topic::Aside, left_alone(now, &aside));
        }
        match &state.incident {
            Some(incident) => {
                let lasting = human(now.mono.since(incident.opened));
                reasons.add(Topic::Incident, format!("down for {lasting}: {}", incident.cause));
                for sentence in recovery(now, state, watch, incident) {
                    reasons.add(Topic::Recovery, sentence);
                }
            }
            None => reasons.add(Topic::Recovery, would_be_done(state)),
        }
        reasons.add(Topic::Notification, notifications(now, state, watch));
        Some(Explanation {
            name: name.clone(),
            unit: state.check.unit.clone(),
            at: now.wall,
            health: state.health(now, watch),
            now: reasons.0,
            trail: state.trail.all(),
        })
    }
}

struct Reasons(Vec<Reason>);

impl Reasons {
    fn add(&mut self, topic: Topic, text: String) {
        self.0.push(Reason { topic, text });
    }
}

fn seen(now: Now, state: &CheckState) -> String {
    let Some(last) = state.history.last() else { return "nothing was seen yet".to_owned() };
    let ago = human(Duration::from_secs(now.wall.since(last.last).as_secs()));
    let times = if last.count > 1 { format!(", {} times in a row", last.count) } else { String::new() };
    match &last.observation {
        Observation::Passing { detail, .. } => format!("it passed {ago} ago{times}: {detail}"),
        Observation::Failing { reason } | Observation::NotRestartable { reason } => {
            format!("it failed {ago} ago{times}: {reason}")
        }
        Observation::Unknown { reason } => format!("it could not be measured {ago} ago{times}: {reason}"),
    }
}

/// What a failure would count for now.
fn counts(now: Now, state: &CheckState, watch: Option<&UnitWatch>) -> Option<String> {
    let m = state.check.schedule.failure_threshold;
    if let Some((why, until)) = state.excuse(now.mono, watch) {
        let lasting = until.map_or_else(String::new, |at| format!(" for {} more", human_until(now.mono, at)));
        return Some(format!("a failure does not count{lasting}: {why}"));
    }
    match state.base {
        Base::Failing => {
            Some(format!("{} failures in a row count, {m} make it down (failure_threshold)", state.failures))
        }
        Base::Down if state.successes > 0 => {
            let of = state.check.schedule.success_threshold;
            Some(format!("{} passes of {of} that end the incident (success_threshold)", state.successes))
        }
        _ => None,
    }
}

impl CheckState {
    /// Why a failure does not count while nothing sets the check aside, and until when.
    pub(super) fn excuse(&self, now: Mono, watch: Option<&UnitWatch>) -> Option<(String, Option<Mono>)> {
        let watch = watch.filter(|_| self.excused(now, watch))?;
        Some(match &watch.attempt {
            Some(attempt) if attempt.ended.is_none() => {
                (format!("the {} job is under way", attempt.step.describe()), None)
            }
            Some(attempt) if now < attempt.grace_until => {
                let why = format!("the unit may come up after the {} (grace)", attempt.step.describe());
                (why, Some(attempt.grace_until))
            }
            _ if watch.falling.is_some() => ("somebody's job is taking the unit down".to_owned(), None),
            _ => {
                let until = watch.settling.map(|since| since.after(self.check.recovery.grace));
                ("the unit has only just been started (grace)".to_owned(), until)
            }
        })
    }
}

fn left_alone(now: Now, aside: &Aside) -> String {
    let why = match aside {
        Aside::Paused { .. } => "an operator has paused it".to_owned(),
        Aside::Held { holder, .. } => format!("{} has a hold on the unit: {}", holder.who, holder.why),
        Aside::Stopped { until: Some(_) } => "somebody stopped the unit (respect_stop)".to_owned(),
        Aside::Stopped { until: None } => {
            "somebody stopped the unit, which is respected for ever (respect_stop)".to_owned()
        }
        Aside::Displaced { by, over: false, .. } => {
            format!("{by}, which the unit conflicts with, is up; a restart would stop it (respect_conflict)")
        }
        Aside::Displaced { by, .. } => format!("{by} has ended, and the unit may come back (grace)"),
        Aside::Blocked { by, until: None } => {
            format!("{by}, which the unit requires, is not well; that is mended first")
        }
        Aside::Blocked { by, .. } => format!("{by} is well again, and the unit may come back (grace)"),
    };
    match aside.ends() {
        Some(end) => format!("left alone for {} more: {why}", human_until(now.mono, end)),
        None => format!("left alone: {why}"),
    }
}

fn recovery(now: Now, state: &CheckState, watch: Option<&UnitWatch>, incident: &Incident) -> Vec<String> {
    if state.check.recovery.steps.is_empty() {
        return vec!["nothing is done: no recovery is configured".to_owned()];
    }
    let mut sentences = Vec::new();
    if let Some(last) = incident.attempts.last() {
        let ago = human(Duration::from_secs(now.wall.since(last.requested).as_secs()));
        let result = last.result.as_ref().map_or_else(|| "its job runs".to_owned(), ToString::to_string);
        sentences.push(format!(
            "attempt {} ({}) was asked for {ago} ago: {result}",
            last.number,
            last.step.describe()
        ));
    }
    if state.aside(now, watch).is_some() {
        sentences.push("nothing is done while it is left alone".to_owned());
        return sentences;
    }
    let why = outlook::next_clause(now, state, watch);
    let backing_off = watch.is_some_and(|watch| watch.attempt.is_none() && now.mono < watch.next_attempt);
    match &incident.held_back {
        Some(Hold::Not(_)) => sentences.push(why),
        _ if backing_off => sentences.push(format!("next: {why}; attempts keep their distance (backoff)")),
        _ => sentences.push(format!("next: {why}")),
    }
    if let Some(why) = &incident.action_required {
        sentences.push(format!("a person is needed: {why}"));
    }
    sentences
}

fn would_be_done(state: &CheckState) -> String {
    match incurable::climbed_to(state).cloned() {
        None if state.check.unit.is_none() => {
            "nothing would be done if it went down: it has no unit".to_owned()
        }
        None => "nothing would be done if it went down: no recovery is configured".to_owned(),
        Some(Step::StartUnit(unit)) => format!("if it went down, systemd would be asked to start {unit}"),
        Some(step) => format!("if it went down, systemd would be asked for a {}", step.describe()),
    }
}

fn notifications(now: Now, state: &CheckState, watch: Option<&UnitWatch>) -> String {
    let check = &state.check;
    if check.alert.off {
        return "nobody is told (alert.off)".to_owned();
    }
    if check.alert.is_silent() {
        return "nobody is told: there are no addresses".to_owned();
    }
    let to = check.alert.to.join(", ");
    let Some(incident) = &state.incident else { return format!("mails would go to {to}") };
    if incident.notified_down {
        let waiting = incident.asked.saturating_sub(incident.delivered);
        let repeat_interval =
            check.alert.repeat_interval.map(|repeat_interval| incident.last_notified.after(repeat_interval));
        let next = match repeat_interval {
            Some(at) if state.aside(now, watch).is_none() => {
                format!("; the next in {}", human_until(now.mono, at))
            }
            _ => String::new(),
        };
        let mails = match incident.asked {
            1 => "1 mail".to_owned(),
            n => format!("{n} mails"),
        };
        let late = if waiting > 0 { format!(", {waiting} not delivered yet") } else { String::new() };
        return format!("{mails} to {to}{late}{next}");
    }
    if state.aside(now, watch).is_some() {
        return "nobody is told while it is left alone".to_owned();
    }
    match incident.next_due(check, outlook::pending(state, watch)) {
        Some(at) => format!("nobody was told yet; a mail goes to {to} in {}", human_until(now.mono, at)),
        None => "nobody is told".to_owned(),
    }
}
