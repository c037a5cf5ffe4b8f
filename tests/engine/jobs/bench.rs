//! The core with one check of a job, and a job that runs when it is told to.

use std::time::Duration;

use stealthcheck::check::{Check, JobProbe, Probe, Step};
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{AttemptId, Effect, Engine, Event, JobRequest};
use stealthcheck::notification::{Notification, NotificationKind};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{ActiveState, LoadState, ManagerState, UnitName, UnitState};
use stealthcheck::verdict::Health;

use crate::rules::check;

pub const HOUR: u64 = 3600;

/// The core with one check, and the units that it reads: a job, and at times its timer.
pub struct Bench {
    pub engine: Engine,
    pub now: Now,
    pub check: Check,
    pub runs: u64,
    pub job: UnitState,
    pub timer: UnitState,
    pub notifications: Vec<Notification>,
    pub started: Vec<(AttemptId, Step)>,
    pub watches: u32,
}

pub fn unit(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn watching(name: &str) -> Check {
    let mut check = check("backup", name);
    check.probe = Probe::Job(JobProbe { succeeded_within: secs(26 * HOUR), max_runtime: secs(2 * HOUR) });
    check.schedule.failure_threshold = 1;
    check.recovery.steps.clear();
    check
}

impl Bench {
    /// A job that has not run since the machine booted.
    pub fn new(check: Check) -> Self {
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
            notifications: Vec::new(),
            started: Vec::new(),
            watches: 0,
        };
        bench.tell(Event::Configured(vec![check]));
        bench.tell(Event::ManagerChanged(ManagerState::Running));
        bench
    }

    pub fn service() -> Self {
        let mut bench = Self::new(watching("backup.service"));
        bench.tell_job();
        bench
    }

    pub fn timer() -> Self {
        let mut bench = Self::new(watching("backup.timer"));
        bench.tell_timer();
        bench.tell_job();
        bench
    }

    pub fn tell(&mut self, event: Event) {
        let effects = self.engine.handle(self.now, event);
        self.watches += u32::from(self.engine.take_wanted_units().is_some());
        self.take(effects);
    }

    pub fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Notify(notification) => {
                    self.notifications.push(*notification.clone());
                    self.tell(Event::NotificationStored(notification.id));
                }
                Effect::StartJob(JobRequest { attempt, step, .. }) => self.started.push((attempt, step)),
                Effect::Probe { .. } => panic!("nothing is asked for a job: its unit is looked at"),
                Effect::Changed(_)
                | Effect::NotifyHost(_)
                | Effect::Hold(_)
                | Effect::ReadUnit(_)
                | Effect::WithdrawJob(_)
                | Effect::Remember => {}
            }
        }
    }

    /// systemd tells of the job's unit, if that is watched.
    pub fn tell_job(&mut self) {
        let name = unit("backup.service");
        let watched = self.engine.units().any(|known| *known == name);
        if watched {
            self.tell(Event::UnitRead { unit: name, state: self.job.clone() });
        }
    }

    pub fn tell_timer(&mut self) {
        self.tell(Event::UnitRead { unit: unit("backup.timer"), state: self.timer.clone() });
    }

    pub fn usec(&self) -> u64 {
        u64::try_from(self.now.wall.0).unwrap() * 1000
    }

    /// The job begins to run.
    pub fn begin(&mut self) {
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
    pub fn end(&mut self, status: i32) {
        self.job.active = if status == 0 { ActiveState::Inactive } else { ActiveState::Failed };
        self.job.sub = if status == 0 { "dead" } else { "failed" }.into();
        self.job.result = if status == 0 { "success" } else { "exit-code" }.into();
        (self.job.exit_code, self.job.exit_status) = (1, status);
        self.job.inactive_enter_usec = self.usec();
        self.tell_job();
    }

    pub fn run(&mut self, status: i32) {
        self.begin();
        self.play(60);
        self.end(status);
    }

    pub fn play(&mut self, seconds: u64) {
        let end = self.now.mono.after(secs(seconds));
        while let Some(at) = self.engine.next_wakeup().filter(|at| *at <= end) {
            self.to(at);
            self.tell(Event::Tick);
        }
        self.to(end);
    }

    pub fn to(&mut self, at: Mono) {
        self.now = Now { mono: at, wall: self.now.wall.after(at.since(self.now.mono)) };
    }

    pub fn restart_daemon(&mut self, away: u64, boot: (&str, &str)) {
        let saved = serde_json::to_string(&self.engine.save(self.now, boot.0)).unwrap();
        let saved: Saved = serde_json::from_str(&saved).unwrap();
        self.to(self.now.mono.after(secs(away)));
        let (engine, effects) = Engine::restore(self.now, boot.1, saved, vec![self.check.clone()]);
        self.engine = engine;
        self.take(effects);
        self.tell(Event::ManagerChanged(ManagerState::Running));
        if self.check.unit == Some(unit("backup.timer")) {
            self.tell_timer();
        }
        self.tell_job();
    }

    pub fn status(&self) -> stealthcheck::status::CheckStatus {
        self.engine.status(self.now, &[], false).remove(0)
    }

    pub fn health(&self) -> Health {
        self.status().health
    }

    pub fn seen(&self) -> String {
        self.status().last.expect("something was seen").observation.text().to_owned()
    }

    pub fn kinds(&self) -> Vec<NotificationKind> {
        self.notifications.iter().map(|notification| notification.kind).collect()
    }
}
