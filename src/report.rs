//! What the daemon publishes and every reading verb reads: one file per Pod under RUN/status, shaped like `v1.Pod`.
//!
//! The daemon writes a file only when its content changes, by rename, so a reader never sees half of one and can wait for
//! changes with inotify. The files outlive the daemon; `daemon.json` says whether one lives (its lock is the proof).

pub mod line;
pub mod metrics;
pub mod worked;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::pod::{Generation, Namespace, Origin, PodName, Uid};

/// RUN/status/daemon.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonStatus {
    /// podstrap's version.
    pub version: String,
    /// The daemon's pid.
    pub pid: i32,
    /// The boot in which it was started.
    pub boot_id: String,
    /// RFC 3339.
    pub started_at: String,
    /// The node's name: the suffix of every Pod's name.
    pub node_name: String,
    /// `runc` or `docker`.
    pub runtime: String,
    /// One entry per source.
    pub sources: Vec<SourceStatus>,
    /// The roots, so that `logs` and others need only `--run-dir`.
    pub roots: crate::paths::Roots,
    /// The parent of all Pod cgroups, without slashes at its ends.
    #[serde(default = "default_cgroup_root")]
    pub cgroup_root: String,
    /// Absolute path of the runtime's binary, for `exec`.
    pub runtime_binary: std::path::PathBuf,
    /// How manifests are read, so that `plan` reads them alike.
    #[serde(default)]
    pub reading: Reading,
    /// DaemonSets and StatefulSets.
    #[serde(default)]
    pub sets: Vec<SetStatus>,
    /// What is known of this node by those who choose nodes.
    #[serde(default)]
    pub node: Option<crate::pod::node::NodeFacts>,
    /// Lines about the host or the instance that an operator should know (`vulnerable-runtime: …`).
    pub warnings: Vec<String>,
}

/// The options that decide what a manifest file is taken for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// `--max-manifest-bytes`.
    pub max_bytes: u64,
    /// `--on-missing-dir keep`.
    pub keep_missing: bool,
    /// `--allow-foreign-manifests`.
    pub allow_foreign: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self { max_bytes: 512 << 10, keep_missing: false, allow_foreign: false }
    }
}

fn default_cgroup_root() -> String {
    "podstrap".to_owned()
}

/// How a DaemonSet or StatefulSet fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetStatus {
    /// `DaemonSet` or `StatefulSet`.
    pub kind: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
    /// File and document.
    pub origin: Origin,
    /// The first ordinal.
    #[serde(default)]
    pub start: u32,
    /// How many Pods there should be here.
    pub desired: u32,
    /// How many there are.
    pub current: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// How many have been so for `minReadySeconds`.
    pub available: u32,
    /// How many are of the template's present version.
    pub updated: u32,
    /// The Pods that are not.
    pub outdated: Vec<String>,
    /// All its Pods that live, with the node's suffix.
    pub pods: Vec<String>,
    /// `RollingUpdate` or `OnDelete`.
    pub update_strategy: String,
    /// Pods below this place are not replaced.
    pub partition: u32,
    /// The template's present version.
    pub update_revision: String,
    /// The version that was settled last.
    pub current_revision: String,
    /// By which term this node does not fit.
    pub not_here: Option<String>,
    /// Warnings about its document.
    pub warnings: Vec<String>,
    /// Its document is refused as it is now; the last good one counts.
    pub is_kept: bool,
    /// What is wrong with its document or its Pods.
    pub problems: Vec<String>,
}

impl SetStatus {
    /// Whether every Pod is there, is available and, as far as they are to be replaced at all, of the present version.
    pub fn is_complete(&self) -> bool {
        let to_update = match self.update_strategy.as_str() {
            "OnDelete" => 0,
            _ => self.desired.saturating_sub(self.partition),
        };
        self.current == self.desired && self.available == self.desired && self.updated >= to_update
    }
}

/// How a source fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The directory (escaped for display).
    pub path: String,
    /// It has been read completely at least once since the daemon started.
    pub synced: bool,
    /// Why it cannot be read now.
    pub error: Option<String>,
    /// Entries that are passed over, with the reason: sub-directories, odd names, fifos.
    pub ignored: Vec<String>,
}

/// RUN/status/*.json but daemon.json: one Pod, or one document that was refused and has no Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatusFile {
    /// The Pod's namespace; `None` where a refused document did not tell.
    pub namespace: Option<Namespace>,
    /// The Pod's name with the node's suffix; `None` where a refused document did not tell.
    pub name: Option<PodName>,
    /// The generation that lives (or waits to); `None` for a refused document without a Pod.
    pub generation: Option<Generation>,
    /// Its UID.
    pub uid: Option<Uid>,
    /// File and document.
    pub origin: Origin,
    /// How the file stands against what runs.
    pub manifest: ManifestState,
    /// The kubectl word: `Running`, `CrashLoopBackOff`, `ContainerCreating`, `Terminating`, `Refused` …
    pub summary: String,
    /// What an operator should read next to the word: the failing container, the cause, the command that mends it.
    pub message: Option<String>,
    /// RFC 3339: first seen by this or an earlier daemon of this boot.
    pub created_at: Option<String>,
    /// RFC 3339, set while it is being stopped.
    pub deletion_timestamp: Option<String>,
    /// The Pod as `v1.Pod` has it: apiVersion, kind, metadata, spec (as given, with the node's suffix) and status.
    /// Empty for a refused document.
    pub pod: serde_json::Value,
}

/// How the manifest file stands against what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum ManifestState {
    /// The file's content is what runs, or what is being started.
    Current {
        /// Warnings: unknown fields, fields that are ignored.
        warnings: Vec<String>,
    },
    /// The file was changed; the old generation is being replaced, or kept until the new image is at hand.
    Replacing {
        /// What it waits for.
        waits_for: Option<String>,
    },
    /// The file's content was refused (or is suspect); the last good generation goes on.
    Kept {
        /// Every problem, rendered with file, line, column, source line and caret.
        problems: Vec<String>,
    },
    /// The file's content was refused and no earlier generation runs.
    Refused {
        /// Every problem, rendered with file, line, column, source line and caret.
        problems: Vec<String>,
    },
    /// The manifest is gone; the Pod is being stopped.
    Removed,
    /// Stopped by `podstrap down`; it stays so until its manifest changes or the daemon is started anew.
    Held,
}

/// RUN/mirror.json: how mirror Pods fare. It is there only where a kubeconfig was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorStatus {
    /// The API server.
    pub server: String,
    /// Why nothing can be shown there now.
    pub error: Option<String>,
    /// Why the Node's Lease cannot be renewed.
    pub lease: Option<String>,
    /// What the server refuses of a Pod, by `NAMESPACE/NAME`.
    pub pods: BTreeMap<String, String>,
}

/// Container statuses by name, as `status.containerStatuses[]` has them; kept typed for the table views.
pub type Labels = BTreeMap<String, String>;

/// The parts of `status.containerStatuses[]` that tables need; read out of [`PodStatusFile::pod`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Passes its readiness probe (or has none and runs).
    pub ready: bool,
    /// Running, and its startup probe (if any) has succeeded.
    pub started: Option<bool>,
    /// How often it was started again.
    pub restart_count: u32,
    /// The image as the manifest names it.
    pub image: String,
    /// The image's id.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// `runc://ID`.
    #[serde(rename = "containerID", default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Exactly one of its members is set.
    pub state: ContainerState,
    /// The former life, if there was one (`terminated`).
    #[serde(default)]
    pub last_state: ContainerState,
}

/// `v1.ContainerState`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    /// Not running yet, or not running again yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// Ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Terminated>,
}

/// `v1.ContainerStateWaiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// `ContainerCreating`, `CrashLoopBackOff`, `ErrImagePull` …
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `v1.ContainerStateRunning`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// RFC 3339.
    pub started_at: String,
}

/// `v1.ContainerStateTerminated`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// 128 + signal where a signal killed it.
    pub exit_code: i32,
    /// The signal, if one killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerStatusUnknown`, `StartError` …
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// RFC 3339, if it ever ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// `runc://ID`.
    #[serde(rename = "containerID", default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}
