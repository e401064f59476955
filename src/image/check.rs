//! One layer's tar stream, looked through and not unpacked: for layers that docker unpacks. What is refused is what
//! [`super::unpack`] refuses by a member alone; what depends on the members before it (a hard link to nothing) docker
//! refuses itself.

use std::os::unix::ffi::OsStrExt;

use super::bounds::{Bounds, Budget};
use super::refusal::{Cause, UnpackError};
use super::tarball::{Kind, Member, Reader, Source};
use super::unpack::{WHITEOUT, WHITEOUT_META, allowed_attribute, components};

/// Looks through a whole tar stream; the reader is left behind the last member. Each member is taken from `entries`. Gives
/// the bytes in regular files.
pub fn check<S: Source>(
    reader: &mut Reader<S>,
    bounds: &Bounds,
    entries: &Budget,
) -> Result<u64, UnpackError> {
    let mut size = 0_u64;
    let without_member = |cause| UnpackError { path: Vec::new(), cause: Cause::Tar(cause) };
    while let Some(member) = reader.next_member().map_err(without_member)? {
        match of(&member, bounds, entries) {
            Ok(bytes) => size = size.saturating_add(bytes),
            Err(cause) => return Err(UnpackError { path: member.path, cause }),
        }
    }
    Ok(size)
}

fn of(member: &Member, bounds: &Bounds, entries: &Budget) -> Result<u64, Cause> {
    entries.take(1)?;
    let parts = components(&member.path, bounds)?;
    let Some((name, parents)) = parts.split_last() else {
        return if member.kind == Kind::Directory { Ok(0) } else { Err(Cause::Root) };
    };
    if parents.iter().any(|part| part.as_bytes().starts_with(WHITEOUT_META)) {
        return Ok(0);
    }
    if parents.iter().any(|part| part.as_bytes().starts_with(WHITEOUT)) {
        return Err(Cause::Reserved);
    }
    if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
        return if matches!(hidden, b"" | b"." | b"..") { Err(Cause::Reserved) } else { Ok(0) };
    }
    for (key, _) in &member.xattrs {
        allowed_attribute(key)?;
    }
    match member.kind {
        Kind::HardLink if components(&member.link, bounds)?.is_empty() => {
            Err(Cause::LinkToDirectory(member.link.clone()))
        }
        Kind::Symlink if member.link.is_empty() => Err(Cause::EmptyLink),
        Kind::File => Ok(member.segments.as_ref().map_or(member.size, |s| {
            s.iter().map(|(_, length)| length).fold(0, |a, b| a.saturating_add(*b))
        })),
        Kind::HardLink | Kind::Symlink | Kind::Character | Kind::Block | Kind::Directory | Kind::Fifo => {
            Ok(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tarball::Stream;
    use super::super::testing::{Entry, dir, file, hard, symlink, tar};
    use super::*;

    fn checked(entries: &[Entry<'_>]) -> Result<u64, String> {
        let bytes = tar(entries);
        let bounds = Bounds { path: 100, depth: 4, ..Bounds::default() };
        check(&mut Reader::new(Stream(&bytes[..])), &bounds, &Budget::new("members", 5))
            .map_err(|e| format!("{}: {}", e.path.escape_ascii(), e.cause))
    }

    #[test]
    fn what_a_layer_may_hold_passes() {
        let entries =
            [dir("./"), file("a/b", b"12"), symlink("a/c", "/etc"), hard("a/d", "a/b"), file("a/.wh.x", b"")];
        assert_eq!(checked(&entries), Ok(2));
        assert_eq!(checked(&[file(".wh..wh..opq", b""), file(".wh..wh.plnk/x", b"123")]), Ok(0));
    }

    #[test]
    fn what_unpacking_refuses_is_refused() {
        for (entry, part) in [
            (file("../../evil", b""), "leaves the layer"),
            (hard("x", "../evil"), "leaves the layer"),
            (hard("x", "/"), "hard link to the directory"),
            (file(".", b""), "must be a directory"),
            (file(".wh.x/y", b""), "reserved"),
            (file(".wh...", b""), "reserved"),
            (symlink("x", ""), "symbolic link to nothing"),
            (file("a/b/c/d/e", b""), "more than 4 directories"),
            (Entry { kind: b'9', ..file("x", b"") }, "unknown type"),
            (
                Entry { pax: vec![("SCHILY.xattr.trusted.overlay.opaque", b"y")], ..file("x", b"") },
                "trusted.overlay.opaque",
            ),
        ] {
            let error = checked(&[entry]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(checked(&vec![file("x", b""); 6]).unwrap_err().contains("more than 5 members"));
    }
}
