//! Removing what is over: what a Pod leaves behind, what earlier boots left, and at the very end the parent of all Pod
//! cgroups. Whatever may take long is a helper's work.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Daemon;
use super::jobs::{CLEAR_MS, Purpose};
use super::stuck;
use crate::command::{CommandLine, SELF};
use crate::core::Event;
use crate::helper::remove::{Removal, Stale, remove_group};
use crate::pod::{Generation, Pod};
use crate::runtime::pod_group::PodGroup;
use crate::sys::cgroup::Cgroups;
use crate::sys::doom;
use crate::sys::spawn::ExitStatus;
use crate::{error, info, warning};

impl Daemon {
    pub(super) fn remove(&mut self, pod: &Rc<Pod>) {
        self.end_sandbox_helpers(&pod.generation);
        self.forget_holder(&pod.generation);
        let spec = Removal {
            roots: self.config.roots.clone(),
            pod: Pod::clone(pod),
            cgroup_root: self.config.cgroup_root.clone(),
            cni: self.config.cni.clone(),
            docker: self.engine.docker().cloned(),
        };
        let started = serde_json::to_vec(&spec).map_err(io::Error::from).and_then(|spec| {
            let line = CommandLine::new(SELF).arg("remove").stdin(spec).deadline(CLEAR_MS);
            self.jobs.start(Purpose::Remove(pod.key.clone(), pod.generation.clone()), &line, true)
        });
        if let Err(e) = started {
            error!("{}: its remover cannot be started: {e}", pod.key);
            let (generation, left) = (pod.generation.clone(), Some(e.to_string()));
            self.events.push_back(Event::Removed { generation, left });
        }
    }

    pub(super) fn remove_ended(
        &mut self,
        key: crate::pod::PodKey,
        generation: Generation,
        status: ExitStatus,
        output: &str,
    ) {
        let dir = self.config.roots.pod(&generation);
        let left = if status.success() {
            match remove_life(&dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Some(format!("{}: {e}", dir.display())),
                Ok(()) | Err(_) => None,
            }
        } else if output.is_empty() {
            Some(status.to_string())
        } else {
            Some(output.to_owned())
        };
        match &left {
            None => {
                self.runs.retain(|run, _| run.generation != generation);
                self.said.retain(|subject, _| !subject.contains(generation.as_str()));
                self.publisher.forget_life(&dir.join("state.json"));
                info!("{key}: gone");
            }
            Some(error) => {
                let times = self.world.failed_removals(&generation).saturating_add(1);
                if times.is_power_of_two() {
                    error!("{key}: {}", stuck::text(stuck::REMOVAL, times, error));
                }
            }
        }
        self.events.push_back(Event::Removed { generation, left });
    }

    /// Removes the volumes of generations that nothing wants: their manifests went or changed while the host was down. A
    /// refused document may be one of them, so while there is one nothing is removed. They are renamed first: whoever
    /// wants the generation again meanwhile makes its volumes anew.
    pub(super) fn remove_stale(&mut self) {
        if !self.merged.refused.is_empty() {
            return;
        }
        let parent = self.config.roots.state.join("pods");
        let of_sets = self.generations_of_sets();
        let known: BTreeSet<&Generation> = self
            .world
            .slots()
            .flat_map(|(_, s)| s.want.iter().chain(s.life.iter().map(|l| &l.pod)))
            .map(|p| &p.generation)
            .chain(&of_sets)
            .collect();
        let Ok(entries) = fs::read_dir(&parent) else { return };
        let mut directories = Vec::new();
        for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
            let generation = Generation::new(name.clone());
            let stale = parent.join(format!(".stale-{name}"));
            if name.starts_with('.') {
                directories.push(parent.join(name));
            } else if !known.contains(&generation)
                && !self.config.roots.pod(&generation).exists()
                && fs::rename(parent.join(&name), &stale).is_ok()
            {
                directories.push(stale);
            }
        }
        self.remove_directories(directories);
    }

    /// Has these removed, with all that is below them.
    pub(super) fn remove_directories(&mut self, directories: Vec<PathBuf>) {
        if directories.is_empty() {
            return;
        }
        let started = serde_json::to_vec(&Stale { directories }).map_err(io::Error::from).and_then(|list| {
            let line = CommandLine::new(SELF).arg("remove").stdin(list).deadline(CLEAR_MS);
            self.jobs.start(Purpose::Stale, &line, true)
        });
        if let Err(e) = started {
            warning!("what is no longer needed cannot be removed: {e}");
        }
    }

    pub(super) fn stale_ended(&self, status: ExitStatus, output: &str) {
        if !status.success() {
            warning!("what earlier boots left cannot be removed: {output} ({status})");
        }
    }

    /// When nothing runs any more, the parent of all Pod cgroups need not stay. Best effort: it is empty, and harmless.
    pub(super) fn remove_cgroup_root(&self) {
        let root = PodGroup::parent(&self.config.cgroup_root, self.docker());
        let path = root.path();
        let removed = Cgroups::detect().and_then(|cgroups| match &root {
            // Whoever has something in there, ended with the slice.
            PodGroup::Slice(_) if !cgroups.processes(&path)?.is_empty() => Ok(()),
            PodGroup::Slice(_) | PodGroup::Path(_) => remove_group(&root),
        });
        if let Err(e) = removed {
            warning!("cgroup {}: cannot be removed: {e}", path.display());
        }
    }
}

/// Removes what is known of a life. The document first: without it a later daemon sees that the removal was under way, and
/// not a Pod that has not begun.
fn remove_life(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join("pod.json")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    doom::done("a life's document removed");
    fs::remove_dir_all(dir)
}
