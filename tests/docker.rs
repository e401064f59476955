//! Containers in docker's hands: what docker users and dockerd itself do to them behind the daemon's back, and what is to be
//! seen of them with docker's own command line.
//!
//! Where a test stops or kills dockerd, it has one of its own; the others share one. See `tests/tools/private-engine`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

#[path = "docker/auto.rs"]
mod auto;
#[path = "docker/dockerd.rs"]
mod dockerd;
#[path = "docker/ends.rs"]
mod ends;
#[path = "docker/harness.rs"]
mod harness;
#[path = "faults/inject.rs"]
#[allow(dead_code)] // shared with the faults of runc
mod inject;
#[path = "docker/lies.rs"]
mod lies;
#[path = "docker/nth.rs"]
mod nth;
#[path = "docker/pulls.rs"]
mod pulls;
#[path = "faults/scenario.rs"]
mod scenario;
#[path = "docker/seen.rs"]
mod seen;
#[path = "docker/stage.rs"]
mod stage;
#[path = "docker/verbs.rs"]
mod verbs;
#[path = "docker/victims.rs"]
mod victims;
