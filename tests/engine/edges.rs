//! What happens between the ordinary: events told one by one to the core, without a world that makes sense of them.

use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::{AttemptId, ChangeKind, Effect, Engine, Event, JobRequest, RunId};
use stealthcheck::notification::{AttemptOutcome, NotificationKind};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{
    ActiveState, Job, JobKind, JobResult, LoadState, ManagerState, UnitName, UnitState,
};
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
    notifications: Vec<NotificationKind>,
    judged: Vec<AttemptOutcome>,
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
            notifications: vec![],
            judged: vec![],
        };
        bench.tell(Event::Configured(vec![check]));
        bench.tell(Event::ManagerChanged(ManagerState::Running));
        bench.unit(running("1"));
        bench.later(1);
        bench.observe(true);
        assert_eq!(bench.health(), Health::PASSING);
        bench
    }

    fn tell(&mut self, event: Event) {
        for effect in self.engine.handle(self.now, event) {
            match effect {
                Effect::Probe { run, .. } => self.runs.push(run),
                Effect::StartJob(JobRequest { attempt, .. }) => self.jobs.push(attempt),
                Effect::Notify(notification) => self.notifications.push(notification.kind),
                Effect::Hold(_) => {}
                Effect::NotifyHost(notification) => panic!("one check is no storm: {notification:?}"),
                Effect::Changed(change) => {
                    if let ChangeKind::AttemptConcluded { outcome, .. } = change.what {
                        self.judged.push(outcome);
                    }
                }
                Effect::ReadUnit(_) | Effect::WithdrawJob(_) | Effect::Remember => {}
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
        self.tell(Event::UnitRead { unit: self.unit_name(), state });
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

    /// Every probe passes for so long.
    fn passing(&mut self, seconds: u64) {
        for _ in 0..seconds {
            while let Some(run) = self.runs.pop() {
                self.observe_run(run, true);
            }
            self.later(1);
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
        stopped_by: stopped_by.map(|kind| Job { id: 9, kind, ours: true }),
        inactive_enter_usec: 5,
        ..running("1")
    }
}

#[test]
fn failures_within_grace_of_an_attempt_do_not_count() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.job_ends(JobResult::Done, running("2"));
    bench.failing(29);
    assert_eq!((bench.judged.len(), bench.jobs.len()), (0, 0), "the unit has 30 s to come up");
    bench.failing(5);
    assert!(matches!(bench.judged.as_slice(), [AttemptOutcome::Ineffective(_)]), "{:?}", bench.judged);
    assert_eq!(bench.jobs.len(), 1, "and the next attempt follows, as the backoff is over");
}

#[test]
fn restart_by_operator_has_its_grace() {
    let mut bench = Bench::new();
    bench.unit(UnitState { active: ActiveState::Activating, sub: "start".into(), ..running("2") });
    bench.failing(25);
    bench.unit(running("2"));
    bench.failing(25);
    assert_eq!(bench.health(), Health::PASSING);
    bench.failing(60);
    assert_eq!(bench.health(), Health::DOWN, "but not for ever");
}

/// Whatever the unit looks like meanwhile.
#[test]
fn no_second_job_before_the_first_has_ended() {
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
fn job_done_with_old_invocation_is_ineffective() {
    let mut bench = Bench::new();
    bench.failing(60);
    bench.job_ends(JobResult::Done, running("1"));
    match bench.judged.as_slice() {
        [AttemptOutcome::Ineffective(why)] => assert!(why.contains("InvocationID"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn stop_within_own_restart_is_no_operators_stop() {
    let mut bench = Bench::new();
    bench.failing(60);
    assert_eq!(bench.jobs.len(), 1);
    bench.unit(down(ActiveState::Deactivating, Some(JobKind::Stop)));
    bench.unit(down(ActiveState::Inactive, Some(JobKind::Stop)));
    assert_eq!(bench.health(), Health::DOWN);
    bench.job_ends(JobResult::Done, running("2"));
    bench.passing(12);
    assert_eq!((bench.health(), &bench.judged[..]), (Health::PASSING, &[AttemptOutcome::Recovered][..]));
}

#[test]
fn pass_while_unit_is_failed_does_not_count() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.job_ends(JobResult::Failed, down(ActiveState::Failed, None));
    for _ in 0..5 {
        bench.later(1);
        while let Some(run) = bench.runs.pop() {
            bench.observe_run(run, true);
        }
    }
    assert_eq!(bench.health(), Health::DOWN);
    assert!(!bench.notifications.contains(&NotificationKind::Recovered));
}

#[test]
fn pass_while_own_job_runs_does_not_count() {
    let mut bench = Bench::new();
    bench.failing(60);
    assert_eq!(bench.jobs.len(), 1);
    bench.later(30);
    while let Some(run) = bench.runs.pop() {
        bench.observe_run(run, true);
    }
    assert_eq!(bench.health(), Health::DOWN);
}

#[test]
fn result_of_probe_begun_before_start_does_not_count() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.later(3);
    let old = bench.runs.pop();
    bench.job_ends(JobResult::Done, running("2"));
    if let Some(old) = old {
        bench.observe_run(old, true);
        assert_eq!(bench.health(), Health::DOWN, "it answered for the old run");
    }
    bench.passing(12);
    assert_eq!(bench.health(), Health::PASSING);
}

#[test]
fn late_pass_after_operator_restart_closes_no_incident() {
    let mut bench = Bench::new();
    let mut check = bench.check.clone();
    check.recovery.steps.clear();
    bench.tell(Event::Configured(vec![check]));
    bench.failing(60);
    assert_eq!(bench.health(), Health::DOWN);
    bench.later(5);
    let old = bench.runs.pop().expect("a probe is under way");
    bench.unit(UnitState { active: ActiveState::Activating, sub: "start".into(), ..running("2") });
    bench.later(1);
    bench.unit(running("2"));
    bench.observe_run(old, true);
    assert_eq!(bench.health(), Health::DOWN, "it answered for the run that was down");
    bench.passing(12);
    assert_eq!(bench.health(), Health::PASSING, "and the unit was looked at again at once");
}

#[test]
fn canceled_job_does_not_advance_the_step() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    for _ in 0..2400 {
        if !bench.jobs.is_empty() {
            bench.job_ends(JobResult::Canceled, down(ActiveState::Failed, None));
        }
        bench.later(1);
    }
    assert!(!bench.notifications.contains(&NotificationKind::ActionRequired), "{:?}", bench.notifications);
    assert!(bench.judged.len() >= 7);
}

#[test]
fn unknown_is_neither_failure_nor_pass() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.later(1);
        while let Some(run) = bench.runs.pop() {
            let observation = Observation::Unknown { reason: "no file descriptors left".into() };
            bench.tell(Event::Observed { check: bench.name(), run, observation });
        }
    }
    assert_eq!((bench.health(), bench.jobs.len()), (Health::UNKNOWN, 0));
}

#[test]
fn notification_is_requested_again_until_stored() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.job_ends(JobResult::Failed, down(ActiveState::Failed, None));
    assert_eq!(bench.notifications, [NotificationKind::Down]);
    let saved = bench.engine.save(bench.now, "boot");
    let (mut engine, effects) = Engine::restore(bench.now, "boot", saved, vec![bench.check.clone()]);
    let again: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Notify(notification) => Some(notification.id.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(again.len(), 1);
    engine.handle(bench.now, Event::NotificationStored(again[0].clone()));
    let saved = engine.save(bench.now, "boot");
    let (_, effects) = Engine::restore(bench.now, "boot", saved, vec![bench.check.clone()]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Notify(_))));
}

#[test]
fn reboot_bounds_the_backoff_and_keeps_the_pause() {
    let mut bench = Bench::new();
    bench.unit(down(ActiveState::Failed, None));
    bench.job_ends(JobResult::Failed, down(ActiveState::Failed, None));
    let saved = bench.engine.save(bench.now, "boot");
    // Another boot: the shell continues the clock, and the wall clock was set back by a day.
    let now = Now { mono: bench.now.mono, wall: bench.now.wall.before(Duration::from_secs(86_400)) };
    let (mut engine, _) = Engine::restore(now, "later", saved, vec![bench.check.clone()]);
    let unit = bench.unit_name();
    engine.handle(now, Event::ManagerChanged(ManagerState::Running));
    engine.handle(now, Event::UnitRead { unit, state: down(ActiveState::Failed, None) });
    let mut later = now;
    later.mono = later.mono.after(Duration::from_secs(301));
    let effects = engine.handle(later, Event::Tick);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::StartJob(_))), "{effects:?}");
}

#[test]
fn failures_during_slow_operator_stop_do_not_count() {
    let falling = |by: Option<JobKind>| UnitState {
        active: ActiveState::Deactivating,
        sub: "stop".into(),
        ..down(ActiveState::Deactivating, by)
    };
    for by in [JobKind::Stop, JobKind::Restart] {
        let mut bench = Bench::new();
        bench.unit(falling(Some(by)));
        bench.failing(60);
        assert_eq!(bench.health(), Health::PASSING, "{by:?}");
    }
    // By itself, or for ever, it is another matter.
    let mut bench = Bench::new();
    bench.unit(falling(None));
    bench.failing(60);
    assert_eq!(bench.health(), Health::DOWN);
    let mut bench = Bench::new();
    bench.unit(falling(Some(JobKind::Stop)));
    bench.failing(400);
    assert_eq!(bench.health(), Health::DOWN);
}

#[test]
fn operator_restart_between_its_halves_is_no_end() {
    let mut bench = Bench::new();
    let job = Some(Job { id: 9, kind: JobKind::Restart, ours: false });
    for active in [ActiveState::Inactive, ActiveState::Failed] {
        bench.unit(UnitState { job, ..down(active, Some(JobKind::Restart)) });
        assert_eq!((bench.health(), bench.jobs.len()), (Health::PASSING, 0), "{active:?}");
    }
    // The job is cancelled, and nobody will start it.
    bench.unit(down(ActiveState::Inactive, None));
    assert_eq!((bench.health(), bench.jobs.len()), (Health::DOWN, 1));
}

#[test]
fn unit_started_by_operator_is_not_restarted_at_once() {
    let mut bench = Bench::new();
    let job = Some(Job { id: 9, kind: JobKind::Start, ours: false });
    bench.failing(60);
    assert_eq!((bench.health(), bench.jobs.len()), (Health::DOWN, 1));
    bench.job_ends(JobResult::Canceled, UnitState { job, active: ActiveState::Activating, ..running("2") });
    bench.later(20);
    bench.unit(running("2"));
    bench.failing(28);
    assert_eq!(bench.jobs.len(), 0, "it has its grace");
    bench.failing(5);
    assert_eq!(bench.jobs.len(), 1, "but not for ever");
}
