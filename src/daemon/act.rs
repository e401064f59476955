//! Carrying out what the core decided: each action is a file or two and a child.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::libc;
use serde::{Deserialize, Serialize};

use super::Daemon;
use super::jobs::{Job, Purpose};
use super::runs::RunInfo;
use super::stuck;
use crate::command::{CommandLine, SELF};
use crate::core::{Action, Ending, Event, ProbeKind, RunKey, Stamp, Time, Verdict};
use crate::helper::probe::{ExecTarget, ProbeSpec};
use crate::helper::remove::{Removal, Stale, remove_group};
use crate::monitor::record::{self, MonitorSpec};
use crate::paths::{AttemptDir, container_id};
use crate::pod::{Container, EnvValue, Generation, Origin, Pod, ProbeAction};
use crate::runtime::engine::Engine;
use crate::runtime::pod_group::PodGroup;
use crate::runtime::process::expand;
use crate::runtime::runc::{self, Runc};
use crate::source::keep::Keep;
use crate::sys::atomic::{self, Durability};
use crate::sys::cgroup::Cgroups;
use crate::sys::clock;
use crate::sys::doom;
use crate::sys::process;
use crate::sys::spawn::ExitStatus;
use crate::{error, info, warning};

/// A helper that clears away or removes may take this long, in milliseconds.
const CLEAR_MS: u64 = 120_000;
/// Manifests are kept on disk when no container is being started, or after this many milliseconds.
const KEEP_LATER_MS: u64 = 2_000;
/// Manifests that could not be kept on disk are tried again after this many milliseconds.
const KEEP_AGAIN_MS: u64 = 10_000;
/// What a probe's helper may take beyond the probe's own timeout, in milliseconds.
const PROBE_SLACK_MS: u64 = 5_000;
/// So many runtimes are called at a time to send signals: a full stop of hundreds of Pods is not to fill the memory with them.
const MOST_SIGNALS: usize = 16;

/// RUN/pods/GENERATION/pod.json: enough to make the same Pod again.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredPod {
    /// [`record::VERSION`].
    pub version: u32,
    /// The boot in which this was written.
    pub boot_id: String,
    /// The node's name at that time.
    pub node: String,
    /// File and document.
    pub origin: Origin,
    /// The input document.
    pub document: serde_json::Value,
}

impl Daemon {
    pub(super) fn act(&mut self, action: Action, now: Stamp) {
        match action {
            Action::Open { pod } => self.open(&pod),
            Action::Start { pod, run } => self.start(&pod, run, now),
            Action::Term { pod, run, why } => {
                info!("{}/{}: stopping (grace {} s): {why}", pod.key, run.container, pod.grace_seconds);
                let signal = self.stop_signal(&run);
                self.signal(run, signal);
            }
            Action::Kill { pod, run } => {
                if self.is_new(format!("kill {run}"), "") {
                    warning!("{}/{}: did not end within its grace period: KILL", pod.key, run.container);
                } else {
                    self.kill_by_docker(&run);
                }
                self.signal(run, libc::SIGKILL);
            }
            Action::GiveUp { pod, run } => self.give_up(&pod, run),
            Action::Sweep { run } => self.sweep(run),
            Action::Probe { pod, run, kind } => self.probe(&pod, run, kind),
            Action::Hook { pod, run, kind, within_ms } => self.hook(&pod, run, kind, within_ms),
            Action::Pull { reference } => self.pull(&reference),
            Action::Remove { pod } => self.remove(&pod),
        }
    }

    fn open(&mut self, pod: &Rc<Pod>) {
        let generation = pod.generation.clone();
        let stored = self.store_pod(pod);
        if let Err(e) = stored {
            // The life goes on without it: a later daemon would then see a stray and stop it in good order.
            error!("{}: cannot write {}: {e}", pod.key, self.config.roots.pod(&generation).display());
        }
        // Nothing of a life stands here before it begins, unless it is one that could not be read when the daemon began.
        let left = self.run_dirs(&generation);
        // The newest of each container. Not a number above it: two of them would live at a time.
        let newest: BTreeMap<_, _> = left.iter().map(|(r, _)| (r.container.clone(), r.attempt)).collect();
        // Known already: its sandbox was lost, and is made anew. To be told of it again would only ask for that again.
        // What is over waits only for its removal.
        if left.iter().any(|(run, dir)| !self.runs.contains_key(run) && !self.finished.contains(dir)) {
            match self.take_over(pod.clone(), left) {
                Ok(found) => {
                    warning!("{}: runs already; its damaged state is made anew", pod.key);
                    self.tell_found(found);
                }
                Err(e) => error!("{}: what runs of it cannot be taken over: {e}", pod.key),
            }
        }
        let first_attempts = pod
            .all_containers()
            .map(|c| {
                let dir = self.config.roots.pod_logs(pod).join(c.name.as_str());
                let attempt = newest.get(&c.name).copied().unwrap_or_else(|| first_free_attempt(&dir));
                (c.name.clone(), attempt)
            })
            .collect();
        self.open_sandbox(pod, first_attempts);
    }

    fn store_pod(&self, pod: &Pod) -> io::Result<()> {
        let dir = self.config.roots.pod(&pod.generation);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let document = match self.merged.good.get(&pod.key) {
            Some(good) if good.pod.generation == pod.generation => serde_json::from_str(&good.canonical)?,
            // Held back since: what runs on is what was stored when it began.
            Some(_) | None => return Ok(()),
        };
        let stored = StoredPod {
            version: record::VERSION,
            boot_id: self.boot_id.clone(),
            node: pod.node.to_string(),
            origin: pod.origin.clone(),
            document,
        };
        atomic::write(&dir.join("pod.json"), &serde_json::to_vec(&stored)?, 0o600, Durability::Process)
    }

    fn start(&mut self, pod: &Rc<Pod>, run: RunKey, now: Stamp) {
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

    fn stop_signal(&self, run: &RunKey) -> i32 {
        self.runs
            .get(run)
            .and_then(|info| info.read_record(&self.boot_id))
            .and_then(|r| r.stop_signal)
            .unwrap_or(libc::SIGTERM)
    }

    fn signal(&mut self, run: RunKey, signal: i32) {
        self.unsent.push_back((run, signal));
        self.send_signals();
    }

    fn send_signals(&mut self) {
        while self.jobs.count(|p| matches!(p, Purpose::Signal(..))) < MOST_SIGNALS
            && let Some((run, signal)) = self.unsent.pop_front()
        {
            self.send_signal(run, signal);
        }
    }

    fn send_signal(&mut self, run: RunKey, signal: i32) {
        let Some(info) = self.runs.get(&run) else { return };
        // Exact to the millisecond, and whether a runtime answers or not. Only KILL is runc's: a frozen container of cgroup v1
        // has to be thawed to die.
        let is_for_runtime = info.engine.docker().is_none() && signal == libc::SIGKILL;
        if !is_for_runtime && self.signal_directly(&run, signal) {
            return;
        }
        let root = self.config.roots.runc();
        let line = match &info.engine {
            Engine::Runc { binary } => Runc { binary, root: &root }.kill(&info.id, signal),
            Engine::Docker(_) => return,
        };
        if let Err(e) = self.jobs.start(Purpose::Signal(run.clone(), signal), &line, true) {
            warning!("{}: the runtime cannot be called ({e}): the signal is sent directly", info.name(&run));
            self.signal_directly(&run, signal);
        }
    }

    /// For what our own KILL has not ended: it may be paused, and docker knows how to thaw it. Nothing waits for this: KILL
    /// follows again.
    fn kill_by_docker(&mut self, run: &RunKey) {
        let purpose = Purpose::Signal(run.clone(), libc::SIGKILL);
        if self.world.trouble().is_some() || self.jobs.any(|p| *p == purpose) {
            return;
        }
        let Some(info) = self.runs.get(run) else { return };
        if let (Some(docker), Some(id)) = (info.engine.docker(), info.container(&self.boot_id))
            && let Err(e) = self.jobs.start(purpose, &docker.kill(&id), true)
        {
            warning!("{}: docker kill cannot be started: {e}", info.name(run));
        }
    }

    /// By our own record, through a pidfd whose start time matches. False when it could not be sent: there is no record, or
    /// the kernel refuses.
    fn signal_directly(&self, run: &RunKey, signal: i32) -> bool {
        let Some(info) = self.runs.get(run) else { return true };
        let Some(record) = info.read_record(&self.boot_id) else { return false };
        let Some(init) = record.init.filter(|_| record.end.is_none()) else { return record.end.is_some() };
        let sent = process::pidfd_open(init.pid).and_then(|fd| {
            if process::start_ticks(init.pid)? == Some(init.start_ticks) {
                process::pidfd_signal(fd.as_fd(), signal)?;
            }
            Ok(())
        });
        match sent {
            Ok(()) => true,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => true,
            Err(e) => {
                error!("{}: signal {signal} cannot be sent: {e}", info.name(run));
                false
            }
        }
    }

    fn sweep(&mut self, run: RunKey) {
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

    fn probe(&mut self, pod: &Rc<Pod>, run: RunKey, kind: ProbeKind) {
        let Some(container) = pod.container(&run.container) else { return };
        let rule = match kind {
            ProbeKind::Startup => &container.startup,
            ProbeKind::Liveness => &container.liveness,
            ProbeKind::Readiness => &container.readiness,
        };
        let (Some(rule), Some(info)) = (rule, self.runs.get(&run)) else { return };
        let timeout_ms = u64::from(rule.timeout) * 1000;
        let exec = matches!(rule.action, ProbeAction::Exec { .. }).then(|| ExecTarget {
            engine: info.engine.clone(),
            runc_root: self.config.roots.runc(),
            id: info.name_in(&self.boot_id),
        });
        let spec = ProbeSpec {
            action: expanded(&rule.action, container),
            timeout_ms,
            default_host: self.address_of(pod),
            exec,
        };
        let started = serde_json::to_vec(&spec).map_err(io::Error::from).and_then(|spec| {
            let line = CommandLine::new(SELF)
                .arg("probe")
                .stdin(spec)
                .deadline(timeout_ms.saturating_add(PROBE_SLACK_MS));
            self.jobs.start(Purpose::Probe(run.clone(), kind), &line, true)
        });
        if let Err(e) = started {
            let message = format!("the prober cannot be started: {e}");
            self.events.push_back(Event::Probed { run, kind, verdict: Verdict::Unknown, message });
        }
    }

    fn remove(&mut self, pod: &Rc<Pod>) {
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

    /// Takes in the end of a child.
    pub(super) fn job_ended(&mut self, job: Job, status: ExitStatus) {
        let Job { purpose, output, cut, overdue } = job;
        match purpose {
            Purpose::Monitor(run) => self.monitor_ended(run, status),
            Purpose::Sweep(run) => self.sweep_ended(run, status, &output),
            Purpose::Signal(run, signal) => {
                if !status.success() {
                    // The run may have ended meanwhile; otherwise runc has failed, and we have not.
                    self.signal_directly(&run, signal);
                }
                self.send_signals();
            }
            Purpose::Probe(run, kind) => {
                let verdict = match (overdue, status) {
                    (true, _) => Verdict::Failure,
                    (false, ExitStatus::Code(0)) => Verdict::Success,
                    (false, ExitStatus::Code(1)) => Verdict::Failure,
                    (false, ExitStatus::Code(_) | ExitStatus::Signal(_)) => Verdict::Unknown,
                };
                self.count_verdict(kind, verdict);
                // A probe that goes on to fail says the same each time; a new failure after a success is news.
                let subject = format!("{} {run}", kind.as_str());
                if verdict == Verdict::Success {
                    self.said.remove(&subject);
                } else if self.runs.contains_key(&run)
                    && self.is_new(subject, &output)
                    && let Some(info) = self.runs.get(&run)
                {
                    warning!("{}: {} probe: {output}", info.name(&run), kind.as_str());
                }
                self.events.push_back(Event::Probed { run, kind, verdict, message: output });
            }
            Purpose::Hook(run, kind) => self.hook_ended(run, kind, status, output),
            Purpose::Sandbox(key, generation, first) => {
                self.sandbox_ended(&key, generation, first, status, &output, overdue);
            }
            Purpose::Project(changed) => self.projected(changed, status, &output),
            Purpose::Load => self.load_ended(status, &output),
            Purpose::Images => self.images_listed(status, &output, cut),
            Purpose::Pull(reference) => self.pull_ended(reference, status, output),
            Purpose::Remove(key, generation) => self.remove_ended(key, generation, status, &output),
            Purpose::Stale => {
                if !status.success() {
                    warning!("what earlier boots left cannot be removed: {output} ({status})");
                }
            }
            Purpose::Version => self.version_told(status, &output),
            Purpose::Events => self.events_ended(status),
            Purpose::Look => self.looked(status, &output, overdue),
            Purpose::Fetch(source) => self.fetched(source, status, &output, overdue),
            Purpose::Mirror => self.mirror_ended(status),
            Purpose::Keep => {
                if status.success() {
                    self.unkept.clear();
                } else {
                    warning!("the last good manifests cannot be kept on disk: {output} ({status})");
                    self.keep_failed = true;
                    self.keep_again = Some(clock::boot_ms().saturating_add(KEEP_AGAIN_MS));
                }
            }
        }
    }

    fn remove_ended(
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

    /// Asks runc which version it is; nothing waits for the answer.
    pub(super) fn ask_version(&mut self) {
        if self.docker().is_some() {
            return;
        }
        let root = self.config.roots.runc();
        let line = Runc { binary: self.engine.binary(), root: &root }.version();
        if let Err(e) = self.jobs.start(Purpose::Version, &line, true) {
            warning!("{} --version cannot be started: {e}", self.engine.binary().display());
        }
    }

    fn version_told(&mut self, status: ExitStatus, output: &str) {
        match runc::parse_version(output).filter(|_| status.success()) {
            Some(version) => {
                if let Some(why) = runc::vulnerable(&version) {
                    let line = format!("vulnerable-runtime: {}: {why}", self.engine.binary().display());
                    warning!("{line}");
                    self.publisher.warn(line);
                }
            }
            None => warning!("{} --version: {output} ({status})", self.engine.binary().display()),
        }
    }

    /// Hands the last good manifests to a child that writes them durably.
    pub(super) fn keep_also(&mut self, keep: Keep) {
        self.kept_beside.retain(|old| !keep.is_of_file_of(old));
        self.kept_beside.push(keep);
    }

    pub(super) fn keep_manifests(&mut self) {
        if self.jobs.any(|p| *p == Purpose::Keep) {
            return;
        }
        let now = clock::boot_ms();
        let mut new: Vec<_> = self.sources.iter_mut().flat_map(|s| s.standing_mut().take_keeps()).collect();
        new.append(&mut self.kept_beside);
        if !new.is_empty() {
            self.unkept.retain(|old| !new.iter().any(|n| n.is_of_file_of(old)));
            self.unkept.extend(new);
            self.keep_again = self.keep_again.into_iter().chain([now.saturating_add(KEEP_LATER_MS)]).min();
        }
        // It waits for the disk, and whoever starts a container would wait for the disk with it.
        let is_due = |at: u64| at <= now || self.world.starting(Time(now)) == 0 && !self.keep_failed;
        if !self.keep_again.is_some_and(is_due) {
            return;
        }
        self.keep_again = None;
        self.keep_failed = false;
        let started = serde_json::to_vec(&self.unkept).map_err(io::Error::from).and_then(|list| {
            let line = CommandLine::new(SELF).arg("keep").stdin(list).deadline(CLEAR_MS);
            self.jobs.start(Purpose::Keep, &line, true)
        });
        if let Err(e) = started {
            warning!("the last good manifests cannot be kept on disk: {e}");
            self.keep_failed = true;
            self.keep_again = Some(now.saturating_add(KEEP_AGAIN_MS));
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

/// A probe's command has its `$(VAR)` expanded from what the manifest itself says of the environment, as under the kubelet.
pub fn expanded(action: &ProbeAction, container: &Container) -> ProbeAction {
    match action {
        ProbeAction::Exec { command } => {
            let mut known = BTreeMap::new();
            for variable in &container.env {
                let EnvValue::Text(text) = &variable.value else { continue };
                let value = expand(text, &known);
                known.insert(variable.name.clone(), value);
            }
            ProbeAction::Exec { command: command.iter().map(|word| expand(word, &known)).collect() }
        }
        ProbeAction::HttpGet { .. } | ProbeAction::TcpSocket { .. } | ProbeAction::Grpc { .. } => {
            action.clone()
        }
    }
}

/// One above the highest attempt that has a log file.
fn first_free_attempt(dir: &PathBuf) -> u32 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .filter_map(|e| e.file_name().to_str()?.split('.').next()?.parse::<u32>().ok())
        .max()
        .map_or(0, |n| n.saturating_add(1))
}
