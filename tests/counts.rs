//! What a start, a restart, a removal and an idle minute cost, counted: processes, system calls, bytes written, flushes to
//! the disk, wake-ups. None of it depends on how fast the machine is, so whoever makes podstrap do more is told here.
//!
//! Counted are podstrap's own processes: the daemon, its monitors and helpers, not the runc that they call.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::yaml::one;
use common::{Instance, host, instance};
use nix::sys::signal::Signal;

/// An instance whose daemon runs under strace from its start.
struct Traced {
    i: Instance,
    file: PathBuf,
}

/// What was counted in some part of a trace.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    /// Processes that were started.
    spawned: usize,
    /// All system calls.
    calls: usize,
    /// What went to files, pipes and descriptors.
    bytes: usize,
    /// Flushes to the disk, of any kind.
    flushes: usize,
    /// How often the daemon slept.
    sleeps: usize,
}

impl Counts {
    /// Fails if any of them is above its bound.
    fn at_most(&self, bound: Self) {
        let kept = self.spawned <= bound.spawned
            && self.calls <= bound.calls
            && self.bytes <= bound.bytes
            && self.flushes <= bound.flushes
            && self.sleeps <= bound.sleeps;
        assert!(kept, "{self:?}, and at most {bound:?} are allowed");
    }
}

fn traced(args: &[&str]) -> Option<Traced> {
    if common::runtime() != "runc" {
        return None;
    }
    if host::find("strace").is_none() {
        host::skip("no strace on PATH");
        return None;
    }
    let mut i = instance()?;
    let file = i.dir.join("trace");
    // -D: the daemon keeps the pid of what was started.
    i.prefix =
        ["strace", "-D", "-f", "-qq", "-s", "16", "-o", file.to_str().unwrap()].map(str::to_owned).to_vec();
    i.args(args).start();
    Some(Traced { i, file })
}

impl Traced {
    /// Lets something be done, waits until it is and nothing more follows, and counts.
    fn count(&self, what: &str, act: impl FnOnce(&Instance), done: impl Fn(&Instance) -> bool) -> Counts {
        self.rest();
        let before = self.text().len();
        act(&self.i);
        self.i.until(what, done);
        self.rest();
        let text = self.text();
        let counts = self.of(&text, &text[before..]);
        eprintln!("{what}: {counts:?}");
        counts
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.file).unwrap()).into_owned()
    }

    /// Waits until nothing has been called for a second and a half: all is done, and nobody waits for less.
    fn rest(&self) {
        let mut size = 0;
        self.i.until("it comes to rest", |_| {
            let former = std::mem::replace(&mut size, fs::metadata(&self.file).unwrap().len());
            former == size || {
                std::thread::sleep(Duration::from_millis(1500));
                false
            }
        });
    }

    /// Waits until it is written down of so many Pods that they work, which is done once.
    fn until_worked(&self, pods: usize) {
        let worked = self.i.state.join("worked");
        let count = || fs::read_dir(&worked).map_or(0, Iterator::count);
        self.i.until("what works is written down", |_| count() == pods);
    }

    /// Counts in a part of a trace; who is whose child stands in the whole of it.
    fn of(&self, whole: &str, part: &str) -> Counts {
        let daemon = self.i.daemon_pid();
        let own = own_processes(whole, daemon);
        let mut counts = Counts { spawned: 0, calls: 0, bytes: 0, flushes: 0, sleeps: 0 };
        let lines = part.lines().filter_map(Entry::parse).filter(|e| own.contains(&e.pid));
        for entry in lines {
            let is_new_process = ["clone", "clone3", "fork", "vfork"].contains(&entry.call);
            if let Some(value) = entry.value {
                counts.spawned += usize::from(is_new_process && value > 0);
                if entry.call.starts_with("write") || entry.call.starts_with("pwrite") {
                    counts.bytes += usize::try_from(value).unwrap_or(0);
                }
            }
            if entry.is_begun {
                counts.calls += 1;
                counts.flushes += usize::from(entry.call.contains("sync"));
                let sleeps = entry.pid == daemon && ["poll", "ppoll"].contains(&entry.call);
                counts.sleeps += usize::from(sleeps);
            }
        }
        counts
    }
}

/// A line of strace's.
struct Entry<'a> {
    pid: i32,
    call: &'a str,
    /// What was given, as far as it stands on this line.
    rest: &'a str,
    /// The line is the call's first.
    is_begun: bool,
    /// What it gave, if it is known on this line.
    value: Option<i64>,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (pid, text) = line.split_once(' ')?;
        let (pid, text) = (pid.parse().ok()?, text.trim_start());
        let value = text.rsplit_once(" = ").and_then(|(_, v)| v.split(' ').next()?.parse().ok());
        if let Some(resumed) = text.strip_prefix("<... ") {
            let (call, rest) = resumed.split_once(" resumed>")?;
            return Some(Self { pid, call, rest, is_begun: false, value });
        }
        // Signals and ends are no calls.
        let (call, rest) = text.split_once('(')?;
        let is_name = call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        is_name.then_some(Self { pid, call, rest, is_begun: true, value })
    }
}

/// The daemon and those of its descendants that are podstrap, with what becomes another program.
fn own_processes(trace: &str, daemon: i32) -> BTreeSet<i32> {
    let mut parents = BTreeMap::new();
    let mut others = BTreeSet::new();
    for entry in trace.lines().filter_map(Entry::parse) {
        match (entry.call, entry.value) {
            ("clone" | "clone3" | "fork" | "vfork", Some(child)) if child > 0 => {
                parents.insert(i32::try_from(child).unwrap(), entry.pid);
            }
            ("execve", _)
                if entry.is_begun && entry.pid != daemon && !entry.rest.starts_with("\"/proc/self/exe") =>
            {
                others.insert(entry.pid);
            }
            _ => {}
        }
    }
    let is_own = |pid: &i32| {
        let mut at = *pid;
        while at != daemon {
            match parents.get(&at) {
                Some(parent) if !others.contains(&at) => at = *parent,
                Some(_) | None => return false,
            }
        }
        true
    };
    parents.keys().copied().chain([daemon]).filter(is_own).collect()
}

#[test]
fn a_start_a_restart_and_a_removal_cost_what_they_did() {
    let Some(t) = traced(&["--rescan", "600"]) else { return };
    // What is made once is made by the first.
    t.i.write_manifest("first.yaml", &one(&t.i, "first", "exec sleep 1000", &[]));
    t.i.until_ready("first");
    t.until_worked(1);
    let pod = one(&t.i, "counted", "trap exit TERM; sleep 1000 & wait", &[]);
    let start = t.count(
        "start",
        |i| i.write_manifest("counted.yaml", &pod),
        |i| i.ready("counted") && i.running_pid("counted", "main").is_some(),
    );
    let restart = t.count(
        "restart",
        |i| host::signal(i.running_pid("counted", "main").unwrap(), Signal::SIGKILL),
        |i| i.restarts("counted", "main") == 1 && i.running_pid("counted", "main").is_some(),
    );
    let removal = t.count("removal", |i| i.remove("counted.yaml"), |i| i.pod("counted").is_none());
    // The monitor, the child by which it has the kernel wait early, its runc, and whoever keeps the manifest: its two flushes,
    // after the start, are the only ones.
    start.at_most(Counts { spawned: 4, calls: 800, bytes: 18_000, flushes: 2, sleeps: 8 });
    // The next monitor, its child and its runc.
    restart.at_most(Counts { spawned: 3, calls: 950, bytes: 18_000, flushes: 0, sleeps: 10 });
    // Who forgets the kept manifest, and who removes what the Pod leaves. runc has no part in it.
    removal.at_most(Counts { spawned: 2, calls: 1_050, bytes: 15_000, flushes: 2, sleeps: 12 });
}

#[test]
fn an_idle_daemon_wakes_for_its_rescan_alone() {
    let Some(t) = traced(&["--rescan", "5"]) else { return };
    for n in 0..3 {
        let name = format!("pod-{n}");
        t.i.write_manifest(&format!("{name}.yaml"), &one(&t.i, &name, "exec sleep 1000", &[]));
    }
    for n in 0..3 {
        t.i.until_ready(&format!("pod-{n}"));
    }
    t.until_worked(3);
    t.rest();
    let before = t.text().len();
    std::thread::sleep(Duration::from_secs(20));
    let text = t.text();
    let counts = t.of(&text, &text[before..]);
    eprintln!("four scans: {counts:?}");
    // One look at the manifests is one wake-up, and the archives are looked at by the same.
    counts.at_most(Counts { spawned: 0, calls: 300, bytes: 0, flushes: 0, sleeps: 5 });
    assert!(counts.sleeps >= 3, "it does wake: {counts:?}");
}
