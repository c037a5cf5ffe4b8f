//! Why no job is requested although an incident calls for one (rules 4 to 9, 14 and 16).
//!
//! One variant for each reason, with one wording and one code. It decides nothing; `group/permit.rs` chooses.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::CheckName;
use crate::time::{Wall, human};
use crate::unit::UnitName;

/// Why a recovery is withheld.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// The backoff has not ended, or an attempt is under way. The ordinary course, not reported.
    Backoff,
    /// The check passes again, but not yet often or long enough.
    PassesAgain,
    /// The unit has started not long ago and is within its grace.
    Grace,
    /// `max_attempts` of this incident are used up.
    MaxAttempts(u32),
    /// The check has no `recover:` steps.
    NoSteps,
    /// No step would change what the probe found (a certificate that was not renewed).
    NotRestartable,
    /// No step can be applied in the unit's present state (reload of a unit that is down).
    NoStepApplies,
    /// The unit is started repeatedly after failures already.
    CrashLoop,
    /// systemd has not reported the unit's state yet.
    Unread,
    /// There is no unit to act on: not found, masked, or an unusable file.
    Missing(String),
    /// A start job is queued or running.
    Starting,
    /// A stop job is queued or running.
    Stopping,
    /// systemd restarts the unit itself; when, if that is more than some seconds ahead.
    AutoRestart(Option<Wall>),
    /// The unit is masked, though it still runs.
    Masked,
    /// The unit is frozen.
    Frozen(UnitName),
    /// systemd skips the unit's start: an unmet condition or assertion.
    StartSkipped(String),
    /// A job that the daemon did not request is queued on the unit.
    JobQueued(String),
    /// The machine boots, and the unit has not been active yet.
    Booting,
    /// The machine shuts down.
    ShuttingDown,
    /// systemd cannot be reached over D-Bus.
    Unreachable,
    /// A unit that this one requires must be recovered first.
    Dependency(UnitName),
    /// A start would also start a unit that an operator (or a `stop` step) has stopped.
    WouldStart(UnitName),
    /// A start would stop a unit that is up and conflicts with this one, or with what is started.
    WouldStop(UnitName),
    /// A job would also start, restart or stop a unit whose `FailureAction=`, `SuccessAction=` or `StartLimitAction=` it
    /// might trigger.
    WouldTrigger(UnitName),
    /// A restart would also restart a unit that a command holds.
    WouldDisturb(UnitName),
    /// The unit was stopped by its own `stop` step.
    StoppedByStep,
    /// Another check of the unit acts on the unit itself first.
    OtherCheck(CheckName),
    /// One more start would hit the start limit of a transient unit, which cannot be reset.
    StartLimit(Wall),
    /// A failed job would trigger the unit's `FailureAction=`, `OnFailure=` or `JobTimeoutAction=`.
    FailureAction,
    /// A stop, also that of a restart, would trigger the unit's `SuccessAction=` or `OnSuccess=`; a reload might.
    SuccessAction,
    /// systemd refuses the job: the unit has this setting.
    Refused(&'static str),
    /// The socket's service runs: a restart would close the socket and could not open it again.
    SocketInUse(UnitName),
    /// Many checks fail together (`failed`, of `of`).
    Storm {
        /// How many began to fail together.
        failed: usize,
        /// Of how many.
        of: usize,
    },
    /// Other checks fail as well; the rest are probed first.
    Survey,
    /// After a storm the units are recovered one after the other.
    Staggered,
}

impl Withheld {
    /// It is the ordinary course of things: neither logged nor shown as a reason.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        matches!(self, Self::Backoff)
    }

    /// The same reason, whatever millisecond its time is worked out to be.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        const WAVERS: Duration = Duration::from_secs(2);
        let near = |(one, other): (Wall, Wall)| one.since(other).max(other.since(one)) <= WAVERS;
        match (self, other) {
            (Self::AutoRestart(one), Self::AutoRestart(other)) => one.zip(*other).is_none_or(near),
            (Self::StartLimit(one), Self::StartLimit(other)) => near((*one, *other)),
            _ => self == other,
        }
    }

    /// The reason in one word, for JSON, metrics and the journal's `WITHHELD=`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Backoff => "backoff",
            Self::PassesAgain => "passes-again",
            Self::Grace => "grace",
            Self::MaxAttempts(_) => "max-attempts",
            Self::NoSteps => "no-steps",
            Self::NotRestartable => "not-restartable",
            Self::NoStepApplies => "no-step-applies",
            Self::CrashLoop => "crash-loop",
            Self::Unread => "unread",
            Self::Missing(_) => "missing",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::AutoRestart(_) => "auto-restart",
            Self::Masked => "masked",
            Self::Frozen(_) => "frozen",
            Self::StartSkipped(_) => "start-skipped",
            Self::JobQueued(_) => "job-queued",
            Self::Booting => "booting",
            Self::ShuttingDown => "shutting-down",
            Self::Unreachable => "unreachable",
            Self::Dependency(_) => "dependency",
            Self::WouldStart(_) => "would-start",
            Self::WouldStop(_) => "would-stop",
            Self::WouldTrigger(_) => "would-trigger",
            Self::WouldDisturb(_) => "would-disturb",
            Self::StoppedByStep => "stopped-by-step",
            Self::OtherCheck(_) => "other-check",
            Self::StartLimit(_) => "start-limit",
            Self::FailureAction => "failure-action",
            Self::SuccessAction => "success-action",
            Self::Refused(_) => "refused",
            Self::SocketInUse(_) => "socket-in-use",
            Self::Storm { .. } => "storm",
            Self::Survey => "survey",
            Self::Staggered => "staggered",
        }
    }

    /// Only a person can change it: the incident needs one as soon as this is the reason.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::MaxAttempts(_)
                | Self::NotRestartable
                | Self::CrashLoop
                | Self::StoppedByStep
                | Self::StartSkipped(_)
                | Self::FailureAction
                | Self::SuccessAction
                | Self::Refused(_)
                | Self::WouldTrigger(_)
                | Self::Masked
                | Self::Frozen(_)
        )
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backoff => f.write_str("waiting for the backoff to end"),
            Self::PassesAgain => f.write_str("the check passes again; it must stay so to count as recovered"),
            Self::Grace => f.write_str("the unit has started not long ago (grace)"),
            Self::MaxAttempts(1) => f.write_str("1 attempt was made in this incident (max_attempts)"),
            Self::MaxAttempts(max) => write!(f, "{max} attempts were made in this incident (max_attempts)"),
            Self::NoSteps => f.write_str("no recovery is configured"),
            Self::NotRestartable => f.write_str("no job on the unit would change what the probe found"),
            Self::NoStepApplies => f.write_str("no configured step applies to the unit's present state"),
            Self::CrashLoop => {
                f.write_str("the unit is crash-looping: it is started again after each failure; another restart would not help")
            }
            Self::Unread => f.write_str("systemd has not reported the unit's state yet"),
            Self::Missing(what) => write!(f, "systemd cannot act on the unit: {what}"),
            Self::Starting => f.write_str("systemd is starting the unit"),
            Self::Stopping => f.write_str("systemd is stopping the unit"),
            Self::AutoRestart(None) => f.write_str("systemd itself is restarting the unit"),
            Self::AutoRestart(Some(at)) => {
                write!(f, "systemd itself restarts the unit at {} (RestartSec=)", clock_time(*at))
            }
            Self::Masked => f.write_str("the unit is masked"),
            Self::Frozen(unit) => write!(f, "{unit} is frozen: systemctl thaw {unit}"),
            Self::StartSkipped(which) => {
                write!(f, "systemd skips the unit's start: {which}; start it when that has changed")
            }
            Self::JobQueued(kind) => write!(f, "a {kind} job is queued on the unit"),
            Self::Booting => f.write_str("the machine is still booting"),
            Self::ShuttingDown => f.write_str("the machine is shutting down"),
            Self::Unreachable => f.write_str("systemd cannot be reached over D-Bus"),
            Self::Dependency(unit) => write!(f, "{unit}, which the unit depends on, must be recovered first"),
            Self::WouldStart(unit) => {
                write!(f, "it would start {unit}, which an operator has stopped or holds")
            }
            Self::WouldStop(unit) => {
                write!(f, "it would stop {unit}, which is up and conflicts with what would be started")
            }
            Self::WouldTrigger(unit) => write!(
                f,
                "it would also start, restart or stop {unit}, and might trigger an action of that unit which takes the machine down (FailureAction=, OnFailure=, SuccessAction=, OnSuccess=, JobTimeoutAction=, StartLimitAction=)"
            ),
            Self::WouldDisturb(unit) => write!(f, "it would also restart {unit}, which is held"),
            Self::StoppedByStep => f.write_str("the unit was stopped by its last recovery step (stop)"),
            Self::OtherCheck(check) => write!(f, "the check {check} recovers the unit first"),
            Self::StartLimit(until) => write!(
                f,
                "one more start would hit the unit's start limit, which ends at {}",
                clock_time(*until)
            ),
            Self::FailureAction => {
                f.write_str("a job that fails would trigger the unit's FailureAction=, OnFailure= or JobTimeoutAction=, which takes the machine down")
            }
            Self::SuccessAction => f.write_str(
                "the end of its run would trigger the unit's SuccessAction= or OnSuccess=, which takes the machine down",
            ),
            Self::Refused(setting) => write!(f, "systemd would refuse it: the unit has {setting}=yes"),
            Self::SocketInUse(service) => {
                write!(f, "{service} is running: a restart would close the socket; restart {service} instead")
            }
            Self::Storm { failed, of } => {
                write!(
                    f,
                    "storm: {failed} of {of} checks began to fail together; the cause is probably the machine"
                )
            }
            Self::Survey => f.write_str("other checks fail as well; the rest are probed first"),
            Self::Staggered => f.write_str("after a storm the units are recovered one after the other"),
        }
    }
}

/// The time of day in UTC, as the engine knows no time zone: `03:04:05 UTC`.
fn clock_time(at: Wall) -> String {
    let seconds = at.0.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// How long until `at`, in whole seconds, rounded up.
pub(super) fn human_until(now: crate::time::Mono, at: crate::time::Mono) -> String {
    let seconds = u64::try_from(at.since(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
    human(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of systemd's own restart is worked out anew at each look, and wavers by a millisecond.
    #[test]
    fn time_that_wavers_is_no_news() {
        let at = |millis| Withheld::AutoRestart(Some(Wall(millis)));
        assert!(at(1_000_000).is_same(&at(1_000_001)) && at(1_000_000).is_same(&Withheld::AutoRestart(None)));
        assert!(!at(1_000_000).is_same(&at(1_060_000)) && !at(1_000_000).is_same(&Withheld::Starting));
    }
}
