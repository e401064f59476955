//! A short life of two Pods, the same each time: both start, one container crashes, one Pod is edited, one is removed, all
//! are stopped. Something is put in its way; however it goes, every step comes to the same end as without, and nothing is
//! left when it is over.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::yaml::{container, pod};
use crate::common::{Instance, SOON, describe, host, podstrap};
use crate::inject::guard;

/// What a whole scenario must have started: by name and tag, how often.
const STARTS: [(&str, &str, usize); 3] = [("a", "1", 2), ("b", "1", 1), ("b", "2", 1)];

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(15);

/// How often each container of the scenario has been started, by name and tag.
pub type Starts = BTreeMap<(String, String), usize>;

/// The starts of a scenario in whose way nothing was put.
pub fn clean_starts() -> Starts {
    STARTS.iter().map(|(name, tag, n)| (((*name).to_owned(), (*tag).to_owned()), *n)).collect()
}

/// Who looks after the daemon while the scenario goes on: asked again and again, as a service manager would look.
pub type Keeper<'a> = &'a dyn Fn(&mut Instance);

/// The whole scenario, from the daemon's start to its end. Gives what was started. What another one has left in the shared
/// directory is removed first.
pub fn play(i: &mut Instance, keep: Keeper<'_>) -> Starts {
    for name in ["a", "b"] {
        let _ = std::fs::remove_file(i.shared.join(name));
    }
    write(i, "a", "1");
    write(i, "b", "1");
    i.launch();
    // One that is about to be started anew by itself is no crash of this scenario's.
    let crashed = loop {
        until(i, keep, "both run", |i| runs(i, "a", "1").is_some() && runs(i, "b", "1").is_some());
        if let Some(pid) = runs(i, "a", "1") {
            break pid;
        }
    };
    host::signal(crashed, Signal::SIGKILL);
    until(i, keep, "it is restarted", |i| runs(i, "a", "1").is_some_and(|pid| pid != crashed));
    write(i, "b", "2");
    until(i, keep, "it is replaced", |i| runs(i, "b", "2").is_some());
    i.remove("a.yaml");
    until(i, keep, "it is gone", |i| i.pod("a").is_none());
    stop_all(i, keep);
    let left = host::left_behind(&i.dir, &i.cgroup_root, None);
    assert!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    assert_eq!(i.lines("DOUBLE"), [""; 0], "two instances of a container ran at a time");
    i.remove("b.yaml");
    starts(i)
}

fn write(i: &Instance, name: &str, tag: &str) {
    let main = container("main", &guard(name, tag), &[]);
    i.write_manifest(&format!("{name}.yaml"), &pod(i, name, &["terminationGracePeriodSeconds: 1"], &[main]));
}

/// The pid of a guard that runs with this tag, has said so, and whose Pod is ready.
fn runs(i: &Instance, name: &str, tag: &str) -> Option<i32> {
    let said = i.lines(name).iter().rfind(|l| l.starts_with("start")) == Some(&format!("start {tag}"));
    if !said || !i.ready(name) {
        return None;
    }
    let pid = i.running_pid(name, "main")?;
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&arguments).contains(&format!("start {tag} ")).then_some(pid)
}

fn until(i: &mut Instance, keep: Keeper<'_>, what: &str, condition: impl Fn(&Instance) -> bool) {
    let end = Instant::now() + SOON;
    loop {
        keep(i);
        if condition(i) {
            return;
        }
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// `podstrap down`; once more, should the daemon die of it: without a daemon it does the work itself.
fn stop_all(i: &mut Instance, keep: Keeper<'_>) {
    let mut said = Vec::new();
    for _ in 0..3 {
        let mut down = Command::new(podstrap());
        down.args(["down", "--timeout", "20s", "--run-dir"]).arg(&i.run);
        let mut down =
            down.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while down.try_wait().unwrap().is_none() {
            keep(i);
            std::thread::sleep(PAUSE);
        }
        let output = down.wait_with_output().unwrap();
        if output.status.success() {
            if i.has_daemon() {
                let status = i.daemon_exit(SOON);
                assert!(status.success() || status.signal() == Some(9), "the daemon ended with {status}");
            }
            return;
        }
        said.push(describe(&output));
    }
    panic!("podstrap down: {}", said.join("\n"));
}

/// Every start that the guards have written down.
fn starts(i: &Instance) -> Starts {
    let mut found = Starts::new();
    for name in ["a", "b"] {
        for line in i.lines(name) {
            if let Some(tag) = line.strip_prefix("start ") {
                *found.entry((name.to_owned(), tag.to_owned())).or_default() += 1;
            }
        }
    }
    found
}
