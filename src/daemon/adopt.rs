//! What an earlier daemon left: its Pods are taken over as they are.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use super::open::StoredPod;
use super::runs::{self, Monitor, RunInfo};
use super::{Daemon, docker, engine};
use crate::core::{Event, Found, FoundRun, RunKey, Saved};
use crate::manifest::{Context, Limits, from_canonical};
use crate::monitor::REWRITE;
use crate::monitor::record::{self, Attempt, MonitorSpec, Record, RecordPhase};
use crate::paths::{AttemptDir, container_id};
use crate::pod::{Generation, NodeName, Pod, PodKey};
use crate::sys::{lock, process};
use crate::{error, info, warning};

impl Daemon {
    /// Reads RUN/pods and tells the core of every life in it, or of those of these Pods.
    pub(super) fn find_left_behind(&mut self, only: Option<&[PodKey]>) {
        let mut found = 0;
        for generation in record::generations(&self.config.roots) {
            match self.find_pod(&generation, only) {
                Ok(Some(pod)) => {
                    found += 1;
                    self.tell_found(pod);
                }
                Ok(None) => {}
                Err(e) => {
                    let dir = self.config.roots.pod(&generation);
                    error!("{}: cannot be taken over: {e}", dir.display());
                }
            }
        }
        if found > 0 {
            info!("{found} Pods of an earlier daemon are taken over");
        }
    }

    fn find_pod(&mut self, generation: &Generation, only: Option<&[PodKey]>) -> io::Result<Option<Found>> {
        let dir = self.config.roots.pod(generation);
        let mut runs = Vec::new();
        for (run, dir) in self.run_dirs(generation) {
            // A daemon that was killed before it had written what the monitor is to do: there never was one.
            if !dir.spec().exists() && lock::holder(&dir.lock())?.is_none() {
                runs::remove_attempt(&dir)?;
            } else {
                runs.push((run, dir));
            }
        }
        let Some(pod) = self.stored_pod(&dir, &runs)? else {
            if !runs.is_empty() {
                return Err(io::Error::other("neither pod.json nor any spec.json can be read"));
            }
            // A life whose very first file was not written: nothing was ever started.
            fs::remove_dir_all(&dir)?;
            return Ok(None);
        };
        if only.is_some_and(|keys| !keys.contains(&pod.key)) {
            return Ok(None);
        }
        if pod.generation != *generation {
            // A copy that somebody made. Its runs would be taken for those of the one it was copied from.
            warning!("{}: is left alone: what is in it belongs to {}", dir.display(), pod.generation);
            return Ok(None);
        }
        self.take_over(Rc::new(pod), runs).map(Some)
    }

    /// Tells the core of a life. Namespaces that were made for another program's containers are as good as none: this one's
    /// would be put into the host's.
    pub(super) fn tell_found(&mut self, found: Found) {
        let generation = found.pod.generation.clone();
        let is_foreign = self.sandbox_of(&generation).is_some_and(|s| !s.is_for(self.docker()));
        let key = found.pod.key.clone();
        self.events.push_back(Event::Found(Box::new(found)));
        if is_foreign {
            warning!("{key}: was begun by another runtime: its containers are started anew");
            self.events.push_back(Event::SandboxLost { generation });
        }
    }

    /// What is to be told of a life of which these runs have a directory.
    pub(super) fn take_over(&mut self, pod: Rc<Pod>, runs: Vec<(RunKey, AttemptDir)>) -> io::Result<Found> {
        let dir = self.config.roots.pod(&pod.generation);
        let saved: Saved = match fs::read(dir.join("state.json")).map(|b| serde_json::from_slice(&b)) {
            Ok(Ok(saved)) => saved,
            Ok(Err(e)) => {
                warning!("{}: its saved state is damaged ({e}): counts start anew", pod.key);
                Saved::default()
            }
            Err(_) => Saved::default(),
        };
        let mut found = Vec::new();
        for (run, dir) in runs {
            let record = Record::read(&dir, &self.boot_id);
            let monitor = living_monitor(&dir)?;
            if let Some(monitor) = monitor.as_ref().filter(|_| record.is_none()) {
                // Its record is damaged, or not written yet: it knows what to write. It has gone if this fails.
                let _ = process::pidfd_signal(monitor.as_fd(), REWRITE as i32);
            }
            let id = container_id(&run.generation, &run.container, run.attempt);
            let running = record.as_ref().filter(|r| r.phase == RecordPhase::Running).and_then(|r| r.init);
            let engine = MonitorSpec::read(&dir).map_or_else(|| self.engine.clone(), |spec| spec.engine);
            let monitor = match (monitor, running.filter(|_| engine.docker().is_some())) {
                (Some(fd), _) => Monitor::Adopted(fd),
                (None, None) => Monitor::Gone,
                (None, Some(init)) => docker::living(init)?.map_or(Monitor::Child, Monitor::Adopted),
            };
            let is_over = matches!(monitor, Monitor::Child);
            found.push(FoundRun {
                run: run.clone(),
                monitored: !matches!(monitor, Monitor::Gone),
                started: record.as_ref().and_then(runs::started),
                ended: record.as_ref().and_then(runs::ended),
                message: record.as_ref().and_then(|r| r.termination_message.clone()),
                image_id: record.as_ref().and_then(|r| r.image_id.clone()),
                container: record.as_ref().and_then(|r| r.container.clone()),
            });
            let info = RunInfo::found(dir, id, pod.key.clone(), engine, monitor, record.as_ref());
            self.runs.insert(run.clone(), info);
            if is_over
                && !self.settle(run.clone())
                && let Some(last) = found.last_mut()
            {
                last.monitored = false;
            }
        }
        let sandbox = self.sandbox_of(&pod.generation);
        // A sandbox that was being made when the earlier daemon died is gone on with. Runs are begun in whole ones only, even
        // if that daemon died before it had saved that, or what it saved is damaged.
        let whole = sandbox.is_some() && (saved.opened || !found.is_empty());
        let opened = whole || !pod.needs_sandbox();
        if let Some(sandbox) = sandbox.as_ref().filter(|s| s.is_for(self.docker())) {
            self.watch_holder(&pod.generation, sandbox);
        }
        let addresses =
            sandbox.map(|s| s.addresses.iter().map(ToString::to_string).collect()).unwrap_or_default();
        Ok(Found { opened, addresses, pod, saved, runs: found })
    }

    /// The runs of a generation that have a directory.
    pub(super) fn run_dirs(&self, generation: &Generation) -> Vec<(RunKey, AttemptDir)> {
        let key = |a: Attempt| {
            (RunKey { generation: generation.clone(), container: a.container, attempt: a.attempt }, a.dir)
        };
        record::attempts(&self.config.roots, generation).into_iter().map(key).collect()
    }

    /// The Pod from its stored document; failing that, from what a monitor was told.
    fn stored_pod(&self, dir: &Path, runs: &[(RunKey, AttemptDir)]) -> io::Result<Option<Pod>> {
        if let Ok(bytes) = fs::read(dir.join("pod.json"))
            && let Ok(stored) = serde_json::from_slice::<StoredPod>(&bytes)
        {
            let node = NodeName::new(stored.node);
            let context = Context {
                node: &node,
                path: &stored.origin.path,
                limits: Limits::default(),
                runtime: engine::runtime(&self.engine),
            };
            match from_canonical(&stored.document, &context) {
                Ok(mut pod) => {
                    pod.origin = stored.origin;
                    return Ok(Some(pod));
                }
                Err(problems) => {
                    for problem in problems {
                        warning!("{}: {problem}", dir.display());
                    }
                }
            }
        }
        for (_, run) in runs {
            if let Some(spec) = MonitorSpec::read(run) {
                return Ok(Some(spec.pod));
            }
        }
        Ok(None)
    }
}

/// The pidfd of the monitor that holds the run's lock, if one does.
pub fn living_monitor(dir: &AttemptDir) -> io::Result<Option<OwnedFd>> {
    living_holder(&dir.lock())
}

/// The pidfd of the process that holds the lock at `path`, if one does.
pub fn living_holder(path: &Path) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = lock::holder(path)? else { return Ok(None) };
    let Ok(fd) = process::pidfd_open(pid) else { return Ok(None) };
    // Held before and after the descriptor was opened: it names the holder and not a later process of its number.
    Ok(lock::holder(path)?.filter(|p| *p == pid).map(|_| fd))
}
