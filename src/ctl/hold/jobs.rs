//! A unit is stopped or started by the caller's own rights, as systemctl does it, and the job is waited for.

use zbus::Connection;

use crate::bus::client::CallError;
use crate::ctl::exit::{Exit, Failure};
use crate::ctl::jobs::{Verb, job};
use crate::ctl::text::sanitize;

/// Stops a unit. It takes as long as it takes; whoever does not want to wait interrupts it.
///
/// # Errors
/// Where systemd refuses, or the unit is not down in the end; the sentence says that the command was not run.
pub(super) async fn stop(connection: &Connection, unit: &str) -> Result<(), Failure> {
    order(connection, unit, Verb::Stop).await.map_err(|failure| {
        let message = format!("{}; the command was not run", failure.message);
        Failure::new(failure.exit, message)
    })
}

/// Starts a unit.
///
/// # Errors
/// Where systemd refuses, or the unit does not come up.
pub(super) async fn start(connection: &Connection, unit: &str) -> Result<(), Failure> {
    order(connection, unit, Verb::Start).await
}

async fn order(connection: &Connection, unit: &str, verb: Verb) -> Result<(), Failure> {
    let (name, ended) = (sanitize(unit), job(connection, unit, verb).await);
    let verb = verb.word();
    match ended {
        Ok(result) if result == "done" => Ok(()),
        Ok(result) => {
            let result = sanitize(&result);
            Err(Failure::new(Exit::Failed, format!("the {verb} job of {name} ended as `{result}`")))
        }
        Err(error) => Err(match CallError::from(error) {
            CallError::Denied(why) => {
                let why = sanitize(&why);
                Failure::new(Exit::Denied, format!("systemd does not let you {verb} {name}: {why}"))
            }
            other => {
                let why = sanitize(&other.to_string());
                Failure::new(Exit::Failed, format!("systemd does not {verb} {name}: {why}"))
            }
        }),
    }
}
