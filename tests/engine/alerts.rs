//! Who hears of an incident, and when.

use std::time::Duration;

use stealthcheck::check::Alert;
use stealthcheck::notification::AttemptOutcome;
use stealthcheck::notification::NotificationKind::{ActionRequired, Recovered, StillDown};

use crate::machine::*;

fn web(alert: impl FnOnce(&mut Alert)) -> Machine {
    let check = http("web").with(|check| alert(&mut check.alert));
    Machine::new().unit(service("web").notify(0)).check(check).up()
}

fn cannot_start(m: &mut Machine, unit: &str) {
    m.fail_to_start(unit);
    m.kill(unit);
}

/// One that is longer is reported completely.
#[test]
fn incident_shorter_than_after_is_silent() {
    let mut m = web(|alert| alert.after = Duration::from_secs(600));
    m.kill("web");
    m.run_for(599);
    assert_eq!((m.state("web"), m.jobs("web"), m.notifications("web")), ("passing", 1, vec![]));
    cannot_start(&mut m, "web");
    m.run_for(595);
    assert_eq!(m.notifications("web"), [], "also not that somebody is needed");
    m.run_for(10);
    assert_eq!(m.notifications("web"), [ActionRequired], "but then at once, in one");
    m.mend("web");
    m.run_for(600);
    assert_eq!(m.notifications("web"), [ActionRequired, Recovered]);
    let last = m.record.sent[1].notification.attempts.last().expect("there were attempts");
    assert_eq!(last.outcome, Some(AttemptOutcome::Recovered));
}

#[test]
fn reminders_follow_repeat_interval() {
    for (repeat_interval, reminders) in [(Some(Duration::from_secs(3600)), 5), (None, 0)] {
        let mut m = web(|alert| alert.repeat_interval = repeat_interval);
        cannot_start(&mut m, "web");
        m.run_for(6 * 3600);
        assert_eq!(m.count("web", StillDown), reminders, "{:?}", m.notifications("web"));
    }
}

#[test]
fn notifications_go_to_the_checks_recipients_only() {
    let owned = http("quarantest").with(|check| check.alert.to = vec!["owner@example.org".into()]);
    let mut m = Machine::new()
        .unit(service("quarantest").notify(0))
        .unit(service("web").notify(0))
        .check(owned)
        .check(http("web"))
        .up();
    for unit in ["quarantest", "web"] {
        cannot_start(&mut m, unit);
    }
    m.run_for(3600);
    for unit in ["quarantest", "web"] {
        m.mend(unit);
    }
    m.run_for(600);
    assert_eq!(m.record.sent.len(), 6);
    for sent in &m.record.sent {
        let owner = sent.notification.check.as_str() == "quarantest";
        let to = if owner { "owner@example.org" } else { "ops@example.org" };
        assert_eq!(sent.notification.to, [to.into()]);
    }
}

#[test]
fn alert_off_is_silent_and_still_recovers() {
    let mut m = web(|alert| alert.off = true);
    cannot_start(&mut m, "web");
    m.run_for(3600);
    assert!(m.jobs("web") > 5);
    m.mend("web");
    m.run_for(600);
    assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![]));
}

/// Whoever was told of an incident is told of its end, whoever the recipients are by then.
#[test]
fn end_goes_to_whom_the_incident_was_reported_as_well() {
    let mut m = web(|_| {});
    cannot_start(&mut m, "web");
    m.run_for(60);
    let other = http("web").with(|check| check.alert.to = vec!["other@example.org".into()]);
    m.reload(vec![other]);
    m.mend("web");
    m.run_for(600);
    let last = m.sent_about("web").last().expect("there were notifications");
    assert_eq!(last.notification.kind, Recovered);
    let to: Vec<&str> = last.notification.to.iter().map(AsRef::as_ref).collect();
    assert_eq!(to, ["other@example.org", "ops@example.org"]);
}

/// Attempts that did not help are not praised for what an operator has done.
#[test]
fn recovery_by_an_operator_is_not_the_attempts() {
    let mut m = web(|_| {});
    cannot_start(&mut m, "web");
    m.run_for(15);
    m.stop("web");
    m.mend("web");
    m.run_for(5);
    m.start("web");
    m.run_for(120);
    assert_eq!(m.state("web"), "passing");
    assert!(m.why("web").contains("that did not help"), "{}", m.why("web"));
}

/// What is seen of a unit that was stopped is what systemd says, and it counts for nothing.
#[test]
fn stopped_unit_is_seen_as_it_is() {
    let mut m = Machine::new().unit(service("web")).check(unit_check("web").respect_stop(None)).up();
    m.run_for(60);
    m.stop("web");
    m.run_for(60);
    let last = m.status("web").last.expect("it was looked at");
    assert_eq!((m.state("web"), last.observation.text()), ("stopped", "unit is inactive (dead)"));
    m.start("web");
    m.run_for(60);
    assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![]));
}
