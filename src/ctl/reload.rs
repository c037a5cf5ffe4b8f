//! `stealthctl reload`: asks systemd, which runs `ExecReload=`, which is `stealthctl reload --direct`.
//!
//! By way of systemd, so that the unit shows `reloading`, the list of permitted units is written anew before the daemon
//! hears of new ones, and both ways to reload do the same. It waits for the job and says what came of it.

use std::time::Duration;

use zbus::fdo;

use super::commands::connect;
use super::exit::{Exit, Failure, systemctl};
use super::jobs::{Verb, job};
use super::print;
use super::text::sanitize;
use super::validate::{default_file, warn};
use crate::bus::Bus;
use crate::bus::client::CallError;
use crate::config;

const UNIT: &str = "stealthcheck.service";
/// systemd's own limit for a reload is TimeoutStartSec=, 90 s unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks the daemon itself: what `ExecReload=` runs. Problems go to standard error, and so into the journal.
pub(super) async fn direct(bus: Bus) -> Result<Exit, Failure> {
    let client = connect(bus).await?;
    let warnings = client.reload().await.map_err(|error| Failure::of_call(&error, bus))?;
    for warning in &warnings {
        print(&format!("warning: {}\n", sanitize(warning)))?;
    }
    print("Reloaded.\n")?;
    Ok(Exit::Ok)
}

pub(super) async fn through_systemd(bus: Bus) -> Result<Exit, Failure> {
    let client = connect(bus).await?;
    let before = match client.daemon().await {
        Ok(snapshot) => snapshot.configuration.refused,
        Err(error @ CallError::NotRunning) => return Err(Failure::of_call(&error, bus)),
        Err(_) => None, // it may be too busy to answer and still reload
    };
    let result = match tokio::time::timeout(PATIENCE, job(client.connection(), UNIT, Verb::Reload)).await {
        Ok(result) => result.map_err(|error| of_systemd(&error, bus))?,
        Err(_) => {
            return Err(Failure::new(
                Exit::Unavailable,
                format!(
                    "systemd still reloads {UNIT} after {} s; see `{} list-jobs`",
                    PATIENCE.as_secs(),
                    systemctl(bus)
                ),
            ));
        }
    };
    if result == "done" {
        let now = client.daemon().await.map_err(|error| Failure::of_call(&error, bus))?;
        let (checks, files) = (now.counts.checks, now.configuration.files.len());
        // What the daemon will miss (a credential, a file), as `validate` says it, where the files can be read.
        if let Ok(file) = default_file(bus)
            && let Ok(config) = config::load(&file)
        {
            warn(&config, bus);
        }
        print(&format!("Reloaded: {} in {}.\n", plural(checks, "check"), plural(files, "file")))?;
        return Ok(Exit::Ok);
    }
    let after = client.daemon().await.ok().and_then(|snapshot| snapshot.configuration.refused);
    match after {
        // The daemon has refused a configuration since we came: these are its problems.
        Some(after) if before.as_ref().is_none_or(|before| before.0 != after.0) => {
            Err(Failure::of_rejection(&after.1))
        }
        _ => Err(Failure::new(
            Exit::Failed,
            format!(
                "the reload ended as `{}`; see `journalctl {}-eu stealthcheck`",
                sanitize(&result),
                match bus {
                    Bus::System => "",
                    Bus::User => "--user ",
                }
            ),
        )),
    }
}

fn of_systemd(error: &zbus::Error, bus: Bus) -> Failure {
    match error {
        zbus::Error::MethodError(name, text, _) => match name.as_str().rsplit('.').next() {
            Some("NoSuchUnit" | "LoadFailed") => {
                Failure::new(Exit::NotRunning, format!("systemd does not know {UNIT}: is it installed?"))
            }
            _ => Failure::new(
                Exit::Failed,
                format!(
                    "systemd does not reload {UNIT}: {}",
                    sanitize(text.as_deref().unwrap_or(name.as_str()))
                ),
            ),
        },
        zbus::Error::FDO(inner)
            if matches!(**inner, fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_)) =>
        {
            Failure::new(Exit::Unavailable, format!("there is no systemd on the {bus}"))
        }
        other => Failure::of_call(&CallError::from(other.clone()), bus),
    }
}

pub(super) fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
