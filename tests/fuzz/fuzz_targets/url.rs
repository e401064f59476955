//! Fuzz target: see `bodies::url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("url", data));
