//! Rule 8: a unit that is down because another one is up is left alone, for a while.

use std::time::Duration;

use stealthcheck::check::{Check, Respect, Step};
use stealthcheck::notification::NotificationKind::{Down, Recovered};
use stealthcheck::unit::{ActiveState, JobResult, UnitState};
use stealthcheck::verdict::{Health, SuppressedBy};

use super::rules::check;
use super::stage::{
    Stage, activating, ended, found_down, killed, secs, stopped, stopping, to_be_started, to_be_stopped, up,
};

const GRAPH: &[(&str, &[&str], &[&str])] = &[("web", &[], &["renew"]), ("renew", &[], &[])];

/// The hardest settings: one failure is enough, and a stop is respected by nobody.
fn touchy() -> Check {
    let mut check = check("web", "web.service");
    check.schedule.failure_threshold = 1;
    check.schedule.retry_interval = Duration::from_millis(100);
    check.recovery.respect_stop = Respect::For(Duration::ZERO);
    check
}

fn begin(check: Check) -> Stage {
    let mut stage = Stage::before(vec![check], GRAPH);
    stage.becomes("renew", ended);
    stage.tell_all();
    stage.play(secs(60));
    assert_eq!(stage.health("web"), Health::PASSING);
    stage
}

/// The renewal runs, and the service has made room.
fn displaced(check: Check) -> Stage {
    let mut stage = begin(check);
    stage.reads("renew", to_be_started);
    stage.fails("web", true);
    stage.reads("web", stopping);
    stage.reads("web", stopped);
    stage.reads("renew", activating);
    stage.play(secs(10));
    assert_displaced(&stage);
    stage
}

fn assert_displaced(stage: &Stage) {
    let health = stage.health("web");
    assert!(
        matches!(&health.suppressed_by, Some(SuppressedBy::Conflict { by, .. }) if by.as_str() == "renew.service"),
        "{health:?}\n{}",
        stage.timeline()
    );
}

type Scene = fn(&mut Stage);

/// Every order in which two stories can be told together.
fn interleaved(one: &[Scene], other: &[Scene]) -> Vec<Vec<Scene>> {
    match (one, other) {
        ([], rest) | (rest, []) => vec![rest.to_vec()],
        ([a, one_rest @ ..], [b, other_rest @ ..]) => {
            let with = |first: &Scene, rest: Vec<Vec<Scene>>| {
                rest.into_iter().map(|steps| [vec![*first], steps].concat()).collect::<Vec<_>>()
            };
            [with(a, interleaved(one_rest, other)), with(b, interleaved(one, other_rest))].concat()
        }
    }
}

#[test]
fn no_order_of_readings_causes_job_or_notification() {
    let web: &[Scene] = &[
        |stage| stage.reads("web", to_be_stopped),
        |stage| stage.reads("web", stopping),
        |stage| stage.reads("web", stopped),
    ];
    let renew: &[Scene] =
        &[|stage| stage.reads("renew", to_be_started), |stage| stage.reads("renew", activating)];
    let orders = interleaved(web, renew);
    assert_eq!(orders.len(), 10);
    for (n, order) in orders.iter().enumerate() {
        // The port closes after so many readings have come, and every probe sees it.
        for closes_after in 0..=order.len() {
            for steps in [vec![Step::Restart], vec![]] {
                let mut check = touchy();
                check.recovery.steps = steps;
                let mut stage = begin(check);
                for (i, step) in order.iter().enumerate() {
                    if i == closes_after {
                        stage.fails("web", true);
                    }
                    stage.probe("web");
                    stage.play(Duration::from_millis(30));
                    step(&mut stage);
                }
                stage.fails("web", true);
                stage.play(secs(1800));
                assert_displaced(&stage);
                stage.assert_quiet();
                comes_back(&mut stage, n % 2 == 0);
                assert!(stage.notifications.is_empty(), "{n} {closes_after}\n{}", stage.timeline());
            }
        }
    }
}

/// The renewal ends and the service is started again, told in this order or the other.
fn comes_back(stage: &mut Stage, renew_first: bool) {
    if renew_first {
        stage.reads("renew", ended);
    }
    stage.play(Duration::from_millis(40));
    stage.reads("web", to_be_started);
    stage.reads("web", up);
    stage.play(Duration::from_millis(40));
    if !renew_first {
        stage.reads("renew", ended);
    }
    stage.play(secs(5));
    stage.fails("web", false);
    stage.play(secs(60));
    assert_eq!(stage.health("web"), Health::PASSING, "{}", stage.timeline());
    stage.assert_quiet();
}

#[test]
fn answers_of_the_conflicting_unit_do_not_count() {
    let mut stage = begin(touchy());
    stage.reads("renew", to_be_started);
    stage.unanswered = true;
    stage.probe("web");
    stage.reads("web", stopping);
    stage.reads("web", stopped);
    stage.reads("renew", activating);
    stage.unanswered = false;
    stage.play(secs(120));
    assert_displaced(&stage);
    // One that began while the other had the port, and is heard of when it has no more.
    stage.unanswered = true;
    stage.play(secs(35));
    stage.reads("renew", ended);
    stage.reads("web", up);
    stage.fails("web", true);
    stage.unanswered = false;
    stage.play(secs(2));
    stage.fails("web", false);
    stage.play(secs(60));
    assert_eq!(stage.health("web"), Health::PASSING);
    stage.assert_quiet();
}

#[test]
fn conflict_counts_as_down_after_respect_conflict() {
    let mut stage = displaced(check("web", "web.service"));
    stage.play(secs(3600 - 15));
    assert_displaced(&stage);
    stage.assert_quiet();
    stage.play(secs(10));
    assert_eq!(stage.health("web"), Health::DOWN);
    assert_eq!(stage.jobs.len(), 1, "the administrator said that an hour is enough");
    stage.reads("renew", ended);
    stage.job_ends(JobResult::Done, up);
    stage.fails("web", false);
    stage.play(secs(15));
    assert_eq!(stage.told("web"), [Down, Recovered]);
    let cause = &stage.notifications[0].cause;
    assert_eq!(
        cause,
        "unit has been down for 1h as it conflicts with renew.service (respect_conflict is over)"
    );
}

#[test]
fn respect_conflict_may_be_shorter_forever_or_zero() {
    for (after, jobs) in
        [(Respect::For(secs(120)), 1), (Respect::Forever, 0), (Respect::For(Duration::ZERO), 1)]
    {
        let mut check = check("web", "web.service");
        check.recovery.respect_conflict = after;
        let mut stage = begin(check);
        stage.fails("web", true);
        stage.reads("renew", to_be_started);
        stage.reads("web", stopping);
        stage.reads("web", stopped);
        stage.reads("renew", activating);
        stage.play(secs(119));
        let early = usize::from(after == Respect::For(Duration::ZERO));
        assert_eq!(stage.jobs.len(), early, "{after:?}\n{}", stage.timeline());
        stage.play(secs(86_400));
        assert_eq!(stage.jobs.len(), jobs, "{after:?}");
    }
}

#[test]
fn unit_not_back_within_grace_after_conflict_is_down() {
    let mut stage = displaced(check("web", "web.service"));
    stage.play(secs(600));
    stage.reads("renew", ended);
    stage.play(secs(29));
    assert_displaced(&stage);
    stage.assert_quiet();
    stage.play(secs(2));
    assert_eq!(stage.health("web"), Health::DOWN);
    assert_eq!(stage.jobs.len(), 1, "not after five minutes more");
    stage.job_ends(JobResult::Done, up);
    stage.fails("web", false);
    stage.play(secs(60));
    assert_eq!(stage.told("web"), [Down, Recovered]);
    let cause = &stage.notifications[0].cause;
    assert_eq!(
        cause,
        "renew.service, which conflicts with the unit, has been out of its way for 30s, and the unit has not come back"
    );
    // The next time is another time.
    stage.reads("renew", to_be_started);
    stage.reads("web", stopped);
    stage.fails("web", true);
    stage.play(secs(3000));
    assert_displaced(&stage);
    assert_eq!(stage.jobs.len(), 1);
}

#[test]
fn failed_start_after_conflict_is_down_at_once() {
    let mut stage = displaced(check("web", "web.service"));
    stage.reads("renew", ended);
    stage.reads("web", |state| activating(found_down(state)));
    stage.play(secs(1));
    stage.reads("web", killed);
    assert_eq!((stage.health("web"), stage.jobs.len()), (Health::DOWN, 1), "{}", stage.timeline());
}

#[test]
fn operator_stop_before_conflict_stays_a_stop() {
    let mut stage = begin(check("web", "web.service"));
    stage.reads("web", stopping);
    stage.reads("web", stopped);
    stage.fails("web", true);
    stage.play(secs(60));
    stage.reads("renew", to_be_started);
    stage.reads("renew", activating);
    stage.play(secs(20));
    assert!(
        matches!(&stage.health("web").suppressed_by, Some(SuppressedBy::Stopped { .. })),
        "{:?}",
        stage.health("web")
    );
    stage.reads("renew", ended);
    stage.play(secs(200));
    assert!(
        matches!(&stage.health("web").suppressed_by, Some(SuppressedBy::Stopped { .. })),
        "{:?}",
        stage.health("web")
    );
    stage.assert_quiet();
    // And when that is no longer respected, it is still no moment for a restart while the other one is up.
    stage.reads("renew", activating);
    stage.play(secs(300));
    assert_displaced(&stage);
    stage.assert_quiet();
    stage.reads("renew", ended);
    stage.play(secs(31));
    assert_eq!(stage.jobs.len(), 1);
}

#[test]
fn down_unit_has_no_job_during_conflict() {
    let mut check = check("web", "web.service");
    check.alert.after = secs(600);
    let mut stage = begin(check);
    stage.fails("web", true);
    stage.reads("web", killed);
    stage.job_ends(JobResult::Failed, killed);
    assert_eq!(stage.jobs.len(), 1);
    stage.reads("renew", to_be_started);
    stage.reads("renew", activating);
    stage.play(secs(1200));
    assert_displaced(&stage);
    assert_eq!(stage.jobs.len(), 1);
    stage.reads("renew", ended);
    stage.reads("web", up);
    stage.fails("web", false);
    stage.play(secs(60));
    assert_eq!((stage.health("web"), stage.told("web")), (Health::PASSING, vec![]));
}

#[test]
fn no_job_that_would_stop_a_conflicting_unit() {
    // Both run: somebody has started them past their dependencies.
    let mut stage = begin(check("web", "web.service"));
    stage.reads("renew", activating);
    stage.play(secs(86_400));
    assert_eq!(stage.health("web"), Health::PASSING);
    stage.fails("web", true);
    stage.play(secs(300));
    assert_eq!((stage.health("web"), stage.jobs.len(), stage.told("web")), (Health::DOWN, 0, vec![Down]));
    assert!(
        stage.notifications[0].next.contains("would stop renew.service"),
        "{}",
        stage.notifications[0].next
    );
    // It ends, and the hour begins only now.
    stage.reads("web", killed);
    stage.play(secs(1800));
    assert_displaced(&stage);
    assert_eq!(stage.jobs.len(), 0);
    stage.reads("renew", ended);
    stage.play(secs(31));
    assert_eq!(stage.jobs.len(), 1);
}

#[test]
fn conflict_of_a_required_unit_suppresses_too() {
    let graph: &[(&str, &[&str], &[&str])] =
        &[("web", &["base"], &[]), ("base", &[], &["rival"]), ("rival", &[], &[])];
    let mut stage = Stage::before(vec![check("web", "web.service")], graph);
    stage.becomes("rival", ended);
    stage.tell_all();
    stage.play(secs(60));
    stage.reads("rival", to_be_started);
    stage.fails("web", true);
    stage.reads("web", stopped);
    stage.reads("base", stopped);
    stage.reads("rival", activating);
    stage.play(secs(1800));
    stage.assert_quiet();
    let health = stage.health("web");
    assert!(
        matches!(&health.suppressed_by, Some(SuppressedBy::Conflict { by, .. }) if by.as_str() == "rival.service"),
        "{health:?}"
    );
}

#[test]
fn conflict_and_its_begin_survive_daemon_restart() {
    let mut stage = displaced(check("web", "web.service"));
    stage.play(secs(1800));
    stage.becomes("web", found_down);
    stage.daemon_dies(secs(5));
    stage.play(secs(1));
    stage.tell_all();
    stage.play(secs(60));
    assert_displaced(&stage);
    stage.assert_quiet();
    stage.play(secs(1800));
    assert_eq!(stage.jobs.len(), 1, "an hour after it began\n{}", stage.timeline());

    // It ends while the daemon is away.
    let mut stage = displaced(check("web", "web.service"));
    stage.becomes("web", found_down);
    stage.becomes("renew", ended);
    stage.daemon_dies(secs(600));
    stage.tell_all();
    stage.play(secs(25));
    assert_displaced(&stage);
    stage.assert_quiet();
    stage.play(secs(10));
    assert_eq!(stage.jobs.len(), 1);
}

#[test]
fn unit_found_down_waits_for_surrounding_readings() {
    for settings in [touchy(), check("web", "web.service")] {
        let mut stage = Stage::before(vec![settings.clone()], GRAPH);
        stage.becomes("web", found_down);
        stage.becomes("renew", activating);
        stage.now.wall = stage.now.wall.after(secs(86_400));
        stage.fails("web", true);
        stage.read("web");
        stage.play(Duration::from_millis(100));
        stage.assert_quiet();
        stage.read("renew");
        stage.play(secs(1800));
        assert_displaced(&stage);
        stage.assert_quiet();

        // But not for ever, where the other cannot be read.
        let mut stage = Stage::before(vec![settings], GRAPH);
        stage.becomes("web", found_down);
        stage.now.wall = stage.now.wall.after(secs(86_400));
        stage.fails("web", true);
        stage.read("web");
        stage.play(secs(32));
        assert_eq!(stage.jobs.len(), 1, "{}", stage.timeline());
    }
}

/// The renewal is itself the unit of a check, which starts it: what it conflicts with is up then, and is meant to make room.
#[test]
fn oneshot_is_not_suppressed_by_conflict() {
    let oneshot = |state: UnitState| UnitState { oneshot: true, ..ended(state) };
    let failed = |state: UnitState| UnitState {
        active: ActiveState::Failed,
        sub: "failed".into(),
        result: "exit-code".into(),
        ..oneshot(state)
    };
    for at_rest in [true, false] {
        let mut certificate = check("certificate", "renew.service");
        certificate.recovery.steps = vec![Step::Start];
        let mut stage = Stage::before(
            vec![check("web", "web.service"), certificate],
            &[("web", &[], &["renew"]), ("renew", &[], &["web"])],
        );
        stage.becomes("renew", oneshot);
        stage.tell_all();
        stage.play(secs(60));
        if at_rest {
            stage.fails("certificate", true);
        } else {
            stage.reads("renew", failed);
        }
        stage.play(secs(90));
        assert!(stage.jobs.iter().any(|(job, _)| job == "start renew.service"), "{}", stage.timeline());
        assert_eq!(stage.health("certificate"), Health::DOWN);
        assert_eq!(stage.health("web"), Health::PASSING);
    }
}
