//! A child that reads from us what may be of any size: bytes are written as it takes them, and meanwhile what it says is
//! read, so that neither side can hold up the other, and never for longer than the deadline.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, pipe2};

use super::spawn::{self, Capture, ExitStatus, Output};
use super::{clock, process};
use crate::command::CommandLine;

/// The child; as a [`Write`], its standard input. An error of kind `TimedOut` means that its deadline has passed, one of
/// kind `BrokenPipe` that it reads no more: [`Feed::end`] then tells why. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Feed {
    pid: Pid,
    pidfd: OwnedFd,
    input: Option<File>,
    output: Option<Capture>,
    /// On the boot clock, in milliseconds.
    deadline: Option<u64>,
    ended: bool,
}

impl Feed {
    /// Starts a child. An error means that it was not executed, or could not be watched.
    pub fn start(line: &CommandLine) -> io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&write, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let child = spawn::spawn_reading(line, read, Output::Capture)?;
        let pidfd = process::pidfd_open(child.pid.as_raw()).inspect_err(|_| spawn::kill_group(child.pid))?;
        Ok(Self {
            pid: child.pid,
            pidfd,
            input: Some(File::from(write)),
            output: child.output,
            deadline: line.deadline_ms.map(|ms| clock::boot_ms().saturating_add(ms)),
            ended: false,
        })
    }

    /// Closes its input and waits for its end. Gives how it ended and what it said.
    pub fn end(mut self) -> io::Result<(ExitStatus, String)> {
        self.input = None;
        loop {
            if let Some(status) = spawn::reap_only(self.pid) {
                self.ended = true;
                return Ok((status, self.output.take().map(Capture::finish).unwrap_or_default()));
            }
            self.wait()?;
        }
    }

    /// Waits until the child takes more, says something or ends.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = match self.deadline.map(|end| end.saturating_sub(clock::boot_ms())) {
            Some(0) => return Err(io::ErrorKind::TimedOut.into()),
            Some(left) => PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX)),
            None => PollTimeout::NONE,
        };
        let mut wanted = vec![PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        if let Some(input) = &self.input {
            wanted.push(PollFd::new(input.as_fd(), PollFlags::POLLOUT));
        }
        if let Some(output) = self.output.as_ref().filter(|o| o.is_open()) {
            wanted.push(PollFd::new(output.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut wanted, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        if let Some(output) = &mut self.output {
            output.read();
        }
        Ok(())
    }

    /// Whether the child has ended; it is not reaped yet.
    fn has_ended(&self) -> bool {
        let mut wanted = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut wanted, PollTimeout::ZERO).is_ok_and(|n| n > 0)
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let Some(input) = &mut self.input else { return Err(io::ErrorKind::BrokenPipe.into()) };
            match input.write(bytes) {
                // A child of its own may still hold the pipe open: nobody reads for us any more.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && self.has_ended() => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if !self.ended {
            spawn::kill_group(self.pid);
            // It cannot outlive SIGKILL for long; who is not reaped here goes with us.
            let mut wanted = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut wanted, PollTimeout::from(1000_u16));
            spawn::reap_only(self.pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(script: &str, deadline_ms: u64) -> Feed {
        Feed::start(&CommandLine::new("/bin/sh").args(["-c", script]).deadline(deadline_ms)).unwrap()
    }

    #[test]
    fn all_bytes_arrive_whatever_the_child_says_meanwhile() {
        // It fills both pipes: whoever writes without reading would wait for ever.
        let mut child = feed("head -c 300000 /dev/zero; wc -c", 20_000);
        child.write_all(&vec![b'x'; 1_000_000]).unwrap();
        let (status, said) = child.end().unwrap();
        assert!(status.success());
        assert!(said.starts_with('\0') && said.len() == Capture::KEPT);
        let mut child = feed("wc -c", 20_000);
        child.write_all(&vec![b'x'; 1_000_000]).unwrap();
        assert_eq!(child.end().unwrap(), (ExitStatus::Code(0), "1000000".to_owned()));
    }

    #[test]
    fn one_that_fails_can_say_why() {
        let mut child = feed("echo broken >&2; exit 3", 20_000);
        let error = child.write_all(&vec![0; 1_000_000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(child.end().unwrap(), (ExitStatus::Code(3), "broken".to_owned()));
        // Somebody else holds its end of the pipe.
        let mut child = feed("exec 3<&0; sleep 1000 <&3 >/dev/null 2>&1 & echo gone; exit 4", 20_000);
        let pid = child.pid;
        assert_eq!(child.write_all(&vec![0; 1_000_000]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(child.end().unwrap(), (ExitStatus::Code(4), "gone".to_owned()));
        let _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGKILL);
    }

    #[test]
    fn one_that_hangs_is_not_waited_for() {
        let mut child = feed("exec sleep 1000", 100);
        let error = child.write_all(&vec![0; 1_000_000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let pid = child.pid;
        drop(child);
        assert!(nix::sys::signal::kill(pid, None).is_err(), "it is killed and reaped");
        let child = feed("cat >/dev/null; exec sleep 1000", 100);
        assert_eq!(child.end().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
