//! Schedules: what a check says itself, what `defaults:` says for all, and what holds otherwise.
//!
//! In: fields. Out: [`Defaults`] and [`Schedule`]s. A value that a check inherits gives way to what it says itself: a
//! short `interval` shortens an inherited `timeout` and `retry_interval`. A value that is written and cannot hold is a
//! problem.

use std::time::Duration;

use super::duration::show;
use super::field::{AtLeast, Field, Table};
use super::recover;
use super::report::Report;
use crate::check::{Alert, Recovery, Respect, Schedule, Step};

const KEYS: &[&str] = &[
    "interval",
    "timeout",
    "retry_interval",
    "failure_threshold",
    "success_threshold",
    "grace",
    "respect_stop",
    "respect_conflict",
    "repeat_interval",
    "unknown_after",
    "recover",
];
/// More results than this in a row are waited for by mistake.
const MOST_RESULTS: u32 = 1000;
/// The shortest interval.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
/// *Still down* mails come no closer than this.
const SHORTEST_REPEAT_INTERVAL: Duration = Duration::from_mins(1);
const REPEAT_INTERVAL: Duration = Duration::from_hours(4);

/// What holds for checks that do not say otherwise.
#[derive(Debug)]
pub(super) struct Defaults {
    pub schedule: Schedule,
    /// `failure_threshold` is written there.
    pub failure_threshold_written: bool,
    pub grace: Duration,
    pub respect_stop: Respect,
    pub respect_conflict: Respect,
    pub repeat_interval: Option<Duration>,
    pub unknown_after: Duration,
    /// `None`: by the kind of the unit.
    pub recover: Option<Vec<Step>>,
}

impl Default for Defaults {
    fn default() -> Self {
        let Recovery { grace, respect_stop, respect_conflict, .. } = Recovery::default();
        let Alert { unknown_after, .. } = Alert::default();
        Self {
            schedule: Schedule::default(),
            failure_threshold_written: false,
            grace,
            respect_stop,
            respect_conflict,
            repeat_interval: Some(REPEAT_INTERVAL),
            unknown_after,
            recover: None,
        }
    }
}

/// Checks the `defaults:` section. What is wrong in it is reported and left at what holds without it.
pub(super) fn defaults(section: &Field<'_>, report: &mut Report) -> Defaults {
    let otherwise = Defaults::default();
    let Some(table) = section.table(KEYS, report) else { return otherwise };
    Defaults {
        schedule: schedule(&table, &otherwise.schedule, report),
        failure_threshold_written: table.get("failure_threshold").is_some(),
        grace: duration(&table, "grace", Duration::ZERO, report).unwrap_or(otherwise.grace),
        respect_stop: respected(&table, "respect_stop", report).unwrap_or(otherwise.respect_stop),
        respect_conflict: respected(&table, "respect_conflict", report).unwrap_or(otherwise.respect_conflict),
        repeat_interval: repeat_interval(&table, report).unwrap_or(otherwise.repeat_interval),
        unknown_after: duration(&table, "unknown_after", Duration::ZERO, report)
            .unwrap_or(otherwise.unknown_after),
        recover: table.get("recover").and_then(|field| recover::steps(field, report)),
    }
}

/// The schedule that a table says, over what it inherits.
pub(super) fn schedule(table: &Table<'_>, inherited: &Schedule, report: &mut Report) -> Schedule {
    let count = |key: &str, inherited: u32, report: &mut Report| {
        table.get(key).and_then(|field| field.number(1, MOST_RESULTS, report)).unwrap_or(inherited)
    };
    let failure_threshold = count("failure_threshold", inherited.failure_threshold, report);
    let success_threshold = count("success_threshold", inherited.success_threshold, report);
    let interval = duration(table, "interval", SHORTEST_INTERVAL, report);
    // With a mistaken `interval` nothing can be said of what must not exceed it.
    let bound = if interval.is_none() && table.get("interval").is_some() {
        Duration::MAX
    } else {
        interval.unwrap_or(inherited.interval)
    };
    let mut within = |key: &str, least: Duration, inherited: Duration| {
        let Some(field) = table.get(key) else { return inherited.min(bound) };
        let Some(written) = field.duration(AtLeast(least), report) else { return inherited };
        if written > bound {
            let (written, bound) = (show(written), show(bound));
            report.error(&field.at, format!("{written} is longer than `interval`, which is {bound}"));
        }
        written
    };
    let timeout = within("timeout", SHORTEST_TIMEOUT, inherited.timeout);
    let retry_interval = within("retry_interval", SHORTEST_INTERVAL, inherited.retry_interval);
    let interval = interval.unwrap_or(inherited.interval);
    Schedule {
        interval,
        timeout,
        retry_interval,
        failure_threshold,
        success_threshold,
        max_response_time: inherited.max_response_time,
    }
}

/// The duration at `key`, if it is there and sound.
pub(super) fn duration(
    table: &Table<'_>,
    key: &str,
    least: Duration,
    report: &mut Report,
) -> Option<Duration> {
    table.get(key).and_then(|field| field.duration(AtLeast(least), report))
}

/// `respect_stop` or `respect_conflict`: a duration, 0, or `forever`.
pub(super) fn respected(table: &Table<'_>, key: &str, report: &mut Report) -> Option<Respect> {
    let field = table.get(key)?;
    match field.as_text() {
        Some("forever") => return Some(Respect::Forever),
        Some("never") => {
            report.error(&field.at, "`never` is ambiguous here: write `forever`, or `0` to act at once");
            return None;
        }
        _ => {}
    }
    field.duration(AtLeast(Duration::ZERO), report).map(Respect::For)
}

/// `repeat_interval`: a duration, or `never`.
pub(super) fn repeat_interval(table: &Table<'_>, report: &mut Report) -> Option<Option<Duration>> {
    let field = table.get("repeat_interval")?;
    if matches!(field.as_text(), Some("never" | "off")) {
        return Some(None);
    }
    field.duration(AtLeast(SHORTEST_REPEAT_INTERVAL), report).map(Some)
}
