//! Pulling: `skopeo` fetches an image into an archive, and the archive is loaded like any other.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::ImageError;
use super::load::{Loaded, Progress};
use super::store::Store;
use crate::command::CommandLine;
use crate::pod::reference::Reference;
use crate::sys::lock::{self, Lock};
use crate::sys::spawn::{self, ExitStatus, Output};
use crate::sys::{clock, process};

/// How to pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The program; `None` looks for `skopeo` in the search path that every child gets.
    pub program: Option<PathBuf>,
    /// `--authfile`: a file of registry credentials (containers-auth.json(5)); `None` leaves the choice to skopeo.
    pub authfile: Option<PathBuf>,
    /// How long the download may take, in milliseconds.
    pub deadline_ms: u64,
    /// Whether skopeo's own progress goes to our standard output and error, for a person to see.
    pub show: bool,
    /// What skopeo's environment holds beside the search path: proxy settings, mostly. See [`proxy_settings`].
    pub env: Vec<(OsString, OsString)>,
}

impl Default for Options {
    /// No credentials of ours, no output, at most half an hour.
    fn default() -> Self {
        Self { program: None, authfile: None, deadline_ms: 30 * 60 * 1000, show: false, env: Vec::new() }
    }
}

/// Why an image could not be pulled.
#[derive(Debug)]
pub enum PullError {
    /// There is no skopeo here.
    NoSkopeo {
        /// The reference wanted.
        reference: String,
    },
    /// It could not be started or waited for.
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It failed.
    Failed {
        /// The reference wanted.
        reference: String,
        /// The name of the program: `skopeo`, `docker` …
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said, if that was captured.
        output: String,
    },
    /// It took too long and was killed.
    Deadline {
        /// The reference wanted.
        reference: String,
        /// The name of the program.
        program: String,
        /// The deadline in milliseconds.
        deadline_ms: u64,
    },
    /// A signal asked us to stop; the download was killed.
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
    /// The archive fetched cannot be loaded.
    Image(ImageError),
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSkopeo { reference } => write!(
                f,
                "cannot pull {reference}: skopeo is not installed; install it, or load an archive: podstrap image load FILE"
            ),
            Self::Spawn { program, cause } => write!(f, "cannot run {}: {cause}", program.display()),
            Self::Failed { reference, program, status, output } if output.is_empty() => {
                write!(f, "cannot pull {reference}: {program}: {status}")
            }
            Self::Failed { reference, program, status, output } => {
                write!(f, "cannot pull {reference}: {program}: {status}: {}", cause(output))
            }
            Self::Deadline { reference, program, deadline_ms } => {
                write!(f, "cannot pull {reference}: {program} was not done after {} s", deadline_ms / 1000)
            }
            Self::Interrupted { signal } => match Signal::try_from(*signal) {
                Ok(name) => write!(f, "stopped by {name}"),
                Err(_) => write!(f, "stopped by signal {signal}"),
            },
            Self::Image(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for PullError {}

impl From<ImageError> for PullError {
    fn from(e: ImageError) -> Self {
        Self::Image(e)
    }
}

/// The cause in what skopeo said: the message of its last line, which it logs as `time="…" level=fatal msg="…"`.
fn cause(output: &str) -> String {
    let line = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let message = line.split_once("msg=\"").and_then(|(_, rest)| rest.trim_end().strip_suffix('"'));
    let message = message.map_or_else(|| line.to_owned(), |text| text.replace("\\\"", "\""));
    message
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// The proxy settings of our own environment, for [`Options::env`].
pub fn proxy_settings() -> Vec<(OsString, OsString)> {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];
    names.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))).collect()
}

/// The command that fetches `reference` into `archive`; what it needs on the way goes to `work`.
pub fn command(
    program: &Path,
    reference: &Reference,
    archive: &Path,
    work: &Path,
    options: &Options,
) -> CommandLine {
    let mut line = CommandLine::new(program).arg("copy");
    if !options.show {
        line = line.arg("--quiet");
    }
    if let Some(authfile) = &options.authfile {
        // skopeo's working directory is not ours.
        let authfile = std::path::absolute(authfile).unwrap_or_else(|_| authfile.clone());
        line = line.arg("--authfile").arg(authfile);
    }
    let mut destination = OsString::from("docker-archive:");
    // The name is given when the archive is loaded: this form of archive cannot hold one with a digest.
    destination.push(archive);
    // skopeo refuses a tag beside a digest.
    line = line.arg("--").arg(format!("docker://{}", reference.deciding())).arg(destination);
    line.env.push(("HOME".into(), "/root".into()));
    line.env.push(("TMPDIR".into(), work.into()));
    line.env.extend(options.env.iter().cloned());
    line.deadline(options.deadline_ms)
}

/// Pulls an image, loads it and names it by `reference`. To be called in a process that has no other children and that
/// may wait. SIGINT and SIGTERM end the download and are reported as [`PullError::Interrupted`].
pub fn run(
    store: &Store,
    reference: &Reference,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Loaded, PullError> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => skopeo().ok_or_else(|| PullError::NoSkopeo { reference: reference.given.clone() })?,
    };
    let work = Work::new(&store.tmp_path())?;
    let archive = work.path.join("image.tar");
    let line = command(&program, reference, &archive, &work.path, options);
    fetch(&line, reference, options.show)?;
    let mut loaded = store.load(&archive, progress)?;
    let mut image = match (loaded.pop(), loaded.is_empty()) {
        (Some(image), true) => image,
        _ => return Err(ImageError::NotAnImage { archive }.into()),
    };
    store.name(&image.id, reference)?;
    image.references = vec![reference.clone()];
    Ok(image)
}

fn skopeo() -> Option<PathBuf> {
    spawn::PATH.split(':').map(|directory| Path::new(directory).join("skopeo")).find(|path| path.is_file())
}

fn name_of(line: &CommandLine) -> String {
    line.program.file_name().unwrap_or(line.program.as_os_str()).to_string_lossy().into_owned()
}

/// Runs the command that fetches `reference` to its end, its deadline, or a signal that asks us to stop; `show`: its output
/// is for a person to see. To be called in a process that has no other children.
pub fn fetch(line: &CommandLine, reference: &Reference, show: bool) -> Result<(), PullError> {
    let failed = |cause| PullError::Spawn { program: line.program.clone(), cause };
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGINT);
    mask.add(Signal::SIGTERM);
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), Some(&mut before)).map_err(|e| failed(e.into()))?;
    let result = fetch_blocked(line, reference, show, &mask);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).map_err(|e| failed(e.into()))?;
    result
}

fn fetch_blocked(
    line: &CommandLine,
    reference: &Reference,
    show: bool,
    mask: &SigSet,
) -> Result<(), PullError> {
    let failed = |cause| PullError::Spawn { program: line.program.clone(), cause };
    let signals = SignalFd::with_flags(mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|e| failed(e.into()))?;
    let output = if show { Output::Inherit } else { Output::Capture };
    let mut child = spawn::spawn(line, output).map_err(failed)?;
    let pidfd = process::pidfd_open(child.pid.as_raw()).map_err(failed)?;
    let deadline = line.deadline_ms.map(|ms| clock::boot_ms().saturating_add(ms));
    let mut stopped = None;
    let status = loop {
        let left = deadline.map(|deadline| deadline.saturating_sub(clock::boot_ms()));
        if left == Some(0) && stopped.is_none() {
            stopped = Some(PullError::Deadline {
                reference: reference.given.clone(),
                program: name_of(line),
                deadline_ms: line.deadline_ms.unwrap_or_default(),
            });
            spawn::kill_group(child.pid);
        }
        let timeout = match left.filter(|_| stopped.is_none()) {
            Some(ms) => PollTimeout::from(u16::try_from(ms).unwrap_or(u16::MAX)),
            None => PollTimeout::NONE,
        };
        let mut sources = vec![
            PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let open = child.output.as_ref().filter(|output| output.is_open());
        if let Some(output) = open {
            sources.push(PollFd::new(output.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut sources, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => {
                spawn::kill_group(child.pid);
                return Err(failed(e.into()));
            }
        }
        if let Some(output) = &mut child.output {
            output.read();
        }
        if let (Ok(Some(signal)), None) = (signals.read_signal(), &stopped) {
            stopped = Some(PullError::Interrupted { signal: signal.ssi_signo as i32 });
            spawn::kill_group(child.pid);
        }
        if let Some((_, status)) = spawn::reap().into_iter().find(|(pid, _)| *pid == child.pid) {
            break status;
        }
    };
    if let Some(stopped) = stopped {
        return Err(stopped);
    }
    if status.success() {
        return Ok(());
    }
    let output = child.output.map(|output| output.finish()).unwrap_or_default();
    Err(PullError::Failed { reference: reference.given.clone(), program: name_of(line), status, output })
}

/// A directory for one pull. It is locked for as long as the pull lives, so that a load at the same time does not take
/// it for a leftover.
struct Work {
    path: PathBuf,
    _lock: Lock,
}

impl Work {
    fn new(tmp: &Path) -> Result<Self, ImageError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // skopeo runs in another directory than we do, so a relative path would mean something else to it.
        let tmp = std::path::absolute(tmp).map_err(ImageError::io("find", tmp))?;
        let path = tmp.join(format!("pull-{}-{number}", std::process::id()));
        let mut tries = 0;
        loop {
            let locked = make(&path).and_then(|()| lock::wait(&path.join("lock")));
            match locked {
                // A load may have swept the directory in the moment before it was locked.
                Ok(lock) if path.join("lock").exists() => return Ok(Self { path, _lock: lock }),
                Ok(_) if tries < 10 => tries += 1,
                Err(e) if e.kind() == io::ErrorKind::NotFound && tries < 10 => tries += 1,
                Ok(_) => return Err(ImageError::io("lock", &path)(io::ErrorKind::NotFound.into())),
                Err(e) => return Err(ImageError::io("make the directory", &path)(e)),
            }
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed here is swept by the next load.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
