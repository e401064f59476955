//! The process that owns one container: it makes the bundle, calls runc once, holds the container's output, waits for its
//! end and clears away what is left.
//!
//! It is an exec of our own binary, a subreaper, and deaf to signals: the daemon may die, be upgraded or be killed at any
//! moment, and the container, its log and its exit code are not touched by that. Only the container's end ends it. Should
//! the monitor itself be killed, [`sweep()`] makes an end of what it leaves.

pub mod child;
mod clear;
pub mod docker;
mod facts;
mod host;
pub mod json_log;
mod life;
pub mod log;
pub mod log_file;
mod message;
pub mod objects;
mod own_volumes;
pub mod project;
pub mod record;
mod recorder;
mod start;
mod sub_path;
mod sweep;
mod volumes;

pub use sweep::{HELD, kill as kill_process, processes, sweep};

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};

use self::clear::Remains;
use self::life::{Ended, Life};
use self::log::{Log, Source, Stream};
use self::record::{End, MonitorSpec, RecordPhase};
use self::recorder::{Recorder, say};
use self::start::NotStarted;
use crate::paths::AttemptDir;
use crate::runtime::engine::Engine;
use crate::runtime::process::stop_signal;
use crate::sys::cgroup::Cgroups;
use crate::sys::lock::{self, Taken};
use crate::sys::signals::Signals;
use crate::sys::{doom, process};

/// Everything that a terminal, a service manager or a broken pipe may send.
const DEAF_TO: [Signal; 9] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGPIPE,
    Signal::SIGQUIT,
    REWRITE,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// By this a monitor whose container runs is told to write its record anew: what stands there is damaged.
pub const REWRITE: Signal = Signal::SIGUSR1;

/// Runs the container that `dir`/spec.json describes, from its start to its end. The exit code is 0 when the run is over
/// and cleared away, whatever became of the container; that stands in `dir`/record.json.
///
/// `words`: what is to be done about a run of docker's that is over; see [`docker::Order`].
pub fn run(dir: AttemptDir, words: &[OsString]) -> ExitCode {
    // New files have exactly the modes that are asked for, whatever umask we were started with.
    umask(Mode::from_bits_truncate(0o022));
    match own(&dir, words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("monitor {}: {e}", dir.0.display()));
            ExitCode::FAILURE
        }
    }
}

/// Why a monitor did not do its work to the end.
#[derive(Debug)]
enum MonitorError {
    /// The spec cannot be read.
    Spec(io::Error),
    /// Another process owns this run.
    Held(i32),
    /// The lock cannot be taken.
    Lock(io::Error),
    /// The run was begun before: one directory is one run.
    Used,
    /// The spec was written in another boot.
    OtherBoot,
    /// The process could not be made what a monitor has to be.
    Setup(&'static str, io::Error),
    /// docker did not say how the run ended.
    Docker(child::ChildError),
    /// Things that could not be cleared away.
    Remains(Vec<String>),
}

impl std::fmt::Display for MonitorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Spec(e) => write!(f, "spec.json: {e}"),
            Self::Held(pid) => write!(f, "process {pid} owns this run already"),
            Self::Lock(e) => write!(f, "lock: {e}"),
            Self::Used => f.write_str("record.json is there already: this run was begun before; sweep it"),
            Self::OtherBoot => f.write_str("spec.json was written in another boot; sweep it"),
            Self::Setup(what, e) => write!(f, "{what}: {e}"),
            Self::Docker(e) => write!(f, "docker {e}"),
            Self::Remains(lines) => write!(f, "left behind, sweep again: {}", lines.join("; ")),
        }
    }
}

/// Reads `dir`/spec.json.
fn read_spec(dir: &AttemptDir) -> io::Result<MonitorSpec> {
    let spec: MonitorSpec = serde_json::from_slice(&std::fs::read(dir.spec())?)?;
    if spec.version == record::VERSION {
        Ok(spec)
    } else {
        Err(io::Error::other(format!("version {} is not {}", spec.version, record::VERSION)))
    }
}

fn own(dir: &AttemptDir, words: &[OsString]) -> Result<(), MonitorError> {
    let signals = Signals::block(&DEAF_TO).map_err(|e| MonitorError::Setup("signals", e))?;
    process::become_subreaper().map_err(|e| MonitorError::Setup("subreaper", e))?;
    let _lock = match lock::take(&dir.lock()).map_err(MonitorError::Lock)? {
        Taken::Ours(lock) => lock,
        Taken::Held { pid } => return Err(MonitorError::Held(pid)),
    };
    doom::done("a run's lock taken");
    let spec = read_spec(dir).map_err(MonitorError::Spec)?;
    let boot = process::boot_id().map_err(|e| MonitorError::Setup("boot id", e))?;
    if spec.boot_id != boot {
        return Err(MonitorError::OtherBoot);
    }
    if let Engine::Docker(docker) = &spec.engine {
        return docker::turn(dir, &spec, docker, boot, docker::Order::of(words));
    }
    if dir.record().exists() {
        return Err(MonitorError::Used);
    }
    // The container outlives us at a shortage of memory only by mistake: its exit code would be lost. Without the right
    // to do so we stay as we are.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
    let mut recorder = Recorder::begin(dir, &spec, boot);
    recorder.save();

    let cgroups = spec.cgroups.clone().still_there().map_err(|e| MonitorError::Setup("mountinfo", e))?;
    let remains = Remains { dir, spec: &spec, cgroups: &cgroups };
    // runc knows no more of a container that has ended than where its own directory and control groups are; calling it takes
    // longer than all the rest. Of one that it did not bring up it may know better.
    let mut has_ended = false;
    match prepare(dir, &spec, &cgroups, &mut recorder) {
        Ok(life) => {
            let ended = life.live(signals, &mut recorder, &remains);
            has_ended = matches!(ended, Ended::Ran(_));
            if let Ended::Ran(end) = &ended {
                recorder.record.termination_message = last_words(dir, &spec, end);
            }
            recorder.ended(match ended {
                Ended::Ran(end) => end,
                Ended::Never(NotStarted { reason, message }) => {
                    End::NotStarted { reason: reason.to_owned(), message }
                }
            });
        }
        Err(NotStarted { reason, message }) => {
            recorder.ended(End::NotStarted { reason: reason.to_owned(), message });
        }
    }
    let mut left = remains.clear(!has_ended);
    if has_ended && !left.is_empty() {
        left = remains.clear(true);
    }
    recorder.save_for_sure();
    if left.is_empty() { Ok(()) } else { Err(MonitorError::Remains(left)) }
}

/// What the container says about its end.
fn last_words(dir: &AttemptDir, spec: &MonitorSpec, end: &End) -> Option<String> {
    let container = spec.pod.container(&spec.container)?;
    let failed = !matches!(end, End::Exited { code: 0 });
    let log = spec.roots.log_file(&spec.pod, &spec.container, spec.attempt);
    let log = Some(log.as_path()).filter(|_| failed && container.termination_message_from_logs);
    message::read(&start::termination_message(dir), log)
}

/// Everything before runc is called. Returns a life that is about to begin.
fn prepare(
    dir: &AttemptDir,
    spec: &MonitorSpec,
    cgroups: &Cgroups,
    recorder: &mut Recorder,
) -> Result<Life, NotStarted> {
    debug_assert_eq!(recorder.record.phase, RecordPhase::Preparing);
    let container = start::container(spec)?;
    let image = start::resolve(&spec.roots, &container.image)?;
    recorder.record.image_id = Some(image.id.clone());
    recorder.record.stop_signal =
        container.lifecycle.stop_signal.or_else(|| stop_signal(&image.config.stop_signal));
    let (file, mut warnings) = start::open_log(spec)?;
    warnings.extend(start::make_bundle(dir, spec, container, &image, cgroups)?);
    if spec.attempt == 0 {
        // Once for a Pod, not at each restart; the record has them every time.
        warnings.iter().for_each(|warning| recorder.warn(warning));
    }
    recorder.record.warnings = warnings;
    let pipe =
        |source| Stream::new(source).map_err(|e| NotStarted::create(format!("cannot make a pipe: {e}")));
    let (stdout, stderr) = (pipe(Source::Stdout)?, pipe(Source::Stderr)?);
    Life::begin(dir, spec, container, Log::new(file), stdout, stderr)
}
