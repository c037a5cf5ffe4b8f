//! The log: structured entries in the journal, or readable lines where stderr is not the journal.
//!
//! In: [`Change`]s of the core, events of the daemon (started, configuration, mail), and what other modules say by
//! `tracing`. Out: one journal entry each, with `MESSAGE_ID=` for `journalctl -x` and the fields `STEALTHCHECK_CHECK=`,
//! `STEALTHCHECK_UNIT=`, `STEALTHCHECK_INCIDENT=` to find them by. Ordinary probes are not logged.
//!
//! It never lets text from outside steer a terminal or a log, and never fails the daemon nor holds it up: entries that
//! journald does not take wait in memory, so many, and what is beyond is lost and counted.

mod background_writer;
mod entry;
mod hold;
pub mod ids;
mod text;

use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::{Dispatch, Level};
use tracing_journald::{Priority as Journald, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::engine::Change;
use crate::notification::NotificationId;
use crate::status;
use entry::{Entry, Priority};

/// `tracing` has no level for the journal's `notice`: events of this target have that priority.
const NOTICE: &str = "stealthcheck::notice";

/// Set once, by [`init`]: the units are those of a user manager.
static USER: OnceLock<bool> = OnceLock::new();

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Transitions and problems.
    #[default]
    Normal,
    /// Also why things are done.
    Debug,
    /// Everything, also of the libraries.
    Trace,
}

impl Verbosity {
    fn targets(self) -> Targets {
        use tracing::level_filters::LevelFilter;
        let (ours, theirs) = match self {
            Self::Normal => (LevelFilter::INFO, LevelFilter::WARN),
            Self::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
            Self::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
        };
        Targets::new().with_target("stealthcheck", ours).with_default(theirs)
    }
}

/// Sets up the log of this process: into the journal where stderr goes there, else onto stderr. `user`: the units are
/// those of a user manager.
///
/// # Errors
/// A sentence, where a log was set up before.
pub fn init(verbosity: Verbosity, user: bool) -> Result<(), String> {
    // A second call fails below.
    let _ = USER.set(user);
    let registry = tracing_subscriber::registry().with(verbosity.targets());
    let journald = if stderr_is_the_journal() { journald(verbosity).ok() } else { None };
    let done = match journald.and_then(|journald| background_writer::BackgroundWriter::start(journald).ok()) {
        Some(beside) => registry.with(beside).try_init(),
        None => registry.with(text::Lines::stderr()).try_init(),
    };
    done.map_err(|error| format!("cannot set up the log: {error}"))
}

/// The way to journald, with the journal's own priorities and names of fields.
fn journald(verbosity: Verbosity) -> std::io::Result<background_writer::Journald> {
    let writes = |info| -> std::io::Result<Dispatch> {
        let layer = tracing_journald::layer()?
            .with_field_prefix(None)
            .with_syslog_identifier("stealthcheck".to_owned())
            .with_priority_mappings(PriorityMappings {
                error: Journald::Error,
                warn: Journald::Warning,
                info,
                debug: Journald::Debug,
                trace: Journald::Debug,
            });
        Ok(Dispatch::new(tracing_subscriber::registry().with(verbosity.targets()).with(layer)))
    };
    Ok(background_writer::Journald::new(writes(Journald::Informational)?, writes(Journald::Notice)?))
}

/// Whether stderr is the stream that systemd has connected with the journal (systemd.exec(5), `$JOURNAL_STREAM`).
/// The variable alone may be inherited by a process whose stderr goes elsewhere.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr().as_fd()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// Writes a transition.
pub fn log_change(change: &Change) {
    if let Some(entry) = entry::of_change(change) {
        emit(&entry);
    }
}

/// The daemon guards `checks` checks, which `files` say.
pub fn log_started(checks: usize, files: &[String]) {
    let user = if USER.get() == Some(&true) { " --user" } else { "" };
    let advice = match checks {
        0 => format!("; nothing is monitored yet: add checks and run `systemctl{user} reload stealthcheck`"),
        _ => String::new(),
    };
    let version = env!("CARGO_PKG_VERSION");
    let message = format!("stealthcheck {version} monitors {}{advice}", from(checks, files));
    emit(&Entry {
        id: Some(ids::STARTED),
        checks: Some(checks.to_string()),
        ..Entry::new(Priority::Info, message)
    });
}

/// The daemon ends in good order.
pub fn log_stopping() {
    let message =
        "stealthcheck is stopping; its units are not monitored until it is started again".to_owned();
    emit(&Entry { id: Some(ids::STOPPING), ..Entry::new(Priority::Info, message) });
}

/// A configuration of `checks` checks is in force.
pub fn log_configuration_loaded(checks: usize, files: &[String]) {
    let message = format!("configuration loaded: {}", from(checks, files));
    emit(&Entry {
        id: Some(ids::CONFIGURATION_LOADED),
        checks: Some(checks.to_string()),
        ..Entry::new(Priority::Info, message)
    });
}

/// A new configuration is refused and the one in force stays; one line for each problem.
pub fn log_configuration_refused(problems: &[String]) {
    log_rejection(problems, status::REJECTED);
}

/// The configuration is not valid at the start, and the one that was accepted `age` ago is in force; one line for each
/// problem.
pub fn log_configuration_refused_at_start(problems: &[String], age: &str) {
    let what = format!("the configuration has errors; the last valid one, accepted {age} ago, is running");
    log_rejection(problems, &what);
}

fn log_rejection(problems: &[String], what: &str) {
    let message = format!("{what} ({})", count(problems.len(), "problem"));
    emit(&Entry {
        id: Some(ids::CONFIGURATION_REFUSED),
        reason: problems.first().cloned(),
        ..Entry::new(Priority::Err, message)
    });
    log_problems(problems);
}

/// Problems of a configuration, a line each.
pub fn log_problems(problems: &[String]) {
    /// The rest is a command away.
    const SHOWN: usize = 20;
    for problem in problems.iter().take(SHOWN) {
        emit(&Entry::new(Priority::Err, problem.clone()));
    }
    if problems.len() > SHOWN {
        let message = format!("and {} more; `stealthctl validate` shows all", problems.len() - SHOWN);
        emit(&Entry::new(Priority::Err, message));
    }
}

/// The mail server has accepted a notification.
pub fn log_mail_delivered(notification: &NotificationId) {
    let message = format!("mail {notification} was delivered");
    emit(&Entry { id: Some(ids::MAIL_DELIVERED), ..entry::of_mail(notification, Priority::Info, message) });
}

/// The mail server could not be reached or did not accept a mail; all of them stay in the spool.
pub fn log_mail_failed(error: &str, next_try: Duration, queued: usize) {
    let next = crate::time::human(next_try);
    let message = format!("{} queued, next delivery attempt in {next}: {error}", count(queued, "mail"));
    emit(&Entry {
        id: Some(ids::MAIL_FAILED),
        reason: Some(error.to_owned()),
        ..Entry::new(Priority::Warning, message)
    });
}

/// The mail server will never accept a mail for an address.
pub fn log_mail_dropped(notification: &NotificationId, to: &str, error: &str) {
    let message = format!("mail {notification} was rejected for {to} and is not sent there again: {error}");
    emit(&Entry { reason: Some(error.to_owned()), ..entry::of_mail(notification, Priority::Err, message) });
}

/// Too many mails waited.
pub fn log_mail_removed(notification: &NotificationId) {
    let message =
        format!("mail {notification} was removed from the queue: too many mails wait for the mail server");
    emit(&entry::of_mail(notification, Priority::Err, message));
}

/// The mail server has refused every recipient of a notification.
pub fn log_mail_undeliverable(notification: &NotificationId) {
    let message = format!("mail {notification} was not delivered: every recipient was rejected");
    emit(&entry::of_mail(notification, Priority::Err, message));
}

/// Something is not as it should be; the daemon goes on.
pub fn log_trouble(sentence: &str) {
    emit(&Entry::new(Priority::Warning, sentence.to_owned()));
}

/// A trouble is over.
pub fn log_relief(sentence: &str) {
    emit(&Entry::new(Priority::Notice, sentence.to_owned()));
}

/// The daemon cannot go on.
pub fn log_fatal(sentence: &str) {
    emit(&Entry::new(Priority::Err, sentence.to_owned()));
}

/// `5 checks, from /etc/stealthcheck/stealthcheck.yaml`
fn from(checks: usize, files: &[String]) -> String {
    let checks = count(checks, "check");
    if files.is_empty() { checks } else { format!("{checks}, from {}", files.join(", ")) }
}

/// `1 check`, `5 checks`
fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn clean(text: Option<&str>) -> Option<String> {
    text.map(text::sanitize)
}

/// Hands the entry to `tracing`. The field names are the journal's: tracing-journald passes upper case and `_` through,
/// and leaves out what is `None`.
fn emit(entry: &Entry) {
    let Entry { priority, id, message, check, unit, incident, reason, verb, result, until, checks } = entry;
    let (message, reason, result) =
        (text::sanitize(message), clean(reason.as_deref()), clean(result.as_deref()));
    // What journalctl --user-unit matches. (journalctl -u matches UNIT= of process 1 only, so that no user can write
    // into another unit's story; `journalctl UNIT=…` finds ours.)
    let user_unit = unit.as_deref().filter(|_| USER.get() == Some(&true));
    macro_rules! event {
        ($target:expr, $level:expr) => {
            tracing::event!(
                target: $target,
                $level,
                MESSAGE_ID = *id,
                STEALTHCHECK_CHECK = check.as_deref(),
                STEALTHCHECK_UNIT = unit.as_deref(),
                STEALTHCHECK_INCIDENT = incident.as_deref(),
                STEALTHCHECK_REASON = reason.as_deref(),
                STEALTHCHECK_VERB = verb.as_deref(),
                STEALTHCHECK_RESULT = result.as_deref(),
                STEALTHCHECK_UNTIL = until.as_deref(),
                STEALTHCHECK_CHECKS = checks.as_deref(),
                UNIT = unit.as_deref().filter(|_| user_unit.is_none()),
                USER_UNIT = user_unit,
                "{message}"
            )
        };
    }
    match priority {
        Priority::Err => event!("stealthcheck::journal", Level::ERROR),
        Priority::Warning => event!("stealthcheck::journal", Level::WARN),
        Priority::Notice => event!(NOTICE, Level::INFO),
        Priority::Info => event!("stealthcheck::journal", Level::INFO),
        Priority::Debug => event!("stealthcheck::journal", Level::DEBUG),
    }
}
