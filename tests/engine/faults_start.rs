//! Boot, slow starts, and the grace that a start has.

use stealthcheck::notification::NotificationKind::{Down, Recovered};
use stealthcheck::unit::ManagerState;

use crate::machine::*;

/// A unit whose start job still waits at the first reading is on its way.
#[test]
fn waiting_start_job_at_boot_notifies_nobody() {
    for secs in [3, 15, 70] {
        for probe in [http, unit_check] {
            let mut m = Machine::new()
                .unit(oneshot("slow", secs).enabled())
                .unit(service("web").after(&["slow"]))
                .check(probe("web"))
                .booting();
            m.run_for(secs + 120);
            m.assert_quiet();
            assert_eq!(m.state("web"), "passing");
        }
    }
}

/// The same at every later boot.
#[test]
fn waiting_start_job_at_reboot_notifies_nobody() {
    let mut m = Machine::new()
        .unit(oneshot("slow", 15).enabled())
        .unit(service("web").after(&["slow"]))
        .check(http("web"))
        .up();
    m.reboot();
    m.run_for(180);
    m.assert_quiet();
    assert_eq!(m.state("web"), "passing");
}

/// A machine whose boot never finishes: a unit of multi-user.target is started for ever.
fn never_booted() -> Machine {
    let mut m = Machine::new()
        .unit(oneshot("cloud-init", 0).never_ready().enabled())
        .unit(service("web"))
        .check(http("web"))
        .booting();
    m.run_for(60);
    assert_eq!(m.systemd.manager(), ManagerState::Starting);
    m.assert_quiet();
    assert_eq!(m.state("web"), "passing");
    m
}

/// A unit that has been up and fails is recovered although the machine still boots.
#[test]
fn crash_during_unfinished_boot_is_recovered() {
    let mut m = never_booted();
    m.kill("web");
    m.run_for(60);
    assert!(m.is_up("web"), "web was not restarted");
}

/// A hold's end during an unfinished boot.
#[test]
fn hold_during_unfinished_boot_brings_its_unit_back() {
    let mut m = never_booted();
    m.hold_and_stop("web", 5);
    m.run_for(60);
    assert!(m.is_up("web"), "web was not started");
    assert_eq!(m.state("web"), "passing");
}

/// A unit that is stuck in its start is down, also where the daemon came later.
#[test]
fn unit_stuck_in_start_before_daemon_is_down() {
    for (probe, cause) in [(http as fn(&str) -> CheckBuilder, ""), (unit_check, "activating")] {
        let mut m = Machine::new()
            .unit(service("container").notify(0).never_ready())
            .unit(service("web"))
            .check(probe("container"))
            .booting();
        m.run_for(180);
        assert_eq!(m.state("container"), "down");
        assert_eq!(m.count("container", Down), 1);
        let incident = m.cause("container").expect("an incident");
        assert!(incident.contains(cause), "{incident}");
    }
}

/// The same long after the boot.
#[test]
fn unit_stuck_in_start_long_before_daemon_is_down() {
    let mut m = Machine::new()
        .unit(service("container").notify(0).never_ready())
        .check(unit_check("container"))
        .before_daemon();
    m.start_daemon();
    m.run_for(120);
    assert_eq!(m.state("container"), "down");
    assert_eq!(m.count("container", Down), 1);
    assert!(m.cause("container").is_some_and(|cause| cause.contains("activating")));
}

fn tomcat() -> UnitFile {
    service("tomcat").listens_after(35)
}

fn slow_check() -> CheckBuilder {
    http("tomcat").grace(60)
}

/// The unit was started just before its check was configured.
#[test]
fn slow_start_before_reload_has_its_grace() {
    let mut m = Machine::new().unit(service("web")).unit(tomcat().not_enabled()).check(http("web")).up();
    m.enable_now("tomcat");
    m.run_for_millis(200);
    m.reload(vec![http("web"), slow_check()]);
    m.run_for(120);
    m.assert_quiet();
    assert_eq!(m.state("tomcat"), "passing");
}

/// The unit was started just before the daemon.
#[test]
fn slow_start_before_daemon_has_its_grace() {
    for first in [true, false] {
        let mut m = Machine::new().unit(tomcat()).check(slow_check());
        m = if first { m.before_daemon() } else { m.up() };
        m.restart("tomcat");
        m.run_for(2);
        m.restart_daemon();
        m.run_for(120);
        m.assert_quiet();
        assert_eq!(m.state("tomcat"), "passing");
    }
}

/// Every boot.
#[test]
fn slow_start_at_boot_has_its_grace() {
    let mut m = Machine::new().unit(tomcat()).check(slow_check()).up();
    for _ in 0..2 {
        m.reboot();
        m.run_for(120);
        m.assert_quiet();
        assert_eq!(m.state("tomcat"), "passing");
    }
}

/// The grace begins with the unit's start and not with the daemon's.
#[test]
fn grace_begins_with_the_units_own_start() {
    let mut m = Machine::new().unit(service("web")).check(http("web").grace(600)).before_daemon();
    m.break_service("web");
    m.start_daemon();
    m.run_for(120);
    assert_eq!(m.state("web"), "down", "web was started an hour ago");
}

/// A pass ends the grace.
#[test]
fn pass_ends_the_grace() {
    let mut m = Machine::new().unit(service("web")).check(http("web").grace(600).only_notified()).up();
    m.restart("web");
    m.run_for(60);
    assert_eq!(m.state("web"), "passing");
    m.fail("web");
    m.run_for(90);
    assert_eq!(m.state("web"), "down");
    assert_eq!(m.notifications("web"), [Down]);
}

/// A unit that comes up is not probed once a second for its whole grace.
#[test]
fn probes_during_grace_keep_to_the_retry_interval() {
    let web = http("web").interval(60).retry_interval(10).grace(300);
    let mut m = Machine::new().unit(service("web").listens_after(290)).check(web).up();
    m.forget();
    m.restart("web");
    m.run_for(240);
    let probes = m.probe_times("web").len();
    assert!(probes <= 240 / 10 + 6, "{probes} probes in 240 s");
    m.assert_quiet();
}

/// systemd starts it again and again for another unit, and counts none of it in `NRestarts`.
#[test]
fn crash_loop_of_an_upheld_unit_is_reported() {
    for answers in [true, false] {
        let mut web = service("web").no_start_limit().exits_after(3, Exit::Status(1));
        if !answers {
            web = web.listens_after(60);
        }
        let check = http("web").interval(5);
        let mut m = Machine::new()
            .unit(service("web").no_start_limit())
            .unit(service("app").upholds(&["web"]))
            .check(check)
            .up();
        m.edit("web", move |file| *file = web);
        m.kill("web");
        m.run_for(120);
        assert_eq!(m.threads("web"), 1, "answers {answers}: {}", m.why("web"));
        assert!(!m.notifications("web").is_empty(), "answers {answers}: {}", m.why("web"));
        assert!(m.cause("web").unwrap().contains("crash-looping"), "{:?}", m.cause("web"));
        assert!(m.jobs("web") <= 2, "systemd restarts it: {:?}", m.job_times("web"));
        m.edit("web", |file| *file = service("web").no_start_limit());
        m.run_for(300);
        assert_eq!((m.state("web"), m.threads("web")), ("passing", 1), "{}", m.why("web"));
        assert_eq!(m.notifications("web").last(), Some(&Recovered));
    }
}

/// The unit itself does not fail: systemd restarts it with what it requires, which nobody monitors. Each start had a grace.
#[test]
fn unit_restarted_with_a_looping_root_is_reported() {
    let mut m = Machine::new()
        .unit(service("db").no_start_limit().restart(Restart::Always, std::time::Duration::from_secs(1)))
        .unit(service("web").no_start_limit().requires(&["db"]).after(&["db"]))
        .check(http("web").interval(5))
        .up();
    m.edit("db", |file| *file = file.clone().exits_after(3, Exit::Status(1)));
    m.edit("web", |file| *file = file.clone().listens_after(60));
    m.kill("db");
    m.run_for(120);
    assert_eq!(m.count("web", Down), 1, "{}", m.timeline());
}

/// A person tries again and again what starts slowly: five times, and none of it is a failure.
#[test]
fn operators_restarts_of_a_slow_starter_are_left_alone() {
    let mut m = Machine::new().unit(tomcat()).check(slow_check()).up();
    m.forget();
    for _ in 0..5 {
        m.restart("tomcat");
        m.run_for(15);
    }
    m.run_for(120);
    m.assert_quiet();
    assert_eq!(m.state("tomcat"), "passing");
}

/// What was up, and is not started at boot, is down after it and was not stopped by anybody; a soft reboot is a boot.
#[test]
fn what_a_boot_does_not_start_was_not_stopped() {
    for soft in [false, true] {
        let mut m = Machine::new().unit(service("web").not_enabled()).check(unit_check("web")).up();
        m.start("web");
        m.run_for(60);
        if soft {
            m.soft_reboot();
        } else {
            m.reboot();
        }
        m.run_for(120);
        assert!(m.is_up("web"), "soft: {soft}: {}", m.why("web"));
    }
}

/// A reload by somebody else, during which the unit does not answer, is probed afresh when it has ended.
#[test]
fn reload_by_an_operator_is_followed_by_no_restart() {
    for offset in [0, 300, 700, 1100, 1500, 1900] {
        let mut web = service("web");
        web.reload_takes = Some(std::time::Duration::from_secs(6));
        let mut m = Machine::new()
            .unit(web)
            .check(http("web").interval(2).retry_interval(1).failure_threshold(2).grace(3))
            .up();
        m.run_for_millis(offset);
        m.systemctl("reload", &["web"]);
        m.fail("web");
        m.run_for(6);
        m.sees_service("web");
        m.run_for(60);
        m.assert_quiet();
    }
}

/// What a shutdown takes down is no failure, and what it has not read as down has not recovered.
#[test]
fn slow_shutdown_notifies_nobody() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(service("slow").stop_takes(60))
        .check(http("web").interval(2).retry_interval(1))
        .check(http("slow").interval(2).retry_interval(1))
        .up();
    m.hang("web");
    assert!(m.run_until_it_holds(60, |m| m.jobs("web") == 1));
    m.run_for(3);
    let told = m.notifications("web").len();
    m.shut_down();
    m.run_for(50);
    assert_eq!(m.notifications("web").len(), told, "{:?}", m.notifications("web"));
    m.assert_not_notified("slow");
}
