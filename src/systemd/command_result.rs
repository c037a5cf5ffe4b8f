//! What the run of a command means: readings and results in, an [`Observation`] out. Pure.
//!
//! The command's exit status is its verdict. Where the command could not be run, or not to its end, the state of the target
//! is unknown, and the sentence gives the command that helps.

use std::time::Duration;

use super::calls::Failure;
use super::refusals::refusal;
use crate::text::{from_status, sanitize};
use crate::unit::{ActiveState, JobResult, UnitName, UnitState};
use crate::verdict::Observation;

/// `CLD_EXITED`, as `ExecMainCode` has it.
const EXITED: i32 = 1;
/// Exit statuses that stand for the step at which systemd could not run a process (systemd.exec(5), "Process Exit Codes").
const NOT_RUN: std::ops::RangeInclusive<i32> = 200..=243;
/// `EXIT_EXEC` and `EXIT_STDIN` of these; `stealthctl run-probe` uses them too, with a sentence.
const EXEC: i32 = 203;
const STDIN: i32 = 208;
/// By which a monitoring plugin says that it could not measure (Monitoring Plugins Development Guidelines, "Plugin Return
/// Codes"). Of other programs the same status is a failure (`systemctl is-active`: not running), so the plugin's word must
/// be there as well.
const PLUGIN_UNKNOWN: (i32, &str) = (3, "UNKNOWN");
/// Shells and `stealthctl run-probe` make a signal a status by adding this.
const SIGNALLED: i32 = 128;
/// The most of the command's last line that goes into a verdict, in characters: what `stealthctl run-probe` passes on.
const LINE: usize = 500;

/// Whose units these are: how one calls systemctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manager {
    System,
    User,
}

impl Manager {
    /// To stand before a command's own options.
    fn option(self) -> &'static str {
        match self {
            Self::System => "",
            Self::User => "--user ",
        }
    }
}

/// What was read of a unit that runs a command.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub state: UnitState,
    /// `StatusText`: the last line of the command's output.
    pub status_text: String,
}

impl Reading {
    /// Nothing is under way on the unit any more.
    pub fn is_over(&self) -> bool {
        self.state.job.is_none()
            && !matches!(self.state.active, ActiveState::Activating | ActiveState::Deactivating)
    }
}

fn unknown(reason: impl Into<String>) -> Observation {
    Observation::Unknown { reason: reason.into() }
}

fn failing(reason: impl Into<String>) -> Observation {
    Observation::Failing { reason: reason.into() }
}

/// The run has ended; `job` is the result of its job, where a signal showed it.
pub(super) fn ended(
    unit: &UnitName,
    job: Option<&JobResult>,
    reading: &Reading,
    latency: Duration,
    manager: Manager,
) -> Observation {
    let state = &reading.state;
    let option = manager.option();
    match job {
        Some(JobResult::Done) | None if state.active == ActiveState::Active && state.main_pid == 0 => {
            exited(unit, reading, latency, manager)
        }
        Some(JobResult::Canceled) => unknown(format!("another job stopped or started {unit} while it ran")),
        Some(JobResult::Failed | JobResult::Timeout) | None if state.active == ActiveState::Failed => {
            match state.result.as_str() {
                // The administrator's own limit, in a drop-in: the command was given its time.
                "timeout" => {
                    failing("no result within the time that its unit allows, the command was killed")
                }
                "oom-kill" => unknown(format!(
                    "the command was killed for lack of memory; if it needs more than its unit may have: `systemctl \
                     {option}edit {unit}`"
                )),
                word => unknown(format!(
                    "systemd could not run the command (Result: {word}): see `journalctl {option}-u {unit}`"
                )),
            }
        }
        job => {
            let ended = job.map(|job| format!(", its job ended: {job}")).unwrap_or_default();
            unknown(format!(
                "{unit} has no result ({}{ended}): see what drop-ins make of it, `systemctl {option}cat {unit}`",
                state.describe()
            ))
        }
    }
}

/// The main process has ended.
fn exited(unit: &UnitName, reading: &Reading, latency: Duration, manager: Manager) -> Observation {
    let UnitState { exit_code, exit_status: status, .. } = reading.state;
    let line = sanitize(from_status(&reading.status_text).trim(), LINE);
    if exit_code != EXITED {
        let how = reading.state.describe_exit().unwrap_or_else(|| "nothing was run".to_owned());
        return unknown(format!("there is no verdict: {how} ({unit})"));
    }
    if status == 0 {
        let detail = if line.is_empty() { "exited with status 0".to_owned() } else { line };
        return Observation::Passing { detail, latency };
    }
    if NOT_RUN.contains(&status) {
        return unknown(not_run(unit, status, &line, manager));
    }
    // Only then, for a shell may have made the status of one of its own commands.
    if line.starts_with(&format!("killed by signal {}", status - SIGNALLED)) {
        return failing(line);
    }
    let colon = if line.is_empty() { "" } else { ": " };
    let reason = format!("exited with status {status}{colon}{line}");
    let (unknown_status, word) = PLUGIN_UNKNOWN;
    if status == unknown_status && line.contains(word) { unknown(reason) } else { failing(reason) }
}

/// The command was not run.
fn not_run(unit: &UnitName, status: i32, line: &str, manager: Manager) -> String {
    let option = manager.option();
    match status {
        EXEC | STDIN if !line.is_empty() => line.to_owned(),
        STDIN => format!(
            "{unit} was not given its command line: `systemctl {option}reload stealthcheck` writes it for systemd to read"
        ),
        _ if !line.is_empty() => {
            format!("exited with status {status}, which means that a command could not be run: {line}")
        }
        _ => format!(
            "systemd could not prepare the run of the command (status {status}: `systemd-analyze exit-status {status}`): \
             see `journalctl {option}-u {unit}`"
        ),
    }
}

/// systemd did not queue the job.
pub(super) fn refused(unit: &UnitName, failure: &Failure, manager: Manager) -> Observation {
    if failure.name.ends_with(".NoSuchUnit") {
        let option = manager.option();
        return unknown(format!(
            "systemd knows no {unit}: install the package of stealthcheck again, or run `systemctl {option}daemon-reload`"
        ));
    }
    unknown(refusal("restart", unit, failure))
}

/// It has ended, and its unit cannot be read.
pub(super) fn unread(unit: &UnitName, failure: &Failure) -> Observation {
    unknown(format!("systemd does not tell what became of {unit}: {failure}"))
}

/// The unit has begun another run.
pub(super) fn superseded() -> Observation {
    unknown("another run of the command has taken its place")
}

/// The deadline is over, and it had not ended. `began`: the command was running. `stop`: why it could not be stopped.
pub(super) fn overdue(
    unit: &UnitName,
    timeout: Duration,
    began: bool,
    stop: Option<&Failure>,
) -> Observation {
    if !began {
        return unknown(format!("systemd had not begun to run the command within {timeout:?} (see {unit})"));
    }
    failing(match stop {
        None => format!("no result within {timeout:?}, the command was killed"),
        Some(failure) => {
            let refusal = refusal("stop", unit, failure);
            format!("no result within {timeout:?}, and the command may still run: {refusal}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> UnitName {
        UnitName::new("stealthcheck-probe@disk.service").unwrap()
    }

    fn reading(active: ActiveState, code: i32, status: i32, text: &str) -> Reading {
        let state = UnitState { active, exit_code: code, exit_status: status, ..UnitState::default() };
        Reading { state, status_text: text.to_owned() }
    }

    fn done(code: i32, status: i32, text: &str) -> Observation {
        let reading = reading(ActiveState::Active, code, status, text);
        ended(&unit(), Some(&JobResult::Done), &reading, Duration::from_millis(3), Manager::System)
    }

    fn is_unknown(observation: &Observation, says: &str) {
        let Observation::Unknown { reason } = observation else { panic!("{observation:?}") };
        assert!(reason.contains(says), "{reason}");
    }

    #[test]
    fn exit_status_decides_and_the_last_line_is_the_detail() {
        let passing = |detail: &str| Observation::Passing {
            detail: detail.to_owned(),
            latency: Duration::from_millis(3),
        };
        assert_eq!(done(EXITED, 0, "DISK OK"), passing("DISK OK"));
        assert_eq!(done(EXITED, 0, ""), passing("exited with status 0"));
        assert_eq!(done(EXITED, 2, "DISK\u{1b}[2J"), failing("exited with status 2: DISK\\u{1b}[2J"));
        assert_eq!(done(EXITED, 1, " "), failing("exited with status 1"));
        assert_eq!(done(EXITED, 255, "x"), failing("exited with status 255: x"));
        is_unknown(&done(EXITED, 3, "DNS UNKNOWN - no resolver"), "exited with status 3: DNS UNKNOWN");
        assert_eq!(done(EXITED, 3, "inactive"), failing("exited with status 3: inactive"));
        assert_eq!(done(EXITED, 137, "killed by signal 9 (KILL)"), failing("killed by signal 9 (KILL)"));
        assert_eq!(done(EXITED, 137, "gone"), failing("exited with status 137: gone"));
    }

    #[test]
    fn command_not_run_to_its_end_is_unknown() {
        is_unknown(&done(EXITED, 203, "check_dsik is not found"), "check_dsik is not found");
        is_unknown(&done(EXITED, 208, ""), "`systemctl reload stealthcheck`");
        is_unknown(&done(EXITED, 226, ""), "systemd-analyze exit-status 226");
        is_unknown(&done(2, 9, "half a"), "killed by signal 9");
        is_unknown(&done(0, 0, ""), "nothing was run");
        let inactive = reading(ActiveState::Inactive, EXITED, 0, "OK of the run before");
        for job in [JobResult::Done, JobResult::Dependency, JobResult::Other("assert".into())] {
            let seen = ended(&unit(), Some(&job), &inactive, Duration::ZERO, Manager::User);
            is_unknown(&seen, "`systemctl --user cat stealthcheck-probe@disk.service`");
        }
        let canceled = Some(&JobResult::Canceled);
        let seen = ended(
            &unit(),
            canceled,
            &reading(ActiveState::Active, EXITED, 0, ""),
            Duration::ZERO,
            Manager::System,
        );
        is_unknown(&seen, "another job");
        let mut failed = reading(ActiveState::Failed, EXITED, 0, "");
        for (result, says) in [("oom-kill", "memory"), ("resources", "Result: resources")] {
            failed.state.result = result.to_owned();
            let seen = ended(&unit(), Some(&JobResult::Failed), &failed, Duration::ZERO, Manager::System);
            is_unknown(&seen, says);
        }
    }

    #[test]
    fn missed_deadline_counts_only_if_the_command_ran() {
        let five = Duration::from_secs(5);
        assert_eq!(
            overdue(&unit(), five, true, None),
            failing("no result within 5s, the command was killed")
        );
        is_unknown(&overdue(&unit(), five, false, None), "had not begun");
        let failure = Failure { name: String::new(), text: String::new(), silent: true };
        let Observation::Failing { reason } = overdue(&unit(), five, true, Some(&failure)) else { panic!() };
        assert!(reason.contains("may still run"), "{reason}");
        let mut failed = reading(ActiveState::Failed, 2, 15, "");
        failed.state.result = "timeout".to_owned();
        let seen = ended(&unit(), Some(&JobResult::Failed), &failed, Duration::ZERO, Manager::System);
        assert!(matches!(seen, Observation::Failing { .. }), "{seen:?}");
    }
}
