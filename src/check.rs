//! The vocabulary of a check: what is probed, when, for which unit, and what is to be done about a failure.
//!
//! Values only, already validated: the configuration makes them, the engine and the probes read them. No I/O, no clock.

mod credential;
mod probe;
pub mod url;
mod usage;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::unit::UnitName;

pub use credential::{CredentialName, Source};
pub use probe::{
    CommandProbe, DnsProbe, HostPort, HttpProbe, JobProbe, Pattern, Probe, RecordKind, Starttls, StatusSet,
    TcpProbe, TlsProbe,
};
pub use url::Url;
pub use usage::{Percent, Size, UsageLimit, UsageProbe, UsedBy};

/// The name of a check: 1 to 64 of `A-Z a-z 0-9 . _ - @ :`. It stands in mails, metrics and file names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckName(Arc<str>);

impl CheckName {
    /// # Errors
    /// A sentence that says what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("a check needs a name".to_owned());
        }
        if name.len() > 64 {
            return Err("a check's name has at most 64 characters".to_owned());
        }
        if name.starts_with(['.', '-']) {
            return Err("a check's name begins with a letter or a digit".to_owned());
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-@:".contains(*c))) {
            Some(bad) => Err(format!(
                "{bad:?} is not allowed in a check's name (allowed: letters, digits and . _ - @ :)"
            )),
            None => Ok(Self(Arc::from(name))),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for CheckName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        Self::new(&name)
    }
}

impl From<CheckName> for String {
    fn from(name: CheckName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// One entry of the configuration, checked and with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Unique in the configuration.
    pub name: CheckName,
    /// The unit that it speaks for; without one a failure is only mailed.
    pub unit: Option<UnitName>,
    /// How to tell whether it is well.
    pub probe: Probe,
    /// When it is probed and how many results count.
    pub schedule: Schedule,
    /// What is done about a failure.
    pub recovery: Recovery,
    /// Who hears of it.
    pub alert: Alert,
    /// What the person who is woken should know; goes into every mail.
    pub runbook: Option<Arc<str>>,
}

/// Intervals and thresholds (rules 1 and 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From one probe to the next while all is well.
    pub interval: Duration,
    /// The deadline of one probe.
    pub timeout: Duration,
    /// From one probe to the next after a failure.
    pub retry_interval: Duration,
    /// Consecutive failures until the check is down.
    pub failure_threshold: u32,
    /// Consecutive successes until it passes again.
    pub success_threshold: u32,
    /// An answer that took longer than this is a failure, whatever it says.
    pub max_response_time: Option<Duration>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            retry_interval: Duration::from_secs(5),
            failure_threshold: 3,
            success_threshold: 1,
            max_response_time: None,
        }
    }
}

/// What is done about a failure (rules 4 to 6, 8 and 12).
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// The steps in order; each that did not help moves one up, the last is repeated. Empty: nothing is done.
    pub steps: Vec<Step>,
    /// At most so many attempts in one incident; `None`: they go on at the slowest pace.
    pub max_attempts: Option<u32>,
    /// From one attempt to the next.
    pub backoff: Backoff,
    /// After an attempt the unit has this long to come up: failures in it do not count.
    pub grace: Duration,
    /// How long a stop that somebody asked for is respected.
    pub respect_stop: Respect,
    /// How long the unit may be displaced by one that it conflicts with.
    pub respect_conflict: Respect,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            max_attempts: None,
            backoff: Backoff::default(),
            grace: Duration::from_secs(30),
            respect_stop: Respect::For(Duration::from_secs(300)),
            respect_conflict: Respect::For(Duration::from_secs(3600)),
        }
    }
}

impl Recovery {
    /// After this many failed attempts a person is needed: the steps' length, for a single step the number of
    /// attempts until the backoff has grown to its longest, and in any case `max_attempts`.
    #[must_use]
    pub fn exhausted_after(&self) -> u32 {
        let steps = match self.steps.len() {
            0 => return 0,
            1 => self.backoff.steps_to_max(),
            n => u32::try_from(n).unwrap_or(u32::MAX),
        };
        self.max_attempts.map_or(steps, |most| steps.min(most))
    }
}

/// Exponential spacing of attempts: `initial`, twice that, and so on up to `max`. 10 s to 5 min is what the kubelet
/// uses for restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Between the first attempt and the second.
    pub initial: Duration,
    /// The longest wait; a unit that stayed healthy for this long starts from `initial` again.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(10), max: Duration::from_secs(300) }
    }
}

impl Backoff {
    /// The least time from attempt number `attempt` (counted from 1) to the next.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        let doubled = attempt.saturating_sub(1).min(31);
        self.initial.saturating_mul(1 << doubled).min(self.max)
    }

    /// The number of attempts until the wait is the longest.
    #[must_use]
    pub fn steps_to_max(&self) -> u32 {
        (1..32).find(|n| self.delay(*n) >= self.max).unwrap_or(32)
    }
}

/// One step of a recovery steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// `RestartUnit` on the check's unit.
    Restart,
    /// `StartUnit` on the check's unit.
    Start,
    /// `StopUnit` on the check's unit.
    Stop,
    /// `ReloadUnit` on the check's unit.
    Reload,
    /// `StartUnit` on another unit.
    StartUnit(UnitName),
}

impl Step {
    /// As a clause of a sentence: `restart`, `start of gru-terminate.service`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Restart => "restart".to_owned(),
            Self::Start => "start".to_owned(),
            Self::Stop => "stop".to_owned(),
            Self::Reload => "reload".to_owned(),
            Self::StartUnit(unit) => format!("start of {unit}"),
        }
    }
}

/// How long it is respected that a unit is down because somebody stopped it, or because another unit took its place
/// (rules 12 and 8). The longer one is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Respect {
    /// Then the unit counts as down. Zero: at once.
    For(Duration),
    /// For as long as it lasts.
    Forever,
}

/// Who hears of a check, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Mail addresses (already the global ones where the check names none).
    pub to: Vec<Arc<str>>,
    /// The incident must have lasted this long before anybody is told.
    pub after: Duration,
    /// Between *still down* mails; `None` for none.
    pub repeat_interval: Option<Duration>,
    /// The check must have been impossible to measure for this long before somebody is told of that.
    pub unknown_after: Duration,
    /// Nobody is told.
    pub off: bool,
}

impl Alert {
    /// There is nobody to tell, or nobody who wants to hear.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.off || self.to.is_empty()
    }
}

impl Default for Alert {
    fn default() -> Self {
        Self {
            to: Vec::new(),
            after: Duration::ZERO,
            repeat_interval: None,
            // Longer than a resolver or the bus takes to be restarted, or a router.
            unknown_after: Duration::from_mins(10),
            off: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_longest() {
        let backoff = Backoff::default();
        let delays: Vec<u64> = (1..=8).map(|n| backoff.delay(n).as_secs()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(backoff.delay(u32::MAX), backoff.max);
    }

    #[test]
    fn a_single_step_is_exhausted_when_the_backoff_is_at_its_longest() {
        let mut recovery = Recovery { steps: vec![Step::Restart], ..Recovery::default() };
        assert_eq!(recovery.exhausted_after(), 6);
        recovery.max_attempts = Some(2);
        assert_eq!(recovery.exhausted_after(), 2);
        recovery.steps.clear();
        assert_eq!(recovery.exhausted_after(), 0);
    }

    #[test]
    fn check_names_are_plain() {
        assert!(CheckName::new("gru-dns.2@x:y").is_ok());
        for bad in ["", "a b", "-x", ".x", "a/b", "é", "a\nb"] {
            assert!(CheckName::new(bad).is_err(), "{bad}");
        }
    }
}
