//! `stealthctl run-probe`: runs the command of a check, inside the unit that stealthcheck-probe@.service makes for it.
//!
//! In: the command line, on standard input, which systemd has opened for the unit (`probe_files.rs` has written it).
//! Out: the command's exit status as its own, 128 and the signal's number where a signal ended it, and the last line of
//! its output as the unit's status text. It ends when the command ends, whatever that has left in the background: those
//! are systemd's to kill. It knows no deadline, and never speaks to the daemon.

mod output;

use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::text::sanitize;
use crate::service_manager;
use crate::text::to_status;
use crate::unit::signal_name;
use output::Output;

/// systemd's own statuses for what did not work (systemd.exec(5), "Process Exit Codes"): `EXIT_EXEC` and `EXIT_STDIN`.
/// The daemon takes them for "could not measure".
const EXEC: u8 = 203;
const STDIN: u8 = 208;
/// Longer is no command line that the configuration accepts, whatever its characters become in JSON.
const LONGEST: u64 = 1024 * 1024;
/// What is read at once: what a pipe holds, unless it is told otherwise (pipe(7)).
const CHUNK: usize = 64 * 1024;
/// After the command's end no more than so many chunks are read: something in the background may write without end.
const LAST_CHUNKS: usize = 16;

/// Why there is no verdict.
struct NotRun {
    status: u8,
    sentence: String,
}

/// Runs the command, and is the exit code.
pub(super) fn run_probe() -> ExitCode {
    let (status, line) = command_line().and_then(|argv| run(&argv)).unwrap_or_else(|not_run| {
        // Into the unit's journal; where that cannot be, the status text says it too.
        let _ = writeln!(io::stderr(), "{}", not_run.sentence);
        (not_run.status, not_run.sentence)
    });
    service_manager::last_word(&to_status(&line));
    ExitCode::from(status)
}

/// The command line that systemd has handed over.
fn command_line() -> Result<Vec<String>, NotRun> {
    let mut json = Vec::new();
    let read = io::stdin().lock().take(LONGEST).read_to_end(&mut json);
    let argv = read.ok().and_then(|_| serde_json::from_slice::<Vec<String>>(&json).ok());
    // What is in it may be secret, and serde quotes.
    argv.filter(|argv| !argv.is_empty()).ok_or_else(|| NotRun {
        status: STDIN,
        sentence: "there is no command line on standard input, where stealthcheck-probe@.service gives it"
            .to_owned(),
    })
}

/// Runs it to its end: the exit status, and the line to tell.
fn run(argv: &[String]) -> Result<(u8, String), NotRun> {
    let internal = |error: io::Error| NotRun {
        status: EXEC,
        sentence: format!("the command cannot be watched: {error}"),
    };
    let (program, arguments) =
        argv.split_first().ok_or_else(|| internal(io::ErrorKind::InvalidInput.into()))?;
    let (pipe, write) = io::pipe().map_err(internal)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(write.try_clone().map_err(internal)?)
        .stderr(write)
        // The status text is ours to say.
        .env_remove("NOTIFY_SOCKET")
        // A command that signals its process group does not mean this process.
        .process_group(0);
    let mut child =
        command.spawn().map_err(|error| NotRun { status: EXEC, sentence: not_executed(program, &error) })?;
    // With it go our ends for writing, or the pipe would never end.
    drop(command);
    let mut output = Output::to_stdout();
    let status = follow(&mut child, &pipe, &mut output).map_err(internal)?;
    Ok(verdict(status, &output.finish()))
}

/// Reads the output until the command ends.
fn follow(child: &mut Child, mut pipe: &PipeReader, output: &mut Output) -> io::Result<ExitStatus> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut chunk = vec![0; CHUNK];
    let mut open = true;
    loop {
        let mut watched = vec![PollFd::new(&ended, PollFlags::IN)];
        if open {
            watched.push(PollFd::new(pipe, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let [has_ended, has_output] =
            [0, 1].map(|n| watched.get(n).is_some_and(|fd| !fd.revents().is_empty()));
        if has_ended {
            break;
        }
        if has_output {
            let n = pipe.read(&mut chunk)?;
            open = n > 0;
            output.take(&chunk[..n]);
        }
    }
    // What the command itself has written is in the pipe; whoever else holds it open is not waited for.
    fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    for _ in 0..LAST_CHUNKS {
        match pipe.read(&mut chunk) {
            Ok(n) if n > 0 => output.take(&chunk[..n]),
            _ => break,
        }
    }
    child.wait()
}

/// The exit status to pass on, and the line to tell with it.
fn verdict(status: ExitStatus, last_line: &str) -> (u8, String) {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match (code, status.signal()) {
        (Some(code), _) => (code, last_line.to_owned()),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            let colon = if last_line.is_empty() { "" } else { ": " };
            let line = format!("killed by signal {signal}{}{colon}{last_line}", signal_name(signal));
            (u8::try_from(128 + signal).unwrap_or(u8::MAX), line)
        }
    }
}

/// Why the kernel did not execute the program: a sentence for the person who wrote its name.
fn not_executed(program: &str, error: &io::Error) -> String {
    let shown = sanitize(program);
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) if !program.contains('/') => {
            let path = std::env::var("PATH").unwrap_or_default();
            format!("{shown} is not found in PATH ({})", sanitize(&path))
        }
        Some(Errno::NOENT) if Path::new(program).exists() => {
            format!("{shown} cannot be executed: the interpreter that its first line names is not there")
        }
        Some(Errno::NOENT) => format!("{shown} does not exist, or cannot be seen in the unit's sandbox"),
        Some(Errno::NOEXEC) => {
            format!(
                "{shown} cannot be executed: it is no program, and no script whose first line names one (#!)"
            )
        }
        _ => format!("{shown} cannot be executed: {error}"),
    }
}
