//! Chance from a seed: the same numbers in the same order, on every machine and for ever.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap()).unwrap()
    }

    /// Both ends are possible.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    pub fn secs(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least * 1000, most * 1000))
    }

    /// Short ones are as likely as long ones: each power of two has the same chance.
    pub fn heavy(&mut self, least: u64, most: u64) -> Duration {
        let mut top = least;
        let mut tops = vec![];
        while top < most {
            top = (top * 2).min(most);
            tops.push(top);
        }
        let top = if tops.is_empty() { most } else { self.of(&tops) };
        self.secs((top / 2).max(least), top)
    }
}
