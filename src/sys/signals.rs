//! Signals as a descriptor: everything the daemon (or a monitor) must know of is blocked and read from a signalfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Blocked signals and the descriptor they are read from.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks `signals` and opens the descriptor (non-blocking, close-on-exec). Children get an empty mask by `spawn`.
    pub fn block(signals: &[Signal]) -> io::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Takes every pending signal. Several of one kind arrive as one: the caller drains what they announce.
    pub fn drain(&mut self) -> Vec<Signal> {
        let mut seen = Vec::new();
        while let Ok(Some(info)) = self.0.read_signal() {
            if let Ok(signal) = Signal::try_from(info.ssi_signo as i32) {
                seen.push(signal);
            }
        }
        seen
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
