//! What a job, a stop or a crash of one unit means for the units around it, as an adversarial user of the package found it.

use stealthcheck::check::Step::{Restart as RestartUnit, Start as StartSelf, StartUnit, Stop as StopUnit};
use stealthcheck::engine::hold::HowEnded;
use stealthcheck::notification::NotificationKind;

use crate::machine::*;

fn app_on_db() -> Machine {
    // Nothing else refers to the app: systemd unloads it in the moment in which it is down.
    let app = service("app").requires(&["db"]).after(&["db"]).not_enabled();
    let mut m =
        Machine::new().unit(service("db")).unit(app).check(unit_check("db")).check(unit_check("app")).up();
    m.start("app");
    m.run_for(60);
    m
}

/// An operator stops a dependent; a second later its root crashes, whose restart must not bring the dependent back.
#[test]
fn stop_just_before_root_crashes_is_respected() {
    for gap in [50, 1000, 2000, 5000] {
        let mut m = app_on_db();
        m.stop("app");
        m.run_for_millis(gap);
        m.kill("db");
        m.run_for(60);
        assert!(m.is_up("db"), "{}", m.timeline());
        assert!(!m.is_up("app"), "gap {gap} ms: {}", m.timeline());
        assert_eq!(m.state("app"), "stopped");
        m.assert_not_notified("app");
    }
}

/// The same stop while the root is down and the dependent is down for it.
#[test]
fn stop_while_root_is_down_is_respected() {
    let app = service("app").requires(&["db"]).after(&["db"]);
    let db = || service("db").notify(1);
    let mut m = Machine::new().unit(db()).unit(app).check(unit_check("db")).check(unit_check("app")).up();
    m.edit("db", |file| *file = file.clone().fails_to_start());
    m.kill("db");
    m.run_for(10);
    assert!(!m.is_up("app"), "{}", m.timeline());
    m.stop("app");
    m.run_for(2);
    m.edit("db", move |file| *file = db());
    assert!(m.run_until_it_holds(120, |m| m.is_up("db")), "{}", m.timeline());
    m.run_for(60);
    assert!(!m.is_up("app"), "{}", m.timeline());
    assert_eq!(m.state("app"), "stopped");
}

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

/// A stop of the root by an operator takes the bound unit down as well: both are respected.
#[test]
fn unit_bound_to_a_root_that_an_operator_stops_stays_down() {
    let cli = service("cli").binds_to(&["vpn"]).after(&["vpn"]);
    let mut m =
        Machine::new().unit(service("vpn")).unit(cli).check(unit_check("cli")).check(unit_check("vpn")).up();
    m.stop("vpn");
    m.run_for(120);
    assert!(!m.is_up("cli") && !m.is_up("vpn"), "{}", m.timeline());
    m.assert_not_notified("cli");
}

/// A `start` step starts neither what an operator has stopped nor what is held.
#[test]
fn start_step_leaves_a_stopped_or_held_unit_alone() {
    for (held, monitored) in [(false, false), (false, true), (true, true)] {
        let main = service("main");
        let steps = [RestartUnit, StartUnit(unit_name("helper"))];
        let mut m = Machine::new()
            .unit(main)
            .unit(service("helper"))
            .check(unit_check("main").recover(&steps).backoff(1, 5));
        if monitored {
            m = m.check(unit_check("helper"));
        }
        let mut m = m.up();
        if held {
            m.hold_and_stop("helper", 120);
        } else {
            m.stop("helper");
        }
        m.run_for(2);
        m.edit("main", |file| *file = file.clone().fails_to_start());
        m.kill("main");
        m.run_for(60);
        assert!(!m.is_up("helper"), "{}", m.timeline());
        assert!(
            m.why("main").contains("helper.service, which an operator has stopped or holds"),
            "{}",
            m.why("main")
        );
    }
}

/// A restart of the root would restart a dependent whose failure reboots the machine.
#[test]
fn restart_that_could_trigger_action_of_dependent_is_withheld() {
    let app = service("app").requires(&["root"]).after(&["root"]).failure_reboots();
    let mut m = Machine::new().unit(service("root")).unit(app).check(http("root")).up();
    m.hang("root");
    m.run_for(120);
    assert_eq!(m.jobs("root"), 0, "{}", m.timeline());
    assert_eq!(m.notifications("root"), [NotificationKind::ActionRequired]);
    assert!(m.why("root").contains("FailureAction="), "{}", m.why("root"));
    m.assert_not_notified("app");
}

/// A start would start a unit whose failure reboots the machine.
#[test]
fn start_that_could_trigger_action_of_required_unit_is_withheld() {
    let fragile = service("fragile").failure_reboots().fails_to_start().not_enabled();
    let app = service("app").requires(&["fragile"]).after(&["fragile"]).not_enabled();
    let mut m = Machine::new().unit(fragile).unit(app).check(unit_check("app")).up();
    m.run_for(300);
    assert!(!m.rebooted(), "{}", m.timeline());
    assert_eq!(m.jobs("app"), 0);
}

/// One more restart of the root would hit the start limit of a dependent, which reboots the machine.
#[test]
fn restart_that_could_hit_start_limit_of_dependent_is_withheld() {
    let app = service("app").requires(&["root"]).after(&["root"]).start_limit(600, 3).start_limit_reboots();
    let mut m =
        Machine::new().unit(service("root")).unit(app).check(http("root").backoff(1, 2).grace(1)).up();
    m.break_service("root");
    m.run_for(300);
    assert!(!m.rebooted(), "{}", m.timeline());
}

/// Restarts of a dependent that the daemon did not see count towards its start limit, until the interval is over; of one
/// that has not ended since the boot there were none.
#[test]
fn restart_that_could_hit_start_limit_of_dependent_by_unseen_starts_is_withheld() {
    let machine = || {
        let app = service("app").requires(&["root"]).after(&["root"]);
        let app = app.start_limit(600, 4).start_limit_reboots();
        Machine::new().unit(service("root")).unit(app).check(http("root"))
    };
    let without_bus = || {
        let mut m = machine().up();
        m.lose_bus();
        m
    };
    let cases: [&dyn Fn() -> Machine; 2] = [&|| machine().before_daemon(), &without_bus];
    for case in cases {
        let mut m = case();
        for _ in 0..4 {
            m.restart("app");
            m.run_for(5);
        }
        m.start_daemon();
        m.bus_returns();
        m.run_for(30);
        m.hang("root");
        m.run_for(300);
        assert!(!m.rebooted(), "{}", m.timeline());
        assert_eq!(m.jobs("root"), 0, "{}", m.timeline());
        assert!(m.why("root").contains("StartLimitAction="), "{}", m.why("root"));
        m.run_for(400);
        assert!(!m.rebooted() && m.jobs("root") == 1, "{}", m.timeline());
    }
    let mut m = machine().up();
    m.hang("root");
    m.run_for(60);
    assert_eq!(m.jobs("root"), 1, "{}", m.timeline());
}

/// A restart goes through no hold of a dependent.
#[test]
fn restart_waits_for_the_hold_of_a_dependent() {
    let app = service("app").requires(&["root"]).after(&["root"]);
    let mut m =
        Machine::new().unit(service("root")).unit(app).check(http("root")).check(unit_check("app")).up();
    let hold = m.hold("app", 600);
    m.hang("root");
    m.run_for(120);
    assert_eq!((m.jobs("root"), m.runs("app")), (0, 1), "{}", m.timeline());
    m.release(&hold, HowEnded::Done);
    assert!(m.run_until_it_holds(60, |m| m.jobs("root") == 1), "{}", m.timeline());
}

/// What the holder's command started in the place of the unit stays up after the hold.
#[test]
fn hold_whose_command_starts_a_rival_ends_without_a_start() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(service("rival").conflicts(&["web"]).not_enabled())
        .check(unit_check("web").respect_conflict(None))
        .up();
    let hold = m.hold("web", 600);
    m.start("rival");
    m.release(&hold, HowEnded::Done);
    m.run_for(300);
    assert!(m.is_up("rival") && !m.is_up("web"), "{}", m.timeline());
    m.stop("rival");
    m.run_for(30);
    assert!(m.is_up("web"), "{}", m.timeline());
    m.assert_not_notified("web");
}

/// A check that is removed and configured again, or pointed away and back, knows a stop of its unit still.
#[test]
fn stop_is_respected_across_configurations() {
    let mut m = Machine::new()
        .unit(service("web").not_enabled())
        .unit(service("other"))
        .check(unit_check("web"))
        .up();
    m.start("web");
    m.run_for(30);
    m.stop("web");
    m.run_for(5);
    m.reload(vec![unit_check("other")]);
    m.run_for(5);
    m.reload(vec![unit_check("web"), unit_check("other")]);
    m.run_for(60);
    assert!(!m.is_up("web"), "{}", m.timeline());
    m.assert_not_notified("web");
}

/// A conflict that has lasted too long explains no stop after it, although the daemon was away meanwhile.
#[test]
fn stop_after_a_conflict_that_lasted_too_long_is_respected() {
    let mut m = Machine::new()
        .unit(service("web").notify(3))
        .unit(service("rival").conflicts(&["web"]).not_enabled())
        .check(unit_check("web").respect_conflict(Some(60)))
        .up();
    m.start("rival");
    m.run_for(59);
    // The daemon goes in the very moment of its request, before it has read what that does.
    for _ in 0..2000 {
        if m.jobs("web") == 0 {
            m.run_for_millis(1);
        }
    }
    assert_eq!(m.jobs("web"), 1, "{}", m.timeline());
    m.stop_daemon();
    m.run_for_millis(500);
    m.stop("web");
    m.run_for_millis(1);
    m.start_daemon();
    m.run_for(300);
    assert!(!m.is_up("web"), "{}", m.timeline());
    assert_eq!(m.jobs("web"), 1, "{}", m.timeline());
}

/// The graph knows the stop of a unit that no check monitors any more: a restart of another does not start it.
#[test]
fn stop_of_a_unit_whose_check_is_removed_is_respected_by_other_restarts() {
    let mut m = Machine::new()
        .unit(service("web").wants(&["helper"]))
        .unit(service("helper"))
        .check(unit_check("web"))
        .check(unit_check("helper"))
        .up();
    m.stop("helper");
    m.run_for(5);
    m.reload(vec![unit_check("web")]);
    m.kill("web");
    m.run_for(120);
    assert!(!m.is_up("helper"), "{}", m.timeline());
    m.start("helper");
    m.run_for(600);
    assert!(m.is_up("web"), "{}", m.timeline());
}

/// A unit that no check monitors is stopped in the daemon's absence: a restart of another does not start it.
#[test]
fn stop_in_absence_of_a_unit_without_checks_is_respected() {
    let mut m = Machine::new()
        .unit(service("web").wants(&["helper"]))
        .unit(service("helper"))
        .check(unit_check("web"))
        .up();
    m.run_for(30);
    m.stop_daemon();
    m.stop("helper");
    m.run_for(5);
    m.start_daemon();
    m.run_for(30);
    m.kill("web");
    m.run_for(120);
    assert!(!m.is_up("helper"), "{}", m.timeline());
}

/// An operator who stops the unit again is no proof that the step was ineffective.
#[test]
fn stop_while_an_attempt_settles_does_not_advance_the_steps() {
    let steps = [RestartUnit, StartUnit(unit_name("danger"))];
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(oneshot("danger", 1))
        .check(unit_check("web").respect_stop(Some(15)).recover(&steps))
        .up();
    m.stop("web");
    assert!(m.run_until_it_holds(60, |m| m.is_up("web")), "{}", m.timeline());
    m.run_for(3);
    m.stop("web");
    assert!(m.run_until_it_holds(90, |m| m.is_up("web")), "{}", m.timeline());
    m.run_for(120);
    assert_eq!(m.runs("danger"), 0, "{}", m.timeline());
}

/// A `start` step is awaited: the next attempt comes when its job has ended.
#[test]
fn start_step_is_awaited_and_then_the_unit_is_restarted() {
    let steps = [RestartUnit, StartUnit(unit_name("rebuild"))];
    let mut m = Machine::new()
        .unit(service("search"))
        .unit(oneshot("rebuild", 8))
        .check(unit_check("search").recover(&steps).max_attempts(3).backoff(1, 60))
        .up();
    m.edit("search", |file| *file = file.clone().fails_to_start());
    m.kill("search");
    assert!(m.run_until_it_holds(60, |m| m.runs("rebuild") == 1), "{}", m.timeline());
    assert_eq!(m.jobs("search"), 1);
    m.run_for(4);
    assert_eq!(m.jobs("search"), 1, "{}", m.timeline());
    m.edit("search", |file| *file = service("search"));
    assert!(m.run_until_it_holds(60, |m| m.is_up("search")), "{}", m.timeline());
    assert_eq!((m.jobs("search"), m.runs("rebuild")), (2, 1), "{}", m.timeline());
}

/// A stop in the daemon's absence of a service that ends with a status (Java's 143) is a stop.
#[test]
fn stop_in_absence_that_ends_with_a_status_is_respected() {
    let java = service("java").stop_exit(Exit::Status(143));
    let mut m = Machine::new().unit(java).check(unit_check("java")).up();
    m.stop_daemon();
    m.run_for(2);
    m.stop("java");
    m.run_for(5);
    m.start_daemon();
    m.run_for(60);
    assert!(!m.is_up("java"), "{}", m.timeline());
    m.assert_not_notified("java");
}

/// `systemctl mask --now` is a stop.
#[test]
fn mask_of_a_stopped_unit_is_a_stop() {
    let mut m = Machine::new().unit(service("web")).check(unit_check("web").respect_stop(None)).up();
    m.stop("web");
    m.mask("web");
    m.run_for(120);
    assert_eq!(m.state("web"), "stopped", "{}", m.timeline());
    m.assert_not_notified("web");
}

/// A job that ends while the daemon is away is not in progress for ever.
#[test]
fn attempt_whose_end_was_missed_is_not_in_progress() {
    let slow = service("slow").start_pre(4);
    let mut m = Machine::new().unit(slow).check(unit_check("slow")).up();
    m.kill("slow");
    assert!(m.run_until_it_holds(5, |m| m.jobs("slow") == 1));
    m.run_for(1);
    m.stop_daemon();
    m.run_for(10);
    m.start_daemon();
    m.run_for(120);
    let sent: Vec<_> = m.sent_about("slow").cloned().collect();
    let last = sent.last().expect("a notification");
    assert!(
        last.notification.attempts.iter().all(|attempt| attempt.result.is_some()),
        "{:?}",
        last.notification.attempts
    );
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

/// A unit that requires another, and is not bound to it, stays up when that one crashes. A stop of it at that moment is an
/// operator's, also where it replaces the restart that the root's restart brings.
#[test]
fn stop_of_a_dependent_in_the_restart_of_its_root_is_respected() {
    for after in [0, 50, 300, 1500] {
        let app = service("app").requires(&["db"]).after(&["db"]).stop_takes(2);
        let db = service("db").notify(5);
        let mut m = Machine::new().unit(db).unit(app).check(unit_check("db")).check(unit_check("app")).up();
        m.kill("db");
        m.run_for_millis(after);
        m.stop("app");
        m.run_for(120);
        assert!(m.is_up("db") && !m.is_up("app"), "after {after} ms: {}", m.timeline());
        assert_eq!(m.state("app"), "stopped");
        m.assert_not_notified("app");
    }
}

/// Two checks of a unit: one whose `stop` step is next when its `respect_stop` is over, and one that respects a stop for
/// ever. The step changes nothing, and does not make the operator's stop the daemon's own.
#[test]
fn stop_step_on_a_stopped_unit_is_skipped() {
    let stop = [stealthcheck::check::Step::Stop];
    let quick = unit_check("quick").on("main").recover(&stop).respect_stop(Some(60));
    let patient = unit_check("patient").on("main").respect_stop(None);
    let mut m = Machine::new().unit(service("main")).check(quick).check(patient).up();
    m.stop("main");
    m.run_for(600);
    assert_eq!(m.jobs("main"), 0, "{}", m.timeline());
    assert_eq!(m.state("patient"), "stopped");
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

/// A renewal, for which `web` makes room; `app` is a part of `web`.
fn renewal() -> Machine {
    let renew = oneshot("renew", 20).conflicts(&["web"]).after(&["web"]).starts_at_its_end(&["web"]);
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(service("app").part_of(&["web"]))
        .unit(renew)
        .check(http("web"))
        .check(unit_check("app").respect_stop(None))
        .up();
    m.run_for(60);
    m
}

/// The same where the unit makes room for another one (`Conflicts=`), as in a renewal.
#[test]
fn part_of_a_displaced_unit_comes_back_with_it() {
    let mut m = renewal();
    m.start("renew");
    m.run_for(10);
    assert!(!m.is_up("web") && !m.is_up("app"), "{}", m.timeline());
    m.run_for(60);
    assert!(m.is_up("web") && m.is_up("app"), "{}", m.timeline());
    m.assert_not_notified("app");
    m.assert_not_notified("web");
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

/// A monitored target wants what an operator has stopped: its restart is not requested.
#[test]
fn restart_of_a_target_leaves_a_stopped_unit_alone() {
    let mut m = Machine::new()
        .unit(service("one"))
        .unit(service("two"))
        .unit(target("app").wants(&["one", "two"]))
        .check(http("app").on("app.target").asks("one"))
        .up();
    m.run_for(60);
    m.stop("two");
    m.run_for(10);
    m.hang("one");
    m.run_for(120);
    assert!(!m.is_up("two"), "{}", m.timeline());
}
