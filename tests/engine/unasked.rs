//! Orders that nobody takes: polkit down, the bus gone. They say nothing about the unit, nor about what would help it.

use stealthcheck::check::Step::{Restart as RestartUnit, StartUnit};
use stealthcheck::notification::NotificationKind::{ActionRequired, Down, Recovered};
use stealthcheck::unit::JobResult;

use crate::machine::*;

/// A service has died, and every request for a job comes to this.
fn dead(result: JobResult, change: impl FnOnce(CheckBuilder) -> CheckBuilder) -> Machine {
    let steps = [RestartUnit, StartUnit(unit_name("power-off"))];
    let check = change(http("web").recover(&steps));
    let mut m = Machine::new().unit(service("web")).unit(oneshot("power-off", 1)).check(check).up();
    m.answer_jobs(Some(result));
    m.kill("web");
    m
}

/// The units on which jobs were requested in vain.
fn rejected(m: &Machine) -> Vec<&str> {
    m.record.rejected.iter().map(|job| job.unit.as_str()).collect()
}

fn unasked() -> JobResult {
    JobResult::Unasked("polkit is away".into())
}

#[test]
fn job_not_requested_keeps_step_and_requires_action() {
    for nobody in [unasked(), JobResult::Unknown("who knows".into())] {
        let mut m = dead(nobody, |check| check);
        m.run_for(600);
        assert!(rejected(&m).len() > 3, "{:?}", rejected(&m));
        assert!(rejected(&m).iter().all(|unit| *unit == "web.service"), "{:?}", rejected(&m));
        assert_eq!(m.notifications("web"), [Down, ActionRequired]);

        // It is heard again: the first step is taken first.
        m.answer_jobs(None);
        m.run_for(600);
        assert_eq!(m.notifications("web"), [Down, ActionRequired, Recovered]);
        assert_eq!((m.state("web"), m.jobs("web"), m.jobs("power-off")), ("passing", 1, 0));
    }
}

#[test]
fn inapplicable_step_is_followed_by_the_next() {
    let mut m = dead(JobResult::Refused("it cannot".into()), |check| check);
    m.run_for(60);
    assert_eq!(rejected(&m)[..2], ["web.service", "power-off.service"]);
}

#[test]
fn job_not_requested_does_not_count_for_max_attempts() {
    let mut m = dead(unasked(), |check| check.max_attempts(2));
    m.run_for(1200);
    assert!(rejected(&m).len() > 3, "{:?}", rejected(&m));
    m.answer_jobs(None);
    m.run_for(600);
    assert_eq!((m.state("web"), m.jobs("web")), ("passing", 1));
}
