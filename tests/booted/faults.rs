//! What it survives: each fault of the daemon itself and of all that it stands on, and the promise that is kept through it.

mod bus;
mod crowd;
mod hung;
mod mail;
mod polkit;
mod systemd;
