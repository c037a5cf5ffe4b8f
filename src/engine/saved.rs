//! What survives a restart of the daemon: incidents, attempts and backoff, pauses, stops, and notifications that are not in
//! the spool yet.
//!
//! Values with wall-clock times only, as the monotonic clock begins anew. Reading and writing the file is somebody
//! else's work; so is judging whether it can be read at all.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::blocked::Blocked;
use super::displaced::Displaced;
use super::hold::SavedHold;
use super::incident::Incident;
use super::ran::Runs;
use super::state::{Base, CheckState};
use super::storm::{Brake, SavedBrake};
use super::trail::Trail;
use super::unmeasured::{Thread, Unmeasured};
use super::usage::{Reading, Usage};
use super::watch::UnitWatch;
use super::{Effect, Engine, Event};
use crate::check::{Check, CheckName};
use crate::notification::{Attempt, HostNotification, IncidentId, Notification};
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
    pub pending: Vec<Notification>,
    /// The same of notifications about the machine.
    #[serde(default)]
    pub pending_host: Vec<HostNotification>,
    /// A storm that is on, or has just ended.
    #[serde(default)]
    pub brake: SavedBrake,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedCheck {
    since: Wall,
    passing: bool,
    failures: u32,
    incident: Option<SavedIncident>,
    /// Until when by the wall clock as it was when this was saved, and how many milliseconds were left: a wall clock that
    /// was set back must not prolong it.
    paused: Option<(Wall, u64)>,
    climbed: u32,
    tries: u32,
    last_incident: i64,
    #[serde(default)]
    bad: Option<Wall>,
    #[serde(default)]
    unmeasured: Option<SavedUnmeasured>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usage: Option<SavedUsage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runs: Option<SavedRuns>,
    /// The latest of what was decided about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trail: Vec<Decision>,
}

/// What a check's unit, or the machine, used within the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedUsage {
    /// What was measured, in the probe's own words: the readings of another probe mean nothing.
    probe: String,
    run: String,
    exceeded: bool,
    undecided: bool,
    /// When, the counter or the use, the least use since the one before.
    window: Vec<(Wall, u64, u64)>,
}

/// What is known of a job's runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRuns {
    since: Wall,
    /// When the last good run ended, and the same in systemd's microseconds.
    well: Option<(Wall, u64)>,
}

/// A check that cannot be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedUnmeasured {
    /// As it is told.
    since: Wall,
    /// The same by the wall clock as it was when this was saved: it may have been set meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun: Option<Wall>,
    runs: u32,
    reason: String,
    /// The mails about it: the thread, how many, and when the last was asked for.
    thread: Option<(IncidentId, u32, Wall)>,
}

/// An open incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedIncident {
    id: IncidentId,
    /// As it is told.
    since: Wall,
    /// The same by the wall clock as it was when this was saved: it may have been set meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened: Option<Wall>,
    cause: String,
    crash_loop: bool,
    #[serde(default)]
    incurable: bool,
    failed_invocation: String,
    attempts: Vec<Attempt>,
    attempts_total: u32,
    action_required: Option<String>,
    asked: u32,
    delivered: u32,
    notified_down: bool,
    notified_action_required: bool,
    last_notified: Wall,
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
    /// Somebody's command has it.
    #[serde(default)]
    hold: Option<SavedHold>,
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
            pending_host: self.pending_host.values().cloned().collect(),
            brake: self.brake.save(now),
        }
    }

    /// A core that goes on where `saved` was taken, with these checks. The actions ask again for the notifications that may not
    /// have reached the spool. What `saved` knows of checks that are gone is dropped; a notification never is.
    #[must_use]
    pub fn restore(now: Now, boot: &str, saved: Saved, checks: Vec<Check>) -> (Self, Vec<Effect>) {
        let then = then(now, boot, &saved);
        let mut engine = Self::new();
        let mut out: Vec<Effect> =
            saved.pending.iter().map(|notification| Effect::Notify(Box::new(notification.clone()))).collect();
        out.extend(
            saved.pending_host.iter().map(|notification| Effect::NotifyHost(Box::new(notification.clone()))),
        );
        engine.pending =
            saved.pending.into_iter().map(|notification| (notification.id.clone(), notification)).collect();
        engine.pending_host = saved
            .pending_host
            .into_iter()
            .map(|notification| (notification.id.clone(), notification))
            .collect();
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
        engine.show_held(now);
        engine.brake = Brake::restore(now, then, saved.brake);
        for name in &names {
            engine.show(now, name, &mut out);
            engine.wake(now, name);
        }
        engine.review_brake(now, &mut out);
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
        paused: state.pause.map(|(end, until)| {
            (now.still(until, end), u64::try_from(end.since(now.mono).as_millis()).unwrap_or(u64::MAX))
        }),
        climbed: state.climbed,
        tries: state.tries,
        last_incident: state.last_incident,
        bad: state.bad.map(|since| now.wall_of(since)),
        unmeasured: state.unmeasured.as_ref().map(|unmeasured| SavedUnmeasured {
            since: now.still(unmeasured.since_wall, unmeasured.since),
            begun: Some(now.wall_of(unmeasured.since)),
            runs: unmeasured.runs,
            reason: unmeasured.reason.clone(),
            thread: unmeasured
                .thread
                .as_ref()
                .map(|thread| (thread.id.clone(), thread.asked, now.wall_of(thread.last_notified))),
        }),
        usage: state.check.probe.usage().map(|probe| SavedUsage {
            probe: probe.describe(),
            run: state.usage.run.clone(),
            exceeded: state.usage.exceeded,
            undecided: state.usage.undecided,
            window: state.usage.window.iter().map(|at| (now.wall_of(at.at), at.used, at.least)).collect(),
        }),
        runs: state.runs.as_ref().map(|runs| SavedRuns {
            since: now.wall_of(runs.since),
            well: runs.well.map(|(at, usec)| (now.wall_of(at), usec)),
        }),
        trail: state.trail.latest(),
    }
}

fn save_incident(now: Now, incident: &Incident) -> SavedIncident {
    SavedIncident {
        id: incident.id.clone(),
        since: incident.since(now),
        opened: Some(now.wall_of(incident.opened)),
        cause: incident.cause.clone(),
        crash_loop: incident.crash_loop,
        incurable: incident.incurable,
        failed_invocation: incident.failed_invocation.clone(),
        attempts: incident.attempts.clone(),
        attempts_total: incident.attempts_total,
        action_required: incident.action_required.clone(),
        asked: incident.asked,
        delivered: incident.delivered,
        notified_down: incident.notified_down,
        notified_action_required: incident.notified_action_required,
        last_notified: now.wall_of(incident.last_notified),
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
        hold: watch.hold.as_ref().map(|hold| SavedHold::of(now, hold)),
    }
}

fn restore_check(now: Now, then: Now, state: &mut CheckState, saved: SavedCheck) {
    state.since = saved.since;
    state.failures = saved.failures;
    state.climbed = saved.climbed;
    state.tries = saved.tries;
    state.last_incident = saved.last_incident;
    state.trail = Trail::restore(saved.trail);
    let mono = |at: Wall| then.mono_of(at).min(now.mono);
    state.bad = saved.bad.map(mono);
    state.unmeasured = saved.unmeasured.map(|saved| Unmeasured {
        since: mono(saved.begun.unwrap_or(saved.since)),
        since_wall: saved.since,
        runs: saved.runs,
        reason: saved.reason,
        thread: saved.thread.map(|(id, asked, last_notified)| Thread {
            id,
            asked,
            last_notified: mono(last_notified),
        }),
    });
    state.pause = saved.paused.and_then(|(until, left)| {
        let left = then.mono_of(until).since(now.mono).min(Duration::from_millis(left));
        (!left.is_zero()).then(|| (now.mono.after(left), now.wall.after(left)))
    });
    let probe = state.check.probe.usage().map(crate::check::UsageProbe::describe);
    if let Some(saved) = saved.usage.filter(|saved| probe.as_ref() == Some(&saved.probe)) {
        state.usage = restore_usage(now, then, saved);
    }
    if let (Some(runs), Some(saved)) = (&mut state.runs, saved.runs) {
        let at = |wall| then.mono_of(wall).min(now.mono);
        *runs = Runs {
            since: at(saved.since),
            well: saved.well.map(|(wall, usec)| (at(wall), usec)),
            running: None,
        };
    }
    if saved.passing {
        state.base = Base::Passing;
    }
    if let Some(saved) = saved.incident {
        state.base = Base::Down;
        state.incident = Some(Incident {
            id: saved.id,
            since: saved.since,
            opened: then.mono_of(saved.opened.unwrap_or(saved.since)).min(now.mono),
            cause: saved.cause,
            crash_loop: saved.crash_loop,
            incurable: saved.incurable,
            failed_invocation: saved.failed_invocation,
            attempts: saved.attempts,
            attempts_total: saved.attempts_total,
            action_required: saved.action_required,
            held_back: None,
            asked: saved.asked,
            delivered: saved.delivered,
            notified_down: saved.notified_down,
            notified_action_required: saved.notified_action_required,
            last_notified: then.mono_of(saved.last_notified).min(now.mono),
            act_from: now.mono,
            hushed: saved.hushed.map(|until| {
                let until = then.mono_of(until).min(now.mono);
                (until, now.wall_of(until))
            }),
            dependents: Vec::new(),
        });
    }
    state.shown = state.health(now, None);
}

fn restore_usage(now: Now, then: Now, saved: SavedUsage) -> Usage {
    let reading = |(at, used, least)| Reading { at: then.mono_of(at).min(now.mono), used, least };
    Usage {
        run: saved.run,
        window: saved.window.into_iter().map(reading).collect(),
        exceeded: saved.exceeded,
        undecided: saved.undecided,
    }
}

fn restore_unit(now: Now, then: Now, watch: &mut UnitWatch, saved: &SavedUnit) {
    watch.attempts = saved.attempts;
    watch.next_attempt = then.mono_of(saved.next_attempt);
    watch.healthy = saved.healthy_since.map(|since| then.mono_of(since).min(now.mono));
    watch.stopped_by_us = saved.stopped_by_us;
    watch.hold = saved.hold.as_ref().map(|hold| hold.restored(now, then));
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
