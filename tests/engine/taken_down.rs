//! Rule 9: what systemd stopped together with its root comes back with it.

use std::time::Duration;

use stealthcheck::check::Respect;
use stealthcheck::engine::Event;
use stealthcheck::notification::NotificationKind::{Down, Recovered};
use stealthcheck::unit::{ActiveState, JobResult, UnitState};
use stealthcheck::verdict::Health;

use super::blocked::{TWO, blocked_by, two};
use super::rules::check;
use super::stage::{Stage, found_down, killed, secs, stopped, stopping, up};

/// What is bound to the database is stopped by systemd with it, in this order of readings or the other.
fn bound(app_first: bool) -> Stage {
    let mut stage = Stage::new(two(), TWO);
    stage.fails("app", true);
    stage.fails("db", true);
    if app_first {
        stage.reads("app", stopping);
        stage.reads("app", stopped);
        stage.play(Duration::from_millis(100));
    }
    stage.reads("db", killed);
    if !app_first {
        stage.play(Duration::from_millis(100));
        stage.reads("app", stopping);
        stage.reads("app", stopped);
    }
    stage.play(secs(1));
    blocked_by(&stage, "app", "db");
    stage
}

#[test]
fn dependent_stopped_with_root_is_started_silently() {
    for app_first in [true, false] {
        for respect_stop in [Respect::Forever, Respect::For(Duration::ZERO), Respect::For(secs(300))] {
            let mut stage = bound(app_first);
            let mut checks = two();
            checks[0].recovery.respect_stop = respect_stop;
            stage.tell(Event::Configured(checks));
            stage.play(secs(4));
            stage.job_ends(JobResult::Done, up);
            stage.fails("db", false);
            stage.play(secs(9));
            assert_eq!(stage.jobs.len(), 1);
            stage.play(secs(3));
            assert_eq!(stage.jobs.last().unwrap().0, "restart app.service", "{}", stage.timeline());
            stage.job_ends(JobResult::Done, up);
            stage.fails("app", false);
            stage.play(secs(60));
            assert_eq!((stage.health("app"), stage.told("app")), (Health::PASSING, vec![]));
            assert_eq!(stage.told("db"), [Down, Recovered]);
        }
    }
}

#[test]
fn dependent_that_does_not_start_is_notified() {
    let mut stage = bound(true);
    stage.job_ends(JobResult::Done, up);
    stage.fails("db", false);
    stage.play(secs(40));
    assert_eq!(stage.jobs.len(), 2);
    assert_eq!(stage.told("app"), []);
    stage.job_ends(JobResult::Failed, killed);
    stage.play(secs(1));
    assert_eq!(stage.told("app"), [Down]);
    let cause = &stage.notifications.last().unwrap().cause;
    assert_eq!(cause, "unit went down with db.service, which has been back for 10s, and has not come back");

    // Also where the job does not end.
    let mut stage = bound(true);
    stage.job_ends(JobResult::Done, up);
    stage.fails("db", false);
    stage.play(secs(180));
    assert_eq!(stage.told("app"), [Down], "{}", stage.timeline());
}

#[test]
fn fall_with_root_survives_daemon_restart() {
    // What went down with it is still known to have done so.
    let mut stage = bound(true);
    stage.becomes("app", found_down);
    stage.becomes("db", up);
    stage.daemon_dies(secs(2));
    stage.fails("db", false);
    stage.tell_all();
    stage.play(secs(100));
    assert_eq!(stage.jobs.last().unwrap().0, "restart app.service", "{}", stage.timeline());
    assert_eq!(stage.told("app"), []);
}

/// A process crashes, and its children (or `ExecStopPost=`) take their time: where systemd restarts the unit then, that is
/// awaited as its own restart is.
#[test]
fn crash_that_ends_slowly_and_is_restarted_by_systemd_notifies_nobody() {
    for restarts in [true, false] {
        let mut stage = Stage::new(vec![check("web", "web.service")], &[("web", &[], &[])]);
        let ending = |state: UnitState| UnitState {
            active: ActiveState::Deactivating,
            sub: "final-sigterm".into(),
            settings: std::sync::Arc::new(stealthcheck::unit::UnitSettings {
                restarts,
                ..Default::default()
            }),
            ..state
        };
        stage.fails("web", true);
        stage.reads("web", ending);
        stage.play(secs(60));
        if !restarts {
            assert_eq!(stage.told("web"), [Down]);
            continue;
        }
        stage.assert_quiet();
        stage.reads("web", up);
        stage.fails("web", false);
        stage.play(secs(60));
        stage.assert_quiet();
        assert_eq!(stage.health("web"), Health::PASSING);
    }
}
