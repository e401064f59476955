//! Containers of ours of which nothing is known any more: the run directory was removed, or moved away, while they ran. Their
//! Pods are about to be started anew, so they must not go on. What tells that they are ours is their writable layer, which
//! lies in the state directory.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::Daemon;
use crate::monitor::{kill_process, processes};
use crate::paths::Roots;
use crate::pod::Generation;
use crate::runtime::pod_group::PodGroup;
use crate::sys::cgroup::Cgroups;
use crate::sys::{clock, mount};
use crate::warning;

/// How long the processes of a container may take to vanish after KILL, in milliseconds.
const KILL_MS: u64 = 10_000;

impl Daemon {
    /// Ends them, before anything is begun.
    pub(super) fn end_strays(&self) {
        let roots = &self.config.roots;
        let layers = fs::read_dir(roots.state.join("containers")).into_iter().flatten().flatten();
        for layer in layers.map(|e| e.path()) {
            let Some(id) = layer.file_name().and_then(|n| n.to_str()) else { continue };
            let Some((generation, _)) = id.split_once('-') else { continue };
            let generation = Generation::new(generation);
            if roots.pod(&generation).exists() {
                continue;
            }
            let group = PodGroup::of(&self.config.cgroup_root, &generation, None).path();
            match end(roots, &generation, &group, &layer) {
                Ok(0) => {}
                Ok(n) => warning!("{id}: nothing was known of it any more, though {n} processes ran: ended"),
                Err(e) => warning!("{id}: nothing is known of it any more, and it cannot be ended: {e}"),
            }
        }
    }
}

/// Ends a generation and removes one layer of it; gives how many processes there were.
fn end(roots: &Roots, generation: &Generation, group: &Path, layer: &Path) -> io::Result<usize> {
    // Its monitor first: it would write of the end where the next one's record will be.
    let files = roots.pod(generation);
    let watches = |arguments: &[u8]| {
        let mut words = arguments.split(|b| *b == 0).skip(1);
        words.next() == Some(b"monitor")
            && words.next().is_some_and(|w| Path::new(std::ffi::OsStr::from_bytes(w)).starts_with(&files))
    };
    processes(watches).into_iter().try_for_each(kill_process)?;
    let cgroups = Cgroups::detect()?;
    let until = clock::boot_ms().saturating_add(KILL_MS);
    let mut ended = 0;
    loop {
        match cgroups.kill_all(group)? {
            0 => break,
            n => ended = ended.max(n),
        }
        if clock::boot_ms() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Best effort from here on: what is left runs no more.
    let upper = format!("upperdir={}/", layer.display());
    let is_of_it = |m: &mount::MountPoint| m.options.windows(upper.len()).any(|w| w == upper.as_bytes());
    for mounted in mount::list()?.iter().filter(|m| is_of_it(m)) {
        let _ = mount::unmount(&mounted.path);
    }
    let _ = cgroups.remove(group);
    let _ = fs::remove_dir_all(layer);
    Ok(ended)
}
