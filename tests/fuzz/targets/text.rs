#![no_main]
//! Text from outside, of any bytes, in a mail and on a terminal.

#[path = "../harness/mod.rs"]
#[allow(dead_code)]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    harness::shown(bytes);
    harness::notification(bytes);
});
