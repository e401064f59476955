//! Archive → store: all images of an archive, or none of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::archive::{self, Archive};
use super::bounds::{Budget, Metered};
use super::codec;
use super::digest::{Digest, Hashing};
use super::discover;
use super::error::ImageError;
use super::plan::{self, Planned, PlannedLayer};
use super::store::{ArchiveRecord, ImageRecord, Index, LayerRecord, Store};
use super::tarball::{Reader, Stream};
use super::unpack;
use crate::pod::reference::Reference;
use crate::sys::atomic::{self, Durability};
use crate::sys::clock;
use crate::sys::files::Dir;

/// How far a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done, of the archive's own bytes.
    pub done: u64,
    /// Bytes to do.
    pub total: u64,
}

/// What a load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Decompressing the archive as a whole.
    Decompress,
    /// Unpacking layers.
    Unpack,
    /// Handing layers to docker.
    Send,
}

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// `sha256:…`, the digest of its configuration.
    pub id: String,
    /// The names that it has now; none if the archive gives it none.
    pub references: Vec<Reference>,
    /// How many layers it has.
    pub layers: usize,
    /// Bytes of its layers.
    pub size: u64,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub platform: String,
    /// Whether that is this machine's; if not, its programs will hardly run.
    pub fits: bool,
}

impl Store {
    /// Loads all images of an archive; an error leaves the store as it was.
    pub fn load(
        &self,
        archive: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Loaded>, ImageError> {
        let (_lock, mut index) = self.lock_index()?;
        self.sweep(&index)?;
        let (_, loaded) = self.take_in(&mut index, archive, progress)?;
        self.write_index(&mut index)?;
        Ok(loaded)
    }

    /// Loads an archive of an image directory and remembers what came of it, so that [`discover::archives`] passes it
    /// over until it changes. An archive that is at fault itself is remembered too; trouble of the moment is not.
    pub fn load_and_record(
        &self,
        archive: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Loaded>, ImageError> {
        let (_lock, mut index) = self.lock_index()?;
        self.sweep(&index)?;
        let (_, before) = archive::open_file(archive)?;
        let result = self.take_in(&mut index, archive, progress);
        let record = match &result {
            Ok((stamp, loaded)) => ArchiveRecord {
                stamp: *stamp,
                images: loaded.iter().map(|image| image.id.clone()).collect(),
                error: None,
            },
            Err(e) if e.is_permanent() => {
                ArchiveRecord { stamp: before, images: Vec::new(), error: Some(e.to_string()) }
            }
            Err(_) => return result.map(|(_, loaded)| loaded),
        };
        index.archives.retain(|key, _| discover::path_of(key).symlink_metadata().is_ok());
        index.archives.insert(discover::key(archive), record);
        self.write_index(&mut index)?;
        result.map(|(_, loaded)| loaded)
    }

    /// Puts everything in place but the index, which is changed only in memory and only when all has gone well.
    fn take_in(
        &self,
        index: &mut Index,
        path: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(archive::Stamp, Vec<Loaded>), ImageError> {
        let work = self.tmp_path().join(format!("load-{}", std::process::id()));
        fs::create_dir(&work).map_err(ImageError::io("make the directory", &work))?;
        let result = self.take_in_through(&work, index, path, progress);
        // What is left of a failed load is removed now or, failing that, by the next load.
        let _ = fs::remove_dir_all(&work);
        result
    }

    fn take_in_through(
        &self,
        work: &Path,
        index: &mut Index,
        path: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(archive::Stamp, Vec<Loaded>), ImageError> {
        let archive = Archive::open(path, work, &self.bounds, &mut |done, total| {
            progress(Progress { stage: Stage::Decompress, done, total });
        })?;
        let planned = plan::plan(&archive, &self.bounds)?;
        let mut loading = Loading {
            archive: &archive,
            store: self,
            work,
            bytes: Budget::new("bytes after decompression", self.bounds.unpacked),
            entries: Budget::new("members", self.bounds.entries),
            fresh: BTreeMap::new(),
            done: 0,
            total: 0,
        };
        let missing = missing_layers(index, &self.layers_path(), &planned);
        loading.total = missing.iter().map(|layer| layer.blob.size).fold(0, u64::saturating_add);
        for layer in missing {
            loading.unpack(layer, progress)?;
        }
        archive.check_unchanged()?;
        let fresh = loading.fresh;
        self.put_in_place(work, index, &planned, fresh)?;
        Ok((archive.stamp(), planned.iter().map(|image| loaded(index, image)).collect()))
    }

    /// From here on only the system can fail; what it leaves behind is not named by the index and so swept later.
    fn put_in_place(
        &self,
        work: &Path,
        index: &mut Index,
        planned: &[Planned],
        fresh: BTreeMap<Digest, (PathBuf, unpack::Unpacked)>,
    ) -> Result<(), ImageError> {
        let layers = self.layers_path();
        if !fresh.is_empty() {
            // The layers' bytes must be on the disk before any name says that they are whole.
            let dir = Dir::open(work).map_err(ImageError::io("open", work))?;
            dir.sync_filesystem().map_err(ImageError::io("flush", work))?;
        }
        for (diff_id, (from, unpacked)) in &fresh {
            index.layers.remove(&diff_id.to_string());
            let dir = free_name(index, &layers, diff_id);
            let to = layers.join(&dir);
            fs::rename(from, &to).map_err(ImageError::io("rename to", &to))?;
            let record = LayerRecord { dir, size: unpacked.size, opaque: unpacked.opaque };
            index.layers.insert(diff_id.to_string(), record);
        }
        if !fresh.is_empty() {
            Dir::open(&layers).and_then(|dir| dir.sync()).map_err(ImageError::io("flush", &layers))?;
        }
        for image in planned {
            let path = self.config_path(&image.id);
            atomic::write(&path, &image.config, 0o600, Durability::Power)
                .map_err(ImageError::io("write", &path))?;
            let record = ImageRecord {
                layers: image.layers.iter().map(|layer| layer.diff_id.to_string()).collect(),
                platform: image.platform.clone(),
                loaded_ms: clock::unix_ms(),
            };
            index.images.entry(image.id.to_string()).or_insert(record);
            for reference in &image.references {
                index.references.insert(reference.full.clone(), image.id.to_string());
            }
        }
        Ok(())
    }
}

/// Each layer that the store does not have, once.
fn missing_layers<'a>(index: &Index, layers: &Path, planned: &'a [Planned]) -> Vec<&'a PlannedLayer> {
    // A layer that the index names and the disk has lost is loaded again: that is how a damaged store is mended.
    let present = |diff_id: &Digest| {
        index.layers.get(&diff_id.to_string()).is_some_and(|layer| layers.join(&layer.dir).is_dir())
    };
    let mut missing: BTreeMap<Digest, &PlannedLayer> = BTreeMap::new();
    for layer in planned.iter().flat_map(|image| &image.layers) {
        if !present(&layer.diff_id) {
            missing.entry(layer.diff_id).or_insert(layer);
        }
    }
    let mut missing: Vec<_> = missing.into_values().collect();
    // In the order of the file, which a disk reads best.
    missing.sort_by_key(|layer| layer.blob);
    missing
}

/// The shortest beginning of a diff id, from 16 digits on, that no other layer has taken.
fn free_name(index: &Index, layers: &Path, diff_id: &Digest) -> String {
    let hex = diff_id.hex();
    // A directory that the index does not name may still be a container's root.
    let taken = |name: &str| {
        index.layers.values().any(|layer| layer.dir == name) || layers.join(name).symlink_metadata().is_ok()
    };
    (16..hex.len())
        .step_by(8)
        .filter_map(|length| hex.get(..length))
        .find(|name| !taken(name))
        .map_or_else(|| hex.clone(), str::to_owned)
}

fn loaded(index: &Index, image: &Planned) -> Loaded {
    let id = image.id.to_string();
    Loaded {
        references: image.references.clone(),
        layers: image.layers.len(),
        size: index.images.get(&id).map_or(0, |record| index.size(record)),
        fits: fits(&image.platform),
        platform: image.platform.clone(),
        id,
    }
}

/// Whether images for that platform run on this machine.
pub fn fits(platform: &str) -> bool {
    let (os, architecture) = plan::this_platform();
    let ours = plan::platform(os, architecture, "");
    platform == ours || platform.starts_with(&format!("{ours}/"))
}

struct Loading<'a> {
    archive: &'a Archive,
    store: &'a Store,
    work: &'a Path,
    bytes: Budget,
    entries: Budget,
    /// Diff id → where the layer was unpacked, and what came of it.
    fresh: BTreeMap<Digest, (PathBuf, unpack::Unpacked)>,
    done: u64,
    total: u64,
}

impl Loading<'_> {
    /// Unpacks one layer into a directory of its own and checks both its digests, all in one pass over its bytes.
    fn unpack(&mut self, layer: &PlannedLayer, progress: &mut dyn FnMut(Progress)) -> Result<(), ImageError> {
        let name = layer.diff_id.to_string();
        let reading = |e| ImageError::reading(&format!("layer {name}"), &self.archive.path, e);
        let into = self.work.join(layer.diff_id.hex());
        make_layer_directory(&into)?;
        let (before, total) = (self.done, self.total);
        let mut read = 0;
        let source = Watched {
            inner: self.archive.reader(layer.blob),
            seen: |n: u64| {
                read += n;
                progress(Progress { stage: Stage::Unpack, done: before.saturating_add(read), total });
            },
        };
        let mut stored = Hashing::new(source);
        let decoded = codec::decoder(&mut stored).map_err(reading)?;
        let mut reader = Reader::new(Stream(Hashing::new(Metered::new(decoded, &self.bytes))));
        let unpacked = unpack::unpack(&mut reader, &into, &self.store.bounds, &self.entries)
            .map_err(|e| ImageError::unpacking(&name, &self.archive.path, e))?;
        let (found, _) = reader.into_source().0.finish().map_err(reading)?;
        let (found_stored, _) = stored.finish().map_err(reading)?;
        if let Some(expected) = layer.stored.filter(|expected| *expected != found_stored) {
            return Err(mismatch(format!("stored layer {name}"), &expected, &found_stored));
        }
        if found != layer.diff_id {
            return Err(mismatch(format!("layer {name}"), &layer.diff_id, &found));
        }
        self.fresh.insert(layer.diff_id, (into, unpacked));
        self.done = self.done.saturating_add(layer.blob.size);
        Ok(())
    }
}

pub(super) fn mismatch(what: String, expected: &Digest, found: &Digest) -> ImageError {
    ImageError::Digest { what, expected: expected.to_string(), found: found.to_string() }
}

/// A layer's own entry for its root, if it has one, changes this.
fn make_layer_directory(path: &Path) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(ImageError::io("make the directory", path))
}

/// A reader that tells how much was read.
pub(super) struct Watched<R, F> {
    pub(super) inner: R,
    pub(super) seen: F,
}

impl<R: std::io::Read, F: FnMut(u64)> std::io::Read for Watched<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        (self.seen)(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
