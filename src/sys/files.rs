//! Files named by a directory's descriptor and a path below it, so that no name, however hostile, leads anywhere else.
//!
//! Everything that unpacks an image layer goes through [`Dir`]: its paths are resolved as if the directory were the root
//! of the file system (openat2(2), `RESOLVE_IN_ROOT`), and what is made is made by one single name in a directory that
//! is already open.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::libc;
use nix::sys::stat::{self, FchmodatFlags, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags};

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device with its major and minor number.
    Character(u32, u32),
    /// A block device with its major and minor number.
    Block(u32, u32),
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

/// What [`Dir::stat`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Type,
    /// Device number of the file system and inode number: equal for two names of one file.
    pub identity: (u64, u64),
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// An open directory.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Dir {
    /// Opens the directory at `path`; its last component must not be a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory below this one as a process would whose root this is: `..` stops here and absolute links start
    /// here (openat2(2), RESOLVE_IN_ROOT). Links of /proc that lead out of the file system are refused.
    pub fn open_in_root(&self, path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        loop {
            match openat2(&self.0, path, how) {
                // The kernel asks for another try when something was renamed meanwhile (openat2(2), EAGAIN).
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return Ok(Self(other?)),
            }
        }
    }

    /// Makes a directory with exactly this mode.
    pub fn make_dir(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        stat::mkdirat(&self.0, name, Mode::from_bits_truncate(mode & 0o700))?;
        self.chmod(name, mode)
    }

    /// Makes a regular file that did not exist, with mode 0600, and opens it for writing.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.0, name, flags, Mode::from_bits_truncate(0o600))?))
    }

    /// Makes a device node or a FIFO with mode 0600.
    pub fn make_node(&self, name: &OsStr, kind: Node) -> io::Result<()> {
        let (kind, device) = match kind {
            Node::Character(major, minor) => (SFlag::S_IFCHR, stat::makedev(major.into(), minor.into())),
            Node::Block(major, minor) => (SFlag::S_IFBLK, stat::makedev(major.into(), minor.into())),
            Node::Fifo => (SFlag::S_IFIFO, 0),
        };
        stat::mknodat(&self.0, name, kind, Mode::from_bits_truncate(0o600), device).map_err(Into::into)
    }

    /// Makes a symbolic link that holds `target` as it is.
    pub fn symlink(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        nix::unistd::symlinkat(target, &self.0, name).map_err(Into::into)
    }

    /// Gives the file `from`/`old` a second name here. A symbolic link is linked itself, not followed.
    pub fn link(&self, name: &OsStr, from: &Dir, old: &OsStr) -> io::Result<()> {
        nix::unistd::linkat(&from.0, old, &self.0, name, AtFlags::empty()).map_err(Into::into)
    }

    /// What a name is, links not followed; `None` when there is nothing of that name.
    pub fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        let s = match stat::fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(s) => s,
            Err(Errno::ENOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let device = || (stat::major(s.st_rdev) as u32, stat::minor(s.st_rdev) as u32);
        let kind = match s.st_mode & libc::S_IFMT {
            libc::S_IFREG => Type::File,
            libc::S_IFDIR => Type::Directory,
            libc::S_IFLNK => Type::Symlink,
            libc::S_IFCHR => Type::Character(device().0, device().1),
            libc::S_IFBLK => Type::Block(device().0, device().1),
            libc::S_IFIFO => Type::Fifo,
            _ => Type::Socket,
        };
        Ok(Some(Stat {
            kind,
            identity: (s.st_dev, s.st_ino),
            mode: s.st_mode & 0o7777,
            uid: s.st_uid,
            gid: s.st_gid,
        }))
    }

    /// What a symbolic link holds.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        readlinkat(&self.0, name).map_err(Into::into)
    }

    /// Sets owner and group; a link is not followed. Clears set-uid bits and capabilities, so it comes before both.
    pub fn chown(&self, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        nix::unistd::fchownat(&self.0, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(Into::into)
    }

    /// Sets the permission bits of a name that is not a symbolic link.
    pub fn chmod(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(mode & 0o7777);
        stat::fchmodat(&self.0, name, mode, FchmodatFlags::FollowSymlink).map_err(Into::into)
    }

    /// Sets both times to `seconds` and `nanoseconds` since 1970; a link is not followed.
    pub fn set_times(&self, name: &OsStr, seconds: i64, nanoseconds: i64) -> io::Result<()> {
        let time = TimeSpec::new(seconds, nanoseconds);
        stat::utimensat(&self.0, name, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(Into::into)
    }

    /// Sets an extended attribute; a link is not followed.
    #[allow(unsafe_code)]
    pub fn set_xattr(&self, name: &OsStr, key: &OsStr, value: &[u8]) -> io::Result<()> {
        let (path, key) = (self.proc_path(name)?, c_string(key)?);
        // SAFETY: both strings end in NUL and live through the call; `value` is read for exactly its own length.
        let r =
            unsafe { libc::lsetxattr(path.as_ptr(), key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
        if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads an extended attribute of at most 64 KiB (xattr(7): the kernel's own bound); a link is not followed. `None`
    /// when there is no such attribute.
    #[allow(unsafe_code)]
    pub fn xattr(&self, name: &OsStr, key: &OsStr) -> io::Result<Option<Vec<u8>>> {
        let (path, key) = (self.proc_path(name)?, c_string(key)?);
        let mut value = vec![0_u8; 64 * 1024];
        // SAFETY: both strings end in NUL and live through the call; at most `value.len()` bytes are written to `value`.
        let r =
            unsafe { libc::lgetxattr(path.as_ptr(), key.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        match usize::try_from(r) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(_) => match io::Error::last_os_error() {
                e if e.raw_os_error() == Some(libc::ENODATA) => Ok(None),
                e => Err(e),
            },
        }
    }

    /// Removes a name: a directory with all that is in it, anything else by itself. Links are not followed.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match self.stat(name)? {
            None => Ok(()),
            Some(Stat { kind: Type::Directory, .. }) => std::fs::remove_dir_all(
                Path::new(&format!("/proc/self/fd/{}", self.0.as_raw_fd())).join(name),
            ),
            Some(_) => nix::unistd::unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir).map_err(Into::into),
        }
    }

    /// Where this directory is now, by the kernel's word.
    pub fn path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Flushes the file system that holds this directory: all of it, since a layer is too many files to flush one by one.
    pub fn sync_filesystem(&self) -> io::Result<()> {
        nix::unistd::syncfs(&self.0).map_err(Into::into)
    }

    /// Flushes the directory itself: the names in it.
    pub fn sync(&self) -> io::Result<()> {
        nix::unistd::fsync(&self.0).map_err(Into::into)
    }

    /// The calls for extended attributes have no form with a directory descriptor on the kernels we run on; the
    /// descriptor's own name in /proc stands for it.
    fn proc_path(&self, name: &OsStr) -> io::Result<CString> {
        let mut path = format!("/proc/self/fd/{}/", self.0.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.as_bytes());
        c_string(OsStr::from_bytes(&path))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What [`Dir::make_node`] can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A character device with its major and minor number.
    Character(u32, u32),
    /// A block device with its major and minor number.
    Block(u32, u32),
    /// A FIFO.
    Fifo,
}

pub(super) fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("podstrap-files-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn no_path_leaves_the_root() {
        let dir = scratch("root");
        fs::create_dir_all(dir.join("in/etc")).unwrap();
        fs::create_dir_all(dir.join("etc/only-outside")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("in/absolute")).unwrap();
        std::os::unix::fs::symlink("../../../etc", dir.join("in/relative")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root", dir.join("in/magic")).unwrap();
        let root = Dir::open(&dir.join("in")).unwrap();
        let wanted = fs::canonicalize(dir.join("in/etc")).unwrap();
        for path in ["absolute", "relative", "../etc", "/etc", "etc/../../etc"] {
            assert_eq!(root.open_in_root(Path::new(path)).unwrap().path().unwrap(), wanted, "{path}");
        }
        assert!(root.open_in_root(Path::new("etc/only-outside")).is_err());
        assert!(root.open_in_root(Path::new("magic")).is_err());
        assert!(Dir::open(&dir.join("in/absolute")).is_err(), "the last component is not followed");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_link_is_removed_and_not_followed() {
        let dir = scratch("remove");
        fs::create_dir_all(dir.join("kept/deep")).unwrap();
        fs::create_dir_all(dir.join("gone/deep")).unwrap();
        std::os::unix::fs::symlink("../kept", dir.join("gone/link")).unwrap();
        let root = Dir::open(&dir).unwrap();
        root.remove(OsStr::new("gone")).unwrap();
        root.remove(OsStr::new("missing")).unwrap();
        assert!(!dir.join("gone").exists());
        assert!(dir.join("kept/deep").exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
