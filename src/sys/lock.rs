//! Lock files: held by an open descriptor, so that the kernel releases them with the process, however it dies.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A lock that is held until this is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(Flock<File>);

/// What came of trying to take a lock.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Lock),
    /// Another process holds it; what stands in the file (its pid, by our custom) is given, 0 when it cannot be read.
    Held {
        /// The holder's pid.
        pid: i32,
    },
}

/// Tries to take the lock at `path` (mode 0600 from then on, whatever it had) and writes our pid into it.
pub fn take(path: &Path) -> io::Result<Taken> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0)?;
            write!(lock, "{}", std::process::id())?;
            Ok(Taken::Ours(Lock(lock)))
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            Ok(Taken::Held { pid: text.trim().parse().unwrap_or(0) })
        }
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Waits for the lock at `path` and writes our pid into it. For helper processes only: the daemon never waits.
pub fn wait(path: &Path) -> io::Result<Lock> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
    lock.set_len(0)?;
    write!(lock, "{}", std::process::id())?;
    Ok(Lock(lock))
}

/// Whether a living process holds the lock at `path`, and which pid it wrote there. A missing file is not held.
pub fn holder(path: &Path) -> io::Result<Option<i32>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(None),
        Err((_, Errno::EWOULDBLOCK)) => Ok(Some(text.trim().parse().unwrap_or(0))),
        Err((_, errno)) => Err(errno.into()),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An empty file says that nobody holds it; the descriptor's end releases the lock itself.
        let _ = self.0.set_len(0);
    }
}
