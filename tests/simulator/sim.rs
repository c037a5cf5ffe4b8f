//! The whole simulation: one clock, one queue of what is to come, and the loop that plays it.
//!
//! In: a seed. Out: nothing, or a panic with the rule that was broken. It knows when things happen; what they mean stands
//! in `machine` (systemd, services, the daemon's client), `shell` (what the daemon does around the engine), `post` (the
//! mailer, its disk and its server), `faults` and `people` (what goes wrong, and who does something) and `rules` (what must
//! hold all the same).

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use stealthcheck::check::{Check, CheckName};
use stealthcheck::engine::hold::{HoldId, HowEnded};
use stealthcheck::notification::NotificationId;
use stealthcheck::time::{Mono, Now, Wall};
use stealthcheck::unit::UnitName;

use crate::config::{self, Plan};
use crate::faults::{Fault, Troubles};
use crate::machine::{Delay, HEADROOM, Input, Machine};
use crate::people::Act;
use crate::post::{Post, Step};
use crate::random::Random;
use crate::rules::Rules;
use crate::shell::{Crash, Disk, Shell};
use crate::truth::Truths;

/// What is due within one slot is done together at its end, as in the daemon.
const SLOT: Duration = Duration::from_millis(20);

/// Of so many seeds one is a month long.
const A_MONTH: u64 = 16;

/// The others last so long, and eight hours of calm.
const SOME_DAYS: Duration = Duration::from_secs(3 * 86_400);

/// Lines of the timeline that are kept, where `STEALTHCHECK_LINES` says nothing else.
const LINES: usize = 400;

/// What is to come, apart from what the machine has to come. What belongs to one life of the daemon carries its number,
/// and means nothing to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coming {
    /// Somebody at the machine does something.
    Person(Act),
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
    /// The command that holds a unit stops it, or starts it.
    Holder {
        id: HoldId,
        stop: bool,
    },
    LeaseCloses {
        id: HoldId,
        done: bool,
    },
    /// A client connects to the socket of this unit.
    Connects(UnitName),
    Fault,
    Over(Fault),
    DaemonStarts,
    /// The machine has shut down.
    Reboots,
    /// The status is looked at.
    Look,
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

/// A line of the machine's account goes into the timeline.
fn log(at: Duration, line: &str) {
    let (days, secs) = (at.as_secs() / 86_400, at.as_secs() % 86_400);
    let clock =
        format!("{:02}:{:02}:{:02}.{:03}", secs / 3600, secs / 60 % 60, secs % 60, at.subsec_millis());
    TIMELINE.with_borrow_mut(|lines| {
        if let Some((lines, most)) = lines {
            lines.push_back(format!("day {days:>2} {clock} {line}"));
            if lines.len() > *most {
                lines.pop_front();
            }
        }
    });
}

pub struct Sim {
    pub random: Random,
    pub machine: Machine,
    /// The machine's clock. The daemon's is another after a reboot.
    pub mono: Mono,
    /// Since the daemon last wrote its state and stopped.
    pub clock_was_set: bool,
    pub plan: Plan,
    /// Checks that a reload has taken away.
    pub former: BTreeMap<CheckName, Check>,
    pub truths: Truths,
    pub troubles: Troubles,
    pub shell: Shell,
    pub life: u64,
    pub disk: Disk,
    pub crash: Option<Crash>,
    pub post: Post,
    pub rules: Rules,
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

    fn with(plan: Plan, mut random: Random, logs: bool) -> Self {
        let mut machine = Machine::new().version(plan.version).driven();
        for file in config::files(&plan) {
            machine = machine.unit(file);
        }
        if logs {
            machine.log_to(log);
        }
        machine.configure(plan.checks.clone());
        machine.set_delays(Delay::random(random.next(), 1, 60), Delay::NONE);
        machine.set_probe_delay(Delay::random(random.next(), 1, 40));
        // Booted an hour ago.
        machine = machine.before_daemon();
        machine.systemd.account.clear();
        let mut sim = Self {
            mono: machine.now().mono,
            machine,
            clock_was_set: false,
            former: BTreeMap::new(),
            truths: Truths::new(&plan),
            troubles: Troubles::default(),
            shell: Shell::default(),
            life: 0,
            disk: Disk::default(),
            crash: None,
            post: Post::default(),
            rules: Rules::new(&plan),
            quiet: false,
            coming: BinaryHeap::new(),
            sequence: 0,
            logs,
            random,
            plan,
        };
        for plan in sim.plan.units.clone() {
            if plan.file.transient {
                sim.machine.systemd.run_transient(&plan.name);
            }
            if plan.triggered {
                sim.later(Duration::from_secs(60), Coming::Connects(plan.name));
            }
        }
        sim.later(Duration::ZERO, Coming::DaemonStarts);
        sim.later(Duration::from_secs(300), Coming::Fault);
        sim.later(Duration::from_secs(600), Coming::Look);
        sim
    }

    /// The clocks as the daemon reads them.
    pub fn now(&self) -> Now {
        self.machine.daemon_now()
    }

    pub fn wall(&self) -> Wall {
        self.machine.now().wall
    }

    pub fn usec(&self) -> u64 {
        u64::try_from(self.wall().0).unwrap_or(0) * 1000
    }

    pub fn later(&mut self, in_: Duration, what: Coming) {
        self.sequence += 1;
        self.coming.push(Reverse((self.mono.after(in_), self.sequence, what)));
    }

    /// A line of the timeline, worded only where one is kept.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.logs {
            log(self.mono.since(Mono(HEADROOM)), &what());
        }
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
            self.attend();
            let machine = self.machine.next_due();
            let coming = self.coming.peek().map(|Reverse((at, _, _))| *at);
            let wakeup = self.machine.wakeup().map(Self::slot);
            let due = [machine, coming, wakeup].into_iter().flatten().min();
            let Some(due) = due.filter(|at| *at <= end) else { break };
            self.advance_to(due);
            if machine == Some(due) {
                self.machine.step();
            } else if coming == Some(due) {
                if let Some(Reverse((_, _, what))) = self.coming.pop() {
                    self.happen(what);
                }
            } else {
                self.receive(Input::Tick);
            }
            self.attend();
            // A burst is saved and done together.
            let by_now = |at: Mono| at <= self.mono;
            let more_at_once = self.machine.next_due().is_some_and(by_now)
                || self.coming.peek().is_some_and(|Reverse((at, _, _))| *at <= self.mono);
            if !more_at_once || self.random.percent(50) {
                self.settle();
            }
        }
        self.settle();
        self.advance_to(end);
    }

    fn slot(at: Mono) -> Mono {
        let past = at.0.as_nanos() % SLOT.as_nanos();
        let rest = if past == 0 { 0 } else { SLOT.as_nanos() - past };
        at.after(Duration::from_nanos(u64::try_from(rest).unwrap_or(0)))
    }

    pub fn advance_to(&mut self, at: Mono) {
        self.mono = self.mono.max(at);
        self.machine.advance(self.mono);
    }

    /// The machine sleeps: whatever was to come meanwhile comes late.
    pub fn sleep(&mut self, lasting: Duration) {
        let until = self.mono.after(lasting);
        self.advance_to(until);
        self.rules.slept = until;
    }

    /// What the machine has brought about is known and told.
    pub fn attend(&mut self) {
        loop {
            self.note_truth();
            let Some(input) = self.machine.take_input() else { break };
            self.receive(input);
        }
        if let Some(why) = self.machine.systemd.reboot_wanted.take() {
            self.note(|| format!("the machine reboots: {why}"));
            let away = self.random.secs(1, 20);
            self.power_fails(away);
        }
    }

    fn happen(&mut self, what: Coming) {
        let living = |life: u64, sim: &Self| sim.machine.is_daemon_up() && life == sim.life;
        match what {
            Coming::Person(act) if !self.quiet => self.somebody(act),
            Coming::Post { life, step } if living(life, self) => self.post_step(step),
            Coming::Spooled { life, id } if living(life, self) => self.notification_is_spooled(id),
            Coming::Delivered { life, id } if living(life, self) => self.receive(Input::Delivered(id)),
            Coming::Holder { id, stop } => self.holder_acts(&id, stop),
            Coming::LeaseCloses { id, done } => {
                let how = if done { HowEnded::Done } else { HowEnded::Gone };
                self.lease_closes(&id, how);
            }
            Coming::Connects(unit) => self.somebody_connects(unit),
            Coming::Fault if !self.quiet => self.next_fault(),
            Coming::Over(fault) if !self.quiet => self.fault_is_over(&fault),
            Coming::DaemonStarts => self.daemon_starts(),
            Coming::Reboots => {
                let away = self.random.secs(1, 20);
                self.power_fails(away);
            }
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
