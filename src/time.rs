//! The two clocks of the core, as plain values.
//!
//! The core never reads a clock: every call brings a [`Now`]. Monotonic time decides *when* something is due; wall
//! time is what people read, and what survives a restart of the daemon. Nothing here performs I/O.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the monotonic clock, counted from an origin that the process chose once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mono(pub Duration);

impl Mono {
    /// The end of time.
    pub const MAX: Self = Self(Duration::MAX);

    /// This point plus `by`, stopping at the end of time instead of overflowing.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// How long after `earlier` this point is; zero when it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A point on the wall clock: milliseconds since 1970-01-01T00:00:00Z. It may jump; never schedule by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub i64);

impl Wall {
    /// This point plus `by`, saturating.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This point minus `by`, saturating.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this point is; zero when it is not later (the clock was set back).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Both clocks, read together by whoever calls the core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For schedules, backoff and deadlines.
    pub mono: Mono,
    /// For people and for the state file.
    pub wall: Wall,
}

impl Now {
    /// The monotonic point that corresponds to the wall-clock point `at`, seen from this moment.
    #[must_use]
    pub fn mono_of(self, at: Wall) -> Mono {
        if at >= self.wall {
            self.mono.after(at.since(self.wall))
        } else {
            Mono(self.mono.0.saturating_sub(self.wall.since(at)))
        }
    }

    /// The monotonic point of a timestamp of systemd: microseconds since 1970. What lies ahead, by a clock that was set
    /// back since, is now.
    #[must_use]
    pub fn mono_of_usec(self, usec: u64) -> Mono {
        self.mono_of(Wall(i64::try_from(usec / 1000).unwrap_or(i64::MAX)).min(self.wall))
    }

    /// The wall-clock point `known` of the monotonic point `at`, or where somebody has set the clock since, what it
    /// would be by the clock as it is now. (Computed anew each time it would waver by the odd millisecond.)
    #[must_use]
    pub fn still(self, known: Wall, at: Mono) -> Wall {
        const JUMP: Duration = Duration::from_secs(2);
        let seen = self.wall_of(at);
        if seen.since(known).max(known.since(seen)) > JUMP { seen } else { known }
    }

    /// The wall-clock point that corresponds to the monotonic point `at`, seen from this moment.
    #[must_use]
    pub fn wall_of(self, at: Mono) -> Wall {
        if at >= self.mono {
            self.wall.after(at.since(self.mono))
        } else {
            self.wall.before(self.mono.since(at))
        }
    }
}

/// A duration as an administrator writes and reads it: the two largest units, `3h 12m`, `45s`, `0s`.
#[must_use]
pub fn human(duration: Duration) -> String {
    let total = duration.as_secs();
    if total == 0 && duration.subsec_millis() > 0 {
        return format!("{}ms", duration.subsec_millis());
    }
    let parts = [(total / 86_400, "d"), (total / 3600 % 24, "h"), (total / 60 % 60, "m"), (total % 60, "s")];
    let Some(first) = parts.iter().position(|(n, _)| *n > 0) else { return "0s".to_owned() };
    let mut text = format!("{}{}", parts[first].0, parts[first].1);
    if let Some((n, unit)) = parts.get(first + 1)
        && *n > 0
    {
        text.push_str(&format!(" {n}{unit}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_an_administrator_writes_them() {
        let cases = [
            (0, "0s"),
            (45_000, "45s"),
            (90_000, "1m 30s"),
            (3_600_000, "1h"),
            (11_520_000, "3h 12m"),
            (1_209_600_000, "14d"),
            (250, "250ms"),
        ];
        for (millis, text) in cases {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_wall_clock_point_maps_to_the_monotonic_clock_and_back() {
        let now = Now { mono: Mono(Duration::from_secs(100)), wall: Wall(5_000_000) };
        assert_eq!(now.mono_of(Wall(5_007_000)), Mono(Duration::from_secs(107)));
        assert_eq!(now.mono_of(Wall(4_993_000)), Mono(Duration::from_secs(93)));
        assert_eq!(now.mono_of(Wall(0)), Mono(Duration::ZERO), "before the origin counts as the origin");
        assert_eq!(now.wall_of(now.mono_of(Wall(5_007_000))), Wall(5_007_000));
    }
}
