//! Every order of events that a real systemd was seen to send, and some more.

use super::*;
use ActiveState::{Activating, Active, Deactivating, Failed, Inactive};

/// A unit that is up, in its run `a`, started at 1.
fn running() -> JobTracker {
    let mut jobs = JobTracker::default();
    jobs.observe(Active, 0, "a", 1);
    jobs
}

/// The same job, as a request of ours queued it or another's did.
fn queue(jobs: &mut JobTracker, id: u32, kind: JobKind, ours: bool) {
    assert!(jobs.job_new(id));
    if ours {
        jobs.own_job(id, kind);
    } else {
        jobs.job_kind(id, kind);
    }
}

fn stop(id: u32) -> Result<Option<Job>, Undecided> {
    Ok(Some(Job { id, kind: JobKind::Stop, ours: false }))
}

const NONE: Result<Option<Job>, Undecided> = Ok(None);

#[test]
fn process_that_ends_without_a_job_was_not_stopped() {
    for down in [Inactive, Failed] {
        let mut jobs = running();
        jobs.observe(down, 0, "a", 1);
        assert_eq!(jobs.stopped_by(), NONE);
    }
}

#[test]
fn stop_is_reported_until_the_unit_is_up_again() {
    let mut jobs = running();
    queue(&mut jobs, 7, JobKind::Stop, false);
    assert_eq!(jobs.stopped_by(), NONE, "it is up still");
    jobs.observe(Deactivating, 7, "a", 1);
    assert_eq!(jobs.stopped_by(), stop(7));
    jobs.observe(Inactive, 7, "a", 1);
    jobs.job_removed(7, End::Done);
    jobs.observe(Inactive, 0, "", 0);
    assert_eq!(jobs.stopped_by(), stop(7), "also where systemd has unloaded the unit");
    jobs.observe(Activating, 8, "b", 2);
    assert_eq!(jobs.stopped_by(), NONE);
}

#[test]
fn stop_of_ours_is_reported_as_ours_however_late_its_reply() {
    let mut jobs = running();
    queue(&mut jobs, 7, JobKind::Stop, true);
    jobs.observe(Inactive, 7, "a", 1);
    jobs.job_removed(7, End::Done);
    let ours = Ok(Some(Job { id: 7, kind: JobKind::Stop, ours: true }));
    assert_eq!(jobs.stopped_by(), ours);

    let mut jobs = running();
    jobs.job_new(7);
    jobs.observe(Inactive, 7, "a", 1);
    jobs.job_removed(7, End::Done);
    assert_eq!(jobs.stopped_by(), Err(Undecided(7)));
    jobs.own_job(7, JobKind::Stop);
    assert_eq!(jobs.stopped_by(), ours);
}

#[test]
fn stop_that_replaces_a_restart_counts_in_each_phase() {
    for ours in [false, true] {
        // While the restart stops the unit.
        let mut jobs = running();
        queue(&mut jobs, 5, JobKind::Restart, ours);
        jobs.observe(Deactivating, 5, "a", 1);
        assert_eq!(jobs.stopped_by(), Ok(Some(Job { id: 5, kind: JobKind::Restart, ours })));
        jobs.job_removed(5, End::NotDone);
        queue(&mut jobs, 6, JobKind::Stop, false);
        jobs.observe(Deactivating, 6, "a", 1);
        assert_eq!(jobs.stopped_by(), stop(6));
        jobs.observe(Inactive, 6, "a", 1);
        jobs.job_removed(6, End::Done);
        assert_eq!(jobs.stopped_by(), stop(6));

        // Between its halves: the unit is down, and stays so.
        let mut jobs = running();
        queue(&mut jobs, 5, JobKind::Restart, ours);
        jobs.observe(Deactivating, 5, "a", 1);
        jobs.observe(Inactive, 5, "a", 1);
        assert_eq!(jobs.stopped_by(), NONE);
        jobs.job_removed(5, End::NotDone);
        queue(&mut jobs, 6, JobKind::Stop, false);
        assert_eq!(jobs.stopped_by(), stop(6));
        jobs.job_removed(6, End::Done);
        assert_eq!(jobs.stopped_by(), stop(6));

        // While it starts the unit.
        let mut jobs = running();
        queue(&mut jobs, 5, JobKind::Restart, ours);
        jobs.observe(Inactive, 5, "a", 1);
        jobs.observe(Activating, 5, "b", 2);
        jobs.job_removed(5, End::NotDone);
        queue(&mut jobs, 6, JobKind::Stop, false);
        jobs.observe(Deactivating, 6, "b", 2);
        jobs.observe(Failed, 6, "b", 2);
        jobs.job_removed(6, End::Done);
        assert_eq!(jobs.stopped_by(), stop(6));
    }
}

#[test]
fn stop_of_unread_kind_counts_in_each_phase() {
    let states: [&[ActiveState]; 3] = [&[Deactivating], &[Deactivating, Inactive], &[Inactive, Activating]];
    for before in states {
        let mut jobs = running();
        queue(&mut jobs, 5, JobKind::Restart, true);
        for active in before {
            jobs.observe(*active, 5, "a", 1);
        }
        jobs.job_removed(5, End::NotDone);
        jobs.job_new(6);
        assert!(jobs.stopped_by() == Err(Undecided(6)) || before.contains(&Activating));
        jobs.observe(Inactive, 6, "a", 1);
        jobs.job_removed(6, End::Done);
        assert_eq!(jobs.stopped_by(), Err(Undecided(6)), "{before:?}");
        jobs.job_kind(6, JobKind::Other);
        assert_eq!(jobs.stopped_by(), stop(6), "{before:?}");
    }
}

#[test]
fn restart_read_late_equals_one_read_early() {
    // systemd has turned the restart into a start by the time its kind is read: at each point of what the signals showed.
    let states = [Deactivating, Inactive];
    for read_at in 0..=states.len() {
        let mut jobs = running();
        assert!(jobs.job_new(5));
        for (n, active) in states.iter().enumerate() {
            if n == read_at {
                jobs.job_kind(5, JobKind::Restart);
            }
            jobs.observe(*active, 5, "a", 1);
        }
        jobs.job_kind(5, JobKind::Start);
        assert_eq!(jobs.stopped_by(), NONE, "read after {read_at}");
        let start = Job { id: 5, kind: JobKind::Start, ours: false };
        assert_eq!(jobs.describe(5), Some(start), "read after {read_at}");
        jobs.observe(Activating, 5, "b", 2);
        assert_eq!(jobs.describe(5), Some(start), "read after {read_at}");
        jobs.observe(Active, 5, "b", 2);
        jobs.job_removed(5, End::Done);
        jobs.observe(Failed, 0, "b", 2);
        assert_eq!(jobs.stopped_by(), NONE, "a crash after it is a crash");
    }
}

#[test]
fn start_job_that_waits_is_on_the_unit_from_the_first_reading() {
    let mut jobs = JobTracker::default();
    assert_eq!(jobs.observe(Inactive, 4, "", 0), Some(4));
    assert_eq!(jobs.stopped_by(), Err(Undecided(4)));
    jobs.job_kind(4, JobKind::Start);
    assert_eq!(jobs.stopped_by(), NONE);
    assert_eq!(jobs.describe(4).unwrap().kind, JobKind::Start);
}

#[test]
fn start_that_replaces_a_stop_counts() {
    let mut jobs = running();
    queue(&mut jobs, 6, JobKind::Stop, false);
    jobs.observe(Deactivating, 6, "a", 1);
    jobs.job_removed(6, End::NotDone);
    queue(&mut jobs, 7, JobKind::Start, false);
    assert_eq!(jobs.stopped_by(), NONE);
    jobs.observe(Inactive, 7, "a", 1);
    assert_eq!(jobs.stopped_by(), NONE);
    // A dependency of it failed.
    jobs.job_removed(7, End::NotDone);
    assert_eq!(jobs.stopped_by(), NONE);
}

#[test]
fn stop_that_was_done_outlasts_a_start_that_did_not_begin() {
    let mut jobs = running();
    queue(&mut jobs, 6, JobKind::Stop, false);
    jobs.observe(Inactive, 6, "a", 1);
    jobs.job_removed(6, End::Done);
    queue(&mut jobs, 7, JobKind::Start, false);
    assert_eq!(jobs.stopped_by(), NONE, "it is on its way up");
    jobs.job_removed(7, End::NotDone);
    assert_eq!(jobs.stopped_by(), stop(6));
}

#[test]
fn stop_does_not_outlast_a_start_that_failed() {
    let mut jobs = running();
    queue(&mut jobs, 6, JobKind::Stop, false);
    jobs.observe(Inactive, 6, "a", 1);
    jobs.job_removed(6, End::Done);
    queue(&mut jobs, 7, JobKind::Start, false);
    jobs.observe(Failed, 7, "a", 2);
    jobs.job_removed(7, End::NotDone);
    assert_eq!(jobs.stopped_by(), NONE);
}

#[test]
fn stop_of_a_unit_that_has_crashed_counts() {
    let mut jobs = running();
    jobs.observe(Failed, 0, "a", 1);
    queue(&mut jobs, 6, JobKind::Stop, false);
    jobs.job_removed(6, End::Done);
    assert_eq!(jobs.stopped_by(), stop(6));
    // Too quick for its kind to be read.
    let mut jobs = running();
    jobs.observe(Failed, 0, "a", 1);
    jobs.job_new(6);
    jobs.job_removed(6, End::Done);
    jobs.job_kind(6, JobKind::Other);
    assert_eq!(jobs.stopped_by(), stop(6));
}

#[test]
fn skipped_start_of_unread_kind_is_no_stop() {
    let mut jobs = running();
    jobs.observe(Failed, 0, "a", 1);
    jobs.job_new(6);
    // `ConditionTimestamp` moves with each start.
    jobs.observe(Failed, 6, "a", 2);
    jobs.job_removed(6, End::Done);
    jobs.job_kind(6, JobKind::Other);
    assert_eq!(jobs.stopped_by(), NONE);
}

#[test]
fn canceled_restart_is_no_stop() {
    for ours in [false, true] {
        let mut jobs = running();
        queue(&mut jobs, 5, JobKind::Restart, ours);
        jobs.observe(Deactivating, 5, "a", 1);
        jobs.job_removed(5, End::NotDone);
        assert_eq!(jobs.stopped_by(), NONE);
        jobs.observe(Inactive, 0, "a", 1);
        assert_eq!(jobs.stopped_by(), NONE);
    }
}

#[test]
fn start_limit_is_no_stop() {
    for kind in [JobKind::Restart, JobKind::Other] {
        let mut jobs = running();
        jobs.observe(Activating, 0, "a", 1); // auto-restart
        jobs.job_new(9); // systemd's own, for the restart
        jobs.observe(Inactive, 9, "a", 1);
        jobs.observe(Failed, 9, "a", 2);
        jobs.job_removed(9, End::NotDone);
        jobs.job_kind(9, kind);
        assert_eq!(jobs.stopped_by(), NONE, "{kind:?}");
    }
}

#[test]
fn start_that_fails_is_no_stop() {
    let mut jobs = running();
    queue(&mut jobs, 9, JobKind::Restart, false);
    jobs.observe(Deactivating, 9, "a", 1);
    jobs.observe(Inactive, 9, "a", 1);
    jobs.observe(Activating, 9, "b", 2);
    jobs.observe(Failed, 9, "b", 2);
    jobs.job_removed(9, End::NotDone);
    assert_eq!(jobs.stopped_by(), NONE);

    let mut oneshot = JobTracker { oneshot: true, ..JobTracker::default() };
    oneshot.observe(Inactive, 0, "", 0);
    queue(&mut oneshot, 3, JobKind::Start, false);
    oneshot.observe(Activating, 3, "a", 1);
    oneshot.observe(Inactive, 3, "a", 1);
    oneshot.job_removed(3, End::Done);
    assert_eq!(oneshot.stopped_by(), NONE);
}

#[test]
fn unit_that_crashes_during_a_reload_was_not_stopped() {
    let mut jobs = running();
    queue(&mut jobs, 3, JobKind::Reload, true);
    jobs.observe(ActiveState::Reloading, 3, "a", 1);
    jobs.observe(Failed, 3, "a", 1);
    jobs.job_removed(3, End::NotDone);
    assert_eq!(jobs.stopped_by(), NONE);
}

#[test]
fn job_that_ended_before_the_crash_does_not_explain_it() {
    let mut jobs = running();
    jobs.job_new(3);
    jobs.job_removed(3, End::Done);
    jobs.observe(Inactive, 0, "a", 1);
    jobs.job_kind(3, JobKind::Other);
    assert_eq!(jobs.stopped_by(), NONE);
}

#[test]
fn another_run_that_was_not_seen_clears_the_stop() {
    let mut jobs = running();
    queue(&mut jobs, 7, JobKind::Stop, false);
    jobs.observe(Inactive, 7, "a", 1);
    for _ in 0..2 {
        jobs.observe(Inactive, 0, "c", 2);
        assert_eq!(jobs.stopped_by(), NONE);
    }
}

#[test]
fn unit_found_inactive_after_missed_signals_counts_as_stopped() {
    let found = |active: ActiveState, at_rest: bool| {
        let mut jobs = running();
        jobs.lose_signals();
        let before = jobs.active();
        jobs.observe(active, 0, "a", 1);
        jobs.note_missed(before, at_rest);
        jobs.stopped_by()
    };
    assert_eq!(found(Inactive, false), Ok(Some(Job { id: 0, kind: JobKind::Other, ours: false })));
    assert_eq!(found(Inactive, true), NONE);
    assert_eq!(found(Failed, false), NONE);
    assert_eq!(found(Active, false), NONE);
    // An end that was seen is an end.
    let mut jobs = running();
    jobs.observe(Inactive, 0, "a", 1);
    jobs.lose_signals();
    let before = jobs.active();
    jobs.observe(Inactive, 0, "a", 1);
    jobs.note_missed(before, false);
    assert_eq!(jobs.stopped_by(), NONE);
}

/// umount(8): the kernel takes down no mount by itself.
#[test]
fn mount_that_goes_without_a_job_was_unmounted() {
    for (mounted, stopped_by) in
        [(true, Ok(Some(Job { id: 0, kind: JobKind::Other, ours: false }))), (false, NONE)]
    {
        let mut jobs = running();
        jobs.mounted = mounted;
        jobs.observe(Inactive, 0, "a", 1);
        assert_eq!(jobs.stopped_by(), stopped_by);
        jobs.observe(Active, 0, "b", 2);
        assert_eq!(jobs.stopped_by(), NONE);
        jobs.observe(Failed, 0, "b", 2);
        assert_eq!(jobs.stopped_by(), NONE);
    }
}

#[test]
fn job_whose_kind_is_never_read_leaves_nothing_undecided() {
    let mut jobs = running();
    jobs.job_new(7);
    jobs.observe(Deactivating, 7, "a", 1);
    assert_eq!(jobs.stopped_by(), Err(Undecided(7)));
    jobs.lose_signals();
    assert_eq!(jobs.stopped_by(), Ok(Some(Job { id: 7, kind: JobKind::Other, ours: false })));
}

/// The start of a unit whose root did not start is dropped; a later start that is attempted ends that.
#[test]
fn start_that_is_dropped_for_its_root() {
    let mut jobs = JobTracker::default();
    jobs.observe(Active, 0, "a", 1);
    jobs.job_new(7);
    jobs.job_kind(7, JobKind::Restart);
    jobs.observe(Deactivating, 7, "a", 1);
    jobs.observe(Inactive, 7, "a", 1);
    assert!(!jobs.start_dropped());
    jobs.job_removed(7, End::of("dependency"));
    jobs.observe(Inactive, 0, "a", 1);
    assert!(jobs.start_dropped());
    assert_eq!(jobs.stopped_by(), Ok(None));
    jobs.observe(Failed, 0, "b", 2);
    assert!(!jobs.start_dropped());
}
