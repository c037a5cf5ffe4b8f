//! The object on the bus: one method, one request to the supervisor, one answer.
//!
//! In: calls, each in its own task with a shared reference, so that an open password prompt of one caller keeps nobody
//! else waiting. Out: requests and their answers. It never holds state, and never blocks the supervisor.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::wire::OwnedFd;

use super::authority::{self, Verb};
use super::{Bus, LONGEST_HOLD, Refusal, Reply, Request};
use crate::text::sanitize;

/// So many characters of what a caller says of a hold are kept.
const WORDS: usize = 200;

/// No check, unit or hold has a longer name (systemd's UNIT_NAME_MAX), and a message on the bus may have 32 MB of one:
/// what is longer goes no further, neither to polkit, which would show it, nor into a search for what may have been
/// meant.
const LONGEST_NAME: usize = 255;

/// So many checks may be named at once; more than a configuration has.
const MOST_NAMES: usize = 4096;

/// The interface's implementation.
pub(super) struct Manager {
    bus: Bus,
    requests: mpsc::Sender<Request>,
}

impl Manager {
    pub(super) fn new(bus: Bus, requests: mpsc::Sender<Request>) -> Self {
        Self { bus, requests }
    }

    /// Hands a request to the supervisor and waits for the answer.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
        let stopping = || Refusal::Failed("the daemon is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

/// Whether a name can be one at all. The error does not repeat it.
fn plausible(name: &str) -> Result<(), Refusal> {
    if name.len() > LONGEST_NAME {
        return Err(Refusal::InvalidArgument(format!("no name here is longer than {LONGEST_NAME} bytes")));
    }
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Refusal> {
    serde_json::to_string(value)
        .map_err(|error| Refusal::Failed(format!("the status could not be written: {error}")))
}

#[zbus::interface(name = "io.iobio.Stealthcheck1.Manager")]
impl Manager {
    /// How everything is, or only the checks in `names`; with histories, runbooks and the units' states where `detail`
    /// is set. JSON.
    #[zbus(out_args("status"))]
    async fn get_status(&self, names: Vec<String>, detail: bool) -> Result<String, Refusal> {
        names.iter().try_for_each(|name| plausible(name))?;
        if names.len() > MOST_NAMES {
            return Err(Refusal::InvalidArgument(format!(
                "at most {MOST_NAMES} checks may be named at once"
            )));
        }
        let mut seen = HashSet::new();
        // Each check once, however often it is named: anybody may ask, and the answer is much longer than the question.
        let names: Vec<String> = names.into_iter().filter(|name| seen.insert(name.clone())).collect();
        let mut snapshot = self.ask(|reply| Request::Status { names, detail, reply }).await?;
        if !detail {
            // Half of every check's JSON, and no table shows it: a thousand checks have 15 ms from question to screen.
            for check in &mut snapshot.checks {
                check.unit_state = None;
                check.history.clear();
                check.runbook = None;
            }
        }
        json(&snapshot)
    }

    /// Why a check is as it is, and what was decided about it: JSON. Reading, so open to everybody.
    #[zbus(out_args("explanation"))]
    async fn why(&self, name: String) -> Result<String, Refusal> {
        plausible(&name)?;
        json(&self.ask(|reply| Request::Why { name, reply }).await?)
    }

    /// Probes now. Answers, after the observation, how the check is: JSON, as one of the checks in `GetStatus`.
    #[zbus(out_args("check"))]
    async fn check(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
        name: String,
    ) -> Result<String, Refusal> {
        plausible(&name)?;
        authority::permit(connection, self.bus, &header, Verb::Check, &name).await?;
        json(&self.ask(|reply| Request::Check { name, reply }).await?)
    }

    /// Leaves a check alone for so many seconds.
    async fn pause(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
        name: String,
        seconds: u64,
    ) -> Result<(), Refusal> {
        plausible(&name)?;
        authority::permit(connection, self.bus, &header, Verb::Pause, &name).await?;
        if seconds == 0 {
            return Err(Refusal::InvalidArgument("a pause lasts at least a second".to_owned()));
        }
        let for_ = Duration::from_secs(seconds);
        self.ask(|reply| Request::Pause { name, for_, reply }).await
    }

    /// Ends a pause.
    async fn resume(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
        name: String,
    ) -> Result<(), Refusal> {
        plausible(&name)?;
        authority::permit(connection, self.bus, &header, Verb::Resume, &name).await?;
        self.ask(|reply| Request::Resume { name, reply }).await
    }

    /// Leaves a unit alone, which is named by itself or by a check, for as long as the caller (or whom the caller gives
    /// it to) keeps the lease open, and for so many seconds at most, a day at most. `who` and `why` are shown. Answers
    /// the lease, the hold's id, the unit, and the checks that are left alone. The unit itself is not touched; when the
    /// hold is over it is started, if it was up when it began and is down then.
    #[zbus(out_args("lease", "hold", "unit", "checks"))]
    async fn hold(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
        name: String,
        who: String,
        why: String,
        seconds: u64,
    ) -> Result<(OwnedFd, String, String, Vec<String>), Refusal> {
        plausible(&name)?;
        authority::permit(connection, self.bus, &header, Verb::Hold, &name).await?;
        let for_ = Duration::from_secs(seconds);
        if seconds == 0 || for_ > LONGEST_HOLD {
            return Err(Refusal::InvalidArgument("a hold lasts between a second and a day".to_owned()));
        }
        let (who, why) = (sanitize(&who, WORDS), sanitize(&why, WORDS));
        let grant = self.ask(|reply| Request::Hold { name, who, why, for_, reply }).await?;
        let checks = grant.checks.iter().map(ToString::to_string).collect();
        Ok((grant.lease.into(), grant.id, grant.unit, checks))
    }

    /// Ends a hold, which is named by its id, its unit or a check. Answers the unit.
    #[zbus(out_args("unit"))]
    async fn release(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
        name: String,
    ) -> Result<String, Refusal> {
        plausible(&name)?;
        authority::permit(connection, self.bus, &header, Verb::Release, &name).await?;
        self.ask(|reply| Request::Release { name, reply }).await
    }

    /// Loads the configuration again, all or nothing. Answers warnings, a line each.
    #[zbus(out_args("warnings"))]
    async fn reload(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
    ) -> Result<Vec<String>, Refusal> {
        authority::permit(connection, self.bus, &header, Verb::Reload, "").await?;
        self.ask(|reply| Request::Reload { reply }).await
    }

    /// Sends a mail to these addresses (none: those of the configuration). Answers the mail server's words.
    #[zbus(out_args("answer"))]
    async fn send_test_mail(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
        to: Vec<String>,
    ) -> Result<String, Refusal> {
        authority::permit(connection, self.bus, &header, Verb::TestMail, "").await?;
        self.ask(|reply| Request::TestMail { to, reply }).await
    }

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// A check's health is another: its name, the health as in the status table, the open incident or "".
    #[zbus(signal)]
    async fn health_changed(
        emitter: &SignalEmitter<'_>,
        check: &str,
        health: &str,
        incident: &str,
    ) -> zbus::Result<()>;
}
