//! One incident of a check: its attempts, and what has been told of it.
//!
//! In: the check, the clock, the unit. Out: the notifications that are due, in order, each once. It asks for nothing itself.

use std::sync::Arc;
use std::time::Duration;

use super::watch::UnitWatch;
use crate::check::Check;
use crate::notification::{
    Attempt, AttemptOutcome, Dependent, IncidentId, Notification, NotificationId, NotificationKind,
};
use crate::time::{Mono, Now, Wall};

/// The opening mail waits this long for the first recovery's result, so that it can tell of it; that of a storm, so that
/// it can name its checks.
pub(super) const TELL_WITHIN: Duration = Duration::from_secs(10);

/// An incident that is only the end of another one has this long to be over before anybody is told: the longest job that
/// systemd waits for by itself (90 s), and a little more for the unit to answer.
const HUSHED: Duration = Duration::from_secs(120);

/// So many attempts are kept to be told: the first and the latest.
const ATTEMPTS_KEPT: usize = 6;

/// Why a recovery that an incident calls for is not asked for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// The ordinary course of things: the backoff, or an attempt under way.
    Waiting,
    /// It is not ours to act; the clause says why.
    Not(String),
}

/// An open incident.
#[derive(Clone, Debug)]
pub(super) struct Incident {
    pub id: IncidentId,
    pub since: Wall,
    pub opened: Mono,
    pub cause: String,
    /// systemd restarts the unit again and again: another restart is no remedy.
    pub crash_loop: bool,
    /// What was seen last is nothing that a job on the check's own unit would change.
    pub incurable: bool,
    /// InvocationID of the run that failed.
    pub failed_invocation: String,
    /// The first and the latest.
    pub attempts: Vec<Attempt>,
    pub attempts_total: u32,
    /// Why a person is needed, once one is.
    pub action_required: Option<String>,
    /// Why a recovery that is due is not attempted.
    pub held_back: Option<Hold>,
    /// Notices asked for.
    pub asked: u32,
    /// Notices that the server has accepted.
    pub delivered: u32,
    pub notified_down: bool,
    pub notified_action_required: bool,
    /// When the last notification was asked for.
    pub last_notified: Mono,
    /// Nothing is done before: what is known of the unit may be older than what a probe saw.
    pub act_from: Mono,
    /// Something else explained it until then, and that is told elsewhere or is nobody's news: it is told only if it
    /// outlasts that and a recovery does not help.
    pub hushed: Option<(Mono, Wall)>,
    /// The checks that it takes down with it, as of the last notification.
    pub dependents: Vec<Dependent>,
}

impl Incident {
    /// When it was opened, by the wall clock as it is now: where somebody has set that meanwhile, the moment that it was by
    /// the clock of then would make it a year long, or end before it began.
    pub(super) fn since(&self, now: Now) -> Wall {
        now.still(self.since, self.opened)
    }

    pub(super) fn open(id: IncidentId, now: Now, cause: String, failed_invocation: String) -> Self {
        Self {
            id,
            since: now.wall,
            opened: now.mono,
            cause,
            crash_loop: false,
            incurable: false,
            failed_invocation,
            attempts: Vec::new(),
            attempts_total: 0,
            action_required: None,
            held_back: None,
            asked: 0,
            delivered: 0,
            notified_down: false,
            notified_action_required: false,
            last_notified: now.mono,
            act_from: now.mono,
            hushed: None,
            dependents: Vec::new(),
        }
    }

    /// Adds an attempt, and forgets one from the middle where there are many.
    pub(super) fn record(&mut self, attempt: Attempt) {
        self.attempts_total = attempt.number;
        if self.attempts.len() >= ATTEMPTS_KEPT {
            self.attempts.remove(1);
        }
        self.attempts.push(attempt);
    }

    /// The attempt with this number, if it is still kept.
    pub(super) fn attempt_mut(&mut self, number: u32) -> Option<&mut Attempt> {
        self.attempts.iter_mut().rev().find(|attempt| attempt.number == number)
    }

    /// The moment of the next notification if nothing happens until then; `None` for never.
    pub(super) fn next_due(&self, check: &Check, pending: bool) -> Option<Mono> {
        if check.alert.is_silent() {
            return None;
        }
        if !self.notified_down {
            return Some(self.down_due(check, pending));
        }
        if self.action_required.is_some() && !self.notified_action_required {
            return Some(self.last_notified);
        }
        check.alert.repeat_interval.map(|repeat_interval| self.last_notified.after(repeat_interval))
    }

    /// When the opening notification is due. `pending`: a first recovery is about to be asked for or its job runs.
    fn down_due(&self, check: &Check, pending: bool) -> Mono {
        let due = self.opened.after(check.alert.after).max(self.act_from);
        if let Some((until, wall)) = self.hushed {
            let grace = check.recovery.grace;
            let patience = if check.recovery.steps.is_empty() { grace } else { grace.max(HUSHED) };
            let no_use = |attempt: &Attempt| {
                attempt.requested >= wall && matches!(attempt.outcome, Some(AttemptOutcome::Ineffective(_)))
            };
            let tried = self.attempts.iter().any(no_use);
            return if tried { due } else { due.max(until.after(patience)) };
        }
        if pending && self.attempts_total <= 1 { due.max(self.opened.after(TELL_WITHIN)) } else { due }
    }

    /// The notification that is due now, marked as asked for.
    pub(super) fn take_due(
        &mut self,
        now: Now,
        check: &Check,
        watch: Option<&UnitWatch>,
        pending: bool,
        next: impl FnOnce(&Self) -> String,
    ) -> Option<Notification> {
        if self.next_due(check, pending)? > now.mono {
            return None;
        }
        let kind = if !self.notified_down {
            self.notified_down = true;
            NotificationKind::Down
        } else if self.action_required.is_some() && !self.notified_action_required {
            self.notified_action_required = true;
            NotificationKind::ActionRequired
        } else {
            NotificationKind::StillDown
        };
        let next = next(self);
        Some(self.notification(now, kind, check, watch, next))
    }

    /// The notifications that close the incident. One that ended before anybody was to hear of it ends in silence; one whose
    /// opening notification merely waited for a job's result is told whole.
    pub(super) fn close(&mut self, now: Now, check: &Check, watch: Option<&UnitWatch>) -> Vec<Notification> {
        let mut notifications = Vec::new();
        if check.alert.is_silent() {
            return notifications;
        }
        let long_enough = now.mono.since(self.opened) >= check.alert.after;
        if !self.notified_down && long_enough && self.hushed.is_none() {
            self.notified_down = true;
            notifications.push(self.notification(
                now,
                NotificationKind::Down,
                check,
                watch,
                "It passes again.".to_owned(),
            ));
        }
        if self.notified_down {
            let next = "Nothing to do.".to_owned();
            notifications.push(self.notification(now, NotificationKind::Recovered, check, watch, next));
        }
        notifications
    }

    fn notification(
        &mut self,
        now: Now,
        kind: NotificationKind,
        check: &Check,
        watch: Option<&UnitWatch>,
        next: String,
    ) -> Notification {
        self.asked += 1;
        self.last_notified = now.mono;
        // Of an incident that goes on, the latest run is of interest: it shows why what was tried did not help.
        let latest = watch.and_then(UnitWatch::subject).map(|state| &state.invocation_id);
        let goes_on = matches!(kind, NotificationKind::ActionRequired | NotificationKind::StillDown);
        let invocation =
            latest.filter(|id| goes_on && !id.is_empty()).unwrap_or(&self.failed_invocation).clone();
        Notification {
            id: NotificationId { incident: self.id.clone(), number: self.asked },
            kind,
            to: check.alert.to.clone(),
            at: now.wall,
            check: check.name.clone(),
            unit: watch.and_then(UnitWatch::subject_name).or(check.unit.as_ref()).cloned(),
            probe: check.probe.describe(),
            since: self.since(now),
            cause: self.cause.clone(),
            attempts: self.attempts.clone(),
            attempts_total: self.attempts_total,
            next,
            state: watch.and_then(UnitWatch::subject).cloned(),
            failed_invocation: invocation,
            runbook: check.runbook.as_ref().map(Arc::clone),
            dependents: self.dependents.clone(),
        }
    }
}
