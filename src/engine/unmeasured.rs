//! A check that cannot be measured: nothing is known of its target (rule 15).
//!
//! In: observations that could not be made, and those that could again. Out: since when it is so, and notifications of it in a
//! thread of their own. It restarts nothing, and it neither opens nor closes an incident of the target.

use std::time::Duration;

use super::Engine;
use super::event::Effect;
use super::state::CheckState;
use crate::check::{Check, CheckName};
use crate::notification::{IncidentId, Notification, NotificationId, NotificationKind};
use crate::time::{Mono, Now, Wall, human};
use crate::verdict::Observation;

/// So many runs in a row at least must have measured nothing before somebody is told, however short the time.
const LEAST_RUNS: u32 = 3;

/// It could not be measured the last time, nor since then.
#[derive(Clone, Debug)]
pub(super) struct Unmeasured {
    pub since: Mono,
    pub since_wall: Wall,
    /// Runs in a row that measured nothing.
    pub runs: u32,
    /// What was in the way the last time.
    pub reason: String,
    /// The mails about it, once there is one.
    pub thread: Option<Thread>,
}

/// The mails that a check cannot be measured.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub id: IncidentId,
    /// Notices asked for.
    pub asked: u32,
    /// When the last of them was.
    pub last_notified: Mono,
}

impl Unmeasured {
    fn begins(now: Now) -> Self {
        Self { since: now.mono, since_wall: now.wall, runs: 0, reason: String::new(), thread: None }
    }
}

impl CheckState {
    /// It is long enough that the last measurement says anything: as many runs as make a check down when they fail.
    pub(super) fn unknown(&self) -> bool {
        self.unmeasured
            .as_ref()
            .is_some_and(|unmeasured| unmeasured.runs >= self.check.schedule.failure_threshold)
    }

    /// When somebody is to be told next that it cannot be measured, if it stays so.
    pub(super) fn unmeasured_due(&self) -> Option<Mono> {
        let unmeasured = self.unmeasured.as_ref().filter(|_| !self.check.alert.is_silent())?;
        match &unmeasured.thread {
            Some(thread) => self
                .check
                .alert
                .repeat_interval
                .map(|repeat_interval| thread.last_notified.after(repeat_interval)),
            None => (unmeasured.runs >= LEAST_RUNS)
                .then(|| unmeasured.since.after(self.check.alert.unknown_after)),
        }
    }

    /// What was seen before a time in which nobody looked says nothing of how long it is so. Mails that were sent still
    /// want their end.
    pub(super) fn forget_unmeasured(&mut self) {
        self.bad = None;
        self.unmeasured = self.unmeasured.take().filter(|unmeasured| unmeasured.thread.is_some());
    }
}

impl Engine {
    /// A run that measured nothing.
    pub(super) fn could_not_measure(
        &mut self,
        now: Now,
        name: &CheckName,
        reason: String,
        out: &mut Vec<Effect>,
    ) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        if state.aside(now, watch).is_none() {
            let unmeasured = state.unmeasured.get_or_insert_with(|| Unmeasured::begins(now));
            unmeasured.runs = unmeasured.runs.saturating_add(1);
            unmeasured.reason = reason;
            self.turned_bad(now, name, out);
        }
        self.plan_next(now, name);
    }

    /// A run that measured something, whatever it was: who was told of the contrary hears it.
    pub(super) fn measured(&mut self, now: Now, name: &CheckName, seen: &Observation, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        let Some(mut unmeasured) = state.unmeasured.take() else { return };
        let Some(mut thread) = unmeasured.thread.take() else { return };
        if state.check.alert.is_silent() {
            return;
        }
        let next = match seen {
            Observation::Failing { .. } => {
                "It is measured, and fails: what comes of that is told separately."
            }
            _ => "Nothing to do.",
        };
        let notification = notification(
            now,
            &state.check,
            &unmeasured,
            &mut thread,
            NotificationKind::KnownAgain,
            next.to_owned(),
        );
        self.notify(notification, out);
    }

    /// Asks for the notification that is due about this, if one is.
    pub(super) fn tell_unmeasured(&mut self, now: Now, name: &CheckName, out: &mut Vec<Effect>) {
        let Some(state) = self.checks.get_mut(name) else { return };
        if state.unmeasured_due().is_none_or(|due| due > now.mono) {
            return;
        }
        let Some(mut unmeasured) = state.unmeasured.take() else { return };
        let (kind, mut thread) = match unmeasured.thread.take() {
            Some(thread) => (NotificationKind::StillUnknown, thread),
            None => {
                state.last_incident = now.wall.0.div_euclid(1000).max(state.last_incident.saturating_add(1));
                let id = IncidentId::unmeasured(name, state.last_incident);
                (NotificationKind::Unknown, Thread { id, asked: 0, last_notified: now.mono })
            }
        };
        let next = "Nothing is done about the unit, as nothing is known of it. It is tried on.".to_owned();
        let notification = notification(now, &state.check, &unmeasured, &mut thread, kind, next);
        unmeasured.thread = Some(thread);
        state.unmeasured = Some(unmeasured);
        self.notify(notification, out);
    }
}

/// The next notification of the thread, which counts it as asked for.
fn notification(
    now: Now,
    check: &Check,
    unmeasured: &Unmeasured,
    thread: &mut Thread,
    kind: NotificationKind,
    next: String,
) -> Notification {
    thread.asked = thread.asked.saturating_add(1);
    thread.last_notified = now.mono;
    Notification {
        id: NotificationId { incident: thread.id.clone(), number: thread.asked },
        kind,
        to: check.alert.to.clone(),
        at: now.wall,
        check: check.name.clone(),
        unit: check.unit.clone(),
        probe: check.probe.describe(),
        since: unmeasured.since_wall,
        cause: unmeasured.reason.clone(),
        attempts: Vec::new(),
        attempts_total: 0,
        next,
        state: None,
        failed_invocation: String::new(),
        runbook: check.runbook.clone(),
        dependents: Vec::new(),
    }
}

/// The clause for the status: since when nothing is known.
pub(super) fn clause(now: Now, unmeasured: &Unmeasured) -> String {
    let lasting = Duration::from_secs(now.mono.since(unmeasured.since).as_secs());
    format!("not measured for {}", human(lasting))
}
