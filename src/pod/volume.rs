//! The volumes of a Pod: where each comes from and what is written into it. How a container mounts one is `container`'s.

use serde::{Deserialize, Serialize};

use super::quantity::Bytes;
use super::reference::Reference;
use super::{ContainerName, PullPolicy};

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Volume {
    /// A path of the host.
    HostPath {
        /// Absolute, without `..`.
        path: String,
        /// What must be there, or is made.
        kind: HostPathType,
    },
    /// A directory of its own, mode 0777, that lives as long as the Pod's generation.
    EmptyDir {
        /// On the disk, or in memory.
        medium: Medium,
        /// `sizeLimit`.
        size_limit: Option<Bytes>,
    },
    /// Files made of the Pod's own fields, and of ConfigMap and Secret documents of the same source: `downwardAPI`,
    /// `configMap`, `secret` and `projected` are all of this kind.
    Projected {
        /// What is projected, in order; a later file of the same path wins.
        sources: Vec<ProjectedSource>,
        /// `defaultMode`.
        default_mode: u32,
    },
    /// The files of an image, read-only.
    Image {
        /// The image.
        reference: Reference,
        /// When to pull.
        pull_policy: PullPolicy,
    },
}

/// `emptyDir.medium`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Medium {
    /// `""`: the state directory's disk.
    Disk,
    /// `Memory`: a tmpfs.
    Memory,
    /// `HugePages` or `HugePages-SIZE`: a hugetlbfs with pages of this many bytes (0: the host's default).
    HugePages(u64),
}

/// One source of a projected volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProjectedSource {
    /// Fields of the Pod.
    DownwardApi(Vec<DownwardFile>),
    /// Keys of a ConfigMap or Secret.
    Object {
        /// Which.
        object: ObjectRef,
        /// Which keys go where; empty: every key under its own name.
        items: Vec<KeyToPath>,
        /// A missing object or key is no error.
        optional: bool,
    },
}

/// One file of a downwardAPI source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownwardFile {
    /// Relative to the volume, without `..`.
    pub path: String,
    /// What it says.
    pub field: FieldRef,
    /// Its own mode.
    pub mode: Option<u32>,
}

/// One entry of `items`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyToPath {
    /// The key.
    pub key: String,
    /// Relative to the volume, without `..`.
    pub path: String,
    /// Its own mode.
    pub mode: Option<u32>,
}

/// A ConfigMap or Secret of the Pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Which kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

/// The kinds of objects that hold data for Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// ConfigMap
    ConfigMap,
    /// Secret
    Secret,
}

impl ObjectKind {
    /// The name as the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// A value that the Pod's own fields give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldRef {
    /// `metadata.name`, with the node's suffix.
    Name,
    /// `metadata.namespace`
    Namespace,
    /// `metadata.uid`
    Uid,
    /// `metadata.labels` as lines (volumes only).
    Labels,
    /// `metadata.annotations` as lines (volumes only).
    Annotations,
    /// `metadata.labels['KEY']`
    Label(String),
    /// `metadata.annotations['KEY']`
    Annotation(String),
    /// `spec.nodeName`
    NodeName,
    /// `spec.serviceAccountName`: always empty here.
    ServiceAccountName,
    /// `status.hostIP`
    HostIp,
    /// `status.hostIPs`
    HostIps,
    /// `status.podIP`
    PodIp,
    /// `status.podIPs`
    PodIps,
    /// `resourceFieldRef`
    Resource {
        /// Whose; in env `None` is the container itself.
        container: Option<ContainerName>,
        /// `limits.cpu`, `requests.memory` …
        resource: String,
        /// In thousandths of the unit (cores or bytes); the value is divided by it and rounded up.
        divisor_milli: u64,
    },
}

/// `hostPath.type`, by the names of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPathType {
    /// `""`: no check; a missing path becomes a directory, as docker and containerd make one.
    Unset,
    /// A directory is made (0755, with its parents) where nothing is.
    DirectoryOrCreate,
    /// Must be a directory.
    Directory,
    /// An empty file is made (0644, not its parents) where nothing is.
    FileOrCreate,
    /// Must be a regular file.
    File,
    /// Must be a socket.
    Socket,
    /// Must be a character device.
    CharDevice,
    /// Must be a block device.
    BlockDevice,
}
