//! Removing what a Pod leaves on the host once its last container is gone: cgroups, emptyDir volumes, old logs.
//!
//! A volume may hold anything that a container made or mounted, so this runs in a child process, and never follows a link or
//! deletes below a mount.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};

use super::sandbox::{self, SandboxSpec};
use crate::monitor::child;
use crate::paths::{CniPaths, Roots};
use crate::pod::{Generation, Pod};
use crate::runtime::docker::{CgroupDriver, Docker};
use crate::runtime::pod_group::{self, PodGroup};
use crate::sys::cgroup::Cgroups;
use crate::sys::{mount, process};

/// What is to be removed; JSON on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// All roots.
    pub roots: Roots,
    /// The Pod that is gone.
    pub pod: Pod,
    /// The parent of all Pod cgroups, without slashes at its ends.
    pub cgroup_root: String,
    /// Where networks and plugins are.
    #[serde(default)]
    pub cni: CniPaths,
    /// docker, where that runs the containers.
    #[serde(default)]
    pub docker: Option<Docker>,
}

/// Volumes of generations that an earlier boot had and that nothing wants any more; JSON on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// Their directories.
    pub directories: Vec<PathBuf>,
}

/// Either of the two.
#[derive(Deserialize)]
#[serde(untagged)]
enum Request {
    Pod(Box<Removal>),
    Stale(Stale),
}

/// Reads a [`Removal`] or a [`Stale`] and carries it out. Everything is tried; the exit code is 0 when all of it is gone, and each thing
/// that is not has a line on standard error. May be repeated.
pub fn run() -> ExitCode {
    let mut text = String::new();
    let removal = io::stdin()
        .read_to_string(&mut text)
        .and_then(|_| serde_json::from_str::<Request>(&text).map_err(io::Error::from));
    let failures = match removal {
        Ok(Request::Pod(removal)) => remove(&removal),
        Ok(Request::Stale(stale)) => remove_stale(&stale),
        Err(e) => vec![format!("standard input: {e}")],
    };
    for failure in &failures {
        eprintln!("podstrap remove: {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Removes everything; gives a line for each failure.
fn remove(removal: &Removal) -> Vec<String> {
    let Removal { roots, pod, cgroup_root, cni: _, docker } = removal;
    // Its first process is in the Pod's cgroup, and a network that was not left cannot be once its record is lost.
    if let Err(e) = sandbox_down(removal) {
        return vec![e];
    }
    let state = roots.pod_state(&pod.generation);
    let mut failures = Vec::new();
    let mut step = |what: &str, path: &Path, result: io::Result<()>| {
        if let Err(e) = result {
            failures.push(format!("{what} {}: {e}", path.display()));
        }
    };
    for group in groups(cgroup_root, &pod.generation, docker.as_ref()) {
        step("remove cgroup", &group.path(), remove_group(&group));
    }
    step("remove", &state, remove_state(&state));
    let volumes = roots.run_volumes(&pod.generation);
    step("remove", &volumes, remove_state(&volumes));
    step("remove old logs in", &roots.log, forget_logs(roots, pod));
    step("remove links in", &roots.log_links(), forget_links(&roots.log_links(), pod));
    failures
}

/// All groups that the Pod may have had: another driver, or another program, may have run it before.
fn groups(cgroup_root: &str, generation: &Generation, docker: Option<&Docker>) -> Vec<PodGroup> {
    let systemd = docker.map(|d| Docker { cgroups: CgroupDriver::Systemd, ..d.clone() });
    let slice = systemd.as_ref().map(|docker| PodGroup::of(cgroup_root, generation, Some(docker)));
    [PodGroup::of(cgroup_root, generation, None)].into_iter().chain(slice).collect()
}

/// Removes a group of which no process is left. Where there is nothing of a slice, systemd is not asked.
///
/// # Errors
/// It cannot be removed, or systemd does not end the slice.
pub fn remove_group(group: &PodGroup) -> io::Result<()> {
    let (cgroups, path) = (Cgroups::detect()?, group.path());
    let PodGroup::Slice(name) = group else { return cgroups.remove(&path) };
    let settings = pod_group::slice_settings(name);
    if !settings.exists() && !cgroups.exists(&path) {
        return Ok(());
    }
    let stopped = child::run(&pod_group::stop_slice(name));
    tree(&settings)?;
    // One that systemd does not know is what is left of it, and is removed here.
    match (stopped, cgroups.remove(&path)) {
        (Err(e), Err(_)) => Err(io::Error::other(format!("systemctl stop {name}: {e}"))),
        (Ok(_) | Err(_), removed) => removed,
    }
}

fn remove_stale(stale: &Stale) -> Vec<String> {
    let tried = stale.directories.iter().map(|path| (path, remove_state(path)));
    tried.filter_map(|(path, result)| Some(format!("remove {}: {}", path.display(), result.err()?))).collect()
}

/// Removes what stands at `path` with all below it, never through a link or into another file system; what is mounted there is
/// unmounted first. What is not there is no error.
///
/// # Errors
/// The first thing that could not be removed.
pub fn tree(path: &Path) -> io::Result<()> {
    remove_state(path)
}

fn remove_state(path: &Path) -> io::Result<()> {
    match fs::canonicalize(path) {
        Ok(real) => mount::unmount_all(&real)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = OwnedFd::from(File::open(parent)?);
    remove_beneath(parent.as_fd(), name.as_bytes())?;
    Ok(())
}

/// How deep a tree is gone down before its lower part is moved up: each level holds a descriptor.
const DEPTH: usize = 64;

/// Removes `name` in `directory` with all below it. Opened component by component without following links, and never
/// into another file system: a mount that is still there ends it with EXDEV.
fn remove_beneath(directory: BorrowedFd<'_>, name: &[u8]) -> nix::Result<()> {
    let mut moved = 0_u64;
    remove_entry(&Top { directory, name }, directory, name, 0, &mut moved)
}

/// Where too deep a part is moved: straight below the tree's own top.
struct Top<'a> {
    directory: BorrowedFd<'a>,
    name: &'a [u8],
}

fn remove_entry(
    top: &Top<'_>,
    directory: BorrowedFd<'_>,
    name: &[u8],
    depth: usize,
    moved: &mut u64,
) -> nix::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        // EISDIR is Linux's answer for a directory; EPERM is POSIX's.
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(e) => return Err(e),
    }
    if depth > DEPTH {
        // Its new place is looked at again by the loop below, at depth 0.
        let root = open_directory(top.directory, top.name)?;
        let place = format!(".removed-{}-{moved}", std::process::id());
        *moved = moved.saturating_add(1);
        return renameat(directory, name, &root, place.as_bytes());
    }
    let opened = open_directory(directory, name)?;
    loop {
        for child in names(&opened)? {
            remove_entry(top, opened.as_fd(), &child, depth.saturating_add(1), moved)?;
        }
        // Only the top may have got new entries: parts of itself that lay too deep.
        match unlinkat(directory, name, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOTEMPTY) if depth == 0 => {}
            other => return other,
        }
    }
}

fn open_directory(directory: BorrowedFd<'_>, name: &[u8]) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV,
        );
    openat2(directory, name, how)
}

fn names(directory: &OwnedFd) -> nix::Result<Vec<Vec<u8>>> {
    let mut dir = Dir::from_fd(open_directory(directory.as_fd(), b".")?)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Keeps this Pod's log directory and the newest older one of the same name; removes those before. Younger ones are a later
/// Pod's.
fn forget_logs(roots: &Roots, pod: &Pod) -> io::Result<()> {
    let prefix = format!("{}_{}_", pod.key.namespace, pod.key.name);
    let own = roots.pod_logs(pod);
    let modified = |path: &Path| fs::symlink_metadata(path).and_then(|m| m.modified());
    let limit = modified(&own).unwrap_or_else(|_| SystemTime::now());
    let mut older = Vec::new();
    for entry in entries(&roots.log)? {
        let name = entry.file_name();
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|t| t.is_dir());
        if name.to_string_lossy().starts_with(&prefix) && is_directory && path != own {
            match modified(&path) {
                Ok(time) if time <= limit => older.push((time, path)),
                Ok(_) | Err(_) => {}
            }
        }
    }
    older.sort();
    older.pop();
    older.iter().try_for_each(|(_, path)| fs::remove_dir_all(path))
}

/// Removes the Pod's links that lead nowhere.
fn forget_links(links: &Path, pod: &Pod) -> io::Result<()> {
    let prefix = format!("{}_{}_", pod.key.name, pod.key.namespace);
    for entry in entries(links)? {
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|t| t.is_symlink());
        if is_link && entry.file_name().to_string_lossy().starts_with(&prefix) && !path.exists() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn sandbox_down(removal: &Removal) -> Result<(), String> {
    let boot_id = process::boot_id().map_err(|e| format!("read this boot's id: {e}"))?;
    let spec = SandboxSpec {
        roots: removal.roots.clone(),
        boot_id,
        pod: removal.pod.clone(),
        cni: removal.cni.clone(),
        cluster_domain: String::new(),
        cgroup_root: None,
        docker: removal.docker.clone(),
    };
    sandbox::down(&spec).map_err(|e| e.to_string())
}
