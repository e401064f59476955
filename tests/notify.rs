//! What the daemon tells others of itself: systemd over the notify socket, and whoever asks its health endpoint.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use common::yaml::{canary, container, one, pod};
use common::{Instance, host, instance, podstrap};

/// A systemd that only listens.
struct Listener {
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Listener {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let heard: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
        let theirs = Arc::downgrade(&heard);
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Some(heard) = theirs.upgrade() {
                if let Ok(n) = socket.recv(&mut buffer) {
                    let text = String::from_utf8(buffer[..n].to_vec()).unwrap();
                    heard.lock().unwrap().push((Instant::now(), text));
                }
            }
        });
        Self { heard }
    }

    fn all(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|(_, m)| m.clone()).collect()
    }

    fn last_status(&self) -> String {
        let all = self.all();
        all.iter().rev().find_map(|m| m.strip_prefix("STATUS=")).unwrap_or_default().to_owned()
    }

    fn times(&self, message: &str) -> Vec<Instant> {
        self.heard.lock().unwrap().iter().filter(|(_, m)| m == message).map(|(t, _)| *t).collect()
    }

    fn count(&self, message: &str) -> usize {
        self.times(message).len()
    }
}

fn with_environment(i: &mut Instance, variables: &[String]) {
    i.prefix = ["env".to_owned()].into_iter().chain(variables.iter().cloned()).collect();
}

#[test]
fn systemd_hears_of_ready_status_reload_signs_of_life_and_the_stop() {
    let Some(mut i) = instance() else { return };
    let socket = i.dir.join("systemd.sock");
    let systemd = Listener::at(&socket);
    with_environment(
        &mut i,
        &[format!("NOTIFY_SOCKET={}", socket.display()), "WATCHDOG_USEC=2000000".to_owned()],
    );
    i.args(&["--on-exit", "stop"]);
    let probe = "readinessProbe: {exec: {command: [test, -e, /shared/go]}, periodSeconds: 1}";
    i.write_manifest("a.yaml", &one(&i, "a", &canary("a"), &[probe]));
    i.start();
    i.until("ready is told", |_| systemd.count("READY=1") == 1);
    i.until("the unready Pod is told", |_| {
        systemd.last_status().starts_with("0/1 ready: a: main: readiness")
    });
    fs::write(i.shared.join("go"), "").unwrap();
    i.until("the Pod's readiness is told", |_| systemd.last_status() == "1/1 ready");
    let never = ["image: localhost/nowhere:1", "imagePullPolicy: Never"];
    i.write_manifest("b.yaml", &pod(&i, "b", &[], &[container("main", "exit 0", &never)]));
    i.until("the missing image is told", |_| {
        systemd.last_status().starts_with("1/2 ready: b: ErrImageNeverPull (main: ")
    });
    i.remove("b.yaml");
    i.until("its end is told", |_| systemd.last_status() == "1/1 ready");

    host::signal(i.daemon_pid(), Signal::SIGHUP);
    i.until("the reload is told, and its end", |_| systemd.count("READY=1") == 2);
    let all = systemd.all();
    let reloading = all.iter().position(|m| m.starts_with("RELOADING=1\nMONOTONIC_USEC=")).unwrap();
    assert!(all[reloading + 1..].contains(&"READY=1".to_owned()), "{all:#?}");

    // Each sign of life comes within half of the time; status lines come only with changes.
    let (lines, begun) = (all.iter().filter(|m| m.starts_with("STATUS=")).count(), Instant::now());
    std::thread::sleep(Duration::from_secs(6));
    let signs: Vec<Instant> = systemd.times("WATCHDOG=1").into_iter().filter(|t| *t >= begun).collect();
    let gaps: Vec<Duration> = signs.windows(2).map(|w| w[1] - w[0]).collect();
    assert!((3..=13).contains(&signs.len()), "{} signs of life in 6 s", signs.len());
    assert!(gaps.iter().all(|g| *g < Duration::from_secs(2)), "{gaps:?}");
    let all = systemd.all();
    assert_eq!(all.iter().filter(|m| m.starts_with("STATUS=")).count(), lines, "{all:#?}");

    // A loop that does not turn gives none.
    host::signal(i.daemon_pid(), Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(200));
    let before = systemd.count("WATCHDOG=1");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(systemd.count("WATCHDOG=1"), before);
    host::signal(i.daemon_pid(), Signal::SIGCONT);
    i.until("it is alive again", |_| systemd.count("WATCHDOG=1") > before);

    // Nobody else may speak in the daemon's name.
    for (pid, _) in host::processes_of(&i.dir, &i.cgroup_root) {
        // A child that has not executed its program yet shows the daemon's.
        i.until("its environment is clean", |i| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            pid == i.daemon_pid() || !String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET")
        });
    }
    let main = i.running_pid("a", "main").unwrap();
    assert!(!String::from_utf8_lossy(&fs::read(format!("/proc/{main}/environ")).unwrap()).contains("NOTIFY"));

    assert_eq!(systemd.count("STOPPING=1"), 0);
    assert!(i.terminate().success());
    let all = systemd.all();
    let stopping = all.iter().position(|m| m == "STOPPING=1").unwrap_or_else(|| panic!("{all:#?}"));
    for message in
        ["EXTEND_TIMEOUT_USEC=60000000", "STATUS=stopping, 1 left: a", "STATUS=every Pod is stopped"]
    {
        assert!(all[stopping..].iter().any(|m| m == message), "{message}: {all:#?}");
    }
    assert_eq!(i.lines("a").last().map(|l| l.starts_with("term")), Some(true));
}

#[test]
fn a_systemd_that_does_not_read_or_is_not_there_holds_nothing_up() {
    let Some(mut i) = instance() else { return };
    let path = i.dir.join("systemd.sock");
    i.write_manifest("a.yaml", &one(&i, "a", &canary("a"), &[]));
    with_environment(&mut i, &[format!("NOTIFY_SOCKET={}", path.display()), "WATCHDOG_USEC=1000000".into()]);
    i.start();
    i.until_ready("a");
    i.kill9();

    let deaf = UnixDatagram::bind(&path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"X=1", &path).is_ok() {}
    i.start();
    i.write_manifest("b.yaml", &one(&i, "b", &canary("b"), &[]));
    i.until_ready("b");
    let cpu = cpu_ms(i.daemon_pid());
    std::thread::sleep(Duration::from_secs(2));
    let used = cpu_ms(i.daemon_pid()) - cpu;
    assert!(used < 200, "{used} ms of processor time in 2 s");
    // What it had to say waits until there is room.
    deaf.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut buffer = [0; 4096];
    loop {
        let n = deaf.recv(&mut buffer).expect("READY=1 came within 10 s");
        if &buffer[..n] == b"READY=1" {
            break;
        }
    }
    // It leaves its Pods, and says that it is not stuck but ends.
    assert!(i.terminate().success());
    let rest = std::iter::from_fn(|| deaf.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()));
    let mut rest = rest.take(100).map(|b| String::from_utf8(b).unwrap());
    assert!(rest.any(|m| m == "STOPPING=1"));
    assert!(i.running_pid("a", "main").is_some() && i.running_pid("b", "main").is_some());
}

#[test]
fn a_daemon_with_nothing_to_say_sleeps() {
    if common::runtime_name() != "runc" {
        // The containers of other tests are events of the docker that they share.
        return;
    }
    let Some(mut i) = instance() else { return };
    let socket = i.dir.join("systemd.sock");
    let systemd = Listener::at(&socket);
    with_environment(&mut i, &[format!("NOTIFY_SOCKET={}", socket.display())]);
    i.args(&["--healthz-address", &free_address().to_string(), "--rescan", "60"]);
    i.write_manifest("a.yaml", &one(&i, "a", &canary("a"), &[]));
    i.start();
    i.until_ready("a");
    i.until("its readiness is told", |_| systemd.last_status() == "1/1 ready");
    let daemon = i.daemon_pid();
    let sleeps = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    // Helpers of the start: an image is loaded, a manifest kept, the runtime's version asked for.
    i.until("its helpers have ended", |_| has_no_helpers(daemon));
    std::thread::sleep(Duration::from_secs(1));
    let (before, said) = (sleeps(), systemd.all().len());
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!((sleeps(), systemd.all().len()), (before, said), "it was woken, or said something");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if host::find("systemd-analyze").is_none() {
        return host::skip("no systemd-analyze");
    }
    let dir = std::env::temp_dir().join(format!("podstrap-units-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let drop_in = dir.join("podstrap.service.d");
    fs::create_dir_all(&drop_in).unwrap();
    let units = ["podstrap.service", "podstrap-shutdown.service", "podstrap-kubeadm.conf"].map(|unit| {
        let text = fs::read_to_string(format!("{}/dist/{unit}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(text.contains("/usr/local/bin/podstrap "), "{text}");
        // Neither the program nor its manual is where an installation puts them.
        let text = text.replace("/usr/local/bin/podstrap ", &format!("{} ", podstrap().display()));
        let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("Documentation=")).collect();
        let path = if unit.ends_with(".conf") { drop_in.join("kubeadm.conf") } else { dir.join(unit) };
        fs::write(&path, lines.join("\n")).unwrap();
        path
    });
    let output = Command::new("systemd-analyze").arg("verify").args(&units[..2]).output().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", common::describe(&output));
}

/// Whether a daemon has no children but those that stay: the monitors of containers, and docker's events.
fn has_no_helpers(daemon: i32) -> bool {
    let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children")).unwrap();
    children.split_whitespace().all(|pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|b| *b == 0).any(|word| word == b"monitor" || word == b"events")
    })
}

/// Milliseconds of processor time that a process has used.
fn cpu_ms(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // In ticks of 10 ms.
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends this, and gives what comes until the end.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

fn get(address: SocketAddr, path: &str) -> String {
    let reply = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {reply}");
    reply.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn metric(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
}

#[test]
fn the_health_endpoint_answers_and_counts() {
    let Some(mut i) = instance() else { return };
    let address = free_address();
    i.args(&["--healthz-address", &address.to_string()]);
    let probes = [
        "readinessProbe: {exec: {command: [test, -e, /shared/go]}, periodSeconds: 1}",
        "livenessProbe: {exec: {command: ['true']}, periodSeconds: 1}",
    ];
    i.write_manifest("a.yaml", &one(&i, "a", &canary("a"), &probes));
    i.write_manifest("bad.yaml", "kind: Nonsense\n");
    i.start();
    assert_eq!(get(address, "/healthz"), "ok");
    assert!(ask(address, "GET /nothing HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(ask(address, "POST /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(ask(address, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));

    let failed = "podstrap_probes_total{probe=\"readiness\",verdict=\"failure\"}";
    i.until("a probe has failed", |_| metric(&get(address, "/metrics"), failed) >= 1.0);
    assert_eq!(metric(&get(address, "/metrics"), "podstrap_pods_ready"), 0.0);
    fs::write(i.shared.join("go"), "").unwrap();
    let main = i.until_ready("a");
    let page = get(address, "/metrics");
    assert_eq!(metric(&page, "podstrap_pods{phase=\"Running\"}"), 1.0, "{page}");
    assert_eq!(metric(&page, "podstrap_pods_ready"), 1.0);
    assert_eq!(metric(&page, "podstrap_containers_running"), 1.0);
    assert_eq!(metric(&page, "podstrap_manifests_refused"), 1.0);
    assert!(metric(&page, "podstrap_probes_total{probe=\"liveness\",verdict=\"success\"}") >= 1.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let source =
        format!("podstrap_source_last_read_timestamp_seconds{{source=\"{}\"}}", i.manifests.display());
    for name in [source.as_str(), "podstrap_start_time_seconds"] {
        let at = metric(&page, name);
        assert!(at <= now && at > now - 60.0, "{name} {at}, now {now}");
    }
    let runtime = common::runtime_name();
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("podstrap_build_info{{version=\"{version}\",runtime=\"{runtime}\"}}");
    assert_eq!(metric(&page, &build), 1.0);

    let restarts = format!(
        "podstrap_container_restarts_total{{namespace=\"default\",pod=\"a-{}\",container=\"main\"}}",
        common::NODE
    );
    assert_eq!(metric(&page, &restarts), 0.0);
    host::signal(main, Signal::SIGKILL);
    i.until("the restart is counted", |_| metric(&get(address, "/metrics"), &restarts) == 1.0);
}

#[test]
fn slow_clients_delay_nothing() {
    let Some(mut i) = instance() else { return };
    let address = free_address();
    i.args(&["--healthz-address", &address.to_string(), "--restart-backoff", "50ms,500ms"]);
    i.write_manifest("a.yaml", &one(&i, "a", &canary("a"), &[]));
    i.start();
    let mut main = i.until_ready("a");
    let daemon = i.daemon_pid();
    let descriptors = || host::entries(format!("/proc/{daemon}/fd").as_ref()).len();
    let idle = descriptors();
    let cpu = cpu_ms(daemon);

    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    let slow: Vec<TcpStream> = (0..40)
        .map(|n| {
            let mut stream = TcpStream::connect(address).unwrap();
            // Half a request, or a whole one whose answer is never read, or far too much.
            let text = match n % 3 {
                0 => "GET /healthz HT".to_owned(),
                1 => "GET /metrics HTTP/1.1\r\n\r\n".to_owned(),
                _ => "x".repeat(8000),
            };
            let _ = stream.write_all(text.as_bytes());
            stream
        })
        .collect();
    assert!(descriptors() <= idle + 16 + 2, "{} descriptors, {idle} before", descriptors());
    let mut slowest = Duration::ZERO;
    for restart in 1..=3 {
        let begun = Instant::now();
        host::signal(main, Signal::SIGKILL);
        i.until("it is restarted", |i| {
            let asked = Instant::now();
            assert_eq!(get(address, "/healthz"), "ok");
            slowest = slowest.max(asked.elapsed());
            i.restarts("a", "main") == restart && i.ready("a")
        });
        assert!(begun.elapsed() < Duration::from_secs(5), "restart {restart} took {:?}", begun.elapsed());
        main = i.until_ready("a");
    }
    assert!(slowest < Duration::from_secs(2), "an answer took {slowest:?}");
    // Without any further event, all of them are thrown out within their five seconds.
    i.until("the slow ones are thrown out", |_| descriptors() <= idle);
    let used = cpu_ms(daemon) - cpu;
    eprintln!("80 slow clients: slowest answer {slowest:?}, {used} ms of processor time");
    assert!(used < 3_000, "{used} ms of processor time");
    for mut stream in silent.into_iter().chain(slow) {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut rest = Vec::new();
        // Its end, or a reset.
        let end = stream.read_to_end(&mut rest);
        assert!(end.as_ref().err().is_none_or(|e| e.kind() != std::io::ErrorKind::WouldBlock), "{end:?}");
    }
}

#[test]
fn without_a_descriptor_for_a_client_it_does_not_spin() {
    let Some(mut i) = instance() else { return };
    let address = free_address();
    i.args(&["--healthz-address", &address.to_string()]);
    i.start();
    assert_eq!(get(address, "/healthz"), "ok");
    let daemon = i.daemon_pid();
    let limit = |soft: &str| {
        let set = Command::new("prlimit")
            .arg(format!("--pid={daemon}"))
            .arg(format!("--nofile={soft}:"))
            .status()
            .unwrap();
        assert!(set.success());
    };
    // Nothing is under way any more, and no number below the limit is free.
    i.until("its helpers have ended", |i| {
        fs::read_to_string(i.daemon_log()).unwrap().contains("Loaded image") && has_no_helpers(daemon)
    });
    let is_open = |fd: &u32| fs::symlink_metadata(format!("/proc/{daemon}/fd/{fd}")).is_ok();
    let open = (0..).find(|fd| !is_open(fd)).unwrap();
    let limits = fs::read_to_string(format!("/proc/{daemon}/limits")).unwrap();
    let line = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    let soft = line.split_whitespace().nth(3).unwrap().to_owned();
    limit(&open.to_string());
    let mut waiting = TcpStream::connect(address).unwrap();
    waiting.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    let cpu = cpu_ms(daemon);
    std::thread::sleep(Duration::from_secs(3));
    let used = cpu_ms(daemon) - cpu;
    limit(&soft);
    assert!(used < 300, "{used} ms of processor time in 3 s");
    let mut reply = String::new();
    waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    waiting.read_to_string(&mut reply).unwrap();
    assert!(reply.ends_with("\r\n\r\nok"), "{reply}");
    let log = fs::read_to_string(i.daemon_log()).unwrap();
    assert_eq!(log.matches("health endpoint: cannot accept").count(), 1, "{log}");
}

#[test]
fn a_port_in_use_is_told_at_the_start() {
    let Some(mut i) = instance() else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    i.args(&["--healthz-address", &address]);
    let output = i.run_command(&podstrap()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let said = common::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("--healthz-address {address}: the port is in use")), "{said}");
    assert!(said.contains("off"), "{said}");
    // The same daemon begins where nobody is in its way, and again right after its end.
    drop(taken);
    for _ in 0..2 {
        i.start();
        assert_eq!(get(address.parse().unwrap(), "/healthz"), "ok");
        assert!(i.terminate().success());
    }
}
