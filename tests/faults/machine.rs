//! What the machine may do to the daemon: no process to be had, a cgroup that cannot be killed, a flood of file events, a
//! /proc that hides others.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::yaml::one;
use crate::common::{Instance, host};
use crate::inject::{assert_no_double, cpu_ms, guard, instance, resident_kib, until_guarded};

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
fn a_run_that_cannot_be_cleared_away_is_shown_until_it_is() {
    let Some((mount, true)) = hierarchy("freezer") else {
        return eprintln!("no freezer of cgroup v1: nothing here resists SIGKILL");
    };
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,500ms"]);
    put(&i, "web", "1");
    i.start();
    until_guarded(&i, "web", "1");
    let generation = i.pod("web").unwrap().generation.unwrap();
    let state = mount.join(&i.cgroup_root).join(format!("pod{generation}")).join("freezer.state");
    fs::write(&state, "FROZEN").unwrap();
    let (_, record) = i.records("web", "main").pop().unwrap();
    host::signal(record.monitor.pid, Signal::SIGKILL);
    let told = "what its last run left cannot be cleared away";
    // A sweeper tries for ten seconds.
    i.until_within(Duration::from_secs(60), "it is shown", |i| {
        i.pod("web").is_some_and(|p| p.message.is_some_and(|m| m.contains(told)))
    });
    let why = crate::common::text(&i.cli("why", &["web"]).stdout);
    assert!(why.contains(told) && why.contains("end what keeps it"), "{why}");
    assert!(fs::read_to_string(i.daemon_log()).unwrap().contains(&format!("{told} (1 try)")));
    assert_eq!(i.lines("web"), ["start 1"], "no second one beside it");
    fs::write(&state, "THAWED").unwrap();
    i.until_within(Duration::from_secs(30), "it is started again", |i| i.lines("web").len() == 2);
    i.until("nothing is told any more", |i| i.pod("web").is_some_and(|p| p.message.is_none()));
    assert_no_double(&i);
}

/// So many Pods.
const MANY: usize = 20;

#[test]
fn a_daemon_that_is_killed_for_want_of_memory_loses_nothing() {
    let Some((mount, is_v1)) = hierarchy("memory") else {
        return host::skip("no cgroup hierarchy limits memory");
    };
    let Some(mut i) = instance() else { return };
    let group = Group(mount.join(format!("{}-tight", i.cgroup_root)));
    fs::create_dir(&group.0).unwrap();
    let limit = group.0.join(if is_v1 { "memory.limit_in_bytes" } else { "memory.max" });
    let limit_to = |bytes: u64| fs::write(&limit, bytes.to_string());
    // The daemon alone: its monitors are many, and which of all the kernel would take is not what is tried here.
    let enter = |i: &Instance| {
        let pid = i.daemon_pid();
        fs::write(group.0.join("cgroup.procs"), pid.to_string()).unwrap();
    };
    let name = |n: usize| format!("p{n}");
    (0..MANY).for_each(|n| put(&i, &name(n), "1"));
    i.start();
    (0..MANY).for_each(|n| until_guarded(&i, &name(n), "1"));
    let pids = |i: &Instance| (0..MANY).map(|n| i.running_pid(&name(n), "main")).collect::<Vec<_>>();
    let (before, mut kills) = (pids(&i), 0);
    assert!(before.iter().all(Option::is_some));
    // What it holds now, and little more: then there is a lot to read.
    let filler = format!("# {}\n", "x".repeat(400 * 1024));
    for round in 0..3 {
        let resident = resident_kib(i.daemon_pid());
        enter(&i);
        // Pages that it had before are not charged to the group.
        limit_to(2 << 20).unwrap();
        for n in 0..40 {
            let manifest =
                one(&i, "more", &guard("more", "1"), &[]).replace("name: more", &format!("name: more{n}"));
            i.write_manifest(&format!("more{n}.yaml"), &format!("{filler}{manifest}bad{round}: [{n}\n"));
        }
        i.until_within(Duration::from_secs(30), "the kernel kills it", |i| !host::alive(i.daemon_pid()));
        let status = i.daemon_exit(Duration::from_secs(5));
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
        kills += 1;
        eprintln!("killed for want of memory, with {resident} KiB resident before (dev build)");
        (0..40).for_each(|n| i.remove(&format!("more{n}.yaml")));
        i.start();
        i.until("all are known", |i| (0..MANY).all(|n| i.ready(&name(n))));
        assert_eq!(pids(&i), before, "nothing was restarted");
    }
    assert_eq!(kills, 3);
    assert!((0..MANY).all(|n| i.lines(&name(n)) == ["start 1"] && i.restarts(&name(n), "main") == 0));
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
