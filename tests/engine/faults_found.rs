//! What adversarial users of the package found on booted machines.

use stealthcheck::check::Step::{Restart as RestartUnit, StartUnit};
use stealthcheck::unit::{JobKind, ManagerState};

use crate::machine::*;

/// The bus was away, and nothing happened meanwhile: a clean exit later is an end like any other, and no operator's stop.
#[test]
fn clean_exit_after_the_bus_was_away_is_recovered() {
    for after in [1, 20, 70] {
        let mut m = Machine::new().unit(service("web")).check(unit_check("web")).up();
        m.lose_bus();
        m.run_for(3);
        m.bus_returns();
        m.run_for(after);
        m.exit("web", Exit::Status(0));
        m.run_for(30);
        assert!(m.is_up("web"), "{after} s after: {}", m.timeline());
    }
}

/// A restart of the root would restart what requires it, which wants what an operator has stopped or holds: a root that is
/// down is started instead.
#[test]
fn restart_of_a_root_starts_nothing_stopped_through_its_dependents() {
    for held in [false, true] {
        let app = service("app").requires(&["root"]).wants(&["aside"]).after(&["root"]);
        let mut m = Machine::new()
            .unit(service("root"))
            .unit(app)
            .unit(service("aside"))
            .check(unit_check("root"))
            .check(unit_check("app"))
            .check(unit_check("aside"))
            .up();
        if held {
            m.hold_and_stop("aside", 120);
        } else {
            m.stop("aside");
        }
        m.run_for(5);
        m.kill("root");
        m.run_for(60);
        assert_eq!((m.is_up("root"), m.is_up("aside")), (true, false), "{}", m.timeline());
        assert_eq!(m.job_kinds("root"), [JobKind::Start]);
    }
}

/// A `start` step starts what its unit requires: not what an operator has stopped or holds, whether monitored or not.
#[test]
fn start_step_starts_nothing_stopped_through_its_unit() {
    for (held, monitored) in [(false, true), (false, false), (true, true)] {
        let steps = [RestartUnit, StartUnit(unit_name("helper"))];
        let mut m = Machine::new()
            .unit(service("main"))
            .unit(service("helper").requires(&["store"]).not_enabled())
            .unit(service("store"))
            .check(unit_check("main").recover(&steps).backoff(1, 5));
        if monitored {
            m = m.check(unit_check("store"));
        }
        let mut m = m.up();
        if held {
            m.hold_and_stop("store", 300);
        } else {
            m.stop("store");
        }
        m.run_for(2);
        m.edit("main", |file| *file = file.clone().fails_to_start());
        m.kill("main");
        m.run_for(60);
        assert!(!m.is_up("store"), "{}", m.timeline());
    }
}

/// The state of the manager is the last that the daemon learns when it starts: before it, nothing is requested.
#[test]
fn unit_never_active_in_this_boot_is_not_started_while_the_machine_boots() {
    let slow = oneshot("slow", 300).enabled();
    let mut m =
        Machine::new().unit(slow).unit(service("web").not_enabled()).check(unit_check("web")).booting();
    m.run_for(5);
    m.restart_daemon();
    m.run_for(60);
    assert_eq!(m.systemd.manager(), ManagerState::Starting);
    assert_eq!(m.jobs("web"), 0, "{}", m.timeline());
}

/// The machine sleeps before systemd has told how it is. The sleep counts little towards the time that is waited for that.
#[test]
fn nothing_is_requested_before_the_first_report_when_the_machine_has_slept() {
    let slow = oneshot("slow", 8_000).enabled();
    let mut m = Machine::new()
        .unit(slow)
        .unit(service("web").not_enabled())
        .check(unit_check("web"))
        .latency(2_000)
        .booting();
    m.run_for(1);
    m.sleep(3_600);
    m.run_for(60);
    assert_eq!(m.systemd.manager(), ManagerState::Starting);
    assert_eq!(m.jobs("web"), 0, "{}", m.timeline());
}

/// An operator stops a unit in its incident, before anybody is notified. A restart of the daemon notifies nobody: how the
/// unit is, is read first.
#[test]
fn restart_of_the_daemon_notifies_nobody_of_a_stopped_unit() {
    for seed in 0..8 {
        let mut m = Machine::new()
            .unit(service("web").start_pre(30))
            .check(unit_check("web").with(|check| check.alert.after = std::time::Duration::from_secs(20)))
            .up();
        m.set_delays(Delay::random(seed, 0, 400), Delay::NONE);
        m.kill("web");
        m.run_for(3);
        m.stop("web");
        m.run_for(25);
        m.restart_daemon();
        m.run_for(60);
        assert!(m.notifications("web").is_empty(), "seed {seed}: {}", m.timeline());
        assert_eq!(m.state("web"), "stopped");
    }
}

/// A unit is stopped and its file removed, as by the removal of a package.
#[test]
fn stop_outlasts_the_unit_file() {
    let mut m = Machine::new().unit(service("web")).check(unit_check("web").respect_stop(None)).up();
    m.stop("web");
    m.run_for(10);
    let web = m.unit_name("web");
    m.systemd.set_removed(&web, true);
    m.run_for(600);
    assert_eq!(m.state("web"), "stopped", "{}", m.timeline());
    m.assert_quiet();
}

/// Of two checks of a unit the one that respects a stop longer counts.
#[test]
fn longest_respect_stop_of_a_unit_counts() {
    let quick = http("quick").on("web").respect_stop(Some(3));
    let mut m =
        Machine::new().unit(service("web")).check(quick).check(unit_check("web").respect_stop(None)).up();
    m.stop("web");
    m.run_for(600);
    assert!(!m.is_up("web"), "{}", m.timeline());
    m.assert_quiet();
}

/// A request waits for others and for polkit. An operator who stops, pauses or holds the unit meanwhile comes first.
#[test]
fn request_in_line_is_withdrawn() {
    type Meanwhile = fn(&mut Machine);
    let cases: [(&str, Meanwhile, bool); 3] = [
        ("stopped", |m| m.stop("web"), false),
        ("paused", |m| m.pause("web", 600), false),
        ("passing", |m| drop(m.hold_and_stop("web", 30)), true),
    ];
    for (state, meanwhile, comes_back) in cases {
        let mut m = Machine::new().unit(service("web")).check(unit_check("web")).up();
        m.set_request_delay(std::time::Duration::from_secs(3));
        m.kill("web");
        m.run_for(1);
        meanwhile(&mut m);
        m.run_for(20);
        assert!(!m.is_up("web"), "{state}: {}", m.timeline());
        assert_eq!(m.jobs("web"), 0, "{state}: {}", m.timeline());
        m.run_for(60);
        assert_eq!((m.is_up("web"), m.state("web")), (comes_back, state), "{}", m.timeline());
    }
}

/// The same for the start at the end of a hold: an operator's stop ends it.
#[test]
fn start_after_hold_in_line_is_withdrawn() {
    let mut m = Machine::new().unit(service("web")).check(unit_check("web")).up();
    m.set_request_delay(std::time::Duration::from_secs(3));
    let hold = m.hold_and_stop("web", 600);
    m.run_for(5);
    m.release(&hold, stealthcheck::engine::hold::HowEnded::Done);
    m.run_for(1);
    m.stop("web");
    m.run_for(60);
    assert!(!m.is_up("web"), "{}", m.timeline());
    assert_eq!(m.state("web"), "stopped");
    m.assert_quiet();
}

/// A job takes the place of no other: an operator's stop that is under way goes on.
#[test]
fn restart_replaces_no_stop_that_is_under_way() {
    let mut m = Machine::new().unit(service("web").stop_takes(20)).check(http("web")).up();
    m.set_delays(Delay::random(7, 1500, 1500), Delay::NONE);
    m.hang("web");
    assert!(m.run_until_it_holds(300, |m| m.jobs("web") > 0 || m.has_incident("web")), "{}", m.timeline());
    m.stop("web");
    m.run_for(200);
    assert!(!m.is_up("web"), "{}", m.timeline());
}

/// The holder's stop takes longer than the hold, and longer than a start after it is waited for.
#[test]
fn unit_whose_stop_outlasts_its_hold_is_started_again() {
    let mut m =
        Machine::new().unit(service("web").stop_takes(600)).check(unit_check("web").only_notified()).up();
    let hold = m.hold("web", 3600);
    m.run_for(2);
    m.stop("web");
    m.run_for(5);
    m.release(&hold, stealthcheck::engine::hold::HowEnded::Done);
    assert!(m.run_until_it_holds(700, |m| m.runs("web") == 2), "{}", m.timeline());
    m.assert_not_notified("web");
}

/// systemd restarts a unit several times while the bus is away. Within what time is not known: it is no crash loop.
#[test]
fn restarts_that_nobody_watched_are_no_crash_loop() {
    let file = service("web").restart(Restart::Always, std::time::Duration::from_secs(1)).no_start_limit();
    let mut m = Machine::new().unit(file).check(unit_check("web")).up();
    m.lose_bus();
    for _ in 0..6 {
        m.run_for(1200);
        m.exit("web", Exit::Status(1));
    }
    m.run_for(600);
    m.bus_returns();
    m.run_for(60);
    assert_eq!(m.count("web", stealthcheck::notification::NotificationKind::Down), 0, "{}", m.timeline());
    assert_eq!(m.state("web"), "passing");
}

/// An incident that nobody was notified of, as an operator then stopped the unit, ends in silence when its check is renamed.
#[test]
fn renamed_check_of_a_stopped_unit_notifies_nobody() {
    let mut m = Machine::new().unit(service("web").start_pre(20)).check(unit_check("web")).up();
    m.kill("web");
    m.run_for(1);
    m.stop("web");
    m.run_for(15);
    m.reload(vec![unit_check("other").on("web")]);
    m.run_for(60);
    m.assert_not_notified("web");
    assert_eq!(m.state("other"), "stopped", "{}", m.timeline());
}

/// The wall clock is set by a year between a stop that nobody saw and the reading that finds it: it is no older than the
/// latest reading that found the unit up.
#[test]
fn stop_that_nobody_saw_is_young_after_a_wall_clock_change() {
    for daemon in [false, true] {
        let mut m = Machine::new().unit(service("web")).check(unit_check("web")).up();
        if daemon {
            m.stop_daemon()
        } else {
            m.lose_bus()
        }
        m.run_for(5);
        m.stop("web");
        m.run_for(10);
        m.set_clock(365 * 86_400);
        m.run_for(5);
        if daemon {
            m.start_daemon()
        } else {
            m.bus_returns()
        }
        m.run_for(60);
        assert!(!m.is_up("web"), "{}", m.timeline());
        m.assert_not_notified("web");
    }
}

/// An operator stops a unit, and then holds and stops what it requires: two stops, of which the hold's end ends one.
#[test]
fn stop_of_a_dependent_just_before_the_hold_of_its_root_is_respected() {
    for before in [false, true] {
        let app = service("app").requires(&["db"]).after(&["db"]);
        let mut m = Machine::new()
            .unit(service("db"))
            .unit(app)
            .check(unit_check("db"))
            .check(unit_check("app"))
            .up();
        if before {
            m.stop("app");
            m.run_for_millis(600);
        }
        let hold = m.hold_and_stop("db", 60);
        m.run_for(30);
        m.release(&hold, stealthcheck::engine::hold::HowEnded::Done);
        m.run_for(60);
        assert_eq!((m.is_up("db"), m.is_up("app")), (true, !before), "{}", m.timeline());
        m.run_for(300);
        assert!(m.is_up("app"), "{}", m.timeline());
    }
}
