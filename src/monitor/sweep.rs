//! Making an end of a run whose monitor is gone: nobody knows any more how its container would end, so it must not go on.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::clear::Remains;
use super::record::{End, MonitorSpec, ProcessId, Record, RecordPhase};
use super::recorder::{Recorder, say};
use super::{MonitorError, read_spec};
use crate::paths::AttemptDir;
use crate::runtime::engine::Engine;
use crate::sys::cgroup::Cgroups;
use crate::sys::lock::{self, Lock, Taken};
use crate::sys::{clock, process};

/// The exit code of a sweep that found a living monitor and so did nothing.
pub const HELD: u8 = 3;

/// Kills what lives of the run in `dir`, removes its mounts, cgroups and files, and records [`End::Lost`] where no end
/// stands. Does nothing while a monitor lives, and says so by [`HELD`]. May be repeated. The exit code is 0 when nothing is left.
pub fn sweep(dir: AttemptDir) -> ExitCode {
    match make_an_end(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(MonitorError::Held(_)) => ExitCode::from(HELD),
        Err(e) => {
            say(&format!("sweep {}: {e}", dir.0.display()));
            ExitCode::FAILURE
        }
    }
}

fn make_an_end(dir: &AttemptDir) -> Result<(), MonitorError> {
    let _lock = take_lock(dir)?;
    let spec = read_spec(dir).map_err(MonitorError::Spec)?;
    let boot = process::boot_id().map_err(|e| MonitorError::Setup("boot id", e))?;
    // Orphans of what is killed come to us, so that they do not linger as zombies in their cgroup.
    process::become_subreaper().map_err(|e| MonitorError::Setup("subreaper", e))?;
    let record = std::fs::read(dir.record()).ok().and_then(|b| serde_json::from_slice::<Record>(&b).ok());
    if let Engine::Docker(docker) = &spec.engine {
        let left = super::docker::sweep(dir, &spec, docker, record, &boot);
        return if left.is_empty() { Ok(()) } else { Err(MonitorError::Remains(left)) };
    }
    let cgroups = Cgroups::detect().map_err(|e| MonitorError::Setup("mountinfo", e))?;
    let same_boot = spec.boot_id == boot;
    let remains = Remains { dir, spec: &spec, cgroups: &cgroups };
    let mut left: Vec<String> = starters(&spec)
        .into_iter()
        .filter_map(|runc| kill(runc).err().map(|e| format!("kill runc, process {}: {e}", runc.pid)))
        .collect();
    left.extend(remains.clear(same_boot));
    // runc and the cgroup have done their work; this is for a container of which both have lost hold. Numbers of another
    // boot name strangers.
    if let Some(init) = record.as_ref().filter(|r| same_boot && r.boot_id == boot).and_then(|r| r.init)
        && let Err(e) = kill(init)
    {
        left.push(format!("kill process {}: {e}", init.pid));
    }
    if !left.is_empty() {
        // The first round may have failed only because something still lived.
        left = remains.clear(false);
    }
    let unended = record.as_ref().is_none_or(|r| r.end.is_none());
    if unended && left.is_empty() {
        // Where there is none, its monitor was killed before it wrote one.
        let nobody = ProcessId { pid: 0, start_ticks: 0 };
        let record = record.unwrap_or_else(|| Record::new(spec.boot_id.clone(), nobody, RecordPhase::Ended));
        let mut recorder = Recorder::of(dir, &spec, record);
        recorder.ended(End::Lost);
        if !recorder.is_saved() {
            left.push(format!("write {}", dir.record().display()));
        }
    }
    if left.is_empty() { Ok(()) } else { Err(MonitorError::Remains(left)) }
}

/// Takes the run's lock. A monitor that was killed between fork and exec leaves it for a moment to the child that is about
/// to become runc: when the holder that the lock names is gone, the lock will be free soon.
fn take_lock(dir: &AttemptDir) -> Result<Lock, MonitorError> {
    let end = clock::boot_ms().saturating_add(2000);
    loop {
        match lock::take(&dir.lock()).map_err(MonitorError::Lock)? {
            Taken::Ours(lock) => return Ok(lock),
            Taken::Held { pid } if clock::boot_ms() >= end || process::pidfd_open(pid).is_ok() => {
                return Err(MonitorError::Held(pid));
            }
            Taken::Held { .. } => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Every `runc run` of this container that is still at work: its monitor was killed while it started the container, and it
/// would go on and start it behind our back. There is no record of it, but its arguments name the run.
fn starters(spec: &MonitorSpec) -> Vec<ProcessId> {
    processes(|arguments| starts_this(arguments, spec))
}

/// The processes with such arguments.
pub fn processes(wanted: impl Fn(&[u8]) -> bool) -> Vec<ProcessId> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |pid: i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        wanted(&arguments)
    };
    pids.filter(|pid| is_ours(*pid))
        .filter_map(|pid| {
            let start_ticks = process::start_ticks(pid).ok().flatten()?;
            // Asked again, so that the start time belongs to the process that has these arguments.
            is_ours(pid).then_some(ProcessId { pid, start_ticks })
        })
        .collect()
}

/// Whether these arguments (as /proc has them, each ended by a NUL) are those of a `runc run` of this container.
fn starts_this(arguments: &[u8], spec: &MonitorSpec) -> bool {
    let mut words = arguments.split(|b| *b == 0).filter(|w| !w.is_empty());
    let by_runc = words.next() == Some(spec.engine.binary().as_os_str().as_bytes());
    let root = spec.roots.runc();
    let (mut of_root, mut run, mut last): (bool, bool, &[u8]) = (false, false, b"");
    for word in words {
        of_root |= word == root.as_os_str().as_bytes();
        run |= word == b"run";
        last = word;
    }
    by_runc && of_root && run && last == spec.id.as_str().as_bytes()
}

/// Kills exactly this process, if it still is that one, and waits for it to end.
pub fn kill(id: ProcessId) -> io::Result<()> {
    let pidfd = match process::pidfd_open(id.pid) {
        Ok(pidfd) => pidfd,
        Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(()),
        Err(e) => return Err(e),
    };
    // Asked after the descriptor was opened: whoever has this start time now is whom the descriptor names.
    if id.start_ticks == 0 || process::start_ticks(id.pid)? != Some(id.start_ticks) {
        return Ok(());
    }
    match process::pidfd_signal(pidfd.as_fd(), nix::libc::SIGKILL) {
        Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(()),
        other => other?,
    }
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(10_000_u16)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
