//! `stealthctl hold`: runs a command while a unit is left alone, and sees to it that the unit is up again afterwards.
//!
//! In: a check or a unit, and a command. Out: the command's own output and exit status, and few words on standard
//! error. The hold is a lease, a file descriptor that the daemon watches, and the command does not inherit it: however
//! this process ends, the daemon sees it close and brings the unit back. So nothing here has to be cleaned up. With
//! `--stop` the unit is stopped by the caller's own rights; the daemon has none to stop anything for a hold.

mod child;
mod jobs;
mod outcome;

use std::cell::Cell;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::commands::connect;
use super::exit::{Exit, Failure, systemctl};
use super::text::sanitize;
use super::{duration, print};
use crate::bus::client::{CallError, Client};
use crate::bus::{Bus, Grant, LONGEST_HOLD, Refusal};
use crate::check::CheckName;
use crate::lease::Held;
use crate::status::CheckStatus;
use crate::time::human;
use crate::unit::{ActiveState, UnitState};
use outcome::Outcome;

pub(super) use child::exec;

/// How long the unit's return is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

/// What is held, and what for.
#[derive(Debug, Args)]
pub(super) struct Hold {
    /// A check, or a unit that one speaks for
    #[arg(value_name = "NAME")]
    name: String,
    /// Stop the unit first; it is started again whatever happens
    #[arg(long)]
    stop: bool,
    /// The hold ends after this long though the command still runs: 10m, 2h, 1d at most
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = lasting)]
    for_: Duration,
    /// Do not wait for the unit to be up again
    #[arg(long)]
    no_wait: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<OsString>,
}

fn lasting(text: &str) -> Result<Duration, String> {
    let lasting = duration(text)?;
    if lasting > LONGEST_HOLD { Err("a hold lasts a day at most".to_owned()) } else { Ok(lasting) }
}

/// Words for the one at the terminal. Where standard error is gone nobody is left to be told.
fn say(sentence: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "stealthctl: {sentence}");
}

/// Has the unit held, runs the command, waits for the unit. The exit code is the command's.
pub(super) async fn hold(bus: Bus, asked: &Hold) -> Result<ExitCode, Failure> {
    let client = connect(bus).await?;
    let why = asked.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let grant = client
        .hold(&asked.name, &who(), &why, asked.for_)
        .await
        .map_err(|error| Failure::of_call(&error, bus))?;
    let began = Instant::now();
    let Grant { lease, unit, checks, .. } = grant;
    let lease = Held::new(lease).map_err(|error| {
        Failure::new(Exit::Unavailable, format!("stealthcheck's lease cannot be used: {error}"))
    })?;
    let name = sanitize(&unit);
    let mut before = None;
    if asked.stop {
        before = status_of(&client, &checks).await;
        // Where this fails the lease closes with the return, and the unit comes back if it went down at all.
        jobs::stop(client.connection(), &unit).await?;
        say(&format!("{name} is stopped, and held for {} at most", human(asked.for_)));
    } else {
        say(&format!("{name} is held for {} at most", human(asked.for_)));
    }
    let revoked = Cell::new(false);
    let revoke = || {
        revoked.set(true);
        say(&format!("the hold on {name} has ended; the command continues without it"));
    };
    let ended = child::run(&asked.command, &lease, revoke).await;
    lease.done();
    let child::Ended { code, told_to_end, mut signals } = ended?;
    // With --no-wait, or after a signal, the daemon starts the unit without being watched. Where it does not run, it must
    // be done here.
    let waits = !asked.no_wait && !told_to_end;
    if waits || asked.stop {
        let patience = if waits { PATIENCE } else { Duration::ZERO };
        let outcome = tokio::select! {
            outcome = brought_back(bus, &client, &checks, before.as_ref(), patience) => outcome,
            () = signals.end() => Outcome::Pending,
        };
        // A daemon that has dropped the hold with the check takes our stop for anybody's. But what has run since was started
        // after the hold, and stopped by somebody else.
        let state = before.as_ref().and_then(|check| check.unit_state.as_ref());
        let was_up = state.filter(|unit| unit.active == ActiveState::Active);
        // systemd forgets the run of a unit that nothing refers to; but a hold whose time ran out was not dropped.
        let expired = began.elapsed() >= asked.for_;
        let same_run = |run: &str, unit: &UnitState| match run {
            "" => !expired,
            run => run == unit.invocation_id,
        };
        let outcome = match outcome {
            Outcome::LeftStopped { run }
                if revoked.get() && was_up.is_some_and(|unit| same_run(&run, unit)) =>
            {
                Outcome::Dropped
            }
            outcome => outcome,
        };
        match outcome.left_to_holder() {
            Some(why) if asked.stop => start(bus, &client, &unit, why).await,
            None if waits => report(bus, &unit, asked.stop, outcome),
            _ => {}
        }
    }
    Ok(ExitCode::from(code))
}

/// How the first of these checks is before its unit is stopped.
async fn status_of(client: &Client, checks: &[CheckName]) -> Option<CheckStatus> {
    let snapshot = client.details(&[checks.first()?.as_str()]).await.ok()?;
    snapshot.checks.into_iter().next()
}

/// Waits, up to `patience`, for the state of the unit after the hold. `before`: the check before the hold; if it monitors
/// another unit now, its status does not describe this one.
async fn brought_back(
    bus: Bus,
    client: &Client,
    checks: &[CheckName],
    before: Option<&CheckStatus>,
    patience: Duration,
) -> Outcome {
    let names: Vec<&str> = checks.iter().take(1).map(CheckName::as_str).collect();
    let deadline = Instant::now() + patience;
    let mut again: Option<Client> = None;
    loop {
        let answer = again.as_ref().unwrap_or(client).details(&names).await;
        let outcome = match &answer {
            Ok(snapshot) => {
                let check = snapshot.checks.first();
                let of_unit = check.filter(|check| before.is_none_or(|before| check.unit == before.unit));
                of_unit.map_or(Outcome::Unguarded, outcome::of)
            }
            Err(CallError::Refused(Refusal::NoSuchCheck(_))) => Outcome::Unguarded,
            Err(error) => {
                if matches!(error, CallError::Unreachable(_)) {
                    again = Client::connect(bus).await.ok();
                }
                Outcome::Unknown
            }
        };
        if outcome.is_final() || Instant::now() >= deadline {
            return outcome;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Says what became of a unit that the daemon guards.
fn report(bus: Bus, unit: &str, stopped: bool, outcome: Outcome) {
    let name = sanitize(unit);
    let look = format!("see `{} status {name}`", systemctl(bus));
    match outcome {
        Outcome::Up if stopped => say(&format!("{name} is active again")),
        Outcome::LeftStopped { .. } => say(&format!("{name} was stopped before and stays stopped")),
        Outcome::Down(why) => say(&format!("{name} is not active again: {}; {look}", sanitize(&why))),
        Outcome::Pending => say(&format!("{name} is not active yet; {look}")),
        Outcome::Up | Outcome::Unguarded | Outcome::Dropped | Outcome::Unknown => {}
    }
}

/// Starts the unit that this command has stopped, as the daemon will not: why.
async fn start(bus: Bus, client: &Client, unit: &str, why: &str) {
    let name = sanitize(unit);
    // The bus may have been restarted meanwhile.
    let fresh = Client::connect(bus).await;
    let client = fresh.as_ref().unwrap_or(client);
    match jobs::start(client.connection(), unit).await {
        Ok(()) => say(&format!("{why}, so stealthctl started {name}")),
        Err(failure) => say(&format!("{why}, and {name} stays stopped: {}", failure.message)),
    }
}

/// Who has the hold, for those who see it in the status: `alice (pid 4711)`.
fn who() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = ["SUDO_USER", "LOGNAME", "USER"].into_iter().find_map(set);
    let user = user.unwrap_or_else(|| match rustix::process::getuid().as_raw() {
        0 => "root".to_owned(),
        other => format!("user {other}"),
    });
    format!("{user} (pid {})", std::process::id())
}

/// `stealthctl release`: ends holds of others.
pub(super) async fn release(bus: Bus, names: &[String]) -> Result<Exit, Failure> {
    let client = connect(bus).await?;
    for name in names {
        let unit = client.release(name).await.map_err(|error| Failure::of_call(&error, bus))?;
        print(&format!("The hold on {} is released.\n", sanitize(&unit)))?;
    }
    Ok(Exit::Ok)
}
