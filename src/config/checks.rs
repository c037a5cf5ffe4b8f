//! The third stage: a check's entry becomes a [`Check`] with every default filled in.
//!
//! In: the merged input's entries, the defaults and whether there is mail. Out: checks, and problems in the report.

use std::sync::Arc;
use std::time::Duration;

use super::MailSettings;
use super::defaults::{self, Defaults};
use super::field::Field;
use super::report::Report;
use super::{mail, probes, recover, response_time, self_protection};
use crate::check::{Alert, Check, CheckName, Probe};
use crate::unit::UnitName;

const KEYS: &[&str] = &[
    "unit",
    "http",
    "tcp",
    "tls",
    "dns",
    "command",
    "cpu",
    "memory",
    "job",
    "interval",
    "timeout",
    "retry_interval",
    "failure_threshold",
    "success_threshold",
    "max_response_time",
    "recover",
    "max_attempts",
    "backoff",
    "grace",
    "respect_stop",
    "respect_conflict",
    "alert",
    "runbook",
];
const ALERT_KEYS: &[&str] = &["to", "after", "repeat_interval", "unknown_after", "off"];

/// What holds for every check.
#[derive(Debug)]
pub(super) struct Common<'c> {
    pub defaults: &'c Defaults,
    pub mail: Option<&'c MailSettings>,
    /// There is a `mail:` section, sound or not.
    pub mail_written: bool,
}

/// Checks one entry. `None` where it has no name or no probe that could be used.
pub(super) fn check(
    name: &str,
    entry: &Field<'_>,
    common: &Common<'_>,
    report: &mut Report,
) -> Option<Check> {
    let name = CheckName::new(name).map_err(|message| report.error(&entry.at, message)).ok();
    if entry.is_null() {
        report.error(&entry.at, probes::nothing_to_check());
        return None;
    }
    let table = entry.table(KEYS, report)?;
    let unit = table.get("unit").and_then(|field| field.parsed(recover::UNIT, report, UnitName::new));
    let probe = probes::probe(&table, report);
    let mut schedule = probes::schedule(probe.as_ref(), &table, common.defaults, report);
    schedule.max_response_time = response_time::max_response_time(&table, probe.as_ref(), &schedule, report);
    if let Some(Probe::Command(_)) = probe {
        probes::command::bound_timeout(&table, schedule.timeout, report);
    }
    let mut recovery = recover::recovery(&table, unit.as_ref(), common.defaults, report);
    if let (Some(Probe::Unit), Some(unit), None) = (&probe, &unit, table.get("recover"))
        && recovery.steps.is_empty()
        && common.defaults.recover.as_ref().is_none_or(|steps| !steps.is_empty())
    {
        let why = match common.defaults.recover {
            Some(_) => "systemd has no such job for it",
            None => "only a service is restarted without `recover`",
        };
        report.warn(&table.at, format!("no recovery when {unit} fails, only notifications: {why}"));
    }
    if table.get("recover").is_none() && probe.as_ref().is_some_and(|probe| probe.job().is_some()) {
        // To run a job again at another time than its own is a decision: only who writes it takes it.
        recovery.steps.clear();
    }
    self_protection::look(&table, unit.as_ref(), &recovery, report);
    let alert = alert(table.get("alert"), common, report);
    let runbook =
        table.get("runbook").and_then(|field| field.text("text for the notified administrator", report));
    let runbook = runbook.map(Arc::from);
    let check = Check { name: name?, unit, probe: probe?, schedule, recovery, alert, runbook };
    if table.get("recover").is_none() {
        probes::warn_of_restarts_in_vain(&check, &table.at, report);
    }
    Some(check)
}

fn alert(field: Option<&Field<'_>>, common: &Common<'_>, report: &mut Report) -> Alert {
    let global = || common.mail.iter().flat_map(|mail| &mail.to).map(|to| Arc::from(to.as_str())).collect();
    let Defaults { repeat_interval, unknown_after, .. } = *common.defaults;
    let mut alert = Alert { to: global(), repeat_interval, unknown_after, ..Alert::default() };
    let Some(field) = field else { return alert };
    let Some(table) = field.table(ALERT_KEYS, report) else { return alert };
    if let Some(off) = table.get("off") {
        alert.off = off.truth(report).unwrap_or_default();
    }
    if let Some(to) = table.get("to")
        && let Some(addresses) = mail::addresses(to, report)
    {
        alert.to = addresses.into_iter().map(Arc::from).collect();
    }
    if let Some(after) = defaults::duration(&table, "after", Duration::ZERO, report) {
        alert.after = after;
    }
    if let Some(after) = defaults::duration(&table, "unknown_after", Duration::ZERO, report) {
        alert.unknown_after = after;
    }
    if let Some(repeat_interval) = defaults::repeat_interval(&table, report) {
        alert.repeat_interval = repeat_interval;
    }
    if !common.mail_written && !alert.off {
        report.warn(&field.at, "without effect: there is no `mail:` section");
    }
    alert
}
