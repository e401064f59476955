//! A reader of tar streams: old, ustar, GNU and PAX, with GNU sparse files.
//!
//! The `tar` package is not enough here: it splits PAX records at newlines, which breaks binary values such as
//! `security.capability`, and it reads long names and PAX headers of any size into memory. This one bounds every header
//! and gives each number, name and attribute as the tar file means it; what it means on disk is `unpack`'s business.

use std::fmt;
use std::io::{self, Read};

use super::bounds::Exceeded;
use super::pax;
use super::tar_header::{Header, number, until_nul};
pub use super::tar_source::{Seekable, Source, Stream};

/// tar files are made of blocks of this many bytes.
pub const BLOCK: usize = 512;
/// The most that one long name or one PAX header may take.
const HEADER_LIMIT: u64 = 1 << 20;
/// The most data segments that one sparse file may have.
pub const SEGMENT_LIMIT: usize = 1 << 18;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of a member before it.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
}

/// One member of a tar file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name as written.
    pub path: Vec<u8>,
    /// What a link points to, as written.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of modification: seconds since 1970 and nanoseconds.
    pub mtime: (i64, i64),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Size of the file in bytes, holes included.
    pub size: u64,
    /// Where its bytes begin in the stream.
    pub offset: u64,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Offset and length of each piece of data of a sparse file, in order; `None` when the file has no holes.
    pub segments: Option<Vec<(u64, u64)>>,
}

/// What is wrong with a tar file.
#[derive(Debug)]
pub enum TarError {
    /// It cannot be read.
    Io(io::Error),
    /// It ends in the middle of a member.
    Truncated,
    /// A header's checksum is wrong: this is no tar file, or a damaged one.
    Checksum,
    /// A number in a header cannot be read; which one is named.
    Number(&'static str),
    /// A PAX header is malformed.
    Pax,
    /// A member of a type that is not known.
    UnknownType(u8),
    /// The map of a sparse file contradicts itself.
    Sparse,
    /// A header or sparse map is too large.
    Exceeded(Exceeded),
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "{e}"),
            Self::Truncated => f.write_str("the tar file is cut off"),
            Self::Checksum => f.write_str("not a tar file, or a damaged one (header checksum)"),
            Self::Number(field) => write!(f, "tar header: the {field} is not a number in range"),
            Self::Pax => f.write_str("tar header: malformed PAX records"),
            Self::UnknownType(t) => write!(f, "tar header: unknown type '{}'", t.escape_ascii()),
            Self::Sparse => f.write_str("tar header: the map of a sparse file contradicts itself"),
            Self::Exceeded(e) => write!(f, "tar header: {e}"),
        }
    }
}

impl std::error::Error for TarError {}

impl From<io::Error> for TarError {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Io(e) }
    }
}

/// Reads the members of a tar file one by one; as a [`Read`], the stored bytes of the present member.
#[derive(Debug)]
pub struct Reader<S> {
    source: S,
    position: u64,
    left: u64,
    padding: u64,
}

impl<S: Source> Reader<S> {
    /// Reads `source` from where it stands; offsets count from there.
    pub fn new(source: S) -> Self {
        Self { source, position: 0, left: 0, padding: 0 }
    }

    /// The source, standing after what was read.
    pub fn into_source(self) -> S {
        self.source
    }

    /// The next member, or `None` at the end of the archive.
    pub fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        let mut long_name = None;
        let mut long_link = None;
        let mut records = pax::Records::default();
        loop {
            self.skip_rest()?;
            let Some(block) = self.block()? else {
                return if long_name.is_some() || long_link.is_some() {
                    Err(TarError::Truncated)
                } else {
                    Ok(None)
                };
            };
            if block.iter().all(|b| *b == 0) {
                return Ok(None);
            }
            let header = Header(&block);
            header.check()?;
            match header.type_flag() {
                b'L' => long_name = Some(until_nul(&self.small(header.size()?, "bytes in a long name")?)),
                b'K' => long_link = Some(until_nul(&self.small(header.size()?, "bytes in a long link")?)),
                b'x' | b'X' => {
                    let bytes = self.small(header.size()?, "bytes in a PAX header")?;
                    records = pax::parse(&bytes).ok_or(TarError::Pax)?;
                }
                // Go's reader, and so docker, applies global records to nothing; `git archive` leaves a comment there.
                b'g' => drop(self.small(header.size()?, "bytes in a PAX header")?),
                _ => return self.member(&header, records, long_name, long_link).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: &Header<'_>,
        records: pax::Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Member, TarError> {
        let path = records.path.or(long_name).unwrap_or_else(|| header.path());
        let kind = match header.type_flag() {
            // Before ustar a directory was a file whose name ends in a slash.
            b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Character,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(TarError::UnknownType(other)),
        };
        // Only files have bytes, whatever the size of others says (as Go's reader has it).
        let stored = match kind {
            Kind::File => match records.size {
                Some(size) => size,
                None => header.size()?,
            },
            Kind::HardLink | Kind::Symlink | Kind::Character | Kind::Block | Kind::Directory | Kind::Fifo => {
                0
            }
        };
        let owner = |record: Option<u64>, at, field| {
            let id = record.map_or_else(|| header.number(at, 8, field), Ok)?;
            u32::try_from(id).map_err(|_| TarError::Number(field))
        };
        let device = |at| match kind {
            Kind::Character | Kind::Block => u32::try_from(header.number(at, 8, "device number")?)
                .map_err(|_| TarError::Number("device number")),
            Kind::File | Kind::HardLink | Kind::Symlink | Kind::Directory | Kind::Fifo => Ok(0),
        };
        let mut member = Member {
            link: records.link_path.or(long_link).unwrap_or_else(|| until_nul(header.field(157, 100))),
            kind,
            mode: (header.number(100, 8, "mode")? & 0o7777) as u32,
            uid: owner(records.uid, 108, "owner")?,
            gid: owner(records.gid, 116, "group")?,
            mtime: match records.mtime {
                Some(mtime) => mtime,
                None => (header.signed(136, 12, "time")?, 0),
            },
            device: (device(329)?, device(337)?),
            size: stored,
            offset: self.position,
            xattrs: records.xattrs,
            segments: None,
            path,
        };
        self.left = stored;
        self.padding = (BLOCK as u64 - stored % BLOCK as u64) % BLOCK as u64;
        if header.type_flag() == b'S' {
            self.gnu_sparse(header, &mut member)?;
        } else if let (Kind::File, Some(sparse)) = (kind, records.sparse) {
            self.pax_sparse(sparse, &mut member)?;
        }
        Ok(member)
    }

    /// The old GNU form: the map stands in the header and in blocks after it, which are not part of the size.
    fn gnu_sparse(&mut self, header: &Header<'_>, member: &mut Member) -> Result<(), TarError> {
        let mut segments = Vec::new();
        collect_segments(header.field(386, 96), &mut segments)?;
        let mut more = header.field(482, 1) != [0];
        while more {
            let block = self.block()?.ok_or(TarError::Truncated)?;
            let extension = Header(&block);
            collect_segments(extension.field(0, 504), &mut segments)?;
            more = extension.field(504, 1) != [0];
        }
        member.size = header.number(483, 12, "real size")?;
        member.offset = self.position;
        member.segments = Some(checked_segments(segments, self.left, member.size)?);
        Ok(())
    }

    /// The PAX forms: 0.0 and 0.1 keep the map in the records, 1.0 before the data.
    fn pax_sparse(&mut self, sparse: pax::Sparse, member: &mut Member) -> Result<(), TarError> {
        let map = match sparse.map {
            pax::Map::Records(map) => map,
            pax::Map::BeforeData => self.sparse_map()?,
        };
        member.size = sparse.real_size.ok_or(TarError::Sparse)?;
        member.path = sparse.name.unwrap_or_else(|| std::mem::take(&mut member.path));
        member.offset = self.position;
        member.segments = Some(checked_segments(map, self.left, member.size)?);
        Ok(())
    }

    /// A decimal number of segments, then offset and length of each, a line each; padded to whole blocks.
    fn sparse_map(&mut self) -> Result<Vec<(u64, u64)>, TarError> {
        let mut digits = Lines { bytes: Vec::new(), at: 0 };
        let count = usize::try_from(digits.number(self)?).map_err(|_| TarError::Sparse)?;
        if count > SEGMENT_LIMIT {
            return Err(too_many_segments());
        }
        let mut map = Vec::new();
        for _ in 0..count {
            map.push((digits.number(self)?, digits.number(self)?));
        }
        Ok(map)
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let n = self.left.checked_add(self.padding).ok_or(TarError::Number("size"))?;
        self.source.skip(n)?;
        self.position = self.position.checked_add(n).ok_or(TarError::Number("size"))?;
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// The next block, or `None` at the end of the source; the end inside a block is an error.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Truncated),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.position = self.position.saturating_add(BLOCK as u64);
        Ok(Some(block))
    }

    /// The data of a header that describes the next one.
    fn small(&mut self, size: u64, what: &'static str) -> Result<Vec<u8>, TarError> {
        if size > HEADER_LIMIT {
            return Err(TarError::Exceeded(Exceeded { what, limit: HEADER_LIMIT }));
        }
        let mut bytes = Vec::new();
        if (self.source.by_ref().take(size).read_to_end(&mut bytes)? as u64) < size {
            return Err(TarError::Truncated);
        }
        self.position = self.position.saturating_add(size);
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        Ok(bytes)
    }
}

impl<S: Source> Read for Reader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.source.read(buffer.get_mut(..most).unwrap_or_default())? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.left = self.left.saturating_sub(n as u64);
                self.position = self.position.saturating_add(n as u64);
                Ok(n)
            }
        }
    }
}

/// Decimal numbers, a line each, read from a member block by block.
struct Lines {
    bytes: Vec<u8>,
    at: usize,
}

impl Lines {
    fn number<S: Source>(&mut self, reader: &mut Reader<S>) -> Result<u64, TarError> {
        let mut value = 0_u64;
        for place in 0..=20 {
            let byte = match self.bytes.get(self.at) {
                Some(byte) => *byte,
                None => {
                    self.bytes = vec![0; BLOCK];
                    reader.read_exact(&mut self.bytes)?;
                    self.at = 0;
                    self.bytes.first().copied().unwrap_or_default()
                }
            };
            self.at += 1;
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    value =
                        value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or(TarError::Sparse)?;
                }
                b'\n' if place > 0 => return Ok(value),
                _ => break,
            }
        }
        Err(TarError::Sparse)
    }
}

fn too_many_segments() -> TarError {
    TarError::Exceeded(Exceeded { what: "pieces in a sparse file", limit: SEGMENT_LIMIT as u64 })
}

fn collect_segments(fields: &[u8], segments: &mut Vec<(u64, u64)>) -> Result<(), TarError> {
    for pair in fields.chunks_exact(24) {
        let (offset, length) = pair.split_at(12);
        if offset.iter().all(|b| *b == 0) {
            break;
        }
        if segments.len() >= SEGMENT_LIMIT {
            return Err(too_many_segments());
        }
        let number = |field| number(field).ok_or(TarError::Number("sparse map"));
        segments.push((number(offset)?, number(length)?));
    }
    Ok(())
}

/// Segments must follow one another, lie in the file, and add up to exactly what is stored.
fn checked_segments(
    segments: Vec<(u64, u64)>,
    stored: u64,
    real_size: u64,
) -> Result<Vec<(u64, u64)>, TarError> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for (offset, length) in &segments {
        if *offset < end {
            return Err(TarError::Sparse);
        }
        end = offset.checked_add(*length).ok_or(TarError::Sparse)?;
        sum = sum.checked_add(*length).ok_or(TarError::Sparse)?;
    }
    if end > real_size || sum != stored || i64::try_from(real_size).is_err() {
        return Err(TarError::Sparse);
    }
    Ok(segments)
}

#[cfg(test)]
#[path = "tarball_tests.rs"]
mod tests;
