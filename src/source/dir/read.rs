//! One file of a directory, read: whether it is one, has changed, may be believed, and nobody is writing to it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

use super::{BUSY_AGAIN_MS, Rules};
use crate::sys::lease::{Writers, writers};

/// What was read, and when, of a file on a file system that cannot tell of writers: to be read again, and to be the same.
pub(super) type Unsettled = Option<(u64, Vec<u8>)>;

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    /// When its inode was changed last, in nanoseconds since 1970.
    pub(super) changed: i128,
}

impl Print {
    pub(super) fn of(m: &Metadata) -> Self {
        let ns = |s: i64, n: i64| i128::from(s) * 1_000_000_000 + i128::from(n);
        Self {
            device: m.dev(),
            inode: m.ino(),
            size: m.size(),
            modified: ns(m.mtime(), m.mtime_nsec()),
            changed: ns(m.ctime(), m.ctime_nsec()),
        }
    }

    /// Time stamps are coarse: a file that changed within the last seconds may change again without showing it.
    pub(super) fn is_fresh(&self) -> bool {
        let now = i128::from(crate::sys::clock::unix_ms()) * 1_000_000;
        (now - self.changed.max(self.modified)).abs() < 2_000_000_000
    }
}

/// What reading a file came to.
pub(super) enum Read {
    Gone,
    NotAFile(&'static str),
    Busy,
    Same,
    Failed(String),
    Content(Vec<u8>, Print),
}

/// Reads a file if it is one, has changed, and nobody is writing to it.
pub(super) fn read_one(
    path: &Path,
    former: Option<Print>,
    unsettled: &mut Unsettled,
    rules: &Rules,
    now: u64,
) -> Read {
    let metadata = match fs::metadata(path) {
        Ok(m) => m,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // A link that leads nowhere is an entry all the same.
            return match fs::symlink_metadata(path) {
                Ok(_) => Read::Failed("it is a link that leads nowhere".to_owned()),
                Err(_) => Read::Gone,
            };
        }
        Err(e) => return Read::Failed(format!("cannot be read: {e}")),
    };
    if let Some(what) = odd_kind(&metadata) {
        return Read::NotAFile(what);
    }
    if former == Some(Print::of(&metadata)) {
        return Read::Same;
    }
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Read::Gone,
        // Somebody holds a write lease on it (open(2)).
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Read::Busy,
        Err(e) => return Read::Failed(format!("cannot be read: {e}")),
    };
    match read_settled(&file, unsettled, rules, now) {
        Ok(outcome) => outcome,
        Err(e) => Read::Failed(format!("cannot be read: {e}")),
    }
}

/// Why others than root (and who runs us, in tests without root) may change it, if they may.
pub(super) fn foreign(m: &Metadata) -> Option<String> {
    if m.uid() != 0 && m.uid() != nix::unistd::geteuid().as_raw() {
        Some(format!("belongs to user {}", m.uid()))
    } else if m.mode() & 0o002 != 0 {
        Some("everybody may write to it".to_owned())
    } else {
        None
    }
}

fn odd_kind(m: &Metadata) -> Option<&'static str> {
    let kind = m.file_type();
    if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a fifo")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_file() {
        None
    } else {
        Some("a device")
    }
}

fn read_settled(file: &File, unsettled: &mut Unsettled, rules: &Rules, now: u64) -> io::Result<Read> {
    let limits = &rules.limits;
    let before = file.metadata()?;
    if let Some(what) = odd_kind(&before) {
        return Ok(Read::NotAFile(what));
    }
    if !rules.allow_foreign
        && let Some(why) = foreign(&before)
    {
        return Ok(Read::Failed(format!(
            "{why}, and whoever writes here is root on this host: `chown root` and `chmod o-w` it \
             (or --allow-foreign-manifests)"
        )));
    }
    if before.size() > limits.max_bytes as u64 {
        return Ok(Read::Failed(format!(
            "it has {} bytes, and the bound is {} (--max-manifest-bytes)",
            before.size(),
            limits.max_bytes
        )));
    }
    let state = writers(file.as_fd())?;
    if state == Writers::Some {
        return Ok(Read::Busy);
    }
    let mut content = Vec::with_capacity(before.size() as usize + 1);
    file.take(limits.max_bytes as u64 + 1).read_to_end(&mut content)?;
    let after = file.metadata()?;
    let still = writers(file.as_fd())?;
    if Print::of(&before) != Print::of(&after) || still == Writers::Some || content.len() > limits.max_bytes {
        return Ok(Read::Busy);
    }
    if still == Writers::Unknown {
        // Two equal reads at least a second apart have to do.
        match unsettled.take() {
            Some((since, former)) if former == content && now >= since + BUSY_AGAIN_MS => {}
            Some((since, former)) if former == content => {
                *unsettled = Some((since, former));
                return Ok(Read::Busy);
            }
            Some(_) | None => {
                *unsettled = Some((now, content));
                return Ok(Read::Busy);
            }
        }
    }
    Ok(Read::Content(content, Print::of(&after)))
}
