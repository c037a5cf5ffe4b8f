//! Which probe a check has: one key for each kind, at most one in a check, none where the unit's own state is the
//! check.
//!
//! In: a check's table. Out: its [`Probe`]. How the settings of a kind are written is in the file of that kind; a new
//! kind is a file here and a line in [`KINDS`].

pub(super) mod command;
mod dns;
mod http;
mod job;
mod tcp;
mod tls;
mod usage;
mod words;

use std::sync::Arc;

pub(super) use tls::warn_of_restarts_in_vain;

use super::defaults::Defaults;
use super::field::{Field, Table};
use super::placeholders;
use super::report::Report;
use crate::check::{HostPort, Probe, Schedule};

/// What an address looks like, in problems.
const ADDRESS: &str = "HOST:PORT, such as `127.0.0.1:9001`";

/// The address of a `tcp` or `tls` probe.
fn address(text: &str) -> Result<HostPort, String> {
    placeholders::refuse(text, placeholders::WRITE_VALUE)?;
    HostPort::parse(text)
}

/// Reads the settings of one kind.
type Reader = fn(&Field<'_>, &mut Report) -> Option<Probe>;

/// The key of each kind, and how it is read.
const KINDS: &[(&str, Reader)] = &[
    ("http", |field, report| http::probe(field, report).map(|probe| Probe::Http(Arc::new(probe)))),
    ("tcp", |field, report| tcp::probe(field, report).map(|probe| Probe::Tcp(Arc::new(probe)))),
    ("tls", |field, report| tls::probe(field, report).map(|probe| Probe::Tls(Arc::new(probe)))),
    ("dns", |field, report| dns::probe(field, report).map(|probe| Probe::Dns(Arc::new(probe)))),
    ("command", |field, report| command::probe(field, report).map(|probe| Probe::Command(Arc::new(probe)))),
    ("cpu", |field, report| usage::cpu(field, report).map(|probe| Probe::Usage(Arc::new(probe)))),
    ("memory", |field, report| usage::memory(field, report).map(|probe| Probe::Usage(Arc::new(probe)))),
    ("job", |field, report| job::probe(field, report).map(Probe::Job)),
];

/// What a check without a probe and without a unit is told.
pub(super) fn nothing_to_check() -> String {
    let kinds: Vec<String> = KINDS.iter().map(|(key, _)| format!("`{key}`")).collect();
    let kinds = match kinds.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => kinds.concat(),
    };
    format!("nothing to check: a check has a `unit`, or a probe ({kinds}), or both")
}

/// The probe of a check; `None` where it has none that could be used, which is in the report.
pub(super) fn probe(table: &Table<'_>, report: &mut Report) -> Option<Probe> {
    let mut written = KINDS.iter().filter_map(|(key, read)| Some((table.get(key)?, read)));
    let Some((field, read)) = written.next() else {
        if table.get("unit").is_some() {
            return Some(Probe::Unit);
        }
        report.error(&table.at, nothing_to_check());
        return None;
    };
    for (second, _) in written {
        report.error(&second.at, "a second probe: a check has only one; write another check for it");
    }
    let probe = read(field, report)?;
    Some(match probe {
        Probe::Job(job) => {
            job::requires_unit(field, table, report);
            Probe::Job(job)
        }
        Probe::Usage(usage) => {
            usage::fits(&usage, field, table, report);
            Probe::Usage(usage)
        }
        other => other,
    })
}

/// The schedule of a check with this probe: what it says itself, over what `defaults` say and what suits the probe.
pub(super) fn schedule(
    probe: Option<&Probe>,
    table: &Table<'_>,
    defaults: &Defaults,
    report: &mut Report,
) -> Schedule {
    let (from, counted) = (&defaults.schedule, defaults.failure_threshold_written);
    match probe {
        Some(Probe::Usage(usage)) => {
            let inherited = usage::inherited(usage, from, counted);
            let schedule = super::defaults::schedule(table, &inherited, report);
            usage::settle(usage, schedule, table, report)
        }
        Some(Probe::Job(_)) => super::defaults::schedule(table, &job::inherited(from, counted), report),
        _ => super::defaults::schedule(table, from, report),
    }
}
