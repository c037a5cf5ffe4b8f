//! The configuration of property tests: fixed seeds, so that every run tests the same cases.
//!
//! `EXPLORE_SEED=random cargo test ...` tries other cases and prints its seed; `EXPLORE_SEED=123` repeats them.
//! `PROPTEST_CASES` sets how many.

use proptest::test_runner::{Config, RngSeed};

const FIXED: u64 = 8;

/// So many cases of the fixed seed, or as many as are asked for of another one.
pub fn cases(cases: u32) -> Config {
    let config = Config { failure_persistence: None, ..Config::default() };
    let Ok(asked) = std::env::var("EXPLORE_SEED") else {
        return Config { cases, rng_seed: RngSeed::Fixed(FIXED), ..config };
    };
    let seed = asked.parse().unwrap_or_else(|_| {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        u64::try_from(since.as_micros()).unwrap()
    });
    println!("EXPLORE_SEED={seed}");
    Config { rng_seed: RngSeed::Fixed(seed), ..config }
}
