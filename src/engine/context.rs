//! What a group sees and uses while it takes one step: the clock, the manager, the graph, the breaker, and where its
//! effects go. It decides nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::breaker::Breaker;
use super::event::{AttemptId, Change, ChangeKind, Effect, RunId};
use super::graph::Graph;
use crate::check::CheckName;
use crate::notification::{HostNotification, IncidentId, Notification, NotificationId};
use crate::time::{Mono, Now};
use crate::unit::{ManagerState, UnitName};

/// A boot that takes longer than this will not finish soon: units are recovered as on a running machine.
const BOOT_AT_MOST: Duration = Duration::from_secs(600);

/// systemd as a whole, and since when it is so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manager {
    state: ManagerState,
    since: Mono,
    first_report: FirstReport,
}

/// The first report of systemd's state in this run of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FirstReport {
    /// There was no event yet.
    #[default]
    NotBegun,
    /// It is awaited; this many steps of the wait are left, and the current one ends at `until`.
    Awaited {
        steps: u32,
        until: Mono,
    },
    Received,
}

impl Manager {
    pub fn change(&mut self, now: Mono, state: ManagerState) {
        if self.state != state || !self.is_known() {
            *self = Self { state, since: now, first_report: FirstReport::Received };
        }
    }

    /// Whether the client has reported systemd's state. It does when it has read all units, or cannot reach systemd. Before
    /// that, no job is requested and no notification is sent.
    pub fn is_known(&self) -> bool {
        self.first_report == FirstReport::Received
    }

    /// When the current step of the wait for the first report ends; `None`: it is not awaited.
    pub fn step_ends(&self) -> Option<Mono> {
        match self.first_report {
            FirstReport::Awaited { until, .. } => Some(until),
            FirstReport::NotBegun | FirstReport::Received => None,
        }
    }

    /// Notes the first event of this run, and each step of the wait. Returns whether the wait for the first report is over.
    pub fn pass_time(&mut self, now: Mono) -> bool {
        let left = match self.first_report {
            FirstReport::NotBegun => KNOWN_WITHIN_STEPS,
            FirstReport::Awaited { steps, until } if until <= now => steps - 1,
            FirstReport::Awaited { .. } | FirstReport::Received => return false,
        };
        self.first_report = FirstReport::Awaited { steps: left, until: now.after(KNOWN_STEP) };
        left == 0
    }

    pub fn state(&self) -> ManagerState {
        self.state
    }

    /// Since when the machine shuts down.
    pub fn stopping_since(&self) -> Option<Mono> {
        (self.state == ManagerState::Stopping).then_some(self.since)
    }

    /// The machine boots, and not for too long.
    pub fn is_booting(&self, now: Mono) -> bool {
        self.state == ManagerState::Starting && now < self.boot_ends()
    }

    /// When a boot is no longer waited for.
    pub fn boot_ends(&self) -> Mono {
        self.since.after(BOOT_AT_MOST)
    }
}

/// Timeout for the first report of systemd's state: 30 s. Units are read within milliseconds; a systemd that does not reply
/// is reported after 25 s (libdbus's own timeout). It is counted in steps, as the machine may sleep meanwhile: a sleep is
/// one step, however long it is.
const KNOWN_WITHIN_STEPS: u32 = 6;
const KNOWN_STEP: Duration = Duration::from_secs(5);

/// Numbers of runs and attempts.
#[derive(Debug, Default)]
pub(super) struct Ids {
    run: u64,
    attempt: u64,
}

impl Ids {
    /// Attempts of an earlier run of the daemon have numbers below this.
    pub fn resume(&mut self, attempt: u64) {
        self.attempt = self.attempt.max(attempt);
    }

    pub fn attempts(&self) -> u64 {
        self.attempt
    }

    pub fn next_attempt(&mut self) -> AttemptId {
        self.attempt += 1;
        AttemptId(self.attempt - 1)
    }

    pub fn next_run(&mut self) -> RunId {
        self.run += 1;
        RunId(self.run - 1)
    }
}

/// Notifications that are not known to be durably stored by the notifier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outbox {
    checks: Vec<Notification>,
    host: Vec<HostNotification>,
}

impl Outbox {
    pub fn ids(&self) -> impl Iterator<Item = &NotificationId> {
        self.checks.iter().map(|one| &one.id).chain(self.host.iter().map(|one| &one.id))
    }

    /// Requests a notification about the machine, and keeps it until it is known to be stored.
    pub fn add_host(&mut self, notification: HostNotification, out: &mut Vec<Effect>) {
        self.host.push(notification.clone());
        out.push(Effect::NotifyHost(Box::new(notification)));
    }

    pub fn remove(&mut self, id: &NotificationId) {
        self.checks.retain(|one| one.id != *id);
        self.host.retain(|one| one.id != *id);
    }

    /// Requests for all of them, after a restart of the daemon.
    pub fn requests(&self) -> Vec<Effect> {
        let checks = self.checks.iter().map(|one| Effect::Notify(Box::new(one.clone())));
        let host = self.host.iter().map(|one| Effect::NotifyHost(Box::new(one.clone())));
        checks.chain(host).collect()
    }
}

/// See the module's head.
pub(super) struct Context<'a> {
    pub now: Now,
    pub manager: Manager,
    pub graph: &'a Graph,
    pub breaker: &'a mut Breaker,
    pub ids: &'a mut Ids,
    pub outbox: &'a mut Outbox,
    pub out: &'a mut Vec<Effect>,
    /// Units whose checks are to be probed now, as something that requires them fails.
    pub probe_units: &'a mut Vec<UnitName>,
}

impl Context<'_> {
    pub fn emit(&mut self, effect: Effect) {
        self.out.push(effect);
    }

    /// Emits a transition.
    pub fn change(
        &mut self,
        check: Option<&CheckName>,
        unit: Option<&UnitName>,
        incident: Option<&IncidentId>,
        what: ChangeKind,
    ) {
        let change = Change { check: check.cloned(), unit: unit.cloned(), incident: incident.cloned(), what };
        self.out.push(Effect::Changed(change));
    }

    /// Requests a notification, and keeps it until it is known to be stored.
    pub fn notify(&mut self, notification: Notification) {
        self.outbox.checks.push(notification.clone());
        self.out.push(Effect::Notify(Box::new(notification)));
    }
}
