//! The core on a simulated machine: each rule of the design as a short story, and all of them under random faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blocked;
mod displaced;
mod edges;
mod random;
mod rules;
mod stage;
mod taken_down;
mod why;
mod world;
