//! An archive into docker: written, as [`super::export`] writes it, into the standard input of `docker load`.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::archive::Stamp;
use super::bounds::Bounds;
use super::error::ImageError;
use super::export::{Export, ExportError};
use super::load::{Loaded, Progress};
use crate::command::CommandLine;
use crate::sys::feed::Feed;
use crate::sys::spawn::ExitStatus;

/// Why an archive did not come to be in docker.
#[derive(Debug)]
pub enum HandOverError {
    /// The archive, or this machine, is at fault; docker has nothing of it.
    Image(ImageError),
    /// docker could not be run.
    Run {
        /// The name of the program.
        program: String,
        /// What the system says.
        cause: io::Error,
    },
    /// docker has failed.
    Failed {
        /// The name of the program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
    /// docker was not done in time, and was killed.
    Deadline {
        /// The name of the program.
        program: String,
        /// The deadline in milliseconds.
        deadline_ms: u64,
    },
}

impl HandOverError {
    /// Whether the same bytes will fail again. Only what was found here is the archive's fault for sure: a docker that
    /// fails may do better later.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Image(e) => e.is_permanent(),
            Self::Run { .. } | Self::Failed { .. } | Self::Deadline { .. } => false,
        }
    }
}

impl fmt::Display for HandOverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(e) => write!(f, "{e}"),
            Self::Run { program, cause } => write!(f, "cannot run {program} load: {cause}"),
            Self::Failed { program, status, output } => {
                write!(f, "{program} load: {status}")?;
                let mut sign = ": ";
                for line in output.lines().map(str::trim).filter(|line| !line.is_empty()) {
                    write!(f, "{sign}{}", line.escape_debug())?;
                    sign = "; ";
                }
                Ok(())
            }
            Self::Deadline { program, deadline_ms } => {
                write!(
                    f,
                    "{program} load: was not done after {} s; does docker's daemon answer? see: {program} info",
                    deadline_ms / 1000
                )
            }
        }
    }
}

impl std::error::Error for HandOverError {}

impl From<ImageError> for HandOverError {
    fn from(e: ImageError) -> Self {
        Self::Image(e)
    }
}

/// Feeds an archive to `line`, which is a `docker load`, with nameless files in `spool` where they are needed. Gives what
/// the archive's file was, and its images.
pub fn hand_over(
    line: &CommandLine,
    archive: &Path,
    spool: &Path,
    bounds: &Bounds,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Stamp, Vec<Loaded>), HandOverError> {
    let program =
        || line.program.file_name().unwrap_or(line.program.as_os_str()).to_string_lossy().into_owned();
    let run = |cause: io::Error| match cause.kind() {
        io::ErrorKind::TimedOut => {
            HandOverError::Deadline { program: program(), deadline_ms: line.deadline_ms.unwrap_or_default() }
        }
        _ => HandOverError::Run { program: program(), cause },
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(spool)
        .map_err(ImageError::io("make the directory", spool))?;
    let export = Export::open(archive, spool, bounds, progress)?;
    let mut feed = Feed::start(line).map_err(run)?;
    let written = match export.write(&mut feed, progress) {
        Ok(images) => Some(images),
        // The child is killed before it has seen a manifest.
        Err(ExportError::Archive(e)) => return Err(e.into()),
        // Why it reads no more it says itself.
        Err(ExportError::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => None,
        Err(ExportError::Output(e)) => return Err(run(e)),
    };
    let (status, output) = feed.end().map_err(run)?;
    match written {
        Some(images) if status.success() => Ok((export.stamp(), images)),
        Some(_) | None => {
            let output = match output.is_empty() {
                true => "it ended before it had read the whole archive".to_owned(),
                false => output,
            };
            Err(HandOverError::Failed { program: program(), status, output })
        }
    }
}
