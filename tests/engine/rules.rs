//! Each rule as a short story with a known end.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{
    Alert, Check, CheckName, HostPort, Probe, Recovery, Respect, Schedule, Step, TcpProbe,
};
use stealthcheck::engine::{Command, Event};
use stealthcheck::notification::{AttemptOutcome, NotificationKind};
use stealthcheck::unit::{ActiveState, LoadState, ManagerState, UnitName};
use stealthcheck::verdict::{Health, State, SuppressedBy};

use super::world::{Service, World};

pub fn check(name: &str, unit: &str) -> Check {
    Check {
        name: CheckName::new(name).unwrap(),
        unit: Some(UnitName::new(unit).unwrap()),
        probe: Probe::Tcp(Arc::new(TcpProbe {
            address: HostPort::parse("127.0.0.1:9001").unwrap(),
            send: None,
            expect: None,
        })),
        schedule: Schedule::default(),
        recovery: Recovery { steps: vec![Step::Restart], ..Recovery::default() },
        alert: Alert { to: vec!["ops@example.org".into()], ..Alert::default() },
        runbook: None,
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn one() -> (World, CheckName, UnitName) {
    let check = check("web", "web.service");
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    assert_eq!(world.health(&name), Health::PASSING);
    (world, name, unit)
}

fn set(world: &mut World, unit: &UnitName, service: Service) {
    world.units.get_mut(unit).unwrap().service = service;
}

use NotificationKind::{ActionRequired, Down, Recovered, StillDown};

#[test]
fn hung_service_is_down_and_recovered_by_one_restart() {
    let (mut world, name, unit) = one();
    set(&mut world, &unit, Service::Hung);
    world.play(secs(35));
    assert!(matches!(world.health(&name).state, State::Failing { .. }), "{:?}", world.health(&name));
    assert_eq!(world.jobs(&unit), 0, "not before the third failure");
    world.play(secs(60));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 1), "{}", world.timeline());
    assert_eq!(world.kinds(), [Down, Recovered]);
    let told = &world.notifications[1];
    assert_eq!(told.attempts.len(), 1);
    assert_eq!(told.attempts[0].outcome, Some(AttemptOutcome::Recovered));
}

#[test]
fn process_end_without_stop_job_is_down_at_once() {
    for failed in [false, true] {
        let (mut world, name, unit) = one();
        let before = world.now.mono;
        world.end(&unit, failed);
        assert_eq!(world.units[&unit].asked, [before], "the job is asked for in the same moment");
        assert_eq!(world.health(&name), Health::DOWN);
        world.play(secs(15));
        assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![Down, Recovered]));
    }
}

#[test]
fn first_notification_reports_the_first_attempt() {
    let (mut world, _, unit) = one();
    set(&mut world, &unit, Service::WontStart);
    world.end(&unit, true);
    world.play(secs(2));
    assert_eq!(world.kinds(), [Down]);
    assert_eq!(world.notifications[0].attempts.len(), 1);
    assert!(world.notifications[0].attempts[0].result.is_some(), "its job's result is known");
}

#[test]
fn first_notification_does_not_wait_for_an_endless_job() {
    let (mut world, _, unit) = one();
    world.job_takes = secs(3600);
    world.end(&unit, true);
    world.play(secs(11));
    assert_eq!(world.kinds(), [Down]);
    world.play(secs(300));
    assert_eq!(world.kinds(), [Down, ActionRequired], "a job of five minutes is for a person to look at");
    assert_eq!(world.jobs(&unit), 1);
}

#[test]
fn attempts_back_off_require_action_and_continue() {
    let (mut world, name, unit) = one();
    set(&mut world, &unit, Service::WontStart);
    world.end(&unit, true);
    world.play(secs(3600));
    let asked = &world.units[&unit].asked;
    let gaps: Vec<u64> = asked.windows(2).map(|w| w[1].since(w[0]).as_secs()).collect();
    assert_eq!(gaps[..6], [10, 20, 40, 80, 160, 300], "{gaps:?}");
    assert!(gaps[6..].iter().all(|gap| *gap == 300) && gaps.len() > 12, "{gaps:?}");
    assert_eq!(world.kinds(), [Down, ActionRequired]);
    set(&mut world, &unit, Service::Healthy);
    world.play(secs(400));
    assert_eq!(
        (world.health(&name), world.kinds()),
        (Health::PASSING, vec![Down, ActionRequired, Recovered])
    );
}

#[test]
fn steps_advance_and_max_attempts_is_kept() {
    let mut check = check("web", "web.service");
    let other = UnitName::new("gru-terminate.service").unwrap();
    check.recovery.steps = vec![Step::Restart, Step::Restart, Step::StartUnit(other.clone())];
    check.recovery.max_attempts = Some(3);
    let unit = check.unit.clone().unwrap();
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    set(&mut world, &unit, Service::WontStart);
    world.end(&unit, true);
    world.play(secs(7200));
    let asked: Vec<&String> = world.log.iter().filter(|line| line.contains("StartJob")).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1].contains("Restart") && asked[2].contains("gru-terminate.service"), "{asked:?}");
    assert_eq!(world.kinds(), [Down, ActionRequired]);
}

/// Failing again within the proving time is the same incident, and the next step; an incident that follows is another
/// one, and begins where the last one ended (rules 5 and 13).
#[test]
fn step_index_rises_within_proving_time_only() {
    let mut check = check("web", "web.service");
    let other = UnitName::new("other.service").unwrap();
    check.recovery.steps = vec![Step::Restart, Step::StartUnit(other)];
    let unit = check.unit.clone().unwrap();
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    let jobs =
        |world: &World| world.log.iter().filter(|l| l.contains("StartJob")).cloned().collect::<Vec<_>>();
    world.end(&unit, true);
    world.play(secs(30));
    world.end(&unit, true);
    world.play(secs(12));
    assert_eq!(jobs(&world).len(), 2, "{:?}", jobs(&world));
    assert!(jobs(&world)[1].contains("step: Restart"), "{:?}", jobs(&world));
    world.end(&unit, true);
    world.play(secs(60));
    assert!(jobs(&world)[2].contains("StartUnit"), "{:?}", jobs(&world));
    world.units.get_mut(&unit).unwrap().service = Service::Healthy;
    world.operator(&unit, true);
    world.play(secs(600));
    world.end(&unit, true);
    world.play(secs(30));
    assert!(jobs(&world).last().unwrap().contains("step: Restart"), "{:?}", jobs(&world));
}

#[test]
fn operator_stop_is_respected_for_respect_stop() {
    let (mut world, name, unit) = one();
    world.operator(&unit, false);
    world.play(secs(299));
    assert!(
        matches!(&world.health(&name).suppressed_by, Some(SuppressedBy::Stopped { until: Some(_) })),
        "{:?}",
        world.health(&name)
    );
    assert_eq!((world.jobs(&unit), world.kinds()), (0, vec![]));
    world.play(secs(30));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 1), "{}", world.timeline());
    assert_eq!(world.kinds(), [Down, Recovered]);
}

#[test]
fn operator_stop_undone_in_time_is_no_incident() {
    let (mut world, name, unit) = one();
    world.operator(&unit, false);
    world.play(secs(200));
    world.operator(&unit, true);
    world.play(secs(600));
    assert_eq!((world.health(&name), world.jobs(&unit), world.kinds()), (Health::PASSING, 0, vec![]));
}

#[test]
fn respect_stop_may_be_forever_or_zero() {
    for (respect_stop, jobs) in [(Respect::Forever, 0), (Respect::For(Duration::ZERO), 1)] {
        let mut check = check("web", "web.service");
        check.recovery.respect_stop = respect_stop;
        let unit = check.unit.clone().unwrap();
        let mut world = World::new(vec![check]);
        world.play(secs(60));
        world.units.get_mut(&unit).unwrap().stopped_at = None;
        world.operator(&unit, false);
        world.units.get_mut(&unit).unwrap().stopped_at = None;
        world.play(secs(86_400));
        assert_eq!(world.jobs(&unit), jobs, "{respect_stop:?}");
    }
}

#[test]
fn operator_stop_is_respected_after_daemon_restart() {
    let (mut world, name, unit) = one();
    world.operator(&unit, false);
    world.play(secs(100));
    world.restart_daemon(secs(1));
    world.play(secs(150));
    assert!(
        matches!(&world.health(&name).suppressed_by, Some(SuppressedBy::Stopped { .. })),
        "{:?}",
        world.health(&name)
    );
    world.play(secs(100));
    assert_eq!(world.jobs(&unit), 1);
}

#[test]
fn no_job_while_unit_or_manager_forbids_it() {
    let (mut world, name, unit) = one();
    world.set_manager(ManagerState::Stopping);
    world.end(&unit, true);
    world.play(secs(600));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::DOWN, 0));
    world.set_manager(ManagerState::Running);
    assert_eq!(world.jobs(&unit), 1, "and at once when it is");

    let (mut world, _, unit) = one();
    world.units.get_mut(&unit).unwrap().state.load = LoadState::Masked;
    world.tell_unit(&unit);
    world.end(&unit, true);
    set(&mut world, &unit, Service::Broken);
    world.play(secs(600));
    assert_eq!((world.jobs(&unit), world.kinds()), (0, vec![Down]), "{}", world.timeline());
}

#[test]
fn crash_loop_is_an_incident_without_a_job() {
    let (mut world, name, unit) = one();
    for n in 1..=6 {
        let state = &mut world.units.get_mut(&unit).unwrap().state;
        state.active = ActiveState::Activating;
        state.sub = "auto-restart".into();
        state.result = "signal".into();
        world.tell_unit(&unit);
        world.play(secs(1));
        let state = &mut world.units.get_mut(&unit).unwrap().state;
        state.active = ActiveState::Active;
        state.sub = "running".into();
        state.n_restarts = n;
        state.invocation_id = format!("{n:032}");
        world.tell_unit(&unit);
        world.play(secs(3));
    }
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::DOWN, 0), "{}", world.timeline());
    world.play(secs(15));
    assert_eq!(world.kinds(), [ActionRequired]);
    assert!(world.notifications[0].cause.contains("crash-looping"), "{}", world.notifications[0].cause);
    world.play(secs(300));
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![ActionRequired, Recovered]));
}

#[test]
fn checks_of_one_unit_share_one_job() {
    let checks =
        vec![check("web-a", "web.service"), check("web-b", "web.service"), check("web-c", "web.service")];
    let unit = checks[0].unit.clone().unwrap();
    let mut world = World::new(checks);
    world.play(secs(60));
    set(&mut world, &unit, Service::Hung);
    world.play(secs(120));
    assert_eq!(world.jobs(&unit), 1, "{}", world.timeline());
    assert!(world.open_incidents().is_empty());
    for notification in world.notifications.iter().filter(|notification| notification.kind == Recovered) {
        assert_eq!(notification.attempts.len(), 1, "the attempt of one is told to all: {notification:?}");
    }
}

#[test]
fn pause_lasts_until_its_end_over_daemon_restart() {
    let (mut world, name, unit) = one();
    world.pause(&name, secs(3600));
    let probes = world.probes;
    set(&mut world, &unit, Service::Broken);
    world.end(&unit, true);
    world.play(secs(1800));
    world.restart_daemon(secs(10));
    world.play(secs(1700));
    assert_eq!((world.probes, world.jobs(&unit), world.kinds()), (probes, 0, vec![]));
    world.play(secs(200));
    assert_eq!(world.health(&name), Health::DOWN);
    assert!(world.jobs(&unit) > 0);
}

#[test]
fn resume_ends_pause_and_pause_drops_the_running_probe() {
    let (mut world, name, unit) = one();
    set(&mut world, &unit, Service::Broken);
    world.pause(&name, secs(3600));
    world.play(secs(10));
    world.tell(Event::Command(Command::Resume(name.clone())));
    world.play(secs(30));
    assert_eq!(world.health(&name), Health::DOWN);
}

#[test]
fn job_done_without_new_run_is_ineffective() {
    let (mut world, _, unit) = one();
    let mut checks = world.checks.clone();
    checks[0].recovery.steps = vec![Step::Reload, Step::Start];
    world.checks = checks.clone();
    world.tell(Event::Configured(checks));
    set(&mut world, &unit, Service::Broken);
    world.play(secs(200));
    let attempts = &world.notifications.last().unwrap().attempts;
    assert!(matches!(&attempts[0].outcome, Some(AttemptOutcome::Ineffective(_)) | None), "{attempts:?}");
}

#[test]
fn alert_after_delays_and_reminder_follows() {
    let mut check = check("dns", "dns.service");
    check.unit = None;
    check.recovery.steps.clear();
    check.alert.after = secs(600);
    check.alert.repeat_interval = Some(secs(4 * 3600));
    let mut world = World::new(vec![check]);
    world.play(secs(500));
    assert_eq!(world.kinds(), []);
    world.play(secs(200));
    assert_eq!(world.kinds(), [Down]);
    world.play(secs(9 * 3600));
    assert_eq!(world.kinds(), [Down, StillDown, StillDown]);
}

#[test]
fn suspend_causes_no_burst_of_probes() {
    let checks: Vec<Check> = (0..200).map(|n| check(&format!("c{n}"), &format!("u{n}.service"))).collect();
    let mut world = World::new(checks);
    world.play(secs(120));
    let before = world.probes;
    world.now.mono = world.now.mono.after(secs(8 * 3600));
    world.now.wall = world.now.wall.after(secs(8 * 3600));
    world.tell(Event::Tick);
    assert!(world.probes - before < 20, "{} at once", world.probes - before);
    world.play(secs(11));
    assert!(world.probes - before >= 200, "but all within the first ten seconds");
    assert!(world.kinds().is_empty());
}

#[test]
fn wall_clock_jump_changes_nothing() {
    let (mut world, name, _) = one();
    let before = world.probes;
    for jump in [-86_400_000_i64, 365 * 86_400_000, -3600] {
        world.now.wall.0 += jump;
        world.play(secs(300));
    }
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![]));
    assert!((25..=35).contains(&(world.probes - before)), "{} in 15 minutes", world.probes - before);
}

#[test]
fn unchanged_checks_keep_their_state_over_reload() {
    let (mut world, name, unit) = one();
    set(&mut world, &unit, Service::WontStart);
    world.end(&unit, true);
    world.play(secs(60));
    let jobs = world.jobs(&unit);
    let mut checks = world.checks.clone();
    checks.push(check("more", "more.service"));
    world.tell(Event::Configured(checks));
    assert_eq!(world.health(&name), Health::DOWN);
    assert_eq!(world.jobs(&unit), jobs);
    world.play(secs(30));
    let of_web = world.notifications.iter().filter(|notification| notification.check == name);
    assert_eq!(of_web.count(), 1, "no second opening");
}

#[test]
fn attempts_unproven_by_daemon_restarts_require_action() {
    let (mut world, _, unit) = one();
    set(&mut world, &unit, Service::Broken);
    for attempts in 1..9 {
        for _ in 0..600 {
            if world.jobs(&unit) >= attempts {
                break;
            }
            world.play(secs(1));
        }
        assert_eq!(world.jobs(&unit), attempts, "{}", world.timeline());
        // Long before its grace is over.
        world.play(secs(2));
        world.restart_daemon(secs(1));
    }
    world.play(secs(60));
    assert_eq!(world.kinds(), [Down, ActionRequired], "{}", world.timeline());
}
