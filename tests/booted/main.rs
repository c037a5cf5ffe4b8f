//! The booted tests: stealthcheck and the lab itself on real machines with a real systemd.
//!
//! They need root, so they are behind the feature `lab`: `sudo ./tests/run booted [FILTER]`. One target for
//! all of them, since each would link the whole crate again, and all share the limit on machines.

#![cfg(target_os = "linux")]
// In a test, what cannot be done is a failure: panicking says so, at the right place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../lab/mod.rs"]
mod lab;

#[path = "lab.rs"]
mod the_lab;

mod package;
mod ports;
mod rights;
