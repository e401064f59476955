//! The layer store under STATE/images, and the index that says which reference names which image.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::ImageConfig;
use crate::pod::reference::Reference;

/// STATE/images/index.json: the only file of the store that the daemon reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Format version.
    pub version: u32,
    /// Full reference (`docker.io/library/etcd:latest`) → image id (`sha256:…`, the digest of its configuration).
    pub references: BTreeMap<String, String>,
    /// Image id → what the image is made of.
    #[serde(default)]
    pub images: BTreeMap<String, ImageRecord>,
    /// Diff id (`sha256:…`) → the layer.
    #[serde(default)]
    pub layers: BTreeMap<String, LayerRecord>,
}

impl Index {
    /// The id of the image that a reference names here.
    pub fn id(&self, reference: &Reference) -> Option<&str> {
        self.references.get(&reference.full).map(String::as_str)
    }
}

/// An image that is ready to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`, the digest of its configuration.
    pub id: String,
    /// How its containers start.
    pub config: ImageConfig,
    /// Where `layers` are: the directory that relative layer names are relative to.
    pub layers_root: PathBuf,
    /// Directory names below `layers_root`, lowest layer first; short, so that many fit into one mount option string.
    pub layers: Vec<String>,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store under `root` (STATE/images); nothing is made yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Reads the index; a missing one is empty.
    pub fn index(&self) -> io::Result<Index> {
        match std::fs::read(self.root.join("index.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
            Err(e) => Err(e),
        }
    }

    /// The image that a reference names, ready to be mounted; `None` when it is not here.
    pub fn resolve(&self, reference: &Reference) -> io::Result<Option<Image>> {
        #[derive(Deserialize)]
        struct Configuration {
            config: Option<ImageConfig>,
        }
        let index = self.index()?;
        let Some(id) = index.id(reference) else { return Ok(None) };
        let Some(image) = index.images.get(id) else { return Ok(None) };
        let name = format!("{}.json", id.trim_start_matches("sha256:"));
        let document: Configuration =
            serde_json::from_slice(&std::fs::read(self.root.join("configs").join(name))?)?;
        let layers = image.layers.iter().filter_map(|l| index.layers.get(l)).map(|l| l.dir.clone()).collect();
        Ok(Some(Image {
            id: id.to_owned(),
            config: document.config.unwrap_or_default(),
            layers_root: self.root.join("layers"),
            layers,
        }))
    }
}

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Diff ids, lowest layer first.
    pub layers: Vec<String>,
}

/// A layer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The name of its directory below `layers`.
    pub dir: String,
}
