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
mod connection;
mod daemon;
mod delay;
mod driver;
mod facts;
mod load;
mod network;
mod people;
mod shell;
mod systemd;
mod tracked;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::notification::NotificationId;
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{JobResult, UnitName};
use stealthcheck::verdict::Observation;

pub use checks::{CheckBuilder, http, job_check, unit_check};
pub use client::{Client, Report};
use daemon::Daemon;
pub use delay::Delay;
pub use driver::{Driver, Input, JobRequest, Output};
pub use facts::Record;
use network::Network;
pub use systemd::{
    Answer, By, Exit, Happened, JobType, Limit, Program, Restart, Signal, Systemd, UnitFile, Version,
    oneshot, service, socket, target, timer, unit_name, wrapper,
};

/// The monotonic clock of a boot begins here, as in the daemon: points before the boot have a place on it.
pub const HEADROOM: Duration = Duration::from_secs(10 * 365 * 86_400);

/// When the test begins, by the wall clock.
const WALL: i64 = 1_795_000_000_000;

/// systemd's units are read again so often, whatever signals said.
const RECONCILE: Duration = Duration::from_secs(45);

/// What has something that is due first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Systemd,
    Client,
    Coming,
}

/// What is to come, apart from what systemd and the client have to come.
enum Coming {
    ProbeEnds { life: u64, check: CheckName, run: u64 },
    Stored { life: u64, id: NotificationId },
    Delivered { life: u64, id: NotificationId },
    Reconcile { life: u64 },
    Input { life: u64, input: Input },
    Request { life: u64, request: JobRequest },
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
    /// So long a job request waits for others and for polkit before systemd queues the job.
    request_takes: Duration,
    /// The requests that wait so.
    in_line: BTreeSet<u64>,
    /// The daemon's state file.
    saved: Option<String>,
    /// The daemon starts so long after the machine's boot.
    daemon_starts_after: Duration,
    /// The daemon's clock: it showed this when the machine's showed that. It continues across reboots by the wall
    /// clock's account of the time between.
    clock: (Duration, Mono),
    latency: Delay,
    /// So late the daemon takes what its client reports.
    late: Delay,
    /// So long a probe takes that is answered.
    probe_takes: Delay,
    network: Network,
    /// The bus carries messages.
    has_bus: bool,
    /// What every request of the daemon for a job comes to (polkit, `LimitsExceeded`).
    rejects_jobs: Option<JobResult>,
    rejects_resets: bool,
    /// Open leases, with the units that are held.
    leases: BTreeMap<String, UnitName>,
    /// Leases that are asked for.
    wanted_leases: BTreeMap<String, UnitName>,
    /// The CPU time that units use.
    load: load::Load,
    /// What the daemon is told, where a simulation is its shell (`shell`).
    inputs: Option<VecDeque<Input>>,
    /// Takes the lines of the timeline in place of the machine.
    log_to: Option<fn(Duration, &str)>,
    keeps_log: bool,
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
            request_takes: Duration::ZERO,
            in_line: BTreeSet::new(),
            saved: None,
            daemon_starts_after: Duration::from_millis(500),
            clock: (Duration::ZERO, Mono(HEADROOM)),
            latency: Delay::Fixed(Duration::from_millis(6)),
            late: Delay::NONE,
            probe_takes: Delay::Fixed(Duration::from_millis(5)),
            network: Network::Up,
            has_bus: true,
            rejects_jobs: None,
            rejects_resets: false,
            leases: BTreeMap::new(),
            wanted_leases: BTreeMap::new(),
            load: load::Load::default(),
            inputs: None,
            log_to: None,
            keeps_log: true,
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
        self.latency = Delay::Fixed(Duration::from_millis(millis));
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

    /// The machine's clocks.
    pub fn now(&self) -> Now {
        let millis = i64::try_from(self.time.as_millis()).unwrap() + self.wall_shift;
        Now { mono: Mono(HEADROOM + self.time), wall: Wall(WALL + millis) }
    }

    /// The clocks as the daemon reads them.
    pub fn daemon_now(&self) -> Now {
        let (at, mono) = self.clock;
        Now { mono: mono.after(self.time.saturating_sub(at)), wall: self.now().wall }
    }

    /// A point of the machine's clock on the test's own.
    fn of_machine(at: Mono) -> Duration {
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
        match self.log_to {
            _ if !self.keeps_log => {}
            Some(log_to) => log_to(self.time, &what.into()),
            None => self.log.push(format!("{:>10.3} {}", self.time.as_secs_f64(), what.into())),
        }
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
            let due = self.next_source();
            let wakeup = self.next_wakeup().filter(|wakeup| due.is_none_or(|(at, _)| *wakeup < at));
            let Some(next) = wakeup.or(due.map(|(at, _)| at)).filter(|at| *at <= end) else { break };
            self.advance_to(next);
            match due {
                Some((_, source)) if wakeup.is_none() => self.work(source),
                _ => self.tell(Input::Tick),
            }
        }
        self.advance_to(end);
    }

    /// What is due first, apart from what the engine wants.
    fn next_source(&self) -> Option<(Duration, Source)> {
        let systemd = self.systemd.next_due().map(|at| (Self::of_machine(at), Source::Systemd));
        let client = self.daemon.as_ref().and_then(|daemon| daemon.client.next_due());
        let client = client.map(|at| (Self::of_machine(at), Source::Client));
        let coming = self.coming.keys().next().map(|(at, _)| (*at, Source::Coming));
        [systemd, client, coming].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When the engine wants to be woken.
    fn next_wakeup(&self) -> Option<Duration> {
        let at = self.daemon.as_ref().and_then(|daemon| daemon.driver.next_wakeup())?;
        let (here, mono) = self.clock;
        Some(here + at.since(mono))
    }

    fn work(&mut self, source: Source) {
        match source {
            Source::Systemd => drop(self.systemd.fire()),
            Source::Client => self.client_works(),
            Source::Coming => {
                if let Some((_, what)) = self.coming.pop_first() {
                    self.happens(what);
                }
            }
        }
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
        let is_driven = self.inputs.is_some();
        if !is_driven {
            self.record.follow(self.time, &self.systemd);
        }
        let now = self.now().mono;
        let signals = self.systemd.take_signals();
        if let Some(daemon) = &mut self.daemon {
            for signal in signals {
                daemon.client.signal(now, signal);
            }
        }
        if let Some(why) = self.systemd.reboot_wanted.take_if(|_| !is_driven) {
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
                    daemon.client.reconcile(now, self.systemd.changes());
                }
                self.later(RECONCILE, Coming::Reconcile { life });
            }
            Coming::Input { life, input } if lives(life) => self.tell(input),
            Coming::Request { life, request } if lives(life) => self.request_arrives(request),
            Coming::DaemonStarts => self.start_daemon(),
            Coming::Script(script) => script(self),
            Coming::ProbeEnds { .. }
            | Coming::Stored { .. }
            | Coming::Delivered { .. }
            | Coming::Input { .. }
            | Coming::Request { .. }
            | Coming::Reconcile { .. } => {}
        }
    }

    pub fn timeline(&self) -> String {
        self.log.iter().rev().take(150).rev().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.inputs.is_none() {
            eprintln!("{}", self.timeline());
        }
    }
}
