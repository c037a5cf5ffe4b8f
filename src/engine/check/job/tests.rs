//! What a reading of a job's unit says of its runs.

use super::*;
use crate::time::Wall;
use crate::unit::{Job, LoadState};

const HOUR: Duration = Duration::from_hours(1);

fn now(hours: u32) -> Now {
    let since = HOUR * hours;
    Now { mono: Mono(HOUR * 100_000 + since), wall: Wall(1_795_000_000_000).after(since) }
}

fn usec(hours: u32) -> u64 {
    u64::try_from(now(hours).wall.0).unwrap() * 1000
}

fn ended(hours: u32) -> UnitState {
    UnitState {
        load: LoadState::Loaded,
        result: "success".into(),
        invocation_id: "a".into(),
        exit_code: 1,
        inactive_enter_usec: usec(hours),
        inactive_exit_usec: usec(hours) - 60_000_000,
        ..UnitState::default()
    }
}

const DAILY: JobProbe =
    JobProbe { succeeded_within: Duration::from_hours(26), max_runtime: Duration::from_hours(2) };

fn word(runs: &Runs, hours: u32, state: &UnitState) -> JobVerdict {
    runs.verdict(now(hours).mono, &DAILY, state, None)
}

#[test]
fn a_good_run_is_known_once_and_is_late_when_its_time_is_over() {
    let mut runs = Runs::watched_since(now(0).mono);
    let state = ended(1);
    assert!(runs.record(now(2), &state));
    assert!(!runs.record(now(3), &state), "it is known");
    assert_eq!(word(&runs, 4, &state), JobVerdict::OnTime("succeeded 3h ago".into()));
    assert_eq!(
        word(&runs, 27, &state),
        JobVerdict::Failing("last succeeded 26h ago, expected within 26h".into())
    );
    assert!(runs.record(now(28), &ended(28)));
    assert_eq!(word(&runs, 28, &ended(28)), JobVerdict::OnTime("succeeded 0s ago".into()));
}

#[test]
fn a_job_that_never_ran_counts_from_when_it_is_watched() {
    let mut runs = Runs::watched_since(now(0).mono);
    let never = UnitState { load: LoadState::Loaded, ..UnitState::default() };
    assert!(!runs.record(now(0), &never));
    assert_eq!(word(&runs, 25, &never), JobVerdict::OnTime("no run yet, monitored for 25h".into()));
    let late = "no successful run in the 26h since monitoring began";
    assert_eq!(word(&runs, 26, &never), JobVerdict::Failing(late.into()));
}

#[test]
fn a_failed_run_is_told_at_once_and_its_reset_is_no_good_run() {
    let mut runs = Runs::watched_since(now(0).mono);
    runs.record(now(1), &ended(1));
    let failed =
        UnitState { active: ActiveState::Failed, result: "exit-code".into(), exit_status: 3, ..ended(2) };
    assert!(!runs.record(now(2), &failed));
    let reason = "the last run failed: exit-code, main process exited with status 3";
    assert_eq!(word(&runs, 2, &failed), JobVerdict::Failing(reason.into()));
    let reset = UnitState { exit_status: 3, ..ended(2) };
    assert!(!runs.record(now(3), &reset), "nothing ran");
    assert_eq!(word(&runs, 3, &reset), JobVerdict::OnTime("succeeded 2h ago".into()));
}

#[test]
fn a_run_under_way_is_neither_until_it_takes_too_long() {
    let mut runs = Runs::watched_since(now(0).mono);
    let running = UnitState { active: ActiveState::Activating, inactive_exit_usec: usec(1), ..ended(0) };
    assert!(!runs.record(now(1), &running));
    assert_eq!(word(&runs, 2, &running), JobVerdict::Running("running for 1h".into()));
    let reason = "has been running for 2h, expected to take less than 2h";
    assert_eq!(word(&runs, 3, &running), JobVerdict::Failing(reason.into()));
    // The clock is set; that is no reason to believe that it began at another moment.
    let jumped = Now { wall: Wall(0), ..now(2) };
    runs.record(jumped, &running);
    assert_eq!(word(&runs, 2, &running), JobVerdict::Running("running for 1h".into()));
}

#[test]
fn an_end_that_only_the_signals_told_is_a_run() {
    let mut runs = Runs::watched_since(now(0).mono);
    let forgotten = UnitState { load: LoadState::Loaded, ..UnitState::default() };
    assert!(!runs.record(now(1), &forgotten));
    let seen = UnitState { seen_ended_usec: usec(1), ..forgotten.clone() };
    assert!(runs.record(now(1), &seen));
    let stopped = UnitState {
        seen_ended_usec: usec(2),
        stopped_by: Some(Job { id: 1, kind: JobKind::Stop, ours: false }),
        ..forgotten
    };
    assert!(!runs.record(now(2), &stopped), "somebody ended it");
}

#[test]
fn a_job_that_remains_has_run_when_it_became_active() {
    let mut runs = Runs::watched_since(now(0).mono);
    let exited = UnitState {
        active: ActiveState::Active,
        sub: "exited".into(),
        active_enter_usec: usec(1),
        ..ended(0)
    };
    assert!(runs.record(now(2), &exited));
    assert_eq!(word(&runs, 3, &exited), JobVerdict::OnTime("succeeded 2h ago".into()));
}
