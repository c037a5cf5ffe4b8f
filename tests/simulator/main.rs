//! Months of a machine's life in seconds: the real engine and the real mail queue on a simulated machine where everything
//! goes wrong, by chance from a seed, with the rules (engine/rules.md) and the promises about mail checked at every step.
//!
//! ```text
//!            faults (by chance)
//!   machine ───────────────► daemon ──────────► post
//!   systemd, services,       the real Engine,   the real Queue and Pace, a disk,
//!   people, clocks           saved and killed   a mail server
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
mod daemon;
mod faults;
mod machine;
mod post;
mod random;
mod rules;
mod sim;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sim::{Sim, Stats};

/// So many seeds where nobody says otherwise.
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

#[test]
fn every_promise_holds_whatever_happens() {
    if let Some(seed) = number("STEALTHCHECK_SEED") {
        let result = play(seed, true);
        println!("{}", sim::timeline());
        println!("seed {seed}: {result:?}");
        assert!(result.is_ok(), "seed {seed}: {result:?}");
        return;
    }
    let first = number("STEALTHCHECK_FIRST_SEED").unwrap_or(1);
    let seeds = number("STEALTHCHECK_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let (sum, failure) = (Mutex::new(Stats::default()), Mutex::new(None));
    let began = Instant::now();
    // A broken rule is told once, below.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    match play(seed, false) {
                        Ok(stats) => add(&mut sum.lock().unwrap(), stats),
                        Err(rule) => {
                            failed.store(true, Ordering::Relaxed);
                            let text = report(seed, &rule);
                            failure.lock().unwrap().get_or_insert(text);
                        }
                    }
                }
            });
        }
    });
    std::panic::set_hook(hook);
    if let Some(text) = failure.into_inner().unwrap() {
        panic!("{text}");
    }
    let sum = sum.into_inner().unwrap();
    println!("{seeds} machines, each sixteenth for a month, in {:?}: {sum:?}", began.elapsed());
    // It is about something: what is to be survived has happened.
    assert!(
        seeds < SEEDS
            || (sum.incidents > seeds
                && sum.jobs > seeds
                && sum.crashes > seeds
                && sum.notifications > seeds),
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
    sim.troubles.network_gone = true;
    sim.rules_network_gone();
    sim.run_for(Duration::from_secs(240));
    let stats = sim.rules.stats;
    assert!(stats.jobs <= 1 && stats.storms == 1 && stats.mails == 1, "{stats:?}");
}
