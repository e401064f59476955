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
}
