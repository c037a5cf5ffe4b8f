//! Another configuration takes the place of the one in force.
//!
//! In: the new checks. Out: what is known of a check under its name is kept, what is no longer configured is let go. All
//! or nothing is decided elsewhere: what comes here is valid.

use std::sync::Arc;

use super::event::{ChangeKind, Effect};
use super::state::{Base, CheckState};
use super::watch::UnitWatch;
use super::{Engine, changed, schedule};
use crate::check::{Check, CheckName};
use crate::time::Now;
use crate::unit::UnitName;

impl Engine {
    pub(super) fn configured(&mut self, now: Now, checks: Vec<Check>, out: &mut Vec<Effect>) {
        let mut old = std::mem::take(&mut self.checks);
        let mut old_units = std::mem::take(&mut self.units);
        for check in checks {
            let name = check.name.clone();
            if let Some(unit) = &check.unit {
                let watch = self.units.entry(unit.clone()).or_insert_with(|| {
                    let mut watch = old_units.remove(unit).unwrap_or_else(UnitWatch::new);
                    watch.checks.clear();
                    (watch.job, watch.times_job) = (None, false);
                    watch
                });
                let timer = unit.kind() == "timer";
                let job = check.probe.job();
                watch.times_job |= timer && job.is_some();
                watch.job = watch.job.max(job.filter(|_| !timer).map(|job| job.max_runtime));
                watch.checks.push(name.clone());
            }
            let previous = old.remove(&name);
            let kept = previous.as_ref().is_some_and(|previous| previous.check.unit == check.unit);
            if let Some(previous) = previous.as_ref().filter(|_| !kept) {
                forgotten(previous, out);
            }
            let state = adopt(now, check, previous);
            self.checks.insert(name, state);
        }
        for (name, state) in old {
            self.wakeups.set(&name, None);
            forgotten(&state, out);
        }
        for (unit, watch) in &old_units {
            self.forget_hold(unit, watch, out);
        }
        for watch in self.units.values_mut() {
            watch.checks.sort();
            // A check that asked for an attempt and is gone now can no longer judge it; any that is left can.
            if let Some(attempt) = &mut watch.attempt
                && !watch.checks.contains(&attempt.by)
                && let Some(heir) = watch.checks.first()
            {
                attempt.by = heir.clone();
            }
        }
        self.graph.guard(self.units.keys().cloned());
        let units: Vec<UnitName> = self.units.keys().cloned().collect();
        for unit in &units {
            // What was a neighbour of a guarded unit until now has been read, and is not told again.
            match self.graph.take_reading(unit) {
                Some(reading) => self.unit_changed(now, unit, reading, out),
                None => self.look_around(now, unit),
            }
        }
        let names: Vec<CheckName> = self.checks.keys().cloned().collect();
        for name in &names {
            self.settle(now, name, out);
        }
    }
}

/// The state of a newly configured check: what is known of it under this name is kept; counters only where it is the
/// same check still.
fn adopt(now: Now, check: Check, old: Option<CheckState>) -> CheckState {
    let check = Arc::new(check);
    let first = schedule::first(&check.name, check.schedule.interval, now.mono);
    match old {
        None => CheckState::new(check, now, first),
        Some(old) if *old.check == *check => old,
        Some(old) => {
            let same_unit = old.check.unit == check.unit;
            let (same_probe, is_job) = (old.check.probe == check.probe, check.probe.job().is_some());
            let mut state = CheckState::new(check, now, first);
            state.pause = old.pause;
            state.history = old.history;
            state.unmeasured = old.unmeasured.filter(|unmeasured| unmeasured.thread.is_some());
            state.last_incident = old.last_incident;
            state.shown = old.shown;
            if same_unit {
                state.usage.exceeded = old.usage.exceeded;
                state.runs = old.runs.filter(|_| is_job).or(state.runs);
            }
            if same_unit && same_probe {
                state.usage = old.usage;
            }
            state.since = old.since;
            state.trail = old.trail;
            if same_unit && old.incident.is_some() {
                state.incident = old.incident;
                state.base = Base::Down;
                state.climbed = old.climbed;
                state.tries = old.tries;
            }
            state
        }
    }
}

/// A check is no longer configured, or speaks for another unit now: its incident ends with it.
fn forgotten(state: &CheckState, out: &mut Vec<Effect>) {
    if let Some(incident) = &state.incident {
        let what = ChangeKind::IncidentClosed { since: incident.since, attempts: incident.attempts_total };
        out.push(changed(Some(&state.check.name), state.check.unit.as_ref(), Some(&incident.id), what));
    }
}
