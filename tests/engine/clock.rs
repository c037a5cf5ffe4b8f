//! The wall clock set back a day and forward a year in the middle of things, and a machine that slept: what is scheduled
//! goes by the monotonic clock, which counts sleep; what is said goes by the wall clock as it is when it is said. And what a
//! restarted daemon remembers goes by how long things last, not by what the clock said when they began.

use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered, StillDown};
use stealthcheck::status::CheckStatus;
use stealthcheck::time::Wall;
use stealthcheck::unit::UnitName;
use stealthcheck::verdict::{Health, SuppressedBy};

use super::rules::check;
use super::world::{Service, World};

const DAY: i64 = 86_400_000;
/// In milliseconds.
const JUMPS: [i64; 2] = [-DAY, 365 * DAY];
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A check of a service, with reminders, that is well.
fn well() -> (World, UnitName) {
    let mut check = check("web", "web.service");
    check.alert.repeat_interval = Some(secs(4 * HOUR));
    let unit = check.unit.clone().unwrap();
    let mut world = World::new(vec![check]);
    world.play(secs(MINUTE));
    (world, unit)
}

fn status(world: &World) -> CheckStatus {
    world.engine.status(world.now, &[], false).remove(0)
}

fn paused(world: &World) -> bool {
    matches!(&status(world).health.suppressed_by, Some(SuppressedBy::Paused { .. }))
}

/// Plays a story with each jump of the clock, with the daemon living on and with one that is started anew after it.
fn each(story: impl Fn(&mut dyn FnMut(&mut World))) {
    for jump in JUMPS {
        for restart in [false, true] {
            story(&mut |world: &mut World| {
                world.now.wall = Wall(world.now.wall.0 + jump);
                if restart {
                    world.restart_daemon(secs(1));
                }
            });
        }
    }
}

#[test]
fn pause_keeps_its_length_over_wall_clock_change() {
    each(|jump| {
        let (mut world, _) = well();
        let name = world.checks[0].name.clone();
        world.pause(&name, secs(HOUR));
        world.play(secs(10 * MINUTE));
        jump(&mut world);
        world.play(secs(48 * MINUTE));
        assert!(paused(&world), "{}", world.timeline());
        world.play(secs(3 * MINUTE));
        assert!(!paused(&world), "{}", world.timeline());
    });
}

#[test]
fn reminder_keeps_its_time_over_wall_clock_change() {
    each(|jump| {
        let (mut world, unit) = well();
        world.units.get_mut(&unit).unwrap().service = Service::WontStart;
        world.end(&unit, true);
        world.play(secs(2 * HOUR));
        assert_eq!(world.kinds(), [Down, ActionRequired], "{}", world.timeline());
        let told = world.now.wall.since(world.notifications[1].at);
        jump(&mut world);
        world.play(secs(4 * HOUR - MINUTE) - told);
        assert_eq!(world.kinds().len(), 2, "too early\n{}", world.timeline());
        world.play(secs(2 * MINUTE));
        assert_eq!(world.kinds(), [Down, ActionRequired, StillDown], "{}", world.timeline());
    });
}

#[test]
fn backoff_keeps_its_length_over_wall_clock_change() {
    each(|jump| {
        let (mut world, unit) = well();
        world.units.get_mut(&unit).unwrap().service = Service::WontStart;
        world.end(&unit, true);
        world.play(secs(30 * MINUTE));
        jump(&mut world);
        world.play(secs(30 * MINUTE));
        let asked = &world.units[&unit].asked;
        let gaps: Vec<u64> = asked.windows(2).map(|two| two[1].since(two[0]).as_secs()).collect();
        // 10 s doubling to 5 min, and from then on every 5 min, through the jump.
        assert!(gaps.len() > 10, "{gaps:?}");
        assert!(gaps[6..].iter().all(|gap| (300..=310).contains(gap)), "{gaps:?}\n{}", world.timeline());
    });
}

#[test]
fn notification_has_true_duration_and_current_date() {
    each(|jump| {
        let (mut world, unit) = well();
        world.units.get_mut(&unit).unwrap().service = Service::WontStart;
        world.end(&unit, true);
        world.play(secs(20 * MINUTE));
        let id = status(&world).incident.unwrap().id;
        jump(&mut world);
        world.play(secs(20 * MINUTE));
        let incident = status(&world).incident.unwrap();
        assert_eq!(incident.id, id, "the same incident\n{}", world.timeline());
        let lasted = world.now.wall.since(incident.since).as_secs();
        assert!((39 * MINUTE..42 * MINUTE).contains(&lasted), "down for {lasted} s\n{}", world.timeline());
        world.units.get_mut(&unit).unwrap().service = Service::Healthy;
        world.play(secs(10 * MINUTE));
        assert_eq!(world.kinds(), [Down, ActionRequired, Recovered], "{}", world.timeline());
        let last = world.notifications.last().unwrap();
        assert!(
            world.now.wall.since(last.at) < secs(10 * MINUTE),
            "{:?}, and it is {:?}",
            last.at,
            world.now.wall
        );
        let lasted = last.at.since(last.since).as_secs();
        assert!((40 * MINUTE..52 * MINUTE).contains(&lasted), "down for {lasted} s\n{}", world.timeline());
    });
}

#[test]
fn suspend_ends_the_pause_and_causes_one_probe() {
    let (mut world, unit) = well();
    let name = world.checks[0].name.clone();
    world.pause(&name, secs(HOUR));
    world.play(secs(MINUTE));
    let before = world.probes;
    // Both clocks go on while it sleeps.
    world.now.mono = world.now.mono.after(secs(8 * HOUR));
    world.now.wall = world.now.wall.after(secs(8 * HOUR));
    world.play(secs(1));
    assert!(!paused(&world), "{}", world.timeline());
    world.play(secs(2 * MINUTE));
    assert_eq!(world.health(&name), Health::PASSING);
    assert!((1..=6).contains(&(world.probes - before)), "{} probes, bunched", world.probes - before);
    assert_eq!((world.kinds(), world.jobs(&unit)), (vec![], 0), "{}", world.timeline());
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
fn pause_survives_clock_change_and_daemon_restart() {
    for by in JUMPS {
        let (mut world, name, _) = one(|_| {});
        world.pause(&name, secs(3600));
        set_the_clock_and_restart(&mut world, by);
        world.play(secs(3500));
        assert!(
            matches!(&world.health(&name).suppressed_by, Some(SuppressedBy::Paused { .. })),
            "{by}\n{}",
            world.timeline()
        );
        world.play(secs(150));
        assert_eq!(world.health(&name), Health::PASSING, "{by}\n{}", world.timeline());
    }
}

#[test]
fn hold_survives_clock_change_and_daemon_restart() {
    for by in JUMPS {
        let (mut world, name, unit) = one(|_| {});
        world.hold(&unit, secs(3600)).unwrap();
        set_the_clock_and_restart(&mut world, by);
        world.play(secs(3500));
        assert!(
            matches!(&world.health(&name).suppressed_by, Some(SuppressedBy::Held { .. })),
            "{by}\n{}",
            world.timeline()
        );
        world.play(secs(150));
        assert!(!world.is_held(&unit), "{by}\n{}", world.timeline());
    }
}

#[test]
fn alert_after_survives_clock_change_and_daemon_restart() {
    for by in JUMPS {
        let (mut world, _, unit) = one(|check| check.alert.after = secs(600));
        world.units.get_mut(&unit).unwrap().service = Service::Broken;
        world.play(secs(60));
        set_the_clock_and_restart(&mut world, by);
        world.play(secs(400));
        assert!(world.kinds().is_empty(), "{by}\n{}", world.timeline());
        world.play(secs(200));
        assert_eq!(world.kinds().first(), Some(&ActionRequired), "{by}\n{}", world.timeline());
    }
}
