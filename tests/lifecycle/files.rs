//! How the directory is read: settled, torn, odd and doubled files.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use podstrap::report::ManifestState;

use crate::common::yaml::{canary, one};
use crate::common::{host, instance};

const A_WHILE: Duration = Duration::from_millis(1500);

#[test]
fn a_file_written_slowly_is_read_when_it_is_closed() {
    let Some(mut i) = instance() else { return };
    i.start();
    let manifest = one(&i, "slow", &canary("slow"), &[]);
    let mut file = File::create(i.manifests.join("slow.yaml")).unwrap();
    for line in manifest.split_inclusive('\n') {
        file.write_all(line.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(60));
    }
    i.holds_for(A_WHILE, "an open file is not acted upon", |i| i.pod("slow").is_none());
    drop(file);
    i.until_ready("slow");
    assert_eq!(i.lines("slow").len(), 1);
}

#[test]
fn a_running_pod_outlives_every_torn_write() {
    let Some(mut i) = instance() else { return };
    let manifest = one(&i, "torn", &canary("torn"), &[]);
    i.write_manifest("torn.yaml", &manifest);
    i.start();
    let pid = i.until_ready("torn");
    // Not the last byte: without its last newline the manifest says the same.
    let sizes: Vec<usize> = (0..manifest.len() - 1).step_by(manifest.len() / 24).collect();
    for size in sizes {
        i.write_in_place("torn.yaml", &manifest.as_bytes()[..size]);
        i.until(&format!("a prefix of {size} bytes is held"), |i| {
            i.pod("torn").is_some_and(|p| matches!(p.manifest, ManifestState::Kept { .. }))
        });
        assert!(host::alive(pid), "a prefix of {size} bytes was acted upon");
        i.write_in_place("torn.yaml", manifest.as_bytes());
        i.until("the whole is current", |i| {
            i.pod("torn").is_some_and(|p| matches!(p.manifest, ManifestState::Current { .. }))
        });
    }
    assert_eq!(i.lines("torn").len(), 1);
    assert!(host::alive(pid));
}

#[test]
fn a_data_symlink_swap_is_seen() {
    let Some(mut i) = instance() else { return };
    let dir = i.manifests.clone();
    let put = |name: &str, content: &str| {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("web.yaml"), content).unwrap();
        symlink(name, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    put("..2026_01", &one(&i, "web", &canary("first"), &[]));
    symlink("..data/web.yaml", dir.join("web.yaml")).unwrap();
    i.start();
    let old = i.until_ready("web");
    put("..2026_02", &one(&i, "web", &canary("second"), &[]));
    i.until("the new content runs", |i| i.lines("second").len() == 1 && i.ready("web"));
    assert!(!host::alive(old));
    assert_eq!(i.lines("first").len(), 2, "the old one got TERM");
}

#[test]
fn of_two_files_with_one_name_the_first_wins_and_the_other_is_reported() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("b.yaml", &one(&i, "web", &canary("b"), &[]));
    i.write_manifest("a.yaml", &one(&i, "web", &canary("a"), &[]));
    i.start();
    let pid = i.until_ready("web");
    i.until("the other is reported", |i| {
        i.document("b.yaml").is_some_and(|d| match d.manifest {
            ManifestState::Refused { problems } => problems.iter().any(|p| p.contains("a.yaml")),
            _ => false,
        })
    });
    i.write_in_place("b.yaml", one(&i, "web", &canary("b"), &[]).as_bytes());
    i.holds_for(A_WHILE, "touching the other changes nothing", |i| {
        host::alive(pid) && i.lines("b").is_empty()
    });
    assert_eq!(i.lines("a").len(), 1);
    i.remove("a.yaml");
    i.until("the other takes its place", |i| i.lines("b").len() == 1 && i.ready("web"));
    assert!(!host::alive(pid));
}

#[test]
fn odd_entries_are_passed_over() {
    let Some(mut i) = instance() else { return };
    let decoy = one(&i, "decoy", &canary("decoy"), &[]);
    fs::create_dir(i.manifests.join("sub.yaml")).unwrap();
    fs::write(i.manifests.join("sub.yaml/decoy.yaml"), &decoy).unwrap();
    nix::unistd::mkfifo(&i.manifests.join("fifo.yaml"), nix::sys::stat::Mode::from_bits_truncate(0o600))
        .unwrap();
    symlink("nowhere", i.manifests.join("dangling.yaml")).unwrap();
    for name in [".hidden.yaml", "decoy.yaml.bak", "decoy.yaml~", "#decoy.yaml#", "4913", "decoy.yaml.swp"] {
        fs::write(i.manifests.join(name), &decoy).unwrap();
    }
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    i.until_ready("web");
    i.until("the odd ones are named", |i| {
        let Some(status) = i.daemon_status() else { return false };
        let ignored = status.sources.iter().flat_map(|s| s.ignored.clone()).collect::<Vec<_>>().join("\n");
        ["sub.yaml", "fifo.yaml", "decoy.yaml.bak", "decoy.yaml~"].iter().all(|n| ignored.contains(n))
            && !ignored.contains(".hidden")
    });
    i.holds_for(A_WHILE, "no decoy runs", |i| i.lines("decoy").is_empty());
    assert!(i.pod("decoy").is_none());
}

#[test]
fn json_and_several_documents_are_read() {
    let Some(mut i) = instance() else { return };
    let both = format!(
        "---\n{}---\n{}---\n",
        one(&i, "one", &canary("one"), &[]),
        one(&i, "two", &canary("two"), &[])
    );
    i.write_manifest("both.yaml", &both);
    let script = serde_json::to_string(&canary("json")).unwrap();
    let json = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"json"}},"spec":{{"hostNetwork":true,
            "terminationGracePeriodSeconds":2,"volumes":[{{"name":"shared","hostPath":{{"path":{:?}}}}}],
            "containers":[{{"name":"main","image":"localhost/busybox:test","command":["sh","-c",{script}],
            "volumeMounts":[{{"name":"shared","mountPath":"/shared"}}]}}]}}}}"#,
        i.shared.to_str().unwrap()
    );
    i.write_manifest("json.json", &json);
    i.start();
    for name in ["one", "two", "json"] {
        i.until_ready(name);
    }
    assert_eq!(i.pod("two").unwrap().origin.document, 2);
    // One document less: one Pod less, and the other does not notice.
    let pid = i.until_ready("one");
    i.write_manifest("both.yaml", &one(&i, "one", &canary("one"), &[]));
    i.until("the second is gone", |i| i.pod("two").is_none());
    assert!(host::alive(pid));
}

#[test]
fn a_directory_that_cannot_be_read_stops_nothing() {
    let Some(mut i) = instance() else { return };
    i.args(&["--rescan", "1"]);
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    // In place of the directory a link that leads round in a circle: ELOOP, which says nothing about what is in it.
    let aside = i.dir.join("manifests.off");
    symlink("manifests", i.dir.join("loop")).unwrap();
    fs::rename(&i.manifests, &aside).unwrap();
    symlink("manifests", &i.manifests).unwrap();
    i.until("the trouble is told", |i| {
        i.daemon_status().is_some_and(|s| s.sources.iter().any(|s| s.error.is_some()))
    });
    i.holds_for(Duration::from_secs(4), "it runs on", |_| host::alive(pid));
    fs::remove_file(&i.manifests).unwrap();
    fs::rename(&aside, &i.manifests).unwrap();
    i.until("the trouble is over", |i| {
        i.daemon_status().is_some_and(|s| s.sources.iter().all(|s| s.error.is_none()))
    });
    assert_eq!(i.lines("web").len(), 1);
    assert!(host::alive(pid));
}
