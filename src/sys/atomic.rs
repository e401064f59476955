//! Files that are whole or absent: write to a temporary name beside the target, then rename over it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::doom;

/// What a written file must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process. For the run directory: a reboot clears it anyway, so nothing is flushed to the disk.
    Process,
    /// A power cut: the file and its directory are flushed before this returns.
    Power,
}

/// Replaces `path` by `bytes` with mode `mode` (not subject to the umask). On an error the old file stands untouched.
pub fn write(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let result = write_and_rename(&temporary, path, bytes, mode, durability);
    if result.is_err() {
        // The first error is the one to report; a leftover starts with a dot and is replaced by the next write.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_and_rename(
    temporary: &Path,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durability: Durability,
) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(temporary)?;
    nix::sys::stat::fchmod(&file, nix::sys::stat::Mode::from_bits_truncate(mode))?;
    file.write_all(bytes)?;
    if durability == Durability::Power {
        file.sync_all()?;
    }
    doom::done("a file written");
    fs::rename(temporary, path)?;
    doom::done("a file renamed");
    if durability == Durability::Power {
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_whole_and_keeps_the_old_file_on_error() {
        let dir = std::env::temp_dir().join(format!("podstrap-atomic-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("f");
        write(&path, b"one", 0o600, Durability::Power).unwrap();
        write(&path, b"two", 0o640, Durability::Process).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(write(&dir.join("no/such"), b"x", 0o600, Durability::Process).is_err());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
