//! What an archive offers, in one form for both kinds of archive, before any layer is touched.

use serde::Deserialize;

use super::archive::{self, Archive, Blob};
use super::bounds::{Bounds, Exceeded};
use super::digest::Digest;
use super::error::ImageError;
use super::{docker, oci};
use crate::pod::reference::Reference;

/// An image of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Digest of its configuration: its id.
    pub id: Digest,
    /// Its configuration as it is stored.
    pub config: Vec<u8>,
    /// `OS/ARCHITECTURE[/VARIANT]` as the configuration says.
    pub platform: String,
    /// Its names.
    pub references: Vec<Reference>,
    /// Its layers, lowest first.
    pub layers: Vec<PlannedLayer>,
}

/// A layer of an image of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedLayer {
    /// Digest of its tar stream without compression.
    pub diff_id: Digest,
    /// Where its bytes are.
    pub blob: Blob,
    /// Digest of the bytes as they are stored, where the archive promises one.
    pub stored: Option<Digest>,
}

/// Lists the images of an archive, for this machine's platform where there is a choice.
pub fn plan(archive: &Archive, bounds: &Bounds) -> Result<Vec<Planned>, ImageError> {
    // Newer `docker save` writes both; only the older file has whole names.
    if archive.find(docker::MANIFEST).is_some() {
        docker::plan(archive, bounds)
    } else if archive.find(oci::INDEX).is_some() {
        oci::plan(archive, bounds)
    } else {
        Err(ImageError::NotAnImage { archive: archive.path.clone() })
    }
}

/// The part of a configuration that says what its layers are (OCI image spec, "Image Configuration").
#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Option<Vec<String>>,
}

/// Joins a configuration with the blobs that its layers come from, lowest first.
pub(super) fn image(
    file: &str,
    config: Vec<u8>,
    blobs: Vec<(Blob, Option<Digest>)>,
    references: Vec<Reference>,
    bounds: &Bounds,
) -> Result<Planned, ImageError> {
    let wrong = |problem| ImageError::Manifest { file: file.to_owned(), problem };
    let parsed: Configuration = archive::parse(file, &config)?;
    if parsed.rootfs.kind != "layers" {
        return Err(wrong("rootfs.type is not \"layers\": not a container image"));
    }
    let diff_ids = parsed.rootfs.diff_ids.unwrap_or_default();
    if diff_ids.len() > bounds.layers {
        let cause = Exceeded { what: "layers", limit: bounds.layers as u64 };
        return Err(ImageError::Exceeded { what: file.to_owned(), cause });
    }
    if diff_ids.is_empty() {
        return Err(wrong("the image has no layers"));
    }
    if diff_ids.len() != blobs.len() {
        return Err(wrong("rootfs.diff_ids and the manifest do not have the same number of layers"));
    }
    let layers = diff_ids
        .iter()
        .zip(blobs)
        .map(|(diff_id, (blob, stored))| {
            let diff_id = Digest::parse(diff_id).ok_or_else(|| wrong("a diff id is not a sha256 digest"))?;
            Ok(PlannedLayer { diff_id, blob, stored })
        })
        .collect::<Result<_, ImageError>>()?;
    let platform = platform(&parsed.os, &parsed.architecture, &parsed.variant);
    Ok(Planned { id: Digest::of(&config), config, platform, references, layers })
}

/// `OS/ARCHITECTURE[/VARIANT]`
pub(super) fn platform(os: &str, architecture: &str, variant: &str) -> String {
    let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let mut platform = format!("{}/{}", or_unknown(os), or_unknown(architecture));
    if !variant.is_empty() {
        platform.push('/');
        platform.push_str(variant);
    }
    platform
}

/// The platform of this machine, in the words of images (Go's GOOS and GOARCH).
pub fn this_platform() -> (&'static str, &'static str) {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    };
    ("linux", architecture)
}
