//! Fuzz target: see `bodies::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("manifest", data));
