//! The settings of one instance, validated and complete: what `run` was asked to do.

use std::path::PathBuf;

use crate::paths::Roots;
use crate::pod::NodeName;

/// Every setting of `podstrap run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunConfig {
    /// Directories of manifests, in order.
    pub manifest_dirs: Vec<PathBuf>,
    /// Where state and logs lie.
    pub roots: Roots,
    /// Archives to load.
    pub image_dir: PathBuf,
    /// Which runtime.
    pub runtime: RuntimeChoice,
    /// This node, in lower case.
    pub node_name: NodeName,
    /// What a TERM or INT means for the Pods.
    pub on_exit: OnExit,
    /// Milliseconds between two scans of a directory.
    pub rescan_ms: u64,
    /// The second restart's delay in milliseconds (the first is immediate).
    pub backoff_initial_ms: u64,
    /// The longest delay in milliseconds.
    pub backoff_max_ms: u64,
    /// The parent of all Pod cgroups, without slashes at its ends.
    pub cgroup_root: String,
    /// The bound of a manifest file in bytes.
    pub max_manifest_bytes: usize,
    /// What becomes of the Pods of a directory that is gone.
    pub on_missing_dir: OnMissingDir,
    /// Credentials for pulls.
    pub authfile: Option<PathBuf>,
    /// A log file is rotated when it would grow beyond this many bytes.
    pub log_max_bytes: u64,
    /// Log files kept for one run of a container, the live one included.
    pub log_max_files: u32,
}

/// `--runtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// runc where it is usable.
    Auto,
    /// runc.
    Runc,
    /// docker.
    Docker,
}

/// `--on-exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// Pods go on.
    Keep,
    /// Pods are stopped, the last one first.
    Stop,
}

/// `--on-missing-dir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissingDir {
    /// They are stopped once it was seen to be absent twice.
    Remove,
    /// They go on.
    Keep,
}
