//! Fuzz target: see `bodies::docker_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("docker_log", data));
