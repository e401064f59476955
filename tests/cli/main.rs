//! The reading verbs, driven as a person or a script would: the real binary on run directories made by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod docker_log;
mod down_exec;
mod fixture;
#[path = "../common/host.rs"]
#[allow(dead_code)]
mod host;
mod logs;
mod manual;
mod status;
mod wait;
