//! Standard error that cannot block: a reader that hangs (a stopped journal, a stopped terminal) must never stop the
//! daemon. What cannot be written at once is dropped and counted.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use nix::sys::socket::{MsgFlags, send};

/// How standard error is reached.
#[derive(Debug)]
enum Way {
    /// A file: writing does not wait for a reader.
    File,
    /// A pipe or terminal, opened anew without blocking (setting the flag on the shared one would surprise others).
    Reopened(std::fs::File),
    /// A socket (the journal).
    Socket,
}

static WAY: OnceLock<Way> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Writes a line, or drops it.
pub fn write(line: &[u8]) {
    let way = WAY.get_or_init(find_way);
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        let note = format!("podstrap: {dropped} lines were dropped because standard error was blocked\n");
        if put(way, note.as_bytes()).is_err() {
            DROPPED.fetch_add(dropped, Ordering::Relaxed);
        }
    }
    if put(way, line).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn put(way: &Way, bytes: &[u8]) -> io::Result<()> {
    match way {
        Way::File => io::stderr().write_all(bytes),
        Way::Reopened(file) => {
            let mut file = file;
            file.write_all(bytes)
        }
        Way::Socket => {
            send(io::stderr().as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
            Ok(())
        }
    }
}

fn find_way() -> Way {
    match kind(io::stderr().as_fd()) {
        Ok(kind) if kind.is_socket() => Way::Socket,
        Ok(kind) if kind.is_fifo() || kind.is_char_device() => {
            let path = "/proc/self/fd/2";
            match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
                Ok(file) => Way::Reopened(file),
                Err(_) => Way::File,
            }
        }
        Ok(_) | Err(_) => Way::File,
    }
}

fn kind(fd: BorrowedFd<'_>) -> io::Result<std::fs::FileType> {
    let metadata = std::fs::File::from(fd.try_clone_to_owned()?).metadata()?;
    Ok(metadata.file_type())
}
