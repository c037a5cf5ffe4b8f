//! What it survives: faults of the daemon itself and of all that it stands on, each with the promise that it keeps.

mod clock;
mod daemon;
mod disk;
mod journal;
mod leaks;
mod memory;
mod power;
mod story;
