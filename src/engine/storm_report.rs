//! The notifications about a storm: one thread for the machine, in place of one for each check (rule 14).
//!
//! In: the storm, and its checks. Out: when a notification is due, and the notification. A storm of which nobody was
//! notified ends in silence.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Report, Storm, next_kind};
use super::check::{Check, WAIT_FOR_RESULT};
use super::group::Group;
use super::{Change, ChangeKind, Effect, Engine};
use crate::notification::{HostNotification, HostNotificationKind, NotificationId, StormCheck};
use crate::time::{Mono, Now};

/// The first reminder comes after this time, whatever `repeat_interval` says: no unit is restarted meanwhile, so a person
/// must look.
const LASTS: Duration = Duration::from_secs(30 * 60);

impl Engine {
    /// Reports the storms that began or ended.
    pub(super) fn report_storms(&mut self, now: Now, out: &mut Vec<Effect>) {
        for one in self.breaker.take_reports() {
            let (id, what) = match one {
                Report::Began { id, checks, of } => (id, ChangeKind::StormBegan { checks, of }),
                Report::Over { mut storm, passing, failing } => {
                    if storm.is_notified() {
                        let members = self.members(&storm);
                        let last = notification(now, &mut storm, &members, self.index.len(), true);
                        self.outbox.add_host(last, out);
                    }
                    (storm.id().clone(), ChangeKind::StormOver { since: storm.since(), passing, failing })
                }
            };
            out.push(Effect::Changed(Change { check: None, unit: None, incident: Some(id), what }));
        }
    }

    /// Requests the notification of the storm that is due.
    pub(super) fn notify_storm(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.storm_due = None;
        let Some(mut storm) = self.breaker.storm().cloned() else { return };
        let members = self.members(&storm);
        let due = next_due(&storm, &members);
        if due.is_some_and(|at| at <= now.mono) {
            let notification = notification(now, &mut storm, &members, self.index.len(), false);
            self.storm_due = next_due(&storm, &members).filter(|at| *at > now.mono);
            self.outbox.add_host(notification, out);
            if let Some(on) = self.breaker.storm_mut() {
                *on = storm;
            }
        } else {
            self.storm_due = due;
        }
    }

    fn members(&self, storm: &Storm) -> Vec<(&Group, &Check)> {
        let found = storm.members().filter_map(|name| {
            let group = self.groups.get(self.index.get(name)?)?;
            Some((group, group.check(name)?))
        });
        found.collect()
    }
}

/// A member of the storm, with its group.
type Member<'a> = (&'a Group, &'a Check);

/// When the next notification of the storm is due; `None`: never, as things are.
fn next_due(storm: &Storm, members: &[Member<'_>]) -> Option<Mono> {
    let notifies =
        || members.iter().map(|(_, check)| *check).filter(|check| !check.settings().alert.is_silent());
    if !storm.is_notified() {
        let due = notifies().filter_map(first_due).min()?;
        return Some(due.max(storm.opened().after(WAIT_FOR_RESULT)));
    }
    let repeat = notifies().filter_map(|check| check.settings().alert.repeat_interval).min()?;
    let first = storm.requested() == 1;
    Some(storm.last_notified().after(if first { repeat.min(LASTS) } else { repeat }))
}

/// When people would be notified of this check, were it alone.
fn first_due(check: &Check) -> Option<Mono> {
    match check.incident() {
        Some(incident) => Some(incident.opened().after(check.settings().alert.after)),
        None => check.unknown()?.next_due(check.settings()),
    }
}

/// The next notification of the storm. `over`: its last.
fn notification(
    now: Now,
    storm: &mut Storm,
    members: &[Member<'_>],
    total: usize,
    over: bool,
) -> HostNotification {
    let kind = if over { HostNotificationKind::StormOver } else { next_kind(storm) };
    let to: Vec<Arc<str>> = members
        .iter()
        .filter(|(_, check)| !check.settings().alert.is_silent())
        .flat_map(|(_, check)| check.settings().alert.to.iter().cloned())
        .collect();
    let (number, to, (affected, total)) = storm.number_notification(now.mono, (members.len(), total), to);
    let checks = members.iter().map(|(group, check)| StormCheck {
        name: check.name().clone(),
        health: group.health(check, now),
        seen: check.history().last().map_or_else(String::new, |seen| seen.observation.text().to_owned()),
        to_be_recovered: check.failing_since().is_some() && !check.settings().recovery.steps.is_empty(),
    });
    HostNotification {
        id: NotificationId { incident: storm.id().clone(), number },
        kind,
        to,
        at: now.wall,
        since: now.still(storm.since(), storm.opened()),
        affected,
        total,
        checks: checks.collect(),
    }
}
