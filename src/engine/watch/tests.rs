//! Readings of a unit, and what they mean.

use super::*;
use crate::unit::Job;

fn loaded(active: ActiveState, sub: &str) -> UnitState {
    UnitState {
        load: LoadState::Loaded,
        active,
        sub: sub.into(),
        result: "success".into(),
        active_enter_usec: 1,
        inactive_enter_usec: 2,
        ..UnitState::default()
    }
}

fn read(watch: &mut UnitWatch, seconds: u64, state: UnitState) -> Condition {
    let now = Now {
        mono: Mono(Duration::from_secs(seconds)),
        wall: Wall(i64::try_from(seconds).unwrap() * 1000 + 1_000_000),
    };
    watch.read(now, state, false);
    watch.condition.clone()
}

#[test]
fn a_stop_job_tells_a_stop_from_an_end() {
    let mut watch = UnitWatch::new();
    assert_eq!(read(&mut watch, 1, loaded(ActiveState::Active, "running")), Condition::Up);
    let ended = read(&mut watch, 2, loaded(ActiveState::Inactive, "dead"));
    assert!(matches!(ended, Condition::Ended(_)), "{ended:?}");

    read(&mut watch, 3, loaded(ActiveState::Active, "running"));
    let stopped_by = Some(Job { id: 7, kind: JobKind::Stop, ours: false });
    let stopped = UnitState { stopped_by, ..loaded(ActiveState::Inactive, "dead") };
    assert_eq!(read(&mut watch, 4, stopped), Condition::Stopped);
    let failed =
        UnitState { stopped_by, result: "exit-code".into(), ..loaded(ActiveState::Failed, "failed") };
    assert_eq!(read(&mut watch, 5, failed), Condition::Stopped, "exit status 143 after systemctl stop");
    assert_eq!(
        watch.stopped.map(|(since, _)| since.0.as_secs()),
        Some(4),
        "the stop counts from its beginning"
    );
}

#[test]
fn a_unit_found_down_is_taken_for_stopped_and_stays_so_until_it_moves() {
    let mut watch = UnitWatch::new();
    assert_eq!(read(&mut watch, 1, loaded(ActiveState::Inactive, "dead")), Condition::Stopped);
    assert_eq!(read(&mut watch, 60, loaded(ActiveState::Inactive, "dead")), Condition::Stopped);
    read(&mut watch, 70, loaded(ActiveState::Active, "running"));
    let again = UnitState { inactive_enter_usec: 99, ..loaded(ActiveState::Inactive, "dead") };
    assert!(matches!(read(&mut watch, 80, again), Condition::Ended(_)));

    let mut never = UnitWatch::new();
    let never_started =
        |ended: &Condition| matches!(ended, Condition::Ended(why) if why.contains("not been started"));
    let fresh =
        UnitState { active_enter_usec: 0, inactive_enter_usec: 0, ..loaded(ActiveState::Inactive, "dead") };
    let ended = read(&mut never, 1, fresh.clone());
    assert!(never_started(&ended), "{ended:?}");
    read(&mut never, 2, loaded(ActiveState::Active, "running"));
    let ended = read(&mut never, 3, fresh);
    assert!(matches!(ended, Condition::Ended(_)) && !never_started(&ended), "systemd forgot it: {ended:?}");
}

#[test]
fn restarts_by_systemd_are_a_crash_loop_when_they_are_many() {
    let mut watch = UnitWatch::new();
    for n in 0..=4_u32 {
        let state = UnitState { n_restarts: n, ..loaded(ActiveState::Active, "running") };
        read(&mut watch, u64::from(n) * 10, state);
    }
    assert_eq!(watch.crash_loop(Mono(Duration::from_secs(41))), None, "four are not five");
    read(&mut watch, 50, UnitState { n_restarts: 5, ..loaded(ActiveState::Activating, "auto-restart") });
    assert_eq!(watch.crash_loop(Mono(Duration::from_secs(51))), Some((5, Duration::from_secs(40))));
    assert_eq!(watch.crash_loop(Mono(Duration::from_secs(50)).after(CRASH_QUIET)), None, "quiet again");
}
