//! The daemon's own lot as a process: descriptors, signals, standard streams, environment.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::yaml::{canary, one};
use crate::common::{Instance, host, text};
use crate::inject::{assert_no_double, cpu_ms, guard, instance, resident_kib, until_guarded};

fn prefix(i: &mut Instance, words: &[&str]) {
    i.prefix = words.iter().map(|w| (*w).to_owned()).collect();
}

fn limit_descriptors(pid: i32, soft: u32) {
    let status = Command::new("prlimit")
        .arg(format!("--pid={pid}"))
        .arg(format!("--nofile={soft}:"))
        .status()
        .unwrap();
    assert!(status.success());
}

fn descriptors(pid: i32) -> usize {
    host::entries(format!("/proc/{pid}/fd").as_ref()).len()
}

#[test]
fn without_a_descriptor_to_spare_it_waits_and_recovers() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,500ms", "--rescan", "1"]);
    for n in 0..8 {
        i.write_manifest(
            &format!("p{n}.yaml"),
            &one(&i, &format!("p{n}"), &guard(&format!("p{n}"), "1"), &[]),
        );
    }
    i.start();
    for n in 0..8 {
        until_guarded(&i, &format!("p{n}"), "1");
    }
    // Adopted, so that each monitor takes a descriptor of the daemon's.
    i.kill9();
    i.start();
    for n in 0..8 {
        until_guarded(&i, &format!("p{n}"), "1");
    }
    let (daemon, idle) = (i.daemon_pid(), descriptors(i.daemon_pid()));
    let soft = fs::read_to_string(format!("/proc/{daemon}/limits")).unwrap();
    let soft: u32 = soft
        .lines()
        .find(|l| l.starts_with("Max open files"))
        .and_then(|l| l.split_whitespace().nth(3)?.parse().ok())
        .unwrap();
    let others: Vec<i32> = (1..8).map(|n| i.running_pid(&format!("p{n}"), "main").unwrap()).collect();
    for few in [idle as u32, 6] {
        limit_descriptors(daemon, few);
        host::signal(i.running_pid("p0", "main").unwrap(), Signal::SIGKILL);
        i.write_manifest("p8.yaml", &one(&i, "p8", &guard("p8", &few.to_string()), &[]));
        let cpu = cpu_ms(daemon);
        i.holds_for(Duration::from_secs(3), "the others run on", |_| others.iter().all(|p| host::alive(*p)));
        let used = cpu_ms(daemon) - cpu;
        assert!(used < 600, "with {few} descriptors the daemon used {used} ms of processor time in 3 s");
        limit_descriptors(daemon, soft);
        i.until("the new one runs", |i| i.lines("p8").contains(&format!("start {few}")) && i.ready("p8"));
        i.until("the killed one runs", |i| i.ready("p0") && i.running_pid("p0", "main").is_some());
    }
    let log = fs::read_to_string(i.daemon_log()).unwrap();
    assert!(log.lines().count() < 400, "{} lines were logged", log.lines().count());
    i.until("no descriptor is left open", |_| descriptors(daemon) <= idle);
    assert_no_double(&i);
}

#[test]
fn stopped_for_ten_seconds_it_catches_up() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "100ms,1s"]);
    for name in ["a", "b", "c"] {
        i.write_manifest(&format!("{name}.yaml"), &one(&i, name, &guard(name, "1"), &[]));
    }
    i.start();
    for name in ["a", "b", "c"] {
        until_guarded(&i, name, "1");
    }
    let daemon = i.daemon_pid();
    host::signal(daemon, Signal::SIGSTOP);
    host::signal(i.running_pid("a", "main").unwrap(), Signal::SIGKILL);
    i.remove("b.yaml");
    for n in 0..400 {
        i.write_manifest("c.yaml", &one(&i, "c", &guard("c", &format!("x{n}")), &[]));
    }
    std::thread::sleep(Duration::from_secs(10));
    let begun = Instant::now();
    host::signal(daemon, Signal::SIGCONT);
    until_guarded(&i, "a", "1");
    i.until("b is gone", |i| i.pod("b").is_none());
    until_guarded(&i, "c", "x399");
    assert!(begun.elapsed() < Duration::from_secs(6), "it took {:?}", begun.elapsed());
    let starts = i.lines("c").iter().filter(|l| l.starts_with("start")).count();
    assert_eq!(starts, 2, "c was replaced once: {:?}", i.lines("c"));
    assert_eq!(i.lines("a").len(), 2, "{:?}", i.lines("a"));
    assert_no_double(&i);
}

#[test]
fn a_storm_of_signals_is_weathered() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("a.yaml", &one(&i, "a", &guard("a", "1"), &[]));
    i.start();
    until_guarded(&i, "a", "1");
    let daemon = i.daemon_pid();
    let storm = std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(3);
        let mut sent = 0_u32;
        while Instant::now() < end {
            for signal in [Signal::SIGHUP, Signal::SIGIO, Signal::SIGCHLD, Signal::SIGPIPE] {
                host::signal(daemon, signal);
                sent += 1;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        sent
    });
    let begun = Instant::now();
    i.write_manifest("b.yaml", &one(&i, "b", &guard("b", "1"), &[]));
    until_guarded(&i, "b", "1");
    let took = begun.elapsed();
    host::signal(i.running_pid("b", "main").unwrap(), Signal::SIGKILL);
    i.until("it is restarted", |i| i.lines("b").len() == 2);
    let sent = storm.join().unwrap();
    assert!(took < Duration::from_secs(3), "a start took {took:?}");
    let lines = fs::read_to_string(i.daemon_log()).unwrap().lines().count();
    eprintln!("{sent} signals, a start took {took:?}, {lines} lines were logged");
    assert!(lines < 100, "{lines} lines were logged");
    assert_eq!(i.lines("a").len(), 1);
    assert_no_double(&i);
}

#[test]
fn without_standard_streams_and_environment() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "1"), &[]));
    prefix(&mut i, &["sh", "-c", r#"exec env -i "$@" <&- >&- 2>&-"#, "sh"]);
    i.start();
    until_guarded(&i, "web", "1");
    let daemon = i.daemon_pid();
    for fd in 0..3 {
        let target = fs::read_link(format!("/proc/{daemon}/fd/{fd}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"), "descriptor {fd}");
    }
    host::signal(i.running_pid("web", "main").unwrap(), Signal::SIGKILL);
    i.until("it is restarted", |i| i.lines("web").len() == 2 && i.ready("web"));
    assert_no_double(&i);
}

#[test]
fn a_reader_of_standard_error_that_stops_or_goes_holds_nothing_up() {
    let Some(mut i) = instance() else { return };
    i.args(&["--rescan", "1"]);
    let fifo = i.dir.join("stderr");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let mut reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let redirect = format!("exec \"$@\" 2>{}", fifo.display());
    prefix(&mut i, &["sh", "-c", &redirect, "sh"]);
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "1"), &[]));
    i.start();
    // Nobody reads. More is said than a pipe of 64 KiB holds.
    for n in 0..700 {
        i.write_manifest(&format!("bad{n}.yaml"), &format!("nonsense {n}: [{}\n", "x".repeat(200)));
    }
    i.until("all were refused", |i| i.document("bad699.yaml").is_some());
    until_guarded(&i, "web", "1");
    host::signal(i.running_pid("web", "main").unwrap(), Signal::SIGKILL);
    i.until("it is restarted", |i| i.lines("web").len() == 2);
    // Somebody reads again, and hears that something was dropped.
    nix::fcntl::fcntl(reader.as_fd(), nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let mut heard = String::new();
    let mut buffer = [0; 65536];
    host::signal(i.daemon_pid(), Signal::SIGHUP);
    i.until("the loss is told", |i| {
        while let Ok(n) = reader.read(&mut buffer) {
            heard.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        host::signal(i.daemon_pid(), Signal::SIGHUP);
        heard.contains("lines were dropped")
    });
    // Nobody is there at all: writing would raise SIGPIPE.
    drop(reader);
    i.write_manifest("more.yaml", &one(&i, "more", &canary("more"), &[]));
    i.until_ready("more");
    assert_no_double(&i);
}

#[test]
fn without_inotify_changes_are_seen_by_the_scan() {
    let Some(mut i) = instance() else { return };
    i.args(&["--rescan", "1"]);
    // No instance can be made in a user namespace with a limit of its own; without one this cannot be shown harmlessly.
    let limit = "echo 0 >/proc/sys/user/max_inotify_instances";
    if !Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", limit])
        .status()
        .is_ok_and(|s| s.success())
    {
        return host::skip("no user namespace in which inotify can be forbidden");
    }
    // Containers cannot be made in that namespace: strace makes the call fail instead.
    if host::find("strace").is_none() {
        return host::skip("no strace to make inotify_init fail");
    }
    prefix(
        &mut i,
        &[
            "strace",
            "-D",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=inotify_init1",
            "-e",
            "inject=inotify_init1:error=EMFILE",
        ],
    );
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "1"), &[]));
    i.start();
    until_guarded(&i, "web", "1");
    let log = fs::read_to_string(i.daemon_log()).unwrap();
    assert!(log.contains("inotify is not to be had"), "{log}");
    i.write_manifest("web.yaml", &one(&i, "web", &guard("web", "2"), &[]));
    until_guarded(&i, "web", "2");
    i.remove("web.yaml");
    i.until("it is gone", |i| i.pod("web").is_none());
    assert!(resident_kib(i.daemon_pid()) > 0);
    assert_no_double(&i);
}

#[test]
fn a_kubelet_on_the_same_host_is_warned_of() {
    let Some(mut i) = instance() else { return };
    let program = i.dir.join("kubelet");
    fs::copy(host::find("sleep").unwrap(), &program).unwrap();
    let mut kubelet = Command::new(&program).arg("1000").spawn().unwrap();
    let line = format!("a kubelet runs beside podstrap (pid {})", kubelet.id());
    i.start();
    let said = text(&i.cli("status", &[]).stdout);
    kubelet.kill().unwrap();
    kubelet.wait().unwrap();
    assert!(said.contains(&line), "{said}");
    assert!(fs::read_to_string(i.daemon_log()).unwrap().contains(&line));
}
