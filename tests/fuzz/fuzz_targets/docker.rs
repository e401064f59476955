//! Fuzz target: see `bodies::docker`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("docker", data));
