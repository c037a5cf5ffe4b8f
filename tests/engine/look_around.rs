//! Before a unit is restarted for a failing probe it is seen whether it is the machine (rule 14). Each of these was
//! a seed of the simulator, where the network goes after something else did.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{Percent, Probe, UsageLimit, UsageProbe, UsedBy};
use stealthcheck::notification::HostNotificationKind::Storm;

use super::storm::{answer_again, jobs, many, name, outage};
use crate::machine::*;

#[test]
fn network_lost_between_attempts_is_no_units_failure() {
    // The others are probed so seldom that they do not tell it before the next attempt.
    let mut m = many(12, |n, check| if n == 0 { check } else { check.interval(900) });
    m.run_for(1800);
    outage(&mut m, [0]);
    m.run_for(3600);
    let before = jobs(&m);
    assert_eq!(before, m.jobs("c0"), "it alone is ill");
    outage(&mut m, 0..12);
    m.run_for(1800);
    assert_eq!(jobs(&m), m.jobs("c0"));
    assert!(jobs(&m) <= before + 1, "{} jobs, {before} before", jobs(&m));
    assert_eq!(m.host_notifications().first(), Some(&Storm));
}

#[test]
fn recovered_checks_are_probed_before_the_next_restart() {
    let mut m = many(12, |_, check| check.interval(300));
    m.run_for(600);
    outage(&mut m, 0..12);
    assert!(m.run_until_it_holds(600, |m| m.storm().is_some()));
    let before = jobs(&m);
    m.run_for(60);
    // Some answer for a moment, long enough to count as well again; by the time they are due, nothing does.
    answer_again(&mut m, 6..12);
    assert!(m.run_until_it_holds(600, |m| (6..12).all(|n| m.state(&name(n)) == "passing")));
    outage(&mut m, 6..12);
    m.run_for(120);
    assert_eq!(jobs(&m), before);
}

/// An hour into an outage a unit dies by itself: its restart for that is right. That it does not answer then is no news.
fn one_dies_long_after(m: &mut Machine) {
    m.run_for(3600);
    m.kill("c3");
    m.run_for(600);
    assert_eq!((m.jobs("c3"), jobs(m)), (1, 1));
}

#[test]
fn last_check_to_fail_belongs_to_the_storm() {
    let mut m = many(12, |_, check| check);
    outage(&mut m, 0..12);
    one_dies_long_after(&mut m);
}

#[test]
fn usage_checks_are_no_part_of_a_survey() {
    let limit = UsageLimit::OneCpu(Percent(9000));
    let probe = UsageProbe { of: UsedBy::Unit, limit, over: Duration::from_secs(600) };
    let probe = Probe::Usage(Arc::new(probe));
    let mut m = many(16, |n, check| match n {
        0..10 => check,
        _ => check.with(|check| check.probe = probe.clone()),
    });
    m.run_for(60);
    outage(&mut m, 0..10);
    one_dies_long_after(&mut m);
}

#[test]
fn hung_unit_beside_starting_ones_is_no_storm() {
    let mut m = many(12, |_, check| check);
    for n in 1..12 {
        m.exit(&name(n), Exit::Status(0));
    }
    m.hang("c0");
    m.run_for(60);
    assert_eq!((m.jobs("c0"), m.host_notifications()), (1, vec![]));
}
