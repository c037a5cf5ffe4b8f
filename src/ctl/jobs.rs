//! One systemd job, by the caller's own rights as systemctl does it, followed to its result.
//!
//! In: a unit and what is to be done with it. Out: systemd's word for how the job ended. What that means, and how an
//! error is worded, is for who asked.

use futures_util::StreamExt as _;
use zbus::{Connection, OwnedObjectPath};

/// What is asked of systemd.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Start,
    Stop,
    Reload,
}

impl Verb {
    /// As systemctl has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reload => "reload",
        }
    }
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    fn subscribe(&self) -> zbus::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn reload_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String);
}

/// The job's result. `JobRemoved` is listened to before the order is given, so that even the fastest job is not missed;
/// systemd sends it to those who have subscribed.
///
/// # Errors
/// What the bus or systemd says where there is no job, or the end of the connection.
pub(super) async fn job(connection: &Connection, unit: &str, verb: Verb) -> zbus::Result<String> {
    let systemd = SystemdProxy::new(connection).await?;
    let mut removed = systemd.receive_job_removed().await?;
    match systemd.subscribe().await {
        // By the job before this one.
        Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".AlreadySubscribed") => {}
        other => other?,
    }
    let job = match verb {
        Verb::Start => systemd.start_unit(unit, "replace").await?,
        Verb::Stop => systemd.stop_unit(unit, "replace").await?,
        Verb::Reload => systemd.reload_unit(unit, "replace").await?,
    };
    while let Some(signal) = removed.next().await {
        let ended = signal.args()?;
        if *ended.job() == job {
            return Ok(ended.result().clone());
        }
    }
    Err(zbus::Error::Failure("the bus closed the connection".to_owned()))
}
