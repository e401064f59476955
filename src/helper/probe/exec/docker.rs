//! A command in a container of docker's. It is no descendant of ours: containerd starts it, and goes on with it when the
//! CLI is killed. So it gets a mark into its environment, which its children inherit, and is found by that. Only a process
//! that has thrown its environment away, as has every ancestor of it that still lives, cannot be found.
//!
//! A docker that hangs, or that has too much to do, says nothing about the container: only a command that is seen to run when
//! the time is up has failed.

use std::fs;
use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::super::Millis;
use super::{Leftovers, Outcome, described};
use crate::runtime::docker::Docker;
use crate::runtime::docker::exec::{ExecEnd, ExecOptions, is_running};
use crate::sys::clock::boot_ms;
use crate::sys::finish::finish;
use crate::sys::spawn::{Child, ExitStatus, Output, kill_group, reap, spawn};
use crate::sys::tree::kill_marked;

/// How long is killed and waited for what is killed, in milliseconds; a process in uninterruptible sleep cannot be made
/// to go, and a daemon that hangs may not even have begun.
const KILLING_MS: u64 = 2000;
/// How long the CLI may take to go when it is killed, in milliseconds.
const GOING_MS: u64 = 500;
/// How long the CLI may take to say whether the container runs, in milliseconds. The one who waits for this helper gives it
/// little more than the time of the try.
const STATE_MS: u64 = 1500;
/// Between two looks, in milliseconds.
const ROUND_MS: u64 = 10;

/// Runs the command. When the time is up, everything that this has started is killed, in the container too.
pub fn run(docker: &Docker, id: &str, command: &[String], timeout_ms: u64, leftovers: Leftovers) -> Outcome {
    let mark = match fs::read_to_string("/proc/sys/kernel/random/uuid") {
        Ok(uuid) => format!("PODSTRAP_EXEC={}", uuid.trim()),
        Err(e) => return Outcome::error(format!("exec: read a random number: {e}")),
    };
    let options = ExecOptions { env: vec![mark.clone().into()], ..ExecOptions::default() };
    let until = boot_ms().saturating_add(timeout_ms);
    let mut child = match spawn(&docker.exec(id, command, &options), Output::Capture) {
        Ok(child) => child,
        Err(e) => return Outcome::error(format!("run {}: {e}", docker.binary.display())),
    };
    match finish(&mut child, until) {
        Ok(Some(status)) => {
            if leftovers == Leftovers::Kill {
                // A process that cannot be killed changes nothing about what the command has said.
                let _ = kill_all(&mark, || true);
            }
            let output = child.output.take().map(|capture| capture.finish()).unwrap_or_default();
            judge(docker, id, status, &output)
        }
        Ok(None) => {
            // A docker that hung begins it when it goes on: that is not the command's fault.
            let begun = kill_marked(&mark);
            match (begun, end(&mut child, &mark)) {
                (Ok(0), Ok(())) => Outcome::error(format!(
                    "docker exec: the command was not seen to run within {}",
                    Millis(timeout_ms)
                )),
                (Ok(_), Ok(())) => Outcome::timed_out(timeout_ms),
                (Ok(1..), Err(e)) => Outcome::failure(format!(
                    "timed out after {timeout_ms} ms, and its processes could not be killed: {e}"
                )),
                (Ok(0), Err(e)) | (Err(e), _) => {
                    Outcome::error(format!("docker exec: the command cannot be looked for: {e}"))
                }
            }
        }
        Err(e) => {
            let _ = end(&mut child, &mark);
            Outcome::error(format!("wait for {}: {e}", docker.binary.display()))
        }
    }
}

/// Ends the command and the CLI: the command first, so that docker sees it end and forgets it.
fn end(child: &mut Child, mark: &str) -> io::Result<()> {
    let mut ended = false;
    let killed = kill_all(mark, || {
        ended = ended || reap().iter().any(|(pid, _)| *pid == child.pid);
        ended
    });
    if !ended {
        kill_group(child.pid);
        finish(child, boot_ms().saturating_add(GOING_MS))?;
        // It may have begun after all, since nobody looks any more.
        kill_marked(mark)?;
    }
    killed
}

/// Kills what has the mark until there is nothing of it left: twice in a row none is found, so that nothing slips through
/// that began while the first of them was looked for. Before anything was found only `is_over` says that nothing will be.
fn kill_all(mark: &str, mut is_over: impl FnMut() -> bool) -> io::Result<()> {
    let until = boot_ms().saturating_add(KILLING_MS);
    let (mut found, mut none) = (false, 0);
    while boot_ms() < until {
        if kill_marked(mark)? > 0 {
            (found, none) = (true, 0);
        } else {
            none += 1;
        }
        let over = is_over();
        if none >= 2 && (found || over) {
            break;
        }
        sleep(Duration::from_millis(ROUND_MS));
    }
    Ok(())
}

fn judge(docker: &Docker, id: &str, status: ExitStatus, output: &str) -> Outcome {
    let code = match status {
        ExitStatus::Code(0) => return Outcome::success(output),
        ExitStatus::Code(code) => code,
        // Somebody has killed the CLI, which says nothing about the command.
        ExitStatus::Signal(_) => {
            return Outcome::error(format!("{} exec: {status}", docker.binary.display()));
        }
    };
    let not_started = |why: &str| Outcome::error(format!("docker exec: {why}"));
    match docker.exec_end(code, output) {
        ExecEnd::Command => described(status, output),
        ExecEnd::NotStarted(why) => not_started(&why),
        ExecEnd::Doubtful(_) if can_run_commands(docker, id) => described(status, output),
        ExecEnd::Doubtful(why) => not_started(&why),
    }
}

/// Whether docker answers, and says that the container runs.
fn can_run_commands(docker: &Docker, id: &str) -> bool {
    let Ok(mut child) = spawn(&docker.exec_state(id), Output::Capture) else { return false };
    match finish(&mut child, boot_ms().saturating_add(STATE_MS)) {
        Ok(Some(status)) => {
            status.success() && child.output.take().is_some_and(|capture| is_running(&capture.finish()))
        }
        Ok(None) | Err(_) => {
            kill_group(child.pid);
            false
        }
    }
}
