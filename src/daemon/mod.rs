//! The loop, and the carrying out of what the core decides. The only room that knows all the others.
//!
//! One turn: plan → act → publish → poll until something happens or is due → take in exits first, then nudges, then
//! directories → fold each event into the world → again. Nothing in here waits but `poll`.

mod act;
mod adopt;
mod boot;
mod docker;
mod docker_ends;
mod docker_images;
mod engine;
mod fetches;
pub mod health;
mod herald;
mod hooks;
mod images;
mod jobs;
mod keep;
mod mirror;
mod monitors;
mod object;
mod objects;
mod open;
mod probes;
mod problems;
mod publish;
mod remote;
mod removals;
mod requests;
mod runs;
mod sandboxes;
mod sets;
mod signals;
mod statuses;
mod strays;
mod stuck;
mod view;
mod waits;
mod worked;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::config::{ManifestUrl, OnExit, RunConfig};
use crate::core::{BackoffRule, Event, ProbeKind, Refusal, RunKey, START_MS, Settings, Stamp, Time, World};
use crate::helper::fetch::{FetchSpec, MOST_BYTES};
use crate::manifest::{Limits, Runtime};
use crate::paths::AttemptDir;
use crate::pod::{Namespace, ObjectRef, PodKey};
use crate::runtime::docker::Docker;
use crate::runtime::engine::Engine;
use crate::source::dir::{DirSource, Rules};
use crate::source::keep::Keep;
use crate::source::url::UrlSource;
use crate::source::{self, Merged, Refused, Source};
use crate::sys::cgroup::Cgroups;
use crate::sys::fifo::Fifo;
use crate::sys::lock::Lock;
use crate::sys::signals::Signals;
use crate::sys::watch::{Change, Watcher};
use crate::sys::{clock, doom, process, spawn};
use crate::{error, info, warning};

use self::docker::DockerDesk;
use self::health::Health;
use self::herald::Herald;
use self::images::ImageDesk;
use self::jobs::Jobs;
use self::mirror::MirrorDesk;
use self::publish::Publisher;
use self::runs::RunInfo;
use self::sets::SetDesk;
pub use self::sets::{Record as SetRecord, records as set_records};
use self::worked::WorkedDesk;

/// However many SIGHUPs come, the sources are read again no sooner than so many milliseconds after the last time.
const RELOAD_PAUSE_MS: u64 = 100;

/// A wait of so many milliseconds is worth giving memory back before it.
const LONG_WAIT_MS: u32 = 1_000;

/// What this process is here for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Keep the Pods of the sources running.
    Supervise,
    /// No daemon lives: stop these Pods (all, where none is named), then end.
    Down {
        /// Which.
        pods: Vec<PodKey>,
        /// End after this many milliseconds though they are not gone; `None`: however long it takes.
        within_ms: Option<u64>,
    },
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Done,
    /// Before the loop; the reason stands on standard error.
    Failed,
    /// What was to be stopped is not gone, and the time is up.
    TimedOut,
}

/// Everything the loop holds.
struct Daemon {
    config: RunConfig,
    engine: Engine,
    /// The host's control groups; none where they could not be looked at, and whoever needs them looks.
    cgroups: Cgroups,
    boot_id: String,
    world: World,
    events: VecDeque<Event>,
    sources: Vec<Source>,
    /// How the sources that are URLs are asked.
    fetches: BTreeMap<usize, FetchSpec>,
    merged: Merged,
    sets: SetDesk,
    watcher: Option<Watcher>,
    images: ImageDesk,
    docker: DockerDesk,
    jobs: Jobs,
    runs: BTreeMap<RunKey, RunInfo>,
    /// What the sources hold of ConfigMaps and Secrets has been written once.
    objects_told: bool,
    /// Objects that volumes have not been written anew for; and when that is tried again, because it failed (boot clock,
    /// milliseconds).
    unprojected: BTreeSet<(Namespace, ObjectRef)>,
    project_again: Option<u64>,
    /// What monitors said of this host.
    host_warnings: BTreeSet<String>,
    /// What was said last about a thing that is tried again and again: the same is not said twice.
    said: BTreeMap<String, String>,
    /// No daemon has worked on the state directory in this boot before: volumes in it may be of Pods that are no more.
    is_first_of_boot: bool,
    /// Signals that wait until others have been sent.
    unsent: VecDeque<(RunKey, i32)>,
    /// Directories of runs that are over.
    finished: Vec<AttemptDir>,
    publisher: Publisher,
    /// A verb has asked for something; it stands in a file.
    has_requests: bool,
    /// Such files of which the core has been told; they go when what they asked for is saved.
    taken: Vec<PathBuf>,
    /// The same of requests to start Pods anew.
    restarting: Vec<PathBuf>,
    /// What is to be kept of manifests on disk and is not yet known to be.
    unkept: Vec<Keep>,
    /// The same of sets, not yet asked for.
    kept_beside: Vec<Keep>,
    /// When that is done at the latest, or tried again, because it failed (boot clock, milliseconds).
    keep_again: Option<u64>,
    /// It has failed: it is not tried again before then.
    keep_failed: bool,
    /// When records are looked at again, because one could not be read (boot clock, milliseconds).
    look_again: Option<u64>,
    /// When every source is read again, because SIGHUP asked for it; and when that was done last (boot clock, milliseconds).
    reload: Option<u64>,
    reloaded: u64,
    /// When this process ends though what it was to stop is not gone (boot clock, milliseconds).
    give_up_at: Option<u64>,
    /// When the core was asked last what is to be done: what has become due since then is still to come.
    planned_at: Time,
    /// The last `poll` failed.
    poll_fails: bool,
    herald: Herald,
    health: Option<Health>,
    mirror: MirrorDesk,
    worked: WorkedDesk,
    /// How often which probe has found what.
    verdicts: BTreeMap<(ProbeKind, &'static str), u64>,
    started_unix_ms: i64,
    /// Of the run and the state directory; held until the end of the process.
    _locks: (Lock, Option<Lock>),
}

/// Runs the daemon until it is told to end. Everything that can go wrong before the loop ends the process with a precise
/// line; nothing does once the loop runs.
pub fn run(config: RunConfig, task: Task) -> End {
    let only = match &task {
        Task::Down { pods, .. } if !pods.is_empty() => Some(pods.clone()),
        Task::Down { .. } | Task::Supervise => None,
    };
    match boot::boot(config, only.as_deref()) {
        Ok((daemon, signals, fifo)) => daemon.serve(signals, fifo, task),
        Err(e) => {
            eprintln!("podstrap: {e}");
            End::Failed
        }
    }
}

/// The docker CLI at `binary`, else the one on the fixed search path, once it is known to be usable and whose it is.
///
/// # Errors
/// It is not there, it does not tell its version, or others than root may change it; for people.
pub fn docker_cli(binary: Option<&Path>) -> Result<Docker, String> {
    engine::docker(binary).map_err(|e| e.to_string())
}

fn now() -> Stamp {
    Stamp { boot: Time(clock::boot_ms()), unix_ms: clock::unix_ms() }
}

fn settings(config: &RunConfig) -> Settings {
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    Settings {
        backoff: BackoffRule { initial_ms: config.backoff.initial_ms, max_ms: config.backoff.max_ms },
        parallel_starts: (cpus * 2).max(4),
        start_ms: start_ms(),
    }
}

/// How long a start may take, in milliseconds.
#[cfg(not(debug_assertions))]
fn start_ms() -> u64 {
    START_MS
}

/// The same; tests do not wait for so long. A release build has nothing of it.
#[cfg(debug_assertions)]
fn start_ms() -> u64 {
    let told = std::env::var("PODSTRAP_TEST_START_MS").ok().and_then(|text| text.parse().ok());
    told.unwrap_or(START_MS)
}

fn sources(config: &RunConfig, runtime: Runtime) -> Vec<Source> {
    let rules = Rc::new(Rules {
        node: config.node.clone(),
        limits: Limits {
            max_bytes: usize::try_from(config.max_manifest_bytes).unwrap_or(usize::MAX),
            ..Limits::default()
        },
        runtime,
        rescan_ms: config.rescan_ms,
        on_missing: config.missing_dir,
        allow_foreign: config.allow_foreign,
        keep_dir: config.roots.manifests(),
    });
    let dirs =
        config.manifest_dirs.iter().map(|d| Source::Dir(Box::new(DirSource::new(d.clone(), rules.clone()))));
    let most_bytes = usize::try_from(MOST_BYTES).unwrap_or(usize::MAX);
    let url = |u: &ManifestUrl| {
        let source =
            UrlSource::new(u.url.clone(), u.shown.clone(), config.asking.period_ms, most_bytes, &rules);
        Source::Url(Box::new(source))
    };
    dirs.chain(config.manifest_urls.iter().map(url)).collect()
}

impl Daemon {
    fn serve(mut self, mut signals: Signals, mut fifo: Fifo, task: Task) -> End {
        let mut is_ending = false;
        // Before anything is done about what was found: what is to be stopped must not be started first.
        let only = match task {
            Task::Supervise => None,
            Task::Down { pods, within_ms } => {
                self.give_up_at = within_ms.map(|ms| clock::boot_ms().saturating_add(ms));
                is_ending = pods.is_empty();
                self.events.push_back(match is_ending {
                    true => Event::Drain,
                    false => Event::Hold { pods: pods.iter().cloned().collect() },
                });
                Some(pods).filter(|pods| !pods.is_empty())
            }
        };
        is_ending |= only.is_none() && self.asked_to_end(is_ending);
        self.fold();
        if only.is_none() {
            self.forget_old_status();
        }
        loop {
            self.fold();
            if is_ending && self.world.is_empty() {
                info!("every Pod is stopped");
                self.publish();
                self.inform();
                self.remove_cgroup_root();
                self.forget_requests();
                return End::Done;
            }
            if let Some(pods) = &only
                && pods.iter().all(|k| self.world.slot(k).is_none_or(|s| s.life.is_none()))
            {
                self.publish();
                return End::Done;
            }
            if self.give_up_at.is_some_and(|t| t <= clock::boot_ms()) {
                self.publish();
                return End::TimedOut;
            }
            self.inform();
            let mut changes = Vec::new();
            match self.wait(&signals, &fifo) {
                Ok(()) => self.poll_fails = false,
                // The kernel lacks memory, or the limit of open files was lowered below what is polled: everything is looked
                // at all the same, only not at once.
                Err(e) => {
                    if !std::mem::replace(&mut self.poll_fails, true) {
                        error!("poll: {e}; looking ten times a second until it works again");
                    }
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
            let seen = signals.drain();
            self.serve_health();
            self.reap();
            self.adopted_ended();
            self.docker_turn();
            let (lines, overflow) = fifo.drain();
            for line in lines {
                self.nudged(&line);
            }
            if overflow || self.look_again.is_some_and(|t| t <= clock::boot_ms()) {
                self.look_again = None;
                self.look_at_every_record();
            }
            self.jobs.read_output();
            if let Some(watcher) = &mut self.watcher {
                changes = watcher.drain();
            }
            self.look_at_directories(&changes);
            self.mirror_due();
            self.note_what_works();
            self.overdue();
            for signal in seen {
                match signal {
                    Signal::SIGTERM | Signal::SIGINT => {
                        let stop = self.config.on_exit == OnExit::Stop;
                        if is_ending || !stop || only.is_some() {
                            return self.leave(signal);
                        }
                        info!(
                            "{signal}: stopping every Pod, critical ones last; once more leaves them running"
                        );
                        is_ending = true;
                        self.herald.stopping();
                        self.events.push_back(Event::Drain);
                    }
                    Signal::SIGHUP => {
                        let least = self.reloaded.saturating_add(RELOAD_PAUSE_MS);
                        self.reload.get_or_insert(least);
                    }
                    // SIGCHLD is what `reap` above has dealt with; SIGIO belongs to the lease test.
                    _ => {}
                }
            }
            if self.reload.is_some_and(|t| t <= clock::boot_ms()) {
                info!("SIGHUP: reading every source again");
                self.reload = None;
                self.reloaded = clock::boot_ms();
                let asked_at = clock::monotonic_us();
                self.look_at_directories(&[Change::Overflow]);
                self.herald.reloaded(asked_at);
            }
            is_ending |= self.asked_to_end(is_ending);
        }
    }

    /// Whether a verb has asked for a full stop, and none is under way: then it begins.
    fn asked_to_end(&mut self, is_ending: bool) -> bool {
        let asked = std::mem::take(&mut self.has_requests) && self.requests() && !is_ending;
        if asked {
            info!("asked to stop every Pod and end");
            self.herald.stopping();
            self.events.push_back(Event::Drain);
        }
        asked
    }

    /// Leaves: Pods go on, and the next daemon finds them by what is on disk.
    fn leave(mut self, signal: Signal) -> End {
        // Nobody would do it later.
        self.keep_again = self.keep_again.map(|_| 0);
        self.fold();
        if self.world.is_draining() {
            // Who starts the next one wants the Pods to run.
            self.forget_requests();
        }
        let living = self.world.slots().filter(|(_, s)| s.life.is_some()).count();
        self.herald.stopping();
        self.herald.status(format!("left; {living} Pods go on without a daemon"));
        self.herald.turn(clock::boot_ms());
        info!("{signal}: leaving; {living} Pods go on without a daemon");
        End::Done
    }

    /// Folds every event into the world, carries out what follows, and publishes it; until nothing follows any more.
    fn fold(&mut self) {
        loop {
            let now = now();
            while let Some(event) = self.events.pop_front() {
                self.world.step(event, now);
            }
            if !self.finished.is_empty() {
                // Before anything is begun: what could not be made is tried again under the same number, in this directory.
                // And before it is planned: what is written down as done must have been done, should this daemon be killed.
                self.save_lives();
                self.remove_finished();
            }
            self.expand(now);
            let actions = self.world.plan(now);
            self.planned_at = now.boot;
            // Whose turn it is to be replaced is no matter of its manifest alone: a daemon that comes after this one must know
            // that it was, or would start again what has just ended.
            self.save_ends_of_members(&actions);
            for action in actions {
                self.act(action, now);
                doom::done("an action");
            }
            // Who has become ready just now may let others begin.
            if self.events.is_empty() && !self.expand(now) {
                break;
            }
        }
        self.project_due();
        self.publish();
        self.keep_manifests();
        if self.is_first_of_boot && self.merged.complete {
            self.is_first_of_boot = false;
            self.remove_stale();
            self.forget_what_worked();
        }
    }

    /// The only place that waits.
    fn wait(&mut self, signals: &Signals, fifo: &Fifo) -> io::Result<()> {
        let timeout = self.timeout();
        self.before_a_long_wait(timeout);
        let mut fds = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(fifo.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(watcher) = &self.watcher {
            fds.push(PollFd::new(watcher.as_fd(), PollFlags::POLLIN));
        }
        for fd in self.jobs.outputs() {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        for run in self.runs.values() {
            if let Some(pidfd) = run.adopted_monitor() {
                fds.push(PollFd::new(pidfd, PollFlags::POLLIN));
            }
        }
        for fd in self.docker.descriptors() {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        for (fd, flags) in self.health.iter().flat_map(Health::descriptors) {
            fds.push(PollFd::new(fd, flags));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn timeout(&self) -> PollTimeout {
        let now = clock::boot_ms();
        let next = self
            .sources
            .iter()
            .filter_map(Source::deadline)
            .chain(self.world.deadline(self.planned_at).map(|t| t.0))
            .chain(self.sets.deadline())
            .chain(self.jobs.deadline())
            .chain(self.images.deadline())
            .chain(self.docker.deadline())
            .chain(self.word_deadline())
            .chain(self.publisher.deadline())
            .chain(self.mirror.deadline())
            .chain(self.worked.deadline())
            .chain(self.herald.deadline())
            .chain(self.health.as_ref().and_then(Health::deadline))
            .chain(self.look_again)
            .chain(self.keep_again)
            .chain(self.project_again)
            .chain(self.reload)
            .chain(self.give_up_at)
            .min();
        match next {
            Some(at) => i32::try_from(at.saturating_sub(now))
                .map_or(PollTimeout::MAX, |ms| PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)),
            None => PollTimeout::NONE,
        }
    }

    /// When no child is due to end and nothing is soon to be done: what was needed to get here need not stay in memory.
    fn before_a_long_wait(&self, timeout: PollTimeout) {
        let is_long = timeout.as_millis().is_none_or(|ms| ms >= LONG_WAIT_MS);
        if is_long && self.jobs.deadline().is_none() {
            process::give_back_program();
        }
    }

    /// Whether this is another text about `subject` than the last one.
    fn is_new(&mut self, subject: String, text: &str) -> bool {
        self.said.insert(subject, text.to_owned()).is_none_or(|former| former != text)
    }

    fn reap(&mut self) {
        for (pid, status) in spawn::reap() {
            if let Some(job) = self.jobs.ended(pid) {
                self.job_ended(job, status);
            }
        }
    }

    fn overdue(&mut self) {
        for text in self.jobs.kill_overdue(clock::boot_ms()) {
            warning!("{text}");
        }
    }

    /// Looks at whatever is due in the sources and the image directory.
    fn look_at_directories(&mut self, changes: &[Change]) {
        let now = clock::boot_ms();
        let mut changed = false;
        if self.sources.iter().filter_map(Source::deadline).any(|t| t <= now) {
            self.images_in_step(now);
        }
        for source in &mut self.sources {
            for change in changes {
                source.notice(change, now);
            }
            changed |= source.turn(now, &mut self.watcher);
            for line in source.standing_mut().take_news() {
                warning!("{line}");
            }
        }
        self.fetch_due(now);
        self.look_for_archives(changes, now);
        if changed {
            self.sources_say_otherwise();
        }
    }

    /// Takes in what all sources say together, after one of them has said something else.
    fn sources_say_otherwise(&mut self) {
        let merged = source::merge(&self.sources);
        self.publisher.sources_changed();
        self.announce_problems(&merged);
        self.objects_changed(&merged);
        let refusal = |r: &Refused| Refusal { key: r.key.clone(), path: r.origin.path.clone() };
        self.events.push_back(Event::Refused(merged.refused.iter().map(refusal).collect()));
        self.sets.sources_changed(&merged);
        // Until it is said anew which Pods of sets are wanted, what was made for them counts.
        let former = std::mem::replace(&mut self.merged, merged);
        let of_sets = former.good.into_iter().filter(|(_, good)| good.pod.owner.is_some());
        for (key, good) in of_sets {
            self.merged.good.entry(key).or_insert(good);
        }
    }
}
