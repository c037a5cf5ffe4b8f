//! Holds, between the bus, the core, the leases and the service manager's store.
//!
//! In: who asks for a hold or ends one, and leases that close. Out: events for the core, and for a hold that it grants
//! the lease: stored with the service manager, watched by a task, handed to whoever asked. What a hold means for a unit
//! is decided in the core.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::act::Internal;
use super::dbus_server::Waiting;
use super::{Supervisor, clock};
use crate::bus::{Grant, Refusal, resolve};
use crate::check::CheckName;
use crate::engine::Event;
use crate::engine::hold::{HoldAction, HoldEvent, HoldId, Holder, HowEnded};
use crate::lease::Closed;
use crate::unit::UnitName;
use crate::{journal, lease, service_manager};

/// What a lease is called in the service manager's store, before the hold's id.
const STORED_AS: &str = "hold-";

/// The holds that there are, and those that are asked for.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Who asked, until the core has answered.
    asking: BTreeMap<HoldId, (UnitName, Waiting<Grant>)>,
    /// The tasks that watch the leases. They have their ends of them.
    watched: BTreeMap<HoldId, AbortHandle>,
    /// The number that the latest id was made of.
    latest: i64,
}

impl Supervisor {
    /// Asks the core for a hold; the answer comes with [`HoldAction`].
    pub(super) fn hold(&mut self, name: &str, holder: Holder, lasting: Duration, reply: Waiting<Grant>) {
        let unit = self.unit_to_hold(name).and_then(|unit| match unit.kind() {
            "slice" => Err(Refusal::InvalidArgument(format!(
                "{unit} is a slice: a stop of it stops every unit in it, and no start of it starts them again; hold those units instead"
            ))),
            _ => Ok(unit),
        });
        match unit {
            Ok(unit) => {
                let id = self.next_hold_id();
                self.holds.asking.insert(id.clone(), (unit.clone(), reply));
                self.tell(Event::Hold(HoldEvent::Take { id, unit, holder, lasting }));
            }
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
            }
        }
    }

    /// An operator ends a hold, named by its id, its unit or a check. Answers the unit.
    pub(super) fn release(&mut self, name: &str) -> Result<String, Refusal> {
        let id = HoldId(name.into());
        let id = match self.engine.held_unit(&id) {
            Some(_) => id,
            None => {
                let unit = self.unit_to_hold(name)?;
                let held = self.engine.hold_on(&unit).cloned();
                held.ok_or_else(|| Refusal::Failed(format!("{unit} is not held")))?
            }
        };
        let unit = self.engine.held_unit(&id).map(ToString::to_string).unwrap_or_default();
        self.tell(Event::Hold(HoldEvent::End(id, HowEnded::Released)));
        Ok(unit)
    }

    /// The unit that somebody means: a check's, or a guarded unit by its own name.
    fn unit_to_hold(&self, name: &str) -> Result<UnitName, Refusal> {
        let check = match resolve(name, self.engine.names()) {
            Ok(check) => check,
            Err(refusal) => {
                let named = |unit: &&UnitName| {
                    unit.as_str() == name || unit.as_str().strip_suffix(".service") == Some(name)
                };
                return self.engine.units().find(named).cloned().ok_or(refusal);
            }
        };
        let check = self.config.checks.iter().find(|known| known.name == *check);
        check.and_then(|check| check.unit.clone()).ok_or_else(|| {
            Refusal::InvalidArgument(format!(
                "{name} has no `unit`, so there is nothing to hold; use `stealthctl pause {name}`"
            ))
        })
    }

    /// The second of now, or the one after the latest id: what is still on its way about an earlier hold must not be
    /// taken for a word about this one.
    fn next_hold_id(&mut self) -> HoldId {
        loop {
            let latest = &mut self.holds.latest;
            *latest = clock::now().wall.0.div_euclid(1000).max(latest.saturating_add(1));
            let id = HoldId(latest.to_string().into());
            // From before a restart, where the clock was set back since.
            if self.engine.held_unit(&id).is_none() {
                return id;
            }
        }
    }

    /// Does what the core wants about a hold. It is in the state file already.
    pub(super) fn act_on_hold(&mut self, effect: HoldAction) {
        match effect {
            HoldAction::Granted { id, checks } => self.grant(id, checks),
            HoldAction::Refused { id, why } => {
                if let Some((_, reply)) = self.holds.asking.remove(&id) {
                    let _ = reply.send(Err(Refusal::Failed(why)));
                }
            }
            HoldAction::Over(id) => {
                if let Some(watcher) = self.holds.watched.remove(&id) {
                    watcher.abort();
                }
                service_manager::forget(&format!("{STORED_AS}{id}"));
            }
        }
    }

    fn grant(&mut self, id: HoldId, checks: Vec<CheckName>) {
        let Some((unit, reply)) = self.holds.asking.remove(&id) else { return };
        let answer = match lease::new() {
            Ok(lease) => {
                // Before it is given away: whatever becomes of this process, systemd has it then.
                service_manager::store(&format!("{STORED_AS}{id}"), lease.kept.as_fd());
                self.watch_lease(id.clone(), lease.kept);
                Ok(Grant { lease: lease.given, id: id.to_string(), unit: unit.to_string(), checks })
            }
            Err(error) => {
                self.lease_closed(id, Closed::Silently);
                Err(Refusal::Failed(format!("no lease could be made for {unit}: {error}")))
            }
        };
        // Whoever has given up waiting has let the lease go with the answer.
        let _ = reply.send(answer);
    }

    fn watch_lease(&mut self, id: HoldId, kept: OwnedFd) {
        let internal = self.internal.clone();
        let watched = id.clone();
        let watcher = tokio::spawn(async move {
            // What cannot be watched is not held.
            let how = lease::closed(kept).await.unwrap_or(Closed::Silently);
            let _ = internal.send(Internal::LeaseClosed { id: watched, how }).await;
        });
        self.holds.watched.insert(id, watcher.abort_handle());
    }

    pub(super) fn lease_closed(&mut self, id: HoldId, how: Closed) {
        let how = match how {
            Closed::Done => HowEnded::Done,
            Closed::Silently => HowEnded::Gone,
        };
        self.tell(Event::Hold(HoldEvent::End(id, how)));
    }

    /// Goes on with the leases that the service manager kept through a restart. One that nobody remembers is let go: it
    /// was never handed out, or its hold is over.
    pub(super) fn take_up_leases(&mut self) {
        let stored = service_manager::stored().unwrap_or_else(|why| {
            journal::log_trouble(&why);
            Vec::new()
        });
        let mut kept = BTreeSet::new();
        for (name, lease) in stored {
            let id = name.strip_prefix(STORED_AS).map(|id| HoldId(id.into()));
            match id.filter(|id| self.engine.held_unit(id).is_some()) {
                Some(id) => {
                    self.watch_lease(id.clone(), lease);
                    kept.insert(id);
                }
                None => service_manager::forget(&name),
            }
        }
        self.tell(Event::Hold(HoldEvent::Kept(kept)));
    }
}
