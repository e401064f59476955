//! The manifest directory pulled from under the daemon's feet, and floods of changes in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag};

use crate::common::yaml::one;
use crate::common::{Instance, host};
use crate::inject::{
    Dice, anonymous_kib, assert_no_double, cpu_ms, guard, instance, mount_small, resident_kib, unmount,
    until_guarded,
};

fn put(i: &Instance, dir: &Path, name: &str, tag: &str) {
    let part = i.dir.join("put.part");
    fs::write(&part, one(i, name, &guard(name, tag), &[])).unwrap();
    let target = dir.join(format!("{name}.yaml"));
    if fs::rename(&part, &target).is_err() {
        // Another file system.
        let part = dir.join(".put.part");
        fs::write(&part, one(i, name, &guard(name, tag), &[])).unwrap();
        fs::rename(&part, &target).unwrap();
    }
}

/// A Pod that runs, and its pid.
fn begin(i: &mut Instance) -> i32 {
    i.args(&["--rescan", "1"]);
    put(i, &i.manifests, "web", "1");
    i.start();
    until_guarded(i, "web", "1");
    i.running_pid("web", "main").unwrap()
}

#[test]
fn two_thousand_renames_a_second() {
    let Some(mut i) = instance() else { return };
    let pid = begin(&mut i);
    put(&i, &i.manifests, "other", "1");
    until_guarded(&i, "other", "1");
    let daemon = i.daemon_pid();
    let content = one(&i, "web", &guard("web", "1"), &[]);
    let (mut dice, mut count) = (Dice(7), 0_u32);
    let cpu = cpu_ms(daemon);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        // The same content again, a file that comes and goes under many names, and a decoy that never counts.
        match dice.below(4) {
            0 => i.write_manifest("web.yaml", &content),
            1 => {
                let name = i.manifests.join(format!("x{}.yaml", dice.below(50)));
                i.write_manifest(name.file_name().unwrap().to_str().unwrap(), "{");
                fs::rename(&name, i.manifests.join("y.yaml")).unwrap();
            }
            2 => {
                fs::rename(i.manifests.join("other.yaml"), i.manifests.join("moved.yaml")).unwrap();
                fs::rename(i.manifests.join("moved.yaml"), i.manifests.join("other.yaml")).unwrap();
            }
            _ => i.write_manifest(".hidden.yaml", "x"),
        }
        count += 2;
        let due = begun + Duration::from_micros(u64::from(count) * 500);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let (used, span) = (cpu_ms(daemon) - cpu, begun.elapsed());
    let settled = Instant::now();
    put(&i, &i.manifests, "last", "1");
    until_guarded(&i, "last", "1");
    eprintln!(
        "{count} renames in {span:?}: {used} ms of processor time; the next Pod after {:?}; {} KiB resident (dev build)",
        settled.elapsed(),
        resident_kib(daemon)
    );
    assert_eq!(i.running_pid("web", "main"), Some(pid));
    assert_eq!((i.lines("web").len(), i.lines("other").len()), (1, 1));
    assert_no_double(&i);
}

#[test]
fn the_same_content_under_another_inode_changes_nothing() {
    let Some(mut i) = instance() else { return };
    let pid = begin(&mut i);
    let content = one(&i, "web", &guard("web", "1"), &[]);
    for n in 0..30 {
        match n % 3 {
            0 => i.write_manifest("web.yaml", &content),
            1 => {
                i.remove("web.yaml");
                i.write_manifest("web.yaml", &content);
            }
            _ => {
                i.write_manifest("web2.yaml", &content);
                i.remove("web.yaml");
                fs::rename(i.manifests.join("web2.yaml"), i.manifests.join("web.yaml")).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(n * 7 % 90));
    }
    i.holds_for(Duration::from_millis(1500), "it runs on", |_| host::alive(pid));
    assert_eq!(i.lines("web").len(), 1);
    assert_no_double(&i);
}

#[test]
fn the_directory_is_replaced_mounted_over_and_unmounted() {
    let Some(mut i) = instance() else { return };
    let pid = begin(&mut i);
    // Replaced by one with a changed manifest and a new one.
    let aside = i.dir.join("aside");
    let next = i.dir.join("next");
    fs::create_dir(&next).unwrap();
    put(&i, &next, "web", "1");
    put(&i, &next, "new", "1");
    fs::rename(&i.manifests, &aside).unwrap();
    fs::rename(&next, &i.manifests).unwrap();
    until_guarded(&i, "new", "1");
    // The old directory does not count any more, and the new one is watched.
    put(&i, &aside, "stale", "1");
    put(&i, &i.manifests, "new", "2");
    until_guarded(&i, "new", "2");
    assert!(host::alive(pid), "the same manifest in another directory changes nothing");
    // Another directory bound over it.
    put(&i, &aside, "new", "3");
    put(&i, &aside, "web", "1");
    mount(Some(&aside), &i.manifests, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    until_guarded(&i, "new", "3");
    until_guarded(&i, "stale", "1");
    put(&i, &i.manifests, "new", "4");
    until_guarded(&i, "new", "4");
    unmount(&i.manifests);
    until_guarded(&i, "new", "2");
    i.until("what was only there is gone", |i| i.pod("stale").is_none());
    assert!(host::alive(pid));
    // A file system that holds the manifests and goes: a failure, no wish. What it lies upon is empty.
    let under = i.dir.join("under");
    fs::create_dir(&under).unwrap();
    mount(Some(&i.manifests), &under, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let small = i.dir.join("small");
    mount_small(&small, 1024);
    for (name, tag) in [("web", "1"), ("new", "2"), ("here", "1")] {
        put(&i, &small, name, tag);
    }
    mount(Some(&small), &i.manifests, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    until_guarded(&i, "here", "1");
    for name in ["web", "new"] {
        fs::remove_file(under.join(format!("{name}.yaml"))).unwrap();
    }
    for point in [&under, &small, &i.manifests] {
        unmount(point);
    }
    i.until("its loss is told", |i| i.daemon_status().is_some_and(|s| s.sources[0].error.is_some()));
    let lines = (i.lines("web").len(), i.lines("new").len());
    i.holds_for(Duration::from_secs(3), "they run on", |i| {
        (i.lines("web").len(), i.lines("new").len()) == lines
    });
    put(&i, &i.manifests, "web", "2");
    until_guarded(&i, "web", "2");
    assert_no_double(&i);
}

#[test]
fn a_directory_given_by_a_link_is_followed_when_the_link_turns() {
    let Some(mut i) = instance() else { return };
    let (one_dir, two_dir) = (i.dir.join("one"), i.dir.join("two"));
    fs::rename(&i.manifests, &one_dir).unwrap();
    fs::create_dir(&two_dir).unwrap();
    symlink(&one_dir, &i.manifests).unwrap();
    let pid = begin(&mut i);
    put(&i, &two_dir, "web", "1");
    put(&i, &two_dir, "two", "1");
    for target in [&two_dir, &one_dir, &two_dir] {
        let link = i.dir.join("link.part");
        symlink(target, &link).unwrap();
        fs::rename(&link, &i.manifests).unwrap();
        let there = *target == two_dir;
        i.until("the link's new target counts", |i| i.pod("two").is_some() == there);
    }
    put(&i, &two_dir, "two", "2");
    until_guarded(&i, "two", "2");
    assert!(host::alive(pid));
    // It leads nowhere for a moment, and then back.
    fs::remove_file(&i.manifests).unwrap();
    symlink(&two_dir, &i.manifests).unwrap();
    i.holds_for(Duration::from_millis(1500), "it runs on", |_| host::alive(pid));
    assert_eq!(i.lines("web").len(), 1);
    assert_no_double(&i);
}

#[test]
fn a_manifest_that_turns_into_something_odd_and_back() {
    let Some(mut i) = instance() else { return };
    let pid = begin(&mut i);
    let path = i.manifests.join("web.yaml");
    let content = one(&i, "web", &guard("web", "1"), &[]);
    let refused = |i: &Instance| {
        i.pod("web").is_some_and(|p| matches!(p.manifest, podstrap::report::ManifestState::Kept { .. }))
    };
    let current = |i: &Instance| {
        i.pod("web").is_some_and(|p| matches!(p.manifest, podstrap::report::ManifestState::Current { .. }))
    };
    // Links that lead nowhere or in a circle, and a file that everybody may write to: kept.
    type Oddity = fn(&Path);
    let odd: [Oddity; 4] = [
        |p| symlink("nowhere", p).unwrap(),
        |p| symlink(p.file_name().unwrap(), p).unwrap(),
        |p| {
            fs::write(p, "").unwrap();
            fs::set_permissions(p, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        },
        |p| fs::File::create(p).unwrap().set_len(1 << 40).unwrap(),
    ];
    for make in odd {
        let part = i.dir.join("web.yaml");
        make(&part);
        fs::rename(&part, &path).unwrap();
        i.until("it is refused", refused);
        assert!(host::alive(pid));
        i.write_manifest("web.yaml", &content);
        i.until("it is current again", current);
    }
    assert_eq!(i.lines("web").len(), 1);
    // What is no file never was a manifest, whoever reads it would hang: the daemon does not.
    let fifo = i.manifests.join("fifo.yaml");
    nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
    let null = i.manifests.join("null.yaml");
    nix::sys::stat::mknod(
        &null,
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o600),
        nix::sys::stat::makedev(1, 5),
    )
    .unwrap();
    symlink("/dev/zero", i.manifests.join("zero.yaml")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(i.manifests.join("socket.yaml")).unwrap();
    put(&i, &i.manifests, "web", "2");
    until_guarded(&i, "web", "2");
    i.until("the odd ones are named", |i| {
        let ignored = i.daemon_status().map(|s| s.sources[0].ignored.join("\n")).unwrap_or_default();
        ["fifo.yaml", "null.yaml", "zero.yaml", "socket.yaml"].iter().all(|n| ignored.contains(n))
    });
    drop(socket);
    assert_no_double(&i);
}

#[test]
fn a_manifest_of_another_user_is_refused_unless_that_is_allowed() {
    let Some(mut i) = instance() else { return };
    let pid = begin(&mut i);
    let nobody = Some(65534);
    let foreign = |name: &str, tag: &str| {
        let part = i.dir.join(format!("{name}.part"));
        fs::write(&part, one(&i, name, &guard(name, tag), &[])).unwrap();
        std::os::unix::fs::chown(&part, nobody, nobody).unwrap();
        fs::rename(&part, i.manifests.join(format!("{name}.yaml"))).unwrap();
    };
    foreign("web", "2");
    foreign("new", "1");
    let says = |status: Option<podstrap::report::PodStatusFile>| {
        status.is_some_and(|p| serde_json::to_string(&p.manifest).unwrap().contains("belongs to user 65534"))
    };
    i.until("both are refused", |i| says(i.pod("web")) && says(i.document("new.yaml")));
    i.holds_for(Duration::from_millis(500), "the root's one goes on", |i| {
        host::alive(pid) && i.lines("new").is_empty()
    });
    // The very same files: whom they belong to is all that counts.
    for name in ["web", "new"] {
        std::os::unix::fs::chown(i.manifests.join(format!("{name}.yaml")), Some(0), Some(0)).unwrap();
    }
    until_guarded(&i, "web", "2");
    until_guarded(&i, "new", "1");
    foreign("web", "3");
    i.until("it is refused", |i| says(i.pod("web")));
    i.kill9();
    i.args(&["--allow-foreign-manifests"]);
    i.start();
    until_guarded(&i, "web", "3");
    // That covers files that everybody may write to.
    put(&i, &i.manifests, "open", "1");
    let open = i.manifests.join("open.yaml");
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    until_guarded(&i, "open", "1");
    assert_no_double(&i);
}

#[test]
fn a_directory_that_others_may_change_is_warned_about() {
    let Some(mut i) = instance() else { return };
    std::os::unix::fs::chown(&i.manifests, Some(65534), None).unwrap();
    begin(&mut i);
    let log = fs::read_to_string(i.daemon_log()).unwrap();
    assert!(log.contains("manifests: belongs to user 65534"), "{log}");
}

#[test]
fn a_thousand_refused_manifests_and_a_good_one() {
    let Some(mut i) = instance() else { return };
    for n in 0..1000 {
        fs::write(
            i.manifests.join(format!("bad{n}.yaml")),
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: B{n}}}\n"),
        )
        .unwrap();
    }
    put(&i, &i.manifests, "web", "1");
    let begun = Instant::now();
    i.start();
    let published = begun.elapsed();
    until_guarded(&i, "web", "1");
    let ready = begun.elapsed();
    let daemon = i.daemon_pid();
    let refused = host::entries(&i.run.join("status")).len() - 2;
    assert_eq!(refused, 1000);
    let own = anonymous_kib(daemon);
    // One more change among them.
    let edit = Instant::now();
    put(&i, &i.manifests, "web", "2");
    until_guarded(&i, "web", "2");
    let edited = edit.elapsed();
    let scan = cpu_ms(daemon);
    host::signal(daemon, nix::sys::signal::Signal::SIGHUP);
    std::thread::sleep(Duration::from_secs(1));
    eprintln!(
        "1000 refused: published after {published:?}, the good one ready after {ready:?}, replaced after {edited:?}, \
         a rescan takes {} ms; {own} KiB of its own",
        cpu_ms(daemon) - scan
    );
    assert!(own < 6 * 1024, "{own} KiB of its own");
    let status =
        Command::new(crate::common::podstrap()).args(["status", "--run-dir"]).arg(&i.run).output().unwrap();
    assert!(crate::common::text(&status.stdout).contains("web"));
    assert_no_double(&i);
}
