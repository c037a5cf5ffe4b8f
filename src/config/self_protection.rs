//! What a check must not do to stealthcheck itself: end it, or end what it stands on.
//!
//! In: a unit and its recovery. Out: a problem or a warning. Pure, and by name alone: what else a machine's own units
//! hang together with, systemd knows and this does not.

use super::field::Table;
use super::report::Report;
use crate::check::{Recovery, Step};
use crate::unit::UnitName;

/// Its own unit, in the system's manager as in a user's.
const ITSELF: &str = "stealthcheck.service";
/// What its unit cannot be without: the bus, by which alone it acts, and what every service is below or after.
const STANDS_ON: [&str; 8] = [
    "dbus.service",
    "dbus-broker.service",
    "dbus.socket",
    "sysinit.target",
    "system.slice",
    "-.slice",
    "-.mount",
    "init.scope",
];

/// Looks at the jobs of one check.
pub(super) fn look(check: &Table<'_>, unit: Option<&UnitName>, recovery: &Recovery, report: &mut Report) {
    let (Some(unit), Some(field)) = (unit, check.get("recover").or_else(|| check.get("unit"))) else {
        return;
    };
    let on_unit = |step: &&Step| !matches!(step, Step::StartUnit(_));
    let Some(step) = recovery.steps.iter().find(on_unit) else { return };
    if unit.as_str() == ITSELF {
        report.error(
            &field.at,
            format!(
                "{ITSELF} is stealthcheck itself, and no {} of its own unit could be followed to its end: systemd \
                 restarts it when it stands still. Write `recover: none`, or let another instance watch its `listen:`",
                step.describe()
            ),
        );
    } else if STANDS_ON.contains(&unit.as_str())
        && let Some(ending) = recovery.steps.iter().find(|step| matches!(step, Step::Restart | Step::Stop))
    {
        report.warn(
            &field.at,
            format!(
                "a {} of {unit} ends stealthcheck too, and much else on the machine: `recover: none` only notifies",
                ending.describe()
            ),
        );
    }
}
