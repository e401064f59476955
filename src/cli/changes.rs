//! Waiting for files to change: inotify on directories, or on the nearest parent of those that do not exist yet, and a
//! re-check at least every so often, because a killed daemon changes no file.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::error::Error;

/// Watched directories.
#[derive(Debug)]
pub struct Changes {
    inotify: Inotify,
    watched: BTreeMap<PathBuf, WatchDescriptor>,
}

impl Changes {
    /// Nothing is watched yet.
    pub fn new() -> Result<Self, Error> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|e| Error::file("watch", "inotify")(e.into()))?;
        Ok(Self { inotify, watched: BTreeMap::new() })
    }

    /// Watches `paths` from now on, and nothing else. To be called before the files are read, or a change in between would
    /// be missed.
    pub fn watch(&mut self, paths: &[&Path]) {
        let mask = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let mut wanted = BTreeMap::new();
        for path in paths {
            for candidate in path.ancestors() {
                // Adding a watch again gives the same descriptor, or a new one where the directory was replaced. What cannot be
                // watched is covered by the re-check.
                if let Ok(descriptor) = self.inotify.add_watch(candidate, mask) {
                    wanted.insert(candidate.to_owned(), descriptor);
                    break;
                }
            }
        }
        for (path, descriptor) in &self.watched {
            if !wanted.values().any(|d| d == descriptor) && !wanted.contains_key(path) {
                // It fails when the directory is gone, and the watch with it.
                let _ = self.inotify.rm_watch(*descriptor);
            }
        }
        self.watched = wanted;
    }

    /// Returns when something has changed, or after `milliseconds`.
    pub fn wait(&self, milliseconds: u64) -> Result<(), Error> {
        let timeout = PollTimeout::try_from(milliseconds.min(3_600_000)).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::file("watch", "inotify")(e.into())),
        }
        // What has changed is found by reading it again; the events say only that.
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_directory_that_does_not_exist_yet_is_seen_to_come() {
        let root = std::env::temp_dir().join(format!("podstrap-changes-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let target = root.join("a/b");
        let mut changes = Changes::new().unwrap();
        let begin = Instant::now();
        for step in ["a", "a/b", "a/b/file"] {
            changes.watch(&[&target]);
            changes.wait(1).unwrap();
            let path = root.join(step);
            if step.ends_with("file") {
                std::fs::write(path, "x").unwrap();
            } else {
                std::fs::create_dir(path).unwrap();
            }
            changes.wait(60_000).unwrap();
        }
        assert!(begin.elapsed().as_secs() < 30);
        let begin = Instant::now();
        changes.wait(50).unwrap();
        assert!(begin.elapsed().as_millis() >= 45);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
