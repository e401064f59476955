//! Keeping the last good manifests on disk: a child writes them durably, at a time when no container waits for the disk.

use std::io;

use super::Daemon;
use super::jobs::{CLEAR_MS, Purpose};
use crate::command::{CommandLine, SELF};
use crate::core::Time;
use crate::source::keep::Keep;
use crate::sys::clock;
use crate::sys::spawn::ExitStatus;
use crate::warning;

/// Manifests are kept on disk when no container is being started, or after this many milliseconds.
const KEEP_LATER_MS: u64 = 2_000;
/// Manifests that could not be kept on disk are tried again after this many milliseconds.
const KEEP_AGAIN_MS: u64 = 10_000;

impl Daemon {
    /// Hands the last good manifests to a child that writes them durably.
    pub(super) fn keep_manifests(&mut self) {
        if self.jobs.any(|p| *p == Purpose::Keep) {
            return;
        }
        let now = clock::boot_ms();
        let mut new: Vec<_> = self.sources.iter_mut().flat_map(|s| s.standing_mut().take_keeps()).collect();
        new.append(&mut self.kept_beside);
        if !new.is_empty() {
            self.unkept.retain(|old| !new.iter().any(|n| n.is_of_file_of(old)));
            self.unkept.extend(new);
            self.keep_again = self.keep_again.into_iter().chain([now.saturating_add(KEEP_LATER_MS)]).min();
        }
        // It waits for the disk, and whoever starts a container would wait for the disk with it.
        let is_due = |at: u64| at <= now || self.world.starting(Time(now)) == 0 && !self.keep_failed;
        if !self.keep_again.is_some_and(is_due) {
            return;
        }
        self.keep_again = None;
        self.keep_failed = false;
        let started = serde_json::to_vec(&self.unkept).map_err(io::Error::from).and_then(|list| {
            let line = CommandLine::new(SELF).arg("keep").stdin(list).deadline(CLEAR_MS);
            self.jobs.start(Purpose::Keep, &line, true)
        });
        if let Err(e) = started {
            warning!("the last good manifests cannot be kept on disk: {e}");
            self.keep_failed = true;
            self.keep_again = Some(now.saturating_add(KEEP_AGAIN_MS));
        }
    }

    /// Has something kept beside the manifests: what worked, and which sets there were.
    pub(super) fn keep_also(&mut self, keep: Keep) {
        self.kept_beside.retain(|old| !keep.is_of_file_of(old));
        self.kept_beside.push(keep);
    }

    pub(super) fn keep_ended(&mut self, status: ExitStatus, output: &str) {
        if status.success() {
            self.unkept.clear();
        } else {
            warning!("the last good manifests cannot be kept on disk: {output} ({status})");
            self.keep_failed = true;
            self.keep_again = Some(clock::boot_ms().saturating_add(KEEP_AGAIN_MS));
        }
    }
}
