//! systemd restarts a unit again and again: an incident of its own, told by one check of the unit (rule 7).
//!
//! In: how often systemd restarted the unit, counted in `watch`. Out: the incident. Another restart is no remedy for it;
//! that is respected in `recovery`.

use super::event::{ChangeKind, Effect};
use super::{Engine, changed};
use crate::check::{CheckName, Probe};
use crate::time::{Now, human};
use crate::unit::UnitName;

impl Engine {
    /// The sentence for a crash loop, if this is the check that tells of its unit's.
    pub(super) fn crash_loop_told_by(&mut self, now: Now, name: &CheckName) -> Option<String> {
        let unit = self.checks.get(name)?.check.unit.clone()?;
        if self.crash_teller(&unit)? != *name {
            return None;
        }
        let (times, within) = self.units.get_mut(&unit)?.crash_loop(now.mono)?;
        Some(format!("crash-looping: systemd restarted the unit {times} times within {}", human(within)))
    }

    /// One check tells of a unit's crash loop: the one that checks the unit's state, else the first by name.
    fn crash_teller(&self, unit: &UnitName) -> Option<CheckName> {
        let names = &self.units.get(unit)?.checks;
        let by_state =
            |name: &&CheckName| self.checks.get(*name).is_some_and(|state| state.check.probe == Probe::Unit);
        names.iter().find(by_state).or_else(|| names.first()).cloned()
    }

    pub(super) fn tell_crash_loop(&mut self, now: Now, unit: &UnitName, out: &mut Vec<Effect>) {
        let Some(name) = self.crash_teller(unit) else { return };
        if self
            .checks
            .get(&name)
            .is_none_or(|state| state.incident.is_some() || state.aside(now, self.units.get(unit)).is_some())
        {
            return;
        }
        if let Some(reason) = self.crash_loop_told_by(now, &name) {
            let restarts = self.units.get(unit).map_or(0, |watch| watch.restarts.len());
            let restarts = u32::try_from(restarts).unwrap_or(u32::MAX);
            self.go_down(now, &name, reason, out);
            let incident = self.checks.get_mut(&name).and_then(|state| state.incident.as_mut());
            let Some(incident) = incident else { return };
            incident.crash_loop = true;
            out.push(changed(
                Some(&name),
                Some(unit),
                Some(&incident.id),
                ChangeKind::CrashLoop { restarts },
            ));
        }
    }
}
