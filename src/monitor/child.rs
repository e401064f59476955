//! Waiting for one short-lived child with a deadline, where there is nothing else to wait for.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::command::CommandLine;
use crate::sys::spawn::{self, ExitStatus, Output};
use crate::sys::{clock, process};

/// Why a child did not do its work.
#[derive(Debug)]
pub enum ChildError {
    /// It could not be started.
    Spawn(std::io::Error),
    /// It did not end in time and was killed; how many milliseconds it was given.
    Deadline(u64),
    /// It ended badly, with this output.
    Ended(ExitStatus, String),
    /// It said more than is read.
    TooLong,
}

impl std::fmt::Display for ChildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Spawn(e) => write!(f, "cannot be started: {e}"),
            Self::Deadline(ms) => write!(f, "did not end within {} s", ms / 1000),
            Self::Ended(status, output) if output.is_empty() => write!(f, "{status}"),
            Self::Ended(status, output) => write!(f, "{status}: {output}"),
            Self::TooLong => f.write_str("its output is too long"),
        }
    }
}

impl std::error::Error for ChildError {}

/// Runs a child to its end and gives its output. Other children that end meanwhile are reaped too: they are orphans that
/// came to us as the subreaper, and nobody asks for them.
pub fn run(line: &CommandLine) -> Result<String, ChildError> {
    wait(line, Output::Capture)
}

/// The same for a list, of which every line counts: `most` bytes of output are kept, and more are an error.
pub fn run_list(line: &CommandLine, most: usize) -> Result<String, ChildError> {
    wait(line, Output::CaptureMost(most))
}

fn wait(line: &CommandLine, output: Output) -> Result<String, ChildError> {
    let is_list = matches!(output, Output::CaptureMost(_));
    let child = spawn::spawn(line, output).map_err(ChildError::Spawn)?;
    let limit = line.deadline_ms.unwrap_or(60_000);
    let end = clock::boot_ms().saturating_add(limit);
    let pid = child.pid;
    let mut output = child.output;
    // Without a descriptor (none left) the pipe's end and a short timeout tell of the child's end.
    let pidfd = process::pidfd_open(pid.as_raw()).ok();
    loop {
        if let Some((_, status)) = spawn::reap().into_iter().find(|(p, _)| *p == pid) {
            if let Some(output) = &mut output {
                // What was said last; it tells too whether all of it is kept.
                output.read();
            }
            let is_cut = is_list && output.as_ref().is_some_and(spawn::Capture::is_cut);
            let text = output.map(spawn::Capture::finish).unwrap_or_default();
            if is_cut {
                return Err(ChildError::TooLong);
            }
            return if status.success() { Ok(text) } else { Err(ChildError::Ended(status, text)) };
        }
        let left = end.saturating_sub(clock::boot_ms());
        if left == 0 {
            spawn::kill_group(pid);
            let _ = nix::sys::wait::waitpid(pid, None);
            return Err(ChildError::Deadline(limit));
        }
        let mut wanted = Vec::with_capacity(2);
        if let Some(pidfd) = &pidfd {
            wanted.push(PollFd::new(pidfd.as_fd(), PollFlags::POLLIN));
        }
        if let Some(open) = output.as_ref().filter(|o| o.is_open()) {
            wanted.push(PollFd::new(open.as_fd(), PollFlags::POLLIN));
        }
        let pause = if pidfd.is_some() { left } else { left.min(20) };
        let _ = poll(&mut wanted, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX));
        if let Some(open) = &mut output {
            open.read();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_output_and_deadlines() {
        // `reap` takes every child of the process, so this is the only test of this binary that may run children here;
        // it runs them in a process of its own.
        if std::env::var_os("PODSTRAP_TEST_CHILD").is_none() {
            let me = std::env::current_exe().unwrap();
            let out = std::process::Command::new(me)
                .args(["monitor::child::tests::ends_output_and_deadlines", "--exact", "--test-threads=1"])
                .env("PODSTRAP_TEST_CHILD", "1")
                .output()
                .unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
            return;
        }
        let sh = |script: &str| CommandLine::new("/bin/sh").args(["-c", script]);
        assert_eq!(run(&sh("echo a; echo b >&2")).unwrap(), "a\nb");
        let failed = run(&sh("echo bad; exit 3")).unwrap_err();
        assert_eq!(failed.to_string(), "exit code 3: bad");
        // The orphan holds the pipe open; it is not waited for.
        assert_eq!(run(&sh("sleep 5 & echo x")).unwrap(), "x");
        let late = run(&sh("sleep 100").deadline(50)).unwrap_err();
        assert!(matches!(late, ChildError::Deadline(50)), "{late}");
        let list = sh("seq 100000");
        assert_eq!(run_list(&list, 1 << 20).unwrap().lines().count(), 100_000);
        assert!(matches!(run_list(&list, 1000), Err(ChildError::TooLong)));
        assert!(matches!(run(&CommandLine::new("/no/such")), Err(ChildError::Spawn(_))));
    }
}
