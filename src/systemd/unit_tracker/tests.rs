use super::*;
use crate::systemd::start_conditions::ConditionProperties;
use crate::unit::{Job, Relations, UnitName, UnitSettings};
use ActiveState::{Activating, Active, Deactivating, Failed, Inactive};

fn reading(active: ActiveState, invocation: &str) -> UnitState {
    UnitState {
        load: LoadState::Loaded,
        active,
        invocation_id: invocation.to_owned(),
        ..UnitState::default()
    }
}

fn oneshot() -> UnitState {
    UnitState { oneshot: true, ..reading(Inactive, "") }
}

/// A change that a signal shows.
fn change(active: ActiveState, job: u32, invocation: &str, inactive_enter: u64) -> Change {
    let (invocation, inactive_enter) = (invocation.to_owned(), Some(inactive_enter));
    Change { active, job, invocation, inactive_enter, active_exit: None, start: StartConditions::default() }
}

fn read(track: &mut UnitTracker, state: UnitState) {
    track.read_done(state, &StartConditions::default());
}

fn running() -> UnitTracker {
    let mut track = UnitTracker::default();
    read(&mut track, reading(Active, "a"));
    track.news();
    track
}

fn seen_ended(track: &UnitTracker) -> u64 {
    track.current().unwrap().seen_ended_usec
}

#[test]
fn reading_waits_until_the_kind_of_the_job_is_known() {
    let mut track = running();
    assert_eq!(track.changed(&change(Deactivating, 7, "a", 0)), Some(7), "JobNew was not seen: ask");
    read(&mut track, reading(Inactive, "a"));
    assert_eq!((track.news(), track.current()), (None, None));
    track.job_kind(7, JobKind::Stop);
    let stop = Some(Job { id: 7, kind: JobKind::Stop, ours: false });
    assert_eq!(track.news().unwrap().stopped_by, stop);
    assert!(track.news().is_none(), "reported once");
}

#[test]
fn owner_that_is_known_late_corrects_the_reading() {
    let mut track = running();
    track.jobs.job_new(7);
    track.job_kind(7, JobKind::Stop);
    track.changed(&change(Deactivating, 7, "a", 0));
    let job = Some(Job { id: 7, kind: JobKind::Stop, ours: false });
    read(&mut track, UnitState { job, ..reading(Deactivating, "a") });
    assert!(!track.news().unwrap().stopped_by.unwrap().ours);
    track.own_job(7, JobKind::Stop);
    let state = track.news().unwrap();
    assert!(state.stopped_by.unwrap().ours && state.job.unwrap().ours);
}

#[test]
fn old_reading_is_not_reported_with_what_came_after_it() {
    let mut track = running();
    track.jobs.job_new(7);
    track.changed(&change(Deactivating, 7, "a", 0));
    track.job_kind(7, JobKind::Stop);
    assert!(track.news().is_none(), "active, and stopped by an operator?");
    track.changed(&change(Inactive, 7, "a", 0));
    track.job_removed(7, End::Done, 0);
    read(&mut track, reading(Inactive, "a"));
    assert!(track.news().is_some());
    track.changed(&change(Active, 0, "b", 0));
    assert!(track.news().is_none(), "inactive, and not stopped?");
}

#[test]
fn start_job_on_a_unit_that_is_down_is_reported() {
    let mut track = UnitTracker::default();
    let job = Some(Job { id: 4, kind: JobKind::Start, ours: false });
    read(&mut track, UnitState { job, ..reading(Inactive, "") });
    let state = track.news().unwrap();
    assert!(state.has_start_job());
    assert_eq!(state.stopped_by, None);

    // Of a restart, whichever kind was read.
    for kind in [JobKind::Restart, JobKind::Start] {
        let mut track = running();
        track.jobs.job_new(5);
        track.changed(&change(Inactive, 5, "a", 0));
        let job = Some(Job { id: 5, kind, ours: false });
        read(&mut track, UnitState { job, ..reading(Inactive, "a") });
        let state = track.news().unwrap();
        assert_eq!((state.job.unwrap().kind, state.stopped_by), (JobKind::Start, None), "{kind:?}");
    }
}

#[test]
fn end_of_a_run_is_known_though_systemd_has_unloaded_the_unit() {
    let mut track = UnitTracker::default();
    read(&mut track, reading(Inactive, ""));
    let end = |track: &mut UnitTracker, invocation: &str, usec: u64| {
        track.changed(&change(Activating, 0, invocation, 0));
        track.changed(&change(Inactive, 0, invocation, usec));
        read(track, reading(Inactive, ""));
        seen_ended(track)
    };
    assert_eq!(end(&mut track, "a", 7), 7);
    assert!(track.news().is_some(), "nothing else of it differs");
    assert_eq!(end(&mut track, "b", 9), 9);
    assert!(track.news().is_some());
    track.changed(&change(Inactive, 0, "", 9));
    read(&mut track, reading(Inactive, ""));
    assert_eq!(seen_ended(&track), 9, "that end is known");
    // Of a run of some milliseconds only the end is signalled.
    track.changed(&change(Inactive, 0, "", 11));
    read(&mut track, reading(Inactive, ""));
    assert_eq!(seen_ended(&track), 11);
    track.changed(&change(Activating, 0, "c", 11));
    track.changed(&change(Failed, 0, "c", 13));
    read(&mut track, reading(Failed, "c"));
    assert_eq!(seen_ended(&track), 11, "that run failed");
}

#[test]
fn job_done_on_a_oneshot_at_rest_is_a_run() {
    let mut track = UnitTracker::default();
    read(&mut track, oneshot());
    track.jobs.job_new(7);
    track.job_removed(7, End::Done, 20);
    track.job_kind(7, JobKind::Other);
    read(&mut track, oneshot());
    assert_eq!((seen_ended(&track), track.current().unwrap().stopped_by), (20, None));
    // A stop of it is no run.
    track.jobs.job_new(8);
    track.job_kind(8, JobKind::Stop);
    track.job_removed(8, End::Done, 30);
    read(&mut track, oneshot());
    assert_eq!(seen_ended(&track), 20);
    // Nor is a job on a service.
    let mut track = UnitTracker::default();
    read(&mut track, reading(Inactive, ""));
    track.job_removed(7, End::Done, 20);
    read(&mut track, reading(Inactive, ""));
    assert_eq!(seen_ended(&track), 0);
    // A reading that came while the job had not begun yet does not hide the run.
    let mut track = UnitTracker::default();
    let job = Some(Job { id: 7, kind: JobKind::Start, ours: false });
    read(&mut track, UnitState { job, ..oneshot() });
    track.job_removed(7, End::Done, 30);
    read(&mut track, oneshot());
    assert_eq!(seen_ended(&track), 30);
}

#[test]
fn oneshot_run_whose_job_kind_was_not_read_is_no_stop() {
    let mut track = UnitTracker::default();
    read(&mut track, oneshot());
    track.jobs.job_new(7);
    assert_eq!(track.changed(&change(Activating, 7, "a", 0)), None, "its kind is being asked for already");
    track.changed(&change(Inactive, 7, "a", 20));
    track.job_removed(7, End::Done, 20);
    track.job_kind(7, JobKind::Other);
    read(&mut track, oneshot());
    let state = track.current().unwrap();
    assert_eq!((state.stopped_by, state.seen_ended_usec), (None, 20));
    // One that such a job stopped, after another had brought it up.
    track.jobs.job_new(8);
    track.changed(&change(Activating, 8, "b", 20));
    track.job_removed(8, End::NotDone, 0);
    track.jobs.job_new(9);
    track.changed(&change(Deactivating, 9, "b", 20));
    track.changed(&change(Inactive, 9, "b", 20));
    track.job_removed(9, End::Done, 0);
    track.job_kind(9, JobKind::Other);
    read(&mut track, oneshot());
    let stop = Some(Job { id: 9, kind: JobKind::Stop, ours: false });
    assert_eq!(track.current().unwrap().stopped_by, stop);
}

#[test]
fn skipped_start_is_known_though_systemd_has_unloaded_the_unit() {
    let tested = |met: bool, at: u64| StartConditions {
        conditions: ConditionProperties { met: Some(met), at: Some(at), list: Vec::new() },
        ..StartConditions::default()
    };
    let mut track = UnitTracker::default();
    read(&mut track, reading(Inactive, ""));
    track.changed(&Change { start: tested(false, 7), ..change(Inactive, 7, "", 0) });
    for _ in 0..2 {
        track.read_done(reading(Inactive, ""), &tested(false, 0));
        let skipped = track.reading.as_ref().unwrap().start_skipped.as_deref().unwrap();
        assert!(skipped.contains("was not met"), "{skipped}");
    }
    track.changed(&Change { start: tested(true, 9), ..change(Active, 0, "a", 0) });
    track.read_done(reading(Inactive, ""), &tested(false, 0));
    assert_eq!(track.reading.unwrap().start_skipped, None);
}

#[test]
fn equal_settings_and_relations_are_in_memory_once() {
    let with = |can_reload: bool| {
        let requires = vec![UnitName::new("db.service").unwrap()];
        UnitState {
            settings: Arc::new(UnitSettings { can_reload, ..UnitSettings::default() }),
            relations: Some(Arc::new(Relations { requires, ..Relations::default() })),
            ..reading(Active, "a")
        }
    };
    let mut track = UnitTracker::default();
    read(&mut track, with(true));
    let first = track.news().unwrap();
    read(&mut track, with(true));
    let again = track.current().unwrap();
    assert!(Arc::ptr_eq(&first.settings, &again.settings));
    assert!(Arc::ptr_eq(first.relations.as_ref().unwrap(), again.relations.as_ref().unwrap()));
    assert!(track.news().is_none());
    read(&mut track, with(false));
    assert!(track.news().is_some());
}

#[test]
fn skipped_start_by_exec_condition_is_recognized() {
    // systemd sets `ConditionResult` back, of the same start. The second end is what it signals once the unit is unloaded.
    let signal = |active: ActiveState, met: bool| {
        let conditions = ConditionProperties { met: Some(met), at: Some(7), list: Vec::new() };
        let start = StartConditions { conditions, ..StartConditions::default() };
        Change { start, ..change(active, 3, "a", 0) }
    };
    let mut track = UnitTracker::default();
    read(&mut track, reading(Inactive, ""));
    for (active, met) in [(Inactive, true), (Activating, true), (Inactive, false), (Inactive, false)] {
        track.changed(&signal(active, met));
    }
    track.job_removed(3, End::Done, 0);
    track.job_kind(3, JobKind::Other);
    read(&mut track, reading(Inactive, ""));
    let state = track.current().unwrap();
    assert_eq!(state.start_skipped.as_deref(), Some("ExecCondition= was not met"));
    assert_eq!(state.stopped_by, None);
}

#[test]
fn propagated_stop_is_known_though_systemd_has_unloaded_the_other_unit() {
    let names = |names: &[&str]| names.iter().map(|name| UnitName::new(name).unwrap()).collect::<Vec<_>>();
    let with = |active, binds_to: &[&str]| UnitState {
        relations: Some(Arc::new(Relations {
            requires: names(&["db.service"]),
            binds_to: names(binds_to),
            ..Relations::default()
        })),
        ..reading(active, "a")
    };
    let binds_to = |track: &UnitTracker| track.current().unwrap().relations.clone().unwrap().binds_to.clone();
    let mut track = UnitTracker::default();
    read(&mut track, with(Active, &["db.service", "vpn.service"]));
    read(&mut track, with(Inactive, &["a.service"]));
    assert_eq!(binds_to(&track), names(&["a.service", "vpn.service"]));
    read(&mut track, with(Active, &["a.service"]));
    assert_eq!(binds_to(&track), names(&["a.service"]));
}

#[test]
fn failures_between_two_readings_are_counted() {
    let failures = |track: &UnitTracker| track.current().unwrap().failures_seen;
    let mut track = UnitTracker::default();
    read(&mut track, reading(Active, "a"));
    assert_eq!(failures(&track), 0);
    for (active, run) in
        [(Failed, "a"), (Failed, "a"), (Active, "b"), (Failed, "b"), (Inactive, "c"), (Active, "d")]
    {
        track.changed(&change(active, 0, run, 0));
    }
    read(&mut track, reading(Active, "d"));
    assert_eq!(failures(&track), 2);
    read(&mut track, reading(Failed, "d"));
    assert_eq!(failures(&track), 3);
    // Java ends with status 143 when it is stopped, for a restart as well.
    track.changed(&change(Active, 0, "e", 0));
    track.changed(&change(Deactivating, 9, "e", 0));
    track.job_kind(9, JobKind::Restart);
    track.changed(&change(Failed, 9, "e", 0));
    track.changed(&change(Active, 9, "f", 0));
    read(&mut track, reading(Active, "f"));
    assert_eq!(failures(&track), 3);
}

#[test]
fn starts_between_two_readings_are_counted() {
    let starts = |track: &UnitTracker| track.current().unwrap().starts_seen;
    let mut track = UnitTracker::default();
    read(&mut track, reading(Active, "a"));
    assert_eq!(starts(&track), 0);
    for run in ["b", "b", "c", "d"] {
        track.changed(&change(Active, 0, run, 0));
    }
    read(&mut track, reading(Active, "d"));
    assert_eq!(starts(&track), 3);
    read(&mut track, reading(Active, "e"));
    assert_eq!(starts(&track), 4);
}
