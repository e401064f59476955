//! Who descends from whom, as /proc tells it: for helpers that must not leave anything behind that they have started.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::process::{pidfd_open, pidfd_signal};

/// One line of the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    session: i32,
}

/// Kills every descendant of this process, and every member of a session that one of them leads, and waits for those
/// that become our children (this process must be a subreaper). Gives up after `rounds` rounds of 10 ms, because a process in
/// uninterruptible sleep cannot be made to go.
pub fn kill_descendants(rounds: u32) -> io::Result<()> {
    let me = std::process::id().cast_signed();
    for _ in 0..rounds {
        for pid in doomed(&table()?, me) {
            // Both fail only when the process is gone already.
            if let Ok(pidfd) = pidfd_open(pid) {
                let _ = pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// The descendants of `root`, and the members of the sessions that they lead.
fn doomed(table: &[Entry], root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        for e in table {
            if (e.parent == pid || (pid != root && e.session == pid)) && !found.contains(&e.pid) {
                found.push(e.pid);
            }
        }
    }
    found.remove(0);
    found
}

fn table() -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        // A process that has ended meanwhile has no line any more.
        if let Some(found) = fs::read_to_string(entry.path().join("stat")).ok().and_then(|s| parse(pid, &s)) {
            entries.push(found);
        }
    }
    Ok(entries)
}

/// proc(5): after the command's name in parentheses come state, ppid, pgrp, session.
fn parse(pid: i32, stat: &str) -> Option<Entry> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Entry { pid, parent, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_and_their_sessions_are_found_and_nobody_else() {
        let e = |pid, parent, session| Entry { pid, parent, session };
        // 20 leads a session; 30 was orphaned to 1 but stayed in it; 99 is a stranger in the caller's own session.
        let table = [e(10, 1, 5), e(20, 10, 20), e(21, 20, 20), e(30, 1, 20), e(99, 1, 5)];
        assert_eq!(doomed(&table, 10), [20, 21, 30]);
    }

    #[test]
    fn names_with_parentheses_are_no_obstacle() {
        assert_eq!(parse(7, "7 (a) S) S 3 4 5 0"), Some(Entry { pid: 7, parent: 3, session: 5 }));
        assert_eq!(parse(7, "7 (a"), None);
    }
}
