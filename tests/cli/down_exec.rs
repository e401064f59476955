use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, Ran, container, pod, running};
use podstrap::cli::down::Request;
use podstrap::report::{DaemonStatus, ManifestState};
use podstrap::sys::fifo::Fifo;
use serde_json::json;

/// Waits for the nudge and the request, as a daemon does.
fn request(f: &Fixture, fifo: &mut Fifo) -> Request {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < Duration::from_secs(20), "no request came");
        if fifo.drain().0.iter().any(|l| l == "request") {
            let files: Vec<_> =
                fs::read_dir(f.roots.requests()).unwrap().map(|e| e.unwrap().path()).collect();
            assert_eq!(files.len(), 1, "{files:?}");
            let request = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
            fs::remove_file(&files[0]).unwrap();
            return request;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn down_asks_the_daemon_and_waits() {
    let f = Fixture::new();
    let lock = f.daemon();
    let mut fifo = Fifo::open(&f.roots.notify()).unwrap();
    let mut etcd = pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]);
    let api = pod("api", "Running", "Running", vec![container("api", true, 0, running(), json!({}))]);
    f.write(&etcd);
    f.write(&api);

    let mut down = f.start(&["down", "etcd"]);
    assert_eq!(
        request(&f, &mut fifo),
        Request { verb: "down".into(), pods: vec!["kube-system/etcd-host1".into()] }
    );
    down.until("etcd-host1: Running");
    etcd.summary = "Terminating".into();
    f.write(&etcd);
    down.until("Running → Terminating");
    // Held and stopped is as good as gone.
    let ended = json!({ "terminated": { "exitCode": 0, "reason": "Completed" } });
    etcd = pod("etcd", "Stopped", "Succeeded", vec![container("etcd", false, 0, ended, json!({}))]);
    etcd.manifest = ManifestState::Held;
    f.write(&etcd);
    let ran = down.end();
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert!(!ran.out.contains("api"), "{ran:?}");

    let mut down = f.start(&["down"]);
    assert_eq!(request(&f, &mut fifo).pods, Vec::<String>::new());
    down.until("api-host1: Running");
    f.remove(&etcd);
    f.remove(&api);
    down.until("api-host1: Running → gone");
    drop(lock);
    assert_eq!(down.end().code, Some(0));
}

#[test]
fn down_gives_up_in_time_and_takes_its_request_back() {
    let f = Fixture::new();
    let lock = f.daemon();
    let _fifo = Fifo::open(&f.roots.notify()).unwrap();
    f.write(&pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]));
    let ran = f.run(&["down", "etcd", "--timeout", "0.1"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("not gone in time: kube-system/etcd-host1"), "{ran:?}");
    assert_eq!(fs::read_dir(f.roots.requests()).unwrap().count(), 0);
    assert_eq!(f.run(&["down", "nobody"]).code, Some(1));
    // The daemon dies while it is waited for.
    let mut down = f.start(&["down", "etcd"]);
    down.until("etcd-host1: Running");
    drop(lock);
    let ran = down.end();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("the daemon ended before"), "{ran:?}");
}

#[test]
fn exec_becomes_the_runtime() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let runc = f.root.join("runc");
    fs::write(&runc, "#!/bin/sh\nprintf '%s|' \"$@\"; echo; env; cat; exit 42\n").unwrap();
    fs::set_permissions(&runc, fs::Permissions::from_mode(0o755)).unwrap();
    let api = container("api", false, 0, json!({ "waiting": { "reason": "ErrImagePull" } }), json!({}));
    f.write(&pod("etcd", "Running", "Running", vec![container("etcd", true, 3, running(), json!({})), api]));
    let ran = f.run(&["exec", "etcd", "-c", "etcd", "--", "sh", "-c", "echo --help -it"]);
    let root = f.roots.runc();
    let first = format!("--root|{}|exec|gen-etcd-3|sh|-c|echo --help -it|", root.display());
    assert_eq!((ran.out.lines().next(), ran.code), (Some(first.as_str()), Some(42)), "{ran:?}");
    assert!(!ran.out.contains("CARGO"), "{ran:?}");
    // Without a terminal there is none to give.
    let ran = f.run(&["exec", "-it", "etcd", "--", "sh"]);
    assert!(ran.out.contains("exec|gen-etcd-3|sh|") && ran.err.contains("not a terminal"), "{ran:?}");
    let ran = f.run(&["exec", "etcd", "-c", "api", "--", "sh"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("container api is not running (ErrImagePull)"), "{ran:?}");
    let ran = f.run(&["exec", "etcd"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = f.run(&["exec", "etcd", "--"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    fs::remove_file(&runc).unwrap();
    let ran = f.run(&["exec", "etcd", "--", "sh"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("No such file"), "{ran:?}");
}

#[test]
fn exec_becomes_docker_where_that_is_the_runtime() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let docker = f.root.join("docker");
    let script = "#!/bin/sh\n[ \"$*\" != --version ] || { echo Docker version 20.10.24; exit; }\n\
                  printf '%s|' \"$@\"; echo; env; cat; exit 42\n";
    fs::write(&docker, script).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let status = DaemonStatus { runtime: "docker".into(), runtime_binary: docker, ..f.daemon_status() };
    f.write_daemon(&status);
    let mut etcd = container("etcd", true, 3, running(), json!({}));
    etcd["containerID"] = json!("docker://0123abcd");
    // Left by a daemon that used another runtime.
    let old = container("old", true, 0, running(), json!({}));
    f.write(&pod("etcd", "Running", "Running", vec![etcd, old]));
    let exec = |flags: &[&str]| {
        let mut command = f.command(&["exec", "etcd"]);
        command.args(flags).args(["-c", "etcd", "--", "sh", "-c", "echo --help -it"]).env("TERM", "xterm");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Where it is not read, the pipe is closed at once.
        let _ = child.stdin.take().unwrap().write_all(b"typed");
        Ran::from(child.wait_with_output().unwrap())
    };
    let ran = exec(&[]);
    assert_eq!(ran.out.lines().next(), Some("exec|0123abcd|sh|-c|echo --help -it|"), "{ran:?}");
    let mut environment: Vec<&str> = ran.out.lines().skip(1).filter(|l| !l.starts_with("PWD=")).collect();
    environment.sort_unstable();
    assert_eq!(environment.len(), 2, "{ran:?}");
    assert!(environment[0] == "HOME=/root" && environment[1].starts_with("PATH=/"), "{ran:?}");
    assert_eq!((ran.code, ran.err.as_str()), (Some(42), ""));
    let ran = exec(&["-i"]);
    assert_eq!(ran.out.lines().next(), Some("exec|--interactive|0123abcd|sh|-c|echo --help -it|"), "{ran:?}");
    assert!(ran.out.ends_with("typed"), "{ran:?}");
    // Without a terminal there is none to give.
    let ran = exec(&["-it"]);
    assert!(
        ran.out.starts_with("exec|--interactive|0123abcd|") && ran.err.contains("not a terminal"),
        "{ran:?}"
    );
    let ran = f.run(&["exec", "etcd", "-c", "old", "--", "sh"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("with the runtime runc"), "{ran:?}");
    let ran = f.run(&["version"]);
    assert!(ran.out.contains("\nDocker version 20.10.24 (/") && ran.out.ends_with("/docker)\n"), "{ran:?}");
}

/// With a terminal: all of it is passed on, as docker's flags.
#[test]
fn exec_gives_docker_the_terminal() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let docker = f.root.join("docker");
    let seen = f.root.join("seen");
    let script = format!(
        "#!/bin/sh\nprintf '%s|' \"$@\" >{0}\ntest -t 0 && test -t 1 && echo tty >>{0}\n",
        seen.display()
    );
    fs::write(&docker, script).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let status = DaemonStatus { runtime: "docker".into(), runtime_binary: docker, ..f.daemon_status() };
    f.write_daemon(&status);
    let mut etcd = container("etcd", true, 3, running(), json!({}));
    etcd["containerID"] = json!("docker://0123abcd");
    f.write(&pod("etcd", "Running", "Running", vec![etcd]));
    let terminal = nix::pty::openpty(None, None).unwrap();
    let side = || Stdio::from(terminal.slave.try_clone().unwrap());
    let mut command = f.command(&["exec", "-t", "etcd", "--", "sh"]);
    command.env("TERM", "vt100").stdin(side()).stdout(side());
    assert_eq!(command.status().unwrap().code(), Some(0));
    let seen = fs::read_to_string(seen).unwrap();
    assert_eq!(seen, "exec|--interactive|--tty|--env|TERM=vt100|0123abcd|sh|tty\n");
}
