//! Rule 9: what a unit needs is mended first, and whoever needs it waits in silence.

use std::time::Duration;

use stealthcheck::check::{Check, Respect};
use stealthcheck::engine::{Command, Event};
use stealthcheck::notification::NotificationKind::{Down, Recovered};
use stealthcheck::unit::JobResult;
use stealthcheck::verdict::{Health, State, SuppressedBy};

use super::rules::check;
use super::stage::{Stage, activating, found_down, killed, secs, stopped, stopping, up};

pub type Graph = &'static [(&'static str, &'static [&'static str], &'static [&'static str])];

pub const TWO: Graph = &[("app", &["db"], &[]), ("db", &[], &[])];
/// Through a unit that nobody guards.
const MIDDLE: Graph = &[("app", &["pool"], &[]), ("db", &[], &[]), ("pool", &["db"], &[])];

pub fn two() -> Vec<Check> {
    vec![check("app", "app.service"), check("db", "db.service")]
}

pub fn blocked_by(stage: &Stage, check: &str, root: &str) {
    let health = stage.health(check);
    assert!(
        matches!(&health.suppressed_by, Some(SuppressedBy::Dependency { by, .. }) if *by == super::stage::unit(root)),
        "{check}: {health:?}\n{}",
        stage.timeline()
    );
}

/// The database dies and does not come back at the first attempt; what needs it fails.
fn broken(graph: Graph) -> Stage {
    let mut stage = Stage::new(two(), graph);
    stage.fails("app", true);
    stage.fails("db", true);
    stage.reads("db", killed);
    stage.job_ends(JobResult::Failed, killed);
    stage.play(secs(60));
    stage
}

#[test]
fn root_has_job_and_notification_with_dependents() {
    for graph in [TWO, MIDDLE] {
        let mut stage = broken(graph);
        blocked_by(&stage, "app", "db");
        stage.play(secs(3600));
        blocked_by(&stage, "app", "db");
        assert!(stage.jobs.iter().all(|(job, _)| job == "restart db.service"), "{:?}", stage.jobs);
        assert_eq!(stage.told("app"), []);
        assert_eq!(stage.told("db")[0], Down);
        let named = stage.notifications.last().unwrap();
        let named: Vec<_> = named.dependents.iter().map(|taken| (taken.check.as_str(), taken.well)).collect();
        assert_eq!(named, [("app", false)]);

        stage.job_ends(JobResult::Done, up);
        stage.fails("db", false);
        stage.play(secs(20));
        assert_eq!(stage.health("db"), Health::PASSING);
        blocked_by(&stage, "app", "db");
        stage.fails("app", false);
        stage.play(secs(2));
        assert_eq!(stage.health("app"), Health::PASSING, "it is looked at often now");
        stage.play(secs(600));
        assert_eq!((stage.told("app"), *stage.told("db").last().unwrap()), (vec![], Recovered));
    }
}

#[test]
fn passing_dependent_is_shown_as_passing() {
    let mut stage = Stage::new(two(), TWO);
    stage.reads("db", killed);
    stage.job_ends(JobResult::Failed, killed);
    stage.fails("db", true);
    stage.play(secs(120));
    assert_eq!(stage.health("app"), Health::PASSING);
    assert!(stage.notifications[0].dependents[0].well);
    stage.fails("app", true);
    stage.play(secs(31));
    blocked_by(&stage, "app", "db");
}

#[test]
fn dependent_is_silent_in_either_order() {
    // It dies a moment before what it needs; both readings come in either order.
    for app_first in [true, false] {
        let mut stage = Stage::new(two(), TWO);
        stage.fails("app", true);
        stage.fails("db", true);
        for name in if app_first { ["app", "db"] } else { ["db", "app"] } {
            stage.reads(name, killed);
            stage.play(Duration::from_millis(50));
        }
        assert_eq!(stage.jobs.len(), if app_first { 2 } else { 1 }, "at once, as nothing else was known");
        blocked_by(&stage, "app", "db");
        stage.play(secs(200));
        assert_eq!(stage.told("app"), [], "{}", stage.timeline());
        // Both are back by the job on what it needs.
        if app_first {
            stage.job_ends(JobResult::Done, up);
        }
        stage.job_ends(JobResult::Done, up);
        if !app_first {
            stage.reads("app", up);
        }
        stage.fails("app", false);
        stage.fails("db", false);
        stage.play(secs(120));
        assert_eq!((stage.health("app"), stage.told("app")), (Health::PASSING, vec![]));
        assert_eq!(stage.told("db"), [Down, Recovered]);
    }
}

#[test]
fn notified_dependent_is_suppressed_and_resumes() {
    for ends in [true, false] {
        let mut stage = Stage::new(two(), TWO);
        stage.fails("app", true);
        stage.reads("app", killed);
        stage.job_ends(JobResult::Failed, killed);
        stage.play(secs(5));
        assert_eq!((stage.told("app"), stage.jobs.len()), (vec![Down], 1));
        stage.fails("db", true);
        stage.reads("db", killed);
        stage.play(secs(3600));
        blocked_by(&stage, "app", "db");
        assert_eq!(stage.told("app"), [Down], "no reminder and no call for a person");
        assert_eq!(stage.jobs.iter().filter(|(job, _)| job == "restart app.service").count(), 1);
        stage.job_ends(JobResult::Done, up);
        stage.fails("db", false);
        if ends {
            stage.reads("app", up);
            stage.fails("app", false);
        }
        stage.play(secs(9));
        let jobs = stage.jobs.iter().filter(|(job, _)| job == "restart app.service").count();
        assert_eq!(jobs, 1, "{}", stage.timeline());
        stage.play(secs(5));
        if ends {
            assert_eq!((stage.health("app"), stage.told("app")), (Health::PASSING, vec![Down, Recovered]));
        } else {
            let jobs = stage.jobs.iter().filter(|(job, _)| job == "restart app.service").count();
            assert_eq!((stage.health("app"), jobs), (Health::DOWN, 2), "{}", stage.timeline());
        }
    }
}

#[test]
fn dependent_stopped_by_operator_stays_stopped() {
    let mut stage = Stage::new(two(), TWO);
    stage.fails("db", true);
    stage.reads("db", killed);
    stage.play(secs(60));
    stage.fails("app", true);
    stage.reads("app", stopping);
    stage.reads("app", stopped);
    stage.play(secs(10));
    assert!(
        matches!(&stage.health("app").suppressed_by, Some(SuppressedBy::Stopped { .. })),
        "{:?}",
        stage.health("app")
    );
    stage.job_ends(JobResult::Done, up);
    stage.fails("db", false);
    stage.play(secs(120));
    assert!(
        matches!(&stage.health("app").suppressed_by, Some(SuppressedBy::Stopped { .. })),
        "{:?}",
        stage.health("app")
    );
    assert_eq!(stage.jobs.len(), 1);
}

#[test]
fn no_job_that_would_start_a_stopped_unit() {
    let mut checks = two();
    checks[1].recovery.respect_stop = Respect::Forever;
    let mut stage = Stage::new(checks, TWO);
    stage.fails("app", true);
    stage.fails("db", true);
    stage.reads("app", stopping);
    stage.reads("db", stopping);
    stage.reads("app", stopped);
    stage.reads("db", stopped);
    stage.play(secs(86_400));
    blocked_by(&stage, "app", "db");
    assert!(matches!(&stage.health("db").suppressed_by, Some(SuppressedBy::Stopped { until: None })));
    stage.assert_quiet();
    // It is started again, and nobody starts the other.
    stage.reads("db", up);
    stage.fails("db", false);
    stage.play(secs(9));
    stage.assert_quiet();
    stage.play(secs(5));
    assert_eq!(stage.jobs.len(), 1, "its own respect_stop was over long ago");
}

#[test]
fn circle_has_one_root() {
    let circle: Graph = &[("a", &["b"], &[]), ("b", &["c"], &[]), ("c", &["a"], &[])];
    let checks = || vec![check("a", "a.service"), check("b", "b.service"), check("c", "c.service")];
    for first in ["a", "b", "c"] {
        let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|name| *name != first).collect();
        let mut stage = Stage::new(checks(), circle);
        for name in [first, others[0], others[1]] {
            stage.fails(name, true);
            stage.reads(name, killed);
            stage.play(Duration::from_millis(10));
        }
        stage.play(secs(60));
        assert_eq!(stage.health(first), Health::DOWN);
        for other in &others {
            blocked_by(&stage, other, first);
        }
        assert_eq!(stage.jobs.len(), 1);
        assert_eq!(stage.told(first), [Down]);
        stage.job_ends(JobResult::Done, up);
        stage.fails(first, false);
        for other in &others {
            stage.reads(other, up);
            stage.fails(other, false);
        }
        stage.play(secs(60));
        for name in ["a", "b", "c"] {
            assert_eq!(stage.health(name), Health::PASSING);
        }
        assert_eq!(stage.notifications.len(), 2, "{}", stage.timeline());
    }
    // Down together from the beginning, without anybody's incident: one of them begins.
    let mut stage = Stage::before(checks(), circle);
    for name in ["a", "b", "c"] {
        stage.becomes(name, |state| killed(found_down(state)));
        stage.fails(name, true);
    }
    stage.tell_all();
    stage.play(secs(60));
    assert_eq!(stage.jobs.len(), 1, "{}", stage.timeline());
}

#[test]
fn deepest_unit_that_is_down_is_the_root() {
    let chain: Graph = &[("app", &["db"], &[]), ("db", &["disk"], &[]), ("disk", &[], &[])];
    let checks = vec![check("app", "app.service"), check("db", "db.service"), check("disk", "disk.service")];
    let mut stage = Stage::new(checks, chain);
    for name in ["app", "db"] {
        stage.fails(name, true);
    }
    stage.reads("db", killed);
    stage.play(secs(40));
    blocked_by(&stage, "app", "db");
    stage.fails("disk", true);
    stage.reads("disk", killed);
    stage.play(secs(1));
    blocked_by(&stage, "app", "disk");
    blocked_by(&stage, "db", "disk");
    // The one is mended, the next is the root.
    stage.fails("disk", false);
    stage.play(secs(1));
    assert_eq!(stage.told("disk"), [], "its job runs");
    stage.job_ends(JobResult::Failed, killed);
    stage.job_ends(JobResult::Done, up);
    stage.play(secs(50));
    assert_eq!(stage.health("db"), Health::DOWN);
    blocked_by(&stage, "app", "db");
}

#[test]
fn dependents_of_silent_root_notify_without_jobs() {
    let mut checks = two();
    checks[1].alert.off = true;
    let mut stage = Stage::new(checks, TWO);
    stage.fails("app", true);
    stage.fails("db", true);
    stage.reads("db", killed);
    stage.play(secs(120));
    assert_eq!((stage.health("app"), stage.told("app")), (Health::DOWN, vec![Down]));
    assert_eq!(stage.jobs.len(), 1, "{:?}", stage.jobs);
    let next = &stage.notifications[0].next;
    assert!(next.contains("db.service, which the unit depends on, must be recovered first"), "{next}");

    // One that is paused is as silent.
    let mut stage = Stage::new(two(), TWO);
    let pause = |name: &str| {
        let name = stealthcheck::check::CheckName::new(name).unwrap();
        Event::Command(Command::Pause(name, secs(3600)))
    };
    stage.tell(pause("db"));
    stage.fails("app", true);
    stage.reads("db", killed);
    stage.play(secs(120));
    assert_eq!((stage.told("app"), stage.jobs.len()), (vec![Down], 0), "{}", stage.timeline());
    let next = &stage.notifications[0].next;
    assert!(next.contains("db.service, which the unit depends on, must be recovered first"), "{next}");
}

#[test]
fn dependent_waits_for_the_roots_failures() {
    // Both fail at once, and the one that depends is probed more often.
    let mut checks = two();
    checks[0].schedule.interval = secs(5);
    checks[0].schedule.failure_threshold = 5;
    let mut stage = Stage::new(checks, TWO);
    stage.fails("app", true);
    stage.fails("db", true);
    stage.play(secs(120));
    assert!(stage.jobs.iter().all(|(job, _)| job == "restart db.service"), "{}", stage.timeline());
    assert_eq!(stage.told("app"), []);
    // It is not waited for without end.
    let mut checks = two();
    checks[0].schedule.interval = secs(5);
    checks[1].schedule.failure_threshold = 1000;
    let mut stage = Stage::new(checks, TWO);
    stage.fails("db", true);
    stage.play(secs(40));
    stage.fails("app", true);
    stage.play(secs(22));
    assert_eq!(stage.health("app"), Health::of(State::Failing { n: 3, m: 3 }));
    stage.play(secs(15));
    assert_eq!(stage.health("app"), Health::DOWN, "{}", stage.timeline());
}

#[test]
fn dependency_survives_daemon_restart() {
    for graph in [TWO, MIDDLE] {
        let mut stage = broken(graph);
        let jobs = stage.jobs.len();
        stage.becomes("app", |state| killed(found_down(state)));
        stage.daemon_dies(secs(2));
        stage.tell_all();
        stage.play(Duration::from_millis(100));
        blocked_by(&stage, "app", "db");
        stage.play(secs(3600));
        assert_eq!(stage.told("app"), []);
        assert!(stage.jobs[jobs..].iter().all(|(job, _)| job == "restart db.service"), "{:?}", stage.jobs);
    }
}

#[test]
fn newly_monitored_root_is_known_at_once() {
    let mut stage = Stage::new(vec![check("app", "app.service")], TWO);
    stage.reads("db", killed);
    stage.fails("db", true);
    stage.tell(Event::Configured(two()));
    stage.play(secs(1));
    assert_eq!(stage.health("db"), Health::DOWN, "it is not told again");
    assert_eq!(stage.jobs.len(), 1);
    // And forgotten when it is guarded no more.
    stage.tell(Event::Configured(vec![check("app", "app.service")]));
    stage.fails("app", true);
    stage.play(secs(120));
    assert_eq!(stage.health("app"), Health::DOWN);
}

#[test]
fn operator_restart_of_root_opens_no_incident() {
    let mut stage = Stage::new(two(), TWO);
    stage.fails("app", true);
    stage.fails("db", true);
    stage.reads("app", stopping);
    stage.reads("db", stopping);
    stage.play(secs(10));
    for name in ["db", "app"] {
        stage.reads(name, activating);
        stage.play(secs(3));
        stage.reads(name, up);
        stage.fails(name, false);
    }
    stage.play(secs(60));
    assert_eq!(stage.health("app"), Health::PASSING);
    stage.assert_quiet();
}

#[test]
fn end_of_pause_delays_no_circle() {
    let circle: Graph = &[("app", &["db"], &[]), ("db", &["app"], &[])];
    let mut stage = Stage::new(two(), circle);
    stage.fails("db", true);
    stage.reads("db", killed);
    stage.job_ends(JobResult::Failed, killed);
    stage.fails("app", true);
    stage.reads("app", killed);
    let app = stealthcheck::check::CheckName::new("app").unwrap();
    stage.tell(Event::Command(Command::Pause(app, secs(60))));
    stage.play(secs(55));
    assert_eq!(stage.jobs.len(), 1, "its restart would start what is paused");
    // It has its grace, and then its turn.
    stage.play(secs(35));
    blocked_by(&stage, "app", "db");
    assert_eq!(stage.jobs.last().unwrap().0, "restart db.service");
    assert_eq!(stage.jobs.len(), 2, "{}", stage.timeline());
}
