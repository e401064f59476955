//! The processes that own a run: a monitor begins it, and where a monitor has gone before its work was done, a sweeper clears
//! the run away. Both go by a spec on disk, so they need no daemon. What becomes of them is told in `runs`.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::rc::Rc;

use super::Daemon;
use super::jobs::{CLEAR_MS, Purpose};
use super::runs::RunInfo;
use crate::command::{CommandLine, SELF};
use crate::core::{Ending, Event, RunKey, Stamp};
use crate::error;
use crate::monitor::record::{self, MonitorSpec};
use crate::paths::{AttemptDir, container_id};
use crate::pod::Pod;
use crate::sys::atomic::{self, Durability};

impl Daemon {
    pub(super) fn start(&mut self, pod: &Rc<Pod>, run: RunKey, now: Stamp) {
        // What could not be made is tried again under its number, maybe in the very turn in which the former try was
        // cleared away: its directory goes first, or the new monitor would find the old record, and its own spec removed.
        let dir = self.config.roots.attempt(&run.generation, &run.container, run.attempt);
        if self.finished.contains(&dir) {
            self.publish();
            self.remove_now(&dir);
        }
        match self.spawn_monitor(pod, &run) {
            Ok(info) => {
                self.runs.insert(run, info);
            }
            Err(e) => {
                let message = format!("its monitor cannot be started: {e}");
                error!("{}/{}: {message}", pod.key, run.container);
                let ending = Ending::NotCreated { reason: "CreateContainerError".to_owned(), message };
                self.events.push_back(Event::Ended { run: run.clone(), ending, at: now, message: None });
                self.events.push_back(Event::Cleared { run });
            }
        }
    }

    fn spawn_monitor(&mut self, pod: &Rc<Pod>, run: &RunKey) -> io::Result<RunInfo> {
        let dir = self.config.roots.attempt(&run.generation, &run.container, run.attempt);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir.0)?;
        self.write_spec(pod, run, &dir)?;
        let line =
            CommandLine::new(SELF).arg("monitor").arg(&dir.0).arg(format!("{}/{}", pod.key, run.container));
        self.jobs.start(Purpose::Monitor(run.clone()), &line, false)?;
        let id = container_id(&run.generation, &run.container, run.attempt);
        Ok(RunInfo::child(dir, id, pod.key.clone(), self.engine.clone()))
    }

    fn write_spec(&self, pod: &Pod, run: &RunKey, dir: &AttemptDir) -> io::Result<()> {
        let spec = MonitorSpec {
            version: record::VERSION,
            boot_id: self.boot_id.clone(),
            id: container_id(&run.generation, &run.container, run.attempt),
            pod: pod.clone(),
            container: run.container.clone(),
            attempt: run.attempt,
            roots: self.config.roots.clone(),
            engine: self.engine.clone(),
            image: self.image_for_docker(pod, &run.container),
            cgroup_root: self.config.cgroup_root.clone(),
            cgroups: self.cgroups.clone(),
            log_max_bytes: self.config.log_max_bytes,
            log_max_files: self.config.log_max_files,
            cluster_dns: self.config.cluster_dns.iter().map(ToString::to_string).collect(),
            cluster_domain: self.config.cluster_domain.clone(),
        };
        atomic::write(&dir.spec(), &serde_json::to_vec(&spec)?, 0o600, Durability::Process)
    }

    pub(super) fn sweep(&mut self, run: RunKey) {
        let dir = self.config.roots.attempt(&run.generation, &run.container, run.attempt);
        // A sweeper goes by the spec. It may be damaged, or (a daemon was killed, a disk was full) never have been written.
        if !MonitorSpec::is_readable(&dir)
            && let Some(life) =
                self.world.key_of(&run).and_then(|k| self.world.slot(k)).and_then(|s| s.life.as_ref())
            && let Err(e) = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir.0)
                .and_then(|()| self.write_spec(&life.pod, &run, &dir))
        {
            error!("{run}: {} cannot be written: {e}", dir.spec().display());
        }
        let line = CommandLine::new(SELF).arg("sweep").arg(&dir.0).deadline(CLEAR_MS);
        if let Err(e) = self.jobs.start(Purpose::Sweep(run.clone()), &line, true) {
            error!("{run}: a sweeper cannot be started: {e}");
            self.events.push_back(Event::SweepFailed { run, error: Some(e.to_string()) });
        }
    }
}
