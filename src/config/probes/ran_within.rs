//! `ran_within:` and `runtime_max:`, a job that must run every so often.
//!
//! In: their fields. Out: a probe. When the job ran is seen when the daemon runs.

use std::time::Duration;

use crate::check::{RanWithin, Schedule};
use crate::config::field::{AtLeast, Field, Table};
use crate::config::report::Report;

const SHORTEST: Duration = Duration::from_secs(1);

/// Checks `ran_within:`, a duration.
pub(super) fn probe(field: &Field<'_>, report: &mut Report) -> Option<RanWithin> {
    let within = field.duration(AtLeast(SHORTEST), report)?;
    Some(RanWithin { within, runtime_max: within })
}

/// What stands beside `ran_within:` in the check: the unit that is the job, and how long it may run.
pub(super) fn fits(job: RanWithin, field: &Field<'_>, check: &Table<'_>, report: &mut Report) -> RanWithin {
    if check.get("unit").is_none() {
        report.error(&field.at, "the check has no `unit`: name the job, or its timer");
    }
    let written = check.get("runtime_max").and_then(|field| field.duration(AtLeast(SHORTEST), report));
    RanWithin { runtime_max: written.unwrap_or(job.runtime_max), ..job }
}

/// The schedule of such a check: one look is enough, as no look can be unlucky. `counted`: `defaults` say after how many
/// failures a check is down.
pub(super) fn inherited(from: &Schedule, counted: bool) -> Schedule {
    let fail_after = if counted { from.fail_after } else { 1 };
    Schedule { fail_after, ..from.clone() }
}
