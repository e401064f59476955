//! Everything before the loop: the checks that may end the process, the directories, the lock, and what an earlier boot
//! or an earlier daemon left.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::health::Health;
use super::herald::Herald;
use super::images::ImageDesk;
use super::jobs::Jobs;
use super::open::StoredPod;
use super::publish::Publisher;
use super::sources::sources;
use super::{Daemon, engine, fetches, remote, settings};
use crate::config::RunConfig;
use crate::core::World;
use crate::monitor::record::{self, Record};
use crate::paths::Roots;
use crate::pod::PodKey;
use crate::source::Merged;
use crate::sys::atomic::{self, Durability};
use crate::sys::cgroup::Cgroups;
use crate::sys::fifo::Fifo;
use crate::sys::lock::{self, Lock, Taken};
use crate::sys::signals::Signals;
use crate::sys::watch::Watcher;
use crate::sys::{clock, mount, process, spawn};
use crate::{info, warning};

/// Why the daemon cannot begin.
#[derive(Debug)]
pub enum BootError {
    /// Not root.
    NotRoot,
    /// docker is not there.
    NoDocker,
    /// runc is not there.
    NoRunc,
    /// Neither is there.
    NoRuntime,
    /// Neither can be used.
    Neither {
        /// Why not runc.
        runc: Box<BootError>,
        /// Why not docker, which is there.
        docker: Box<BootError>,
    },
    /// Pods run with another runtime than the one that is asked for.
    OtherRuntime {
        /// What they run with.
        running: &'static str,
        /// What is asked for.
        asked: &'static str,
    },
    /// `--docker-binary` cannot be used.
    Binary {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The host's cgroups cannot be used.
    NoCgroups(String),
    /// Another daemon works on this run or state directory.
    Running {
        /// The directory.
        directory: PathBuf,
        /// The other's pid.
        pid: i32,
    },
    /// The health endpoint cannot listen.
    Health {
        /// Where.
        address: SocketAddr,
        /// Why not.
        cause: io::Error,
    },
    /// A file or directory of ours cannot be made or read.
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRoot => {
                write!(f, "must be run as root: containers, mounts and cgroups need it (try sudo)")
            }
            Self::NoDocker => write!(
                f,
                "docker was not found in {}; install it (Debian: apt-get install docker.io) or name it with --docker-binary",
                spawn::PATH
            ),
            Self::NoRuntime => write!(
                f,
                "neither runc nor docker was found in {}; install one (Debian: apt-get install runc)",
                spawn::PATH
            ),
            Self::Neither { runc, docker } => {
                write!(f, "{runc}; and docker, which would do instead, cannot be used: {docker}")
            }
            Self::OtherRuntime { running, asked } => write!(
                f,
                "Pods of an earlier daemon run with {running}, and {asked} is asked for: use --runtime {running}, or stop \
                 them first with `podstrap down`"
            ),
            Self::Binary { path, why } => write!(f, "{}: {why}", path.display()),
            Self::NoRunc => {
                write!(f, "runc was not found in {}; install it (Debian: apt-get install runc)", spawn::PATH)
            }
            Self::NoCgroups(why) => write!(f, "{why}"),
            Self::Running { directory, pid } => {
                write!(f, "another podstrap (pid {pid}) works on {} already", directory.display())
            }
            Self::Health { address, cause } => match cause.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "--healthz-address {address}: the port is in use, perhaps by a kubelet or another podstrap; stop it, give \
                     another port, or off"
                ),
                io::ErrorKind::AddrNotAvailable => {
                    write!(
                        f,
                        "--healthz-address {address}: this host has no such address; give one of its own, or off"
                    )
                }
                _ => write!(f, "--healthz-address {address}: cannot listen: {cause}"),
            },
            Self::Io { action, path, cause } => write!(f, "cannot {action} {}: {cause}", path.display()),
        }
    }
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BootError {
    move |cause| BootError::Io { action, path: path.to_owned(), cause }
}

/// Checks the host, takes the lock, makes the directories, and finds what is there. `only`: these Pods and no others are
/// taken over.
pub fn boot(config: RunConfig, only: Option<&[PodKey]>) -> Result<(Daemon, Signals, Fifo), BootError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BootError::NotRoot);
    }
    let mut engine = engine::choose(&config)?;
    let roots = &config.roots;
    make_dir(&roots.run, 0o700)?;
    make_dir(&roots.state, 0o700)?;
    let locks = (take_lock(&roots.lock(), &roots.run)?, lock_state(roots)?);
    let listen = |address| Health::listen(address).map_err(|cause| BootError::Health { address, cause });
    let health = config.healthz.map(listen).transpose()?;
    let boot_id =
        process::boot_id().map_err(io_error("read", Path::new("/proc/sys/kernel/random/boot_id")))?;
    let is_first_of_boot = forget_other_boot(roots, &boot_id)?;
    engine::give_credentials(&mut engine, &config);
    for dir in [roots.requests(), roots.runc(), roots.status(), roots.pods()] {
        make_dir(&dir, 0o700)?;
    }
    make_dir(&roots.images(), 0o700)?;
    make_dir(&roots.manifests(), 0o700)?;
    make_dir(&roots.sets(), 0o700)?;
    for name in ["containers", "pods", "worked"] {
        make_dir(&roots.state.join(name), 0o700)?;
    }
    make_dir(&config.image_dir, 0o700)?;
    make_dir(&roots.log, 0o755)?;
    let signals =
        Signals::block(&[Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGIO])
            .map_err(io_error("open", Path::new("signalfd")))?;
    let fifo = Fifo::open(&roots.notify()).map_err(io_error("open", &roots.notify()))?;
    let watcher = match Watcher::new() {
        Ok(watcher) => Some(watcher),
        Err(e) => {
            warning!(
                "inotify is not to be had ({e}): changes are seen by the scan every {} s",
                config.rescan_ms / 1000
            );
            None
        }
    };
    // Before anything there is touched.
    let mut warnings = remote::warn(&config.manifest_dirs);
    warnings.extend(kubelet_beside(&config));
    let sources = sources(&config, engine::runtime(&engine));
    if config.has_sources() {
        info!(
            "podstrap {} on node {}, runtime {}, manifests from {}",
            env!("CARGO_PKG_VERSION"),
            config.node,
            engine.binary().display(),
            sources.iter().map(|s| s.standing().shown()).collect::<Vec<_>>().join(", ")
        );
    }
    let mut publisher = Publisher::new(&config, &boot_id, &engine);
    warnings.into_iter().for_each(|line| publisher.warn(line));
    let images = ImageDesk::new(&config.roots, &engine);
    // Who only stops Pods is no service of its own.
    let herald = if config.has_sources() { Herald::from_environment() } else { Herald::default() };
    let mut daemon = Daemon {
        engine,
        cgroups: Cgroups::detect().unwrap_or_default(),
        world: World::new(settings(&config)),
        events: Default::default(),
        fetches: fetches::of(&config),
        sources,
        merged: Merged::default(),
        sets: Default::default(),
        watcher,
        images,
        docker: Default::default(),
        jobs: Jobs::default(),
        runs: Default::default(),
        unsent: Default::default(),
        said: Default::default(),
        is_first_of_boot,
        finished: Vec::new(),
        objects_told: false,
        unprojected: Default::default(),
        project_again: None,
        host_warnings: Default::default(),
        publisher,
        boot_id,
        config,
        has_requests: true,
        taken: Vec::new(),
        restarting: Vec::new(),
        unkept: Vec::new(),
        kept_beside: Vec::new(),
        keep_again: None,
        keep_failed: false,
        look_again: None,
        reload: None,
        give_up_at: None,
        reloaded: 0,
        planned_at: Default::default(),
        poll_fails: false,
        herald,
        health,
        mirror: Default::default(),
        worked: Default::default(),
        verdicts: Default::default(),
        started_unix_ms: clock::unix_ms(),
        _locks: locks,
    };
    if only.is_none() {
        daemon.end_strays();
    }
    daemon.find_left_behind(only);
    daemon.find_held();
    if !daemon.sources.is_empty() {
        daemon.find_records();
        daemon.remove_left_claims();
    }
    if !daemon.sources.is_empty() {
        daemon.docker_at_boot();
        daemon.images_at_boot();
        daemon.ask_version();
        daemon.mirror_at_boot();
        daemon.tell_how_urls_are_asked();
        daemon.look_at_directories(&[]);
    }
    Ok((daemon, signals, fifo))
}

/// Takes the daemon's lock. A daemon that was killed in the middle of starting a child leaves the lock to that child for
/// the instant until it executes its program: while the holder named in the file is no more, this waits for a moment.
fn take_lock(path: &Path, directory: &Path) -> Result<Lock, BootError> {
    for _ in 0..100 {
        match lock::take(path).map_err(io_error("lock", path))? {
            Taken::Ours(lock) => return Ok(lock),
            Taken::Held { pid } if process::is_running(pid) => {
                return Err(BootError::Running { directory: directory.to_owned(), pid });
            }
            Taken::Held { .. } => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    Err(BootError::Running { directory: directory.to_owned(), pid: 0 })
}

/// Images and writable layers have one owner, whatever its run directory is. Without room for a lock's few bytes the daemon
/// begins all the same.
fn lock_state(roots: &Roots) -> Result<Option<Lock>, BootError> {
    match take_lock(&roots.state_lock(), &roots.state) {
        Ok(lock) => Ok(Some(lock)),
        Err(BootError::Io { path, cause, .. }) => {
            warning!("{}: cannot be locked: {cause}", path.display());
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// The absolute path of a program on the fixed search path. It must belong to root and not be writable by others: it is
/// run as root.
pub fn find_program(name: &str) -> Option<PathBuf> {
    spawn::PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|path| {
        fs::metadata(path)
            .is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0 && m.uid() == 0 && m.mode() & 0o022 == 0)
    })
}

fn make_dir(path: &Path, mode: u32) -> Result<(), BootError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(io_error("make the directory", path))?;
    if mode == 0o700 {
        let owner = fs::metadata(path).map_err(io_error("look at", path))?.uid();
        if owner != 0 {
            let why =
                format!("it belongs to user {owner}, who could change what root is to run: chown root it");
            return Err(io_error("use", path)(io::Error::other(why)));
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(io_error("set the mode of", path))?;
    }
    Ok(())
}

/// Whether any Pod in the run directory was begun in this boot, by its own files.
fn is_of_boot(roots: &Roots, boot_id: &str) -> bool {
    record::generations(roots).iter().any(|generation| {
        let stored = fs::read(roots.pod(generation).join("pod.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<StoredPod>(&bytes).ok());
        stored.is_some_and(|s| s.boot_id == boot_id)
            || record::attempts(roots, generation).iter().any(|a| Record::read(&a.dir, boot_id).is_some())
    })
}

/// What another boot left in the run directory describes processes that are no more (or, worse, pids that are others by
/// now): it is cleared before anything of it is read. Returns
/// whether this is the first daemon on the state directory in this boot.
fn forget_other_boot(roots: &Roots, boot_id: &str) -> Result<bool, BootError> {
    let stamp = roots.run.join("boot_id");
    if fs::read_to_string(&stamp).is_ok_and(|id| id.trim() == boot_id) {
        return Ok(false);
    }
    if is_of_boot(roots, boot_id) {
        // The stamp was damaged or removed. What it is for is not: containers of this boot run.
        warning!("{}: is not of this boot, but the Pods beside it are: it is written anew", stamp.display());
        return atomic::write(&stamp, boot_id.as_bytes(), 0o600, Durability::Process)
            .map(|()| false)
            .map_err(io_error("write", &stamp));
    }
    let had = roots.pods().exists();
    // Roots of containers. Not what the run directory itself may be: a file system of its own. The mount table shows paths
    // without links.
    if let Ok(pods) = fs::canonicalize(roots.pods()) {
        mount::unmount_all(&pods).map_err(io_error("unmount what is below", &pods))?;
    }
    // The state directory has a stamp of its own: a run directory that is new, or was cleared by hand, does not mean that
    // the containers of this boot whose writable layers lie there have ended.
    let state_stamp = roots.state.join("boot_id");
    let same_state = fs::read_to_string(&state_stamp).is_ok_and(|id| id.trim() == boot_id);
    let layers = (!same_state).then(|| roots.state.join("containers"));
    let stale = [roots.pods(), roots.status(), roots.runc(), roots.requests()];
    for dir in stale.into_iter().chain(layers) {
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &dir)(e)),
            Ok(()) | Err(_) => {}
        }
    }
    if let Err(e) = fs::remove_file(roots.held())
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(io_error("remove", &roots.held())(e));
    }
    if had {
        info!("what another boot left in {} is cleared", roots.run.display());
    }
    atomic::write(&state_stamp, boot_id.as_bytes(), 0o600, Durability::Process)
        .map_err(io_error("write", &state_stamp))?;
    atomic::write(&stamp, boot_id.as_bytes(), 0o600, Durability::Process)
        .map_err(io_error("write", &stamp))?;
    Ok(!same_state)
}

/// What there is to say of a kubelet on the same host: of one directory both would run every Pod, and two of one etcd do not
/// go together.
fn kubelet_beside(config: &RunConfig) -> Option<String> {
    // Who only stops Pods has nothing to do with it.
    let pid = config.has_sources().then(|| process::named("kubelet"))??;
    let line = format!(
        "a kubelet runs beside podstrap (pid {pid}): if it reads the same manifests, every Pod runs twice; stop one of the \
         two (podstrap handover, or systemctl disable --now kubelet)"
    );
    warning!("{line}");
    Some(line)
}
