//! Months of a machine's life in seconds: the real engine and the real mail queue on a simulated machine where everything
//! goes wrong, by chance from a seed, with the rules (engine/rules.md) and the promises about mail checked at every step.
//!
//! ```text
//!       faults, people (by chance)
//!             ▼
//!   tests/machine ─────────► shell ───────────► post
//!   systemd, services,       the real Engine,   the real Queue and Pace, a disk,
//!   the daemon's client      saved and killed   a mail server
//!        └───────────────────────┴─────────────────┘
//!                                ▼
//!                         rules: what must hold
//! ```
//!
//! A seed is a configuration and some days, and each sixteenth a month. What the daemon is told comes late, what it asks for
//! takes its time, and it is killed between any two steps of what it does.
//!
//! | how | what |
//! |---|---|
//! | `cargo test --test simulator` | some seeds |
//! | `STEALTHCHECK_SEEDS=100000 cargo test --test simulator` | as many as you like, on all cores |
//! | `STEALTHCHECK_FIRST_SEED=5000` besides | from there on |
//! | `STEALTHCHECK_SEED=1234 cargo test --test simulator -- --nocapture` | that one alone, with its timeline |
//! | `STEALTHCHECK_LINES=100000` besides | more of it |
//!
//! A rule that is broken ends the run with its name, the seed and the timeline's last lines. The tests in `tests/engine/`
//! tell the same engine's rules one by one, as stories; where a seed finds a mistake, its story belongs there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod config;
mod faults;
#[path = "../machine/mod.rs"]
mod machine;
mod people;
mod post;
mod random;
mod rules;
mod shell;
mod sim;
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sim::{Sim, Stats};

/// The range that is played always: `1..=SEEDS`.
const SEEDS: u64 = 50;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number is expected")))
}

/// Plays a seed; `Err` is the broken rule.
fn play(seed: u64, logs: bool) -> Result<Stats, String> {
    sim::keep_timeline(logs);
    catch_unwind(AssertUnwindSafe(|| Sim::play(seed, logs))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
    })
}

/// What is printed of a seed that breaks a rule. It is played again, with its timeline this time.
fn report(seed: u64, rule: &str) -> String {
    let again = play(seed, true);
    let same =
        if again.as_ref().err().is_some_and(|again| again == rule) { "" } else { " (not the second time!)" };
    format!(
        "seed {seed}: {rule}{same}\n\n{}\n\nseed {seed} broke a rule: {rule}\nplay it alone: \
         STEALTHCHECK_SEED={seed} cargo test --test simulator -- --nocapture",
        sim::timeline()
    )
}

fn add(sum: &mut Stats, one: Stats) {
    sum.events += one.events;
    sum.jobs += one.jobs;
    sum.incidents += one.incidents;
    sum.notifications += one.notifications;
    sum.mails += one.mails;
    sum.digests += one.digests;
    sum.duplicates += one.duplicates;
    sum.crashes += one.crashes;
    sum.storms += one.storms;
}

/// Plays these seeds on all cores. The seeds that broke a rule, with the rule; the first of them ends it, unless all are
/// wanted.
fn play_all(seeds: &[u64], all: bool) -> (Stats, Vec<(u64, String)>) {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sum, broken) = (Mutex::new(Stats::default()), Mutex::new(vec![]));
    // A broken rule is reported once, below.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while all || !failed.load(Ordering::Relaxed) {
                    let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    match play(*seed, false) {
                        Ok(stats) => add(&mut sum.lock().unwrap(), stats),
                        Err(rule) => {
                            failed.store(true, Ordering::Relaxed);
                            broken.lock().unwrap().push((*seed, rule));
                        }
                    }
                }
            });
        }
    });
    std::panic::set_hook(hook);
    (sum.into_inner().unwrap(), broken.into_inner().unwrap())
}

/// The seeds that are in the tree: those that once broke a rule, and a range.
fn seeds_of_the_tree() -> Vec<u64> {
    let once_broken = include_str!("seeds").lines().filter(|line| !line.starts_with('#'));
    let once_broken = once_broken.filter_map(|line| line.split_whitespace().next());
    once_broken.map(|seed| seed.parse().unwrap()).chain(1..=SEEDS).collect()
}

#[test]
fn every_rule_holds_with_the_seeds_of_the_tree() {
    if let Some(seed) = number("STEALTHCHECK_SEED") {
        let result = play(seed, true);
        println!("{}", sim::timeline());
        println!("seed {seed}: {result:?}");
        assert!(result.is_ok(), "seed {seed}: {result:?}");
        return;
    }
    let (first, count) = (number("STEALTHCHECK_FIRST_SEED").unwrap_or(1), number("STEALTHCHECK_SEEDS"));
    let seeds = count.map_or_else(seeds_of_the_tree, |count| (first..first + count).collect());
    let began = Instant::now();
    let (sum, broken) = play_all(&seeds, count.is_some());
    for (seed, rule) in &broken {
        println!("BROKEN seed {seed}: {rule}");
    }
    if let Some((seed, rule)) = broken.iter().min() {
        panic!("{}\n{} of {} seeds broke a rule", report(*seed, rule), broken.len(), seeds.len());
    }
    println!("{} machines, each sixteenth for a month, in {:?}: {sum:?}", seeds.len(), began.elapsed());
    // It is about something: what is to be survived has happened.
    let many = u64::try_from(seeds.len()).unwrap();
    assert!(
        many < SEEDS
            || (sum.incidents > many && sum.jobs > many && sum.crashes > many && sum.notifications > many),
        "{sum:?}"
    );
}

/// More than 10 mails in a minute become one digest.
#[test]
fn two_hundred_units_that_die_together_are_ten_mails_and_a_digest() {
    let mut sim = Sim::staged(config::crowd());
    sim.run_for(Duration::from_secs(120));
    sim.everything_dies();
    sim.run_for(Duration::from_secs(110));
    let stats = sim.rules.stats;
    assert_eq!(stats.incidents, 200, "{stats:?}");
    assert!(stats.notifications >= 200 && stats.digests >= 1 && stats.mails <= 12, "{stats:?}");
    // Each unit has had its attempts, at their distance, and no more.
    assert!(stats.jobs >= 200 && stats.jobs <= 200 * 5, "{stats:?}");
    sim.run_for(Duration::from_secs(790));
    let stats = sim.rules.stats;
    assert!(stats.mails <= 25, "{stats:?}");
    assert!(
        stats.jobs <= 200 * 9,
        "six attempts until the backoff is at its longest, then one in five minutes: {stats:?}"
    );
}

/// Rule 14.
#[test]
fn two_hundred_checks_that_fail_together_restart_nothing_and_are_one_mail() {
    let mut sim = Sim::staged(config::crowd());
    sim.run_for(Duration::from_secs(120));
    sim.machine.cut_network(true);
    sim.rules_network_gone();
    sim.run_for(Duration::from_secs(240));
    let stats = sim.rules.stats;
    assert!(stats.jobs <= 1 && stats.storms == 1 && stats.mails == 1, "{stats:?}");
}
