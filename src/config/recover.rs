//! `recover:` and what belongs to it: which jobs a failure leads to, how often, how far apart.
//!
//! In: fields. Out: [`Recovery`]. It asks systemd nothing: whether the unit exists is seen when the daemon runs.

use std::time::Duration;

use super::defaults::{self, Defaults};
use super::field::{AtLeast, Field, Table};
use super::report::Report;
use super::suggestions;
use crate::check::{Backoff, Recovery, Step};
use crate::unit::UnitName;

const WORDS: &[&str] = &["restart", "start", "stop", "reload", "none"];
const STEPS: &str = "`restart`, `start`, `stop`, `reload`, `none`, or a list of steps";
pub(super) const UNIT: &str = "a unit name such as `fibridge.service`";
/// More attempts than this in one incident are no limit.
const MOST_ATTEMPTS: u32 = 1000;
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
/// Keys that mean nothing where there is nothing to recover.
const NEEDS_UNIT: [&str; 5] = ["max_attempts", "backoff", "grace", "respect_stop", "respect_conflict"];

/// Checks what a check says of its recovery.
pub(super) fn recovery(
    check: &Table<'_>,
    unit: Option<&UnitName>,
    defaults: &Defaults,
    report: &mut Report,
) -> Recovery {
    let standard = Recovery::default();
    let written = check.get("recover").map(|field| (field, steps(field, report)));
    if check.get("unit").is_none() {
        if let Some((field, Some(steps))) = &written
            && !steps.is_empty()
        {
            report.error(&field.at, "nothing to recover: the check has no `unit`");
        }
        for field in NEEDS_UNIT.iter().filter_map(|key| check.get(key)) {
            report.warn(&field.at, "without effect: the check has no `unit`");
        }
    }
    let steps = match (written, unit) {
        (Some((field, Some(steps))), Some(unit)) => {
            if let Some(impossible) = steps.iter().find(|step| !can(unit, step)) {
                let what = impossible.describe();
                report.error(
                    &field.at,
                    format!("systemd has no {what} for {unit}: `none`, or `start` of another unit"),
                );
            }
            steps
        }
        (None, Some(unit)) => inherited(unit, defaults),
        _ => Vec::new(),
    };
    Recovery {
        steps,
        max_attempts: check.get("max_attempts").and_then(|field| max_attempts(field, report)),
        backoff: check.get("backoff").and_then(|field| backoff(field, report)).unwrap_or(standard.backoff),
        grace: defaults::duration(check, "grace", Duration::ZERO, report).unwrap_or(defaults.grace),
        respect_stop: defaults::respected(check, "respect_stop", report).unwrap_or(defaults.respect_stop),
        respect_conflict: defaults::respected(check, "respect_conflict", report)
            .unwrap_or(defaults.respect_conflict),
    }
}

/// What is done where the check itself does not say: what `defaults` say as far as the unit can do it, else a restart
/// of a service.
fn inherited(unit: &UnitName, defaults: &Defaults) -> Vec<Step> {
    match &defaults.recover {
        Some(steps) => steps.iter().filter(|step| can(unit, step)).cloned().collect(),
        None if unit.as_str().ends_with(".service") => vec![Step::Restart],
        None => Vec::new(),
    }
}

/// Whether systemd has such a job for that kind of unit: a device comes by itself, and a scope's processes are started
/// by others.
fn can(unit: &UnitName, step: &Step) -> bool {
    let kind = unit.as_str().rsplit_once('.').map_or("", |(_, kind)| kind);
    match step {
        Step::StartUnit(_) => true,
        Step::Stop => kind != "device",
        Step::Restart | Step::Start | Step::Reload => !matches!(kind, "device" | "scope"),
    }
}

/// One step or a list of them. Empty for `none`.
pub(super) fn steps(field: &Field<'_>, report: &mut Report) -> Option<Vec<Step>> {
    if field.as_text() == Some("none") {
        return Some(Vec::new());
    }
    let items = field.items();
    if items.is_empty() {
        report.error(&field.at, "the list is empty; `none` switches recovery off");
        return None;
    }
    let steps: Vec<Option<Step>> = items.iter().map(|item| step(item, report)).collect();
    steps.into_iter().collect()
}

fn step(field: &Field<'_>, report: &mut Report) -> Option<Step> {
    if field.is_map() {
        let table = field.open_table(STEPS, report)?;
        let fields = table.into_fields();
        return match fields.as_slice() {
            [("start", unit)] => unit.parsed(UNIT, report, UnitName::new).map(Step::StartUnit),
            [(key, field)] if WORDS.contains(key) => {
                report.error(&field.at, "only `start` can name another unit");
                None
            }
            [(key, field)] => {
                report.error(&field.at, suggestions::unknown_key(key, &["start"]));
                None
            }
            _ => {
                report.error(&field.at, "a step is one word or `start: UNIT`; write several as a list");
                None
            }
        };
    }
    let Some(text) = field.as_text() else { return field.expected(STEPS, report) };
    match text {
        "restart" => Some(Step::Restart),
        "start" => Some(Step::Start),
        "stop" => Some(Step::Stop),
        "reload" => Some(Step::Reload),
        "none" => {
            report.error(&field.at, "`none` is not a step; write `recover: none`");
            None
        }
        other if UnitName::new(other).is_ok() => {
            report.error(&field.at, format!("to start another unit, write `{{ start: {other} }}`"));
            None
        }
        other => {
            report.error(&field.at, suggestions::unknown_word(other, WORDS));
            None
        }
    }
}

fn max_attempts(field: &Field<'_>, report: &mut Report) -> Option<u32> {
    if field.is_zero() {
        report.error(&field.at, "at least 1; `recover: none` switches recovery off");
        return None;
    }
    field.number(1, MOST_ATTEMPTS, report)
}

fn backoff(field: &Field<'_>, report: &mut Report) -> Option<Backoff> {
    let standard = Backoff::default();
    let table = field.table(&["initial", "max"], report)?;
    let initial = defaults::duration(&table, "initial", SHORTEST_BACKOFF, report);
    let Some(longest) = table.get("max") else {
        let initial = initial.unwrap_or(standard.initial);
        return Some(Backoff { initial, max: standard.max.max(initial) });
    };
    let max = longest.duration(AtLeast(SHORTEST_BACKOFF), report)?;
    if initial.is_some_and(|initial| initial > max) {
        report.error(&longest.at, "shorter than `initial`");
        return None;
    }
    Some(Backoff { initial: initial.unwrap_or(standard.initial).min(max), max })
}
