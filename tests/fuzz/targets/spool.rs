#![no_main]
//! A spooled mail of any bytes.

#[path = "../harness/mod.rs"]
#[allow(dead_code)]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::spool(harness::in_memory(), bytes));
