//! The nudge: a FIFO by which monitors and verbs tell the daemon "look again". What happened stands in files, so a
//! nudge that is lost because no daemon lives loses nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

/// The daemon's end.
#[derive(Debug)]
pub struct Fifo {
    file: File,
    partial: Vec<u8>,
}

impl Fifo {
    /// Makes the FIFO if it is missing (0600) and opens it for reading. We hold a writing end too, so that it never reads
    /// as ended.
    pub fn open(path: &Path) -> io::Result<Self> {
        match nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(Self { file, partial: Vec::new() })
    }

    /// Takes every whole line that is there, at most 64 KiB a call, which is all that the kernel holds: after that much,
    /// `true` says that a nudge may have found no room and been lost.
    pub fn drain(&mut self) -> (Vec<String>, bool) {
        let mut buffer = [0; 4096];
        let mut room = 16;
        while room > 0 {
            match self.file.read(&mut buffer) {
                Ok(n) if n > 0 => self.partial.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                _ => break,
            }
            room -= 1;
        }
        let overflow = room == 0;
        let Some(end) = self.partial.iter().rposition(|b| *b == b'\n') else {
            // No line of ours is as long as that: whoever wrote it, it is not for us.
            if self.partial.len() > 4096 {
                self.partial.clear();
            }
            return (Vec::new(), overflow);
        };
        let rest = self.partial.split_off(end + 1);
        let lines = String::from_utf8_lossy(&self.partial).lines().map(str::to_owned).collect();
        self.partial = rest;
        (lines, overflow)
    }
}

impl AsFd for Fifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Sends one line (at most 511 bytes, so that the kernel writes it whole). Returns whether a daemon was there to hear
/// it; a full pipe counts as heard, because the daemon has something to read already.
pub fn nudge(path: &Path, line: &str) -> io::Result<bool> {
    debug_assert!(line.len() < 511);
    let mut file = match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) || e.kind() == io::ErrorKind::NotFound => {
            return Ok(false);
        }
        Err(e) => return Err(e),
    };
    match file.write_all(format!("{line}\n").as_bytes()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(e) => Err(e),
    }
}
