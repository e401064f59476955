//! Fuzz target: see `bodies::cni`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("cni", data));
