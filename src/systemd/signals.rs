//! What becomes of a message from the bus. Part of the loop in `session.rs`.
//!
//! Any local user may send us any signal: only those of systemd, of logind and of the bus itself are believed.

use zbus::message::{Message, Type};
use zbus::wire::DynamicDeserialize;

use super::answers::NOT_ON_THE_BUS;
use super::calls::{LOGIND, SYSTEMD};
use super::session::{Session, Work};
use super::state::{Properties, UNIT_PATHS, active_state, unit_path};
use super::watched::Unit;
use crate::unit::UnitName;

/// Units whose start means that the manager goes down (systemd.special(7)): with a job on one of them its
/// `SystemState` is `stopping`, and nothing else tells.
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
                "Reloading" if parse::<bool>(message) == Some(false) => self.later(Work::List { all: true }),
                "StartupFinished" => self.later(Work::System),
                _ => {}
            }
        } else if sender == "org.freedesktop.DBus" && member == "NameOwnerChanged" {
            self.owner_changed(message);
        } else if self.owners.logind.as_deref() == Some(sender)
            && member == "PrepareForShutdown"
            && let Some(begins) = parse::<bool>(message)
        {
            self.shutdown = begins;
            self.later(Work::System);
        }
    }

    fn unit_signal(&mut self, path: &str, message: &Message) {
        let Some(names) = self.client.watched.by_path.get(path).cloned() else { return };
        let Ok((_, changed, _)) = message.body().deserialize::<(String, Properties, Vec<String>)>() else {
            return;
        };
        for name in names {
            if let (Some(active), Some(unit)) =
                (changed.active.as_deref(), self.client.watched.units.get_mut(&name))
            {
                let job = changed.job_id().unwrap_or(0);
                unit.track.note_end(active_state(active), changed.inactive_enter);
                let ask = unit.track.observe(active_state(active), job, &changed.invocation());
                if let (Some(id), Some((_, job))) = (ask, &changed.job) {
                    self.later(Work::Kind { unit: name.clone(), id, job: job.clone() });
                }
            }
            self.hint(&name, Some(message.recv_position()));
        }
    }

    fn job_new(&mut self, message: &Message) {
        let Some((id, job, unit)) = parse::<(u32, zbus::OwnedObjectPath, String)>(message) else { return };
        if LAST_UNITS.contains(&unit.as_str()) {
            self.later(Work::System);
        }
        for name in self.names(&unit) {
            let Some(Unit { track, .. }) = self.client.watched.units.get_mut(&name) else { continue };
            if track.job_new(id) {
                self.later(Work::Kind { unit: name.clone(), id, job: job.as_str().to_owned() });
            }
            self.hint(&name, Some(message.recv_position()));
        }
    }

    fn job_removed(&mut self, message: &Message) {
        let Some((id, job, unit, result)) = parse::<(u32, zbus::OwnedObjectPath, String, String)>(message)
        else {
            return;
        };
        if LAST_UNITS.contains(&unit.as_str()) {
            self.later(Work::System);
        }
        for name in self.names(&unit) {
            if let Some(Unit { track, .. }) = self.client.watched.units.get_mut(&name) {
                if result == "done" {
                    track.note_done(id, now());
                }
                track.job_removed(id, result == "done");
            }
            self.tell(&name);
            self.hint(&name, Some(message.recv_position()));
        }
        self.runs.job_removed(job.as_str(), &unit, &result);
        for (order, result) in self.client.watched.jobs.removed(job.as_str(), &result) {
            self.finish(order, result);
        }
    }

    /// The names under which the unit with this name of systemd's own is watched.
    fn names(&self, unit: &str) -> Vec<UnitName> {
        self.client.watched.by_path.get(&unit_path(unit)).cloned().unwrap_or_default()
    }

    /// systemd or logind came or went. systemd does both when it re-executes itself.
    fn owner_changed(&mut self, message: &Message) {
        let Some((name, _, owner)) = parse::<(String, String, String)>(message) else { return };
        let owner = Some(owner).filter(|owner| !owner.is_empty());
        self.restless = !self.ready;
        match name.as_str() {
            SYSTEMD if self.owners.systemd != owner => {
                self.owners.systemd = owner;
                if self.owners.systemd.is_some() {
                    self.get_ready_again();
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
