//! Control groups, v1, hybrid and v2: the last hold on a container whose runtime state is lost, and the place where the
//! limits of a whole Pod stand. Paths are relative to the root of every hierarchy: `podstrap/podGENERATION/ID`.

mod early;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use serde::{Deserialize, Serialize};

use super::doom;
use super::mount::{self, MountPoint};
use super::process::{pidfd_open, pidfd_signal};

/// Which kind of control groups the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Controllers in hierarchies of their own (v1), with or without an empty unified one beside them (hybrid).
    V1,
    /// One unified hierarchy at /sys/fs/cgroup.
    V2,
}

/// What a Pod's group is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `cpu.shares` of v1: 2 … 262144.
    pub cpu_shares: Option<u64>,
    /// Microseconds of cpu time in each period of 100 ms.
    pub cpu_quota: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Sizes of huge pages as control groups name them (`2MB`) and bytes.
    pub huge_pages: Vec<(String, u64)>,
}

impl Limits {
    /// The same as properties of a slice (systemd.resource-control(5)), as whoever makes that takes them.
    pub fn properties(&self, version: Version) -> Vec<String> {
        let cpu = self.cpu_shares.map(|shares| match version {
            Version::V1 => format!("CPUShares={shares}"),
            Version::V2 => format!("CPUWeight={}", weight(shares)),
        });
        // In percent of one cpu, of which systemd takes two decimals.
        let quota = self.cpu_quota.map(|quota| {
            let parts = quota.div_ceil(10);
            format!("CPUQuota={}.{:02}%", parts / 100, parts % 100)
        });
        let memory = self.memory.map(|bytes| format!("MemoryMax={bytes}"));
        [cpu, quota, memory].into_iter().flatten().collect()
    }
}

/// Why the host's control groups cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum CgroupError {
    /// Nothing is mounted.
    Absent,
    /// Controllers that containers need are missing.
    Lacking(Vec<&'static str>),
}

impl fmt::Display for CgroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str(
                "no control groups are mounted at /sys/fs/cgroup; mount cgroup2 there, or the v1 controllers below it",
            ),
            Self::Lacking(names) => write!(
                f,
                "the control group controllers {} are missing; enable them on the kernel's command line",
                names.join(", ")
            ),
        }
    }
}

impl std::error::Error for CgroupError {}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hierarchy {
    mount: PathBuf,
    /// Super block options, `rw,cpu,cpuacct`; nothing of interest for v2.
    options: String,
    unified: bool,
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|o| o == controller)
    }

    /// Whether it is what one sees there: what is mounted over is listed all the same.
    fn is_seen(&self) -> bool {
        statfs(&self.mount)
            .is_ok_and(|fs| matches!(fs.filesystem_type(), CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC))
    }
}

/// The hierarchies that are mounted below /sys/fs/cgroup, where runc looks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

/// The controllers without which a container of ours cannot be limited, counted or cleared away on v1.
const NEEDED: [&str; 5] = ["cpu", "devices", "freezer", "memory", "pids"];

impl Cgroups {
    /// Looks at what is mounted.
    pub fn detect() -> io::Result<Self> {
        let mut found = Self::of(&mount::list()?);
        found.hierarchies.retain(Hierarchy::is_seen);
        Ok(found)
    }

    /// What was found before, as long as all of it is still there; a hierarchy that was mounted since is not seen. A host has a
    /// mount for each container: to look at all of them at every start was a quarter of our own work with two hundred Pods.
    pub fn still_there(self) -> io::Result<Self> {
        let is_there = !self.hierarchies.is_empty() && self.hierarchies.iter().all(Hierarchy::is_seen);
        if is_there { Ok(self) } else { Self::detect() }
    }

    /// The control groups among some mounts.
    pub fn of(mounts: &[MountPoint]) -> Self {
        let hierarchies = mounts
            .iter()
            .filter(|m| m.path.starts_with("/sys/fs/cgroup"))
            .filter(|m| m.kind == b"cgroup" || m.kind == b"cgroup2")
            .map(|m| Hierarchy {
                mount: m.path.clone(),
                options: String::from_utf8_lossy(&m.options).into_owned(),
                unified: m.kind == b"cgroup2",
            })
            .collect();
        Self { hierarchies }
    }

    /// v1 (or hybrid), or v2.
    pub fn version(&self) -> Version {
        if self.hierarchies.iter().any(|h| h.unified && h.mount == Path::new("/sys/fs/cgroup")) {
            Version::V2
        } else {
            Version::V1
        }
    }

    /// Whether containers can be run here.
    pub fn require(&self) -> Result<(), CgroupError> {
        if self.hierarchies.is_empty() {
            return Err(CgroupError::Absent);
        }
        if self.version() == Version::V2 {
            return Ok(());
        }
        let lacking: Vec<_> =
            NEEDED.into_iter().filter(|c| !self.hierarchies.iter().any(|h| h.has(c))).collect();
        if lacking.is_empty() { Ok(()) } else { Err(CgroupError::Lacking(lacking)) }
    }

    /// Makes a Pod's group and sets its limits. Several monitors of one Pod may do this at once: all write the same. Groups
    /// of other controllers are made by runc with the container's own.
    pub fn make_pod(&self, path: &Path, limits: &Limits) -> io::Result<()> {
        let made = match self.version() {
            Version::V1 => self.make_pod_v1(path, limits),
            Version::V2 => make_pod_v2(Path::new("/sys/fs/cgroup"), path, limits),
        };
        doom::done("a Pod's cgroup");
        made
    }

    fn make_pod_v1(&self, path: &Path, limits: &Limits) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            let directory = hierarchy.mount.join(path);
            if hierarchy.has("cpu") {
                fs::create_dir_all(&directory)?;
                if let Some(shares) = limits.cpu_shares {
                    fs::write(directory.join("cpu.shares"), shares.to_string())?;
                }
                if let Some(quota) = limits.cpu_quota {
                    fs::write(directory.join("cpu.cfs_quota_us"), quota.to_string())?;
                }
            }
            if hierarchy.has("memory") {
                fs::create_dir_all(&directory)?;
                if let Some(bytes) = limits.memory {
                    fs::write(directory.join("memory.limit_in_bytes"), bytes.to_string())?;
                }
            }
            if hierarchy.has("hugetlb") && !limits.huge_pages.is_empty() {
                fs::create_dir_all(&directory)?;
                for (size, bytes) in &limits.huge_pages {
                    fs::write(directory.join(format!("hugetlb.{size}.limit_in_bytes")), bytes.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Whether huge pages can be limited here.
    pub fn limits_huge_pages(&self) -> bool {
        match self.version() {
            Version::V1 => self.hierarchies.iter().any(|h| h.has("hugetlb")),
            Version::V2 => fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
                .is_ok_and(|t| t.split_ascii_whitespace().any(|c| c == "hugetlb")),
        }
    }

    fn directories(&self, path: &Path) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.iter().map(move |h| h.mount.join(path))
    }

    /// The processes of a group and of all groups below it, in any hierarchy. A group that is not there has none.
    pub fn processes(&self, path: &Path) -> io::Result<BTreeSet<i32>> {
        let mut pids = BTreeSet::new();
        for directory in self.directories(path) {
            collect_processes(&directory, &mut pids)?;
        }
        Ok(pids)
    }

    /// Kills every process of a group and of those below it; returns how many were there. The caller calls again until
    /// none is left, because a process may fork meanwhile.
    pub fn kill_all(&self, path: &Path) -> io::Result<usize> {
        let held: Vec<(i32, OwnedFd)> =
            self.processes(path)?.into_iter().filter_map(|pid| Some((pid, pidfd_open(pid).ok()?))).collect();
        if held.is_empty() {
            return Ok(0);
        }
        self.thaw(path);
        // A pid that was reused between listing and opening is not in the group any more.
        let still = self.processes(path)?;
        for (_, pidfd) in held.iter().filter(|(pid, _)| still.contains(pid)) {
            match pidfd_signal(pidfd.as_fd(), nix::libc::SIGKILL) {
                Err(e) if e.raw_os_error() != Some(nix::libc::ESRCH) => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
        doom::done("processes killed");
        Ok(held.len())
    }

    /// A frozen process of v1 does not die before it is thawed; on v2 it does, and thawing does no harm.
    fn thaw(&self, path: &Path) {
        for hierarchy in &self.hierarchies {
            let directory = hierarchy.mount.join(path);
            // Not there, or not frozen: nothing to do. A thaw that fails shows as processes that outlive KILL.
            if hierarchy.has("freezer") {
                let _ = fs::write(directory.join("freezer.state"), "THAWED");
            } else if hierarchy.unified {
                let _ = fs::write(directory.join("cgroup.freeze"), "0");
            }
        }
    }

    /// Removes a group and all below it from every hierarchy. An error is the first of all; `EBUSY` means that a process
    /// is still ending: call again.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let mut first = Ok(());
        for directory in self.directories(path) {
            let result = remove_tree(&directory);
            if first.is_ok() {
                first = result;
            }
        }
        doom::done("a cgroup removed");
        first
    }

    /// Makes a group and puts a process into it. On v1 into the hierarchies that count or limit something, where an empty
    /// group takes a process at once (one of cpuset does not).
    pub fn enter(&self, path: &Path, pid: i32) -> io::Result<()> {
        let wanted = |h: &&Hierarchy| {
            h.unified || ["cpu", "freezer", "memory", "pids"].iter().any(|c| h.has(c)) && !h.has("cpuset")
        };
        for hierarchy in self.hierarchies.iter().filter(wanted) {
            let directory = hierarchy.mount.join(path);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Whether any hierarchy still has the group.
    pub fn exists(&self, path: &Path) -> bool {
        self.directories(path).any(|d| d.exists())
    }

    /// How many processes of a group the kernel killed for want of memory; 0 where that cannot be told.
    pub fn oom_kills(&self, path: &Path) -> u64 {
        let file = match self.version() {
            Version::V1 => self
                .hierarchies
                .iter()
                .find(|h| h.has("memory"))
                .map(|h| h.mount.join(path).join("memory.oom_control")),
            Version::V2 => Some(Path::new("/sys/fs/cgroup").join(path).join("memory.events")),
        };
        file.and_then(|f| fs::read_to_string(f).ok()).map_or(0, |text| oom_kill_count(&text))
    }
}

fn oom_kill_count(text: &str) -> u64 {
    text.lines().find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

fn make_pod_v2(root: &Path, path: &Path, limits: &Limits) -> io::Result<()> {
    let mut directory = root.to_owned();
    for part in path.components() {
        // A controller that the host does not have refuses its own line only; a limit that needs it fails below.
        for controller in ["+cpu", "+memory", "+pids", "+cpuset", "+io", "+hugetlb"] {
            let _ = fs::write(directory.join("cgroup.subtree_control"), controller);
        }
        directory.push(part);
        match fs::create_dir(&directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    if let Some(shares) = limits.cpu_shares {
        fs::write(directory.join("cpu.weight"), weight(shares).to_string())?;
    }
    if let Some(quota) = limits.cpu_quota {
        fs::write(directory.join("cpu.max"), format!("{quota} 100000"))?;
    }
    if let Some(bytes) = limits.memory {
        fs::write(directory.join("memory.max"), bytes.to_string())?;
    }
    for (size, bytes) in &limits.huge_pages {
        fs::write(directory.join(format!("hugetlb.{size}.max")), bytes.to_string())?;
    }
    Ok(())
}

/// `cpu.weight` for `cpu.shares`: the linear map of 2 … 262144 onto 1 … 10000 that runc and the kubelet use.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn collect_processes(directory: &Path, pids: &mut BTreeSet<i32>) -> io::Result<()> {
    match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|p| *p > 0)),
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(e),
    }
    for child in children(directory)? {
        collect_processes(&child, pids)?;
    }
    Ok(())
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(e) if gone(&e) => return Ok(()),
        Err(_) => {}
    }
    for child in children(directory)? {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(e) if !gone(&e) => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if gone(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    Ok(entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect())
}

/// A group may vanish between two looks (ENODEV: its file was open while it went).
fn gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
        37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        42 31 0:38 / /elsewhere/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn versions_and_what_is_lacking() {
        let hybrid = Cgroups::of(&mount::parse(V1));
        assert_eq!(hybrid.version(), Version::V1);
        assert_eq!(hybrid.require(), Ok(()));
        assert_eq!(hybrid.hierarchies.len(), 6);
        let v2 = Cgroups::of(&mount::parse(b"31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"));
        assert_eq!(v2.version(), Version::V2);
        assert_eq!(v2.require(), Ok(()));
        assert_eq!(Cgroups::of(&[]).require(), Err(CgroupError::Absent));
        let text = String::from_utf8(V1.to_vec()).unwrap().replace("pids", "misc");
        let lacking = Cgroups::of(&mount::parse(text.as_bytes())).require();
        assert_eq!(lacking, Err(CgroupError::Lacking(vec!["pids"])));
    }

    #[test]
    fn weights_and_counts() {
        assert_eq!((weight(0), weight(2), weight(1024), weight(262_144)), (1, 1, 39, 10_000));
        assert_eq!(oom_kill_count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(oom_kill_count("low 0\noom 7\noom_kill 2\n"), 2);
        assert_eq!(oom_kill_count("nothing"), 0);
    }

    #[test]
    fn limits_as_properties_of_a_slice() {
        let mut limits = Limits { cpu_shares: Some(1024), cpu_quota: Some(25_000), ..Limits::default() };
        assert_eq!(limits.properties(Version::V2), ["CPUWeight=39", "CPUQuota=25.00%"]);
        limits = Limits { cpu_shares: Some(2), cpu_quota: Some(101_031), memory: Some(4096), ..limits };
        assert_eq!(limits.properties(Version::V1), ["CPUShares=2", "CPUQuota=101.04%", "MemoryMax=4096"]);
        assert_eq!(Limits::default().properties(Version::V2), [""; 0]);
    }

    #[test]
    fn limits_in_the_unified_hierarchy() {
        // Plain files stand in for the kernel's: what is written where is all that is asked.
        let root = std::env::temp_dir().join(format!("podstrap-cgroup2-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let limits = Limits {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            memory: Some(4096),
            ..Limits::default()
        };
        make_pod_v2(&root, Path::new("podstrap/podx"), &limits).unwrap();
        let pod = root.join("podstrap/podx");
        let text = |name: &str| fs::read_to_string(pod.join(name)).unwrap();
        assert_eq!(
            (text("cpu.weight"), text("cpu.max"), text("memory.max")),
            ("39".to_owned(), "50000 100000".to_owned(), "4096".to_owned())
        );
        assert!(root.join("podstrap/cgroup.subtree_control").exists());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_group_is_filled_killed_and_removed() {
        let cgroups = Cgroups::detect().unwrap();
        cgroups.require().unwrap();
        let path = PathBuf::from(format!("podstrap-test-{}", std::process::id()));
        let pod = path.join("pod");
        let limits = Limits {
            cpu_shares: Some(204),
            cpu_quota: Some(50_000),
            memory: Some(64 << 20),
            ..Limits::default()
        };
        cgroups.make_pod(&pod, &limits).unwrap();
        cgroups.make_pod(&pod, &limits).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let directory = cgroups.directories(&pod).find(|d| d.exists()).unwrap();
        fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
        assert!(cgroups.processes(&path).unwrap().contains(&(child.id() as i32)));
        assert!(cgroups.remove(&path).is_err());
        assert_eq!(cgroups.kill_all(&path).unwrap(), 1);
        child.wait().unwrap();
        assert_eq!(cgroups.kill_all(&path).unwrap(), 0);
        cgroups.remove(&path).unwrap();
        assert!(!cgroups.exists(&path));
    }
}
