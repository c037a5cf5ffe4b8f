//! The core on a simulated machine: each rule of the design as a short story with a known end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alerts;
mod blocked;
mod circle;
mod clock;
mod displaced;
mod edges;
mod faults_actions;
mod faults_brought_back;
mod faults_found;
mod faults_graph;
mod faults_outcome;
mod faults_related;
mod faults_scale;
mod faults_start;
mod faults_start_limit;
mod faults_steps;
mod faults_stops;
mod faults_units;
mod hold;
mod incurable;
mod jobs;
mod look_around;
#[path = "../machine/mod.rs"]
mod machine;
mod outages;
mod passes;
mod random;
mod rules;
mod samples;
#[path = "../seeds/mod.rs"]
mod seeds;
mod slow;
mod stage;
mod storm;
mod taken_down;
mod unasked;
mod unknown;
mod usage;
mod why;
