//! `exec`: a command in the container, through `runc exec` or `docker exec`. Exit code 0 is good, any other is not; a command that could not
//! be started at all says nothing about the container (the kubelet calls that a prober error).

mod docker;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{ExecTarget, Outcome};
use crate::command::CommandLine;
use crate::runtime::engine::Engine;
use crate::sys;
use crate::sys::clock::boot_ms;
use crate::sys::finish::finish;
use crate::sys::spawn::{ExitStatus, Output, spawn};

/// What becomes of the processes that a command has left behind when it ended in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// They die with the try: a probe that forks must not fill the container.
    Kill,
    /// They stay: a hook may start something that is to live on.
    Keep,
}

/// Runs the command. When the time is up, everything that this has started is killed, in the container too.
pub fn run(target: &ExecTarget, command: &[String], timeout_ms: u64, leftovers: Leftovers) -> Outcome {
    match &target.engine {
        Engine::Runc { binary } => run_in_runc(target, binary, command, timeout_ms, leftovers),
        Engine::Docker(docker) => docker::run(docker, target.id.as_str(), command, timeout_ms, leftovers),
    }
}

fn run_in_runc(
    target: &ExecTarget,
    binary: &Path,
    command: &[String],
    timeout_ms: u64,
    leftovers: Leftovers,
) -> Outcome {
    // runc's child must become ours when runc is killed, or it could not be killed with certainty.
    if let Err(e) = sys::process::become_subreaper() {
        return Outcome::error(format!("exec: become a subreaper: {e}"));
    }
    let pid_file = match PidFile::new(&target.runc_root) {
        Ok(file) => file,
        Err(e) => return Outcome::error(format!("exec: make the directory for pid files: {e}")),
    };
    run_with(target, binary, command, timeout_ms, leftovers, &pid_file)
}

fn run_with(
    target: &ExecTarget,
    binary: &Path,
    command: &[String],
    timeout_ms: u64,
    leftovers: Leftovers,
    pid_file: &PidFile,
) -> Outcome {
    let line = CommandLine::new(binary)
        .arg("--root")
        .arg(&target.runc_root)
        .arg("exec")
        .arg("--pid-file")
        .arg(&pid_file.0)
        .arg(target.id.as_str())
        .args(command);
    let until = boot_ms().saturating_add(timeout_ms);
    let mut child = match spawn(&line, Output::Capture) {
        Ok(child) => child,
        Err(e) => return Outcome::error(format!("run {}: {e}", binary.display())),
    };
    let ended = finish(&mut child, until);
    let cleared = match (&ended, leftovers) {
        (Ok(Some(_)), Leftovers::Keep) => Ok(()),
        (Ok(_) | Err(_), _) => sys::tree::kill_descendants(200),
    };
    let output = child.output.take().map(|capture| capture.finish()).unwrap_or_default();
    match (ended, cleared) {
        (Ok(None), Ok(())) => Outcome::timed_out(timeout_ms),
        (Ok(None), Err(e)) => Outcome::failure(format!(
            "timed out after {timeout_ms} ms, and its processes could not be killed: {e}"
        )),
        (Ok(Some(status)), _) => judge(status, pid_file.started(), &output),
        (Err(e), _) => Outcome::error(format!("wait for {}: {e}", binary.display())),
    }
}

/// runc writes the pid file once the command has been started, so without one the exit code is runc's own.
fn judge(status: ExitStatus, started: bool, output: &str) -> Outcome {
    match (status, started) {
        (ExitStatus::Code(0), _) => Outcome::success(output),
        (_, false) => Outcome::error(format!("runc exec: {}", last_line(output))),
        (ExitStatus::Code(_) | ExitStatus::Signal(_), true) => described(status, output),
    }
}

/// The command has failed: how, and what it has said.
fn described(status: ExitStatus, output: &str) -> Outcome {
    match output {
        "" => Outcome::failure(status.to_string()),
        _ => Outcome::failure(format!("{status}: {output}")),
    }
}

/// runc says in its last line why it failed; warnings come before it.
fn last_line(output: &str) -> &str {
    output.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or("no reason given")
}

/// A pid file of this process alone; removed with it.
struct PidFile(PathBuf);

impl PidFile {
    fn new(runc_root: &Path) -> io::Result<Self> {
        let directory = runc_root.with_file_name("probes");
        match fs::create_dir(&directory) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        let file = Self(directory.join(std::process::id().to_string()));
        // One may be left over from a process of the same number that was killed.
        let _ = fs::remove_file(&file.0);
        Ok(file)
    }

    fn started(&self) -> bool {
        self.0.exists()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::probe::Verdict;

    #[test]
    fn runcs_own_failures_are_told_from_the_commands() {
        assert_eq!(judge(ExitStatus::Code(0), true, "fine").verdict, Verdict::Success);
        assert_eq!(judge(ExitStatus::Code(255), true, "").verdict, Verdict::Failure);
        assert_eq!(
            judge(ExitStatus::Code(127), true, "sh: x: not found").line,
            "exit code 127: sh: x: not found"
        );
        let error = judge(ExitStatus::Code(255), false, "warning\nexec failed: no such file\n");
        assert_eq!(
            (error.verdict, error.line.as_str()),
            (Verdict::Error, "runc exec: exec failed: no such file")
        );
    }
}
