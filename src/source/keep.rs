//! The last good content of each manifest file, on disk: so that a host that reboots with a broken manifest boots what
//! worked before.
//!
//! Reading is done by the daemon at the first sight of a file. Writing must survive a power cut, so it flushes, and
//! flushing can take long: a short-lived child does it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::paths::fnv1a;
use crate::sys::atomic::{self, Durability};

/// One file's last good content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The manifest file, as bytes (a file name need not be text).
    path: Vec<u8>,
    /// Its content; manifests are UTF-8.
    content: String,
}

/// What the child is to do with one file: write what it said, or forget it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    file: PathBuf,
    /// What is to stand in it.
    text: Option<String>,
}

impl Keep {
    /// Keep this content of the manifest at `path`, in `directory` (STATE/manifests).
    pub fn content(directory: &Path, path: &Path, content: &[u8]) -> Self {
        let kept =
            Kept { path: bytes(path).to_vec(), content: String::from_utf8_lossy(content).into_owned() };
        // A list of numbers and a text can always be written as JSON.
        let text = serde_json::to_string(&kept).unwrap_or_default();
        Self::text(file_of(directory, path), text)
    }

    /// Keep this text in that file.
    pub fn text(file: PathBuf, text: String) -> Self {
        Self { file, text: Some(text) }
    }

    /// Have no such file.
    pub fn nothing(file: PathBuf) -> Self {
        Self { file, text: None }
    }

    /// Whether both are about one file, so that the later one makes the earlier one needless.
    pub fn is_of_file_of(&self, other: &Self) -> bool {
        self.file == other.file
    }

    /// Forget the manifest at `path`.
    pub fn forget(directory: &Path, path: &Path) -> Self {
        Self::nothing(file_of(directory, path))
    }

    /// Does it. What must survive a power cut is the child's part, because it can take long.
    ///
    /// # Errors
    /// It cannot be written or removed.
    pub fn carry_out(&self, durability: Durability) -> io::Result<()> {
        match &self.text {
            Some(text) => atomic::write(&self.file, text.as_bytes(), 0o600, durability),
            None => match fs::remove_file(&self.file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }
}

/// What was kept of the manifest at `path`, if anything readable was.
pub fn load(directory: &Path, path: &Path) -> Option<Vec<u8>> {
    let text = fs::read(file_of(directory, path)).ok()?;
    let kept: Kept = serde_json::from_slice(&text).ok()?;
    (kept.path == bytes(path)).then(|| kept.content.into_bytes())
}

/// To forget what was kept of files of the directory `of` that are not there any more, as `here` tells.
pub fn forget_others(directory: &Path, of: &Path, here: impl Fn(&Path) -> bool) -> Vec<Keep> {
    use std::os::unix::ffi::OsStrExt;
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let kept =
        entries.flatten().filter_map(|e| serde_json::from_slice::<Kept>(&fs::read(e.path()).ok()?).ok());
    let paths = kept.map(|k| PathBuf::from(std::ffi::OsStr::from_bytes(&k.path)));
    paths.filter(|p| p.parent() == Some(of) && !here(p)).map(|p| Keep::forget(directory, &p)).collect()
}

/// The child: reads a JSON list of [`Keep`] from standard input and carries it out.
pub fn run() -> ExitCode {
    let result = (|| -> io::Result<()> {
        let list: Vec<Keep> = serde_json::from_reader(io::stdin().lock())?;
        list.iter().try_for_each(|keep| keep.carry_out(Durability::Power))
    })();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn file_of(directory: &Path, path: &Path) -> PathBuf {
    directory.join(format!("{:016x}.json", fnv1a(bytes(path))))
}

fn bytes(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}
