//! The old tool's two files.
//!
//! In: the texts of config.json and checks.json. Out: what they say, with the old tool's own defaults, or every problem
//! in both. Where the old tool refused a file, so does this. What its files could not mean (an address with a line end
//! in it) is a problem here rather than in the configuration that would come of it.

use std::time::Duration;

use lettre::message::Mailbox;

use super::json::{File, Object, Problem, Value};

const CONFIG_KEYS: &[&str] = &["alert_emails", "smtp"];
const SMTP_KEYS: &[&str] = &["server", "port", "username", "password", "sender"];
const TOP_KEYS: &[&str] = &["checks"];
const CHECK_KEYS: &[&str] =
    &["interval_ms", "check_command", "success_command", "fail_command", "alert_emails"];
/// The old tool's shortest interval, and the longest that a configuration here can have: a year.
const INTERVALS: std::ops::RangeInclusive<u64> = 100..=31_536_000_000;
/// A line that is longer is no command.
const LONGEST_COMMAND: usize = 32 * 1024;

/// Everything that the two files say.
#[derive(Debug)]
pub(super) struct Old {
    pub alert_emails: Vec<String>,
    pub smtp: Option<Smtp>,
    pub checks: Vec<OldCheck>,
    /// Keys that the old tool ignored, each with where it stands.
    pub ignored: Vec<String>,
}

/// How the old tool sent mail.
#[derive(Debug)]
pub(super) struct Smtp {
    pub server: String,
    /// `None`: it could not have sent a mail.
    pub port: Option<u16>,
    pub username: String,
    pub password: String,
    pub sender: String,
}

/// One entry of checks.json.
#[derive(Debug)]
pub(super) struct OldCheck {
    /// From 1, in the file's order.
    pub number: usize,
    /// The line in checks.json where it begins.
    pub line: usize,
    pub interval: Duration,
    pub check_command: String,
    pub fail_command: String,
    pub success_command: String,
    pub alert_emails: Vec<String>,
}

/// Reads both files.
///
/// # Errors
/// Every problem of both.
pub(super) fn read(config: &str, checks: &str) -> Result<Old, Vec<Problem>> {
    let mut ignored = Vec::new();
    let mut file = File::new("config.json", config);
    let (alert_emails, smtp) = self::config(&mut file, &mut ignored);
    let mut problems = sorted(file.problems);
    let mut file = File::new("checks.json", checks);
    let checks = self::checks(&mut file, &mut ignored);
    problems.append(&mut sorted(file.problems));
    if problems.is_empty() { Ok(Old { alert_emails, smtp, checks, ignored }) } else { Err(problems) }
}

/// In the order of the file.
fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.place);
    problems
}

fn config(file: &mut File<'_>, ignored: &mut Vec<String>) -> (Vec<String>, Option<Smtp>) {
    let object = file.root().and_then(|root| object(file, root, "config.json", CONFIG_KEYS, ignored));
    let Some(object) = object else { return (Vec::new(), None) };
    let emails = addresses(file, object.get("alert_emails"));
    let smtp = object.get("smtp").and_then(|value| smtp(file, value, ignored));
    (emails, smtp)
}

fn smtp<'t>(file: &mut File<'t>, value: Value<'t>, ignored: &mut Vec<String>) -> Option<Smtp> {
    let object = object(file, value, "config.json's `smtp`", SMTP_KEYS, ignored)?;
    let line = |file: &mut File<'t>, key: &str| {
        let text = file.text(object.get(key), &format!("`{key}`"));
        if text.contains(char::is_control) {
            file.wrong(
                object.get(key).unwrap_or(object.value()),
                format!("`{key}` should stand on one line, without control characters"),
            );
        }
        text.trim().to_owned()
    };
    let server = line(file, "server");
    let username = line(file, "username");
    let sender = line(file, "sender");
    let password = file.text(object.get("password"), "`password`");
    let port = file
        .number(object.get("port"), "`port`", 0..=65_535)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0);
    if server.is_empty() && sender.is_empty() && username.is_empty() {
        // Written to be filled in one day.
        return None;
    }
    let smtp = Smtp { server, port, username, password, sender };
    judge(file, &object, &smtp);
    Some(smtp)
}

/// Reports what could never have sent a mail.
fn judge<'t>(file: &mut File<'t>, object: &Object<'t>, smtp: &Smtp) {
    let server = &smtp.server;
    // What `mail.smtp.host` of the configuration takes.
    let named = !server.is_empty() && server.chars().all(|c| c.is_alphanumeric() || "-._".contains(c));
    if !named && server.parse::<std::net::IpAddr>().is_err() {
        let at = object.get("server").unwrap_or(object.value());
        file.wrong(
            at,
            "`server` should be the name of a mail server, such as `smtp.example.org`, without a port",
        );
    }
    if !is_mailbox(&smtp.sender) {
        file.wrong(
            object.get("sender").unwrap_or(object.value()),
            "`sender` should be a mail address such as `alerts@example.org`",
        );
    }
}

fn checks(file: &mut File<'_>, ignored: &mut Vec<String>) -> Vec<OldCheck> {
    let object = file.root().and_then(|root| object(file, root, "checks.json", TOP_KEYS, ignored));
    let Some(object) = object else { return Vec::new() };
    if object.get("checks").is_none() {
        file.wrong(object.value(), "checks.json has no `checks`");
    }
    let entries = file.list(object.get("checks"), "`checks`");
    let mut checks = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        if file.hopeless() {
            break;
        }
        checks.extend(check(file, index + 1, entry, ignored));
    }
    checks
}

fn check<'t>(
    file: &mut File<'t>,
    number: usize,
    entry: Value<'t>,
    ignored: &mut Vec<String>,
) -> Option<OldCheck> {
    let what = format!("check {number}");
    let object = object(file, entry, &what, CHECK_KEYS, ignored)?;
    if object.get("interval_ms").is_none() {
        file.wrong(entry, format!("{what} has no `interval_ms`; the old tool refused that"));
    }
    let interval = file.number(object.get("interval_ms"), "`interval_ms`", INTERVALS);
    let command = |file: &mut File<'t>, key: &str| {
        let text = file.text(object.get(key), &format!("`{key}`"));
        if text.len() > LONGEST_COMMAND {
            file.wrong(
                object.get(key).unwrap_or(entry),
                format!("`{key}` has more than {LONGEST_COMMAND} bytes: no command"),
            );
        }
        text
    };
    let check_command = command(file, "check_command");
    let fail_command = command(file, "fail_command");
    let success_command = command(file, "success_command");
    let alert_emails = addresses(file, object.get("alert_emails"));
    let (line, _) = file.place(entry);
    let interval = Duration::from_millis(interval?);
    Some(OldCheck { number, line, interval, check_command, fail_command, success_command, alert_emails })
}

/// An object, with its ignored keys noted by where they stand.
fn object<'t>(
    file: &mut File<'t>,
    value: Value<'t>,
    what: &str,
    known: &[&str],
    ignored: &mut Vec<String>,
) -> Option<Object<'t>> {
    let mut here = Vec::new();
    let object = file.object(value, what, known, &mut here);
    ignored.extend(here.into_iter().map(|key| format!("`{key}` in {what}")));
    object
}

fn addresses<'t>(file: &mut File<'t>, value: Option<Value<'t>>) -> Vec<String> {
    let mut all = Vec::new();
    for item in file.list(value, "`alert_emails`") {
        let text = file.text(Some(item), "each address");
        let address = text.trim().to_owned();
        if text.contains(char::is_control) {
            file.wrong(item, "a mail address is one line without control characters");
        } else if !is_mailbox(&address) {
            file.wrong(item, format!("`{address}` is not a mail address such as `ops@example.org`"));
        } else if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// As the configuration judges it.
fn is_mailbox(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok_and(|mailbox| mailbox.email.to_string().is_ascii())
}
