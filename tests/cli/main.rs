//! The reading verbs, driven as a person or a script would: the real binary on run directories made by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;
mod docker_log;
mod down_exec;
mod fixture;
mod logs;
mod manual;
mod status;
mod wait;
