//! One recovery attempt: a job that was requested, and the time until its outcome is known (rules 4, 5 and 13).
//!
//! A unit has at most one; so has a check whose step starts another unit. In: the job's end. Out: what stage it is in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::AttemptId;
use crate::check::{Backoff, CheckName, Step};
use crate::time::Mono;

/// A job that has not ended after this long needs a person: systemd's own start and stop time-outs (90 s each by
/// default) should have ended it.
pub(super) const JOB_OVERDUE: Duration = Duration::from_secs(300);

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    /// The job is queued or runs.
    Running,
    /// An earlier run of the daemon requested the job, and its end will not be reported: a reading without a job shows it.
    /// The unit has `grace` from then.
    Unseen { grace: Duration },
    /// The job is done; the unit may come up, and must stay up.
    Settling { since: Mono, grace_until: Mono },
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    id: AttemptId,
    by: Option<CheckName>,
    number: u32,
    step: Step,
    /// The incidents that have it in their record, by check, with its number there.
    served: Vec<(CheckName, u32)>,
    requested: Mono,
    invocation_before: String,
    stage: Stage,
    /// It was to be withdrawn.
    #[serde(skip)]
    withdrawn: bool,
}

impl Attempt {
    /// `by`: the check whose step it is; `None` for the start after a hold.
    pub fn new(
        id: AttemptId,
        by: Option<(CheckName, u32)>,
        step: Step,
        now: Mono,
        invocation: String,
    ) -> Self {
        let (by, number) = by.map_or((None, 0), |(by, number)| (Some(by), number));
        Self {
            id,
            by,
            number,
            step,
            served: Vec::new(),
            requested: now,
            invocation_before: invocation,
            stage: Stage::Running,
            withdrawn: false,
        }
    }

    pub fn serve(&mut self, check: CheckName, number: u32) {
        self.served.push((check, number));
    }

    pub fn id(&self) -> AttemptId {
        self.id
    }

    pub fn by(&self) -> Option<&CheckName> {
        self.by.as_ref()
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn step(&self) -> &Step {
        &self.step
    }

    pub fn served(&self) -> &[(CheckName, u32)] {
        &self.served
    }

    /// The check's incident was open when it was requested.
    pub fn serves(&self, check: &CheckName) -> bool {
        self.served.iter().any(|(name, _)| name == check)
    }

    pub fn requested(&self) -> Mono {
        self.requested
    }

    pub fn invocation_before(&self) -> &str {
        &self.invocation_before
    }

    /// It is to be withdrawn. Returns whether that is news.
    pub fn withdraw(&mut self) -> bool {
        !std::mem::replace(&mut self.withdrawn, true)
    }

    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Unseen { .. })
    }

    /// When the job ended.
    pub fn ended(&self) -> Option<Mono> {
        match self.stage {
            Stage::Running | Stage::Unseen { .. } => None,
            Stage::Settling { since, .. } => Some(since),
        }
    }

    /// Until when failures do not count.
    pub fn grace_until(&self) -> Option<Mono> {
        match self.stage {
            Stage::Running | Stage::Unseen { .. } => None,
            Stage::Settling { grace_until, .. } => Some(grace_until),
        }
    }

    /// The job is done and the grace is over.
    pub fn is_past_grace(&self, now: Mono) -> bool {
        self.grace_until().is_some_and(|until| now >= until)
    }

    /// The job has ended.
    pub fn settle(&mut self, now: Mono, grace: Duration) {
        self.stage = Stage::Settling { since: now, grace_until: now.after(grace) };
    }

    /// The daemon that requested it has ended, and the job's result is lost.
    pub fn resume_after_restart(&mut self, grace: Duration) {
        if self.is_running() {
            self.stage = Stage::Unseen { grace };
        }
    }

    /// There is no job on the unit of the attempt.
    pub fn no_job_read(&mut self, now: Mono) {
        if let Stage::Unseen { grace } = self.stage {
            self.settle(now, grace);
        }
    }
}

/// The spacing of attempts (rule 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pace {
    attempts: u32,
    not_before: Mono,
}

impl Pace {
    /// Attempts since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// No attempt before this.
    pub fn not_before(&self) -> Mono {
        self.not_before
    }

    /// An attempt is made now. `slowest`: the steps are exhausted.
    pub fn record(&mut self, now: Mono, backoff: &Backoff, slowest: bool) {
        self.attempts = self.attempts.saturating_add(1);
        let wait = if slowest { backoff.max } else { backoff.delay(self.attempts) };
        self.not_before = now.after(wait);
    }

    /// The unit was healthy for long: the next attempt may come at once.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// No wait is longer than the longest, whatever happened to the clocks.
    pub fn bound(&mut self, latest: Mono) {
        self.not_before = self.not_before.min(latest);
    }
}
