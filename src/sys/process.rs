//! Processes by descriptor: a pidfd names one process for ever, a bare pid may be reused.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

/// Opens a pidfd: readable once the process has ended.
#[allow(unsafe_code)]
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor (close-on-exec) and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Sends a signal to exactly the process that the pidfd names.
#[allow(unsafe_code)]
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed and so open; a null siginfo is allowed and means "as kill(2) would fill it".
    let r = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes orphaned descendants become our children, so that we can wait for them.
pub fn become_subreaper() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(Into::into)
}

/// Marks every inherited descriptor above 2 as close-on-exec, and opens /dev/null where 0, 1 or 2 are missing. To be
/// called first thing in `main`, before anything opens a file.
#[allow(unsafe_code)]
pub fn sanitize_descriptors() -> io::Result<()> {
    loop {
        // Descriptors are given lowest first: as long as this gets one below 3, that one was missing.
        let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        if null.as_raw_fd() > 2 {
            break;
        }
        // Stays open for good; std opened it close-on-exec, which `spawn` undoes by setting up 0, 1 and 2 itself.
        std::mem::forget(null);
    }
    // SAFETY: close_range with CLOEXEC closes nothing; it only sets a flag on descriptors from 3 up.
    let r = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives memory that was freed back to the kernel. For a process that has done its large work and will wait for long.
#[allow(unsafe_code)]
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer, and touches only memory that the allocator holds as free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// When the process started, in clock ticks after boot (field 22 of /proc/PID/stat), or `None` when it is gone.
pub fn start_ticks(pid: i32) -> io::Result<Option<u64>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(parse_start_ticks(&stat)),
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a process of this number runs: it is there, and no zombie.
pub fn is_running(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()))
        .is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The command name may hold spaces and parentheses, so fields are counted after the last `)`.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The id of this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The host's name in lower case.
pub fn host_name() -> io::Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_ticks_survive_odd_command_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_start_ticks(stat), Some(4242));
        assert_eq!(parse_start_ticks("garbage"), None);
        assert!(start_ticks(std::process::id() as i32).unwrap().is_some());
        assert_eq!(start_ticks(i32::MAX).unwrap(), None);
    }

    #[test]
    fn a_pidfd_names_one_process() {
        let me = pidfd_open(std::process::id() as i32).unwrap();
        use std::os::fd::AsFd;
        pidfd_signal(me.as_fd(), 0).unwrap();
        assert!(pidfd_open(i32::MAX).is_err());
    }
}
