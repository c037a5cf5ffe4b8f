//! The job requests that are not answered yet. Pure.
//!
//! In: requests, systemd's replies to them, and ends of jobs, in any order: a quick job ends before the reply that names it
//! is processed. Out: the result of each request, once.

use super::calls::Failure;
use super::names::{job_id, job_path, job_result};
use super::refusals::{refusal, refused, verb};
use crate::check::Step;
use crate::engine::{AttemptId, JobRequest};
use crate::unit::{ActiveState, JobKind, JobResult, UnitName, UnitState};

/// How often a request is made that systemd loses each time, as it does with what waits for polkit when it re-executes
/// itself.
const REQUESTED_AT_MOST: u32 = 5;

/// One request that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct PendingJob {
    pub request: JobRequest,
    /// The job's object, once systemd has named it.
    path: Option<String>,
    /// The run of the target before the request, where it is known.
    invocation_before: Option<String>,
    /// The job that was on the target before the request: where systemd names that one, the request was merged into it.
    job_before: Option<u32>,
    /// The connection was lost before there was a reply.
    lost: bool,
    /// How often it was requested.
    requested: u32,
    /// An operator comes first: why, and whether its job is to be canceled.
    withdrawn: Option<(&'static str, bool)>,
}

/// What became of a request whose end was not seen.
#[derive(Debug)]
pub(super) enum Found {
    /// Its job is still there.
    Running,
    /// systemd never queued it: it is to be requested again.
    Lost(PendingJob),
    Ended(PendingJob, JobResult),
}

impl PendingJob {
    /// `invocation` and `job` are what is known of the target now.
    pub fn new(request: JobRequest, invocation: Option<String>, job: Option<u32>) -> Self {
        Self {
            request,
            path: None,
            invocation_before: invocation,
            job_before: job,
            lost: false,
            requested: 1,
            withdrawn: None,
        }
    }

    pub fn attempt(&self) -> AttemptId {
        self.request.attempt
    }

    /// The unit that the job is on.
    pub fn target(&self) -> &UnitName {
        self.request.target()
    }

    /// The kind of its job.
    pub fn kind(&self) -> JobKind {
        match self.request.step {
            Step::Restart => JobKind::Restart,
            Step::Start | Step::StartUnit(_) => JobKind::Start,
            Step::Stop => JobKind::Stop,
            Step::Reload => JobKind::Reload,
        }
    }

    /// The manager's method for it.
    pub fn method(&self) -> &'static str {
        match self.request.step {
            Step::Restart => "RestartUnit",
            Step::Start | Step::StartUnit(_) => "StartUnit",
            Step::Stop => "StopUnit",
            Step::Reload => "ReloadUnit",
        }
    }

    /// The mode of the call. `fail`: the job takes the place of no job that somebody else has queued, a stop for instance.
    /// A stop does, as with systemctl: it may end a start that hangs.
    pub fn mode(&self) -> &'static str {
        if self.request.displaces || self.request.step == Step::Stop { "replace" } else { "fail" }
    }

    /// Its job, where that is its own: it was not merged into one that was there before.
    fn own_job(&self) -> Option<u32> {
        let id = job_id(self.path.as_deref()?)?;
        (self.job_before != Some(id)).then_some(id)
    }

    /// Whether the target, on which the end of the job was not seen, is now as the job would have made it.
    fn is_done(&self, state: &UnitState) -> bool {
        let another_run = self
            .invocation_before
            .as_ref()
            .is_some_and(|before| !state.invocation_id.is_empty() && *before != state.invocation_id);
        match self.request.step {
            Step::Restart | Step::Start | Step::StartUnit(_) => {
                another_run && state.active != ActiveState::Failed
            }
            Step::Stop => state.active == ActiveState::Inactive,
            Step::Reload => false,
        }
    }

    /// Whether the target is as it was, and no job is on it.
    fn is_untouched(&self, state: &UnitState) -> bool {
        state.job.is_none() && self.invocation_before.as_ref() == Some(&state.invocation_id)
    }
}

/// All requests that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct PendingJobs {
    pending: Vec<PendingJob>,
    /// Ends of jobs that no reply has named yet, kept while a request waits for its reply.
    early: Vec<(String, JobResult)>,
    /// Requests that have their result, which is reported once their unit is read.
    ended: Vec<(PendingJob, JobResult)>,
}

impl PendingJobs {
    pub fn add(&mut self, job: PendingJob) {
        self.pending.push(job);
    }

    fn position(&self, attempt: AttemptId) -> Option<usize> {
        self.pending.iter().position(|job| job.attempt() == attempt)
    }

    /// The unit that the job of this request is on.
    pub fn target(&self, attempt: AttemptId) -> Option<UnitName> {
        Some(self.pending[self.position(attempt)?].target().clone())
    }

    /// The job of this request, its unit and kind, where systemd has queued it for this request alone.
    pub fn own_job(&self, attempt: AttemptId) -> Option<(UnitName, u32, JobKind)> {
        let job = &self.pending[self.position(attempt)?];
        Some((job.target().clone(), job.own_job()?, job.kind()))
    }

    /// systemd has not replied to this request yet.
    pub fn waits_for_reply(&self, attempt: AttemptId) -> bool {
        self.position(attempt).is_some_and(|at| self.pending[at].path.is_none())
    }

    /// An operator comes before this request: where systemd has lost it, it is not made again. `cancels`: its job is to be
    /// canceled. Returns that where it is known, and the request's own; otherwise it is canceled when systemd has named it.
    pub fn withdraw(&mut self, attempt: AttemptId, why: &'static str, cancels: bool) -> Option<String> {
        let at = self.position(attempt)?;
        let job = &mut self.pending[at];
        job.withdrawn = Some((why, cancels));
        job.own_job().filter(|_| cancels).and(job.path.clone())
    }

    /// systemd has queued the job. Returns whether it is to be canceled.
    pub fn queued(&mut self, attempt: AttemptId, path: String) -> bool {
        let Some(at) = self.position(attempt) else { return false };
        let job = &mut self.pending[at];
        job.path = Some(path);
        job.withdrawn.is_some_and(|(_, cancels)| cancels) && job.own_job().is_some()
    }

    /// The request and its result, where its job ended before the reply that named it.
    pub fn take_early(&mut self, attempt: AttemptId) -> Option<(PendingJob, JobResult)> {
        let at = self.position(attempt)?;
        let early = self.early.iter().position(|(path, _)| self.pending[at].path.as_ref() == Some(path));
        let result = early.map(|early| self.early.swap_remove(early).1);
        self.forget_early();
        let result = result?;
        Some((self.pending.swap_remove(at), result))
    }

    /// systemd did not queue a job.
    pub fn refused(&mut self, attempt: AttemptId, failure: &Failure) -> Option<(PendingJob, JobResult)> {
        let job = self.remove(attempt)?;
        let result = refused(verb(&job.request.step), job.target(), failure);
        Some((job, result))
    }

    /// systemd was not asked for the job, as it did not reset the unit's counters before.
    pub fn not_reset(&mut self, attempt: AttemptId, failure: &Failure) -> Option<(PendingJob, JobResult)> {
        let job = self.remove(attempt)?;
        let why = refusal("reset the failures of", job.target(), failure);
        let result = JobResult::Unasked(format!("{why}; one more start would trigger its StartLimitAction="));
        Some((job, result))
    }

    /// systemd was not asked for the job, or it was taken back before: the result gives the reason.
    pub fn not_requested(
        &mut self,
        attempt: AttemptId,
        result: JobResult,
    ) -> Option<(PendingJob, JobResult)> {
        Some((self.remove(attempt)?, result))
    }

    fn remove(&mut self, attempt: AttemptId) -> Option<PendingJob> {
        let job = self.pending.swap_remove(self.position(attempt)?);
        self.forget_early();
        Some(job)
    }

    /// A job, ours or not, has ended with this result. Several requests may have been merged into one job.
    pub fn removed(&mut self, path: &str, result: &str) -> Vec<(PendingJob, JobResult)> {
        let result = job_result(result);
        let mut ended = Vec::new();
        while let Some(at) = self.pending.iter().position(|job| job.path.as_deref() == Some(path)) {
            ended.push((self.pending.swap_remove(at), result.clone()));
        }
        if self.pending.iter().any(|job| job.path.is_none()) {
            self.early.push((path.to_owned(), result));
        }
        ended
    }

    fn forget_early(&mut self) {
        if self.pending.iter().all(|job| job.path.is_some()) {
            self.early = Vec::new();
        }
    }

    /// A request has its result, and its unit is being read.
    pub fn ends(&mut self, job: PendingJob, result: JobResult) {
        self.ended.push((job, result));
    }

    /// That is reported.
    pub fn reported(&mut self, attempt: AttemptId) {
        self.ended.retain(|(job, _)| job.attempt() != attempt);
    }

    /// Requests that have their result, whose unit will not be read any more: the connection is lost.
    pub fn take_ended(&mut self) -> Vec<(PendingJob, JobResult)> {
        std::mem::take(&mut self.ended)
    }

    /// The connection is lost: no reply will come, and no signal of an end. What became of the requests is found out when
    /// there is another one ([`PendingJobs::named`], [`PendingJobs::unnamed`]).
    pub fn lost(&mut self) {
        self.early = Vec::new();
        for job in self.pending.iter_mut().filter(|job| job.path.is_none()) {
            job.lost = true;
        }
    }

    /// No reply to this request will come.
    pub fn reply_lost(&mut self, attempt: AttemptId) {
        for job in self.pending.iter_mut().filter(|job| job.attempt() == attempt && job.path.is_none()) {
            job.lost = true;
        }
    }

    /// Jobs whose end may have been missed.
    pub fn named(&self) -> Vec<(AttemptId, String)> {
        self.pending.iter().filter_map(|job| Some((job.attempt(), job.path.clone()?))).collect()
    }

    /// Requests of which it is not known whether systemd ever took them. The states of their units show it.
    pub fn unnamed(&self) -> Vec<(AttemptId, UnitName)> {
        let lost = self.pending.iter().filter(|job| job.lost && job.path.is_none());
        lost.map(|job| (job.attempt(), job.target().clone())).collect()
    }

    /// What became of a request whose end was not seen, by the state that its unit is in now. (Several readings may have been
    /// asked for, each before it was known that the request would be made again.)
    pub fn find(&mut self, attempt: AttemptId, state: &UnitState) -> Found {
        let Some(at) = self.position(attempt) else { return Found::Running };
        let job = &mut self.pending[at];
        if job.path.is_none() {
            if !job.lost {
                return Found::Running;
            }
            // Of a restart the second half is a start.
            let restart = job.request.step == Step::Restart;
            let matches = |kind| kind == job.kind() || (restart && kind == JobKind::Start);
            if let Some(queued) = state.job.filter(|queued| matches(queued.kind)) {
                job.path = Some(job_path(queued.id));
                job.lost = false;
                return Found::Running;
            }
            let untouched = !job.is_done(state) && job.is_untouched(state);
            if untouched && let Some((why, _)) = job.withdrawn {
                return Found::Ended(self.pending.swap_remove(at), JobResult::Withdrawn(why.to_owned()));
            }
            if untouched && job.requested < REQUESTED_AT_MOST {
                job.lost = false;
                job.requested += 1;
                return Found::Lost(job.clone());
            }
        }
        let job = self.pending.swap_remove(at);
        let result = if job.is_done(state) {
            JobResult::Done
        } else if job.path.is_some() {
            JobResult::Unknown(
                "the job ended while signals were missed, and its result is not known".to_owned(),
            )
        } else {
            let (verb, unit) = (verb(&job.request.step), job.target());
            JobResult::Unknown(format!(
                "the connection to systemd was lost while it was asked to {verb} {unit}"
            ))
        };
        Found::Ended(job, result)
    }
}

#[cfg(test)]
mod tests;
