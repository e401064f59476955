//! Any archive that can be read here, as one form that every docker takes: a docker-archive with `manifest.json`, a
//! configuration for each image and one file for each layer, plain or gzip as it is stored (docker has read both for ever;
//! zstd only of late).
//!
//! It is checked as a load into the store checks it, in the same pass in which it is written. `manifest.json` comes last, so
//! that what was cut off at a fault holds no image at all.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use serde::Serialize;

use super::archive::{self, Archive, Stamp};
use super::bounds::{Bounds, Budget, Metered};
use super::check;
use super::codec::{self, Codec};
use super::digest::{Digest, Hashing};
use super::error::ImageError;
use super::load::{self, Loaded, Progress, Stage, Watched, mismatch};
use super::plan::{self, Planned, PlannedLayer};
use super::tarball::{BLOCK, Reader, Stream};

/// Why an archive was not written out.
#[derive(Debug)]
pub enum ExportError {
    /// The archive, or this machine, is at fault.
    Archive(ImageError),
    /// What it is written to.
    Output(io::Error),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(e) => write!(f, "{e}"),
            Self::Output(e) => write!(f, "cannot write the archive: {e}"),
        }
    }
}

impl std::error::Error for ExportError {}

impl From<ImageError> for ExportError {
    fn from(e: ImageError) -> Self {
        Self::Archive(e)
    }
}

/// An archive that is about to be written out: its images are known, its layers not read yet.
#[derive(Debug)]
pub struct Export<'a> {
    archive: Archive,
    images: Vec<Planned>,
    /// Where files without a name may be made.
    spool: &'a Path,
    bounds: &'a Bounds,
}

/// One image of `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl<'a> Export<'a> {
    /// Opens an archive and plans its images; one that is compressed as a whole is unpacked into a nameless file in `spool`.
    pub fn open(
        path: &Path,
        spool: &'a Path,
        bounds: &'a Bounds,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ImageError> {
        let archive = Archive::open(path, spool, bounds, &mut |done, total| {
            progress(Progress { stage: Stage::Decompress, done, total });
        })?;
        // What several entries of an index name is one image, with the names of all.
        let mut images: Vec<Planned> = Vec::new();
        for image in plan::plan(&archive, bounds)? {
            match images.iter_mut().find(|known| known.id == image.id) {
                Some(known) => known.references.extend(image.references),
                None => images.push(image),
            }
        }
        for image in &mut images {
            let mut seen = std::collections::BTreeSet::new();
            image.references.retain(|reference| seen.insert(reference.full.clone()));
        }
        Ok(Self { archive, images, spool, bounds })
    }

    /// What the archive's file was when it was opened.
    pub fn stamp(&self) -> Stamp {
        self.archive.stamp()
    }

    /// Writes everything. Gives the images with the names that the archive has for them; those with a digest are not in what
    /// was written, since such an archive cannot hold them.
    pub fn write(
        &self,
        output: &mut dyn Write,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Loaded>, ExportError> {
        let mut layers: BTreeMap<Digest, &PlannedLayer> = BTreeMap::new();
        for layer in self.images.iter().flat_map(|image| &image.layers) {
            layers.entry(layer.diff_id).or_insert(layer);
        }
        let mut layers: Vec<_> = layers.into_values().collect();
        // In the order of the file, which a disk reads best.
        layers.sort_by_key(|layer| layer.blob);
        let reading = Reading {
            export: self,
            bytes: Budget::new("bytes after decompression", self.bounds.unpacked),
            entries: Budget::new("members", self.bounds.entries),
            done: 0,
            total: layers.iter().map(|layer| layer.blob.size).fold(0, u64::saturating_add),
        };
        let mut writing = Writing { reading, output };
        let mut sizes = BTreeMap::new();
        for layer in layers {
            sizes.insert(layer.diff_id, writing.layer(layer, progress)?);
        }
        self.archive.check_unchanged()?;
        writing.documents()?;
        Ok(self.images.iter().map(|image| loaded(image, &sizes)).collect())
    }

    fn manifest(&self) -> Result<Vec<u8>, ExportError> {
        let items: Vec<Item> = self
            .images
            .iter()
            .map(|image| {
                let tags: Vec<String> = image
                    .references
                    .iter()
                    .filter(|reference| reference.digest().is_none())
                    .map(|reference| reference.full.clone())
                    .collect();
                Item {
                    config: config_name(&image.id),
                    repo_tags: (!tags.is_empty()).then_some(tags),
                    layers: image.layers.iter().map(|layer| layer_name(&layer.diff_id)).collect(),
                }
            })
            .collect();
        serde_json::to_vec(&items).map_err(|e| ExportError::Output(e.into()))
    }
}

fn config_name(id: &Digest) -> String {
    format!("{}.json", id.hex())
}

fn layer_name(diff_id: &Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

fn loaded(image: &Planned, sizes: &BTreeMap<Digest, u64>) -> Loaded {
    let of_layers = image.layers.iter().filter_map(|layer| sizes.get(&layer.diff_id));
    Loaded {
        id: image.id.to_string(),
        references: image.references.clone(),
        layers: image.layers.len(),
        size: of_layers.fold(0, |sum, size| sum.saturating_add(*size)),
        fits: load::fits(&image.platform),
        platform: image.platform.clone(),
    }
}

struct Writing<'a> {
    reading: Reading<'a>,
    output: &'a mut dyn Write,
}

/// How far the reading of layers is, and what they may still ask for.
struct Reading<'a> {
    export: &'a Export<'a>,
    bytes: Budget,
    entries: Budget,
    done: u64,
    total: u64,
}

impl Writing<'_> {
    /// Writes one layer, and checks it and both its digests on the way. Gives the bytes in its regular files.
    fn layer(
        &mut self,
        layer: &PlannedLayer,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<u64, ExportError> {
        let export = self.reading.export;
        let mut head = Vec::new();
        export
            .archive
            .reader(layer.blob)
            .take(Codec::MAGIC as u64)
            .read_to_end(&mut head)
            .map_err(ImageError::io("read", &export.archive.path))?;
        let name = layer_name(&layer.diff_id);
        let size = match Codec::of(&head) {
            Codec::Plain | Codec::Gzip => {
                self.begin(&name, layer.blob.size)?;
                let mut failed = None;
                let mut tee = Tee { output: &mut *self.output, failed: &mut failed };
                let result = self.reading.layer(layer, Some(&mut tee), None, progress);
                if let Some(e) = failed {
                    return Err(ExportError::Output(e));
                }
                let (size, _) = result?;
                self.pad(layer.blob.size)?;
                size
            }
            // How long it is without compression is known when it has been read, and has to be written before it.
            Codec::Zstd | Codec::Bzip2 | Codec::Xz => {
                let spooling = ImageError::io("write a file in", export.spool);
                let mut file = archive::nameless(export.spool)?;
                let mut failed = None;
                let mut tee = Tee { output: &mut file, failed: &mut failed };
                let result = self.reading.layer(layer, None, Some(&mut tee), progress);
                if let Some(e) = failed {
                    return Err(spooling(e).into());
                }
                let (size, plain) = result?;
                self.begin(&name, plain)?;
                self.copy(file, plain)?;
                self.pad(plain)?;
                size
            }
        };
        self.reading.done = self.reading.done.saturating_add(layer.blob.size);
        Ok(size)
    }

    fn copy(&mut self, mut file: File, size: u64) -> Result<(), ExportError> {
        let reading = || ImageError::io("read a file in", self.reading.export.spool);
        file.rewind().map_err(reading())?;
        let mut left = size;
        let mut buffer = vec![0; 128 * 1024];
        while left > 0 {
            let n = match file.read(&mut buffer) {
                Ok(0) => return Err(reading()(io::ErrorKind::UnexpectedEof.into()).into()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(reading()(e).into()),
            };
            self.put(buffer.get(..n).unwrap_or_default())?;
            left = left.saturating_sub(n as u64);
        }
        Ok(())
    }

    /// The configurations, the manifest, and the end.
    fn documents(&mut self) -> Result<(), ExportError> {
        let export = self.reading.export;
        for image in &export.images {
            self.file(&config_name(&image.id), &image.config)?;
        }
        self.file(super::docker::MANIFEST, &export.manifest()?)?;
        match self.output.write_all(&[0; 2 * BLOCK]) {
            // Everything has been read by then.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(ExportError::Output),
        }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.begin(name, bytes.len() as u64)?;
        self.put(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn begin(&mut self, name: &str, size: u64) -> Result<(), ExportError> {
        self.put(&header(name, size))
    }

    fn pad(&mut self, size: u64) -> Result<(), ExportError> {
        let rest = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let zeros = [0; BLOCK];
        self.put(zeros.get(..rest as usize).unwrap_or_default())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.output.write_all(bytes).map_err(ExportError::Output)
    }
}

impl Reading<'_> {
    /// Reads a layer to its end and hands its bytes on, as they are stored or as they are without compression. Gives the
    /// bytes in its regular files, and how long it is without compression.
    fn layer(
        &self,
        layer: &PlannedLayer,
        stored_to: Option<&mut Tee<'_>>,
        plain_to: Option<&mut Tee<'_>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(u64, u64), ImageError> {
        let archive = &self.export.archive;
        let name = layer.diff_id.to_string();
        let reading = |e| ImageError::reading(&format!("layer {name}"), &archive.path, e);
        let (before, total) = (self.done, self.total);
        let mut read = 0;
        let source = Watched {
            inner: archive.reader(layer.blob),
            seen: |n: u64| {
                read += n;
                progress(Progress { stage: Stage::Send, done: before.saturating_add(read), total });
            },
        };
        let mut stored = Hashing::new(Through { inner: source, tee: stored_to });
        let decoded = codec::decoder(&mut stored).map_err(reading)?;
        let metered = Metered::new(decoded, &self.bytes);
        let mut reader = Reader::new(Stream(Hashing::new(Through { inner: metered, tee: plain_to })));
        let size = check::check(&mut reader, self.export.bounds, &self.entries)
            .map_err(|e| ImageError::unpacking(&name, &archive.path, e))?;
        let (found, length) = reader.into_source().0.finish().map_err(reading)?;
        let (found_stored, _) = stored.finish().map_err(reading)?;
        if let Some(expected) = layer.stored.filter(|expected| *expected != found_stored) {
            return Err(mismatch(format!("stored layer {name}"), &expected, &found_stored));
        }
        if found != layer.diff_id {
            return Err(mismatch(format!("layer {name}"), &layer.diff_id, &found));
        }
        Ok((size, length))
    }
}

/// The header of a regular file that root owns and everybody may read, of the year 1970. Names are ours and short.
fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        for (place, byte) in block.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    };
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < 1 << 33 {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        // Eleven octal digits end at 8 GiB; from there on GNU's binary form is what everybody reads.
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    for (place, byte) in block.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *place = byte;
    }
    block
}

/// Where bytes go that are read by somebody else. Its own failure is kept apart from those of the reader.
struct Tee<'a> {
    output: &'a mut dyn Write,
    failed: &'a mut Option<io::Error>,
}

/// A reader whose bytes go elsewhere too.
struct Through<'a, 'b, R> {
    inner: R,
    tee: Option<&'a mut Tee<'b>>,
}

impl<R: Read> Read for Through<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some(tee) = &mut self.tee
            && let Err(e) = tee.output.write_all(buffer.get(..n).unwrap_or_default())
        {
            *tee.failed = Some(e);
            return Err(io::Error::other("what was read cannot be handed on"));
        }
        Ok(n)
    }
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
