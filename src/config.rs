//! What `podstrap run` has been told, once it is known to be possible: every default filled in, every path absolute.
//!
//! The typed-in form is `cli::args::RunArgs`; nothing after it looks at the command line again.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::paths::{CniPaths, Roots};
use crate::pod::NodeName;
use crate::pod::node::NodeFacts;

/// The settings of one daemon. They do not change while it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunConfig {
    /// The directories of manifests, in the order of the command line; absolute. Empty only where there are URLs, or where Pods
    /// are only to be stopped.
    pub manifest_dirs: Vec<PathBuf>,
    /// The URLs of manifests, in the order of the command line.
    pub manifest_urls: Vec<ManifestUrl>,
    /// How all URLs are asked.
    pub asking: Asking,
    /// Where everything lies.
    pub roots: Roots,
    /// The directory of image archives.
    pub image_dir: PathBuf,
    /// Which runtime is asked for.
    pub runtime: RuntimeChoice,
    /// The docker CLI that is asked for; absolute.
    pub docker_binary: Option<PathBuf>,
    /// The node's name: a DNS-1123 subdomain.
    pub node: NodeName,
    /// What a DaemonSet may ask of this node.
    pub facts: NodeFacts,
    /// What becomes of the Pods when the daemon is told to end.
    pub on_exit: OnExit,
    /// From one full reading of the sources to the next, in milliseconds. At least 1000.
    pub rescan_ms: u64,
    /// When containers are started again.
    pub backoff: BackOff,
    /// The parent of all Pod cgroups, without slashes at its ends.
    pub cgroup_root: String,
    /// A manifest file larger than this many bytes is refused.
    pub max_manifest_bytes: u64,
    /// What the absence of a manifest directory means.
    pub missing_dir: MissingDir,
    /// Manifests that do not belong to root, or that everybody may write to, count too.
    pub allow_foreign: bool,
    /// The registry auth file that pulls are given.
    pub authfile: Option<PathBuf>,
    /// A log file is rotated when it would grow beyond this many bytes.
    pub log_max_bytes: u64,
    /// How many log files of one run of a container are kept, the live one included. At least 1.
    pub log_max_files: u32,
    /// Where the host's CNI networks and plugins are; absolute.
    pub cni: CniPaths,
    /// The name servers of `dnsPolicy: ClusterFirst`; none: that policy is as `Default`.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain: a DNS-1123 subdomain.
    pub cluster_domain: String,
    /// Where the health endpoint listens; `None`: nowhere.
    pub healthz: Option<SocketAddr>,
    /// Where Pods are shown; `None`: nowhere.
    pub mirror: Option<MirrorConfig>,
}

/// `--kubeconfig` and `--register-node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    /// How to reach the API server; absolute.
    pub kubeconfig: PathBuf,
    /// Make the Node, and keep it.
    pub register_node: bool,
}

impl RunConfig {
    /// Whether Pods are to be run, and not only stopped.
    pub fn has_sources(&self) -> bool {
        !(self.manifest_dirs.is_empty() && self.manifest_urls.is_empty())
    }
}

/// `--manifest-url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestUrl {
    /// What is asked: http or https, without user information and fragment.
    pub url: String,
    /// The same for people, without its query.
    pub shown: String,
    /// The only digest that the answer may have: 64 lower-case hexadecimal digits.
    pub sha256: Option<String>,
}

/// How manifest URLs are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// The headers that each is sent.
    pub headers: Vec<Header>,
    /// PEM certificates that are trusted in place of the host's; absolute.
    pub ca: Option<PathBuf>,
    /// From one answer to the next question, in milliseconds. At least 1000.
    pub period_ms: u64,
}

/// A header of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value, or the file that has it.
    pub value: HeaderValue,
}

/// A header's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeaderValue {
    /// Itself.
    Text(String),
    /// A file that holds it; blanks around it do not count. Read anew each time, so that a token may change.
    File(PathBuf),
}

/// `--runtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// runc where it is usable, else docker.
    Auto,
    /// runc.
    Runc,
    /// docker.
    Docker,
}

/// `--on-exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// The Pods run on; the next daemon adopts them.
    Keep,
    /// The Pods are stopped gracefully first.
    Stop,
}

/// `--on-missing-dir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingDir {
    /// A directory that two readings in a row find absent has no Pods any more.
    Remove,
    /// Its Pods run on.
    Keep,
}

/// The waits between restarts: none before the first, then `initial_ms`, doubling up to `max_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// The first wait, in milliseconds. At least 1.
    pub initial_ms: u64,
    /// The longest wait, in milliseconds. Not less than the first.
    pub max_ms: u64,
}
