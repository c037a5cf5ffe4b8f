//! The steps of a recovery: which check's step is next, what cannot apply, and what an incident begins with.

use stealthcheck::check::Step::{Reload, Restart as RestartUnit, Start, StartUnit};
use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered};
use stealthcheck::unit::JobKind;

use crate::machine::*;

fn start_of(unit: &str) -> stealthcheck::check::Step {
    StartUnit(unit_name(unit))
}

/// The certificate's step comes first by name, and cannot mend a crash.
#[test]
fn crash_is_recovered_beside_a_check_with_other_steps() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(oneshot("renew", 1))
        .check(http("certificate").on("web").recover(&[start_of("renew")]))
        .check(http("web"))
        .up();
    m.kill("web");
    m.run_for(15);
    assert!(m.is_up("web"), "web was not restarted");
    m.run_for(100);
    assert_eq!(m.jobs("web"), 1);
    assert!(m.jobs("renew") <= 1, "the certificate was renewed {} times for a crash", m.jobs("renew"));
    assert_eq!((m.state("web"), m.state("certificate")), ("passing", "passing"));
}

/// The same with a reload, which a dead unit refuses.
#[test]
fn crash_is_recovered_beside_a_check_that_reloads() {
    let mut m = Machine::new()
        .unit(service("web").can_reload())
        .check(http("config").on("web").recover(&[Reload]))
        .check(http("web"))
        .up();
    m.kill("web");
    m.run_for(15);
    assert!(m.is_up("web"), "web was not restarted");
    assert_eq!(m.job_kinds("web"), [JobKind::Restart]);
}

/// Each check serves its own incident, also while the other one's lasts.
#[test]
fn hang_is_recovered_while_another_check_cannot_be_helped() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(oneshot("renew", 1))
        .check(http("certificate").on("web").recover(&[start_of("renew")]))
        .check(http("web"))
        .up();
    m.fail_for_good("certificate");
    m.run_for(600);
    assert!(m.has_incident("certificate"));
    m.forget();
    m.hang("web");
    m.run_for(120);
    assert_eq!(m.state("web"), "passing");
    assert_eq!(m.job_kinds("web"), [JobKind::Restart]);
}

/// A long run of another unit hides nothing that happens to the check's own.
#[test]
fn crash_is_recovered_while_a_step_runs_another_unit() {
    for same_check in [true, false] {
        let certificate = http("certificate").on("web").recover(&[start_of("renew")]);
        let mut m = Machine::new().unit(service("web")).unit(oneshot("renew", 3600)).check(certificate);
        if !same_check {
            m = m.check(http("web"));
        }
        let mut m = m.up();
        m.fail_for_good("certificate");
        assert!(m.run_until_it_holds(120, |m| m.jobs("renew") == 1));
        m.run_for(30);
        m.forget();
        m.kill("web");
        m.run_for(60);
        if same_check {
            // Nothing but the renewal is configured: a person must know that the unit is down.
            assert_ne!(m.state("certificate"), "passing");
        } else {
            assert!(m.is_up("web"), "web was not restarted");
            assert_eq!(m.notifications("web"), [Down, Recovered]);
        }
    }
}

/// The check is renamed while its job runs. The attempt is concluded for the unit.
#[test]
fn renamed_check_begins_next_incident_with_first_step() {
    let steps = [RestartUnit, start_of("poweroff-node")];
    let mut m = Machine::new()
        .unit(service("web").start_pre(5))
        .unit(oneshot("poweroff-node", 1))
        .check(http("old").on("web").recover(&steps))
        .up();
    m.hang("web");
    assert!(m.run_until_it_holds(120, |m| m.jobs("web") == 1));
    m.reload(vec![http("new").on("web").recover(&steps)]);
    m.run_for(120);
    assert_eq!(m.state("new"), "passing");
    m.hang("web");
    m.run_for(120);
    assert_eq!(m.jobs("poweroff-node"), 0, "the second step came first");
    assert_eq!(m.jobs("web"), 2);
    assert_eq!(m.state("new"), "passing");
}

/// A check that is down and is no longer configured closes its thread, and says why.
#[test]
fn removed_check_that_is_down_closes_its_thread() {
    let web = || http("web").interval(10);
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(service("db"))
        .check(web())
        .check(http("db").only_notified())
        .up();
    m.fail("db");
    m.run_for(60);
    assert_eq!(m.notifications("db"), [Down]);
    m.reload(vec![web()]);
    m.run_for(60);
    let last = m.sent_about("db").last().expect("a notification");
    assert!(last.notification.kind.is_last(), "the thread is open: {:?}", m.notifications("db"));
    assert!(format!("{:?}", last.notification).contains("no longer monitored"), "{:?}", last.notification);
}

/// A reload of a dead unit is skipped without costing time.
#[test]
fn step_that_cannot_apply_costs_no_time() {
    for can_reload in [true, false] {
        let web = if can_reload { service("web").can_reload() } else { service("web") };
        let mut m = Machine::new().unit(web).check(http("web").recover(&[Reload, RestartUnit])).up();
        let crash = m.secs();
        m.kill("web");
        m.run_for(60);
        assert_eq!(m.job_kinds("web"), [JobKind::Restart]);
        let downtime = m.downtime_since("web", crash);
        assert!(downtime < 2.0, "web was down for {downtime} s");
    }
}

/// A step index does not survive the incident.
#[test]
fn second_crash_after_health_begins_with_first_step() {
    let mut m = Machine::new()
        .unit(service("search"))
        .unit(oneshot("search-rebuild", 5))
        .check(http("search").recover(&[RestartUnit, start_of("search-rebuild")]))
        .up();
    for _ in 0..3 {
        m.kill("search");
        m.run_for(90);
    }
    assert_eq!(m.jobs("search"), 3);
    assert_eq!(m.jobs("search-rebuild"), 0);
}

/// `max_attempts` counts within one incident.
#[test]
fn max_attempts_counts_within_one_incident() {
    let mut m = Machine::new().unit(service("web")).check(http("web").max_attempts(1)).up();
    for n in 1..=3 {
        m.kill("web");
        m.run_for(60);
        assert_eq!(m.jobs("web"), n, "crash {n}");
        assert_eq!(m.state("web"), "passing");
    }
    assert_eq!(m.count("web", ActionRequired), 0);
    m.break_service("web");
    m.run_for(900);
    assert_eq!(m.jobs("web"), 4, "one attempt in this incident");
    assert_eq!(m.count("web", ActionRequired), 1);
}

/// A good renewal is the end of its incident; minutes later the next one begins anew.
#[test]
fn second_incident_of_certificate_begins_with_an_attempt() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(oneshot("renew", 5))
        .check(http("certificate").on("web").recover(&[start_of("renew")]))
        .up();
    for _ in 0..2 {
        m.forget();
        m.fail_for_good("certificate");
        assert!(m.run_until_it_holds(120, |m| m.jobs("renew") == 1), "the renewal was not started");
        assert_eq!(m.count("certificate", ActionRequired), 0, "no attempt was made yet");
        m.run_for(3);
        m.sees_service("certificate");
        m.run_for(240);
        assert_eq!(m.state("certificate"), "passing");
        assert_eq!(m.notifications("certificate"), [Down, Recovered]);
    }
}

/// The same with probes that come seldom, as those of certificates do.
#[test]
fn incident_of_rare_probes_begins_with_an_attempt() {
    let certificate =
        || http("certificate").on("web").interval(6 * 3600).retry_interval(3600).failure_threshold(1);
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(oneshot("renew", 5))
        .check(certificate().recover(&[start_of("renew")]))
        .up();
    m.run_for(6 * 3600);
    for _ in 0..2 {
        m.forget();
        m.fail_for_good("certificate");
        m.probe_now("certificate");
        m.run_for(60);
        assert_eq!(m.jobs("renew"), 1, "the renewal was not started");
        assert_eq!(m.count("certificate", ActionRequired), 0);
        m.sees_service("certificate");
        m.run_for(3600 + 300);
        assert_eq!(m.state("certificate"), "passing");
    }
}

/// The renewal failed, and somebody renewed in another way. The pass counts, although the renewal's unit is failed.
#[test]
fn pass_closes_incident_although_helper_unit_failed() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(oneshot("renew", 5).fails_to_start())
        .check(http("certificate").on("renew").asks("web").recover(&[Start]))
        .up();
    assert_eq!(m.state("certificate"), "passing");
    m.fail("certificate");
    m.run_for(300);
    assert!(m.jobs("renew") >= 1);
    assert_eq!(m.describe("renew"), "failed (Result: exit-code)");
    m.sees_service("certificate");
    m.run_for(600);
    assert_eq!(m.state("certificate"), "passing");
    assert_eq!(m.count("certificate", Recovered), 1);
}

/// Nobody would be told of it, and nothing would bring it back; a job that runs would be lost.
#[test]
fn start_step_does_not_stop_what_an_operator_runs() {
    for monitored in [false, true] {
        let mut m = Machine::new()
            .unit(service("web"))
            .unit(service("fallback").conflicts(&["migration"]).not_enabled())
            .unit(oneshot("migration", 300))
            .check(http("web").recover(&[start_of("fallback")]));
        if monitored {
            m = m.check(job_check("migration", 86_400));
        }
        let mut m = m.up();
        m.start("migration");
        m.run_for(5);
        m.fail_for_good("web");
        m.run_for(120);
        m.assert_no_job("fallback");
        assert!(m.why("web").contains("would stop migration.service"), "{}", m.why("web"));
        assert_eq!(m.count("web", Down), 1);
        m.run_for(600);
        assert!(m.jobs("fallback") > 0, "the migration has ended: {}", m.why("web"));
    }
}

/// The same with what a restart pulls in.
#[test]
fn restart_does_not_stop_what_an_operator_runs() {
    let mut m = Machine::new()
        .unit(service("web").wants(&["cache"]))
        .unit(service("cache").conflicts(&["migration"]))
        .unit(oneshot("migration", 300))
        .check(http("web"))
        .up();
    m.start("migration");
    m.run_for(5);
    assert!(!m.is_up("cache"));
    m.hang("web");
    m.run_for(120);
    m.assert_no_job("web");
    assert_eq!(m.notifications("web"), [Down]);
    m.run_for(900);
    assert_eq!(m.state("web"), "passing", "{}", m.why("web"));
}

/// What a check monitors makes room for what its own step, or that of another check, starts, and comes back.
#[test]
fn start_step_displaces_monitored_services() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(service("twin"))
        .unit(oneshot("renew", 5).conflicts(&["web", "twin"]).starts_at_its_end(&["web", "twin"]))
        .check(http("certificate").on("web").recover(&[start_of("renew")]))
        .check(http("twin"))
        .up();
    m.fail_for_good("certificate");
    m.run_for(120);
    assert!(m.jobs("renew") > 0, "{}", m.why("certificate"));
    m.assert_not_notified("twin");
}

/// The step's program stops the check's unit for a while and starts it again: that is no operator's stop that cancels it.
#[test]
fn start_step_that_stops_the_checks_unit_goes_on() {
    let mut m = Machine::new()
        .unit(service("web"))
        .unit(oneshot("renew", 20))
        .check(http("web").recover(&[start_of("renew")]).max_attempts(1))
        .up();
    m.fail_for_good("web");
    assert!(m.run_until_it_holds(60, |m| m.jobs("renew") == 1));
    m.run_for(2);
    m.stop("web");
    m.run_for(8);
    assert!(m.describe("renew").contains("activating"), "{}", m.timeline());
    m.sees_service("web");
    m.start("web");
    m.run_for(120);
    assert_eq!(m.state("web"), "passing");
    assert!(
        m.sent_about("web").all(|sent| !format!("{:?}", sent.notification).contains("anceled")),
        "{}",
        m.why("web")
    );
}
