//! The layer store under STATE/images, and the index that says which reference names which image.
//!
//! ```text
//! STATE/images/index.json          what is here; nothing that it does not name counts
//! STATE/images/lock                held (flock) by whoever changes the store
//! STATE/images/configs/HEX.json    image configurations as they came; HEX is the digest and so the image's id
//! STATE/images/layers/SHORT/       unpacked layers; SHORT is the beginning of the diff id
//! STATE/images/tmp/                what is being made; leftovers of the killed are removed by the next load
//! ```
//!
//! The order of a load makes a power cut harmless: layers are unpacked aside, flushed, renamed into place, and only then
//! named by the index, which is itself replaced whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive::Stamp;
use super::bounds::Bounds;
use super::config::ImageConfig;
use super::digest::Digest;
use super::error::ImageError;
use super::prune::Mounts;
use crate::pod::reference::Reference;
use crate::sys::atomic::{self, Durability};
use crate::sys::lock::{self, Lock};

/// The version of the index that is written here.
pub const VERSION: u32 = 1;

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
    /// Path of an archive, as `discover::key` writes it → what came of loading it.
    #[serde(default)]
    pub archives: BTreeMap<String, ArchiveRecord>,
}

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Diff ids, lowest layer first.
    pub layers: Vec<String>,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub platform: String,
    /// When it was loaded first: milliseconds since 1970.
    pub loaded_ms: i64,
}

/// A layer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The name of its directory below `layers`.
    pub dir: String,
    /// Bytes in its regular files.
    pub size: u64,
    /// Whether it hides all that is below it.
    #[serde(default)]
    pub opaque: bool,
}

/// An archive of an image directory that was loaded, or refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveRecord {
    /// What the file was.
    pub stamp: Stamp,
    /// The ids of the images that came from it.
    pub images: Vec<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Index {
    /// The id of the image that a reference names here.
    pub fn id(&self, reference: &Reference) -> Option<&str> {
        let found =
            self.references.get(&reference.full).or_else(|| self.references.get(&reference.deciding()));
        found.map(String::as_str)
    }

    /// The bytes of all layers of an image.
    pub fn size(&self, image: &ImageRecord) -> u64 {
        let sizes = image.layers.iter().filter_map(|layer| self.layers.get(layer)).map(|layer| layer.size);
        sizes.fold(0, u64::saturating_add)
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

/// One line of [`Store::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `sha256:…`
    pub id: String,
    /// The full references that name it; none for a dangling image.
    pub references: Vec<String>,
    /// How many layers it has.
    pub layers: usize,
    /// Bytes of its layers, shared ones included.
    pub size: u64,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub platform: String,
    /// When it was loaded first, milliseconds since 1970, where that is known.
    pub loaded_ms: Option<i64>,
}

impl Listed {
    /// Those with names first, in the order of their names.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        (self.references.is_empty(), &self.references, &self.id).cmp(&(
            other.references.is_empty(),
            &other.references,
            &other.id,
        ))
    }
}

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    pub(super) bounds: Bounds,
}

impl Store {
    /// The store under `root` (STATE/images); nothing is made yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), bounds: Bounds::default() }
    }

    /// Sets how much an archive may ask for.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Reads the index; a missing one is empty.
    pub fn index(&self) -> io::Result<Index> {
        let index: Index = match fs::read(self.index_path()) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Index::default(),
            Err(e) => return Err(e),
        };
        if index.version > VERSION {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "written by a newer version of this program",
            ));
        }
        Ok(index)
    }

    /// The image that a reference names, ready to be mounted; `None` when it is not here.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Image>, ImageError> {
        let index = self.read_index()?;
        index.id(reference).map(|id| self.image_of(&index, id)).transpose().map(Option::flatten)
    }

    /// The image of that id, ready to be mounted; `None` when it is not here.
    pub fn image(&self, id: &str) -> Result<Option<Image>, ImageError> {
        self.image_of(&self.read_index()?, id)
    }

    /// Gives an image that is here a second name.
    pub fn tag(&self, source: &Reference, target: &Reference) -> Result<(), ImageError> {
        let (_lock, mut index) = self.lock_index()?;
        let id =
            index.id(source).ok_or_else(|| ImageError::Unknown { name: source.given.clone() })?.to_owned();
        index.references.insert(target.full.clone(), id);
        self.write_index(&mut index)
    }

    /// Gives the image of that id a name.
    pub fn name(&self, id: &str, target: &Reference) -> Result<(), ImageError> {
        let (_lock, mut index) = self.lock_index()?;
        if !index.images.contains_key(id) {
            return Err(ImageError::Unknown { name: id.to_owned() });
        }
        index.references.insert(target.full.clone(), id.to_owned());
        self.write_index(&mut index)
    }

    /// All images, those with names first, in the order of their names.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let index = self.read_index()?;
        let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (reference, id) in &index.references {
            names.entry(id).or_default().push(reference.clone());
        }
        let mut listed: Vec<Listed> = index
            .images
            .iter()
            .map(|(id, image)| Listed {
                id: id.clone(),
                references: names.remove(id.as_str()).unwrap_or_default(),
                layers: image.layers.len(),
                size: index.size(image),
                platform: image.platform.clone(),
                loaded_ms: Some(image.loaded_ms),
            })
            .collect();
        listed.sort_by(Listed::order);
        Ok(listed)
    }

    fn image_of(&self, index: &Index, id: &str) -> Result<Option<Image>, ImageError> {
        let Some(record) = index.images.get(id) else { return Ok(None) };
        let damaged = |part: &Path| ImageError::Damaged { image: id.to_owned(), part: part.to_owned() };
        let path = Digest::parse(id)
            .map(|digest| self.config_path(&digest))
            .ok_or_else(|| damaged(&self.index_path()))?;
        let bytes = fs::read(&path).map_err(|_| damaged(&path))?;
        if Digest::of(&bytes).to_string() != id {
            return Err(damaged(&path));
        }
        let document: Configuration = serde_json::from_slice(&bytes).map_err(|_| damaged(&path))?;
        let layers_root = self.layers_path();
        let mut layers = Vec::new();
        for diff_id in &record.layers {
            let layer = index.layers.get(diff_id).ok_or_else(|| damaged(&layers_root.join(diff_id)))?;
            if !layers_root.join(&layer.dir).is_dir() {
                return Err(damaged(&layers_root.join(&layer.dir)));
            }
            // overlay does not look whether a root is opaque, so what such a layer hides is left out here.
            if layer.opaque {
                layers.clear();
            }
            // One directory twice in a mount is refused; its topmost place decides what is seen.
            layers.retain(|dir| *dir != layer.dir);
            layers.push(layer.dir.clone());
        }
        Ok(Some(Image {
            id: id.to_owned(),
            config: document.config.unwrap_or_default(),
            layers_root,
            layers,
        }))
    }

    /// Makes the store's directories and takes its lock, waiting for whoever holds it.
    pub(super) fn lock(&self) -> Result<Lock, ImageError> {
        for directory in [self.root.clone(), self.layers_path(), self.configs_path(), self.tmp_path()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(ImageError::io("make the directory", &directory))?;
        }
        let path = self.root.join("lock");
        lock::wait(&path).map_err(ImageError::io("lock", &path))
    }

    /// Takes the lock, and reads the index that nobody else changes as long as it is held.
    pub(super) fn lock_index(&self) -> Result<(Lock, Index), ImageError> {
        let lock = self.lock()?;
        Ok((lock, self.read_index()?))
    }

    /// Sets the index aside when it is damaged (a disk that failed, an editor), so that a new one is begun: without it no
    /// image can be used or loaded. Layers that are loaded again are taken anew. Returns where the old one lies now. The
    /// index of a newer version is not damaged.
    pub fn mend(&self) -> Result<Option<PathBuf>, ImageError> {
        let _lock = self.lock()?;
        let path = self.index_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ImageError::io("read", &path)(e)),
        };
        let version =
            serde_json::from_slice::<serde_json::Value>(&bytes).ok().and_then(|v| v["version"].as_u64());
        if serde_json::from_slice::<Index>(&bytes).is_ok() || version.is_some_and(|v| v > u64::from(VERSION))
        {
            return Ok(None);
        }
        let aside = self.root.join("index.json.damaged");
        fs::rename(&path, &aside).map_err(ImageError::io("set aside", &path))?;
        Ok(Some(aside))
    }

    pub(super) fn read_index(&self) -> Result<Index, ImageError> {
        self.index().map_err(ImageError::io("read", &self.index_path()))
    }

    pub(super) fn write_index(&self, index: &mut Index) -> Result<(), ImageError> {
        index.version = VERSION;
        let path = self.index_path();
        let mut bytes = serde_json::to_vec_pretty(index).map_err(|e| ImageError::Io {
            action: "write",
            path: path.clone(),
            cause: e.into(),
        })?;
        bytes.push(b'\n');
        atomic::write(&path, &bytes, 0o600, Durability::Power).map_err(ImageError::io("write", &path))
    }

    /// Removes what the index does not name: the leftovers of loads and removals that were cut short. Needs the lock.
    pub(super) fn sweep(&self, index: &Index) -> Result<(), ImageError> {
        let layers: BTreeSet<&str> = index.layers.values().map(|layer| layer.dir.as_str()).collect();
        let configs: BTreeSet<String> =
            index.images.keys().filter_map(|id| Some(config_name(&Digest::parse(id)?))).collect();
        // Even if the index was lost: what is mounted is somebody's root.
        let mounts = Mounts::read()?;
        sweep_directory(&self.layers_path(), |name| layers.contains(name) || mounts.hold(name))?;
        sweep_directory(&self.configs_path(), |name| configs.contains(name))?;
        // A pull downloads without the store's lock; it holds one on its own directory.
        let tmp = self.tmp_path();
        sweep_directory(&tmp, |name| {
            name.starts_with("pull-") && matches!(lock::holder(&tmp.join(name).join("lock")), Ok(Some(_)))
        })
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    pub(super) fn layers_path(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(super) fn configs_path(&self) -> PathBuf {
        self.root.join("configs")
    }

    pub(super) fn config_path(&self, id: &Digest) -> PathBuf {
        self.configs_path().join(config_name(id))
    }

    pub(super) fn tmp_path(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// The part of an image's configuration that the store gives out.
#[derive(Debug, Deserialize)]
struct Configuration {
    config: Option<ImageConfig>,
}

fn config_name(id: &Digest) -> String {
    format!("{}.json", id.hex())
}

fn sweep_directory(directory: &Path, keep: impl Fn(&str) -> bool) -> Result<(), ImageError> {
    for entry in fs::read_dir(directory).map_err(ImageError::io("list", directory))? {
        let entry = entry.map_err(ImageError::io("list", directory))?;
        if entry.file_name().to_str().is_some_and(&keep) {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().map_err(ImageError::io("look at", &path))?.is_dir();
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(ImageError::io("remove", &path))?;
    }
    Ok(())
}
