//! A unit is stopped or started by the caller's own rights, as systemctl does it, and the job is waited for.

use futures_util::StreamExt as _;
use zbus::{Connection, OwnedObjectPath};

use crate::bus::client::CallError;
use crate::ctl::exit::{Exit, Failure};
use crate::ctl::text::inert;

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    fn subscribe(&self) -> zbus::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String);
}

/// Stops a unit. It takes as long as it takes; whoever does not want to wait interrupts it.
///
/// # Errors
/// Where systemd refuses, or the unit is not down in the end; the sentence says that the command was not run.
pub(super) async fn stop(connection: &Connection, unit: &str) -> Result<(), Failure> {
    order(connection, unit, "stop").await.map_err(|failure| {
        let message = format!("{}; the command was not run", failure.message);
        Failure::new(failure.exit, message)
    })
}

/// Starts a unit.
///
/// # Errors
/// Where systemd refuses, or the unit does not come up.
pub(super) async fn start(connection: &Connection, unit: &str) -> Result<(), Failure> {
    order(connection, unit, "start").await
}

async fn order(connection: &Connection, unit: &str, verb: &str) -> Result<(), Failure> {
    let name = inert(unit);
    match job(connection, unit, verb).await {
        Ok(result) if result == "done" => Ok(()),
        Ok(result) => {
            let result = inert(&result);
            Err(Failure::new(Exit::Failed, format!("the {verb} job of {name} ended as `{result}`")))
        }
        Err(error) => Err(match CallError::from(error) {
            CallError::Denied(why) => {
                let why = inert(&why);
                Failure::new(Exit::Denied, format!("systemd does not let you {verb} {name}: {why}"))
            }
            other => {
                let why = inert(&other.to_string());
                Failure::new(Exit::Failed, format!("systemd does not {verb} {name}: {why}"))
            }
        }),
    }
}

/// One job, from the order to its result. `JobRemoved` is listened to before the order is given, so that even the fastest
/// job is not missed.
async fn job(connection: &Connection, unit: &str, verb: &str) -> zbus::Result<String> {
    let systemd = SystemdProxy::new(connection).await?;
    let mut removed = systemd.receive_job_removed().await?;
    match systemd.subscribe().await {
        // By the job before this one.
        Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".AlreadySubscribed") => {}
        other => other?,
    }
    let job = match verb {
        "stop" => systemd.stop_unit(unit, "replace").await?,
        _ => systemd.start_unit(unit, "replace").await?,
    };
    while let Some(signal) = removed.next().await {
        let ended = signal.args()?;
        if *ended.job() == job {
            return Ok(ended.result().clone());
        }
    }
    Err(zbus::Error::Failure("the bus closed the connection".to_owned()))
}
