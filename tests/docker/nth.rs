//! A docker command line that does one thing wrong, once: at its first call in a scenario, at its second, and so on. Whatever
//! it is, the scenario ends as it does without, and nothing is left in docker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::stage::instance;
use crate::common::Instance;
use crate::inject::provide_flock;
use crate::scenario::{self, Starts};

/// Instances that work at a time.
const WORKERS: usize = 4;

/// No scenario makes more calls than this; one that does would go on for ever.
const MOST_CALLS: usize = 400;

/// Puts a script before the real command line: the n-th call of `calls` does as the file `at` says.
fn fake(i: &mut Instance) {
    let real = i.docker.clone().expect("it runs on docker");
    let dir = i.dir.display();
    let text = format!(
        r#"#!/bin/sh
dir={dir}; real={real}
[ -e $dir/at ] || exec $real "$@"
set -C; n=1
until (echo "$*" >$dir/calls/$n) 2>/dev/null; do n=$((n+1)); done
set +C
read -r at how after <$dir/at
[ $n = "$at" ] || exec $real "$@"
case $how in
fail) echo 'no such luck' >&2; exit 1;;
denied) $real "$@"; exit 1;;
die) $real "$@" & pid=$!; sleep $after; kill -9 $pid; wait $pid; exit $?;;
esac
"#,
        real = real.display()
    );
    let path = i.dir.join("docker");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    i.docker = Some(path);
}

fn play(i: &mut Instance, n: usize, how: &str) -> (Vec<String>, Starts) {
    let calls = i.dir.join("calls");
    let _ = fs::remove_dir_all(&calls);
    fs::create_dir(&calls).unwrap();
    fs::write(i.dir.join("at"), format!("{n} {how}\n")).unwrap();
    // A docker that does not tell its version ends the daemon at its start, by design: a service manager starts it again.
    let starts = scenario::play(i, &|i| {
        if i.ended().is_some_and(|status| !status.success()) {
            i.launch();
        }
    });
    let count = fs::read_dir(&calls).unwrap().count();
    let read = |n: usize| fs::read_to_string(calls.join(n.to_string())).unwrap_or_default();
    ((1..=count).map(read).collect(), starts)
}

/// The scenario for every `step`th n from `first` on, in this way; stops at the first n beyond what the scenario calls.
fn each(how: &str, first: usize, step: usize) {
    let Some(one) = instance() else { return };
    let (next, begun) = (AtomicUsize::new(first), Instant::now());
    std::thread::scope(|scope| {
        let work = |mut i: Instance| {
            i.args(&["--restart-backoff", "20ms,200ms"]);
            provide_flock(&i);
            fake(&mut i);
            loop {
                let n = next.fetch_add(step, Ordering::Relaxed);
                let (calls, starts) = play(&mut i, n, how);
                let clean = scenario::clean_starts();
                let call = n.checked_sub(1).and_then(|at| calls.get(at)).map_or("none", |c| c.trim());
                if calls.len() < n {
                    assert_eq!(starts, clean, "nothing was put in its way");
                    return;
                }
                assert!(calls.len() < MOST_CALLS, "{} calls", calls.len());
                let more: usize = starts.values().sum::<usize>() - clean.values().sum::<usize>();
                assert!(more <= 1, "call {n}, {call}: {how}: {starts:?}");
                assert!(clean.iter().all(|(k, v)| starts.get(k) >= Some(v)), "call {n}, {call}: {starts:?}");
            }
        };
        let others = (1..WORKERS).map(|_| instance().expect("there was one before"));
        for i in others.chain([one]) {
            scope.spawn(move || work(i));
        }
    });
    eprintln!("{how}: every {step}th of {} calls in {:?}", next.load(Ordering::Relaxed), begun.elapsed());
}

#[test]
fn some_calls_of_docker_fail_once() {
    each("fail", 4, 12);
}

#[test]
fn some_calls_of_docker_are_killed_once() {
    each("die 0.020", 8, 12);
}

#[test]
#[ignore = "minutes long; the short form of it are the tests above"]
fn every_call_of_docker_goes_wrong_once() {
    for how in ["fail", "die 0", "die 0.020", "denied"] {
        each(how, 0, 1);
    }
}
