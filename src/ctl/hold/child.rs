//! The command of a hold, as a child process.
//!
//! In: a command line. Out: its exit status. It has the terminal, and none of our descriptors. It is started by way of
//! this program ([`exec`]), so that it gets SIGTERM if we are killed: what was to run while a unit is held must not go
//! on, with the unit's port, when nobody holds it any more.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};

use futures_util::FutureExt as _;
use rustix::process::{Pid, getppid, kill_process, set_parent_process_death_signal};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::say;
use crate::ctl::exit::{Exit, Failure};
use crate::ctl::text::sanitize;
use crate::lease::Held;

/// The shells' exit statuses for what is not there and for what cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// The signals that this process gets. While there is this, none of those that may end it does.
pub(super) struct Signals {
    child: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until somebody wants an end of this process.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// Whether this process was told to end, and not only its command. What came from the terminal is forgotten: it was
    /// meant for the command.
    fn told_to_end(&mut self) -> bool {
        while self.interrupt.recv().now_or_never().is_some() || self.quit.recv().now_or_never().is_some() {}
        self.terminate.recv().now_or_never().is_some() || self.hangup.recv().now_or_never().is_some()
    }
}

/// How it went.
pub(super) struct Ended {
    /// The exit status, as a shell has it: 128 and the number of the signal where one ended the command.
    pub code: u8,
    /// This process was told to end meanwhile: by a shutdown, or because its terminal is gone.
    pub told_to_end: bool,
    /// To be heeded from now on.
    pub signals: Signals,
}

/// Runs the command to its end. `revoked` is called when the hold is over before that. Our own end is put off: Ctrl-C
/// reaches the command from the terminal, SIGTERM and SIGHUP are passed on to it.
///
/// # Errors
/// Where no process can be made.
pub(super) async fn run(command: &[OsString], lease: &Held, revoked: impl Fn()) -> Result<Ended, Failure> {
    drive(command, lease, revoked)
        .await
        .map_err(|error| Failure::new(Exit::Failed, format!("the command cannot be run: {error}")))
}

async fn drive(command: &[OsString], lease: &Held, revoked: impl Fn()) -> io::Result<Ended> {
    // Before there is a child, so that none of its signals is missed.
    let mut signals = Signals::new()?;
    // This very program, though its file may be replaced by an upgrade. The death signal comes when the thread ends
    // that made the child: this is the main thread, on which the runtime runs.
    let mut child = Command::new("/proc/self/exe")
        .arg0("stealthctl")
        .args(["hold-exec", "--parent", &std::process::id().to_string(), "--"])
        .args(command)
        .spawn()?;
    let pid = Pid::from_child(&child);
    let (mut held, mut told_to_end) = (true, false);
    loop {
        if let Some(status) = child.try_wait()? {
            let told_to_end = signals.told_to_end() || told_to_end;
            return Ok(Ended { code: code(status), told_to_end, signals });
        }
        let pass_on = tokio::select! {
            _ = signals.child.recv() => None,
            _ = signals.interrupt.recv() => None,
            _ = signals.quit.recv() => None,
            _ = signals.terminate.recv() => Some(rustix::process::Signal::TERM),
            _ = signals.hangup.recv() => Some(rustix::process::Signal::HUP),
            () = lease.revoked(), if held => {
                held = false;
                revoked();
                None
            }
        };
        if let Some(signal) = pass_on {
            told_to_end = true;
            // Not waited for yet, so the number is still its own. That it may be gone is no error.
            let _ = kill_process(pid, signal);
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
    if let Err(error) = set_parent_process_death_signal(Some(rustix::process::Signal::TERM)) {
        say(&format!("the command cannot be tied to this process: {error}"));
        return ExitCode::from(NOT_EXECUTABLE);
    }
    // It may have been killed before that took effect.
    let ours = u32::try_from(Pid::as_raw(getppid())).ok();
    if ours != Some(parent) {
        return ExitCode::from(NOT_EXECUTABLE);
    }
    let error = Command::new(program).args(arguments).exec();
    say(&format!("{}: {error}", sanitize(&program.to_string_lossy())));
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
