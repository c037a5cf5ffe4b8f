//! Each rule as a short story with a known end.

use std::sync::Arc;
use std::time::Duration;

use stealthcheck::check::{
    AfterStop, Alert, Check, CheckName, HostPort, Probe, Recovery, Rung, Schedule, TcpProbe,
};
use stealthcheck::engine::{Command, Event};
use stealthcheck::notice::{NoticeKind, Proof};
use stealthcheck::unit::{ActiveState, LoadState, ManagerState, UnitName};
use stealthcheck::verdict::Health;

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
        recovery: Recovery { ladder: vec![Rung::Restart], ..Recovery::default() },
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
    assert_eq!(world.health(&name), Health::Passing);
    (world, name, unit)
}

fn set(world: &mut World, unit: &UnitName, service: Service) {
    world.units.get_mut(unit).unwrap().service = service;
}

use NoticeKind::{Down, NeedsYou, Recovered, StillDown};

#[test]
fn a_hung_service_is_down_after_its_failures_and_back_after_one_restart() {
    let (mut world, name, unit) = one();
    set(&mut world, &unit, Service::Hung);
    world.play(secs(35));
    assert!(matches!(world.health(&name), Health::Failing { .. }), "{:?}", world.health(&name));
    assert_eq!(world.jobs(&unit), 0, "not before the third failure");
    world.play(secs(60));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::Passing, 1), "{}", world.timeline());
    assert_eq!(world.kinds(), [Down, Recovered]);
    let told = &world.notices[1];
    assert_eq!(told.attempts.len(), 1);
    assert_eq!(told.attempts[0].verdict, Some(Proof::Worked));
}

#[test]
fn a_process_that_ends_without_a_stop_job_is_a_failure_at_once() {
    for failed in [false, true] {
        let (mut world, name, unit) = one();
        let before = world.now.mono;
        world.end(&unit, failed);
        assert_eq!(world.units[&unit].asked, [before], "the job is asked for in the same moment");
        assert_eq!(world.health(&name), Health::Down);
        world.play(secs(5));
        assert_eq!((world.health(&name), world.kinds()), (Health::Passing, vec![Down, Recovered]));
    }
}

#[test]
fn the_opening_notice_tells_of_the_first_recovery() {
    let (mut world, _, unit) = one();
    set(&mut world, &unit, Service::WontStart);
    world.end(&unit, true);
    world.play(secs(2));
    assert_eq!(world.kinds(), [Down]);
    assert_eq!(world.notices[0].attempts.len(), 1);
    assert!(world.notices[0].attempts[0].result.is_some(), "its job's result is known");
}

#[test]
fn an_opening_notice_does_not_wait_for_a_job_that_does_not_end() {
    let (mut world, _, unit) = one();
    world.job_takes = secs(3600);
    world.end(&unit, true);
    world.play(secs(11));
    assert_eq!(world.kinds(), [Down]);
    world.play(secs(300));
    assert_eq!(world.kinds(), [Down, NeedsYou], "a job of five minutes is for a person to look at");
    assert_eq!(world.jobs(&unit), 1);
}

#[test]
fn attempts_back_off_and_call_for_a_person_and_go_on_slowly() {
    let (mut world, name, unit) = one();
    set(&mut world, &unit, Service::WontStart);
    world.end(&unit, true);
    world.play(secs(3600));
    let asked = &world.units[&unit].asked;
    let gaps: Vec<u64> = asked.windows(2).map(|w| w[1].since(w[0]).as_secs()).collect();
    assert_eq!(gaps[..6], [10, 20, 40, 80, 160, 300], "{gaps:?}");
    assert!(gaps[6..].iter().all(|gap| *gap == 300) && gaps.len() > 12, "{gaps:?}");
    assert_eq!(world.kinds(), [Down, NeedsYou]);
    set(&mut world, &unit, Service::Healthy);
    world.play(secs(400));
    assert_eq!((world.health(&name), world.kinds()), (Health::Passing, vec![Down, NeedsYou, Recovered]));
}

#[test]
fn a_ladder_is_climbed_and_a_limit_kept() {
    let mut check = check("web", "web.service");
    let other = UnitName::new("gru-terminate.service").unwrap();
    check.recovery.ladder = vec![Rung::Restart, Rung::Restart, Rung::StartUnit(other.clone())];
    check.recovery.limit = Some(3);
    let unit = check.unit.clone().unwrap();
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    set(&mut world, &unit, Service::WontStart);
    world.end(&unit, true);
    world.play(secs(7200));
    let asked: Vec<&String> = world.log.iter().filter(|line| line.contains("StartJob")).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1].contains("Restart") && asked[2].contains("gru-terminate.service"), "{asked:?}");
    assert_eq!(world.kinds(), [Down, NeedsYou]);
}

#[test]
fn what_comes_back_soon_begins_a_rung_higher_and_what_stays_healthy_begins_anew() {
    let mut check = check("web", "web.service");
    let other = UnitName::new("other.service").unwrap();
    check.recovery.ladder = vec![Rung::Restart, Rung::StartUnit(other)];
    let unit = check.unit.clone().unwrap();
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    let jobs =
        |world: &World| world.log.iter().filter(|l| l.contains("StartJob")).cloned().collect::<Vec<_>>();
    world.end(&unit, true);
    world.play(secs(30));
    world.end(&unit, true);
    world.play(secs(30));
    assert!(jobs(&world)[1].contains("StartUnit"), "{:?}", jobs(&world));
    world.play(secs(600));
    world.end(&unit, true);
    world.play(secs(30));
    assert!(jobs(&world)[2].contains("step: Restart"), "{:?}", jobs(&world));
}

#[test]
fn a_stop_by_somebody_is_respected_for_a_while_and_then_ended() {
    let (mut world, name, unit) = one();
    world.operator(&unit, false);
    world.play(secs(299));
    assert!(matches!(world.health(&name), Health::Stopped { until: Some(_) }), "{:?}", world.health(&name));
    assert_eq!((world.jobs(&unit), world.kinds()), (0, vec![]));
    world.play(secs(30));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::Passing, 1), "{}", world.timeline());
    assert_eq!(world.kinds(), [Down, Recovered]);
}

#[test]
fn a_stop_that_is_undone_in_time_is_no_incident() {
    let (mut world, name, unit) = one();
    world.operator(&unit, false);
    world.play(secs(200));
    world.operator(&unit, true);
    world.play(secs(600));
    assert_eq!((world.health(&name), world.jobs(&unit), world.kinds()), (Health::Passing, 0, vec![]));
}

#[test]
fn after_stop_may_be_never_or_at_once() {
    for (after_stop, jobs) in [(AfterStop::Never, 0), (AfterStop::After(Duration::ZERO), 1)] {
        let mut check = check("web", "web.service");
        check.recovery.after_stop = after_stop;
        let unit = check.unit.clone().unwrap();
        let mut world = World::new(vec![check]);
        world.play(secs(60));
        world.units.get_mut(&unit).unwrap().stopped_at = None;
        world.operator(&unit, false);
        world.units.get_mut(&unit).unwrap().stopped_at = None;
        world.play(secs(86_400));
        assert_eq!(world.jobs(&unit), jobs, "{after_stop:?}");
    }
}

#[test]
fn a_stop_is_still_respected_after_a_restart_of_the_daemon() {
    let (mut world, name, unit) = one();
    world.operator(&unit, false);
    world.play(secs(100));
    world.restart_daemon(secs(1));
    world.play(secs(150));
    assert!(matches!(world.health(&name), Health::Stopped { .. }), "{:?}", world.health(&name));
    world.play(secs(100));
    assert_eq!(world.jobs(&unit), 1);
}

#[test]
fn nothing_is_asked_for_while_it_is_not_ours_to_act() {
    let (mut world, name, unit) = one();
    world.set_manager(ManagerState::Stopping);
    world.end(&unit, true);
    world.play(secs(600));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::Down, 0));
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
fn systemd_restarting_a_service_again_and_again_is_an_incident_without_a_job() {
    let (mut world, name, unit) = one();
    for n in 1..=6 {
        let state = &mut world.units.get_mut(&unit).unwrap().state;
        state.active = ActiveState::Activating;
        state.sub = "auto-restart".into();
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
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::Down, 0), "{}", world.timeline());
    world.play(secs(15));
    assert_eq!(world.kinds(), [Down]);
    assert!(world.notices[0].cause.contains("crash-looping"), "{}", world.notices[0].cause);
    world.play(secs(300));
    assert_eq!((world.health(&name), world.kinds()), (Health::Passing, vec![Down, Recovered]));
}

#[test]
fn several_checks_of_one_unit_share_one_recovery() {
    let checks =
        vec![check("web-a", "web.service"), check("web-b", "web.service"), check("web-c", "web.service")];
    let unit = checks[0].unit.clone().unwrap();
    let mut world = World::new(checks);
    world.play(secs(60));
    set(&mut world, &unit, Service::Hung);
    world.play(secs(120));
    assert_eq!(world.jobs(&unit), 1, "{}", world.timeline());
    assert!(world.open_incidents().is_empty());
    for notice in world.notices.iter().filter(|notice| notice.kind == Recovered) {
        assert_eq!(notice.attempts.len(), 1, "the attempt of one is told to all: {notice:?}");
    }
}

#[test]
fn a_paused_check_is_left_alone_until_its_time_even_across_a_restart() {
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
    assert_eq!(world.health(&name), Health::Down);
    assert!(world.jobs(&unit) > 0);
}

#[test]
fn resume_ends_a_pause_and_a_pause_ends_an_observation_under_way() {
    let (mut world, name, unit) = one();
    set(&mut world, &unit, Service::Broken);
    world.pause(&name, secs(3600));
    world.play(secs(10));
    world.tell(Event::Command(Command::Resume(name.clone())));
    world.play(secs(30));
    assert_eq!(world.health(&name), Health::Down);
}

#[test]
fn a_job_that_is_done_without_a_new_run_has_not_worked() {
    let (mut world, _, unit) = one();
    let mut checks = world.checks.clone();
    checks[0].recovery.ladder = vec![Rung::Reload, Rung::Start];
    world.checks = checks.clone();
    world.tell(Event::Configured(checks));
    set(&mut world, &unit, Service::Broken);
    world.play(secs(200));
    let attempts = &world.notices.last().unwrap().attempts;
    assert!(matches!(&attempts[0].verdict, Some(Proof::DidNotHelp(_)) | None), "{attempts:?}");
}

#[test]
fn an_alert_may_wait_and_a_reminder_comes() {
    let mut check = check("dns", "dns.service");
    check.unit = None;
    check.recovery.ladder.clear();
    check.alert.after = secs(600);
    check.alert.remind = Some(secs(4 * 3600));
    let mut world = World::new(vec![check]);
    world.play(secs(500));
    assert_eq!(world.kinds(), []);
    world.play(secs(200));
    assert_eq!(world.kinds(), [Down]);
    world.play(secs(9 * 3600));
    assert_eq!(world.kinds(), [Down, StillDown, StillDown]);
}

#[test]
fn a_suspended_machine_makes_no_burst() {
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
fn the_wall_clock_may_jump_and_nothing_happens() {
    let (mut world, name, _) = one();
    let before = world.probes;
    for jump in [-86_400_000_i64, 365 * 86_400_000, -3600] {
        world.now.wall.0 += jump;
        world.play(secs(300));
    }
    assert_eq!((world.health(&name), world.kinds()), (Health::Passing, vec![]));
    assert!((25..=35).contains(&(world.probes - before)), "{} in 15 minutes", world.probes - before);
}

#[test]
fn checks_that_did_not_change_keep_their_state_over_a_new_configuration() {
    let (mut world, name, unit) = one();
    set(&mut world, &unit, Service::WontStart);
    world.end(&unit, true);
    world.play(secs(60));
    let jobs = world.jobs(&unit);
    let mut checks = world.checks.clone();
    checks.push(check("more", "more.service"));
    world.tell(Event::Configured(checks));
    assert_eq!(world.health(&name), Health::Down);
    assert_eq!(world.jobs(&unit), jobs);
    world.play(secs(30));
    let of_web = world.notices.iter().filter(|notice| notice.check == name);
    assert_eq!(of_web.count(), 1, "no second opening");
}

#[test]
fn attempts_that_no_life_of_the_daemon_could_judge_call_for_a_person_too() {
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
    assert_eq!(world.kinds(), [Down, NeedsYou], "{}", world.timeline());
}
