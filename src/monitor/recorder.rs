//! Telling the daemon: the record's file, the nudge, and lines for its log. None of them may hold up or end the monitor.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::record::{End, MonitorSpec, ProcessId, Record, RecordPhase};
use crate::paths::AttemptDir;
use crate::sys::atomic::{self, Durability};
use crate::sys::{clock, fifo, process};

/// A record and its file.
#[derive(Debug)]
pub struct Recorder {
    /// What the file says, or is to say.
    pub record: Record,
    path: PathBuf,
    notify: PathBuf,
    nudge: String,
    /// Whose warnings these are.
    subject: String,
    saved: bool,
}

impl Recorder {
    /// The record of a run that begins now.
    pub fn begin(dir: &AttemptDir, spec: &MonitorSpec, boot_id: String) -> Self {
        let pid = std::process::id() as i32;
        let start_ticks = process::start_ticks(pid).ok().flatten().unwrap_or(0);
        let record = Record::new(boot_id, ProcessId { pid, start_ticks }, RecordPhase::Preparing);
        Self::of(dir, spec, record)
    }

    /// The record of a run that somebody else began.
    pub fn of(dir: &AttemptDir, spec: &MonitorSpec, record: Record) -> Self {
        Self {
            record,
            path: dir.record(),
            notify: spec.roots.notify(),
            nudge: format!("{} {} {}", spec.pod.generation, spec.container, spec.attempt),
            subject: format!("{}/{}", spec.pod.key, spec.container),
            saved: false,
        }
    }

    /// Notes the container's init.
    pub fn running(&mut self, init: ProcessId) {
        self.record.phase = RecordPhase::Running;
        self.record.init = Some(init);
        self.record.started_unix_ms = Some(clock::unix_ms());
        self.record.started_boot_ms = Some(clock::boot_ms());
        self.save();
    }

    /// The same of a container that somebody else has started, at this Unix time in milliseconds.
    pub fn running_since(&mut self, init: ProcessId, unix_ms: i64) {
        self.record.started_unix_ms = Some(unix_ms);
        self.record.started_boot_ms = Some(boot_time(unix_ms));
        self.record.phase = RecordPhase::Running;
        self.record.init = Some(init);
        self.save();
    }

    /// Notes the end.
    pub fn ended(&mut self, end: End) {
        self.ended_at(end, clock::unix_ms());
    }

    /// Notes the end, at this Unix time in milliseconds.
    pub fn ended_at(&mut self, end: End, unix_ms: i64) {
        self.record.phase = RecordPhase::Ended;
        self.record.finished_unix_ms = Some(unix_ms);
        self.record.finished_boot_ms = Some(boot_time(unix_ms));
        self.record.end = Some(end);
        self.save();
    }

    /// Whether the file says what the record does; otherwise [`Recorder::save`] is to be called again later.
    pub fn is_saved(&self) -> bool {
        self.saved
    }

    /// Replaces the file and nudges the daemon. Says so once when it fails.
    pub fn save(&mut self) {
        let failed_before = !self.saved && self.record.phase != RecordPhase::Preparing;
        self.saved = false;
        let bytes = match serde_json::to_vec(&self.record) {
            Ok(bytes) => bytes,
            Err(e) => return self.warn(&format!("record.json cannot be formed: {e}")),
        };
        match atomic::write(&self.path, &bytes, 0o600, Durability::Process) {
            Ok(()) => self.saved = true,
            Err(e) if !failed_before => {
                self.warn(&format!("{} cannot be written, trying again: {e}", self.path.display()));
            }
            Err(_) => {}
        }
        if self.record.phase == RecordPhase::Preparing {
            // Nothing has come of it yet that the daemon would not know.
            return;
        }
        // A daemon that does not hear reads the files when it starts.
        let _ = fifo::nudge(&self.notify, &self.nudge);
    }

    /// Saves, and tries again each second until it is done: the end of a container must not be lost to a full disk. Gives
    /// up only when the run's directory is gone, and with it everyone who would read the record.
    pub fn save_for_sure(&mut self) {
        while !self.saved && self.path.parent().is_some_and(|d| d.exists()) {
            std::thread::sleep(Duration::from_secs(1));
            self.save();
        }
    }

    /// A line for the daemon's log.
    pub fn warn(&self, message: &str) {
        say(&format!("{}: {message}", self.subject));
    }
}

/// The moment of the boot clock at which it was so late, in milliseconds. Not after now: clocks may have been set since.
fn boot_time(unix_ms: i64) -> u64 {
    let ago = u64::try_from(clock::unix_ms().saturating_sub(unix_ms)).unwrap_or(0);
    clock::boot_ms().saturating_sub(ago)
}

/// Writes one line to standard error if that can be done at once. A reader that is stopped or gone must not stop us.
pub fn say(line: &str) {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let writable = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
        && fds.iter().any(|f| f.revents().is_some_and(|r| r == PollFlags::POLLOUT));
    if writable {
        // A pipe that polls as writable takes this many bytes (PIPE_BUF) whole and at once.
        let text = format!("podstrap: {}\n", crate::runtime::runc::cut(line, 4000));
        let _ = stderr.lock().write_all(text.as_bytes());
    }
}
