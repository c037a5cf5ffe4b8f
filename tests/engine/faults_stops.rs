//! An operator's stop, restart or freeze is respected, whatever else runs on the unit at that moment.

use stealthcheck::check::Step::{Restart as RestartUnit, StartUnit};
use stealthcheck::unit::{ActiveState, UnitState};

use crate::machine::*;

fn is_starting(machine: &Machine, unit: &str) -> bool {
    machine.unit_state(unit).active == ActiveState::Activating
}

fn is_stopping(machine: &Machine, unit: &str) -> bool {
    machine.unit_state(unit).active == ActiveState::Deactivating
}

/// The unit stays down and is shown as stopped, for so many seconds.
fn stays_stopped(machine: &mut Machine, unit: &str, check: &str, secs: u64) {
    let (runs, jobs) = (machine.runs(unit), machine.jobs(unit));
    machine.run_for(secs);
    assert!(!machine.is_up(unit), "{unit} was started");
    assert_eq!(machine.runs(unit), runs, "{unit} was started");
    assert_eq!(machine.jobs(unit), jobs, "a job was requested on {unit}");
    assert_eq!(machine.state(check), "stopped");
}

/// The stop arrives while the daemon's restart starts the unit.
#[test]
fn stop_in_start_phase_of_own_restart_is_respected() {
    let slow = service("slow").start_pre(20);
    let mut m = Machine::new().unit(slow).check(http("slow").respect_stop(Some(300))).up();
    m.kill("slow");
    assert!(m.run_until_it_holds(5, |m| m.jobs("slow") == 1 && is_starting(m, "slow")));
    m.run_for(2);
    m.stop("slow");
    stays_stopped(&mut m, "slow", "slow", 290);
    // Then it is started again, as after any other stop.
    m.run_for(60);
    assert!(m.is_up("slow"));
}

/// The same with `respect_stop: forever`.
#[test]
fn stop_in_start_phase_is_respected_forever() {
    let slow = service("slow").start_pre(20);
    let mut m = Machine::new().unit(slow).check(unit_check("slow").respect_stop(None)).up();
    m.kill("slow");
    assert!(m.run_until_it_holds(5, |m| m.jobs("slow") == 1 && is_starting(m, "slow")));
    m.run_for(2);
    m.stop("slow");
    stays_stopped(&mut m, "slow", "slow", 3600);
}

/// The stop arrives while the daemon's restart stops the unit.
#[test]
fn stop_in_stop_phase_of_own_restart_is_respected() {
    let lazy = service("lazy").stop_takes(10);
    let mut m = Machine::new().unit(lazy).check(http("lazy").respect_stop(None)).up();
    m.hang("lazy");
    assert!(m.run_until_it_holds(90, |m| m.jobs("lazy") == 1 && is_stopping(m, "lazy")));
    m.run_for(3);
    m.stop("lazy");
    stays_stopped(&mut m, "lazy", "lazy", 600);
}

/// The stop arrives while the unit is started because a hold has ended.
#[test]
fn stop_during_start_after_hold_is_respected() {
    let slow = service("slow").start_pre(20);
    let mut m = Machine::new().unit(slow).check(http("slow").respect_stop(None)).up();
    m.hold_and_stop("slow", 5);
    assert!(m.run_until_it_holds(30, |m| m.jobs("slow") == 1 && is_starting(m, "slow")));
    m.run_for(2);
    m.stop("slow");
    stays_stopped(&mut m, "slow", "slow", 600);
    m.assert_not_notified("slow");
}

/// The stop arrives while a step that starts another unit runs.
#[test]
fn stop_during_start_of_other_unit_is_respected() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(oneshot("renew", 25))
        .check(http("certificate").on("web").recover(&[StartUnit(unit_name("renew"))]).respect_stop(None))
        .check(http("web").respect_stop(None))
        .up();
    m.fail("certificate");
    assert!(m.run_until_it_holds(90, |m| is_starting(m, "renew")));
    m.run_for(5);
    m.stop("web");
    stays_stopped(&mut m, "web", "web", 120);
    assert_eq!(m.jobs("renew"), 1, "what is stopped needs no certificate");
}

/// Of the jobs on a unit the last one counts.
#[test]
fn stop_behind_operators_restart_is_respected() {
    for secs in [1, 5] {
        // In the stop phase of the restart, and in its start phase.
        let lazy = service("lazy").stop_takes(4).start_pre(4);
        let mut m = Machine::new().unit(lazy).check(unit_check("lazy").respect_stop(None)).up();
        m.restart("lazy");
        m.run_for(secs);
        m.stop("lazy");
        m.run_for(10);
        stays_stopped(&mut m, "lazy", "lazy", 600);
        m.assert_quiet();
    }
}

/// What is restarted with the unit it is ordered after waits as a queued start job. How fast the daemon reads makes no
/// difference.
#[test]
fn operators_restart_of_ordered_units_notifies_nobody() {
    for latency in [2, 6, 40, 300, 1000, 4000] {
        for probe in [http, unit_check] {
            let mut m = Machine::new()
                .unit(service("db").notify(3))
                .unit(service("app").after(&["db"]))
                .check(probe("db"))
                .check(probe("app"))
                .latency(latency)
                .up();
            m.systemctl("restart", &["db", "app"]);
            m.run_for(60);
            m.assert_quiet();
            assert_eq!((m.state("db"), m.state("app")), ("passing", "passing"));
        }
    }
}

/// A plain restart, read late.
#[test]
fn operators_restart_read_late_notifies_nobody() {
    for latency in [6, 300, 1000, 4000] {
        let web = service("web").stop_takes(1).start_pre(1);
        let mut m = Machine::new().unit(web).check(unit_check("web")).latency(latency).up();
        m.restart("web");
        m.run_for(60);
        m.assert_quiet();
    }
}

/// The unit was down with an incident; it was stopped while the daemon was away.
#[test]
fn stop_while_daemon_is_away_is_respected_in_incident() {
    let mut m = Machine::new().unit(service("web")).check(http("web").respect_stop(None)).up();
    m.break_service("web");
    assert!(m.run_until_it_holds(120, |m| m.has_incident("web") && m.is_up("web")));
    m.run_for(20);
    stop_while_away_is_respected(&mut m);
}

/// web is stopped while the daemon is away, and stays so.
fn stop_while_away_is_respected(m: &mut Machine) {
    m.stop_daemon();
    m.run_for(1);
    m.stop("web");
    m.run_for(1);
    let runs = m.runs("web");
    m.start_daemon();
    m.run_for(600);
    assert_eq!(m.runs("web"), runs, "web was started");
    assert_eq!(m.state("web"), "stopped");
}

/// systemd has forgotten the unit, with its timestamps, when the daemon comes back.
#[test]
fn stop_while_daemon_is_away_is_respected_though_systemd_forgets_the_unit() {
    for broken in [false, true] {
        let mut m = Machine::new()
            .unit(service("web").not_enabled())
            .check(http("web").respect_stop(None))
            .before_daemon();
        m.start("web");
        m.start_daemon();
        m.run_for(60);
        if broken {
            m.break_service("web");
            assert!(m.run_until_it_holds(120, |m| m.has_incident("web") && m.is_up("web")));
            m.run_for(20);
        }
        stop_while_away_is_respected(&mut m);
    }
}

/// systemd keeps a unit loaded that another one names, and its timestamps are those of the present boot.
#[test]
fn stop_is_respected_across_reboot() {
    for named_by_another in [false, true] {
        let mut m = Machine::new().unit(service("vipdb").not_enabled());
        if named_by_another {
            m = m.unit(service("cluster").after(&["vipdb"]));
        }
        let mut m = m.check(unit_check("vipdb").respect_stop(None)).up();
        m.start("vipdb");
        m.run_for(60);
        assert_eq!(m.state("vipdb"), "passing");
        m.forget();
        m.stop("vipdb");
        m.run_for(60);
        m.reboot();
        m.run_for(600);
        m.assert_quiet();
        assert!(!m.is_up("vipdb"));
        assert_eq!(m.state("vipdb"), "stopped");
    }
}

/// Failures before the freeze was read do not count after the thaw.
#[test]
fn failure_by_freeze_is_forgotten() {
    let mut m = Machine::new().unit(service("web")).check(http("web").interval(10)).up();
    m.freeze("web");
    m.run_for(15);
    assert_eq!(m.state("web"), "stopped", "{}", m.timeline());
    m.thaw("web");
    m.run_for_millis(500);
    assert_eq!(m.state("web"), "starting", "{}", m.timeline());
    m.run_for(15);
    assert_eq!(m.state("web"), "passing", "{}", m.timeline());
}

/// `systemctl freeze` is an operator's act, as a stop is.
#[test]
fn frozen_unit_is_left_alone() {
    for version in [Version::V252, Version::V257] {
        let mut m =
            Machine::new().version(version).unit(service("web")).check(http("web").respect_stop(None)).up();
        m.freeze("web");
        m.run_for(600);
        m.assert_no_job("web");
        assert_eq!(m.state("web"), "stopped");
        assert!(m.why("web").contains("systemctl thaw web.service"), "{}", m.why("web"));
        m.thaw("web");
        m.run_for(60);
        assert_eq!(m.state("web"), "passing");
        m.assert_no_job("web");
    }
}

/// A check of the unit's state sees a frozen unit as active.
#[test]
fn frozen_unit_is_explained_by_unit_check() {
    let mut m = Machine::new().unit(service("web")).check(unit_check("web")).up();
    m.freeze("web");
    m.run_for(60);
    m.assert_no_job("web");
    assert!(m.why("web").contains("frozen"), "{}", m.why("web"));
}

/// A unit that was disabled and stopped is not simply one that was stopped.
#[test]
fn disabled_unit_is_named_as_disabled() {
    let mut m = Machine::new().unit(service("web")).check(http("web").recover(&[RestartUnit])).up();
    m.disable_now("web");
    m.run_for(10);
    assert_eq!(m.state("web"), "stopped");
    assert!(m.why("web").contains("disabled"), "{}", m.why("web"));
    m.run_for(600);
    if m.jobs("web") > 0 || !m.notifications("web").is_empty() {
        let said = m.sent_about("web").any(|sent| format!("{:?}", sent.notification).contains("is disabled"));
        assert!(said, "it was started, or somebody was notified, without the word");
    }
}

/// systemd ends a process itself for its watchdog, in the daemon's absence: that is no operator's stop.
#[test]
fn end_by_the_watchdog_is_no_stop() {
    let ended = |result: &str| UnitState {
        active: ActiveState::Failed,
        result: result.to_owned(),
        active_exit_usec: 1,
        main_exit_usec: 2,
        ..UnitState::default()
    };
    assert!(ended("exit-code").ended_in_stop());
    assert!(!ended("watchdog").ended_in_stop() && !ended("oom-kill").ended_in_stop());
}

/// A program that ends with a status when it is stopped (Java: 143) has not crashed, however often it is restarted.
#[test]
fn operators_restarts_of_what_fails_in_its_stop_are_no_crash_loop() {
    let mut m = Machine::new().unit(service("web").stop_exit(Exit::Status(143))).check(http("web")).up();
    for _ in 0..8 {
        m.restart("web");
        m.run_for(8);
    }
    m.run_for(120);
    m.assert_quiet();
}

/// The stop is another one than that which is remembered, and another end than the failure: both while nobody looks.
#[test]
fn start_and_stop_in_the_daemons_absence_are_a_stop() {
    // It was stopped before, and that was respected.
    let mut m = Machine::new().unit(service("web")).check(http("web").respect_stop(Some(60))).up();
    m.stop("web");
    m.run_for(50);
    m.stop_daemon();
    m.start("web");
    m.run_for(2);
    m.stop("web");
    m.run_for(2);
    m.start_daemon();
    m.run_for(40);
    m.assert_no_job("web");
    m.run_for(60);
    assert!(m.is_up("web"), "{}", m.why("web"));

    // It had failed, and so had our attempt.
    for enabled in [true, false] {
        let web = service("web").start_pre(1);
        // (systemd forgets what is inactive and not enabled.)
        let web = if enabled { web.enabled() } else { web.not_enabled() };
        let mut m = Machine::new().unit(web.clone()).check(http("web").respect_stop(None)).up();
        m.start("web");
        m.run_for(60);
        m.edit("web", |file| *file = file.clone().fails_to_start());
        m.kill("web");
        m.run_for(3);
        assert!(m.jobs("web") > 0);
        m.stop_daemon();
        m.edit("web", move |file| *file = web);
        m.start("web");
        m.run_for(3);
        m.stop("web");
        m.run_for(2);
        m.forget();
        m.start_daemon();
        m.run_for(300);
        m.assert_no_job("web");
    }
}

/// systemd keeps no more of it than that SIGTERM ended the process.
#[test]
fn run_of_a_job_stopped_in_the_daemons_absence_is_no_failure() {
    let mut m = Machine::new().unit(oneshot("backup", 60)).check(job_check("backup", 86_400)).up();
    m.start("backup");
    m.run_for(5);
    m.stop_daemon();
    m.stop("backup");
    m.run_for(2);
    m.start_daemon();
    m.run_for(60);
    m.assert_not_notified("backup");
}

/// `systemctl stop --no-block; systemctl start` of what takes long to stop.
#[test]
fn start_behind_a_slow_stop_is_awaited() {
    for check in [unit_check("web"), http("web")] {
        let mut m = Machine::new().unit(service("web").stop_takes(25)).check(check.interval(2).grace(3)).up();
        m.stop("web");
        m.run_for(1);
        m.start("web");
        m.run_for(60);
        m.assert_quiet();
        assert_eq!(m.state("web"), "passing");
    }
}

/// What a socket starts is started as ever when its stop is no longer respected, by the next connection and not by us.
#[test]
fn stopped_service_of_a_socket_is_at_rest_when_its_stop_is_over() {
    let mut m = Machine::new()
        .unit(socket("web"))
        .unit(service("web"))
        .check(unit_check("web").respect_stop(Some(60)))
        .up();
    m.connect("web");
    m.run_for(10);
    m.stop("web");
    m.run_for(30);
    assert_eq!(m.status("web").health.word(), "stopped");
    m.run_for(120);
    m.assert_quiet();
    assert_eq!(m.status("web").health.word(), "passing");
    m.restart_daemon();
    m.run_for(120);
    m.assert_quiet();
    assert_eq!(m.status("web").health.word(), "passing");
    m.connect("web");
    m.run_for(10);
    m.stop("web");
    m.run_for(10);
    assert_eq!(m.status("web").health.word(), "stopped", "another stop");
}

/// The start after a hold could not be requested. An operator stops the unit: from then on it is that stop.
#[test]
fn stop_of_a_unit_that_did_not_return_after_a_hold_is_respected() {
    let mut m = Machine::new().unit(service("web")).check(http("web").respect_stop(None)).up();
    m.reject_jobs(Some("polkit does not answer"));
    m.hold_and_stop("web", 5);
    m.run_for(30);
    assert_eq!(m.state("web"), "down");
    m.stop("web");
    m.run_for(1);
    m.reject_jobs(None);
    m.forget();
    m.run_for(600);
    m.assert_no_job("web");
}
