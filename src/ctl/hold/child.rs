//! The command of a hold, as a child process.
//!
//! In: a command line. Out: its exit status. It has the terminal, and none of our descriptors. It is started by way of this
//! program ([`exec`]), so that it gets SIGTERM if we are killed: what was to run while a unit is held must not go on, with
//! the unit's port, when nobody holds it any more.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use super::say;
use crate::ctl::exit::{Exit, Failure};
use crate::ctl::text::inert;
use crate::lease::Held;

/// The shells' exit statuses for what is not there and for what cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Runs the command to its end. `revoked` is called when the hold is over before that. Our own end is put off: Ctrl-C
/// reaches the command from the terminal, SIGTERM and SIGHUP are passed on to it. Its exit status is that of a shell:
/// 128 and the number of the signal where one ended it.
///
/// # Errors
/// Where no process can be made.
pub(super) async fn run(command: &[OsString], lease: &Held, revoked: impl Fn()) -> Result<u8, Failure> {
    drive(command, lease, revoked)
        .await
        .map_err(|error| Failure::new(Exit::Failed, format!("the command cannot be run: {error}")))
}

async fn drive(command: &[OsString], lease: &Held, revoked: impl Fn()) -> io::Result<u8> {
    // Before there is a child, so that none of its signals is missed.
    let mut ended = signal(SignalKind::child())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // This very program, though its file may be replaced by an upgrade. The death signal comes when the thread ends that
    // made the child: this is the main thread, on which the runtime runs.
    let mut child = Command::new("/proc/self/exe")
        .arg0("stealthctl")
        .args(["hold-exec", "--parent", &std::process::id().to_string(), "--"])
        .args(command)
        .spawn()?;
    let pid = Pid::from_child(&child);
    let mut held = true;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(code(status));
        }
        // Not waited for yet, so the number is still its own. That it may be gone is no error.
        let pass_on = |signal| {
            let _ = kill_process(pid, signal);
        };
        tokio::select! {
            _ = ended.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
            _ = terminate.recv() => pass_on(Signal::TERM),
            _ = hangup.recv() => pass_on(Signal::HUP),
            () = lease.revoked(), if held => {
                held = false;
                revoked();
            }
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// In the child: ties its life to that of `parent`, and becomes the command.
pub(in crate::ctl) fn exec(parent: u32, command: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = command.split_first() else { return ExitCode::from(NOT_FOUND) };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        say(&format!("the command cannot be tied to this process: {error}"));
        return ExitCode::from(NOT_EXECUTABLE);
    }
    // It may have been killed before that took effect.
    let ours = u32::try_from(Pid::as_raw(getppid())).ok();
    if ours != Some(parent) {
        return ExitCode::from(NOT_EXECUTABLE);
    }
    let error = Command::new(program).args(arguments).exec();
    say(&format!("{}: {error}", inert(&program.to_string_lossy())));
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_the_shells() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }
}
