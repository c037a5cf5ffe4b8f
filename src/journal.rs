//! The journal: every transition is one structured entry, with a sentence for people and fields for machines.
//!
//! Under systemd entries go to journald (`STEALTHCHECK_CHECK=`, `STEALTHCHECK_UNIT=`, `STEALTHCHECK_INCIDENT=`,
//! `MESSAGE_ID=`; packaging/stealthcheck.catalog explains them to `journalctl -x`). On a terminal the sentences alone.
//! An ordinary probe is never logged. Nothing here decides anything.

mod sentence;

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::engine::{Change, What};
use crate::notice::NoticeId;
use crate::time::human;
use crate::verdict::Health;

/// MESSAGE_IDs: what kind of entry it is. The same as in packaging/stealthcheck.catalog.
pub mod id {
    /// A check went down: an incident opened.
    pub const DOWN: &str = "37b1109219714d0397f2fe951e243f4f";
    /// An incident closed.
    pub const RECOVERED: &str = "1dd7ecd3fdc74a9d96de9210f221a0a4";
    /// A recovery job was asked for.
    pub const RECOVERY_ASKED: &str = "be2aa119f1c34b8484ef602264e1d276";
    /// A recovery job ended.
    pub const RECOVERY_ENDED: &str = "7ed29b6c2f25424395b1a1680245c8f7";
    /// A recovery is due and is not attempted.
    pub const HELD_BACK: &str = "b9e3101d0e314afaa9e678c0ce2da7b8";
    /// A person is needed.
    pub const NEEDS_YOU: &str = "c9073225b87a401d9966c3a53a778bee";
    /// A configuration is in force.
    pub const CONFIGURED: &str = "30393869d97d4229a3497ea0c2f2f3ff";
    /// A configuration was refused.
    pub const REFUSED: &str = "a3bbc32dcf334a8babb662d95b1bbafb";
    /// The mail server accepted a mail.
    pub const DELIVERED: &str = "a1ea01f4dbb948999b37ebe602effde7";
    /// A mail could not be delivered yet.
    pub const UNDELIVERED: &str = "29d6bf57c8144b828f5753a185f4afa0";
    /// systemd does not know a unit that the configuration names.
    pub const UNKNOWN_UNIT: &str = "070d571c05814305a7cac362118fbde0";
    /// A check is paused.
    pub const PAUSED: &str = "e9adcf6005934d09a7301a083e6ecc46";
    /// A pause has ended.
    pub const RESUMED: &str = "2045df8760c64023b874e46571276e71";
    /// The daemon started.
    pub const STARTED: &str = "79988e9ffb774770850198662f13db6a";
    /// The daemon stops.
    pub const STOPPING: &str = "d6475b9b598e4af79da358bb610a646f";
}

/// The fields of an entry besides its sentence.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    message_id: Option<&'a str>,
    check: Option<&'a str>,
    unit: Option<&'a str>,
    incident: Option<&'a str>,
    reason: Option<&'a str>,
    verb: Option<&'a str>,
    result: Option<&'a str>,
    until: Option<&'a str>,
    checks: Option<u64>,
}

/// Sets up logging for this process: to journald where stderr goes there, readable lines on stderr elsewhere.
pub fn init() {
    let registry = tracing_subscriber::registry();
    if stderr_is_the_journal()
        && let Ok(layer) = tracing_journald::layer()
    {
        let layer = layer.with_field_prefix(None).with_syslog_identifier("stealthcheck".to_owned());
        registry.with(only_ours()).with(layer).init();
        return;
    }
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // The fields repeat what the sentence says; a reader at a terminal wants the sentence.
    let sentence = debug_fn(
        |writer: &mut Writer<'_>, field, value| {
            if field.name() == "message" { write!(writer, "{value:?}") } else { Ok(()) }
        },
    );
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .without_time()
        .fmt_fields(sentence);
    registry.with(only_ours()).with(layer).init();
}

/// What the libraries have to say is for their own developers.
fn only_ours() -> tracing_subscriber::filter::Targets {
    tracing_subscriber::filter::Targets::new().with_target("stealthcheck", Level::INFO)
}

/// Whether stderr is a stream to journald: `$JOURNAL_STREAM` names its device and inode (systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr().as_fd()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// Logs a transition.
pub fn log_change(change: &Change) {
    let Some(entry) = sentence::of(change) else { return };
    let mut fields = Fields {
        message_id: entry.message_id,
        check: change.check.as_ref().map(|check| check.as_str()),
        unit: change.unit.as_ref().map(|unit| unit.as_str()),
        incident: change.incident.as_ref().map(|incident| &*incident.0),
        ..Fields::default()
    };
    let (verb, result, until);
    match &change.what {
        What::IncidentOpened { cause: reason }
        | What::RecoveryHeldBack { why: reason }
        | What::NeedsYou { why: reason } => {
            fields.reason = Some(reason);
        }
        What::RecoveryAsked { rung, .. } | What::RecoveryEnded { rung, .. } => {
            verb = rung.describe();
            fields.verb = Some(&verb);
            if let What::RecoveryEnded { result: ended, .. } = &change.what {
                result = ended.to_string();
                fields.result = Some(&result);
            }
        }
        What::Health { to: Health::Paused { until: end }, .. } => {
            until = sentence::local(*end);
            fields.until = Some(&until);
        }
        _ => {}
    }
    write(entry.level, fields, &entry.sentence);
}

/// The daemon guards from now on.
pub fn started(checks: usize, files: &[String]) {
    let fields = Fields { message_id: Some(id::STARTED), checks: Some(checks as u64), ..Fields::default() };
    let version = env!("CARGO_PKG_VERSION");
    let files = if files.is_empty() { "no file".to_owned() } else { files.join(", ") };
    let advice = if checks == 0 {
        ". Nothing is guarded yet: write checks into the file (man stealthcheck.yaml) and run `systemctl reload stealthcheck`"
    } else {
        ""
    };
    let sentence =
        format!("stealthcheck {version} guards {} from {files}{advice}", sentence::count(checks, "check"));
    write(Level::INFO, fields, &sentence);
}

/// The daemon ends in good order.
pub fn stopping() {
    let fields = Fields { message_id: Some(id::STOPPING), ..Fields::default() };
    write(Level::INFO, fields, "stealthcheck stops; units are no longer guarded");
}

/// A new configuration is in force.
pub fn configuration_loaded(checks: usize, files: &[String], warnings: &[String]) {
    let fields =
        Fields { message_id: Some(id::CONFIGURED), checks: Some(checks as u64), ..Fields::default() };
    let sentence =
        format!("configuration loaded: {} from {}", sentence::count(checks, "check"), files.join(", "));
    write(Level::INFO, fields, &sentence);
    configuration_warnings(warnings);
}

/// What is allowed in a configuration but probably not meant.
pub fn configuration_warnings(warnings: &[String]) {
    for warning in warnings {
        write(Level::WARN, Fields::default(), warning);
    }
}

/// A new configuration was refused; the one in force stays.
pub fn configuration_refused(problems: &[String]) {
    let fields = Fields { message_id: Some(id::REFUSED), ..Fields::default() };
    let count = sentence::count(problems.len(), "problem");
    let sentence = format!("the new configuration is refused ({count}); the one in force stays");
    write(Level::ERROR, fields, &sentence);
    for problem in problems {
        write(Level::ERROR, Fields::default(), problem);
    }
}

/// The mail server has accepted a notice.
pub fn mail_delivered(notice: &NoticeId) {
    let check = notice.incident.0.rsplit_once('-').map_or("", |(check, _)| check);
    let fields = Fields {
        message_id: Some(id::DELIVERED),
        check: Some(check),
        incident: Some(&notice.incident.0),
        ..Fields::default()
    };
    write(Level::INFO, fields, &format!("mail {notice} accepted by the mail server"));
}

/// A delivery failed and will be tried again.
pub fn mail_failed(error: &str, next_try: Duration, queued: usize) {
    let fields = Fields {
        message_id: Some(id::UNDELIVERED),
        check: Some("-"),
        reason: Some(error),
        ..Fields::default()
    };
    let mails = sentence::count(queued, "mail");
    let sentence = format!("{mails} could not be delivered, next try in {}: {error}", human(next_try));
    write(Level::WARN, fields, &sentence);
}

/// The server will never accept a mail for this address.
pub fn mail_dropped(notice: &NoticeId, to: &str, error: &str) {
    let fields = Fields { incident: Some(&notice.incident.0), reason: Some(error), ..Fields::default() };
    write(
        Level::ERROR,
        fields,
        &format!("mail {notice} is refused for {to} and will not be sent to that address: {error}"),
    );
}

/// Something is wrong with the daemon's surroundings; it goes on.
pub fn trouble(sentence: &str) {
    write(Level::WARN, Fields::default(), sentence);
}

/// A trouble is over.
pub fn back(sentence: &str) {
    write(Level::INFO, Fields::default(), sentence);
}

/// The daemon cannot go on; the lines say why.
pub fn fatal(lines: &str) {
    for line in lines.lines() {
        write(Level::ERROR, Fields::default(), line);
    }
}

/// Writes one entry. tracing wants level and field names at compile time, hence the macro.
fn write(level: Level, fields: Fields<'_>, sentence: &str) {
    macro_rules! at {
        ($level:expr) => {
            tracing::event!(
                target: "stealthcheck",
                $level,
                MESSAGE_ID = fields.message_id,
                STEALTHCHECK_CHECK = fields.check,
                STEALTHCHECK_UNIT = fields.unit,
                STEALTHCHECK_INCIDENT = fields.incident,
                STEALTHCHECK_REASON = fields.reason,
                STEALTHCHECK_VERB = fields.verb,
                STEALTHCHECK_RESULT = fields.result,
                STEALTHCHECK_UNTIL = fields.until,
                STEALTHCHECK_CHECKS = fields.checks,
                "{sentence}"
            )
        };
    }
    if level == Level::ERROR {
        at!(Level::ERROR);
    } else if level == Level::WARN {
        at!(Level::WARN);
    } else if level == Level::INFO {
        at!(Level::INFO);
    } else {
        at!(Level::DEBUG);
    }
}
