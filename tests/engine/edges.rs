//! What happens between the ordinary: events told one by one to the core, without a world that makes sense of them.

use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::{Action, AttemptId, Engine, Event, RunId, What};
use stealthcheck::notice::{NoticeKind, Proof};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{ActiveState, Job, JobKind, JobResult, LoadState, UnitName, UnitState};
use stealthcheck::verdict::{Health, Observation};

use super::rules::check;

/// A core with one check, told everything by hand.
struct Bench {
    engine: Engine,
    now: Now,
    check: Check,
    /// Probe runs that wait for their observation.
    runs: Vec<RunId>,
    /// Attempts whose jobs have not ended.
    jobs: Vec<AttemptId>,
    notices: Vec<NoticeKind>,
    judged: Vec<Proof>,
}

impl Bench {
    /// The check passes and its unit runs as invocation `1`.
    fn new() -> Self {
        let check = check("web", "web.service");
        let now = Now { mono: Mono(Duration::from_secs(1_000_000)), wall: Wall(1_795_000_000_000) };
        let mut bench = Self {
            engine: Engine::new(),
            now,
            check: check.clone(),
            runs: vec![],
            jobs: vec![],
            notices: vec![],
            judged: vec![],
        };
        bench.tell(Event::Configured(vec![check]));
        bench.unit(running("1"));
        bench.later(1);
        bench.observe(true);
        assert_eq!(bench.health(), Health::Passing);
        bench
    }

    fn tell(&mut self, event: Event) {
        for action in self.engine.handle(self.now, event) {
            match action {
                Action::Probe { run, .. } => self.runs.push(run),
                Action::StartJob(job) => self.jobs.push(job.attempt),
                Action::Notify(notice) => self.notices.push(notice.kind),
                Action::Hold(_) => {}
                Action::NotifyHost(notice) => panic!("one check is no storm: {notice:?}"),
                Action::Changed(change) => {
                    if let What::RecoveryJudged { proof, .. } = change.what {
                        self.judged.push(proof);
                    }
                }
                Action::Remember => {}
            }
        }
    }

    fn later(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.mono = self.now.mono.after(Duration::from_secs(1));
            self.now.wall = self.now.wall.after(Duration::from_secs(1));
            self.tell(Event::Tick);
        }
    }

    fn unit(&mut self, state: UnitState) {
        self.tell(Event::UnitChanged { unit: self.unit_name(), state });
    }

    fn unit_name(&self) -> UnitName {
        self.check.unit.clone().unwrap()
    }

    fn name(&self) -> CheckName {
        self.check.name.clone()
    }

    /// Ends the probe that is under way, the latest if there are several.
    fn observe(&mut self, passing: bool) {
        let run = self.runs.pop().expect("a probe is under way");
        self.observe_run(run, passing);
    }

    fn observe_run(&mut self, run: RunId, passing: bool) {
        let observation = if passing {
            Observation::Passing { detail: "200 OK".into(), latency: Duration::ZERO }
        } else {
            Observation::Failing { reason: "refused".into() }
        };
        self.tell(Event::Observed { check: self.name(), run, observation });
    }

    /// Every probe fails for so long.
    fn failing(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.later(1);
            while let Some(run) = self.runs.pop() {
                self.observe_run(run, false);
            }
        }
    }

    fn job_ends(&mut self, result: JobResult, state: UnitState) {
        let attempt = self.jobs.pop().expect("a job was asked for");
        let unit = self.unit_name();
        self.tell(Event::JobEnded { unit, attempt, result, state: Some(state) });
    }

    fn health(&self) -> Health {
        self.engine.status(self.now, &[], false).remove(0).health
    }
}

fn running(invocation: &str) -> UnitState {
    UnitState {
        load: LoadState::Loaded,
        active: ActiveState::Active,
        sub: "running".into(),
        result: "success".into(),
        invocation_id: invocation.into(),
        active_enter_usec: 1,
        ..UnitState::default()
    }
}

fn down(active: ActiveState, stopped_by: Option<JobKind>) -> UnitState {
    UnitState {
        active,
        sub: "dead".into(),
        stopped_by: stopped_by.map(|kind| Job { id: 9, kind, ours: false }),
        inactive_enter_usec: 5,
        ..running("1")
    }
}

#[test]
fn failures_within_the_grace_of_a_recovery_do_not_count_and_those_after_it_do() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.job_ends(JobResult::Done, running("2"));
    bench.failing(29);
    assert_eq!((bench.judged.len(), bench.jobs.len()), (0, 0), "the unit has 30 s to come up");
    bench.failing(5);
    assert!(matches!(bench.judged.as_slice(), [Proof::DidNotHelp(_)]), "{:?}", bench.judged);
    assert_eq!(bench.jobs.len(), 1, "and the next attempt follows, as the backoff is over");
}

#[test]
fn a_unit_that_somebody_restarts_has_its_grace_too() {
    let mut bench = Bench::new();
    bench.unit(UnitState { active: ActiveState::Activating, sub: "start".into(), ..running("2") });
    bench.failing(25);
    bench.unit(running("2"));
    bench.failing(25);
    assert_eq!(bench.health(), Health::Passing);
    bench.failing(60);
    assert_eq!(bench.health(), Health::Down, "but not for ever");
}

#[test]
fn no_second_job_while_the_first_has_not_ended_whatever_the_unit_looks_like() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    assert_eq!(bench.jobs.len(), 1);
    bench.failing(60);
    bench.unit(running("2"));
    bench.unit(down(ActiveState::Failed, None));
    bench.failing(60);
    assert_eq!(bench.jobs.len(), 1);
}

#[test]
fn a_job_that_is_done_without_a_new_invocation_has_not_worked() {
    let mut bench = Bench::new();
    bench.failing(60);
    bench.job_ends(JobResult::Done, running("1"));
    match bench.judged.as_slice() {
        [Proof::DidNotHelp(why)] => assert!(why.contains("InvocationID"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_stop_within_our_own_restart_is_nobody_elses_stop() {
    let mut bench = Bench::new();
    bench.failing(60);
    assert_eq!(bench.jobs.len(), 1);
    bench.unit(down(ActiveState::Deactivating, Some(JobKind::Stop)));
    bench.unit(down(ActiveState::Inactive, Some(JobKind::Stop)));
    assert_eq!(bench.health(), Health::Down);
    bench.job_ends(JobResult::Done, running("2"));
    bench.observe(true);
    assert_eq!((bench.health(), &bench.judged[..]), (Health::Passing, &[Proof::Worked][..]));
}

#[test]
fn what_answers_in_place_of_a_failed_unit_is_no_recovery() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.job_ends(JobResult::Failed, down(ActiveState::Failed, None));
    for _ in 0..5 {
        bench.later(1);
        while let Some(run) = bench.runs.pop() {
            bench.observe_run(run, true);
        }
    }
    assert_eq!(bench.health(), Health::Down);
    assert!(!bench.notices.contains(&NoticeKind::Recovered));
}

#[test]
fn a_pass_while_our_job_runs_is_the_old_run_speaking() {
    let mut bench = Bench::new();
    bench.failing(60);
    assert_eq!(bench.jobs.len(), 1);
    bench.later(30);
    while let Some(run) = bench.runs.pop() {
        bench.observe_run(run, true);
    }
    assert_eq!(bench.health(), Health::Down);
}

#[test]
fn a_probe_that_began_before_the_unit_did_says_nothing_of_it() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.later(3);
    let old = bench.runs.pop();
    bench.job_ends(JobResult::Done, running("2"));
    if let Some(old) = old {
        bench.observe_run(old, true);
        assert_eq!(bench.health(), Health::Down, "it answered for the old run");
    }
    bench.observe(true);
    assert_eq!(bench.health(), Health::Passing);
}

#[test]
fn a_late_pass_from_before_somebody_elses_restart_closes_no_incident() {
    let mut bench = Bench::new();
    let mut check = bench.check.clone();
    check.recovery.ladder.clear();
    bench.tell(Event::Configured(vec![check]));
    bench.failing(60);
    assert_eq!(bench.health(), Health::Down);
    bench.later(5);
    let old = bench.runs.pop().expect("a probe is under way");
    bench.unit(UnitState { active: ActiveState::Activating, sub: "start".into(), ..running("2") });
    bench.later(1);
    bench.unit(running("2"));
    bench.observe_run(old, true);
    assert_eq!(bench.health(), Health::Down, "it answered for the run that was down");
    bench.observe(true);
    assert_eq!(bench.health(), Health::Passing, "and the unit was looked at again at once");
}

#[test]
fn a_job_that_somebody_cancelled_leaves_no_rung_behind() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    for _ in 0..2400 {
        if !bench.jobs.is_empty() {
            bench.job_ends(JobResult::Canceled, down(ActiveState::Failed, None));
        }
        bench.later(1);
    }
    assert!(!bench.notices.contains(&NoticeKind::NeedsYou), "{:?}", bench.notices);
    assert!(bench.judged.len() >= 7);
}

#[test]
fn what_could_not_be_measured_is_no_failure_and_no_cure() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.later(1);
        while let Some(run) = bench.runs.pop() {
            let observation = Observation::Unknown { reason: "no file descriptors left".into() };
            bench.tell(Event::Observed { check: bench.name(), run, observation });
        }
    }
    assert_eq!((bench.health(), bench.jobs.len()), (Health::Unknown, 0));
}

#[test]
fn a_notice_is_asked_for_again_until_it_is_in_the_spool() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.job_ends(JobResult::Failed, down(ActiveState::Failed, None));
    assert_eq!(bench.notices, [NoticeKind::Down]);
    let saved = bench.engine.save(bench.now, "boot");
    let (mut engine, actions) = Engine::restore(bench.now, "boot", saved, vec![bench.check.clone()]);
    let again: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Notify(notice) => Some(notice.id.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(again.len(), 1);
    engine.handle(bench.now, Event::NoticeSpooled(again[0].clone()));
    let saved = engine.save(bench.now, "boot");
    let (_, actions) = Engine::restore(bench.now, "boot", saved, vec![bench.check.clone()]);
    assert!(!actions.iter().any(|action| matches!(action, Action::Notify(_))));
}

#[test]
fn after_a_reboot_the_backoff_is_bounded_and_a_pause_keeps_its_end() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.job_ends(JobResult::Failed, down(ActiveState::Failed, None));
    let saved = bench.engine.save(bench.now, "boot");
    // Another boot: the monotonic clock is young, and somebody has set the wall clock back by a day.
    let now = Now {
        mono: Mono(Duration::from_secs(900_000)),
        wall: bench.now.wall.before(Duration::from_secs(86_400)),
    };
    let (mut engine, _) = Engine::restore(now, "another", saved, vec![bench.check.clone()]);
    let unit = bench.unit_name();
    engine.handle(now, Event::UnitChanged { unit, state: down(ActiveState::Failed, None) });
    let mut later = now;
    later.mono = later.mono.after(Duration::from_secs(301));
    let actions = engine.handle(later, Event::Tick);
    assert!(actions.iter().any(|action| matches!(action, Action::StartJob(_))), "{actions:?}");
}

#[test]
fn what_somebody_stops_or_restarts_slowly_does_not_fail_meanwhile() {
    let falling = |by: Option<JobKind>| UnitState {
        active: ActiveState::Deactivating,
        sub: "stop".into(),
        ..down(ActiveState::Deactivating, by)
    };
    for by in [JobKind::Stop, JobKind::Restart] {
        let mut bench = Bench::new();
        bench.unit(falling(Some(by)));
        bench.failing(60);
        assert_eq!(bench.health(), Health::Passing, "{by:?}");
    }
    // By itself, or for ever, it is another matter.
    let mut bench = Bench::new();
    bench.unit(falling(None));
    bench.failing(60);
    assert_eq!(bench.health(), Health::Down);
    let mut bench = Bench::new();
    bench.unit(falling(Some(JobKind::Stop)));
    bench.failing(400);
    assert_eq!(bench.health(), Health::Down);
}

#[test]
fn between_the_halves_of_somebodys_restart_a_unit_has_not_ended() {
    let mut bench = Bench::new();
    let job = Some(Job { id: 9, kind: JobKind::Restart, ours: false });
    for active in [ActiveState::Inactive, ActiveState::Failed] {
        bench.unit(UnitState { job, ..down(active, Some(JobKind::Restart)) });
        assert_eq!((bench.health(), bench.jobs.len()), (Health::Passing, 0), "{active:?}");
    }
    // The job is cancelled, and nobody will start it.
    bench.unit(down(ActiveState::Inactive, None));
    assert_eq!((bench.health(), bench.jobs.len()), (Health::Down, 1));
}

#[test]
fn a_unit_that_came_up_by_somebody_else_is_not_restarted_at_once() {
    let mut bench = Bench::new();
    let job = Some(Job { id: 9, kind: JobKind::Start, ours: false });
    bench.failing(60);
    assert_eq!((bench.health(), bench.jobs.len()), (Health::Down, 1));
    bench.job_ends(JobResult::Canceled, UnitState { job, active: ActiveState::Activating, ..running("2") });
    bench.later(20);
    bench.unit(running("2"));
    bench.failing(28);
    assert_eq!(bench.jobs.len(), 0, "it has its grace");
    bench.failing(5);
    assert_eq!(bench.jobs.len(), 1, "but not for ever");
}
