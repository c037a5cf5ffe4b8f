#![no_main]
//! A configuration file of any bytes.

#[path = "../harness/mod.rs"]
#[allow(dead_code)]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::config(harness::in_memory(), bytes));
