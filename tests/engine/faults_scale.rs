//! Exact times, and many units.

use std::time::{Duration, Instant};

use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{ActiveState, LoadState, UnitState};
use stealthcheck::verdict::Observation;

use crate::machine::*;

/// A restart of the daemon makes no attempt come early, not by a part of a millisecond.
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

/// The first look at ten times as many inactive units takes about ten times as long.
#[test]
fn first_readings_of_many_units_take_linear_time() {
    first_readings(100);
    let few = (0..3).map(|_| first_readings(400)).min().expect("three");
    let many = (0..2).map(|_| first_readings(4000)).min().expect("two");
    assert!(many < few * 40, "{few:?} for 400 units, {many:?} for 4000");
}

/// The time that the engine takes for a quiet observation: an HTTP check that passes as it did before.
fn quiet_observation(checks: usize, rounds: u32) -> Duration {
    let names: Vec<String> = (0..checks).map(|n| format!("unit{n}")).collect();
    let settings = names.iter().map(|name| http(name).interval(30).finish()).collect();
    let mut now = Now { mono: Mono(Duration::from_secs(1_000_000)), wall: Wall(1_795_000_000_000) };
    let (mut driver, first) = Driver::new(now, settings);
    let mut out: Vec<Output> = first.into_iter().filter_map(|effect| driver.output(effect)).collect();
    let up = UnitState {
        load: LoadState::Loaded,
        active: ActiveState::Active,
        sub: "running".to_owned(),
        invocation_id: "1".repeat(32),
        active_enter_usec: 1_000_000,
        ..UnitState::default()
    };
    for name in &names {
        driver.handle(now, Input::Unit { unit: unit_name(name), state: Box::new(up.clone()) });
    }
    let (mut spent, mut observed) = (Duration::ZERO, 0);
    for round in 0..=rounds {
        let began = Instant::now();
        let mut of_round = 0;
        while of_round < checks {
            if out.is_empty() {
                now = now_after(now, driver.next_wakeup().expect("a probe is due"));
                out = driver.handle(now, Input::Tick);
            }
            for output in std::mem::take(&mut out) {
                if let Output::Probe { check, run, .. } = output {
                    let observation = Observation::Passing {
                        detail: "200 OK".to_owned(),
                        latency: Duration::from_millis(2),
                    };
                    of_round += 1;
                    out.extend(driver.handle(now, Input::Observed { check, run, observation }));
                }
            }
        }
        // The first round is that of checks that nobody knows yet.
        if round > 0 {
            spent += began.elapsed();
            observed += u32::try_from(of_round).expect("few");
        }
    }
    spent / observed
}

fn now_after(now: Now, at: Mono) -> Now {
    let later = at.since(now.mono);
    Now { mono: now.mono.after(later), wall: now.wall.after(later) }
}

/// A benchmark, which has no verdict.
#[test]
#[ignore = "a benchmark: cargo test --test engine -- --ignored --nocapture engine_time"]
fn engine_time() {
    for checks in [100, 1000] {
        let best = (0..5).map(|_| quiet_observation(checks, 20)).min().expect("five");
        println!("{checks} checks: {:?} for 1,000 quiet observations", best * 1000);
    }
    println!("10,000 units: {:?} for their first readings", first_readings(10_000));
}
