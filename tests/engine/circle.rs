//! Units that need each other: whichever was first in trouble is the root, and it alone has the job (rule 9).
//! Each of these was a seed of the simulator.

use std::time::Duration;

use stealthcheck::engine::Event;
use stealthcheck::engine::hold::{HoldEvent, HoldId, Holder, HowEnded};
use stealthcheck::unit::{JobResult, UnitState};
use stealthcheck::verdict::Health;

use super::blocked::{Graph, blocked_by, two};
use super::stage::{Stage, found_down, killed, secs, stopped, stopping, unit, up};

const CIRCLE: Graph = &[("app", &["db"], &[]), ("db", &["app"], &[])];

#[test]
fn root_is_worked_out_before_the_job_after_a_hold() {
    let mut stage = Stage::new(two(), CIRCLE);
    stage.fails("db", true);
    stage.play(secs(60));
    stage.job_ends(JobResult::Done, up);
    stage.play(secs(60));
    // An operator has stopped the other one, longer ago than that is respected: it is the root, and has the job.
    stage.reads("app", stopping);
    stage.reads("app", stopped);
    stage.play(secs(600));
    blocked_by(&stage, "db", "app");

    let id = HoldId("1".into());
    let holder = Holder { who: "root (pid 7)".into(), why: "certbot renew".into() };
    let lasting = Duration::from_secs(600);
    stage.tell(Event::Hold(HoldEvent::Take { id: id.clone(), unit: unit("app"), holder, lasting }));
    blocked_by(&stage, "db", "app");
    stage.play(secs(60));
    let before = stage.jobs.len();
    stage.tell(Event::Hold(HoldEvent::End(id, HowEnded::Done)));
    stage.play(secs(400));
    let since = &stage.jobs[before..];
    assert!(since.iter().all(|(job, _)| job.ends_with(" app.service")), "{since:?}\n{}", stage.timeline());
    blocked_by(&stage, "db", "app");
}

#[test]
fn circle_found_down_has_one_job() {
    let long_ago = |state: UnitState| UnitState {
        // An hour before.
        inactive_enter_usec: (1_795_000_000 - 3600) * 1_000_000,
        ..found_down(state)
    };
    for first in ["app", "db"] {
        let mut stage = Stage::before(two(), CIRCLE);
        stage.becomes("app", long_ago);
        stage.becomes("db", long_ago);
        stage.read(first);
        stage.assert_quiet();
        stage.tell_all();
        let (root, other) = match stage.jobs.as_slice() {
            [(job, _)] if job.ends_with("app.service") => ("app", "db"),
            [(_, _)] => ("db", "app"),
            jobs => panic!("{jobs:?}\n{}", stage.timeline()),
        };
        assert_eq!(stage.health(root), Health::DOWN, "it has the job\n{}", stage.timeline());
        blocked_by(&stage, other, root);
    }
}

/// An operator stops one unit of the circle while the other one has failed. Neither waits for the other when the stop is no
/// longer respected.
#[test]
fn expired_stop_delays_no_circle() {
    let mut stage = Stage::new(two(), CIRCLE);
    stage.fails("db", true);
    stage.reads("db", killed);
    stage.job_ends(JobResult::Failed, killed);
    stage.fails("app", true);
    stage.play(secs(3));
    stage.reads("app", stopping);
    stage.reads("app", stopped);
    stage.play(secs(295));
    assert_eq!(stage.jobs.len(), 1, "a start of db would start app: {}", stage.timeline());
    stage.play(secs(20));
    assert_eq!(stage.jobs.last().unwrap().0, "restart db.service", "{}", stage.timeline());
    assert_eq!(stage.jobs.len(), 2, "{}", stage.timeline());
}
