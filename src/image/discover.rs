//! Which files of an image directory are archives that wait to be loaded.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::archive::Stamp;
use super::store::Index;

/// The endings that programs give to files that they have not finished.
const PARTIAL: [&[u8]; 3] = [b".part", b".tmp", b"~"];

/// The archives in `directory` that the index does not know as they are now, in the byte order of their names. A missing
/// directory holds none. Names that begin with a dot or end in `.part`, `.tmp` or `~` are passed over, and so is
/// whatever is not a regular file or a link to one.
pub fn archives(directory: &Path, index: &Index) -> io::Result<Vec<PathBuf>> {
    archives_but(directory, |key| index.archives.get(key).map(|record| record.stamp))
}

/// The same, where `known` tells what an archive was when it was loaded, by its [`key`]; `None`: it is to be loaded.
pub fn archives_but(directory: &Path, known: impl Fn(&str) -> Option<Stamp>) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let bytes = name.as_bytes();
        if bytes.starts_with(b".") || PARTIAL.iter().any(|ending| bytes.ends_with(ending)) {
            continue;
        }
        let path = directory.join(&name);
        // One that has just gone, or a link to nothing, is not there.
        let Ok(meta) = fs::metadata(&path) else { continue };
        if meta.is_file() && known(&key(&path)) != Some(Stamp::of(&meta)) {
            found.push(path);
        }
    }
    found.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(found)
}

/// A path as text that stands for exactly its bytes: what is not printable ASCII is written `%XX`.
pub fn key(path: &Path) -> String {
    let mut key = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' => key.push_str("%25"),
            b'!'..=b'~' | b' ' => key.push(char::from(*byte)),
            byte => key.push_str(&format!("%{byte:02X}")),
        }
    }
    key
}

/// The path that [`key`] was made of.
pub fn path_of(key: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = key.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let escaped = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::store::ArchiveRecord;
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn keys_stand_for_exact_bytes() {
        for name in [&b"/a/b.tar"[..], b"/a%41 b\n\xff\xc3\xa9", b"/%", b"/%4"] {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(path_of(&key(path)), path);
            assert!(key(path).is_ascii());
        }
    }

    #[test]
    fn only_new_and_whole_archives_are_named_in_byte_order() {
        let dir = std::env::temp_dir().join(format!("podstrap-discover-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("directory.tar")).unwrap();
        for name in ["b.tar", "a.tar", "B.tar", ".hidden.tar", "x.tar.part", "y.tmp", "z.tar~", "plain"] {
            fs::write(dir.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("a.tar", dir.join("link")).unwrap();
        std::os::unix::fs::symlink("nothing", dir.join("dangling")).unwrap();
        nix::unistd::mkfifo(&dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let names = |index: &Index| -> Vec<String> {
            let found = archives(&dir, index).unwrap();
            found.iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        let mut index = Index::default();
        assert_eq!(names(&index), ["B.tar", "a.tar", "b.tar", "link", "plain"]);
        for path in archives(&dir, &index).unwrap() {
            let stamp = Stamp::of(&fs::metadata(&path).unwrap());
            index.archives.insert(key(&path), ArchiveRecord { stamp, images: Vec::new(), error: None });
        }
        assert!(names(&index).is_empty());
        fs::write(dir.join("b.tar"), "longer than before").unwrap();
        assert_eq!(names(&index), ["b.tar"]);
        assert!(archives(&dir.join("missing"), &index).unwrap().is_empty());
        fs::remove_dir_all(&dir).unwrap();
    }
}
