//! Fuzz target: see `bodies::grpc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("grpc", data));
