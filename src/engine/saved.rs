//! What survives a restart of the daemon: incidents, attempts and backoff, pauses, stops, and notices that are not in
//! the spool yet.
//!
//! Values with wall-clock times only, as the monotonic clock begins anew. Reading and writing the file is somebody
//! else's work; so is judging whether it can be read at all.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::blocked::Blocked;
use super::displaced::Displaced;
use super::incident::Incident;
use super::state::{Base, CheckState};
use super::trail::Trail;
use super::watch::UnitWatch;
use super::{Action, Engine, Event};
use crate::check::{Check, CheckName};
use crate::notice::{Attempt, IncidentId, Notice};
use crate::status::Decision;
use crate::time::{Mono, Now, Wall};
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
    /// The same moment on the monotonic clock, in milliseconds, and the boot that this clock counts from. Within one boot
    /// it tells how long the daemon was away, whatever was done to the wall clock meanwhile.
    pub monotonic: u64,
    /// The kernel's id of the boot; empty where it is not known.
    pub boot: String,
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
    /// The latest of what was decided about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trail: Vec<Decision>,
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
    #[serde(default)]
    hushed: Option<Wall>,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedUnit {
    attempts: u32,
    next_attempt: Wall,
    healthy_since: Option<Wall>,
    stopped_by_us: bool,
    /// The stop that is respected: since when, and the unit's `InactiveEnterTimestamp` by which it is known again.
    stopped: Option<(Wall, u64)>,
    /// An attempt was under way.
    attempt_open: bool,
    /// It was displaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    displaced: Option<SavedDisplaced>,
    /// What it needs was not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocked: Option<SavedBlocked>,
    /// It had gone down together with something that it needs.
    #[serde(default)]
    taken_down: bool,
}

/// A unit that it conflicts with is up in its place, or was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SavedDisplaced {
    by: UnitName,
    since: Wall,
    over: Option<Wall>,
    stopped_apart: bool,
}

/// What a unit needs is not well, or was not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SavedBlocked {
    by: UnitName,
    incident: bool,
    silent: bool,
    over: Option<Wall>,
}

impl Engine {
    /// Everything that must survive a restart. `boot`: the kernel's id of this boot, or nothing.
    #[must_use]
    pub fn save(&self, now: Now, boot: &str) -> Saved {
        Saved {
            version: VERSION,
            at: now.wall,
            monotonic: u64::try_from(now.mono.0.as_millis()).unwrap_or(u64::MAX),
            boot: boot.to_owned(),
            checks: self.checks.iter().map(|(name, state)| (name.clone(), save_check(now, state))).collect(),
            units: self.units.iter().map(|(name, watch)| (name.clone(), save_unit(now, watch))).collect(),
            pending: self.pending.values().cloned().collect(),
        }
    }

    /// A core that goes on where `saved` was taken, with these checks. The actions ask again for the notices that may not
    /// have reached the spool. What `saved` knows of checks that are gone is dropped; a notice never is.
    #[must_use]
    pub fn restore(now: Now, boot: &str, saved: Saved, checks: Vec<Check>) -> (Self, Vec<Action>) {
        let then = then(now, boot, &saved);
        let mut engine = Self::new();
        let mut out: Vec<Action> =
            saved.pending.iter().map(|notice| Action::Notify(Box::new(notice.clone()))).collect();
        engine.pending = saved.pending.into_iter().map(|notice| (notice.id.clone(), notice)).collect();
        out.extend(engine.handle(now, Event::Configured(checks)));
        for (name, saved) in saved.units {
            if let Some(watch) = engine.units.get_mut(&name) {
                restore_unit(now, then, watch, &saved);
            }
        }
        let names: Vec<CheckName> = engine.checks.keys().cloned().collect();
        for (name, saved) in saved.checks {
            if let Some(state) = engine.checks.get_mut(&name) {
                restore_check(now, then, state, saved);
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

/// A moment at which both clocks are known, to find the place of saved wall-clock points on the monotonic clock: within
/// the same boot the moment of saving, as the wall clock may have been set since; after a reboot there is only now.
fn then(now: Now, boot: &str, saved: &Saved) -> Now {
    let mono = Mono(Duration::from_millis(saved.monotonic));
    if !boot.is_empty() && saved.boot == boot && mono <= now.mono {
        Now { mono, wall: saved.at }
    } else {
        now
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
        trail: state.trail.latest(),
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
        hushed: incident.hushed.map(|(until, _)| now.wall_of(until)),
    }
}

fn save_unit(now: Now, watch: &UnitWatch) -> SavedUnit {
    let inactive_since = watch.state.as_ref().map(|state| state.inactive_enter_usec);
    SavedUnit {
        attempts: watch.attempts,
        next_attempt: now.wall_of(watch.next_attempt),
        healthy_since: watch.healthy.map(|since| now.wall_of(since)),
        stopped_by_us: watch.stopped_by_us,
        stopped: match (watch.stopped, inactive_since) {
            (Some((since, _)), Some(usec)) => Some((now.wall_of(since), usec)),
            _ => watch.restored_stop.map(|(since, usec)| (now.wall_of(since), usec)),
        },
        attempt_open: watch.attempt.is_some(),
        displaced: watch.displaced.as_ref().map(|mark| SavedDisplaced {
            by: mark.by.clone(),
            since: now.wall_of(mark.since.0),
            over: mark.over.map(|(over, _)| now.wall_of(over)),
            stopped_apart: mark.stopped_apart,
        }),
        blocked: watch.blocked.as_ref().map(|mark| SavedBlocked {
            by: mark.by.clone(),
            incident: mark.incident,
            silent: mark.silent,
            over: mark.over.map(|(over, _)| now.wall_of(over)),
        }),
        taken_down: watch.taken_down,
    }
}

fn restore_check(now: Now, then: Now, state: &mut CheckState, saved: SavedCheck) {
    state.since = saved.since;
    state.failures = saved.failures;
    state.climbed = saved.climbed;
    state.tries = saved.tries;
    state.last_incident = saved.last_incident;
    state.trail = Trail::restore(saved.trail);
    state.pause = saved.paused.and_then(|(until, left)| {
        let left = then.mono_of(until).since(now.mono).min(Duration::from_millis(left));
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
            opened: then.mono_of(saved.since).min(now.mono),
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
            last_told: then.mono_of(saved.last_told).min(now.mono),
            act_from: now.mono,
            hushed: saved.hushed.map(|until| {
                let until = then.mono_of(until).min(now.mono);
                (until, now.wall_of(until))
            }),
            takes_down: Vec::new(),
        });
    }
    state.shown = state.health(now, None);
}

fn restore_unit(now: Now, then: Now, watch: &mut UnitWatch, saved: &SavedUnit) {
    watch.attempts = saved.attempts;
    watch.next_attempt = then.mono_of(saved.next_attempt);
    watch.healthy = saved.healthy_since.map(|since| then.mono_of(since).min(now.mono));
    watch.stopped_by_us = saved.stopped_by_us;
    watch.restored_stop = saved.stopped.map(|(since, usec)| (then.mono_of(since).min(now.mono), usec));
    let moment = |wall: Wall| {
        let mono = then.mono_of(wall).min(now.mono);
        (mono, now.wall_of(mono))
    };
    watch.down_displaced = saved.displaced.is_some();
    watch.displaced = saved.displaced.as_ref().map(|mark| Displaced {
        by: mark.by.clone(),
        since: moment(mark.since),
        over: mark.over.map(moment),
        stopped_apart: mark.stopped_apart,
    });
    watch.blocked = saved.blocked.as_ref().map(|mark| Blocked {
        by: mark.by.clone(),
        incident: mark.incident,
        silent: mark.silent,
        over: mark.over.map(moment),
    });
    watch.taken_down = saved.taken_down;
    if saved.attempt_open {
        // Its job may have ended a moment ago: the unit still has its grace.
        watch.settling = Some(now.mono);
    }
}
