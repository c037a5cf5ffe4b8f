//! `cpu:` and `memory:`.
//!
//! In: their fields, and whether the check has a unit. Out: a probe. Whether the machine counts what a unit uses is
//! seen when the daemon runs.

use std::time::Duration;

use crate::check::{Percent, Schedule, Size, UsageLimit, UsageProbe, UsedBy};
use crate::config::duration::show;
use crate::config::field::{AtLeast, Field, Table};
use crate::config::report::Report;
use crate::unit::UnitName;

const CPU_KEYS: &[&str] = &["below", "over", "of", "percent_of"];
const MEMORY_KEYS: &[&str] = &["below", "over", "of"];
/// A use for less time than this is a spike, whatever it is.
const OVER: Duration = Duration::from_mins(5);
const SHORTEST_OVER: Duration = Duration::from_secs(1);
/// Units that have processes of their own, and so a cgroup (systemd.resource-control(5)).
const WITH_PROCESSES: [&str; 6] = ["service", "scope", "slice", "socket", "mount", "swap"];

const PERCENT: &str = "a percentage such as `10%`";
const AMOUNT: &str = "a size such as `1.5G`, or a percentage such as `80%`";

/// Checks `cpu:`, a mapping or only the limit.
pub(super) fn cpu(field: &Field<'_>, report: &mut Report) -> Option<UsageProbe> {
    let Some(table) = mapping(field, CPU_KEYS, report)? else {
        let below = percent(field, report)?;
        return Some(UsageProbe { of: UsedBy::Unit, limit: UsageLimit::OneCpu(below), over: OVER });
    };
    let of = of(&table, report);
    let counted = match table.get("percent_of") {
        Some(field) => field.word("`cpu` or `machine`", &["cpu", "machine"], report),
        None if of == Some(UsedBy::Host) => {
            report.error(
                &table.at,
                "`percent_of` is missing: `machine` where 100% are all CPUs, `cpu` where 100% are one",
            );
            None
        }
        None => Some("cpu"),
    };
    let below = table.need("below", report);
    let (below, over) =
        (below.and_then(|field| percent(field, report).map(|n| (field, n))), over(&table, report));
    let ((field, below), counted) = (below?, counted?);
    let machine = counted == "machine";
    if machine && below > Percent::WHOLE {
        report.error(&field.at, "more than the machine has: 100% are all its CPUs");
        return None;
    }
    let limit = if machine { UsageLimit::AllCpus(below) } else { UsageLimit::OneCpu(below) };
    Some(UsageProbe { of: of?, limit, over: over? })
}

/// Checks `memory:`, a mapping or only the limit.
pub(super) fn memory(field: &Field<'_>, report: &mut Report) -> Option<UsageProbe> {
    let Some(table) = mapping(field, MEMORY_KEYS, report)? else {
        return Some(UsageProbe { of: UsedBy::Unit, limit: amount(field, report)?, over: OVER });
    };
    let of = of(&table, report);
    let limit = table.need("below", report).and_then(|field| amount(field, report));
    let over = over(&table, report);
    Some(UsageProbe { of: of?, limit: limit?, over: over? })
}

/// The table of a mapping; nothing within where only the limit is written.
fn mapping<'t>(
    field: &Field<'t>,
    keys: &'static [&'static str],
    report: &mut Report,
) -> Option<Option<Table<'t>>> {
    let limit_alone = field.as_text().is_some() || field.is_integer();
    if limit_alone { Some(None) } else { field.table(keys, report).map(Some) }
}

fn of(table: &Table<'_>, report: &mut Report) -> Option<UsedBy> {
    let Some(field) = table.get("of") else { return Some(UsedBy::Unit) };
    field.word("`unit` or `host`", &["unit", "host"], report).map(|word| match word {
        "host" => UsedBy::Host,
        _ => UsedBy::Unit,
    })
}

fn over(table: &Table<'_>, report: &mut Report) -> Option<Duration> {
    table.get("over").map_or(Some(OVER), |field| field.duration(AtLeast(SHORTEST_OVER), report))
}

fn percent(field: &Field<'_>, report: &mut Report) -> Option<Percent> {
    let percent = if let Some(number) = field.as_integer() {
        Percent::parse(&number.to_string()).map_err(|sentence| report.error(&field.at, sentence)).ok()?
    } else {
        field.parsed(PERCENT, report, Percent::parse)?
    };
    if percent.0 == 0 {
        report.error(&field.at, "nothing is below 0%");
        return None;
    }
    Some(percent)
}

fn amount(field: &Field<'_>, report: &mut Report) -> Option<UsageLimit> {
    if field.as_text().is_some_and(|text| text.trim().ends_with('%')) {
        let percent = percent(field, report)?;
        if percent > Percent::WHOLE {
            report.error(&field.at, "more than there is: 100% is all of it");
            return None;
        }
        return Some(UsageLimit::Memory(percent));
    }
    let size = if let Some(number) = field.as_integer() {
        Size::parse(&number.to_string()).map_err(|sentence| report.error(&field.at, sentence)).ok()?
    } else {
        field.parsed(AMOUNT, report, Size::parse)?
    };
    if size.0 == 0 {
        report.error(&field.at, "nothing is below 0 bytes");
        return None;
    }
    Some(UsageLimit::Bytes(size.0))
}

/// Whether the check has the unit that the probe measures.
pub(super) fn fits(probe: &UsageProbe, field: &Field<'_>, check: &Table<'_>, report: &mut Report) {
    if probe.of == UsedBy::Host {
        return;
    }
    let Some(unit) = check.get("unit") else {
        report.error(&field.at, "the check has no `unit` to measure; `of: host` measures the whole machine");
        return;
    };
    // What is wrong with the name itself is told where the unit is read.
    let Some(Ok(unit)) = unit.as_text().map(UnitName::new) else { return };
    if !WITH_PROCESSES.contains(&unit.kind()) {
        report.error(&field.at, format!("a {} has no processes of its own that use anything", unit.kind()));
    }
}

/// The schedule of a check of what is used: what is inherited gives way to the window, in which there must be a second
/// sample, and the window is what forgives a spike. `counted`: `defaults` say after how many failures a check is down.
pub(super) fn inherited(probe: &UsageProbe, from: &Schedule, counted: bool) -> Schedule {
    let failure_threshold = if counted { from.failure_threshold } else { 1 };
    Schedule { interval: from.interval.min(probe.over), failure_threshold, ..from.clone() }
}

/// What is written of the schedule must leave room for a second sample; the samples keep their distance.
pub(super) fn settle(
    probe: &UsageProbe,
    mut schedule: Schedule,
    check: &Table<'_>,
    report: &mut Report,
) -> Schedule {
    if let Some(field) = check.get("interval")
        && schedule.interval > probe.over
    {
        let (interval, over) = (show(schedule.interval), show(probe.over));
        report.error(
            &field.at,
            format!(
                "{interval} is longer than `over`, which is {over}: a use is what is between two samples"
            ),
        );
    }
    if let Some(field) = check.get("retry_interval") {
        report.warn(&field.at, "without effect: usage is sampled every `interval`");
    }
    schedule.retry_interval = schedule.interval;
    schedule
}
