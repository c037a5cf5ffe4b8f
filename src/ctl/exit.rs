//! How `stealthctl` ends: its exit codes, and the one sentence that goes with those that are not success. Pure.
//!
//! 0, 3 and 4 are what `systemctl status` and the LSB made of them (fine, not running, no such thing here); the others
//! are those of sysexits.h.

use std::process::ExitCode;

use super::text::sanitize;
use crate::bus::client::CallError;
use crate::bus::{Bus, Refusal};
use crate::status::{self, CheckStatus, Snapshot};
use crate::verdict::{Observation, State, SuppressedBy};

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and all is well.
    Ok = 0,
    /// No such check, or it was tried and failed.
    Failed = 1,
    /// Something is down, or could not be measured.
    Down = 3,
    /// The daemon is not running.
    NotRunning = 4,
    /// EX_USAGE: the command line makes no sense.
    Usage = 64,
    /// EX_NOINPUT: a file to be read is not there, or cannot be read.
    NoInput = 66,
    /// EX_UNAVAILABLE: the bus or the daemon does not answer.
    Unavailable = 69,
    /// EX_CANTCREAT: a file could not be written.
    CannotCreate = 73,
    /// EX_NOPERM: access denied.
    Denied = 77,
    /// EX_CONFIG: the configuration is invalid.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What `status` exits with.
pub(super) fn of_snapshot(snapshot: &Snapshot) -> Exit {
    if snapshot.checks.iter().any(is_down) { Exit::Down } else { Exit::Ok }
}

/// Whether somebody should look: an incident is open that nobody has set aside, or nothing is known.
fn is_down(check: &CheckStatus) -> bool {
    match (&check.health.suppressed_by, check.health.state) {
        // Where another unit is the reason, that one has an incident of its own.
        (Some(why), _) => *why == SuppressedBy::Storm,
        (None, State::Down | State::Unknown) => true,
        (None, State::Starting | State::Passing | State::Failing { .. }) => {
            check.incident.as_ref().is_some_and(|incident| incident.action_required)
        }
    }
}

/// What `check` exits with for one check: only what was seen counts.
pub(super) fn of_check(check: &CheckStatus) -> Exit {
    match check.last.as_ref().map(|seen| &seen.observation) {
        Some(Observation::Passing { .. }) => Exit::Ok,
        _ => Exit::Down,
    }
}

/// Why a command did not do what it should: the sentence for the person who must act, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// Printed after `stealthctl: `. Inert.
    pub message: String,
}

impl Failure {
    /// A failure with its sentence.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The daemon has rejected a configuration with these problems.
    pub(super) fn of_rejection(problems: &[String]) -> Self {
        Self::new(Exit::Config, format!("{}:\n{}", status::REJECTED, lines(problems)))
    }

    /// What a call that failed means to the person who made it.
    pub(super) fn of_call(error: &CallError, bus: Bus) -> Self {
        let systemctl = systemctl(bus);
        match error {
            CallError::NotRunning => Self::new(
                Exit::NotRunning,
                format!("stealthcheck is not running; start it: `{systemctl} enable --now stealthcheck`"),
            ),
            CallError::Unreachable(why) => {
                let why = sanitize(why);
                let hint = match bus {
                    Bus::System => "",
                    Bus::User => {
                        " (a user's bus is there while the user is logged in, or with `loginctl enable-linger NAME`; \
                         after `su`, also `export XDG_RUNTIME_DIR=/run/user/$(id -u)`)"
                    }
                };
                Self::new(Exit::Unavailable, format!("the {bus} cannot be reached: {why}{hint}"))
            }
            CallError::Denied(why) => {
                let hint = match bus {
                    Bus::System => "; try it with sudo",
                    Bus::User => "",
                };
                Self::new(
                    Exit::Denied,
                    format!("access denied: {}{hint}", sanitize(why.trim_end_matches('.'))),
                )
            }
            CallError::TimedOut => Self::new(
                Exit::Unavailable,
                format!("stealthcheck is running but does not answer; see `{systemctl} status stealthcheck`"),
            ),
            CallError::Unreadable(why) => Self::new(
                Exit::Unavailable,
                format!(
                    "stealthcheck's answer cannot be read: {}; if it was just upgraded: `{systemctl} restart stealthcheck`",
                    sanitize(why)
                ),
            ),
            CallError::Refused(Refusal::InvalidConfiguration(problems)) => Self::of_rejection(problems),
            CallError::Refused(Refusal::InvalidArgument(why)) => Self::new(Exit::Usage, sanitize(why)),
            CallError::Refused(refusal) => Self::new(Exit::Failed, sanitize(&refusal.to_string())),
        }
    }
}

/// How one calls systemctl for the service manager of a bus.
pub(super) fn systemctl(bus: Bus) -> &'static str {
    match bus {
        Bus::System => "systemctl",
        Bus::User => "systemctl --user",
    }
}

/// Lines as lines, each sanitized.
pub(super) fn lines<T: ToString>(lines: &[T]) -> String {
    lines.iter().map(|line| sanitize(&line.to_string())).collect::<Vec<_>>().join("\n")
}
