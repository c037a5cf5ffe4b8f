//! The resources that a unit uses, as systemd counts them. Values only; no I/O, no clock.

/// One reading of a unit's accounting (org.freedesktop.systemd1(5)): all processes in its cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitUsage {
    /// The state as `systemctl status` words it.
    pub state: String,
    /// It has processes, or may have some.
    pub running: bool,
    /// systemd's id of this run of the unit, in hex.
    pub invocation_id: String,
    /// `CPUUsageNSec`: nanoseconds since the run began; `None` where systemd does not count them.
    pub cpu_nsec: Option<u64>,
    /// `MemoryCurrent`: bytes; `None` where systemd does not count them.
    pub memory: Option<u64>,
    /// `MemoryMax`: bytes; `None` where there is no limit.
    pub memory_max: Option<u64>,
}
