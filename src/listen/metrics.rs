//! The report as Prometheus reads it: the text format 0.0.4. Pure.
//!
//! In: a [`Report`]. Out: text. Names follow Prometheus' conventions: base units (seconds), `_total` for counters,
//! moments as Unix time, no label whose values grow without bound. Whatever stands in a label is escaped.
//! Formats and names: https://prometheus.io/docs/instrumenting/exposition_formats/,
//! https://prometheus.io/docs/practices/naming/

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::Report;
use crate::status::CheckStatus;
use crate::time::Wall;
use crate::verdict::{Health, Observation};

/// All metrics.
pub(super) fn text(report: &Report) -> String {
    let mut out = Metrics(String::new());
    of_the_daemon(report, &mut out);
    of_mail(report, &mut out);
    of_checks(report, &mut out);
    of_recoveries(report, &mut out);
    out.0
}

fn of_the_daemon(report: &Report, out: &mut Metrics) {
    let status = &report.status;
    let version = Labels(&[("version", &status.version)]).to_string();
    out.family("build_info", "gauge", "Which stealthcheck this is.", [(version, 1.0)]);
    out.one("start_time_seconds", "gauge", "When the daemon started.", moment(status.started));
    out.one(
        "main_loop_timestamp_seconds",
        "gauge",
        "When the main loop produced this report.",
        moment(status.at),
    );
    let configuration = &status.configuration;
    out.one(
        "config_last_reload_successful",
        "gauge",
        "Whether the last reload was accepted; 0: it was rejected, and the previous configuration is running.",
        truth(configuration.refused.is_none()),
    );
    out.one(
        "config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the running configuration was loaded.",
        moment(configuration.loaded),
    );
    let help = "Number of alerts about stealthcheck itself; the status lists them.";
    out.one("alerts", "gauge", help, count(status.alerts.len()));
}

fn of_mail(report: &Report, out: &mut Metrics) {
    let mail = &report.status.mail;
    let help = "Whether the configuration has a mail section.";
    out.one("mail_configured", "gauge", help, truth(mail.configured));
    out.one("mail_queue_size", "gauge", "Mails that the server has not accepted yet.", count(mail.queued));
    let waited = mail.oldest.map(|oldest| report.status.at.since(oldest)).unwrap_or_default();
    out.one(
        "mail_queue_oldest_age_seconds",
        "gauge",
        "How long the oldest queued mail has waited; 0 where there is none.",
        seconds(waited),
    );
    let help = "How many addresses the mail server rejects permanently.";
    out.one("mail_addresses_rejected", "gauge", help, count(mail.refused.len()));
    let help = "Whether the last delivery failed.";
    out.one("mail_delivery_failing", "gauge", help, truth(mail.last_error.is_some()));
    let help = "Mails removed since the daemon started, because too many waited for the mail server.";
    out.one("mails_removed_total", "counter", help, mail.removed_total as f64);
    let help = "Mails about checks accepted by the server since the daemon started.";
    out.one("mails_delivered_total", "counter", help, report.counters.delivered as f64);
}

fn of_checks(report: &Report, out: &mut Metrics) {
    let checks = &report.status.checks;
    let seen = |check: &CheckStatus, number: fn(&Observation) -> Option<f64>| {
        check.last.as_ref().and_then(|seen| number(&seen.observation))
    };
    out.one("checks", "gauge", "How many checks are configured.", count(checks.len()));
    let up = checks.iter().map(|check| {
        let unit = check.unit.as_ref().map_or("", |unit| unit.as_str());
        let labels = Labels(&[("check", check.name.as_str()), ("unit", unit)]).to_string();
        (labels, truth(check.incident.is_none()))
    });
    out.family("check_up", "gauge", "Whether the check is up: 0 while it has an incident.", up);
    let health = checks.iter().flat_map(|check| {
        Health::WORDS.iter().map(move |word| {
            let labels = Labels(&[("check", check.name.as_str()), ("health", word)]).to_string();
            (labels, truth(check.health.word() == *word))
        })
    });
    out.family(
        "check_state",
        "gauge",
        "The state of the check: 1 for the current state, 0 for the others.",
        health,
    );
    let since = checks.iter().map(|check| (of(check), moment(check.since)));
    out.family("check_state_since_timestamp_seconds", "gauge", "When the check entered its state.", since);
    let last = checks.iter().filter_map(|check| Some((of(check), moment(check.last.as_ref()?.last))));
    out.family("check_last_probe_timestamp_seconds", "gauge", "When the check was last probed.", last);
    let success = checks.iter().filter_map(|check| {
        let success = seen(check, |observation| match observation {
            Observation::Passing { .. } => Some(1.0),
            Observation::Failing { .. } | Observation::NotRestartable { .. } => Some(0.0),
            Observation::Unknown { .. } => None,
        });
        Some((of(check), success?))
    });
    let help = "Whether the last probe passed; absent where its result is unknown.";
    out.family("check_last_probe_success", "gauge", help, success);
    let latency = checks.iter().filter_map(|check| {
        let latency = seen(check, |observation| match observation {
            Observation::Passing { latency, .. } => Some(seconds(*latency)),
            _ => None,
        });
        Some((of(check), latency?))
    });
    let help = "How long the last probe took, where it passed.";
    out.family("check_last_probe_duration_seconds", "gauge", help, latency);
}

fn of_recoveries(report: &Report, out: &mut Metrics) {
    let checks = &report.status.checks;
    let open = checks.iter().filter(|check| check.incident.is_some());
    out.one("incidents_open", "gauge", "How many checks have an incident.", count(open.count()));
    let since = checks
        .iter()
        .filter_map(|check| Some((of(check), check.incident.as_ref().map(|open| moment(open.since))?)));
    out.family("incident_start_timestamp_seconds", "gauge", "When the open incident began.", since);
    let needy = checks.iter().map(|check| {
        (of(check), truth(check.incident.as_ref().is_some_and(|incident| incident.action_required)))
    });
    out.family(
        "check_action_required",
        "gauge",
        "Whether the recovery steps were ineffective and an operator must act.",
        needy,
    );
    let counted = |number: fn(super::counters::OfCheck) -> u64| {
        checks.iter().map(move |check| (of(check), number(report.counters.get(&check.name)) as f64))
    };
    let help = "Incidents opened since the daemon started.";
    out.family("incidents_total", "counter", help, counted(|check| check.incidents));
    let help = "Recovery jobs requested from systemd since the daemon started.";
    out.family("recovery_attempts_total", "counter", help, counted(|check| check.recoveries));
}

/// The text as it grows.
struct Metrics(String);

impl Metrics {
    /// A metric without labels.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help, [(String::new(), value)]);
    }

    /// A metric, a sample for each set of labels.
    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) {
        let out = &mut self.0;
        // Writing to a String cannot fail.
        let _ = write!(out, "# HELP stealthcheck_{name} {help}\n# TYPE stealthcheck_{name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(out, "stealthcheck_{name}{labels} {value}");
        }
    }
}

fn of(check: &CheckStatus) -> String {
    Labels(&[("check", check.name.as_str())]).to_string()
}

/// Names and values, in braces.
struct Labels<'l>(&'l [(&'l str, &'l str)]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}=\"", if i == 0 { '{' } else { ',' })?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')?;
        }
        f.write_char('}')
    }
}

fn count(n: usize) -> f64 {
    n as f64
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn moment(at: Wall) -> f64 {
    at.0 as f64 / 1000.0
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
