//! What the mail server gets: everything that was asked for, in order, oldest first, once, and not too much
//! at a time.

use std::time::Duration;

use stealthcheck::mail::spool::Record;
use stealthcheck::notification::NotificationId;

use crate::config::DEAD;
use crate::sim::Sim;

/// So many mails in so long are mails; more become a digest.
const MAILS: usize = 10;
const WITHIN: Duration = Duration::from_secs(60);

impl Sim {
    fn ids(&self, numbers: &[u64]) -> Vec<NotificationId> {
        let records = numbers.iter().filter_map(|number| self.post.queue.record(*number));
        records.map(|record| record.email.id.clone()).collect()
    }

    /// An attempt begins: nothing is sent before it is released, and what is older goes first.
    pub fn rules_sent(&self, numbers: &[u64], to: &str) {
        for (number, id) in numbers.iter().zip(self.ids(numbers)) {
            if self.post.disk.contains_key(number) && !self.rules.released.contains(&id) {
                self.broken("nothing is sent before it is released", &id.to_string());
            }
        }
        let first = numbers.first().copied().unwrap_or_default();
        let mut begun = vec![];
        for (number, record) in self.post.disk.range(..first) {
            let id = &record.email.id;
            if !record.pending.iter().any(|pending| pending == to) || begun.contains(&&id.incident) {
                continue;
            }
            begun.push(&id.incident);
            // In the queue it may be settled already.
            let waits =
                self.post.queue.record(*number).is_some_and(|record| record.pending.iter().any(|p| p == to));
            if waits && self.rules.released.contains(id) && !self.post.is_put_off(&id.incident.0, to) {
                let what = format!("{id} waits for {to}, and {:?} goes first", self.ids(numbers));
                self.broken("the oldest goes first", &what);
            }
        }
    }

    /// The server has accepted these for somebody. `heard`: and the daemon knows.
    pub fn rules_accepted(&mut self, numbers: &[u64], to: &str, message_id: &str, heard: bool) {
        let ids = self.ids(numbers);
        self.note(|| format!("delivered to {to}: {message_id} {}", ids.len()));
        self.rules.stats.mails += 1;
        self.rules.stats.digests += u64::from(ids.len() > 1);
        for id in &ids {
            self.a_email_arrives(id, to);
            let key = (id.clone(), to.to_owned());
            if heard {
                self.rules.unsettled.insert(key, self.mono);
            } else {
                *self.rules.may_repeat.entry(key).or_default() += 1;
            }
        }
        if let [id] = ids.as_slice()
            && message_id != format!("<{id}@machine>")
        {
            self.broken("a notice's Message-ID is its own", message_id);
        }
        if heard {
            self.not_too_many_at_a_time(to);
        }
    }

    fn a_email_arrives(&mut self, id: &NotificationId, to: &str) {
        let key = (id.clone(), to.to_owned());
        let Some(asked) = self.rules.asked.get(id) else {
            self.broken("only what was asked for is sent", &id.to_string())
        };
        if !asked.iter().any(|address| address == to) {
            self.broken("only those are told who are to be", &format!("{id} to {to}"));
        }
        for before in 1..id.number {
            let before = NotificationId { incident: id.incident.clone(), number: before };
            let meant = self.rules.asked.get(&before).is_some_and(|asked| asked.iter().any(|a| a == to));
            let key = (before, to.to_owned());
            if meant && !self.rules.got.contains_key(&key) && !self.rules.dropped.contains(&key) {
                let what = format!("{} comes to {to} before {}", id, key.0);
                self.broken("in order within an incident", &what);
            }
        }
        let times = self.rules.got.entry(key.clone()).or_default();
        *times += 1;
        if *times == 1 {
            return;
        }
        self.rules.stats.duplicates += 1;
        match self.rules.may_repeat.get_mut(&key).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None => {
                let what = format!("{id} to {to}");
                self.broken("twice only where nobody could know of the first", &what);
            }
        }
    }

    fn not_too_many_at_a_time(&mut self, to: &str) {
        let now = self.mono;
        let mails = self.rules.mails.entry(to.to_owned()).or_default();
        mails.push_back(now);
        while mails.front().is_some_and(|at| now.since(*at) >= WITHIN) {
            mails.pop_front();
        }
        let many = mails.len();
        if many > MAILS {
            self.broken("no more than ten mails in a minute", &format!("{many} to {to}"));
        }
    }

    /// The server will never take these for somebody.
    pub fn rules_dropped(&mut self, numbers: &[u64], to: &str) {
        for id in self.ids(numbers) {
            if to != DEAD {
                self.broken("nothing is dropped that could be delivered", &format!("{id} to {to}"));
            }
            self.rules.dropped.insert((id, to.to_owned()));
        }
    }

    fn is_pending_on_disk(&self, id: &NotificationId, to: &String) -> bool {
        let pending = |record: &Record| record.email.id == *id && record.pending.contains(to);
        self.post.disk.values().any(pending)
    }

    /// A letter that others have not got yet says so of those who have: else they would get it again after a crash.
    pub fn what_was_accepted_is_noted(&self) {
        if !self.post.is_safe() {
            return;
        }
        for ((id, to), at) in self.rules.unsettled.iter().filter(|(_, at)| **at < self.mono) {
            if self.is_pending_on_disk(id, to) {
                let what = format!("{id} was accepted for {to} {:?} ago", self.mono.since(*at));
                self.broken("what was accepted is noted at once", &what);
            }
        }
    }

    /// The daemon is gone: what the server has accepted in this very moment, and the disk still holds, will come again. So
    /// will what the disk refused: nothing on it says who has it already.
    pub fn rules_mail_interrupted(&mut self) {
        for ((id, to), at) in std::mem::take(&mut self.rules.unsettled) {
            let never_on_disk = self.post.queue.find(&id) == Some(false);
            if !never_on_disk && !self.is_pending_on_disk(&id, &to) {
                continue;
            }
            if self.post.is_safe() && at < self.mono {
                let what = format!("{id} was accepted for {to} {:?} ago", self.mono.since(at));
                self.broken("what was accepted is noted at once", &what);
            }
            *self.rules.may_repeat.entry((id, to)).or_default() += 1;
        }
        self.rules.released.clear();
        self.rules.mails.clear();
    }

    pub fn rules_released(&mut self, ids: impl IntoIterator<Item = NotificationId>) {
        self.rules.released.extend(ids);
    }
}
