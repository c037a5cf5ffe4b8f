#![no_main]
//! Calls on our own D-Bus interface of any names and arguments.

#[path = "../harness/mod.rs"]
#[allow(dead_code)]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::calls(bytes));
