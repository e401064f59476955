//! Damaged, stale, foreign and misplaced files where podstrap keeps its state.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::common::yaml::{canary, one};
use crate::common::{Instance, SOON, assert_exit, describe, host, podstrap, text};
use crate::inject::{assert_no_double, guard, instance, until_guarded};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three guarded Pods that run under a daemon that has been killed.
fn three_without_a_daemon(i: &mut Instance) -> Vec<i32> {
    i.args(&["--restart-backoff", "50ms,500ms"]);
    for name in NAMES {
        i.write_manifest(&format!("{name}.yaml"), &one(i, name, &guard(name, "1"), &[]));
    }
    i.start();
    NAMES.iter().for_each(|name| until_guarded(i, name, "1"));
    let pids = NAMES.iter().map(|name| i.running_pid(name, "main").unwrap()).collect();
    i.kill9();
    pids
}

/// The only run of each Pod.
fn attempts(i: &Instance) -> Vec<PathBuf> {
    NAMES.iter().map(|name| i.records(name, "main").pop().unwrap().0).collect()
}

/// The directory of the generation that a run belongs to.
fn generation(attempt: &Path) -> PathBuf {
    attempt.ancestors().nth(3).unwrap().to_owned()
}

#[test]
fn damaged_state_files_restart_nothing() {
    let Some(mut i) = instance() else { return };
    let pids = three_without_a_daemon(&mut i);
    let runs = attempts(&i);
    // Each file in its turn is cut in half, emptied, or garbage; then all of them.
    type FileOf = fn(&Path) -> PathBuf;
    let rounds: [(&str, FileOf); 5] = [
        ("pod.json", |r| generation(r).join("pod.json")),
        ("state.json", |r| generation(r).join("state.json")),
        ("spec.json", |r| r.join("spec.json")),
        ("record.json", |r| r.join("record.json")),
        ("boot_id", |r| generation(r).join("../../boot_id")),
    ];
    for (what, path) in rounds {
        for (n, run) in runs.iter().enumerate() {
            let path = path(run);
            let whole = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let damaged = match n {
                0 => whole[..whole.len() / 2].to_vec(),
                1 => Vec::new(),
                _ => b"\xff\xfe{]".to_vec(),
            };
            fs::write(&path, damaged).unwrap();
        }
        fs::write(i.run.join("status/daemon.json"), "{").unwrap();
        i.start();
        for (name, pid) in NAMES.iter().zip(&pids) {
            i.until(&format!("{name} is ready after {what} was damaged"), |i| i.ready(name));
            assert!(host::alive(*pid), "{name} was stopped for its {what}");
        }
        i.holds_for(Duration::from_millis(300), "nothing is started", |i| {
            NAMES.iter().all(|n| i.lines(n).len() == 1)
        });
        i.kill9();
    }
    // They can still be stopped and changed.
    i.start();
    i.remove("a.yaml");
    i.write_manifest("b.yaml", &one(&i, "b", &guard("b", "2"), &[]));
    i.until("a is gone", |i| i.pod("a").is_none());
    until_guarded(&i, "b", "2");
    assert_eq!(i.lines("a"), ["start 1", "term 1"]);
    assert_no_double(&i);
}

#[test]
fn with_every_state_file_damaged_at_once_a_container_still_runs_only_once() {
    let Some(mut i) = instance() else { return };
    let pids = three_without_a_daemon(&mut i);
    for run in attempts(&i) {
        let generation = generation(&run);
        for path in ["pod.json", "state.json"].map(|f| generation.join(f)) {
            fs::write(path, "{").unwrap();
        }
        for path in ["spec.json", "record.json"].map(|f| run.join(f)) {
            fs::write(path, "").unwrap();
        }
    }
    i.start();
    for name in NAMES {
        i.until("it is ready", |i| i.ready(name));
    }
    assert!(pids.iter().all(|p| host::alive(*p)));
    for name in NAMES {
        i.remove(&format!("{name}.yaml"));
        i.until("it is gone", |i| i.pod(name).is_none());
        assert_eq!(i.lines(name), ["start 1", "term 1"]);
    }
    assert_no_double(&i);
}

#[test]
fn a_run_whose_first_file_was_never_written_is_begun_anew() {
    let Some(mut i) = instance() else { return };
    three_without_a_daemon(&mut i);
    for (n, run) in attempts(&i).into_iter().enumerate() {
        // As a daemon leaves it that is killed between making the directory and writing into it.
        let next = run.parent().unwrap().join("1");
        fs::create_dir(&next).unwrap();
        if n > 0 {
            fs::write(next.join(".spec.json.123"), "{\"ver").unwrap();
        }
        if n > 1 {
            fs::write(next.join("lock"), "").unwrap();
        }
        let (_, record) = i.records(NAMES[n], "main").pop().unwrap();
        host::signal(record.init.unwrap().pid, nix::sys::signal::Signal::SIGKILL);
        i.until("its end is recorded", |_| !host::alive(record.monitor.pid));
    }
    i.start();
    for name in NAMES {
        i.until("it runs again", |i| i.lines(name).len() == 2 && i.ready(name));
    }
    assert_no_double(&i);
}

#[test]
fn runs_whose_files_were_removed_are_made_an_end_of_before_the_next() {
    let Some(mut i) = instance() else { return };
    three_without_a_daemon(&mut i);
    let runs = attempts(&i);
    for file in ["spec.json", "record.json", "lock"] {
        fs::remove_file(runs[0].join(file)).unwrap();
    }
    // Whoever is not sure to be watched is not left running: its exit would not be seen.
    fs::remove_file(runs[1].join("lock")).unwrap();
    // And one loses everything while the daemon lives.
    i.start();
    for name in ["a", "b"] {
        i.until("it runs again", |i| {
            i.lines(name).iter().filter(|l| l.starts_with("start")).count() == 2 && i.ready(name)
        });
    }
    let (_, record) = i.records("c", "main").pop().unwrap();
    for file in ["spec.json", "record.json", "lock", "bundle/config.json"] {
        fs::remove_file(runs[2].join(file)).unwrap();
    }
    host::signal(record.monitor.pid, nix::sys::signal::Signal::SIGKILL);
    i.until("it runs again", |i| i.lines("c").len() == 2 && i.ready("c"));
    assert_no_double(&i);
}

#[test]
fn a_copy_of_a_generation_is_not_taken_for_one() {
    let Some(mut i) = instance() else { return };
    let pids = three_without_a_daemon(&mut i);
    let generation = generation(&attempts(&i)[0]);
    let tail = generation.file_name().unwrap().to_str().unwrap();
    for copy in [format!("{tail}.bak"), format!("zz-{tail}-{tail}"), "0".to_owned()] {
        let to = i.run.join("pods").join(copy);
        // The root file system that is mounted in it is not to be copied along.
        let done = Command::new("cp").args(["-ax"]).arg(&generation).arg(&to).status().unwrap();
        assert!(done.success());
    }
    fs::write(i.run.join("pods/stray-file"), "x").unwrap();
    fs::create_dir(i.run.join("pods/stray-directory")).unwrap();
    i.start();
    for name in NAMES {
        i.until("it is ready", |i| i.ready(name));
    }
    i.holds_for(Duration::from_secs(1), "nothing is stopped", |_| pids.iter().all(|p| host::alive(*p)));
    i.remove("a.yaml");
    i.until("it is gone", |i| i.pod("a").is_none());
    assert!(!host::alive(pids[0]) && host::alive(pids[1]) && host::alive(pids[2]));
    assert_no_double(&i);
}

#[test]
fn what_another_boot_left_names_strangers_and_nobody_is_signalled() {
    let Some(mut i) = instance() else { return };
    three_without_a_daemon(&mut i);
    // All of it is as after a power cut: no process, no mount, no cgroup; the files lie on a disk.
    let saved = i.dir.join("saved");
    let copied = Command::new("cp").arg("-ax").arg(&i.run).arg(&saved).status().unwrap();
    assert!(copied.success());
    i.start();
    i.cli_ok("down", &[]);
    i.daemon_exit(SOON);
    fs::remove_dir_all(&i.run).unwrap();
    fs::rename(&saved, &i.run).unwrap();
    // The pids in it belong to strangers by now, with the very start times that are recorded.
    let mut strangers: Vec<_> =
        (0..3).map(|_| Command::new("sleep").arg("1000").current_dir("/").spawn().unwrap()).collect();
    let boot = fs::read_to_string(i.run.join("boot_id")).unwrap();
    let other = boot.chars().rev().collect::<String>();
    for file in host::files_below(&i.run) {
        if let Ok(text) = fs::read_to_string(&file) {
            fs::write(&file, text.replace(boot.trim(), other.trim())).unwrap();
        }
    }
    for (stranger, file) in strangers
        .iter()
        .zip(host::files_below(&i.run.join("pods")).iter().filter(|f| f.ends_with("record.json")))
    {
        let stat = fs::read_to_string(format!("/proc/{}/stat", stranger.id())).unwrap();
        let ticks: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
        let mut record: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        for who in ["monitor", "init"] {
            record[who] = serde_json::json!({"pid": stranger.id(), "start_ticks": ticks});
        }
        fs::write(file, record.to_string()).unwrap();
    }
    for file in host::files_below(&i.run).iter().filter(|f| f.ends_with("lock")) {
        fs::write(file, strangers[0].id().to_string()).unwrap();
    }
    i.start();
    for name in NAMES {
        i.until("it runs anew", |i| i.lines(name).len() == 3 && i.ready(name));
    }
    for stranger in &mut strangers {
        assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
    assert_no_double(&i);
}

#[test]
fn garbage_among_requests_and_archives_is_survived() {
    let Some(mut i) = instance() else { return };
    i.args(&["--rescan", "1"]);
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    let requests = i.run.join("requests");
    fs::create_dir(requests.join("dir.json")).unwrap();
    mkfifo(&requests.join("fifo.json"), Mode::from_bits_truncate(0o600)).unwrap();
    symlink("/dev/zero", requests.join("zero.json")).unwrap();
    symlink("nowhere", requests.join("nowhere.json")).unwrap();
    fs::write(requests.join("half.json"), "{\"verb\":\"do").unwrap();
    fs::write(requests.join("binary.json"), [0xff; 4096]).unwrap();
    fs::write(requests.join("odd.json"), r#"{"verb":"down","pods":["", "/", "a/b/c", "no-slash"]}"#).unwrap();
    fs::File::create(requests.join("sparse.json")).unwrap().set_len(1 << 40).unwrap();
    fs::write(i.run.join("notify"), "request\n\nx\n\u{0} y z\nrequest\n").unwrap();
    mkfifo(&i.images_dir().join("fifo.tar"), Mode::from_bits_truncate(0o600)).unwrap();
    symlink("/dev/zero", i.images_dir().join("zero.tar")).unwrap();
    fs::create_dir(i.images_dir().join("dir.tar")).unwrap();
    i.write_manifest("more.yaml", &one(&i, "more", &canary("more"), &[]));
    i.until_ready("more");
    i.until("requests are cleared away", |_| {
        !["half", "binary", "odd", "sparse"].iter().any(|n| requests.join(format!("{n}.json")).exists())
    });
    i.cli_ok("down", &["more"]);
    assert!(host::alive(pid));
    for odd in ["fifo.tar", "zero.tar"] {
        fs::remove_file(i.images_dir().join(odd)).unwrap();
    }
}

#[test]
fn a_damaged_image_index_stops_nothing_and_is_mended() {
    let Some(mut i) = instance() else { return };
    i.args(&["--rescan", "1"]);
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    let index = i.state.join("images/index.json");
    let whole = fs::read(&index).unwrap();
    fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    i.holds_for(Duration::from_secs(2), "it runs on", |_| host::alive(pid));
    // The archive is still there.
    i.write_manifest("more.yaml", &one(&i, "more", &canary("more"), &[]));
    i.until_ready("more");
    assert!(host::alive(pid));
}

#[test]
fn two_daemons_by_two_names_of_one_run_directory() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "1"), &[]));
    i.start();
    until_guarded(&i, "web", "1");
    let link = i.dir.join("link");
    symlink(&i.run, &link).unwrap();
    let (real, daemon) = (i.run.clone(), i.daemon_pid());
    for name in [link.clone(), i.dir.join("./log/../run")] {
        i.run = name;
        let output = i.run_command(&podstrap()).output().unwrap();
        assert_exit(&output, 1);
        assert!(text(&output.stderr).contains(&daemon.to_string()), "{}", describe(&output));
    }
    i.run = real.clone();
    // Taken over by another name, and back.
    let pid = i.running_pid("web", "main").unwrap();
    for name in [&link, &real] {
        i.kill9();
        i.run = name.clone();
        i.start();
        i.until("it is ready", |i| i.ready("web"));
        assert!(host::alive(pid));
    }
    host::signal(pid, nix::sys::signal::Signal::SIGKILL);
    i.until("it is restarted", |i| i.lines("web").len() == 2);
    assert_no_double(&i);
}

#[test]
fn with_the_whole_run_directory_gone_nothing_runs_twice() {
    let Some(mut i) = instance() else { return };
    let before = three_without_a_daemon(&mut i);
    // Moved away rather than removed, so that what is mounted below does not stop it; and one manifest goes meanwhile.
    fs::rename(&i.run, i.dir.join("gone")).unwrap();
    i.remove("c.yaml");
    i.start();
    for name in ["a", "b"] {
        i.until("it runs", |i| i.lines(name) == ["start 1", "start 1"] && i.ready(name));
    }
    assert!(before.iter().all(|pid| !host::alive(*pid)), "what nobody knows of any more was ended");
    assert_eq!(i.lines("c"), ["start 1"]);
    // Their monitors wrote nothing to the new ones' files, and hold nothing any more.
    i.holds_for(Duration::from_millis(300), "they run on", |i| {
        ["a", "b"].iter().all(|n| i.ready(n) && i.restarts(n, "main") <= 1 && i.lines(n).len() == 2)
    });
    assert_no_double(&i);
}

#[test]
fn two_daemons_on_one_state_directory() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "1"), &[]));
    i.start();
    until_guarded(&i, "web", "1");
    let (run, daemon) = (i.run.clone(), i.daemon_pid());
    i.run = i.dir.join("other-run");
    let output = i.run_command(&podstrap()).output().unwrap();
    assert_exit(&output, 1);
    let said = text(&output.stderr);
    assert!(said.contains(&daemon.to_string()) && said.contains(i.state.to_str().unwrap()), "{said}");
    i.run = run;
    // Its death frees both.
    i.kill9();
    i.start();
    i.until("it is ready", |i| i.ready("web"));
    assert_eq!(i.lines("web"), ["start 1"]);
}

#[test]
fn a_pod_that_was_stopped_by_hand_stays_so_when_the_daemon_dies() {
    let Some(mut i) = instance() else { return };
    for name in NAMES {
        i.write_manifest(&format!("{name}.yaml"), &one(&i, name, &guard(name, "1"), &[]));
    }
    i.start();
    NAMES.iter().for_each(|name| until_guarded(&i, name, "1"));
    i.cli_ok("down", &["a", "--timeout", "10s"]);
    i.kill9();
    // One more while no daemon lives: this stops it and remembers that.
    i.cli_ok("down", &["b", "--timeout", "10s"]);
    let ends = |i: &Instance, name: &str| i.lines(name) == ["start 1", "term 1"];
    assert!(ends(&i, "a") && ends(&i, "b"));
    for _ in 0..2 {
        i.start();
        i.until("the third one is ready", |i| i.ready("c"));
        i.until("the others are shown as stopped", |i| {
            ["a", "b"].iter().all(|n| i.pod(n).is_some_and(|p| p.summary == "Stopped"))
        });
        i.holds_for(Duration::from_millis(400), "they stay stopped", |i| ends(i, "a") && ends(i, "b"));
        i.kill9();
    }
    // Another manifest, or the same one put back, is a new wish; also while no daemon lives.
    i.write_manifest("a.yaml", &one(&i, "a", &guard("a", "2"), &[]));
    i.start();
    until_guarded(&i, "a", "2");
    i.remove("b.yaml");
    i.until("it is forgotten", |i| i.pod("b").is_none());
    i.write_manifest("b.yaml", &one(&i, "b", &guard("b", "1"), &[]));
    i.until("it is started again", |i| i.lines("b").len() == 3 && i.ready("b"));
    assert_eq!(i.lines("c").len(), 1);
    assert_no_double(&i);
}

/// A Pod with namespaces of its own, which a later daemon must not take for one that is still to be opened.
#[test]
fn a_pod_with_a_sandbox_goes_on_though_its_saved_state_is_lost() {
    let Some(mut i) = instance() else { return };
    let manifest = one(&i, "a", &guard("a", "1"), &[]);
    let shared =
        manifest.replace("  hostNetwork: true\n", "  hostNetwork: true\n  shareProcessNamespace: true\n");
    assert_ne!(manifest, shared);
    i.write_manifest("a.yaml", &shared);
    i.start();
    until_guarded(&i, "a", "1");
    let pid = i.running_pid("a", "main").unwrap();
    let attempt = i.records("a", "main").pop().unwrap().0;
    for files in [&["state.json"][..], &["state.json", "pod.json"], &["state.json", "pod.json", "spec.json"]]
    {
        i.kill9();
        for file in files {
            let dir = if *file == "spec.json" { attempt.clone() } else { generation(&attempt) };
            fs::write(dir.join(file), "{").unwrap();
        }
        i.start();
        i.until(&format!("it is ready without {files:?}"), |i| i.ready("a"));
        assert!(host::alive(pid), "{files:?}");
        assert_eq!(i.lines("a"), ["start 1"], "{files:?}");
    }
    i.remove("a.yaml");
    i.until("it is gone", |i| i.pod("a").is_none());
    assert_no_double(&i);
}
