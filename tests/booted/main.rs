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

#[path = "guarding.rs"]
mod guarding;

#[path = "guard.rs"]
mod guard;
#[path = "guard_command.rs"]
mod guard_command;
#[path = "guard_configuration.rs"]
mod guard_configuration;
#[path = "guard_ctl.rs"]
mod guard_ctl;
#[path = "guard_daemon.rs"]
mod guard_daemon;
#[path = "guard_graph.rs"]
mod guard_graph;
#[path = "guard_hold.rs"]
mod guard_hold;
#[path = "guard_jobs.rs"]
mod guard_jobs;
#[path = "guard_mail.rs"]
mod guard_mail;
#[path = "guard_not_ours.rs"]
mod guard_not_ours;
#[path = "guard_signal.rs"]
mod guard_signal;
#[path = "guard_stops.rs"]
mod guard_stops;
#[path = "guard_storm.rs"]
mod guard_storm;
#[path = "guard_units.rs"]
mod guard_units;
#[path = "guard_usage.rs"]
mod guard_usage;

mod certificates;
mod config_backup;
mod decisions;
mod faults;
mod import;
mod iobio;
mod mutual;
mod names;
mod package;
mod pe;
mod ports;
mod rights;
mod users;
