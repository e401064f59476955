//! Manifest directories on file systems that may not answer: a network's, or one that a program serves. The loop reads manifests
//! itself, and waits as long as such a read does. So an operator is told, before the first read.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::sys::mount::{self, MountPoint};
use crate::warning;

/// As many links are followed, as by the kernel.
const MOST_LINKS: usize = 40;

/// Types of file systems that wait for somebody else; those of FUSE have names like `fuse.sshfs`.
const KINDS: [&str; 15] = [
    "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "fuse", "gfs2", "lustre", "nfs", "nfs4",
    "ocfs2", "orangefs", "smb3",
];

/// Warns of manifest directories that may hang. Gives the same lines for the status.
pub(super) fn warn(dirs: &[PathBuf]) -> Vec<String> {
    // Without the table nothing can be told of it.
    let mounts = mount::list().unwrap_or_default();
    let line = |dir: &PathBuf| {
        let kind = remote_kind(dir, &mounts)?;
        let line = format!(
            "{}: is on a file system ({kind}) that may not answer: while it does not, nothing is started, restarted or \
             stopped; copy the manifests to a local directory, or serve them by --manifest-url",
            dir.display()
        );
        warning!("{line}");
        Some(line)
    };
    dirs.iter().filter_map(line).collect()
}

/// The type of such a file system, if the path leads onto one. Nothing there is touched: a link is read only where it lies on
/// a local one.
fn remote_kind(path: &Path, mounts: &[MountPoint]) -> Option<String> {
    let mut at = PathBuf::from("/");
    let mut rest: Vec<OsString> = words(&std::path::absolute(path).ok()?);
    let mut links = 0;
    while let Some(word) = rest.pop() {
        if word == ".." {
            at.pop();
            continue;
        }
        at.push(word);
        if let Some(kind) = kind_at(&at, mounts) {
            return Some(kind);
        }
        if let Ok(target) = fs::read_link(&at) {
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            rest.extend(words(&target));
        }
    }
    None
}

/// The parts of a path, the last one first.
fn words(path: &Path) -> Vec<OsString> {
    let word = |part: Component<'_>| match part {
        Component::Normal(word) => Some(word.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(word).collect()
}

/// By the last mount that covers the path, without looking at the path itself.
fn kind_at(path: &Path, mounts: &[MountPoint]) -> Option<String> {
    let covering = mounts.iter().filter(|m| path.starts_with(&m.path));
    let mount = covering.max_by_key(|m| m.path.as_os_str().as_bytes().len())?;
    let kind = String::from_utf8_lossy(&mount.kind);
    (KINDS.contains(&kind.as_ref()) || kind.starts_with("fuse.")).then(|| kind.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_tells_and_a_later_one_covers_an_earlier() {
        let mounts = mount::parse(
            b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
              2 1 0:40 / /etc/kubernetes rw - nfs4 server:/ rw\n\
              3 2 0:41 / /etc/kubernetes/local rw - tmpfs none rw\n\
              4 1 0:42 / /srv rw - fuse.sshfs a:/ rw\n\
              5 1 0:43 / /srv rw - xfs /dev/sdb rw\n\
              6 1 0:44 / /mnt rw - fuse.sshfs a:/ rw\n",
        );
        for (path, kind) in [
            ("/etc/kubernetes/manifests", Some("nfs4")),
            ("/etc/kubernetes", Some("nfs4")),
            ("/etc/kubernetes-too", None),
            ("/srv/m", None),
            ("/mnt/m", Some("fuse.sshfs")),
            ("/m", None),
        ] {
            assert_eq!(kind_at(Path::new(path), &mounts).as_deref(), kind, "{path}");
            assert_eq!(remote_kind(Path::new(path), &mounts).as_deref(), kind, "{path}");
        }
        let local = Path::new("/etc/kubernetes/local/manifests");
        assert_eq!(kind_at(local, &mounts), None);
        assert_eq!(remote_kind(local, &mounts).as_deref(), Some("nfs4"), "the way there leads through it");
        let dir = std::env::temp_dir().join(format!("podstrap-remote-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let up = "../".repeat(dir.components().count() - 1);
        for (name, target) in [("a", "/mnt/m".to_owned()), ("b", format!("{up}mnt")), ("c", "b".to_owned())] {
            std::os::unix::fs::symlink(target, dir.join(name)).unwrap();
            let path = dir.join(name).join("deeper");
            assert_eq!(remote_kind(&path, &mounts).as_deref(), Some("fuse.sshfs"), "{name}");
        }
        std::os::unix::fs::symlink("d", dir.join("d")).unwrap();
        assert_eq!(remote_kind(&dir.join("d"), &mounts), None, "a link to itself");
        fs::remove_dir_all(&dir).unwrap();
    }
}
