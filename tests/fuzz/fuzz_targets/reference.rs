//! Fuzz target: see `bodies::reference`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("reference", data));
