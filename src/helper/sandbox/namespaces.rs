//! Making, finding and ending a Pod's namespaces; see `sys::namespace` for how they are kept.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::{Pause, Sandbox, SandboxError, SandboxSpec};
use crate::paths::Roots;
use crate::pod::Generation;
use crate::runtime::pod_group::PodGroup;
use crate::sys::cgroup::Cgroups;
use crate::sys::clock::boot_ms;
use crate::sys::namespace::{self, Init, Kind};
use crate::sys::{mount, process};

/// The size of /dev/shm, in bytes: docker's and the CRI runtimes' 64 MiB.
const SHM: u64 = 64 << 20;

/// How long a killed process may take to be gone, in milliseconds.
const GONE_MS: u64 = 5_000;

/// What the `pause` process's file says, written before the process goes its own way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PauseRecord {
    boot_id: String,
    #[serde(flatten)]
    pause: Pause,
}

pub(super) fn file(roots: &Roots, generation: &Generation, kind: Kind) -> PathBuf {
    roots.namespaces(generation).join(kind.name())
}

/// The network namespace's file.
pub fn net_file(roots: &Roots, generation: &Generation) -> PathBuf {
    file(roots, generation, Kind::Net)
}

fn shm(roots: &Roots, generation: &Generation) -> PathBuf {
    roots.namespaces(generation).join("shm")
}

fn pause_file(roots: &Roots, generation: &Generation) -> PathBuf {
    roots.namespaces(generation).join("pause.json")
}

/// Whether a record tells of what is there now and is all that the Pod needs.
pub fn is_whole(sandbox: &Sandbox, spec: &SandboxSpec) -> bool {
    let Sandbox { version, boot_id, net, ipc, uts, pid, addresses, shm, pause, container, docker: _ } =
        sandbox;
    let pod = &spec.pod;
    if !sandbox.is_for(spec.docker.as_ref()) {
        return false;
    }
    if spec.docker.is_some() {
        let networked = pod.host_network || !addresses.is_empty();
        return *version == 1
            && *boot_id == spec.boot_id
            && container.is_some()
            && networked
            && pause.is_some_and(lives);
    }
    let kept = |file: &Option<PathBuf>| file.as_deref().is_some_and(namespace::is_kept);
    *version == 1
        && *boot_id == spec.boot_id
        && (pod.host_network || kept(net) && kept(uts) && !addresses.is_empty())
        && (pod.host_ipc || kept(ipc) && shm.as_deref().is_some_and(is_tmpfs))
        && (!pod.share_process_namespace || kept(pid) && pause.is_some_and(lives))
}

fn is_tmpfs(path: &Path) -> bool {
    mount::list().is_ok_and(|all| all.iter().any(|m| m.kind == b"tmpfs" && same(&m.path, path)))
}

/// mountinfo has real paths.
fn same(mounted: &Path, path: &Path) -> bool {
    mounted == path || fs::canonicalize(path).is_ok_and(|real| real == mounted)
}

fn lives(pause: Pause) -> bool {
    process::start_ticks(pause.pid).is_ok_and(|ticks| ticks == Some(pause.start_ticks))
        && process::is_running(pause.pid)
}

/// Makes the namespaces that need no process. Nothing of a former try is there.
pub fn make(spec: &SandboxSpec, host_name: &str) -> Result<Sandbox, SandboxError> {
    let (roots, generation, pod) = (&spec.roots, &spec.pod.generation, &spec.pod);
    make_directory(&roots.namespaces(generation))?;
    let make = |kind: Kind, prepare: &dyn Fn() -> io::Result<()>| {
        let file = file(roots, generation, kind);
        namespace::make(kind, &file, prepare)
            .map(|()| Some(file))
            .map_err(|error| SandboxError::Namespace { kind: kind.name(), error })
    };
    let mut sandbox = Sandbox { version: 1, boot_id: spec.boot_id.clone(), ..Sandbox::default() };
    if !pod.host_network {
        sandbox.net = make(Kind::Net, &namespace::raise_loopback)?;
        sandbox.uts = make(Kind::Uts, &|| namespace::set_host_name(host_name))?;
    }
    if !pod.host_ipc {
        sandbox.ipc = make(Kind::Ipc, &|| Ok(()))?;
        let shm = shm(roots, generation);
        make_directory(&shm)?;
        namespace::shared_memory(&shm, SHM).map_err(|e| SandboxError::file("mount", &shm, e))?;
        sandbox.shm = Some(shm);
    }
    Ok(sandbox)
}

pub(super) fn make_directory(path: &Path) -> Result<(), SandboxError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| SandboxError::file("make", path, e))
}

/// Makes the pid namespace that the containers share, if they do, with its first process.
pub fn share_processes(spec: &SandboxSpec, sandbox: &mut Sandbox) -> Result<(), SandboxError> {
    if !spec.pod.share_process_namespace {
        return Ok(());
    }
    let (roots, generation) = (&spec.roots, &spec.pod.generation);
    let file = file(roots, generation, Kind::Pid);
    let failed = |error| SandboxError::Namespace { kind: Kind::Pid.name(), error };
    let own = [(Kind::Net, &sandbox.net), (Kind::Ipc, &sandbox.ipc), (Kind::Uts, &sandbox.uts)];
    let join: Vec<(Kind, &Path)> =
        own.iter().filter_map(|(kind, file)| Some((*kind, file.as_deref()?))).collect();
    let init = Init::make("pause", &file, &join).map_err(failed)?;
    let pid = init.pid.as_raw();
    let ticks = process::start_ticks(pid).map_err(failed)?;
    let pause = Pause { pid, start_ticks: ticks.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))? };
    super::write(&pause_file(roots, generation), &PauseRecord { boot_id: spec.boot_id.clone(), pause })?;
    if let Some(root) = &spec.cgroup_root {
        let group = PodGroup::of(root, generation, None).path().join("pause");
        Cgroups::detect()
            .and_then(|c| c.enter(&group, pid))
            .map_err(|e| SandboxError::file("enter cgroup", &group, e))?;
    }
    // Its end is the end of the Pod's processes, as a sandbox's; a host that does not allow this runs the Pod all the same.
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "-998");
    init.go().map_err(failed)?;
    sandbox.pid = Some(file);
    sandbox.pause = Some(pause);
    Ok(())
}

/// Ends the first process of the shared pid namespace, and with it every process in there (pid_namespaces(7)).
pub fn end_processes(spec: &SandboxSpec) -> Result<(), SandboxError> {
    let path = pause_file(&spec.roots, &spec.pod.generation);
    if let Some(PauseRecord { pause, .. }) =
        super::read::<PauseRecord>(&path)?.filter(|r| r.boot_id == spec.boot_id)
    {
        kill(pause).map_err(|error| SandboxError::Process { what: "the Pod's first process", error })?;
    }
    super::remove(&path)
}

/// Kills exactly this process and waits until it is gone.
fn kill(pause: Pause) -> io::Result<()> {
    let pidfd = match process::pidfd_open(pause.pid) {
        Ok(pidfd) => pidfd,
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        Err(e) => return Err(e),
    };
    // Looked at after the descriptor was opened: from here on the number cannot come to mean another process.
    if process::start_ticks(pause.pid)? != Some(pause.start_ticks) {
        return Ok(());
    }
    match process::pidfd_signal(pidfd.as_fd(), libc::SIGKILL) {
        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(e),
        Ok(()) | Err(_) => {}
    }
    if wait_for_end(pidfd.as_fd(), GONE_MS)? { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// Waits until the process of a pidfd has ended; false when it has not in time.
pub fn wait_for_end(pidfd: std::os::fd::BorrowedFd<'_>, ms: u64) -> io::Result<bool> {
    let until = boot_ms().saturating_add(ms);
    loop {
        let left = until.saturating_sub(boot_ms());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], timeout) {
            Ok(0) if left == 0 => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Ends all namespaces that are kept by files.
pub fn end(roots: &Roots, generation: &Generation) -> Result<(), SandboxError> {
    let directory = roots.namespaces(generation);
    let real = match fs::canonicalize(&directory) {
        Ok(real) => real,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(SandboxError::file("find", &directory, e)),
    };
    mount::unmount_all(&real).map_err(|e| SandboxError::file("unmount all of", &real, e))?;
    for kind in [Kind::Net, Kind::Ipc, Kind::Uts, Kind::Pid] {
        let file = file(roots, generation, kind);
        namespace::release(&file).map_err(|e| SandboxError::file("unmount", &file, e))?;
    }
    // Only names of ours are in it, and a mount that was left would refuse its own removal.
    fs::remove_dir_all(&directory).map_err(|e| SandboxError::file("remove", &directory, e))
}
