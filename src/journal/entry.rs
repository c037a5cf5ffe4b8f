//! What is said of a transition: the sentence, how important it is, and the fields. Pure.
//!
//! Every field that packaging/stealthcheck.catalog uses in the text for an id is set on every entry with that id, as
//! far as the change names it.

use super::{hold, ids};
use crate::check::{CheckName, Step};
use crate::engine::{Change, ChangeKind};
use crate::notification::{AttemptOutcome, NotificationId};
use crate::time::Wall;
use crate::unit::{JobResult, UnitName};
use crate::verdict::{Health, State, SuppressedBy};

/// The journal's priorities that we use (syslog(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub priority: Priority,
    pub id: Option<&'static str>,
    pub message: String,
    pub check: Option<String>,
    pub unit: Option<String>,
    pub incident: Option<String>,
    pub reason: Option<String>,
    pub verb: Option<String>,
    pub result: Option<String>,
    pub until: Option<String>,
    pub checks: Option<String>,
}

impl Entry {
    pub fn new(priority: Priority, message: String) -> Self {
        Self {
            priority,
            id: None,
            message,
            check: None,
            unit: None,
            incident: None,
            reason: None,
            verb: None,
            result: None,
            until: None,
            checks: None,
        }
    }
}

/// The entry for a mail.
pub(super) fn of_mail(notification: &NotificationId, priority: Priority, message: String) -> Entry {
    Entry {
        check: notification.incident.check().map(str::to_owned),
        incident: Some(notification.incident.to_string()),
        ..Entry::new(priority, message)
    }
}

/// What the entry speaks of, by the name that says most.
fn subject(change: &Change) -> String {
    let check = change.check.as_ref().map(CheckName::to_string);
    check
        .or_else(|| change.unit.as_ref().map(UnitName::to_string))
        .unwrap_or_else(|| "the machine".to_owned())
}

/// A point in time as a person writes it, in the machine's time zone.
pub(super) fn at(time: Wall) -> String {
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(stamp) => {
            stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
        }
        Err(_) => "an unknown time".to_owned(),
    }
}

/// The entry for a transition; `None` where another entry says it.
pub(super) fn of_change(change: &Change) -> Option<Entry> {
    let name = subject(change);
    let unit = change.unit.as_ref().map_or_else(|| name.clone(), UnitName::to_string);
    let entry = match &change.what {
        ChangeKind::Health { from, to, because } => of_health(&name, &unit, from, to, because)?,
        ChangeKind::IncidentOpened { cause } => Entry {
            id: Some(ids::INCIDENT_OPENED),
            reason: Some(cause.clone()),
            ..Entry::new(Priority::Err, format!("{name} is down: {cause}"))
        },
        ChangeKind::IncidentClosed { since, passes: false, .. } => {
            let message = format!(
                "{name} is no longer monitored under this name and unit; it had been down since {}",
                at(*since)
            );
            Entry { id: Some(ids::INCIDENT_CLOSED), ..Entry::new(Priority::Notice, message) }
        }
        ChangeKind::IncidentClosed { since, attempts, helped, .. } => {
            let took = took(*attempts, *helped);
            let message = format!("{name} is passing again{took}; it was down since {}", at(*since));
            Entry { id: Some(ids::INCIDENT_CLOSED), ..Entry::new(Priority::Notice, message) }
        }
        ChangeKind::RecoveryRequested { number, step } => {
            let (verb, target) = order(step, &unit);
            let message = format!("{name}: requested {verb} of {target} (attempt {number})");
            Entry {
                id: Some(ids::RECOVERY_REQUESTED),
                verb: Some(catalog_verb(step)),
                ..Entry::new(Priority::Notice, message)
            }
        }
        ChangeKind::RecoveryEnded { number, step, result } => {
            let priority = match result {
                JobResult::Done => Priority::Info,
                JobResult::Refused(_) | JobResult::Unasked(_) => Priority::Err,
                JobResult::Withdrawn(_) => Priority::Notice,
                _ => Priority::Warning,
            };
            let message = format!("{name}: {} (attempt {number}) ended: {result}", step.describe());
            Entry {
                id: Some(ids::RECOVERY_ENDED),
                verb: Some(catalog_verb(step)),
                result: Some(result.to_string()),
                ..Entry::new(priority, message)
            }
        }
        ChangeKind::AttemptConcluded { number, outcome } => {
            let (priority, message, why) = match outcome {
                AttemptOutcome::Recovered => {
                    (Priority::Info, format!("{name}: attempt {number} recovered the check"), None)
                }
                AttemptOutcome::Ineffective(why)
                | AttemptOutcome::JobFailed(why)
                | AttemptOutcome::Interrupted(why)
                | AttemptOutcome::NotRequested(why) => {
                    let message = match outcome {
                        // (Its clause says how the job ended.)
                        AttemptOutcome::JobFailed(why) => format!("{name}: attempt {number} failed: {why}"),
                        _ => format!("{name}: attempt {number} was {outcome}"),
                    };
                    let priority = match outcome {
                        AttemptOutcome::Interrupted(_) => Priority::Notice,
                        _ => Priority::Warning,
                    };
                    (priority, message, Some(why.clone()))
                }
            };
            Entry { id: Some(ids::ATTEMPT_CONCLUDED), reason: why, ..Entry::new(priority, message) }
        }
        ChangeKind::RecoveryWithheld { why } => Entry {
            id: Some(ids::RECOVERY_WITHHELD),
            reason: Some(why.to_string()),
            ..Entry::new(Priority::Notice, format!("{name}: recovery withheld: {why}"))
        },
        ChangeKind::StepKept { step } => Entry::new(
            Priority::Notice,
            format!("{name}: it failed again soon; the steps continue with {}", step.describe()),
        ),
        ChangeKind::Flapping { incidents } => Entry::new(
            Priority::Err,
            format!(
                "{name} is flapping: {incidents} incidents within an hour; one notification until it is stable"
            ),
        ),
        ChangeKind::ActionRequired { why } => Entry {
            id: Some(ids::ACTION_REQUIRED),
            reason: Some(why.clone()),
            ..Entry::new(Priority::Err, format!("{name} requires action: {why}"))
        },
        ChangeKind::UnitUnknown(true) => Entry {
            id: Some(ids::UNIT_UNKNOWN),
            ..Entry::new(Priority::Warning, format!("systemd does not know the unit {unit}"))
        },
        ChangeKind::UnitUnknown(false) => Entry {
            id: Some(ids::UNIT_KNOWN),
            ..Entry::new(Priority::Info, format!("systemd now knows the unit {unit}"))
        },
        ChangeKind::HoldTaken { holder, until } => hold::taken(&unit, holder, *until),
        ChangeKind::HoldOver { holder, how } => hold::over(&unit, holder, *how),
        ChangeKind::HoldStartRequested { holder } => hold::start_asked(&unit, holder),
        ChangeKind::HoldStartEnded { result } => hold::start_ended(&unit, result),
        ChangeKind::StormBegan { checks, of } => Entry {
            id: Some(ids::STORM_BEGAN),
            checks: Some(checks.to_string()),
            ..Entry::new(
                Priority::Err,
                format!(
                    "storm: {checks} of {of} checks began to fail together; the machine is the likely cause, \
                     and no unit is restarted for it"
                ),
            )
        },
        ChangeKind::StormOver { since, passing, failing } => {
            let rest = match failing {
                0 => "all of them pass again".to_owned(),
                n => format!(
                    "{passing} of its checks pass again, {n} do not and are recovered one after the other"
                ),
            };
            let message = format!("the storm that began at {} has ended: {rest}", at(*since));
            Entry { id: Some(ids::STORM_OVER), ..Entry::new(Priority::Notice, message) }
        }
        ChangeKind::CrashLoop { restarts } => Entry {
            id: Some(ids::CRASH_LOOP),
            result: Some(restarts.to_string()),
            ..Entry::new(
                Priority::Err,
                format!("{name}: {unit} is crash-looping: it was started {restarts} times after failures"),
            )
        },
    };
    Some(Entry {
        check: change.check.as_ref().map(ToString::to_string),
        unit: change.unit.as_ref().map(ToString::to_string),
        incident: change.incident.as_ref().map(ToString::to_string),
        ..entry
    })
}

/// Quiet: what an incident's own entries say is not said twice, and of failures in a row only the first is told.
fn of_health(name: &str, unit: &str, from: &Health, to: &Health, because: &str) -> Option<Entry> {
    let (priority, id, message, until) = match (&from.suppressed_by, &to.suppressed_by) {
        (_, Some(SuppressedBy::Paused { until })) => {
            let until = at(*until);
            (Priority::Notice, ids::PAUSED, format!("{name} is paused until {until}"), Some(until))
        }
        (Some(SuppressedBy::Paused { .. }), _) => {
            (Priority::Notice, ids::RESUMED, format!("{name} is resumed"), None)
        }
        // The unit's own entries tell of holds, the machine's of storms.
        (_, Some(SuppressedBy::Held { .. } | SuppressedBy::Storm)) => return None,
        (_, Some(SuppressedBy::Stopped { until })) => {
            let (how_long, until) = match until.map(at) {
                Some(until) => (format!("until {until}"), Some(until)),
                None => ("for as long as it lasts".to_owned(), None),
            };
            let message =
                format!("{name}: {unit} was stopped by an operator; the stop is respected {how_long}");
            (Priority::Notice, ids::STOPPED, message, until)
        }
        (Some(SuppressedBy::Conflict { .. }), Some(SuppressedBy::Conflict { until, .. })) => {
            let message = format!("{name}: the unit that {unit} conflicts with has stopped or changed");
            (Priority::Debug, ids::CONFLICT, message, until.map(at))
        }
        (_, Some(SuppressedBy::Conflict { by, until })) => {
            let (how_long, until) = match until.map(at) {
                Some(until) => (format!("until {until}"), Some(until)),
                None => ("for as long as it lasts".to_owned(), None),
            };
            let message =
                format!("{name}: {by}, which conflicts with {unit}, is active; this is respected {how_long}");
            (Priority::Notice, ids::CONFLICT, message, until)
        }
        (Some(SuppressedBy::Dependency { by: before, .. }), Some(SuppressedBy::Dependency { by, until }))
            if before == by =>
        {
            let message = format!("{name}: the state of {by}, which {unit} requires, has changed");
            (Priority::Debug, ids::DEPENDENCY, message, until.map(at))
        }
        (_, Some(SuppressedBy::Dependency { by, until })) => {
            let message = format!("{name} is suppressed: {unit} requires {by}, which is down");
            (Priority::Notice, ids::DEPENDENCY, message, until.map(at))
        }
        (before, None) => match to.state {
            // An incident's own entries tell of these.
            State::Down | State::Starting => return None,
            State::Passing if *from == Health::DOWN || matches!(before, Some(SuppressedBy::Held { .. })) => {
                return None;
            }
            State::Unknown => {
                (Priority::Warning, ids::UNKNOWN, format!("{name} is unknown: {because}"), None)
            }
            State::Failing { n, m } => {
                let priority = if n <= 1 { Priority::Info } else { Priority::Debug };
                (priority, ids::HEALTH, format!("{name} is failing ({n}/{m}): {because}"), None)
            }
            State::Passing => (Priority::Info, ids::HEALTH, format!("{name} is passing: {because}"), None),
        },
    };
    Some(Entry { id: Some(id), reason: Some(because.to_owned()), until, ..Entry::new(priority, message) })
}

fn took(attempts: u32, helped: bool) -> String {
    match (attempts, helped) {
        (0, _) => String::new(),
        (1, true) => " after 1 recovery attempt".to_owned(),
        (n, true) => format!(" after {n} recovery attempts"),
        (1, false) => " after 1 recovery attempt that did not help".to_owned(),
        (n, false) => format!(" after {n} recovery attempts that did not help"),
    }
}

/// The verb and the unit of the job.
fn order(step: &Step, unit: &str) -> (&'static str, String) {
    match step {
        Step::Restart => ("restart", unit.to_owned()),
        Step::Start => ("start", unit.to_owned()),
        Step::Stop => ("stop", unit.to_owned()),
        Step::Reload => ("reload", unit.to_owned()),
        Step::StartUnit(other) => ("start", other.to_string()),
    }
}

/// The catalog puts the check's unit behind it: `restart web.service`, `start helper.service for web.service`.
fn catalog_verb(step: &Step) -> String {
    match step {
        Step::StartUnit(other) => format!("start {other} for"),
        _ => order(step, "").0.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::IncidentId;

    fn said(what: ChangeKind) -> Entry {
        said_maybe(what).unwrap()
    }

    fn said_maybe(what: ChangeKind) -> Option<Entry> {
        of_change(&Change {
            check: Some(CheckName::new("fibridge").unwrap()),
            unit: Some(UnitName::new("fibridge.service").unwrap()),
            incident: Some(IncidentId("fibridge-1".into())),
            what,
        })
    }

    #[test]
    fn transitions_read_as_sentences() {
        let down = said(ChangeKind::IncidentOpened { cause: "connection refused".into() });
        assert_eq!(down.message, "fibridge is down: connection refused");
        assert_eq!((down.priority, down.reason.as_deref()), (Priority::Err, Some("connection refused")));
        assert_eq!(down.incident.as_deref(), Some("fibridge-1"));

        let asked = said(ChangeKind::RecoveryRequested { number: 2, step: Step::Restart });
        assert_eq!(asked.message, "fibridge: requested restart of fibridge.service (attempt 2)");
        let other = Step::StartUnit(UnitName::new("helper.service").unwrap());
        let asked = said(ChangeKind::RecoveryRequested { number: 1, step: other });
        assert_eq!(asked.message, "fibridge: requested start of helper.service (attempt 1)");
        assert_eq!(asked.verb.as_deref(), Some("start helper.service for"));

        let refused = JobResult::Refused("it is masked".into());
        let ended = said(ChangeKind::RecoveryEnded { number: 1, step: Step::Restart, result: refused });
        assert_eq!(ended.message, "fibridge: restart (attempt 1) ended: rejected by systemd: it is masked");
        assert_eq!(ended.priority, Priority::Err);
    }

    #[test]
    fn nothing_is_said_twice() {
        let health = |from, to| said_maybe(ChangeKind::Health { from, to, because: "200 OK".into() });
        assert!(health(Health::PASSING, Health::DOWN).is_none());
        assert!(health(Health::DOWN, Health::PASSING).is_none());
        let first = health(Health::STARTING, Health::PASSING).unwrap();
        assert_eq!((first.priority, first.message.as_str()), (Priority::Info, "fibridge is passing: 200 OK"));
        let second =
            health(Health::of(State::Failing { n: 1, m: 3 }), Health::of(State::Failing { n: 2, m: 3 }))
                .unwrap();
        assert_eq!(second.priority, Priority::Debug);
    }

    #[test]
    fn a_pause_says_its_end() {
        let paused = SuppressedBy::Paused { until: Wall(1_795_345_200_000) };
        let paused = Health::PASSING.suppressed(paused);
        let (from, to) = (paused.clone(), paused);
        let paused = said(ChangeKind::Health { from: Health::PASSING, to, because: String::new() });
        assert_eq!(paused.id, Some(ids::PAUSED));
        assert!(paused.until.unwrap().starts_with("2026-11-22"));
        for to in [Health::PASSING, Health::DOWN, Health::STARTING] {
            let resumed = said(ChangeKind::Health { from: from.clone(), to, because: String::new() });
            assert_eq!(resumed.id, Some(ids::RESUMED));
        }
    }
}
