//! Why a verb failed, and with which exit code.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::settings::SettingsError;
use super::values::PodArg;
use crate::daemon;

/// The exit codes of every verb; frozen, because scripts depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed; the reason stands on standard error.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A manifest is invalid.
    Invalid = 3,
    /// The time is up.
    TimedOut = 4,
    /// A Pod has failed, or crashes again and again.
    PodFailed = 5,
    /// The daemon is not running.
    NoDaemon = 6,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<daemon::End> for Exit {
    fn from(end: daemon::End) -> Self {
        match end {
            daemon::End::Done => Self::Done,
            daemon::End::Failed => Self::Failed,
            daemon::End::TimedOut => Self::TimedOut,
        }
    }
}

/// Why a verb failed.
#[derive(Debug)]
pub enum Error {
    /// Our own standard output could not be written to.
    Output(io::Error),
    /// A file or directory could not be used.
    File {
        /// `read`, `write`, `watch`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// A program could not be run.
    Program {
        /// Which.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The settings of `run` do not fit together.
    Settings(SettingsError),
    /// No Pod has that name.
    NoSuchPod {
        /// As it was asked for.
        asked: PodArg,
        /// What there is.
        known: Vec<String>,
    },
    /// Several Pods have that name.
    Ambiguous {
        /// As it was asked for.
        asked: PodArg,
        /// Those that match.
        matches: Vec<String>,
    },
    /// The manifest was refused, so there is no Pod.
    Refused {
        /// As it was asked for.
        asked: PodArg,
    },
    /// The Pod has no such container.
    NoSuchContainer {
        /// The Pod.
        pod: String,
        /// As it was asked for.
        asked: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The container does not run, so nothing can be run in it.
    NotRunning {
        /// The Pod.
        pod: String,
        /// The container.
        container: String,
        /// What it does instead.
        state: String,
    },
    /// There is nothing to show of that container's run.
    NoLogs {
        /// Where it would be.
        path: PathBuf,
        /// The former run was asked for.
        previous: bool,
    },
    /// The daemon is not running.
    NoDaemon {
        /// Its run directory.
        run: PathBuf,
    },
    /// The daemon ended before the Pods were gone.
    DaemonEnded,
    /// The runtime in use has no such ability here.
    Runtime {
        /// Its name.
        name: String,
    },
    /// A value could not be turned into text.
    Encode(String),
}

impl Error {
    /// For `map_err`: what was done with which path.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { action, path, error }
    }

    /// The exit code that goes with it.
    pub fn exit(&self) -> Exit {
        match self {
            // Whoever reads us has seen enough.
            Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Settings(_) => Exit::Usage,
            Self::Refused { .. } => Exit::Invalid,
            Self::NoDaemon { .. } => Exit::NoDaemon,
            Self::Output(_)
            | Self::File { .. }
            | Self::Program { .. }
            | Self::NoSuchPod { .. }
            | Self::Ambiguous { .. }
            | Self::NoSuchContainer { .. }
            | Self::NotRunning { .. }
            | Self::NoLogs { .. }
            | Self::DaemonEnded
            | Self::Runtime { .. }
            | Self::Encode(_) => Exit::Failed,
        }
    }

    /// Whether there is nothing to say about it.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(error) => write!(f, "write to standard output: {error}"),
            Self::File { action, path, error } => {
                write!(f, "{action} {}: {error}", path.display())?;
                if error.kind() == io::ErrorKind::PermissionDenied {
                    f.write_str("; run it as root")?;
                }
                Ok(())
            }
            Self::Program { path, error } => write!(f, "run {}: {error}", path.display()),
            Self::Settings(error) => error.fmt(f),
            Self::NoSuchPod { asked, known } if known.is_empty() => {
                write!(f, "no Pod {asked}: there are no Pods")
            }
            Self::NoSuchPod { asked, known } => write!(f, "no Pod {asked}; there are: {}", known.join(", ")),
            Self::Ambiguous { asked, matches } => {
                write!(f, "{asked} can mean {}; give the namespace and the full name", matches.join(" or "))
            }
            Self::Refused { asked } => {
                write!(f, "{asked}: its manifest was refused; `podstrap status {asked}` says why")
            }
            Self::NoSuchContainer { pod, asked, known } => {
                write!(f, "{pod} has no container {asked}; it has: {}", known.join(", "))
            }
            Self::NotRunning { pod, container, state } => {
                write!(f, "{pod}: container {container} is not running ({state})")
            }
            Self::NoLogs { path, previous: false } => write!(f, "no log under {}", path.display()),
            Self::NoLogs { path, previous: true } => {
                write!(f, "no log of a former run under {}; without -p the newest is shown", path.display())
            }
            Self::NoDaemon { run } => {
                write!(f, "the daemon is not running (nobody holds {})", run.join("lock").display())
            }
            Self::DaemonEnded => f.write_str(
                "the daemon ended before the Pods were gone; start it again, or repeat the command",
            ),
            Self::Runtime { name } => write!(f, "this cannot be done with the runtime {name}"),
            Self::Encode(error) => write!(f, "write the result as text: {error}"),
        }
    }
}
