//! An image archive as a set of named blobs: where in the file each member's bytes are, so that they can be read in any
//! order and as often as needed without holding more than a buffer of them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bounds::{Bounds, Budget, Exceeded, Metered};
use super::codec::{self, Codec};
use super::error::ImageError;
use super::tarball::{Kind, Reader, Seekable};

/// The most that all names of an archive may take together, in bytes.
const NAMES_LIMIT: u64 = 16 << 20;
/// How many links one name may lead through.
const LINK_HOPS: u32 = 8;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of modification: nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Inode number.
    pub inode: u64,
}

impl Stamp {
    /// The state that some metadata shows.
    pub fn of(meta: &std::fs::Metadata) -> Self {
        let mtime_ns = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Self { size: meta.size(), mtime_ns, inode: meta.ino() }
    }
}

/// Where a blob's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    offset: u64,
    /// How many bytes it has.
    pub size: u64,
}

enum Entry {
    Blob(Blob),
    /// A link, to this name in the archive.
    Link(Vec<u8>),
}

/// An open archive.
pub struct Archive {
    /// Its path, for messages.
    pub path: PathBuf,
    original: File,
    stamp: Stamp,
    data: File,
    names: BTreeMap<Vec<u8>, Entry>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("path", &self.path)
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

/// A regular file, opened so that neither a FIFO nor a device can hold us up.
pub fn open_file(path: &Path) -> Result<(File, Stamp), ImageError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(ImageError::io("open", path))?;
    let meta = file.metadata().map_err(ImageError::io("look at", path))?;
    if !meta.is_file() {
        let cause = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(ImageError::Io { action: "read", path: path.to_owned(), cause });
    }
    Ok((file, Stamp::of(&meta)))
}

impl Archive {
    /// Opens an archive and lists what it holds. One that is compressed as a whole is unpacked into a nameless file in
    /// `spool` first, since its parts may come in any order; `progress` is told how many of its bytes have been read.
    pub fn open(
        path: &Path,
        spool: &Path,
        bounds: &Bounds,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, ImageError> {
        let (original, stamp) = open_file(path)?;
        let mut head = Vec::new();
        let read = |f: &File| f.try_clone();
        let mut data = read(&original).map_err(ImageError::io("read", path))?;
        Read::by_ref(&mut data)
            .take(Codec::MAGIC as u64)
            .read_to_end(&mut head)
            .and_then(|_| data.rewind())
            .map_err(ImageError::io("read", path))?;
        if Codec::of(&head) != Codec::Plain {
            data = decompress(data, path, stamp.size, spool, bounds, progress)?;
        }
        let data_again = read(&data).map_err(ImageError::io("read", path))?;
        let names = list(data, path, bounds)?;
        Ok(Self { path: path.to_owned(), original, stamp, data: data_again, names })
    }

    /// What the archive's file was when it was opened.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Fails when the archive's file has been written to since it was opened.
    pub fn check_unchanged(&self) -> Result<(), ImageError> {
        let meta = self.original.metadata().map_err(ImageError::io("look at", &self.path))?;
        if Stamp::of(&meta) == self.stamp {
            Ok(())
        } else {
            Err(ImageError::Changed { archive: self.path.clone() })
        }
    }

    /// Where the bytes of a name are, links followed; `None` when there is no such name.
    pub fn find(&self, name: &str) -> Option<Blob> {
        let mut name = normal(name.as_bytes())?;
        for _ in 0..LINK_HOPS {
            match self.names.get(&name)? {
                Entry::Blob(blob) => return Some(*blob),
                Entry::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    /// Like [`Archive::find`], but a missing name is an error.
    pub fn blob(&self, name: &str) -> Result<Blob, ImageError> {
        self.find(name)
            .ok_or_else(|| ImageError::Missing { archive: self.path.clone(), file: name.to_owned() })
    }

    /// The bytes of a small blob.
    pub fn read_small(&self, name: &str, bounds: &Bounds) -> Result<Vec<u8>, ImageError> {
        let blob = self.blob(name)?;
        if blob.size > bounds.json {
            let cause = Exceeded { what: "bytes in one JSON document", limit: bounds.json };
            return Err(ImageError::Exceeded { what: name.to_owned(), cause });
        }
        let mut bytes = Vec::new();
        self.reader(blob).read_to_end(&mut bytes).map_err(ImageError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// A JSON document.
    pub fn json<T: DeserializeOwned>(&self, name: &str, bounds: &Bounds) -> Result<T, ImageError> {
        parse(name, &self.read_small(name, bounds)?)
    }

    /// Reads a blob as it is stored.
    pub fn reader(&self, blob: Blob) -> BlobReader<'_> {
        BlobReader { file: &self.data, at: blob.offset, left: blob.size }
    }
}

/// Parses a JSON document of an archive; `file` names it in the error.
pub fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|cause| ImageError::Json { file: file.to_owned(), cause })
}

/// Reads a stretch of a file without moving its position.
#[derive(Debug)]
pub struct BlobReader<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.at = self.at.saturating_add(n as u64);
                self.left = self.left.saturating_sub(n as u64);
                Ok(n)
            }
        }
    }
}

fn decompress(
    source: File,
    path: &Path,
    size: u64,
    spool: &Path,
    bounds: &Bounds,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<File, ImageError> {
    let what = path.display().to_string();
    let budget = Budget::new("bytes after decompression", bounds.unpacked);
    let position = source.try_clone().map_err(ImageError::io("read", path))?;
    let mut decoded = codec::decoder(source)
        .map(|decoder| Metered::new(decoder, &budget))
        .map_err(|e| ImageError::reading(&what, path, e))?;
    let mut spooled = nameless(spool)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = match decoded.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(ImageError::reading(&what, path, e)),
        };
        let chunk = buffer.get(..n).unwrap_or_default();
        spooled.write_all(chunk).map_err(ImageError::io("write a file in", spool))?;
        // Both descriptors share one position.
        progress((&position).stream_position().unwrap_or(0), size);
    }
    spooled.seek(SeekFrom::Start(0)).map_err(ImageError::io("write a file in", spool))?;
    Ok(spooled)
}

/// A file in `directory` that has no name.
pub(super) fn nameless(directory: &Path) -> Result<File, ImageError> {
    let temporary = directory.join(format!("spool-{}", std::process::id()));
    // Whoever left it had our pid, and is dead.
    let _ = std::fs::remove_file(&temporary);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        // The name goes at once: however this process ends, the kernel gives the space back.
        .and_then(|file| std::fs::remove_file(&temporary).map(|()| file))
        .map_err(ImageError::io("make a file in", directory))
}

fn list(data: File, path: &Path, bounds: &Bounds) -> Result<BTreeMap<Vec<u8>, Entry>, ImageError> {
    let exceeded = |cause| ImageError::Exceeded { what: path.display().to_string(), cause };
    let entries = Budget::new("members", bounds.entries);
    let bytes = Budget::new("bytes of names", NAMES_LIMIT);
    let mut names = BTreeMap::new();
    let mut reader = Reader::new(Seekable(data));
    while let Some(member) =
        reader.next_member().map_err(|cause| ImageError::Tar { archive: path.to_owned(), cause })?
    {
        entries.take(1).map_err(exceeded)?;
        bytes.take((member.path.len() + member.link.len()) as u64).map_err(exceeded)?;
        let Some(name) = normal(&member.path) else { continue };
        let entry = match member.kind {
            Kind::File if member.segments.is_none() => {
                Some(Entry::Blob(Blob { offset: member.offset, size: member.size }))
            }
            // Relative to the link's own directory, as `docker save` of old wrote layers that occur twice.
            Kind::Symlink => beside(&name, &member.link).map(Entry::Link),
            Kind::HardLink => normal(&member.link).map(Entry::Link),
            Kind::File | Kind::Character | Kind::Block | Kind::Directory | Kind::Fifo => None,
        };
        if let Some(entry) = entry {
            names.insert(name, entry);
        }
    }
    Ok(names)
}

/// A name without `.` and empty parts, `..` taken as written; `None` when it leads above the archive.
fn normal(name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

fn beside(name: &[u8], link: &[u8]) -> Option<Vec<u8>> {
    let directory =
        name.iter().rposition(|b| *b == b'/').map_or(&b""[..], |at| name.get(..at).unwrap_or_default());
    if link.starts_with(b"/") { normal(link) } else { normal(&[directory, link].join(&b'/')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_the_archive() {
        assert_eq!(normal(b"./a//b/./c").as_deref(), Some(&b"a/b/c"[..]));
        assert_eq!(normal(b"../a"), None);
        assert_eq!(beside(b"x/layer.tar", b"../y/layer.tar").as_deref(), Some(&b"y/layer.tar"[..]));
        assert_eq!(beside(b"layer.tar", b"y").as_deref(), Some(&b"y"[..]));
        assert_eq!(beside(b"x/y", b"../../../z"), None);
    }
}
