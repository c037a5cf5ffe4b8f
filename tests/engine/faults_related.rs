//! What a job, a stop or a crash of one unit means for the units around it, as an adversarial user of the package found it.

use stealthcheck::check::Step::{Restart as RestartUnit, StartUnit};
use stealthcheck::engine::hold::HowEnded;

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

/// systemd waits to restart what a unit requires (`RestartSec=`): that is down, and no job on the unit starts it before.
#[test]
fn dependent_of_a_root_that_systemd_will_restart_waits_for_it() {
    for delay in [20, 100] {
        let db =
            service("db").no_start_limit().restart(Restart::Always, std::time::Duration::from_secs(delay));
        let app = service("app").requires(&["db"]).after(&["db"]);
        let mut m = Machine::new()
            .unit(db)
            .unit(app)
            .check(unit_check("db").interval(2).grace(3))
            .check(unit_check("app").interval(2).grace(3))
            .up();
        m.kill("db");
        m.run_for(5);
        m.kill("app");
        m.run_for(delay - 8);
        m.assert_no_job("app");
        m.assert_not_notified("app");
        m.run_for(60);
        assert!(m.is_up("app") && m.is_up("db"), "{}", m.why("app"));
    }
}
