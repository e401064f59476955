//! Fuzz target: see `bodies::kubeconfig`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("kubeconfig", data));
