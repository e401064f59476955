//! From the call of runc to the container's end: one poll loop over the container's output and SIGCHLD.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, pipe2};

use super::REWRITE;
use super::clear::Remains;
use super::log::{Log, Source, Stream};
use super::record::{End, MonitorSpec, ProcessId};
use super::recorder::Recorder;
use super::start::NotStarted;
use crate::paths::AttemptDir;
use crate::pod::Container;
use crate::runtime::bundle::container_cgroup;
use crate::runtime::runc::{self, Runc};
use crate::sys::signals::Signals;
use crate::sys::spawn::{self, ExitStatus, Output};
use crate::sys::terminal::{ConsoleSocket, Terminal};
use crate::sys::{clock, process};

/// How a life ended.
#[derive(Debug)]
pub enum Ended {
    /// The container ran.
    Ran(End),
    /// runc did not bring it up.
    Never(NotStarted),
}

/// How many bytes of a stream are moved before the other gets its turn.
const TURN: usize = 256 * 1024;

/// A runc that has not begun a container after so many milliseconds may be blocked by what it has to say.
const WORDY_MS: u64 = 5_000;

/// A container that runc has been told to start.
#[derive(Debug)]
pub struct Life {
    runc: Pid,
    deadline: u64,
    pid_file: std::path::PathBuf,
    runc_log: std::path::PathBuf,
    log: Log,
    streams: [Stream; 2],
    /// The writing end of the container's standard input: held, so that a read of it waits.
    _input: Option<OwnedFd>,
    console: Option<ConsoleSocket>,
    /// The container's end of its terminal; see [`Terminal`].
    peer: Option<OwnedFd>,
}

impl Life {
    /// Calls runc. The container gets the writing ends of the two pipes, and nobody else keeps them.
    pub fn begin(
        dir: &AttemptDir,
        spec: &MonitorSpec,
        container: &Container,
        log: Log,
        stdout: (Stream, OwnedFd),
        stderr: (Stream, OwnedFd),
    ) -> Result<Self, NotStarted> {
        let root = spec.roots.runc();
        let (pid_file, runc_log) = (dir.0.join("pid"), dir.0.join("runc.log"));
        let cannot = |what: &str, e: std::io::Error| NotStarted::create(format!("cannot make {what}: {e}"));
        let console = match container.tty {
            true => Some(ConsoleSocket::listen(&dir.0).map_err(|e| cannot("a terminal's socket", e))?),
            false => None,
        };
        let address = console.as_ref().map(ConsoleSocket::address);
        let line = Runc { binary: spec.engine.binary(), root: &root }.run(
            &spec.id,
            &dir.bundle(),
            &pid_file,
            &runc_log,
            address.as_deref(),
        );
        let deadline = clock::boot_ms().saturating_add(line.deadline_ms.unwrap_or(120_000));
        let output = Output::To(stdout.1, stderr.1);
        // A terminal is its own standard input.
        let (child, input) = if container.stdin && !container.tty {
            let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(|e| cannot("a pipe", e.into()))?;
            (spawn::spawn_reading(&line, read, output), Some(write))
        } else {
            (spawn::spawn(&line, output), None)
        };
        let child = child.map_err(|e| NotStarted {
            reason: "RunContainerError",
            message: format!("cannot execute {}: {e}; install runc", spec.engine.binary().display()),
        })?;
        Ok(Self {
            runc: child.pid,
            deadline,
            pid_file,
            runc_log,
            log,
            streams: [stdout.0, stderr.0],
            _input: input,
            console,
            peer: None,
        })
    }

    /// Lives the container's life to its end.
    pub fn live(mut self, mut signals: Signals, recorder: &mut Recorder, remains: &Remains<'_>) -> Ended {
        let init = match self.started(&mut signals) {
            Ok(init) => init,
            Err(not_started) => return Ended::Never(not_started),
        };
        recorder.running(init);
        // Hundreds of monitors may wait side by side, and what the bundle took is not needed again.
        process::give_back_memory();
        let status = self.wait(init, &mut signals, recorder);
        for stream in &mut self.streams {
            stream.drain(&mut self.log);
        }
        // What was written to the terminal last is in the kernel's buffer; nothing waits for its other end.
        drop(self.peer.take());
        if remains.spec.pod.host_pid || remains.spec.pod.share_process_namespace {
            // Without a pid namespace of its own a container is not over with its init.
            if let Err(e) = remains.kill() {
                recorder.warn(&format!("processes of the container go on: {e}"));
            }
        }
        let spec = remains.spec;
        let cgroup = container_cgroup(&spec.cgroup_root, &spec.pod, &spec.id);
        Ended::Ran(match status {
            ExitStatus::Code(code) => End::Exited { code },
            ExitStatus::Signal(signal) => {
                let oom = signal == nix::libc::SIGKILL && remains.cgroups.oom_kills(&cgroup) > 0;
                End::Signaled { signal, oom }
            }
        })
    }

    /// Waits for runc. The pipes are left alone until it has ended well: what is in them may be runc's own complaint. Only
    /// when it is at work for long and has not begun a container may it be blocked by its own words, and they are taken.
    fn started(&mut self, signals: &mut Signals) -> Result<ProcessId, NotStarted> {
        let failed = |message: String| NotStarted {
            reason: runc::start_failure_reason(&message),
            message: runc::cut(&message, 2048).to_owned(),
        };
        let mut said = String::new();
        let mut wordy = clock::boot_ms().saturating_add(WORDY_MS);
        let status = loop {
            // Before waiting: it may have ended before the signals were looked at. Only runc is waited for, because its
            // orphan, the container's init, must stay a zombie until its start time has been read.
            if let Some(status) = spawn::reap_only(self.runc) {
                break status;
            }
            let now = clock::boot_ms();
            let left = self.deadline.saturating_sub(now);
            if left == 0 {
                spawn::kill_group(self.runc);
                return Err(failed("runc did not start the container in time and was killed".to_owned()));
            }
            if now >= wordy {
                if !self.pid_file.exists() {
                    self.listen(&mut said);
                }
                wordy = now.saturating_add(100);
            }
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let pause = left.min(wordy.saturating_sub(now).max(1));
            let _ = poll(&mut fds, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX));
            signals.drain();
        };
        if !status.success() {
            let message = runc::error_of_log(&self.end_of_runc_log())
                .or_else(|| {
                    self.listen(&mut said);
                    (!said.is_empty()).then(|| format!("runc: {status}: {said}"))
                })
                .unwrap_or_else(|| format!("runc: {status}, and it did not say why"));
            return Err(failed(message));
        }
        let pid = fs::read_to_string(&self.pid_file).ok().and_then(|t| t.trim().parse::<i32>().ok());
        let pid = pid.ok_or_else(|| failed("runc started the container but wrote no pid file".to_owned()))?;
        let start_ticks = process::start_ticks(pid).ok().flatten().unwrap_or(0);
        if let Some(socket) = self.console.take() {
            let terminal = socket.receive().and_then(|Terminal { master, peer }| {
                let [stdout, _] = &mut self.streams;
                *stdout = Stream::reading(Source::Stdout, master)?;
                self.peer = Some(peer);
                Ok(())
            });
            terminal.map_err(|e| failed(format!("runc sent no terminal: {e}")))?;
        }
        Ok(ProcessId { pid, start_ticks })
    }

    /// Empties the pipes past the log; what is beyond 2 KiB is dropped.
    fn listen(&mut self, said: &mut String) {
        for stream in &mut self.streams {
            let more = stream.take_text(64 * 1024);
            said.push_str(runc::cut(&more, 2048_usize.saturating_sub(said.len())));
        }
    }

    /// The last 64 KiB of runc's log, where its reason for failing stands.
    fn end_of_runc_log(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = fs::File::open(&self.runc_log) {
            let skipped = file.metadata().map_or(0, |m| m.len().saturating_sub(64 * 1024));
            // An unreadable log leaves what runc said on standard error.
            let _ = file.seek(SeekFrom::Start(skipped)).and_then(|_| file.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Moves output into the log until init has ended.
    fn wait(&mut self, init: ProcessId, signals: &mut Signals, recorder: &mut Recorder) -> ExitStatus {
        loop {
            if let Some((_, status)) = spawn::reap().into_iter().find(|(pid, _)| pid.as_raw() == init.pid) {
                return status;
            }
            let mut fds = Vec::with_capacity(3);
            fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
            fds.extend(
                self.streams
                    .iter()
                    .filter_map(Stream::descriptor)
                    .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
            );
            // Asleep for good, unless there is something to try again.
            let again = !recorder.is_saved() || self.log.has_losses();
            let timeout = if again { PollTimeout::from(1000_u16) } else { PollTimeout::NONE };
            let _ = poll(&mut fds, timeout);
            let ready: Vec<bool> = fds.iter().skip(1).map(|fd| fd.any().unwrap_or(true)).collect();
            let rewrite = signals.drain().contains(&REWRITE);
            let open = self.streams.iter_mut().filter(|s| s.descriptor().is_some());
            for (stream, _) in open.zip(ready).filter(|(_, ready)| *ready) {
                stream.pump(&mut self.log, TURN);
            }
            if rewrite || !recorder.is_saved() {
                recorder.save();
            }
            if self.log.has_losses() {
                self.log.tell_losses();
            }
        }
    }
}
