//! The build script: leaves the tables for unwinding the stack out of the release binary, and has others packed.
//!
//! The tables for unwinding are an eighth of it, and nobody reads them: a panic aborts, as Cargo.toml says, after it has told
//! its place. The compiler would have to build the standard library anew to leave them out; the linker can just drop them. What
//! is lost is the backtrace of a panic, which has no names in a stripped binary anyway. Debug builds and tests, which do unwind,
//! keep theirs.

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
    if is("HOST", &env::var("TARGET").unwrap_or_default()) && libc_takes_packed_relocations() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether this machine's C library, for which the binary is built, can read the table of addresses to be adjusted at the
/// start in its packed form (glibc from 2.36 on): a hundred and fifty kilobytes less.
fn libc_takes_packed_relocations() -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let libc = maps.lines().filter_map(|line| line.split_ascii_whitespace().nth(5));
    let libc = libc.filter(|path| path.ends_with("/libc.so.6")).find_map(|path| fs::read(path).ok());
    let says_so = b"GLIBC_ABI_DT_RELR";
    libc.is_some_and(|bytes| bytes.windows(says_so.len()).any(|word| word == says_so))
}
