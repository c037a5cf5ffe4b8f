//! Faults of the engine that are known and not mended yet, by the rule that finds them. A seed that meets one ends there and
//! is counted; `STEALTHCHECK_KNOWN=1` has it fail like any other. A fault that is mended leaves this list.

pub const KNOWN: &[&str] = &[
    // A unit that systemd restarts with one that it requires is told as `inactive`, without a job, when the start of that
    // one has failed. The engine takes that for an end of its own and requests a job before it reads the other unit.
    "what went down with its root has not ended by itself",
    // A restart of a unit restarts its dependents, and with them starts what those want or require.
    "no job starts through a dependent what somebody has stopped",
    // The reading of a unit that a check's unit requires has the check request a job and suppresses it at once.
    "what waits for its root asks for no job",
    // An operator stops a unit, and another stop takes the unit that it requires: the engine takes the first for a part of
    // the second, and starts the unit when that one is back.
    "an operator's stop is respected beside a stop of its root",
    // The stop of a unit that no check monitors is not in the state file.
    "a restart of the daemon forgets no stop",
];

/// A rule that was broken, as its text begins.
pub fn is_known(broken: &str) -> bool {
    KNOWN.iter().any(|rule| broken.starts_with(rule))
}
