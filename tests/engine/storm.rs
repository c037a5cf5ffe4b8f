//! Many checks fail together: it is the machine, and nothing is restarted for it (rule 14).

use std::time::Duration;

use proptest::prelude::*;
use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::Event;
use stealthcheck::notification::{HostNotificationKind, NotificationKind};
use stealthcheck::unit::UnitName;
use stealthcheck::verdict::{Health, Observation};

use super::rules::check;
use super::seeds::cases;
use super::world::{Service, World};
use HostNotificationKind::{StillStorm, Storm, StormOver};
use NotificationKind::{Down, Recovered};

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn name(n: usize) -> CheckName {
    CheckName::new(&format!("c{n}")).unwrap()
}

pub fn unit(n: usize) -> UnitName {
    UnitName::new(&format!("u{n}.service")).unwrap()
}

fn refused() -> Observation {
    Observation::Failing { reason: "connection refused".into() }
}

pub fn many(n: usize, adapt: impl Fn(&mut Check)) -> World {
    let checks = (0..n).map(|n| {
        let mut check = check(&format!("c{n}"), &format!("u{n}.service"));
        check.alert.repeat_interval = Some(secs(4 * 3600));
        adapt(&mut check);
        check
    });
    let mut world = World::new(checks.collect());
    world.play(secs(90));
    for n in 0..n {
        assert_eq!(world.health(&name(n)), Health::PASSING);
    }
    world
}

/// The probes of these checks fail, whatever is done about their units.
pub fn outage(world: &mut World, checks: impl IntoIterator<Item = usize>) {
    world.seen_instead.extend(checks.into_iter().map(|n| (name(n), refused())));
}

pub fn jobs(world: &World) -> usize {
    world.units.values().map(|unit| unit.asked.len()).sum()
}

#[test]
fn outage_requests_no_job_and_sends_two_notifications() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    world.play(secs(600));
    assert_eq!(jobs(&world), 0, "{}", world.timeline());
    assert_eq!((world.host_kinds(), world.kinds()), (vec![Storm], vec![]));
    let told = &world.host_notifications[0];
    assert_eq!(told.total, 12);
    assert!(told.affected >= 5, "{told:?}");
    assert_eq!(told.to, ["ops@example.org".into()]);
    assert!(
        told.checks.iter().any(|check| check.health == Health::DOWN && check.seen == "connection refused")
    );
    let status = world.engine.status(world.now, &[name(3)], false).remove(0);
    let why = status.incident.unwrap().withheld.unwrap();
    assert!(why.starts_with("storm: ") && why.contains("of 12 checks"), "{why}");
    assert!(world.engine.storm(world.now).unwrap().contains("12 of 12 checks"));

    world.seen_instead.clear();
    world.play(secs(60));
    assert_eq!((jobs(&world), world.host_kinds(), world.kinds()), (0, vec![Storm, StormOver], vec![]));
    let over = &world.host_notifications[1];
    assert!(over.checks.iter().all(|check| check.health == Health::PASSING), "{over:?}");
    assert_eq!(over.checks.len(), 12);
    assert_eq!(world.engine.storm(world.now), None);
}

#[test]
fn short_storm_sends_nothing() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    // Until the brake is on, and not until a check is down.
    while world.engine.storm(world.now).is_none() {
        world.play(Duration::from_millis(50));
    }
    world.seen_instead.clear();
    world.play(secs(120));
    assert_eq!((jobs(&world), world.host_kinds(), world.kinds()), (0, vec![], vec![]));
}

#[test]
fn single_failure_is_not_delayed() {
    let mut world = many(12, |_| {});
    world.units.get_mut(&unit(0)).unwrap().service = Service::Hung;
    while world.health(&name(0)) != Health::DOWN {
        world.play(Duration::from_millis(1));
    }
    // systemd's own word on it, which would explain it, takes no longer than that.
    world.play(Duration::from_millis(200));
    assert_eq!(jobs(&world), 1, "as soon as it is down");
    world.play(secs(60));
    assert_eq!((world.kinds(), world.host_kinds()), (vec![Down, Recovered], vec![]));
}

#[test]
fn two_failures_wait_for_the_survey() {
    let mut world = many(12, |_| {});
    for n in [0, 1] {
        world.units.get_mut(&unit(n)).unwrap().service = Service::Hung;
    }
    let probes = world.probes;
    world.play(secs(80));
    assert_eq!((world.jobs(&unit(0)), world.jobs(&unit(1))), (1, 1), "{}", world.timeline());
    assert_eq!(world.host_kinds(), []);
    assert_eq!(world.kinds(), [Down, Recovered, Down, Recovered]);
    assert!(
        world.probes - probes < 12 * 5 + 24,
        "one look at the others, not many: {}",
        world.probes - probes
    );
}

#[test]
fn survey_without_answers_delays_some_seconds_only() {
    // The others take 30 s for an answer, so that none has come when the look-around ends.
    let mut world = many(12, |check| check.schedule.timeout = secs(30));
    outage(&mut world, [0, 1]);
    world.answers_in = secs(29);
    world.play(secs(29 + 30 + 29 + 5 + 29 + 5 + 29 + 17));
    assert!(world.jobs(&unit(0)) + world.jobs(&unit(1)) >= 1, "{}", world.timeline());
}

#[test]
fn fewer_than_five_failures_are_no_storm() {
    let mut world = many(4, |_| {});
    for n in 0..4 {
        world.units.get_mut(&unit(n)).unwrap().service = Service::Hung;
    }
    world.play(secs(120));
    assert_eq!((jobs(&world), world.host_kinds()), (4, vec![]), "{}", world.timeline());
}

#[test]
fn many_checks_of_one_unit_count_once() {
    let checks = (0..12).map(|n| check(&format!("c{n}"), &format!("u{}.service", n % 4)));
    let mut world = World::new(checks.collect());
    world.play(secs(90));
    for n in 0..4 {
        world.units.get_mut(&unit(n)).unwrap().service = Service::Hung;
    }
    world.play(secs(120));
    assert_eq!((jobs(&world), world.host_kinds()), (4, vec![]), "{}", world.timeline());
}

#[test]
fn checks_without_unit_count_each_and_send_nothing() {
    let mut world = many(12, |_| {});
    for check in &mut world.checks {
        check.unit = None;
        check.recovery.steps.clear();
    }
    // Without a unit a check of this world sees nothing good by itself.
    let well = Observation::Passing { detail: "200 OK".into(), latency: secs(0) };
    world.seen_instead = (0..12).map(|n| (name(n), well.clone())).collect();
    world.tell(Event::Configured(world.checks.clone()));
    world.play(secs(60));
    outage(&mut world, 0..12);
    world.play(secs(600));
    assert_eq!((world.host_kinds(), world.kinds()), (vec![Storm], vec![]), "{}", world.timeline());
}

#[test]
fn failed_units_are_restarted_and_count_in_no_storm() {
    let mut world = many(12, |_| {});
    for n in 0..12 {
        world.end(&unit(n), true);
    }
    assert_eq!(jobs(&world), 12, "each at once");
    world.play(secs(60));
    assert_eq!(world.host_kinds(), [], "systemd's own word explains them");
    for n in 0..12 {
        assert_eq!(world.health(&name(n)), Health::PASSING);
    }

    world.play(secs(600));
    outage(&mut world, 0..11);
    world.play(secs(60));
    assert_eq!((jobs(&world), world.host_kinds()), (12, vec![Storm]));
    let kinds = world.kinds().len();
    world.end(&unit(11), true);
    assert_eq!(world.jobs(&unit(11)), 2, "and it is not held back");
    world.end(&unit(3), true);
    assert_eq!(world.jobs(&unit(3)), 2, "nor is one that is in the storm");
    world.play(secs(30));
    assert!(world.kinds().len() > kinds, "it is told by itself: {:?}", world.kinds());
}

/// Each has its own notifications.
#[test]
fn units_still_down_after_storm_are_staggered() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    world.play(secs(60));
    for n in [2, 5, 7] {
        world.units.get_mut(&unit(n)).unwrap().service = Service::Hung;
    }
    world.job_takes = secs(5);
    world.seen_instead.clear();
    world.play(secs(180));
    let mut asked: Vec<_> = [2, 5, 7].iter().flat_map(|n| world.units[&unit(*n)].asked.clone()).collect();
    asked.sort();
    assert_eq!((asked.len(), jobs(&world)), (3, 3), "{}", world.timeline());
    assert!(asked.windows(2).all(|pair| pair[1].since(pair[0]) >= secs(5)), "two at a time: {asked:?}");
    assert_eq!(world.host_kinds(), [Storm, StormOver]);
    let over = &world.host_notifications[1];
    let still = over.checks.iter().filter(|check| check.to_be_recovered).map(|check| check.name.clone());
    assert_eq!(still.collect::<Vec<_>>(), [name(2), name(5), name(7)]);
    assert_eq!(world.kinds().iter().filter(|kind| **kind == Down).count(), 3);
    assert!(world.open_incidents().is_empty());
}

#[test]
fn broken_unit_does_not_block_the_staggered_recovery() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    world.play(secs(60));
    world.units.get_mut(&unit(2)).unwrap().service = Service::Broken;
    world.units.get_mut(&unit(5)).unwrap().service = Service::Hung;
    world.seen_instead.clear();
    world.play(secs(180));
    assert_eq!(world.health(&name(5)), Health::PASSING, "{}", world.timeline());
    assert!(world.jobs(&unit(2)) >= 1);
}

#[test]
fn storm_permits_one_job_for_each_check_that_passes_again() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    world.play(secs(60));
    // One comes back, and the outage of the others goes on.
    world.seen_instead.remove(&name(4));
    world.play(secs(1200));
    assert_eq!((jobs(&world), world.jobs_in_storm), (1, 1), "{}", world.timeline());
    assert!(world.engine.storm(world.now).is_some());

    // The others were only wedged: each success permits the next.
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    world.play(secs(60));
    for n in 0..11 {
        world.units.get_mut(&unit(n)).unwrap().service = Service::Hung;
    }
    world.seen_instead.clear();
    world.play(secs(600));
    for n in 0..12 {
        assert_eq!(world.health(&name(n)), Health::PASSING, "{}", world.timeline());
    }
    assert_eq!(jobs(&world), 11);
    assert_eq!(world.host_kinds(), [Storm, StormOver]);
}

#[test]
fn lasting_storm_sends_reminders_without_jobs() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    world.play(secs(29 * 60));
    assert_eq!(world.host_kinds(), [Storm]);
    world.play(secs(120));
    assert_eq!(world.host_kinds(), [Storm, StillStorm], "half an hour");
    world.play(secs(5 * 3600));
    assert_eq!(world.host_kinds(), [Storm, StillStorm, StillStorm], "and as remind says");
    assert_eq!((jobs(&world), world.kinds()), (0, vec![]));
}

#[test]
fn failure_long_after_the_others_is_no_part_of_the_storm() {
    let mut world = many(15, |_| {});
    outage(&mut world, 0..5);
    world.play(secs(3600));
    assert_eq!((jobs(&world), world.host_kinds().first()), (0, Some(&Storm)));
    world.units.get_mut(&unit(9)).unwrap().service = Service::Hung;
    world.play(secs(120));
    assert_eq!((world.jobs(&unit(9)), world.kinds()), (1, vec![Down, Recovered]), "{}", world.timeline());
    assert_eq!(jobs(&world), 1);
    // Many that do are the next wave of the storm.
    outage(&mut world, 5..15);
    world.play(secs(300));
    assert!(jobs(&world) <= 2, "{}", world.timeline());
}

#[test]
fn storm_survives_daemon_restart() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    world.play(secs(60));
    world.restart_daemon(secs(2));
    world.play(secs(600));
    assert_eq!((jobs(&world), world.host_kinds(), world.kinds()), (0, vec![Storm], vec![]));
    world.seen_instead.clear();
    world.restart_daemon(secs(2));
    world.play(secs(120));
    assert_eq!((jobs(&world), world.host_kinds(), world.kinds()), (0, vec![Storm, StormOver], vec![]));
    assert_eq!(world.host_notifications[0].id.incident, world.host_notifications[1].id.incident);
}

#[test]
fn reload_ends_storm_only_with_fewer_than_five_checks() {
    let mut world = many(12, |_| {});
    outage(&mut world, 0..12);
    world.play(secs(60));
    let mut checks = world.checks.clone();
    checks[0].schedule.interval = secs(20);
    checks.truncate(10);
    world.tell(Event::Configured(checks.clone()));
    world.play(secs(120));
    assert_eq!((jobs(&world), world.host_kinds()), (0, vec![Storm]), "{}", world.timeline());
    checks.truncate(4);
    world.tell(Event::Configured(checks));
    world.play(secs(30));
    assert_eq!(world.host_kinds(), [Storm, StormOver]);
    assert!(jobs(&world) > 0, "four checks are each their own matter");
}

#[test]
fn long_intervals_do_not_hide_a_storm() {
    // In five minutes' steps each is down long before the next is even probed.
    for failure_threshold in [1, 3] {
        let mut world = many(12, |check| {
            check.schedule.interval = secs(300);
            check.schedule.failure_threshold = failure_threshold;
        });
        world.play(secs(600));
        outage(&mut world, 0..12);
        world.play(secs(900));
        assert!(
            jobs(&world) <= 1,
            "{} with failure_threshold {failure_threshold}\n{}",
            jobs(&world),
            world.timeline()
        );
        assert_eq!(world.host_kinds(), [Storm]);
    }
}

#[test]
fn survey_of_many_checks_is_a_sample() {
    let mut world = many(200, |check| check.schedule.interval = secs(300));
    world.play(secs(600));
    outage(&mut world, 0..200);
    let probes = world.probes;
    world.play(secs(8));
    assert!(world.probes - probes < 60, "{} probes at once", world.probes - probes);
    world.play(secs(900));
    assert!(jobs(&world) <= 1, "{}\n{}", jobs(&world), world.timeline());
    assert_eq!(world.host_kinds(), [Storm], "one mail");
    assert!(world.kinds().len() <= 1, "{:?}", world.kinds());
}

#[test]
fn lasting_resolver_failure_is_one_host_notification() {
    let mut world = many(20, |_| {});
    let unknown = Observation::Unknown { reason: "the resolver gave no answer within 5s".into() };
    world.seen_instead.extend((0..20).map(|n| (name(n), unknown.clone())));
    world.play(secs(500));
    assert_eq!((world.host_kinds(), world.health(&name(0))), (vec![], Health::UNKNOWN));
    world.play(secs(200));
    assert_eq!((world.host_kinds(), world.kinds(), jobs(&world)), (vec![Storm], vec![], 0));
    world.seen_instead.clear();
    world.play(secs(60));
    assert_eq!((world.host_kinds(), world.kinds()), (vec![Storm, StormOver], vec![]));
}

/// Not those of checks with `alert: off`.
#[test]
fn storm_notifies_recipients_of_all_checks() {
    let mut world = many(12, |check| match check.name.as_str() {
        "c1" => check.alert.to = vec!["owner@example.org".into()],
        "c2" => {
            check.alert.to = vec!["nobody@example.org".into()];
            check.alert.off = true;
        }
        _ => {}
    });
    outage(&mut world, 0..12);
    world.play(secs(60));
    outage(&mut world, 0..12);
    world.seen_instead.clear();
    world.play(secs(60));
    let all: Vec<String> =
        world.host_notifications.last().unwrap().to.iter().map(ToString::to_string).collect();
    assert_eq!(all, ["ops@example.org", "owner@example.org"]);

    let mut world = many(12, |check| check.alert.off = true);
    outage(&mut world, 0..12);
    world.play(secs(6000));
    assert_eq!(world.host_kinds(), []);
}

#[test]
fn alert_after_delays_the_host_notification() {
    let mut world = many(12, |check| check.alert.after = secs(600));
    outage(&mut world, 0..12);
    world.play(secs(500));
    assert_eq!(world.host_kinds(), []);
    world.play(secs(200));
    assert_eq!(world.host_kinds(), [Storm]);
}

proptest! {
    #![proptest_config(cases(16))]

    /// Whatever the schedules are and whenever it strikes: an outage of everything restarts next to nothing, no unit
    /// twice, and in the end all is well and nobody got a mail for each check.
    #[test]
    fn any_outage_causes_at_most_one_job(
        schedules in prop::collection::vec((1..300_u64, 1..4_u32, 1..5_u64), 6..40),
        before in 0..400_u64,
        lasts in 60..4000_u64,
        restart in any::<bool>(),
    ) {
        let checks = schedules.iter().enumerate().map(|(n, (interval, failure_threshold, retry))| {
            let mut check = check(&format!("c{n}"), &format!("u{n}.service"));
            check.schedule.interval = secs(*interval);
            check.schedule.timeout = secs(*interval).min(check.schedule.timeout);
            check.schedule.failure_threshold = *failure_threshold;
            check.schedule.retry_interval = secs((*retry).min(*interval));
            check
        });
        let mut world = World::new(checks.collect());
        world.play(secs(60 + before));
        outage(&mut world, 0..schedules.len());
        world.play(secs(lasts / 2));
        if restart {
            world.restart_daemon(secs(1));
        }
        world.play(secs(lasts / 2));
        prop_assert!(jobs(&world) <= 1, "{} jobs\n{}", jobs(&world), world.timeline());
        prop_assert!(world.kinds().len() <= 2, "{:?}", world.kinds());
        world.seen_instead.clear();
        world.play(secs(1200));
        for n in 0..schedules.len() {
            prop_assert_eq!(world.health(&name(n)), Health::PASSING, "{}\n{}", n, world.timeline());
        }
        prop_assert!(jobs(&world) <= 1, "{} jobs\n{}", jobs(&world), world.timeline());
        prop_assert_eq!(world.engine.storm(world.now), None);
        prop_assert_eq!(
            world.host_kinds().iter().filter(|kind| **kind == Storm).count(),
            world.host_kinds().iter().filter(|kind| **kind == StormOver).count()
        );
    }

    /// Outages of any part of the machine come and go, beside everything else that happens to units. While a storm is on
    /// the world sees to it that units that run are restarted one at a time at most; and all is well in the end.
    #[test]
    fn repeated_outages_leave_nothing_behind(
        script in prop::collection::vec((1..200_000_u64, prop::collection::vec(0..15_usize, 0..15), any::<bool>(), 0..12_u8), 1..25),
    ) {
        let mut world = many(15, |_| {});
        for (millis, which, strikes, kind) in script {
            match kind {
                0 => world.restart_daemon(secs(1)),
                1 => which.iter().for_each(|n| world.end(&unit(*n), true)),
                2 => which.iter().for_each(|n| world.operator(&unit(*n), strikes)),
                3 => which.iter().for_each(|n| world.units.get_mut(&unit(*n)).unwrap().service = Service::Hung),
                _ if strikes => outage(&mut world, which),
                _ => which.iter().for_each(|n| drop(world.seen_instead.remove(&name(*n)))),
            }
            world.play(Duration::from_millis(millis));
        }
        world.seen_instead.clear();
        for unit in world.units.values_mut() {
            unit.service = Service::Healthy;
        }
        world.play(secs(2 * 3600));
        for n in 0..15 {
            prop_assert_eq!(world.health(&name(n)), Health::PASSING, "{}\n{}", n, world.timeline());
        }
        prop_assert_eq!(world.engine.storm(world.now), None);
        prop_assert!(world.open_incidents().is_empty(), "{:?}\n{}", world.open_incidents(), world.timeline());
    }
}
