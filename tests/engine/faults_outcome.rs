//! When a recovery has worked, when an incident is over, and what systemd does by itself meanwhile.

use std::time::Duration;

use stealthcheck::check::Step::{Reload, Restart as RestartUnit, StartUnit};
use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered};

use crate::machine::*;

const SECOND: Duration = Duration::from_secs(1);

/// A service that hangs for good after a crash loop is restarted: the loop has ended with the restarts.
#[test]
fn hang_after_crash_loop_is_recovered() {
    for (healthy, probe) in [(0, http as fn(&str) -> CheckBuilder), (30, http)] {
        let web = service("web").no_start_limit().restart(Restart::Always, SECOND);
        let mut m = Machine::new().unit(web).check(probe("web")).up();
        m.edit("web", |file| file.program.exits_after = Some((2 * SECOND, Exit::Status(1))));
        m.kill("web");
        m.run_for(30);
        assert!(m.unit_state("web").n_restarts >= 8);
        m.mend("web");
        assert!(m.run_until_it_holds(10, |m| m.answers("web")));
        m.run_for(healthy);
        m.hang("web");
        m.run_for(300);
        assert!(m.jobs("web") >= 1, "the hang was not recovered");
        assert_eq!(m.state("web"), "passing");
    }
}

/// While systemd restarts the service each time, the daemon does not; the incident ends with the restarts.
#[test]
fn crash_loop_is_one_incident_that_ends() {
    for probe in [http, unit_check] {
        let web = service("web").no_start_limit().restart(Restart::Always, SECOND);
        let mut m = Machine::new().unit(web).check(probe("web")).up();
        m.edit("web", |file| file.program.exits_after = Some((5 * SECOND, Exit::Status(1))));
        m.kill("web");
        m.run_for(900);
        m.assert_no_job("web");
        assert_eq!((m.state("web"), m.notifications("web")), ("down", vec![ActionRequired]));
        assert!(m.cause("web").is_some_and(|cause| cause.contains("crash-looping")), "{:?}", m.cause("web"));
        m.mend("web");
        m.run_for(900);
        assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![ActionRequired, Recovered]));
        assert_eq!(m.threads("web"), 1);
    }
}

/// The daemon is restarted while its job brings up a unit that takes longer than its grace: the job is awaited all the same.
#[test]
fn job_of_the_run_before_is_awaited() {
    let mut m = Machine::new()
        .unit(service("web").start_pre(60))
        .check(unit_check("web").recover(&[RestartUnit, StartUnit(unit_name("last"))]).max_attempts(1))
        .unit(service("last").not_enabled())
        .up();
    m.kill("web");
    m.run_for(2);
    m.restart_daemon();
    m.run_for(50);
    assert_eq!((m.jobs("web"), m.jobs("last")), (1, 0), "{}", m.timeline());
    m.run_for(60);
    assert_eq!((m.state("web"), m.jobs("web"), m.jobs("last")), ("passing", 1, 0), "{}", m.timeline());
    assert_eq!(m.notifications("web"), [Down, Recovered]);

    // Likewise a job on another unit.
    let rebuild = oneshot("rebuild", 600);
    let steps = [StartUnit(unit_name("rebuild")), RestartUnit];
    let mut m = Machine::new().unit(service("web")).unit(rebuild).check(http("web").recover(&steps)).up();
    m.hang("web");
    m.run_for(60);
    assert_eq!(m.jobs("rebuild"), 1, "{}", m.timeline());
    m.restart_daemon();
    m.run_for(300);
    assert_eq!(m.jobs("web"), 0, "{}", m.timeline());
    m.run_for(400);
    assert_eq!(m.jobs("web"), 1, "{}", m.timeline());
}

/// A hung service is restarted, and then crash-loops: the attempt is concluded, the next steps follow, a person is notified.
#[test]
fn crash_loop_in_open_incident_is_one_of_its_own() {
    for last in [None, Some(StartUnit(unit_name("last")))] {
        let steps: Vec<_> = [RestartUnit].into_iter().chain(last.clone()).collect();
        let web = service("web").restart(Restart::Always, 5 * SECOND).no_start_limit();
        let mut m = Machine::new()
            .unit(web)
            .unit(service("last").not_enabled())
            .check(http("web").interval(3).recover(&steps))
            .up();
        m.hang("web");
        m.edit("web", |file| *file = file.clone().exits_after(1, Exit::Status(1)));
        m.run_for(200);
        assert_eq!(m.is_up("last"), last.is_some(), "{}", m.timeline());
        assert!(m.notifications("web").contains(&ActionRequired), "{:?}", m.notifications("web"));
        assert!(m.why("web").contains("crash-looping"), "the log is not flooded: {}", m.why("web"));
    }
}

/// One crash that systemd mends itself is nobody's concern, however long its delay is.
#[test]
fn crash_that_systemd_mends_notifies_nobody() {
    for secs in [1, 5, 25, 60] {
        for probe in [http, unit_check] {
            let web = service("web").restart(Restart::Always, secs * SECOND);
            let mut m = Machine::new().unit(web).check(probe("web")).up();
            m.kill("web");
            m.run_for(u64::from(secs) + 60);
            m.assert_quiet();
            assert_eq!(m.state("web"), "passing");
        }
    }
}

/// `RestartSec=30min` is no matter of seconds: people are notified, and told when systemd restarts it.
#[test]
fn long_restart_delay_is_told() {
    let web = service("web").restart(Restart::Always, 1800 * SECOND);
    let mut m = Machine::new().unit(web).check(http("web")).up();
    m.kill("web");
    m.run_for(300);
    m.assert_no_job("web");
    assert_eq!(m.notifications("web").first(), Some(&Down));
    // The clock of the test begins at 11:06:40 UTC; web was killed at 3720 s.
    let why = m.why("web");
    assert!(why.contains("systemd itself restarts the unit at 12:38:40 UTC"), "{why}");
}

/// `RestartSteps=`: each restart by systemd takes longer than the one before. The delay in force is awaited, and told where
/// it is long.
#[test]
fn growing_restart_delay_is_awaited() {
    let web = service("web").no_start_limit().restart(Restart::Always, 2 * SECOND).restart_steps(4, 200);
    let mut m = Machine::new().unit(web).check(http("web").grace(1)).up();
    for delay in [2, 6, 20, 63] {
        m.kill("web");
        m.run_for(delay - 1);
        assert!(!m.is_up("web"), "{}", m.timeline());
        m.run_for(300);
        m.assert_quiet();
    }
    m.run_for(600);
    m.kill("web");
    m.run_for(60);
    assert_eq!(m.notifications("web"), [Down], "{}", m.timeline());
    let why = m.why("web");
    assert!(why.contains("systemd itself restarts the unit at"), "{why}");
    m.assert_no_job("web");
}

/// A service that ends two seconds after each start never works.
#[test]
fn service_that_dies_after_each_start_is_one_incident() {
    let mut m = Machine::new().unit(service("api")).check(unit_check("api")).up();
    m.edit("api", |file| file.program.exits_after = Some((2 * SECOND, Exit::Status(1))));
    m.restart("api");
    m.run_for(7 * 60);
    assert_eq!(m.threads("api"), 1);
    assert_eq!(m.count("api", Recovered), 0, "{:?}", m.notifications("api"));
    assert_eq!(m.count("api", ActionRequired), 1);
    assert!(m.status("api").incident.is_some_and(|incident| incident.attempts >= 5));
}

/// A process that a former run has left answers for the new one, which dies.
#[test]
fn left_over_process_does_not_prove_a_recovery() {
    let sslh = service("sslh").leaves_child();
    let mut m = Machine::new().unit(sslh).check(http("sslh")).up();
    m.kill("sslh");
    m.run_for(7 * 60);
    assert_eq!(m.threads("sslh"), 1);
    assert_eq!(m.count("sslh", Recovered), 0, "{:?}", m.notifications("sslh"));
    assert_eq!(m.state("sslh"), "down");
}

/// The unit has to be up, and its checks have to pass, for ten seconds.
#[test]
fn recovery_is_proven_after_ten_seconds() {
    for probe in [http, unit_check] {
        let mut m = Machine::new().unit(service("web")).check(probe("web")).up();
        m.kill("web");
        m.run_for(90);
        assert_eq!(m.notifications("web"), [Down, Recovered]);
        let (up, _) = m.last_change("web");
        let recovered = m.sent_about("web").last().expect("it was sent").at.as_secs_f64();
        let after = recovered - up;
        assert!((10.0..40.0).contains(&after), "recovered {after} s after the start");
    }
}

/// Dying again within the proving time goes on with the next step.
#[test]
fn death_within_proving_time_is_next_step() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(oneshot("rebuild", 1))
        .check(unit_check("web").recover(&[RestartUnit, StartUnit(unit_name("rebuild")), RestartUnit]))
        .up();
    m.edit("web", |file| file.program.exits_after = Some((5 * SECOND, Exit::Status(1))));
    m.restart("web");
    m.run_for(120);
    assert!(m.jobs("rebuild") >= 1, "the second step was never taken");
    assert_eq!(m.threads("web"), 1);
}

/// A worker that ends well each time, and that systemd starts again, does not crash.
#[test]
fn clean_exits_under_restart_always_are_no_crashes() {
    for lives in [1, 20, 100] {
        let queue = service("queue").no_start_limit().restart(Restart::Always, SECOND);
        let mut m =
            Machine::new().unit(queue.exits_after(lives, Exit::Status(0))).check(unit_check("queue")).up();
        m.run_for(1800);
        m.assert_quiet();
        assert!(!m.has_incident("queue"));
        assert!(m.unit_state("queue").n_restarts > 10);
    }
}

/// With `FailureAction=reboot` no restart is tried that would fail the unit; a person is needed.
#[test]
fn own_restarts_never_trip_failure_action() {
    let mut m = Machine::new().unit(service("web").failure_reboots()).check(http("web")).up();
    m.hang("web");
    m.edit("web", |file| file.program.fails_to_start = true);
    m.run_for(1800);
    assert!(!m.rebooted(), "the machine rebooted: {:?}", m.record.reboots);
    assert!(m.notifications("web").contains(&ActionRequired), "{:?}", m.notifications("web"));
}

/// With `JobTimeoutAction=reboot` no job is requested that could take too long, nor one that would start such a unit.
#[test]
fn own_restarts_never_trip_job_timeout_action() {
    let helper = service("helper").job_timeout_reboots(3).start_pre(10).not_enabled();
    let mut m = Machine::new()
        .unit(service("web").job_timeout_reboots(3))
        .unit(helper)
        .unit(service("app").wants(&["helper"]).not_enabled())
        .check(http("web"))
        .check(unit_check("app"))
        .up();
    m.edit("web", |file| file.start_pre = 10 * SECOND);
    m.hang("web");
    m.run_for(600);
    assert!(!m.rebooted(), "the machine rebooted: {:?}", m.record.reboots);
    assert_eq!((m.jobs("web"), m.jobs("app")), (0, 0), "{}", m.timeline());
    assert_eq!(m.notifications("web"), [ActionRequired]);
    assert!(m.why("web").contains("JobTimeoutAction="), "{}", m.why("web"));
}

/// A reload may end the unit, in either way, or take too long: it is withheld as well.
#[test]
fn own_reloads_never_trip_an_action() {
    let reboots: [fn(UnitFile) -> UnitFile; 3] =
        [|web| web.job_timeout_reboots(4), UnitFile::failure_reboots, UnitFile::success_reboots];
    for (case, reboots) in reboots.into_iter().enumerate() {
        let web = reboots(service("web").can_reload());
        let mut m = Machine::new().unit(web).check(http("web").recover(&[Reload])).up();
        m.edit("web", |file| match case {
            0 => file.reload_takes = Some(10 * SECOND),
            1 => file.program.reload_exit = Some(Exit::Signal(9)),
            _ => file.program.reload_exit = Some(Exit::Status(0)),
        });
        m.hang("web");
        m.run_for(600);
        assert!(!m.rebooted(), "the machine rebooted: {:?}", m.record.reboots);
        assert_eq!((m.jobs("web"), m.notifications("web")), (0, vec![ActionRequired]), "{}", m.timeline());
    }
}

/// `OnFailure=reboot.target` is what `FailureAction=reboot` is, and likewise `OnSuccess=`.
#[test]
fn own_jobs_never_start_reboot_target() {
    let fails = service("fails").on_failure(&["reboot.target"]);
    let stops = service("stops").on_success(&["reboot.target"]);
    let mut m = Machine::new()
        .unit(target("reboot").not_enabled())
        .unit(fails)
        .unit(stops)
        .check(http("fails"))
        .check(http("stops"))
        .up();
    m.edit("fails", |file| file.program.fails_to_start = true);
    m.hang("fails");
    m.hang("stops");
    m.run_for(600);
    assert!(!m.rebooted(), "the machine rebooted: {:?}", m.record.reboots);
    for unit in ["fails", "stops"] {
        assert_eq!((m.jobs(unit), m.notifications(unit)), (0, vec![ActionRequired]), "{}", m.timeline());
    }
    assert!(m.why("fails").contains("OnFailure=") && m.why("stops").contains("OnSuccess="));
}

/// With `SuccessAction=reboot` each stop reboots the machine, that of a restart as well.
#[test]
fn own_restarts_never_trip_success_action() {
    let mut m = Machine::new()
        .unit(service("web").success_reboots())
        .unit(service("root"))
        .unit(service("app").requires(&["root"]).after(&["root"]).success_reboots())
        .check(http("web"))
        .check(http("root"))
        .up();
    m.hang("web");
    m.hang("root");
    m.run_for(600);
    assert!(!m.rebooted(), "the machine rebooted: {:?}", m.record.reboots);
    assert_eq!(
        (m.notifications("web"), m.notifications("root")),
        (vec![ActionRequired], vec![ActionRequired])
    );
    assert!(m.why("web").contains("SuccessAction="), "{}", m.why("web"));
    m.kill("web");
    m.run_for(60);
    assert!(m.is_up("web"), "what is down is started: {}", m.timeline());
}

/// What systemd refuses is not requested again and again: a person is told at once.
#[test]
fn job_that_systemd_refuses_is_not_requested() {
    let mut m = Machine::new()
        .unit(service("only-started").refuses_stop())
        .unit(service("only-stopped").refuses_start())
        .check(http("only-started"))
        .check(unit_check("only-stopped"))
        .up();
    m.hang("only-started");
    m.kill("only-stopped");
    m.run_for(600);
    for (unit, setting) in [("only-started", "RefuseManualStop="), ("only-stopped", "RefuseManualStart=")] {
        assert_eq!((m.jobs(unit), m.notifications(unit)), (0, vec![ActionRequired]), "{}", m.timeline());
        assert!(m.why(unit).contains(setting), "{}", m.why(unit));
    }
    m.kill("only-started");
    m.run_for(60);
    assert!(m.is_up("only-started"), "what is down is started: {}", m.timeline());
}

/// A `start` step starts nothing whose failure takes the machine down.
#[test]
fn start_step_never_trips_failure_action() {
    let steps = [StartUnit(unit_name("rebuild"))];
    let rebuild = service("rebuild").failure_reboots().fails_to_start().not_enabled();
    let mut m = Machine::new().unit(service("web")).unit(rebuild).check(http("web").recover(&steps)).up();
    m.hang("web");
    m.run_for(600);
    assert!(!m.rebooted(), "the machine rebooted: {:?}", m.record.reboots);
    assert_eq!(m.notifications("web"), [ActionRequired]);
}

/// A service that hangs twenty seconds after each start is flapping, not new each time.
#[test]
fn flapping_is_notified_once() {
    let web = service("web").no_start_limit();
    let mut m = Machine::new().unit(web).check(http("web").interval(5).failure_threshold(2)).up();
    m.edit("web", |file| file.program.hangs_after = Some(20 * SECOND));
    m.hang("web");
    m.run_for(27 * 60);
    let soon = m.notifications("web");
    assert!(soon.len() <= 8, "{} notifications in 27 minutes: {soon:?}", soon.len());
    m.run_for(60 * 60);
    let more = m.notifications("web").len() - soon.len();
    assert!(more <= 4, "{more} notifications in the hour after that");
    let times: Vec<_> = m.sent_about("web").map(|sent| (sent.at, sent.notification.kind)).collect();
    let together = times
        .windows(2)
        .any(|two| two[0].1 == Down && two[1].1 == ActionRequired && two[1].0 - two[0].0 < SECOND);
    assert!(!together, "down and action required in the same second: {times:?}");
    m.mend("web");
    m.run_for(3600);
    assert_eq!(m.notifications("web").last(), Some(&Recovered));
}

/// The start at boot, which the daemon finds under way, counts as well.
#[test]
fn start_at_boot_counts_towards_start_limit_action() {
    let web =
        service("web").start_pre(5).start_limit(600, 3).start_limit_reboots().exits_after(8, Exit::Status(0));
    let mut m = Machine::new().unit(web).check(unit_check("web")).booting();
    m.run_for(900);
    assert!(m.jobs("web") >= 3, "{}", m.timeline());
    assert!(!m.rebooted(), "the machine rebooted: {:?}", m.record.reboots);
}

/// What passes again lasts no longer: with `after`, nobody is told of it while its recovery is not proven yet.
#[test]
fn incident_that_passes_again_has_not_lasted() {
    let after = Duration::from_secs(15);
    let mut m = Machine::new()
        .unit(service("web"))
        .check(http("web").interval(2).with(|check| check.alert.after = after))
        .up();
    for _ in 0..3 {
        m.hang("web");
        m.run_for(90);
        assert!(m.is_up("web"));
    }
    m.assert_not_notified("web");
}
