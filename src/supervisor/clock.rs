//! The one place where clocks are read.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::time::{Mono, Now, Wall};

/// Added to the boot clock, so that moments before the boot (an incident that a reboot did not end) have a place on it.
const HEADROOM: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Both clocks. `CLOCK_BOOTTIME` goes on while the machine sleeps, so that a pause or a backoff does not grow by that;
/// it is not touched when somebody sets the time.
pub(super) fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let wall = clock_gettime(ClockId::Realtime);
    let positive = |seconds: i64, nanos: i64| {
        Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0))
    };
    Now {
        mono: Mono(HEADROOM + positive(boot.tv_sec, boot.tv_nsec)),
        wall: Wall(wall.tv_sec.saturating_mul(1000).saturating_add(wall.tv_nsec / 1_000_000)),
    }
}

/// The kernel's id of this boot: points on [`Mono`] mean the same as long as it does. Empty where it cannot be read.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |id| id.trim().to_owned())
}
