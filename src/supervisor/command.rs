//! Commands: systemd is asked to run the unit of a check's `command` probe, and its verdict comes back as any other
//! observation. No process is started here.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Supervisor;
use super::act::Internal;
use crate::check::CheckName;
use crate::engine::RunId;
use crate::systemd::Request;
use crate::unit::UnitName;
use crate::verdict::Observation;

/// The systemd client answers this much after the deadline at the latest, and the core does not wait longer either.
const AFTER_DEADLINE: Duration = Duration::from_millis(4_500);

impl Supervisor {
    /// Has the command of `check` run once.
    pub(super) fn run_command(&self, check: CheckName, run: RunId, timeout: Duration) {
        let (reply, answer) = oneshot::channel();
        let asked = self.requests.try_send(Request::Run { unit: UnitName::of_probe(&check), timeout, reply });
        let internal = self.internal.clone();
        tokio::spawn(async move {
            let observed = match asked {
                Ok(()) => match tokio::time::timeout(timeout + AFTER_DEADLINE, answer).await {
                    Ok(Ok(observation)) => Ok(observation),
                    Ok(Err(_)) => Err("the connection to systemd was lost while the command ran"),
                    Err(_) => Err("systemd did not answer in time"),
                },
                Err(_) => Err("systemd was not asked: the client is busy"),
            };
            let observation = observed.unwrap_or_else(|why| Observation::Unknown { reason: why.to_owned() });
            // The supervisor outlives its probes; when it ends nobody wants the answer.
            let _ = internal.send(Internal::Observed { check, run, observation }).await;
        });
    }
}
