//! Clearing away what a run leaves behind: the same steps after a container's end, after a start that failed half-way, and
//! for a run whose monitor was killed. Every step is tried, whatever became of the one before; each may be repeated.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::child;
use super::record::MonitorSpec;
use crate::paths::AttemptDir;
use crate::runtime::bundle::container_cgroup;
use crate::runtime::runc::Runc;
use crate::sys::cgroup::Cgroups;
use crate::sys::{clock, doom, mount};

/// How long the processes of a cgroup may take to vanish after KILL, in milliseconds.
const KILL_MS: u64 = 10_000;

/// What is left of a run: where it lies, and how to get rid of it.
#[derive(Debug)]
pub struct Remains<'a> {
    /// The run's directory.
    pub dir: &'a AttemptDir,
    /// What was to be run.
    pub spec: &'a MonitorSpec,
    /// The host's control groups.
    pub cgroups: &'a Cgroups,
}

impl Remains<'_> {
    fn cgroup(&self) -> PathBuf {
        container_cgroup(&self.spec.cgroup_root, &self.spec.pod, &self.spec.id)
    }

    /// Clears everything away but `spec.json`, `record.json` and `lock`. Gives a line for each thing that remains.
    /// `ask_runc` is false for another boot's leftovers: what runc remembers of them may name strangers.
    pub fn clear(&self, ask_runc: bool) -> Vec<String> {
        let mut left = Vec::new();
        let own = self.spec.roots.runc().join(self.spec.id.as_str());
        if ask_runc && own.exists() {
            let runc = Runc { binary: self.spec.engine.binary(), root: &self.spec.roots.runc() };
            if let Err(e) = child::run(&runc.delete(&self.spec.id)) {
                // What runc cannot do (its state is damaged, its binary is gone) the steps below do without it.
                left.push(format!("runc delete: {e}"));
            }
        }
        note(&mut left, "kill the processes of cgroup", &self.cgroup(), self.kill());
        note(&mut left, "remove cgroup", &self.cgroup(), self.remove_cgroup());
        note(&mut left, "remove", &own, remove_mounted(&own));
        let scratch = self.spec.roots.container_root(&self.spec.id);
        self.clear_bundle(&mut left);
        note(&mut left, "remove", &scratch, remove(&scratch));
        self.clear_files(&mut left);
        left
    }

    /// Unmounts what is below the bundle, and removes it.
    pub fn clear_bundle(&self, left: &mut Vec<String>) {
        // The mount table shows paths without links; the run directory may be given through one.
        let bundle = self.dir.bundle();
        let unmounted = match fs::canonicalize(&bundle) {
            Ok(real) => mount::unmount_all(&real).and_then(|()| self.nothing_mounted(&real)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        };
        let is_unmounted = unmounted.is_ok();
        note(left, "unmount", &bundle, unmounted);
        // Never delete through a mount that is still there: only an empty rootfs lets its bundle go.
        match fs::remove_dir(self.dir.rootfs()) {
            Ok(()) if !is_unmounted => {}
            Err(e) if !is_unmounted && e.kind() == io::ErrorKind::NotFound => {}
            Ok(()) => note(left, "remove", &bundle, remove(&bundle)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => note(left, "remove", &bundle, remove(&bundle)),
            Err(e) => note(left, "remove", &self.dir.rootfs(), Err(e)),
        }
    }

    /// Removes all files but those that tell of the run after its end, and the bundle.
    pub fn clear_files(&self, left: &mut Vec<String>) {
        // runc's pid file and log, and what it or a monitor was about to rename when it was killed.
        match fs::read_dir(&self.dir.0) {
            Ok(entries) => {
                for path in entries.flatten().map(|e| e.path()).filter(|p| !self.stays(p)) {
                    note(left, "remove", &path, remove(&path));
                }
            }
            Err(e) => note(left, "list", &self.dir.0, Err(e)),
        }
    }

    /// Parts of volumes are mounted in the bundle of a container that has such: they, and not what is in them, must go.
    fn nothing_mounted(&self, bundle: &Path) -> io::Result<()> {
        if bundle.join("volumes").exists() && !mount::beneath(bundle)?.is_empty() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        Ok(())
    }

    /// What tells of a run after its end; and the bundle, which has a step of its own.
    fn stays(&self, path: &Path) -> bool {
        [self.dir.spec(), self.dir.record(), self.dir.lock(), self.dir.bundle()].iter().any(|p| p == path)
    }

    /// Kills every process of the container's cgroup and waits until none is left.
    pub fn kill(&self) -> io::Result<()> {
        let end = clock::boot_ms().saturating_add(KILL_MS);
        let mut pause = std::time::Duration::from_millis(1);
        while self.cgroups.kill_all(&self.cgroup())? > 0 {
            // Orphans among them are our children: as zombies they would stay in the group.
            crate::sys::spawn::reap();
            if clock::boot_ms() >= end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "processes outlive SIGKILL"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(std::time::Duration::from_millis(50));
        }
        Ok(())
    }

    /// A group whose last process has just ended stays busy for a moment.
    fn remove_cgroup(&self) -> io::Result<()> {
        let end = clock::boot_ms().saturating_add(2000);
        loop {
            match self.cgroups.remove(&self.cgroup()) {
                Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) && clock::boot_ms() < end => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                other => return other,
            }
        }
    }
}

fn note(left: &mut Vec<String>, what: &str, path: &Path, result: io::Result<()>) {
    if let Err(e) = result {
        left.push(format!("{what} {}: {e}", path.display()));
    }
}

/// Removes a directory in which something may be mounted: runc mounts its own binary in its own directory for a moment, and may
/// be killed in that moment.
fn remove_mounted(path: &Path) -> io::Result<()> {
    match fs::canonicalize(path) {
        Ok(real) => mount::unmount_all(&real)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    remove(path)
}

/// Removes a file or a whole directory; nothing there is success. Links are removed, never followed.
pub fn remove(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    doom::done("a file or directory removed");
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
