//! The core on a simulated machine: each rule of the design as a short story, and all of them under random faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alerts;
mod edges;
mod random;
mod rules;
mod storm;
mod unknown;
mod world;
