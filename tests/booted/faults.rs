//! What it survives: each fault of the daemon itself and of all that it stands on, and the promise that is kept through it.

mod bus;
mod clock;
mod crowd;
mod daemon;
mod disk;
mod hung;
mod journal;
mod leaks;
mod mail;
mod memory;
mod polkit;
mod power;
mod story;
mod systemd;
