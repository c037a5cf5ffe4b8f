//! The calls to systemd and the bus, and their replies.
//!
//! In: names and paths. Out: plain values, or a [`Failure`] with a sentence. Nothing here remembers anything. Only what
//! requests a job is repeated, and only while the bus takes no more calls. No call lets polkit ask a person
//! (`ALLOW_INTERACTIVE_AUTHORIZATION` stays unset): there is none at a daemon.
//!
//! The interface is org.freedesktop.systemd1(5), of systemd 252 and later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zbus::message::{Message, Sequence};
use zbus::wire::{DynamicType, Type};
use zbus::{Connection, MessageStream, OwnedObjectPath, as_variant};

use super::names::{UNIT_PATHS, active_state, job_kind, load_state, manager_state, unit_path};
use super::properties::Properties;
use super::start_conditions::StartConditions;
use super::unit_tracker::Listed;
use super::{Bus, command_result};
use crate::dbus_socket;
use crate::unit::{Job, JobKind, ManagerState, UnitName, UnitState, UnitUsage};

pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(super) const LOGIND: &str = "org.freedesktop.login1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const JOB: &str = "org.freedesktop.systemd1.Job";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// A reply takes milliseconds; while systemd reloads on a big machine, seconds. 25 s is libdbus's own time-out.
const PATIENCE: Duration = Duration::from_secs(25);
/// sd-bus's text for a call of systemd's own that timed out: here always one to polkit.
const POLKIT_TIMEOUT: &str = "Method call timed out";
/// Pauses between two tries of a job call while too many calls wait for an answer (`LimitsExceeded`): the limit is met for
/// moments only, but again and again while an unprivileged process floods systemd or polkit with calls.
/// While an unprivileged process kept polkit's 128 places taken, 3.5 % of the tries went through: the pauses are short, and
/// grow slowly.
const LIMIT_PAUSE_FIRST: Duration = Duration::from_millis(4);
const LIMIT_PAUSE_LONGEST: Duration = Duration::from_millis(50);
/// After this long the call has failed. (While systemd itself was flooded, on a machine with much else to do, a call went
/// through after 2 to 18 s.)
const LIMIT_PATIENCE: Duration = Duration::from_secs(25);
/// Messages that may wait for us. More than zbus's own 64, so that a burst of signals does not hold up answers.
const QUEUE: usize = 256;

/// Why a call has no answer.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The D-Bus name of the error; empty where the failure is not an answer.
    pub name: String,
    /// The text of the error.
    pub text: String,
    /// There was no answer in time.
    pub silent: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.silent && self.text.is_empty() {
            write!(f, "no answer within {} s", PATIENCE.as_secs())
        } else if self.text.is_empty() {
            f.write_str(&self.name)
        } else {
            f.write_str(&self.text)
        }
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        use zbus::DBusError as _;
        match error {
            zbus::Error::MethodError(name, text, _) => Self::from_reply(&name, &text.unwrap_or_default()),
            zbus::Error::FDO(error) => {
                Self::from_reply(&error.name(), error.description().unwrap_or_default())
            }
            other => Self { name: String::new(), text: other.to_string(), silent: false },
        }
    }
}

impl Failure {
    /// There was no answer in time.
    pub fn silence() -> Self {
        Self { name: String::new(), text: String::new(), silent: true }
    }

    /// The bus reports that the callee has gone without a reply.
    pub fn is_disconnect(&self) -> bool {
        self.name.ends_with(".NoReply") && self.text != POLKIT_TIMEOUT
    }

    /// systemd reports that it has waited 25 s for its own call to polkit.
    pub fn is_polkit_timeout(&self) -> bool {
        self.name.ends_with(".NoReply") && self.text == POLKIT_TIMEOUT
    }

    /// So many earlier calls have no answer yet that the bus takes no more: of ours to systemd, or of systemd's to polkit.
    pub fn is_limit(&self) -> bool {
        self.name.ends_with(".LimitsExceeded")
    }

    /// An error that came as the reply.
    fn from_reply(name: &str, text: &str) -> Self {
        let silent = name.ends_with(".LimitsExceeded");
        Self { name: name.to_owned(), text: text.to_owned(), silent }
    }
}

/// A unit's properties.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The unit's primary name.
    pub id: UnitName,
    pub state: UnitState,
    pub start: StartConditions,
    /// Their place among all messages: what a later message shows is newer.
    pub at: Sequence,
}

/// A connection to the bus, and systemd at its other end.
#[derive(Clone, Debug)]
pub(super) struct Systemd {
    connection: Connection,
    /// A job call has met a limit of the bus.
    limit_met: Arc<AtomicBool>,
}

impl Systemd {
    /// Connects. Every message that comes in is in the stream, in the order it came.
    pub async fn connect(bus: &Bus) -> Result<(Self, MessageStream), Failure> {
        let address = match bus {
            Bus::System => zbus::Address::system(),
            Bus::Session => zbus::Address::session(),
            Bus::Address(address) => address.parse(),
        }?;
        let connect = async { dbus_socket::connect(&address).await?.build().await };
        let connection = tokio::time::timeout(PATIENCE, connect).await.map_err(|_| Failure::silence())??;
        let mut messages = MessageStream::from(&connection);
        if let Some(queue) = std::num::NonZeroUsize::new(QUEUE) {
            messages.set_max_queued(queue);
        }
        Ok((Self { connection, limit_met: Arc::default() }, messages))
    }

    /// Whether a job call has met a limit of the bus since this was asked last: the call waits and is repeated.
    pub fn take_limit_met(&self) -> bool {
        self.limit_met.swap(false, Ordering::Relaxed)
    }

    /// A call that is answered within [`PATIENCE`], or not at all.
    async fn ask<B>(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, Failure>
    where
        B: Serialize + DynamicType + Sync,
    {
        let call = self.connection.call_method(Some(to), path, Some(interface), method, body);
        Ok(tokio::time::timeout(PATIENCE, call).await.map_err(|_| Failure::silence())??)
    }

    async fn call<B, R>(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<R, Failure>
    where
        B: Serialize + DynamicType + Sync,
        R: for<'de> Deserialize<'de> + Type,
    {
        Ok(self.ask(to, path, interface, method, body).await?.body().deserialize()?)
    }

    /// Has the bus pass on the signals that concern us. The bus filters: of a unit's two `PropertiesChanged` (systemd
    /// always sends both) only the one of the Unit interface comes, of the manager's signals only these four.
    pub async fn ask_for_signals(&self, logind: bool) -> Result<(), Failure> {
        let mut rules: Vec<String> = ["JobNew", "JobRemoved", "Reloading", "StartupFinished"]
            .iter()
            .map(|signal| {
                format!(
                    "type='signal',sender='{SYSTEMD}',path='{MANAGER_PATH}',interface='{MANAGER}',member='{signal}'"
                )
            })
            .collect();
        rules.push(format!(
            "type='signal',sender='{SYSTEMD}',path_namespace='{UNIT_PATHS}',interface='{PROPERTIES}',\
             member='PropertiesChanged',arg0='{SYSTEMD}.Unit'"
        ));
        rules.push(format!(
            "type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{SYSTEMD}'"
        ));
        if logind {
            rules.push(format!(
                "type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{LOGIND}'"
            ));
            rules.push(format!(
                "type='signal',sender='{LOGIND}',interface='{LOGIND}.Manager',member='PrepareForShutdown'"
            ));
        }
        for rule in rules {
            self.call::<_, ()>(BUS, BUS_PATH, BUS, "AddMatch", &rule.as_str()).await?;
        }
        Ok(())
    }

    /// The unique name behind a well-known one: only signals from there are believed, since any local user may send
    /// any signal straight to us.
    pub async fn owner(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.call::<_, String>(BUS, BUS_PATH, BUS, "GetNameOwner", &name).await {
            Ok(owner) => Ok(Some(owner)),
            Err(failure) if failure.name.ends_with(".NameHasNoOwner") => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn manager<B, R>(&self, method: &str, body: &B) -> Result<R, Failure>
    where
        B: Serialize + DynamicType + Sync,
        R: for<'de> Deserialize<'de> + Type,
    {
        self.call(SYSTEMD, MANAGER_PATH, MANAGER, method, body).await
    }

    /// Has systemd send signals.
    pub async fn subscribe(&self) -> Result<(), Failure> {
        match self.manager("Subscribe", &()).await {
            Err(failure) if failure.name.ends_with(".AlreadySubscribed") => Ok(()),
            other => other,
        }
    }

    /// One line for each of these units, in their order. systemd loads those that are not loaded.
    pub async fn list(&self, names: &[UnitName]) -> Result<Vec<Listed>, Failure> {
        type Line = (
            String,          // primary name
            String,          // description
            String,          // load state
            String,          // active state
            String,          // sub state
            String,          // the unit it follows
            OwnedObjectPath, // object
            u32,             // job, 0 for none
            String,          // kind of the job
            OwnedObjectPath, // object of the job
        );
        let texts: Vec<&str> = names.iter().map(UnitName::as_str).collect();
        let lines: Vec<Line> = self.manager("ListUnitsByNames", &texts).await?;
        if lines.len() != names.len() {
            let text = format!("asked for {} units, systemd listed {}", names.len(), lines.len());
            return Err(Failure { name: String::new(), text, silent: false });
        }
        Ok(lines
            .into_iter()
            .map(|(id, _, load, active, sub, _, _, job, _, _)| Listed {
                id: UnitName::new(&id).ok(),
                load: load_state(&load),
                active: active_state(&active),
                sub,
                job,
            })
            .collect())
    }

    /// All of a unit's properties, in one reply, and the kind of its job unless that is `known`. The name may be an alias;
    /// systemd loads a unit that is not loaded.
    pub async fn read(&self, unit: &UnitName, known: Option<Job>) -> Result<Reading, Failure> {
        let (read, at) = self.properties(unit).await?;
        let kind = match &read.job {
            Some((id, _)) if known.is_some_and(|job| job.id == *id) => {
                known.map_or(JobKind::Other, |job| job.kind)
            }
            Some((id, job)) if *id != 0 => self.job_kind(job).await,
            _ => JobKind::Other,
        };
        let id = read.id().unwrap_or_else(|| unit.clone());
        let start = read.start.clone();
        Ok(Reading { state: read.into_state(&id, kind), id, start, at })
    }

    /// What a unit uses now. systemd reads the cgroup for the answer.
    pub async fn usage(&self, unit: &UnitName) -> Result<UnitUsage, Failure> {
        self.properties(unit).await.map(|(read, _)| read.into_usage(unit))
    }

    async fn properties(&self, unit: &UnitName) -> Result<(Properties, Sequence), Failure> {
        // The empty name stands for all interfaces of the object.
        let reply = self.ask(SYSTEMD, &unit_path(unit.as_str()), PROPERTIES, "GetAll", &"").await?;
        Ok((reply.body().deserialize()?, reply.recv_position()))
    }

    /// The properties of a unit that runs a command, with its line of status.
    pub async fn read_run(&self, unit: &UnitName) -> Result<command_result::Reading, Failure> {
        let (mut read, _) = self.properties(unit).await?;
        let status_text = read.status_text.take().unwrap_or_default();
        Ok(command_result::Reading { state: read.into_state(unit, JobKind::Other), status_text })
    }

    /// The kind of a job; [`JobKind::Other`] where it is gone already.
    pub async fn job_kind(&self, job: &str) -> JobKind {
        match self.property::<String>(job, JOB, "JobType").await {
            Ok(word) => job_kind(&word),
            Err(_) => JobKind::Other,
        }
    }

    /// Whether a job is still there. A failure other than silence means that it is not.
    pub async fn job_lives(&self, job: &str) -> Result<bool, Failure> {
        match self.property::<String>(job, JOB, "JobType").await {
            Ok(_) => Ok(true),
            Err(failure) if failure.name.contains(".Unknown") => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// What the manager is doing.
    pub async fn system_state(&self) -> Result<ManagerState, Failure> {
        let word: String = self.property(MANAGER_PATH, MANAGER, "SystemState").await?;
        Ok(manager_state(&word))
    }

    async fn property<T>(&self, path: &str, interface: &str, name: &str) -> Result<T, Failure>
    where
        T: for<'de> Deserialize<'de> + Type,
    {
        let reply = self.ask(SYSTEMD, path, PROPERTIES, "Get", &(interface, name)).await?;
        let body = reply.body();
        let value: as_variant::Deserialize<'_, T> = body.deserialize()?;
        Ok(value.0)
    }

    /// Resets a unit's failures and counters, so that its start limit does not refuse the next start.
    pub async fn reset_failed(&self, unit: &UnitName) -> Result<(), Failure> {
        let mut limit = LimitRetry::new(&self.limit_met);
        loop {
            let outcome = self.manager("ResetFailedUnit", &unit.as_str()).await;
            if !limit.pause_after(&outcome).await {
                // A unit that is not loaded has none.
                return outcome.or_else(|failure| {
                    if failure.name.ends_with(".NoSuchUnit") { Ok(()) } else { Err(failure) }
                });
            }
        }
    }

    /// Queues a job by one of the `…Unit` methods, and returns its object path.
    ///
    /// Waits for the reply however long it takes: a request cannot be taken back, and a systemd that hangs queues the job
    /// later. (It reports itself that polkit hangs, after 25 s.)
    pub async fn queue(&self, method: &str, unit: &UnitName, mode: &str) -> Result<String, Failure> {
        let mut limit = LimitRetry::new(&self.limit_met);
        loop {
            let outcome = self.queue_once(method, unit, mode).await;
            if !limit.pause_after(&outcome).await {
                return outcome;
            }
        }
    }

    /// Cancels the job with this object path.
    pub async fn cancel(&self, path: &str) -> Result<(), Failure> {
        self.connection.call_method(Some(SYSTEMD), path, Some(JOB), "Cancel", &()).await?;
        Ok(())
    }

    async fn queue_once(&self, method: &str, unit: &UnitName, mode: &str) -> Result<String, Failure> {
        let body = (unit.as_str(), mode);
        let reply =
            self.connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), method, &body).await?;
        let path: OwnedObjectPath = reply.body().deserialize()?;
        Ok(path.as_str().to_owned())
    }
}

/// Whether and when a job call that met a limit of the bus is made again.
struct LimitRetry<'a> {
    met: &'a AtomicBool,
    end: Instant,
    pause: Duration,
}

impl<'a> LimitRetry<'a> {
    fn new(met: &'a AtomicBool) -> Self {
        Self { met, end: Instant::now() + LIMIT_PATIENCE, pause: LIMIT_PAUSE_FIRST }
    }

    /// Returns `true`, after a pause, where the call is to be made again.
    async fn pause_after<T>(&mut self, outcome: &Result<T, Failure>) -> bool {
        if !outcome.as_ref().is_err_and(Failure::is_limit) {
            return false;
        }
        self.met.store(true, Ordering::Relaxed);
        if Instant::now() + self.pause > self.end {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 51 / 50).min(LIMIT_PAUSE_LONGEST);
        true
    }
}
