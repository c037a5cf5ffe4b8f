//! Which email is sent to whom next.
//!
//! Emails, releases and what became of each attempt flow in; the next recipient to try, or how long to wait, and what
//! the disk ought to hold flow out. Pure: no files, no network, no clock but the `now` it is given.
//!
//! The rules: oldest first; more than a few in a minute go as one mail (see `rate_limit`); an email waits for earlier
//! emails of its incident to the same recipient; a held email is not sent; a recipient who was told "later" delays
//! nobody else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::rate_limit::{Limit, RateLimit, Turn};
use super::spool::Record;
use crate::check::Backoff;
use crate::notification::{IncidentId, NotificationId};
use crate::time::{Mono, Wall};

mod bound;
mod recipients;

pub use bound::{Bounds, Lost};
pub use recipients::Recipients;

/// An email on its way.
#[derive(Debug)]
struct Entry {
    number: u64,
    record: Record,
    /// It was found on disk.
    inherited: bool,
    /// It may be delivered.
    released: bool,
    /// It could not be written (yet): it lives in memory alone.
    in_memory: bool,
    /// Grows with each change to `record`.
    changes: u64,
    /// The state of `changes` that is on disk.
    saved: Option<u64>,
}

impl Entry {
    fn new(number: u64, record: Record) -> Self {
        Self { number, record, inherited: false, released: false, in_memory: false, changes: 0, saved: None }
    }
}

/// What is to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This email, to this recipient.
    Send(u64, String),
    /// These emails, in this order, to this recipient as one mail.
    Together(Vec<u64>, String),
    /// Nothing before then.
    Wait(Mono),
    /// Nothing at all.
    Idle,
}

/// What the disk ought to hold for an email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskJob {
    /// This content; the number is to be handed back.
    Write(Box<Record>, u64),
    /// Nothing.
    Remove(NotificationId),
}

/// Everything that is not yet accepted by the server.
#[derive(Debug, Default)]
pub struct Queue {
    entries: Vec<Entry>,
    /// The number of the next email.
    next: u64,
    /// Recipients who were told "later", by incident: until when, after how many tries.
    later: HashMap<(IncidentId, String), (Mono, u32)>,
    /// Nothing of that is tried before then, for the server breaks off over each; what has not been tried yet may fare
    /// better.
    pub rest_until: Mono,
    /// Recipients who were never told of these incidents, as the configuration names them no longer.
    withdrawn: BTreeSet<(IncidentId, String)>,
    /// What went of the emails to recipients for whom nothing waits.
    lost_of_nobody: BTreeMap<String, Lost>,
    /// How many emails went since the start.
    lost_total: u64,
    /// How many each recipient got of late.
    pub rate_limit: RateLimit,
    /// Why the disk refused; `None` once it did not.
    pub disk_error: Option<String>,
    /// The email whose file is being written or removed.
    at_disk: Option<u64>,
    /// The disk has not answered for a while.
    hung: bool,
    /// Why the last delivery failed; `None` once one succeeded.
    pub mail_error: Option<String>,
}

impl Queue {
    /// An empty queue that keeps to this pace.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        Self { rate_limit: RateLimit::new(limit), ..Self::default() }
    }

    /// Takes in what was found on disk, held.
    pub fn load(&mut self, records: Vec<(u64, Record)>) {
        for (number, record) in records {
            self.next = self.next.max(number.saturating_add(1));
            self.entries.push(Entry { inherited: true, saved: Some(0), ..Entry::new(number, record) });
        }
        self.entries.sort_by_key(|entry| entry.number);
    }

    /// Takes in a new email, held, and gives its number.
    pub fn insert(&mut self, mut record: Record) -> u64 {
        self.concerned(record.email.role, &record.email.id.incident, &mut record.pending);
        record.lost = self.take_lost(&record.pending);
        let number = self.next;
        self.next = number.saturating_add(1);
        self.entries.push(Entry::new(number, record));
        number
    }

    /// Whether the notification's email is here, and whether it is safe on disk.
    #[must_use]
    pub fn find(&self, id: &NotificationId) -> Option<bool> {
        self.entries.iter().find(|e| e.record.email.id == *id).map(|e| e.saved.is_some())
    }

    /// The email of that number.
    #[must_use]
    pub fn record(&self, number: u64) -> Option<&Record> {
        self.entries.iter().find(|e| e.number == number).map(|e| &e.record)
    }

    /// Whether the email has been on disk at all.
    #[must_use]
    pub fn is_saved(&self, number: u64) -> bool {
        self.entries.iter().any(|e| e.number == number && e.saved.is_some())
    }

    /// The email may be delivered.
    pub fn release(&mut self, id: &NotificationId) {
        for entry in self.entries.iter_mut().filter(|entry| entry.record.email.id == *id) {
            entry.released = true;
        }
    }

    /// Emails that were found on disk may be delivered if `is_meant` says so.
    pub fn release_inherited(&mut self, is_meant: impl Fn(&NotificationId) -> bool) {
        for entry in self.entries.iter_mut().filter(|entry| entry.inherited) {
            entry.released |= is_meant(&entry.record.email.id);
        }
    }

    /// What to try now.
    #[must_use]
    pub fn pick(&self, now: Mono) -> Pick {
        // The earliest email of each incident that a recipient has not got.
        let mut turn: HashMap<(&IncidentId, &str), u32> = HashMap::new();
        for entry in &self.entries {
            let id = &entry.record.email.id;
            for to in &entry.record.pending {
                let first = turn.entry((&id.incident, to)).or_insert(id.number);
                *first = (*first).min(id.number);
            }
        }
        let mut soonest: Option<Mono> = None;
        let mut wait = |until: Mono| soonest = Some(soonest.map_or(until, |s: Mono| s.min(until)));
        // Those who were told "later" come after those who were not: else a few whose every attempt takes its time
        // would be due again before it is anybody else's turn.
        let mut again: Option<(Mono, &Entry, &String)> = None;
        // What the disk refuses is sent at once: nobody would ever release it, and a mail twice is better than none.
        for entry in self.entries.iter().filter(|entry| entry.released || entry.in_memory) {
            let id = &entry.record.email.id;
            for to in &entry.record.pending {
                if turn.get(&(&id.incident, to.as_str())) != Some(&id.number) {
                    continue;
                }
                match self.later.get(&(id.incident.clone(), to.clone())) {
                    None => match self.turn_of(entry, to, now) {
                        Pick::Wait(until) => wait(until),
                        pick => return pick,
                    },
                    Some((until, _)) if (*until).max(self.rest_until) > now => {
                        wait((*until).max(self.rest_until))
                    }
                    Some((until, _)) if again.is_none_or(|(first, ..)| *until < first) => {
                        again = Some((*until, entry, to));
                    }
                    Some(_) => {}
                }
            }
        }
        if let Some((_, entry, to)) = again {
            match self.turn_of(entry, to, now) {
                Pick::Wait(until) => wait(until),
                pick => return pick,
            }
        }
        soonest.map_or(Pick::Idle, Pick::Wait)
    }

    /// How an email that is to be sent to `to` goes there.
    fn turn_of(&self, entry: &Entry, to: &str, now: Mono) -> Pick {
        match self.rate_limit.turn(to, now) {
            Turn::Single => Pick::Send(entry.number, to.to_owned()),
            Turn::Wait(until) => Pick::Wait(until),
            Turn::Together(most) => self.together(to, now, most),
        }
    }

    /// All that may be sent to `to` now, at most `most`, oldest first. Of an incident only as far as it may be told in
    /// order: not what comes after an email that is held or put off.
    fn together(&self, to: &str, now: Mono, most: usize) -> Pick {
        let mut waiting: Vec<&Entry> =
            self.entries.iter().filter(|entry| entry.record.pending.iter().any(|each| each == to)).collect();
        waiting.sort_by_key(|entry| (&entry.record.email.id.incident, entry.record.email.id.number));
        let mut stuck: Option<&IncidentId> = None;
        let mut ready: Vec<u64> = Vec::new();
        for entry in waiting {
            let incident = &entry.record.email.id.incident;
            let put_off = self.later.get(&(incident.clone(), to.to_owned()));
            let now_or_never = put_off.is_none_or(|(until, _)| *until <= now);
            if stuck == Some(incident) || !(entry.released || entry.in_memory) || !now_or_never {
                stuck = Some(incident);
            } else {
                ready.push(entry.number);
            }
        }
        // Emails are numbered in the order in which they were submitted, also those of one incident.
        ready.sort_unstable();
        ready.truncate(most.max(1));
        match ready.as_slice() {
            [] => Pick::Idle,
            [one] => Pick::Send(*one, to.to_owned()),
            _ => Pick::Together(ready, to.to_owned()),
        }
    }

    /// The recipient needs no more of this email: it was accepted, or never will be. True when that was the last.
    pub fn settled(&mut self, number: u64, to: &str) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|e| e.number == number) else { return false };
        entry.record.pending.retain(|pending| pending != to);
        entry.record.lost.remove(to);
        entry.changes += 1;
        self.later.remove(&(entry.record.email.id.incident.clone(), to.to_owned()));
        entry.record.pending.is_empty()
    }

    /// The recipient is to be tried again later, by so many steps of the backoff; says how much later.
    pub fn put_off(&mut self, number: u64, to: &str, now: Mono, backoff: &Backoff, steps: u32) -> Duration {
        let Some(incident) = self.record(number).map(|record| record.email.id.incident.clone()) else {
            return backoff.initial;
        };
        let (until, tries) = self.later.entry((incident, to.to_owned())).or_insert((now, 0));
        *tries = tries.saturating_add(steps);
        let delay = backoff.delay(*tries);
        *until = now.after(delay);
        delay
    }

    /// Forgets who was told "later": the server or the settings are other ones now.
    pub fn retry_now(&mut self) {
        self.later.clear();
        self.rest_until = Mono::default();
    }

    /// Numbers of the emails whose files are not as they ought to be.
    #[must_use]
    pub fn unsaved(&self) -> Vec<u64> {
        self.entries.iter().filter(|e| e.saved != Some(e.changes)).map(|e| e.number).collect()
    }

    /// What is to be done about an email's file, if anything. One is done at a time.
    pub fn disk_job(&mut self, number: u64) -> Option<DiskJob> {
        let job = self.next_disk_job(number)?;
        self.at_disk = Some(number);
        Some(job)
    }

    fn next_disk_job(&mut self, number: u64) -> Option<DiskJob> {
        let at = self.entries.iter().position(|e| e.number == number)?;
        let entry = self.entries.get(at)?;
        if entry.record.pending.is_empty() {
            let id = entry.record.email.id.clone();
            if entry.saved.is_none() {
                self.entries.remove(at);
                // What the disk refused has got where it was to go, so that there is no complaint left.
                if self.unsaved().is_empty() {
                    self.disk_error = None;
                }
                return None;
            }
            return Some(DiskJob::Remove(id));
        }
        (entry.saved != Some(entry.changes))
            .then(|| DiskJob::Write(Box::new(entry.record.clone()), entry.changes))
    }

    /// The file is as was asked: `changes` was written, or (`None`) it is removed. True when the email is safe for the
    /// first time.
    pub fn saved(&mut self, number: u64, changes: Option<u64>) -> bool {
        self.disk_error = None;
        self.disk_answers();
        let Some(at) = self.entries.iter().position(|e| e.number == number) else { return false };
        let (Some(changes), Some(entry)) = (changes, self.entries.get_mut(at)) else {
            self.entries.remove(at);
            return false;
        };
        entry.in_memory = false;
        // (One that everybody got while the disk hung is of no interest any more.)
        entry.saved.replace(changes).is_none() && !entry.record.pending.is_empty()
    }

    /// The file could not be made as was asked.
    pub fn not_saved(&mut self, number: u64, error: String) {
        self.disk_error = Some(error);
        self.disk_answers();
        if let Some(entry) = self.entries.iter_mut().find(|e| e.number == number) {
            entry.in_memory = entry.saved.is_none();
        }
    }

    fn disk_answers(&mut self) {
        self.at_disk = None;
        self.hung = false;
    }

    /// The disk has not answered for a while: what is not on it lives in memory alone, and what everybody has got is
    /// forgotten but for the email that is being written. Returns whether that is news.
    pub fn disk_hangs(&mut self, error: &str) -> bool {
        // It may just have answered.
        let Some(at_disk) = self.at_disk else { return false };
        self.disk_error = Some(error.to_owned());
        self.entries.retain(|entry| {
            entry.saved.is_some() || !entry.record.pending.is_empty() || entry.number == at_disk
        });
        for entry in &mut self.entries {
            entry.in_memory = entry.saved.is_none();
        }
        !std::mem::replace(&mut self.hung, true)
    }

    /// Whether the disk has not answered for a while, and still does not.
    #[must_use]
    pub fn is_disk_hung(&self) -> bool {
        self.hung
    }

    /// How many emails somebody has not got yet, and since when the oldest of them waits.
    #[must_use]
    pub fn backlog(&self) -> (usize, Option<Wall>) {
        let open = || self.entries.iter().filter(|e| !e.record.pending.is_empty());
        (open().count(), open().map(|e| e.record.spooled).min())
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
