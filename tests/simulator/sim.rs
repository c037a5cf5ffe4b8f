//! The whole simulation: one clock, one queue of what is to come, and the loop that plays it.
//!
//! In: a seed. Out: nothing, or a panic with the rule that was broken. It knows when things happen; what they mean stands
//! in `machine` (systemd, services, people), `daemon` (what the supervisor does), `post` (the mailer, its disk and its
//! server), `faults` (what goes wrong) and `rules` (what must hold all the same).

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::hold::{HoldId, HowEnded};
use stealthcheck::engine::{AttemptId, Event};
use stealthcheck::notification::NotificationId;
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::{JobKind, JobResult, ManagerState, UnitName};

use crate::config::{self, Plan};
use crate::daemon::{Arrival, Crash, Daemon, Disk};
use crate::faults::{Fault, Troubles};
use crate::machine::{By, Unit};
use crate::post::{Post, Step};
use crate::random::Random;
use crate::rules::Rules;

/// The daemon's monotonic clock begins here: moments before the first boot have a place on it.
const HEADROOM: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What is due within one slot is done together at its end, as in the daemon.
const SLOT: Duration = Duration::from_millis(20);

/// Of so many seeds one is a month long.
const A_MONTH: u64 = 16;

/// The others last so long, and eight hours of calm.
const SOME_DAYS: Duration = Duration::from_secs(3 * 86_400);

/// Lines of the timeline that are kept, where `STEALTHCHECK_LINES` says nothing else.
const LINES: usize = 400;

/// What is to come. What belongs to one life of the daemon carries its number, and means nothing to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coming {
    /// A unit goes on to its next state, if nothing came in between.
    Transition {
        unit: UnitName,
        serial: u64,
    },
    /// The daemon reads a unit.
    Told {
        life: u64,
        unit: UnitName,
    },
    /// It is told how its job ended.
    JobTold {
        life: u64,
        unit: UnitName,
        attempt: AttemptId,
        result: Told<JobResult>,
    },
    /// What systemd has said reaches the engine.
    Arrives {
        life: u64,
        arrival: Told<Arrival>,
    },
    /// An operator's command.
    Operator {
        unit: UnitName,
        stop: bool,
    },
    ManagerTold {
        life: u64,
    },
    /// A probe ends.
    Probed {
        life: u64,
        check: CheckName,
        run: u64,
    },
    /// The mailer does its next step.
    Post {
        life: u64,
        step: Step,
    },
    Spooled {
        life: u64,
        id: NotificationId,
    },
    Delivered {
        life: u64,
        id: NotificationId,
    },
    /// A timer starts its job.
    Timer(UnitName),
    Holder {
        id: HoldId,
        stop: bool,
    },
    LeaseCloses {
        id: HoldId,
        done: bool,
    },
    Fault,
    Over(Fault),
    DaemonStarts,
    /// The status is looked at.
    Look,
}

/// A value that is no part of the order of what is to come.
#[derive(Clone, Debug)]
pub struct Told<T>(pub T);

impl<T> PartialEq for Told<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<T> Eq for Told<T> {}
impl<T> PartialOrd for Told<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Told<T> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

thread_local! {
    /// The timeline of the simulation that runs in this thread, where one is wanted, and its length at most. It outlives a
    /// panic.
    static TIMELINE: RefCell<Option<(VecDeque<String>, usize)>> = const { RefCell::new(None) };
}

/// Begins a timeline, or has none kept.
pub fn keep_timeline(keep: bool) {
    let most =
        crate::number("STEALTHCHECK_LINES").and_then(|most| usize::try_from(most).ok()).unwrap_or(LINES);
    TIMELINE.with_borrow_mut(|lines| *lines = keep.then(|| (VecDeque::new(), most)));
}

/// The latest lines.
pub fn timeline() -> String {
    TIMELINE.with_borrow(|lines| {
        lines.iter().flat_map(|(lines, _)| lines).map(String::as_str).collect::<Vec<_>>().join("\n")
    })
}

pub struct Sim {
    pub random: Random,
    pub mono: Mono,
    pub wall: Wall,
    /// Since the daemon last wrote its state and stopped.
    pub clock_was_set: bool,
    /// A moment of the simulation, and the same on the daemon's clock, which every daemon continues (rule 11).
    clock: (Mono, Mono),
    /// Which boot this is.
    pub boot: u64,
    pub plan: Plan,
    /// Checks that a reload has taken away.
    pub former: BTreeMap<CheckName, Check>,
    pub units: BTreeMap<UnitName, Unit>,
    pub manager: ManagerState,
    pub troubles: Troubles,
    pub daemon: Option<Daemon>,
    pub life: u64,
    pub disk: Disk,
    pub crash: Option<Crash>,
    pub post: Post,
    pub rules: Rules,
    /// Leases that are open.
    pub leases: BTreeSet<HoldId>,
    pub next_id: u64,
    /// All is mended: nothing goes wrong any more.
    pub quiet: bool,
    coming: BinaryHeap<Reverse<(Mono, u64, Coming)>>,
    sequence: u64,
    logs: bool,
}

impl Sim {
    /// Plays one seed to its end.
    /// A month where the seed is a multiple of [`A_MONTH`], else its first days: most of what goes wrong does so in those.
    pub fn play(seed: u64, logs: bool) -> Stats {
        let mut sim = Self::new(seed, logs);
        if !seed.is_multiple_of(A_MONTH) {
            sim.plan.lasting = sim.plan.lasting.min(SOME_DAYS);
        }
        let end = sim.mono.after(sim.plan.lasting);
        sim.run_until(end);
        sim.all_is_mended();
        let calm = sim.mono.after(Duration::from_secs(8 * 3600));
        sim.run_until(calm);
        sim.rules_at_the_end();
        sim.rules.stats
    }

    /// A machine on which nothing happens but what is done to it.
    pub fn staged(plan: Plan) -> Self {
        let mut sim = Self::with(plan, Random::new(1), false);
        sim.quiet = true;
        sim
    }

    fn new(seed: u64, logs: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = config::plan(&mut random);
        Self::with(plan, random, logs)
    }

    fn with(plan: Plan, random: Random, logs: bool) -> Self {
        let start = Mono(Duration::from_secs(1_000_000));
        let mut sim = Self {
            mono: start,
            wall: Wall(1_795_000_000_000),
            clock_was_set: false,
            clock: (start, Mono(HEADROOM)),
            boot: 1,
            units: crate::machine::units(&plan),
            manager: ManagerState::Running,
            former: BTreeMap::new(),
            troubles: Troubles::default(),
            daemon: None,
            life: 0,
            disk: Disk::default(),
            crash: None,
            post: Post::default(),
            rules: Rules::new(&plan),
            leases: BTreeSet::new(),
            next_id: 1,
            quiet: false,
            coming: BinaryHeap::new(),
            sequence: 0,
            logs,
            random,
            plan,
        };
        for plan in sim.plan.units.clone() {
            if let Some(interval) = plan.job {
                sim.later(interval / 2, Coming::Timer(plan.name));
            }
        }
        sim.later(Duration::ZERO, Coming::DaemonStarts);
        sim.later(Duration::from_secs(300), Coming::Fault);
        sim.later(Duration::from_secs(600), Coming::Look);
        sim
    }

    /// The clocks as the daemon reads them.
    pub fn now(&self) -> Now {
        let (at, mono) = self.clock;
        Now { mono: mono.after(self.mono.since(at)), wall: self.wall }
    }

    /// A point on the daemon's clock as one of the simulation.
    fn of_boot(&self, at: Mono) -> Mono {
        let (here, mono) = self.clock;
        here.after(at.since(mono))
    }

    /// After a reboot the clock continues where the state was saved, by the wall clock's account of the time between.
    pub fn continue_clock(&mut self, saved: (Mono, Wall)) {
        self.clock = (self.mono, saved.0.after(self.wall.since(saved.1)));
    }

    pub fn usec(&self) -> u64 {
        u64::try_from(self.wall.0).unwrap_or(0) * 1000
    }

    pub fn later(&mut self, in_: Duration, what: Coming) {
        self.sequence += 1;
        self.coming.push(Reverse((self.mono.after(in_), self.sequence, what)));
    }

    /// A line of the timeline, worded only where one is kept.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if !self.logs {
            return;
        }
        let at = self.mono.since(Mono(Duration::from_secs(1_000_000)));
        let (days, secs) = (at.as_secs() / 86_400, at.as_secs() % 86_400);
        let clock =
            format!("{:02}:{:02}:{:02}.{:03}", secs / 3600, secs / 60 % 60, secs % 60, at.subsec_millis());
        TIMELINE.with_borrow_mut(|lines| {
            if let Some((lines, most)) = lines {
                lines.push_back(format!("day {days:>2} {clock} {}", what()));
                if lines.len() > *most {
                    lines.pop_front();
                }
            }
        });
    }

    /// A promise is broken.
    pub fn broken(&self, rule: &str, what: &str) -> ! {
        panic!("{rule}: {what}");
    }

    pub fn run_for(&mut self, lasting: Duration) {
        self.run_until(self.mono.after(lasting));
    }

    fn run_until(&mut self, end: Mono) {
        loop {
            let wakeup = self.daemon.as_ref().and_then(|daemon| daemon.engine.next_wakeup());
            let wakeup = wakeup.map(|at| self.slot(self.of_boot(at)));
            let coming = self.coming.peek().map(|Reverse((at, _, _))| *at);
            let Some(next) = [wakeup, coming].into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.advance_to(next);
            if coming.is_some_and(|at| wakeup.is_none_or(|wakeup| at <= wakeup)) {
                if let Some(Reverse((_, _, what))) = self.coming.pop() {
                    self.happen(what);
                }
            } else {
                self.tell(Event::Tick);
            }
            // A burst is saved and done together.
            let more_at_once = self.coming.peek().is_some_and(|Reverse((at, _, _))| *at <= self.mono);
            if !more_at_once || self.random.percent(50) {
                self.settle();
            }
        }
        self.settle();
        self.advance_to(end);
    }

    fn slot(&self, at: Mono) -> Mono {
        let past = at.0.as_nanos() % SLOT.as_nanos();
        let rest = if past == 0 { 0 } else { SLOT.as_nanos() - past };
        at.after(Duration::from_nanos(u64::try_from(rest).unwrap_or(0)))
    }

    pub fn advance_to(&mut self, at: Mono) {
        let at = self.mono.max(at);
        let by = at.0.as_millis() - self.mono.0.as_millis();
        self.mono = at;
        self.wall = Wall(self.wall.0 + i64::try_from(by).unwrap_or(0));
    }

    /// The machine sleeps: whatever was to come meanwhile comes late.
    pub fn sleep(&mut self, lasting: Duration) {
        let until = self.mono.after(lasting);
        self.advance_to(until);
        self.rules.slept = until;
    }

    fn happen(&mut self, what: Coming) {
        let living = |life: u64, sim: &Self| sim.daemon.is_some() && life == sim.life;
        match what {
            Coming::Transition { unit, serial } => self.transition(&unit, serial),
            Coming::Told { life, unit } if living(life, self) => self.unit_is_told(&unit),
            Coming::JobTold { life, unit, attempt, result } if living(life, self) => {
                self.job_is_told(&unit, attempt, result.0);
            }
            Coming::Arrives { life, arrival } if living(life, self) => self.has_arrived(arrival.0),
            Coming::Operator { unit, stop } => {
                let kind = if stop { JobKind::Stop } else { JobKind::Restart };
                let _ = self.queue_job(&unit, kind, By::Somebody);
            }
            Coming::ManagerTold { life } if living(life, self) => self.manager_is_told(),
            Coming::Probed { life, check, run } if living(life, self) => self.probe_ends(&check, run),
            Coming::Post { life, step } if living(life, self) => self.post_step(step),
            Coming::Spooled { life, id } if living(life, self) => self.notification_is_spooled(id),
            Coming::Delivered { life, id } if living(life, self) => {
                self.tell(Event::NotificationDelivered(id))
            }
            Coming::Timer(unit) => self.timer_elapses(&unit),
            Coming::Holder { id, stop } => self.holder_acts(&id, stop),
            Coming::LeaseCloses { id, done } => {
                let how = if done { HowEnded::Done } else { HowEnded::Gone };
                self.lease_closes(&id, how);
            }
            Coming::Fault if !self.quiet => self.next_fault(),
            Coming::Over(fault) if !self.quiet => self.fault_is_over(&fault),
            Coming::DaemonStarts => self.daemon_starts(),
            Coming::Look => self.look(),
            _ => {}
        }
    }
}

/// What a seed was about, to see that the simulation does what it says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub events: u64,
    pub jobs: u64,
    pub incidents: u64,
    pub notifications: u64,
    pub mails: u64,
    pub digests: u64,
    pub duplicates: u64,
    pub crashes: u64,
    pub storms: u64,
}
