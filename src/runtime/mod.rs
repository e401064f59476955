//! Operations → command lines and bundles; output → facts. Spawns nothing and writes nothing.
//!
//! What the host allows is an argument ([`Host`]), so everything here gives the same answer on any machine.

pub mod bundle;
pub mod capabilities;
pub mod mounts;
pub mod process;
pub mod resources;
pub mod runc;
pub mod seccomp;
pub mod user;

use std::path::PathBuf;

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
}

/// Sources of the three files below /etc that every container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// For /etc/hosts.
    pub hosts: Option<PathBuf>,
    /// For /etc/hostname.
    pub hostname: Option<PathBuf>,
    /// For /etc/resolv.conf.
    pub resolv_conf: Option<PathBuf>,
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
