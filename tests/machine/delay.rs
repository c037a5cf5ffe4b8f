//! How long messages take.

use std::time::Duration;

/// A delay that is the same each time, or another each time (SplitMix64 from a seed).
#[derive(Clone, Copy, Debug)]
pub enum Delay {
    Fixed(Duration),
    Random { state: u64, least: Duration, most: Duration },
}

impl Delay {
    pub const NONE: Self = Self::Fixed(Duration::ZERO);

    /// Milliseconds; both ends are possible.
    pub fn random(seed: u64, least: u64, most: u64) -> Self {
        let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
        Self::Random { state: seed, least, most }
    }

    pub fn next(&mut self) -> Duration {
        match self {
            Self::Fixed(lasting) => *lasting,
            Self::Random { state, least, most } => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                let micros = u64::try_from((*most - *least).as_micros()).unwrap_or(u64::MAX - 1);
                *least + Duration::from_micros((z ^ (z >> 31)) % (micros + 1))
            }
        }
    }

    pub fn longest(&self) -> Duration {
        match self {
            Self::Fixed(lasting) => *lasting,
            Self::Random { most, .. } => *most,
        }
    }
}
