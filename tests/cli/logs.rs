use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::fixture::{Fixture, ago, container, pod, running, write_log};
use podstrap::monitor::json_log::convert;
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

/// A line as docker's json-file driver writes it; without a newline at its end the text is a piece.
fn json_line(second: u32, stream: &str, text: &str) -> String {
    let text = serde_json::to_string(text).unwrap().replace('<', "\\u003c");
    format!("{{\"log\":{text},\"stream\":\"{stream}\",\"time\":\"2026-01-02T03:04:{second:02}.5Z\"}}\n")
}

fn out(second: u32, text: &str) -> String {
    json_line(second, "stdout", text)
}

/// docker's side: a directory of its own for each container.
struct DockerLog {
    live: PathBuf,
    link: PathBuf,
}

impl DockerLog {
    fn new(f: &Fixture, logs: &Path, attempt: u32) -> Self {
        let directory = f.root.join(format!("docker/containers/c{attempt}"));
        fs::create_dir_all(&directory).unwrap();
        let live = directory.join(format!("c{attempt}-json.log"));
        fs::write(&live, "").unwrap();
        let link = logs.join(format!("{attempt}.log"));
        symlink(&live, &link).unwrap();
        Self { live, link }
    }

    fn append(&self, text: &str) {
        append(&self.live, text);
    }

    fn number(&self, number: u32) -> PathBuf {
        self.live.with_extension(format!("log.{number}"))
    }

    /// As docker does it, with three files.
    fn rotate(&self) {
        for number in [1, 0] {
            let old = if number == 0 { self.live.clone() } else { self.number(number) };
            if old.exists() {
                fs::rename(old, self.number(number + 1)).unwrap();
            }
        }
        fs::write(&self.live, "").unwrap();
    }

    /// The end of the run: what the monitor does, and then docker.
    fn end(&self, max_bytes: u64) {
        convert(&self.live, &self.link, max_bytes, 5).unwrap();
        fs::remove_dir_all(self.live.parent().unwrap()).unwrap();
    }
}

fn dockers(name: &str) -> PodStatusFile {
    let mut status = container(
        name,
        true,
        1,
        running(),
        json!({ "terminated": {
        "exitCode": 1, "reason": "Error", "containerID": "docker://0123456789abcdef" } }),
    );
    status["containerID"] = json!("docker://abcdef");
    pod(name, "Running", "Running", vec![status])
}

#[test]
fn dockers_files_are_read_like_ours() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let entry = dockers("etcd");
    f.write(&entry);
    let dir = f.logs(&entry, "etcd");
    write(&dir.join("0.log"), &[line(1, "run 0")]);
    let log = DockerLog::new(&f, &dir, 1);
    log.append(&(out(10, "a <b>\n") + &out(11, "b\u{fffd}\n")));
    log.rotate();
    log.append(&out(20, "c\n"));
    log.rotate();
    log.append(&(out(30, "half ") + &json_line(31, "stderr", "from stderr\n") + &out(32, "a line\n")));
    log.append("{\"log\":\"torn");
    // Left by a monitor that was killed while it gave names.
    write(&dir.join("1.log.20260102-030410"), &[line(10, "a <b>")]);
    let all = "a <b>\nb\u{fffd}\nc\nfrom stderr\nhalf a line\n";
    let check = || {
        let out = |args: &[&str]| f.run(args).out;
        assert_eq!(out(&["logs", "etcd"]), all);
        assert_eq!(out(&["logs", "etcd", "--tail", "3"]), "c\nfrom stderr\nhalf a line\n");
        assert_eq!(out(&["logs", "etcd", "--tail", "1"]), "half a line\n");
        assert_eq!(out(&["logs", "etcd", "--tail", "0"]), "");
        assert_eq!(
            out(&["logs", "etcd", "--since", "2026-01-02T03:04:20Z"]),
            "c\nfrom stderr\nhalf a line\n"
        );
        assert_eq!(out(&["logs", "etcd", "-p"]), "run 0\n");
        let timed = out(&["logs", "etcd", "--timestamps", "--tail", "1"]);
        assert_eq!(timed, "2026-01-02T03:04:30.500000000Z half a line\n");
    };
    check();
    log.end(1 << 20);
    check();
    // While the next run waits for its turn, the newest is the former.
    let mut waiting = container(
        "etcd",
        false,
        1,
        json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
        json!({ "terminated": { "exitCode": 1, "reason": "Error", "containerID": "docker://abcdef" } }),
    );
    waiting["containerID"] = json!("docker://abcdef");
    f.write(&pod("etcd", "CrashLoopBackOff", "Running", vec![waiting]));
    assert_eq!(f.run(&["logs", "etcd", "-p"]).out, all);
}

#[test]
fn following_goes_from_dockers_files_to_ours_and_on_to_the_next_run() {
    for max_bytes in [1 << 20, 150] {
        let f = Fixture::new();
        let _lock = f.daemon();
        let entry = dockers("etcd");
        f.write(&entry);
        let dir = f.logs(&entry, "etcd");
        let log = DockerLog::new(&f, &dir, 0);
        log.append(&(json_line(1, "stderr", "before\n") + &out(1, "one\n")));
        let mut all = f.start(&["logs", "-f", "etcd"]);
        let mut last = f.start(&["logs", "-f", "--tail", "1", "etcd"]);
        let mut none = f.start(&["logs", "-f", "--tail", "0", "etcd"]);
        let mut since = f.start(&["logs", "-f", "--since", "2026-01-02T03:04:02Z", "etcd"]);
        all.until("one\n");
        last.until("one\n");
        none.until_open(&log.live);
        // Three with one time and one text; two rotations in one go.
        log.append(&(out(2, "two\n").repeat(3) + "{\"log\":\"thr"));
        all.until("two\ntwo\ntwo\n");
        none.until("two\n");
        let rest = out(3, "three\n");
        log.append(rest.strip_prefix("{\"log\":\"thr").unwrap());
        log.rotate();
        log.append(&out(4, "four\n"));
        log.rotate();
        log.append(&(out(5, "five\n") + &out(5, "prompt: ")));
        for follower in [&mut all, &mut last, &mut none, &mut since] {
            follower.until("five\n");
        }
        log.append(&json_line(6, "stderr", "at the end\n"));
        log.rotate();
        // Whether they see these in docker's file or not is a matter of chance.
        log.append(&(out(7, "unseen\n") + &json_line(7, "stderr", "no newline")));
        log.end(max_bytes);
        let next = DockerLog::new(&f, &dir, 1);
        next.append(&out(8, "second life\n"));
        all.until("second life\n");
        next.append(&out(9, "last words\n"));
        f.remove(&entry);
        let common = "two\ntwo\ntwo\nthree\nfour\nfive\nat the end\nprompt: unseen\nno newline\nsecond life\nlast words\n";
        assert_eq!(since.end().out, common);
        assert_eq!(none.end().out, common);
        assert_eq!(last.end().out, format!("one\n{common}"));
        let ran = all.end();
        assert_eq!((ran.out, ran.code), (format!("before\none\n{common}"), Some(0)));
    }
}

#[test]
fn a_follower_of_a_silent_run_prints_nothing_twice() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let entry = dockers("etcd");
    f.write(&entry);
    let dir = f.logs(&entry, "etcd");
    let log = DockerLog::new(&f, &dir, 0);
    log.append(&(out(1, "one\n") + &json_line(2, "stderr", "two\n") + &out(3, "prompt: ")));
    log.rotate();
    let none = f.start(&["logs", "-f", "--tail", "0", "etcd"]);
    let mut all = f.start(&["logs", "-f", "etcd"]);
    all.until("two\n");
    // It prints nothing by which it could be seen to be there.
    none.until_open(&log.live);
    log.end(1 << 20);
    all.until("prompt: \n");
    f.remove(&entry);
    assert_eq!(all.end().out, "one\ntwo\nprompt: \n");
    // A line that is still being written belongs to every tail.
    assert_eq!(none.end().out, "prompt: \n");
}

#[test]
fn one_file_that_docker_begins_anew_is_followed() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let entry = dockers("etcd");
    f.write(&entry);
    let log = DockerLog::new(&f, &f.logs(&entry, "etcd"), 0);
    log.append(&(out(1, "one\n") + &out(2, "two\n")));
    let mut logs = f.start(&["logs", "-f", "etcd"]);
    logs.until("two\n");
    // `max-file=1`: the same file is cut to nothing and goes on.
    fs::write(&log.live, out(3, "three\n")).unwrap();
    logs.until("three\n");
    f.remove(&entry);
    assert_eq!(logs.end().out, "one\ntwo\nthree\n");
}
