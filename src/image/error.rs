//! Why an image is refused or cannot be had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::bounds::Exceeded;
use super::codec::Unsupported;
use super::refusal::{Cause, UnpackError};
use super::tarball::TarError;

/// Anything that goes wrong with images, but for pulling them.
#[derive(Debug)]
pub enum ImageError {
    /// The system refuses something.
    Io {
        /// What was being done, as in "cannot ACTION PATH".
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The archive's own tar file is at fault.
    Tar {
        /// The archive.
        archive: PathBuf,
        /// What is wrong.
        cause: TarError,
    },
    /// The archive, or something in it, is compressed in a way that is not read here.
    Compression {
        /// What is compressed so.
        what: String,
        /// How.
        cause: Unsupported,
    },
    /// Compressed bytes that do not decompress.
    Corrupt {
        /// Where they are.
        what: String,
        /// What the decoder says.
        cause: io::Error,
    },
    /// A tar file without `manifest.json` and without `index.json`.
    NotAnImage {
        /// The archive.
        archive: PathBuf,
    },
    /// A file that the archive should hold and does not.
    Missing {
        /// The archive.
        archive: PathBuf,
        /// The file's name in it.
        file: String,
    },
    /// A JSON document of the archive does not parse.
    Json {
        /// Its name in the archive.
        file: String,
        /// What is wrong.
        cause: serde_json::Error,
    },
    /// A JSON document of the archive says what cannot be.
    Manifest {
        /// Its name in the archive.
        file: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A name in the archive is no image reference.
    Name {
        /// The name.
        name: String,
    },
    /// Bytes are not what their digest says.
    Digest {
        /// Which bytes.
        what: String,
        /// The digest that they should have.
        expected: String,
        /// The digest that they have.
        found: String,
    },
    /// Bytes are not as many as their descriptor says.
    Size {
        /// Which bytes.
        what: String,
        /// How many they should be.
        expected: u64,
        /// How many they are.
        found: u64,
    },
    /// The archive asks for too much.
    Exceeded {
        /// The archive, or the part of it.
        what: String,
        /// The bound.
        cause: Exceeded,
    },
    /// A member of a layer is refused.
    Member {
        /// The layer's diff id.
        layer: String,
        /// The member's name, escaped; empty when the layer's tar file itself is at fault.
        member: String,
        /// Why.
        cause: Cause,
    },
    /// An index has no image for this machine.
    Platform {
        /// What this machine is.
        wanted: String,
        /// What there is.
        found: Vec<String>,
    },
    /// The archive was written to while it was read.
    Changed {
        /// The archive.
        archive: PathBuf,
    },
    /// No image of that name or id here.
    Unknown {
        /// The name or id.
        name: String,
    },
    /// The store has lost a part of an image.
    Damaged {
        /// The image's id.
        image: String,
        /// What is missing or wrong.
        part: PathBuf,
    },
}

impl ImageError {
    /// Makes `Io` errors: `map_err(ImageError::io("read", path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }

    /// An error while reading decompressed bytes: a bound, a codec, damage, or the system.
    pub(super) fn reading(what: &str, path: &Path, cause: io::Error) -> Self {
        let inner = cause.get_ref();
        if let Some(exceeded) = inner.and_then(|e| e.downcast_ref::<Exceeded>()) {
            return Self::Exceeded { what: what.to_owned(), cause: *exceeded };
        }
        if let Some(unsupported) = inner.and_then(|e| e.downcast_ref::<Unsupported>()) {
            return Self::Compression { what: what.to_owned(), cause: *unsupported };
        }
        if cause.raw_os_error().is_some() {
            return Self::Io { action: "read", path: path.to_owned(), cause };
        }
        Self::Corrupt { what: what.to_owned(), cause }
    }

    /// An error while unpacking a layer.
    pub(super) fn unpacking(layer: &str, archive: &Path, error: UnpackError) -> Self {
        let what = || format!("layer {layer}");
        match error.cause {
            Cause::Tar(TarError::Io(cause)) => Self::reading(&what(), archive, cause),
            Cause::Exceeded(cause) => Self::Exceeded { what: what(), cause },
            cause => {
                Self::Member { layer: layer.to_owned(), member: error.path.escape_ascii().to_string(), cause }
            }
        }
    }

    /// Whether the same bytes will fail again: the archive is at fault, not this machine or this moment.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Changed { .. } | Self::Unknown { .. } | Self::Damaged { .. } => false,
            Self::Member { cause: Cause::Io { .. }, .. } => false,
            Self::Tar { cause: TarError::Io(_), .. } => false,
            Self::Tar { .. }
            | Self::Compression { .. }
            | Self::Corrupt { .. }
            | Self::NotAnImage { .. }
            | Self::Missing { .. }
            | Self::Json { .. }
            | Self::Manifest { .. }
            | Self::Name { .. }
            | Self::Digest { .. }
            | Self::Size { .. }
            | Self::Exceeded { .. }
            | Self::Member { .. }
            | Self::Platform { .. } => true,
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, path, cause } => write!(f, "cannot {action} {}: {cause}", path.display()),
            Self::Tar { archive, cause } => write!(f, "{}: {cause}", archive.display()),
            Self::Compression { what, cause } => write!(f, "{what}: {cause}"),
            Self::Corrupt { what, cause } => write!(f, "{what}: damaged compressed data: {cause}"),
            Self::NotAnImage { archive } => write!(
                f,
                "{}: not an image archive: neither manifest.json (docker save) nor index.json (OCI) in it",
                archive.display()
            ),
            Self::Missing { archive, file } => {
                write!(
                    f,
                    "{}: the archive names '{}' and does not hold it",
                    archive.display(),
                    file.escape_debug()
                )
            }
            Self::Json { file, cause } => write!(f, "{}: {cause}", file.escape_debug()),
            Self::Manifest { file, problem } => write!(f, "{}: {problem}", file.escape_debug()),
            Self::Name { name } => write!(f, "'{}' is not an image reference", name.escape_debug()),
            Self::Digest { what, expected, found } => {
                write!(
                    f,
                    "{what}: digest mismatch: should be {expected}, is {found}; fetch the archive again"
                )
            }
            Self::Size { what, expected, found } => {
                write!(f, "{what}: should be {expected} bytes, is {found}; fetch the archive again")
            }
            Self::Exceeded { what, cause } => write!(f, "{what}: {cause}"),
            Self::Member { layer, member, cause } if member.is_empty() => write!(f, "layer {layer}: {cause}"),
            Self::Member { layer, member, cause } => write!(f, "layer {layer}: '{member}': {cause}"),
            Self::Platform { wanted, found } => {
                write!(f, "no image for {wanted} in the archive; it has: {}", found.join(", "))
            }
            Self::Changed { archive } => {
                write!(f, "{}: was written to while it was read; load it when it is whole", archive.display())
            }
            Self::Unknown { name } => {
                write!(f, "no image '{}' here; see: podstrap image list", name.escape_debug())
            }
            Self::Damaged { image, part } => write!(
                f,
                "image {image}: {} is missing or damaged; mend with: podstrap image load FILE",
                part.display()
            ),
        }
    }
}

impl std::error::Error for ImageError {}
