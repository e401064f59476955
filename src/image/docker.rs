//! Archives as `docker save` writes them: `manifest.json` names the configuration and the layers of each image (docker
//! image spec v1.2, "Combined Image JSON + Filesystem Changeset Format").

use serde::Deserialize;

use super::archive::Archive;
use super::bounds::Bounds;
use super::digest::Digest;
use super::error::ImageError;
use super::plan::{self, Planned};
use crate::pod::reference::Reference;

/// The file that makes an archive one of this kind.
pub(super) const MANIFEST: &str = "manifest.json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    // docker writes `null` for an image without a name or without layers.
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Lists the images.
pub(super) fn plan(archive: &Archive, bounds: &Bounds) -> Result<Vec<Planned>, ImageError> {
    let items: Vec<Item> = archive.json(MANIFEST, bounds)?;
    if items.is_empty() {
        return Err(ImageError::Manifest { file: MANIFEST.to_owned(), problem: "there are no images in it" });
    }
    items.into_iter().map(|item| image(archive, bounds, item)).collect()
}

fn image(archive: &Archive, bounds: &Bounds, item: Item) -> Result<Planned, ImageError> {
    let config = archive.read_small(&item.config, bounds)?;
    if let Some(expected) = digest_in_name(&item.config) {
        let found = Digest::of(&config);
        if expected != found {
            return Err(ImageError::Digest {
                what: format!("image configuration {}", item.config.escape_debug()),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
    let blobs = item
        .layers
        .unwrap_or_default()
        .iter()
        // A layer under blobs/sha256/ is named by the digest of what is stored; `<hex>.tar` is not, in general.
        .map(|name| Ok((archive.blob(name)?, name.strip_prefix("blobs/sha256/").and_then(digest_of_hex))))
        .collect::<Result<_, ImageError>>()?;
    let references = item
        .repo_tags
        .unwrap_or_default()
        .into_iter()
        .map(|tag| Reference::parse(&tag).map_err(|_| ImageError::Name { name: tag }))
        .collect::<Result<_, ImageError>>()?;
    plan::image(&item.config, config, blobs, references, bounds)
}

/// `HEX.json`, or `blobs/sha256/HEX` as newer docker writes.
fn digest_in_name(name: &str) -> Option<Digest> {
    digest_of_hex(name.strip_suffix(".json").or_else(|| name.strip_prefix("blobs/sha256/"))?)
}

fn digest_of_hex(hex: &str) -> Option<Digest> {
    Digest::parse(&format!("sha256:{hex}"))
}
