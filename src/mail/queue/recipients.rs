//! Who gets what waits: the recipients of the running configuration, not those of the day on which it was written.
//!
//! In: the recipients by check. Out: emails with other recipients. Who was told of an incident's beginning is told of its end,
//! whatever the configuration says by then; who was not, because the configuration changed before, is not.

use std::collections::{BTreeMap, HashMap};

use super::Queue;
use crate::check::CheckName;
use crate::mail::compose::Role;
use crate::notification::IncidentId;

/// Whom the running configuration has told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// Of each check that tells anybody.
    pub checks: BTreeMap<CheckName, Vec<String>>,
    /// Of what is about the machine or the daemon.
    pub global: Vec<String>,
}

impl Recipients {
    fn names(&self, to: &String) -> bool {
        self.global.contains(to) || self.checks.values().any(|all| all.contains(to))
    }

    /// Those of `to` who are still named, or where there is none, those of what is about the machine.
    fn left_of(&self, to: &[String]) -> Vec<String> {
        let named: Vec<String> = to.iter().filter(|to| self.names(to)).cloned().collect();
        if named.is_empty() { self.global.clone() } else { named }
    }
}

impl Queue {
    /// Other recipients are configured. Each email that waits goes to those of its check who have not got it. Emails of a
    /// check that is no longer configured, or that tells nobody now, go to those of their recipients who are named at all,
    /// or to those of what is about the machine.
    pub fn readdress(&mut self, recipients: &Recipients) {
        let now_for = |check: Option<&CheckName>| match check {
            Some(check) => recipients.checks.get(check),
            None => Some(&recipients.global),
        };
        // Who comes back into the configuration is told like the others.
        self.withdrawn.retain(|(incident, to)| {
            let check = incident.check().and_then(|check| CheckName::new(check).ok());
            now_for(check.as_ref()).is_none_or(|now| !now.contains(to))
        });
        // The earliest email of each incident that a recipient has not got, before anything is changed.
        let mut first: HashMap<(IncidentId, String), u32> = HashMap::new();
        for entry in &self.entries {
            let id = &entry.record.email.id;
            for to in &entry.record.pending {
                let number = first.entry((id.incident.clone(), to.clone())).or_insert(id.number);
                *number = (*number).min(id.number);
            }
        }
        for entry in &mut self.entries {
            let record = &mut entry.record;
            let email = &mut record.email;
            let now = match now_for(email.check.as_ref()) {
                Some(now) => now.clone(),
                None => recipients.left_of(&record.pending),
            };
            if now.is_empty() || record.pending.is_empty() {
                continue;
            }
            let has_it: Vec<String> =
                email.to.iter().filter(|to| !record.pending.contains(to)).cloned().collect();
            let mut pending: Vec<String> = now.iter().filter(|to| !has_it.contains(to)).cloned().collect();
            for to in record.pending.iter().filter(|to| !now.contains(to)) {
                let key = (email.id.incident.clone(), to.clone());
                let told_before = first.get(&key) == Some(&email.id.number) && email.id.number > 1;
                if email.check.is_none() && email.role != Role::Other {
                    // About the machine: its own recipients are those of the checks concerned.
                    pending.extend(recipients.names(to).then(|| to.clone()));
                } else if email.role == Role::Last && told_before && !self.withdrawn.contains(&key) {
                    pending.push(to.clone());
                } else if email.id.number == 1 {
                    self.withdrawn.insert(key);
                }
            }
            if pending == record.pending {
                continue;
            }
            record.lost.retain(|to, _| pending.contains(to));
            email.to = has_it.into_iter().chain(pending.iter().cloned()).collect();
            record.pending = pending;
            entry.changes += 1;
        }
    }

    /// Those of `to` who are to get an email: not who was never told of what has ended.
    pub(super) fn concerned(&self, role: Role, incident: &IncidentId, to: &mut Vec<String>) {
        if role == Role::Last {
            to.retain(|to| !self.withdrawn.contains(&(incident.clone(), to.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::compose::Email;
    use crate::mail::queue::tests::record;
    use crate::mail::spool::Record;

    fn name() -> CheckName {
        CheckName::new("web").unwrap()
    }

    fn insert(queue: &mut Queue, number: u32, role: Role, to: &[&str]) -> u64 {
        let record = record("web-1", number, to);
        queue.insert(Record::new(Email { role, check: Some(name()), ..record.email }, record.spooled))
    }

    fn now(to: &[&str]) -> Recipients {
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        Recipients { checks: BTreeMap::from([(name(), to)]), global: vec!["global".to_owned()] }
    }

    fn pending(queue: &Queue, number: u64) -> Vec<&str> {
        queue.record(number).unwrap().pending.iter().map(String::as_str).collect()
    }

    #[test]
    fn what_waits_goes_to_the_recipients_of_the_running_configuration() {
        let mut queue = Queue::default();
        let down = insert(&mut queue, 1, Role::First, &["old", "both"]);
        let again = insert(&mut queue, 2, Role::Reminder, &["old", "both"]);
        queue.settled(down, "both");
        queue.readdress(&now(&["both", "new"]));
        assert_eq!(pending(&queue, down), ["new"]);
        assert_eq!(queue.record(down).unwrap().email.to, ["both", "new"]);
        assert_eq!(pending(&queue, again), ["both", "new"]);
        // The engine still counts `old` among those who were told; he was not.
        let up = insert(&mut queue, 3, Role::Last, &["both", "new", "old"]);
        assert_eq!(pending(&queue, up), ["both", "new"]);
        // Nothing changes by saying it again.
        let before = queue.unsaved();
        queue.readdress(&now(&["both", "new"]));
        assert_eq!(queue.unsaved(), before);
    }

    #[test]
    fn who_was_told_of_the_beginning_is_told_of_the_end() {
        let mut queue = Queue::default();
        let down = insert(&mut queue, 1, Role::First, &["old"]);
        queue.settled(down, "old");
        queue.saved(down, None);
        let again = insert(&mut queue, 2, Role::Reminder, &["old"]);
        queue.settled(again, "old");
        queue.saved(again, None);
        let up = insert(&mut queue, 3, Role::Last, &["old"]);
        queue.readdress(&now(&["new"]));
        assert_eq!(pending(&queue, up), ["new", "old"]);
    }

    #[test]
    fn emails_of_checks_that_are_gone_go_to_those_who_are_still_named() {
        let mut queue = Queue::default();
        let gone = insert(&mut queue, 1, Role::First, &["old"]);
        let partly = insert(&mut queue, 1, Role::First, &["old", "owner"]);
        let host = queue.insert(Record::new(
            Email { role: Role::Other, ..record("host!1", 1, &["old"]).email },
            crate::time::Wall(0),
        ));
        let other = (CheckName::new("other").unwrap(), vec!["owner".to_owned()]);
        queue.readdress(&Recipients { checks: BTreeMap::from([other]), global: vec!["global".to_owned()] });
        assert_eq!(pending(&queue, gone), ["global"]);
        assert_eq!(pending(&queue, partly), ["owner"]);
        assert_eq!(pending(&queue, host), ["global"]);
        queue.readdress(&Recipients::default());
        assert_eq!(pending(&queue, host), ["global"], "nobody to tell: it waits");
    }
}
