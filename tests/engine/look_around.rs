//! Before a unit is restarted for a failing probe it is seen whether it is the machine (rule 14). Each of these was
//! a seed of the simulator, where the network goes after something else did.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{Percent, Probe, UsageLimit, UsageProbe, UsedBy};
use stealthcheck::notification::HostNotificationKind::Storm;

use super::storm::{jobs, many, name, outage, secs, unit};
use super::world::{Service, World};

#[test]
fn network_lost_between_attempts_is_no_units_failure() {
    // The others are probed so seldom that they do not tell it before the next attempt.
    let mut world = many(12, |check| {
        if check.name != name(0) {
            check.schedule.interval = secs(900);
        }
    });
    world.play(secs(1800));
    outage(&mut world, [0]);
    world.play(secs(3600));
    let before = jobs(&world);
    assert_eq!(before, world.jobs(&unit(0)), "it alone is ill");
    outage(&mut world, 0..12);
    world.play(secs(1800));
    assert_eq!(jobs(&world), world.jobs(&unit(0)), "{}", world.timeline());
    assert!(jobs(&world) <= before + 1, "{}", world.timeline());
    assert_eq!(world.host_kinds().first(), Some(&Storm));
}

#[test]
fn recovered_checks_are_probed_before_the_next_restart() {
    let mut world = many(12, |check| check.schedule.interval = secs(300));
    world.play(secs(600));
    outage(&mut world, 0..12);
    while world.engine.storm(world.now).is_none() {
        world.play(secs(1));
    }
    let before = jobs(&world);
    world.play(secs(60));
    // Some answer for a moment, long enough to count as well again; by the time they are due, nothing does.
    for n in 6..12 {
        world.seen_instead.remove(&name(n));
    }
    while (6..12).any(|n| world.health(&name(n)) == stealthcheck::verdict::Health::DOWN) {
        world.play(Duration::from_millis(100));
    }
    outage(&mut world, 6..12);
    world.play(secs(120));
    assert_eq!(jobs(&world), before, "{}", world.timeline());
}

/// An hour into an outage a unit dies by itself: its restart for that is right. That it does not answer then is no news.
fn one_dies_long_after(world: &mut World) {
    world.play(secs(3600));
    world.end(&unit(3), true);
    world.play(secs(600));
    assert_eq!((world.jobs(&unit(3)), jobs(world)), (1, 1), "{}", world.timeline());
}

#[test]
fn last_check_to_fail_belongs_to_the_storm() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    one_dies_long_after(&mut world);
}

#[test]
fn usage_checks_are_no_part_of_a_survey() {
    let mut world = many(16, |check| {
        if check.name.as_str().len() == 3 {
            // c10 to c15.
            let limit = UsageLimit::OneCpu(Percent(9000));
            check.probe = Probe::Usage(Arc::new(UsageProbe { of: UsedBy::Unit, limit, over: secs(600) }));
            check.schedule.interval = secs(30);
        }
    });
    world.play(secs(60));
    outage(&mut world, 0..10);
    one_dies_long_after(&mut world);
}

#[test]
fn hung_unit_beside_starting_ones_is_no_storm() {
    let mut world = many(12, |_| {});
    for n in 1..12 {
        world.end(&unit(n), false);
    }
    world.units.get_mut(&unit(0)).unwrap().service = Service::Hung;
    world.play(secs(60));
    assert_eq!((world.jobs(&unit(0)), world.host_kinds()), (1, vec![]), "{}", world.timeline());
}
