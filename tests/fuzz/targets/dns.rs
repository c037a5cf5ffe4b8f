#![no_main]
//! A DNS server's answer of any bytes.

#[path = "../harness/mod.rs"]
#[allow(dead_code)]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::dns(bytes));
