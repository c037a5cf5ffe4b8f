//! Checks that cannot be measured: nothing is restarted, and somebody hears of it when it lasts (rule 15).

use std::time::Duration;

use stealthcheck::check::{Check, CheckName, Probe};
use stealthcheck::engine::Event;
use stealthcheck::notification::NotificationKind;
use stealthcheck::unit::{ManagerState, UnitName};
use stealthcheck::verdict::{Health, Observation};

use super::rules::check;
use super::world::{Service, World};
use NotificationKind::{Down, KnownAgain, Recovered, StillUnknown, Unknown};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn unknown() -> Observation {
    Observation::Unknown { reason: "the resolver gave no answer within 5s".into() }
}

fn one() -> (World, CheckName, UnitName) {
    let mut check = check("web", "web.service");
    check.alert.repeat_interval = Some(secs(4 * 3600));
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    (world, name, unit)
}

/// A check whose state is unknown for `unknown_after` has a thread of notifications of its own, and no job.
#[test]
fn lasting_unknown_sends_own_thread_without_recovery() {
    let (mut world, name, unit) = one();
    world.seen_instead.insert(name.clone(), unknown());
    let last = |world: &World| {
        world.engine.status(world.now, std::slice::from_ref(&name), false).remove(0).last.unwrap().observation
    };
    while last(&world) != unknown() {
        world.play(Duration::from_millis(100));
    }
    assert_eq!(world.health(&name), Health::PASSING, "once is nothing");
    world.play(secs(11));
    assert_eq!(world.health(&name), Health::UNKNOWN, "but thrice is: {}", world.timeline());
    world.play(secs(500));
    assert_eq!(world.kinds(), []);
    world.play(secs(100));
    assert_eq!(world.kinds(), [Unknown]);
    let told = &world.notifications[0];
    assert_eq!(told.cause, "the resolver gave no answer within 5s");
    assert!(told.id.incident.0.ends_with("-unmeasured"), "{}", told.id);
    world.play(secs(9 * 3600));
    assert_eq!(world.kinds(), [Unknown, StillUnknown, StillUnknown]);
    world.seen_instead.clear();
    world.play(secs(10));
    assert_eq!(world.kinds(), [Unknown, StillUnknown, StillUnknown, KnownAgain]);
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 0));
}

#[test]
fn known_again_in_time_sends_nothing_and_resets_the_time() {
    let (mut world, name, _) = one();
    for _ in 0..3 {
        world.seen_instead.insert(name.clone(), unknown());
        world.play(secs(500));
        world.seen_instead.clear();
        world.play(secs(60));
        assert_eq!(world.health(&name), Health::PASSING);
    }
    assert_eq!(world.kinds(), []);
}

#[test]
fn unknown_needs_at_least_three_runs() {
    let mut check = check("web", "web.service");
    check.alert.unknown_after = Duration::ZERO;
    check.schedule.failure_threshold = 1;
    let name = check.name.clone();
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    world.seen_instead.insert(name.clone(), unknown());
    for _ in 0..400 {
        world.play(Duration::from_millis(100));
        if world.health(&name) == Health::UNKNOWN {
            break;
        }
    }
    assert_eq!(
        (world.health(&name), world.kinds()),
        (Health::UNKNOWN, vec![]),
        "one run, as failure_threshold says"
    );
    world.play(secs(11));
    assert_eq!(world.kinds(), [Unknown]);
}

#[test]
fn incident_stays_open_while_check_is_unknown() {
    let (mut world, name, unit) = one();
    world.units.get_mut(&unit).unwrap().service = Service::Broken;
    world.play(secs(90));
    assert_eq!((world.health(&name), world.kinds()), (Health::DOWN, vec![Down]));
    let jobs = world.jobs(&unit);
    world.seen_instead.insert(name.clone(), unknown());
    world.play(secs(500));
    assert_eq!(world.health(&name), Health::DOWN);
    assert!(world.jobs(&unit) <= jobs + 1, "what is not measured asks for nothing new: {}", world.timeline());
    world.seen_instead.clear();
    world.units.get_mut(&unit).unwrap().service = Service::Healthy;
    world.play(secs(20));
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![Down, Recovered]));
}

#[test]
fn failure_after_unknown_is_known_again() {
    let (mut world, name, unit) = one();
    world.seen_instead.insert(name.clone(), unknown());
    world.play(secs(700));
    world.seen_instead.clear();
    world.units.get_mut(&unit).unwrap().service = Service::WontStart;
    world.end(&unit, true);
    world.play(secs(30));
    assert_eq!(world.kinds()[..2], [Unknown, Down], "{}", world.timeline());
    assert!(world.kinds().contains(&KnownAgain));
    assert_eq!(world.health(&name), Health::DOWN);
}

#[test]
fn unknown_survives_daemon_restart() {
    let (mut world, name, _) = one();
    world.seen_instead.insert(name.clone(), unknown());
    world.play(secs(500));
    world.restart_daemon(secs(1));
    assert_eq!(world.health(&name), Health::UNKNOWN);
    world.play(secs(120));
    assert_eq!(world.kinds(), [Unknown], "ten minutes in all, not from the restart on");
    world.restart_daemon(secs(60));
    world.seen_instead.clear();
    world.play(secs(60));
    assert_eq!(world.kinds(), [Unknown, KnownAgain]);
    assert_eq!(world.notifications[0].id.incident, world.notifications[1].id.incident);
}

#[test]
fn unknown_is_silent_with_alert_off_or_paused() {
    let (mut world, name, _) = one();
    world.seen_instead.insert(name.clone(), unknown());
    world.play(secs(300));
    world.pause(&name, secs(3600));
    world.play(secs(3500));
    assert_eq!(world.kinds(), []);
    world.play(secs(500));
    assert_eq!(world.kinds(), [], "what was before the pause says nothing of how long it is so");
    let mut checks = world.checks.clone();
    checks[0].alert.off = true;
    world.tell(Event::Configured(checks));
    world.play(secs(3600));
    assert_eq!(world.kinds(), []);
}

#[test]
fn unit_check_is_not_passing_while_systemd_is_unreachable() {
    let unit_check = Check { probe: Probe::Unit, ..check("web", "web.service") };
    let name = unit_check.name.clone();
    let mut world = World::new(vec![unit_check]);
    world.play(secs(60));
    assert_eq!(world.health(&name), Health::PASSING);
    world.set_manager(ManagerState::Unreachable);
    world.play(secs(60));
    assert_eq!(world.health(&name), Health::UNKNOWN);
    world.set_manager(ManagerState::Running);
    world.play(secs(10));
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![]));
}
