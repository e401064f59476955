//! The build script: leaves the tables for unwinding the stack out of the release binary.
//!
//! They are an eighth of it, and nobody reads them: a panic aborts, as Cargo.toml says, after it has told its place. The
//! compiler would have to build the standard library anew to leave them out; the linker can just drop them. What is lost is
//! the backtrace of a panic, which has no names in a stripped binary anyway. Debug builds and tests, which do unwind, keep
//! theirs.

use std::env;
use std::fs;
use std::path::PathBuf;

/// Adds to what the linker does by itself, in GNU's linker and in LLVM's.
const SCRIPT: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame.*) } } INSERT AFTER .text;\n";

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") {
        return;
    }
    let Some(directory) = env::var_os("OUT_DIR") else { return };
    let script = PathBuf::from(directory).join("no-unwind-tables.ld");
    if let Err(e) = fs::write(&script, SCRIPT) {
        println!("cargo:warning={}: {e}; the binary will be larger", script.display());
        return;
    }
    println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display());
}
