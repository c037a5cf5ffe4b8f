//! Units that are no plain service: transient, triggered, with conditions, wrappers, sockets, and units not needed.

use std::time::Duration;

use stealthcheck::check::Step::Restart as RestartUnit;
use stealthcheck::engine::hold::HowEnded;
use stealthcheck::notification::NotificationKind::Down;

use crate::machine::*;

/// `ResetFailedUnit` would make systemd forget a failed transient unit.
#[test]
fn failed_transient_unit_is_not_deleted() {
    let job = service("simulation").transient().restart(Restart::OnFailure, Duration::from_millis(100));
    let mut m = Machine::new().unit(job).check(http("simulation")).before_daemon();
    m.start("simulation");
    m.start_daemon();
    m.run_for(120);
    m.forget();
    m.edit("simulation", |file| file.program.fails_to_start = true);
    m.kill("simulation");
    for _ in 0..60 {
        m.run_for(10);
        assert_ne!(m.describe("simulation"), "not found");
    }
    assert!(!m.notifications("simulation").is_empty());
    m.mend("simulation");
    m.run_for(600);
    assert_eq!(m.state("simulation"), "passing");
}

/// What a timer runs is at rest once it has ended well.
#[test]
fn service_of_a_timer_is_at_rest_after_its_run() {
    let nightly = service("nightly").not_enabled().exits_after(2, Exit::Status(0));
    let mut m = Machine::new().unit(nightly).unit(timer("nightly", 7200)).check(unit_check("nightly")).up();
    m.run_for(3 * 7200);
    m.assert_quiet();
    assert_eq!(m.runs("nightly"), 3);
    assert!(!m.has_incident("nightly"));
}

/// A run that fails is no rest.
#[test]
fn failed_run_of_a_timer_is_notified() {
    let nightly = service("nightly").not_enabled().exits_after(2, Exit::Status(1));
    let check = unit_check("nightly").only_notified();
    let mut m = Machine::new().unit(nightly).unit(timer("nightly", 7200)).check(check).up();
    m.run_for(7200);
    assert_eq!(m.count("nightly", Down), 1);
}

/// A socket-activated service that ends when it is idle.
#[test]
fn socket_activated_service_is_at_rest_when_idle() {
    let proxy = service("ondemand").not_enabled().exits_after(5, Exit::Status(0));
    let mut m = Machine::new().unit(proxy).unit(socket("ondemand")).check(unit_check("ondemand")).up();
    for _ in 0..5 {
        m.run_for(300);
        m.connect("ondemand");
    }
    m.run_for(300);
    m.assert_quiet();
    assert_eq!(m.runs("ondemand"), 5);
    assert!(!m.has_incident("ondemand"));
}

/// What systemd does not start because of a condition is not started again and again.
#[test]
fn unmet_condition_is_notified_once_and_restarts_nothing() {
    let kinds: [fn(UnitFile, &str) -> UnitFile; 3] =
        [UnitFile::condition, UnitFile::exec_condition, UnitFile::assertion];
    let lines = [
        "ConditionPathExists=/dev/modem",
        "ExecCondition=/usr/bin/test -e /dev/modem",
        "AssertPathExists=/dev/modem",
    ];
    for (kind, line) in kinds.into_iter().zip(lines) {
        let mut m = Machine::new().unit(kind(service("modem"), line)).check(http("modem")).up();
        m.set_condition("modem", false);
        m.restart("modem");
        m.run_for(1800);
        m.assert_no_job("modem");
        assert_eq!(m.notifications("modem").len(), 1, "{:?}", m.notifications("modem"));
        let sent = format!("{:?}", m.sent_about("modem").next());
        assert!(sent.contains(line), "{line} is not named: {sent}");
        m.set_condition("modem", true);
        m.start("modem");
        m.run_for(60);
        assert_eq!(m.state("modem"), "passing");
    }
}

/// The same at boot.
#[test]
fn unmet_condition_at_boot_restarts_nothing() {
    let mut modem = service("modem").condition("ConditionPathExists=/dev/modem");
    if let Some(condition) = &mut modem.condition {
        condition.met = false;
    }
    let mut m = Machine::new().unit(modem).check(unit_check("modem")).booting();
    m.run_for(1800);
    m.assert_no_job("modem");
    assert_eq!(m.notifications("modem").len(), 1, "{:?}", m.notifications("modem"));
    assert!(m.why("modem").contains("ConditionPathExists=/dev/modem"), "{}", m.why("modem"));
}

/// A wrapper that is active says nothing of the unit that does the work.
#[test]
fn wrapper_passes_only_while_its_parts_run() {
    let cluster = service("postgresql@15-main").part_of(&["postgresql"]).after(&["postgresql"]);
    let mut m = Machine::new()
        .unit(wrapper("postgresql").wants(&["postgresql@15-main"]))
        .unit(cluster)
        .check(unit_check("postgresql"))
        .up();
    assert_eq!(m.state("postgresql"), "passing");
    m.kill("postgresql@15-main");
    m.run_for(10);
    let said = m.why("postgresql").contains("postgresql@15-main.service");
    assert!(said, "the unit that failed is not named: {}", m.why("postgresql"));
    m.run_for(120);
    assert!(m.is_up("postgresql@15-main"), "the cluster was not started");
    assert_eq!(m.state("postgresql"), "passing");
}

/// A socket cannot be opened again while its service runs.
#[test]
fn socket_is_not_restarted_while_its_service_runs() {
    let mut m = Machine::new()
        .unit(service("api").not_enabled())
        .unit(socket("api"))
        .check(http("api").on("api.socket").asks("api").recover(&[RestartUnit]))
        .before_daemon();
    m.connect("api");
    m.start_daemon();
    m.run_for(120);
    m.hang("api");
    m.run_for(300);
    assert!(m.is_up("api.socket"), "the socket was closed and could not be opened again");
    assert!(m.why("api").contains("api.service"), "{}", m.why("api"));
}

fn behind_a_socket(check: CheckBuilder) -> Machine {
    let so = service("so").not_enabled();
    Machine::new().unit(so).unit(socket("so")).check(check.respect_stop(None)).up()
}

/// The daemon's own connection would start again what an operator has stopped.
#[test]
fn probe_does_not_start_a_stopped_service_by_its_socket() {
    for interval in [2, 10] {
        let mut m = behind_a_socket(http("so").interval(interval));
        m.run_for(60);
        assert!(m.is_up("so"), "a probe is a client like any other");
        m.stop("so");
        m.run_for(600);
        assert!(!m.is_up("so"), "{}", m.timeline());
        assert_eq!(m.state("so"), "stopped");
        assert!(m.status("so").next.contains("not probed"), "{}", m.status("so").next);
        assert!(m.why("so").contains("not probed"), "{}", m.why("so"));
        m.stop_daemon();
        m.run_for(5);
        m.start_daemon();
        m.run_for(600);
        assert!(!m.is_up("so"), "{}", m.timeline());
        // A client of somebody else's starts it, and probes go on.
        m.connect("so");
        m.run_for(60);
        assert_eq!(m.state("so"), "passing");
        m.hang("so");
        assert!(m.run_until_it_holds(120, |m| m.jobs("so") > 0), "{}", m.timeline());
    }
}

/// What an operator asks for is probed.
#[test]
fn operator_may_probe_a_stopped_service() {
    let mut m = behind_a_socket(http("so"));
    m.run_for(60);
    m.stop("so");
    m.run_for(60);
    let before = m.probe_times("so").len();
    m.probe_now("so");
    m.run_for(2);
    assert_eq!(m.probe_times("so").len(), before + 1);
}

/// The same while a command holds it.
#[test]
fn probe_does_not_start_a_held_service_by_its_socket() {
    let mut m = behind_a_socket(http("so"));
    m.run_for(60);
    let hold = m.hold_and_stop("so", 3600);
    m.run_for(600);
    assert!(!m.is_up("so"), "{}", m.timeline());
    assert!(m.status("so").next.contains("not probed"), "{}", m.status("so").next);
    m.release(&hold, HowEnded::Done);
    assert!(m.run_until_it_holds(30, |m| m.is_up("so")), "{}", m.timeline());
    m.run_for(60);
    assert_eq!(m.state("so"), "passing");
}

/// What nobody has stopped is probed: that starts it, as for any client.
#[test]
fn probe_starts_a_failed_service_by_its_socket() {
    let mut m = behind_a_socket(http("so").only_notified());
    m.run_for(60);
    m.kill("so");
    assert!(m.run_until_it_holds(60, |m| m.is_up("so")), "{}", m.timeline());
}

/// systemd stops what nothing needs any more. That is no operator's stop, and no failure.
#[test]
fn unneeded_unit_that_systemd_stops_is_left_alone() {
    let mut m = Machine::new()
        .unit(service("touch").stop_when_unneeded().not_enabled())
        .unit(service("tablet").requires(&["touch"]).after(&["touch"]))
        .check(unit_check("touch"))
        .up();
    assert!(m.is_up("touch"));
    m.stop("tablet");
    m.run_for(1);
    assert!(!m.is_up("touch"), "systemd stops it");
    m.run_for(1800);
    m.assert_quiet();
    assert!(!m.why("touch").contains("operator"), "{}", m.why("touch"));
    m.start("tablet");
    m.run_for(60);
    assert_eq!(m.state("touch"), "passing");
}

/// A machine that was off catches up its jobs after the boot; until then they are not late.
#[test]
fn persistent_timer_may_catch_up_after_boot() {
    let mut m = Machine::new()
        .unit(oneshot("backup", 2))
        .unit(timer("backup", 60).catches_up_after(15))
        .check(job_check("backup.timer", 100))
        .up();
    m.run_for(300);
    m.assert_quiet();
    m.off_for(300);
    m.run_for(180);
    m.assert_quiet();
    assert_eq!(m.state("backup.timer"), "passing");
}
