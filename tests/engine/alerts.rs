//! Who hears of an incident, and when.

use std::time::Duration;

use stealthcheck::check::{Alert, Check, CheckName, Step};
use stealthcheck::notification::{AttemptOutcome, NotificationKind};
use stealthcheck::unit::UnitName;
use stealthcheck::verdict::Health;

use super::rules::check;
use super::world::{Service, World};
use NotificationKind::{ActionRequired, Recovered, StillDown};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn one(alert: Alert) -> (World, CheckName, UnitName) {
    let check = Check { alert, ..check("web", "web.service") };
    let (name, unit) = (check.name.clone(), check.unit.clone().unwrap());
    let mut world = World::new(vec![check]);
    world.play(secs(60));
    (world, name, unit)
}

fn to(address: &str) -> Alert {
    Alert { to: vec![address.into()], ..Alert::default() }
}

/// One that is longer is reported completely.
#[test]
fn incident_shorter_than_after_is_silent() {
    let (mut world, name, unit) = one(Alert { after: secs(600), ..to("ops@example.org") });
    world.end(&unit, true);
    world.play(secs(599));
    assert_eq!((world.health(&name), world.jobs(&unit), world.kinds()), (Health::PASSING, 1, vec![]));
    world.units.get_mut(&unit).unwrap().service = Service::WontStart;
    world.end(&unit, true);
    world.play(secs(595));
    assert_eq!(world.kinds(), [], "also not that somebody is needed");
    world.play(secs(10));
    assert_eq!(world.kinds(), [ActionRequired], "but then at once, in one");
    world.units.get_mut(&unit).unwrap().service = Service::Healthy;
    world.play(secs(600));
    assert_eq!(world.kinds(), [ActionRequired, Recovered]);
    let worked = world.notifications[1].attempts.last().unwrap().outcome.clone();
    assert_eq!(worked, Some(AttemptOutcome::Recovered));
}

#[test]
fn reminders_follow_repeat_interval() {
    for (repeat_interval, reminders) in [(Some(secs(3600)), 5), (None, 0)] {
        let (mut world, _, unit) = one(Alert { repeat_interval, ..to("ops@example.org") });
        world.units.get_mut(&unit).unwrap().service = Service::WontStart;
        world.end(&unit, true);
        world.play(secs(6 * 3600));
        let still = world.kinds().iter().filter(|kind| **kind == StillDown).count();
        assert_eq!(still, reminders, "{:?}", world.kinds());
    }
}

#[test]
fn notifications_go_to_the_checks_recipients_only() {
    let mut quarantest = check("quarantest", "quarantest.service");
    quarantest.alert = to("owner@example.org");
    quarantest.recovery.steps = vec![Step::Restart];
    let mut world = World::new(vec![quarantest, check("web", "web.service")]);
    world.play(secs(60));
    for unit in ["quarantest.service", "web.service"] {
        let unit = UnitName::new(unit).unwrap();
        world.units.get_mut(&unit).unwrap().service = Service::WontStart;
        world.end(&unit, true);
    }
    world.play(secs(3600));
    for unit in world.units.values_mut() {
        unit.service = Service::Healthy;
    }
    world.play(secs(600));
    assert_eq!(world.notifications.len(), 6);
    for notification in &world.notifications {
        let owner = notification.check.as_str() == "quarantest";
        assert_eq!(notification.to, [if owner { "owner@example.org" } else { "ops@example.org" }.into()]);
    }
}

#[test]
fn alert_off_is_silent_and_still_recovers() {
    let (mut world, name, unit) = one(Alert { off: true, ..to("ops@example.org") });
    world.units.get_mut(&unit).unwrap().service = Service::WontStart;
    world.end(&unit, true);
    world.play(secs(3600));
    assert!(world.jobs(&unit) > 5);
    world.units.get_mut(&unit).unwrap().service = Service::Healthy;
    world.play(secs(600));
    assert_eq!((world.health(&name), world.kinds()), (Health::PASSING, vec![]));
}
