//! The requests of the supervisor, put to systemd. Part of the loop in `session.rs`.

use std::time::Duration;

use tokio::time::Instant;

use super::Request;
use super::calls::{Failure, Systemd};
use super::command_runs::CommandRun;
use super::pending_jobs::PendingJob;
use super::replies::Reply;
use super::session::Session;
use crate::engine::{Event, JobRequest, Reset, Withdrawal};
use crate::unit::{JobKind, JobResult, UnitName};

/// A job request without a reply after this long: systemd is asked whether it answers at all.
const REPLY_PATIENCE: Duration = Duration::from_secs(5);

/// So many job requests wait for systemd's reply at a time; the others wait here, where they can be withdrawn.
const ASKED_AT_ONCE: usize = 1;

/// One that is not answered within this time keeps the others waiting no longer: polkit needs some 6 ms for an answer, and
/// may hang over one unit alone.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Why systemd has not queued a job.
pub(super) enum NotQueued {
    /// It was not asked, for the unit's own state forbids it; the sentence gives the reason.
    Withheld(String),
    Failed(Failure),
    /// It was not asked, for it did not reset the unit's counters before.
    NotReset(Failure),
}

impl Session<'_> {
    pub fn request(&mut self, request: Request) {
        if self.silent {
            return self.client.refuse(request);
        }
        match request {
            Request::Job(request) => self.request_job(request),
            Request::Withdraw(withdrawal) => self.withdraw_job(withdrawal),
            Request::Read { .. } | Request::Report(_) | Request::Usage { .. } => {
                self.queries.push_requested(request);
            }
            Request::Run { unit, timeout, reply } => {
                self.start_run(CommandRun { unit, timeout, reply, requested: Instant::now() })
            }
        }
    }

    fn request_job(&mut self, request: JobRequest) {
        let target = self.client.watched.unit(&self.client.watched.id(request.target()));
        let invocation = target.and_then(|unit| unit.track.invocation()).map(ToOwned::to_owned);
        let job_before = target.and_then(|unit| unit.track.jobs.running());
        let job = PendingJob::new(request, invocation, job_before);
        self.client.watched.jobs.add(job.clone());
        self.queue_job(job);
    }

    /// Puts a request in line.
    pub fn queue_job(&mut self, job: PendingJob) {
        self.line.push_back(job);
        self.ask_for_jobs();
    }

    /// Asks systemd for the jobs that are next. It asks polkit about each, and until that has answered a request cannot be
    /// taken back: one is asked for at a time, as polkit answers one after the other anyway.
    pub fn ask_for_jobs(&mut self) {
        while self.ready && self.asked.len() < ASKED_AT_ONCE {
            let Some(job) = self.line.pop_front() else { return };
            self.asked.insert(job.attempt());
            self.ask_for_job(job);
        }
    }

    fn withdraw_job(&mut self, Withdrawal { attempt, why, stays_down }: Withdrawal) {
        if let Some(at) = self.line.iter().position(|job| job.attempt() == attempt) {
            self.line.remove(at);
            if let Some((job, result)) =
                self.client.watched.jobs.not_requested(attempt, JobResult::Withdrawn(why.to_owned()))
            {
                self.finish_job(job, result);
            }
        } else if let Some(path) = self.client.watched.jobs.withdraw(attempt, why, stays_down) {
            self.cancel_job(path);
        }
    }

    /// Cancels a job of ours: whoever has queued a job may do that.
    pub fn cancel_job(&self, path: String) {
        let systemd = self.systemd.clone();
        self.replies.push(Box::pin(async move {
            // It may have ended meanwhile.
            if let Err(failure) = systemd.cancel(&path).await {
                tracing::debug!("cannot cancel {path}: {failure}");
            }
            Reply::Canceled
        }));
    }

    /// Asks systemd for the job at once, past all queries that wait.
    fn ask_for_job(&self, job: PendingJob) {
        let (systemd, attempt) = (self.systemd.clone(), job.attempt());
        self.replies.push(Box::pin(async move {
            tokio::time::sleep(REPLY_PATIENCE).await;
            Reply::JobOverdue { attempt }
        }));
        self.replies.push(Box::pin(async move {
            tokio::time::sleep(NEXT_AFTER).await;
            Reply::JobSlow { attempt }
        }));
        let target = self.client.watched.unit(&self.client.watched.id(job.target()));
        let down = target.and_then(|unit| unit.track.current()).is_some_and(|state| state.is_down());
        self.replies.push(Box::pin(async move {
            // A unit that is down cannot be frozen, and a crash is not to wait for another round trip.
            if !down && let Some(why) = forbidden(&systemd, job.target(), job.kind()).await {
                return Reply::Queued { attempt, answer: Err(NotQueued::Withheld(why)) };
            }
            if job.request.reset == Reset::No {
                return queue(&systemd, &job).await;
            }
            let answer = systemd.reset_failed(job.target()).await;
            Reply::FailuresReset { job, answer }
        }));
    }

    /// `ResetFailedUnit` has its answer: what it was for is asked for.
    pub fn failures_reset(&mut self, job: PendingJob, answer: Result<(), Failure>) {
        let attempt = job.attempt();
        match answer {
            Ok(()) => {
                let unit = self.client.watched.id(job.target());
                self.client.queue.push_event(Event::FailuresReset(unit));
            }
            Err(failure) if job.request.reset == Reset::Required => {
                return self.answered_job(attempt, Err(NotQueued::NotReset(failure)));
            }
            Err(failure) => tracing::debug!("cannot reset the failures of {}: {failure}", job.target()),
        }
        let systemd = self.systemd.clone();
        self.replies.push(Box::pin(async move { queue(&systemd, &job).await }));
    }

    /// A request has its result: the unit is read, then both are reported.
    pub fn finish_job(&mut self, job: PendingJob, result: JobResult) {
        if self.silent {
            return self.client.job_ended(job.request, result);
        }
        // The reading is lost with the connection; the result must not be.
        self.client.watched.jobs.ends(job.clone(), result.clone());
        let systemd = self.systemd.clone();
        self.replies.push(Box::pin(async move {
            let answer = systemd.read(&job.request.unit, None).await;
            Reply::JobEnded { job, result, answer }
        }));
    }
}

async fn queue(systemd: &Systemd, job: &PendingJob) -> Reply {
    let answer = systemd.queue(job.method(), job.target(), job.mode()).await.map_err(NotQueued::Failed);
    Reply::Queued { attempt: job.attempt(), answer }
}

/// What in the unit's state at this moment forbids a job of this kind, and no signal has shown: `systemctl freeze` sends
/// none (seen on systemd 252), and an operator's stop may be a moment old.
async fn forbidden(systemd: &Systemd, unit: &UnitName, kind: JobKind) -> Option<String> {
    // Where it cannot be read, the result of the job will show it.
    let state = systemd.read(unit, None).await.ok()?.state;
    if state.frozen {
        return Some(format!("{unit} is frozen: `systemctl thaw {unit}`"));
    }
    let stopping = state.job.is_some_and(|job| job.kind == JobKind::Stop);
    (stopping && kind != JobKind::Stop).then(|| format!("a stop job is queued on {unit}"))
}
