//! The runs that this daemon knows: who monitors each, and what their records have told so far.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::adopt::living_monitor;
use super::docker_ends::Word;
use super::jobs::Purpose;
use super::{Daemon, docker, now, stuck};
use crate::core::{Ending, Event, GIVEN_UP, RunKey, Stamp, Time};
use crate::monitor::HELD;
use crate::monitor::record::{End, Record, RecordPhase};
use crate::paths::AttemptDir;
use crate::pod::{ContainerId, ContainerName, Generation, Pod, PodKey};
use crate::runtime::docker::is_unreachable;
use crate::runtime::engine::Engine;
use crate::sys::spawn::ExitStatus;
use crate::sys::{clock, doom, process};
use crate::{info, warning};

/// A record that could not be read is looked at again after this many milliseconds.
const LOOK_AGAIN_MS: u64 = 1_000;

/// One run.
#[derive(Debug)]
pub struct RunInfo {
    dir: AttemptDir,
    /// Its name for the runtime.
    pub id: ContainerId,
    key: PodKey,
    /// What runs it: not always what this daemon begins runs by.
    pub engine: Engine,
    pub monitor: Monitor,
    /// The start that was told: Unix time in milliseconds.
    told_started: Option<i64>,
    told_ended: bool,
    /// What docker has told of its end.
    pub word: Word,
}

/// Who watches a run.
#[derive(Debug)]
pub enum Monitor {
    /// A child of ours: `waitpid` tells of its end.
    Child,
    /// The child of an earlier daemon, or with docker the container's own first process: its pidfd tells of its end.
    Adopted(OwnedFd),
    /// docker's container runs, but could not be looked at: it is tried again.
    Unseen,
    /// The process of docker's container has ended; docker's word on how is waited for until then (boot clock, milliseconds).
    Awaited { until: u64 },
    /// Nobody any more.
    Gone,
}

impl RunInfo {
    /// A run whose monitor we have just started.
    pub fn child(dir: AttemptDir, id: ContainerId, key: PodKey, engine: Engine) -> Self {
        Self {
            dir,
            id,
            key,
            engine,
            monitor: Monitor::Child,
            told_started: None,
            told_ended: false,
            word: Word::default(),
        }
    }

    /// A run that an earlier daemon left, with its monitor's pidfd if that lives; what its record said has been told.
    pub fn found(
        dir: AttemptDir,
        id: ContainerId,
        key: PodKey,
        engine: Engine,
        monitor: Monitor,
        record: Option<&Record>,
    ) -> Self {
        Self {
            dir,
            id,
            key,
            engine,
            monitor,
            told_started: record.filter(|r| r.init.is_some()).and_then(|r| r.started_unix_ms),
            told_ended: record.is_some_and(|r| r.end.is_some()),
            word: Word::default(),
        }
    }

    /// The pidfd to poll.
    pub fn adopted_monitor(&self) -> Option<BorrowedFd<'_>> {
        match &self.monitor {
            Monitor::Adopted(fd) => Some(fd.as_fd()),
            Monitor::Child | Monitor::Unseen | Monitor::Awaited { .. } | Monitor::Gone => None,
        }
    }

    /// Until when docker's word on its end is waited for (boot clock, milliseconds).
    pub fn awaits_word(&self) -> Option<u64> {
        match self.monitor {
            Monitor::Awaited { until } => Some(until),
            Monitor::Child | Monitor::Adopted(_) | Monitor::Unseen | Monitor::Gone => None,
        }
    }

    /// Whose it is.
    pub fn pod(&self) -> &PodKey {
        &self.key
    }

    /// Where its files lie.
    pub fn directory(&self) -> &Path {
        &self.dir.0
    }

    /// docker's id of it, once there is one.
    pub fn container(&self, boot_id: &str) -> Option<String> {
        self.read_record(boot_id).and_then(|record| record.container)
    }

    /// What the runtime calls it.
    pub fn name_in(&self, boot_id: &str) -> ContainerId {
        match self.engine {
            Engine::Runc { .. } => self.id.clone(),
            Engine::Docker(_) => self.container(boot_id).map_or_else(|| self.id.clone(), ContainerId::new),
        }
    }

    /// For log lines.
    pub fn name(&self, run: &RunKey) -> String {
        format!("{}/{}", self.key, run.container)
    }

    /// What its monitor has written, if it is whole and of this boot.
    pub fn read_record(&self, boot_id: &str) -> Option<Record> {
        Record::read(&self.dir, boot_id)
    }
}

/// When a run was started, by its record.
pub fn started(record: &Record) -> Option<Stamp> {
    Some(Stamp { boot: Time(record.started_boot_ms?), unix_ms: record.started_unix_ms? })
}

/// How and when a run ended, by its record.
pub fn ended(record: &Record) -> Option<(Ending, Stamp)> {
    let end = record.end.as_ref()?;
    let at = Stamp { boot: Time(record.finished_boot_ms?), unix_ms: record.finished_unix_ms? };
    let ending = match end {
        End::Exited { code } => Ending::Exited { code: *code },
        End::Signaled { signal, oom } => Ending::Signaled { signal: *signal, oom: *oom },
        End::NotStarted { reason, message } => {
            let (reason, message) = (reason.clone(), message.clone());
            // What never came to be made is the host's or the manifest's fault and leaves no log file behind.
            if reason.starts_with("Create") || reason.starts_with("Image") || reason == "FailedMount" {
                Ending::NotCreated { reason, message }
            } else {
                Ending::NotStarted { reason, message }
            }
        }
        End::Lost => Ending::Lost,
    };
    Some((ending, at))
}

impl Daemon {
    /// A line from the FIFO: a monitor's `GENERATION CONTAINER ATTEMPT`, or `request`.
    pub(super) fn nudged(&mut self, line: &str) {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next().and_then(|n| n.parse().ok())) {
            (Some("request"), _, _) => self.has_requests = true,
            (Some(generation), Some(container), Some(attempt)) => {
                let run = RunKey {
                    generation: Generation::new(generation),
                    container: ContainerName::new(container),
                    attempt,
                };
                self.look_at_record(&run);
            }
            _ => {}
        }
    }

    /// When nudges may have been lost, every record is looked at.
    pub(super) fn look_at_every_record(&mut self) {
        let all: Vec<RunKey> = self.runs.keys().cloned().collect();
        for run in all {
            self.look_at_record(&run);
            if self.runs.get(&run).is_some_and(|info| matches!(info.monitor, Monitor::Unseen))
                && !self.watch_container(&run)
            {
                self.events.push_back(Event::MonitorLost { run });
            }
        }
    }

    /// Tells the core what a record says that it has not been told.
    fn look_at_record(&mut self, run: &RunKey) {
        let Some(info) = self.runs.get_mut(run) else { return };
        let Some(record) = Record::read(&info.dir, &self.boot_id) else {
            if info.dir.record().exists() {
                // No descriptor is to be had, or it is damaged: without another look its start would never be known.
                self.look_again = Some(clock::boot_ms().saturating_add(LOOK_AGAIN_MS));
            }
            return;
        };
        let name = info.name(run);
        if record.init.is_some()
            && let Some(at) = started(&record).filter(|at| info.told_started != Some(at.unix_ms))
        {
            match (info.told_started.replace(at.unix_ms), run.attempt) {
                (Some(_), _) => info!("{name}: was started anew, by somebody else"),
                (None, 0) => info!("{name}: started"),
                (None, n) => info!("{name}: started (restart {n})"),
            }
            for warning in &record.warnings {
                // The same for every container of this host: told once.
                if self.host_warnings.insert(warning.clone()) {
                    warning!("{name}: {warning}");
                }
            }
            let (image_id, container) = (record.image_id.clone(), record.container.clone());
            self.events.push_back(Event::Started { run: run.clone(), at, image_id, container });
        }
        if !info.told_ended
            && let Some((ending, at)) = ended(&record)
        {
            info.told_ended = true;
            announce(&name, &ending);
            self.events.push_back(Event::Ended {
                run: run.clone(),
                ending,
                at,
                message: record.termination_message.clone(),
            });
        }
    }

    /// A monitor of ours has ended.
    pub(super) fn monitor_ended(&mut self, run: RunKey, status: ExitStatus) {
        if let Some(info) = self.runs.get_mut(&run) {
            info.monitor = Monitor::Gone;
            if !status.success() && info.engine.docker().is_none() {
                warning!("{}: its monitor ended before its work was done ({status})", info.name(&run));
            }
        }
        if !status.success() {
            // A sweep will see to it, and tell; that docker does not answer is seen by a look.
            self.look_soon();
        }
        self.monitor_gone(run, status.success());
    }

    /// Looks which adopted monitors have ended.
    pub(super) fn adopted_ended(&mut self) {
        let adopted = self.runs.iter().filter_map(|(run, info)| Some((run, info.adopted_monitor()?)));
        let (runs, mut fds): (Vec<&RunKey>, Vec<PollFd<'_>>) =
            adopted.map(|(run, fd)| (run, PollFd::new(fd, PollFlags::POLLIN))).unzip();
        if fds.is_empty() || !poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0) {
            return;
        }
        let ended: Vec<RunKey> = runs
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| fd.any() == Some(true))
            .map(|(r, _)| (*r).clone())
            .collect();
        for run in ended {
            if let Some(info) = self.runs.get_mut(&run) {
                info.monitor = Monitor::Gone;
            }
            self.monitor_gone(run, true);
        }
    }

    /// `said_so`: the monitor has not said that something is left of the run.
    fn monitor_gone(&mut self, run: RunKey, said_so: bool) {
        self.look_at_record(&run);
        let Some(info) = self.runs.get(&run) else { return };
        // A monitor removes its bundle last: where none is left, its work was done.
        if said_so && info.told_ended && !info.dir.bundle().exists() {
            self.cleared(run);
        } else if !(said_so && info.engine.docker().is_some() && self.watch_container(&run)) {
            self.events.push_back(Event::MonitorLost { run });
        }
    }

    /// With docker nobody stays with a container that runs: it is watched through its first process. When that has ended,
    /// somebody is sent to make an end of the run. False when the run is not in that state.
    fn watch_container(&mut self, run: &RunKey) -> bool {
        let Some(info) = self.runs.get(run) else { return false };
        // What cannot be read for want of a descriptor is no reason to end what runs.
        let living = match fs::read(info.dir.record()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(_) | Err(_) => {
                let record = info.read_record(&self.boot_id);
                let Some(init) = record.filter(|r| r.phase == RecordPhase::Running).and_then(|r| r.init)
                else {
                    return false;
                };
                docker::living(init)
            }
        };
        let monitor = match living {
            Ok(Some(fd)) => Monitor::Adopted(fd),
            Ok(None) => match self.over(run) {
                Some(monitor) => monitor,
                None => return false,
            },
            Err(e) => {
                if self.is_new(format!("watch {run}"), &e.to_string()) {
                    warning!("{run}: cannot be watched: {e}; it is tried again");
                }
                self.look_again = Some(clock::boot_ms().saturating_add(LOOK_AGAIN_MS));
                Monitor::Unseen
            }
        };
        if let Some(info) = self.runs.get_mut(run) {
            info.monitor = monitor;
        }
        true
    }

    /// Whether the first process of a container that is watched has ended.
    pub(super) fn has_died(&self, run: &RunKey) -> bool {
        let Some(info) = self.runs.get(run).filter(|info| info.adopted_monitor().is_some()) else {
            return false;
        };
        let init = info.read_record(&self.boot_id).and_then(|record| record.init);
        init.is_some_and(|init| docker::living(init).is_ok_and(|fd| fd.is_none()))
    }

    /// A sweeper has ended.
    pub(super) fn sweep_ended(&mut self, run: RunKey, status: ExitStatus, output: &str) {
        self.look_at_record(&run);
        if status == ExitStatus::Code(i32::from(HELD)) {
            return self.found_monitor(run);
        }
        if !status.success() {
            let error = if self.docker().is_some() && is_unreachable(output) {
                self.look_soon();
                None
            } else {
                let error = if output.is_empty() { status.to_string() } else { output.to_owned() };
                let times = self.world.failed_sweeps(&run).saturating_add(1);
                if times.is_power_of_two() {
                    warning!("{}", self.named(&run, &stuck::text(stuck::SWEEP, times, &error)));
                }
                Some(error)
            };
            self.events.push_back(Event::SweepFailed { run, error });
            return;
        }
        if let Some(info) = self.runs.get_mut(&run)
            && !std::mem::replace(&mut info.told_ended, true)
        {
            let name = info.name(&run);
            announce(&name, &Ending::Lost);
            self.events.push_back(Event::Ended {
                run: run.clone(),
                ending: Ending::Lost,
                at: now(),
                message: None,
            });
        }
        self.cleared(run);
    }

    /// A line about a run, which is named as people know it where that is known.
    fn named(&self, run: &RunKey, text: &str) -> String {
        match self.runs.get(run) {
            Some(info) => format!("{}: {text}", info.name(run)),
            None => format!("{run}: {text}"),
        }
    }

    /// Ends the monitor of a run that does not come to begin.
    pub(super) fn give_up(&mut self, pod: &Pod, run: RunKey) {
        warning!("{}/{}: {GIVEN_UP}", pod.key, run.container);
        match self.runs.get_mut(&run).map(|info| &mut info.monitor) {
            Some(Monitor::Child) => self.jobs.kill(|p| matches!(p, Purpose::Monitor(r) if *r == run)),
            Some(Monitor::Adopted(monitor)) => {
                // Fails only when it has just ended.
                let _ = process::pidfd_signal(monitor.as_fd(), libc::SIGKILL);
            }
            Some(monitor @ (Monitor::Unseen | Monitor::Awaited { .. } | Monitor::Gone)) => {
                *monitor = Monitor::Gone;
                self.events.push_back(Event::MonitorLost { run });
            }
            None => self.events.push_back(Event::MonitorLost { run }),
        }
    }

    /// A monitor that an earlier daemon had only just started when it died.
    fn found_monitor(&mut self, run: RunKey) {
        let monitor = self.runs.get(&run).and_then(|info| living_monitor(&info.dir).ok().flatten());
        match (monitor, self.runs.get_mut(&run)) {
            (Some(fd), Some(info)) => {
                info.monitor = Monitor::Adopted(fd);
                self.events.push_back(Event::Monitored { run });
            }
            // It has ended since: another sweep will see to what it left.
            (None, _) | (_, None) => self.events.push_back(Event::MonitorLost { run }),
        }
    }

    fn cleared(&mut self, run: RunKey) {
        if let Some(info) = self.runs.remove(&run) {
            self.finished.push(info.dir);
        }
        let name = run.to_string();
        self.said.retain(|subject, _| !subject.ends_with(&name));
        self.events.push_back(Event::Cleared { run });
    }

    /// Removes the directories of runs that are over. Only after what they told has been saved: a daemon that dies in
    /// between must find it in one place or the other.
    pub(super) fn remove_finished(&mut self) {
        // What could not be saved stands nowhere else.
        if self.publisher.is_behind() {
            return;
        }
        for dir in std::mem::take(&mut self.finished) {
            remove_or_tell(&dir);
        }
    }

    /// Removes one of them.
    pub(super) fn remove_now(&mut self, dir: &AttemptDir) {
        self.finished.retain(|d| d != dir);
        remove_or_tell(dir);
    }
}

fn remove_or_tell(dir: &AttemptDir) {
    if let Err(e) = remove_attempt(dir) {
        // It goes with the Pod at the latest.
        warning!("cannot remove {}: {e}", dir.0.display());
    }
}

/// Removes the few files that a finished run leaves, by name: nothing here follows a mount that should not be there.
pub(super) fn remove_attempt(dir: &AttemptDir) -> io::Result<()> {
    // The spec first: a run without one is known never to have begun, or to be on its way out.
    match fs::remove_file(dir.spec()) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    for entry in fs::read_dir(&dir.0)? {
        doom::done("a file of a run removed");
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(&dir.0)
}

fn announce(name: &str, ending: &Ending) {
    match ending {
        Ending::Exited { code: 0 } => info!("{name}: ended (exit code 0)"),
        Ending::Exited { code } => warning!("{name}: ended with exit code {code}"),
        Ending::Signaled { signal, oom: false } => warning!("{name}: killed by signal {signal}"),
        Ending::Signaled { oom: true, .. } => warning!("{name}: killed for want of memory (OOMKilled)"),
        Ending::NotCreated { reason, message } | Ending::NotStarted { reason, message } => {
            warning!("{name}: {reason}: {message}");
        }
        Ending::Lost => warning!("{name}: is gone, and its exit code is not known (its monitor was killed)"),
    }
}
