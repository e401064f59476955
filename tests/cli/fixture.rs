//! A run directory as a daemon leaves it, made by hand, and the real binary run on it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use podstrap::paths::Roots;
use podstrap::pod::{Generation, Namespace, Origin, PodName, Uid};
use podstrap::report::{DaemonStatus, ManifestState, PodStatusFile, SourceStatus};
use podstrap::sys::lock::{self, Lock, Taken};
use serde_json::{Value, json};

/// One instance's roots, removed at the end of the test.
pub struct Fixture {
    pub root: PathBuf,
    pub roots: Roots,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Fixture {
    /// Nothing is made but the root itself.
    pub fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("podstrap-readers-{}-{number}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let roots = Roots { run: root.join("run"), state: root.join("state"), log: root.join("log/pods") };
        Self { root, roots }
    }

    /// Everything a living daemon would have, without Pods; the lock is held as long as the result lives.
    pub fn daemon(&self) -> Lock {
        fs::create_dir_all(self.roots.status()).unwrap();
        fs::create_dir_all(self.roots.requests()).unwrap();
        let lock = match lock::take(&self.roots.lock()).unwrap() {
            Taken::Ours(lock) => lock,
            Taken::Held { pid } => panic!("held by {pid}"),
        };
        self.write_daemon(&self.daemon_status());
        lock
    }

    pub fn daemon_status(&self) -> DaemonStatus {
        DaemonStatus {
            version: "0.1.0".into(),
            pid: std::process::id() as i32,
            boot_id: "b".into(),
            started_at: ago(600),
            node_name: "host1".into(),
            runtime: "runc".into(),
            sources: vec![SourceStatus {
                path: "/etc/kubernetes/manifests".into(),
                synced: true,
                error: None,
                ignored: vec!["notes.txt: not .yaml, .yml or .json".into()],
            }],
            roots: self.roots.clone(),
            cgroup_root: "podstrap".into(),
            runtime_binary: self.root.join("runc"),
            reading: podstrap::report::Reading::default(),
            sets: Vec::new(),
            node: None,
            warnings: vec![],
        }
    }

    pub fn write_daemon(&self, status: &DaemonStatus) {
        self.put("daemon.json", &serde_json::to_vec(status).unwrap());
    }

    pub fn write(&self, entry: &PodStatusFile) {
        fs::create_dir_all(self.roots.status()).unwrap();
        self.put(&self.file_of(entry), &serde_json::to_vec(entry).unwrap());
    }

    pub fn remove(&self, entry: &PodStatusFile) {
        fs::remove_file(self.roots.status().join(self.file_of(entry))).unwrap();
    }

    fn file_of(&self, entry: &PodStatusFile) -> String {
        match &entry.generation {
            Some(generation) => format!("{generation}.json"),
            None => format!("refused-{}.json", entry.origin.path.replace('/', "_")),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let temporary = self.roots.status().join(format!(".{name}"));
        fs::write(&temporary, bytes).unwrap();
        fs::rename(temporary, self.roots.status().join(name)).unwrap();
    }

    /// The log directory of one of the Pod's containers.
    pub fn logs(&self, pod: &PodStatusFile, container: &str) -> PathBuf {
        let (namespace, name) = (pod.namespace.as_ref().unwrap(), pod.name.as_ref().unwrap());
        let directory = self.roots.log.join(format!("{namespace}_{name}_{}", pod.uid.as_ref().unwrap()));
        fs::create_dir_all(directory.join(container)).unwrap();
        directory.join(container)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podstrap"));
        let (verb, rest) = args.split_first().unwrap();
        command.arg(verb).arg("--run-dir").arg(&self.roots.run).args(rest);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    pub fn start(&self, args: &[&str]) -> Started {
        let child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut started = Started { child, out: String::new() };
        let out = started.child.stdout.as_ref().unwrap();
        let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(out, flags).unwrap();
        started.out.clear();
        started
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// What a run of the binary came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A run of the binary that goes on.
pub struct Started {
    child: Child,
    out: String,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Started {
    /// Waits until standard output contains `text`, and gives all that has come so far.
    pub fn until(&mut self, text: &str) -> &str {
        let begin = Instant::now();
        while !self.out.contains(text) {
            assert!(begin.elapsed() < PATIENCE, "no {text:?} in {:?}", self.out);
            let mut buffer = [0; 4096];
            match self.child.stdout.as_mut().unwrap().read(&mut buffer) {
                Ok(0) => panic!("it ended without {text:?}: {:?}", self.out),
                Ok(n) => self.out.push_str(std::str::from_utf8(&buffer[..n]).unwrap()),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        &self.out
    }

    /// Waits until it has this file open.
    pub fn until_open(&self, path: &Path) {
        let begin = Instant::now();
        let descriptors = format!("/proc/{}/fd", self.child.id());
        let holds = || {
            let mut all = fs::read_dir(&descriptors).unwrap();
            all.any(|d| fs::read_link(d.unwrap().path()).is_ok_and(|target| target == path))
        };
        while !holds() {
            assert!(begin.elapsed() < PATIENCE, "it does not open {}", path.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it has ended by itself.
    pub fn end(mut self) -> Ran {
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < PATIENCE, "it does not end: {:?}", self.out);
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Ran { code: status.code(), out: format!("{}{rest}", self.out), err }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// RFC 3339, so many seconds ago.
pub fn ago(seconds: i64) -> String {
    let now = podstrap::sys::clock::unix_ms();
    jiff::Timestamp::from_millisecond(now - seconds * 1000).unwrap().to_string()
}

/// A container status.
pub fn container(name: &str, ready: bool, restarts: u32, state: Value, last_state: Value) -> Value {
    json!({
        "name": name, "ready": ready, "started": true, "restartCount": restarts, "image": "i", "imageID": "sha256:0",
        "containerID": format!("runc://gen-{name}-{restarts}"), "state": state, "lastState": last_state,
    })
}

/// A Pod of `kube-system` on host1.
pub fn pod(name: &str, summary: &str, phase: &str, containers: Vec<Value>) -> PodStatusFile {
    let full = format!("{name}-host1");
    let ready = !containers.is_empty() && containers.iter().all(|c| c["ready"] == json!(true));
    let names: Vec<Value> = containers.iter().map(|c| json!({ "name": c["name"], "image": "i" })).collect();
    PodStatusFile {
        namespace: Some(Namespace::new("kube-system")),
        name: Some(PodName::new(full.clone())),
        generation: Some(Generation::new(format!("gen-{name}"))),
        uid: Some(Uid::new(format!("uid-{name}"))),
        origin: Origin { path: format!("/etc/kubernetes/manifests/{name}.yaml"), document: 1 },
        manifest: ManifestState::Current { warnings: vec![] },
        summary: summary.into(),
        message: None,
        created_at: Some(ago(750)),
        deletion_timestamp: None,
        pod: json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": full, "namespace": "kube-system", "uid": format!("uid-{name}") },
            "spec": { "nodeName": "host1", "containers": names, "terminationGracePeriodSeconds": 30 },
            "status": {
                "phase": phase,
                "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
                "containerStatuses": containers,
            },
        }),
    }
}

/// A document that has no Pod.
pub fn refused(path: &str, problems: &[&str]) -> PodStatusFile {
    PodStatusFile {
        namespace: None,
        name: None,
        generation: None,
        uid: None,
        origin: Origin { path: path.into(), document: 1 },
        manifest: ManifestState::Refused { problems: problems.iter().map(|p| (*p).to_owned()).collect() },
        summary: "Refused".into(),
        message: None,
        created_at: None,
        deletion_timestamp: None,
        pod: json!({}),
    }
}

pub fn running() -> Value {
    json!({ "running": { "startedAt": ago(700) } })
}

pub fn write_log(path: &Path, lines: &[&str]) {
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    fs::write(path, text).unwrap();
}
