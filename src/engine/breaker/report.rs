//! The notifications about a storm: one thread for the machine, in place of one for each check (rule 14).
//!
//! In: the storm, and its checks. Out: when a notification is due, and the notification. A storm of which nobody was
//! notified ends in silence.

use std::sync::Arc;
use std::time::Duration;

use super::storm::{Storm, next_kind};
use crate::engine::check::{Check, WAIT_FOR_RESULT};
use crate::engine::group::Group;
use crate::notification::{HostNotification, HostNotificationKind, NotificationId, StormCheck};
use crate::time::{Mono, Now};

/// The first reminder comes after this time, whatever `repeat_interval` says: no unit is restarted meanwhile, so a person
/// must look.
const LASTS: Duration = Duration::from_secs(30 * 60);

/// A member of the storm, with its group.
pub(in crate::engine) type Member<'a> = (&'a Group, &'a Check);

/// When the next notification of the storm is due; `None`: never, as things are.
pub(in crate::engine) fn due(storm: &Storm, members: &[Member<'_>]) -> Option<Mono> {
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
pub(in crate::engine) fn notification(
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
