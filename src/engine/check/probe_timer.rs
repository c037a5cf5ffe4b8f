//! When a check is probed, and the run that is under way (rule 3).
//!
//! In: runs that begin and end, and how the check does. Out: when the next probe is due. It is not saved: after a restart of
//! the daemon all checks are spread again.

use std::sync::Arc;
use std::time::Duration;

use super::schedule;
use crate::check::Check as Settings;
use crate::engine::event::RunId;
use crate::time::Mono;

/// A probe that has not reported back this long after its deadline is lost.
pub(in crate::engine) const LOST_AFTER: Duration = Duration::from_secs(5);

/// A probe run under way.
#[derive(Clone, Copy, Debug)]
struct Run {
    id: RunId,
    started: Mono,
    lost_at: Mono,
}

/// The probe timer of one check.
#[derive(Debug)]
pub(in crate::engine) struct ProbeTimer {
    settings: Arc<Settings>,
    run: Option<Run>,
    next_probe: Mono,
    probed: Mono,
    /// The due probe was missed and was planned again: it is not deferred twice.
    deferred: bool,
}

impl ProbeTimer {
    pub fn new(settings: Arc<Settings>, now: Mono) -> Self {
        let next_probe = schedule::first(&settings.name, settings.schedule.interval, now);
        Self { settings, run: None, next_probe, probed: Mono::default(), deferred: false }
    }

    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    pub fn next_probe(&self) -> Mono {
        self.next_probe
    }

    /// When it wants attention: the next probe, or the end of the wait for the one under way.
    pub fn due(&self) -> Mono {
        self.run.map_or(self.next_probe, |run| run.lost_at)
    }

    // --- the run

    pub fn begin_run(&mut self, now: Mono, id: RunId) {
        let lost_at = now.after(self.settings.schedule.timeout).after(LOST_AFTER);
        self.run = Some(Run { id, started: now, lost_at });
    }

    /// Ends the run with this id and returns when it began; `None` for any other run, which is late and counts nothing.
    pub fn finish_run(&mut self, id: RunId) -> Option<Mono> {
        self.run.take_if(|run| run.id == id).map(|run| run.started)
    }

    /// The probe under way has not reported back; it is given up.
    pub fn take_lost_run(&mut self, now: Mono) -> bool {
        self.run.take_if(|run| run.lost_at <= now).is_some()
    }

    /// The run under way is given up.
    pub fn drop_run(&mut self) {
        self.run = None;
    }

    // --- the next probe

    /// A probe starts, or the unit is looked at in its place.
    pub fn note_probed(&mut self, now: Mono) {
        self.deferred = false;
        self.probed = now;
    }

    /// Plans the due probe again where the machine slept or the process was stopped: the first time only.
    pub fn defer_missed(&mut self, now: Mono) -> bool {
        let late = now.since(self.next_probe);
        let defer = late > schedule::MISSED_AFTER && !self.deferred;
        if defer {
            self.deferred = true;
            self.next_probe = schedule::first(&self.settings.name, self.settings.schedule.interval, now);
        }
        defer
    }

    pub fn probe_at(&mut self, at: Mono) {
        self.next_probe = at;
    }

    pub fn probe_by(&mut self, at: Mono) {
        self.next_probe = self.next_probe.min(at);
    }

    /// A run that began before `now` sees a past state: it is given up, and another is due at once.
    pub fn probe_afresh(&mut self, now: Mono) {
        self.next_probe = now;
        self.run.take_if(|run| run.started != now);
    }

    /// Something is wrong: the next probe comes within `retry_interval`.
    pub fn retry_soon(&mut self, now: Mono) {
        self.probe_by(now.after(self.settings.schedule.retry_interval));
    }

    /// Plans the next probe while all is well: on the grid, and not right after one that was off it.
    pub fn plan_on_grid(&mut self, now: Mono) {
        let interval = self.settings.schedule.interval;
        let after = now.max(self.probed.after(interval / 2));
        self.next_probe = schedule::next(&self.settings.name, interval, after);
    }

    /// Plans the next probe while something is wrong. `rising_since`: the unit is coming up, and is probed more often, at a
    /// growing distance from 1 s to `retry_interval`, so that a recovery is seen soon.
    pub fn plan_retry(&mut self, now: Mono, rising_since: Option<Mono>) {
        const LEAST: Duration = Duration::from_secs(1);
        let schedule = &self.settings.schedule;
        let retry = schedule.retry_interval.min(schedule.interval);
        let wait = if self.settings.probe.usage().is_some() {
            // The time between two samples is what is measured.
            schedule.interval
        } else {
            rising_since.map_or(retry, |since| retry.min(now.since(since).max(LEAST)))
        };
        self.next_probe = now.after(wait);
    }
}
