//! The step of a steps that is next, and failures that no job on the check's own unit would change.
//!
//! In: a check in an incident and its unit. Out: what may be asked for because it can help. A server that already serves
//! the newest certificate there is gains nothing by a restart, however often: only another unit, the one that renews,
//! can help, and where the steps names none it is for a person to act.

use super::Engine;
use super::state::CheckState;
use super::watch::UnitWatch;
use crate::check::{CheckName, Step};

/// Why nothing is done.
pub(super) const WHY: &str = "no job on the unit would change what the probe saw";

impl Engine {
    /// Remembers of an open incident whether a job on the check's own unit would change what was just seen.
    pub(super) fn set_incurable(&mut self, name: &CheckName, incurable: bool) {
        if let Some(incident) = self.checks.get_mut(name).and_then(|state| state.incident.as_mut()) {
            incident.incurable = incurable;
        }
    }
}

/// The step that the check has climbed to, whatever it can do about the failure.
pub(super) fn climbed_to(state: &CheckState) -> Option<&Step> {
    from_climbed(state).first()
}

/// The step that the check has climbed to, or where its failure is incurable the next that starts another unit; `None`:
/// there is none. A unit that is down itself, by systemd's word, is restarted whatever its probe said before.
pub(super) fn step(state: &CheckState, watch: &UnitWatch) -> Option<Step> {
    let incurable = state.incident.as_ref().is_some_and(|incident| incident.incurable);
    let helps =
        |step: &&Step| !incurable || watch.condition.down().is_some() || matches!(step, Step::StartUnit(_));
    from_climbed(state).iter().find(helps).cloned()
}

/// The steps from where the check has climbed to; its last step, where it has climbed further.
fn from_climbed(state: &CheckState) -> &[Step] {
    let steps = &state.check.recovery.steps;
    let climbed = usize::try_from(state.climbed).unwrap_or(usize::MAX);
    steps.get(climbed.min(steps.len().saturating_sub(1))..).unwrap_or_default()
}
