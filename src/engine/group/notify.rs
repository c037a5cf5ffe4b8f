//! Which notifications are due, and which state of a check is shown.
//!
//! In: incidents, suppressions, the breaker. Out: notifications, in order, each once; changes of state for the journal.

use super::Group;
use super::next_action::next_sentence;
use crate::engine::check::{Check, Incident};
use crate::engine::context::Context;
use crate::engine::event::ChangeKind;
use crate::engine::graph::Graph;
use crate::engine::suppression::Suppression;
use crate::engine::unit::Condition;
use crate::notification::{Dependent, Notification, NotificationId, NotificationKind};
use crate::time::{Mono, Now};
use crate::verdict::{Health, State};

impl Group {
    /// When the next notification of a check's incident is due.
    pub(super) fn notification_due(&self, check: &Check) -> Option<Mono> {
        check.incident()?.next_due(check.settings(), self.is_pending(check))
    }

    /// The first notification should wait: a first attempt is about to be requested, or its job runs, or somebody is stopping
    /// the unit.
    pub fn is_pending(&self, check: &Check) -> bool {
        let Some(incident) = check.incident() else { return false };
        if self.unit.as_ref().is_some_and(|unit| unit.stopping_since().is_some()) {
            return true;
        }
        if check.settings().recovery.steps.is_empty() {
            return false;
        }
        match incident.attempts().last() {
            Some(attempt) => attempt.result.is_none(),
            None => {
                self.unit.as_ref().is_some_and(|unit| !matches!(unit.condition(), Condition::Missing(_)))
                    && incident.withheld().is_none_or(|why| !why.needs_a_person())
            }
        }
    }

    /// Requests the notifications that are due.
    pub(super) fn notify(&mut self, cx: &mut Context<'_>, index: usize) {
        let now = cx.now;
        let suppression = self.suppression_at(index, now);
        let name = self.checks[index].name().clone();
        // An incident that opened just before something that explains it is not reported while that lasts.
        let explained = suppression.as_ref().is_some_and(Suppression::explains_incidents);
        if let Some(incident) = self.checks[index].incident_mut() {
            incident.set_explained(now, explained);
        }
        if suppression.is_some() || !cx.manager.is_known() {
            return;
        }
        if cx.breaker.is_member(&name) {
            return;
        }
        let first = self.checks[index].incident().is_some_and(|incident| !incident.notified_down());
        let due = self.notification_due(&self.checks[index]).is_some_and(|at| at <= now.mono);
        if first && due && cx.breaker.defers_notification(now, &name) {
            return;
        }
        if let Some(notification) = self.checks[index].take_unknown_due(now) {
            cx.notify(notification);
        }
        loop {
            let check = &mut self.checks[index];
            let settings = std::sync::Arc::clone(check.settings_arc());
            let pending = self.is_pending(&self.checks[index]);
            let Some(incident) = self.checks[index].incident_mut() else { return };
            let Some(kind) = incident.take_due(now.mono, &settings, pending) else { return };
            let number = incident.number_notification(now.mono, &settings);
            let next = next_sentence(now, self, &self.checks[index]);
            if let Some(incident) = self.checks[index].incident() {
                let notification =
                    self.notification(cx.graph, now, &self.checks[index], incident, (kind, number), next);
                cx.notify(notification);
            }
        }
    }

    /// Requests the notifications that close an incident.
    pub(super) fn notify_closing(
        &self,
        cx: &mut Context<'_>,
        index: usize,
        mut incident: Box<Incident>,
        last: NotificationKind,
    ) {
        let check = &self.checks[index];
        // What belongs to a storm was reported with it, or was over before it had to be.
        if cx.breaker.is_member(check.name()) && !incident.notified_down() {
            return;
        }
        for kind in incident.take_closing(cx.now.mono, check.settings(), last) {
            let number = incident.number_notification(cx.now.mono, check.settings());
            let next = match kind {
                NotificationKind::Recovered => "Nothing to do.",
                NotificationKind::NotMonitored => {
                    "The check is no longer monitored under this name and unit."
                }
                _ => "The check passes again.",
            };
            let notification =
                self.notification(cx.graph, cx.now, check, &incident, (kind, number), next.to_owned());
            cx.notify(notification);
        }
    }

    fn notification(
        &self,
        graph: &Graph,
        now: Now,
        check: &Check,
        incident: &Incident,
        (kind, number): (NotificationKind, u32),
        next: String,
    ) -> Notification {
        let settings = check.settings();
        let subject = self.subject(graph);
        let dependents = self.unit.as_ref().map(|unit| graph.dependents(unit.id())).unwrap_or_default();
        let dependent = |(check, unit, well)| Dependent { check, unit, well };
        let cause = match incident.flapping() {
            Some(incidents) => {
                format!("flapping ({incidents} incidents within an hour): {}", incident.cause())
            }
            None => incident.cause().to_owned(),
        };
        Notification {
            id: NotificationId { incident: incident.id().clone(), number },
            kind,
            to: incident.recipients(kind, settings),
            at: now.wall,
            check: settings.name.clone(),
            unit: self.subject_name(graph).or_else(|| settings.unit.clone()),
            probe: settings.probe.describe(),
            since: incident.since(now),
            cause,
            attempts: incident.attempts().to_vec(),
            attempts_total: incident.attempts_total(),
            next,
            state: subject.map(|state| state.as_ref().clone()),
            failed_invocation: incident
                .invocation_for(kind, subject.map(|state| state.invocation_id.as_str())),
            runbook: settings.runbook.clone(),
            dependents: dependents.into_iter().map(dependent).collect(),
        }
    }

    // --- the shown state

    /// How a check is, and what suppresses it.
    pub fn health(&self, check: &Check, now: Now) -> Health {
        let suppressed_by = self.suppression(check, now).map(|why| why.shown());
        Health { state: Self::state(check), suppressed_by }
    }

    /// The state of a check, whatever suppresses it.
    pub fn state(check: &Check) -> State {
        if check.is_down() {
            State::Down
        } else if check.is_unknown() {
            State::Unknown
        } else if check.is_failing() {
            let m = check.settings().schedule.failure_threshold;
            // More failures are waited for where something that the unit requires fails as well.
            State::Failing { n: check.failures().min(m), m }
        } else if check.is_passing() {
            State::Passing
        } else {
            State::Starting
        }
    }

    /// Logs a check's state where it is another than the one last shown.
    pub(super) fn show(&mut self, cx: &mut Context<'_>, index: usize) {
        let health = self.health(&self.checks[index], cx.now);
        let early =
            self.unit.as_ref().and_then(|unit| unit.stop_shown_from()).is_some_and(|at| cx.now.mono < at);
        if early {
            return;
        }
        let check = &mut self.checks[index];
        if health.is_shown_as(check.shown()) {
            check.set_shown(health);
            return;
        }
        let because = match check.history().last() {
            // What was seen while it was suppressed does not count.
            _ if health == Health::PASSING && !check.history().passed_last() => {
                "no failure counts against it".to_owned()
            }
            last => last.map_or_else(String::new, |seen| seen.observation.text().to_owned()),
        };
        let from = check.show(cx.now, health.clone());
        let incident = check.incident().map(|incident| incident.id().clone());
        let name = check.name().clone();
        let what = ChangeKind::Health { from, to: health, because };
        cx.change(Some(&name), self.unit_id().as_ref(), incident.as_ref(), what);
    }

    /// After a restart of the daemon: what was shown before is no news.
    pub fn resume_shown(&mut self, now: Now) {
        for index in 0..self.checks.len() {
            let check = &self.checks[index];
            let by_command =
                |why: &Suppression| matches!(why, Suppression::Held { .. } | Suppression::Paused { .. });
            let suppressed_by = self.suppression(check, now).filter(by_command).map(|why| why.shown());
            let state = Self::state(check);
            self.checks[index].set_shown(Health { state, suppressed_by });
        }
    }
}
