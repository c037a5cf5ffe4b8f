//! Incidents are opened, proven to be over, and closed (rules 5, 13 and 17).
//!
//! In: checks that go down, pass, or leave the configuration. Out: incidents, and the notification at the end of each.

use std::time::Duration;

use super::Group;
use crate::check::CheckName;
use crate::engine::check::Check;
use crate::engine::context::Context;
use crate::engine::event::ChangeKind;
use crate::engine::unit::Condition;
use crate::notification::{AttemptOutcome, NotificationKind};
use crate::time::Mono;

impl Group {
    /// Opens an incident; in an open one it is only another failure.
    pub(super) fn go_down(&mut self, cx: &mut Context<'_>, index: usize, reason: String) {
        if let Some(incident) = self.checks[index].incident_mut() {
            incident.record_failure();
            return;
        }
        let invocation = self.subject(cx.graph).map_or_else(String::new, |state| state.invocation_id.clone());
        self.begin_trouble(cx, index);
        let unit = self.unit_id();
        let (id, flapping) = self.checks[index].open_incident(cx.now, reason.clone(), invocation);
        let name = self.checks[index].name().clone();
        cx.change(Some(&name), unit.as_ref(), Some(&id), ChangeKind::IncidentOpened { cause: reason });
        if let Some(incidents) = flapping {
            cx.change(Some(&name), unit.as_ref(), Some(&id), ChangeKind::Flapping { incidents });
        }
    }

    /// An incident is about to open on a check. After lasting health the steps and the backoff begin again; otherwise they
    /// stay where they were (rule 5).
    fn begin_trouble(&mut self, cx: &mut Context<'_>, index: usize) {
        let unit = self.unit_id();
        let Some(own) = &mut self.unit else { return };
        let healthy = own.take_healthy(cx.now.mono);
        let rested = |check: &Check| healthy.is_some_and(|lasting| lasting >= check.rested_after());
        if rested(&self.checks[index]) {
            own.pace_mut().reset();
        }
        for check in &mut self.checks {
            if rested(check) {
                check.set_step_index(0);
                check.other_pace_mut().reset();
            }
        }
        let check = &mut self.checks[index];
        if !rested(check) {
            check.resume_steps();
        }
        if let Some(step) =
            check.settings().recovery.steps.get(check.step_index()).filter(|_| check.step_index() > 0)
        {
            let what = ChangeKind::StepKept { step: step.clone() };
            cx.change(Some(check.name()), unit.as_ref(), None, what);
        }
    }

    /// The unit is up, or it is none that answers probes itself.
    fn is_up_to_answer(&self) -> bool {
        self.unit.as_ref().is_none_or(|unit| {
            unit.reading().is_some_and(|state| state.oneshot)
                || matches!(unit.condition(), Condition::Up | Condition::AtRest)
        })
    }

    /// The unit is not up: whatever passed before, it has not stayed so (rule 13).
    pub(super) fn record_not_up(&mut self) {
        let down = self
            .unit
            .as_ref()
            .is_some_and(|unit| !matches!(unit.condition(), Condition::Unread | Condition::Starting));
        if down && !self.is_up_to_answer() {
            for check in &mut self.checks {
                if let Some(incident) = check.incident_mut() {
                    incident.record_failure();
                }
            }
        }
    }

    /// When an incident that passes is proven (rule 13). That a service which is in a crash loop answers in between is no
    /// recovery: the check that reports the loop waits for its end (rule 7).
    pub fn proven_at(&self, now: Mono, check: &Check) -> Option<Mono> {
        let at = self.passes_proven_at(check)?;
        let reports = self.crash_reporter().is_some_and(|index| self.checks[index].name() == check.name());
        let ends = self.unit.as_ref().filter(|_| reports).and_then(|unit| unit.starts().crash_loop_ends(now));
        Some(ends.map_or(at, |ends| at.max(ends)))
    }

    fn passes_proven_at(&self, check: &Check) -> Option<Mono> {
        let incident = check.incident()?;
        let passing = incident.passing_since()?;
        if !self.is_up_to_answer() {
            return None;
        }
        if incident.successes() < check.settings().schedule.success_threshold {
            return None;
        }
        let attempts = [self.attempt(), check.other_attempt()];
        if attempts.iter().flatten().any(|attempt| attempt.is_running()) {
            return None;
        }
        let ended = attempts.iter().flatten().filter_map(|attempt| attempt.ended());
        if check.runs().is_some() {
            // A run that succeeded proves it; that the next one has begun says nothing.
            return Some(ended.max().map_or(passing, |ended| passing.max(ended)));
        }
        let started = self.unit.as_ref().and_then(|unit| unit.started()).filter(|started| {
            // Where the start is known by systemd's timestamp, it is known to the millisecond.
            incident.opened().since(*started) <= Duration::from_millis(1)
        });
        let Some(since) = ended.chain(started).max() else {
            let steady = incident.flapping().is_some();
            return Some(if steady { passing.after(check.proving_time(passing)) } else { passing });
        };
        Some(passing.max(since).after(check.proving_time(passing)))
    }

    /// Closes the incident of a check that has passed often and long enough.
    pub(super) fn close_if_proven(&mut self, cx: &mut Context<'_>, index: usize) {
        if self.suppression_at(index, cx.now).is_some_and(|why| why.answered_by_others()) {
            return;
        }
        if self.proven_at(cx.now.mono, &self.checks[index]).is_none_or(|at| at > cx.now.mono) {
            return;
        }
        self.conclude_by_recovery(cx, index);
        self.close(cx, index, NotificationKind::Recovered);
        if !self.checks.iter().any(Check::is_down)
            && let Some(unit) = &mut self.unit
        {
            unit.set_healthy(cx.now.mono);
        }
    }

    /// A check leaves the configuration, or is pointed to another unit, in an incident: its thread is closed (rule 17).
    pub fn close_removed(&mut self, cx: &mut Context<'_>, name: &CheckName) {
        let Some(index) = self.position(name) else { return };
        if let Some(unknown) = self.checks[index].take_unknown()
            && let Some(notification) = unknown.take_removed(cx.now, self.checks[index].settings())
        {
            cx.notify(notification);
        }
        self.close(cx, index, NotificationKind::NotMonitored);
    }

    /// Closes the incident of a check, if it has one, with this notification.
    fn close(&mut self, cx: &mut Context<'_>, index: usize, kind: NotificationKind) {
        let check = &mut self.checks[index];
        let Some(incident) = check.close_incident() else { return };
        let name = check.name().clone();
        let what = ChangeKind::IncidentClosed {
            since: incident.since(cx.now),
            attempts: incident.attempts_made(),
            helped: incident
                .attempts()
                .last()
                .is_some_and(|attempt| attempt.outcome == Some(AttemptOutcome::Recovered)),
            passes: kind == NotificationKind::Recovered,
        };
        cx.change(Some(&name), self.unit_id().as_ref(), Some(incident.id()), what);
        self.notify_closing(cx, index, incident, kind);
    }
}
