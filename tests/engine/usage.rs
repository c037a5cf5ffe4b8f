//! What is used, sampled: a spike is forgiven, too much of it for too long is an incident, and a restart is judged by what
//! is used after it.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{Check, CheckName, Percent, Probe, Step, UsageLimit, UsageProbe, UsedBy};
use stealthcheck::notification::{AttemptOutcome, NotificationKind};
use stealthcheck::unit::{ManagerState, UnitName};
use stealthcheck::verdict::{Health, Observation};

use super::rules::check;
use super::world::{Service, World};

use NotificationKind::{ActionRequired, Down, Recovered};

const MINUTE: u64 = 60;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The unit's CPU below 10% of one CPU over half an hour, sampled each half minute.
pub fn cpu(name: &str, unit: &str) -> Check {
    usage(name, unit, UsageLimit::OneCpu(Percent(1000)), 30 * MINUTE)
}

pub fn usage(name: &str, unit: &str, limit: UsageLimit, over: u64) -> Check {
    let mut check = check(name, unit);
    check.probe = Probe::Usage(Arc::new(UsageProbe { of: UsedBy::Unit, limit, over: secs(over) }));
    check.schedule.failure_threshold = 1;
    check.schedule.retry_interval = check.schedule.interval;
    check
}

fn terminate() -> Step {
    Step::StartUnit(UnitName::new("gru-terminate.service").unwrap())
}

/// A unit with a check of its CPU, watched for a while.
fn gru() -> (World, CheckName, UnitName) {
    let mut check = cpu("gru-cpu", "gru.service");
    check.recovery.steps = vec![Step::Restart, terminate()];
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.burn(&unit, 3);
    world.play(secs(20 * MINUTE));
    assert_eq!(world.health(&name), Health::PASSING);
    (world, name, unit)
}

/// Plays until just after a sample, so that what begins now begins with a stretch.
fn to_a_sample(world: &mut World) {
    let before = world.probes;
    while world.probes == before {
        world.play(Duration::from_millis(10));
    }
    world.play(Duration::from_millis(10));
}

fn last_seen(world: &World, name: &CheckName) -> Observation {
    let status = world.engine.status(world.now, std::slice::from_ref(name), false).remove(0);
    status.last.expect("something was seen").observation
}

fn steps(world: &World) -> Vec<Step> {
    world
        .notifications
        .iter()
        .filter(|notification| notification.kind == Recovered)
        .flat_map(|notification| notification.attempts.iter().map(|attempt| attempt.step.clone()))
        .collect()
}

#[test]
fn short_spike_is_no_failure() {
    let (mut world, name, unit) = gru();
    for _ in 0..5 {
        world.burn(&unit, 400);
        world.play(secs(28 * MINUTE));
        assert_eq!(world.health(&name), Health::PASSING);
        world.burn(&unit, 3);
        world.play(secs(MINUTE));
    }
    assert_eq!((world.jobs(&unit), world.notifications.len()), (0, 0), "{}", world.timeline());
}

#[test]
fn observation_shows_the_average_of_the_window() {
    let (mut world, name, unit) = gru();
    world.play(secs(15 * MINUTE));
    // A sample is 5 ms under way here, which counts as time.
    assert_eq!(last_seen(&world, &name).text(), "2.9% of one CPU (2.9% over the last 30m)");
    to_a_sample(&mut world);
    world.burn(&unit, 97);
    world.play(secs(4 * MINUTE + 15));
    let seen = last_seen(&world, &name);
    let text = seen.text();
    assert_eq!(text, "96% of one CPU for 4m, 10% is the limit; too much after 30m");
    assert!(matches!(seen, Observation::Passing { .. }));
}

/// A restart is proven by the samples that follow.
#[test]
fn sustained_usage_is_down_after_its_window() {
    let (mut world, name, unit) = gru();
    to_a_sample(&mut world);
    world.burn(&unit, 97);
    let began = world.now.mono;
    world.play(secs(29 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 0));
    world.play(secs(3 * MINUTE));
    assert_eq!(world.jobs(&unit), 1, "{}", world.timeline());
    let after = world.units[&unit].asked[0].since(began);
    assert!((secs(30 * MINUTE - 1)..=secs(30 * MINUTE + 1)).contains(&after), "{after:?}");
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![Down, Recovered]));
    assert_eq!(world.notifications[0].cause, "at least 96% of one CPU for 30m, 10% is the limit");
    assert_eq!(world.notifications[1].attempts[0].outcome, Some(AttemptOutcome::Recovered));
}

/// Usage that falls by itself closes the incident.
#[test]
fn operator_restart_empties_the_window() {
    let (mut world, name, unit) = gru();
    world.burn(&unit, 97);
    world.play(secs(25 * MINUTE));
    world.operator(&unit, true);
    world.play(secs(2));
    world.burn(&unit, 97);
    world.play(secs(29 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 0), "{}", world.timeline());

    world.set_manager(ManagerState::Stopping);
    world.play(secs(3 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::DOWN, 0), "held back");
    world.burn(&unit, 3);
    world.play(secs(MINUTE));
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![Down, Recovered]));
}

#[test]
fn repeated_usage_incident_continues_at_the_next_step() {
    let (mut world, name, unit) = gru();
    world.burn(&unit, 97);
    world.play(secs(33 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 1));
    world.burn(&unit, 97);
    world.play(secs(32 * MINUTE));
    assert_eq!(world.health(&name), Health::DOWN, "{}", world.timeline());
    // In truth the machine goes; here the load goes after a while.
    world.burn(&unit, 3);
    world.play(secs(5 * MINUTE));
    assert_eq!(steps(&world)[..2], [Step::Restart, terminate()]);
    let before = steps(&world).len();

    // Long after, it is a renegade like the first.
    world.play(secs(3 * 60 * MINUTE));
    world.burn(&unit, 97);
    world.play(secs(33 * MINUTE));
    assert_eq!(steps(&world)[before..], [Step::Restart]);
}

#[test]
fn restart_is_ineffective_when_the_window_is_full_again() {
    let (mut world, name, unit) = gru();
    world.burn(&unit, 97);
    // From the first sample after the restart it burns again.
    for _ in 0..33 * 60 {
        world.play(secs(1));
        if world.jobs(&unit) == 1 {
            break;
        }
    }
    world.play(secs(1));
    world.burn(&unit, 97);
    world.play(secs(28 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::DOWN, 1), "{}", world.timeline());
    let status = world.engine.status(world.now, &[], false).remove(0);
    assert_eq!(status.next, "restart done, waiting for the measuring window to fill");
    assert_eq!(world.kinds(), [Down]);
    world.play(secs(3 * MINUTE));
    assert!(world.jobs(&unit) >= 2, "{}", world.timeline());
    world.play(secs(5 * MINUTE));
    assert_eq!(world.kinds(), [Down, ActionRequired], "{}", world.timeline());
    let attempts = &world.notifications[1].attempts;
    let asked: Vec<Step> = attempts.iter().map(|attempt| attempt.step.clone()).collect();
    assert_eq!(asked[..2], [Step::Restart, terminate()]);
    assert!(matches!(attempts[0].outcome, Some(AttemptOutcome::Ineffective(_))), "{attempts:?}");
}

/// gru with two checks: its CPU, and whether it answers.
fn gru_that_answers() -> (World, CheckName, CheckName, UnitName) {
    let mut busy = cpu("gru-cpu", "gru.service");
    busy.recovery.steps = vec![Step::Restart, terminate()];
    let answers = check("gru-http", "gru.service");
    let (busy_name, answers_name, unit) =
        (busy.name.clone(), answers.name.clone(), busy.unit.clone().unwrap());
    let mut world = World::new(vec![busy, answers]);
    world.play(secs(10 * MINUTE));
    (world, busy_name, answers_name, unit)
}

/// Plays until the unit has been restarted, and lets it burn on.
fn restarted_in_vain(world: &mut World, unit: &UnitName) {
    world.burn(unit, 97);
    while world.jobs(unit) == 0 {
        world.play(secs(1));
    }
    world.play(secs(1));
    world.burn(unit, 97);
    world.play(secs(MINUTE));
}

#[test]
fn pass_of_other_check_proves_nothing_for_usage() {
    let (mut world, busy, answers, unit) = gru_that_answers();
    restarted_in_vain(&mut world, &unit);
    assert_eq!((world.health(&busy), world.health(&answers)), (Health::DOWN, Health::PASSING));
    world.play(secs(20 * MINUTE));
    assert_eq!((world.health(&busy), world.kinds()), (Health::DOWN, vec![Down]), "{}", world.timeline());
    world.burn(&unit, 3);
    world.play(secs(MINUTE));
    assert_eq!((world.health(&busy), world.jobs(&unit)), (Health::PASSING, 1));
    assert_eq!(world.notifications[1].attempts[0].outcome, Some(AttemptOutcome::Recovered));
}

#[test]
fn filling_window_does_not_delay_other_checks() {
    let (mut world, busy, answers, unit) = gru_that_answers();
    restarted_in_vain(&mut world, &unit);
    let before = world.now.mono;
    world.units.get_mut(&unit).unwrap().service = Service::Hung;
    world.play(secs(2 * MINUTE));
    assert_eq!(world.jobs(&unit), 2, "{}", world.timeline());
    let after = world.units[&unit].asked[1].since(before);
    assert!(after < secs(MINUTE), "asked for after {after:?}");
    assert_eq!(world.health(&answers), Health::PASSING);
    // It was the other check's restart, of the other check's steps; and it served the CPU as well.
    let other = world.notifications.iter().find(|n| n.check == answers && n.kind == Recovered).unwrap();
    assert_eq!(other.attempts.len(), 1);
    assert_eq!(other.attempts[0].step, Step::Restart);
    let closed = world.notifications.iter().find(|n| n.check == busy && n.kind == Recovered).unwrap();
    let verdicts: Vec<_> = closed.attempts.iter().map(|a| a.outcome.clone()).collect();
    let overtaken = "another attempt was due before its effect could be measured".to_owned();
    assert_eq!(
        verdicts,
        [Some(AttemptOutcome::Ineffective(overtaken)), Some(AttemptOutcome::Recovered)],
        "{}",
        world.timeline()
    );
    assert!(world.open_incidents().is_empty());
}

#[test]
fn other_checks_restart_is_ineffective_by_usage() {
    let (mut world, busy, answers, unit) = gru_that_answers();
    restarted_in_vain(&mut world, &unit);
    world.units.get_mut(&unit).unwrap().service = Service::Hung;
    while world.jobs(&unit) < 2 {
        world.play(secs(1));
    }
    world.play(secs(1));
    world.burn(&unit, 97);
    world.play(secs(5 * MINUTE));
    assert_eq!((world.health(&busy), world.health(&answers)), (Health::DOWN, Health::PASSING));
    world.play(secs(27 * MINUTE));
    world.burn(&unit, 3);
    world.play(secs(2 * MINUTE));
    let closed = world.notifications.iter().find(|n| n.check == busy && n.kind == Recovered).unwrap();
    let asked: Vec<Step> = closed.attempts.iter().map(|attempt| attempt.step.clone()).collect();
    // Once by each check, and then the CPU's own next step.
    assert_eq!(asked[..3], [Step::Restart, Step::Restart, terminate()], "{}", world.timeline());
}

#[test]
fn samples_keep_their_interval_during_start() {
    let (mut world, _, unit) = gru();
    world.burn(&unit, 97);
    while world.jobs(&unit) == 0 {
        world.play(secs(1));
    }
    let before = world.probes;
    world.play(secs(2 * MINUTE));
    assert!((4..=6).contains(&(world.probes - before)), "{} samples in two minutes", world.probes - before);
}

#[test]
fn crash_is_recovered_without_the_window() {
    let (mut world, busy, answers, unit) = gru_that_answers();
    world.end(&unit, true);
    world.play(secs(3));
    // It has work to do when it starts.
    world.burn(&unit, 60);
    world.play(secs(MINUTE));
    assert_eq!((world.health(&busy), world.health(&answers)), (Health::PASSING, Health::PASSING));
    assert_eq!((world.jobs(&unit), world.open_incidents().len()), (1, 0), "{}", world.timeline());
}

#[test]
fn crash_while_window_fills_is_recovered_by_the_same_step() {
    let (mut world, busy, _, unit) = gru_that_answers();
    restarted_in_vain(&mut world, &unit);
    world.play(secs(5 * MINUTE));
    world.end(&unit, true);
    world.play(secs(2 * MINUTE));
    assert_eq!(world.health(&busy), Health::PASSING, "{}", world.timeline());
    assert!(steps(&world).iter().all(|step| *step == Step::Restart), "{:?}", steps(&world));
    assert_eq!(world.jobs(&unit), 2);
}

#[test]
fn window_survives_daemon_restart() {
    let (mut world, name, unit) = gru();
    world.burn(&unit, 97);
    let began = world.now.mono;
    for _ in 0..5 {
        world.play(secs(5 * MINUTE));
        world.restart_daemon(secs(20));
    }
    world.play(secs(2 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 0), "{}", world.timeline());
    world.play(secs(5 * MINUTE));
    assert_eq!(world.jobs(&unit), 1, "{}", world.timeline());
    let after = world.units[&unit].asked[0].since(began);
    assert!((secs(30 * MINUTE - 30)..secs(31 * MINUTE)).contains(&after), "{after:?}");
}

#[test]
fn unproven_attempt_survives_daemon_restart() {
    let (mut world, busy, _, unit) = gru_that_answers();
    restarted_in_vain(&mut world, &unit);
    world.play(secs(10 * MINUTE));
    world.restart_daemon(secs(20));
    world.play(secs(10 * MINUTE));
    assert_eq!((world.health(&busy), world.jobs(&unit)), (Health::DOWN, 1), "{}", world.timeline());
    let status = world.engine.status(world.now, std::slice::from_ref(&busy), false).remove(0);
    assert_eq!(status.next, "restart done, waiting for the measuring window to fill");
    world.play(secs(10 * MINUTE));
    world.burn(&unit, 3);
    world.play(secs(2 * MINUTE));
    assert_eq!(steps(&world)[..2], [Step::Restart, terminate()], "{}", world.timeline());
}

#[test]
fn long_absence_of_the_daemon_is_one_sample() {
    let (mut world, name, unit) = gru();
    world.burn(&unit, 5);
    world.restart_daemon(secs(3 * 3600));
    world.play(secs(MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 0));
    world.burn(&unit, 97);
    world.restart_daemon(secs(3600));
    world.play(secs(MINUTE));
    assert_eq!(world.jobs(&unit), 1, "an hour of it is too much, seen or not\n{}", world.timeline());
}

#[test]
fn suspended_machine_used_nothing() {
    let (mut world, name, unit) = gru();
    world.burn(&unit, 97);
    world.play(secs(29 * MINUTE));
    // The clocks go on while it sleeps, its processes do not.
    world.burn(&unit, 0);
    world.now.mono = world.now.mono.after(secs(8 * 3600));
    world.now.wall = world.now.wall.after(secs(8 * 3600));
    world.burn(&unit, 97);
    world.play(secs(20 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 0), "{}", world.timeline());
}

#[test]
fn usage_during_pause_does_not_count() {
    let (mut world, name, unit) = gru();
    world.burn(&unit, 97);
    world.pause(&name, secs(3600));
    world.play(secs(3600 + 28 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 0), "{}", world.timeline());
    world.play(secs(4 * MINUTE));
    assert_eq!(world.jobs(&unit), 1);
}

/// Time without samples does not count.
#[test]
fn memory_over_limit_for_the_window_is_down() {
    let check = usage("gru-memory", "gru.service", UsageLimit::Bytes(1 << 20), 5 * MINUTE);
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.fill(&unit, 1 << 19);
    world.play(secs(MINUTE));
    assert_eq!(last_seen(&world, &name).text(), "512 KiB (limit 1 MiB)");
    world.fill(&unit, 3 << 20);
    world.play(secs(4 * MINUTE));
    world.restart_daemon(secs(10 * MINUTE));
    world.play(secs(4 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 0), "{}", world.timeline());
    world.play(secs(2 * MINUTE));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 1), "{}", world.timeline());
    assert_eq!(world.notifications[0].cause, "at least 3 MiB for 5m, 1 MiB is the limit");
}
