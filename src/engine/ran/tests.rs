//! What a reading of a job's unit says of its runs.

use super::*;
use crate::unit::Job;

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

const DAILY: RanWithin = RanWithin { within: Duration::from_hours(26), runtime_max: Duration::from_hours(2) };

fn word(runs: &Runs, hours: u32, state: &UnitState) -> Word {
    runs.judge(now(hours).mono, &DAILY, state)
}

#[test]
fn a_good_run_is_known_once_and_is_late_when_its_time_is_over() {
    let mut runs = Runs::watched_since(now(0).mono);
    let state = ended(1);
    assert!(runs.note(now(2), &state));
    assert!(!runs.note(now(3), &state), "it is known");
    assert_eq!(word(&runs, 4, &state), Word::Well("ran well 3h ago".into()));
    assert_eq!(word(&runs, 27, &state), Word::NotWell("last ran well 26h ago, expected within 26h".into()));
    assert!(runs.note(now(28), &ended(28)));
    assert_eq!(word(&runs, 28, &ended(28)), Word::Well("ran well 0s ago".into()));
}

#[test]
fn a_job_that_never_ran_counts_from_when_it_is_watched() {
    let mut runs = Runs::watched_since(now(0).mono);
    let never = UnitState { load: LoadState::Loaded, ..UnitState::default() };
    assert!(!runs.note(now(0), &never));
    assert_eq!(word(&runs, 25, &never), Word::Well("no run seen yet, watched for 25h".into()));
    let late = "no good run was seen in the 26h since it is watched";
    assert_eq!(word(&runs, 26, &never), Word::NotWell(late.into()));
}

#[test]
fn a_failed_run_is_told_at_once_and_its_reset_is_no_good_run() {
    let mut runs = Runs::watched_since(now(0).mono);
    runs.note(now(1), &ended(1));
    let failed =
        UnitState { active: ActiveState::Failed, result: "exit-code".into(), exit_status: 3, ..ended(2) };
    assert!(!runs.note(now(2), &failed));
    let reason = "the last run failed: exit-code, main process exited with status 3";
    assert_eq!(word(&runs, 2, &failed), Word::NotWell(reason.into()));
    let reset = UnitState { exit_status: 3, ..ended(2) };
    assert!(!runs.note(now(3), &reset), "nothing ran");
    assert_eq!(word(&runs, 3, &reset), Word::Well("ran well 2h ago".into()));
}

#[test]
fn a_run_under_way_is_neither_until_it_takes_too_long() {
    let mut runs = Runs::watched_since(now(0).mono);
    let running = UnitState { active: ActiveState::Activating, inactive_exit_usec: usec(1), ..ended(0) };
    assert!(!runs.note(now(1), &running));
    assert_eq!(word(&runs, 2, &running), Word::Running("running for 1h".into()));
    let reason = "has been running for 2h, expected to take less than 2h";
    assert_eq!(word(&runs, 3, &running), Word::NotWell(reason.into()));
    // The clock is set; that is no reason to believe that it began at another moment.
    let jumped = Now { wall: Wall(0), ..now(2) };
    runs.note(jumped, &running);
    assert_eq!(word(&runs, 2, &running), Word::Running("running for 1h".into()));
}

#[test]
fn an_end_that_only_the_signals_told_is_a_run() {
    let mut runs = Runs::watched_since(now(0).mono);
    let forgotten = UnitState { load: LoadState::Loaded, ..UnitState::default() };
    assert!(!runs.note(now(1), &forgotten));
    let seen = UnitState { seen_ended_usec: usec(1), ..forgotten.clone() };
    assert!(runs.note(now(1), &seen));
    let stopped = UnitState {
        seen_ended_usec: usec(2),
        stopped_by: Some(Job { id: 1, kind: JobKind::Stop, ours: false }),
        ..forgotten
    };
    assert!(!runs.note(now(2), &stopped), "somebody ended it");
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
    assert!(runs.note(now(2), &exited));
    assert_eq!(word(&runs, 3, &exited), Word::Well("ran well 2h ago".into()));
}
