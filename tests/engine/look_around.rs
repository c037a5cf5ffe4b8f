//! Before a unit is restarted for a failing probe it is seen whether it is the machine (rule 14). Each of these was
//! a seed of the simulator, where the network goes after something else did.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{Percent, Probe, UsageLimit, UsageProbe, UsedBy};
use stealthcheck::notification::HostNotificationKind::Storm;

use super::storm::{jobs, many, name, outage, secs, unit};
use super::world::{Service, World};

#[test]
fn the_network_may_go_between_two_attempts() {
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
fn what_came_back_is_asked_again_before_the_next_is_restarted() {
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
    while (6..12).any(|n| world.health(&name(n)) == stealthcheck::verdict::Health::Down) {
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
fn where_nothing_is_left_that_is_well_the_last_to_fail_is_the_machines_too() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    one_dies_long_after(&mut world);
}

#[test]
fn what_a_unit_uses_says_nothing_about_the_network() {
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
fn one_that_hangs_while_the_others_only_come_up_is_not_taken_for_the_machine() {
    let mut world = many(12, |_| {});
    for n in 1..12 {
        world.end(&unit(n), false);
    }
    world.units.get_mut(&unit(0)).unwrap().service = Service::Hung;
    world.play(secs(60));
    assert_eq!((world.jobs(&unit(0)), world.host_kinds()), (1, vec![]), "{}", world.timeline());
}
