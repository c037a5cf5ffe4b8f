//! `stealthctl`: what an administrator asks of the daemon and tells it.
//!
//! In: the command line, and the daemon's answers over D-Bus ([`crate::bus::client`]). Out: text and an exit code.
//! It keeps no state, and starts nothing but a reload, which systemd does, and the command of a hold. On units it acts
//! only for `hold --stop`, by the caller's own rights. (`run-probe` is another thing: the process in the unit of a
//! `command` probe, started by systemd.) What is drawn is drawn by pure functions ([`render`], [`detail`]); every
//! failure is one sentence for the person who must act.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::bus::Bus;

mod access;
mod account;
mod authorize;
mod commands;
pub mod detail;
mod exit;
mod hold;
pub mod import;
mod jobs;
pub mod page;
mod permitted_rule;
mod probe_files;
mod reload;
pub mod render;
mod run_probe;
mod staged;
pub mod style;
mod table;
pub mod text;
mod validate;
pub mod why;

#[cfg(test)]
mod tests;

pub use exit::{Exit, Failure};

use authorize::Places;
use style::Colour;

const EXIT_CODES: &str = "\
Exit codes:
  0   done; for status and check: all is well
  1   no such check, or it was tried and failed
  3   something is down (status), or did not pass (check)
  4   stealthcheck is not running
  64  wrong usage                  69  the bus or the daemon does not answer
  77  access denied                78  the configuration is invalid

Environment: NO_COLOR turns colours off.
See also: stealthcheck(8), stealthcheck.yaml(5), systemctl(1)";

/// Watch and direct stealthcheck, which keeps systemd units healthy.
///
/// Without a command: `status`.
#[derive(Debug, Parser)]
#[command(name = "stealthctl", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    /// Talk to the stealthcheck of the calling user instead of the machine's
    #[arg(long, global = true)]
    user: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how everything is, or the checks named in detail
    #[command(after_help = "Exit code: 0 all is well, 3 something is down, 4 stealthcheck is not running.\n\
        Checks that fail but are not down yet, are paused, stopped or starting do not count as down.")]
    Status(Status),
    /// Say why a check is as it is, and what was done about it or not
    ///
    /// For each check: what holds now, a line for each rule that applies, and what was decided before, oldest first.
    Why {
        /// Checks to explain
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// Print a list of everything as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        colour: ColourOption,
    },
    /// Probe now, and say what was seen
    #[command(after_help = "Exit code: 0 every check passed, 3 one did not.")]
    Check {
        /// Checks to probe
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        #[command(flatten)]
        colour: ColourOption,
    },
    /// Leave checks alone for a while: no recovery, no mail
    Pause {
        /// Checks to leave alone
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// For how long: 30m, 2h, 1d
        #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration)]
        for_: Duration,
    },
    /// End a pause before its time
    Resume {
        /// Paused checks
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Run a command while a unit is left alone, and started again afterwards
    ///
    /// Failures of the unit's checks do not count meanwhile: no recovery, no mail. The unit comes back when the command
    /// ends, or this is killed, or the time is over. The exit code is the command's.
    #[command(
        after_help = "Exit code: the command's own; 128+N where signal N ended it, 127 where it was not \
        found, 126 where it could not be run.\nWhere there is no hold the command is not run.\n\n\
        Example: stealthctl hold fibridge --stop -- certbot renew"
    )]
    Hold(hold::Hold),
    /// End somebody's hold
    Release {
        /// A check, a unit, or the id of a hold
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// The command of a hold, which is to end with it
    #[command(hide = true)]
    HoldExec {
        /// The process that has the hold
        #[arg(long)]
        parent: u32,
        /// The command
        #[arg(value_name = "COMMAND", last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Load the configuration again, as `systemctl reload stealthcheck` does
    ///
    /// All or nothing: a configuration with a mistake in it leaves the one in force as it is.
    Reload {
        /// Ask the daemon and not systemd: what ExecReload= runs
        #[arg(long, hide = true)]
        direct: bool,
    },
    /// Say what is wrong with a configuration: every mistake, with its line
    ///
    /// Reads FILE and the conf.d/*.yaml beside it. Needs no daemon, changes nothing.
    Validate {
        /// [default: /etc/stealthcheck/stealthcheck.yaml; with --user the one in $XDG_CONFIG_HOME/stealthcheck]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Have the daemon send a mail, and say what the mail server answered
    TestMail {
        /// To whom [default: the `to` of the configuration's mail section]
        #[arg(value_name = "ADDRESS")]
        to: Vec<String>,
    },
    /// Turn the files of the old stealthcheck into a configuration and units
    ///
    /// Reads its config.json and checks.json. Writes a directory, with a report of what to look at and how to install
    /// it. Installs and starts nothing itself.
    #[command(
        after_help = "Exit code: 0 done, 66 the old files cannot be read, 73 NEW cannot be written, 78 the old files\n\
        have mistakes, each of which is named with its place. See stealthcheck-import(7)."
    )]
    Import(import::Arguments),
    /// Accept the configuration, and write down what the daemon may ask systemd for
    ///
    /// Run by root when the service starts and reloads. Writes one line `VERB UNIT` for each thing that the configuration may
    /// ask for, a polkit rule that permits the same, and a copy of the accepted files, which the daemon loads. An invalid
    /// configuration changes none of them; the daemon reports it.
    #[command(hide = true)]
    Authorize {
        /// The configuration
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where to write
        #[arg(long, value_name = "FILE", default_value = "/run/stealthcheck.authorized")]
        output: PathBuf,
        /// Where to write the same as a rule of polkit's
        #[arg(
            long,
            value_name = "FILE",
            default_value = "/etc/polkit-1/rules.d/49-stealthcheck-permitted.rules"
        )]
        rule: PathBuf,
        /// Where the command lines of `command` probes go [default: where stealthcheck-probe@.service reads them]
        #[arg(long, value_name = "DIR")]
        probes: Option<PathBuf>,
        /// Where the accepted configuration goes [default: where `stealthcheck --accepted` reads it]
        #[arg(long, value_name = "FILE")]
        accepted: Option<PathBuf>,
    },
    /// Run the command of a check: what stealthcheck-probe@.service executes
    #[command(hide = true)]
    RunProbe,
}

#[derive(Debug, Default, Args)]
struct Status {
    /// Checks to show in detail
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    colour: ColourOption,
}

#[derive(Debug, Default, Args)]
struct ColourOption {
    /// Use colour: always, never, or auto (on a terminal, unless NO_COLOR is set)
    #[arg(long = "color", value_name = "WHEN", value_enum, default_value_t = Colour::Auto, hide_possible_values = true)]
    when: Colour,
}

/// The command: reads the arguments of this process, does what they say, and is the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own code for wrong usage is 2; help and version are no errors.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return exit.into();
        }
    };
    if let Some(Command::RunProbe) = cli.command {
        // Its exit code is the command's.
        return run_probe::run_probe();
    }
    match run(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            // Lines as lines; whatever else is in them, by whichever way it came there, only stands there.
            let lines: Vec<String> = failure.message.split('\n').map(text::sanitize).collect();
            let _ = writeln!(std::io::stderr(), "stealthctl: {}", lines.join("\n"));
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let bus = if cli.user { Bus::User } else { Bus::System };
    let command = match cli.command.unwrap_or_else(|| Command::Status(Status::default())) {
        // These need no daemon, and so no bus.
        Command::Validate { file } => return validate::validate(file, bus).map(ExitCode::from),
        Command::HoldExec { parent, command } => return Ok(hold::exec(parent, &command)),
        Command::Import(arguments) => return import::import(&arguments, bus).map(ExitCode::from),
        other => other,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(Exit::Failed, format!("no event loop could be made: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Hold(asked) => return hold::hold(bus, &asked).await,
            Command::Release { names } => hold::release(bus, &names).await,
            Command::Status(status) => commands::status(bus, &status).await,
            Command::Why { names, json, colour } => why::why(bus, &names, json, colour.when).await,
            Command::Check { names, colour } => commands::check(bus, &names, colour.when).await,
            Command::Pause { names, for_ } => commands::pause(bus, &names, for_).await,
            Command::Resume { names } => commands::resume(bus, &names).await,
            Command::Reload { direct: true } => reload::direct(bus).await,
            Command::Reload { direct: false } => reload::through_systemd(bus).await,
            Command::TestMail { to } => commands::test_mail(bus, &to).await,
            Command::Authorize { config, output, rule, probes, accepted } => {
                authorize::authorize(config, Places { output, rule, probes, accepted }, bus).await
            }
            Command::Validate { .. } | Command::RunProbe | Command::Import(_) | Command::HoldExec { .. } => {
                Ok(Exit::Ok)
            }
        }
        .map(ExitCode::from)
    })
}

/// Writes to standard output. A reader who has gone away (`| head`) has seen enough: that is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// A duration as the configuration writes it: `90s`, `30m`, `2h`, `1d`, and sums of these (`1h 30m`).
fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a duration such as 30m, 2h or 1d, not `{}`", text::sanitize(text));
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(expected());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(expected()),
        };
        let number: u64 = number.parse().map_err(|_| expected())?;
        let part = number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(expected)?;
        total = total.checked_add(part).ok_or_else(expected)?;
        rest = tail.trim_start();
    }
    if total.is_zero() {
        return Err("at least a second is needed".to_owned());
    }
    Ok(total)
}
