//! Failures that no job on the check's own unit would change: a certificate that is about to expire and has not been
//! renewed. They are told as any other, and restart nothing.

use stealthcheck::check::Step::{self, Restart as RestartUnit, StartUnit};
use stealthcheck::notification::NotificationKind::{ActionRequired, Recovered, StillDown};

use crate::machine::*;

const MINUTE: u64 = 60;

/// A check of web's certificate, with these steps.
fn certificate(steps: &[Step]) -> Machine {
    let check = http("certificate").on("web").recover(steps).repeat_interval(3600);
    Machine::new().unit(service("web")).unit(oneshot("renew", 1)).check(check).up()
}

#[test]
fn not_restartable_failure_requires_action_without_job() {
    let mut m = certificate(&[RestartUnit]);
    m.fail_for_good("certificate");
    m.run_for(150 * MINUTE);
    assert_eq!((m.state("certificate"), m.jobs("web")), ("down", 0));
    assert_eq!(m.notifications("certificate"), [ActionRequired, StillDown, StillDown]);
    let notification = &m.record.sent[0].notification;
    assert_eq!(notification.cause, "valid for no more than 3 days");
    assert_eq!(notification.next, "Action required: no job on the unit would change what the probe found.");
    m.sees_service("certificate");
    m.run_for(MINUTE);
    assert_eq!((m.state("certificate"), m.count("certificate", Recovered)), ("passing", 1));
}

#[test]
fn job_follows_once_failure_is_restartable() {
    let mut m = certificate(&[RestartUnit]);
    m.fail_for_good("certificate");
    m.run_for(30 * MINUTE);
    m.fail("certificate");
    m.run_for(31);
    assert_eq!((m.state("certificate"), m.jobs("web")), ("down", 1));
    m.sees_service("certificate");
    m.run_for(MINUTE);
    assert_eq!(m.state("certificate"), "passing");
    assert_eq!(m.notifications("certificate"), [ActionRequired, Recovered]);
    // And what was curable may be so no longer.
    m.fail("certificate");
    m.run_for(3 * MINUTE);
    let jobs = m.jobs("web");
    assert!(jobs > 1);
    m.fail_for_good("certificate");
    m.run_for(60 * MINUTE);
    assert!(m.jobs("web") <= jobs + 1, "one at most that was due when it was seen");
}

#[test]
fn not_restartable_failure_may_start_another_unit() {
    let renew = StartUnit(unit_name("renew"));
    // Whichever stands first: what can help is done.
    for steps in [[renew.clone(), RestartUnit], [RestartUnit, renew]] {
        let mut m = certificate(&steps);
        m.fail_for_good("certificate");
        m.run_for(2 * MINUTE);
        assert!(m.jobs("renew") > 0);
        assert_eq!(m.jobs("web"), 0);
        m.sees_service("certificate");
        m.run_for(MINUTE);
        assert_eq!(m.state("certificate"), "passing");
    }
}

#[test]
fn down_unit_is_restarted_whatever_its_probe_found() {
    let mut m = certificate(&[RestartUnit]);
    m.fail_for_good("certificate");
    m.run_for(10 * MINUTE);
    assert_eq!(m.jobs("web"), 0);
    m.kill("web");
    m.run_for_millis(10);
    assert_eq!(m.jobs("web"), 1);
    m.run_for(10 * MINUTE);
    assert_eq!((m.state("certificate"), m.jobs("web")), ("down", 1));
}

#[test]
fn not_restartable_survives_daemon_restart() {
    let mut m = certificate(&[RestartUnit]);
    m.fail_for_good("certificate");
    m.run_for(10 * MINUTE);
    m.restart_daemon();
    m.run_for(10 * MINUTE);
    assert_eq!((m.state("certificate"), m.jobs("web")), ("down", 0));
    assert_eq!(m.notifications("certificate"), [ActionRequired]);
}
