//! One layer's tar stream → one directory that overlay can mount.
//!
//! The layer lands as docker lands it, which unpacks in a process whose root is the layer: symbolic links among the
//! parents of a name are followed beneath that root and nowhere else. Whiteouts (OCI image spec, "Layer Filesystem
//! Changeset") become what overlay understands: character devices 0:0 and `trusted.overlay.opaque`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;

use super::bounds::{Bounds, Budget, Exceeded};
use super::refusal::{Cause, UnpackError};
use super::tarball::{Kind, Member, Reader, Source};
use crate::sys::files::{Dir, Node, Stat, Type};

pub(super) const WHITEOUT: &[u8] = b".wh.";
pub(super) const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// How many links one name may lead through while its missing parents are made (path_resolution(7): 40).
const LINK_HOPS: u32 = 40;
/// The times of directories are set last, so their names are kept until then; this many bytes of them.
const DIRECTORY_NAMES: u64 = 32 << 20;

/// What came of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes in regular files.
    pub size: u64,
    /// The root itself is opaque: nothing of the layers below is to be seen.
    pub opaque: bool,
}

/// Unpacks a whole tar stream into the directory `root`, which is ours alone and empty. The reader is left behind the
/// last member. Each member and each directory made for a missing parent is taken from `entries`.
pub fn unpack<S: Source>(
    reader: &mut Reader<S>,
    root: &Path,
    bounds: &Bounds,
    entries: &Budget,
) -> Result<Unpacked, UnpackError> {
    let without_member = |cause| UnpackError { path: Vec::new(), cause };
    let open = || -> io::Result<(Dir, PathBuf)> {
        let dir = Dir::open(root)?;
        let path = dir.path()?;
        Ok((dir, path))
    };
    let (root, root_path) = open().map_err(|e| without_member(io("open the layer's directory")(e)))?;
    let mut layer = Layer {
        root: Rc::new(root),
        root_path,
        bounds,
        entries,
        parent: None,
        directories: Vec::new(),
        directory_names: Budget::new("bytes of directory names", DIRECTORY_NAMES),
        buffer: vec![0; 128 * 1024],
        done: Unpacked::default(),
    };
    while let Some(member) = reader.next_member().map_err(|e| without_member(Cause::Tar(e)))? {
        layer.place(&member, reader).map_err(|cause| UnpackError { path: member.path, cause })?;
    }
    layer.finish().map_err(without_member)?;
    Ok(layer.done)
}

struct Layer<'a> {
    root: Rc<Dir>,
    root_path: PathBuf,
    bounds: &'a Bounds,
    entries: &'a Budget,
    /// The parent of the last member: its neighbours mostly follow.
    parent: Option<(PathBuf, Rc<Dir>)>,
    directories: Vec<(PathBuf, (i64, i64))>,
    directory_names: Budget,
    buffer: Vec<u8>,
    done: Unpacked,
}

impl Layer<'_> {
    fn place<S: Source>(&mut self, member: &Member, data: &mut Reader<S>) -> Result<(), Cause> {
        self.entries.take(1)?;
        let parts = components(&member.path, self.bounds)?;
        let Some((name, parents)) = parts.split_last() else {
            return match member.kind {
                Kind::Directory => {
                    self.dress(&Rc::clone(&self.root), OsStr::new("."), Path::new("."), member)
                }
                Kind::File | Kind::HardLink | Kind::Symlink | Kind::Character | Kind::Block | Kind::Fifo => {
                    Err(Cause::Root)
                }
            };
        };
        // Other names below `.wh..wh.` are aufs' own bookkeeping and mean nothing here.
        if parents.iter().any(|part| part.as_bytes().starts_with(WHITEOUT_META)) {
            return Ok(());
        }
        if parents.iter().any(|part| part.as_bytes().starts_with(WHITEOUT)) {
            return Err(Cause::Reserved);
        }
        let parents: PathBuf = parents.iter().collect();
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.white_out(&parents, name, OsStr::from_bytes(hidden));
        }
        let parent = self.parent(&parents)?;
        let existing = parent.stat(name).map_err(io("look at the name"))?;
        if member.kind == Kind::HardLink {
            return self.hard_link(&parent, name, existing, &member.link);
        }
        let hidden = existing.is_some_and(|stat| is_whiteout(&stat));
        let merge =
            member.kind == Kind::Directory && existing.is_some_and(|stat| stat.kind == Type::Directory);
        if existing.is_some() && !merge {
            self.remove(&parent, name)?;
        }
        match member.kind {
            Kind::Directory if merge => {}
            Kind::Directory => {
                parent.make_dir(name, 0o700).map_err(io("make the directory"))?;
                if hidden {
                    // Hidden and made anew by one layer: what is below must not shine through.
                    set_opaque(&parent, name)?;
                }
            }
            Kind::File => self.write(&parent, name, member, data)?,
            Kind::Symlink if member.link.is_empty() => return Err(Cause::EmptyLink),
            Kind::Symlink => {
                parent
                    .symlink(name, OsStr::from_bytes(&member.link))
                    .map_err(io("make the symbolic link"))?;
            }
            Kind::Character => {
                let node = Node::Character(member.device.0, member.device.1);
                parent.make_node(name, node).map_err(io("make the device node"))?;
            }
            Kind::Block => {
                let node = Node::Block(member.device.0, member.device.1);
                parent.make_node(name, node).map_err(io("make the device node"))?;
            }
            Kind::Fifo => parent.make_node(name, Node::Fifo).map_err(io("make the FIFO"))?,
            // Done above.
            Kind::HardLink => {}
        }
        self.dress(&parent, name, &parents.join(name), member)
    }

    /// `.wh.NAME` hides NAME of the layers below, and only there: what this layer itself has under that name stays, and
    /// if that is a directory it is all there is.
    fn white_out(&mut self, parents: &Path, name: &OsStr, hidden: &OsStr) -> Result<(), Cause> {
        if name.as_bytes() == OPAQUE {
            let parent = self.parent(parents)?;
            self.done.opaque |= parents.as_os_str().is_empty();
            return set_opaque(&parent, OsStr::new("."));
        }
        if name.as_bytes().starts_with(WHITEOUT_META) {
            return Ok(());
        }
        if matches!(hidden.as_bytes(), b"" | b"." | b"..") {
            return Err(Cause::Reserved);
        }
        let parent = self.parent(parents)?;
        match parent.stat(hidden).map_err(io("look at the name"))? {
            None => parent.make_node(hidden, Node::Character(0, 0)).map_err(io("make the whiteout")),
            Some(Stat { kind: Type::Directory, .. }) => set_opaque(&parent, hidden),
            Some(_) => Ok(()),
        }
    }

    fn hard_link(
        &mut self,
        parent: &Dir,
        name: &OsStr,
        existing: Option<Stat>,
        link: &[u8],
    ) -> Result<(), Cause> {
        let missing = || Cause::LinkTargetMissing(link.to_vec());
        let parts = components(link, self.bounds)?;
        let (old, parents) = parts.split_last().ok_or_else(|| Cause::LinkToDirectory(link.to_vec()))?;
        let from = match self.root.open_in_root(&parents.iter().collect::<PathBuf>()) {
            Ok(dir) => dir,
            Err(e) if is_absence(&e) => return Err(missing()),
            Err(e) => return Err(io("open the link's target")(e)),
        };
        let target = from.stat(old).map_err(io("look at the link's target"))?.ok_or_else(missing)?;
        if target.kind == Type::Directory {
            return Err(Cause::LinkToDirectory(link.to_vec()));
        }
        if is_whiteout(&target) {
            return Err(missing());
        }
        if let Some(existing) = existing {
            if existing.identity == target.identity {
                return Ok(());
            }
            self.remove(parent, name)?;
        }
        // Owner, mode and attributes are the file's, not the name's: they were set with its first name.
        parent.link(name, &from, old).map_err(io("make the hard link"))
    }

    fn write<S: Source>(
        &mut self,
        parent: &Dir,
        name: &OsStr,
        member: &Member,
        data: &mut Reader<S>,
    ) -> Result<(), Cause> {
        let mut file = parent.create(name).map_err(io("make the file"))?;
        let whole = [(0, member.size)];
        for (offset, length) in member.segments.as_deref().unwrap_or(&whole) {
            file.seek(SeekFrom::Start(*offset)).map_err(io("write the file"))?;
            let mut left = *length;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                let chunk = self.buffer.get_mut(..most).unwrap_or_default();
                let n = match data.read(chunk) {
                    Ok(n) => n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => return Err(Cause::Tar(e.into())),
                };
                file.write_all(chunk.get(..n).unwrap_or_default()).map_err(io("write the file"))?;
                left = left.saturating_sub(n as u64);
                self.done.size = self.done.size.saturating_add(n as u64);
            }
        }
        if member.segments.is_some() {
            file.set_len(member.size).map_err(io("write the file"))?;
        }
        Ok(())
    }

    /// Owner, mode, attributes and times, in the order in which none of them undoes another.
    fn dress(&mut self, parent: &Dir, name: &OsStr, path: &Path, member: &Member) -> Result<(), Cause> {
        parent.chown(name, member.uid, member.gid).map_err(io("set the owner"))?;
        if member.kind != Kind::Symlink {
            parent.chmod(name, member.mode).map_err(io("set the mode"))?;
        }
        for (key, value) in &member.xattrs {
            allowed_attribute(key)?;
            match parent.set_xattr(name, OsStr::from_bytes(key), value) {
                // File capabilities decide what a program may do; the rest is kept where the file system keeps it.
                Err(e) if key != b"security.capability" && is_unsupported(&e) => {}
                other => other.map_err(io("set an extended attribute"))?,
            }
        }
        let (seconds, nanoseconds) = member.mtime;
        if member.kind == Kind::Directory {
            self.directory_names.take(path.as_os_str().len() as u64)?;
            self.directories.push((path.to_owned(), member.mtime));
            return Ok(());
        }
        parent.set_times(name, seconds, nanoseconds).map_err(io("set the time"))
    }

    /// Whatever is made in a directory changes its time, so directories get theirs when all is made.
    fn finish(&mut self) -> Result<(), Cause> {
        self.parent = None;
        for (path, (seconds, nanoseconds)) in std::mem::take(&mut self.directories) {
            match self.root.open_in_root(&path) {
                Ok(dir) => {
                    dir.set_times(OsStr::new("."), seconds, nanoseconds).map_err(io("set the time"))?;
                }
                // A later member has replaced it.
                Err(e) if is_absence(&e) => {}
                Err(e) => return Err(io("open the directory")(e)),
            }
        }
        Ok(())
    }

    fn remove(&mut self, parent: &Dir, name: &OsStr) -> Result<(), Cause> {
        // The kept parent may be in what goes.
        self.parent = None;
        parent.remove(name).map_err(io("replace the name"))
    }

    /// The directory of that name, made with its own parents where the tar file has left them out.
    fn parent(&mut self, path: &Path) -> Result<Rc<Dir>, Cause> {
        if path.as_os_str().is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((_, dir)) = self.parent.as_ref().filter(|(kept, _)| kept == path) {
            return Ok(Rc::clone(dir));
        }
        let dir = Rc::new(self.directory(path, LINK_HOPS)?);
        let physical = dir.path().map_err(io("open a parent"))?;
        let depth =
            physical.strip_prefix(&self.root_path).map_or(usize::MAX, |below| below.components().count());
        if depth > self.bounds.depth {
            return Err(too_deep(self.bounds));
        }
        self.parent = Some((path.to_owned(), Rc::clone(&dir)));
        Ok(dir)
    }

    fn directory(&self, path: &Path, hops: u32) -> Result<Dir, Cause> {
        match self.root.open_in_root(path) {
            Err(e) if is_absence(&e) => {}
            other => return other.map_err(io("open a parent")),
        }
        let mut made = PathBuf::new();
        for part in path.iter().filter(|part| *part != "/" && *part != ".") {
            let here = self.root.open_in_root(&made).map_err(io("open a parent"))?;
            let found =
                if part == ".." { None } else { Some(here.stat(part).map_err(io("look at a parent"))?) };
            match found {
                // `..` exists wherever a directory does.
                None => {}
                Some(None) => self.make_parent(&here, part)?,
                Some(Some(stat)) if is_whiteout(&stat) => {
                    here.remove(part).map_err(io("replace a whiteout"))?;
                    self.make_parent(&here, part)?;
                    set_opaque(&here, part)?;
                }
                Some(Some(Stat { kind: Type::Directory, .. })) => {}
                Some(Some(Stat { kind: Type::Symlink, .. })) => {
                    let hops = hops.checked_sub(1).ok_or(Cause::ParentNotDirectory)?;
                    let target = here.read_link(part).map_err(io("read a link"))?;
                    // An absolute target replaces the path, which is what it means beneath our root.
                    self.directory(&made.join(target), hops)?;
                }
                Some(Some(_)) => return Err(Cause::ParentNotDirectory),
            }
            made.push(part);
        }
        self.root.open_in_root(path).map_err(io("open a parent"))
    }

    fn make_parent(&self, here: &Dir, name: &OsStr) -> Result<(), Cause> {
        self.entries.take(1)?;
        here.make_dir(name, 0o755).map_err(io("make a parent"))
    }
}

/// The parts of a name; a leading slash means nothing in a tar file, `.` and empty parts neither.
pub(super) fn components(path: &[u8], bounds: &Bounds) -> Result<Vec<OsString>, Cause> {
    if path.len() > bounds.path {
        return Err(Exceeded { what: "bytes in one path", limit: bounds.path as u64 }.into());
    }
    let parts: Vec<OsString> = path
        .split(|b| *b == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect();
    if parts.len() > bounds.depth {
        return Err(too_deep(bounds));
    }
    if parts.iter().any(|part| part == "..") { Err(Cause::LeavesLayer) } else { Ok(parts) }
}

fn too_deep(bounds: &Bounds) -> Cause {
    Exceeded { what: "directories above one name", limit: bounds.depth as u64 }.into()
}

/// What overlay keeps its own notes in is not an image's to set.
pub(super) fn allowed_attribute(key: &[u8]) -> Result<(), Cause> {
    if key.starts_with(b"trusted.overlay.") || key.contains(&0) {
        return Err(Cause::Attribute(key.to_vec()));
    }
    Ok(())
}

fn set_opaque(parent: &Dir, name: &OsStr) -> Result<(), Cause> {
    parent
        .set_xattr(name, OsStr::new("trusted.overlay.opaque"), b"y")
        .map_err(io("mark the directory opaque"))
}

fn is_whiteout(stat: &Stat) -> bool {
    stat.kind == Type::Character(0, 0)
}

fn is_absence(e: &io::Error) -> bool {
    matches!(e.raw_os_error().map(Errno::from_raw), Some(Errno::ENOENT | Errno::ENOTDIR))
}

fn is_unsupported(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error().map(Errno::from_raw),
        Some(Errno::EOPNOTSUPP | Errno::EPERM | Errno::EINVAL | Errno::EACCES)
    )
}

fn io(action: &'static str) -> impl Fn(io::Error) -> Cause {
    move |cause| Cause::Io { action, cause }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
