//! What a restart of the daemon changes: nothing (rules 5, 10, 11). No incident is forgotten, its id, its
//! beginning, its attempts and what was told of it stay; so do backoff, pauses and holds.

use std::time::Duration;

use serde_json::Value;
use stealthcheck::time::Mono;
use stealthcheck::verdict::Health;

use crate::sim::Sim;

/// Of a check, word for word.
const OF_CHECK: &[&str] = &["failures", "climbed", "tries", "last_incident"];

/// Of an incident, word for word.
const OF_INCIDENT: &[&str] = &[
    "id",
    "cause",
    "crash_loop",
    "incurable",
    "failed_invocation",
    "attempts",
    "attempts_total",
    "action_required",
    "delivered",
];

/// The same, but where a storm is over just then: from there on each of its checks is told by itself.
const TOLD_OF_INCIDENT: &[&str] = &["asked", "told_down", "told_needs_you"];

/// Of a unit, word for word.
const OF_UNIT: &[&str] = &["attempts", "stopped_by_us", "taken_down"];

/// Points are kept in milliseconds.
const EXACT: i64 = 2;

impl Sim {
    /// The daemon is gone, and with it all that was not committed.
    pub fn rules_daemon_ended(&mut self) {
        let rules = &mut self.rules;
        rules.checks.clone_from(&rules.committed);
        for book in rules.checks.values_mut() {
            book.passes = false;
        }
        rules.told.clear();
        rules.probing.clear();
        rules.wanted_leases.clear();
        for book in rules.units.values_mut() {
            book.open = None;
            // Whoever comes next knows of it what was written, or what systemd remembers.
            book.stop = None;
        }
    }

    pub fn rules_rebooted(&mut self) {
        for thread in self.rules.threads.values_mut() {
            thread.disturbed = true;
        }
        for book in self.rules.units.values_mut() {
            // Across a boot only the wall clock tells how long it is, and that may have been set.
            if self.clock_was_set {
                (book.streak, book.last) = (0, None);
            }
        }
        // Until when something is paused is read from the engine, for the same reason.
        self.rules.booted = true;
    }

    /// A new life has read the state, and nothing else has happened in it yet.
    pub fn rules_restored(&mut self) {
        let now = self.mono;
        let leases = self.leases.clone();
        self.rules.leases.retain(|id, _| leases.contains(id));
        self.no_incident_is_forgotten();
        let Some(daemon) = &self.daemon else { return };
        let storm = daemon.engine.storm(self.now()).is_some();
        if storm && !self.rules.storm {
            self.rules.storm_since = now;
        }
        self.rules.storm = storm;
        let Some(before) = self.disk.state.clone() else { return };
        let after = daemon.engine.save(self.now(), &self.boot.to_string());
        let before = serde_json::to_value(&before).unwrap();
        let same_boot = before["boot"].as_str() == Some(self.boot.to_string().as_str());
        let after = serde_json::to_value(after).unwrap();
        self.nothing_else_is_another(&before, &after);
        if same_boot {
            self.the_backoff_goes_on(&before, &after);
            self.pauses_go_on(&before, &after);
        }
    }

    fn no_incident_is_forgotten(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        let (now, wall) = (self.mono, self.wall);
        let booted = std::mem::take(&mut self.rules.booted);
        let statuses = daemon.engine.status(self.now(), &[], false);
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
                book.down_since = (status.health == Health::Down).then_some(self.mono);
                let until = match status.health {
                    Health::Paused { until } => Some(
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
        let same = |what: &str, fields: &[&str], before: &Value, after: &Value| {
            for field in fields {
                if before[field] != after[field] {
                    let what = format!("{what}: {field} was {}, is {}", before[field], after[field]);
                    self.broken("a restart changes nothing", &what);
                }
            }
        };
        let storm = |state: &Value| state["brake"]["storm"]["id"].clone();
        let storm_over = !storm(before).is_null() && storm(after).is_null();
        for (name, check) in before["checks"].as_object().into_iter().flatten() {
            let now = &after["checks"][name];
            same(name, OF_CHECK, check, now);
            same(name, OF_INCIDENT, &check["incident"], &now["incident"]);
            if !storm_over {
                same(name, TOLD_OF_INCIDENT, &check["incident"], &now["incident"]);
            }
            // By the wall clock as it is now.
            if !self.clock_was_set {
                same(name, &["since"], &check["incident"], &now["incident"]);
            }
        }
        for (name, unit) in before["units"].as_object().into_iter().flatten() {
            let now = &after["units"][name];
            same(name, OF_UNIT, unit, now);
            same(name, &["id", "holder", "bring_back", "over"], &unit["hold"], &now["hold"]);
        }
        // One more may be due by now: a reminder.
        for field in ["pending", "pending_host"] {
            let (was, is) = (before[field].as_array(), after[field].as_array());
            let kept = was.zip(is).is_some_and(|(was, is)| is.starts_with(was));
            if !kept {
                let what = format!("the state: {field} was {}, is {}", before[field], after[field]);
                self.broken("a restart changes nothing", &what);
            }
        }
        if !self.storm_ends_at_once(before) && storm(before) != storm(after) {
            self.broken("a restart changes nothing", "the storm");
        }
    }

    /// A storm that was about to be over may be so by now.
    fn storm_ends_at_once(&self, before: &Value) -> bool {
        before["brake"]["storm"]["members"]
            .as_object()
            .is_none_or(|members| members.values().any(|passes| !passes.is_null()))
    }

    /// Rule 5: the next attempt comes when it would have come.
    fn the_backoff_goes_on(&self, before: &Value, after: &Value) {
        for (name, unit) in before["units"].as_object().into_iter().flatten() {
            let (was, is) =
                (point(before, &unit["next_attempt"]), point(after, &after["units"][name]["next_attempt"]));
            let over = was <= millis(self.now().mono);
            if !over && (was - is).abs() > EXACT {
                let what = format!("{name}: the next attempt was at {was}, is at {is}");
                self.broken("a restart keeps the backoff", &what);
            }
        }
    }

    /// Rule 11.
    fn pauses_go_on(&self, before: &Value, after: &Value) {
        let end = |state: &Value, name: &str| {
            let left = state["checks"][name]["paused"][1].as_i64()?;
            Some(state["monotonic"].as_i64()? + left)
        };
        let Some(checks) = before["checks"].as_object() else { return };
        for name in checks.keys() {
            let was = end(before, name).filter(|end| *end > millis(self.now().mono));
            let is = end(after, name);
            let same = match (was, is) {
                (Some(was), Some(is)) => (was - is).abs() <= EXACT,
                (was, is) => was.is_some() == is.is_some(),
            };
            if !same {
                let what = format!("{name}: paused until {was:?}, now until {is:?}");
                self.broken("a restart keeps pauses", &what);
            }
        }
    }
}

fn millis(at: Mono) -> i64 {
    i64::try_from(at.0.as_millis()).unwrap_or(i64::MAX)
}

/// A wall-clock point of a state on the monotonic clock.
fn point(state: &Value, wall: &Value) -> i64 {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    number(&state["monotonic"]) + number(wall) - number(&state["at"])
}
