//! Fuzz target: see `bodies::tar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("tar", data));
