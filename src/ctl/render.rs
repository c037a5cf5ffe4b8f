//! A snapshot as a person reads it: a headline, what must be known besides, and a table. Pure.
//!
//! In: a [`Snapshot`] and a [`Style`]. Out: text, sanitized whatever the probes and files it speaks of contain. It
//! reads no clock: "now" is when the snapshot was taken.

use std::time::Duration;

use super::style::Style;
use super::table::{Cell, Step, draw};
use super::text::{Paint, age, paint, sanitize, wrap};
use crate::status::{CheckStatus, Snapshot};
use crate::time::Wall;
use crate::verdict::{Health, Observation, Seen, State, SuppressedBy};

/// A mail that has waited for longer than this is stuck, even where the server has given no reason.
const MAIL_IS_LATE: Duration = Duration::from_secs(600);
/// So many problems of a refused configuration are shown; `stealthctl validate` shows them all.
const PROBLEMS: usize = 3;
/// So many checks that need somebody are named above the table; all of them are in it.
const NEEDY: usize = 5;

/// Everything at a glance. What needs a look comes first; where the table is longer than the screen, what scrolled away
/// is said again at its end.
#[must_use]
pub fn overview(snapshot: &Snapshot, style: &Style) -> String {
    let headline = headline(snapshot, style);
    let alerts = alerts(snapshot, style);
    let mut out = format!("{headline}{alerts}");
    if snapshot.checks.is_empty() {
        let file = snapshot
            .configuration
            .files
            .first()
            .map_or_else(|| "its configuration".to_owned(), |f| sanitize(f));
        out.push_str(&format!(
            "\nAdd checks to {file} and run `stealthctl reload`; see stealthcheck.yaml(5).\n"
        ));
        return out;
    }
    out.push('\n');
    out.push_str(&table(snapshot, style));
    if style.height.is_some_and(|height| out.lines().count() >= height) {
        out.push_str(&format!("\n{headline}{alerts}"));
    }
    out
}

/// The sign for a health, its colour, and its place in the order of what to look at first.
pub(super) fn mark(health: &Health, unicode: bool) -> (&'static str, Paint, u8) {
    let (pretty, plain, paint, rank) = match (&health.suppressed_by, health.state) {
        (Some(SuppressedBy::Storm), _) => ("≈", "x", Paint::Bad, 0),
        (Some(SuppressedBy::Dependency { .. }), _) => ("⊘", "#", Paint::Warn, 2),
        (Some(SuppressedBy::Stopped { .. }), _) => ("○", "o", Paint::Aside, 3),
        (Some(SuppressedBy::Conflict { .. }), _) => ("◇", "%", Paint::Aside, 3),
        (Some(SuppressedBy::Paused { .. }), _) => ("‖", "=", Paint::Aside, 4),
        (Some(SuppressedBy::Held { .. }), _) => ("◈", "~", Paint::Aside, 4),
        (None, State::Down) => ("✖", "x", Paint::Bad, 0),
        (None, State::Unknown) => ("?", "?", Paint::Warn, 1),
        (None, State::Failing { .. }) => ("●", "!", Paint::Warn, 2),
        (None, State::Starting) => ("…", ".", Paint::Faint, 5),
        (None, State::Passing) => ("✔", "+", Paint::Good, 6),
    };
    (if unicode { pretty } else { plain }, paint, rank)
}

/// An observation in one clause: `200 OK in 3ms`.
pub(super) fn observed(observation: &Observation) -> String {
    match observation {
        Observation::Passing { detail, latency } => match latency.as_millis() {
            0 => sanitize(detail),
            ms @ 1..1000 => format!("{} in {ms}ms", sanitize(detail)),
            ms => format!("{} in {}.{}s", sanitize(detail), ms / 1000, ms % 1000 / 100),
        },
        Observation::Failing { reason } | Observation::NotRestartable { reason } => sanitize(reason),
        Observation::Unknown { reason } => format!("unknown: {}", sanitize(reason)),
    }
}

fn headline(snapshot: &Snapshot, style: &Style) -> String {
    let count = |word: &str| snapshot.checks.iter().filter(|check| check.health.word() == word).count();
    let total = snapshot.checks.len();
    let parts: Vec<String> = [
        "down",
        "storm",
        "unknown",
        "failing",
        "dependency",
        "stopped",
        "conflict",
        "paused",
        "held",
        "starting",
        "passing",
    ]
    .into_iter()
    .map(|word| (count(word), word))
    .filter(|(n, _)| *n > 0)
    .map(|(n, word)| format!("{n} {word}"))
    .collect();
    let noun = if total == 1 { "check" } else { "checks" };
    let text = match parts.as_slice() {
        [] => "No check is configured".to_owned(),
        [_] if total == 1 => {
            format!("1 check: {}", snapshot.checks.first().map_or("", |check| check.health.word()))
        }
        [_] => format!("{total} {noun}, all {}", snapshot.checks.first().map_or("", |c| c.health.word())),
        parts => format!("{total} {noun}: {}", parts.join(", ")),
    };
    let worst = snapshot.checks.iter().map(|check| mark(&check.health, style.unicode)).min_by_key(|m| m.2);
    let up = format!("up {}", age(snapshot.at.since(snapshot.started)));
    let up = paint(&format!("({up})"), Paint::Faint, style.colour);
    match worst {
        Some((sign, with, _)) => {
            format!(
                "{} {} {up}\n",
                paint(sign, with, style.colour),
                paint(&text, Paint::Strong, style.colour)
            )
        }
        None => format!("{} {up}\n", paint(&text, Paint::Strong, style.colour)),
    }
}

/// What must be known besides the checks, a paragraph each.
fn alerts(snapshot: &Snapshot, style: &Style) -> String {
    let ago = |at: Wall| age(snapshot.at.since(at));
    let mut out = String::new();
    let mut say = |with: Paint, text: &str| {
        let sign = paint("!", with, style.colour);
        let room = style.width.unwrap_or(usize::MAX).saturating_sub(2);
        for (i, line) in wrap(text, room).iter().enumerate() {
            let lead = if i == 0 { format!("{sign} ") } else { "  ".to_owned() };
            out.push_str(&format!("{lead}{line}\n"));
        }
    };
    let needy = || {
        let open =
            |check: &'_ CheckStatus| check.incident.as_ref().is_some_and(|incident| incident.action_required);
        snapshot.checks.iter().filter(move |check| open(check))
    };
    for check in needy().take(NEEDY) {
        if let Some(incident) = &check.incident {
            let tried = match incident.attempts {
                0 => "no recovery attempt".to_owned(),
                1 => "1 ineffective recovery attempt".to_owned(),
                n => format!("{n} ineffective recovery attempts"),
            };
            let (name, cause) = (&check.name, sanitize(&incident.cause));
            say(Paint::Bad, &format!("{name} requires action: {cause}; {tried} in {}", ago(incident.since)));
        }
    }
    match needy().count().saturating_sub(NEEDY) {
        0 => {}
        1 => say(Paint::Bad, "1 more check requires action"),
        n => say(Paint::Bad, &format!("{n} more checks require action")),
    }
    if let Some((when, problems)) = &snapshot.configuration.refused {
        let (when, loaded) = (ago(*when), ago(snapshot.configuration.loaded));
        let mut text = format!(
            "The configuration was rejected {when} ago; the running configuration was loaded {loaded} ago:"
        );
        for problem in problems.iter().take(PROBLEMS) {
            text.push_str(&format!("\n{}", sanitize(problem)));
        }
        if let Some(more) = problems.len().checked_sub(PROBLEMS).filter(|more| *more > 0) {
            text.push_str(&format!("\nand {more} more: `stealthctl validate` shows them all"));
        }
        say(Paint::Bad, &text);
    }
    let mail = &snapshot.mail;
    if mail.queued > 0 {
        let waited = mail.oldest.map(|oldest| snapshot.at.since(oldest)).unwrap_or_default();
        let mails = match mail.queued {
            1 => format!("1 mail queued for {}", age(waited)),
            n => format!("{n} mails queued, the oldest for {}", age(waited)),
        };
        match &mail.last_error {
            Some(error) => say(Paint::Bad, &format!("{mails}: {}", sanitize(error))),
            None if waited > MAIL_IS_LATE => say(Paint::Warn, &mails),
            None => {}
        }
    }
    if mail.removed > 0 {
        let mails = super::reload::plural(mail.removed, "mail");
        say(
            Paint::Bad,
            &format!("{mails} removed from the queue because too many wait; the next mail delivered says so"),
        );
    }
    for (address, why) in &mail.refused {
        say(
            Paint::Bad,
            &format!("The mail server rejects mail for {}: {}", sanitize(address), sanitize(why)),
        );
    }
    if !mail.configured && !snapshot.checks.is_empty() {
        say(Paint::Warn, "No notifications are sent: the configuration has no `mail:` section");
    }
    for alert in &snapshot.alerts {
        say(Paint::Warn, &sanitize(alert));
    }
    let ours = env!("CARGO_PKG_VERSION");
    if snapshot.version != ours {
        let theirs = sanitize(&snapshot.version);
        say(
            Paint::Warn,
            &format!(
                "The daemon runs version {theirs}, version {ours} is installed: run `systemctl restart stealthcheck`"
            ),
        );
    }
    out
}

const HEADS: [&str; 8] = ["", "CHECK", "UNIT", "STATE", "FOR", "LAST OBSERVATION", "AGE", "NEXT"];
const CHECK: usize = 1;
const UNIT: usize = 2;
const FOR: usize = 4;
const LAST: usize = 5;
const AGE: usize = 6;
const NEXT: usize = 7;

fn table(snapshot: &Snapshot, style: &Style) -> String {
    let mut checks: Vec<&CheckStatus> = snapshot.checks.iter().collect();
    checks.sort_by_key(|check| mark(&check.health, style.unicode).2);
    let none = if style.unicode { "–" } else { "-" };
    let rows: Vec<Vec<Cell>> = checks.iter().map(|check| row(check, snapshot.at, style, none)).collect();
    // A unit that is named as its check tells nothing new.
    let telling = checks.iter().any(|check| {
        check.unit.as_ref().is_some_and(|unit| {
            unit.as_str().strip_suffix(".service").is_none_or(|stem| stem != check.name.as_str())
        })
    });
    let mut steps = vec![Step::Shrink(LAST, 24), Step::Shrink(NEXT, 18), Step::Drop(AGE)];
    if !telling {
        steps.push(Step::Drop(UNIT));
    }
    steps.extend([
        Step::Shrink(UNIT, 16),
        Step::Shrink(NEXT, 14),
        Step::Shrink(LAST, 18),
        Step::Drop(UNIT),
        Step::Drop(FOR),
        Step::Shrink(CHECK, 20),
        Step::Drop(NEXT),
        Step::Shrink(LAST, 8),
        Step::Shrink(CHECK, 8),
        Step::Drop(LAST),
    ]);
    draw(&HEADS, &rows, &steps, style.width, (style.colour, style.unicode))
}

fn row(check: &CheckStatus, now: Wall, style: &Style, none: &str) -> Vec<Cell> {
    let (sign, with, _) = mark(&check.health, style.unicode);
    let or_none =
        |text: Option<String>| text.map_or_else(|| Cell::painted(none.to_owned(), Paint::Faint), Cell::plain);
    let last: Option<&Seen> = check.last.as_ref();
    vec![
        Cell::painted(sign.to_owned(), with),
        Cell::plain(check.name.to_string()),
        or_none(check.unit.as_ref().map(ToString::to_string)),
        Cell::painted(check.health.to_string(), with),
        Cell::plain(age(now.since(check.since))),
        or_none(last.map(|seen| observed(&seen.observation))),
        or_none(last.map(|seen| age(now.since(seen.last)))),
        Cell::plain(sanitize(&check.next)),
    ]
}
