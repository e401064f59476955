//! Why a layer is refused.

use std::fmt;
use std::io;

use super::bounds::Exceeded;
use super::tarball::TarError;

/// Why a layer is refused, and at which member.
#[derive(Debug)]
pub struct UnpackError {
    /// The member's name as written; empty when the tar file itself is at fault.
    pub path: Vec<u8>,
    /// Why.
    pub cause: Cause,
}

/// Why a member is refused.
#[derive(Debug)]
pub enum Cause {
    /// The tar file is malformed or cannot be read.
    Tar(TarError),
    /// A bound is reached.
    Exceeded(Exceeded),
    /// A name with `..`.
    LeavesLayer,
    /// The root of the layer as something else than a directory.
    Root,
    /// A name that the whiteout rules reserve.
    Reserved,
    /// A parent of the name is no directory.
    ParentNotDirectory,
    /// A hard link to a file that this layer does not have (before it).
    LinkTargetMissing(Vec<u8>),
    /// A hard link to a directory.
    LinkToDirectory(Vec<u8>),
    /// A symbolic link to nothing.
    EmptyLink,
    /// An extended attribute that an image must not set.
    Attribute(Vec<u8>),
    /// The system refuses.
    Io {
        /// What was being done.
        action: &'static str,
        /// What the system says.
        cause: io::Error,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tar(e) => write!(f, "{e}"),
            Self::Exceeded(e) => write!(f, "{e}"),
            Self::LeavesLayer => f.write_str("the name leaves the layer ('..')"),
            Self::Root => f.write_str("the root of a layer must be a directory"),
            Self::Reserved => f.write_str("names that begin with '.wh.' are reserved for whiteouts"),
            Self::ParentNotDirectory => f.write_str("a parent of the name is not a directory"),
            Self::LinkTargetMissing(target) => {
                write!(f, "hard link to '{}', which is not in this layer", target.escape_ascii())
            }
            Self::LinkToDirectory(target) => {
                write!(f, "hard link to the directory '{}'", target.escape_ascii())
            }
            Self::EmptyLink => f.write_str("symbolic link to nothing"),
            Self::Attribute(name) => {
                write!(f, "an image must not set the extended attribute '{}'", name.escape_ascii())
            }
            Self::Io { action, cause } => write!(f, "cannot {action}: {cause}"),
        }
    }
}

impl From<Exceeded> for Cause {
    fn from(e: Exceeded) -> Self {
        Self::Exceeded(e)
    }
}
