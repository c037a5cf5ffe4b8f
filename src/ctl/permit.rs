//! Stands in for `config::permitted` until that is merged: the same signature. Then this file goes, and `authorize` uses
//! that one.

use std::collections::BTreeSet;

use crate::check::Rung;
use crate::config::Config;
use crate::unit::UnitName;

/// Each verb of polkit's `org.freedesktop.systemd1.manage-units` and the unit that the configuration may use it on.
pub(super) fn permitted(config: &Config) -> BTreeSet<(&'static str, UnitName)> {
    let mut pairs = BTreeSet::new();
    for check in &config.checks {
        for rung in &check.recovery.ladder {
            let pair = match rung {
                Rung::StartUnit(unit) => Some(("start", unit)),
                Rung::Restart => check.unit.as_ref().map(|unit| ("restart", unit)),
                Rung::Start => check.unit.as_ref().map(|unit| ("start", unit)),
                Rung::Stop => check.unit.as_ref().map(|unit| ("stop", unit)),
                Rung::Reload => check.unit.as_ref().map(|unit| ("reload", unit)),
            };
            if let Some((verb, unit)) = pair {
                pairs.insert((verb, unit.clone()));
                pairs.insert(("reset-failed", unit.clone()));
            }
        }
    }
    pairs
}
