//! The budgets, measured side by side with what there is without podstrap: `cargo bench`, as root, on a Debian 12 that has a
//! linker; on a bare one, `bash tests/bench/run`.
//!
//!     cargo bench                        everything
//!     cargo bench -- runc scale          these parts
//!     cargo bench -- --quick             fewer rounds, at most 100 Pods
//!
//! What it compares with is installed by apt if it is missing; docker and podman run in directories of their own. The numbers
//! go to standard output as a table, to target/bench/podstrap.json, and to one SVG a curve beside that. When a contained
//! process was started, it says itself, by the monotonic clock (`stamp.c`); rounds of all sides are taken in turn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bare;
#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with test programs, which use other parts
mod common;
mod engines;
mod logs;
mod machine;
mod manifests;
mod many;
mod one;
#[path = "../control_plane/plane.rs"]
#[allow(dead_code)] // shared with a test program, which uses other parts
mod plane;
mod plot;
mod pods;
mod readyz;
mod report;
mod sample;
mod scale;
mod stamp;

use std::process::{Command, ExitCode, Stdio};

use sample::{Bound, Curve, Line, Unit};

/// How much is to be done.
#[derive(Debug)]
pub struct Effort {
    /// So many pairs of what is over in a moment.
    pub rounds: usize,
    /// So many of what takes longer.
    pub few: usize,
    /// So many Pods side by side.
    pub sizes: &'static [usize],
    /// So long is watched what does nothing, in seconds.
    pub idle: u64,
}

const WHOLE: Effort = Effort { rounds: 30, few: 7, sizes: &[1, 10, 20, 100, 500], idle: 60 };
const QUICK: Effort = Effort { rounds: 8, few: 3, sizes: &[1, 20, 100], idle: 20 };

/// What a part has found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Lines of the table.
    pub lines: Vec<Line>,
    /// Plots.
    pub curves: Vec<Curve>,
}

impl From<Vec<Line>> for Findings {
    fn from(lines: Vec<Line>) -> Self {
        Self { lines, curves: Vec::new() }
    }
}

/// A part: its name, the commands it needs (as `tests/tools/packages` takes them), and what it does.
type Part = (&'static str, &'static [&'static str], fn(&Effort) -> Findings);

const DOCKER: &[&str] = &["dockerd:docker.io"];
const PODMAN: &[&str] =
    &["podman:podman", "/usr/lib/podman/netavark:netavark", "/usr/libexec/podman/catatonit:catatonit"];
const COMPOSE: &[&str] = &["dockerd:docker.io", "docker-compose:docker-compose"];
const LOGS: &[&str] = &["dockerd:docker.io", "podman:podman", "/usr/lib/podman/netavark:netavark"];

const PARTS: &[Part] = &[
    ("runc", &[], |e| one::with_runc(e).into()),
    ("docker", DOCKER, |e| engines::docker(e).into()),
    ("podman", PODMAN, |e| engines::podman(e).into()),
    ("compose", COMPOSE, |e| engines::compose(e).into()),
    ("many", &[], |e| many::two_hundred(e).into()),
    ("scale", &[], scale::curves),
    ("manifests", &[], |e| manifests::thousand(e).into()),
    ("logs", LOGS, |e| logs::three_ways(e).into()),
    ("control-plane", &[], |e| readyz::readyz(e).into()),
    ("size", &[], |_| {
        let size = Line::of("binary, stripped", Unit::Size, vec![machine::program_size()]);
        vec![size.bound(Bound::Most(5.0 * 1024.0 * 1024.0))].into()
    }),
];

/// What one part needs besides, from a tool that fetches or builds it once: minutes in which the tool says what it does.
const MADE: &[(&str, &str)] = &[("control-plane", "tests/tools/control-plane")];

/// What every part needs.
const NEEDED: &[&str] =
    &["cc:gcc,libc6-dev", "runc:runc", "busybox:busybox-static", "tar:tar", "ip:iproute2"];

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (flags, names): (Vec<&str>, Vec<&str>) =
        words.iter().map(String::as_str).partition(|w| w.starts_with('-'));
    let unknown = names.iter().find(|n| PARTS.iter().all(|(name, ..)| name != *n));
    if let Some(bad) = flags.iter().find(|f| **f != "--quick").or(unknown) {
        let known: Vec<&str> = PARTS.iter().map(|(name, ..)| *name).collect();
        eprintln!("{bad}: cargo bench -- [--quick] [PART…]; the parts are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let effort = if flags.is_empty() { WHOLE } else { QUICK };
    let parts: Vec<&Part> =
        PARTS.iter().filter(|(name, ..)| names.is_empty() || names.contains(name)).collect();
    let needed = NEEDED.iter().chain(parts.iter().flat_map(|(_, needed, _)| *needed));
    let installed = Command::new(common::image::in_tree("tests/tools/packages")).args(needed).status();
    if !installed.is_ok_and(|s| s.success()) {
        return ExitCode::FAILURE;
    }
    if let Some(reason) = common::host::cannot_run_containers() {
        eprintln!("containers cannot run here: {reason}");
        return ExitCode::FAILURE;
    }
    // Before anything is measured: what cannot be had in the end would take all that was measured with it.
    for (_, tool) in MADE.iter().filter(|(part, _)| parts.iter().any(|(name, ..)| name == part)) {
        let made = Command::new(common::image::in_tree(tool)).stdout(Stdio::null()).status();
        if !made.is_ok_and(|s| s.success()) {
            return ExitCode::FAILURE;
        }
    }
    // What runc leaves running by itself is to be ours to wait for.
    podstrap::sys::process::become_subreaper().unwrap();
    stamp::heed_interrupts();
    let machine = machine::describe();
    println!("{}", machine::sentence(&machine));
    let mut all = Findings::default();
    for (name, _, part) in parts {
        eprintln!("… {name}");
        // What went wrong, or that it was interrupted, stands above by then; what was measured before it is worth keeping.
        let Ok(found) = std::panic::catch_unwind(|| part(&effort)) else {
            eprintln!("{name} has failed: the table ends before it");
            report::write(&machine, &all);
            return ExitCode::FAILURE;
        };
        all.lines.extend(found.lines);
        all.curves.extend(found.curves);
    }
    report::write(&machine, &all);
    ExitCode::SUCCESS
}
