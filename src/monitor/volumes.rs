//! The Pod's volumes on the host: checked or made before a container starts. Runs in the monitor, because a path of the
//! host may hang (a dead NFS server) and then holds up nothing but its own container.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, FileType, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::pod::{HostPathType, Pod, Volume, VolumeName};

/// Why a volume cannot be used.
#[derive(Debug)]
pub struct VolumeError {
    volume: VolumeName,
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Missing(&'static str),
    Other { wanted: &'static str, found: &'static str },
    Failed(&'static str, io::Error),
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "volume {:?}: {}: ", self.volume.as_str(), self.path.display())?;
        match &self.why {
            Why::Missing(wanted) => write!(f, "nothing is there, and hostPath.type wants a {wanted}"),
            Why::Other { wanted, found } => write!(f, "is a {found}, and hostPath.type wants a {wanted}"),
            Why::Failed(what, e) => write!(f, "cannot {what}: {e}"),
        }
    }
}

impl std::error::Error for VolumeError {}

/// Checks or makes every volume of the Pod and says where each lies. `pod_state` is where its own ones are.
pub fn prepare(pod: &Pod, pod_state: &Path) -> Result<BTreeMap<VolumeName, PathBuf>, VolumeError> {
    let mut found = BTreeMap::new();
    for (name, volume) in &pod.volumes {
        let path = match volume {
            Volume::HostPath { path, .. } => PathBuf::from(path),
            Volume::EmptyDir { .. } | Volume::Projected { .. } | Volume::Image { .. } => {
                pod_state.join("volumes").join(name.as_str())
            }
        };
        let checked = match volume {
            Volume::HostPath { kind, .. } => host_path(&path, *kind),
            Volume::EmptyDir { .. } | Volume::Projected { .. } | Volume::Image { .. } => {
                empty_dir(&path).map_err(|e| Why::Failed("make the directory", e))
            }
        };
        checked.map_err(|why| VolumeError { volume: name.clone(), path: path.clone(), why })?;
        found.insert(name.clone(), path);
    }
    Ok(found)
}

fn empty_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make_directories(path)?;
    // Whatever user the containers run as may write there; the parents are root's own.
    fs::set_permissions(path, Permissions::from_mode(0o777))
}

fn host_path(path: &Path, kind: HostPathType) -> Result<(), Why> {
    let found = match fs::metadata(path) {
        Ok(metadata) => Some(metadata.file_type()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(Why::Failed("look at it", e)),
    };
    match (kind, found) {
        (HostPathType::Unset, Some(_)) => Ok(()),
        (HostPathType::Unset | HostPathType::DirectoryOrCreate, None) => {
            make_directories(path).map_err(|e| Why::Failed("make the directory", e))
        }
        (HostPathType::FileOrCreate, None) => make_file(path).map_err(|e| Why::Failed("make the file", e)),
        (HostPathType::DirectoryOrCreate | HostPathType::Directory, found) => {
            expect("directory", found, FileType::is_dir)
        }
        (HostPathType::FileOrCreate | HostPathType::File, found) => {
            expect("regular file", found, FileType::is_file)
        }
        (HostPathType::Socket, found) => expect("socket", found, FileTypeExt::is_socket),
        (HostPathType::CharDevice, found) => expect("character device", found, FileTypeExt::is_char_device),
        (HostPathType::BlockDevice, found) => expect("block device", found, FileTypeExt::is_block_device),
    }
}

fn expect(wanted: &'static str, found: Option<FileType>, is: fn(&FileType) -> bool) -> Result<(), Why> {
    match found {
        None => Err(Why::Missing(wanted)),
        Some(kind) if is(&kind) => Ok(()),
        Some(kind) => Err(Why::Other { wanted, found: name(kind) }),
    }
}

fn name(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "directory"
    } else if kind.is_file() {
        "regular file"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_char_device() {
        "character device"
    } else {
        "block device"
    }
}

/// 0755 for each directory that is made: the monitor's umask is 022.
fn make_directories(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// Two containers may make the same file at once: whoever comes second finds it.
fn make_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn every_type_of_host_path() {
        let dir = std::env::temp_dir().join(format!("podstrap-volumes-{}", std::process::id()));
        fs::create_dir_all(dir.join("d")).unwrap();
        fs::write(dir.join("f"), "").unwrap();
        let _socket = UnixListener::bind(dir.join("s")).unwrap();
        std::os::unix::fs::symlink("d", dir.join("l")).unwrap();
        let check = |name: &str, kind| {
            host_path(&dir.join(name), kind).map_err(|why| {
                VolumeError { volume: VolumeName::new("v"), path: name.into(), why }.to_string()
            })
        };
        use HostPathType::*;
        for (name, kind) in [
            ("d", Unset),
            ("f", Unset),
            ("d", Directory),
            ("l", Directory),
            ("d", DirectoryOrCreate),
            ("f", File),
            ("f", FileOrCreate),
            ("s", Socket),
            ("/dev/null", CharDevice),
            ("new/a/b", DirectoryOrCreate),
            ("unset", Unset),
            ("d/new", FileOrCreate),
        ] {
            assert_eq!(check(name, kind), Ok(()), "{name} {kind:?}");
        }
        assert!(dir.join("new/a/b").is_dir() && dir.join("unset").is_dir() && dir.join("d/new").is_file());
        let refusal = check("f", Directory).unwrap_err();
        assert_eq!(refusal, "volume \"v\": f: is a regular file, and hostPath.type wants a directory");
        let refusal = check("gone", File).unwrap_err();
        assert_eq!(refusal, "volume \"v\": gone: nothing is there, and hostPath.type wants a regular file");
        assert!(check("no/parent", FileOrCreate).unwrap_err().contains("cannot make the file"));
        for (name, kind) in [
            ("d", Socket),
            ("f", BlockDevice),
            ("/dev/null", BlockDevice),
            ("gone", Directory),
            ("d", FileOrCreate),
            ("f", DirectoryOrCreate),
            ("f/x", Unset),
        ] {
            assert!(check(name, kind).is_err(), "{name} {kind:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn empty_dirs_are_for_everyone() {
        let dir = std::env::temp_dir().join(format!("podstrap-empty-{}", std::process::id()));
        let path = dir.join("volumes/v");
        empty_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
        fs::write(path.join("kept"), "").unwrap();
        empty_dir(&path).unwrap();
        assert!(path.join("kept").exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
