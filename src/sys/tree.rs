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
    /// In clock ticks after boot.
    started: u64,
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

/// Kills every process of the host that has `entry` (`NAME=VALUE`) in its environment, with all that descend from it, and
/// says how many there were. One that has just been killed may be found again until it is gone, and one that begins
/// meanwhile is not found: call it until it finds none. Processes that are older than this one are passed over; whoever
/// made `entry` up has started none of them.
pub fn kill_marked(entry: &str) -> io::Result<usize> {
    let table = table()?;
    let me = std::process::id().cast_signed();
    let since = table.iter().find(|e| e.pid == me).map_or(0, |e| e.started);
    let mut found = 0;
    for marked in table.iter().filter(|e| e.started >= since && e.pid != me) {
        // Opened before the environment is read: should the number be another process's by then, this one is not hit.
        let Ok(pidfd) = pidfd_open(marked.pid) else { continue };
        if !has_in_environment(marked.pid, entry) {
            continue;
        }
        found += 1;
        for pid in doomed(&table, marked.pid) {
            if let Ok(pidfd) = pidfd_open(pid) {
                let _ = pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
        // Fails only when the process is gone already.
        let _ = pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
    }
    Ok(found)
}

/// Whether a process was started with this in its environment. A zombie has none any more.
fn has_in_environment(pid: i32, entry: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|b| *b == 0).any(|e| e == entry.as_bytes()))
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

/// proc(5): after the command's name in parentheses come state, ppid, pgrp, session, and, fifteen further on, starttime.
fn parse(pid: i32, stat: &str) -> Option<Entry> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Entry { pid, parent, session, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_and_their_sessions_are_found_and_nobody_else() {
        let e = |pid, parent, session| Entry { pid, parent, session, started: 0 };
        // 20 leads a session; 30 was orphaned to 1 but stayed in it; 99 is a stranger in the caller's own session.
        let table = [e(10, 1, 5), e(20, 10, 20), e(21, 20, 20), e(30, 1, 20), e(99, 1, 5)];
        assert_eq!(doomed(&table, 10), [20, 21, 30]);
    }

    #[test]
    fn names_with_parentheses_are_no_obstacle() {
        let stat = "7 (a) S) S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse(7, stat), Some(Entry { pid: 7, parent: 3, session: 5, started: 4242 }));
        assert_eq!(parse(7, "7 (a"), None);
    }

    #[test]
    fn what_has_the_mark_dies_with_its_children_and_nothing_else_does() {
        use std::process::Command;
        let mark = format!("PODSTRAP_TEST_MARK={}", std::process::id());
        let start = |script: &str, value: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]).env("PODSTRAP_TEST_MARK", value).spawn().unwrap()
        };
        let value = std::process::id().to_string();
        // The second's child has another environment, and is a child all the same. Where that one is killed first, its
        // shell may end by itself before it is killed, too.
        let mut marked =
            [start("exec sleep 1000", &value), start("env -i sleep 1000 & wait; exit 1", &value)];
        let mut other = start("exec sleep 1000", &format!("{value}0"));
        let of = |parent: u32| {
            let all = table().unwrap();
            all.iter().filter(|e| e.parent == parent.cast_signed()).map(|e| e.pid).collect::<Vec<_>>()
        };
        let mut child = of(marked[1].id());
        while child.is_empty() {
            child = of(marked[1].id());
        }
        assert!(kill_marked(&mark).unwrap() >= 2);
        for process in &mut marked {
            assert!(!process.wait().unwrap().success());
        }
        while kill_marked(&mark).unwrap() > 0 {}
        for _ in 0..1000 {
            if !super::super::process::is_running(child[0]) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(!super::super::process::is_running(child[0]));
        assert!(other.try_wait().unwrap().is_none(), "it has another mark");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
