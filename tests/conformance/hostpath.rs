//! hostPath volumes: the eight types, good and bad.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::bench::Bench;
use crate::case::{Case, case, part};

/// A case that mounts `@DIR@/it` at /it.
fn mounts(kind: &'static str, what: &'static str, script: &str) -> Case {
    let (_, value) = kind.split_once('=').unwrap();
    case(kind, what)
        .volume(&format!("{{name: it, hostPath: {{path: '@DIR@/it', type: '{value}'}}}}"))
        .container(part("main", script).mount("{name: it, mountPath: /it}"))
}

fn make_dir(t: &Bench<'_>) {
    fs::create_dir(t.dir.join("it")).unwrap();
    t.write("it/file", "of the host\n");
}

fn device(t: &Bench<'_>, kind: SFlag, major: u64, minor: u64) {
    mknod(&t.dir.join("it"), kind, Mode::from_bits_truncate(0o666), makedev(major, minor)).unwrap();
}

/// The Pod waits, and says for what.
fn waits(case: Case) -> Case {
    case.then(|t| {
        t.until("the path is named", || {
            t.status().is_some_and(|s| {
                serde_json::to_string(&s).unwrap().contains(&t.fill("@DIR@/it")) && s.message.is_some()
            })
        });
        t.waits("main", "ContainerCreating", &["@DIR@/it"]);
        assert_eq!(t.at("/status/phase"), "Pending");
        assert!(t.events().is_empty());
    })
}

pub fn cases() -> Vec<Case> {
    const DIR: &str = "spec.volumes.hostPath.type=Directory";
    const FILE: &str = "spec.volumes.hostPath.type=File";
    const SOCKET: &str = "spec.volumes.hostPath.type=Socket";
    const CHAR: &str = "spec.volumes.hostPath.type=CharDevice";
    const BLOCK: &str = "spec.volumes.hostPath.type=BlockDevice";
    const DIR_OR: &str = "spec.volumes.hostPath.type=DirectoryOrCreate";
    const FILE_OR: &str = "spec.volumes.hostPath.type=FileOrCreate";
    const UNSET: &str = "spec.volumes.hostPath.type=";
    vec![
        mounts(DIR, "what is there is seen, and written", "cat /it/file; echo of the Pod >/it/new")
            .before(make_dir)
            .says("of the host")
            .then(|t| assert_eq!(t.file("it/new"), "of the Pod\n")),
        waits(mounts(
            DIR,
            "a missing one is waited for, and the Pod starts when it appears",
            "say main; cat /it/file",
        ))
        .then(make_dir)
        .says("of the host"),
        waits(mounts(DIR, "a file in its place is not accepted", "say main")).before(|t| t.write("it", "")),
        mounts(DIR_OR, "a missing one is made, with its parents and mode 0755", "stat -c %a:%F:%u /it")
            .before(|t| assert!(!t.dir.join("it").exists()))
            .says("755:directory:0")
            .then(|t| assert!(t.dir.join("it").is_dir())),
        case(DIR_OR, "the parents are made, too")
            .volume("{name: it, hostPath: {path: '@DIR@/a/b/c', type: DirectoryOrCreate}}")
            .container(part("main", "touch /it/x").mount("{name: it, mountPath: /it}"))
            .phase("Succeeded")
            .then(|t| assert!(t.dir.join("a/b/c/x").exists())),
        mounts(DIR_OR, "what is there stays as it is", "stat -c %a /it; cat /it/file")
            .before(|t| {
                make_dir(t);
                fs::set_permissions(t.dir.join("it"), fs::Permissions::from_mode(0o700)).unwrap();
            })
            .says("700\nof the host"),
        mounts(FILE, "is seen as a file", "stat -c %F /it; cat /it")
            .before(|t| t.write("it", "text\n"))
            .says("regular file\ntext"),
        waits(mounts(FILE, "a directory in its place is not accepted", "say main")).before(make_dir),
        mounts(FILE_OR, "a missing one is made empty, with mode 0644", "stat -c %a:%s /it; echo more >>/it")
            .says("644:0")
            .then(|t| assert_eq!(t.file("it"), "more\n")),
        waits(
            case(FILE_OR, "its directory is not made")
                .volume("{name: it, hostPath: {path: '@DIR@/it/file', type: FileOrCreate}}")
                .container(part("main", "say main").mount("{name: it, mountPath: /it}")),
        )
        .then(|t| assert!(!t.dir.join("it").exists())),
        mounts(SOCKET, "is seen as a socket", "stat -c %F /it")
            .before(|t| drop(UnixListener::bind(t.dir.join("it")).unwrap()))
            .says("socket"),
        waits(mounts(SOCKET, "a file in its place is not accepted", "say main"))
            .before(|t| t.write("it", "")),
        mounts(CHAR, "is seen as a device", "stat -c %F:%t:%T /it")
            .before(|t| device(t, SFlag::S_IFCHR, 1, 3))
            .says("character special file:1:3"),
        waits(mounts(CHAR, "a block device in its place is not accepted", "say main"))
            .before(|t| device(t, SFlag::S_IFBLK, 7, 200)),
        mounts(BLOCK, "is seen as a device", "stat -c %F:%t:%T /it")
            .before(|t| device(t, SFlag::S_IFBLK, 7, 200))
            .says("block special file:7:c8"),
        waits(mounts(BLOCK, "a character device in its place is not accepted", "say main"))
            .before(|t| device(t, SFlag::S_IFCHR, 1, 3)),
        mounts(UNSET, "nothing is checked: a file", "cat /it")
            .before(|t| t.write("it", "text\n"))
            .says("text"),
        mounts(UNSET, "a missing path becomes a directory", "stat -c %F /it").says("directory"),
        mounts("spec.volumes.hostPath.type=Folder", "refused", "true").refused(&["hostPath.type", "Folder"]),
        case("spec.volumes.hostPath.path", "refused with `..`")
            .volume("{name: it, hostPath: {path: '@DIR@/../it'}}")
            .container(part("main", "true").mount("{name: it, mountPath: /it}"))
            .refused(&["hostPath.path"]),
        case("spec.volumes.hostPath", "a symbolic link is followed")
            .before(|t| {
                make_dir(t);
                std::os::unix::fs::symlink("it", t.dir.join("link")).unwrap();
            })
            .volume("{name: it, hostPath: {path: '@DIR@/link', type: Directory}}")
            .container(part("main", "cat /it/file").mount("{name: it, mountPath: /it}"))
            .says("of the host"),
    ]
}
