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
mod sources;
mod statuses;
mod strays;
mod stuck;
mod turn;
mod view;
mod waits;
mod worked;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use crate::config::RunConfig;
use crate::core::{BackoffRule, Event, ProbeKind, RunKey, START_MS, Settings, Stamp, Time, World};
use crate::helper::fetch::FetchSpec;
use crate::paths::AttemptDir;
use crate::pod::{Namespace, ObjectRef, PodKey};
use crate::runtime::docker::Docker;
use crate::runtime::engine::Engine;
use crate::source::keep::Keep;
use crate::source::{Merged, Source};
use crate::sys::cgroup::Cgroups;
use crate::sys::clock;
use crate::sys::lock::Lock;
use crate::sys::watch::Watcher;

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

impl Daemon {
    /// Whether this is another text about `subject` than the last one.
    fn is_new(&mut self, subject: String, text: &str) -> bool {
        self.said.insert(subject, text.to_owned()).is_none_or(|former| former != text)
    }
}
