//! What was decided about each check, and why: kept to be asked for (DESIGN: rule 16).
//!
//! In: the actions that an event led to, and what else is noted where something is *not* done. Out: a short list for
//! each check. An ordinary probe leaves no trace, so a check on which nothing happens has none.

use std::collections::VecDeque;

use super::event::{Action, Change, What};
use super::{Engine, human_until};
use crate::check::{CheckName, Rung};
use crate::notice::Proof;
use crate::status::{Decision, Topic};
use crate::time::{Now, Wall};
use crate::unit::UnitName;
use crate::verdict::Health;

/// Sentences of one check that are kept: some hours of an incident, as attempts are five minutes apart in the end.
const KEPT: usize = 24;

/// Of them, those that survive a restart of the daemon.
const SAVED: usize = 12;

/// The decisions about one check, the latest last.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail(VecDeque<Decision>);

impl Trail {
    /// Notes a decision, or that it was taken once more.
    pub fn note(&mut self, now: Now, topic: Topic, text: String) {
        if let Some(last) = self.0.back_mut()
            && last.topic == topic
            && last.text == text
        {
            last.last = now.wall;
            last.count = last.count.saturating_add(1);
            return;
        }
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Decision { topic, text, first: now.wall, last: now.wall, count: 1 });
    }

    pub fn all(&self) -> Vec<Decision> {
        self.0.iter().cloned().collect()
    }

    /// What is to be saved.
    pub fn latest(&self) -> Vec<Decision> {
        self.0.iter().skip(self.0.len().saturating_sub(SAVED)).cloned().collect()
    }

    pub fn restore(saved: Vec<Decision>) -> Self {
        Self(saved.into())
    }
}

impl Engine {
    /// Notes what an event has led to.
    pub(super) fn remember(&mut self, now: Now, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Changed(change) => self.remember_change(now, change),
                Action::Notify(notice) => {
                    let text = format!("mail `{}` to {}", notice.kind, notice.to.join(", "));
                    self.note(now, &notice.check, Topic::Notice, text);
                }
                Action::Probe { .. } | Action::StartJob(_) | Action::Hold(_) | Action::Remember => {}
                // The storm itself is told in the journal; what it means for a check, where that check is held back.
                Action::NotifyHost(_) => {}
            }
        }
    }

    /// Notes a decision about a check.
    pub(super) fn note(&mut self, now: Now, check: &CheckName, topic: Topic, text: String) {
        if let Some(state) = self.checks.get_mut(check) {
            state.trail.note(now, topic, text);
        }
    }

    /// What is done to a unit is noted for all checks that speak for it: whichever of them asked.
    fn remember_change(&mut self, now: Now, change: &Change) {
        let Some((topic, text)) = sentence(now, change) else { return };
        let watch = change.unit.as_ref().and_then(|unit| self.units.get(unit));
        let shared = change.check.is_none()
            || matches!(change.what, What::RecoveryAsked { .. } | What::RecoveryEnded { .. });
        let names = match (watch.filter(|_| shared), &change.check) {
            (Some(watch), _) => watch.checks.clone(),
            (None, Some(check)) => vec![check.clone()],
            (None, None) => return,
        };
        for name in names {
            let text = match change.check.as_ref().filter(|check| **check != name) {
                Some(asker) => format!("{text}, for {asker}"),
                None => text.clone(),
            };
            self.note(now, &name, topic, text);
        }
    }
}

fn sentence(now: Now, change: &Change) -> Option<(Topic, String)> {
    let unit = change.unit.as_ref().map_or("the unit", UnitName::as_str);
    Some(match &change.what {
        What::Health { from, to, because } => return health(now, unit, from, to, because),
        What::IncidentOpened { cause } => (Topic::Incident, format!("down: {cause}")),
        What::IncidentClosed { attempts, .. } => {
            let took = match attempts {
                0 => "without a recovery attempt".to_owned(),
                1 => "after 1 recovery attempt".to_owned(),
                n => format!("after {n} recovery attempts"),
            };
            (Topic::Incident, format!("well again, {took}"))
        }
        What::RecoveryAsked { number, rung } => {
            let what = asked_for(rung, unit);
            (Topic::Recovery, format!("asked systemd for a {what} (attempt {number})"))
        }
        What::RecoveryEnded { number, rung, result } => {
            (Topic::Recovery, format!("the {} job (attempt {number}) ended: {result}", rung.describe()))
        }
        What::RecoveryJudged { number, proof: Proof::Worked } => {
            (Topic::Recovery, format!("attempt {number} worked"))
        }
        What::RecoveryJudged { number, proof: Proof::DidNotHelp(why) } => {
            (Topic::Recovery, format!("attempt {number} did not help: {why}"))
        }
        What::RecoveryHeldBack { why } => (Topic::Recovery, format!("no recovery: {why}")),
        What::NeedsYou { why } => (Topic::Incident, format!("a person is needed: {why}")),
        What::HoldTaken { holder, .. } => {
            (Topic::Aside, format!("{unit} is held by {}: {}", holder.who, holder.why))
        }
        What::HoldOver { holder, how } => {
            (Topic::Aside, format!("the hold of {} is over: {}", holder.who, how.clause()))
        }
        What::HoldStartAsked { holder } => {
            (Topic::Aside, format!("asked systemd to start {unit} after the hold of {}", holder.who))
        }
        What::HoldStartEnded { result } => {
            (Topic::Aside, format!("the start of {unit} after the hold ended: {result}"))
        }
        What::StormBegan { .. } | What::StormOver { .. } => return None,
        What::UnitUnknown(true) => (Topic::Unit, format!("systemd knows no unit {unit}")),
        What::UnitUnknown(false) => (Topic::Unit, format!("systemd knows {unit} now")),
        What::CrashLoop { restarts } => {
            (Topic::Unit, format!("systemd restarts {unit} again and again ({restarts} times)"))
        }
    })
}

fn asked_for(rung: &Rung, unit: &str) -> String {
    match rung {
        Rung::StartUnit(_) => rung.describe(),
        _ => format!("{} of {unit}", rung.describe()),
    }
}

/// What an incident's own entries say is not said twice.
fn health(now: Now, unit: &str, from: &Health, to: &Health, because: &str) -> Option<(Topic, String)> {
    let lasting = |until: &Option<Wall>| match until {
        Some(until) => format!("for {}", human_until(now.mono, now.mono_of(*until))),
        None => "for as long as it lasts".to_owned(),
    };
    let text = match (from, to) {
        (_, Health::Starting | Health::Down)
        | (Health::Starting | Health::Down, Health::Passing)
        | (Health::Displaced { .. }, Health::Displaced { .. }) => return None,
        (_, Health::Unknown) => return Some((Topic::Seen, format!("could not be measured: {because}"))),
        (_, Health::Failing { .. }) => return Some((Topic::Seen, format!("a failure: {because}"))),
        (_, Health::Passing) => return Some((Topic::Seen, format!("passes: {because}"))),
        (_, Health::Paused { until }) => format!("paused {}", lasting(&Some(*until))),
        // The hold itself is told, with who has it.
        (_, Health::Held { .. }) => return None,
        (_, Health::Stopped { until }) => {
            format!("somebody stopped {unit}: respected {}", lasting(until))
        }
        (_, Health::Displaced { by, until }) => {
            format!("{unit} made room for {by}: left alone {}", lasting(until))
        }
        (_, Health::Blocked { by, until: None }) => {
            format!("{unit} requires {by}, which is not well: left alone until it is")
        }
        (_, Health::Blocked { by, until }) => {
            format!("{by} is well again: {unit} may come back with it {}", lasting(until))
        }
    };
    Some((Topic::Aside, text))
}
