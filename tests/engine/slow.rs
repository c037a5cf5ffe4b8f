//! `max_response_time`: an answer that takes too long is a failure, whatever it says.

use std::time::Duration;

use stealthcheck::notification::NotificationKind::{Down, Recovered};
use stealthcheck::verdict::{Health, Observation};

use super::rules::check;
use super::world::World;

fn took(millis: u64) -> Option<Observation> {
    Some(Observation::Passing { detail: "200 OK".to_owned(), latency: Duration::from_millis(millis) })
}

#[test]
fn slow_response_is_down_and_recovered() {
    let mut check = check("web", "web.service");
    check.schedule.max_response_time = Some(Duration::from_secs(2));
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.seen = took(2000);
    world.play(Duration::from_secs(120));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::PASSING, 0), "just in time");
    world.seen = took(3200);
    world.play(Duration::from_secs(45));
    assert_eq!((world.health(&name), world.jobs(&unit)), (Health::DOWN, 1), "{}", world.timeline());
    world.seen = took(1900);
    world.play(Duration::from_secs(60));
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![Down, Recovered]));
    assert_eq!(world.notifications[0].cause, "took 3.2s, slower than 2s (200 OK)");
}

#[test]
fn no_response_is_too_slow_without_max_response_time() {
    let check = check("web", "web.service");
    let name = check.name.clone();
    let mut world = World::new(vec![check]);
    world.seen = took(60_000);
    world.play(Duration::from_secs(300));
    assert_eq!((world.health(&name), world.notifications.len()), (Health::PASSING, 0));
}
