//! Fuzz target: see `bodies::log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("log", data));
