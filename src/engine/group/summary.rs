//! What a group tells others about itself: its neighbours in the graph, and the breaker (rules 9 and 14).
//!
//! In: the unit and its checks. Out: a summary, and what the breaker needs to know of each check. It changes nothing of the
//! group.

use super::Group;
use crate::check::Step;
use crate::engine::breaker::{Target, Vital};
use crate::engine::check::{Check, Incident};
use crate::engine::context::Context;
use crate::engine::graph::{RootIncident, Summary, Suppressed};
use crate::engine::suppression::{self, Suppression};
use crate::engine::unit::UnitHold;
use crate::time::{Mono, Now};

impl Group {
    /// What the group publishes in the graph.
    pub fn summary(&self, now: Now) -> Summary {
        let Some(unit) = self.unit() else { return Summary::default() };
        let open =
            |check: &&Check| check.incident().is_some_and(|incident| incident.passing_since().is_none());
        let incidents = self.checks().iter().filter(open);
        let opened = incidents.clone().filter_map(|check| Some(check.incident()?.opened())).min();
        let incident = opened.map(|opened| RootIncident {
            opened,
            recoverable: incidents.clone().any(is_recoverable),
            // It is enough if one of them is reported.
            silent: incidents.clone().all(|check| check.settings().alert.is_silent() || check.is_paused()),
        });
        let own = |check: &Check| {
            self.suppression(check, now)
                .filter(|why| !matches!(why, Suppression::Dependency { until: None, .. }))
        };
        let suppressed: Vec<Suppression> = self.checks().iter().filter_map(own).collect();
        let paused = |why: &Suppression| matches!(why, Suppression::Paused { .. });
        let displaced = |why: &Suppression| matches!(why, Suppression::Conflict { .. });
        Summary {
            incident,
            // What an operator stopped is no news; what is paused may be down for any reason.
            suppressed: (!suppressed.is_empty()).then(|| Suppressed {
                silent: suppressed.iter().all(paused),
                displaced: suppressed.iter().any(displaced),
            }),
            deferred: unit.deferred_reading().is_some(),
            failing: self.checks().iter().any(Check::is_failing),
            stopped: unit.is_stopped_by_step()
                || unit.may_be_stopped()
                || Suppression::stopped(unit, now).is_some(),
            held_since: unit.hold().map(UnitHold::since),
            start_limit_action_until: unit.start_limit_action_until(now.mono),
            checks: self
                .checks()
                .iter()
                .map(|check| (check.name().clone(), suppression::does_well(check, unit)))
                .collect(),
        }
    }

    /// Publishes what the breaker needs to know of each check (rule 14).
    pub(super) fn publish_vitals(&self, cx: &mut Context<'_>) {
        for check in self.checks() {
            let explained = self.unit().is_some_and(|unit| unit.condition().explains_failures());
            let crash_loop = check.incident().is_some_and(Incident::is_crash_loop);
            let suppressed = self.suppression(check, cx.now).is_some();
            let settings = check.settings();
            cx.breaker.publish(
                cx.now,
                check.name(),
                Vital {
                    target: self.unit().map_or_else(
                        || Target::Check(check.name().clone()),
                        |unit| Target::Unit(unit.id().clone()),
                    ),
                    probed: !check.looks_at_unit(),
                    tells_of_machine: !check.looks_at_unit() && settings.probe.usage().is_none(),
                    failing_since: check.failing_since(),
                    explained: explained || crash_loop,
                    suppressed,
                    excused_until: self.excuse(check, cx.now).map(|excuse| excuse.until.unwrap_or(Mono::MAX)),
                    recoverable: self.unit().is_some() && !settings.recovery.steps.is_empty(),
                    interval: settings.schedule.interval,
                    timeout: settings.schedule.timeout,
                },
            );
        }
        if let Some(unit) = self.unit() {
            let other = self.checks().iter().any(|check| check.other_attempt().is_some());
            cx.breaker.note_attempt(unit.id(), other || unit.attempt().is_some());
        }
    }
}

/// A job on the check's own unit may still end its incident.
fn is_recoverable(check: &Check) -> bool {
    let Some(incident) = check.incident() else { return false };
    let acts = |step: &Step| !matches!(step, Step::StartUnit(_) | Step::Reload);
    incident.action_required().is_none()
        && !incident.is_not_restartable()
        && check.settings().recovery.steps.iter().any(acts)
}
