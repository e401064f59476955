//! `podstrap probe` as the daemon starts it: a request on standard input, an exit code and one line back. Exec probes run
//! in a real runc container with a busybox root, and in one of a dockerd of the tests' own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::host;

use podstrap::helper::hook::HookSpec;
use podstrap::helper::probe::{ExecTarget, ProbeSpec, Verdict};
use podstrap::pod::{ContainerId, ProbeAction};
use podstrap::runtime::docker::Docker;
use podstrap::runtime::engine::Engine;
use serde_json::json;

fn probe(spec: &ProbeSpec) -> (Verdict, String, Duration) {
    let begin = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_podstrap"))
        .arg("probe")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        // A proxy of the caller's must not be asked.
        .env("http_proxy", "http://127.0.0.1:1")
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(spec).unwrap()).unwrap();
    let mut line = String::new();
    child.stdout.take().unwrap().read_to_string(&mut line).unwrap();
    let code = child.wait().unwrap().code().unwrap();
    assert_eq!(line.lines().count(), 1, "{line:?}");
    (Verdict::from_exit_code(code), line.trim_end().to_owned(), begin.elapsed())
}

fn network(action: ProbeAction, timeout_ms: u64) -> ProbeSpec {
    ProbeSpec { action, timeout_ms, default_host: "127.0.0.1".into(), exec: None }
}

#[test]
fn the_reply_comes_back_as_one_line() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.0 503 No\r\n\r\netcd is not ready\x1b[2J\nmore");
        }
    });
    let http =
        ProbeAction::HttpGet { host: None, port, path: "/health".into(), https: false, headers: vec![] };
    let (verdict, line, _) = probe(&network(http, 5000));
    assert_eq!((verdict, line.as_str()), (Verdict::Failure, "HTTP 503: etcd is not ready\\u{1b}[2J"));
    let (verdict, line, _) = probe(&network(ProbeAction::TcpSocket { host: None, port }, 1000));
    assert_eq!((verdict, line), (Verdict::Success, format!("connected to 127.0.0.1:{port}")));
    server.join().unwrap();
}

#[test]
fn a_silent_server_costs_no_more_than_the_timeout() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let http = ProbeAction::HttpGet { host: None, port, path: "/".into(), https: true, headers: vec![] };
    let (verdict, line, took) = probe(&network(http, 300));
    assert_eq!((verdict, line.as_str()), (Verdict::Failure, "timed out after 0.3s"));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_request_that_makes_no_sense_is_no_failure_of_the_container() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_podstrap"))
        .arg("probe")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"{").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("probe: the request"));
}

/// A busybox container that sleeps, under a runc root of its own.
struct Container {
    directory: PathBuf,
    id: String,
}

impl Container {
    fn new(name: &str) -> Self {
        let id = format!("podstrap-probe-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(&id);
        for sub in ["bundle/rootfs/bin", "bundle/rootfs/proc", "run"] {
            fs::create_dir_all(directory.join(sub)).unwrap();
        }
        let bin = directory.join("bundle/rootfs/bin");
        fs::copy("/bin/busybox", bin.join("busybox")).expect("this test needs busybox-static");
        for tool in ["sh", "sleep", "echo", "true", "setsid"] {
            std::os::unix::fs::symlink("busybox", bin.join(tool)).unwrap();
        }
        fs::write(bin.join("nonsense"), "\x7fnonsense").unwrap();
        fs::set_permissions(bin.join("nonsense"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "cwd": "/", "user": { "uid": 0, "gid": 0 },
                "args": ["sleep", "1000"], "env": ["PATH=/bin", "GREETING=hello"],
            },
            "root": { "path": "rootfs" },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": {
                "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }],
                "cgroupsPath": format!("/{id}"),
            },
        });
        fs::write(directory.join("bundle/config.json"), config.to_string()).unwrap();
        let container = Self { directory, id };
        let status = container
            .runc()
            .args(["run", "--detach", "--bundle"])
            .arg(container.directory.join("bundle"))
            .arg(&container.id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("this test needs runc");
        assert!(status.success());
        // runc returns before its process has become the container's.
        let begin = Instant::now();
        while container.processes() != ["sleep 1000 "] {
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", container.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
        container
    }

    fn root(&self) -> PathBuf {
        self.directory.join("run/runc")
    }

    fn runc(&self) -> Command {
        let mut command = Command::new(runc());
        command.arg("--root").arg(self.root());
        command
    }

    fn probe(&self, command: &[&str], timeout_ms: u64) -> (Verdict, String, Duration) {
        probe(&ProbeSpec {
            action: ProbeAction::Exec { command: command.iter().map(|c| (*c).to_owned()).collect() },
            timeout_ms,
            default_host: String::new(),
            exec: Some(ExecTarget {
                engine: Engine::Runc { binary: runc() },
                runc_root: self.root(),
                id: ContainerId::new(self.id.clone()),
            }),
        })
    }

    fn hook(&self, command: &[&str], deadline_ms: u64) -> (i32, String) {
        hook(&HookSpec {
            action: ProbeAction::Exec { command: command.iter().map(|c| (*c).to_owned()).collect() },
            default_host: String::new(),
            deadline_ms,
            exec: Some(ExecTarget {
                engine: Engine::Runc { binary: runc() },
                runc_root: self.root(),
                id: ContainerId::new(self.id.clone()),
            }),
        })
    }

    /// Every process in the container, by its command line.
    fn processes(&self) -> Vec<String> {
        let output = self.runc().args(["ps", "--format", "json", &self.id]).output().unwrap();
        let pids: Vec<i32> = serde_json::from_slice(&output.stdout).unwrap();
        let line = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).ok();
        let mut lines: Vec<String> = pids.iter().filter_map(line).map(|l| l.replace('\0', " ")).collect();
        lines.sort();
        lines
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.runc().args(["delete", "--force", &self.id]).status();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn runc() -> PathBuf {
    ["/usr/local/sbin/runc", "/usr/local/bin/runc", "/usr/sbin/runc", "/usr/bin/runc"]
        .iter()
        .map(Path::new)
        .find(|p| p.exists())
        .expect("this test needs runc")
        .to_owned()
}

#[test]
fn commands_are_judged_by_their_exit_code_in_the_containers_environment() {
    let c = Container::new("code");
    let (verdict, line, _) = c.probe(&["sh", "-c", "echo $GREETING; echo more"], 10_000);
    assert_eq!((verdict, line.as_str()), (Verdict::Success, "hello"));
    let (verdict, line, _) = c.probe(&["sh", "-c", "echo not yet; exit 7"], 10_000);
    assert_eq!((verdict, line.as_str()), (Verdict::Failure, "exit code 7: not yet"));
    // These look like runc's own codes, and are the command's.
    for code in ["126", "127", "255"] {
        let (verdict, line, _) = c.probe(&["sh", "-c", &format!("exit {code}")], 10_000);
        assert_eq!((verdict, line), (Verdict::Failure, format!("exit code {code}")));
    }
    // An option of the command is not one of runc's.
    assert_eq!(c.probe(&["true", "--help", "--tty"], 10_000).0, Verdict::Success);
    for command in ["/bin/absent", "absent", "/proc"] {
        let (verdict, line, _) = c.probe(&[command], 10_000);
        assert_eq!(verdict, Verdict::Error, "{command}: {line}");
        assert!(line.starts_with("runc exec: "), "{line}");
    }
    // runc finds this one out only when its own process has become the command's: an exit code like any other.
    let (verdict, line, _) = c.probe(&["/bin/nonsense"], 10_000);
    assert_eq!(verdict, Verdict::Failure);
    assert!(line.contains("exec format error"), "{line}");
    assert_eq!(fs::read_dir(c.directory.join("run/probes")).unwrap().count(), 0);
    let _ = c.runc().args(["kill", &c.id, "KILL"]).status();
    let begin = Instant::now();
    loop {
        let (verdict, line, _) = c.probe(&["true"], 10_000);
        if verdict == Verdict::Error {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{line}");
    }
}

#[test]
fn what_takes_too_long_fails_and_leaves_nothing_behind() {
    let c = Container::new("late");
    let before = c.processes();
    assert_eq!(before.len(), 1, "{before:?}");
    for script in [
        "sleep 777",
        "sleep 777 & sleep 777 & wait",
        "trap '' TERM; (sleep 777) & sleep 777",
        "while :; do :; done",
    ] {
        let (verdict, line, took) = c.probe(&["sh", "-c", script], 700);
        assert_eq!((verdict, line.as_str()), (Verdict::Failure, "timed out after 0.7s"), "{script}");
        assert!(took < Duration::from_secs(6), "{script}: {took:?}");
        assert_eq!(c.processes(), before, "{script}");
    }
    assert_eq!(fs::read_dir(c.directory.join("run/probes")).unwrap().count(), 0);
}

#[test]
fn a_flood_of_output_does_no_harm() {
    let c = Container::new("flood");
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done";
    let (verdict, line, _) = c.probe(&["sh", "-c", script], 20_000);
    assert_eq!((verdict, line.as_str()), (Verdict::Success, "0123456789012345678901234567890123456789"));
}

/// `podstrap hook`: its exit code, and what it says.
fn hook(spec: &HookSpec) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_podstrap"))
        .arg("hook")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(spec).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
}

#[test]
fn exec_hooks_are_judged_and_their_leftovers_live_on() {
    let c = Container::new("hook");
    assert_eq!(c.hook(&["sh", "-c", "echo fine"], 10_000), (0, String::new()));
    assert_eq!(c.hook(&["sh", "-c", "echo no; exit 3"], 10_000), (1, "exit code 3: no".to_owned()));
    let (code, line) = c.hook(&["absent"], 10_000);
    assert!(code == 1 && line.starts_with("runc exec: "), "{code} {line}");
    // What a hook starts may stay; what is too late may not.
    let background = "setsid sleep 888 >/dev/null 2>&1 </dev/null &";
    assert_eq!(c.hook(&["sh", "-c", background], 10_000), (0, String::new()));
    assert_eq!(c.processes(), ["sleep 1000 ", "sleep 888 "]);
    let late = (1, "timed out after 0.7s".to_owned());
    assert_eq!(c.hook(&["sh", "-c", "sleep 777 & sleep 777"], 700), late);
    assert_eq!(c.processes(), ["sleep 1000 ", "sleep 888 "]);
}

#[test]
fn http_hooks_fall_back_to_plain_http_without_credentials() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // As Go's servers: what is no request is answered with 400 in plain text, and the connection is closed.
    let server = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in ["204 No Content", "500 Oops"] {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = vec![0; 4096];
                let n = stream.read(&mut buffer).unwrap();
                let is_request = buffer.starts_with(b"GET ");
                let status = if is_request { answer } else { "400 Bad Request" };
                stream
                    .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
                    .unwrap();
                if is_request {
                    requests.push(String::from_utf8(buffer[..n].to_vec()).unwrap());
                }
            }
        }
        requests
    });
    let spec = HookSpec {
        action: ProbeAction::HttpGet {
            host: None,
            port,
            path: "/stop?now".into(),
            https: true,
            headers: vec![("Authorization".into(), "secret".into()), ("X-Kept".into(), "yes".into())],
        },
        default_host: "127.0.0.1".into(),
        deadline_ms: 5_000,
        exec: None,
    };
    assert_eq!(hook(&spec), (0, String::new()));
    assert_eq!(hook(&spec), (1, "HTTP 500 Internal Server Error".to_owned()));
    for request in server.join().unwrap() {
        let request = request.to_ascii_lowercase();
        assert!(request.starts_with("get /stop?now http/1.1\r\n"), "{request}");
        assert!(
            request.contains("x-kept: yes") && request.contains("user-agent: kube-lifecycle/"),
            "{request}"
        );
        assert!(!request.contains("secret"), "{request}");
    }
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let action =
        ProbeAction::HttpGet { host: None, port: closed, path: "/".into(), https: false, headers: vec![] };
    let (code, line) = hook(&HookSpec { action, ..spec });
    assert!(code == 1 && line.contains("refused"), "{code} {line}");
}

/// The same in docker: a container that sleeps, of an image made here.
struct DockerContainer {
    directory: PathBuf,
    name: String,
}

impl DockerContainer {
    /// `None`, and the test is skipped, where there is no dockerd for tests.
    fn new(name: &str) -> Option<Self> {
        if let Some(reason) = host::engine::missing("docker") {
            host::skip(&reason);
            return None;
        }
        let socket = host::engine::docker_socket();
        let name = format!("podstrap-probe-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(format!("{name}-docker"));
        let container = Self { directory, name };
        let bin = container.directory.join("root/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).expect("this test needs busybox-static");
        for tool in ["sh", "sleep", "echo", "true", "setsid", "env"] {
            std::os::unix::fs::symlink("busybox", bin.join(tool)).unwrap();
        }
        container.speak_to(&socket);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(container.directory.join("root")).args(["-c", "."]).stdout(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        let import = container
            .docker()
            .args(["import", "-", &container.name])
            .stdin(tar.stdout.take().unwrap())
            .output();
        assert!(tar.wait().unwrap().success() && import.unwrap().status.success());
        let run = [
            "run",
            "--detach",
            "--network=none",
            "--env",
            "GREETING=hello",
            "--name",
            &container.name,
            &container.name,
        ];
        let ran = container.docker().args(run).args(["sleep", "1000"]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Some(container)
    }

    fn cli(&self) -> PathBuf {
        self.directory.join("docker")
    }

    /// The daemon gives the CLI no environment: a wrapper says where the dockerd is.
    fn speak_to(&self, socket: &Path) {
        let docker = host::find("docker").expect("this test needs docker");
        let script = format!("#!/bin/sh\nexec {} -H unix://{} \"$@\"\n", docker.display(), socket.display());
        let temporary = self.directory.join("docker.new");
        fs::write(&temporary, script).unwrap();
        fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(temporary, self.cli()).unwrap();
    }

    /// A docker whose daemon takes what it is told, and answers nothing.
    fn speak_to_nobody(&self) {
        let temporary = self.directory.join("docker.new");
        fs::write(&temporary, "#!/bin/sh\nexec sleep 1000\n").unwrap();
        fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(temporary, self.cli()).unwrap();
    }

    fn docker(&self) -> Command {
        let mut command = Command::new(self.cli());
        command.env("HOME", "/root");
        command
    }

    fn target(&self) -> ExecTarget {
        ExecTarget {
            engine: Engine::Docker(Docker::new(self.cli())),
            runc_root: self.directory.clone(),
            id: ContainerId::new(self.name.clone()),
        }
    }

    fn probe(&self, command: &[&str], timeout_ms: u64) -> (Verdict, String, Duration) {
        probe(&ProbeSpec {
            action: ProbeAction::Exec { command: command.iter().map(|c| (*c).to_owned()).collect() },
            timeout_ms,
            default_host: String::new(),
            exec: Some(self.target()),
        })
    }

    fn hook(&self, command: &[&str], deadline_ms: u64) -> (i32, String) {
        hook(&HookSpec {
            action: ProbeAction::Exec { command: command.iter().map(|c| (*c).to_owned()).collect() },
            default_host: String::new(),
            deadline_ms,
            exec: Some(self.target()),
        })
    }

    /// Every process in the container, by its command line.
    fn processes(&self) -> Vec<String> {
        let output = self.docker().args(["top", &self.name, "-o", "pid,args"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().skip(1).map(|l| l.trim().split_once(' ').unwrap().1.trim().to_owned());
        // The container's first process waits for nobody.
        let mut lines: Vec<String> = lines.filter(|l| !l.contains("<defunct>")).collect();
        lines.sort();
        lines
    }
}

impl Drop for DockerContainer {
    fn drop(&mut self) {
        // A test may have made it speak to nobody.
        self.speak_to(&host::engine::docker_socket());
        let _ = self.docker().args(["rm", "--force", &self.name]).output();
        let _ = self.docker().args(["rmi", "--force", &self.name]).output();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn docker_commands_are_judged_as_runcs_are() {
    let Some(c) = DockerContainer::new("code") else { return };
    let (verdict, line, _) = c.probe(&["sh", "-c", "echo $GREETING; echo more"], 20_000);
    assert_eq!((verdict, line.as_str()), (Verdict::Success, "hello"));
    let (verdict, line, _) = c.probe(&["sh", "-c", "echo not yet; exit 7"], 20_000);
    assert_eq!((verdict, line.as_str()), (Verdict::Failure, "exit code 7: not yet"));
    // These look like docker's own codes, and are the command's: the container runs.
    for code in ["1", "125", "126", "127", "255"] {
        let (verdict, line, _) = c.probe(&["sh", "-c", &format!("exit {code}")], 20_000);
        assert_eq!((verdict, line), (Verdict::Failure, format!("exit code {code}")));
    }
    let words = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.";
    let (verdict, line, _) = c.probe(&["sh", "-c", &format!("echo {words}; exit 1")], 20_000);
    assert_eq!((verdict, line), (Verdict::Failure, format!("exit code 1: {words}")));
    assert_eq!(c.probe(&["true", "--help", "--tty"], 20_000).0, Verdict::Success);
    for command in ["/bin/absent", "absent", "/proc"] {
        let (verdict, line, _) = c.probe(&[command], 20_000);
        assert_eq!(verdict, Verdict::Error, "{command}: {line}");
        assert!(line.starts_with("docker exec: OCI runtime exec failed: "), "{line}");
    }
    // The dockerd cannot be reached, and is there again.
    c.speak_to(Path::new("/nonexistent/docker.sock"));
    let (verdict, line, _) = c.probe(&["true"], 20_000);
    assert_eq!(verdict, Verdict::Error, "{line}");
    c.speak_to(&host::engine::docker_socket());
    assert_eq!(c.probe(&["true"], 20_000).0, Verdict::Success);
    // It hangs: whatever is in the container was not asked.
    c.speak_to_nobody();
    let (verdict, line, took) = c.probe(&["true"], 500);
    let said = "docker exec: the command was not seen to run within 0.5s";
    assert_eq!((verdict, line.as_str()), (Verdict::Error, said));
    assert!(took < Duration::from_secs(5), "{took:?}");
    c.speak_to(&host::engine::docker_socket());
    // A container that is held, one that has ended, and none at all.
    for (verb, word) in
        [("pause", "paused"), ("unpause", ""), ("kill", "not running"), ("rm", "No such container")]
    {
        assert!(c.docker().args([verb, &c.name]).output().unwrap().status.success(), "{verb}");
        let begin = Instant::now();
        loop {
            let (verdict, line, _) = c.probe(&["true"], 20_000);
            if (verdict == Verdict::Error && line.contains(word))
                || (verdict == Verdict::Success && word.is_empty())
            {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{verb}: {line}");
        }
    }
}

#[test]
fn what_takes_too_long_in_docker_fails_and_leaves_nothing_behind() {
    let Some(c) = DockerContainer::new("late") else { return };
    assert_eq!(c.processes(), ["sleep 1000"]);
    for script in [
        "sleep 777",
        "sleep 777 & sleep 777 & wait",
        "trap '' TERM; (setsid sleep 777) & env -i sleep 777 & wait",
        "while :; do sleep 777 & sleep 0.01; done",
    ] {
        // docker must have begun it by then, whatever else it has to do.
        let (verdict, line, took) = c.probe(&["sh", "-c", script], 4000);
        assert_eq!((verdict, line.as_str()), (Verdict::Failure, "timed out after 4s"), "{script}");
        assert!(took < Duration::from_secs(10), "{script}: {took:?}");
        assert_eq!(c.processes(), ["sleep 1000"], "{script}");
    }
    // A probe that ends in time leaves nothing either; a hook may.
    let background = "setsid sleep 888 >/dev/null 2>&1 </dev/null &";
    assert_eq!(c.probe(&["sh", "-c", background], 20_000).0, Verdict::Success);
    assert_eq!(c.processes(), ["sleep 1000"]);
    assert_eq!(c.hook(&["sh", "-c", background], 20_000), (0, String::new()));
    assert_eq!(c.processes(), ["sleep 1000", "sleep 888"]);
    let (code, line) = c.hook(&["absent"], 20_000);
    assert!(code == 1 && line.starts_with("docker exec: "), "{code} {line}");
    let late = (1, "timed out after 4s".to_owned());
    assert_eq!(c.hook(&["sh", "-c", "sleep 777 & sleep 777"], 4000), late);
    assert_eq!(c.processes(), ["sleep 1000", "sleep 888"]);
}
