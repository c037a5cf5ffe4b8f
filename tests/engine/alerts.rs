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
