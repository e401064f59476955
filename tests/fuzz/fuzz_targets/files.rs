//! Fuzz target: see `bodies::files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("files", data));
