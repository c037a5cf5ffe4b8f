//! The bound of the queue: what goes first where more waits than is kept, and how that is told.
//!
//! In: how many emails and bytes are kept. Out: which email has to go. Of what went each recipient is told in the next email
//! that reaches them: the numbers are kept in the oldest email that waits for them, and are on disk with it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Entry, Queue};
use crate::mail::compose::Role;
use crate::time::Wall;

/// What an email takes besides its body: headers, ids, the names of its recipients.
const BESIDES: usize = 1024;
/// The beginning and the end of an incident are kept at least this long.
const KEPT: Duration = Duration::from_hours(24);

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Emails.
    pub mails: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { mails: 1000, bytes: 16 << 20 }
    }
}

/// Emails to one recipient that went, because more waited than is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many.
    pub mails: usize,
    /// How many of them were reminders.
    pub reminders: usize,
    /// When the first of them was due.
    pub first: Wall,
    /// When the last of them was due.
    pub last: Wall,
}

impl Lost {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.mails == 0 || other.mails == 0 {
            return if self.mails == 0 { other } else { self };
        }
        Self {
            mails: self.mails.saturating_add(other.mails),
            reminders: self.reminders.saturating_add(other.reminders),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

impl Queue {
    /// The email that has to go first, while there are more than `bounds` lets be kept. Reminders go before all others, the
    /// oldest first. Then anything old goes; but not the beginning and the end of an incident of the last day: these few
    /// (an incident that comes back too often is told once, rule 13) are kept beyond the bound.
    #[must_use]
    pub fn excess(&self, bounds: &Bounds, now: Wall) -> Option<u64> {
        let open = || self.entries.iter().filter(|entry| !entry.record.pending.is_empty());
        let (mails, bytes) = open().fold((0, 0), |(mails, bytes), entry| (mails + 1, bytes + size(entry)));
        if mails <= bounds.mails && bytes <= bounds.bytes {
            return None;
        }
        let expendable = |entry: &&Entry| match entry.record.email.role {
            Role::Reminder | Role::Other => true,
            Role::First | Role::Last => now.since(entry.record.email.date) > KEPT,
        };
        let first = open().filter(expendable).min_by_key(|entry| {
            (entry.record.email.role != Role::Reminder, entry.record.email.date, entry.number)
        });
        first.map(|entry| entry.number)
    }

    /// Notes that this email goes, for each recipient who has not got it; says who they are. The email itself is still
    /// there: each recipient is to be settled.
    pub fn lose(&mut self, number: u64) -> Vec<String> {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) else {
            return Vec::new();
        };
        let (date, reminder) = (entry.record.email.date, entry.record.email.role == Role::Reminder);
        let this = Lost { mails: 1, reminders: usize::from(reminder), first: date, last: date };
        let pending = entry.record.pending.clone();
        let before = std::mem::take(&mut entry.record.lost);
        for to in &pending {
            let lost = before.get(to).copied().unwrap_or_default().and(this);
            self.keep_lost(to, lost, number);
        }
        self.lost_total = self.lost_total.saturating_add(1);
        pending
    }

    /// Keeps the numbers with the oldest email to `to`, but for that of this number; or until there is one.
    fn keep_lost(&mut self, to: &str, lost: Lost, except: u64) {
        let waiting = |entry: &&mut Entry| {
            entry.number != except && entry.record.pending.iter().any(|pending| pending == to)
        };
        let kept = match self.entries.iter_mut().find(waiting) {
            Some(entry) => {
                entry.changes += 1;
                entry.record.lost.entry(to.to_owned()).or_default()
            }
            None => self.lost_of_nobody.entry(to.to_owned()).or_default(),
        };
        *kept = kept.and(lost);
    }

    /// What an email that is new has to tell besides itself.
    pub(super) fn take_lost(&mut self, pending: &[String]) -> BTreeMap<String, Lost> {
        pending.iter().filter_map(|to| self.lost_of_nobody.remove_entry(to)).collect()
    }

    /// What `to` is told of with these emails.
    #[must_use]
    pub fn lost(&self, numbers: &[u64], to: &str) -> Lost {
        let records = numbers.iter().filter_map(|number| self.record(*number));
        let lost = records.filter_map(|record| record.lost.get(to).copied());
        lost.fold(Lost::default(), Lost::and)
    }

    /// How many emails went of which somebody has not been told yet, and how many since the start.
    #[must_use]
    pub fn losses(&self) -> (usize, u64) {
        let kept = self.entries.iter().flat_map(|entry| &entry.record.lost).chain(&self.lost_of_nobody);
        let mut of_each: BTreeMap<&str, usize> = BTreeMap::new();
        for (to, lost) in kept {
            *of_each.entry(to).or_default() += lost.mails;
        }
        // One email to several is counted with each of them.
        (of_each.into_values().max().unwrap_or_default(), self.lost_total)
    }
}

fn size(entry: &Entry) -> usize {
    entry.record.email.body.len() + BESIDES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::compose::Email;
    use crate::mail::queue::tests::record;
    use crate::mail::spool::Record;

    const DAY: i64 = 24 * 3600 * 1000;
    const NOW: Wall = Wall(10 * DAY);

    fn email(incident: &str, number: u32, role: Role, age: i64) -> Record {
        let record = record(incident, number, &["x"]);
        Record::new(Email { role, date: Wall(NOW.0 - age), ..record.email }, NOW)
    }

    /// Removes what is too much, as the mailer does; the numbers in order.
    fn shrink(queue: &mut Queue, mails: usize, bytes: usize) -> Vec<u64> {
        let mut gone = Vec::new();
        while let Some(number) = queue.excess(&Bounds { mails, bytes }, NOW) {
            for to in queue.lose(number) {
                queue.settled(number, &to);
            }
            gone.push(number);
        }
        gone
    }

    #[test]
    fn reminders_go_first_then_old_things_and_never_what_changed_within_a_day() {
        let mut queue = Queue::default();
        for (n, (role, age)) in [
            (Role::First, 3 * DAY),
            (Role::First, DAY / 2),
            (Role::Reminder, DAY / 3),
            (Role::Other, 2 * DAY),
            (Role::Reminder, 2 * DAY),
            (Role::Last, DAY / 4),
            (Role::Last, 3 * DAY / 2),
        ]
        .into_iter()
        .enumerate()
        {
            queue.insert(email(&format!("i{n}"), 1, role, age));
        }
        assert_eq!(shrink(&mut queue, 7, usize::MAX), Vec::<u64>::new());
        assert_eq!(shrink(&mut queue, 0, usize::MAX), [4, 2, 0, 3, 6], "1 and 5 are kept beyond the bound");
        assert_eq!(queue.backlog().0, 2);
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let mut queue = Queue::default();
        for n in 0..4 {
            let mut record = email("i", n + 1, Role::Reminder, DAY - i64::from(n));
            record.email.body = "x".repeat(10_000);
            queue.insert(record);
        }
        assert_eq!(shrink(&mut queue, 100, 25_000), [0, 1]);
    }

    #[test]
    fn each_recipient_is_told_once_of_what_went_with_the_next_email() {
        let mut queue = Queue::default();
        for n in 1..=3 {
            queue.insert(email("i", n, Role::Reminder, i64::from(10 - n)));
        }
        assert_eq!(shrink(&mut queue, 1, usize::MAX), [0, 1]);
        let lost = queue.lost(&[2], "x");
        let (first, last) = (Wall(NOW.0 - 9), Wall(NOW.0 - 8));
        assert_eq!(lost, Lost { mails: 2, reminders: 2, first, last });
        assert_eq!((queue.losses(), queue.lost(&[2], "y").mails), ((2, 2), 0));
        let saved = serde_json::to_string(queue.record(2).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&saved).unwrap().lost["x"], lost, "it is on disk");
        queue.settled(2, "x");
        assert_eq!(queue.losses(), (0, 2), "told");
        // Where nothing waits, the next one tells.
        let only = queue.insert(email("j", 1, Role::Reminder, 5));
        assert_eq!(shrink(&mut queue, 0, usize::MAX), [only]);
        assert_eq!(queue.losses(), (1, 3));
        let next = queue.insert(email("k", 1, Role::First, 0));
        assert_eq!(queue.lost(&[next], "x").mails, 1);
    }
}
