//! Mails about incidents: worded, kept safe, delivered at least once and in order.
//!
//! In: notifications from the engine's side and words about the daemon itself, through the [`Mailer`]'s handle. Out:
//! [`MailEvent`]s, and mail. Two tasks share one queue in memory, and the disk is made to match it: *intake* takes what
//! is submitted one by one (journal excerpt, wording, spool), *delivery* takes what is released to the server. Neither
//! can hold up the other, nor the caller.
//!
//! Who has been sent a few in a minute gets what follows as one mail (`rate_limit`, `digest`).
//!
//! It never decides what is told to whom and when, never forgets what it has called spooled, and never sends a
//! notification before the caller has released it.
//!
//! ```text
//!  submit ─► journal_excerpt ─► compose ─► spool ─► Spooled ─► (caller saves its state) ─► release ─► deliver ─► Delivered
//! ```

pub mod compose;
pub mod deliver;
pub mod digest;
pub mod journal_excerpt;
mod limited_stream;
pub mod queue;
pub mod rate_limit;
mod redacted;
mod shared;
pub mod spool;
mod storm;
mod tasks;
pub mod text;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::check::Backoff;
use crate::config::{Credentials, MailSettings};
use crate::notification::{HostNotification, Notification, NotificationId};
use crate::status::MailStatus;
use compose::Place;
use deliver::{Patience, SmtpConnector};
pub use queue::{Bounds, Recipients};
use rate_limit::Limit;
use shared::Shared;
use tasks::Submission;

/// How long the tasks are given to come to an end in good order.
const STOP_WITHIN: Duration = Duration::from_millis(900);

/// What the mailer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailEvent {
    /// The notification is safe: it may be forgotten elsewhere, and then released. Told again for each time it is
    /// submitted.
    Spooled(NotificationId),
    /// The server has accepted the notification for everybody who could get it.
    Delivered(NotificationId),
    /// An attempt has failed. It goes on by itself.
    Failed {
        /// One sentence.
        error: String,
        /// How long until the next attempt.
        next_try: Duration,
        /// How many mails wait.
        queued: usize,
    },
    /// The server will never accept the mail for this recipient; the others are not concerned.
    Dropped {
        /// The mail.
        id: NotificationId,
        /// The address.
        to: String,
        /// The server's words.
        error: String,
    },
    /// Too many mails waited: this one was removed. The next that reaches its recipients tells them.
    Removed(NotificationId),
    /// The server would take the notification for none of its recipients: nobody has it, and nobody will.
    Undeliverable(NotificationId),
    /// Something about the spool that an administrator should know, one sentence: a disk that refuses.
    Warning(String),
    /// A mail that an earlier life has left cannot be used; one sentence: why, and where it is.
    Unreadable(String),
}

/// What the mailer needs to know of the machine, and its patience.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The machine's name, for the subject, the Message-ID and EHLO.
    pub host: String,
    /// The zone that times are told in.
    pub zone: TimeZone,
    /// Where the service's credentials are.
    pub credentials: Credentials,
    /// Where journals are.
    pub journals: Vec<PathBuf>,
    /// The units are those of a user manager.
    pub user: bool,
    /// The time limit for reading the journal excerpt.
    pub journal_excerpt: Duration,
    /// How long to wait for the server.
    pub patience: Patience,
    /// From one attempt to the next.
    pub backoff: Backoff,
    /// How many mails a recipient gets one by one.
    pub limit: Limit,
    /// How many mails are kept.
    pub bounds: Bounds,
    /// From one attempt to write the spool to the next.
    pub rewrite: Duration,
    /// A disk that does not answer for so long keeps no mail waiting any longer.
    pub disk: Duration,
}

impl Surroundings {
    /// As found: the host's name, the local time zone, `$CREDENTIALS_DIRECTORY`, the journal where journald keeps it.
    #[must_use]
    pub fn of_this_process(user: bool) -> Self {
        Self {
            host: host_name(),
            zone: TimeZone::system(),
            credentials: Credentials::of_this_process(),
            journals: vec![PathBuf::from("/run/log/journal"), PathBuf::from("/var/log/journal")],
            user,
            journal_excerpt: Duration::from_secs(15),
            patience: Patience::default(),
            backoff: Backoff { initial: Duration::from_secs(5), max: Duration::from_secs(300) },
            limit: Limit::default(),
            bounds: Bounds::default(),
            rewrite: Duration::from_secs(5),
            disk: Duration::from_secs(60),
        }
    }

    fn place(&self) -> Place {
        Place { host: self.host.clone(), zone: self.zone.clone(), user: self.user }
    }

    fn connector(&self) -> SmtpConnector {
        SmtpConnector {
            host: self.host.clone(),
            credentials: self.credentials.clone(),
            patience: self.patience,
        }
    }
}

/// The handle of the mailer. Its calls return at once; dropping it ends the tasks as [`Mailer::stop`] does, unwaited.
pub struct Mailer {
    submissions: mpsc::UnboundedSender<Submission>,
    settings: watch::Sender<Option<MailSettings>>,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

impl Mailer {
    /// Starts the mailer in the current runtime. Emails that an earlier life has left in `state_dir` are held until
    /// [`Mailer::release_all_except`]. Without a state directory emails live in memory alone; without settings they
    /// wait.
    #[must_use]
    pub fn start(
        surroundings: Surroundings,
        state_dir: Option<PathBuf>,
        settings: Option<MailSettings>,
        events: mpsc::Sender<MailEvent>,
    ) -> Self {
        let (submissions, submitted) = mpsc::unbounded_channel();
        let (settings, settings_seen) = watch::channel(settings);
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::new(surroundings, state_dir.as_deref(), events));
        let tasks = [
            tokio::spawn(tasks::intake(
                Arc::clone(&shared),
                submitted,
                settings_seen.clone(),
                stopped.clone(),
            )),
            tokio::spawn(tasks::delivery(Arc::clone(&shared), settings_seen, stopped)),
        ];
        Self { submissions, settings, stop, shared, tasks }
    }

    /// Has a notification worded and written to the spool; [`MailEvent::Spooled`] says when that is done. A
    /// notification that is there already stays as it is. Notices are taken in the order in which they are submitted.
    pub fn submit(&self, notification: Notification) {
        // The receiver lives as long as its task; a task that has ended says so to whoever awaits it.
        let _ = self.submissions.send(Submission::Notification(Box::new(notification)));
    }

    /// The same for a notification about the machine, which goes to the global recipients besides its own.
    pub fn submit_host_notification(&self, notification: HostNotification) {
        let _ = self.submissions.send(Submission::HostNotification(Box::new(notification)));
    }

    /// Mails the global recipients about the daemon itself. It needs no release.
    pub fn submit_host(&self, subject: impl Into<String>, body: impl Into<String>) {
        let _ = self.submissions.send(Submission::Host { subject: subject.into(), body: body.into() });
    }

    /// The notification may be delivered: the caller will not submit it again.
    pub fn release(&self, id: &NotificationId) {
        self.shared.release(id);
    }

    /// Every email that an earlier life has left may be delivered, except those that the caller still holds as not yet
    /// spooled: they are to be submitted again and released one by one.
    pub fn release_all_except(&self, held: &[NotificationId]) {
        let _ = self.submissions.send(Submission::ReleaseAllExcept(held.to_vec()));
    }

    /// Other settings (or the same again) are in force: what waits goes to these recipients, and is tried at once.
    pub fn reconfigure(&self, settings: Option<MailSettings>, recipients: Recipients) {
        self.readdress(recipients);
        self.settings.send_replace(settings);
    }

    /// What waits, and what an earlier life has left, goes to these recipients.
    pub fn readdress(&self, recipients: Recipients) {
        self.shared.readdress(recipients);
        let _ = self.submissions.send(Submission::Readdressed);
    }

    /// How the queue is.
    #[must_use]
    pub fn status(&self) -> MailStatus {
        self.shared.status(self.settings.borrow().is_some())
    }

    /// Whether both tasks are alive. They end when told to and never else; a daemon without them should not go on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.tasks.iter().all(|task| !task.is_finished())
    }

    /// Sends a test mail to `to` (to the global recipients where empty) at once, past the spool. The answer is the
    /// server's words, or everything that is known about the failure.
    pub fn send_test(&self, to: Vec<String>) -> impl Future<Output = Result<String, String>> + Send + use<> {
        tasks::send_test(Arc::clone(&self.shared), self.settings.borrow().clone(), to)
    }

    /// Ends the mailer within a second. Whatever the server has not accepted stays in the spool.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let [mut intake, mut delivery] = self.tasks;
        let both = async {
            let _ = (&mut intake).await;
            let _ = (&mut delivery).await;
        };
        if tokio::time::timeout(STOP_WITHIN, both).await.is_err() {
            intake.abort();
            delivery.abort();
        }
    }
}

/// The kernel's word for the machine, or that of the file it was set from.
fn host_name() -> String {
    // Not from /proc: the unit's sandbox hides that part of it.
    let name = rustix::system::uname().nodename().to_string_lossy().trim().to_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
