//! The life of Pods under the real binary, with real runc and a busybox image.
//!
//! Every Pod has `hostNetwork: true`. Times that must be exact are in `tests/timing.rs`, which cargo runs by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

mod adoption;
mod config;
mod containers;
mod depends;
mod edits;
mod files;
mod handover;
mod harness;
mod images;
mod mirror;
mod plan;
mod probes;
mod refusals;
mod verbs;
mod why;
