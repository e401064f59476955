//! What the machine may do to the daemon: no process to be had, a cgroup that cannot be killed, a flood of file events, a
//! /proc that hides others.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::yaml::one;
use crate::common::{Instance, host};
use crate::inject::{assert_no_double, cpu_ms, guard, instance, until_guarded};

/// Where the hierarchy is mounted that has this controller, and whether it is one of version 1.
fn hierarchy(controller: &str) -> Option<(PathBuf, bool)> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = || table.lines().map(|l| l.split(' ').collect::<Vec<_>>());
    let v1 = fields().find(|f| f[2] == "cgroup" && f[3].split(',').any(|o| o == controller));
    if let Some(found) = v1 {
        return Some((found[1].into(), true));
    }
    let v2 = fields().find(|f| f[2] == "cgroup2")?;
    let given = fs::read_to_string(format!("{}/cgroup.subtree_control", v2[1])).unwrap_or_default();
    given.split_whitespace().any(|c| c == controller).then(|| (v2[1].into(), false))
}

/// A cgroup that goes with this, when everything in it has ended.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("pids.max"), "max");
        let end = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn put(i: &Instance, name: &str, tag: &str) {
    i.write_manifest(&format!("{name}.yaml"), &one(i, name, &guard(name, tag), &[]));
}

#[test]
fn without_a_process_to_be_had_it_waits_and_recovers() {
    let Some((mount, _)) = hierarchy("pids") else {
        return host::skip("no cgroup hierarchy limits the number of processes");
    };
    let Some(mut i) = instance() else { return };
    let group = Group(mount.join(format!("{}-tight", i.cgroup_root)));
    fs::create_dir(&group.0).unwrap();
    // The daemon, its monitors and helpers; containers are put into groups of their own.
    let enter = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", group.0.display());
    i.prefix = ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec();
    i.args(&["--restart-backoff", "50ms,500ms", "--rescan", "1"]);
    for name in ["a", "b", "c", "d"] {
        put(&i, name, "1");
    }
    i.start();
    for name in ["a", "b", "c", "d"] {
        until_guarded(&i, name, "1");
    }
    let most = |n: &str| fs::write(group.0.join("pids.max"), n).unwrap();
    let (daemon, untouched) = (i.daemon_pid(), i.running_pid("a", "main").unwrap());
    // A crash, an edit, a removal and a new Pod, while no fork succeeds.
    most("1");
    host::signal(i.running_pid("b", "main").unwrap(), Signal::SIGKILL);
    put(&i, "c", "2");
    i.remove("d.yaml");
    put(&i, "e", "1");
    let cpu = cpu_ms(daemon);
    i.holds_for(Duration::from_secs(3), "who is not touched runs on", |_| host::alive(untouched));
    let used = cpu_ms(daemon) - cpu;
    assert!(used < 900, "without processes the daemon used {used} ms of processor time in 3 s");
    assert_eq!(i.daemon_pid(), daemon);
    most("max");
    for (name, tag) in [("a", "1"), ("b", "1"), ("c", "2"), ("e", "1")] {
        until_guarded(&i, name, tag);
    }
    i.until("the removed one is gone", |i| i.pod("d").is_none());
    assert_eq!(i.running_pid("a", "main"), Some(untouched));
    let log = fs::read_to_string(i.daemon_log()).unwrap();
    assert!(log.lines().count() < 400, "{} lines were logged", log.lines().count());
    assert_no_double(&i);
    drop(i);
}

#[test]
fn what_cannot_be_killed_is_told_and_has_no_successor_before_its_end() {
    // On cgroup v2 what is frozen can be killed.
    let Some((mount, true)) = hierarchy("freezer") else {
        return eprintln!("no freezer of cgroup v1: nothing here resists SIGKILL");
    };
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,500ms"]);
    put(&i, "web", "1");
    put(&i, "other", "1");
    i.start();
    until_guarded(&i, "web", "1");
    until_guarded(&i, "other", "1");
    let pid = i.running_pid("web", "main").unwrap();
    // The Pod's own group, above the container's: thawing the container does not help.
    let generation = i.pod("web").unwrap().generation.unwrap();
    let state = mount.join(&i.cgroup_root).join(format!("pod{generation}")).join("freezer.state");
    fs::write(&state, "FROZEN").unwrap();
    put(&i, "web", "2");
    i.until("KILL was sent", |i| fs::read_to_string(i.daemon_log()).unwrap().contains("grace period: KILL"));
    host::signal(i.running_pid("other", "main").unwrap(), Signal::SIGKILL);
    i.until_within(Duration::from_secs(3), "others are restarted", |i| i.lines("other").len() == 2);
    i.kill9();
    i.start();
    i.holds_for(Duration::from_secs(2), "there is no second one", |i| {
        host::alive(pid) && i.lines("web") == ["start 1"]
    });
    assert!(i.pod("web").is_some_and(|p| p.deletion_timestamp.is_some()), "it is shown as ending");
    fs::write(&state, "THAWED").unwrap();
    until_guarded(&i, "web", "2");
    assert!(!host::alive(pid));
    assert_no_double(&i);
}

#[test]
fn ten_thousand_events_a_second() {
    let Some(mut i) = instance() else { return };
    put(&i, "web", "1");
    i.start();
    until_guarded(&i, "web", "1");
    let (daemon, pid) = (i.daemon_pid(), i.running_pid("web", "main").unwrap());
    let cpu = cpu_ms(daemon);
    let begun = Instant::now();
    let mut events = 0_u32;
    let (mut changed, mut took) = (None::<Instant>, None);
    while begun.elapsed() < Duration::from_secs(4) {
        // CREATE, CLOSE_WRITE, MOVED_FROM, MOVED_TO, DELETE: of names that could be a manifest's, and of others.
        let from = i.manifests.join(format!("x{}.yaml", events % 97));
        let to = i.manifests.join(format!("y{}.txt", events % 89));
        drop(fs::File::create(&from).unwrap());
        fs::rename(&from, &to).unwrap();
        fs::remove_file(&to).unwrap();
        events += 5;
        if changed.is_none() && begun.elapsed() > Duration::from_secs(1) {
            put(&i, "new", "1");
            changed = Some(Instant::now());
        }
        if took.is_none() && events.is_multiple_of(1000) && !i.lines("new").is_empty() {
            took = changed.map(|at| at.elapsed());
        }
        let due = begun + Duration::from_micros(u64::from(events) * 100);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let span = begun.elapsed();
    until_guarded(&i, "new", "1");
    eprintln!(
        "{} events a second for {span:?}: {} ms of processor time (dev build); a Pod among them ran after {took:?}",
        u128::from(events) * 1000 / span.as_millis(),
        cpu_ms(daemon) - cpu
    );
    assert!(took.is_some(), "no Pod was started under the flood within three seconds");
    assert_eq!(i.running_pid("web", "main"), Some(pid));
    put(&i, "web", "2");
    until_guarded(&i, "web", "2");
    assert_no_double(&i);
}

#[test]
fn more_events_than_the_kernel_keeps() {
    let Some(mut i) = instance() else { return };
    for name in ["a", "b"] {
        put(&i, name, "1");
    }
    i.start();
    for name in ["a", "b"] {
        until_guarded(&i, name, "1");
    }
    let kept = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let kept: usize = kept.trim().parse().unwrap();
    let a = i.running_pid("a", "main").unwrap();
    host::signal(i.daemon_pid(), Signal::SIGSTOP);
    for n in 0..=kept / 2 {
        // Two names by turns, or the kernel takes equal events in a row for one.
        let file = i.manifests.join(["x.txt", "y.txt"][n % 2]);
        drop(fs::File::create(&file).unwrap());
        fs::remove_file(&file).unwrap();
    }
    // Nothing is told of these any more.
    i.remove("b.yaml");
    put(&i, "c", "1");
    host::signal(i.daemon_pid(), Signal::SIGCONT);
    // Long before the next scan, which comes after 20 s.
    let begun = Instant::now();
    until_guarded(&i, "c", "1");
    i.until("b is gone", |i| i.pod("b").is_none());
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    assert_eq!(i.running_pid("a", "main"), Some(a));
    assert_no_double(&i);
}

#[test]
fn a_proc_that_hides_what_others_run() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,500ms"]);
    // A /proc of its own: the machine's is not touched.
    let script = "mount --make-rprivate / && mount -t proc -o hidepid=2 proc /proc && exec \"$@\"";
    i.prefix = ["unshare", "--mount", "sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    put(&i, "web", "1");
    i.start();
    until_guarded(&i, "web", "1");
    let pid = i.running_pid("web", "main").unwrap();
    i.kill9();
    i.start();
    i.until("it is ready", |i| i.ready("web"));
    assert_eq!(i.running_pid("web", "main"), Some(pid), "it was adopted");
    host::signal(pid, Signal::SIGKILL);
    i.until("it is restarted", |i| i.lines("web").len() == 2 && i.ready("web"));
    let (_, record) = i.records("web", "main").pop().unwrap();
    host::signal(record.monitor.pid, Signal::SIGKILL);
    i.until("it is started again", |i| i.lines("web").len() == 3 && i.ready("web"));
    i.remove("web.yaml");
    i.until("it is gone", |i| i.pod("web").is_none());
    assert_no_double(&i);
}
