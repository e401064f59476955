//! One Pod: from its manifest to its process, from its end to its next life, and from the end of its manifest to nothing;
//! each beside what runc alone takes for the same.

use std::fs;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;

use crate::Effort;
use crate::bare::Bare;
use crate::pods::{Bench, bench, status_file};
use crate::sample::{Bound, Line, Unit};
use crate::stamp::{now, wait};

/// How long the absence of a manifest is looked at before it is believed, in nanoseconds.
const SETTLES: u64 = 250_000_000;

/// The first process that is moved into a control group after a quiet moment waits for the kernel (5 to 20 ms), and others
/// that follow within some milliseconds do not. What is measured begins after a quiet moment on every side, in nanoseconds: so
/// do manifests and crashes.
const QUIET: u64 = 100_000_000;

/// Lets that moment pass.
pub fn rest() {
    std::thread::sleep(std::time::Duration::from_nanos(QUIET));
}

/// Seconds between two readings of the clock.
pub fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

/// Start, restart and removal with runc.
pub fn with_runc(effort: &Effort) -> Vec<Line> {
    let mut b = bench(None);
    b.start();
    b.add("lender");
    b.stamps.nth("lender", "start", 1);
    let bare = Bare::like(&b, "lender");
    let (mut ours, mut theirs) = ([vec![], vec![], vec![]], [vec![], vec![]]);
    // Once for nothing: caches are filled.
    for n in 0..=effort.rounds {
        let name = format!("pod-{n}");
        let (mut by_podstrap, mut by_runc) = ([0.0; 3], [0.0; 2]);
        for turn in [n, n + 1] {
            match turn % 2 {
                0 => by_podstrap = life(&b, &name),
                _ => by_runc = bare_life(&b, &bare, &format!("bare-{n}")),
            }
        }
        if n > 0 {
            ours.iter_mut().zip(by_podstrap).for_each(|(all, one)| all.push(one));
            theirs.iter_mut().zip(by_runc).for_each(|(all, one)| all.push(one));
        }
    }
    let ([start, restart, removal], [run, delete]) = (ours, theirs);
    vec![
        Line::of("manifest in place → process, runc", Unit::Time, start)
            .against("runc run -d", run.clone())
            .bound(Bound::Times(1.5)),
        Line::of("process ended → first restart, runc", Unit::Time, restart)
            .against("runc run -d", run)
            .bound(Bound::Times(1.5)),
        Line::of("manifest gone → all gone, without the 250 ms it settles", Unit::Time, removal)
            .against("runc kill, delete", delete)
            .bound(Bound::Times(1.5)),
    ]
}

/// A Pod's whole life: its start, its restart and its removal, in seconds.
pub fn life(b: &Bench, name: &str) -> [f64; 3] {
    rest();
    let began = now();
    b.add(name);
    let start = seconds(began, b.stamps.nth(name, "start", 1));
    rest();
    b.signal(name, Signal::SIGUSR1);
    let ended = b.stamps.nth(name, "exit", 1);
    let restart = seconds(ended, b.stamps.nth(name, "start", 2));
    b.i.until(&format!("{name} runs"), |i| i.running_pid(name, "main").is_some());

    let status = status_file(&b.i, name);
    assert!(status.exists(), "{name} is published");
    let events = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).unwrap();
    events.add_watch(status.parent().unwrap(), AddWatchFlags::IN_DELETE).unwrap();
    let began = now();
    fs::remove_file(b.i.manifests.join(format!("{name}.yaml"))).unwrap();
    // It is the last thing that goes.
    while status.exists() {
        wait(&events);
    }
    [start, restart, seconds(began + SETTLES, now())]
}

/// The same by runc: its start, and its end with TERM.
fn bare_life(b: &Bench, bare: &Bare, name: &str) -> [f64; 2] {
    bare.bundle(name);
    rest();
    let began = now();
    bare.run(name);
    let start = seconds(began, b.stamps.nth(name, "start", 1));
    let began = now();
    bare.stop(name);
    [start, seconds(began, now())]
}
