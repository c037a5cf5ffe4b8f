//! The mailer around the real queue and the real pace: intake, a disk that keeps letters, delivery, and a mail server.
//!
//! The steps and their order are those of `mail/tasks.rs` and `mail/shared.rs`; which letter goes to whom next, what goes as
//! one mail and what the disk ought to hold is the product's own queue. The daemon can die between any two steps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::tz::TimeZone;
use stealthcheck::check::Backoff;
use stealthcheck::mail::compose::{self, Email, Place, Role};
use stealthcheck::mail::deliver::Refusal;
use stealthcheck::mail::digest;
use stealthcheck::mail::queue::{DiskJob, Pick, Queue};
use stealthcheck::mail::rate_limit::Limit;
use stealthcheck::mail::spool::Record;
use stealthcheck::notification::{HostNotification, Notification, NotificationId};
use stealthcheck::time::Mono;

use crate::config::DEAD;
use crate::shell::Moment;
use crate::sim::{Coming, Sim};

/// Who hears of the machine besides those that the checks concerned name.
pub const GLOBAL: &str = "ops@example.org";

/// After so many messages in a row over which the connection was lost, it is the server and not the message.
const LOST_MAX: u32 = 2;

/// From one attempt to write the spool to the next.
const REWRITE: Duration = Duration::from_secs(5);

const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(5), max: Duration::from_secs(300) };

/// What the mailer is given.
#[derive(Clone, Debug)]
pub enum Submission {
    Notification(Box<Notification>),
    HostNotification(Box<HostNotification>),
    ReleaseAllExcept(Vec<NotificationId>),
}

/// What the mailer does next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Takes the next submission.
    Intake,
    /// Tries again what the disk refused.
    Rewrite,
    /// Looks for something to send.
    Wake,
    /// An attempt comes to its end.
    Attempted { numbers: Vec<u64>, to: String },
}

/// How the mail server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    #[default]
    Up,
    Down,
    /// Tells some recipients "later".
    Greylists,
    /// Loses connections over messages, now and then after it has accepted one.
    Loses,
    /// Takes no long message.
    RefusesLong,
}

/// The mailer, and what it talks to.
#[derive(Default)]
pub struct Post {
    /// The spool directory.
    pub disk: BTreeMap<u64, Record>,
    pub disk_full: bool,
    pub server: Server,
    pub queue: Queue,
    intake: VecDeque<Submission>,
    taking: bool,
    sending: bool,
    rewriting: bool,
    not_before: Mono,
    failures: u32,
    lost: u32,
    /// Which incident's letters to whom were put off, by what this shell told the queue.
    put_off: BTreeSet<(String, String)>,
}

impl Post {
    /// The disk holds what it ought to.
    pub fn is_safe(&self) -> bool {
        !self.disk_full && self.queue.unsaved().is_empty()
    }

    /// Whether the incident's letters to somebody are put off.
    /// The recipient was told "later" over a letter of this incident: whoever was not comes first, also when it is due again.
    pub fn is_put_off(&self, incident: &str, to: &str) -> bool {
        self.put_off.contains(&(incident.to_owned(), to.to_owned()))
    }
}

fn place() -> Place {
    Place { host: "machine".to_owned(), zone: TimeZone::UTC, user: false }
}

impl Sim {
    /// The daemon is gone: what is in memory is gone with it.
    pub fn post_dies(&mut self) {
        let before = std::mem::take(&mut self.post);
        self.post = Post {
            disk: before.disk,
            disk_full: before.disk_full,
            server: before.server,
            queue: Queue::new(Limit::default()),
            ..Post::default()
        };
    }

    pub fn post_starts(&mut self, pending: Vec<NotificationId>) {
        self.post.queue = Queue::new(Limit::default());
        let found: Vec<(u64, Record)> = self.post.disk.iter().map(|(n, r)| (*n, r.clone())).collect();
        self.post.queue.load(found);
        self.submit(Submission::ReleaseAllExcept(pending));
    }

    pub fn submit(&mut self, submission: Submission) {
        self.post.intake.push_back(submission);
        self.take_next();
    }

    pub fn release(&mut self, id: &NotificationId) {
        self.rules_released([id.clone()]);
        self.post.queue.release(id);
        self.step(Duration::ZERO, Step::Wake);
    }

    fn step(&mut self, in_: Duration, step: Step) {
        self.later(in_, Coming::Post { life: self.life, step });
    }

    fn take_next(&mut self) {
        if self.post.taking || self.post.intake.is_empty() {
            return;
        }
        self.post.taking = true;
        // Evidence is looked for: milliseconds, and with a busy journal up to two seconds.
        let takes =
            if self.random.percent(10) { self.random.millis(20, 2000) } else { self.random.millis(1, 20) };
        self.step(takes, Step::Intake);
    }

    pub fn post_step(&mut self, step: Step) {
        match step {
            Step::Intake => self.take_in(),
            Step::Rewrite => {
                self.post.rewriting = false;
                for number in self.post.queue.unsaved() {
                    if self.sync(number) {
                        return;
                    }
                }
                self.step(Duration::ZERO, Step::Wake);
            }
            Step::Wake => self.deliver(),
            Step::Attempted { numbers, to } => self.attempted(&numbers, &to),
        }
    }

    fn take_in(&mut self) {
        self.post.taking = false;
        match self.post.intake.pop_front() {
            None => return,
            Some(Submission::ReleaseAllExcept(held)) => {
                let found = self.post.disk.values().map(|record| record.email.id.clone());
                let free: Vec<NotificationId> = found.filter(|id| !held.contains(id)).collect();
                self.rules_released(free);
                self.post.queue.release_inherited(|id| !held.contains(id));
                self.step(Duration::ZERO, Step::Wake);
            }
            Some(Submission::Notification(notification)) => match self.post.queue.find(&notification.id) {
                None => {
                    let email = compose::email(&notification, None, &place());
                    if self.insert(email) {
                        return;
                    }
                }
                Some(true) => self.say_spooled(notification.id),
                Some(false) => {}
            },
            Some(Submission::HostNotification(notification)) => {
                match self.post.queue.find(&notification.id) {
                    None => {
                        if self.insert(host_email(&notification)) {
                            return;
                        }
                    }
                    Some(true) => self.say_spooled(notification.id),
                    Some(false) => {}
                }
            }
        }
        self.take_next();
    }

    fn say_spooled(&mut self, id: NotificationId) {
        let latency = self.random.millis(0, 3);
        self.later(latency, Coming::Spooled { life: self.life, id });
    }

    /// `true`: the daemon was killed over it.
    fn insert(&mut self, email: Email) -> bool {
        let record = Record::new(email, self.wall());
        let number = self.post.queue.insert(record);
        let dead = self.sync(number);
        if !dead {
            self.step(Duration::ZERO, Step::Wake);
        }
        dead
    }

    /// Makes the letter's file match the queue. `true`: the daemon was killed over it.
    fn sync(&mut self, number: u64) -> bool {
        let Some(job) = self.post.queue.disk_job(number) else { return false };
        if self.post.disk_full && matches!(job, DiskJob::Write(..)) {
            self.post.queue.not_saved(number, "no space left on device".to_owned());
            if !self.post.rewriting {
                self.post.rewriting = true;
                self.step(REWRITE, Step::Rewrite);
            }
            return false;
        }
        let changes = match job {
            DiskJob::Write(record, changes) => {
                self.post.disk.insert(number, *record);
                Some(changes)
            }
            DiskJob::Remove(_) => {
                self.post.disk.remove(&number);
                None
            }
        };
        if changes.is_some() && self.dies_at(|at| at == Moment::Spooled) {
            return true;
        }
        let id = self.post.queue.record(number).map(|record| record.email.id.clone());
        let first = self.post.queue.saved(number, changes);
        if let Some(id) = id.filter(|_| first) {
            self.say_spooled(id);
        }
        false
    }

    /// Sends what is to be sent next, if nothing is under way.
    fn deliver(&mut self) {
        if self.post.sending {
            return;
        }
        let pick = if self.post.not_before > self.mono {
            Pick::Wait(self.post.not_before)
        } else {
            self.post.queue.pick(self.mono)
        };
        let (numbers, to) = match pick {
            Pick::Send(number, to) => (vec![number], to),
            Pick::Together(numbers, to) => (numbers, to),
            Pick::Wait(until) => {
                self.step(until.since(self.mono), Step::Wake);
                return;
            }
            Pick::Idle => return,
        };
        self.rules_sent(&numbers, &to);
        self.post.sending = true;
        let takes =
            if self.random.percent(5) { self.random.secs(1, 30) } else { self.random.millis(20, 400) };
        self.step(takes, Step::Attempted { numbers, to });
    }

    fn answer(&mut self, numbers: &[u64], to: &str) -> Result<(), Refusal> {
        match self.post.server {
            Server::Down => Err(Refusal::Server("connection refused".into())),
            _ if to == DEAD => Err(Refusal::Never("550 no such user".into())),
            Server::Greylists if self.random.percent(50) => Err(Refusal::Later("451 try again".into())),
            Server::Loses if self.random.percent(40) => Err(Refusal::Lost("connection reset".into())),
            Server::RefusesLong if numbers.len() > 3 => Err(Refusal::Message("552 too long".into())),
            _ => Ok(()),
        }
    }

    fn attempted(&mut self, numbers: &[u64], to: &str) {
        self.post.sending = false;
        if self.dies_at(|at| at == Moment::Sending) {
            return;
        }
        let answer = self.answer(numbers, to);
        self.note(|| format!("mail server: {} letters to {to}: {answer:?}", numbers.len()));
        match answer {
            Ok(()) => {
                (self.post.failures, self.post.lost) = (0, 0);
                let message_id = self.message_id(numbers, to);
                self.rules_accepted(numbers, to, &message_id, true);
                self.post.queue.mail_error = None;
                self.post.queue.rate_limit.accepted(to, self.mono, numbers.len());
                for (n, number) in numbers.iter().enumerate() {
                    if self.dies_at(|at| matches!(at, Moment::Accepted(most) if most <= n)) {
                        return;
                    }
                    if self.email_is_settled(*number, to) {
                        return;
                    }
                }
            }
            Err(Refusal::Never(_)) => {
                (self.post.failures, self.post.lost) = (0, 0);
                self.rules_dropped(numbers, to);
                for number in numbers {
                    if self.email_is_settled(*number, to) {
                        return;
                    }
                }
            }
            Err(Refusal::Later(_)) => {
                (self.post.failures, self.post.lost) = (0, 0);
                self.put_off(numbers, to, 1);
            }
            Err(Refusal::Message(_) | Refusal::Content(_)) => {
                (self.post.failures, self.post.lost) = (0, 0);
                self.post.queue.rate_limit.too_long(to, numbers.len());
                self.put_off(numbers, to, 1);
            }
            Err(Refusal::Lost(_)) => {
                if self.random.percent(30) {
                    // It was accepted, and nobody heard so.
                    let message_id = self.message_id(numbers, to);
                    self.rules_accepted(numbers, to, &message_id, false);
                }
                self.post.lost += 1;
                self.post.queue.rate_limit.too_long(to, numbers.len());
                self.put_off(numbers, to, 2);
                if self.post.lost >= LOST_MAX {
                    self.server_is_away();
                }
            }
            Err(Refusal::Server(_)) => self.server_is_away(),
        }
        self.deliver();
    }

    fn server_is_away(&mut self) {
        self.post.failures += 1;
        self.post.not_before = self.mono.after(BACKOFF.delay(self.post.failures));
    }

    fn message_id(&self, numbers: &[u64], to: &str) -> String {
        let emails: Vec<Email> = numbers
            .iter()
            .filter_map(|number| self.post.queue.record(*number))
            .map(|record| record.email.clone())
            .collect();
        match emails.as_slice() {
            [one] => one.message_id.clone(),
            many => digest::email(many, to, &place()).message_id,
        }
    }

    fn put_off(&mut self, numbers: &[u64], to: &str, steps: u32) {
        let mut incidents = vec![];
        for number in numbers {
            let incident = self.post.queue.record(*number).map(|record| record.email.id.incident.clone());
            if let Some(incident) = incident.filter(|incident| !incidents.contains(incident)) {
                self.post.queue.put_off(*number, to, self.mono, &BACKOFF, steps);
                self.post.put_off.insert((incident.to_string(), to.to_owned()));
                incidents.push(incident);
            }
        }
    }

    /// A recipient needs no more of a letter: onto the disk with it. `true`: the daemon was killed over it.
    fn email_is_settled(&mut self, number: u64, to: &str) -> bool {
        let Some(id) = self.post.queue.record(number).map(|record| record.email.id.clone()) else {
            return false;
        };
        let saved = self.post.queue.is_saved(number);
        let last = self.post.queue.settled(number, to);
        self.post.put_off.remove(&(id.incident.to_string(), to.to_owned()));
        if self.sync(number) {
            return true;
        }
        if last {
            if !saved {
                self.say_spooled(id.clone());
            }
            let latency = self.random.millis(0, 3);
            self.later(latency, Coming::Delivered { life: self.life, id });
        }
        false
    }
}

/// The words do not matter here, and the global recipients come first, as in the mailer.
fn host_email(notification: &HostNotification) -> Email {
    let mut to = vec![GLOBAL.to_owned()];
    to.extend(notification.to.iter().map(ToString::to_string).filter(|address| address != GLOBAL));
    let (incident, number) = (&notification.id.incident, notification.id.number);
    Email {
        id: notification.id.clone(),
        to,
        subject: format!("[{:?}] machine", notification.kind),
        message_id: format!("<{incident}.{number}@machine>"),
        thread: (number > 1).then(|| format!("<{incident}.1@machine>")),
        date: notification.at,
        role: Role::Other,
        check: None,
        unit: None,
        body: "Words.\n".to_owned(),
    }
}
