//! The one way in which this program starts another, and the one way in which it learns of its end.
//!
//! A child gets exactly what its [`CommandLine`] says: a session of its own, an empty signal mask, default dispositions,
//! a clean environment, and three descriptors. Nobody calls `wait` on a single child: [`reap`] takes every exit.

mod shared;

use std::ffi::{OsStr, OsString};
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

/// How many signals there are.
const SIGNALS: usize = 64;
/// The default action of a signal as the kernel takes it.
const DEFAULT: [u64; 8] = [0; 8];

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

/// Where one of a child's three streams leads.
#[derive(Debug)]
enum Stream {
    /// Where ours does.
    Ours,
    /// Nowhere.
    Null,
    /// To this descriptor.
    To(OwnedFd),
}

/// Standard input, output and error.
type Streams = [Stream; 3];

/// Starts a child. An error means that the program was not executed at all.
pub fn spawn(line: &CommandLine, output: Output) -> io::Result<Child> {
    let input = match (&output, line.stdin.is_empty()) {
        (Output::Inherit, true) => Stream::Ours,
        (_, true) => Stream::Null,
        (_, false) => Stream::To(memory_file(&line.stdin)?),
    };
    start(line, input, output)
}

/// The same, with this descriptor as standard input instead of what the command line says.
pub fn spawn_reading(line: &CommandLine, input: OwnedFd, output: Output) -> io::Result<Child> {
    start(line, Stream::To(input), output)
}

fn start(line: &CommandLine, input: Stream, output: Output) -> io::Result<Child> {
    let mut capture = None;
    let most = if let Output::CaptureMost(most) = &output { *most } else { Capture::KEPT };
    let streams = match output {
        Output::Null => [input, Stream::Null, Stream::Null],
        Output::Capture | Output::CaptureMost(_) => {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            capture =
                Some(Capture { pipe: File::from(read), most, kept: Vec::new(), cut: false, open: true });
            [input, Stream::To(write.try_clone()?), Stream::To(write)]
        }
        Output::Inherit => [input, Stream::Ours, Stream::Ours],
        Output::To(out, err) => [input, Stream::To(out), Stream::To(err)],
    };
    let pid = if line.tied { tied(line, streams)? } else { shared::start(line, &streams)? };
    super::doom::done("a child spawned");
    Ok(Child { pid, output: capture })
}

/// What a program is told that it is called.
fn name(line: &CommandLine) -> &OsStr {
    if line.program == Path::new(SELF) { OsStr::new("podstrap") } else { line.program.as_os_str() }
}

/// All of a child's environment.
fn environment(line: &CommandLine) -> Vec<(&OsStr, OsString)> {
    let fixed = (OsStr::new("PATH"), OsString::from(PATH));
    let own = line.env.iter().map(|(key, value)| (key.as_os_str(), value.clone()));
    #[cfg_attr(not(debug_assertions), allow(unused_mut))]
    let mut all: Vec<_> = std::iter::once(fixed)
        .filter(|(path, _)| !line.env.iter().any(|(k, _)| k == path))
        .chain(own)
        .collect();
    #[cfg(debug_assertions)]
    if line.program == Path::new(SELF)
        && let Some(order) = std::env::var_os(super::doom::VARIABLE)
    {
        all.push((OsStr::new(super::doom::VARIABLE), order));
    }
    all
}

/// Starts a program that dies with us: of that the C library's way to start one knows nothing, so that it takes a fork.
#[allow(unsafe_code)]
fn tied(line: &CommandLine, streams: Streams) -> io::Result<Pid> {
    let mut command = Command::new(&line.program);
    command.arg0(name(line)).args(&line.args).env_clear().envs(environment(line)).current_dir("/");
    let [input, output, error] = streams.map(|stream| match stream {
        Stream::Ours => Stdio::inherit(),
        Stream::Null => Stdio::null(),
        Stream::To(fd) => fd.into(),
    });
    command.stdin(input).stdout(output).stderr(error);
    let parent = std::process::id() as i32;
    // SAFETY: between fork and exec only async-signal-safe calls are made: sigprocmask, rt_sigaction, setsid, prctl,
    // getppid. DEFAULT is longer than any kernel's struct of an action, and SIGNALS / 8 is the size of its mask.
    unsafe {
        command.pre_exec(move || {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            for signal in 1..=SIGNALS {
                // By the system call: the C library has no say in its own two, which may be ignored all the same. Zeros
                // are SIG_DFL on every architecture; KILL and STOP are refused, and always are what they are.
                libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), 0_usize, SIGNALS / 8);
            }
            nix::unistd::setsid()?;
            // The parent has one thread, so its end is the thread's. It may have come before this was said.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() != parent {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(())
        });
    }
    // `std`'s handle is dropped without waiting: `reap` is the only one to wait for children.
    Ok(Pid::from_raw(command.spawn()?.id() as i32))
}

/// Input goes through a memory file: writing it cannot block, however much of it the child reads.
fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
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
        said_by(&CommandLine::new("/bin/sh").args(["-c", script]))
    }

    fn said_by(line: &CommandLine) -> (ExitStatus, String) {
        let mut child = spawn(line, Output::Capture).unwrap();
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

    /// Whichever way it is started.
    #[test]
    fn a_child_gets_what_its_line_says_and_nothing_else() {
        let script = "echo $0 $1 $PATH $A $B; pwd; env | wc -l; read a; echo $a; \
                      grep -E 'SigBlk|SigIgn' /proc/self/status; echo complains >&2";
        let said = |tied| {
            let mut line = CommandLine::new("/bin/sh").args(["-c", script, "name", "one"]);
            line = line.env("A", "a").env("B", "two  b").stdin(b"input\n".to_vec());
            line.tied = tied;
            said_by(&line)
        };
        let (status, words) = said(false);
        assert_eq!(status, ExitStatus::Code(0), "{words}");
        let expected = format!("name one {PATH} a two b\n/\n");
        assert!(words.starts_with(&expected), "{words}");
        assert!(words.contains("input\n") && words.contains("complains"), "{words}");
        for set in ["SigBlk", "SigIgn"] {
            assert!(words.contains(&format!("{set}:\t0000000000000000")), "{words}");
        }
        assert_eq!(said(true), (status, words));
    }

    #[test]
    fn what_cannot_be_executed_is_told_with_the_reason() {
        let error = |program: &str| spawn(&CommandLine::new(program), Output::Null).unwrap_err();
        assert_eq!(error("/no/such").kind(), io::ErrorKind::NotFound);
        assert_eq!(error("no-such-program").kind(), io::ErrorKind::NotFound);
        assert_eq!(error("/etc/passwd").kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(
            spawn(&CommandLine::new("/bin/sh").arg("a\0b"), Output::Null).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    /// A mere name is looked for where the child itself would look.
    #[test]
    fn a_name_without_a_directory_is_found() {
        assert_eq!(said_by(&CommandLine::new("sh").args(["-c", "echo found"])).1, "found");
    }

    /// Somebody else holds the pipe: nothing waits for its end.
    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_hold_up_the_end() {
        let (status, said) = end_of("sleep 3 & echo gone");
        assert_eq!((status, said.as_str()), (ExitStatus::Code(0), "gone"));
    }
}
