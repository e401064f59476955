//! Operations → command lines and bundles; output → facts. Spawns nothing and writes nothing.
//!
//! What the host allows is an argument ([`Host`]), so everything here gives the same answer on any machine.

pub mod bundle;
pub mod capabilities;
pub mod docker;
pub mod engine;
pub mod environment;
pub mod etc;
pub mod labels;
pub mod linux;
pub mod mounts;
pub mod pod_group;
pub mod process;
pub mod profile;
pub mod projection;
pub mod resources;
pub mod runc;
pub mod seccomp;
pub mod user;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// What the monitor found out about the host and about itself before it asked for a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Bit N is set when capability N can be given to a container.
    pub capabilities: u64,
    /// Our own hard limit of open files.
    pub open_files: u64,
    /// Our own oom_score_adj: without CAP_SYS_RESOURCE a container cannot have less.
    pub oom_score_adj: i32,
    /// Bytes of memory that the machine has.
    pub memory: u64,
    /// Whether control groups are v2.
    pub cgroup_v2: bool,
    /// The host's files that a container is shown.
    pub files: HostFiles,
    /// The host's device nodes; looked up only for a privileged container.
    pub devices: Vec<Device>,
    /// Sizes of huge pages in bytes that control groups can limit.
    pub page_sizes: Vec<u64>,
    /// The AppArmor profiles that are loaded; `None` where the host has no AppArmor. Looked up only when asked for.
    pub app_armor: Option<Vec<String>>,
    /// Whether the host has SELinux.
    pub selinux: bool,
    /// The running kernel's version and patch level.
    pub kernel: (u32, u32),
}

/// A Pod's own namespaces and addresses: what RUN/pods/GENERATION/sandbox.json says (written by `helper::sandbox`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Sandbox {
    /// The boot in which it was made.
    pub boot_id: String,
    /// The network namespace's file.
    pub net: Option<PathBuf>,
    /// The IPC namespace's file.
    pub ipc: Option<PathBuf>,
    /// The UTS namespace's file.
    pub uts: Option<PathBuf>,
    /// The pid namespace's file, where the containers share one.
    pub pid: Option<PathBuf>,
    /// The Pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// The file system that is /dev/shm in all containers of the IPC namespace.
    #[serde(default)]
    pub shm: Option<PathBuf>,
    /// docker's id of the container that holds the namespaces.
    #[serde(default)]
    pub container: Option<String>,
}

/// Where one of a container's volume mounts comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The path on the host.
    pub path: PathBuf,
    /// The volume cannot be written to, whatever the mount says.
    pub read_only: bool,
    /// Nothing in it can be executed.
    pub no_exec: bool,
}

/// What is made on the host for a container beside its volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// For /etc/hosts.
    pub hosts: Option<PathBuf>,
    /// For /etc/hostname.
    pub hostname: Option<PathBuf>,
    /// For /etc/resolv.conf.
    pub resolv_conf: Option<PathBuf>,
    /// For `terminationMessagePath`.
    pub termination_message: Option<PathBuf>,
    /// For /dev/shm of a Pod whose containers share it.
    pub shm: Option<PathBuf>,
}

/// A device node of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its path, the same in the container.
    pub path: PathBuf,
    /// A block device; otherwise a character device.
    pub block: bool,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}
