//! `max_response_time:`, an answer that takes too long is a failure.
//!
//! In: a check's table, its probe and its schedule. Out: the limit, if there is one. Where probe or `timeout` are
//! mistaken themselves, nothing is said of what depends on them.

use std::time::Duration;

use super::defaults::duration;
use super::duration::show;
use super::field::{AtLeast, Field, Table};
use super::report::Report;
use crate::check::{Probe, Schedule};

/// Latencies are measured in milliseconds.
const LEAST: Duration = Duration::from_millis(1);

/// Checks the key.
pub(super) fn max_response_time(
    check: &Table<'_>,
    probe: Option<&Probe>,
    schedule: &Schedule,
    report: &mut Report,
) -> Option<Duration> {
    let field = check.get("max_response_time")?;
    let limit = duration(check, "max_response_time", LEAST, report)?;
    match probe {
        Some(Probe::Unit) => {
            report
                .error(&field.at, "the state of a unit has no response time; use it in a check with a probe");
        }
        Some(probe) if !probe.has_response_time() => {
            report.error(&field.at, "this kind of probe has no response time");
        }
        _ if sound_timeout(check) && limit >= schedule.timeout => {
            let (limit, timeout) = (show(limit), show(schedule.timeout));
            let sentence = format!("{limit} must be shorter than `timeout`, which is {timeout}");
            report.error(&field.at, sentence);
        }
        _ => return Some(limit),
    }
    None
}

/// What is wrong with `timeout` has been said where that is read.
fn sound_timeout(check: &Table<'_>) -> bool {
    let sound = |field: &Field<'_>| field.duration(AtLeast(Duration::ZERO), &mut Report::default());
    check.get("timeout").is_none_or(|field| sound(field).is_some())
}
