//! The namespaces that belong to a Pod and not to one of its containers, and the Pod's network: `podstrap sandbox up` makes
//! them, `podstrap sandbox down` ends them, `podstrap pause` is the first process of a pid namespace that containers share.
//!
//! Namespaces are kept by mounts, so nothing but that one process has to live for them. Any of these helpers may be
//! killed at any moment: whatever it leaves behind is found by its name (the Pod's directory, the CNI container id),
//! and the next one ends it before it does anything else.

pub mod cni;
mod docker;
mod error;
mod namespaces;

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::error::SandboxError;
use super::text;
use crate::paths::{CniPaths, Roots};
use crate::pod::{Generation, Pod};
use crate::runtime::docker::Docker;
use crate::runtime::etc::{self, Cluster};
use crate::sys;
use crate::sys::atomic::{self, Durability};
use crate::sys::lock::{self, Lock};

/// RUN/pods/GENERATION/sandbox.json: what monitors and the status need to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Format version: 1.
    pub version: u32,
    /// The boot in which it was made.
    pub boot_id: String,
    /// The network namespace's file; `None` under hostNetwork.
    pub net: Option<PathBuf>,
    /// The IPC namespace's file; `None` under hostIPC.
    pub ipc: Option<PathBuf>,
    /// The UTS namespace's file; `None` under hostNetwork.
    pub uts: Option<PathBuf>,
    /// The pid namespace's file, where the containers share one.
    pub pid: Option<PathBuf>,
    /// The Pod's addresses, the first being `status.podIP`; empty under hostNetwork.
    pub addresses: Vec<IpAddr>,
    /// The tmpfs that all containers have as /dev/shm; `None` under hostIPC.
    #[serde(default)]
    pub shm: Option<PathBuf>,
    /// The process that holds `pid`, or with docker all of them.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// docker's id of the container that holds the namespaces.
    #[serde(default)]
    pub container: Option<String>,
    /// The docker that has it: a later daemon may run containers by another program.
    #[serde(default)]
    pub docker: Option<Docker>,
}

impl Sandbox {
    /// Whether it was made for containers that this docker runs, or (`None`) for runc's.
    pub fn is_for(&self, docker: Option<&Docker>) -> bool {
        self.docker.as_ref().map(|d| &d.binary) == docker.map(|d| &d.binary)
    }
}

/// The first process of a shared pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Its pid in the host's namespace.
    pub pid: i32,
    /// When it started, in clock ticks after boot: a pid alone may have been reused.
    pub start_ticks: u64,
}

/// What is to be made or ended; JSON on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// All roots.
    pub roots: Roots,
    /// This boot's id.
    pub boot_id: String,
    /// The Pod.
    pub pod: Pod,
    /// Where networks and plugins are.
    #[serde(default)]
    pub cni: CniPaths,
    /// The cluster's domain, for `setHostnameAsFQDN`.
    #[serde(default = "cluster_domain")]
    pub cluster_domain: String,
    /// The parent of all Pod cgroups, without slashes at its ends: where the first process of a shared pid namespace is
    /// counted. `None` leaves it in the helper's own.
    #[serde(default)]
    pub cgroup_root: Option<String>,
    /// docker, where that runs the Pod's containers: a container of its own then holds the namespaces.
    #[serde(default)]
    pub docker: Option<Docker>,
}

/// The default of `--cluster-domain`, as the kubelet's.
fn cluster_domain() -> String {
    "cluster.local".to_owned()
}

/// Makes what the Pod needs, or finds it made. What a former try has left half done is ended and made anew.
///
/// To be called in a process with one thread and no other children: it enters namespaces for a moment, and takes every
/// child's exit.
pub fn up(spec: &SandboxSpec) -> Result<Sandbox, SandboxError> {
    let generation = &spec.pod.generation;
    let _lock = lock(&spec.roots, generation)?;
    let record = spec.roots.sandbox(generation);
    if let Some(sandbox) = read::<Sandbox>(&record)?.filter(|s| namespaces::is_whole(s, spec)) {
        return Ok(sandbox);
    }
    end(spec)?;
    let network = match cni::Network::of(spec) {
        _ if spec.pod.host_network => None,
        // docker has a network of its own for Pods of a host that has none for them.
        Err(SandboxError::NoNetwork(_)) if spec.docker.is_some() => None,
        other => Some(other?),
    };
    let made = make(spec, network.as_ref());
    if made.is_err() {
        // The first error is the one to tell; what could not be ended now will be by the next `up` or `down`.
        let _ = end(spec);
    }
    made
}

fn make(spec: &SandboxSpec, network: Option<&cni::Network>) -> Result<Sandbox, SandboxError> {
    let cluster = Cluster { dns: &[], domain: &spec.cluster_domain };
    let host_name = etc::host_name(&spec.pod, cluster).map_err(SandboxError::LongName)?;
    let mut sandbox = match &spec.docker {
        None => namespaces::make(spec, &host_name)?,
        Some(docker) => docker::make(spec, docker, &host_name, network.is_none() && !spec.pod.host_network)?,
    };
    if let (Some(network), Some(net)) = (network, &sandbox.net) {
        sandbox.addresses = cni::add(spec, network, net)?;
    }
    // Last: ending a plugin that takes too long ends every child of this process.
    if spec.docker.is_none() {
        namespaces::share_processes(spec, &mut sandbox)?;
    }
    write(&spec.roots.sandbox(&spec.pod.generation), &sandbox)?;
    Ok(sandbox)
}

/// Ends all that `up` makes, whole or half made. Nothing there is success. When the network cannot be left, the namespaces
/// stay for the next try, because plugins look into them.
pub fn down(spec: &SandboxSpec) -> Result<(), SandboxError> {
    let generation = &spec.pod.generation;
    if !spec.roots.pod(generation).exists() {
        return Ok(());
    }
    let _lock = lock(&spec.roots, generation)?;
    end(spec)
}

fn end(spec: &SandboxSpec) -> Result<(), SandboxError> {
    let (roots, generation) = (&spec.roots, &spec.pod.generation);
    cni::outlast(spec)?;
    namespaces::end_processes(spec)?;
    let net = namespaces::net_file(roots, generation);
    cni::delete(spec, &net)?;
    // A daemon before ours may have run the Pod by another program.
    let made_by = read::<Sandbox>(&roots.sandbox(generation))?.and_then(|s| s.docker);
    if let Some(docker) = made_by.as_ref().or(spec.docker.as_ref()) {
        docker::end(spec, docker)?;
    }
    namespaces::end(roots, generation)?;
    remove(&roots.sandbox(generation))
}

/// Waits for the helper before us, if there is one: the daemon that started it may have been killed.
fn lock(roots: &Roots, generation: &Generation) -> Result<Lock, SandboxError> {
    let directory = roots.pod(generation);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(|e| SandboxError::file("make", &directory, e))?;
    let path = roots.sandbox_lock(generation);
    lock::wait(&path).map_err(|e| SandboxError::file("lock", &path, e))
}

/// Reads a record of ours; `None` when there is none, or one that another version wrote in another way.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SandboxError> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(SandboxError::file("read", path, e)),
    }
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), SandboxError> {
    serde_json::to_vec(value)
        .map_err(io::Error::from)
        .and_then(|bytes| atomic::write(path, &bytes, 0o600, Durability::Process))
        .map_err(|e| SandboxError::file("write", path, e))
}

fn remove(path: &Path) -> Result<(), SandboxError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(SandboxError::file("remove", path, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The largest request that is read, in bytes; a Pod cannot be larger.
const SPEC: u64 = 16 * 1024 * 1024;

/// `podstrap sandbox up`: exit code 0 when all is there; 1, and the reason in a line on standard output, when it is not.
pub fn main_up() -> ExitCode {
    answer(request().and_then(|spec| up(&spec).map(drop)))
}

/// `podstrap sandbox down`: exit code 0 when nothing is left; 1, and the reason, when something is.
pub fn main_down() -> ExitCode {
    answer(request().and_then(|spec| down(&spec)))
}

/// `podstrap sandbox check`: exit code 0 when the network is still as its plugins made it; 1, and the reason, when not.
pub fn main_check() -> ExitCode {
    answer(request().and_then(|spec| cni::check(&spec)))
}

/// `podstrap pause`: the first process of a pid namespace that containers share. `podstrap pause container`: the process of
/// a container that holds a Pod's namespaces.
pub fn main_pause() -> ExitCode {
    match std::env::args_os().nth(2) {
        Some(what) if what == "container" => sys::namespace::hold(),
        Some(_) | None => sys::namespace::be_init(),
    }
}

fn request() -> Result<SandboxSpec, SandboxError> {
    let mut bytes = Vec::new();
    io::stdin().take(SPEC).read_to_end(&mut bytes).map_err(SandboxError::Request)?;
    serde_json::from_slice(&bytes).map_err(|e| SandboxError::Request(e.into()))
}

fn answer(result: Result<(), SandboxError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Nobody may be listening any more; the exit code still speaks.
            let _ = writeln!(io::stdout(), "{}", text::escape(&e.to_string()));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::{Namespace, NodeName, PodKey, PodName};

    fn pod() -> Pod {
        let key = PodKey { namespace: Namespace::new("ns"), name: PodName::new("web-node1") };
        let mut pod = Pod::new(key, Generation::new("0".repeat(32)), NodeName::new("node1"), Vec::new());
        pod.host_network = false;
        pod
    }

    #[test]
    fn a_request_may_leave_out_what_has_a_default() {
        let roots = Roots { run: "/r".into(), state: "/s".into(), log: "/l".into() };
        let text = serde_json::json!({ "roots": roots, "boot_id": "b", "pod": pod() });
        let spec: SandboxSpec = serde_json::from_value(text).unwrap();
        assert_eq!(spec.cni, CniPaths::default());
        assert_eq!(spec.cluster_domain, "cluster.local");
    }
}
