use super::*;
use crate::engine::Reset;
use crate::unit::Job;

fn web() -> UnitName {
    UnitName::new("web.service").unwrap()
}

fn job(attempt: u64, invocation: Option<&str>, before: Option<u32>) -> PendingJob {
    let attempt = AttemptId(attempt);
    let request =
        JobRequest { unit: web(), attempt, step: Step::Restart, reset: Reset::No, displaces: false };
    PendingJob::new(request, invocation.map(ToOwned::to_owned), before)
}

#[test]
fn job_may_end_before_or_after_its_reply() {
    let mut jobs = PendingJobs::default();
    jobs.add(job(1, None, None));
    assert!(jobs.removed("/job/9", "canceled").is_empty(), "another's, or ours without its reply");
    assert!(jobs.removed("/job/7", "done").is_empty());
    jobs.queued(AttemptId(1), "/job/7".into());
    assert_eq!(jobs.take_early(AttemptId(1)).unwrap().1, JobResult::Done);
    assert!(jobs.early.is_empty());

    jobs.add(job(2, None, None));
    jobs.queued(AttemptId(2), "/job/8".into());
    assert!(jobs.take_early(AttemptId(2)).is_none());
    assert!(jobs.removed("/job/9", "done").is_empty());
    assert!(jobs.early.is_empty(), "no request waits for a reply");
    assert_eq!(jobs.removed("/job/8", "timeout")[0].1, JobResult::Timeout);
    assert!(jobs.removed("/job/8", "done").is_empty(), "answered once");
}

#[test]
fn requests_merged_into_one_job_are_each_answered() {
    let mut jobs = PendingJobs::default();
    jobs.add(job(1, None, None));
    jobs.add(job(2, None, None));
    jobs.queued(AttemptId(1), "/job/7".into());
    jobs.queued(AttemptId(2), "/job/7".into());
    assert_eq!(jobs.removed("/job/7", "done").len(), 2);
}

#[test]
fn request_merged_into_a_job_that_was_there_before_owns_none() {
    let mut jobs = PendingJobs::default();
    for (attempt, before, own) in [(1, None, Some(7)), (2, Some(6), Some(7)), (3, Some(7), None)] {
        jobs.add(job(attempt, None, before));
        jobs.queued(AttemptId(attempt), "/job/7".into());
        let found = jobs.own_job(AttemptId(attempt));
        assert_eq!(found, own.map(|id| (web(), id, JobKind::Restart)), "{before:?}");
    }
}

fn state(active: ActiveState, job: Option<(u32, JobKind)>, run: &str) -> UnitState {
    UnitState {
        active,
        job: job.map(|(id, kind)| Job { id, kind, ours: false }),
        invocation_id: run.to_owned(),
        ..UnitState::default()
    }
}

/// Two requests after the bus was lost: 1 had no reply, 2 was queued as job 7.
fn lost() -> PendingJobs {
    let mut jobs = PendingJobs::default();
    jobs.add(job(1, Some("first"), None));
    jobs.add(job(2, Some("first"), None));
    jobs.queued(AttemptId(2), "/job/7".into());
    jobs.lost();
    assert_eq!(jobs.unnamed(), [(AttemptId(1), web())]);
    assert_eq!(jobs.named(), [(AttemptId(2), "/job/7".to_owned())]);
    jobs
}

fn is_unknown(found: &Found) -> bool {
    matches!(found, Found::Ended(_, JobResult::Unknown(_)))
}

#[test]
fn request_lost_with_the_bus_is_done_where_its_unit_runs_anew() {
    let new = state(ActiveState::Active, None, "second");
    for attempt in [1, 2].map(AttemptId) {
        let mut jobs = lost();
        assert!(matches!(jobs.find(attempt, &new), Found::Ended(_, JobResult::Done)));
        assert!(matches!(jobs.find(attempt, &new), Found::Running), "answered once");
        assert!(is_unknown(&lost().find(attempt, &state(ActiveState::Failed, None, "second"))));
    }
    // Where it is not known what ran before, nothing is claimed.
    let mut jobs = PendingJobs::default();
    jobs.add(job(3, None, None));
    jobs.lost();
    assert!(is_unknown(&jobs.find(AttemptId(3), &new)));
}

#[test]
fn request_lost_with_the_bus_is_made_again_a_few_times() {
    let old = state(ActiveState::Active, None, "first");
    // One that systemd had queued is not.
    assert!(is_unknown(&lost().find(AttemptId(2), &old)));
    let mut jobs = lost();
    for _ in 1..REQUESTED_AT_MOST {
        assert!(matches!(jobs.find(AttemptId(1), &old), Found::Lost(_)));
        assert!(jobs.unnamed().is_empty(), "it waits for its reply");
        jobs.lost();
    }
    assert!(is_unknown(&jobs.find(AttemptId(1), &old)));
}

#[test]
fn request_lost_with_the_bus_may_still_run() {
    for kind in [JobKind::Restart, JobKind::Start] {
        let mut jobs = lost();
        let running = state(ActiveState::Activating, Some((9, kind)), "second");
        assert!(matches!(jobs.find(AttemptId(1), &running), Found::Running));
        assert!(jobs.unnamed().is_empty());
        assert_eq!(jobs.removed(&job_path(9), "done")[0].1, JobResult::Done);
    }
    // Another's job is not ours.
    let stop = state(ActiveState::Deactivating, Some((9, JobKind::Stop)), "first");
    assert!(is_unknown(&lost().find(AttemptId(1), &stop)));
}

/// systemd re-executes itself with several requests in its hands: each lost reply has all of them looked for.
#[test]
fn request_that_is_made_again_is_not_made_once_more() {
    let old = state(ActiveState::Active, None, "first");
    let mut jobs = lost();
    assert!(matches!(jobs.find(AttemptId(1), &old), Found::Lost(_)));
    assert!(matches!(jobs.find(AttemptId(1), &old), Found::Running));
    jobs.queued(AttemptId(1), "/job/8".into());
    assert_eq!(jobs.removed("/job/8", "done").len(), 1);
}

#[test]
fn lost_request_is_not_made_again_where_an_operator_comes_first() {
    let old = state(ActiveState::Active, None, "first");
    let mut jobs = lost();
    assert_eq!(jobs.withdraw(AttemptId(1), "an operator stopped the unit", false), None);
    assert!(matches!(jobs.find(AttemptId(1), &old), Found::Ended(_, JobResult::Withdrawn(_))));
}
