//! Schedules: what a check says itself, what `defaults:` says for all, and what holds otherwise.
//!
//! In: fields. Out: [`Defaults`] and [`Schedule`]s. A value that a check inherits gives way to what it says itself: a
//! short `every` shortens an inherited `timeout` and `retry`. A value that is written and cannot hold is a problem.

use std::time::Duration;

use super::duration::show;
use super::field::{AtLeast, Field, Table};
use super::recover;
use super::report::Report;
use crate::check::{AfterStop, Alert, Recovery, Rung, Schedule};

const KEYS: &[&str] = &[
    "every",
    "timeout",
    "retry",
    "fail_after",
    "pass_after",
    "grace",
    "after_stop",
    "after_displaced",
    "remind",
    "unmeasured_after",
    "recover",
];
/// More results than this in a row are waited for by mistake.
const MOST_RESULTS: u32 = 1000;
/// The shortest interval (DESIGN §4).
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
/// *Still down* mails come no closer than this.
const SHORTEST_REMIND: Duration = Duration::from_mins(1);
const REMIND: Duration = Duration::from_hours(4);

/// What holds for checks that do not say otherwise.
#[derive(Debug)]
pub(super) struct Defaults {
    pub schedule: Schedule,
    /// `fail_after` is written there.
    pub fail_after_written: bool,
    pub grace: Duration,
    pub after_stop: AfterStop,
    pub after_displaced: AfterStop,
    pub remind: Option<Duration>,
    pub unmeasured_after: Duration,
    /// `None`: by the kind of the unit.
    pub recover: Option<Vec<Rung>>,
}

impl Default for Defaults {
    fn default() -> Self {
        let Recovery { grace, after_stop, after_displaced, .. } = Recovery::default();
        let Alert { unmeasured_after, .. } = Alert::default();
        Self {
            schedule: Schedule::default(),
            fail_after_written: false,
            grace,
            after_stop,
            after_displaced,
            remind: Some(REMIND),
            unmeasured_after,
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
        fail_after_written: table.get("fail_after").is_some(),
        grace: duration(&table, "grace", Duration::ZERO, report).unwrap_or(otherwise.grace),
        after_stop: respected(&table, "after_stop", report).unwrap_or(otherwise.after_stop),
        after_displaced: respected(&table, "after_displaced", report).unwrap_or(otherwise.after_displaced),
        remind: remind(&table, report).unwrap_or(otherwise.remind),
        unmeasured_after: duration(&table, "unmeasured_after", Duration::ZERO, report)
            .unwrap_or(otherwise.unmeasured_after),
        recover: table.get("recover").and_then(|field| recover::ladder(field, report)),
    }
}

/// The schedule that a table says, over what it inherits.
pub(super) fn schedule(table: &Table<'_>, inherited: &Schedule, report: &mut Report) -> Schedule {
    let count = |key: &str, inherited: u32, report: &mut Report| {
        table.get(key).and_then(|field| field.number(1, MOST_RESULTS, report)).unwrap_or(inherited)
    };
    let fail_after = count("fail_after", inherited.fail_after, report);
    let pass_after = count("pass_after", inherited.pass_after, report);
    let every = duration(table, "every", SHORTEST_INTERVAL, report);
    // With a mistaken `every` nothing can be said of what must not exceed it.
    let bound = if every.is_none() && table.get("every").is_some() {
        Duration::MAX
    } else {
        every.unwrap_or(inherited.every)
    };
    let mut within = |key: &str, least: Duration, inherited: Duration| {
        let Some(field) = table.get(key) else { return inherited.min(bound) };
        let Some(written) = field.duration(AtLeast(least), report) else { return inherited };
        if written > bound {
            let (written, bound) = (show(written), show(bound));
            report.error(&field.at, format!("{written} is longer than `every`, which is {bound}"));
        }
        written
    };
    let timeout = within("timeout", SHORTEST_TIMEOUT, inherited.timeout);
    let retry = within("retry", SHORTEST_INTERVAL, inherited.retry);
    let every = every.unwrap_or(inherited.every);
    Schedule { every, timeout, retry, fail_after, pass_after, slower_than: inherited.slower_than }
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

/// `after_stop` or `after_displaced`: a duration, 0, or `never`.
pub(super) fn respected(table: &Table<'_>, key: &str, report: &mut Report) -> Option<AfterStop> {
    let field = table.get(key)?;
    if field.as_text() == Some("never") {
        return Some(AfterStop::Never);
    }
    field.duration(AtLeast(Duration::ZERO), report).map(AfterStop::After)
}

/// `remind`: a duration, or `never`.
pub(super) fn remind(table: &Table<'_>, report: &mut Report) -> Option<Option<Duration>> {
    let field = table.get("remind")?;
    if matches!(field.as_text(), Some("never" | "off")) {
        return Some(None);
    }
    field.duration(AtLeast(SHORTEST_REMIND), report).map(Some)
}
