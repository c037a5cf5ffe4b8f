//! Each rule as a short story with a known end.

use stealthcheck::check::Check;
use stealthcheck::check::Step::{Reload, Restart as RestartUnit, Start, StartUnit};
use stealthcheck::notification::AttemptOutcome;
use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered, StillDown};
use stealthcheck::unit::ManagerState;
use stealthcheck::verdict::SuppressedBy;

use crate::machine::*;

/// A check by itself, for a core without a machine.
pub fn check(name: &str, unit: &str) -> Check {
    http(name).on(unit).finish()
}

/// A service that says when it is ready, so that a start that fails is a job that fails, and its check.
fn web() -> Machine {
    Machine::new().unit(service("web").notify(0)).check(http("web")).up()
}

/// The same, after its end; it cannot be started again.
fn web_that_cannot_start() -> Machine {
    let mut m = web();
    m.fail_to_start("web");
    m.kill("web");
    m
}

#[test]
fn hung_service_is_down_and_recovered_by_one_restart() {
    let mut m = web();
    m.hang("web");
    assert!(m.run_until_it_holds(40, |m| m.state("web") == "failing"), "{}", m.timeline());
    m.run_for(9);
    assert_eq!((m.state("web"), m.jobs("web")), ("failing", 0), "not before the third failure");
    m.run_for(60);
    assert_eq!((m.state("web"), m.jobs("web")), ("passing", 1));
    assert_eq!(m.notifications("web"), [Down, Recovered]);
    let attempts = &m.record.sent[1].notification.attempts;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].outcome, Some(AttemptOutcome::Recovered));
}

#[test]
fn process_end_without_stop_job_is_down_at_once() {
    for exit in [Exit::Status(0), Exit::Signal(9)] {
        let mut m = web();
        m.exit("web", exit);
        m.run_for_millis(10);
        assert_eq!((m.state("web"), m.jobs("web")), ("down", 1), "requested as soon as it is read");
        m.run_for(15);
        assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![Down, Recovered]));
    }
}

#[test]
fn first_notification_reports_the_first_attempt() {
    let mut m = web_that_cannot_start();
    m.run_for(2);
    assert_eq!(m.notifications("web"), [Down]);
    let attempts = &m.record.sent[0].notification.attempts;
    assert_eq!(attempts.len(), 1);
    assert!(attempts[0].result.is_some(), "its job's result is known");
}

#[test]
fn first_notification_does_not_wait_for_an_endless_job() {
    let mut m = web();
    m.edit("web", |file| *file = file.clone().never_ready());
    m.kill("web");
    m.run_for(11);
    assert_eq!(m.notifications("web"), [Down]);
    m.run_for(300);
    assert_eq!(m.notifications("web"), [Down, ActionRequired], "a job of five minutes is for a person");
    assert_eq!(m.jobs("web"), 1);
}

#[test]
fn attempts_back_off_require_action_and_continue() {
    let mut m = web_that_cannot_start();
    m.run_for(3600);
    let gaps: Vec<f64> = m.job_times("web").windows(2).map(|two| (two[1] - two[0]).round()).collect();
    assert_eq!(gaps[..6], [10.0, 20.0, 40.0, 80.0, 160.0, 300.0], "{gaps:?}");
    assert!(gaps[6..].iter().all(|gap| *gap == 300.0) && gaps.len() > 12, "{gaps:?}");
    assert_eq!(m.notifications("web"), [Down, ActionRequired]);
    m.mend("web");
    m.run_for(400);
    assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![Down, ActionRequired, Recovered]));
}

/// The units on which jobs were requested, in order.
fn job_units(m: &Machine) -> Vec<&str> {
    m.record.jobs.iter().map(|job| job.unit.as_str()).collect()
}

#[test]
fn steps_advance_and_max_attempts_is_kept() {
    let steps = [RestartUnit, RestartUnit, StartUnit(unit_name("gru-terminate"))];
    let mut m = Machine::new()
        .unit(service("web").notify(0))
        .unit(oneshot("gru-terminate", 1))
        .check(http("web").recover(&steps).max_attempts(3))
        .up();
    m.fail_to_start("web");
    m.kill("web");
    m.run_for(7200);
    assert_eq!(job_units(&m), ["web.service", "web.service", "gru-terminate.service"]);
    assert_eq!(m.notifications("web"), [Down, ActionRequired]);
}

/// Failing again within the proving time is the same incident, and the next step; an incident that follows is another
/// one, and begins where the last one ended (rules 5 and 13).
#[test]
fn step_index_rises_within_proving_time_only() {
    let steps = [RestartUnit, StartUnit(unit_name("other"))];
    let mut m =
        Machine::new().unit(service("web")).unit(oneshot("other", 1)).check(http("web").recover(&steps)).up();
    m.kill("web");
    m.run_for(30);
    m.kill("web");
    m.run_for(12);
    assert_eq!(job_units(&m), ["web.service"; 2], "{}", m.timeline());
    m.kill("web");
    m.run_for(60);
    assert_eq!(job_units(&m)[2], "other.service", "{}", m.timeline());
    m.start("web");
    m.run_for(600);
    m.forget();
    m.kill("web");
    m.run_for(30);
    assert_eq!(job_units(&m), ["web.service"], "after lasting health the first step comes first");
}

#[test]
fn operator_stop_is_respected_for_respect_stop() {
    let mut m = web();
    m.stop("web");
    m.run_for(299);
    let suppressed_by = m.status("web").health.suppressed_by;
    assert!(matches!(suppressed_by, Some(SuppressedBy::Stopped { until: Some(_) })), "{suppressed_by:?}");
    m.assert_quiet();
    m.run_for(30);
    assert_eq!((m.state("web"), m.jobs("web")), ("passing", 1));
    assert_eq!(m.notifications("web"), [Down, Recovered]);
}

#[test]
fn operator_stop_undone_in_time_is_no_incident() {
    let mut m = web();
    m.stop("web");
    m.run_for(200);
    m.start("web");
    m.run_for(600);
    m.assert_quiet();
    assert_eq!(m.state("web"), "passing");
}

#[test]
fn respect_stop_may_be_forever_or_zero() {
    for (respect_stop, jobs) in [(None, 0), (Some(0), 1)] {
        let mut m = Machine::new().unit(service("web")).check(http("web").respect_stop(respect_stop)).up();
        m.stop("web");
        m.run_for(86_400);
        assert_eq!(m.jobs("web"), jobs, "{respect_stop:?}");
    }
}

#[test]
fn operator_stop_is_respected_after_daemon_restart() {
    let mut m = web();
    m.stop("web");
    m.run_for(100);
    m.restart_daemon();
    m.run_for(150);
    assert_eq!((m.state("web"), m.jobs("web")), ("stopped", 0));
    m.run_for(100);
    assert_eq!(m.jobs("web"), 1);
}

#[test]
fn no_job_while_unit_or_manager_forbids_it() {
    let mut m = web();
    m.manager_says(ManagerState::Stopping);
    m.kill("web");
    m.run_for(600);
    assert_eq!((m.state("web"), m.jobs("web")), ("down", 0));
    m.manager_says(ManagerState::Running);
    assert_eq!(m.jobs("web"), 1, "and at once when it is");

    let mut m = web();
    m.mask("web");
    m.kill("web");
    m.run_for(600);
    assert_eq!((m.jobs("web"), m.notifications("web")), (0, vec![Down]));
}

#[test]
fn checks_of_one_unit_share_one_job() {
    let mut m = Machine::new().unit(service("web"));
    for name in ["web-a", "web-b", "web-c"] {
        m = m.check(http(name).on("web"));
    }
    let mut m = m.up();
    m.hang("web");
    m.run_for(120);
    assert_eq!(m.jobs("web"), 1);
    assert_eq!(m.open_threads(), []);
    for sent in m.record.sent.iter().filter(|sent| sent.notification.kind == Recovered) {
        assert_eq!(sent.notification.attempts.len(), 1, "the attempt of one is told to all: {sent:?}");
    }
}

#[test]
fn pause_lasts_until_its_end_over_daemon_restart() {
    let mut m = web();
    m.pause("web", 3600);
    m.break_service("web");
    m.kill("web");
    m.run_for(1800);
    m.stop_daemon();
    m.run_for(10);
    m.start_daemon();
    m.run_for(1700);
    m.assert_quiet();
    assert_eq!(m.probes(), 0);
    m.run_for(200);
    assert_eq!(m.state("web"), "down");
    assert!(m.jobs("web") > 0);
}

#[test]
fn resume_ends_pause_and_pause_drops_the_running_probe() {
    let mut m = web();
    m.break_service("web");
    assert!(m.run_until_it_holds(40, |m| m.probes() == 1));
    m.pause("web", 3600);
    m.run_for(10);
    m.resume("web");
    m.run_for(30);
    assert_eq!((m.state("web"), m.cause("web").is_some()), ("down", true));
}

#[test]
fn job_done_without_new_run_is_ineffective() {
    let mut m =
        Machine::new().unit(service("web").can_reload()).check(http("web").recover(&[Reload, Start])).up();
    m.break_service("web");
    m.run_for(400);
    let attempts = &m.record.sent.last().expect("somebody is notified").notification.attempts;
    assert_eq!(attempts[0].step, Reload);
    assert!(matches!(attempts[0].outcome, Some(AttemptOutcome::Ineffective(_))), "{attempts:?}");
}

#[test]
fn alert_after_delays_and_reminder_follows() {
    let dns = http("dns").only_notified().repeat_interval(4 * 3600).with(|check| {
        check.unit = None;
        check.alert.after = std::time::Duration::from_secs(600);
    });
    let mut m = Machine::new().check(dns).up();
    m.fail("dns");
    m.run_for(550);
    assert_eq!(m.notifications("dns"), []);
    m.run_for(150);
    assert_eq!(m.notifications("dns"), [Down]);
    m.run_for(9 * 3600);
    assert_eq!(m.notifications("dns"), [Down, StillDown, StillDown]);
}

#[test]
fn suspend_causes_no_burst_of_probes() {
    let mut m = Machine::new();
    for n in 0..200 {
        m = m.unit(service(&format!("c{n}"))).check(http(&format!("c{n}")));
    }
    let mut m = m.up();
    let before = m.probes();
    m.sleep(8 * 3600);
    m.run_for_millis(1);
    assert!(m.probes() - before < 20, "{} at once", m.probes() - before);
    m.run_for(11);
    assert!(m.probes() - before >= 200, "but all within the first ten seconds");
    m.assert_quiet();
}

#[test]
fn wall_clock_jump_changes_nothing() {
    let mut m = web();
    for jump in [-86_400, 365 * 86_400, -3600] {
        m.set_clock(jump);
        m.run_for(300);
    }
    assert_eq!(m.state("web"), "passing");
    m.assert_quiet();
    assert!((25..=35).contains(&m.probes()), "{} in 15 minutes", m.probes());
}

#[test]
fn unchanged_checks_keep_their_state_over_reload() {
    let more = service("more");
    let mut m = Machine::new().unit(service("web").notify(0)).unit(more).check(http("web")).up();
    m.fail_to_start("web");
    m.kill("web");
    m.run_for(60);
    let jobs = m.jobs("web");
    m.reload(vec![http("web"), http("more")]);
    assert_eq!((m.state("web"), m.jobs("web")), ("down", jobs));
    m.run_for(30);
    assert_eq!(m.notifications("web"), [Down], "no second opening");
}

#[test]
fn attempts_unproven_by_daemon_restarts_require_action() {
    let mut m = web();
    m.break_service("web");
    for attempts in 1..9 {
        assert!(m.run_until_it_holds(600, |m| m.jobs("web") >= attempts));
        assert_eq!(m.jobs("web"), attempts);
        // Long before its grace is over.
        m.run_for(2);
        m.restart_daemon();
    }
    m.run_for(60);
    assert_eq!(m.notifications("web"), [Down, ActionRequired]);
}
