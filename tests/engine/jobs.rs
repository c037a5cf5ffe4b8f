//! Jobs that are to run well every so often: each way in which one does not, and each way in which nothing is amiss.

mod bench;

use stealthcheck::check::{Probe, Step};
use stealthcheck::engine::Event;
use stealthcheck::notification::{AttemptOutcome, NotificationKind};
use stealthcheck::unit::{ActiveState, Job, JobKind, JobResult, LoadState, UnitState};
use stealthcheck::verdict::{Health, SuppressedBy};

use bench::{Bench, HOUR, secs, unit, watching};

use NotificationKind::{Down, Recovered};

#[test]
fn daily_job_passes_between_its_runs() {
    for mut bench in [Bench::service(), Bench::timer()] {
        for _ in 0..5 {
            bench.run(0);
            assert_eq!(bench.health(), Health::PASSING);
            bench.play(24 * HOUR + 60);
            assert_eq!((bench.health(), bench.seen().as_str()), (Health::PASSING, "succeeded 24h ago"));
        }
        assert!(bench.notifications.is_empty() && bench.started.is_empty());
    }
}

#[test]
fn job_that_never_ran_is_late_after_succeeded_within() {
    for (mut bench, of) in [(Bench::service(), ""), (Bench::timer(), "backup.service: ")] {
        bench.play(25 * HOUR);
        assert_eq!(
            (bench.health(), bench.seen().as_str()),
            (Health::PASSING, "no run yet, monitored for 24h")
        );
        bench.play(HOUR + 60);
        assert_eq!(bench.health(), Health::DOWN);
        let cause = format!("{of}no successful run in the 26h since monitoring began");
        assert_eq!((bench.kinds(), &bench.notifications[0].cause), (vec![Down], &cause));
        bench.run(0);
        bench.play(15);
        assert_eq!((bench.health(), bench.kinds()), (Health::PASSING, vec![Down, Recovered]));
    }
}

#[test]
fn late_job_is_down_at_the_next_probe() {
    for mut bench in [Bench::service(), Bench::timer()] {
        bench.run(0);
        bench.play(26 * HOUR - 60);
        assert_eq!(bench.health(), Health::PASSING);
        bench.play(2 * 60);
        assert_eq!((bench.health(), bench.kinds()), (Health::DOWN, vec![Down]));
        assert!(bench.notifications[0].cause.ends_with("last succeeded 26h ago, expected within 26h"));
        // That it runs at last is not enough.
        bench.begin();
        bench.play(HOUR + 30);
        assert_eq!((bench.health(), bench.seen().as_str()), (Health::DOWN, "running for 1h"));
        bench.end(0);
        bench.play(15);
        assert_eq!((bench.health(), bench.kinds()), (Health::PASSING, vec![Down, Recovered]));
    }
}

#[test]
fn failed_run_is_down_at_once_and_names_the_job() {
    for (mut bench, of) in [(Bench::service(), ""), (Bench::timer(), "backup.service: ")] {
        bench.run(0);
        bench.play(24 * HOUR);
        bench.run(3);
        assert_eq!((bench.health(), bench.kinds()), (Health::DOWN, vec![Down]));
        let notification = &bench.notifications[0];
        let cause = format!("{of}the last run failed: exit-code, main process exited with status 3");
        assert_eq!(notification.cause, cause);
        assert_eq!(notification.unit, Some(unit("backup.service")), "whose journal is wanted");
        assert_eq!(notification.failed_invocation, format!("{:032x}", 2));
        assert_eq!(notification.state.as_ref().unwrap().exit_status, 3);
        bench.play(600);
        assert_eq!(bench.started, [], "a job is not run again unless somebody says so");
        bench.run(0);
        bench.play(15);
        assert_eq!((bench.health(), bench.kinds()), (Health::PASSING, vec![Down, Recovered]));
    }
}

#[test]
fn run_longer_than_max_runtime_is_down_until_it_ends() {
    for mut bench in [Bench::service(), Bench::timer()] {
        bench.run(0);
        bench.play(HOUR);
        bench.begin();
        bench.play(2 * HOUR - 60);
        assert_eq!((bench.health(), bench.kinds()), (Health::PASSING, vec![]));
        bench.play(120);
        assert_eq!(bench.health(), Health::DOWN);
        let cause = "has been running for 2h, expected to take less than 2h";
        assert!(bench.notifications[0].cause.ends_with(cause), "{}", bench.notifications[0].cause);
        bench.end(0);
        assert_eq!((bench.health(), bench.kinds()), (Health::PASSING, vec![Down, Recovered]));
    }
}

#[test]
fn run_stopped_by_operator_counts_for_nothing() {
    let mut bench = Bench::service();
    bench.run(0);
    bench.play(24 * HOUR);
    bench.begin();
    let stop = Some(Job { id: 7, kind: JobKind::Stop, ours: false });
    bench.job.stopped_by = stop;
    bench.job.active = ActiveState::Failed;
    bench.job.result = "signal".into();
    bench.job.inactive_enter_usec = bench.usec();
    bench.tell_job();
    bench.play(600);
    assert_ne!(bench.health(), Health::DOWN);
    assert!(bench.notifications.is_empty());
    bench.play(2 * HOUR);
    assert_eq!(bench.kinds(), [Down], "it is late all the same");
}

/// After a restart of the daemon nothing but its own record says that the run was stopped.
#[test]
fn run_stopped_by_operator_counts_for_nothing_after_daemon_restart() {
    for (name, step) in
        [("backup.service", Step::Start), ("backup.timer", Step::StartUnit(unit("backup.service")))]
    {
        for result in ["signal", "success"] {
            let mut check = watching(name);
            check.recovery.steps = vec![step.clone()];
            let mut bench = Bench::new(check);
            bench.tell_timer();
            bench.tell_job();
            bench.run(0);
            bench.play(24 * HOUR);
            bench.begin();
            bench.job.stopped_by = Some(Job { id: 7, kind: JobKind::Stop, ours: false });
            bench.end(0);
            if result != "success" {
                bench.job.active = ActiveState::Failed;
                bench.job.result = result.into();
                (bench.job.exit_code, bench.job.exit_status) = (2, 15);
                bench.tell_job();
            }
            for _ in 0..2 {
                bench.job.stopped_by = None;
                bench.restart_daemon(5, ("one", "one"));
                bench.play(300);
                assert_ne!(bench.health(), Health::DOWN, "{name} {result}");
                assert!(bench.notifications.is_empty() && bench.started.is_empty(), "{name} {result}");
            }
            bench.play(2 * HOUR);
            assert_eq!(bench.kinds(), [Down], "{name} {result}: it is late all the same");
        }
    }
}

/// The same where the stop came in the daemon's absence, and systemd shows that the process ended in a stop.
#[test]
fn run_stopped_in_daemons_absence_counts_for_nothing() {
    for (result, health) in [("signal", Health::PASSING), ("timeout", Health::DOWN)] {
        let mut bench = Bench::timer();
        bench.run(0);
        bench.job.oneshot = false;
        bench.begin();
        bench.job.active_exit_usec = bench.usec() + 1_000_000;
        bench.job.main_exit_usec = bench.usec() + 1_000_001;
        bench.job.inactive_enter_usec = bench.usec() + 1_000_002;
        bench.job.active = ActiveState::Failed;
        bench.job.result = result.into();
        bench.restart_daemon(60, ("one", "one"));
        bench.play(60);
        assert_eq!(bench.health(), health, "{result}");
    }
}

#[test]
fn job_of_another_type_than_oneshot_is_at_rest_too() {
    let mut bench = Bench::service();
    bench.job.oneshot = false;
    bench.begin();
    bench.job.active = ActiveState::Active;
    bench.job.sub = "running".into();
    bench.tell_job();
    bench.play(600);
    bench.end(0);
    bench.play(600);
    assert_eq!((bench.health(), bench.seen().as_str()), (Health::PASSING, "succeeded 9m ago"));
    assert!(bench.notifications.is_empty());
}

#[test]
fn inactive_timer_is_down() {
    let mut bench = Bench::timer();
    bench.run(0);
    // Disabled while the daemon was not there to see it; systemd has forgotten it.
    bench.timer =
        UnitState { load: LoadState::Loaded, triggers: bench.timer.triggers.clone(), ..UnitState::default() };
    bench.tell_timer();
    assert_eq!(bench.health(), Health::DOWN);
    assert_eq!(bench.notifications[0].unit, Some(unit("backup.timer")));
    assert_eq!(bench.notifications[0].cause, "unit ended without a stop job: inactive (dead)");

    // `systemctl stop` is respected for a while, as of any unit.
    let mut bench = Bench::timer();
    bench.run(0);
    bench.timer.active = ActiveState::Inactive;
    bench.timer.inactive_enter_usec = bench.usec();
    bench.timer.stopped_by = Some(Job { id: 7, kind: JobKind::Stop, ours: false });
    bench.tell_timer();
    assert!(matches!(&bench.health().suppressed_by, Some(SuppressedBy::Stopped { .. })));
    bench.play(301);
    assert_eq!((bench.health(), bench.kinds()), (Health::DOWN, vec![Down]));
    bench.timer.active = ActiveState::Active;
    bench.timer.stopped_by = None;
    bench.tell_timer();
    bench.play(15);
    assert_eq!((bench.health(), bench.kinds()), (Health::PASSING, vec![Down, Recovered]));
}

#[test]
fn timer_with_another_unit_is_followed() {
    let mut bench = Bench::timer();
    let before = bench.watches;
    assert!(bench.engine.units().any(|name| *name == unit("backup.service")));
    bench.tell_timer();
    assert_eq!(bench.watches, before, "that was known");
    bench.timer.triggers = Some(unit("other.service"));
    bench.tell_timer();
    assert_eq!(bench.watches, before + 1);
    bench.run(3);
    assert_eq!(bench.health(), Health::PASSING, "it is not this timer's any more");
    let missing = UnitState::default();
    bench.tell(Event::UnitRead { unit: unit("other.service"), state: missing });
    assert_eq!(bench.notifications[0].cause, "other.service: unit is not found");
}

#[test]
fn last_run_survives_daemon_restart_and_reboot() {
    for mut bench in [Bench::service(), Bench::timer()] {
        bench.run(0);
        bench.play(12 * HOUR);
        bench.restart_daemon(600, ("one", "one"));
        bench.play(60);
        assert_eq!((bench.health(), bench.seen().as_str()), (Health::PASSING, "succeeded 12h ago"));

        // After a reboot systemd knows of no run.
        bench.job = UnitState {
            load: LoadState::Loaded,
            oneshot: true,
            result: "success".into(),
            ..UnitState::default()
        };
        bench.restart_daemon(2 * HOUR, ("one", "two"));
        bench.play(60);
        assert_eq!((bench.health(), bench.seen().as_str()), (Health::PASSING, "succeeded 14h ago"));
        bench.play(11 * HOUR);
        assert_eq!(bench.kinds(), []);
        bench.play(HOUR);
        assert_eq!(bench.kinds(), [Down], "26 hours after the run, whatever happened since");
        assert!(bench.notifications[0].cause.ends_with("last succeeded 26h ago, expected within 26h"));
    }
}

#[test]
fn job_that_never_ran_counts_from_its_first_configuration() {
    let mut bench = Bench::service();
    bench.play(20 * HOUR);
    bench.restart_daemon(60, ("one", "one"));
    bench.play(5 * HOUR);
    // Another runbook, the same job.
    bench.check.runbook = Some("Ask the owner.".into());
    let check = bench.check.clone();
    bench.tell(Event::Configured(vec![check]));
    bench.play(60);
    assert_eq!(bench.kinds(), []);
    bench.play(HOUR);
    assert_eq!(bench.kinds(), [Down]);
}

#[test]
fn wall_clock_change_makes_no_run_late() {
    let mut bench = Bench::service();
    bench.run(0);
    bench.play(HOUR);
    bench.now.wall = bench.now.wall.after(secs(1000 * HOUR));
    bench.tell_job();
    bench.play(60);
    assert_eq!((bench.health(), bench.seen().as_str()), (Health::PASSING, "succeeded 1h ago"));
    bench.now.wall = bench.now.wall.before(secs(3000 * HOUR));
    bench.play(HOUR);
    bench.run(0);
    assert_eq!((bench.health(), bench.seen().as_str()), (Health::PASSING, "succeeded 0s ago"));
}

#[test]
fn configured_start_runs_the_job_and_its_end_proves_it() {
    let mut check = watching("backup.service");
    check.recovery.steps = vec![Step::Start];
    let mut bench = Bench::new(check);
    bench.tell_job();
    bench.run(3);
    assert_eq!(bench.started.len(), 1);
    let (attempt, step) = bench.started[0].clone();
    assert_eq!(step, Step::Start);
    bench.begin();
    // The start of a oneshot lasts as long as the job, and that is no reason to wake anybody.
    bench.play(HOUR);
    bench.job.active = ActiveState::Inactive;
    bench.job.result = "success".into();
    bench.job.exit_status = 0;
    bench.job.inactive_enter_usec = bench.usec();
    let (state, result) = (Some(bench.job.clone()), JobResult::Done);
    bench.tell(Event::JobEnded { unit: unit("backup.service"), attempt, result, state });
    bench.play(15);
    assert_eq!((bench.health(), bench.kinds()), (Health::PASSING, vec![Down, Recovered]));
    assert_eq!(bench.notifications[1].attempts[0].outcome, Some(AttemptOutcome::Recovered));
    assert_eq!(bench.started.len(), 1);
}

#[test]
fn unit_check_of_timer_or_oneshot_follows_its_state() {
    let mut check = watching("backup.timer");
    check.probe = Probe::Unit;
    let mut bench = Bench::new(check);
    bench.tell_timer();
    assert_eq!(bench.health(), Health::PASSING);
    assert!(!bench.engine.units().any(|name| *name == unit("backup.service")), "nobody asks for it");
    bench.run(3);
    bench.play(60);
    assert_eq!(bench.health(), Health::PASSING, "of its job it says nothing");
    bench.timer.active = ActiveState::Inactive;
    bench.timer.inactive_enter_usec = bench.usec();
    bench.tell_timer();
    assert_eq!(bench.health(), Health::DOWN);

    let mut check = watching("backup.service");
    check.probe = Probe::Unit;
    let mut bench = Bench::new(check);
    bench.tell_job();
    bench.run(0);
    assert_eq!(bench.health(), Health::PASSING);
    bench.play(100 * HOUR);
    assert_eq!(bench.health(), Health::PASSING, "it is not known how often it should run");
    bench.run(3);
    assert_eq!(bench.health(), Health::DOWN);
}
