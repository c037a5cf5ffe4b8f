//! What goes down with another unit, and comes back with it.

use stealthcheck::check::Step::{Start as StartSelf, Stop as StopUnit};

use crate::machine::*;

/// systemd restarts the root itself and does not bring back what was bound to it.
#[test]
fn unit_bound_to_a_root_that_systemd_restarts_comes_back() {
    for (root_is_monitored, enabled) in [(true, true), (false, true), (true, false), (false, false)] {
        let vpn = service("vpn").restart(Restart::Always, std::time::Duration::from_secs(1));
        let mut cli = service("cli").binds_to(&["vpn"]).after(&["vpn"]);
        if !enabled {
            cli = cli.not_enabled();
        }
        let mut m = Machine::new().unit(vpn).unit(cli).check(unit_check("cli").respect_stop(None));
        if root_is_monitored {
            m = m.check(unit_check("vpn"));
        }
        let mut m = m.up();
        m.kill("vpn");
        assert!(m.run_until_it_holds(5, |m| !m.is_up("cli")), "{}", m.timeline());
        assert!(m.run_until_it_holds(30, |m| m.is_up("cli")), "{}", m.timeline());
    }
}

/// The same where the root has failed for good, and no check monitors it: the start of the unit starts the root as well.
#[test]
fn unit_bound_to_an_unmonitored_root_that_fails_comes_back() {
    let cli = service("cli").binds_to(&["vpn"]).after(&["vpn"]);
    let mut m =
        Machine::new().unit(service("vpn")).unit(cli).check(unit_check("cli").respect_stop(None)).up();
    m.kill("vpn");
    assert!(m.run_until_it_holds(30, |m| m.is_up("cli") && m.is_up("vpn")), "{}", m.timeline());
}

/// An operator restarts a dependent whose root does not come up: systemd stops it and drops its start. It has not ended by
/// itself, however early it is read; it is started again when its root is back, and the root's notification covers it.
#[test]
fn unit_whose_start_systemd_dropped_waits_for_its_root() {
    for seed in 0..24 {
        let db = || service("db").notify(1);
        let app = service("app").requires(&["db"]).after(&["db"]);
        let mut m = Machine::new().unit(db()).unit(app).check(unit_check("db")).check(unit_check("app")).up();
        m.set_delays(Delay::random(seed, 0, 400), Delay::NONE);
        m.edit("db", |file| *file = file.clone().fails_to_start());
        m.kill("db");
        m.restart("app");
        m.run_for(40);
        assert_eq!(m.jobs("app"), 0, "seed {seed}: {}", m.timeline());
        m.assert_not_notified("app");
        m.edit("db", move |file| *file = db());
        assert!(m.run_until_it_holds(400, |m| m.is_up("db")), "seed {seed}: {}", m.timeline());
        assert!(m.run_until_it_holds(20, |m| m.is_up("app")), "seed {seed}: {}", m.timeline());
        m.assert_not_notified("app");
    }
}

/// `PropagatesStopTo=`: what stops with a root that fails, although it does not require it, nobody is notified of it, and it
/// is started when the root is back.
#[test]
fn unit_that_stops_with_a_root_it_does_not_require_waits_for_it() {
    for slow in [0, 25] {
        let vpn = service("vpn").start_pre(slow);
        let cli = service("cli").stop_propagated_from(&["vpn"]);
        let mut m = Machine::new().unit(vpn).unit(cli).check(unit_check("vpn")).check(unit_check("cli")).up();
        m.run_for(60);
        m.kill("vpn");
        m.run_for(120);
        assert!(m.is_up("vpn") && m.is_up("cli"), "{}", m.timeline());
        assert_eq!(m.jobs("vpn"), 1);
        assert_eq!(m.jobs("cli"), 1);
        m.assert_not_notified("cli");
        let cli_up = m.last_change("cli").0;
        assert!(cli_up > m.last_change("vpn").0, "the root comes first: {}", m.timeline());
    }
}

/// The same unit fails alone, while the other one is stopped: nothing keeps it from being restarted.
#[test]
fn unit_that_fails_beside_a_stopped_unit_it_does_not_require_is_restarted() {
    let cli = service("cli").stop_propagated_from(&["vpn"]);
    let vpn = unit_check("vpn").respect_stop(None);
    let mut m = Machine::new().unit(service("vpn")).unit(cli).check(vpn).check(unit_check("cli")).up();
    m.stop("vpn");
    m.run_for(30);
    assert!(!m.is_up("cli"));
    m.start("cli");
    m.run_for(30);
    m.kill("cli");
    m.run_for(30);
    assert!(m.is_up("cli") && !m.is_up("vpn"), "{}", m.timeline());
    assert_eq!(m.jobs("cli"), 1);
}

/// A `stop` step stops what requires, is bound to or is a part of the unit as well: that is no operator's stop. They come back
/// when the unit is back.
#[test]
fn what_a_stop_step_takes_down_comes_back() {
    let relations: [fn(UnitFile) -> UnitFile; 4] = [
        |file| file.requires(&["db"]).after(&["db"]),
        |file| file.binds_to(&["db"]).after(&["db"]),
        |file| file.part_of(&["db"]),
        |file| file.stop_propagated_from(&["db"]),
    ];
    for relation in relations {
        let steps = [StopUnit, StartSelf];
        let mut m = Machine::new()
            .unit(service("db"))
            .unit(relation(service("app")))
            .check(http("db").recover(&steps))
            .check(unit_check("app").respect_stop(None))
            .up();
        m.run_for(60);
        m.hang("db");
        assert!(m.run_until_it_holds(120, |m| m.job_kinds("db").len() == 2), "{}", m.timeline());
        m.run_for(60);
        assert!(m.is_up("db") && m.is_up("app"), "{}", m.timeline());
        m.assert_not_notified("app");
    }
}

/// A renewal, for which `web` makes room; `app` is a part of `web`, `shop` requires it, and `cart` is bound to it.
fn renewal() -> Machine {
    let renew = oneshot("renew", 20).conflicts(&["web"]).after(&["web"]).starts_at_its_end(&["web"]);
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(service("app").part_of(&["web"]))
        .unit(service("shop").requires(&["web"]).after(&["web"]))
        .unit(service("cart").binds_to(&["web"]).after(&["web"]))
        .unit(renew)
        .check(http("web"))
        .check(unit_check("app").respect_stop(None))
        .check(unit_check("shop"))
        .check(unit_check("cart"))
        .up();
    m.run_for(60);
    m
}

/// The same where the unit makes room for another one (`Conflicts=`), as in a renewal.
#[test]
fn what_goes_down_with_a_displaced_unit_comes_back_with_it() {
    let mut m = renewal();
    m.start("renew");
    m.run_for(10);
    assert!(!m.is_up("web") && !m.is_up("app"), "{}", m.timeline());
    m.run_for(60);
    for unit in ["web", "app", "shop", "cart"] {
        assert!(m.is_up(unit), "{unit}\n{}", m.timeline());
        m.assert_not_notified(unit);
    }
}

/// An operator stops a part of a unit; later the unit makes room for another one. The part stays stopped.
#[test]
fn stopped_part_of_a_displaced_unit_stays_stopped() {
    let mut m = renewal();
    m.stop("app");
    m.run_for(30);
    m.start("renew");
    m.run_for(120);
    assert!(m.is_up("web") && !m.is_up("app"), "{}", m.timeline());
    assert_eq!(m.state("app"), "stopped");
}

/// A hold with a stop of a unit whose stop is propagated (`PropagatesStopTo=`).
#[test]
fn what_stops_with_a_held_unit_comes_back_after_the_hold() {
    for enabled in [true, false] {
        let file = |name: &str| if enabled { service(name) } else { service(name).not_enabled() };
        let mut m = Machine::new()
            .unit(file("vpn"))
            .unit(file("cli").stop_propagated_from(&["vpn"]))
            .check(unit_check("vpn"))
            .check(unit_check("cli").respect_stop(None))
            .up();
        m.start("vpn");
        m.start("cli");
        m.run_for(60);
        m.hold_and_stop("vpn", 30);
        m.run_for(15);
        assert!(!m.is_up("vpn") && !m.is_up("cli"), "{}", m.timeline());
        m.run_for(60);
        assert!(m.is_up("vpn") && m.is_up("cli"), "{}", m.timeline());
        m.assert_not_notified("cli");
    }
}

/// The root fails while the daemon is away. systemd stopped what is bound to it, and nobody else did.
#[test]
fn dependent_of_a_root_that_failed_in_the_daemons_absence_comes_back() {
    for (monitored, enabled) in [(true, true), (false, true), (true, false), (false, false)] {
        let vpn = service("vpn");
        let cli = service("cli").binds_to(&["vpn"]).after(&["vpn"]);
        let cli = if enabled { cli.enabled() } else { cli.not_enabled() };
        let mut m = Machine::new().unit(vpn).unit(cli).check(unit_check("cli").respect_stop(None));
        if monitored {
            m = m.check(unit_check("vpn"));
        }
        let mut m = m.up();
        m.start("cli");
        m.run_for(60);
        m.stop_daemon();
        m.kill("vpn");
        m.run_for(3);
        m.start_daemon();
        assert!(m.run_until_it_holds(60, |m| m.is_up("cli")), "monitored {monitored}: {}", m.why("cli"));
    }
    // But not what an operator had stopped before.
    let cli = service("cli").binds_to(&["vpn"]).after(&["vpn"]).not_enabled();
    let mut m = Machine::new()
        .unit(service("vpn"))
        .unit(cli)
        .check(unit_check("cli").respect_stop(None))
        .check(unit_check("vpn"))
        .up();
    m.start("cli");
    m.run_for(60);
    m.stop("cli");
    m.run_for(60);
    m.stop_daemon();
    m.kill("vpn");
    m.run_for(3);
    m.start_daemon();
    m.run_for(120);
    assert!(!m.is_up("cli"), "{}", m.timeline());
}

/// Nobody has said how long the stop of a unit without checks is respected: as long as that of the unit that wants it.
#[test]
fn stop_of_a_wanted_unit_without_checks_withholds_a_restart_no_longer_than_one_of_the_unit_itself() {
    let mut m = Machine::new()
        .unit(service("cache"))
        .unit(service("web").wants(&["cache"]))
        .check(http("web").respect_stop(Some(300)))
        .up();
    m.stop("cache");
    m.run_for(10);
    m.kill("web");
    m.run_for(120);
    m.assert_no_job("web");
    m.run_for(400);
    assert!(m.is_up("web"), "{}", m.why("web"));
}
