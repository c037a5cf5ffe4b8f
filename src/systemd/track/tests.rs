//! Every order of events that a real systemd was seen to send, and some more.

use super::*;
use crate::unit::LoadState;
use ActiveState::{Activating, Active, Deactivating, Failed, Inactive};

fn reading(active: ActiveState, invocation: &str) -> UnitState {
    UnitState {
        load: LoadState::Loaded,
        active,
        invocation_id: invocation.to_owned(),
        ..UnitState::default()
    }
}

fn running() -> Track {
    let mut track = Track::default();
    track.read_done(reading(Active, "a"));
    track.news();
    track
}

fn stopped_by(track: &mut Track, active: ActiveState, invocation: &str) -> Option<Job> {
    track.read_done(reading(active, invocation));
    track.current().unwrap().stopped_by
}

#[test]
fn an_end_has_no_job() {
    let mut track = running();
    track.observe(Inactive, 0, "a");
    assert_eq!(stopped_by(&mut track, Inactive, "a"), None);
}

#[test]
fn a_stop_is_told_with_its_job_and_forgotten_when_the_unit_is_up_again() {
    let mut track = running();
    assert!(track.job_new(7));
    track.job_kind(7, JobKind::Stop);
    track.observe(Deactivating, 7, "a");
    track.observe(Inactive, 7, "a");
    track.job_removed(7, true);
    let stop = Some(Job { id: 7, kind: JobKind::Stop, ours: false });
    assert_eq!(stopped_by(&mut track, Inactive, "a"), stop);
    assert_eq!(stopped_by(&mut track, Inactive, ""), stop, "systemd forgot the unit, we did not");
    track.observe(Activating, 8, "b");
    assert_eq!(stopped_by(&mut track, Active, "b"), None);
}

#[test]
fn nothing_is_told_until_the_kind_of_the_job_is_known() {
    let mut track = running();
    assert_eq!(track.observe(Deactivating, 7, "a"), Some(7), "JobNew was not seen: ask");
    track.read_done(UnitState { job: None, ..reading(Inactive, "a") });
    assert!(track.news().is_none());
    track.job_kind(7, JobKind::Stop);
    assert_eq!(track.news().unwrap().stopped_by, Some(Job { id: 7, kind: JobKind::Stop, ours: false }));
    assert!(track.news().is_none(), "told once");
}

#[test]
fn a_stop_too_quick_to_be_asked_is_known_by_its_end() {
    let mut track = running();
    track.job_new(7);
    track.observe(Inactive, 7, "a");
    track.job_removed(7, true);
    track.job_kind(7, JobKind::Other);
    assert_eq!(stopped_by(&mut track, Inactive, "a"), Some(Job { id: 7, kind: JobKind::Stop, ours: false }));
}

#[test]
fn the_start_limit_is_no_stop_although_the_unit_fails_with_a_job_on_it() {
    for kind in [JobKind::Restart, JobKind::Other] {
        let mut track = running();
        track.observe(Activating, 0, "a"); // auto-restart
        track.job_new(9); // systemd's own, for the restart
        track.observe(Inactive, 9, "a");
        track.observe(Failed, 9, "a");
        track.job_removed(9, false);
        track.job_kind(9, kind);
        assert_eq!(stopped_by(&mut track, Failed, "a"), None, "{kind:?}");
    }
}

#[test]
fn an_old_reading_is_not_told_with_what_came_after_it() {
    let mut track = running();
    track.job_new(7);
    track.observe(Deactivating, 7, "a");
    track.job_kind(7, JobKind::Stop);
    assert!(track.news().is_none(), "active, and stopped by somebody?");
    track.observe(Inactive, 7, "a");
    track.job_removed(7, true);
    track.read_done(reading(Inactive, "a"));
    assert!(track.news().is_some());
    track.observe(Active, 0, "b");
    assert!(track.news().is_none(), "inactive, and stopped by nobody?");
}

#[test]
fn a_job_that_comes_after_the_end_did_not_cause_it() {
    let mut track = running();
    track.observe(Inactive, 0, "a");
    track.job_new(9);
    track.job_kind(9, JobKind::Restart);
    track.observe(Inactive, 9, "a");
    assert_eq!(stopped_by(&mut track, Inactive, "a"), None);
}

#[test]
fn a_start_that_fails_is_no_stop_and_neither_is_the_start_within_a_restart() {
    let mut track = running();
    track.job_new(9);
    track.job_kind(9, JobKind::Restart);
    track.observe(Deactivating, 9, "a");
    track.observe(Inactive, 9, "a");
    assert_eq!(stopped_by(&mut track, Inactive, "a").unwrap().kind, JobKind::Restart);
    track.observe(Activating, 9, "b");
    track.observe(Failed, 9, "b");
    assert_eq!(stopped_by(&mut track, Failed, "b"), None);

    let mut oneshot = Track::default();
    oneshot.read_done(reading(Inactive, ""));
    oneshot.job_new(3);
    oneshot.job_kind(3, JobKind::Start);
    oneshot.observe(Activating, 3, "a");
    oneshot.observe(Inactive, 3, "a");
    assert_eq!(stopped_by(&mut oneshot, Inactive, "a"), None);
}

#[test]
fn a_unit_first_seen_down_was_stopped_by_nobody_we_know() {
    let mut track = Track::default();
    track.observe(Inactive, 4, "");
    assert_eq!(stopped_by(&mut track, Inactive, ""), None);
}

#[test]
fn another_run_that_nobody_watched_clears_the_stop() {
    let mut track = running();
    track.job_new(7);
    track.job_kind(7, JobKind::Stop);
    track.observe(Inactive, 7, "a");
    assert_eq!(stopped_by(&mut track, Inactive, "c"), None);
}

#[test]
fn the_end_of_a_run_is_known_though_systemd_has_forgotten_the_unit() {
    let mut track = Track::default();
    track.read_done(reading(Inactive, ""));
    let end = |track: &mut Track, invocation: &str, usec: u64| {
        track.note_end(Activating, Some(0));
        track.observe(Activating, 1, invocation);
        track.note_end(Inactive, Some(usec));
        track.observe(Inactive, 0, invocation);
        track.read_done(reading(Inactive, ""));
        track.current().unwrap().seen_ended_usec
    };
    assert_eq!(end(&mut track, "a", 7), 7);
    assert!(track.news().is_some(), "nothing else of it differs");
    assert_eq!(end(&mut track, "b", 9), 9);
    assert!(track.news().is_some());
    track.note_end(Inactive, Some(9));
    track.read_done(reading(Inactive, ""));
    assert_eq!(track.current().unwrap().seen_ended_usec, 9, "that end is known");
    // A run of some milliseconds: nothing is told but its end.
    track.note_end(Inactive, Some(11));
    track.read_done(reading(Inactive, ""));
    assert_eq!(track.current().unwrap().seen_ended_usec, 11);
    track.observe(Activating, 1, "c");
    track.note_end(Failed, Some(13));
    track.observe(Failed, 0, "c");
    track.read_done(reading(Failed, "c"));
    assert_eq!(track.current().unwrap().seen_ended_usec, 11, "that run failed");
}

#[test]
fn a_job_that_was_done_on_a_oneshot_at_rest_was_a_run_of_it() {
    let oneshot = || UnitState { oneshot: true, ..reading(Inactive, "") };
    let mut track = Track::default();
    track.read_done(oneshot());
    track.job_new(7);
    track.note_done(7, 20);
    track.job_removed(7, true);
    track.read_done(oneshot());
    assert_eq!(track.current().unwrap().seen_ended_usec, 20);
    // A stop of it was no run.
    track.job_new(8);
    track.job_kind(8, JobKind::Stop);
    track.note_done(8, 30);
    track.job_removed(8, true);
    track.read_done(oneshot());
    assert_eq!(track.current().unwrap().seen_ended_usec, 20);
    // Nor was a job on a service.
    let mut track = Track::default();
    track.read_done(reading(Inactive, ""));
    track.note_done(7, 20);
    track.read_done(reading(Inactive, ""));
    assert_eq!(track.current().unwrap().seen_ended_usec, 0);
}

#[test]
fn a_run_whose_job_was_gone_before_it_could_be_asked_was_no_stop() {
    let oneshot = || UnitState { oneshot: true, ..reading(Inactive, "") };
    let mut track = Track::default();
    track.read_done(oneshot());
    track.job_new(7);
    assert_eq!(track.observe(Activating, 7, "a"), None, "its kind is being asked for already");
    track.note_end(Inactive, Some(20));
    track.observe(Inactive, 7, "a");
    track.job_removed(7, true);
    track.job_kind(7, JobKind::Other);
    track.read_done(oneshot());
    let state = track.current().unwrap();
    assert_eq!((state.stopped_by, state.seen_ended_usec), (None, 20));
    // One that was stopped by such a job, after it had come up by another.
    track.job_new(8);
    track.observe(Activating, 8, "b");
    track.job_removed(8, false);
    track.job_new(9);
    track.observe(Deactivating, 9, "b");
    track.observe(Inactive, 9, "b");
    track.job_removed(9, true);
    track.job_kind(9, JobKind::Other);
    track.read_done(oneshot());
    assert_eq!(track.current().unwrap().stopped_by, Some(Job { id: 9, kind: JobKind::Stop, ours: false }));
    // A reading that came while the job had not begun yet is no reason to forget that it ran.
    let mut track = Track::default();
    track.read_done(UnitState { job: Some(Job { id: 7, kind: JobKind::Start, ours: false }), ..oneshot() });
    track.note_done(7, 30);
    track.job_removed(7, true);
    track.read_done(oneshot());
    assert_eq!(track.current().unwrap().seen_ended_usec, 30);
}
