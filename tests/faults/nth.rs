//! A runc that does one thing wrong, once: at its first call in a scenario, at its second, and so on for every call that the
//! scenario makes. Whatever it is, the scenario ends as it does without, and costs at most one start more.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::{Instance, host};
use crate::inject::{fake_runc, instance};
use crate::scenario::{self, Starts};

/// No scenario makes more calls than this; one that does would go on for ever.
const MOST_CALLS: usize = 60;

/// Instances that work at a time: each waits most of its time.
const WORKERS: usize = 3;

/// The n-th call of `calls` (each writes its verb there) does as the file `at` says: its number, and how.
const SCRIPT: &str = r#"
    set -C; n=1
    until (echo "$verb" >$dir/calls/$n) 2>/dev/null; do n=$((n+1)); done
    set +C
    read -r at how after <$dir/at
    [ $n = "$at" ] || exec "$real" "$@"
    case $how in
    fail) echo 'no such luck' >&2; exit 1;;
    silent) exit 0;;
    denied) "$real" "$@"; exit 1;;
    hang) echo $$ >$dir/hung; exec sleep 1000;;
    late) "$real" "$@"; echo $$ >$dir/hung; exec sleep 1000;;
    die) "$real" "$@" & pid=$!; sleep $after; kill -9 $pid; wait $pid; exit $?;;
    esac"#;

/// Plays the scenario once, with the n-th call of runc going wrong in this way. Gives how many calls there were and what
/// was started.
fn play(i: &mut Instance, n: usize, how: &str) -> (usize, Starts) {
    let calls = i.dir.join("calls");
    let _ = fs::remove_dir_all(&calls);
    fs::create_dir(&calls).unwrap();
    fs::write(i.dir.join("at"), format!("{n} {how}\n")).unwrap();
    let hung = i.dir.join("hung");
    // In place of the deadline, which is half a minute at least: the caller's hand, which kills the same group.
    let since = std::cell::Cell::new(None::<Instant>);
    let starts = scenario::play(i, &|_| {
        if !hung.exists() {
            return;
        }
        let begun = since.get().unwrap_or_else(Instant::now);
        since.set(Some(begun));
        if begun.elapsed() > Duration::from_millis(150) {
            let_go(&hung);
        }
    });
    (host::entries(&calls).len(), starts)
}

fn let_go(hung: &std::path::Path) {
    if let Some(pid) = fs::read_to_string(hung).ok().and_then(|p| p.trim().parse::<i32>().ok()) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        fs::remove_file(hung).unwrap();
    }
}

/// The scenario for every n, in this way; stops at the first n that is beyond what the scenario calls.
fn each(how: &str) {
    // Said once, where containers cannot run.
    let Some(first) = instance() else { return };
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        let work = |mut i: Instance| {
            i.args(&["--restart-backoff", "20ms,200ms"]);
            fake_runc(&mut i, SCRIPT);
            loop {
                // The 0th call is never made: that round shows the scenario as it is without any fault.
                let n = next.fetch_add(1, Ordering::Relaxed);
                let (calls, starts) = play(&mut i, n, how);
                let clean = scenario::clean_starts();
                if calls < n || n == 0 {
                    assert_eq!(starts, clean, "nothing was put in its way");
                }
                if calls < n {
                    return;
                }
                assert!(calls < MOST_CALLS, "{calls} calls");
                let verb = fs::read_to_string(i.dir.join("calls").join(n.to_string())).unwrap_or_default();
                let more: usize = starts.values().sum::<usize>() - clean.values().sum::<usize>();
                let may = usize::from(verb.trim() == "run");
                assert!(more <= may, "call {n}, {verb}: {how}: {starts:?}");
                assert!(clean.iter().all(|(k, v)| starts.get(k) >= Some(v)), "call {n}, {verb}: {starts:?}");
            }
        };
        let others = (1..WORKERS).map(|_| instance().expect("there was one before"));
        for i in others.chain([first]) {
            scope.spawn(move || work(i));
        }
    });
    eprintln!("{how}: {} rounds in {:?}", next.load(Ordering::Relaxed), begun.elapsed());
}

#[test]
fn every_call_of_runc_fails_once() {
    each("fail");
}

#[test]
fn every_call_of_runc_hangs_once() {
    each("hang");
}

#[test]
fn every_call_of_runc_hangs_once_when_its_work_is_done() {
    each("late");
}

#[test]
fn every_call_of_runc_says_once_that_it_has_done_what_it_has_not() {
    each("silent");
}

#[test]
fn every_call_of_runc_says_once_that_it_has_not_done_what_it_has() {
    each("denied");
}

#[test]
fn every_call_of_runc_is_killed_once_at_its_beginning() {
    each("die 0");
}

#[test]
fn every_call_of_runc_is_killed_once_in_the_middle() {
    each("die 0.010");
}

#[test]
fn every_call_of_runc_is_killed_once_at_its_end() {
    each("die 0.022");
}
