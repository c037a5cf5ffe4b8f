//! What survives a restart of the daemon: incidents, attempts and backoff, pauses, stops, holds, the storm, and
//! notifications that are not known to be stored.
//!
//! The types that own these facts are saved as they are, with monotonic times to the nanosecond. A monotonic time means
//! something on one clock only: [`Saved::clock`] names it, and the shell continues the same clock, after a reboot as well
//! (from [`Saved::mono`], by the wall clock's account of the time between). Reading and writing the file is the shell's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::context::Outbox;
use super::group::{Group, GroupKey};
use super::{Effect, Engine, Event, breaker, check, graph, unit};
use crate::check::{Check as Settings, CheckName};
use crate::time::{Mono, Now, Wall};
use crate::unit::UnitName;

/// The version that this program writes; it reads no other.
pub const VERSION: u32 = 2;

/// The core's memory on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// [`VERSION`].
    pub version: u32,
    /// When it was taken.
    pub at: Wall,
    /// The same moment on the monotonic clock.
    pub mono: Mono,
    /// The monotonic clock, in the shell's own words.
    pub clock: String,
    /// Since when the machine was shutting down: what comes after is another boot, also one that `systemctl soft-reboot`
    /// makes, which keeps the clock; and what went down since was stopped by nobody.
    shutting_down: Option<Mono>,
    /// Of which rejected configuration people were notified. The shell's own: the engine leaves it empty.
    pub notified_rejection: Option<Wall>,
    checks: BTreeMap<CheckName, check::Memory>,
    units: BTreeMap<UnitName, unit::Memory>,
    aliases: BTreeMap<UnitName, UnitName>,
    stops: graph::Memory,
    breaker: breaker::Memory,
    outbox: Outbox,
    attempts: u64,
}

impl Engine {
    /// Everything that must survive a restart. `clock`: what names the monotonic clock.
    #[must_use]
    pub fn save(&self, now: Now, clock: &str) -> Saved {
        let checks = self.groups.values().flat_map(Group::checks);
        let units = self.groups.values().filter_map(Group::unit);
        Saved {
            version: VERSION,
            at: now.wall,
            mono: now.mono,
            clock: clock.to_owned(),
            shutting_down: self.manager.stopping_since(),
            notified_rejection: None,
            checks: checks.map(|check| (check.name().clone(), check.memory().clone())).collect(),
            units: units.map(|unit| (unit.id().clone(), unit.memory().clone())).collect(),
            aliases: self.aliases.clone(),
            stops: self.graph.memory(),
            breaker: self.breaker.memory().clone(),
            outbox: self.outbox.clone(),
            attempts: self.ids.attempts(),
        }
    }

    /// A core that continues where `saved` was taken, with these checks; `now` continues the clock of `saved`. `clock`
    /// names it: by another name than [`Saved::clock`], or where it was shutting down, the machine was rebooted meanwhile.
    /// The effects request again the notifications that may not be stored. What `saved` knows of checks that are gone is
    /// dropped; a notification never is.
    #[must_use]
    pub fn restore(now: Now, clock: &str, saved: Saved, checks: Vec<Settings>) -> (Self, Vec<Effect>) {
        let rebooted = saved.clock != clock || saved.shutting_down.is_some();
        let mut engine = Self { outbox: saved.outbox, aliases: saved.aliases, ..Self::default() };
        engine.ids.resume(saved.attempts);
        let mut out = engine.outbox.requests();
        out.extend(engine.handle(now, Event::Configured(checks)));
        if !rebooted {
            engine.graph.restore(saved.stops);
        }
        let (mut checks, mut units) = (saved.checks, saved.units);
        for group in engine.groups.values_mut() {
            let grace = super::group::longest_grace(group.checks());
            let longest = group.checks().iter().map(|check| check.settings().recovery.backoff.max).max();
            if let Some(unit) = group.unit_mut()
                && let Some(memory) = units.remove(unit.id())
            {
                unit.restore(memory, saved.mono, now, grace, longest.unwrap_or(Duration::ZERO));
                if rebooted {
                    unit.record_reboot(saved.shutting_down);
                }
            }
            group.restore_checks(now, &mut checks);
            group.resume_shown(now);
        }
        // After the checks, or the storm would be over for want of checks that fail.
        engine.breaker.restore(saved.breaker);
        let keys: Vec<GroupKey> = engine.groups.keys().cloned().collect();
        engine.dirty.extend(keys);
        engine.evaluate_dirty(now, &mut out);
        engine.run_breaker(now, &mut out);
        (engine, out)
    }
}
