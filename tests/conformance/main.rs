//! The conformance suite: for each field of a Pod, what must be seen of it from inside or outside its containers, on the
//! real daemon and a real runtime. Nothing looks at what the daemon has told the runtime.
//!
//! | variable | meaning |
//! |---|---|
//! | `PODSTRAP_TEST_RUNTIME` | the runtime under test: `runc` (default), `docker` or `podman` |
//! | `PODSTRAP_TEST_DOCKER_SOCKET` | the docker to use; without it one is started and removed again |
//! | `PODSTRAP_TEST_CASES` | only cases whose area, field and description contain one of these texts (commas between) |
//! | `PODSTRAP_TEST_JOBS` | how many cases are under way at a time (default 16 with runc, fewer with others) |
//!
//! The report goes to standard error and to `conformance-RUNTIME.txt` in cargo's directory for tests. `tests/tools/conformance`
//! runs this for several runtimes and shows them side by side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

mod bench;
mod case;
mod images;
mod report;
mod run;
mod web;

mod env;
mod hooks;
mod hostpath;
mod init;
mod mounts;
mod names;
mod network;
mod objects;
mod probes;
mod process;
mod projected;
mod refusals;
mod resources;
mod restarts;
mod security;
mod sidecars;
mod status;
mod stop;
mod users;
mod verdicts;
mod volumes;

use case::Case;

/// All cases by area, in the order of the report.
fn areas() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        (
            "lifecycle",
            [init::cases(), sidecars::cases(), restarts::cases(), stop::cases()]
                .into_iter()
                .flatten()
                .collect(),
        ),
        ("hooks", hooks::cases()),
        ("status", status::cases()),
        ("probes", [probes::cases(), verdicts::cases()].into_iter().flatten().collect()),
        ("environment", env::cases()),
        ("process", process::cases()),
        ("names", names::cases()),
        ("volumes", [hostpath::cases(), volumes::cases(), mounts::cases()].into_iter().flatten().collect()),
        ("projected", [projected::cases(), objects::cases()].into_iter().flatten().collect()),
        ("security", [users::cases(), security::cases()].into_iter().flatten().collect()),
        ("resources", resources::cases()),
        ("network", network::cases()),
        ("refusals", refusals::cases()),
    ]
}

#[test]
fn conformance() {
    let areas = areas();
    let count: usize = areas.iter().map(|(_, cases)| cases.len()).sum();
    assert!(count >= 120, "{count} cases");
    run::all(areas);
}
