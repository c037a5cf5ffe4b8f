//! When a check is probed: an even spread by name, and a fixed grid (rule 3).
//!
//! Pure arithmetic on the monotonic clock. It decides no health and starts nothing.

use std::time::Duration;

use crate::check::CheckName;
use crate::time::Mono;

/// The first probe after a start (or after the machine slept) comes within this time, so that the status is soon
/// complete although a check may run only twice a day.
pub(in crate::engine) const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// A probe that could not start within this time of its due moment was missed: the machine slept or the process was
/// stopped, and all the others are late as well. They are spread again instead of started together.
pub(in crate::engine) const MISSED_AFTER: Duration = Duration::from_secs(2);

/// A check's place in its interval, from 0 up to `interval`: the FNV-1a hash of its name. Names that differ little land far
/// apart, and the place is the same after a restart.
pub(in crate::engine) fn place(name: &CheckName, interval: Duration) -> Duration {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut hash =
        name.as_str().bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // FNV's high bits mix slowly for short names: fold them (xorshift-multiply finalizer of MurmurHash3).
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(hash % nanos)
}

/// The moment of the first probe.
pub(in crate::engine) fn first(name: &CheckName, interval: Duration, now: Mono) -> Mono {
    now.after(place(name, interval.min(FIRST_WITHIN)))
}

/// The next point of the check's grid strictly after `now`: late ticks are skipped, never bunched.
pub(in crate::engine) fn next(name: &CheckName, interval: Duration, now: Mono) -> Mono {
    let interval_nanos = interval.as_nanos().max(1);
    let place = place(name, interval).as_nanos();
    let passed = now.0.as_nanos();
    let periods = if passed < place { 0 } else { (passed - place) / interval_nanos + 1 };
    let at = place + periods * interval_nanos;
    Mono(Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(i: usize) -> CheckName {
        CheckName::new(&format!("check-{i}")).unwrap()
    }

    #[test]
    fn thousand_checks_spread_evenly_over_interval() {
        let interval = Duration::from_secs(10);
        let mut per_second = [0; 10];
        for i in 0..1000 {
            per_second[usize::try_from(place(&name(i), interval).as_secs()).unwrap()] += 1;
        }
        assert!(per_second.iter().all(|n| (60..=140).contains(n)), "{per_second:?}");
    }

    #[test]
    fn grid_resumes_after_missed_probes() {
        let interval = Duration::from_secs(10);
        for i in 0..50 {
            let name = name(i);
            let mut at = next(&name, interval, Mono(Duration::ZERO));
            for _ in 0..5 {
                let following = next(&name, interval, at);
                assert_eq!(following.since(at), interval);
                at = following;
            }
            let much_later = at.after(Duration::from_secs(3605));
            let resumed = next(&name, interval, much_later);
            assert!(resumed > much_later && resumed.since(much_later) <= interval);
            assert_eq!(resumed.since(at).as_nanos() % interval.as_nanos(), 0);
        }
    }
}
