//! The tests' own eyes: what an instance leaves behind must be seen, or no other test proves that nothing is left.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};

use crate::common::{bare_instance, describe, host, image, text};

#[test]
fn processes_mounts_and_cgroups_left_behind_are_seen_and_removed() {
    let Some(i) = bare_instance() else { return };
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, None), [""; 0]);

    let mut by_directory =
        Command::new("sleep").arg("1000").current_dir(i.dir.join("shared")).spawn().unwrap();
    let point = i.dir.join("state/mnt");
    fs::create_dir_all(&point).unwrap();
    mount(Some("none"), &point, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let hierarchy = host::cgroup_mounts().into_iter().find(|m| m.join("cgroup.procs").exists()).unwrap();
    let cgroup = hierarchy.join(&i.cgroup_root).join("pod0123456789abcdef0123456789abcdef");
    fs::create_dir_all(&cgroup).unwrap();
    let mut by_cgroup = Command::new("sleep").arg("1000").current_dir("/").spawn().unwrap();
    fs::write(cgroup.join("cgroup.procs"), by_cgroup.id().to_string()).unwrap();

    let left = host::left_behind(&i.dir, &i.cgroup_root, None);
    let pids = [by_directory.id(), by_cgroup.id()].map(|pid| format!("process {pid}: "));
    for wanted in pids.iter().map(String::as_str).chain([&*format!("mount {}", point.display()), "cgroup "]) {
        assert!(left.iter().any(|l| l.starts_with(wanted)), "`{wanted}` is not seen: {left:#?}");
    }
    assert_eq!(left.len(), 4, "{left:#?}");

    // As the end of a test does it. The children are ours to reap, while that goes on.
    let reaper = std::thread::spawn(move || {
        by_directory.wait().unwrap();
        by_cgroup.wait().unwrap();
    });
    host::clean_up(&i.dir, &i.cgroup_root);
    reaper.join().unwrap();
    assert_eq!(host::left_behind(&i.dir, &i.cgroup_root, None), [""; 0]);
    assert!(!Path::new(&i.dir).exists() && !cgroup.exists() && !cgroup.parent().unwrap().exists());
}

#[test]
fn what_belongs_to_a_neighbour_of_a_longer_name_is_left_alone() {
    let Some(i) = bare_instance() else { return };
    let neighbour = format!("{}2", i.dir.display());
    let mut process = Command::new("tail")
        .args(["-F", "-q", &format!("{neighbour}/run")])
        .current_dir("/")
        .spawn()
        .unwrap();
    let seen = host::processes_of(&i.dir, &i.cgroup_root);
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(seen, []);
}

#[test]
fn the_busybox_image_is_packed_once_and_whole() {
    if let Some(reason) = host::cannot_run_containers() {
        return host::skip(&reason);
    }
    let archive = image::busybox();
    let made = fs::metadata(&archive).unwrap().modified().unwrap();
    let list = |args: &[&str]| {
        let output = Command::new("tar").args(args).arg(&archive).output().unwrap();
        assert!(output.status.success(), "{}", describe(&output));
        text(&output.stdout)
    };
    let manifest = list(&["--wildcards", "--to-stdout", "-x", "*manifest.json", "-f"]);
    assert!(manifest.contains(image::BUSYBOX), "{manifest}");
    assert!(list(&["-t", "-f"]).contains("layer.tar"));
    assert_eq!(image::busybox(), archive);
    assert_eq!(fs::metadata(&archive).unwrap().modified().unwrap(), made, "packed once");
}
