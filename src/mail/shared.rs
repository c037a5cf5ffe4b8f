//! What the mailer's handle and its tasks share: the queue, and the steps that an email takes.
//!
//! The queue in memory is the truth; [`Shared::sync`] makes an email's file match it, whoever asks, and is asked again
//! until it has worked. One file is written at a time, by a task of its own: a disk may hang. The queue's lock is never
//! held across a wait.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::message::Mailbox;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::compose;
use super::deliver::{Refusal, Session};
use super::digest;
use super::journal_excerpt::{Reader, Wanted};
use super::queue::{DiskJob, Queue, Recipients};
use super::redacted;
use super::spool::{Record, Spool};
use super::storm;
use super::{MailEvent, Surroundings};
use crate::config::MailSettings;
use crate::notification::{HostNotification, IncidentId, Notification, NotificationId};
use crate::status::MailStatus;
use crate::time::{Mono, Wall, human};

/// How many lines of its journal a unit's failure is shown with.
const JOURNAL_LINES: usize = 20;

/// A service's last lines and its end are not in the journal in the moment of its end; least of all on a busy machine.
const JOURNAL_SETTLES: Duration = Duration::from_secs(1);

/// What the handle and the tasks share.
pub struct Shared {
    surroundings: Surroundings,
    journal: Reader,
    spool: Option<Spool>,
    events: mpsc::Sender<MailEvent>,
    queue: Mutex<Queue>,
    servers_word: Mutex<ServersWord>,
    /// Those of the running configuration.
    recipients: Mutex<Option<Recipients>>,
    /// Held while a file is brought up to date, so that an older state is never written over a newer one.
    disk: tokio::sync::Mutex<()>,
    /// There is something new to deliver.
    wake: Notify,
    started: Instant,
}

/// What the mail server will never have: forgotten when the configuration is read anew, and in the next life.
#[derive(Debug, Default)]
struct ServersWord {
    /// Addresses, and why.
    addresses: BTreeMap<String, String>,
    /// Emails, by number and recipient, as they were first written.
    emails: BTreeSet<(u64, String)>,
    /// How many recipients of an email were refused.
    dropped: BTreeMap<u64, usize>,
}

impl Shared {
    pub fn new(
        surroundings: Surroundings,
        state_dir: Option<&Path>,
        events: mpsc::Sender<MailEvent>,
    ) -> Self {
        Self {
            journal: Reader::new(
                surroundings.journals.clone(),
                surroundings.user,
                surroundings.journal_excerpt,
            ),
            spool: state_dir.map(Spool::new),
            queue: Mutex::new(Queue::new(surroundings.limit)),
            servers_word: Mutex::default(),
            recipients: Mutex::default(),
            surroundings,
            events,
            disk: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            started: Instant::now(),
        }
    }

    pub fn release(&self, id: &NotificationId) {
        self.queue().release(id);
        self.wake();
    }

    pub fn status(&self, configured: bool) -> MailStatus {
        let queue = self.queue();
        let (queued, oldest) = queue.backlog();
        let (removed, removed_total) = queue.losses();
        let mut last_error = queue.disk_error.clone().or_else(|| queue.mail_error.clone());
        if !configured && queued > 0 {
            last_error.get_or_insert_with(|| "the configuration has no `mail:` section".to_owned());
        }
        drop(queue);
        let refused = self.servers_word().addresses.clone().into_iter().collect();
        MailStatus { configured, queued, oldest, last_error, refused, removed, removed_total }
    }

    /// The server will never have mail for this address; whether that is news.
    pub fn refuses(&self, to: &str, why: &str) -> bool {
        self.servers_word().addresses.insert(to.to_owned(), why.to_owned()).is_none()
    }

    /// The server has taken a mail for this address.
    pub fn takes(&self, to: &str) {
        self.servers_word().addresses.remove(to);
    }

    /// The addresses or the server may be others now.
    pub fn forget_refusals(&self) {
        self.servers_word().addresses.clear();
    }

    /// The server will never have this email as it is written: the next attempt has nothing in it that is not ours.
    pub fn write_plainly(&self, number: u64, to: &str) {
        self.servers_word().emails.insert((number, to.to_owned()));
    }

    fn servers_word(&self) -> MutexGuard<'_, ServersWord> {
        self.servers_word.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// There may be something new to deliver.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Mono {
        Mono(self.started.elapsed())
    }

    /// The tokio instant of a point on the mailer's clock.
    pub fn instant(&self, at: Mono) -> Instant {
        self.started + at.0
    }

    pub async fn tell(&self, event: MailEvent) {
        // Nobody listens any more: the daemon is on its way out.
        let _ = self.events.send(event).await;
    }

    /// Reads what an earlier life has left.
    pub async fn load(self: &Arc<Self>) {
        let Some(spool) = self.spool.clone() else { return };
        let found = tokio::task::spawn_blocking(move || spool.load()).await.unwrap_or_default();
        {
            let mut queue = self.queue();
            queue.load(found.records);
            if let Some(recipients) = &*self.recipients.lock().unwrap_or_else(PoisonError::into_inner) {
                queue.readdress(recipients);
            }
            queue.release_inherited(is_about_the_host);
        }
        self.keep_bounds().await;
        self.wake();
        for warning in found.warnings {
            self.tell(MailEvent::Unreadable(warning)).await;
        }
    }

    /// Makes the email's file match the queue. Returns when that is done or the disk has refused. A disk that hangs is
    /// waited for once: then the email is delivered without being on it, and the write goes on beside.
    pub async fn sync(self: &Arc<Self>, number: u64) {
        let patience = self.surroundings.disk;
        if !self.queue().is_disk_hung() {
            let write = tokio::spawn(write(Arc::clone(self), number));
            if tokio::time::timeout(patience, write).await.is_ok() {
                return;
            }
        }
        let error =
            format!("the mail spool cannot be written: the disk has not answered for {}", human(patience));
        let is_news = self.queue().disk_hangs(&error);
        if is_news {
            self.wake();
            let why = "mails go out without being stored first, and may be sent twice if the daemon ends before it answers";
            self.tell(MailEvent::Warning(format!("{error}: {why}"))).await;
        }
    }

    /// Takes in an email and writes it.
    async fn take_in(self: &Arc<Self>, email: compose::Email) {
        let number = self.queue().insert(Record::new(email, wall()));
        self.sync(number).await;
        self.keep_bounds().await;
        self.wake();
    }

    /// Removes what waits beyond the bound.
    async fn keep_bounds(self: &Arc<Self>) {
        loop {
            let bounds = self.surroundings.bounds;
            let excess = self.queue().excess(&bounds, wall());
            let Some(number) = excess else { return };
            let (id, pending) = {
                let mut queue = self.queue();
                (queue.record(number).map(|record| record.email.id.clone()), queue.lose(number))
            };
            // The numbers are to outlive a crash. (A disk that refuses is tried again later, once for all.)
            let unsaved = {
                let queue = self.queue();
                if queue.disk_error.is_none() { queue.unsaved() } else { Vec::new() }
            };
            for changed in unsaved {
                self.sync(changed).await;
            }
            for to in pending {
                *self.servers_word().dropped.entry(number).or_default() += 1;
                self.settle(number, &to).await;
            }
            if let Some(id) = id {
                self.tell(MailEvent::Removed(id)).await;
            }
        }
    }

    /// Other recipients are configured: what waits goes to them. The files follow.
    pub fn readdress(&self, recipients: Recipients) {
        self.queue().readdress(&recipients);
        *self.recipients.lock().unwrap_or_else(PoisonError::into_inner) = Some(recipients);
    }

    pub async fn take_in_notification(self: &Arc<Self>, notification: Notification) {
        // One that is in memory alone is told of when it is written.
        let known = self.queue().find(&notification.id);
        match known {
            None => self.word(notification).await,
            Some(true) => self.tell(MailEvent::Spooled(notification.id)).await,
            Some(false) => {}
        }
    }

    pub async fn take_in_host_notification(
        self: &Arc<Self>,
        settings: Option<MailSettings>,
        notification: HostNotification,
    ) {
        let known = self.queue().find(&notification.id);
        if known == Some(false) {
            return;
        }
        let mut to: Vec<String> = settings.map(|settings| settings.to).unwrap_or_default();
        to.extend(
            notification
                .to
                .iter()
                .map(ToString::to_string)
                .filter(|address| !to.contains(address))
                .collect::<Vec<_>>(),
        );
        if known == Some(true) || to.is_empty() {
            // With nobody to tell there is nothing to keep.
            self.tell(MailEvent::Spooled(notification.id)).await;
            return;
        }
        let email = storm::email(&notification, to, &self.surroundings.place());
        self.take_in(email).await;
    }

    async fn word(self: &Arc<Self>, notification: Notification) {
        // What is over needs no evidence.
        let journal = match &notification.unit {
            Some(unit) if !notification.kind.is_last() && !notification.kind.is_about_measuring() => {
                let invocation = notification.failed_invocation.clone();
                let wanted = Wanted { unit: unit.clone(), invocation, lines: JOURNAL_LINES };
                let age = u64::try_from(wall().0.saturating_sub(notification.at.0)).unwrap_or(0);
                tokio::time::sleep(JOURNAL_SETTLES.saturating_sub(Duration::from_millis(age))).await;
                Some(self.journal.read(wanted).await)
            }
            _ => None,
        };
        let email = compose::email(&notification, journal.as_ref(), &self.surroundings.place());
        self.take_in(email).await;
    }

    pub async fn take_in_host(self: &Arc<Self>, settings: Option<MailSettings>, subject: &str, body: &str) {
        // Without a `mail:` section there is nobody to tell.
        let Some(settings) = settings else { return };
        let at = wall();
        let id = |n| NotificationId { incident: IncidentId(format!("host!{}", at.0).into()), number: n };
        let number = (1..u32::MAX).find(|n| self.queue().find(&id(*n)).is_none()).unwrap_or(1);
        let place = self.surroundings.place();
        let id = id(number);
        let email = compose::host_email(id.clone(), settings.to, subject, body, at, &place);
        self.take_in(email).await;
        self.release(&id);
    }

    /// Tries one recipient of one email, or of several as one mail; `None` for emails that are gone.
    pub async fn attempt(
        &self,
        session: &mut Option<Session>,
        settings: &MailSettings,
        numbers: &[u64],
        to: &str,
    ) -> Option<Result<String, Refusal>> {
        let mut email = self.worded(numbers, to)?;
        let lost = self.queue().lost(numbers, to);
        if lost.mails > 0 {
            email.body.push_str(&compose::lost(&lost, &self.surroundings.zone));
        }
        let message = settings
            .from
            .parse::<Mailbox>()
            .map_err(|_| Refusal::Server(format!("mail.from: `{}` is no mail address", settings.from)))
            .and_then(|from| Ok((compose::message(&email, &from).map_err(Refusal::Later)?, from)));
        let (message, from) = match message {
            Ok(message) => message,
            Err(refusal) => return Some(Err(refusal)),
        };
        if session.is_none() {
            match self.surroundings.connector().connect(&settings.smtp).await {
                Ok(connected) => *session = Some(connected),
                Err(why) => return Some(Err(Refusal::Server(why))),
            }
        }
        let result = session.as_mut()?.send(&from.email, to, &message).await;
        if matches!(result, Err(Refusal::Server(_) | Refusal::Lost(_))) {
            *session = None;
        }
        let server =
            |why: String| format!("mail server {}:{}: {why}", settings.smtp.host, settings.smtp.port);
        Some(result.map_err(|refusal| match refusal {
            Refusal::Server(why) => Refusal::Server(server(why)),
            Refusal::Lost(why) => Refusal::Lost(server(why)),
            Refusal::Later(why) => Refusal::Later(format!("{to}: {}", server(why))),
            Refusal::Message(why) => Refusal::Message(format!("{to}: {}", server(why))),
            Refusal::Content(why) => Refusal::Content(format!("{to}: {}", server(why))),
            Refusal::Never(why) => Refusal::Never(server(why)),
        }))
    }

    fn worded(&self, numbers: &[u64], to: &str) -> Option<compose::Email> {
        let queue = self.queue();
        let records = numbers.iter().map(|number| queue.record(*number));
        let mut emails = records.map(|record| record.map(|record| record.email.clone()));
        if let [number] = numbers {
            let email = emails.next().flatten()?;
            let plainly = self.servers_word().emails.contains(&(*number, to.to_owned()));
            return Some(if plainly { redacted::email(&email, &self.surroundings.place()) } else { email });
        }
        let emails: Vec<compose::Email> = emails.collect::<Option<_>>()?;
        (!emails.is_empty()).then(|| digest::email(&emails, to, &self.surroundings.place()))
    }

    /// These emails are to be tried again later, by so many steps of the backoff; says how much later at the most.
    pub fn put_off(&self, numbers: &[u64], to: &str, steps: u32) -> Duration {
        let (now, backoff) = (self.now(), self.surroundings.backoff);
        let mut queue = self.queue();
        // Those of one incident are put off together, and once.
        let mut incidents: Vec<IncidentId> = Vec::new();
        let mut delay = Duration::ZERO;
        for number in numbers {
            let incident = queue.record(*number).map(|record| record.email.id.incident.clone());
            if let Some(incident) = incident.filter(|incident| !incidents.contains(incident)) {
                delay = delay.max(queue.put_off(*number, to, now, &backoff, steps));
                incidents.push(incident);
            }
        }
        delay
    }

    /// A recipient needs no more of an email: onto the disk with it, and tell when it was the last.
    pub async fn settle(self: &Arc<Self>, number: u64, to: &str) {
        let (last, id, everybody, saved) = {
            let mut queue = self.queue();
            let Some(email) = queue.record(number).map(|record| &record.email) else { return };
            let (id, everybody) = (email.id.clone(), email.to.iter().collect::<BTreeSet<_>>().len());
            let saved = queue.is_saved(number);
            (queue.settled(number, to), id, everybody, saved)
        };
        let nobody = {
            let mut word = self.servers_word();
            word.emails.remove(&(number, to.to_owned()));
            last && word.dropped.remove(&number).is_some_and(|dropped| dropped >= everybody)
        };
        self.sync(number).await;
        if last && !is_about_the_host(&id) {
            // An email that never got onto the disk is as safe now as the server is.
            if !saved {
                self.tell(MailEvent::Spooled(id.clone())).await;
            }
            self.tell(if nobody { MailEvent::Undeliverable(id) } else { MailEvent::Delivered(id) }).await;
        }
    }

    /// A recipient will never get an email.
    pub async fn drop_recipient(self: &Arc<Self>, number: u64, to: &str, error: String) {
        let id = self.queue().record(number).map(|record| record.email.id.clone());
        if let Some(id) = id {
            *self.servers_word().dropped.entry(number).or_default() += 1;
            self.tell(MailEvent::Dropped { id, to: to.to_owned(), error }).await;
        }
        self.settle(number, to).await;
    }
}

/// Makes the email's file match the queue. Says so where the email is safe for the first time, and where it could not be
/// made so.
async fn write(shared: Arc<Shared>, number: u64) {
    let disk = shared.disk.lock().await;
    let Some(job) = shared.queue().disk_job(number) else { return };
    let changes = if let DiskJob::Write(_, changes) = &job { Some(*changes) } else { None };
    let result = match shared.spool.clone() {
        None => Ok(()),
        Some(spool) => {
            let write = move || match job {
                DiskJob::Write(record, _) => spool.write(number, &record),
                DiskJob::Remove(id) => spool.remove(number, &id),
            };
            tokio::task::spawn_blocking(write).await.unwrap_or_else(|e| Err(std::io::Error::other(e)))
        }
    };
    let event = {
        let mut queue = shared.queue();
        let id = queue.record(number).map(|record| record.email.id.clone());
        match result {
            Ok(()) => {
                let first = queue.saved(number, changes);
                id.filter(|id| first && !is_about_the_host(id)).map(MailEvent::Spooled)
            }
            Err(e) => {
                let error = format!("the mail spool cannot be written: {e}");
                let known = queue.disk_error.as_ref() == Some(&error);
                queue.not_saved(number, error.clone());
                (!known).then_some(MailEvent::Warning(error))
            }
        }
    };
    drop(disk);
    if let Some(event) = event {
        shared.tell(event).await;
    }
}

/// Emails about the daemon itself are no notifications: nobody releases them, nobody hears of them.
fn is_about_the_host(id: &NotificationId) -> bool {
    id.incident.0.starts_with("host!")
}

/// The wall clock.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
