//! A copy of a part of the mount tree that is set up before anyone can see it (open_tree(2), mount_setattr(2),
//! move_mount(2); Linux 5.12).
//!
//! An ordinary bind mount would for a moment belong to the peer group of its source: taking it away again, after a crash at
//! that moment, would take away what is mounted below the source as well.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::libc;

use super::files::c_string;

/// How a copy hears of mounts at its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// Not at all.
    Nothing,
    /// What is mounted at the source appears in the copy, not the other way round.
    Source,
}

/// A copy that is not mounted anywhere yet; dropped, it vanishes.
#[derive(Debug)]
pub struct Tree(OwnedFd);

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 1;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

impl Tree {
    /// Copies the tree of mounts whose root is the opened file or directory `of`, with all that is mounted below it.
    #[allow(unsafe_code)]
    pub fn copy(of: impl AsFd) -> io::Result<Self> {
        let flags = OPEN_TREE_CLONE
            | libc::O_CLOEXEC as libc::c_uint
            | libc::AT_EMPTY_PATH as libc::c_uint
            | libc::AT_RECURSIVE as libc::c_uint;
        // SAFETY: the path is an empty C string that lives through the call; no memory is written.
        let fd = unsafe { libc::syscall(libc::SYS_open_tree, of.as_fd().as_raw_fd(), c"".as_ptr(), flags) };
        let fd = RawFd::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this descriptor, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Cuts the copy, and all copies below it, off from its source's peer group, and perhaps makes all of it read-only.
    #[allow(unsafe_code)]
    pub fn set(&self, hears: Hears, read_only: bool) -> io::Result<()> {
        let attributes = Attributes {
            set: if read_only { MOUNT_ATTR_RDONLY } else { 0 },
            clear: 0,
            propagation: match hears {
                Hears::Nothing => libc::MS_PRIVATE,
                Hears::Source => libc::MS_SLAVE,
            },
            user_namespace: 0,
        };
        let flags = (libc::AT_EMPTY_PATH | libc::AT_RECURSIVE) as libc::c_uint;
        // SAFETY: the path is an empty C string; `attributes` has the kernel's layout, its true size is told, and it is only
        // read.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                flags,
                &raw const attributes,
                size_of::<Attributes>(),
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Mounts the copy at `target`, which is of the same kind (file or directory) as what was copied.
    #[allow(unsafe_code)]
    pub fn attach(self, target: &Path) -> io::Result<()> {
        let target = c_string(target.as_os_str())?;
        // SAFETY: both paths are C strings that live through the call; no memory is written.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_FDCWD,
                target.as_ptr(),
                MOVE_MOUNT_F_EMPTY_PATH,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mount;
    use std::fs;

    #[test]
    fn a_copy_is_cut_off_and_read_only_to_its_depth() {
        let dir = std::env::temp_dir().join(format!("podstrap-detached-{}", std::process::id()));
        let (source, target) = (dir.join("source"), dir.join("target"));
        fs::create_dir_all(source.join("below")).unwrap();
        fs::create_dir_all(&target).unwrap();
        mount::tmpfs(&source.join("below"), None, 0o755).unwrap();
        fs::write(source.join("below/f"), "x").unwrap();
        let tree = Tree::copy(fs::File::open(&source).unwrap()).unwrap();
        tree.set(Hears::Nothing, true).unwrap();
        tree.attach(&target).unwrap();
        assert_eq!(fs::read_to_string(target.join("below/f")).unwrap(), "x");
        assert!(fs::write(target.join("below/f"), "y").is_err());
        fs::write(source.join("below/f"), "z").unwrap();
        mount::unmount_all(&target).unwrap();
        assert!(source.join("below/f").exists());
        mount::unmount_all(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
