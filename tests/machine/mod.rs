//! A simulated machine for the engine: systemd with its units and jobs, the services in them, the daemon with its
//! client, and the people at the machine. Deterministic: the same test plays the same way each time.
//!
//! ```text
//!   people ──► systemd ──signals, readings──► client ──► engine (through driver)
//!                 ▲  services ◄──probes──────────────────┤
//!                 └──────────────jobs────────────────────┘
//! ```
//!
//! ```no_run
//! let mut m = Machine::new().unit(service("web")).check(http("web")).up();
//! m.kill("web");
//! m.run_for(10);
//! assert_eq!(m.jobs("web"), 1);
//! ```
//!
//! A test that fails prints the timeline.

#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checks;
mod client;
mod daemon;
mod driver;
mod facts;
mod people;
mod systemd;

use std::collections::BTreeMap;
use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::notification::NotificationId;
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::UnitName;
use stealthcheck::verdict::Observation;

pub use checks::{CheckBuilder, http, job_check, unit_check};
pub use client::{Client, Report};
use daemon::Daemon;
pub use driver::{Driver, Input, JobRequest, Output};
pub use facts::Record;
pub use systemd::{
    Answer, By, Exit, JobType, Program, Restart, Signal, Systemd, UnitFile, Version, oneshot, service,
    socket, target, timer, unit_name, wrapper,
};

/// The monotonic clock of a boot begins here, as in the daemon: points before the boot have a place on it.
const HEADROOM: Duration = Duration::from_secs(10 * 365 * 86_400);

/// When the test begins, by the wall clock.
const WALL: i64 = 1_795_000_000_000;

/// systemd's units are read again so often, whatever signals said.
const RECONCILE: Duration = Duration::from_secs(45);

/// What is to come, apart from what systemd and the client have to come.
enum Coming {
    ProbeEnds { life: u64, check: CheckName, run: u64 },
    Stored { life: u64, id: NotificationId },
    Delivered { life: u64, id: NotificationId },
    Reconcile { life: u64 },
    DaemonStarts,
    Script(Box<dyn FnOnce(&mut Machine)>),
}

pub struct Machine {
    pub systemd: Systemd,
    /// Since the test began, across reboots.
    time: Duration,
    boot: u64,
    /// So much the wall clock has been set forward (or back) since the test began, in milliseconds.
    wall_shift: i64,
    checks: Vec<Check>,
    /// The unit whose program answers a check's probes, where it is not the check's own.
    asks: BTreeMap<CheckName, UnitName>,
    /// What the probes of these checks see, whatever the services do.
    seen_instead: BTreeMap<CheckName, Observation>,
    daemon: Option<Daemon>,
    /// How many times the daemon has been started.
    life: u64,
    /// The daemon's state file.
    saved: Option<String>,
    /// The daemon starts so long after the machine's boot.
    daemon_starts_after: Duration,
    latency: Duration,
    /// Open leases, with the units that are held.
    leases: BTreeMap<String, UnitName>,
    pub record: Record,
    coming: BTreeMap<(Duration, u64), Coming>,
    sequence: u64,
    log: Vec<String>,
}

impl Machine {
    /// A machine that is off.
    pub fn new() -> Self {
        let now = Now { mono: Mono(HEADROOM), wall: Wall(WALL) };
        let mut systemd = Systemd::new(now);
        systemd.keeps_notes = true;
        Self {
            systemd,
            time: Duration::ZERO,
            boot: 1,
            wall_shift: 0,
            checks: vec![],
            asks: BTreeMap::new(),
            seen_instead: BTreeMap::new(),
            daemon: None,
            life: 0,
            saved: None,
            daemon_starts_after: Duration::from_millis(500),
            latency: Duration::from_millis(6),
            leases: BTreeMap::new(),
            record: Record::default(),
            coming: BTreeMap::new(),
            sequence: 0,
            log: vec![],
        }
    }

    pub fn unit(mut self, file: UnitFile) -> Self {
        self.systemd.add(file);
        self
    }

    pub fn check(mut self, builder: CheckBuilder) -> Self {
        let (check, asks) = builder.build();
        if let Some(asks) = asks {
            self.asks.insert(check.name.clone(), asks);
        }
        self.checks.push(check);
        self
    }

    /// From an event to its report by the daemon's client.
    pub fn latency(mut self, millis: u64) -> Self {
        self.latency = Duration::from_millis(millis);
        self
    }

    pub fn version(mut self, version: Version) -> Self {
        self.systemd.version = version;
        self
    }

    /// The machine was booted an hour ago, the daemon runs and has seen everything. What the tests ask for counts from
    /// here.
    pub fn up(self) -> Self {
        let mut machine = self.before_daemon();
        machine.start_daemon();
        machine.run_for(120);
        machine.forget();
        machine
    }

    /// The machine was booted an hour ago; the daemon does not run yet.
    pub fn before_daemon(mut self) -> Self {
        let now = self.now();
        self.systemd.boot(now);
        let later = self.time + Duration::from_secs(3600);
        self.run_until(later);
        self.systemd.take_signals();
        self
    }

    /// The machine boots now, and the daemon with it.
    pub fn booting(mut self) -> Self {
        let now = self.now();
        self.systemd.boot(now);
        self.later(self.daemon_starts_after, Coming::DaemonStarts);
        self
    }

    /// The clocks as the daemon reads them.
    pub fn now(&self) -> Now {
        // (The shell continues the clock of the saved state, also after a reboot.)
        let millis = i64::try_from(self.time.as_millis()).unwrap() + self.wall_shift;
        Now { mono: Mono(HEADROOM + self.time), wall: Wall(WALL + millis) }
    }

    /// A point of this boot on the test's own clock.
    fn of_boot(&self, at: Mono) -> Duration {
        at.since(Mono(HEADROOM))
    }

    fn later(&mut self, after: Duration, what: Coming) {
        self.sequence += 1;
        self.coming.insert((self.time + after, self.sequence), what);
    }

    /// Does this so many seconds from now.
    pub fn at(&mut self, secs: u64, what: impl FnOnce(&mut Machine) + 'static) {
        self.later(Duration::from_secs(secs), Coming::Script(Box::new(what)));
    }

    fn note(&mut self, what: impl Into<String>) {
        let line = format!("{:>10.3} {}", self.time.as_secs_f64(), what.into());
        self.log.push(line);
    }

    pub fn run_for(&mut self, secs: u64) {
        self.run_until(self.time + Duration::from_secs(secs));
    }

    pub fn run_for_millis(&mut self, millis: u64) {
        self.run_until(self.time + Duration::from_millis(millis));
    }

    /// For what must not fall on whole milliseconds.
    pub fn run_for_nanos(&mut self, nanos: u64) {
        self.run_until(self.time + Duration::from_nanos(nanos));
    }

    /// Runs until this holds, for at most so many seconds. Returns whether it does.
    pub fn run_until_it_holds(&mut self, secs: u64, holds: impl Fn(&Machine) -> bool) -> bool {
        let end = self.time + Duration::from_secs(secs);
        while self.time < end {
            if holds(self) {
                return true;
            }
            self.run_until((self.time + Duration::from_millis(50)).min(end));
        }
        holds(self)
    }

    fn run_until(&mut self, end: Duration) {
        loop {
            self.pass_on();
            let systemd = self.systemd.next_due().map(|at| self.of_boot(at));
            let client = self.daemon.as_ref().and_then(|daemon| daemon.client.next_due());
            let client = client.map(|at| self.of_boot(at));
            let wakeup = self.daemon.as_ref().and_then(|daemon| daemon.driver.next_wakeup());
            let wakeup = wakeup.map(|at| self.of_boot(at));
            let coming = self.coming.keys().next().map(|(at, _)| *at);
            let next = [systemd, client, wakeup, coming].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.advance_to(next);
            if systemd == Some(next) {
                self.systemd.fire();
            } else if client == Some(next) {
                self.client_works();
            } else if coming == Some(next) {
                if let Some((_, what)) = self.coming.pop_first() {
                    self.happens(what);
                }
            } else {
                self.tell(Input::Tick);
            }
        }
        self.advance_to(end);
    }

    fn advance_to(&mut self, time: Duration) {
        self.time = self.time.max(time);
        self.systemd.set_time(self.now());
    }

    /// What systemd has to say goes to the client, and what it noted into the timeline.
    fn pass_on(&mut self) {
        for line in std::mem::take(&mut self.systemd.notes) {
            self.note(line);
        }
        self.record.follow(self.time, &self.systemd);
        let now = self.now().mono;
        let signals = self.systemd.take_signals();
        if let Some(daemon) = &mut self.daemon {
            for signal in signals {
                daemon.client.signal(now, signal);
            }
        }
        if let Some(why) = self.systemd.reboot_wanted.take() {
            self.note(format!("the machine reboots: {why}"));
            self.record.reboots.push(why);
            self.power_fails();
        }
    }

    fn happens(&mut self, what: Coming) {
        let lives = |life: u64| self.daemon.is_some() && self.life == life;
        match what {
            Coming::ProbeEnds { life, check, run } if lives(life) => self.probe_ends(&check, run),
            Coming::Stored { life, id } if lives(life) => self.tell(Input::Stored(id)),
            Coming::Delivered { life, id } if lives(life) => self.tell(Input::Delivered(id)),
            Coming::Reconcile { life } if lives(life) => {
                let now = self.now().mono;
                if let Some(daemon) = &mut self.daemon {
                    daemon.client.read_all(now);
                }
                self.later(RECONCILE, Coming::Reconcile { life });
            }
            Coming::DaemonStarts => self.start_daemon(),
            Coming::Script(script) => script(self),
            Coming::ProbeEnds { .. }
            | Coming::Stored { .. }
            | Coming::Delivered { .. }
            | Coming::Reconcile { .. } => {}
        }
    }

    pub fn timeline(&self) -> String {
        self.log.iter().rev().take(150).rev().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.timeline());
        }
    }
}
