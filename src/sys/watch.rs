//! Directory events. They only say "look again here": a scan is the truth, and a lost event costs no more than a rescan.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

/// One inotify instance with any number of directories.
#[derive(Debug)]
pub struct Watcher {
    inotify: Inotify,
    buffer: Vec<u8>,
}

/// One watched directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(WatchDescriptor);

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something happened to this name in the directory.
    Name(WatchId, OsString),
    /// The directory itself was moved, deleted or unmounted: its watch is worthless now.
    Gone(WatchId),
    /// Events were lost: everything may have changed.
    Overflow,
}

impl Watcher {
    /// Opens an instance (non-blocking, close-on-exec).
    pub fn new() -> io::Result<Self> {
        Ok(Self { inotify: Inotify::init()?, buffer: vec![0; 4096] })
    }

    /// Watches a directory for names that come, go, or are closed after writing.
    pub fn add(&mut self, directory: &Path) -> io::Result<WatchId> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::MOVE_SELF
            | WatchMask::DELETE_SELF
            | WatchMask::ONLYDIR;
        Ok(WatchId(self.inotify.watches().add(directory, mask)?))
    }

    /// Stops watching. A watch that the kernel has dropped already is fine.
    pub fn remove(&mut self, id: &WatchId) {
        let _ = self.inotify.watches().remove(id.0.clone());
    }

    /// Takes every event that is there.
    pub fn drain(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Ok(events) = self.inotify.read_events(&mut self.buffer) {
            for event in events {
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    changes.push(Change::Overflow);
                } else if event.mask.intersects(
                    EventMask::MOVE_SELF | EventMask::DELETE_SELF | EventMask::UNMOUNT | EventMask::IGNORED,
                ) {
                    changes.push(Change::Gone(WatchId(event.wd)));
                } else if let Some(name) = event.name {
                    changes.push(Change::Name(WatchId(event.wd), name.to_owned()));
                } else {
                    // ATTRIB of the directory itself: its rights may have changed.
                    changes.push(Change::Gone(WatchId(event.wd)));
                }
            }
            // A flood of events must not keep the loop here: what they say is "look again" in any case.
            if changes.len() > 20_000 {
                changes.clear();
                changes.push(Change::Overflow);
                break;
            }
        }
        changes
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
