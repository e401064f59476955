//! The two files by which daemon and monitor speak: `spec.json` (what to do) and `record.json` (what was seen).
//!
//! They are the whole truth about one run of one container: a daemon that starts later, or a sweeper after a monitor was
//! killed, needs nothing else. Both carry a version and the boot id, so that leftovers of another boot are recognised.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::paths::{AttemptDir, Roots};
use crate::pod::{ContainerId, ContainerName, Generation, Pod};
use crate::runtime::engine::Engine;
use crate::sys::cgroup::Cgroups;

/// The version of both files' format.
pub const VERSION: u32 = 1;

/// What a monitor is to do. Written by the daemon before the monitor is spawned, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorSpec {
    /// [`VERSION`].
    pub version: u32,
    /// The boot in which this was written.
    pub boot_id: String,
    /// The name of this run for runc.
    pub id: ContainerId,
    /// The Pod.
    pub pod: Pod,
    /// Which of its containers.
    pub container: ContainerName,
    /// The restart count that this run has: 0 for the first.
    pub attempt: u32,
    /// All roots.
    pub roots: Roots,
    /// What runs it.
    pub engine: Engine,
    /// The image as docker knows it, where its reference is not what docker knows: a digest that an archive gave it.
    #[serde(default)]
    pub image: Option<String>,
    /// The parent of all Pod cgroups, without slashes at its ends: `podstrap`.
    pub cgroup_root: String,
    /// The host's control groups, as the daemon has found them.
    #[serde(default)]
    pub cgroups: Cgroups,
    /// A log file is rotated when it would grow beyond this many bytes.
    pub log_max_bytes: u64,
    /// How many log files of one run are kept, the live one included.
    pub log_max_files: u32,
    /// The addresses of a cluster's name servers, for `dnsPolicy: ClusterFirst`.
    #[serde(default)]
    pub cluster_dns: Vec<String>,
    /// The domain of the cluster.
    #[serde(default = "cluster_domain")]
    pub cluster_domain: String,
}

/// The usual domain of a cluster: `cluster.local`.
pub fn cluster_domain() -> String {
    "cluster.local".to_owned()
}

impl MonitorSpec {
    /// The spec of a run, if it is there and whole.
    pub fn read(dir: &AttemptDir) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.spec()).ok()?).ok()
    }

    /// Whether the spec of a run is there, whole, and of this version.
    pub fn is_readable(dir: &AttemptDir) -> bool {
        Self::read(dir).is_some_and(|spec| spec.version == VERSION)
    }
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid in the host's pid namespace.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks after boot at which the process started.
    pub start_ticks: u64,
}

/// What a monitor has seen so far. Replaced whole by rename at every change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// The boot in which this was written.
    pub boot_id: String,
    /// The monitor.
    pub monitor: ProcessId,
    /// How far the container has come.
    pub phase: RecordPhase,
    /// The container's init, once it runs.
    pub init: Option<ProcessId>,
    /// docker's id of the container, once there is one.
    #[serde(default)]
    pub container: Option<String>,
    /// The image's id (`sha256:…`), once it was resolved.
    pub image_id: Option<String>,
    /// What `lifecycle.stopSignal`, else its image (or nobody: then TERM) says it is stopped by, once that is known.
    #[serde(default)]
    pub stop_signal: Option<i32>,
    /// What the host did not allow but the container can do without, such as a negative oom_score_adj.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// When the container's process was started: Unix time in milliseconds.
    pub started_unix_ms: Option<i64>,
    /// The same on CLOCK_BOOTTIME, in milliseconds.
    pub started_boot_ms: Option<u64>,
    /// When the container's end was seen: Unix time in milliseconds.
    pub finished_unix_ms: Option<i64>,
    /// The same on CLOCK_BOOTTIME, in milliseconds.
    pub finished_boot_ms: Option<u64>,
    /// How it ended.
    pub end: Option<End>,
    /// What the container left in the file at `terminationMessagePath`, or the end of its log.
    #[serde(default)]
    pub termination_message: Option<String>,
}

impl Record {
    /// A record in which nothing stands yet but who writes it.
    pub fn new(boot_id: String, monitor: ProcessId, phase: RecordPhase) -> Self {
        Self {
            version: VERSION,
            boot_id,
            monitor,
            phase,
            init: None,
            container: None,
            image_id: None,
            stop_signal: None,
            warnings: Vec::new(),
            started_unix_ms: None,
            started_boot_ms: None,
            finished_unix_ms: None,
            finished_boot_ms: None,
            end: None,
            termination_message: None,
        }
    }

    /// What the monitor of a run has written, if it is whole and of this boot.
    pub fn read(dir: &AttemptDir, boot_id: &str) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(dir.record()).ok()?).ok()?;
        (record.version == VERSION && record.boot_id == boot_id).then_some(record)
    }
}

/// One run that has a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which container.
    pub container: ContainerName,
    /// Which run.
    pub attempt: u32,
    /// Its directory.
    pub dir: AttemptDir,
}

/// The runs of a generation that have a directory, in order; what cannot be read has none.
pub fn attempts(roots: &Roots, generation: &Generation) -> Vec<Attempt> {
    read_attempts(roots, generation).unwrap_or_default()
}

/// The same for those who would take what is not told for something that is not there.
pub fn read_attempts(roots: &Roots, generation: &Generation) -> io::Result<Vec<Attempt>> {
    let containers = roots.containers(generation);
    let mut found = Vec::new();
    for container in names(&containers)? {
        let mut numbers: Vec<u32> =
            names(&containers.join(&container))?.iter().filter_map(|n| n.parse().ok()).collect();
        numbers.sort_unstable();
        let container = ContainerName::new(container);
        found.extend(numbers.into_iter().map(|attempt| Attempt {
            container: container.clone(),
            attempt,
            dir: roots.attempt(generation, &container, attempt),
        }));
    }
    Ok(found)
}

/// The generations that have a directory; what cannot be read has none.
pub fn generations(roots: &Roots) -> Vec<Generation> {
    read_generations(roots).unwrap_or_default()
}

/// The same for those who would take what is not told for something that is not there.
pub fn read_generations(roots: &Roots) -> io::Result<Vec<Generation>> {
    Ok(names(&roots.pods())?.into_iter().map(Generation::new).collect())
}

/// The names in a directory that are text, in order; a missing directory has none.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// How far a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordPhase {
    /// The root is being mounted, the bundle written, runc called.
    Preparing,
    /// The container's init runs.
    Running,
    /// The container has ended; what it leaves behind is being cleared away. The monitor ends when that is done.
    Ended,
}

/// How a run of a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Its init exited.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// Its init was killed by a signal.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// The kernel's OOM killer did it (a memory limit was hit).
        oom: bool,
    },
    /// It never ran.
    NotStarted {
        /// A reason as Kubernetes names it: `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`.
        reason: String,
        /// What failed, and what can be done.
        message: String,
    },
    /// It is gone, and nobody saw how: its monitor was killed.
    Lost,
}
