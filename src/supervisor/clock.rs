//! The clocks of the engine.
//!
//! Monotonic times are saved as they are. So that they keep their meaning, the clock continues where the saved state
//! was taken: within one boot by the kernel's boot clock, after a reboot by the wall clock's account of the time
//! between.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::time::{ClockId, clock_gettime};

use crate::engine::saved::Saved;
use crate::time::{Mono, Now, Wall};

/// The origin of a clock that continues no other: moments before the boot have a place on it.
const HEADROOM: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What is added to the boot clock.
static ORIGIN: OnceLock<Duration> = OnceLock::new();

fn origin() -> Duration {
    *ORIGIN.get_or_init(|| HEADROOM)
}

fn duration((seconds, nanos): (i64, i64)) -> Duration {
    Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0))
}

/// Both clocks. `CLOCK_BOOTTIME` counts on while the machine sleeps, so that a pause or a backoff does not grow by
/// that; it does not change when the time is set.
pub(super) fn now() -> Now {
    let wall = clock_gettime(ClockId::Realtime);
    Now {
        mono: Mono(origin() + since_boot()),
        wall: Wall(wall.tv_sec.saturating_mul(1000).saturating_add(wall.tv_nsec / 1_000_000)),
    }
}

fn since_boot() -> Duration {
    let boot = clock_gettime(ClockId::Boottime);
    duration((boot.tv_sec, boot.tv_nsec))
}

/// Continues the clock of a saved state. To be called before the first [`now`] that the engine sees.
pub(super) fn resume(boot: &str, saved: &Saved) {
    let wall = clock_gettime(ClockId::Realtime);
    let wall = Wall(wall.tv_sec.saturating_mul(1000).saturating_add(wall.tv_nsec / 1_000_000));
    let origin = continued(boot, since_boot(), wall, (&saved.clock, saved.mono, saved.at));
    // (Only a test would have read the clock before.)
    let _ = ORIGIN.set(origin);
}

/// The origin that continues the clock `name`, which showed `mono` at `at`.
fn continued(boot: &str, since_boot: Duration, wall: Wall, (name, mono, at): (&str, Mono, Wall)) -> Duration {
    let same_boot = name.split_once('+').filter(|(known, _)| !boot.is_empty() && *known == boot);
    let origin = same_boot.and_then(|(_, nanos)| nanos.parse().ok()).map(Duration::from_nanos);
    origin.unwrap_or_else(|| mono.after(wall.since(at)).0.saturating_sub(since_boot))
}

/// The clock by name: the boot, and what is added to its clock. Two monotonic times with the same name are comparable.
pub(super) fn name(boot: &str) -> String {
    format!("{boot}+{}", origin().as_nanos())
}

/// The id of this boot. Empty where it cannot be read.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |id| format!("{}{}", id.trim(), run_made()))
}

/// When `/run` was made: a container has its own boots under the kernel's one id. Empty where the file system does not say.
fn run_made() -> String {
    let asked = statx(CWD, "/run", AtFlags::empty(), StatxFlags::BTIME).ok();
    let made = asked.filter(|run| StatxFlags::from_bits_retain(run.stx_mask).contains(StatxFlags::BTIME));
    made.map_or_else(String::new, |run| format!("/{}.{}", run.stx_btime.tv_sec, run.stx_btime.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn clock_within_boot_keeps_its_origin() {
        let saved = ("a+5000000001", Mono(SECOND * 100), Wall(1_000_000));
        // Whatever was done to the wall clock.
        let origin = continued("a", SECOND * 200, Wall(0), saved);
        assert_eq!(origin, Duration::from_nanos(5_000_000_001));
    }

    #[test]
    fn clock_after_reboot_continues_by_wall_clock() {
        let saved = ("a+5000000000", Mono(SECOND * 1000), Wall(1_000_000));
        let origin = continued("b", SECOND * 20, Wall(1_090_000), saved);
        assert_eq!(origin + SECOND * 20, SECOND * 1090, "90 s were spent");
        // The wall clock was set back: no time has passed, and nothing is prolonged either.
        assert_eq!(continued("b", SECOND * 20, Wall(0), saved) + SECOND * 20, SECOND * 1000);
    }
}
