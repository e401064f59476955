//! Fuzz target: see `bodies::layer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("layer", data));
