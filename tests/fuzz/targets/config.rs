#![no_main]
//! A configuration file of any bytes.

#[path = "../harness.rs"]
#[allow(dead_code)]
mod harness;

libfuzzer_sys::fuzz_target!(init: {
    DIRECTORY.set(tempfile::tempdir_in("/dev/shm").expect("a directory in memory")).expect("once");
}, |bytes: &[u8]| {
    harness::config(DIRECTORY.get().expect("made").path(), bytes);
});

static DIRECTORY: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
