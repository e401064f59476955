//! An instance of podstrap that is measured: its Pods, their processes, and what those take of memory and time.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use podstrap::monitor::record::Record;
use podstrap::paths::fnv1a;

use crate::common::{self, Instance, SOON, engine, host, image};
use crate::stamp::{self, IMAGE, Stamps};

/// A daemon and the file in which its Pods say that they run.
pub struct Bench {
    /// The daemon.
    pub i: Instance,
    /// What its Pods say.
    pub stamps: Stamps,
    /// In memory, as /run is on a host: the run directory, and what runc by itself keeps there. Goes last.
    pub memory: Memory,
}

/// A file system in memory.
pub struct Memory(pub PathBuf);

impl Memory {
    fn beside(dir: &Path) -> Self {
        let at = dir.with_extension("run");
        fs::create_dir(&at).unwrap();
        mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
        Self(at)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

/// One that is not started yet, with runc, or with the docker (or podman) that this command speaks to.
pub fn bench(docker: Option<&Path>) -> Bench {
    let mut i = match docker {
        Some(cli) => common::docker_instance(cli),
        None => common::bare_instance().expect("containers can run: it was asked before"),
    };
    let memory = Memory::beside(&i.dir);
    i.run = memory.0.join("run");
    if let Some(cli) = docker {
        engine::belongs(&i.run, cli);
    }
    image::provide(&stamp::image(), &i.images_dir(), "stamp.tar");
    let stamps = Stamps::of(&i.shared);
    Bench { i, stamps, memory }
}

impl Bench {
    /// A Pod of one container, with further lines for that, and the words after its program and name.
    pub fn manifest(&self, name: &str, words: &[&str], extra: &str) -> String {
        let words: String = words.iter().map(|w| format!(", \"{w}\"")).collect();
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n  \
             terminationGracePeriodSeconds: 10\n  containers:\n  - name: main\n    image: {IMAGE}\n    \
             imagePullPolicy: IfNotPresent\n    command: [/stamp, {name}{words}]\n    \
             volumeMounts: [{{name: shared, mountPath: /shared}}]\n{extra}  volumes:\n  \
             - {{name: shared, hostPath: {{path: {}}}}}\n",
            self.i.shared.display()
        )
    }

    /// Puts a Pod's manifest in place.
    pub fn add(&self, name: &str) {
        self.i.write_manifest(&format!("{name}.yaml"), &self.manifest(name, &[], ""));
    }

    /// Starts the daemon, and waits until it has loaded the image and lies still.
    pub fn start(&mut self) {
        self.i.start();
        self.add("first");
        self.stamps.nth("first", "start", 1);
        self.i.remove("first.yaml");
        self.until_gone("first");
    }

    /// Waits until nothing is published of a Pod any more: by then nothing is left of it.
    pub fn until_gone(&self, pod: &str) {
        self.i.until(&format!("{pod} is gone"), |i| !status_file(i, pod).exists());
    }

    /// Stops all of it in good order; hundreds of Pods take their time.
    pub fn down(&mut self) {
        self.i.cli_ok("down", &["--timeout", "600s"]);
        self.i.daemon_exit(SOON);
    }

    /// The records of all runs of all Pods' containers.
    pub fn records(&self) -> Vec<Record> {
        let runs = host::entries(&self.i.run.join("pods"));
        let runs = runs.iter().flat_map(|pod| host::entries(&pod.join("c/main")));
        runs.filter_map(|run| serde_json::from_slice(&fs::read(run.join("record.json")).ok()?).ok()).collect()
    }

    /// The pids of all containers' first processes.
    pub fn inits(&self) -> Vec<i32> {
        let pids = self.records().into_iter().filter(|r| r.end.is_none());
        pids.filter_map(|r| r.init.map(|p| p.pid)).collect()
    }

    /// The pids of all monitors.
    pub fn monitors(&self) -> Vec<i32> {
        self.records().into_iter().map(|r| r.monitor.pid).filter(|pid| host::alive(*pid)).collect()
    }

    /// Sends the one container of a Pod a signal.
    pub fn signal(&self, pod: &str, signal: Signal) {
        let mut pid = None;
        self.i.until(&format!("{pod} has a process"), |i| {
            pid = i.running_pid(pod, "main");
            pid.is_some()
        });
        host::signal(pid.unwrap(), signal);
    }
}

/// Where the status of a Pod is published.
pub fn status_file(i: &Instance, pod: &str) -> PathBuf {
    let key = format!("default/{pod}-{}", i.node);
    i.run.join(format!("status/{:016x}.json", fnv1a(key.as_bytes())))
}

/// What a process takes of memory, in bytes: resident, and its share of it (where several processes use a page, each has
/// its part).
pub fn memory(pid: i32) -> (f64, f64) {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let value = |key: &str| {
        let line = rollup.lines().find(|l| l.starts_with(key)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
    };
    (value("Rss:"), value("Pss:"))
}

/// What a process has taken of processor time, in seconds, with all of its threads; its children that have ended included.
pub fn cpu(pid: i32) -> f64 {
    let ran = |thread: PathBuf| {
        let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let own: f64 = host::entries(Path::new(&format!("/proc/{pid}/task"))).into_iter().map(ran).sum();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[13..15].iter().map(|t| t.parse::<f64>().unwrap()).sum();
    own / 1e9 + ticks / 100.0
}

/// How often a process has gone to sleep by itself.
pub fn sleeps(pid: i32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}
