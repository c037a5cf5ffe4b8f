//! What a restart of the daemon changes: nothing (rules 5, 10, 11). No incident is forgotten, its id, its
//! beginning, its attempts and its notifications stay; so do backoff, pauses and holds, to the nanosecond.

use std::time::Duration;

use serde_json::Value;
use stealthcheck::engine::hold::HoldId;
use stealthcheck::verdict::SuppressedBy;

use super::Pace;
use crate::sim::Sim;

/// Of a check, in the saved state.
const OF_CHECK: &[&str] = &["pause", "step_index", "other_pace", "openings"];

/// Of an incident.
const OF_INCIDENT: &[&str] = &[
    "id",
    "since",
    "opened",
    "cause",
    "crash_loop",
    "flapping",
    "not_restartable",
    "failed_invocation",
    "attempts",
    "attempts_total",
    "own_attempts",
    "ineffective",
    "exhausted",
    "successes",
];

/// Of a unit.
const OF_UNIT: &[&str] = &["stops", "pace", "healthy_since", "not_returned"];

/// Of a hold.
const OF_HOLD: &[&str] = &["id", "holder", "since", "ends", "start_after"];

impl Sim {
    /// The daemon is gone, and with it all that was not committed.
    pub fn rules_daemon_ended(&mut self) {
        let rules = &mut self.rules;
        rules.checks.clone_from(&rules.committed);
        for book in rules.checks.values_mut() {
            book.passes = false;
            book.other_job = None;
        }
        rules.told.clear();
        rules.probing.clear();
        rules.wanted_leases.clear();
        for book in rules.units.values_mut() {
            book.open = None;
            // Whoever comes next knows of it what was written, or what systemd remembers.
            book.stop = None;
            book.operators_stop = None;
        }
    }

    pub fn rules_rebooted(&mut self) {
        self.rules.booted = true;
    }

    /// A new life has read the state, and nothing else has happened in it yet.
    pub fn rules_restored(&mut self) {
        let now = self.mono;
        (self.rules.blind, self.rules.started) = (now, now);
        let leases = self.machine.open_leases();
        let open = |id: &HoldId| leases.iter().any(|open| **open == *id.0);
        for unit in self.rules.leases.iter().filter(|(id, _)| !open(id)).map(|(_, unit)| unit) {
            self.rules.leases_over.insert(unit.clone(), now);
        }
        self.rules.leases.retain(|id, _| open(id));
        self.no_incident_is_forgotten();
        let Some(engine) = self.machine.engine() else { return };
        let storm = engine.storm(self.now()).is_some();
        if storm && !self.rules.storm {
            self.rules.storm_since = now;
        }
        self.rules.storm = storm;
        let Some(before) = self.disk.state.clone() else { return };
        let after = engine.save(self.now(), &self.machine.boot_id());
        let (before, after) = (serde_json::to_value(&before).unwrap(), serde_json::to_value(after).unwrap());
        self.nothing_else_is_another(&before, &after);
    }

    fn no_incident_is_forgotten(&mut self) {
        let (now, wall) = (self.mono, self.wall());
        // Across a boot only the wall clock tells how long it is, and that may have been set.
        let booted = std::mem::take(&mut self.rules.booted);
        let set = booted && self.clock_was_set;
        if set {
            for thread in self.rules.threads.values_mut() {
                thread.disturbed = true;
            }
            for book in self.rules.units.values_mut() {
                book.pace = Pace::default();
            }
        }
        let Some(engine) = self.machine.engine() else { return };
        let statuses = engine.status(self.now(), &[], false);
        for status in &statuses {
            let known = self.rules.committed.get(&status.name).and_then(|book| book.incident.clone());
            let open = status.incident.as_ref().map(|incident| incident.id.clone());
            if known != open {
                let what = format!("{}: {known:?} was open, {open:?} is", status.name);
                self.broken("no incident is forgotten", &what);
            }
        }
        for status in statuses {
            if let Some(book) = self.rules.checks.get_mut(&status.name) {
                book.down_since = (status.health.is_down()).then_some(self.mono);
                let until = match status.health.suppressed_by {
                    Some(SuppressedBy::Paused { until }) => Some(
                        now.after(Duration::from_millis(u64::try_from(until.0 - wall.0).unwrap_or_default())),
                    ),
                    _ => None,
                };
                book.paused = if booted { until } else { book.paused.filter(|_| until.is_some()) };
            }
        }
        self.rules.committed.clone_from(&self.rules.checks);
    }

    fn nothing_else_is_another(&self, before: &Value, after: &Value) {
        // What comes after a shutdown is another boot.
        if !before["shutting_down"].is_null() {
            return;
        }
        let same = |what: &str, fields: &[&str], before: &Value, after: &Value| {
            for field in fields {
                if before[field] != after[field] {
                    let what = format!("{what}: {field} was {}, is {}", before[field], after[field]);
                    self.broken("a restart changes nothing", &what);
                }
            }
        };
        let now = serde_json::to_value(self.now().mono).unwrap();
        for (name, check) in before["checks"].as_object().into_iter().flatten() {
            let (mut check, is) = (check.clone(), &after["checks"][name]);
            if is_over(&check["pause"]["ends"], &now) {
                check["pause"] = Value::Null;
            }
            same(name, OF_CHECK, &check, is);
            same(name, OF_INCIDENT, &check["phase"]["down"], &is["phase"]["down"]);
        }
        for (name, unit) in before["units"].as_object().into_iter().flatten() {
            let (mut unit, is) = (unit.clone(), &after["units"][name]);
            if before["clock"] != after["clock"] {
                // What was up before a reboot is down by that, and by nobody; and no unit has failed since.
                unit["stops"]["up"] = Value::Bool(false);
                unit["stops"]["failed"] = Value::Bool(false);
            }
            same(name, OF_UNIT, &unit, is);
            // One whose time has run out meanwhile is over.
            if !is_over(&unit["hold"]["ends"], &now) {
                same(name, OF_HOLD, &unit["hold"], &is["hold"]);
            }
        }
        // One more may be due by now: a reminder.
        for field in ["checks", "host"] {
            let (was, is) = (&before["outbox"][field], &after["outbox"][field]);
            let kept = was.as_array().zip(is.as_array()).is_some_and(|(was, is)| is.starts_with(was));
            if !kept {
                self.broken("a restart changes nothing", &format!("the outbox: {field} was {was}, is {is}"));
            }
        }
        let storm = |state: &Value| state["breaker"]["storm"]["id"].clone();
        if !storm_may_end(before) && storm(before) != storm(after) {
            self.broken("a restart changes nothing", "the storm");
        }
    }
}

/// A storm in which checks pass again may be over by now.
fn storm_may_end(state: &Value) -> bool {
    let members = state["breaker"]["storm"]["members"].as_object();
    members.is_none_or(|members| members.values().any(|passes| !passes.is_null()))
}

/// A moment of the saved state has come.
fn is_over(at: &Value, now: &Value) -> bool {
    let point = |value: &Value| Some((value["secs"].as_u64()?, value["nanos"].as_u64()?));
    point(at).is_some_and(|at| point(now).is_some_and(|now| at <= now))
}
