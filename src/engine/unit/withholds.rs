//! Why a unit's own state and settings withhold a job on it, and what its start limit has to do with that (rule 7).
//!
//! In: the unit's condition, reading and starts. Out: the one reason. What its surroundings withhold is decided in
//! `group/permit.rs`. It changes nothing.

use std::time::Duration;

use super::{Condition, Unit};
use crate::check::Step;
use crate::engine::event::Reset;
use crate::engine::withheld::Withheld;
use crate::time::{Mono, Now};
use crate::unit::{ActiveState, JobKind, LoadState};

impl Unit {
    /// Whether `ResetFailedUnit` is to be called before a step: repeated starts may have hit the unit's start limit, or one
    /// more would. It would delete a transient unit.
    pub fn reset_before(&self, step: &Step, now: Mono) -> Reset {
        let starts = matches!(step, Step::Restart | Step::Start);
        let Some(state) = self.reading().filter(|state| starts && !state.settings.transient) else {
            return Reset::No;
        };
        if self.start_limit_action_until(now).is_some() {
            return Reset::Required;
        }
        let failed = state.active == ActiveState::Failed
            && (state.result == "start-limit-hit" || state.n_restarts > 0 || self.pace().attempts() > 1);
        if failed || self.start_limited_until(now).is_some() { Reset::IfPossible } else { Reset::No }
    }

    fn start_limited_until(&self, now: Mono) -> Option<Mono> {
        let limit = self.reading()?.settings.start_limit?;
        self.starts().limited_until(now, limit)
    }

    /// Until when one more start would trigger its `StartLimitAction=`.
    pub fn start_limit_action_until(&self, now: Mono) -> Option<Mono> {
        let limit = self.reading()?.settings.start_limit.filter(|limit| limit.action)?;
        self.starts().limited_until(now, limit)
    }

    /// Why no job may be requested for the unit, by its own state (rule 7).
    pub fn withholds(&self, now: Now) -> Option<Withheld> {
        match self.condition() {
            Condition::Unread => return Some(Withheld::Unread),
            Condition::Missing(what) => return Some(Withheld::Missing(what.clone())),
            Condition::Starting => return Some(Withheld::Starting),
            Condition::Stopping => return Some(Withheld::Stopping),
            Condition::AutoRestart => {
                const SOON: Duration = Duration::from_secs(10);
                let at = self.auto_restart_at().filter(|at| at.since(now.mono) > SOON);
                return Some(Withheld::AutoRestart(at.map(|at| now.wall_of(at))));
            }
            Condition::Skipped(_) => {
                let which = self.reading().and_then(|state| state.start_skipped.clone());
                return Some(Withheld::StartSkipped(which.unwrap_or_default()));
            }
            _ => {}
        }
        let state = self.reading()?;
        match state.load {
            LoadState::Masked => return Some(Withheld::Masked),
            LoadState::NotFound => return Some(Withheld::Missing(state.describe())),
            _ => {}
        }
        if self.is_frozen() {
            return Some(Withheld::Frozen(self.id().clone()));
        }
        if let Some(which) = state.start_skipped.as_ref().filter(|_| state.is_down()) {
            return Some(Withheld::StartSkipped(which.clone()));
        }
        state.job.map(|job| Withheld::JobQueued(job_kind(job.kind).to_owned()))
    }

    /// Why a job may not be requested, by the unit's settings (rule 7). A job that neither starts nor stops the unit is a
    /// reload: the unit may end by it, in either way.
    pub fn withholds_job(&self, now: Now, (starts, stops): (bool, bool)) -> Option<Withheld> {
        let state = self.reading()?;
        let settings = &state.settings;
        if stops && settings.refuses_stop {
            return Some(Withheld::Refused("RefuseManualStop"));
        }
        if starts && settings.refuses_start {
            return Some(Withheld::Refused("RefuseManualStart"));
        }
        if settings.success_action && !state.is_down() {
            return Some(Withheld::SuccessAction);
        }
        if settings.failure_action {
            return Some(Withheld::FailureAction);
        }
        let until = self.start_limited_until(now.mono).filter(|_| starts && settings.transient)?;
        Some(Withheld::StartLimit(now.wall_of(until)))
    }
}

fn job_kind(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Start => "start",
        JobKind::Stop => "stop",
        JobKind::Restart => "restart",
        JobKind::Reload => "reload",
        JobKind::Other => "systemd",
    }
}
