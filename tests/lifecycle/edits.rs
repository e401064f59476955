//! What an edit of a manifest does, and what is not an edit.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use podstrap::report::ManifestState;

use crate::common::yaml::{canary, one};
use crate::common::{Instance, assert_exit, describe, host, instance, text};

/// Long enough for an event to be seen and acted upon, were it to be.
const A_WHILE: Duration = Duration::from_millis(1500);

/// A ready Pod `web`, and its process.
fn ready_web(i: &mut Instance) -> (String, i32) {
    let manifest = one(i, "web", &canary("web"), &[]);
    i.write_manifest("web.yaml", &manifest);
    i.start();
    let pid = i.until_ready("web");
    (manifest, pid)
}

fn untouched(i: &Instance, pid: i32) -> bool {
    host::alive(pid) && i.lines("web").len() == 1
}

#[test]
fn an_edit_replaces_the_pod_once() {
    let Some(mut i) = instance() else { return };
    let (manifest, old) = ready_web(&mut i);
    let uid = i.pod("web").unwrap().uid;
    i.write_manifest("web.yaml", &manifest.replace("say start", "say start; echo new >>/shared/new"));
    i.until("the new generation runs", |i| i.lines("new").len() == 1 && i.ready("web"));
    assert!(!host::alive(old));
    assert_ne!(i.pod("web").unwrap().uid, uid);
    i.holds_for(A_WHILE, "one replacement", |i| i.lines("web").len() == 3);
    let words: Vec<_> = i.lines("web").iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(words, ["start", "term", "start"], "the old one had ended before the new one began");
    assert_eq!(i.restarts("web", "main"), 0);
}

#[test]
fn quick_edits_end_with_the_last() {
    let Some(mut i) = instance() else { return };
    let (manifest, _) = ready_web(&mut i);
    for n in 1..=10 {
        i.write_manifest(
            "web.yaml",
            &manifest.replace("say start", &format!("say start; echo {n} >>/shared/edits")),
        );
    }
    i.until("the last edit runs", |i| i.lines("edits").last().is_some_and(|l| l == "10"));
    i.holds_for(A_WHILE, "nothing comes after it", |i| i.lines("edits").last().is_some_and(|l| l == "10"));
}

#[test]
fn what_does_not_change_the_pod_does_not_restart_it() {
    let Some(mut i) = instance() else { return };
    let (manifest, pid) = ready_web(&mut i);
    let path = i.manifests.join("web.yaml");

    i.write_manifest("web.yaml", &format!("# a comment\n\n{manifest}"));
    i.holds_for(A_WHILE, "a comment restarts nothing", |i| untouched(i, pid));

    assert!(Command::new("touch").arg(&path).status().unwrap().success());
    i.holds_for(A_WHILE, "touch restarts nothing", |i| untouched(i, pid));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    i.holds_for(A_WHILE, "chmod restarts nothing", |i| untouched(i, pid));

    i.write_in_place("web.yaml", manifest.as_bytes());
    i.holds_for(A_WHILE, "the same content, written in place, restarts nothing", |i| untouched(i, pid));

    fs::rename(&path, i.manifests.join("other.yml")).unwrap();
    i.until("the new file name is published", |i| {
        i.pod("web").is_some_and(|p| p.origin.path.ends_with("/other.yml"))
    });
    i.holds_for(A_WHILE, "a new file name restarts nothing", |i| untouched(i, pid));

    // The other file again, with the keys of `metadata` and `spec` in another order.
    let (head, spec) = manifest.split_once("spec:\n").unwrap();
    i.write_manifest("other.yml", &format!("spec:\n{spec}{head}"));
    i.holds_for(A_WHILE, "another order of keys restarts nothing", |i| untouched(i, pid));
    assert_eq!(i.restarts("web", "main"), 0);
}

#[test]
fn a_broken_edit_keeps_what_runs_and_says_where_it_is_broken() {
    let Some(mut i) = instance() else { return };
    let (manifest, pid) = ready_web(&mut i);
    let broken = manifest.replace("    image:", "    restartPolicy: [\n    image:");
    assert_ne!(broken, manifest);
    i.write_manifest("web.yaml", &broken);
    i.until("the breakage is published", |i| {
        i.pod("web").is_some_and(|p| matches!(p.manifest, ManifestState::Kept { .. }))
    });
    let file = i.manifests.join("web.yaml");
    let ManifestState::Kept { problems } = i.pod("web").unwrap().manifest else { panic!("no longer kept") };
    let place = format!("{}:", file.display());
    assert!(problems.iter().any(|p| p.contains(&place)), "{problems:#?}");

    let checked = i_validate(file.to_str().unwrap());
    assert_exit(&checked, 3);
    let said = text(&checked.stderr);
    let (_, tail) = said.split_once(&place).unwrap_or_else(|| panic!("no `{place}`: {said}"));
    let mut numbers = tail.splitn(3, ':');
    let line: usize = numbers.next().unwrap().parse().unwrap_or_else(|_| panic!("no line number: {said}"));
    let column: String = numbers.next().unwrap().chars().take_while(char::is_ascii_digit).collect();
    assert!(!column.is_empty(), "no column: {said}");
    let wanted = broken.lines().position(|l| l.contains("restartPolicy: [")).unwrap() + 1;
    assert!((wanted..=wanted + 2).contains(&line), "line {line}, broken at {wanted}: {said}");

    assert!(i.cli_ok("status", &[]).contains("web"), "status lists it");
    i.holds_for(A_WHILE, "it runs on", |i| untouched(i, pid));
    i.write_manifest("web.yaml", &manifest);
    i.until("the mended file is current again", |i| {
        i.pod("web").is_some_and(|p| matches!(p.manifest, ManifestState::Current { .. }))
    });
    assert!(untouched(&i, pid), "mending it restarts nothing");
}

fn i_validate(path: &str) -> std::process::Output {
    Command::new(crate::common::podstrap()).args(["validate", path]).output().unwrap()
}

#[test]
fn a_broken_edit_survives_a_restart_of_the_daemon() {
    let Some(mut i) = instance() else { return };
    let (manifest, pid) = ready_web(&mut i);
    i.write_manifest("web.yaml", "kind: Pod\n");
    i.until("the breakage is published", |i| {
        i.pod("web").is_some_and(|p| matches!(p.manifest, ManifestState::Kept { .. }))
    });
    i.kill9();
    i.start();
    i.until("it is kept by the next daemon, too", |i| {
        i.pod("web").is_some_and(|p| matches!(p.manifest, ManifestState::Kept { .. }))
    });
    i.holds_for(A_WHILE, "it runs on", |i| untouched(i, pid));
    i.write_manifest("web.yaml", &manifest);
    i.until("the mended file is current again", |i| {
        i.pod("web").is_some_and(|p| matches!(p.manifest, ManifestState::Current { .. }))
    });
    assert!(untouched(&i, pid));
}

#[test]
fn moved_out_it_stops_and_moved_in_it_runs_again() {
    let Some(mut i) = instance() else { return };
    let (_, old) = ready_web(&mut i);
    fs::rename(i.manifests.join("web.yaml"), i.dir.join("web.yaml")).unwrap();
    i.until("it is gone", |i| i.pod("web").is_none());
    assert!(!host::alive(old));
    assert_exit(&i.wait(&["--for", "gone", "--timeout", "10s", "web"]), 0);
    fs::rename(i.dir.join("web.yaml"), i.manifests.join("web.yaml")).unwrap();
    i.until_ready("web");
    i.until("started twice", |i| i.lines("web").len() == 3);
}

#[test]
fn removed_and_put_back_at_once_it_ends_running() {
    let Some(mut i) = instance() else { return };
    let (_, _) = ready_web(&mut i);
    for _ in 0..5 {
        fs::rename(i.manifests.join("web.yaml"), i.dir.join("web.yaml")).unwrap();
        fs::rename(i.dir.join("web.yaml"), i.manifests.join("web.yaml")).unwrap();
    }
    i.holds_for(A_WHILE, "it is known throughout", |i| i.pod("web").is_some());
    i.until_ready("web");
    let starts = i.lines("web").iter().filter(|l| l.starts_with("start")).count();
    let ends = i.lines("web").iter().filter(|l| l.starts_with("term")).count();
    assert_eq!(starts, ends + 1, "one life at a time");
}

#[test]
fn a_pod_renamed_inside_its_file_is_replaced_old_first() {
    let Some(mut i) = instance() else { return };
    let (manifest, old) = ready_web(&mut i);
    i.write_manifest("web.yaml", &manifest.replace("metadata: {name: web}", "metadata: {name: net}"));
    i.until("the new name is ready", |i| i.ready("net"));
    i.until("the old name is gone", |i| i.pod("web").is_none());
    assert!(!host::alive(old));
}

#[test]
fn a_manifest_directory_moved_aside_stops_its_pods_and_put_back_starts_them() {
    let Some(mut i) = instance() else { return };
    i.args(&["--rescan", "1"]);
    let (_, old) = ready_web(&mut i);
    let aside = i.dir.join("manifests.off");
    fs::rename(&i.manifests, &aside).unwrap();
    i.until("it is gone", |i| i.pod("web").is_none());
    assert!(!host::alive(old));
    fs::rename(&aside, &i.manifests).unwrap();
    i.until_ready("web");
    // A new directory at the same place is watched, too.
    fs::rename(&i.manifests, &aside).unwrap();
    fs::create_dir(&i.manifests).unwrap();
    fs::copy(aside.join("web.yaml"), i.manifests.join("web.yaml")).unwrap();
    i.until("it is ready", |i| i.ready("web"));
    let removed = fs::remove_file(i.manifests.join("web.yaml"));
    assert!(removed.is_ok());
    i.until("it is gone again", |i| i.pod("web").is_none());
    let out = describe(&i.cli("status", &[]));
    assert!(!out.contains("web-node1"), "{out}");
}
