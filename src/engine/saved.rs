//! What survives a restart of the daemon: incidents, attempts and backoff, pauses, stops, and notices that are not in
//! the spool yet.
//!
//! Values with wall-clock times only, as the monotonic clock begins anew. Reading and writing the file is somebody
//! else's work; so is judging whether it can be read at all.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::incident::Incident;
use super::state::{Base, CheckState};
use super::watch::UnitWatch;
use super::{Action, Engine, Event};
use crate::check::{Check, CheckName};
use crate::notice::{Attempt, IncidentId, Notice};
use crate::time::{Now, Wall};
use crate::unit::UnitName;

/// The version that this program writes; it reads no other.
pub const VERSION: u32 = 1;

/// The core's memory on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// [`VERSION`].
    pub version: u32,
    /// When it was taken.
    pub at: Wall,
    /// What is known of each check.
    pub checks: BTreeMap<CheckName, SavedCheck>,
    /// What is known of each unit.
    pub units: BTreeMap<UnitName, SavedUnit>,
    /// Notices that were asked for and may not be in the spool.
    pub pending: Vec<Notice>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedCheck {
    since: Wall,
    passing: bool,
    failures: u32,
    incident: Option<SavedIncident>,
    /// Until when, and how many milliseconds were left: a wall clock that was set back must not prolong it.
    paused: Option<(Wall, u64)>,
    climbed: u32,
    tries: u32,
    last_incident: i64,
}

/// An open incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedIncident {
    id: IncidentId,
    since: Wall,
    cause: String,
    crash_loop: bool,
    failed_invocation: String,
    attempts: Vec<Attempt>,
    attempts_total: u32,
    needs_you: Option<String>,
    asked: u32,
    delivered: u32,
    told_down: bool,
    told_needs_you: bool,
    last_told: Wall,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedUnit {
    attempts: u32,
    next_attempt: Wall,
    healthy_since: Option<Wall>,
    stopped_by_us: bool,
    /// The `InactiveEnterTimestamp` of the stop that is respected.
    stopped: Option<u64>,
    /// Since when it is.
    #[serde(default)]
    stopped_since: Option<Wall>,
    /// An attempt was under way.
    attempt_open: bool,
}

impl Engine {
    /// Everything that must survive a restart.
    #[must_use]
    pub fn save(&self, now: Now) -> Saved {
        Saved {
            version: VERSION,
            at: now.wall,
            checks: self.checks.iter().map(|(name, state)| (name.clone(), save_check(now, state))).collect(),
            units: self.units.iter().map(|(name, watch)| (name.clone(), save_unit(now, watch))).collect(),
            pending: self.pending.values().cloned().collect(),
        }
    }

    /// A core that goes on where `saved` was taken, with these checks. The actions ask again for the notices that may not
    /// have reached the spool. What `saved` knows of checks that are gone is dropped; a notice never is.
    #[must_use]
    pub fn restore(now: Now, saved: Saved, checks: Vec<Check>) -> (Self, Vec<Action>) {
        let mut engine = Self::new();
        let mut out: Vec<Action> =
            saved.pending.iter().map(|notice| Action::Notify(Box::new(notice.clone()))).collect();
        engine.pending = saved.pending.into_iter().map(|notice| (notice.id.clone(), notice)).collect();
        out.extend(engine.handle(now, Event::Configured(checks)));
        for (name, saved) in saved.units {
            if let Some(watch) = engine.units.get_mut(&name) {
                restore_unit(now, watch, &saved);
            }
        }
        let names: Vec<CheckName> = engine.checks.keys().cloned().collect();
        for (name, saved) in saved.checks {
            if let Some(state) = engine.checks.get_mut(&name) {
                restore_check(now, state, saved);
            }
        }
        for watch in engine.units.values_mut() {
            // No backoff is longer than its longest, whatever the wall clock did meanwhile.
            let longest = watch.checks.iter().filter_map(|name| engine.checks.get(name));
            if let Some(max) = longest.map(|state| state.check.recovery.backoff.max).max() {
                watch.next_attempt = watch.next_attempt.min(now.mono.after(max));
            }
        }
        for name in &names {
            engine.show(now, name, &mut out);
            engine.wake(now, name);
        }
        (engine, out)
    }
}

fn save_check(now: Now, state: &CheckState) -> SavedCheck {
    SavedCheck {
        since: state.since,
        passing: state.base == Base::Passing,
        failures: state.failures,
        incident: state.incident.as_ref().map(|incident| save_incident(now, incident)),
        paused: state
            .pause
            .map(|(end, until)| (until, u64::try_from(end.since(now.mono).as_millis()).unwrap_or(u64::MAX))),
        climbed: state.climbed,
        tries: state.tries,
        last_incident: state.last_incident,
    }
}

fn save_incident(now: Now, incident: &Incident) -> SavedIncident {
    SavedIncident {
        id: incident.id.clone(),
        since: incident.since,
        cause: incident.cause.clone(),
        crash_loop: incident.crash_loop,
        failed_invocation: incident.failed_invocation.clone(),
        attempts: incident.attempts.clone(),
        attempts_total: incident.attempts_total,
        needs_you: incident.needs_you.clone(),
        asked: incident.asked,
        delivered: incident.delivered,
        told_down: incident.told_down,
        told_needs_you: incident.told_needs_you,
        last_told: now.wall_of(incident.last_told),
    }
}

fn save_unit(now: Now, watch: &UnitWatch) -> SavedUnit {
    let inactive_since = watch.state.as_ref().map(|state| state.inactive_enter_usec);
    SavedUnit {
        attempts: watch.attempts,
        next_attempt: now.wall_of(watch.next_attempt),
        healthy_since: watch.healthy.map(|since| now.wall_of(since)),
        stopped_by_us: watch.stopped_by_us,
        stopped: watch.stopped.and(inactive_since).or(watch.restored_stop.map(|(usec, _)| usec)),
        stopped_since: watch
            .stopped
            .or(watch.restored_stop.map(|(_, since)| (now.mono, since)))
            .map(|(_, since)| since),
        attempt_open: watch.attempt.is_some(),
    }
}

fn restore_check(now: Now, state: &mut CheckState, saved: SavedCheck) {
    state.since = saved.since;
    state.failures = saved.failures;
    state.climbed = saved.climbed;
    state.tries = saved.tries;
    state.last_incident = saved.last_incident;
    state.pause = saved.paused.and_then(|(until, left)| {
        let left = until.since(now.wall).min(Duration::from_millis(left));
        (!left.is_zero()).then(|| (now.mono.after(left), now.wall.after(left)))
    });
    if saved.passing {
        state.base = Base::Passing;
    }
    if let Some(saved) = saved.incident {
        state.base = Base::Down;
        state.incident = Some(Incident {
            id: saved.id,
            since: saved.since,
            opened: now.mono_of(saved.since),
            cause: saved.cause,
            crash_loop: saved.crash_loop,
            failed_invocation: saved.failed_invocation,
            attempts: saved.attempts,
            attempts_total: saved.attempts_total,
            needs_you: saved.needs_you,
            held_back: None,
            asked: saved.asked,
            delivered: saved.delivered,
            told_down: saved.told_down,
            told_needs_you: saved.told_needs_you,
            last_told: now.mono_of(saved.last_told).min(now.mono),
        });
    }
    state.shown = state.health(now, None);
}

fn restore_unit(now: Now, watch: &mut UnitWatch, saved: &SavedUnit) {
    watch.attempts = saved.attempts;
    watch.next_attempt = now.mono_of(saved.next_attempt);
    watch.healthy = saved.healthy_since.map(|since| now.mono_of(since).min(now.mono));
    watch.stopped_by_us = saved.stopped_by_us;
    watch.restored_stop = saved.stopped.zip(saved.stopped_since);
    if saved.attempt_open {
        // Its job may have ended a moment ago: the unit still has its grace.
        watch.settling = Some(now.mono);
    }
}
