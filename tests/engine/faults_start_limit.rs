//! systemd's start limit, with and without a `StartLimitAction=` (rule 7).

use stealthcheck::notification::NotificationKind::ActionRequired;

use crate::machine::*;

/// The daemon's own restarts never leave the unit dead for its start limit.
#[test]
fn own_restarts_do_not_use_up_the_start_limit() {
    let sensor = service("sensor").start_limit(3600, 3).hangs_after(8);
    let mut m = Machine::new().unit(sensor).check(http("sensor").interval(2)).up();
    let from = m.secs();
    m.run_for(1800);
    assert!(m.jobs("sensor") > 3, "it was restarted {} times", m.jobs("sensor"));
    let downtime = m.downtime_since("sensor", from);
    assert!(downtime < 10.0, "sensor was down for {downtime} s");
    assert_ne!(m.unit_state("sensor").result, "start-limit-hit");
}

/// With `StartLimitAction=reboot` the machine never reboots for the daemon's restarts.
#[test]
fn own_restarts_never_trip_start_limit_action() {
    let sensor = service("sensor").start_limit(3600, 3).start_limit_reboots().hangs_after(8);
    let mut m = Machine::new().unit(sensor).check(http("sensor").interval(2)).up();
    m.run_for(1800);
    assert!(!m.rebooted(), "the machine rebooted: {:?}", m.record.reboots);
    assert!(m.jobs("sensor") >= 1);
}

/// Where systemd was not asked, or has not reset the unit's counters, its start limit is as near as before.
#[test]
fn reset_that_did_not_happen_does_not_count() {
    let hurt = |m: &mut Machine| {
        m.hang("sensor");
        m.run_for(120);
    };
    for only_the_reset in [false, true] {
        let sensor = service("sensor").start_limit(86_400, 3).start_limit_reboots();
        let mut m = Machine::new().unit(sensor).check(http("sensor").interval(2)).up();
        hurt(&mut m);
        hurt(&mut m);
        assert_eq!(m.jobs("sensor"), 2);
        // The next start is one too many.
        let reject = |m: &mut Machine, rejected: bool| {
            if only_the_reset {
                m.reject_resets(rejected);
            } else {
                m.reject_jobs(rejected.then_some("polkit is away"));
            }
        };
        reject(&mut m, true);
        m.hang("sensor");
        m.run_for(3600);
        assert_eq!((m.jobs("sensor"), m.rebooted()), (2, false), "{only_the_reset}");
        assert!(m.notifications("sensor").contains(&ActionRequired));
        reject(&mut m, false);
        m.run_for(3600);
        assert_eq!((m.state("sensor"), m.jobs("sensor"), m.rebooted()), ("passing", 3, false));
    }
}

/// An operator's restarts that the daemon did not see count towards the start limit of a `StartLimitAction=reboot`.
#[test]
fn unseen_starts_never_trip_start_limit_action() {
    let web = || service("web").start_limit(600, 4).start_limit_reboots();
    let restarts = |m: &mut Machine| {
        for _ in 0..4 {
            m.restart("web");
            m.run_for(5);
        }
    };
    let before_daemon = || {
        let mut m = Machine::new().unit(web()).check(unit_check("web")).before_daemon();
        restarts(&mut m);
        m.start_daemon();
        m
    };
    let before_check = || {
        let mut m =
            Machine::new().unit(web()).unit(service("other")).check(unit_check("other")).before_daemon();
        m.start_daemon();
        m.run_for(700);
        restarts(&mut m);
        m.reload(vec![unit_check("web"), unit_check("other")]);
        m
    };
    let watched = || {
        let mut m = Machine::new().unit(web()).check(unit_check("web")).before_daemon();
        m.start_daemon();
        m.run_for(700);
        m
    };
    let while_away = || {
        let mut m = watched();
        m.stop_daemon();
        restarts(&mut m);
        m.start_daemon();
        m
    };
    let without_bus = || {
        let mut m = watched();
        m.lose_bus();
        restarts(&mut m);
        m.bus_returns();
        m
    };
    let cases: [&dyn Fn() -> Machine; 4] = [&before_daemon, &before_check, &while_away, &without_bus];
    for case in cases {
        let mut m = case();
        m.run_for(60);
        m.kill("web");
        m.run_for(60);
        assert!(!m.rebooted(), "the machine rebooted: {:?}\n{}", m.record.reboots, m.timeline());
        assert_eq!((m.jobs("web"), m.is_up("web")), (1, true), "{}", m.timeline());
    }
}

/// The client is slow for a moment, in which an operator restarts the unit several times: its start limit is as near as
/// the starts have brought it, not as near as the one reading after them shows.
#[test]
fn starts_between_two_readings_count() {
    for dependent in [false, true] {
        let web = service("web").start_limit(120, 5).start_limit_reboots();
        let root = service("root");
        let web = if dependent { web.requires(&["root"]).after(&["root"]) } else { web };
        let hit = if dependent { "root" } else { "web" };
        let mut m = Machine::new()
            .unit(root)
            .unit(web)
            .check(http("root").interval(2))
            .check(http("web").interval(2).only_notified())
            .latency(400);
        if !dependent {
            m = m.check(http("again").on("web").interval(2));
        }
        let mut m = m.up();
        for _ in 0..4 {
            m.restart("web");
            m.run_for_millis(50);
        }
        m.run_for(30);
        m.break_service(hit);
        m.run_for(90);
        assert!(!m.rebooted(), "{dependent}: the machine rebooted\n{}", m.timeline());
    }
}

/// A dependent whose check was removed long ago: its `StartLimitAction=` withholds no job once the interval is over.
#[test]
fn start_limit_action_of_a_unit_whose_check_was_removed_withholds_nothing_for_ever() {
    let app = service("app").requires(&["db"]).after(&["db"]).start_limit(300, 3).start_limit_reboots();
    let mut m = Machine::new().unit(service("db")).unit(app).check(http("db")).check(unit_check("app")).up();
    m.reload(vec![http("db")]);
    m.run_for(600);
    m.hang("db");
    m.run_for(120);
    assert_eq!(m.jobs("db"), 1, "{}", m.timeline());
    assert!(m.is_up("app") && !m.rebooted());
}
