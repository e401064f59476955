//! Waiting for one child, for processes that have nothing else to do: helpers and command-line verbs. The daemon never
//! waits.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::clock::boot_ms;
use super::process::pidfd_open;
use super::spawn::{Child, ExitStatus, reap};

/// Waits until `child` has ended or `until` (milliseconds on CLOCK_BOOTTIME) has come; its output is read meanwhile.
/// `None` means that it still runs. Exits of other children are taken and dropped.
pub fn finish(child: &mut Child, until: u64) -> io::Result<Option<ExitStatus>> {
    let pidfd = pidfd_open(child.pid.as_raw())?;
    loop {
        if let Some(capture) = child.output.as_mut().filter(|c| c.is_open()) {
            capture.read();
        }
        if let Some((_, status)) = reap().into_iter().find(|(pid, _)| *pid == child.pid) {
            return Ok(Some(status));
        }
        let left = until.saturating_sub(boot_ms());
        if left == 0 {
            return Ok(None);
        }
        let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if let Some(capture) = child.output.as_ref().filter(|c| c.is_open()) {
            fds.push(PollFd::new(capture.as_fd(), PollFlags::POLLIN));
        }
        let timeout = PollTimeout::try_from(left.min(3_600_000)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
