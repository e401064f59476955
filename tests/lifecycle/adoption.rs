//! The daemon's own deaths: killed, stopped, replaced.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podstrap::report::ManifestState;

use crate::common::yaml::{canary, container, one, pod};
use crate::common::{SOON, assert_exit, host, instance};

#[test]
fn killed_and_started_again_it_adopts_everything() {
    let Some(mut i) = instance() else { return };
    for name in ["a", "b", "c"] {
        i.write_manifest(&format!("{name}.yaml"), &one(&i, name, &canary(name), &[]));
    }
    i.start();
    // One of them has been restarted before, so that there is a count to keep.
    host::signal(i.until_ready("a"), Signal::SIGKILL);
    i.until("the restart is counted", |i| i.restarts("a", "main") == 1 && i.ready("a"));
    let pids: Vec<i32> = ["a", "b", "c"].iter().map(|n| i.until_ready(n)).collect();
    let uid = i.pod("b").unwrap().uid;
    for _ in 0..5 {
        i.kill9();
        assert!(pids.iter().all(|p| host::alive(*p)), "containers live without the daemon");
        i.start();
    }
    for (name, pid) in ["a", "b", "c"].iter().zip(&pids) {
        assert_eq!(i.until_ready(name), *pid, "{name} is the same process");
    }
    assert_eq!(i.restarts("a", "main"), 1);
    assert_eq!(i.pod("b").unwrap().uid, uid);
    i.holds_for(Duration::from_secs(2), "nothing is started again", |i| {
        i.lines("a").len() == 2 && i.lines("b").len() == 1 && i.lines("c").len() == 1
    });
}

#[test]
fn killed_at_any_moment_of_a_start_it_starts_each_container_once() {
    let Some(mut i) = instance() else { return };
    i.start();
    // The daemon dies 0, 15, 30 … ms after a manifest has appeared.
    for n in 0..12 {
        let name = format!("p{n}");
        i.write_manifest(&format!("{name}.yaml"), &one(&i, &name, &canary(&name), &[]));
        std::thread::sleep(Duration::from_millis(15 * n));
        i.kill9();
        i.start();
    }
    for n in 0..12 {
        let name = format!("p{n}");
        i.until_ready(&name);
        let starts = i.lines(&name).iter().filter(|l| l.starts_with("start")).count();
        let ends = i.lines(&name).iter().filter(|l| l.starts_with("term")).count();
        // A start that was cut off half-way may be undone and made again; two at a time may never be.
        assert_eq!(starts, ends + 1, "{name}: {:?}", i.lines(&name));
        let running = i
            .records(&name, "main")
            .iter()
            .filter(|(_, r)| r.init.is_some_and(|p| host::alive(p.pid)))
            .count();
        assert_eq!(running, 1, "{name} runs once");
    }
}

#[test]
fn an_exit_while_the_daemon_is_away_is_counted_with_its_code() {
    let Some(mut i) = instance() else { return };
    let script = format!("{}\n", canary("web").replace("exit 0", "exit 42"));
    i.write_manifest("web.yaml", &one(&i, "web", &script, &[]));
    i.start();
    let pid = i.until_ready("web");
    i.kill9();
    host::signal(pid, Signal::SIGTERM);
    i.until("it has ended", |_| !host::alive(pid));
    i.start();
    i.until("it was started again", |i| i.restarts("web", "main") == 1 && i.ready("web"));
    assert_eq!(i.container("web", "main").unwrap().last_state.terminated.unwrap().exit_code, 42);
    assert_eq!(i.lines("web").iter().filter(|l| l.starts_with("start")).count(), 2);
}

#[test]
fn a_manifest_removed_while_the_daemon_is_away_is_stopped_with_its_grace() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    i.kill9();
    i.remove("web.yaml");
    i.start();
    i.until("it is stopped", |i| i.pod("web").is_none() && !host::alive(pid));
    assert_eq!(i.lines("web").len(), 2, "it got TERM");
}

#[test]
fn term_leaves_pods_running_and_the_next_run_adopts_them() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    assert_eq!(i.terminate().code(), Some(0));
    assert!(host::alive(pid));
    // Readers work without a daemon, and say that there is none.
    let output = i.cli("status", &[]);
    let said = crate::common::describe(&output);
    assert!(said.contains("web-node1") || said.contains("web"), "{said}");
    assert!(said.contains("not running"), "{said}");
    i.start();
    assert_eq!(i.until_ready("web"), pid);
    assert_eq!(i.lines("web").len(), 1);
}

#[test]
fn with_on_exit_stop_the_daemon_takes_its_pods_along() {
    let Some(mut i) = instance() else { return };
    i.args(&["--on-exit", "stop"]);
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    assert_eq!(i.terminate().code(), Some(0));
    assert!(!host::alive(pid));
    assert_eq!(i.lines("web").len(), 2, "it got TERM");
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, None), [""; 0]);
}

#[test]
fn down_stops_critical_pods_last_and_one_by_one_in_reverse_order() {
    let Some(mut i) = instance() else { return };
    let script = |name: &str| {
        format!(
            "trap 'echo {name} term >>/shared/order; sleep 1; echo {name} end >>/shared/order; exit 0' TERM\n\
             echo {name} start >>/shared/order; while :; do sleep 1000 & wait $!; done"
        )
    };
    i.start();
    for name in ["first", "second", "web"] {
        let spec = ["terminationGracePeriodSeconds: 20", "priorityClassName: system-node-critical"];
        let spec = if name == "web" { &spec[..1] } else { &spec };
        let manifest = pod(&i, name, spec, &[container("main", &script(name), &[])]);
        i.write_manifest(&format!("{name}.yaml"), &manifest);
        i.until_ready(name);
        i.until("its trap is set", |i| i.lines("order").contains(&format!("{name} start")));
    }
    i.cli_ok("down", &[]);
    let order = i.lines("order");
    let expected = ["web term", "web end", "second term", "second end", "first term", "first end"];
    assert_eq!(order[3..], expected, "{order:?}");
    assert_eq!(i.daemon_exit(SOON).code(), Some(0), "with all of them stopped, the daemon ends");
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, None), [""; 0]);
    i.start();
    for name in ["first", "second", "web"] {
        i.until_ready(name);
    }
    i.until("a new run starts them anew", |i| i.lines("order").len() == 12);
}

#[test]
fn down_of_many_stubborn_pods_takes_no_longer_than_one_of_them() {
    let Some(mut i) = instance() else { return };
    let names = ["a", "b", "c", "d", "e"];
    let grace = &["terminationGracePeriodSeconds: 3"];
    let script =
        "trap 'echo term >>/shared/heard' TERM; echo start >>/shared/heard; while :; do sleep 1; done";
    for name in names {
        let manifest = pod(&i, name, grace, &[container("main", script, &[])]);
        i.write_manifest(&format!("{name}.yaml"), &manifest);
    }
    i.start();
    let pids = names.map(|name| i.until_ready(name));
    i.until("their traps are set", |i| i.lines("heard").len() == 5);
    let began = Instant::now();
    i.cli_ok("down", &[]);
    let took = began.elapsed().as_secs_f64();
    assert!((3.0..9.0).contains(&took), "{took} s");
    assert!(!pids.into_iter().any(host::alive));
    assert_eq!(i.lines("heard").iter().filter(|l| *l == "term").count(), 5, "each was asked first");
    assert_eq!(i.daemon_exit(SOON).code(), Some(0));
}

#[test]
fn down_of_one_pod_leaves_the_other() {
    let Some(mut i) = instance() else { return };
    for name in ["a", "b"] {
        i.write_manifest(&format!("{name}.yaml"), &one(&i, name, &canary(name), &[]));
    }
    i.start();
    let (a, b) = (i.until_ready("a"), i.until_ready("b"));
    i.cli_ok("down", &["a"]);
    assert!(!host::alive(a) && host::alive(b));
    assert_exit(&i.cli("down", &["no-such-pod"]), 1);
    // It stays so while the daemon lives and its manifest does not change; a comment is no change.
    i.write_manifest("a.yaml", &format!("# a comment\n{}", one(&i, "a", &canary("a"), &[])));
    i.holds_for(Duration::from_secs(2), "it stays down", |i| i.lines("a").len() == 2 && host::alive(b));
    assert!(matches!(i.pod("a").unwrap().manifest, ManifestState::Held));
    i.write_manifest("a.yaml", &one(&i, "a", &canary("again"), &[]));
    i.until_ready("a");
    assert!(host::alive(b));
}

#[test]
fn a_killed_monitor_is_noticed_and_its_container_replaced() {
    if !crate::common::with_runc() {
        return;
    }
    let Some(mut i) = instance() else { return };
    let manifest = pod(&i, "web", &[], &[container("main", &canary("web"), &[])]);
    i.write_manifest("web.yaml", &manifest);
    i.start();
    let old = i.until_ready("web");
    let (_, record) = i.records("web", "main").pop().unwrap();
    host::signal(record.monitor.pid, Signal::SIGKILL);
    i.until("a new one runs", |i| i.running_pid("web", "main").is_some_and(|p| p != old) && i.ready("web"));
    assert!(!host::alive(old), "the container without a monitor was stopped");
    assert_eq!(i.restarts("web", "main"), 1);
}

/// None of these is a wish that the Pod should end: its file is there, and cannot be judged just now.
#[test]
fn a_file_that_cannot_be_read_when_the_daemon_starts_does_not_stop_its_pod() {
    use std::os::unix::fs::PermissionsExt;
    let Some(mut i) = instance() else { return };
    for name in ["busy", "open", "gone"] {
        i.write_manifest(&format!("{name}.yaml"), &one(&i, name, &canary(name), &[]));
    }
    i.start();
    let pids: Vec<i32> = ["busy", "open"].iter().map(|n| i.until_ready(n)).collect();
    i.until_ready("gone");
    i.kill9();
    let writer = std::fs::OpenOptions::new().append(true).open(i.manifests.join("busy.yaml")).unwrap();
    let open = i.manifests.join("open.yaml");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).unwrap();
    i.start();
    i.until("the file's fault is told", |i| {
        i.pod("open").is_some_and(|p| matches!(p.manifest, ManifestState::Kept { .. }))
    });
    i.remove("gone.yaml");
    i.until("a file that was seen to go takes its Pod with it", |i| i.pod("gone").is_none());
    i.holds_for(Duration::from_secs(3), "the others go on", |i| {
        i.lines("busy").len() == 1 && i.lines("open").len() == 1
    });
    drop(writer);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    i.until("all is well again", |i| {
        ["busy", "open"]
            .iter()
            .all(|n| i.pod(n).is_some_and(|p| matches!(p.manifest, ManifestState::Current { .. })))
    });
    assert_eq!(["busy", "open"].map(|n| i.until_ready(n)).to_vec(), pids);
}

/// Another boot is played by other boot ids on disk.
#[test]
fn volumes_of_pods_that_went_while_the_host_was_down_are_removed() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    i.until_ready("web");
    let generation = i.pod("web").unwrap().generation.unwrap();
    i.cli_ok("down", &[]);
    i.daemon_exit(SOON);
    let volumes = |name: &str| i.state.join("pods").join(name).join("volumes/data");
    let (wanted, stale) = (volumes(generation.as_str()), volumes("0123456789abcdef0123456789abcdef"));
    for dir in [&wanted, &stale] {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("file"), "x").unwrap();
    }
    // A new run directory alone does not make another boot: what lies in the state directory may be in use.
    std::fs::remove_dir_all(&i.run).unwrap();
    i.start();
    i.until_ready("web");
    assert!(wanted.exists() && stale.exists());
    i.cli_ok("down", &[]);
    i.daemon_exit(SOON);
    std::fs::create_dir_all(&wanted).unwrap();
    for dir in [&i.run, &i.state] {
        std::fs::write(dir.join("boot_id"), "another").unwrap();
    }
    let pods = i.state.join("pods");
    i.start();
    i.until_ready("web");
    i.until("what nothing wants is gone", |_| std::fs::read_dir(&pods).unwrap().count() == 1);
    assert!(pods.join(generation.as_str()).join("volumes/data").exists());
}

#[test]
fn killed_before_a_run_was_described_it_forgets_that_run() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    let (record, _) = i.records("web", "main").pop().unwrap();
    i.kill9();
    let next = record.parent().unwrap().join("1");
    std::fs::create_dir(&next).unwrap();
    std::fs::write(next.join(".spec.json.1"), "{").unwrap();
    i.start();
    assert_eq!(i.until_ready("web"), pid);
    assert_eq!(i.restarts("web", "main"), 0);
    host::signal(pid, Signal::SIGKILL);
    i.until("it is supervised", |i| i.restarts("web", "main") == 1 && i.ready("web"));
}
