//! The mails about a storm: one thread for the machine, in place of one for each check (rule 14).
//!
//! In: the storm that is on, and how its checks are. Out: notifications about the host, when the first of its checks would have
//! been told of, again while it lasts, and when it is over. A storm that nobody was told of ends in silence.

use std::sync::Arc;

use super::Engine;
use super::event::Effect;
use super::incident::TELL_WITHIN;
use super::state::CheckState;
use super::storm::{LASTS, Storm};
use crate::notification::{HostNotification, HostNotificationKind, NotificationId, StormCheck};
use crate::time::{Mono, Now};

impl Engine {
    /// When the next notification of the storm that is on is due; `None`: never, as things are.
    pub(super) fn storm_notification_due(&self) -> Option<Mono> {
        let storm = self.brake.storm.as_ref()?;
        let heard = || self.storm_members(storm).filter(|state| !state.check.alert.is_silent());
        if storm.asked == 0 {
            let due = heard().filter_map(first_due).min()?;
            return Some(due.max(storm.opened.after(TELL_WITHIN)));
        }
        let repeat_interval = heard().filter_map(|state| state.check.alert.repeat_interval).min()?;
        Some(storm.last_notified.after(if storm.asked == 1 {
            repeat_interval.min(LASTS)
        } else {
            repeat_interval
        }))
    }

    /// Asks for the notification of the storm that is due, if one is.
    pub(super) fn tell_storm(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.storm_notification_due().is_none_or(|due| due > now.mono) {
            return;
        }
        let first = self.brake.storm.as_ref().is_some_and(|storm| storm.asked == 0);
        let kind = if first { HostNotificationKind::Storm } else { HostNotificationKind::StillStorm };
        self.notify_host(now, kind, out);
    }

    /// Asks for the closing notification, if anybody was told.
    pub(super) fn tell_storm_over(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.brake.storm.as_ref().is_some_and(|storm| storm.asked > 0) {
            self.notify_host(now, HostNotificationKind::StormOver, out);
        }
    }

    fn notify_host(&mut self, now: Now, kind: HostNotificationKind, out: &mut Vec<Effect>) {
        let Some(storm) = &self.brake.storm else { return };
        let checks: Vec<StormCheck> =
            self.storm_members(storm).map(|state| self.storm_check(now, state)).collect();
        let to: Vec<Arc<str>> = self
            .storm_members(storm)
            .filter(|state| !state.check.alert.is_silent())
            .flat_map(|state| state.check.alert.to.clone())
            .collect();
        let total = self.checks.len();
        let Some(storm) = &mut self.brake.storm else { return };
        if storm.asked == 0 {
            storm.told = (checks.len(), total);
        }
        storm.to.extend(to);
        storm.asked = storm.asked.saturating_add(1);
        storm.last_notified = now.mono;
        let notification = HostNotification {
            id: NotificationId { incident: storm.id.clone(), number: storm.asked },
            kind,
            to: storm.to.iter().cloned().collect(),
            at: now.wall,
            since: storm.since,
            affected: storm.told.0,
            total: storm.told.1,
            checks,
        };
        self.pending_host.insert(notification.id.clone(), notification.clone());
        out.push(Effect::NotifyHost(Box::new(notification)));
    }

    fn storm_members<'a>(&'a self, storm: &'a Storm) -> impl Iterator<Item = &'a CheckState> {
        storm.members.keys().filter_map(|name| self.checks.get(name))
    }

    fn storm_check(&self, now: Now, state: &CheckState) -> StormCheck {
        let watch = state.check.unit.as_ref().and_then(|unit| self.units.get(unit));
        let last = state.history.last();
        StormCheck {
            name: state.check.name.clone(),
            health: state.health(now, watch),
            seen: last.map_or_else(String::new, |seen| seen.observation.text().to_owned()),
            to_be_recovered: state.bad.is_some() && !state.check.recovery.steps.is_empty(),
        }
    }
}

/// When somebody would be told of this check, were it alone.
fn first_due(state: &CheckState) -> Option<Mono> {
    match &state.incident {
        Some(incident) => Some(incident.opened.after(state.check.alert.after)),
        None => state.unmeasured_due(),
    }
}
