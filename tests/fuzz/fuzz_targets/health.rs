//! Fuzz target: see `bodies::health`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("health", data));
