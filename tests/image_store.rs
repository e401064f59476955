//! Images from real tools, seen through a real overlay mount: what a container's root will be. Needs root.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use podstrap::image::digest::Digest;
use podstrap::image::prune::Pruned;
use podstrap::image::store::{Image, Store};
use podstrap::pod::reference::Reference;

/// A directory of its own for one test; unmounts and removes what is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podstrap-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Mounts an image as a container's root, with the working directory that relative layer names need.
    fn mount(&self, image: &Image) -> PathBuf {
        let (upper, work, root) = (self.dir("upper"), self.dir("work"), self.dir("root"));
        let lower: Vec<&str> = image.layers.iter().rev().map(String::as_str).collect();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
        // A child changes its directory, not this process, in which other tests run.
        let status = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(&root)
            .current_dir(&image.layers_root)
            .status()
            .unwrap();
        assert!(status.success(), "mount -o {options}");
        root
    }

    fn unmount(&self) {
        let _ = umount2(&self.0.join("root"), MntFlags::MNT_DETACH);
        for directory in ["upper", "work"] {
            let _ = fs::remove_dir_all(self.0.join(directory));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.unmount();
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tool(program: impl AsRef<OsStr>, args: &[&dyn AsRef<OsStr>]) {
    let mut command = Command::new(program.as_ref());
    for arg in args {
        command.arg(arg.as_ref());
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn pack(out: &Path, name: &str, root: &Path, more: &[&str]) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/pack-image");
    let mut args: Vec<&dyn AsRef<OsStr>> = vec![&out, &name, &root];
    args.extend(more.iter().map(|arg| arg as &dyn AsRef<OsStr>));
    tool(program, &args);
}

fn load(store: &Store, archive: &Path) -> Image {
    let loaded = store.load(archive, &mut |_| {}).unwrap();
    store.image(&loaded[0].id).unwrap().unwrap()
}

/// A docker archive of several layers, each the tar file of a directory.
fn archive_of(scratch: &Scratch, name: &str, layers: &[&Path]) -> PathBuf {
    let into = scratch.dir(&format!("{name}.d"));
    let mut ids = Vec::new();
    let mut names = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        let file = format!("{n}.tar");
        tool("tar", &[&"-C", layer, &"--sort=name", &"--format=ustar", &"-cf", &into.join(&file), &"."]);
        ids.push(format!("\"{}\"", Digest::of(&fs::read(into.join(&file)).unwrap())));
        names.push(format!("\"{file}\""));
    }
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    fs::write(into.join("config.json"), config).unwrap();
    let manifest =
        format!(r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":[{}]}}]"#, names.join(","));
    fs::write(into.join("manifest.json"), manifest).unwrap();
    let out = scratch.0.join(format!("{name}.tar"));
    tool("tar", &[&"-C", &into, &"-cf", &out, &"."]);
    out
}

/// Every path of a tree with what matters of it.
fn tree(root: &Path) -> BTreeSet<String> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let what = if meta.is_dir() {
                walk(root, &path, found);
                "/".to_owned()
            } else if meta.is_symlink() {
                format!(" -> {}", fs::read_link(&path).unwrap().display())
            } else if meta.file_type().is_char_device() {
                format!(" device {}", meta.rdev())
            } else {
                format!(" = {}", fs::read_to_string(&path).unwrap())
            };
            found.insert(name + &what);
        }
    }
    let mut found = BTreeSet::new();
    walk(root, root, &mut found);
    found
}

#[test]
fn layers_merge_as_the_image_says() {
    let scratch = Scratch::new("image-merge");
    let write = |layer: &str, files: &[&str]| {
        let root = scratch.dir(layer);
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, layer).unwrap();
        }
        root
    };
    let one = write(
        "one",
        &["etc/a", "etc/b", "dir/old/x", "opaque/old", "gone/x", "again/old", "usr/bin/sh", "kept"],
    );
    std::os::unix::fs::symlink("usr/bin", one.join("bin")).unwrap();
    let two = write(
        "two",
        &[
            "etc/.wh.a",
            "etc/c",
            "dir/.wh.old",
            "opaque/.wh..wh..opq",
            "opaque/new",
            ".wh.gone",
            ".wh.again",
            "usr/bin/ls",
        ],
    );
    // A directory that one layer removes and a later one makes anew holds only what is new.
    let three = write("three", &["again/new", "gone/y", "etc/a"]);
    // And one that a single layer removes and makes anew.
    let four = write("four", &[".wh.usr", "usr/only"]);
    let store = Store::new(&scratch.0.join("images"));
    // GNU tar keeps no attributes in this format, so both archives share their layers.
    let expected = |more: &[&str], less: &[&str]| -> BTreeSet<String> {
        let all = [
            "etc/",
            "etc/a = three",
            "etc/b = one",
            "etc/c = two",
            "dir/",
            "opaque/",
            "opaque/new = two",
            "gone/",
            "gone/y = three",
            "again/",
            "again/new = three",
            "usr/",
            "usr/bin/",
            "usr/bin/sh = one",
            "usr/bin/ls = two",
            "bin -> usr/bin",
            "kept = one",
        ];
        let all = all.iter().filter(|path| !less.contains(path)).chain(more);
        all.map(|path| (*path).to_owned()).collect()
    };
    let image = load(&store, &archive_of(&scratch, "three-layers", &[&one, &two, &three]));
    assert_eq!(tree(&scratch.mount(&image)), expected(&[], &[]));
    scratch.unmount();
    let image = load(&store, &archive_of(&scratch, "four-layers", &[&one, &two, &three, &four]));
    assert_eq!(image.layers.len(), 4);
    let root = scratch.mount(&image);
    let without_usr = ["usr/bin/", "usr/bin/sh = one", "usr/bin/ls = two"];
    assert_eq!(tree(&root), expected(&["usr/only = four"], &without_usr));
    // What is mounted is not pruned, whatever the caller knows.
    assert_eq!(store.prune(&BTreeSet::new(), true).unwrap(), Pruned::default());
    // Not even if the index is lost; and loading again does not touch what is in use.
    let index = scratch.0.join("images/index.json");
    fs::rename(&index, scratch.0.join("aside")).unwrap();
    let again = load(&store, &scratch.0.join("four-layers.tar"));
    assert_eq!(again.id, image.id);
    assert!(again.layers.iter().all(|layer| !image.layers.contains(layer)), "{again:?}");
    assert_eq!(fs::read_to_string(root.join("usr/only")).unwrap(), "four");
    fs::rename(scratch.0.join("aside"), &index).unwrap();
    assert_eq!(fs::read_to_string(root.join("kept")).unwrap(), "one");
    scratch.unmount();
    assert_eq!(store.prune(&BTreeSet::new(), true).unwrap().layers.len(), 4);
}

#[test]
fn a_program_runs_in_a_packed_image() {
    let scratch = Scratch::new("image-run");
    let from = scratch.dir("from");
    fs::create_dir(from.join("bin")).unwrap();
    fs::copy("/bin/busybox", from.join("bin/busybox")).unwrap();
    let archive = scratch.0.join("busybox.tar");
    let more = [
        "--entrypoint",
        r#"["/bin/busybox"]"#,
        "--cmd",
        r#"["echo","hi"]"#,
        "--env",
        r#"["A=\"1\""]"#,
        "--user",
        "7:8",
        "--workdir",
        "/a \"b\"",
        "--stop-signal",
        "SIGQUIT",
    ];
    pack(&archive, "busybox:1", &from, &more);
    tool("gzip", &[&"-k", &archive]);
    let store = Store::new(&scratch.0.join("images"));
    let image = load(&store, &scratch.0.join("busybox.tar.gz"));
    assert_eq!(store.resolve(&Reference::parse("busybox:1").unwrap()).unwrap(), Some(image.clone()));
    assert_eq!(image.config.entrypoint, ["/bin/busybox"]);
    assert_eq!(
        (&image.config.cmd[..], &image.config.env[..]),
        (&["echo".to_owned(), "hi".into()][..], &["A=\"1\"".to_owned()][..])
    );
    assert_eq!((image.config.user.as_str(), image.config.working_dir.as_str()), ("7:8", "/a \"b\""));
    assert_eq!(image.config.stop_signal, "SIGQUIT");
    let root = scratch.mount(&image);
    let output = Command::new("chroot").arg(&root).args(["/bin/busybox", "echo", "hi"]).output().unwrap();
    assert_eq!(output.stdout, b"hi\n");
}

/// skopeo writes both kinds of archive from one image; it and zstd are not on every machine that builds this.
#[test]
#[ignore = "needs skopeo and zstd"]
fn archives_of_skopeo_load() {
    let scratch = Scratch::new("image-skopeo");
    let from = scratch.dir("from");
    fs::write(from.join("file"), "content").unwrap();
    let packed = scratch.0.join("packed.tar");
    pack(&packed, "r.example/app:1", &from, &[]);
    let source = format!("docker-archive:{}", packed.display());
    for (kind, file) in [("oci-archive", "oci.tar"), ("docker-archive", "docker.tar")] {
        let out = scratch.0.join(file);
        tool(
            "skopeo",
            &[&"copy", &"--quiet", &source, &format!("{kind}:{}:r.example/copy:{kind}", out.display())],
        );
        tool("zstd", &[&"-q", &out]);
        let store = Store::new(&scratch.0.join(format!("images-{kind}")));
        for archive in [out.clone(), scratch.0.join(format!("{file}.zst"))] {
            let image = load(&store, &archive);
            let name = Reference::parse(&format!("r.example/copy:{kind}")).unwrap();
            assert_eq!(store.resolve(&name).unwrap(), Some(image.clone()), "{kind}");
            let file = image.layers_root.join(&image.layers[0]).join("file");
            assert_eq!(fs::read_to_string(file).unwrap(), "content");
        }
    }
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let scratch = Scratch::new("image-full");
    let small = scratch.dir("root");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("none"), &small, Some("tmpfs"), flags, Some("size=4m")).unwrap();
    let store = Store::new(&small.join("images"));
    let from = scratch.dir("from");
    fs::write(from.join("small"), "x").unwrap();
    let archive = scratch.0.join("a.tar");
    pack(&archive, "small", &from, &[]);
    let image = load(&store, &archive);
    fs::write(from.join("large"), vec![b'x'; 8 << 20]).unwrap();
    pack(&archive, "large", &from, &[]);
    let before = store.index().unwrap();
    let error = store.load(&archive, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("No space left") && !error.is_permanent(), "{error}");
    assert_eq!(store.index().unwrap(), before);
    assert_eq!(store.image(&image.id).unwrap(), Some(image));
    assert_eq!(fs::read_dir(small.join("images/layers")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(small.join("images/tmp")).unwrap().count(), 0);
}

/// Set in the process that is to be killed: where its store and its archive are.
const KILLED: &str = "PODSTRAP_TEST_KILLED_LOAD";

#[test]
fn a_killed_load_leaves_nothing_that_counts() {
    if let Some(scratch) = std::env::var_os(KILLED) {
        let scratch = Path::new(&scratch);
        let _ = Store::new(&scratch.join("images")).load(&scratch.join("large.tar"), &mut |_| {});
        return;
    }
    let scratch = Scratch::new("image-killed");
    let from = scratch.dir("from");
    fs::write(from.join("a"), "small").unwrap();
    let small = scratch.0.join("small.tar");
    pack(&small, "small", &from, &[]);
    let store = Store::new(&scratch.0.join("images"));
    let image = load(&store, &small);
    // So large that it is still being written when its beginning has been seen.
    fs::write(from.join("b"), vec![b'x'; 64 << 20]).unwrap();
    let large = scratch.0.join("large.tar");
    pack(&large, "large", &from, &[]);
    let before = store.index().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_load_leaves_nothing_that_counts"])
        .env(KILLED, &scratch.0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let half_written = || {
        let work = scratch.0.join(format!("images/tmp/load-{}", child.id()));
        let mut layers = fs::read_dir(work).into_iter().flatten().flatten();
        layers.any(|layer| fs::metadata(layer.path().join("b")).is_ok_and(|meta| meta.len() > 0))
    };
    while !half_written() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(store.index().unwrap(), before);
    assert_eq!(store.image(&image.id).unwrap(), Some(image));
    assert_eq!(
        fs::read_dir(scratch.0.join("images/tmp")).unwrap().count(),
        1,
        "the load was killed half-way"
    );
    load(&store, &small);
    assert_eq!(fs::read_dir(scratch.0.join("images/tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(scratch.0.join("images/layers")).unwrap().count(), 1);
    // The lock died with its holder, and the archive loads after all.
    assert_eq!(load(&store, &large).layers.len(), 1);
}
