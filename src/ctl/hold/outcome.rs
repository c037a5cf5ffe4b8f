//! What became of a unit after a hold, as its check's status tells. Pure.

use crate::status::CheckStatus;
use crate::unit::ActiveState;
use crate::verdict::Health;

/// What became of the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is up.
    Up,
    /// It is not, and that is an incident now: why.
    Down(String),
    /// Somebody had stopped it before, and that is respected as it was.
    LeftStopped,
    /// It is on its way.
    Pending,
    /// Nobody guards it any more.
    Unguarded,
    /// The daemon does not say.
    Unknown,
}

impl Outcome {
    /// Waiting longer would not change it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Pending | Self::Unknown)
    }
}

/// What the status of a check of the unit says.
pub(super) fn of(check: &CheckStatus) -> Outcome {
    let active = check.unit_state.as_ref().map(|unit| unit.active);
    match (&check.health, active) {
        (Health::Held { .. }, _) => Outcome::Pending,
        (_, Some(ActiveState::Active | ActiveState::Reloading)) => Outcome::Up,
        (Health::Down, _) => {
            let why = check.incident.as_ref().map_or_else(String::new, |incident| incident.cause.clone());
            Outcome::Down(why)
        }
        // A oneshot that has run is well without being up.
        (Health::Stopped { .. } | Health::Passing, Some(ActiveState::Inactive)) => Outcome::LeftStopped,
        _ => Outcome::Pending,
    }
}
