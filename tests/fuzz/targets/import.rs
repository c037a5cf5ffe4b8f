#![no_main]
//! The old tool's files of any bytes.

#[path = "../harness/mod.rs"]
#[allow(dead_code)]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::import(harness::in_memory(), bytes));
