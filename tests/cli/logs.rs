use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::fixture::{Fixture, ago, container, pod, running, write_log};
use podstrap::report::PodStatusFile;
use serde_json::json;

fn etcd() -> PodStatusFile {
    let former = json!({ "terminated": { "exitCode": 1, "reason": "Error", "containerID": "runc://gen-etcd-etcd-1" } });
    pod(
        "etcd",
        "Running",
        "Running",
        vec![container("etcd", true, 2, running(), former), container("side", true, 0, running(), json!({}))],
    )
}

fn line(second: u32, text: &str) -> String {
    format!("2026-01-02T03:04:{second:02}.000000000Z stdout F {text}")
}

fn write(path: &Path, lines: &[String]) {
    write_log(path, &lines.iter().map(String::as_str).collect::<Vec<_>>());
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn three_runs(f: &Fixture) {
    let dir = f.logs(&etcd(), "etcd");
    write(&dir.join("0.log"), &[line(1, "run 0")]);
    write(&dir.join("1.log"), &[line(2, "run 1")]);
    write(&dir.join("2.log.20260102-030410"), &[line(10, "a"), line(11, "b")]);
    write(&dir.join("2.log.20260102-030420"), &[line(20, "c")]);
    let last = [
        "2026-01-02T03:04:30.000000000Z stdout P half ".to_owned(),
        "2026-01-02T03:04:31.000000000Z stderr F from stderr".to_owned(),
        line(32, "a line"),
    ];
    write(&dir.join("2.log"), &last);
    write(&f.logs(&etcd(), "side").join("0.log"), &[line(1, "side")]);
}

#[test]
fn rotated_files_are_one_log() {
    let f = Fixture::new();
    let lock = f.daemon();
    f.write(&etcd());
    three_runs(&f);
    let ran = f.run(&["logs", "etcd"]);
    assert_eq!((ran.out.as_str(), ran.code), ("a\nb\nc\nfrom stderr\nhalf a line\n", Some(0)), "{ran:?}");
    assert!(ran.err.contains("container etcd of etcd, side"), "{ran:?}");
    let out = |args: &[&str]| f.run(args).out;
    assert_eq!(out(&["logs", "etcd", "--tail", "4"]), "b\nc\nfrom stderr\nhalf a line\n");
    assert_eq!(out(&["logs", "etcd", "--tail=0"]), "");
    assert_eq!(out(&["logs", "etcd", "--since", "2026-01-02T03:04:20Z"]), "c\nfrom stderr\nhalf a line\n");
    assert_eq!(out(&["logs", "etcd", "--since", "1h"]), "");
    assert_eq!(out(&["logs", "etcd", "-c", "side"]), "side\n");
    assert_eq!(out(&["logs", "etcd", "-p"]), "run 1\n");
    let timed = out(&["logs", "etcd", "--timestamps", "--tail", "2"]);
    assert!(timed.ends_with("2026-01-02T03:04:30.000000000Z half a line\n"), "{timed}");
    let ran = f.run(&["logs", "etcd", "-c", "none"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("no container none; it has: etcd, side"), "{ran:?}");
    drop(lock);
    assert_eq!(out(&["logs", "etcd", "-p"]), "run 1\n");
}

#[test]
fn a_log_outlives_its_pod() {
    let f = Fixture::new();
    let _lock = f.daemon();
    three_runs(&f);
    let ran = f.run(&["logs", "kube-system/etcd-host1", "--tail", "1"]);
    assert_eq!((ran.out.as_str(), ran.code), ("half a line\n", Some(0)), "{ran:?}");
    assert_eq!(f.run(&["logs", "kube-system/etcd-host1", "-f", "--tail", "1"]).out, "half a line\n");
    assert_eq!(f.run(&["logs", "kube-system/etcd-host1", "-p"]).out, "run 1\n");
    let ran = f.run(&["logs", "etcd"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("no Pod etcd"), "{ran:?}");
    let elsewhere = f.roots.log.display().to_string();
    let ran = f.run(&["logs", "kube-system/etcd-host1", "--log-dir", &elsewhere, "-c", "side"]);
    assert_eq!(ran.out, "side\n");
}

#[test]
fn a_run_without_a_log_is_told_apart() {
    let f = Fixture::new();
    let _lock = f.daemon();
    f.write(&pod("new", "Pending", "Pending", vec![container("c", false, 0, json!({}), json!({}))]));
    let ran = f.run(&["logs", "new"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("no log under"), "{ran:?}");
    let entry = pod("new", "Running", "Running", vec![container("c", true, 0, running(), json!({}))]);
    write(&f.logs(&entry, "c").join("0.log"), &[line(1, "x")]);
    let ran = f.run(&["logs", "new", "-p"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("no log of a former run"), "{ran:?}");
}

#[test]
fn following_goes_over_rotations_and_restarts_and_ends_with_the_pod() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let entry = pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]);
    f.write(&entry);
    let dir = f.logs(&entry, "etcd");
    // Nothing is there yet: the follower waits for the first file.
    let mut logs = f.start(&["logs", "-f", "etcd"]);
    write(&dir.join("0.log"), &[line(1, "one")]);
    logs.until("one\n");
    append(&dir.join("0.log"), "2026-01-02T03:04:02Z stdout F two\n2026-01-02T03:04:02Z stdout F thr");
    logs.until("two\n");
    append(&dir.join("0.log"), "ee\n");
    logs.until("three\n");
    // Two rotations in one go, with a line written just before each.
    append(&dir.join("0.log"), "2026-01-02T03:04:03Z stdout F four\n");
    fs::rename(dir.join("0.log"), dir.join("0.log.20260102-030403")).unwrap();
    write(&dir.join("0.log.20260102-030404"), &[line(4, "five")]);
    write(&dir.join("0.log"), &[line(5, "six")]);
    logs.until("six\n");
    write(&dir.join("1.log"), &[line(6, "second life")]);
    logs.until("second life\n");
    append(&dir.join("1.log"), "2026-01-02T03:04:07Z stdout F last words\n");
    f.remove(&entry);
    let ran = logs.end();
    assert_eq!(ran.out, "one\ntwo\nthree\nfour\nfive\nsix\nsecond life\nlast words\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn the_tail_of_a_large_log_costs_what_it_shows() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let entry = pod("big", "Running", "Running", vec![container("c", true, 0, running(), json!({}))]);
    f.write(&entry);
    let path = f.logs(&entry, "c").join("0.log");
    // 8 GiB of nothing (a hole in the file), then the lines.
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).unwrap();
    file.set_len(8 << 30).unwrap();
    let mut text = String::from("\n");
    for i in 0..1000 {
        text.push_str(&format!("{} stdout F line {i}\n", ago(0)));
    }
    append(&path, &text);
    let begin = std::time::Instant::now();
    let ran = f.run(&["logs", "big", "--tail", "2"]);
    assert_eq!(ran.out, "line 998\nline 999\n");
    assert!(begin.elapsed().as_secs() < 2, "{:?}", begin.elapsed());
}
