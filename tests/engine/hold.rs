//! Holds: a unit is left alone while somebody's command has it, and is up again afterwards, whatever happened.

mod restart;

use std::time::Duration;

use stealthcheck::check::CheckName;
use stealthcheck::engine::hold::{HoldId, HowEnded, MOST_HOLDS};
use stealthcheck::engine::{Command, Event};
use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered};
use stealthcheck::unit::{ActiveState, LoadState, ManagerState, UnitName};
use stealthcheck::verdict::Health;

use super::rules::check;
use super::world::{Service, World};

const HOUR: Duration = Duration::from_secs(3600);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// One check that passes, and its unit.
fn one() -> (World, CheckName, UnitName) {
    let check = check("web", "web.service");
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    assert_eq!(world.health(&name), Health::PASSING);
    (world, name, unit)
}

/// The same, held by somebody who has stopped it.
fn held_and_stopped() -> (World, CheckName, UnitName, HoldId) {
    let (mut world, name, unit) = one();
    let id = world.hold(&unit, HOUR).unwrap();
    world.operator(&unit, false);
    world.play(secs(100));
    assert_eq!(active(&world, &unit), ActiveState::Inactive);
    assert_eq!(world.health(&name).word(), "held");
    (world, name, unit, id)
}

fn active(world: &World, unit: &UnitName) -> ActiveState {
    world.units[unit].state.active
}

/// Nothing happened that anybody is told of, and nothing that counts as a recovery.
fn quietly_back(world: &World, name: &CheckName, unit: &UnitName) {
    assert_eq!(world.health(name), Health::PASSING, "{}", world.timeline());
    assert_eq!(active(world, unit), ActiveState::Active);
    assert_eq!((world.kinds(), world.jobs(unit)), (vec![], 0), "{}", world.timeline());
}

/// However the hold ends.
#[test]
fn unit_stopped_under_hold_is_started_at_its_end() {
    for how in [HowEnded::Done, HowEnded::Gone, HowEnded::Released] {
        let (mut world, name, unit, id) = held_and_stopped();
        world.play(secs(1200));
        assert_eq!(world.holds.starts, [], "longer than a stop is respected");
        world.end_hold(&id, how);
        assert_eq!(world.holds.starts, std::slice::from_ref(&unit), "in the same moment");
        assert_eq!(world.health(&name).word(), "held", "until it is up");
        world.play(secs(2));
        quietly_back(&world, &name, &unit);
        world.play(secs(600));
        quietly_back(&world, &name, &unit);
        assert_eq!(world.holds.starts.len(), 1);
    }
}

#[test]
fn hold_ends_when_its_time_is_over() {
    let (mut world, name, unit, id) = held_and_stopped();
    world.play(HOUR - secs(101));
    assert_eq!(world.holds.starts, []);
    world.play(secs(3));
    quietly_back(&world, &name, &unit);
    assert_eq!(world.holds.starts.len(), 1);
    assert!(!world.holds.open.contains_key(&id), "its lease is let go");
}

#[test]
fn failures_under_hold_do_not_count() {
    let (mut world, name, unit) = one();
    let id = world.hold(&unit, HOUR).unwrap();
    world.units.get_mut(&unit).unwrap().service = Service::Broken;
    let probes = world.probes;
    world.play(secs(300));
    assert!(world.probes > probes + 5, "it is probed all the same");
    assert_eq!(world.health(&name).word(), "held");
    world.units.get_mut(&unit).unwrap().service = Service::Healthy;
    world.end_hold(&id, HowEnded::Done);
    // (Two seconds for a reading that might show that it was stopped.)
    world.play(secs(3));
    quietly_back(&world, &name, &unit);
    assert_eq!(world.holds.starts, [], "it was never down");
    // Not even those that came right before the end.
    let id = world.hold(&unit, HOUR).unwrap();
    world.units.get_mut(&unit).unwrap().service = Service::Broken;
    world.play(secs(300));
    world.end_hold(&id, HowEnded::Done);
    world.play(secs(4));
    assert!(!matches!(world.health(&name), Health::DOWN), "{:?}", world.health(&name));
    world.play(secs(60));
    assert_eq!(world.kinds(), [Down], "and then they count");
}

#[test]
fn unit_that_dies_under_hold_is_started_after_it() {
    for failed in [false, true] {
        let (mut world, name, unit) = one();
        let id = world.hold(&unit, HOUR).unwrap();
        world.end(&unit, failed);
        world.play(secs(60));
        assert_eq!((world.jobs(&unit), world.holds.starts.len()), (0, 0));
        world.end_hold(&id, HowEnded::Done);
        world.play(secs(2));
        quietly_back(&world, &name, &unit);
    }
}

#[test]
fn unit_started_by_holder_is_not_started_again() {
    let (mut world, name, unit, id) = held_and_stopped();
    world.operator(&unit, true);
    world.play(secs(60));
    world.end_hold(&id, HowEnded::Done);
    world.play(secs(60));
    quietly_back(&world, &name, &unit);
    // Nor what is on its way.
    let id = world.hold(&unit, HOUR).unwrap();
    world.operator(&unit, false);
    world.play(secs(10));
    world.operator(&unit, true);
    world.end_hold(&id, HowEnded::Done);
    world.play(secs(60));
    quietly_back(&world, &name, &unit);
    assert_eq!(world.holds.starts, []);
}

#[test]
fn start_after_hold_waits_for_a_stop_under_way() {
    let (mut world, name, unit) = one();
    let id = world.hold(&unit, HOUR).unwrap();
    world.operator(&unit, false);
    world.end_hold(&id, HowEnded::Gone);
    assert_eq!(world.holds.starts, [], "there is a job on it");
    world.play(secs(3));
    assert_eq!(world.holds.starts.len(), 1);
    quietly_back(&world, &name, &unit);
}

#[test]
fn failed_start_after_hold_opens_an_incident() {
    let (mut world, name, unit, id) = held_and_stopped();
    world.units.get_mut(&unit).unwrap().service = Service::WontStart;
    world.end_hold(&id, HowEnded::Gone);
    world.play(secs(1));
    assert_eq!(world.health(&name), Health::DOWN);
    world.play(secs(120));
    assert_eq!(world.holds.starts.len(), 1);
    assert!(world.jobs(&unit) >= 3, "the ladder, by its backoff\n{}", world.timeline());
    assert_eq!(world.notifications[0].attempts[0].number, 1, "the start was no attempt");
    world.units.get_mut(&unit).unwrap().service = Service::Healthy;
    world.play(secs(300));
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![Down, Recovered]));
}

#[test]
fn stop_under_hold_is_not_respected_after_it() {
    // The start is withheld for so long that the unit counts as down.
    let (mut world, name, unit, id) = held_and_stopped();
    world.set_manager(ManagerState::Stopping);
    world.end_hold(&id, HowEnded::Gone);
    world.play(secs(119));
    assert_eq!(world.health(&name).word(), "held");
    world.play(secs(2));
    assert_eq!(world.health(&name), Health::DOWN);
    world.set_manager(ManagerState::Running);
    world.play(secs(15));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 1), "{}", world.timeline());
}

#[test]
fn endless_start_after_hold_requires_action() {
    let (mut world, name, _, id) = held_and_stopped();
    world.job_takes = HOUR;
    world.end_hold(&id, HowEnded::Gone);
    world.play(secs(290));
    assert_eq!(world.health(&name).word(), "held");
    world.play(secs(30));
    assert_eq!((world.health(&name), world.kinds().first()), (Health::DOWN, Some(&ActionRequired)));
    world.play(2 * HOUR);
    assert_eq!(world.health(&name), Health::PASSING);
}

#[test]
fn start_after_hold_waits_for_systemd() {
    let (mut world, name, unit, id) = held_and_stopped();
    world.set_manager(ManagerState::Unreachable);
    world.end_hold(&id, HowEnded::Gone);
    world.play(secs(900));
    assert_eq!((world.holds.starts.len(), world.kinds()), (0, vec![]));
    world.set_manager(ManagerState::Running);
    world.play(secs(2));
    quietly_back(&world, &name, &unit);
}

#[test]
fn unit_stopped_before_hold_stays_stopped() {
    let (mut world, name, unit) = one();
    world.operator(&unit, false);
    world.play(secs(10));
    let id = world.hold(&unit, HOUR).unwrap();
    world.play(secs(100));
    world.end_hold(&id, HowEnded::Done);
    assert_eq!(world.health(&name).word(), "stopped");
    assert_eq!(world.holds.starts, []);
    // For as long as ever: the hold takes nothing away from it and adds nothing.
    world.play(secs(170));
    assert_eq!(world.health(&name).word(), "stopped");
    world.play(secs(60));
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![Down, Recovered]));
}

#[test]
fn open_incident_is_suppressed_under_hold() {
    let (mut world, name, unit) = one();
    world.units.get_mut(&unit).unwrap().service = Service::WontStart;
    world.end(&unit, true);
    world.play(secs(60));
    let (jobs, kinds) = (world.jobs(&unit), world.kinds());
    assert!(jobs > 1 && kinds == [Down]);
    let id = world.hold(&unit, 8 * HOUR).unwrap();
    // Somebody repairs it, and tries it out: the incident is not closed by that, and nobody hears of it.
    world.units.get_mut(&unit).unwrap().service = Service::Healthy;
    world.operator(&unit, true);
    world.play(5 * HOUR);
    assert_eq!((world.health(&name).word(), world.jobs(&unit)), ("held", jobs));
    assert_eq!(world.kinds(), kinds, "no reminder, and no all-clear");
    world.operator(&unit, false);
    world.play(secs(60));
    world.end_hold(&id, HowEnded::Done);
    world.play(secs(15));
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![Down, Recovered]));
    assert_eq!((world.jobs(&unit), world.holds.starts.len()), (jobs, 1));
}

#[test]
fn hold_lets_the_running_attempt_end() {
    let (mut world, name, unit) = one();
    world.job_takes = secs(20);
    world.end(&unit, true);
    world.play(secs(5));
    assert_eq!(world.jobs(&unit), 1);
    let id = world.hold(&unit, HOUR).unwrap();
    world.play(secs(100));
    assert_eq!((world.health(&name).word(), world.jobs(&unit)), ("held", 1));
    // It is stopped before anybody knew what the attempt was worth.
    world.operator(&unit, false);
    world.play(secs(100));
    world.end_hold(&id, HowEnded::Done);
    world.play(secs(35));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 1), "{}", world.timeline());
    assert_eq!(world.kinds().last(), Some(&Recovered));
    // An attempt that is still under way when the hold ends comes first.
    world.play(secs(600));
    world.end(&unit, true);
    world.play(secs(1));
    let id = world.hold(&unit, HOUR).unwrap();
    world.end_hold(&id, HowEnded::Done);
    world.play(secs(60));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 2), "{}", world.timeline());
    assert_eq!(world.holds.starts.len(), 1, "none but the one above");
}

#[test]
fn second_hold_is_refused_and_names_the_holder() {
    let (mut world, _, unit) = one();
    let first = world.hold(&unit, HOUR).unwrap();
    assert_eq!(world.hold(&unit, HOUR), None);
    let says = "web.service is held already, by root (pid 7) (certbot renew), for 1h at most; \
                `stealthctl release web.service` ends that";
    assert_eq!(world.holds.refused, [says]);
    world.operator(&unit, false);
    world.play(secs(10));
    world.end_hold(&first, HowEnded::Done);
    assert_eq!(world.hold(&unit, HOUR), None);
    assert!(world.holds.refused[1].contains("is being started after the hold"), "{:?}", world.holds.refused);
    world.play(secs(10));
    assert!(world.hold(&unit, HOUR).is_some(), "it is free again");
}

#[test]
fn hold_suppresses_all_checks_of_its_unit_only() {
    let checks =
        vec![check("page", "web.service"), check("port", "web.service"), check("other", "other.service")];
    let web = UnitName::new("web.service").unwrap();
    let mut world = World::new(checks);
    world.play(secs(60));
    let id = world.hold(&web, HOUR).unwrap();
    assert_eq!(world.holds.granted[0].iter().map(CheckName::as_str).collect::<Vec<_>>(), ["page", "port"]);
    world.operator(&web, false);
    world.end(&UnitName::new("other.service").unwrap(), true);
    world.play(secs(100));
    let words = |world: &World| {
        let named = ["page", "port", "other"].map(|name| CheckName::new(name).unwrap());
        named.map(|name| world.health(&name).word())
    };
    assert_eq!(words(&world), ["held", "held", "passing"]);
    assert_eq!(world.kinds(), [Down, Recovered], "of the other");
    world.end_hold(&id, HowEnded::Done);
    world.play(secs(5));
    assert_eq!((words(&world), world.holds.starts.len()), (["passing"; 3], 1));
}

#[test]
fn paused_check_does_not_prevent_start_after_hold() {
    let (mut world, name, unit) = one();
    world.pause(&name, 2 * HOUR);
    let id = world.hold(&unit, HOUR).unwrap();
    world.operator(&unit, false);
    world.play(secs(60));
    assert_eq!(world.health(&name).word(), "paused");
    world.end_hold(&id, HowEnded::Gone);
    world.play(secs(2));
    assert_eq!(active(&world, &unit), ActiveState::Active, "that was promised to whoever had the hold");
    assert_eq!(world.health(&name).word(), "paused");
    // Its time runs out under a pause too, though nothing is probed.
    world.hold(&unit, secs(60)).unwrap();
    world.operator(&unit, false);
    world.play(secs(62));
    assert_eq!(active(&world, &unit), ActiveState::Active);
    // And a pause that ends leaves the hold.
    world.hold(&unit, 5 * HOUR).unwrap();
    world.play(3 * HOUR);
    assert_eq!((world.health(&name).word(), world.kinds()), ("held", vec![]));
    world.tell(Event::Command(Command::Resume(name.clone())));
    assert_eq!(world.health(&name).word(), "held");
}

#[test]
fn hold_ends_with_the_last_check_of_its_unit() {
    let (mut world, _, unit, id) = held_and_stopped();
    world.tell(Event::Configured(vec![check("other", "other.service")]));
    assert!(!world.holds.open.contains_key(&id), "its lease is let go");
    world.play(secs(60));
    assert_eq!(world.holds.starts, [], "nobody may start it");
    assert!(world.engine.hold_on(&unit).is_none());
    // With its checks changed, or others for it, it stays held.
    let (mut world, name, unit, id) = held_and_stopped();
    let mut changed = check("web", "web.service");
    changed.schedule.interval = secs(10);
    world.tell(Event::Configured(vec![changed, check("page", "web.service")]));
    assert_eq!(world.health(&name).word(), "held");
    assert_eq!(world.engine.held_unit(&id), Some(&unit));
}

#[test]
fn hold_of_missing_unit_is_refused() {
    let (mut world, _, unit) = one();
    let unguarded = UnitName::new("other.service").unwrap();
    assert_eq!(world.hold(&unguarded, HOUR), None);
    world.units.get_mut(&unit).unwrap().state.load = LoadState::Masked;
    world.units.get_mut(&unit).unwrap().state.active = ActiveState::Inactive;
    world.tell_unit(&unit);
    assert_eq!(world.hold(&unit, HOUR), None);
    world.set_manager(ManagerState::Unreachable);
    assert_eq!(world.hold(&unit, HOUR), None);
    let says =
        ["no check monitors other.service", "there is no web.service to hold: it is", "cannot be reached"];
    for (refused, says) in world.holds.refused.iter().zip(says) {
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn number_of_holds_is_limited() {
    let names = (0..=MOST_HOLDS).map(|n| check(&format!("c{n}"), &format!("u{n}.service")));
    let mut world = World::new(names.collect());
    world.play(secs(60));
    let units: Vec<UnitName> = world.units.keys().cloned().collect();
    let (last, others) = units.split_last().unwrap();
    let ids: Vec<HoldId> = others.iter().map(|unit| world.hold(unit, HOUR).unwrap()).collect();
    assert_eq!(world.hold(last, HOUR), None);
    assert!(world.holds.refused[0].contains("32 holds already"), "{:?}", world.holds.refused);
    world.end_hold(&ids[0], HowEnded::Done);
    assert!(world.hold(last, HOUR).is_some());
}
