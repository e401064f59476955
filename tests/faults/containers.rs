//! Containers that behave badly, alone or all at once.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::host;
use crate::common::yaml::{canary, container, one, pod};
use crate::inject::{assert_no_double, guard, instance, resident_kib, until_guarded};

#[test]
fn one_that_ignores_term_is_killed_after_its_grace_and_replaced_once() {
    let Some(mut i) = instance() else { return };
    let deaf =
        |tag: &str| guard("web", tag).replace("trap '", "trap '' INT HUP; trap ': ").replace("exit 0", "");
    i.write_manifest("web.yaml", &one(&i, "web", &deaf("1"), &[]));
    i.start();
    until_guarded(&i, "web", "1");
    let begun = Instant::now();
    // Edited five times while the old one will not go: the last edit is the one that counts.
    for tag in ["2", "3", "4", "5", "6"] {
        i.write_manifest("web.yaml", &one(&i, "web", &deaf(tag), &[]));
        std::thread::sleep(Duration::from_millis(150));
    }
    until_guarded(&i, "web", "6");
    assert!(
        begun.elapsed() > Duration::from_secs(2),
        "its grace period was cut short: {:?}",
        begun.elapsed()
    );
    let starts: Vec<_> = i.lines("web").into_iter().filter(|l| l.starts_with("start")).collect();
    assert_eq!(starts, ["start 1", "start 6"]);
    assert_no_double(&i);
}

#[test]
fn one_that_exits_at_once_is_counted_and_each_exit_is_seen() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "1ms,1ms"]);
    let manifest = one(&i, "web", "", &[]).replace("command: [sh, -c, \"\"]", "command: [/bin/true]");
    i.write_manifest("web.yaml", &manifest);
    i.start();
    i.until("twenty restarts", |i| i.restarts("web", "main") >= 20);
    i.cli_ok("down", &["web"]);
    assert!(host::entries(&i.run.join("pods")).is_empty());
}

#[test]
fn fifty_that_exit_in_one_instant_are_all_seen() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "100ms,1s"]);
    // Ten Pods of five; each waits to read from a FIFO that one writer opens for all.
    nix::unistd::mkfifo(&i.shared.join("gate"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let script =
        "[ -e /shared/open ] && exec sleep 1000; : >/shared/at-$HOSTNAME-$0; read x </shared/gate; exit 7";
    for p in 0..10 {
        let containers: Vec<String> = (0..5)
            .map(|c| {
                let script = script.replace("$HOSTNAME-$0", &format!("{p}-{c}"));
                container(&format!("c{c}"), &script, &[])
            })
            .collect();
        i.write_manifest(&format!("p{p}.yaml"), &pod(&i, &format!("p{p}"), &[], &containers));
    }
    i.start();
    let waiting = |i: &crate::common::Instance| {
        host::entries(&i.shared).iter().filter(|p| p.to_string_lossy().contains("/at-")).count()
    };
    i.until_within(Duration::from_secs(60), "fifty wait at the gate", |i| waiting(i) == 50);
    fs::write(i.shared.join("open"), "").unwrap();
    // A writer that comes and goes lets every reader go: end of file for all of them.
    i.until("fifty were restarted", |i| {
        if let Ok(gate) =
            fs::OpenOptions::new().write(true).custom_flags_nonblock().open(i.shared.join("gate"))
        {
            drop(gate);
        }
        (0..10).all(|p| (0..5).all(|c| i.restarts(&format!("p{p}"), &format!("c{c}")) >= 1))
    });
    i.until("fifty run", |i| (0..10).all(|p| i.ready(&format!("p{p}"))));
    for p in 0..10 {
        for c in 0..5 {
            let status = i.container(&format!("p{p}"), &format!("c{c}")).unwrap();
            assert_eq!(status.restart_count, 1);
            assert_eq!(status.last_state.terminated.unwrap().exit_code, 7);
        }
    }
    eprintln!("daemon with 50 containers: {} KiB resident (dev build)", resident_kib(i.daemon_pid()));
}

/// So that opening a FIFO nobody reads fails at once.
trait NonBlocking {
    fn custom_flags_nonblock(&mut self) -> &mut Self;
}

impl NonBlocking for fs::OpenOptions {
    fn custom_flags_nonblock(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt;
        self.custom_flags(nix::libc::O_NONBLOCK)
    }
}

#[test]
fn a_flood_in_one_log_does_not_hold_up_the_restart_of_another() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("flood.yaml", &one(&i, "flood", &format!("exec yes {}", "flood ".repeat(20)), &[]));
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    i.until("the flood is logged", |i| {
        host::files_below(&i.log).iter().any(|f| fs::metadata(f).is_ok_and(|m| m.len() > 1 << 20))
    });
    // What the flood's monitor has read so far.
    let monitor = i.records("flood", "main").pop().unwrap().1.monitor.pid;
    let read = || -> u64 {
        let io = fs::read_to_string(format!("/proc/{monitor}/io")).unwrap();
        io.lines().find_map(|l| l.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    };
    let (begun, former) = (Instant::now(), read());
    std::thread::sleep(Duration::from_secs(2));
    let rate = (read() - former) as f64 / begun.elapsed().as_secs_f64() / 1e6;
    let begun = Instant::now();
    host::signal(pid, Signal::SIGKILL);
    i.until("it was restarted", |i| i.lines("web").len() == 2);
    eprintln!("beside a flood of {rate:.0} MB/s a restart took {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    assert!(rate > 5.0, "{rate} MB/s are no flood");
    i.remove("flood.yaml");
    i.until("the flood is over", |i| i.pod("flood").is_none());
    let total: u64 =
        host::files_below(&i.log).iter().filter_map(|f| fs::metadata(f).ok()).map(|m| m.len()).sum();
    assert!(total < 60 << 20, "the logs have {total} bytes");
}

#[test]
fn logs_go_on_after_their_directory_was_removed() {
    let Some(mut i) = instance() else { return };
    let script = "n=0; trap 'exit 0' TERM; while :; do echo line $n; n=$((n + 1)); sleep 0.05; done";
    i.write_manifest("web.yaml", &one(&i, "web", script, &[]));
    i.start();
    let pid = i.until_ready("web");
    let said = |i: &crate::common::Instance| {
        host::files_below(&i.log).iter().any(|f| fs::read_to_string(f).is_ok_and(|t| t.contains("line")))
    };
    i.until("it has a log", said);
    fs::remove_dir_all(&i.log).unwrap();
    i.until("it has a log again", said);
    // A link in its place leads nobody to write elsewhere.
    let decoy = i.dir.join("decoy");
    fs::create_dir(&decoy).unwrap();
    let pod = host::entries(&i.log).pop().unwrap();
    fs::remove_dir_all(&pod).unwrap();
    std::os::unix::fs::symlink(&decoy, &pod).unwrap();
    i.holds_for(Duration::from_millis(2500), "nothing is written through the link", |_| {
        host::entries(&decoy).is_empty()
    });
    fs::remove_file(&pod).unwrap();
    i.until("it has a log once more", said);
    assert_eq!(i.running_pid("web", "main"), Some(pid));
}
