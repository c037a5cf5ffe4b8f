//! What a reading of a unit means: a pure classification (rules 6 to 8 and 12).
//!
//! In: the reading, and what [`super::stop`] has found about who took the unit down. Out: one condition.

use crate::engine::check::last_run_failed;
use crate::unit::{ActiveState, LoadState, UnitState};

/// The condition of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) enum Condition {
    /// Not read yet.
    #[default]
    Unread,
    /// There is nothing to start: not found, masked, or an unusable file. The clause says which.
    Missing(String),
    /// Active.
    Up,
    /// Down, and that is its normal state: a oneshot that ended well, a job that does not run, a unit that a timer, a
    /// socket or a path starts, a unit that nothing needs.
    AtRest,
    /// On its way up by a job, which may still wait for other units.
    Starting,
    /// systemd restarts it itself.
    AutoRestart,
    /// On its way down.
    Stopping,
    /// An operator has stopped it.
    Stopped,
    /// systemd has skipped its start: an unmet condition or assertion. The clause says which.
    Skipped(String),
    /// Not running, and no stop was requested.
    Ended(String),
    /// systemd calls it failed.
    Failed(String),
}

impl Condition {
    /// The clause for a unit that is down by systemd's own account.
    pub fn down(&self) -> Option<&str> {
        match self {
            Self::Ended(reason) | Self::Failed(reason) | Self::Skipped(reason) => Some(reason),
            _ => None,
        }
    }

    /// Up or on its way up.
    pub fn is_rising(&self) -> bool {
        matches!(self, Self::Up | Self::Starting)
    }

    /// systemd's account of the unit explains why a probe of it fails: it is not the machine (rule 14).
    pub fn explains_failures(&self) -> bool {
        matches!(
            self,
            Self::Ended(_)
                | Self::Failed(_)
                | Self::Skipped(_)
                | Self::Missing(_)
                | Self::AutoRestart
                | Self::Stopped
        )
    }
}

/// What is known besides the reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// The unit is monitored as a job: at rest when it is inactive.
    pub is_job: bool,
    /// An operator's stop is respected.
    pub stopped: bool,
    /// It was stopped by its own `stop` step.
    pub stopped_by_step: bool,
    /// Why it is down: it was not started after a hold.
    pub not_returned: Option<&'a str>,
    /// It has been active since the daemon knows it. systemd forgets that with the unit.
    pub seen_up: bool,
}

/// The unit is inactive, and its latest run did not fail.
pub(super) fn ended_well(state: &UnitState) -> bool {
    state.active == ActiveState::Inactive && matches!(state.result.as_str(), "" | "success")
}

/// Classifies a reading.
pub(super) fn classify(state: &UnitState, facts: Facts<'_>) -> Condition {
    match state.active {
        ActiveState::Active | ActiveState::Reloading | ActiveState::Other => return Condition::Up,
        ActiveState::Activating if state.auto_restart() => return Condition::AutoRestart,
        ActiveState::Activating => return Condition::Starting,
        ActiveState::Deactivating => return Condition::Stopping,
        ActiveState::Inactive | ActiveState::Failed => {}
    }
    if matches!(state.load, LoadState::Masked | LoadState::NotFound) && facts.stopped {
        // `systemctl mask --now`, or its file was removed after the stop.
        return Condition::Stopped;
    }
    if matches!(
        state.load,
        LoadState::NotFound | LoadState::Masked | LoadState::BadSetting | LoadState::Error
    ) {
        return Condition::Missing(state.describe());
    }
    if state.has_start_job() {
        // Queued behind other units, or between the two runs of a restart.
        return Condition::Starting;
    }
    if facts.is_job {
        return if state.active == ActiveState::Failed && !facts.stopped {
            Condition::Failed(last_run_failed(state))
        } else {
            Condition::AtRest
        };
    }
    let ended_well = ended_well(state);
    if ended_well && state.settings.stop_when_unneeded {
        return Condition::AtRest;
    }
    if facts.not_returned.is_none() && facts.stopped {
        return Condition::Stopped;
    }
    if facts.stopped_by_step {
        return Condition::Ended(
            "unit was stopped by a recovery step (stop) and not started since".to_owned(),
        );
    }
    if let Some(which) = &state.start_skipped {
        return Condition::Skipped(format!("systemd skips its start: {which}"));
    }
    let exit = state.describe_exit().map_or_else(String::new, |exit| format!(", {exit}"));
    if state.active == ActiveState::Failed {
        return Condition::Failed(format!("unit is {}{exit}", state.describe()));
    }
    if let Some(reason) = facts.not_returned {
        return Condition::Ended(reason.to_owned());
    }
    if state.start_dropped {
        return Condition::Ended("unit was not started, as a unit that it requires did not start".to_owned());
    }
    if ended_well && (state.oneshot || !state.settings.triggered_by.is_empty()) {
        return Condition::AtRest;
    }
    if state.active_enter_usec == 0 && state.inactive_enter_usec == 0 && !facts.seen_up {
        return Condition::Ended("unit has not been started since the machine booted".to_owned());
    }
    Condition::Ended(format!("unit ended without a stop job: {}{exit}", state.describe()))
}
