//! File systems without room: RUN, STATE and LOG in turn. Pods go on, and when there is room again everything is as it
//! would be had there always been.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::common::yaml::one;
use crate::common::{Instance, host, image};
use crate::inject::{assert_no_double, fill, guard, instance, mount_small, unmount, until_guarded};

/// Every published file, record and state is whole.
fn assert_whole(i: &Instance) {
    for file in host::files_below(&i.run) {
        let hidden = file.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if file.extension().is_some_and(|e| e == "json") && !hidden {
            let bytes = fs::read(&file).unwrap_or_default();
            // It may have gone since it was listed.
            if file.exists() {
                let parsed = serde_json::from_slice::<serde_json::Value>(&bytes);
                assert!(parsed.is_ok(), "{} is torn: {:?}", file.display(), parsed.err());
            }
        }
    }
}

/// Ends the instance and takes its file system away, so that nothing is left of it.
fn end(mut i: Instance, mounted: &std::path::Path) {
    i.cli_ok("down", &[]);
    i.daemon_exit(Duration::from_secs(20));
    assert_no_double(&i);
    unmount(mounted);
}

#[test]
fn a_full_run_directory_stops_nothing_and_is_recovered_from() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,500ms", "--rescan", "2"]);
    mount_small(&i.run, 1024);
    for name in ["a", "b", "c", "d"] {
        i.write_manifest(&format!("{name}.yaml"), &one(&i, name, &guard(name, "1"), &[]));
    }
    i.start();
    for name in ["a", "b", "c", "d"] {
        until_guarded(&i, name, "1");
    }
    let a = i.running_pid("a", "main").unwrap();
    let filler = i.run.join("filler");
    fill(&filler);
    // A restart, a replacement, a removal, a new Pod, and a broken edit, all without room.
    host::signal(i.running_pid("b", "main").unwrap(), Signal::SIGKILL);
    i.write_manifest("c.yaml", &one(&i, "c", &guard("c", "2"), &[]));
    i.remove("d.yaml");
    i.write_manifest("e.yaml", &one(&i, "e", &guard("e", "1"), &[]));
    i.holds_for(Duration::from_secs(3), "the Pod that nobody touched runs on", |_| host::alive(a));
    assert_whole(&i);
    fs::remove_file(&filler).unwrap();
    for (name, tag) in [("a", "1"), ("b", "1"), ("c", "2"), ("e", "1")] {
        until_guarded(&i, name, tag);
    }
    i.until("the removed one is gone", |i| i.pod("d").is_none());
    assert!(host::alive(a));
    // What a later daemon must know has been saved, too.
    i.kill9();
    i.start();
    i.until("its restart is remembered", |i| i.restarts("b", "main") >= 1);
    for name in ["a", "b", "c", "e"] {
        i.until("it is ready", |i| i.ready(name));
    }
    assert_whole(&i);
    let run = i.run.clone();
    end(i, &run);
}

#[test]
fn a_status_that_could_not_be_published_is_published_when_there_is_room() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "2s,2s"]);
    mount_small(&i.run, 1024);
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "1"), &[]));
    i.start();
    until_guarded(&i, "web", "1");
    let filler = i.run.join("filler");
    fill(&filler);
    // Refused at once, and nothing else happens to the Pod afterwards.
    i.write_in_place("web.yaml", b"broken: [");
    std::thread::sleep(Duration::from_secs(1));
    fs::remove_file(&filler).unwrap();
    i.until_within(Duration::from_secs(6), "the refusal is shown", |i| {
        i.pod("web").is_some_and(|p| matches!(p.manifest, podstrap::report::ManifestState::Kept { .. }))
    });
    let run = i.run.clone();
    end(i, &run);
}

#[test]
fn a_daemon_killed_while_the_run_directory_is_full_is_followed_by_one_that_recovers() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,500ms"]);
    mount_small(&i.run, 1024);
    i.write_manifest("a.yaml", &one(&i, "a", &guard("a", "1"), &[]));
    i.start();
    until_guarded(&i, "a", "1");
    let filler = i.run.join("filler");
    fill(&filler);
    i.write_manifest("b.yaml", &one(&i, "b", &guard("b", "1"), &[]));
    host::signal(i.running_pid("a", "main").unwrap(), Signal::SIGKILL);
    std::thread::sleep(Duration::from_secs(1));
    i.kill9();
    fs::remove_file(&filler).unwrap();
    i.start();
    for name in ["a", "b"] {
        until_guarded(&i, name, "1");
    }
    let run = i.run.clone();
    end(i, &run);
}

#[test]
fn a_full_state_directory_stops_nothing_and_archives_are_loaded_when_there_is_room() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,500ms", "--rescan", "2"]);
    let images = i.dir.join("archives");
    fs::create_dir(&images).unwrap();
    i.args(&["--image-dir", images.to_str().unwrap()]);
    // Room for the image, but not at first.
    mount_small(&i.state, 8 * 1024);
    fill(&i.state.join("filler"));
    image::provide_busybox(&images);
    // Its directories must fit: a daemon that cannot make them does not begin.
    fs::OpenOptions::new()
        .write(true)
        .open(i.state.join("filler"))
        .unwrap()
        .set_len(8 * 1024 * 1024 - 256 * 1024)
        .unwrap();
    i.write_manifest("a.yaml", &one(&i, "a", &guard("a", "1"), &[]));
    i.start();
    i.until("the archive could not be loaded", |i| {
        fs::read_to_string(i.daemon_log()).unwrap().contains("could not be loaded")
    });
    fs::remove_file(i.state.join("filler")).unwrap();
    until_guarded(&i, "a", "1");
    let pid = i.running_pid("a", "main").unwrap();
    fill(&i.state.join("filler"));
    i.write_manifest("b.yaml", &one(&i, "b", &guard("b", "1"), &[]));
    i.write_manifest("a.yaml", &format!("# a comment\n{}", one(&i, "a", &guard("a", "1"), &[])));
    i.holds_for(Duration::from_secs(2), "it runs on", |_| host::alive(pid));
    fs::remove_file(i.state.join("filler")).unwrap();
    until_guarded(&i, "b", "1");
    // The last good content is on disk, though there was no room for it at first.
    i.until("the manifests are kept", |i| {
        host::entries(&i.state.join("manifests"))
            .iter()
            .any(|f| fs::read_to_string(f).is_ok_and(|t| t.contains("# a comment")))
    });
    assert_eq!(i.running_pid("a", "main"), Some(pid));
    let state = i.state.clone();
    end(i, &state);
}

#[test]
fn a_full_log_directory_blocks_no_container_and_the_loss_is_told() {
    let Some(mut i) = instance() else { return };
    mount_small(&i.log, 256);
    let script = "trap 'exit 0' TERM; n=0; while :; do echo $n; echo line $n of a longer text; n=$((n + 1)); \
                  [ $((n % 500)) = 0 ] && echo $n >/shared/n; done";
    i.write_manifest("web.yaml", &one(&i, "web", script, &[]));
    i.start();
    let count = |i: &Instance| i.lines("n").first().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    i.until("the log is full and it goes on", |i| count(i) >= 20_000);
    let pid = i.running_pid("web", "main").unwrap();
    let before = count(&i);
    i.until("it still goes on", |i| count(i) > before + 5_000);
    // Room comes by a larger file system.
    let grown =
        std::process::Command::new("mount").args(["-o", "remount,size=64m"]).arg(&i.log).status().unwrap();
    assert!(grown.success());
    i.until("the loss is told", |i| {
        host::files_below(&i.log)
            .iter()
            .any(|f| fs::read_to_string(f).is_ok_and(|t| t.contains("bytes of log lost")))
    });
    for file in host::files_below(&i.log) {
        for line in fs::read_to_string(&file).unwrap().lines() {
            let whole = line.as_bytes().get(4) == Some(&b'-')
                && line.get(31..35).is_some_and(|s| s.starts_with("std"));
            assert!(whole, "{}: not a line of a log: {line:?}", file.display());
        }
    }
    assert_eq!(i.running_pid("web", "main"), Some(pid));
    let log = i.log.clone();
    end(i, &log);
}
