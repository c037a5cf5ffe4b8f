//! `job:`, a unit that must run every so often.
//!
//! In: its field. Out: a probe. When the job ran is seen when the daemon runs.

use std::time::Duration;

use crate::check::{JobProbe, Schedule};
use crate::config::field::{AtLeast, Field, Table};
use crate::config::mail::transpose;
use crate::config::report::Report;

const KEYS: &[&str] = &["succeeded_within", "max_runtime"];
const SHORTEST: Duration = Duration::from_secs(1);

/// Checks `job:`, a mapping. No run may take longer than the time between two, unless `max_runtime` is shorter.
pub(super) fn probe(field: &Field<'_>, report: &mut Report) -> Option<JobProbe> {
    let table = field.table(KEYS, report)?;
    let within =
        table.need("succeeded_within", report).and_then(|field| field.duration(AtLeast(SHORTEST), report));
    let longest = table.get("max_runtime").map(|field| field.duration(AtLeast(SHORTEST), report));
    let (succeeded_within, longest) = (within?, transpose(longest)?);
    Some(JobProbe { succeeded_within, max_runtime: longest.unwrap_or(succeeded_within) })
}

/// Checks that the check names the unit that is the job.
pub(super) fn requires_unit(field: &Field<'_>, check: &Table<'_>, report: &mut Report) {
    if check.get("unit").is_none() {
        report.error(&field.at, "the check has no `unit`: name the job, or its timer");
    }
}

/// The schedule of such a check: one look is enough, as no look can be unlucky. `counted`: `defaults` say after how
/// many failures a check is down.
pub(super) fn inherited(from: &Schedule, counted: bool) -> Schedule {
    let failure_threshold = if counted { from.failure_threshold } else { 1 };
    Schedule { failure_threshold, ..from.clone() }
}
