//! Jobs that are to run well every so often: each way in which one does not, and each way in which nothing is amiss.

use std::time::Duration;

use stealthcheck::check::{Check, CheckName, Probe, RanWithin, Rung};
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{Action, AttemptId, Engine, Event};
use stealthcheck::notice::{Notice, NoticeKind, Proof};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{ActiveState, Job, JobKind, JobResult, LoadState, UnitName, UnitState};
use stealthcheck::verdict::Health;

use super::rules::check;

use NoticeKind::{Down, Recovered};

const HOUR: u64 = 3600;

/// The core with one check, and the units that it reads: a job, and at times its timer.
struct Bench {
    engine: Engine,
    now: Now,
    check: Check,
    runs: u64,
    job: UnitState,
    timer: UnitState,
    notices: Vec<Notice>,
    started: Vec<(AttemptId, Rung)>,
    watches: u32,
}

fn unit(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn watching(name: &str) -> Check {
    let mut check = check("backup", name);
    check.probe = Probe::RanWithin(RanWithin { within: secs(26 * HOUR), runtime_max: secs(2 * HOUR) });
    check.schedule.fail_after = 1;
    check.recovery.ladder.clear();
    check
}

impl Bench {
    /// A job that has not run since the machine booted.
    fn new(check: Check) -> Self {
        let now = Now { mono: Mono(secs(1_000_000)), wall: Wall(1_795_000_000_000) };
        let job = UnitState {
            load: LoadState::Loaded,
            oneshot: true,
            result: "success".into(),
            ..UnitState::default()
        };
        let timer = UnitState {
            load: LoadState::Loaded,
            active: ActiveState::Active,
            sub: "waiting".into(),
            invocation_id: "timer".into(),
            active_enter_usec: 1,
            triggers: Some(unit("backup.service")),
            ..UnitState::default()
        };
        let mut bench = Self {
            engine: Engine::new(),
            now,
            check: check.clone(),
            runs: 0,
            job,
            timer,
            notices: Vec::new(),
            started: Vec::new(),
            watches: 0,
        };
        bench.tell(Event::Configured(vec![check]));
        bench
    }

    fn service() -> Self {
        let mut bench = Self::new(watching("backup.service"));
        bench.tell_job();
        bench
    }

    fn timer() -> Self {
        let mut bench = Self::new(watching("backup.timer"));
        bench.tell_timer();
        bench.tell_job();
        bench
    }

    fn tell(&mut self, event: Event) {
        let actions = self.engine.handle(self.now, event);
        self.take(actions);
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Notify(notice) => {
                    self.notices.push(*notice.clone());
                    self.tell(Event::NoticeSpooled(notice.id));
                }
                Action::StartJob { attempt, rung, .. } => self.started.push((attempt, rung)),
                Action::WatchUnits => self.watches += 1,
                Action::Probe { .. } => panic!("nothing is asked for a job: its unit is looked at"),
                Action::Changed(_) | Action::Remember => {}
            }
        }
    }

    /// systemd tells of the job's unit, if that is watched.
    fn tell_job(&mut self) {
        let name = unit("backup.service");
        let watched = self.engine.units().any(|known| *known == name);
        if watched {
            self.tell(Event::UnitChanged { unit: name, state: self.job.clone() });
        }
    }

    fn tell_timer(&mut self) {
        self.tell(Event::UnitChanged { unit: unit("backup.timer"), state: self.timer.clone() });
    }

    fn usec(&self) -> u64 {
        u64::try_from(self.now.wall.0).unwrap() * 1000
    }

    /// The job begins to run.
    fn begin(&mut self) {
        self.runs += 1;
        let usec = self.usec();
        self.job.active = ActiveState::Activating;
        self.job.sub = "start".into();
        self.job.invocation_id = format!("{:032x}", self.runs);
        self.job.inactive_exit_usec = usec;
        self.job.stopped_by = None;
        self.tell_job();
    }

    /// Its run ends, with this exit status.
    fn end(&mut self, status: i32) {
        self.job.active = if status == 0 { ActiveState::Inactive } else { ActiveState::Failed };
        self.job.sub = if status == 0 { "dead" } else { "failed" }.into();
        self.job.result = if status == 0 { "success" } else { "exit-code" }.into();
        (self.job.exit_code, self.job.exit_status) = (1, status);
        self.job.inactive_enter_usec = self.usec();
        self.tell_job();
    }

    fn run(&mut self, status: i32) {
        self.begin();
        self.play(60);
        self.end(status);
    }

    fn play(&mut self, seconds: u64) {
        let end = self.now.mono.after(secs(seconds));
        while let Some(at) = self.engine.next_wakeup().filter(|at| *at <= end) {
            self.to(at);
            self.tell(Event::Tick);
        }
        self.to(end);
    }

    fn to(&mut self, at: Mono) {
        self.now = Now { mono: at, wall: self.now.wall.after(at.since(self.now.mono)) };
    }

    fn restart_daemon(&mut self, away: u64, boot: (&str, &str)) {
        let saved = serde_json::to_string(&self.engine.save(self.now, boot.0)).unwrap();
        let saved: Saved = serde_json::from_str(&saved).unwrap();
        self.to(self.now.mono.after(secs(away)));
        let (engine, actions) = Engine::restore(self.now, boot.1, saved, vec![self.check.clone()]);
        self.engine = engine;
        self.take(actions);
        if self.check.unit == Some(unit("backup.timer")) {
            self.tell_timer();
        }
        self.tell_job();
    }

    fn status(&self) -> stealthcheck::status::CheckStatus {
        self.engine.status(self.now, &[], false).remove(0)
    }

    fn health(&self) -> Health {
        self.status().health
    }

    fn seen(&self) -> String {
        self.status().last.expect("something was seen").observation.text().to_owned()
    }

    fn kinds(&self) -> Vec<NoticeKind> {
        self.notices.iter().map(|notice| notice.kind).collect()
    }
}

#[test]
fn a_job_that_runs_each_day_is_well_and_at_rest_between() {
    for mut bench in [Bench::service(), Bench::timer()] {
        for _ in 0..5 {
            bench.run(0);
            assert_eq!(bench.health(), Health::Passing);
            bench.play(24 * HOUR + 60);
            assert_eq!((bench.health(), bench.seen().as_str()), (Health::Passing, "ran well 24h ago"));
        }
        assert!(bench.notices.is_empty() && bench.started.is_empty());
    }
}

#[test]
fn one_that_never_ran_is_late_when_it_has_been_watched_for_long_enough() {
    for (mut bench, of) in [(Bench::service(), ""), (Bench::timer(), "backup.service: ")] {
        bench.play(25 * HOUR);
        assert_eq!(
            (bench.health(), bench.seen().as_str()),
            (Health::Passing, "no run seen yet, watched for 24h")
        );
        bench.play(HOUR + 60);
        assert_eq!(bench.health(), Health::Down);
        let cause = format!("{of}no good run was seen in the 26h since it is watched");
        assert_eq!((bench.kinds(), &bench.notices[0].cause), (vec![Down], &cause));
        bench.run(0);
        assert_eq!((bench.health(), bench.kinds()), (Health::Passing, vec![Down, Recovered]));
    }
}

#[test]
fn one_that_is_late_is_told_within_a_look() {
    for mut bench in [Bench::service(), Bench::timer()] {
        bench.run(0);
        bench.play(26 * HOUR - 60);
        assert_eq!(bench.health(), Health::Passing);
        bench.play(2 * 60);
        assert_eq!((bench.health(), bench.kinds()), (Health::Down, vec![Down]));
        assert!(bench.notices[0].cause.ends_with("last ran well 26h ago, expected within 26h"));
        // That it runs at last is not enough.
        bench.begin();
        bench.play(HOUR);
        assert_eq!((bench.health(), bench.seen().as_str()), (Health::Down, "running for 1h"));
        bench.end(0);
        assert_eq!((bench.health(), bench.kinds()), (Health::Passing, vec![Down, Recovered]));
    }
}

#[test]
fn a_failed_run_is_told_at_once_with_the_unit_that_failed() {
    for (mut bench, of) in [(Bench::service(), ""), (Bench::timer(), "backup.service: ")] {
        bench.run(0);
        bench.play(24 * HOUR);
        bench.run(3);
        assert_eq!((bench.health(), bench.kinds()), (Health::Down, vec![Down]));
        let notice = &bench.notices[0];
        let cause = format!("{of}the last run failed: exit-code, main process exited with status 3");
        assert_eq!(notice.cause, cause);
        assert_eq!(notice.unit, Some(unit("backup.service")), "whose journal is wanted");
        assert_eq!(notice.failed_invocation, format!("{:032x}", 2));
        assert_eq!(notice.state.as_ref().unwrap().exit_status, 3);
        bench.play(600);
        assert_eq!(bench.started, [], "a job is not run again unless somebody says so");
        bench.run(0);
        assert_eq!((bench.health(), bench.kinds()), (Health::Passing, vec![Down, Recovered]));
    }
}

#[test]
fn one_that_runs_too_long_is_told_and_its_end_is_the_end_of_it() {
    for mut bench in [Bench::service(), Bench::timer()] {
        bench.run(0);
        bench.play(HOUR);
        bench.begin();
        bench.play(2 * HOUR - 60);
        assert_eq!((bench.health(), bench.kinds()), (Health::Passing, vec![]));
        bench.play(120);
        assert_eq!(bench.health(), Health::Down);
        let cause = "has been running for 2h, expected to take less than 2h";
        assert!(bench.notices[0].cause.ends_with(cause), "{}", bench.notices[0].cause);
        bench.end(0);
        assert_eq!((bench.health(), bench.kinds()), (Health::Passing, vec![Down, Recovered]));
    }
}

#[test]
fn a_run_that_somebody_stops_is_no_failure_and_no_run() {
    let mut bench = Bench::service();
    bench.run(0);
    bench.play(24 * HOUR);
    bench.begin();
    let stop = Some(Job { id: 7, kind: JobKind::Stop });
    bench.job.stopped_by = stop;
    bench.job.active = ActiveState::Failed;
    bench.job.result = "signal".into();
    bench.job.inactive_enter_usec = bench.usec();
    bench.tell_job();
    bench.play(600);
    assert_ne!(bench.health(), Health::Down);
    assert!(bench.notices.is_empty());
    bench.play(2 * HOUR);
    assert_eq!(bench.kinds(), [Down], "it is late all the same");
}

#[test]
fn a_job_of_another_type_than_oneshot_is_at_rest_as_well() {
    let mut bench = Bench::service();
    bench.job.oneshot = false;
    bench.begin();
    bench.job.active = ActiveState::Active;
    bench.job.sub = "running".into();
    bench.tell_job();
    bench.play(600);
    bench.end(0);
    bench.play(600);
    assert_eq!((bench.health(), bench.seen().as_str()), (Health::Passing, "ran well 9m ago"));
    assert!(bench.notices.is_empty());
}

#[test]
fn a_timer_that_is_not_active_is_a_failure_of_its_own() {
    let mut bench = Bench::timer();
    bench.run(0);
    // Disabled while the daemon was not there to see it; systemd has forgotten it.
    bench.timer =
        UnitState { load: LoadState::Loaded, triggers: bench.timer.triggers.clone(), ..UnitState::default() };
    bench.tell_timer();
    assert_eq!(bench.health(), Health::Down);
    assert_eq!(bench.notices[0].unit, Some(unit("backup.timer")));
    assert_eq!(bench.notices[0].cause, "unit ended without a stop job: inactive (dead)");

    // `systemctl stop` is respected for a while, as of any unit.
    let mut bench = Bench::timer();
    bench.run(0);
    bench.timer.active = ActiveState::Inactive;
    bench.timer.inactive_enter_usec = bench.usec();
    bench.timer.stopped_by = Some(Job { id: 7, kind: JobKind::Stop });
    bench.tell_timer();
    assert!(matches!(bench.health(), Health::Stopped { .. }));
    bench.play(301);
    assert_eq!((bench.health(), bench.kinds()), (Health::Down, vec![Down]));
    bench.timer.active = ActiveState::Active;
    bench.timer.stopped_by = None;
    bench.tell_timer();
    assert_eq!((bench.health(), bench.kinds()), (Health::Passing, vec![Down, Recovered]));
}

#[test]
fn what_a_timer_triggers_is_watched_and_may_be_another_unit_later() {
    let mut bench = Bench::timer();
    assert_eq!(bench.watches, 1);
    assert!(bench.engine.units().any(|name| *name == unit("backup.service")));
    bench.tell_timer();
    assert_eq!(bench.watches, 1, "that was known");
    bench.timer.triggers = Some(unit("other.service"));
    bench.tell_timer();
    assert_eq!(bench.watches, 2);
    bench.run(3);
    assert_eq!(bench.health(), Health::Passing, "it is not this timer's any more");
    let missing = UnitState::default();
    bench.tell(Event::UnitChanged { unit: unit("other.service"), state: missing });
    assert_eq!(bench.notices[0].cause, "other.service: unit is not found");
}

#[test]
fn a_restart_of_the_daemon_and_a_reboot_forget_no_run() {
    for mut bench in [Bench::service(), Bench::timer()] {
        bench.run(0);
        bench.play(12 * HOUR);
        bench.restart_daemon(600, ("one", "one"));
        bench.play(60);
        assert_eq!((bench.health(), bench.seen().as_str()), (Health::Passing, "ran well 12h ago"));

        // After a reboot systemd knows of no run.
        bench.job = UnitState {
            load: LoadState::Loaded,
            oneshot: true,
            result: "success".into(),
            ..UnitState::default()
        };
        bench.restart_daemon(2 * HOUR, ("one", "two"));
        bench.play(60);
        assert_eq!((bench.health(), bench.seen().as_str()), (Health::Passing, "ran well 14h ago"));
        bench.play(11 * HOUR);
        assert_eq!(bench.kinds(), []);
        bench.play(HOUR);
        assert_eq!(bench.kinds(), [Down], "26 hours after the run, whatever happened since");
        assert!(bench.notices[0].cause.ends_with("last ran well 26h ago, expected within 26h"));
    }
}

#[test]
fn one_that_never_ran_is_watched_since_it_was_configured_first() {
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
fn a_clock_that_is_set_makes_no_run_late() {
    let mut bench = Bench::service();
    bench.run(0);
    bench.play(HOUR);
    bench.now.wall = bench.now.wall.after(secs(1000 * HOUR));
    bench.tell_job();
    bench.play(60);
    assert_eq!((bench.health(), bench.seen().as_str()), (Health::Passing, "ran well 1h ago"));
    bench.now.wall = bench.now.wall.before(secs(3000 * HOUR));
    bench.play(HOUR);
    bench.run(0);
    assert_eq!((bench.health(), bench.seen().as_str()), (Health::Passing, "ran well 0s ago"));
}

#[test]
fn where_somebody_says_so_it_is_run_again_and_its_end_proves_it() {
    let mut check = watching("backup.service");
    check.recovery.ladder = vec![Rung::Start];
    check.name = CheckName::new("backup").unwrap();
    let mut bench = Bench::new(check);
    bench.tell_job();
    bench.run(3);
    assert_eq!(bench.started.len(), 1);
    let (attempt, rung) = bench.started[0].clone();
    assert_eq!(rung, Rung::Start);
    bench.begin();
    // The start of a oneshot lasts as long as the job, and that is no reason to wake anybody.
    bench.play(HOUR);
    bench.job.active = ActiveState::Inactive;
    bench.job.result = "success".into();
    bench.job.exit_status = 0;
    bench.job.inactive_enter_usec = bench.usec();
    let (state, result) = (Some(bench.job.clone()), JobResult::Done);
    bench.tell(Event::JobEnded { unit: unit("backup.service"), attempt, result, state });
    assert_eq!((bench.health(), bench.kinds()), (Health::Passing, vec![Down, Recovered]));
    assert_eq!(bench.notices[1].attempts[0].verdict, Some(Proof::Worked));
    assert_eq!(bench.started.len(), 1);
}

#[test]
fn a_plain_check_of_a_timer_or_a_oneshot_is_as_ever() {
    let mut check = watching("backup.timer");
    check.probe = Probe::Unit;
    let mut bench = Bench::new(check);
    bench.tell_timer();
    assert_eq!((bench.health(), bench.watches), (Health::Passing, 0));
    bench.run(3);
    bench.play(60);
    assert_eq!(bench.health(), Health::Passing, "of its job it says nothing");
    bench.timer.active = ActiveState::Inactive;
    bench.timer.inactive_enter_usec = bench.usec();
    bench.tell_timer();
    assert_eq!(bench.health(), Health::Down);

    let mut check = watching("backup.service");
    check.probe = Probe::Unit;
    let mut bench = Bench::new(check);
    bench.tell_job();
    bench.run(0);
    assert_eq!(bench.health(), Health::Passing);
    bench.play(100 * HOUR);
    assert_eq!(bench.health(), Health::Passing, "it is not known how often it should run");
    bench.run(3);
    assert_eq!(bench.health(), Health::Down);
}
