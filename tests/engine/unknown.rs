//! Checks that cannot be measured: nothing is restarted, and somebody hears of it when it lasts (rule 15).

use std::time::Duration;

use stealthcheck::notification::NotificationKind::{Down, KnownAgain, Recovered, StillUnknown, Unknown};
use stealthcheck::verdict::Observation;

use crate::machine::*;

fn web() -> Machine {
    let check = http("web").repeat_interval(4 * 3600);
    Machine::new().unit(service("web").notify(0)).check(check).up()
}

/// A check whose state is unknown for `unknown_after` has a thread of notifications of its own, and no job.
#[test]
fn lasting_unknown_sends_own_thread_without_recovery() {
    let mut m = web();
    m.cannot_measure("web");
    let is_unknown = |m: &Machine| {
        m.status("web").last.is_some_and(|last| matches!(last.observation, Observation::Unknown { .. }))
    };
    assert!(m.run_until_it_holds(40, is_unknown));
    assert_eq!(m.state("web"), "passing", "once is nothing");
    m.run_for(11);
    assert_eq!(m.state("web"), "unknown", "but thrice is");
    m.run_for(500);
    assert_eq!(m.notifications("web"), []);
    m.run_for(100);
    assert_eq!(m.notifications("web"), [Unknown]);
    let told = &m.record.sent[0].notification;
    assert_eq!(told.cause, "the resolver does not answer");
    assert!(told.id.incident.0.ends_with("-unmeasured"), "{}", told.id);
    m.run_for(9 * 3600);
    assert_eq!(m.notifications("web"), [Unknown, StillUnknown, StillUnknown]);
    m.sees_service("web");
    m.run_for(10);
    assert_eq!(m.notifications("web"), [Unknown, StillUnknown, StillUnknown, KnownAgain]);
    assert_eq!((m.state("web"), m.jobs("web")), ("passing", 0));
}

#[test]
fn known_again_in_time_sends_nothing_and_resets_the_time() {
    let mut m = web();
    for _ in 0..3 {
        m.cannot_measure("web");
        m.run_for(500);
        m.sees_service("web");
        m.run_for(60);
        assert_eq!(m.state("web"), "passing");
    }
    m.assert_quiet();
}

#[test]
fn unknown_needs_at_least_three_runs() {
    let check = http("web").failure_threshold(1).with(|check| check.alert.unknown_after = Duration::ZERO);
    let mut m = Machine::new().unit(service("web")).check(check).up();
    m.cannot_measure("web");
    assert!(m.run_until_it_holds(40, |m| m.state("web") == "unknown"));
    assert_eq!(m.notifications("web"), [], "one run, as failure_threshold says");
    m.run_for(11);
    assert_eq!(m.notifications("web"), [Unknown]);
}

#[test]
fn incident_stays_open_while_check_is_unknown() {
    let mut m = web();
    m.break_service("web");
    m.run_for(90);
    assert_eq!((m.state("web"), m.notifications("web")), ("down", vec![Down]));
    let jobs = m.jobs("web");
    m.cannot_measure("web");
    m.run_for(500);
    assert_eq!(m.state("web"), "down");
    assert!(m.jobs("web") <= jobs + 1, "what is not measured asks for nothing new");
    m.sees_service("web");
    m.mend("web");
    m.run_for(20);
    assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![Down, Recovered]));
}

#[test]
fn failure_after_unknown_is_known_again() {
    let mut m = web();
    m.cannot_measure("web");
    m.run_for(700);
    m.sees_service("web");
    m.fail_to_start("web");
    m.kill("web");
    m.run_for(30);
    let sent = m.notifications("web");
    assert_eq!(sent[..2], [Unknown, Down]);
    assert!(sent.contains(&KnownAgain), "{sent:?}");
    assert_eq!(m.state("web"), "down");
}

#[test]
fn unknown_survives_daemon_restart() {
    let mut m = web();
    m.cannot_measure("web");
    m.run_for(500);
    m.restart_daemon();
    assert_eq!(m.state("web"), "unknown");
    m.run_for(140);
    assert_eq!(m.notifications("web"), [Unknown], "ten minutes in all, not from the restart on");
    m.stop_daemon();
    m.run_for(60);
    m.start_daemon();
    m.sees_service("web");
    m.run_for(60);
    assert_eq!(m.notifications("web"), [Unknown, KnownAgain]);
    assert_eq!(m.threads("web"), 1);
}

#[test]
fn unknown_is_silent_with_alert_off_or_paused() {
    let mut m = web();
    m.cannot_measure("web");
    m.run_for(300);
    m.pause("web", 3600);
    m.run_for(3500);
    assert_eq!(m.notifications("web"), []);
    m.run_for(500);
    assert_eq!(m.notifications("web"), [], "what was before the pause says nothing of how long it is so");
    m.reload(vec![http("web").with(|check| check.alert.off = true)]);
    m.run_for(3600);
    m.assert_quiet();
}

#[test]
fn unit_check_is_not_passing_while_systemd_is_unreachable() {
    let mut m = Machine::new().unit(service("web")).check(unit_check("web")).up();
    m.lose_bus();
    m.run_for(60);
    assert_eq!(m.state("web"), "unknown");
    m.bus_returns();
    m.run_for(10);
    assert_eq!(m.state("web"), "passing");
    m.assert_quiet();
}
