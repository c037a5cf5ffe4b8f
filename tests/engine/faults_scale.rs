//! Exact times, and many units.

use std::time::{Duration, Instant};

use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{LoadState, UnitState};

use crate::machine::*;

/// E20: a restart of the daemon makes no attempt come early, not by a part of a millisecond.
#[test]
fn next_attempt_keeps_its_distance_across_daemon_restart() {
    for nanos in [741_341, 999_999, 1] {
        let mut m =
            Machine::new().unit(service("web").fails_to_start().not_enabled()).check(http("web")).up();
        m.start("web");
        m.run_for_nanos(nanos);
        assert!(m.run_until_it_holds(400, |m| m.record.jobs.len() == 1));
        for _ in 0..5 {
            let n = m.record.jobs.len();
            m.run_for_nanos(1_000_000 + nanos);
            m.restart_daemon();
            assert!(m.run_until_it_holds(400, |m| m.record.jobs.len() > n));
        }
        let delays = [10, 20, 40, 80, 160].map(Duration::from_secs);
        for (two, least) in m.record.jobs.windows(2).zip(delays) {
            let apart = two[1].at - two[0].at;
            assert!(apart >= least, "{apart:?} apart, expected {least:?} at least");
        }
    }
}

/// The time that an engine takes for the first readings of so many units, of which none was ever started.
fn first_readings(n: usize) -> Duration {
    let names: Vec<String> = (0..n).map(|n| format!("unit{n}")).collect();
    let checks = names.iter().map(|name| unit_check(name).finish()).collect();
    let now = Now { mono: Mono(Duration::from_secs(1_000_000)), wall: Wall(1_795_000_000_000) };
    let (mut driver, _) = Driver::new(now, checks);
    let state = UnitState { load: LoadState::Loaded, ..UnitState::default() };
    let began = Instant::now();
    for name in &names {
        driver.handle(now, Input::Unit { unit: unit_name(name), state: Box::new(state.clone()) });
    }
    began.elapsed()
}

/// E21: the first look at ten times as many inactive units takes about ten times as long.
#[test]
fn first_readings_of_many_units_take_linear_time() {
    first_readings(100);
    let few = (0..3).map(|_| first_readings(400)).min().expect("three");
    let many = (0..2).map(|_| first_readings(4000)).min().expect("two");
    assert!(many < few * 40, "{few:?} for 400 units, {many:?} for 4000");
}
