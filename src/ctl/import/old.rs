//! The old tool's two files.
//!
//! In: the texts of config.json and checks.json. Out: what they say, with the old tool's own defaults, or the problems
//! with both. A key that the old tool ignored is a problem, for it may be a mistake in a known one; and so is what could
//! never have worked (an address with a line end in it).

use lettre::message::Mailbox;
use serde::{Deserialize, de::IgnoredAny};

use crate::config::is_literal;
use crate::text::visible;

/// The old tool's shortest interval, and the longest that a configuration here can have: a year.
const INTERVALS: std::ops::RangeInclusive<u64> = 100..=31_536_000_000;

/// config.json.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object, { ... }")]
pub(super) struct Config {
    pub alert_emails: Vec<String>,
    pub smtp: Option<Smtp>,
    #[serde(rename = "comment", alias = "_comment", alias = "note")]
    _comment: IgnoredAny,
}

/// How the old tool sent mail.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object, { ... }")]
pub(super) struct Smtp {
    pub server: String,
    /// 0: it could not have sent a mail.
    pub port: u16,
    pub username: String,
    pub password: String,
    pub sender: String,
}

/// checks.json.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object, { ... }")]
struct Checks {
    checks: Vec<OldCheck>,
}

/// One entry of checks.json.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object, { ... }")]
pub(super) struct OldCheck {
    pub interval_ms: u64,
    pub check_command: String,
    pub fail_command: String,
    /// The old tool never ran it.
    #[serde(rename = "success_command")]
    _success_command: IgnoredAny,
    pub alert_emails: Vec<String>,
    #[serde(rename = "comment", alias = "_comment", alias = "note")]
    _comment: IgnoredAny,
}

/// Reads both files.
///
/// # Errors
/// What is wrong with them, each with the file and the place; what is not even JSON of this form is one problem a file.
pub(super) fn read(config: &str, checks: &str) -> Result<(Config, Vec<OldCheck>), Vec<String>> {
    let config = parse::<Config>("config.json", config);
    let checks = parse::<Checks>("checks.json", checks);
    let (mut config, checks) = match (config, checks) {
        (Ok(config), Ok(checks)) => (config, checks.checks),
        (config, checks) => return Err(config.err().into_iter().chain(checks.err()).collect()),
    };
    // It may have been written to be filled in one day.
    config.smtp = config.smtp.filter(|smtp| !smtp.server.is_empty() || !smtp.sender.is_empty());
    let mut problems = Vec::new();
    let mut expect = |holds: bool, place: &str, what: &str| {
        if !holds {
            problems.push(visible(&format!("{place}: {what}")).into_owned());
        }
    };
    if let Some(smtp) = &config.smtp {
        // What `mail.smtp.host` of the configuration takes.
        let is_name = |c: char| c.is_alphanumeric() || "-._".contains(c);
        let is_host = !smtp.server.is_empty() && smtp.server.chars().all(is_name);
        let is_host = is_host || smtp.server.parse::<std::net::IpAddr>().is_ok();
        expect(is_host, "config.json", "`server` should be the name of a mail server, without a port");
        expect(is_mailbox(&smtp.sender), "config.json", "`sender` should be a mail address");
        let sound = !smtp.username.contains(char::is_control) && is_literal(&smtp.username);
        expect(sound, "config.json", "`username` has control characters or a placeholder");
    }
    for address in &config.alert_emails {
        expect(is_mailbox(address), "config.json", &format!("`{address}` is not a mail address"));
    }
    for (number, check) in (1..).zip(&checks) {
        let place = format!("checks.json: check {number}");
        let interval = INTERVALS.contains(&check.interval_ms);
        expect(interval, &place, "`interval_ms` should be a number from 100 to a year's 31536000000");
        let has_nul = [&check.check_command, &check.fail_command].iter().any(|line| line.contains('\0'));
        expect(!has_nul, &place, "a command has a NUL character in it");
        for address in &check.alert_emails {
            expect(is_mailbox(address), &place, &format!("`{address}` is not a mail address"));
        }
    }
    if problems.is_empty() { Ok((config, checks)) } else { Err(problems) }
}

fn parse<'t, T: Deserialize<'t>>(file: &str, text: &'t str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // Its place stands in front.
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        let said = match said.rsplit_once(", expected ") {
            // What was found instead may be a password.
            Some((_, expected)) if said.starts_with("invalid ") => format!("expected {expected}"),
            _ if error.is_data() => said.to_owned(),
            _ => format!("no JSON: {said}"),
        };
        let said =
            said.replace("a sequence", "a list").replace("u16", "a port").replace("u64", "a whole number");
        format!("{file}:{}:{}: {}", error.line(), error.column().max(1), visible(&said))
    })
}

/// As the configuration judges it.
fn is_mailbox(text: &str) -> bool {
    let address = text.parse::<Mailbox>().is_ok_and(|mailbox| mailbox.email.to_string().is_ascii());
    address && !text.contains(char::is_control) && is_literal(text)
}
