//! Failures that no job on the check's own unit would change: a certificate that is about to expire and has not been
//! renewed. They are told as any other, and restart nothing.

use std::time::Duration;

use stealthcheck::check::{CheckName, Step};
use stealthcheck::notification::NotificationKind::{ActionRequired, Recovered, StillDown};
use stealthcheck::unit::UnitName;
use stealthcheck::verdict::{Health, Observation};

use super::rules::check;
use super::world::World;

const MINUTE: Duration = Duration::from_mins(1);

fn incurable() -> Option<Observation> {
    Some(Observation::NotRestartable { reason: "valid for no more than 5 days".to_owned() })
}

fn curable() -> Option<Observation> {
    Some(Observation::Failing { reason: "renewed, but not served".to_owned() })
}

/// A check that passes, with this steps.
fn one(steps: &[Step]) -> (World, CheckName, UnitName) {
    let mut check = check("certificate", "web.service");
    check.recovery.steps = steps.to_vec();
    check.alert.repeat_interval = Some(60 * MINUTE);
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.play(2 * MINUTE);
    assert_eq!(world.health(&name), Health::PASSING);
    (world, name, unit)
}

/// The jobs that were asked for, in order.
fn asked(world: &World) -> Vec<&str> {
    let jobs = world.log.iter().filter_map(|line| line.split_once("StartJob(JobRequest { "));
    jobs.filter_map(|(_, job)| Some(job.split_once("step: ")?.1.split_once(',')?.0)).collect()
}

#[test]
fn not_restartable_failure_requires_action_without_job() {
    let (mut world, name, unit) = one(&[Step::Restart]);
    world.seen = incurable();
    world.play(150 * MINUTE);
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::DOWN, 0), "{}", world.timeline());
    assert_eq!(world.kinds(), [ActionRequired, StillDown, StillDown]);
    let notification = &world.notifications[0];
    assert_eq!(notification.cause, "valid for no more than 5 days");
    assert_eq!(notification.next, "Action required: no job on the unit would change what the probe found.");
    world.seen = None;
    world.play(MINUTE);
    assert_eq!((world.health(&name), world.kinds().last()), (Health::PASSING, Some(&Recovered)));
}

#[test]
fn job_follows_once_failure_is_restartable() {
    let (mut world, name, unit) = one(&[Step::Restart]);
    world.seen = incurable();
    world.play(30 * MINUTE);
    world.seen = curable();
    world.play(Duration::from_secs(31));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::DOWN, 1), "{}", world.timeline());
    world.seen = None;
    world.play(MINUTE);
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![ActionRequired, Recovered]));
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
fn not_restartable_failure_may_start_another_unit() {
    let renew = Step::StartUnit(UnitName::new("renew.service").unwrap());
    // Whichever stands first: what can help is done.
    for steps in [vec![renew.clone(), Step::Restart], vec![Step::Restart, renew]] {
        let (mut world, name, _) = one(&steps);
        world.seen = incurable();
        world.play(2 * MINUTE);
        let first = asked(&world)[0].to_owned();
        assert!(first.starts_with("StartUnit("), "{}", world.timeline());
        assert!(!asked(&world).contains(&"Restart"), "{}", world.timeline());
        world.seen = None;
        world.play(MINUTE);
        assert_eq!(world.health(&name), Health::PASSING);
    }
}

#[test]
fn down_unit_is_restarted_whatever_its_probe_found() {
    let (mut world, name, unit) = one(&[Step::Restart]);
    world.seen = incurable();
    world.play(10 * MINUTE);
    assert_eq!(world.jobs(&unit), 0);
    world.end(&unit, true);
    assert_eq!(world.jobs(&unit), 1, "{}", world.timeline());
    world.play(10 * MINUTE);
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::DOWN, 1), "{}", world.timeline());
}

#[test]
fn not_restartable_survives_daemon_restart() {
    let (mut world, name, unit) = one(&[Step::Restart]);
    world.seen = incurable();
    world.play(10 * MINUTE);
    world.restart_daemon(Duration::from_secs(2));
    world.play(10 * MINUTE);
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::DOWN, 0), "{}", world.timeline());
    assert_eq!(world.kinds(), [ActionRequired]);
}
