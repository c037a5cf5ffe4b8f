//! The wall clock is set, and the daemon is restarted after that: what it remembers goes by how long things last, not by
//! what the clock said when they began.

use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::notice::NoticeKind;
use stealthcheck::time::Wall;
use stealthcheck::unit::UnitName;
use stealthcheck::verdict::Health;

use super::rules::check;
use super::world::{Service, World};

/// A year forward and a day back, in milliseconds.
const JUMPS: [i64; 2] = [365 * 86_400_000, -86_400_000];

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn one(adapt: impl Fn(&mut Check)) -> (World, CheckName, UnitName) {
    let mut check = check("web", "web.service");
    adapt(&mut check);
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    (world, name, unit)
}

fn set_the_clock_and_restart(world: &mut World, by: i64) {
    world.now.wall = Wall(world.now.wall.0 + by);
    world.play(secs(10));
    world.restart_daemon(secs(1));
}

#[test]
fn a_pause_lasts_as_long_as_it_was_meant_to() {
    for by in JUMPS {
        let (mut world, name, _) = one(|_| {});
        world.pause(&name, secs(3600));
        set_the_clock_and_restart(&mut world, by);
        world.play(secs(3500));
        assert!(matches!(world.health(&name), Health::Paused { .. }), "{by}\n{}", world.timeline());
        world.play(secs(150));
        assert_eq!(world.health(&name), Health::Passing, "{by}\n{}", world.timeline());
    }
}

#[test]
fn a_hold_lasts_as_long_as_it_was_meant_to() {
    for by in JUMPS {
        let (mut world, name, unit) = one(|_| {});
        world.hold(&unit, secs(3600)).unwrap();
        set_the_clock_and_restart(&mut world, by);
        world.play(secs(3500));
        assert!(matches!(world.health(&name), Health::Held { .. }), "{by}\n{}", world.timeline());
        world.play(secs(150));
        assert!(!world.is_held(&unit), "{by}\n{}", world.timeline());
    }
}

#[test]
fn nobody_is_told_earlier_or_later_for_it() {
    for by in JUMPS {
        let (mut world, _, unit) = one(|check| check.alert.after = secs(600));
        world.units.get_mut(&unit).unwrap().service = Service::Broken;
        world.play(secs(60));
        set_the_clock_and_restart(&mut world, by);
        world.play(secs(400));
        assert!(world.kinds().is_empty(), "{by}\n{}", world.timeline());
        world.play(secs(200));
        assert_eq!(world.kinds().first(), Some(&NoticeKind::Down), "{by}\n{}", world.timeline());
    }
}
