//! The fault suite: each fault that a machine may have, and the promise that is kept through it.

mod bus;
mod crowd;
mod hung;
mod polkit;
mod systemd;
