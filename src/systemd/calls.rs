//! The calls to systemd: one method here is one question or order on the bus, and its answer.
//!
//! In: names and paths. Out: what the bus answered, as plain values or as a [`Failure`] with a sentence. Nothing here
//! remembers, repeats or decides. No call lets polkit ask a person (`ALLOW_INTERACTIVE_AUTHORIZATION` stays unset):
//! there is none at a daemon.
//!
//! The interface is org.freedesktop.systemd1(5), of systemd 252 and later.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zbus::message::{Message, Sequence};
use zbus::wire::{DynamicType, Type};
use zbus::{Connection, MessageStream, OwnedObjectPath, as_variant};

use super::state::{Properties, UNIT_PATHS, active_state, job_kind, load_state, unit_path};
use super::track::Listed;
use super::{Bus, judge};
use crate::unit::{Job, JobKind, ManagerState, UnitName, UnitState, UnitUsage};

pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(super) const LOGIND: &str = "org.freedesktop.login1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const JOB: &str = "org.freedesktop.systemd1.Job";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// A question is answered within milliseconds; while systemd reloads a big machine, within seconds. 25 s is libdbus's own
/// patience.
const PATIENCE: Duration = Duration::from_secs(25);
/// The words of sd-bus for a call of its own that was not answered: here always systemd's to polkit.
const POLKIT_HANGS: &str = "Method call timed out";
/// Messages that may wait for us. More than zbus's own 64, so that a burst of signals does not hold up answers.
const QUEUE: usize = 256;

/// Why a call has no answer.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The D-Bus name of the error; empty where the failure is not an answer.
    pub name: String,
    /// What was said.
    pub text: String,
    /// Nobody answered in time.
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
            zbus::Error::MethodError(name, text, _) => Self::said(&name, &text.unwrap_or_default()),
            zbus::Error::FDO(error) => Self::said(&error.name(), error.description().unwrap_or_default()),
            other => Self { name: String::new(), text: other.to_string(), silent: false },
        }
    }
}

impl Failure {
    /// Nobody answered in time.
    pub fn silence() -> Self {
        Self { name: String::new(), text: String::new(), silent: true }
    }

    /// The bus's word that whoever was asked is gone, and has left no answer.
    pub fn is_nobodys_word(&self) -> bool {
        self.name.ends_with(".NoReply") && self.text != POLKIT_HANGS
    }

    /// systemd's word that it has waited 25 s for its own question to polkit.
    pub fn is_polkits_hang(&self) -> bool {
        self.name.ends_with(".NoReply") && self.text == POLKIT_HANGS
    }

    /// An error that came as the answer. One is the bus's word that so many earlier questions have none yet that it takes
    /// no more.
    fn said(name: &str, text: &str) -> Self {
        let silent = name.ends_with(".LimitsExceeded");
        Self { name: name.to_owned(), text: text.to_owned(), silent }
    }
}

/// A unit's properties, and where among all messages they came: what a later message says is newer.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub state: UnitState,
    pub at: Sequence,
}

/// A connection to the bus, and systemd at its other end.
#[derive(Clone, Debug)]
pub(super) struct Systemd(Connection);

impl Systemd {
    /// Connects. Every message that comes in is in the stream, in the order it came.
    pub async fn connect(bus: &Bus) -> Result<(Self, MessageStream), Failure> {
        let builder = match bus {
            Bus::System => zbus::connection::Builder::system(),
            Bus::Session => zbus::connection::Builder::session(),
            Bus::Address(address) => zbus::connection::Builder::address(address.as_str()),
        };
        let connection =
            tokio::time::timeout(PATIENCE, builder.build()).await.map_err(|_| Failure::silence())??;
        let mut messages = MessageStream::from(&connection);
        if let Some(queue) = std::num::NonZeroUsize::new(QUEUE) {
            messages.set_max_queued(queue);
        }
        Ok((Self(connection), messages))
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
        let call = self.0.call_method(Some(to), path, Some(interface), method, body);
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

    /// Asks the bus for the signals that concern us. The bus filters: of a unit's two `PropertiesChanged` (systemd
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

    /// Tells systemd to send signals at all.
    pub async fn subscribe(&self) -> Result<(), Failure> {
        match self.manager("Subscribe", &()).await {
            Err(failure) if failure.name.ends_with(".AlreadySubscribed") => Ok(()),
            other => other,
        }
    }

    /// One line for each of these units, in their order. systemd loads those that are not loaded.
    pub async fn list(&self, names: &[UnitName]) -> Result<Vec<Listed>, Failure> {
        type Line = (
            String,          // name
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
            .map(|(_, _, load, active, sub, _, path, job, _, _)| Listed {
                path: path.as_str().to_owned(),
                load: load_state(&load),
                active: active_state(&active),
                sub,
                job,
            })
            .collect())
    }

    /// All of a unit's properties, in one answer, and the kind of its job unless that is `known`. The path may be an
    /// alias's; systemd loads a unit that is not loaded.
    pub async fn read(&self, path: &str, unit: &UnitName, known: Option<Job>) -> Result<Reading, Failure> {
        let (read, at) = self.properties(path).await?;
        let kind = match &read.job {
            Some((id, _)) if known.is_some_and(|job| job.id == *id) => {
                known.map_or(JobKind::Other, |job| job.kind)
            }
            Some((id, job)) if *id != 0 => self.job_kind(job).await,
            _ => JobKind::Other,
        };
        Ok(Reading { state: read.into_state(unit, kind), at })
    }

    /// What a unit uses now. systemd reads the cgroup for the answer.
    pub async fn usage(&self, path: &str, name: &UnitName) -> Result<UnitUsage, Failure> {
        self.properties(path).await.map(|(read, _)| read.into_usage(name))
    }

    async fn properties(&self, path: &str) -> Result<(Properties, Sequence), Failure> {
        // The empty name stands for all interfaces of the object.
        let reply = self.ask(SYSTEMD, path, PROPERTIES, "GetAll", &"").await?;
        Ok((reply.body().deserialize()?, reply.recv_position()))
    }

    /// The properties of a unit that runs a command, with its line of status.
    pub async fn read_run(&self, unit: &UnitName) -> Result<judge::Reading, Failure> {
        let path = unit_path(unit.as_str());
        let reply = self.ask(SYSTEMD, &path, PROPERTIES, "GetAll", &"").await?;
        let mut read: Properties = reply.body().deserialize()?;
        let status_text = read.status_text.take().unwrap_or_default();
        Ok(judge::Reading { state: read.into_state(unit, JobKind::Other), status_text })
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
        Ok(super::state::manager_state(&word))
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

    /// Forgets a unit's failures, so that its start limit does not refuse the next start.
    pub async fn reset_failed(&self, unit: &UnitName) -> Result<(), Failure> {
        self.manager("ResetFailedUnit", &unit.as_str()).await
    }

    /// Queues a job by one of the `…Unit` methods, and returns its object path. `replace`: a job that stands against
    /// it gives way, as with systemctl.
    ///
    /// Waits for the answer however long it takes: an order cannot be taken back, and a systemd that hangs does it when it
    /// goes on. (That polkit hangs, it tells after 25 s.)
    pub async fn queue(&self, method: &str, unit: &UnitName) -> Result<String, Failure> {
        let body = (unit.as_str(), "replace");
        let reply = self.0.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), method, &body).await?;
        let path: OwnedObjectPath = reply.body().deserialize()?;
        Ok(path.as_str().to_owned())
    }
}
