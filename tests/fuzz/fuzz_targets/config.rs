//! Fuzz target: see `bodies::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("config", data));
