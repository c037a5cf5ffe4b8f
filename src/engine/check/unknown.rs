//! A check whose state is unknown: its probes cannot measure (rule 15).
//!
//! In: runs that measured nothing. Out: since when, and the notifications of a thread of its own. It restarts nothing, and
//! it neither opens nor closes an incident.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Check as Settings;
use crate::notification::{IncidentId, Notification, NotificationId, NotificationKind};
use crate::time::{Mono, Now, Wall, human};

/// At least this many runs in a row must have measured nothing before people are notified, however short the time.
const LEAST_RUNS: u32 = 3;

/// The runs that measured nothing since the last one that did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct Unknown {
    since: Mono,
    since_wall: Wall,
    runs: u32,
    reason: String,
    thread: Option<Thread>,
}

/// The notifications about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Thread {
    id: IncidentId,
    requested: u32,
    last: Mono,
}

impl Unknown {
    pub fn begin(now: Now) -> Self {
        Self { since: now.mono, since_wall: now.wall, runs: 0, reason: String::new(), thread: None }
    }

    pub fn record(&mut self, reason: String) {
        self.runs = self.runs.saturating_add(1);
        self.reason = reason;
    }

    /// Runs in a row that measured nothing.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// People were notified.
    pub fn is_notified(&self) -> bool {
        self.thread.is_some()
    }

    /// When people are to be notified next, if it stays so.
    pub fn next_due(&self, settings: &Settings) -> Option<Mono> {
        if settings.alert.is_silent() {
            return None;
        }
        match &self.thread {
            Some(thread) => settings.alert.repeat_interval.map(|repeat| thread.last.after(repeat)),
            None => (self.runs >= LEAST_RUNS).then(|| self.since.after(settings.alert.unknown_after)),
        }
    }

    /// The id of the thread, where it is not begun yet `second` makes one.
    pub fn take_due(&mut self, now: Now, settings: &Settings, second: i64) -> Option<Notification> {
        if self.next_due(settings)? > now.mono {
            return None;
        }
        let kind =
            if self.thread.is_some() { NotificationKind::StillUnknown } else { NotificationKind::Unknown };
        self.thread.get_or_insert_with(|| Thread {
            id: IncidentId::unknown(&settings.name, second),
            requested: 0,
            last: now.mono,
        });
        let next = "No action was taken because the state is unknown. Probing continues.";
        self.notification(now, settings, kind, next)
    }

    /// The notification that ends the thread, if there is one. `fails`: the probe measured a failure.
    pub fn take_closing(mut self, now: Now, settings: &Settings, fails: bool) -> Option<Notification> {
        if settings.alert.is_silent() {
            return None;
        }
        let next = if fails {
            "The check can be measured again, and it fails. That is reported separately."
        } else {
            "Nothing to do."
        };
        self.notification(now, settings, NotificationKind::KnownAgain, next)
    }

    /// The same where the check is no longer monitored.
    pub fn take_removed(mut self, now: Now, settings: &Settings) -> Option<Notification> {
        if settings.alert.is_silent() {
            return None;
        }
        let next = "The check is no longer monitored under this name and unit.";
        self.notification(now, settings, NotificationKind::NotMonitored, next)
    }

    fn notification(
        &mut self,
        now: Now,
        settings: &Settings,
        kind: NotificationKind,
        next: &str,
    ) -> Option<Notification> {
        let thread = self.thread.as_mut()?;
        thread.requested = thread.requested.saturating_add(1);
        thread.last = now.mono;
        Some(Notification {
            id: NotificationId { incident: thread.id.clone(), number: thread.requested },
            kind,
            to: settings.alert.to.clone(),
            at: now.wall,
            check: settings.name.clone(),
            unit: settings.unit.clone(),
            probe: settings.probe.describe(),
            since: now.still(self.since_wall, self.since),
            cause: self.reason.clone(),
            attempts: Vec::new(),
            attempts_total: 0,
            next: next.to_owned(),
            state: None,
            failed_invocation: String::new(),
            runbook: settings.runbook.clone(),
            dependents: Vec::new(),
        })
    }

    /// One clause for the status: for how long the state is unknown.
    pub fn clause(&self, now: Now) -> String {
        let lasting = Duration::from_secs(now.mono.since(self.since).as_secs());
        format!("unknown for {}", human(lasting))
    }
}
