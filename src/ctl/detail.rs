//! One check as `stealthctl status NAME` tells it, in the manner of `systemctl status`. Pure.

use super::render::{mark, observed};
use super::style::Style;
use super::text::{Paint, age, due, paint, sanitize, width, wrap};
use crate::notification::Attempt;
use crate::status::{CheckStatus, IncidentStatus, Snapshot};
use crate::time::Wall;
use crate::unit::UnitState;
use crate::verdict::{Seen, SuppressedBy};

/// Room for the labels, right-aligned.
const LABEL: usize = 10;
/// So many of the latest observations are shown.
const HISTORY: usize = 12;

/// The checks of a snapshot, each in detail.
#[must_use]
pub fn detail(snapshot: &Snapshot, style: &Style) -> String {
    let blocks: Vec<String> = snapshot.checks.iter().map(|check| block(check, snapshot, style)).collect();
    blocks.join("\n")
}

fn block(check: &CheckStatus, snapshot: &Snapshot, style: &Style) -> String {
    let now = snapshot.at;
    let (sign, with, _) = mark(&check.health, style.unicode);
    let name = paint(check.name.as_str(), Paint::Strong, style.colour);
    let mut page = Page { out: String::new(), style, mail: snapshot.mail.configured };
    page.out.push_str(&format!("{} {name}: {}\n", paint(sign, with, style.colour), sanitize(&check.probe)));

    let health = paint(&check.health.to_string(), with, style.colour);
    page.line("State", &format!("{health}{}", since(check, now, style)));
    if let Some(SuppressedBy::Held { id, who, why, .. }) = &check.health.suppressed_by {
        page.text("Held by", &sanitize(who));
        page.text("Command", &sanitize(why));
        page.text("Hold", &format!("{0}; `stealthctl release {0}` ends it", sanitize(id)));
    }
    match (&check.unit, &check.unit_state) {
        (Some(unit), Some(state)) => {
            page.text("Unit", &format!("{unit}: {}", unit_clauses(state).join(", ")));
        }
        (Some(unit), None) => page.line("Unit", &format!("{unit}: not read yet")),
        (None, _) => page.line("Unit", "none (failures are notified, nothing is restarted)"),
    }
    page.text("Next", &sanitize(&check.next));
    if let Some(at) = check.next_probe {
        let at_clock = style.clock(at, now);
        let text = match at.since(now) {
            left if left.is_zero() => format!("due since {at_clock}"),
            left => format!("at {at_clock}, in {}", due(left)),
        };
        page.line("Probe", &text);
    }
    if let Some(incident) = &check.incident {
        page.incident(incident, now);
    }
    if let Some(runbook) = &check.runbook {
        page.text("Runbook", runbook);
    }
    page.history(check, now);
    page.out
}

fn since(check: &CheckStatus, now: Wall, style: &Style) -> String {
    let lasting = format!(" for {}, since {}", age(now.since(check.since)), style.moment(check.since));
    let Some(suppressed_by) = &check.health.suppressed_by else { return lasting };
    match suppressed_by {
        SuppressedBy::Paused { until } => {
            format!("{lasting}, until {} ({} left)", style.clock(*until, now), due(until.since(now)))
        }
        SuppressedBy::Held { until, .. } => {
            format!(
                "{lasting}, until {} at the latest ({} left)",
                style.clock(*until, now),
                due(until.since(now))
            )
        }
        SuppressedBy::Stopped { until: Some(until) } => format!(
            "{lasting}, by an operator; respected until {} ({} left)",
            style.clock(*until, now),
            due(until.since(now))
        ),
        SuppressedBy::Stopped { until: None } => {
            format!("{lasting}, by an operator; respected until it is started")
        }
        SuppressedBy::Conflict { by, until: Some(until) } => format!(
            "{lasting}, with {by}; respected until {} ({} left)",
            style.clock(*until, now),
            due(until.since(now))
        ),
        SuppressedBy::Conflict { by, until: None } => {
            format!("{lasting}, with {by}; respected while {by} is active")
        }
        SuppressedBy::Dependency { by, .. } => format!("{lasting}, on {by}, which its unit requires"),
        SuppressedBy::Storm => format!("{lasting}; many checks fail together"),
    }
}

fn unit_clauses(state: &UnitState) -> Vec<String> {
    let mut clauses = vec![sanitize(&state.describe())];
    if state.main_pid != 0 {
        clauses.push(format!("main process {}", state.main_pid));
    } else if let Some(exit) = state.describe_exit() {
        clauses.push(exit);
    }
    match state.n_restarts {
        0 => {}
        1 => clauses.push("restarted once by systemd".to_owned()),
        n => clauses.push(format!("restarted {n} times by systemd")),
    }
    if let Some(job) = &state.job {
        clauses.push(format!("job {} in progress", job.id));
    }
    clauses
}

fn attempt(attempt: &Attempt, now: Wall) -> String {
    let ago = age(now.since(attempt.requested));
    format!("{} {ago} ago: {}", attempt.step.describe(), sanitize(&attempt.progress()))
}

struct Page<'a> {
    out: String,
    style: &'a Style,
    /// Mail is configured.
    mail: bool,
}

impl Page<'_> {
    fn line(&mut self, label: &str, text: &str) {
        let colon = if label.is_empty() { ' ' } else { ':' };
        self.out.push_str(format!("{label:>LABEL$}{colon} {text}").trim_end());
        self.out.push('\n');
    }

    /// Text that may be longer than a line.
    fn text(&mut self, label: &str, text: &str) {
        let room = self.style.width.map_or(usize::MAX, |width| width.saturating_sub(LABEL + 2).max(20));
        for (i, line) in wrap(text, room).iter().enumerate() {
            self.line(if i == 0 { label } else { "" }, line);
        }
    }

    fn incident(&mut self, incident: &IncidentStatus, now: Wall) {
        let lasts = age(now.since(incident.since));
        self.line("Incident", &format!("{}, open for {lasts}", sanitize(&incident.id.0)));
        self.text("Cause", &sanitize(&incident.cause));
        let limit =
            incident.max_attempts.map_or_else(|| "no limit".to_owned(), |most| format!("at most {most}"));
        let mut attempts = format!("{} ({limit})", incident.attempts);
        if let Some(last) = &incident.last_attempt {
            attempts.push_str(&format!("; last: {}", attempt(last, now)));
        }
        self.text("Attempts", &attempts);
        if let Some(why) = &incident.withheld {
            self.text("Withheld", &sanitize(why));
        }
        if incident.action_required {
            let text = paint("required", Paint::Bad, self.style.colour);
            self.line("Action", &text);
        }
        let taken = |well| incident.dependents.iter().filter(move |taken| taken.well == well);
        let names = |taken: Vec<String>| taken.join(", ");
        let down = names(taken(false).map(|taken| format!("{} ({})", taken.check, taken.unit)).collect());
        let well = names(taken(true).map(|taken| format!("{} ({})", taken.check, taken.unit)).collect());
        if !down.is_empty() {
            self.text("Affected", &down);
        }
        if !well.is_empty() {
            self.text("Needed by", &format!("{well}: passing so far"));
        }
        let (asked, accepted) = incident.notifications;
        let mails = match (asked, asked.saturating_sub(accepted)) {
            (0, _) if !self.mail => "none (the configuration has no `mail:` section)".to_owned(),
            (0, _) => "none yet".to_owned(),
            (asked, 0) => format!("{asked} delivered"),
            (asked, waiting) => format!("{asked}, {waiting} of them queued"),
        };
        self.line("Mails", &mails);
    }

    /// The latest observations, oldest first, as in a log.
    fn history(&mut self, check: &CheckStatus, now: Wall) {
        let seen: Vec<&Seen> = if check.history.is_empty() {
            check.last.iter().collect()
        } else {
            check.history.iter().skip(check.history.len().saturating_sub(HISTORY)).collect()
        };
        if seen.is_empty() {
            return;
        }
        let rows: Vec<(String, String, &Seen)> = seen
            .into_iter()
            .map(|seen| {
                let first = self.style.clock(seen.first, now);
                let dash = if self.style.unicode { "–" } else { "-" };
                let last = self.style.clock(seen.last, now);
                let span = if first == last { first } else { format!("{first} {dash} {last}") };
                let times = if seen.count > 1 { format!("{} times", seen.count) } else { String::new() };
                (span, times, seen)
            })
            .collect();
        let span_room = rows.iter().map(|row| width(&row.0)).max().unwrap_or(0);
        let times_room = rows.iter().map(|row| width(&row.1)).max().unwrap_or(0);
        self.out.push('\n');
        for (span, times, seen) in rows {
            let (sign, with, _) = mark(&seen.observation.health(), self.style.unicode);
            let sign = paint(sign, with, self.style.colour);
            let pad = " ".repeat(span_room.saturating_sub(width(&span)));
            let times = if times_room > 0 { format!("  {times:>times_room$}") } else { String::new() };
            let ago = format!("({} ago)", age(now.since(seen.last)));
            let ago = paint(&ago, Paint::Faint, self.style.colour);
            let text = observed(&seen.observation);
            self.out.push_str(&format!("  {span}{pad}{times}  {sign} {text} {ago}\n"));
        }
    }
}
