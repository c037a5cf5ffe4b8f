//! What the daemon may ever ask systemd for, so that polkit can allow exactly that.
//!
//! Pure: a checked configuration in, pairs of verb and unit out.

use std::collections::BTreeSet;

use super::Config;
use crate::check::{Probe, Step};
use crate::unit::UnitName;

/// Every pair of a systemd verb (as polkit's rule sees it: `restart`, `start`, `stop`, `reload`, `reset-failed`) and a
/// unit that this configuration can lead to.
#[must_use]
pub fn permitted(config: &Config) -> BTreeSet<(&'static str, UnitName)> {
    let mut pairs = BTreeSet::new();
    for check in &config.checks {
        if let Probe::Command(_) = check.probe {
            let probe = UnitName::of_probe(&check.name);
            pairs.extend([("restart", probe.clone()), ("stop", probe)]);
        }
        let Some(unit) = &check.unit else { continue };
        if unit.can_be_started() {
            // What a hold owes the unit when it is over, whatever the steps says.
            pairs.insert(("start", unit.clone()));
        }
        for step in &check.recovery.steps {
            pairs.insert(match step {
                Step::Restart => ("restart", unit.clone()),
                Step::Start => ("start", unit.clone()),
                Step::Stop => ("stop", unit.clone()),
                Step::Reload => ("reload", unit.clone()),
                Step::StartUnit(other) => ("start", other.clone()),
            });
            pairs.insert(("reset-failed", unit.clone()));
        }
    }
    pairs
}
