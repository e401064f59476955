//! Image archives for the tests, packed once and shared.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use podstrap::paths::fnv1a;

/// The name of the busybox image.
pub const BUSYBOX: &str = "localhost/busybox:test";

/// A path in the source tree.
pub fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Puts an archive with the busybox image into a directory.
pub fn provide_busybox(dir: &Path) {
    provide(&busybox(), dir, "busybox.tar");
}

/// Puts an archive into a directory that a daemon may be watching: by rename, without copying where that is possible.
pub fn provide(archive: &Path, dir: &Path, name: &str) {
    let part = dir.join(format!(".{name}.part"));
    if fs::hard_link(archive, &part).is_err() {
        fs::copy(archive, &part).unwrap();
    }
    fs::rename(&part, dir.join(name)).unwrap();
}

/// An archive with one image: busybox and a link for each of its programs. Packed once in a target directory.
pub fn busybox() -> PathBuf {
    let program = super::host::find("busybox").expect("busybox was looked for before");
    let packer = in_tree("tests/tools/pack-image");
    let mut content = fs::read(&program).unwrap();
    content.extend(fs::read(&packer).unwrap());
    content.extend(BUSYBOX.as_bytes());
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let archive = dir.join(format!("busybox-{:016x}.tar", fnv1a(&content)));
    let lock = File::create(dir.join("busybox.lock")).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
    if archive.exists() {
        return archive;
    }
    let root = dir.join("busybox-root");
    let _ = fs::remove_dir_all(&root);
    for sub in ["bin", "etc", "tmp", "root"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").unwrap();
    fs::copy(&program, root.join("bin/busybox")).unwrap();
    let list = Command::new(&program).arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|a| *a != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    pack(&archive, BUSYBOX, &root);
    fs::remove_dir_all(&root).unwrap();
    archive
}

/// Packs a directory as an image whose command is a shell.
pub fn pack(archive: &Path, name: &str, root: &Path) {
    let output = Command::new("sh")
        .arg(in_tree("tests/tools/pack-image"))
        .arg(archive)
        .arg(name)
        .arg(root)
        .args(["--cmd", r#"["/bin/sh"]"#, "--env", r#"["PATH=/bin"]"#])
        .output()
        .unwrap();
    assert!(output.status.success(), "pack-image: {}", super::describe(&output));
}

/// A real etcd: what `tests/tools/etcd-image` prints.
pub struct Etcd {
    /// The image's name.
    pub image: String,
    /// The archive that holds it.
    pub archive: PathBuf,
    /// A client for the host.
    pub etcdctl: PathBuf,
}

/// Gets etcd, from the cache or else from the network; an error tells why there is none.
pub fn etcd() -> Result<Etcd, String> {
    let output = Command::new("sh").arg(in_tree("tests/tools/etcd-image")).output().unwrap();
    if !output.status.success() {
        return Err(format!("no etcd: {}", super::text(&output.stderr).trim()));
    }
    let text = super::text(&output.stdout);
    let value = |key: &str| {
        let found = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("etcd-image does not tell `{key}`:\n{text}")).to_owned()
    };
    Ok(Etcd { image: value("image"), archive: value("archive").into(), etcdctl: value("etcdctl").into() })
}
