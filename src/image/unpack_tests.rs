//! Tests of unpacking, mostly with layers that no builder would make.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::super::tarball::Stream;
use super::super::testing::{Entry, Scratch, dir, file, hard, symlink, tar};
use super::*;

/// Unpacks into `scratch/layer`, beside which lies `scratch/outside`, which must stay as it is.
fn unpacked(scratch: &Scratch, entries: &[Entry<'_>]) -> Result<Unpacked, UnpackError> {
    let outside = scratch.0.join("outside");
    let layer = scratch.0.join("layer");
    for directory in [&outside, &layer] {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir(directory).unwrap();
    }
    fs::write(outside.join("file"), "untouched").unwrap();
    let bytes = tar(entries);
    let mut reader = Reader::new(Stream(&bytes[..]));
    let bounds = Bounds::default();
    let result = unpack(&mut reader, &layer, &bounds, &Budget::new("members", bounds.entries));
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["file"], "something was made outside the layer");
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"untouched");
    assert_eq!(fs::metadata(outside.join("file")).unwrap().nlink(), 1);
    result
}

fn xattr(path: &Path, key: &str) -> Option<Vec<u8>> {
    let dir = Dir::open(path.parent().unwrap()).unwrap();
    dir.xattr(path.file_name().unwrap(), OsStr::new(key)).unwrap()
}

fn is_whiteout_at(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

#[test]
fn names_that_leave_the_layer_are_refused() {
    let scratch = Scratch::new("leave");
    for path in ["../outside/x", "a/../../outside/x", "/../outside/x", "a/.."] {
        let error = unpacked(&scratch, &[file(path, b"x")]).unwrap_err();
        assert!(matches!(error.cause, Cause::LeavesLayer), "{path}: {}", error.cause);
    }
    let error = unpacked(&scratch, &[file("a", b""), hard("b", "../outside/file")]).unwrap_err();
    assert!(matches!(error.cause, Cause::LeavesLayer));
}

#[test]
fn links_lead_nowhere_but_into_the_layer() {
    let scratch = Scratch::new("links");
    let outside = scratch.0.join("outside");
    let outside = outside.to_str().unwrap();
    let layer = scratch.0.join("layer");
    // An absolute link is absolute beneath the layer's root; what is missing there is made there.
    unpacked(&scratch, &[symlink("a", outside), file("a/x", b"in")]).unwrap();
    assert_eq!(fs::read(layer.join(format!(".{outside}/x"))).unwrap(), b"in");
    // A relative one stops at the root.
    unpacked(&scratch, &[symlink("a", "../../outside"), dir("outside"), file("a/x", b"in")]).unwrap();
    assert_eq!(fs::read(layer.join("outside/x")).unwrap(), b"in");
    unpacked(&scratch, &[symlink("a", "../outside"), file("a/new", b"in")]).unwrap();
    assert_eq!(fs::read(layer.join("outside/new")).unwrap(), b"in");
    // A file or a directory replaces a link of its name and is not written through it.
    unpacked(&scratch, &[symlink("f", &format!("{outside}/file")), file("f", b"mine")]).unwrap();
    assert_eq!(fs::read(layer.join("f")).unwrap(), b"mine");
    unpacked(&scratch, &[symlink("d", outside), dir("d"), file("d/x", b"mine")]).unwrap();
    assert!(layer.join("d").symlink_metadata().unwrap().is_dir());
    // Hard links through links: no host file is reached.
    let error = unpacked(&scratch, &[symlink("a", outside), hard("b", "a/file")]).unwrap_err();
    assert!(matches!(error.cause, Cause::LinkTargetMissing(_)), "{}", error.cause);
    // A hard link to a symbolic link is another symbolic link.
    unpacked(&scratch, &[symlink("a", &format!("{outside}/file")), hard("b", "a")]).unwrap();
    assert!(layer.join("b").symlink_metadata().unwrap().is_symlink());
    for target in ["/proc/self/root", "/proc/self/cwd"] {
        // Nothing is mounted on the layer's own /proc, so this is a plain directory in the layer.
        unpacked(&scratch, &[symlink("p", target), file("p/x", b"in")]).unwrap();
        assert_eq!(fs::read(layer.join(format!(".{target}/x"))).unwrap(), b"in");
    }
    for loops in [
        &[symlink("a", "b"), symlink("b", "a"), file("a/x", b"")][..],
        &[symlink("a", "a/b"), file("a/x", b"")],
    ] {
        let error = unpacked(&scratch, loops).unwrap_err();
        assert!(matches!(error.cause, Cause::Io { .. } | Cause::ParentNotDirectory), "{}", error.cause);
    }
}

#[test]
fn a_symlinked_parent_lands_as_in_docker() {
    let scratch = Scratch::new("parent");
    let layer = scratch.0.join("layer");
    let entries = [
        dir("usr"),
        dir("usr/bin"),
        symlink("bin", "usr/bin"),
        file("bin/sh", b"#!"),
        hard("bin/ash", "bin/sh"),
    ];
    unpacked(&scratch, &entries).unwrap();
    assert_eq!(fs::read(layer.join("usr/bin/ash")).unwrap(), b"#!");
    assert_eq!(fs::metadata(layer.join("usr/bin/sh")).unwrap().nlink(), 2);
    assert_eq!(fs::read_link(layer.join("bin")).unwrap(), Path::new("usr/bin"));
}

#[test]
fn hard_links_need_a_file_of_this_layer() {
    let scratch = Scratch::new("hard");
    type Case<'a> = (&'a [Entry<'a>], fn(&Cause) -> bool);
    let cases: [Case<'_>; 5] = [
        (&[hard("b", "lower/file")], |c| matches!(c, Cause::LinkTargetMissing(_))),
        (&[hard("b", "/etc/passwd")], |c| matches!(c, Cause::LinkTargetMissing(_))),
        (&[dir("d"), hard("b", "d")], |c| matches!(c, Cause::LinkToDirectory(_))),
        (&[hard("b", "/")], |c| matches!(c, Cause::LinkToDirectory(_))),
        (&[file(".wh.a", b""), hard("b", "a")], |c| matches!(c, Cause::LinkTargetMissing(_))),
    ];
    for (entries, fits) in cases {
        let error = unpacked(&scratch, entries).unwrap_err();
        assert!(fits(&error.cause), "{}", error.cause);
    }
    unpacked(&scratch, &[file("a", b"1"), hard("a", "a"), file("b", b"2"), hard("b", "a")]).unwrap();
    assert_eq!(fs::read(scratch.0.join("layer/b")).unwrap(), b"1");
}

#[test]
fn whiteouts_become_what_overlay_knows() {
    let scratch = Scratch::new("whiteout");
    let layer = scratch.0.join("layer");
    let entries = [
        file("d/.wh.gone", b""),
        file("o/.wh..wh..opq", b""),
        file("o/kept", b"1"),
        // Of one layer, in both orders: a file shows itself, a directory hides what was below it.
        file(".wh.file", b""),
        file("file", b"new"),
        file("file2", b"new"),
        file(".wh.file2", b""),
        file(".wh.dir", b""),
        dir("dir"),
        dir("dir2"),
        file(".wh.dir2", b""),
        file(".wh.implied", b""),
        file("implied/x", b"1"),
        file(".wh..wh.plnk/7.8", b"aufs"),
        file(".wh..wh.aufs", b""),
    ];
    let done = unpacked(&scratch, &entries).unwrap();
    assert!(!done.opaque);
    assert!(is_whiteout_at(&layer.join("d/gone")));
    assert_eq!(fs::read(layer.join("file")).unwrap(), b"new");
    assert_eq!(fs::read(layer.join("file2")).unwrap(), b"new");
    for opaque in ["o", "dir", "dir2", "implied"] {
        assert_eq!(
            xattr(&layer.join(opaque), "trusted.overlay.opaque").as_deref(),
            Some(&b"y"[..]),
            "{opaque}"
        );
    }
    assert_eq!(xattr(&layer.join("d"), "trusted.overlay.opaque"), None);
    let mut names: Vec<_> = fs::read_dir(&layer).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["d", "dir", "dir2", "file", "file2", "implied", "o"]);
    assert!(unpacked(&scratch, &[file(".wh..wh..opq", b"")]).unwrap().opaque);
    for reserved in [".wh.", ".wh..", ".wh...", "d/.wh..", ".wh.d/x"] {
        let error = unpacked(&scratch, &[file(reserved, b"")]).unwrap_err();
        assert!(matches!(error.cause, Cause::Reserved), "{reserved}");
    }
}

#[test]
fn owners_modes_times_and_attributes_are_kept() {
    let scratch = Scratch::new("dress");
    let layer = scratch.0.join("layer");
    // cap_net_bind_service=ep; the newline is part of the value.
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\n\0\0\0";
    let capability = &capability[..20];
    let entries = [
        Entry { mode: 0o1777, owner: (3, 4), mtime: 77, ..dir("tmp") },
        Entry { mode: 0o4755, owner: (1000, 2000), ..file("tmp/suid", b"x") },
        Entry {
            pax: vec![("SCHILY.xattr.security.capability", capability), ("SCHILY.xattr.user.note", b"a\nb")],
            ..file("cap", b"x")
        },
        Entry { owner: (5, 6), mtime: 99, ..symlink("link", "nowhere") },
        Entry { kind: b'6', mode: 0o600, ..file("fifo", b"") },
        Entry { kind: b'3', mode: 0o666, device: (1, 3), ..file("null", b"") },
        Entry { kind: b'4', device: (7, 0), ..file("loop", b"") },
        file("made/for/it", b""),
        Entry { mode: 0o700, owner: (8, 9), ..dir("./") },
    ];
    let done = unpacked(&scratch, &entries).unwrap();
    assert_eq!(done.size, 2);
    let meta = |name: &str| fs::symlink_metadata(layer.join(name)).unwrap();
    let tmp = meta("tmp");
    assert_eq!((tmp.mode() & 0o7777, tmp.uid(), tmp.gid(), tmp.mtime()), (0o1777, 3, 4, 77));
    let suid = meta("tmp/suid");
    assert_eq!((suid.mode() & 0o7777, suid.uid(), suid.gid()), (0o4755, 1000, 2000));
    assert_eq!(xattr(&layer.join("cap"), "security.capability").as_deref(), Some(capability));
    assert_eq!(xattr(&layer.join("cap"), "user.note").as_deref(), Some(&b"a\nb"[..]));
    assert_eq!((meta("link").uid(), meta("link").mtime()), (5, 99));
    assert!(meta("fifo").file_type().is_fifo());
    assert!(
        meta("null").file_type().is_char_device() && meta("null").rdev() == nix::sys::stat::makedev(1, 3)
    );
    assert!(meta("loop").file_type().is_block_device());
    assert_eq!(meta("made/for").permissions().mode() & 0o7777, 0o755);
    assert_eq!((meta(".").mode() & 0o7777, meta(".").uid()), (0o700, 8));
    let attribute = Entry { pax: vec![("SCHILY.xattr.trusted.overlay.redirect", b"/etc")], ..dir("d") };
    assert!(matches!(unpacked(&scratch, &[attribute]).unwrap_err().cause, Cause::Attribute(_)));
}

#[test]
fn later_members_replace_earlier_ones() {
    let scratch = Scratch::new("replace");
    let layer = scratch.0.join("layer");
    let entries = [
        file("a/b/c", b"1"),
        file("a", b"file"),
        file("a2/x", b""),
        file("a2/x", b"2"),
        dir("a2"),
        symlink("l", "a2"),
        dir("l"),
    ];
    unpacked(&scratch, &entries).unwrap();
    assert_eq!(fs::read(layer.join("a")).unwrap(), b"file");
    assert_eq!(fs::read(layer.join("a2/x")).unwrap(), b"2");
    assert!(layer.join("l").symlink_metadata().unwrap().is_dir());
    let error = unpacked(&scratch, &[file("a", b""), file("a/b", b"")]).unwrap_err();
    assert!(matches!(error.cause, Cause::ParentNotDirectory));
    assert_eq!(error.path, b"a/b");
    assert!(matches!(unpacked(&scratch, &[symlink(".", "x")]).unwrap_err().cause, Cause::Root));
}

#[test]
fn bounds_hold_also_through_links() {
    let scratch = Scratch::new("bounds");
    let deep = "d/".repeat(300);
    assert!(matches!(
        unpacked(&scratch, &[Entry { pax: vec![("path", deep.as_bytes())], ..dir("x") }]).unwrap_err().cause,
        Cause::Exceeded(_)
    ));
    let half = "d/".repeat(40);
    let half = half.trim_end_matches('/');
    let mut entries = vec![dir(half)];
    let links: Vec<(String, String)> = (0..10)
        .map(|n| (format!("l{n}"), if n == 0 { half.to_owned() } else { format!("l{}/{half}", n - 1) }))
        .collect();
    let inner: Vec<String> = links.iter().map(|(name, _)| format!("{name}/{half}/")).collect();
    for ((name, target), inner) in links.iter().zip(&inner) {
        entries.push(symlink(name, target));
        entries.push(dir(inner));
    }
    assert!(matches!(unpacked(&scratch, &entries).unwrap_err().cause, Cause::Exceeded(_)));
    let bytes = tar(&[file("a/b/c/d", b"")]);
    let budget = Budget::new("members", 3);
    let into = scratch.0.join("few");
    fs::create_dir(&into).unwrap();
    let error = unpack(&mut Reader::new(Stream(&bytes[..])), &into, &Bounds::default(), &budget).unwrap_err();
    assert!(matches!(error.cause, Cause::Exceeded(Exceeded { limit: 3, .. })));
}

/// Random layers (a fixed seed) of names, links and whiteouts that fight each other: whatever comes of them, nothing
/// outside is touched; `unpacked` looks after that.
#[test]
fn no_mixture_of_names_and_links_gets_out() {
    let scratch = Scratch::new("mixture");
    let outside = scratch.0.join("outside").to_str().unwrap().to_owned();
    let outside_file = format!("{outside}/file");
    let names = [
        "a",
        "b",
        "a/b",
        "b/a",
        "a/b/c",
        "a/../b",
        ".wh.a",
        "a/.wh.b",
        "a/.wh..wh..opq",
        "./a/",
        "/b",
        "b/file",
    ];
    let targets = [
        "a",
        "b",
        "/",
        "..",
        "../outside",
        "../../..",
        &outside,
        &outside_file,
        "a/b",
        "b/../../outside/file",
    ];
    let mut state = 42_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut whole = 0;
    for _ in 0..1500 {
        let count = 1 + random(8);
        let entries: Vec<Entry<'_>> = (0..count)
            .map(|_| {
                let (name, target) = (names[random(names.len())], targets[random(targets.len())]);
                match random(5) {
                    0 => dir(name),
                    1 | 2 => symlink(name, target),
                    3 => hard(name, target),
                    _ => file(name, b"evil"),
                }
            })
            .collect();
        whole += usize::from(unpacked(&scratch, &entries).is_ok());
    }
    assert!((200..1400).contains(&whole), "{whole}");
}
