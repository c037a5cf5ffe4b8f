//! Failures that no job on the check's own unit would change: a certificate that is about to expire and has not been
//! renewed. They are told as any other, and restart nothing.

use std::time::Duration;

use stealthcheck::check::{CheckName, Rung};
use stealthcheck::notice::NoticeKind::{Down, Recovered, StillDown};
use stealthcheck::unit::UnitName;
use stealthcheck::verdict::{Health, Observation};

use super::rules::check;
use super::world::World;

const MINUTE: Duration = Duration::from_mins(1);

fn incurable() -> Option<Observation> {
    Some(Observation::Incurable { reason: "valid for no more than 5 days".to_owned() })
}

fn curable() -> Option<Observation> {
    Some(Observation::Failing { reason: "renewed, but not served".to_owned() })
}

/// A check that passes, with this ladder.
fn one(ladder: &[Rung]) -> (World, CheckName, UnitName) {
    let mut check = check("certificate", "web.service");
    check.recovery.ladder = ladder.to_vec();
    check.alert.remind = Some(60 * MINUTE);
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.play(2 * MINUTE);
    assert_eq!(world.health(&name), Health::Passing);
    (world, name, unit)
}

/// The jobs that were asked for, in order.
fn asked(world: &World) -> Vec<&str> {
    let jobs = world.log.iter().filter_map(|line| line.split_once("StartJob("));
    jobs.filter_map(|(_, job)| Some(job.split_once("step: ")?.1.split_once(',')?.0)).collect()
}

#[test]
fn what_no_restart_would_change_is_told_and_restarts_nothing() {
    let (mut world, name, unit) = one(&[Rung::Restart]);
    world.seen = incurable();
    world.play(150 * MINUTE);
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::Down, 0), "{}", world.timeline());
    assert_eq!(world.kinds(), [Down, StillDown, StillDown]);
    let notice = &world.notices[0];
    assert_eq!(notice.cause, "valid for no more than 5 days");
    assert_eq!(notice.next, "No recovery: no job on the unit would change what the probe saw.");
    world.seen = None;
    world.play(MINUTE);
    assert_eq!((world.health(&name), world.kinds().last()), (Health::Passing, Some(&Recovered)));
}

#[test]
fn when_a_restart_would_help_it_is_asked_for_at_once() {
    let (mut world, name, unit) = one(&[Rung::Restart]);
    world.seen = incurable();
    world.play(30 * MINUTE);
    world.seen = curable();
    world.play(Duration::from_secs(31));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::Down, 1), "{}", world.timeline());
    world.seen = None;
    world.play(MINUTE);
    assert_eq!((world.health(&name), world.kinds()), (Health::Passing, vec![Down, Recovered]));
    // And what was curable may be so no longer.
    world.seen = curable();
    world.play(3 * MINUTE);
    let jobs = world.jobs(&unit);
    assert!(jobs > 1);
    world.seen = incurable();
    world.play(60 * MINUTE);
    assert!(world.jobs(&unit) <= jobs + 1, "one at most that was due when it was seen: {}", world.timeline());
}

#[test]
fn another_unit_may_be_started_that_renews() {
    let renew = Rung::StartUnit(UnitName::new("renew.service").unwrap());
    // Whichever stands first: what can help is done.
    for ladder in [vec![renew.clone(), Rung::Restart], vec![Rung::Restart, renew]] {
        let (mut world, name, _) = one(&ladder);
        world.seen = incurable();
        world.play(2 * MINUTE);
        let first = asked(&world)[0].to_owned();
        assert!(first.starts_with("StartUnit("), "{}", world.timeline());
        assert!(!asked(&world).contains(&"Restart"), "{}", world.timeline());
        world.seen = None;
        world.play(MINUTE);
        assert_eq!(world.health(&name), Health::Passing);
    }
}

#[test]
fn a_unit_that_is_down_itself_is_restarted_whatever_its_probe_said() {
    let (mut world, name, unit) = one(&[Rung::Restart]);
    world.seen = incurable();
    world.play(10 * MINUTE);
    assert_eq!(world.jobs(&unit), 0);
    world.end(&unit, true);
    assert_eq!(world.jobs(&unit), 1, "{}", world.timeline());
    world.play(10 * MINUTE);
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::Down, 1), "{}", world.timeline());
}

#[test]
fn the_next_life_of_the_daemon_knows_as_well() {
    let (mut world, name, unit) = one(&[Rung::Restart]);
    world.seen = incurable();
    world.play(10 * MINUTE);
    world.restart_daemon(Duration::from_secs(2));
    world.play(10 * MINUTE);
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::Down, 0), "{}", world.timeline());
    assert_eq!(world.kinds(), [Down]);
}
