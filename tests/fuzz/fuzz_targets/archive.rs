//! Fuzz target: see `bodies::archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("archive", data));
