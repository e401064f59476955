//! What must be exact in time, or quiet. A test program of its own, since cargo runs these one after the other, and with
//! few tests in it, so that they do not disturb each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use common::yaml::{canary, one};
use common::{Instance, host, instance};

/// One at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn a_container_that_fails_for_ever_follows_the_back_off_schedule() {
    let _alone = alone();
    let Some(mut i) = instance() else { return };
    // The container itself records when it was started; the clock's resolution is 10 ms.
    i.write_manifest(
        "sick.yaml",
        &one(&i, "sick", "read up _ </proc/uptime; echo $up >>/shared/starts; exit 1", &[]),
    );
    i.args(&["--restart-backoff", "1s,4s"]).start();
    i.until_within(Duration::from_secs(30), "seven starts", |i| i.lines("starts").len() >= 7);
    let starts: Vec<f64> = i.lines("starts").iter().map(|l| l.parse().unwrap()).collect();
    let gaps: Vec<f64> = starts.windows(2).map(|w| w[1] - w[0]).collect();
    // The first restart is immediate: what it takes is what a container takes to end and to start.
    let bare = gaps[0];
    assert!(bare < 0.4, "the first restart took {bare:.2} s");
    let schedule = [1.0, 2.0, 4.0, 4.0, 4.0];
    for (n, (gap, delay)) in gaps[1..].iter().zip(schedule).enumerate() {
        let late = gap - delay;
        assert!(late > -0.011, "restart {} came early: {gap:.2} s, not {delay} s: {gaps:?}", n + 2);
        assert!(late - bare < 0.1, "restart {} came late: {gap:.2} s, not {delay} s: {gaps:?}", n + 2);
    }
    eprintln!("gaps between starts: {gaps:.2?}");
}

#[test]
fn the_back_off_goes_on_where_it_was_when_the_daemon_is_killed() {
    let _alone = alone();
    let Some(mut i) = instance() else { return };
    i.write_manifest(
        "sick.yaml",
        &one(&i, "sick", "read up _ </proc/uptime; echo $up >>/shared/starts; exit 1", &[]),
    );
    i.args(&["--restart-backoff", "1s,8s"]).start();
    i.until("four starts", |i| i.lines("starts").len() == 4);
    i.until("the wait is published", |i| i.pod("sick").is_some_and(|p| p.summary == "CrashLoopBackOff"));
    i.kill9();
    i.start();
    i.until("the fifth start", |i| i.lines("starts").len() == 5);
    let starts: Vec<f64> = i.lines("starts").iter().map(|l| l.parse().unwrap()).collect();
    let gap = starts[4] - starts[3];
    assert!((3.98..4.6).contains(&gap), "4 s were due, killed or not; it was {gap:.2} s");
    i.until("all restarts are counted", |i| i.restarts("sick", "main") == 4);
}

/// The system calls that a process makes in some seconds, one a line.
fn syscalls(i: &Instance, pid: i32, seconds: u32) -> Vec<String> {
    let out = i.dir.join(format!("strace.{pid}"));
    let status = Command::new("timeout")
        .args(["-s", "INT", &seconds.to_string(), "strace", "-f", "-qq", "-o"])
        .arg(&out)
        .args(["-p", &pid.to_string()])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(124), "strace was to be stopped by time, not by itself");
    fs::read_to_string(out).unwrap().lines().map(str::to_owned).collect()
}

/// Attaching interrupts the call that a process sleeps in: that one line is all there may be.
fn sleeps_in_one_call(lines: &[String], calls: &[&str]) -> bool {
    lines.len() <= 1
        && lines.iter().all(|l| {
            let call = l.split_once(' ').map_or("", |(_pid, rest)| rest.trim_start());
            call.starts_with("restart_syscall(") || calls.iter().any(|c| call.starts_with(&format!("{c}(")))
        })
}

#[test]
fn an_idle_daemon_and_its_monitors_sleep_in_one_call() {
    let _alone = alone();
    if host::find("strace").is_none() {
        return host::skip("no strace on PATH");
    }
    let Some(mut i) = instance() else { return };
    for name in ["a", "b", "c"] {
        i.write_manifest(&format!("{name}.yaml"), &one(&i, name, &canary(name), &[]));
    }
    i.args(&["--rescan", "600"]).start();
    let names = ["a", "b", "c"];
    for name in names {
        i.until_ready(name);
    }
    // What the starts have left to do is done when nothing happens for a second; half a minute is ample for that.
    let mut quiet = false;
    for _ in 0..10 {
        quiet = sleeps_in_one_call(&syscalls(&i, i.daemon_pid(), 1), &["poll", "ppoll"]);
        if quiet {
            break;
        }
    }
    assert!(quiet, "the daemon does not come to rest");
    let lines = syscalls(&i, i.daemon_pid(), 5);
    assert!(sleeps_in_one_call(&lines, &["poll", "ppoll"]), "the idle daemon is busy:\n{}", lines.join("\n"));
    assert_eq!(fs::read_dir(format!("/proc/{}/task", i.daemon_pid())).unwrap().count(), 1, "one thread");
    for name in names {
        let (_, record) = i.records(name, "main").pop().unwrap();
        let lines = syscalls(&i, record.monitor.pid, 1);
        assert!(
            sleeps_in_one_call(&lines, &["poll", "ppoll", "read", "wait4", "waitid"]),
            "an idle monitor is busy:\n{}",
            lines.join("\n")
        );
    }
}
