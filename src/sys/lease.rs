//! Whether anybody has a file open for writing: a read lease is granted only when nobody has.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// Whether a file is open for writing somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// By nobody, at this moment.
    None,
    /// By somebody (a shared writable mapping counts).
    Some,
    /// This file system cannot tell.
    Unknown,
}

/// Asks for a read lease and gives it back at once (fcntl(2), F_SETLEASE). The lease is never broken while we hold it for
/// longer than an instant, and then by a SIGIO, which the daemon blocks.
#[allow(unsafe_code)]
pub fn writers(file: BorrowedFd<'_>) -> io::Result<Writers> {
    // SAFETY: fcntl with F_SETLEASE takes integers only, and the descriptor is borrowed and so open.
    let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    if taken == 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
        return Ok(Writers::None);
    }
    match Errno::last() {
        Errno::EAGAIN => Ok(Writers::Some),
        Errno::EINVAL | Errno::EACCES | Errno::EOPNOTSUPP | Errno::EPERM => Ok(Writers::Unknown),
        other => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_writer_is_seen() {
        let path = std::env::temp_dir().join(format!("podstrap-lease-{}", std::process::id()));
        let writer = std::fs::File::create(&path).unwrap();
        let reader = std::fs::File::open(&path).unwrap();
        assert_eq!(writers(reader.as_fd()).unwrap(), Writers::Some);
        drop(writer);
        assert_eq!(writers(reader.as_fd()).unwrap(), Writers::None);
        std::fs::remove_file(&path).unwrap();
    }
}
