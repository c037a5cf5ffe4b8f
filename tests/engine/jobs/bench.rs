//! The core with one check of a job, and a job that runs when it is told to.

use std::time::Duration;

use stealthcheck::check::{Check, Probe, RanWithin, Rung};
use stealthcheck::engine::saved::Saved;
use stealthcheck::engine::{Action, AttemptId, Engine, Event};
use stealthcheck::notice::{Notice, NoticeKind};
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{ActiveState, LoadState, UnitName, UnitState};
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
    pub notices: Vec<Notice>,
    pub started: Vec<(AttemptId, Rung)>,
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
    check.probe = Probe::RanWithin(RanWithin { within: secs(26 * HOUR), runtime_max: secs(2 * HOUR) });
    check.schedule.fail_after = 1;
    check.recovery.ladder.clear();
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
            notices: Vec::new(),
            started: Vec::new(),
            watches: 0,
        };
        bench.tell(Event::Configured(vec![check]));
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
        let actions = self.engine.handle(self.now, event);
        self.watches += u32::from(self.engine.take_wanted_units().is_some());
        self.take(actions);
    }

    pub fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Notify(notice) => {
                    self.notices.push(*notice.clone());
                    self.tell(Event::NoticeSpooled(notice.id));
                }
                Action::StartJob(job) => self.started.push((job.attempt, job.step)),
                Action::Probe { .. } => panic!("nothing is asked for a job: its unit is looked at"),
                Action::Changed(_) | Action::NotifyHost(_) | Action::Hold(_) | Action::Remember => {}
            }
        }
    }

    /// systemd tells of the job's unit, if that is watched.
    pub fn tell_job(&mut self) {
        let name = unit("backup.service");
        let watched = self.engine.units().any(|known| *known == name);
        if watched {
            self.tell(Event::UnitChanged { unit: name, state: self.job.clone() });
        }
    }

    pub fn tell_timer(&mut self) {
        self.tell(Event::UnitChanged { unit: unit("backup.timer"), state: self.timer.clone() });
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
        let (engine, actions) = Engine::restore(self.now, boot.1, saved, vec![self.check.clone()]);
        self.engine = engine;
        self.take(actions);
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

    pub fn kinds(&self) -> Vec<NoticeKind> {
        self.notices.iter().map(|notice| notice.kind).collect()
    }
}
