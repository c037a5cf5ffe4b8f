//! Orders that nobody takes: polkit down, the bus gone. They say nothing about the unit, nor about what would help it.

use std::time::Duration;

use stealthcheck::check::Step;
use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered};
use stealthcheck::unit::{JobResult, UnitName};
use stealthcheck::verdict::Health;

use super::rules::check;
use super::world::{Service, World};

fn steps(limit: Option<u32>) -> (World, UnitName) {
    let mut check = check("c0", "u0.service");
    let power_off = UnitName::new("power-off.service").unwrap();
    check.recovery.steps = vec![Step::Restart, Step::StartUnit(power_off)];
    check.recovery.max_attempts = limit;
    let unit = check.unit.clone().unwrap();
    let mut world = World::new(vec![check]);
    world.play(Duration::from_secs(60));
    (world, unit)
}

#[test]
fn job_not_requested_keeps_step_and_requires_action() {
    for nobody in [JobResult::Unasked("polkit is away".into()), JobResult::Unknown("who knows".into())] {
        let (mut world, unit) = steps(None);
        world.refuses = Some(nobody);
        world.units.get_mut(&unit).unwrap().service = Service::Hung;
        world.end(&unit, true);
        world.play(Duration::from_secs(600));
        assert!(world.refused.len() > 3, "{:?}", world.refused);
        assert!(world.refused.iter().all(|step| *step == Step::Restart), "{:?}", world.refused);
        assert_eq!(world.kinds(), [Down, ActionRequired], "{}", world.timeline());

        // It is heard again: the first step is taken first.
        world.refuses = None;
        world.play(Duration::from_secs(600));
        assert_eq!(
            (world.kinds(), world.jobs(&unit)),
            (vec![Down, ActionRequired, Recovered], 1),
            "{}",
            world.timeline()
        );
        assert_eq!(world.health(&world.checks[0].name.clone()), Health::PASSING);
    }
}

#[test]
fn inapplicable_step_is_followed_by_the_next() {
    let (mut world, unit) = steps(None);
    world.refuses = Some(JobResult::Refused("it cannot".into()));
    world.end(&unit, true);
    world.play(Duration::from_secs(60));
    assert!(matches!(world.refused[..], [Step::Restart, Step::StartUnit(_), ..]), "{:?}", world.refused);
}

#[test]
fn job_not_requested_does_not_count_for_max_attempts() {
    let (mut world, unit) = steps(Some(2));
    world.refuses = Some(JobResult::Unasked("polkit is away".into()));
    world.units.get_mut(&unit).unwrap().service = Service::Hung;
    world.end(&unit, true);
    world.play(Duration::from_secs(1200));
    assert!(world.refused.len() > 3, "{:?}", world.refused);
    world.refuses = None;
    world.play(Duration::from_secs(600));
    assert_eq!(world.jobs(&unit), 1, "{}", world.timeline());
    assert_eq!(world.health(&world.checks[0].name.clone()), Health::PASSING);
}
