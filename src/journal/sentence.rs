//! The sentence for a transition, and how loud it is. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::Level;

use super::id;
use crate::check::Rung;
use crate::engine::{Change, What};
use crate::notice::Proof;
use crate::time::Wall;
use crate::unit::JobResult;
use crate::verdict::Health;

/// An entry to be written.
#[derive(Debug)]
pub(super) struct Entry {
    pub level: Level,
    pub message_id: Option<&'static str>,
    pub sentence: String,
}

/// The entry for a transition; `None` for one that another entry tells.
pub(super) fn of(change: &Change) -> Option<Entry> {
    let check = change.check.as_ref().map_or("", |check| check.as_str());
    let unit = change.unit.as_ref().map_or("", |unit| unit.as_str());
    let entry = |level, message_id, sentence| Some(Entry { level, message_id, sentence });
    match &change.what {
        What::Health { from, to, because } => health(check, from, to, because),
        What::IncidentOpened { cause } => {
            entry(Level::ERROR, Some(id::DOWN), format!("{check} is down: {cause}"))
        }
        What::IncidentClosed { attempts, .. } => {
            let after = match attempts {
                0 => String::new(),
                n => format!(" after {}", count(*n as usize, "recovery attempt")),
            };
            entry(Level::INFO, Some(id::RECOVERED), format!("{check} has recovered{after}"))
        }
        What::RecoveryAsked { number, rung } => entry(
            Level::WARN,
            Some(id::RECOVERY_ASKED),
            format!("asked systemd: {} (attempt {number})", job(rung, unit)),
        ),
        What::RecoveryEnded { rung, result: JobResult::Done, .. } => {
            entry(Level::INFO, Some(id::RECOVERY_ENDED), format!("{}: done", job(rung, unit)))
        }
        What::RecoveryEnded { rung, result, .. } => {
            entry(Level::ERROR, Some(id::RECOVERY_ENDED), format!("{}: {result}", job(rung, unit)))
        }
        What::RecoveryJudged { number, proof: Proof::Worked } => {
            entry(Level::INFO, None, format!("recovery attempt {number} for {check} has worked"))
        }
        What::RecoveryJudged { number, proof: Proof::DidNotHelp(why) } => {
            entry(Level::WARN, None, format!("recovery attempt {number} for {check} did not help: {why}"))
        }
        What::RecoveryHeldBack { why } => entry(
            Level::WARN,
            Some(id::HELD_BACK),
            format!("nothing is done about {unit} for {check}: {why}"),
        ),
        What::NeedsYou { why } => {
            entry(Level::ERROR, Some(id::NEEDS_YOU), format!("{check} needs you: {why}"))
        }
        What::UnitUnknown(true) => entry(
            Level::WARN,
            Some(id::UNKNOWN_UNIT),
            format!("systemd knows no unit {unit}, which the configuration names. Is the name right?"),
        ),
        What::UnitUnknown(false) => entry(Level::INFO, None, format!("systemd knows {unit} now")),
        // Its incident is told with this very cause.
        What::CrashLoop { .. } => None,
    }
}

/// Health changes that are not told by an incident.
fn health(check: &str, from: &Health, to: &Health, because: &str) -> Option<Entry> {
    let entry = |level, message_id, sentence| Some(Entry { level, message_id, sentence });
    match (from, to) {
        (Health::Paused { .. }, Health::Paused { .. }) => None,
        (_, Health::Paused { until }) => {
            entry(Level::INFO, Some(id::PAUSED), format!("{check} is paused until {}", local(*until)))
        }
        (Health::Paused { .. }, _) => {
            entry(Level::INFO, Some(id::RESUMED), format!("{check} is no longer paused"))
        }
        (Health::Stopped { .. }, Health::Stopped { .. }) => None,
        (_, Health::Stopped { until }) => {
            let lasting = until.map_or_else(
                || "left alone until it is started".to_owned(),
                |until| format!("counts as down from {}", local(until)),
            );
            entry(Level::INFO, None, format!("{check}: somebody stopped its unit; {lasting}"))
        }
        (Health::Stopped { .. }, Health::Passing) => {
            entry(Level::INFO, None, format!("{check}: its unit was started again"))
        }
        (Health::Starting, Health::Passing) => entry(Level::INFO, None, format!("{check} passes: {because}")),
        (_, Health::Failing { n, m }) => {
            entry(Level::INFO, None, format!("{check} is failing {n}/{m}: {because}"))
        }
        (Health::Failing { .. }, Health::Passing) => {
            entry(Level::INFO, None, format!("{check} passes again: {because}"))
        }
        _ => None,
    }
}

/// What a job does: `restart of fibridge.service`.
fn job(rung: &Rung, unit: &str) -> String {
    match rung {
        Rung::StartUnit(_) => format!("{} for {unit}", rung.describe()),
        _ => format!("{} of {unit}", rung.describe()),
    }
}

/// `1 check`, `5 checks`.
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// A moment in the machine's own time zone, as `systemctl` writes it.
pub(super) fn local(at: Wall) -> String {
    Timestamp::from_millisecond(at.0)
        .map(|at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string())
        .unwrap_or_else(|_| "an unknown time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckName;
    use crate::unit::UnitName;

    fn told(what: What) -> Option<(Level, String)> {
        let change = Change {
            check: Some(CheckName::new("gru").unwrap()),
            unit: Some(UnitName::new("gru.service").unwrap()),
            incident: None,
            what,
        };
        of(&change).map(|entry| (entry.level, entry.sentence))
    }

    #[test]
    fn transitions_are_sentences() {
        let cases = [
            (
                What::IncidentOpened { cause: "connection refused".into() },
                Level::ERROR,
                "gru is down: connection refused",
            ),
            (
                What::RecoveryAsked { number: 2, rung: Rung::Restart },
                Level::WARN,
                "asked systemd: restart of gru.service (attempt 2)",
            ),
            (
                What::RecoveryEnded { number: 2, rung: Rung::Restart, result: JobResult::Failed },
                Level::ERROR,
                "restart of gru.service: failed",
            ),
            (
                What::IncidentClosed { since: Wall(0), attempts: 1 },
                Level::INFO,
                "gru has recovered after 1 recovery attempt",
            ),
            (
                What::Health {
                    from: Health::Passing,
                    to: Health::Failing { n: 1, m: 3 },
                    because: "timeout".into(),
                },
                Level::INFO,
                "gru is failing 1/3: timeout",
            ),
        ];
        for (what, level, sentence) in cases {
            assert_eq!(told(what), Some((level, sentence.to_owned())));
        }
    }

    #[test]
    fn what_an_incident_tells_is_not_told_twice() {
        let down =
            What::Health { from: Health::Failing { n: 2, m: 3 }, to: Health::Down, because: String::new() };
        assert_eq!(told(down), None);
        let up = What::Health { from: Health::Down, to: Health::Passing, because: String::new() };
        assert_eq!(told(up), None);
    }
}
