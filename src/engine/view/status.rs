//! The status that people see.

use crate::check::{CheckName, Step};
use crate::engine::check::Check;
use crate::engine::group::{Group, incident_clause};
use crate::engine::withheld::human_until;
use crate::engine::{Engine, Withheld};
use crate::notification::Dependent;
use crate::status::{CheckStatus, Counts, IncidentStatus};
use crate::time::{Now, Wall};
use crate::unit::{LoadState, UnitName};
use crate::verdict::{Health, State, SuppressedBy};

impl Engine {
    /// The status of the named checks, of all in name order where `names` is empty. `detail` adds history and runbook.
    #[must_use]
    pub fn status(&self, now: Now, names: &[CheckName], detail: bool) -> Vec<CheckStatus> {
        let one = |name: &CheckName| {
            let group = self.groups.get(self.index.get(name)?)?;
            Some(self.check_status(now, group, group.check(name)?, detail))
        };
        if names.is_empty() {
            self.index.keys().filter_map(one).collect()
        } else {
            names.iter().filter_map(one).collect()
        }
    }

    /// How many checks there are, and the names of those that are down.
    #[must_use]
    pub fn summary(&self) -> (usize, Vec<&CheckName>) {
        let checks = self.index.iter().filter_map(|(name, key)| self.groups.get(key)?.check(name));
        let down = checks.filter(|check| *check.shown() == Health::DOWN);
        (self.index.len(), down.map(Check::name).collect())
    }

    /// How many checks there are, and how they are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { checks: self.index.len(), ..Counts::default() };
        for check in self.groups.values().flat_map(Group::checks) {
            let health = check.shown();
            counts.down += usize::from(*health == Health::DOWN);
            counts.unknown += usize::from(*health == Health::UNKNOWN);
            counts.suppressed += usize::from(health.suppressed_by.is_some());
        }
        counts
    }

    /// The units that systemd does not know, each with a check that names it.
    pub fn unknown_units(&self) -> impl Iterator<Item = (&CheckName, &UnitName)> {
        let checks = self.index.iter().filter_map(|(name, key)| Some((name, self.groups.get(key)?)));
        checks.filter_map(|(name, group)| {
            let state = group.unit()?.reading()?;
            let unit = group.check(name)?.settings().unit.as_ref()?;
            (state.load == LoadState::NotFound).then_some((name, unit))
        })
    }

    /// Whether a check of this name is configured.
    #[must_use]
    pub fn knows(&self, name: &CheckName) -> bool {
        self.index.contains_key(name)
    }

    /// The units that `start` steps of checks name and systemd does not know, with the check.
    pub fn unknown_targets(&self) -> impl Iterator<Item = (&CheckName, &UnitName)> {
        let checks = self.groups.values().flat_map(Group::checks);
        checks.flat_map(|check| {
            let steps = check.settings().recovery.steps.iter();
            let named = steps.filter_map(|step| match step {
                Step::StartUnit(unit) => Some(unit),
                _ => None,
            });
            let unknown = |unit: &&UnitName| {
                self.graph.reading(unit).is_some_and(|state| state.load == LoadState::NotFound)
            };
            named.filter(unknown).map(|unit| (check.name(), unit))
        })
    }

    /// The names of all checks, in order.
    pub fn names(&self) -> impl Iterator<Item = &CheckName> {
        self.index.keys()
    }

    /// A storm that is on, in a sentence.
    #[must_use]
    pub fn storm(&self, now: Now) -> Option<String> {
        self.breaker.storm().map(|storm| storm.sentence(now, self.index.len()))
    }

    /// How a check is shown: an incident that belongs to a storm is shown as that.
    pub(super) fn shown_health(&self, now: Now, group: &Group, check: &Check) -> Health {
        let health = group.health(check, now);
        let storm = health == Health::DOWN && self.breaker.is_member(check.name());
        if storm { health.suppressed(SuppressedBy::Storm) } else { health }
    }

    fn check_status(&self, now: Now, group: &Group, check: &Check, detail: bool) -> CheckStatus {
        let settings = check.settings();
        let health = self.shown_health(now, group, check);
        let dependents = || {
            let found = group.unit().map(|unit| self.graph.dependents(unit.id())).unwrap_or_default();
            found.into_iter().map(|(check, unit, well)| Dependent { check, unit, well }).collect()
        };
        CheckStatus {
            name: settings.name.clone(),
            unit: settings.unit.clone(),
            probe: settings.probe.describe(),
            next: match next(now, group, check, &health) {
                next if group.is_resting(check, now) => format!("{next}; not probed, as that would start it"),
                next => next,
            },
            health,
            since: check.since(),
            last: check.history().last().cloned(),
            next_probe: (!check.is_paused() && !check.timer().is_running() && !group.is_resting(check, now))
                .then(|| now.wall_of(check.timer().next_probe())),
            incident: check.incident().map(|incident| IncidentStatus {
                id: incident.id().clone(),
                since: incident.since(now),
                cause: incident.cause().to_owned(),
                attempts: incident.attempts_total(),
                max_attempts: settings.recovery.max_attempts,
                last_attempt: incident.attempts().last().cloned(),
                action_required: incident.action_required().is_some(),
                withheld: incident.withheld().filter(|why| !why.is_routine()).map(Withheld::to_string),
                notifications: incident.notifications(),
                dependents: dependents(),
            }),
            unit_state: group.unit().and_then(|unit| unit.reading()).map(|state| state.as_ref().clone()),
            history: if detail { check.history().all().to_vec() } else { Vec::new() },
            runbook: if detail { settings.runbook.clone() } else { None },
        }
    }
}

fn conflict(now: Now, group: &Group, by: &UnitName, until: Option<Wall>) -> String {
    let over = group.unit().and_then(|unit| unit.conflict()).is_some_and(|conflict| conflict.is_over());
    let Some(until) = until else { return format!("suppressed until {by} has ended") };
    let left = human_until(now.mono, now.mono_of(until));
    if over {
        format!("{by} has ended; counts as down in {left} unless it comes back")
    } else {
        format!("suppressed while {by} is up; counts as down in {left}")
    }
}

/// One clause: what happens next.
fn next(now: Now, group: &Group, check: &Check, health: &Health) -> String {
    let probe = || {
        if check.timer().is_running() {
            "probing".to_owned()
        } else {
            format!("probe in {}", human_until(now.mono, check.timer().next_probe()))
        }
    };
    let left = |until: &Wall| human_until(now.mono, now.mono_of(*until));
    match &health.suppressed_by {
        None | Some(SuppressedBy::Storm) => {}
        Some(SuppressedBy::Paused { until }) => return format!("resumes in {}", left(until)),
        Some(SuppressedBy::Held { .. }) => {
            let hold = group.unit().and_then(|unit| unit.hold());
            return hold.map_or_else(probe, |hold| hold.next_clause(now));
        }
        Some(SuppressedBy::Stopped { until: Some(until) }) => {
            return format!("stopped by an operator; counts as down in {}", left(until));
        }
        Some(SuppressedBy::Stopped { until: None }) => {
            return match group.unit().filter(|unit| unit.is_frozen()) {
                Some(unit) => format!("{} is frozen: systemctl thaw {}", unit.id(), unit.id()),
                None => "stopped by an operator; suppressed until it is started".to_owned(),
            };
        }
        Some(SuppressedBy::Conflict { by, until }) => return conflict(now, group, by, *until),
        Some(SuppressedBy::Dependency { by, until: None }) => {
            return format!("waits for {by}, which it depends on");
        }
        Some(SuppressedBy::Dependency { by, until: Some(until) }) => {
            return format!("{by} is back; counts as down in {} unless it comes back", left(until));
        }
    }
    match health.state {
        State::Down => match check.incident() {
            Some(incident)
                if check.settings().recovery.steps.is_empty() && incident.passing_since().is_none() =>
            {
                probe()
            }
            _ => incident_clause(now, group, check),
        },
        State::Unknown => match check.unknown() {
            Some(unknown) => format!("{}, {}", unknown.clause(now), probe()),
            None => probe(),
        },
        State::Starting | State::Passing | State::Failing { .. } => probe(),
    }
}
