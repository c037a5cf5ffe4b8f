//! Who is told what, and in which order.

use stealthcheck::notification::{HostNotification, HostNotificationKind, Notification, NotificationKind};

use crate::post::GLOBAL;
use crate::sim::Sim;

impl Sim {
    /// Nobody is told of a check that is paused or held. (What closes a thread that was begun may come at any time.)
    pub fn nobody_is_told_of_what_is_left_alone(&self, notification: &Notification) {
        if notification.kind.is_last() || self.is_asked_again(notification) {
            return;
        }
        let unit = self.unit_of(&notification.check);
        if let Some((id, unit)) = self.rules.leases.iter().find(|(_, held)| Some(*held) == unit.as_ref()) {
            let what = format!("{} of {unit}, held by {id}", notification.id);
            self.broken("nobody is told of a held unit", &what);
        }
        let paused = self.rules.checks.get(&notification.check).and_then(|book| book.paused);
        if paused.is_some_and(|until| until > self.mono.after(super::SLACK)) {
            self.broken("nobody is told of a paused check", &notification.id.to_string());
        }
    }

    /// After a restart of the daemon: what may not be in the spool yet.
    fn is_asked_again(&self, notification: &Notification) -> bool {
        self.rules.asked.contains_key(&notification.id)
    }

    /// Numbers count up; the first opens, and one that closes is the last; reminders keep their distance; nobody is told
    /// before `alert.after`, or at all where alerts are off.
    pub fn notifications_come_in_order(&mut self, notification: &Notification) {
        if self.is_asked_again(notification) {
            return;
        }
        self.rules.stats.notifications += 1;
        let now = self.mono;
        let Some(check) = self.check(&notification.check).cloned() else {
            self.broken("notices are of checks", &notification.id.to_string())
        };
        let thread = self.rules.threads.entry(notification.id.incident.clone()).or_default().clone();
        let broken = |rule: &str| self.broken(rule, &format!("{} ({})", notification.id, notification.kind));
        if check.alert.off || notification.to.is_empty() {
            broken("nobody is told where alerts are off");
        }
        if notification.id.number != thread.count + 1 {
            broken("numbers count up");
        }
        let first = notification.id.number == 1;
        let opens = match notification.kind {
            NotificationKind::Down | NotificationKind::Unknown | NotificationKind::Flapping => Some(true),
            // Where a person is needed from the beginning, that is said at once.
            NotificationKind::ActionRequired => None,
            _ => Some(false),
        };
        if opens.is_some_and(|opens| opens != first) {
            broken("one opening notification, the first");
        }
        if thread.closed {
            broken("nothing follows the closing notice");
        }
        if matches!(notification.kind, NotificationKind::StillDown | NotificationKind::StillUnknown)
            && !thread.disturbed
        {
            let gap = now.since(thread.last).saturating_add(super::SLACK);
            if check.alert.repeat_interval.is_none_or(|repeat_interval| gap < repeat_interval) {
                broken("reminders keep their distance");
            }
        }
        if first && notification.kind != NotificationKind::Unknown && !thread.disturbed {
            let opened = self.rules.checks.get(&notification.check).map_or(now, |book| book.opened);
            if now.since(opened).saturating_add(super::SLACK) < check.alert.after {
                broken("nobody is told before alert.after");
            }
        }
        let thread = self.rules.threads.entry(notification.id.incident.clone()).or_default();
        (thread.count, thread.last) = (notification.id.number, now);
        thread.closed |= notification.kind.is_last();
        let to = notification.to.iter().map(ToString::to_string).collect();
        self.rules.asked.insert(notification.id.clone(), to);
    }

    /// The same of a storm's thread.
    pub fn notifications_of_the_machine_come_in_order(&mut self, notification: &HostNotification) {
        if self.rules.asked.contains_key(&notification.id) {
            return;
        }
        self.rules.stats.notifications += 1;
        let thread = self.rules.threads.entry(notification.id.incident.clone()).or_default().clone();
        let broken =
            |rule: &str| self.broken(rule, &format!("{} ({:?})", notification.id, notification.kind));
        if notification.id.number != thread.count + 1 {
            broken("numbers count up");
        }
        if (notification.kind == HostNotificationKind::Storm) != (notification.id.number == 1) {
            broken("one opening notice, the first");
        }
        if thread.closed {
            broken("nothing follows the closing notice");
        }
        let now = self.mono;
        let thread = self.rules.threads.entry(notification.id.incident.clone()).or_default();
        (thread.count, thread.last) = (notification.id.number, now);
        thread.closed |= notification.kind == HostNotificationKind::StormOver;
        let mut to = vec![GLOBAL.to_owned()];
        to.extend(notification.to.iter().map(ToString::to_string).filter(|address| address != GLOBAL));
        self.rules.asked.insert(notification.id.clone(), to);
    }
}
