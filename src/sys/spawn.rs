//! The one way in which this program starts another, and the one way in which it learns of its end.
//!
//! A child gets exactly what its [`CommandLine`] says: a session of its own, an empty signal mask, default dispositions,
//! a clean environment, and three descriptors. Nobody calls `wait` on a single child: [`reap`] takes every exit.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, sigprocmask};
use nix::unistd::{Pid, pipe2};

use crate::command::{CommandLine, SELF};

/// The search path that every child gets.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What becomes of a child's output.
#[derive(Debug)]
pub enum Output {
    /// Thrown away.
    Null,
    /// Both streams into one pipe that we read; the first [`Capture::KEPT`] bytes are kept.
    Capture,
    /// The same, but so many bytes are kept: for lists, of which every line counts.
    CaptureMost(usize),
    /// Ours: for commands that people run by hand.
    Inherit,
    /// Standard output and standard error go to these descriptors.
    To(OwnedFd, OwnedFd),
}

/// A child that was started.
#[derive(Debug)]
pub struct Child {
    /// Its pid, also the id of its session and process group. Ours to signal until [`reap`] has reported it.
    pub pid: Pid,
    /// Its output, if it is captured.
    pub output: Option<Capture>,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

impl ExitStatus {
    /// Exit code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match Signal::try_from(*signal) {
                Ok(name) => write!(f, "killed by {name}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

/// Starts a child. An error means that the program was not executed at all.
pub fn spawn(line: &CommandLine, output: Output) -> io::Result<Child> {
    let input = if matches!(output, Output::Inherit) && line.stdin.is_empty() {
        Stdio::inherit()
    } else {
        stdin_of(&line.stdin)?
    };
    start(line, input, output)
}

/// The same, with this descriptor as standard input instead of what the command line says.
pub fn spawn_reading(line: &CommandLine, input: OwnedFd, output: Output) -> io::Result<Child> {
    start(line, input.into(), output)
}

#[allow(unsafe_code)]
fn start(line: &CommandLine, input: Stdio, output: Output) -> io::Result<Child> {
    let mut command = Command::new(&line.program);
    command.args(&line.args).env_clear().env("PATH", PATH).envs(line.env.iter().map(|(k, v)| (k, v)));
    if line.program == Path::new(SELF) {
        command.arg0("podstrap");
    }
    command.current_dir("/");
    command.stdin(input);
    let mut capture = None;
    let most = if let Output::CaptureMost(most) = &output { *most } else { Capture::KEPT };
    match output {
        Output::Null => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Output::Capture | Output::CaptureMost(_) => {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            command.stdout(write.try_clone()?).stderr(write);
            capture =
                Some(Capture { pipe: File::from(read), most, kept: Vec::new(), cut: false, open: true });
        }
        Output::Inherit => {
            command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        }
        Output::To(out, err) => {
            command.stdout(out).stderr(err);
        }
    }
    let tied = line.tied;
    let parent = std::process::id() as i32;
    // SAFETY: between fork and exec only async-signal-safe calls are made: sigprocmask, signal, setsid, prctl, getppid.
    unsafe {
        command.pre_exec(move || {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            for signal in Signal::iterator() {
                if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
                    libc::signal(signal as libc::c_int, libc::SIG_DFL);
                }
            }
            nix::unistd::setsid()?;
            if tied {
                // The parent has one thread, so its end is the thread's. It may have come before this was said.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid() != parent {
                    return Err(io::ErrorKind::NotFound.into());
                }
            }
            Ok(())
        });
    }
    #[cfg(debug_assertions)]
    if line.program == Path::new(SELF)
        && let Some(order) = std::env::var_os(super::doom::VARIABLE)
    {
        command.env(super::doom::VARIABLE, order);
    }
    let child = command.spawn()?;
    super::doom::done("a child spawned");
    // `std`'s handle is dropped without waiting: `reap` is the only one to wait for children.
    Ok(Child { pid: Pid::from_raw(child.id() as i32), output: capture })
}

/// Input goes through a memory file: writing it cannot block, however much of it the child reads.
fn stdin_of(bytes: &[u8]) -> io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    let mut file = File::from(memfd_create("stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Kills a child's whole session group. Only for a child that has not been reported by [`reap`] yet.
pub fn kill_group(pid: Pid) {
    // ESRCH means that it has just ended: nothing left to kill.
    let _ = killpg(pid, Signal::SIGKILL);
}

/// Takes every exit that is there; several may hide behind one SIGCHLD.
pub fn reap() -> Vec<(Pid, ExitStatus)> {
    std::iter::from_fn(|| wait_for(-1)).collect()
}

/// Takes one exit, if there is one. By the system call itself: nix's wrapper has no name for real-time signals, and would
/// take the exit of a child that was killed by one and then report an error in its place.
#[allow(unsafe_code)]
fn wait_for(pid: i32) -> Option<(Pid, ExitStatus)> {
    let mut status: libc::c_int = 0;
    // SAFETY: waitpid writes one int, and `status` is one.
    let pid = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    // Without WUNTRACED and WCONTINUED only ends are reported.
    (pid > 0).then(|| {
        let status = if libc::WIFSIGNALED(status) {
            ExitStatus::Signal(libc::WTERMSIG(status))
        } else {
            ExitStatus::Code(libc::WEXITSTATUS(status))
        };
        (Pid::from_raw(pid), status)
    })
}

/// Takes the exit of one child only, if it has ended. For a process that must leave others as zombies for a moment; who
/// uses it calls [`reap`] afterwards.
pub fn reap_only(pid: Pid) -> Option<ExitStatus> {
    wait_for(pid.as_raw()).map(|(_, status)| status)
}

/// The captured output of a child: its first bytes are kept, the rest is read and dropped.
#[derive(Debug)]
pub struct Capture {
    pipe: File,
    most: usize,
    kept: Vec<u8>,
    cut: bool,
    open: bool,
}

impl Capture {
    /// How many bytes are kept where nothing else was said.
    pub const KEPT: usize = 8 * 1024;

    /// Reads what is there without blocking, at most 1 MiB a call so that a flood cannot hold up the caller. Returns
    /// whether more may come.
    pub fn read(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..64 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => {
                    self.open = false;
                    break;
                }
                Ok(n) => {
                    let room = self.most.saturating_sub(self.kept.len());
                    self.cut |= n > room;
                    self.kept.extend_from_slice(buffer.get(..n.min(room)).unwrap_or_default());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.open = false;
                    break;
                }
            }
        }
        self.open
    }

    /// Reads what is left and gives all that was kept as text, trimmed, with invalid UTF-8 replaced.
    pub fn finish(mut self) -> String {
        self.read();
        String::from_utf8_lossy(&self.kept).trim().to_owned()
    }

    /// Whether more has come than is kept.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether the other end may still write.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl AsRawFd for Capture {
    fn as_raw_fd(&self) -> i32 {
        self.pipe.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// One child only is waited for: other tests of this process have children of their own.
    fn end_of(script: &str) -> (ExitStatus, String) {
        let line = CommandLine::new("/bin/sh").args(["-c", script]);
        let mut child = spawn(&line, Output::Capture).unwrap();
        let pidfd = crate::sys::process::pidfd_open(child.pid.as_raw()).unwrap();
        poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(20_000_u16)).unwrap();
        (reap_only(child.pid).expect("it has ended"), child.output.take().unwrap().finish())
    }

    #[test]
    fn every_end_is_told_also_by_signals_without_a_name() {
        assert_eq!(end_of("echo hello; exit 7"), (ExitStatus::Code(7), "hello".to_owned()));
        assert_eq!(end_of("kill -9 $$").0, ExitStatus::Signal(9));
        assert_eq!(end_of("kill -40 $$").0, ExitStatus::Signal(40), "a real-time signal");
        assert_eq!(ExitStatus::Signal(40).to_string(), "killed by signal 40");
    }

    #[test]
    fn a_list_is_kept_whole_up_to_its_bound() {
        let read = |most| {
            let line = CommandLine::new("/bin/sh").args(["-c", "head -c 50000 /dev/zero | tr '\\0' x"]);
            let mut child = spawn(&line, Output::CaptureMost(most)).unwrap();
            let mut output = child.output.take().unwrap();
            while output.read() {
                poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], PollTimeout::from(20_000_u16))
                    .unwrap();
            }
            while reap_only(child.pid).is_none() {
                std::thread::yield_now();
            }
            (output.is_cut(), output.finish().len())
        };
        assert_eq!(read(50_000), (false, 50_000));
        assert_eq!(read(49_999), (true, 49_999));
    }

    /// Somebody else holds the pipe: nothing waits for its end.
    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_hold_up_the_end() {
        let (status, said) = end_of("sleep 3 & echo gone");
        assert_eq!((status, said.as_str()), (ExitStatus::Code(0), "gone"));
    }
}
