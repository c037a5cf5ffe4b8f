//! The signals from the bus. Part of the loop in `session.rs`.
//!
//! Any local user may send us any signal: only those of systemd, of logind and of the bus itself are believed.

use zbus::message::{Message, Sequence, Type};
use zbus::wire::DynamicDeserialize;

use super::calls::{LOGIND, SYSTEMD};
use super::job_tracker::End;
use super::names::UNIT_PATHS;
use super::properties::Properties;
use super::queries::Query;
use super::replies::NOT_ON_THE_BUS;
use super::session::Session;
use super::unit_tracker::{Change, Read};
use crate::unit::UnitName;

/// Units whose start means that the manager goes down (systemd.special(7)): with a job on one of them its `SystemState` is
/// `stopping`, and no signal of its own shows that.
const LAST_UNITS: [&str; 2] = ["shutdown.target", "exit.target"];

impl Session<'_> {
    pub fn message(&mut self, message: &Message) {
        if message.message_type() != Type::Signal {
            return;
        }
        let header = message.header();
        let (Some(sender), Some(member), Some(path)) = (header.sender(), header.member(), header.path())
        else {
            return;
        };
        let (sender, member) = (sender.as_str(), member.as_str());
        if self.owners.systemd.as_deref() == Some(sender) {
            match member {
                "PropertiesChanged" if path.starts_with(UNIT_PATHS) => {
                    self.unit_signal(path.as_str(), message)
                }
                "JobNew" => self.job_new(message),
                "JobRemoved" => self.job_removed(message),
                "Reloading" if parse::<bool>(message) == Some(false) => self.query(Query::List { all: true }),
                "StartupFinished" => self.query(Query::SystemState),
                _ => {}
            }
        } else if sender == "org.freedesktop.DBus" && member == "NameOwnerChanged" {
            self.owner_changed(message);
        } else if self.owners.logind.as_deref() == Some(sender)
            && member == "PrepareForShutdown"
            && let Some(begins) = parse::<bool>(message)
        {
            self.shutdown = begins;
            self.query(Query::SystemState);
        }
    }

    fn unit_signal(&mut self, path: &str, message: &Message) {
        let Some(id) = self.client.watched.by_path(path).cloned() else { return };
        let Ok((_, changed, _)) = message.body().deserialize::<(String, Properties, Vec<String>)>() else {
            return;
        };
        if let (Some(change), Some(unit)) = (Change::new(&changed), self.client.watched.unit_mut(&id)) {
            let ask = unit.track.changed(&change);
            if let (Some(job), Some((_, path))) = (ask, changed.job) {
                self.query(Query::JobKind { unit: id.clone(), id: job, path });
            }
        }
        self.hint(&id, Some(message.recv_position()));
    }

    fn job_new(&mut self, message: &Message) {
        let Some((job, path, unit)) = parse::<(u32, zbus::OwnedObjectPath, String)>(message) else { return };
        if LAST_UNITS.contains(&unit.as_str()) {
            self.query(Query::SystemState);
        }
        let Ok(id) = UnitName::new(&unit) else { return };
        let Some(watched) = self.client.watched.unit_mut(&id) else { return };
        if watched.track.jobs.job_new(job) {
            self.query(Query::JobKind { unit: id.clone(), id: job, path: path.as_str().to_owned() });
        }
        self.hint(&id, Some(message.recv_position()));
    }

    fn job_removed(&mut self, message: &Message) {
        let Some((job, path, unit, result)) = parse::<(u32, zbus::OwnedObjectPath, String, String)>(message)
        else {
            return;
        };
        if LAST_UNITS.contains(&unit.as_str()) {
            self.query(Query::SystemState);
        }
        if let Ok(id) = UnitName::new(&unit)
            && let Some(watched) = self.client.watched.unit_mut(&id)
        {
            watched.track.job_removed(job, End::of(&result), now());
            self.hint(&id, Some(message.recv_position()));
        }
        self.runs.job_removed(path.as_str(), &unit, &result);
        for (job, result) in self.client.watched.jobs.removed(path.as_str(), &result) {
            self.finish_job(job, result);
        }
    }

    /// The message at this place said something about the unit: its properties are read again.
    pub fn hint(&mut self, id: &UnitName, at: Option<Sequence>) {
        let Some(unit) = self.client.watched.unit_mut(id) else { return };
        unit.latest_signal = unit.latest_signal.max(at);
        if self.silent {
            // Everything is read when it answers again.
            return;
        }
        match unit.track.read {
            Read::Idle | Read::Waiting => {
                unit.track.read = Read::Queued;
                self.queries.push(Query::Read(id.clone()));
            }
            Read::Running => unit.track.read = Read::Stale,
            Read::Queued | Read::Stale => {}
        }
    }

    /// systemd or logind came or went. systemd does both when it re-executes itself.
    fn owner_changed(&mut self, message: &Message) {
        let Some((name, _, owner)) = parse::<(String, String, String)>(message) else { return };
        let owner = Some(owner).filter(|owner| !owner.is_empty());
        self.owners_changed = !self.ready;
        match name.as_str() {
            SYSTEMD if self.owners.systemd != owner => {
                self.owners.systemd = owner;
                if self.owners.systemd.is_some() {
                    self.subscribe_again();
                } else {
                    self.ready = false;
                    self.client.unreachable(NOT_ON_THE_BUS.to_owned());
                }
            }
            LOGIND => self.owners.logind = owner,
            _ => {}
        }
    }
}

/// The body of a signal, where it is what it should be.
fn parse<T>(message: &Message) -> Option<T>
where
    T: for<'de> DynamicDeserialize<'de>,
{
    message.body().deserialize().ok()
}

/// The wall clock, in microseconds since 1970 as systemd counts.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
