//! `max_response_time`: an answer that takes too long is a failure, whatever it says.

use std::time::Duration;

use stealthcheck::notification::NotificationKind::{Down, Recovered};
use stealthcheck::verdict::Observation;

use crate::machine::*;

fn answers_in(m: &mut Machine, millis: u64) {
    let latency = Duration::from_millis(millis);
    m.sees("web", Observation::Passing { detail: "200 OK".to_owned(), latency });
}

#[test]
fn slow_response_is_down_and_recovered() {
    let check = http("web").with(|check| check.schedule.max_response_time = Some(Duration::from_secs(2)));
    let mut m = Machine::new().unit(service("web")).check(check).up();
    answers_in(&mut m, 2000);
    m.run_for(120);
    assert_eq!((m.state("web"), m.jobs("web")), ("passing", 0), "just in time");
    answers_in(&mut m, 3200);
    m.run_for(45);
    assert_eq!((m.state("web"), m.jobs("web")), ("down", 1));
    answers_in(&mut m, 1900);
    m.run_for(60);
    assert_eq!((m.state("web"), m.notifications("web")), ("passing", vec![Down, Recovered]));
    assert_eq!(m.record.sent[0].notification.cause, "took 3.2s, slower than 2s (200 OK)");
}

#[test]
fn no_response_is_too_slow_without_max_response_time() {
    let mut m = Machine::new().unit(service("web")).check(http("web")).up();
    answers_in(&mut m, 60_000);
    m.run_for(300);
    assert_eq!(m.state("web"), "passing");
    m.assert_quiet();
}
