//! Words mails: a notification and what was found about it become an email, an email becomes the bytes of a message.
//!
//! Pure: values in, values out; the host's name and the time zone are handed in. Everything that came from outside
//! (probes, journals, configuration) passes [`text`] on its way, so that no email has a header or a control character
//! that was not put there by this file. It decides nothing: neither who is told nor when.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message};
use serde::{Deserialize, Serialize};

use super::queue::Lost;
use super::text;
use crate::check::CheckName;
use crate::notification::{Attempt, Dependent, IncidentId, Notification, NotificationId, NotificationKind};
use crate::time::{Wall, human};
use crate::unit::UnitName;

/// The longest body in bytes. Encoded it is at most a third longer, so that a whole message stays under 64 KiB.
pub(super) const BODY_MAX: usize = 40 * 1024;

/// The most lines of a runbook that are shown.
const RUNBOOK_LINES: usize = 100;

/// The last second that a Date header can name (9999-12-31T23:59:59Z).
const DATE_MAX: u64 = 253_402_300_799;

/// Where and for whom an email is worded.
#[derive(Clone, Debug)]
pub struct Place {
    /// The machine's name.
    pub host: String,
    /// The zone that times are told in.
    pub zone: TimeZone,
    /// The daemon runs in a user manager: commands need `--user`.
    pub user: bool,
}

/// A mail, worded. Who still has to get it is the spool's matter; the sender is that of the configuration in force when
/// it is delivered, so that a wrong one can be put right while mails wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The notification that it tells; the incident of an email about the daemon itself begins with `host!`, that of a
    /// digest (which is never in the spool) with `digest!`.
    pub id: NotificationId,
    /// Every recipient.
    pub to: Vec<String>,
    /// One line.
    pub subject: String,
    /// `<INCIDENT.NUMBER@HOST>`.
    pub message_id: String,
    /// The Message-ID of the thread's first email; `None` in that email.
    pub thread: Option<String>,
    /// When the event was.
    pub date: Wall,
    /// What it is in its thread.
    pub role: Role,
    /// The check it is about.
    pub check: Option<CheckName>,
    /// The unit it is about.
    pub unit: Option<UnitName>,
    /// Lines that end with `\n`.
    pub body: String,
}

/// What an email is in its thread; it says which may go first where too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The beginning: down, flapping, unknown, a storm.
    First,
    /// It repeats what was said before.
    Reminder,
    /// The end: recovered, known again, no longer monitored, the storm is over.
    Last,
    /// Anything else.
    Other,
}

impl From<NotificationKind> for Role {
    fn from(kind: NotificationKind) -> Self {
        match kind {
            NotificationKind::Down | NotificationKind::Flapping | NotificationKind::Unknown => Self::First,
            NotificationKind::StillDown | NotificationKind::StillUnknown => Self::Reminder,
            NotificationKind::ActionRequired => Self::Other,
            _ if kind.is_last() => Self::Last,
            _ => Self::Other,
        }
    }
}

/// The paragraph that tells a recipient which emails went.
pub(super) fn lost(lost: &Lost, zone: &TimeZone) -> String {
    let mails =
        if lost.mails == 1 { "1 earlier mail".to_owned() } else { format!("{} earlier mails", lost.mails) };
    let (first, last) = (when(lost.first, zone), when(lost.last, zone));
    format!(
        "\nNOT SENT\n{mails} to you ({} of them reminders) from {first}\nto {last} were removed, because too many mails waited for the \
         mail server.\n`stealthctl status` shows how the checks are now.\n",
        lost.reminders
    )
}

/// Words a notification. `journal` is the unit's latest lines, or why there are none; `None` where none were looked
/// for.
#[must_use]
pub fn email(
    notification: &Notification,
    journal: Option<&Result<Vec<String>, String>>,
    place: &Place,
) -> Email {
    let root = message_id(&notification.id.incident, 1, &place.host);
    let host = text::line(&place.host, 80);
    // Gmail threads by References *and* subject, but takes no account of a tag in brackets: so the state stands there,
    // first, and the rest is the same in every email of the incident.
    let tag = match notification.kind {
        NotificationKind::Down => "DOWN",
        NotificationKind::ActionRequired => "ACTION REQUIRED",
        NotificationKind::StillDown => "STILL DOWN",
        NotificationKind::Recovered => "RECOVERED",
        NotificationKind::Unknown => "UNKNOWN",
        NotificationKind::StillUnknown => "STILL UNKNOWN",
        NotificationKind::KnownAgain => "KNOWN AGAIN",
        NotificationKind::Flapping => "FLAPPING",
        NotificationKind::NotMonitored => "NO LONGER MONITORED",
    };
    Email {
        id: notification.id.clone(),
        to: notification.to.iter().map(ToString::to_string).collect(),
        subject: format!("[{tag}] {} on {host}", notification.check),
        message_id: message_id(&notification.id.incident, notification.id.number, &place.host),
        thread: (notification.id.number > 1).then_some(root),
        date: notification.at,
        role: notification.kind.into(),
        check: Some(notification.check.clone()),
        unit: notification.unit.clone(),
        body: body(notification, journal, place, &host),
    }
}

/// Words an email about the daemon itself, such as a configuration that was refused.
#[must_use]
pub fn host_email(
    id: NotificationId,
    to: Vec<String>,
    subject: &str,
    body: &str,
    at: Wall,
    place: &Place,
) -> Email {
    let host = text::line(&place.host, 80);
    let mut lines = text::block(body, 500);
    lines.push(String::new());
    lines.push(format!("From stealthcheck on {host}, {}.", when(at, &place.zone)));
    Email {
        message_id: message_id(&id.incident, id.number, &place.host),
        to,
        subject: format!("[stealthcheck] {host}: {}", text::line(subject, 150)),
        thread: None,
        date: at,
        role: Role::Other,
        check: None,
        unit: None,
        body: joined(&lines, BODY_MAX),
        id,
    }
}

/// Subject and body of the email that tells the others of an address which the server refuses.
#[must_use]
pub fn unreachable(to: &str, why: &str) -> (String, String) {
    let to = text::line(to, 100);
    let body = format!(
        "The mail server rejects mail for {to}:\n{why}\n\nThis recipient receives no notifications. Correct the address \
         in the configuration and run `stealthctl reload`; test it with `stealthctl test-mail {to}`."
    );
    (format!("mail to {to} is rejected"), body)
}

/// Words the mail of `stealthctl test-mail`.
#[must_use]
pub fn test_email(to: Vec<String>, at: Wall, place: &Place) -> Email {
    let id = NotificationId { incident: IncidentId(format!("test!{}", at.0).into()), number: 1 };
    let body = "This is a test mail, requested with `stealthctl test-mail` on this machine.\n\
                Notifications about incidents arrive the same way.";
    host_email(id, to, "test mail", body, at, place)
}

/// The email as an RFC 5322 message from `from`, in ASCII.
///
/// # Errors
/// A clause that names the address that cannot be one.
pub fn message(email: &Email, from: &Mailbox) -> Result<Vec<u8>, String> {
    let mut builder = Message::builder()
        .date(system_time(email.date))
        .from(from.clone())
        .subject(email.subject.clone())
        .message_id(Some(email.message_id.clone()))
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .raw_header(header("Auto-Submitted", "auto-generated"));
    for address in &email.to {
        // One that cannot be an address, or that SMTP without extensions cannot carry, is left out; the configuration
        // lets none through, and delivery to it is refused where it is its turn.
        if let Ok(mailbox) = address.parse::<Mailbox>()
            && mailbox.email.to_string().is_ascii()
        {
            builder = builder.to(mailbox);
        }
    }
    if let Some(root) = &email.thread {
        builder = builder.in_reply_to(root.clone()).references(root.clone());
    }
    if let Some(check) = &email.check {
        builder = builder.raw_header(header("X-Stealthcheck-Check", check.as_str()));
    }
    // Names with a `!` are no incidents.
    if !email.id.incident.0.contains('!') {
        builder = builder.raw_header(header("X-Stealthcheck-Incident", &text::atom(&email.id.incident.0)));
    }
    if let Some(unit) = &email.unit {
        builder = builder.raw_header(header("X-Stealthcheck-Unit", unit.as_str()));
    }
    let built = builder.body(email.body.clone()).map_err(|e| format!("the mail cannot be built: {e}"))?;
    Ok(built.formatted())
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// The same notification has the same id in every life of the daemon.
pub(super) fn message_id(incident: &IncidentId, number: u32, host: &str) -> String {
    format!("<{}.{number}@{}>", text::atom(&incident.0), text::domain(host))
}

/// A Date header cannot be before 1970 or after 9999; a clock that is so wrong must not stop the mail.
fn system_time(at: Wall) -> SystemTime {
    let secs = u64::try_from(at.0.div_euclid(1000)).unwrap_or(0).min(DATE_MAX);
    SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
}

pub(super) fn zoned(at: Wall, zone: &TimeZone) -> Option<Zoned> {
    Timestamp::from_millisecond(at.0).ok().map(|stamp| stamp.to_zoned(zone.clone()))
}

/// A moment for people: `Sun 2026-11-22 10:14:05 UTC`, as systemctl writes it.
pub(super) fn when(at: Wall, zone: &TimeZone) -> String {
    zoned(at, zone)
        .map_or_else(|| "an unknown time".to_owned(), |z| z.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string())
}

fn body(
    notification: &Notification,
    journal: Option<&Result<Vec<String>, String>>,
    place: &Place,
    host: &str,
) -> String {
    let mut lines = opening(notification, place, host);
    let section = |lines: &mut Vec<String>, title: &str| {
        lines.push(String::new());
        lines.push(title.to_owned());
    };

    if !notification.kind.is_about_measuring() {
        section(&mut lines, "RECOVERY ATTEMPTS");
        lines.extend(attempts(notification, place));
    }
    if !notification.next.is_empty() {
        section(&mut lines, "NEXT");
        lines.push(text::line(&notification.next, text::LINE_MAX));
    }
    if let Some(unit) = &notification.unit {
        section(&mut lines, "UNIT");
        lines.push(unit.to_string());
        if let Some(state) = &notification.state {
            lines.push(text::line(&state.describe(), text::LINE_MAX));
            if !notification.kind.is_last()
                && let Some(exit) = state.describe_exit()
            {
                lines.push(text::line(&exit, text::LINE_MAX));
            }
        }
    }
    lines.extend(dependents(notification));
    // What is over needs no runbook.
    if let Some(runbook) = notification.runbook.as_ref().filter(|_| !notification.kind.is_last()) {
        section(&mut lines, "RUNBOOK");
        lines.extend(text::block(runbook, RUNBOOK_LINES));
    }
    section(&mut lines, "COMMANDS");
    lines.extend(commands(notification, place));

    let mut out = joined(&lines, BODY_MAX / 2);
    if let (Some(journal), Some(unit)) = (journal, &notification.unit) {
        out.push_str(&shown(journal, unit, BODY_MAX.saturating_sub(out.len())));
    }
    out
}

/// What goes down with the unit: nobody is told of these by mails of their own.
fn dependents(notification: &Notification) -> Vec<String> {
    /// The rest is a command away.
    const NAMED: usize = 20;
    if notification.dependents.is_empty() {
        return Vec::new();
    }
    let over = notification.kind == NotificationKind::Recovered;
    let mut lines = vec![String::new(), "AFFECTED UNITS".to_owned()];
    for Dependent { check, unit, well } in notification.dependents.iter().take(NAMED) {
        let how = match (over, well) {
            (true, true) => "passing",
            (true, false) => "not passing yet",
            (false, true) => "passing so far",
            (false, false) => "waits for it",
        };
        lines.push(format!("{check} ({unit}): {how}"));
    }
    if let Some(more) = notification.dependents.len().checked_sub(NAMED).filter(|more| *more > 0) {
        lines.push(format!("… {more} more"));
    }
    lines
}

/// What failed, since when: the lines that a phone shows.
fn opening(notification: &Notification, place: &Place, host: &str) -> Vec<String> {
    let lasted = human(notification.at.since(notification.since));
    let check = &notification.check;
    let first = match notification.kind {
        NotificationKind::Down => format!("{check} on {host} is down."),
        NotificationKind::ActionRequired => {
            format!("{check} on {host} requires action. It has been down for {lasted}.")
        }
        NotificationKind::StillDown => format!("{check} on {host} is still down, for {lasted} now."),
        NotificationKind::Recovered => format!("{check} on {host} has recovered after {lasted}."),
        NotificationKind::Unknown => format!("The state of {check} on {host} has been unknown for {lasted}."),
        NotificationKind::StillUnknown => {
            format!("The state of {check} on {host} is still unknown, for {lasted} now.")
        }
        NotificationKind::KnownAgain => {
            format!("The state of {check} on {host} is known again, after {lasted}.")
        }
        NotificationKind::Flapping => format!("{check} on {host} is flapping."),
        NotificationKind::NotMonitored => {
            format!("{check} on {host} is no longer monitored. It had been down for {lasted}.")
        }
    };
    let cause = text::line(&notification.cause, text::LINE_MAX);
    let over = notification.kind.is_last();
    let mut lines = vec![first, if over { format!("It was: {cause}") } else { cause }];
    if notification.kind.is_about_measuring() && !over {
        lines.push("The probe failed on this machine. It says nothing about the target.".to_owned());
    }
    lines.push(String::new());
    let from = match (over, notification.kind.is_about_measuring()) {
        (true, false) => "Down from",
        (true, true) => "Unknown from",
        (false, _) => "Since",
    };
    lines.push(format!("{from} {}", when(notification.since, &place.zone)));
    if over {
        lines.push(format!("until {}", when(notification.at, &place.zone)));
    }
    lines.push(format!("Probe: {}", text::line(&notification.probe, text::LINE_MAX)));
    lines
}

fn attempts(notification: &Notification, place: &Place) -> Vec<String> {
    if notification.attempts.is_empty() && notification.attempts_total == 0 {
        return vec![match notification.kind {
            kind if kind.is_last() => "None: it recovered without one.".to_owned(),
            _ => "None yet.".to_owned(),
        }];
    }
    let mut lines = Vec::new();
    let mut told = 0;
    for attempt in &notification.attempts {
        if attempt.number > told + 1 {
            lines.push(format!("… {} more …", attempt.number - told - 1));
        }
        told = told.max(attempt.number);
        lines.push(attempt_line(attempt, place));
    }
    if notification.attempts_total > told {
        lines.push(format!("… {} more", notification.attempts_total - told));
    }
    lines
}

/// `10:14:06 restart: done, ineffective: the port is closed`.
fn attempt_line(attempt: &Attempt, place: &Place) -> String {
    let clock = zoned(attempt.requested, &place.zone)
        .map_or_else(|| "?".to_owned(), |at| at.strftime("%H:%M:%S").to_string());
    text::line(&format!("{clock} {}: {}", attempt.step.describe(), attempt.progress()), text::LINE_MAX)
}

/// The two commands, ready to be pasted.
fn commands(notification: &Notification, place: &Place) -> Vec<String> {
    let user = if place.user { " --user" } else { "" };
    let mut lines = vec![format!("stealthctl{user} status {}", notification.check)];
    if let Some(unit) = &notification.unit {
        // Unit names may hold `\x2d`, which a shell would eat.
        let unit = if unit.as_str().contains('\\') { format!("'{unit}'") } else { unit.to_string() };
        let since = zoned(notification.since.before(Duration::from_secs(300)), &place.zone)
            .map_or_else(String::new, |at| at.strftime(" --since '%Y-%m-%d %H:%M:%S'").to_string());
        lines.push(format!("journalctl{user} -u {unit}{since}"));
    }
    lines
}

/// The journal at the email's end, at most `room` bytes: the oldest lines give way.
fn shown(journal: &Result<Vec<String>, String>, unit: &UnitName, room: usize) -> String {
    let lines: Vec<String> = match journal {
        Ok(lines) if lines.is_empty() => vec!["(no entries)".to_owned()],
        Ok(lines) => lines.iter().map(|line| text::line(line, text::LINE_MAX)).collect(),
        Err(why) => vec![format!("(not shown: {})", text::line(why, text::LINE_MAX))],
    };
    let head = format!("\nJOURNAL OF {unit}\n");
    let mut room = room.saturating_sub(head.len());
    let mut first = lines.len();
    for line in lines.iter().rev() {
        let Some(left) = room.checked_sub(line.len() + 1) else { break };
        room = left;
        first -= 1;
    }
    lines[first..].iter().fold(head, |out, line| out + line + "\n")
}

/// The lines, each ended, up to `max` bytes.
pub(super) fn joined(lines: &[String], max: usize) -> String {
    const CUT: &str = "(cut)\n";
    let mut out = String::new();
    for line in lines {
        if out.len() + line.len() + 1 + CUT.len() > max {
            out.push_str(CUT);
            break;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
