//! Faults put into the real binary's way: killed processes, full disks, damaged files, a runc that lies, floods. After each
//! the Pods must be what their manifests say, once, and nothing may be left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

mod containers;
mod deaths;
mod disk;
mod inject;
mod kills;
mod machine;
mod nth;
mod process;
mod runc;
mod scenario;
mod source;
mod stored;
mod whole;
