//! What became of a unit after a hold, as its check's status tells. Pure.

use crate::status::CheckStatus;
use crate::unit::ActiveState;
use crate::verdict::{Health, State, SuppressedBy};

/// What became of the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is up.
    Up,
    /// It is not, and that is an incident now: why.
    Down(String),
    /// Somebody had stopped it before, and that is respected as it was. With the id of its latest run, where systemd has
    /// one.
    LeftStopped { run: String },
    /// It is on its way.
    Pending,
    /// Nobody guards it any more.
    Unguarded,
    /// The daemon dropped the hold before the command had ended, and takes the holder's stop for an operator's.
    Dropped,
    /// The daemon does not say.
    Unknown,
}

impl Outcome {
    /// Why the daemon will not start the unit, where it will not.
    pub(super) fn left_to_holder(&self) -> Option<&'static str> {
        match self {
            Self::Unguarded => Some("no check monitors it any more"),
            Self::Dropped => Some("the hold ended before the command"),
            Self::Unknown => Some("stealthcheck does not answer"),
            Self::Up | Self::Down(_) | Self::LeftStopped { .. } | Self::Pending => None,
        }
    }

    /// Waiting longer would not change it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Pending | Self::Unknown)
    }
}

/// What the status of a check of the unit says.
pub(super) fn of(check: &CheckStatus) -> Outcome {
    let active = check.unit_state.as_ref().map(|unit| unit.active);
    let run = || check.unit_state.as_ref().map_or_else(String::new, |unit| unit.invocation_id.clone());
    let Health { state, suppressed_by } = &check.health;
    match (suppressed_by, active) {
        (Some(SuppressedBy::Held { .. }), _) => Outcome::Pending,
        (_, Some(ActiveState::Active | ActiveState::Reloading)) => Outcome::Up,
        _ if check.health.is_down() => {
            let why = check.incident.as_ref().map_or_else(String::new, |incident| incident.cause.clone());
            Outcome::Down(why)
        }
        // A oneshot that has run is well without being up.
        (Some(SuppressedBy::Stopped { .. }), Some(ActiveState::Inactive)) => {
            Outcome::LeftStopped { run: run() }
        }
        (None, Some(ActiveState::Inactive)) if *state == State::Passing => {
            Outcome::LeftStopped { run: run() }
        }
        _ => Outcome::Pending,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::check::CheckName;
    use crate::time::Wall;
    use crate::unit::UnitState;

    fn of(health: Health, active: Option<ActiveState>) -> Outcome {
        super::of(&CheckStatus {
            name: CheckName::new("web").unwrap(),
            unit: None,
            probe: String::new(),
            health,
            since: Wall(0),
            last: None,
            next: String::new(),
            next_probe: None,
            incident: None,
            unit_state: active.map(|active| UnitState { active, ..UnitState::default() }),
            history: Vec::new(),
            runbook: None,
        })
    }

    #[test]
    fn a_unit_is_up_when_systemd_says_so_and_the_hold_is_over() {
        let word: Arc<str> = "x".into();
        let held = SuppressedBy::Held { id: word.clone(), who: word.clone(), why: word, until: Wall(0) };
        let held = Health::PASSING.suppressed(held);
        let stopped = SuppressedBy::Stopped { until: None };
        let stopped = Health::PASSING.suppressed(stopped);
        let active = Some(ActiveState::Active);
        assert_eq!(of(held.clone(), active), Outcome::Pending, "the daemon has not heard of the end yet");
        assert_eq!(of(held, Some(ActiveState::Activating)), Outcome::Pending);
        assert_eq!(of(Health::PASSING, active), Outcome::Up);
        assert_eq!(of(Health::STARTING, active), Outcome::Up, "whether it answers is another question");
        assert_eq!(of(Health::PASSING, Some(ActiveState::Activating)), Outcome::Pending);
        assert_eq!(of(Health::DOWN, Some(ActiveState::Failed)), Outcome::Down(String::new()));
        assert_eq!(of(stopped, Some(ActiveState::Inactive)), Outcome::LeftStopped { run: String::new() });
        assert_eq!(of(Health::PASSING, None), Outcome::Pending);
        assert!(!Outcome::Pending.is_final() && !Outcome::Unknown.is_final() && Outcome::Up.is_final());
    }
}
