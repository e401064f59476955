//! The Pod's volumes on the host: checked or made before a container starts. Runs in the monitor, because a path of the
//! host may hang (a dead NFS server) and then holds up nothing but its own container.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::start::NotStarted;
use super::{own_volumes, sub_path};
use crate::paths::Roots;
use crate::pod::{Container, HostPathType, Medium, Pod, SubPath, Volume, VolumeName};
use crate::runtime::environment::Facts;
use crate::runtime::{Source, process};

/// Why a volume cannot be used.
#[derive(Debug)]
pub struct VolumeError {
    volume: VolumeName,
    path: PathBuf,
    why: Why,
}

/// What is wrong with it.
#[derive(Debug)]
pub(super) enum Why {
    Missing(&'static str),
    Other { wanted: &'static str, found: &'static str },
    Failed(&'static str, io::Error),
    NoHugePages(u64),
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "volume {:?}: {}: ", self.volume.as_str(), self.path.display())?;
        match &self.why {
            Why::Missing(wanted) => write!(f, "nothing is there, and hostPath.type wants a {wanted}"),
            Why::Other { wanted, found } => write!(f, "is a {found}, and hostPath.type wants a {wanted}"),
            Why::NoHugePages(bytes) => write!(f, "the host has no huge pages of {} KiB", bytes >> 10),
            Why::Failed(what, e) => write!(f, "cannot {what}: {e}"),
        }
    }
}

impl std::error::Error for VolumeError {}

/// Where a volume lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its root on the host.
    pub path: PathBuf,
    /// What of it is the same for all mounts.
    pub source: Source,
}

/// The Pod whose volumes are to be prepared, and what they may hold.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// All roots.
    pub roots: &'a Roots,
    /// This boot.
    pub boot_id: &'a str,
    /// What is known of the Pod.
    pub facts: &'a Facts,
}

/// Checks or makes every volume of the Pod and says where each lies.
pub fn prepare(setting: &Setting<'_>) -> Result<BTreeMap<VolumeName, Placed>, NotStarted> {
    let Setting { pod, roots, .. } = *setting;
    let own = roots.run_volumes(&pod.generation);
    let on_disk = roots.pod_state(&pod.generation).join("volumes");
    let mut found = BTreeMap::new();
    // The host's paths first: they may hang, and then hold no lock.
    for (name, volume) in &pod.volumes {
        let (path, read_only) = match volume {
            Volume::HostPath { path, kind } => {
                let path = PathBuf::from(path);
                host_path(&path, *kind).map_err(|why| refused(name, &path, why))?;
                (path, false)
            }
            Volume::EmptyDir { medium: Medium::Disk, .. } => (on_disk.join(name.as_str()), false),
            Volume::EmptyDir { medium: Medium::Memory | Medium::HugePages(_), .. } => {
                (own.join(name.as_str()), false)
            }
            Volume::Projected { .. } | Volume::Image { .. } => (own.join(name.as_str()), true),
        };
        let no_exec = matches!(volume, Volume::Image { .. });
        found
            .insert(name.clone(), Placed { path: path.clone(), source: Source { path, read_only, no_exec } });
    }
    let mut lock = None;
    for (name, volume) in &pod.volumes {
        let path = found.get(name).map(|p| p.path.clone()).unwrap_or_default();
        let shared = match volume {
            Volume::HostPath { .. } => continue,
            Volume::EmptyDir { medium: Medium::Disk, .. } => pod.fs_group.is_some(),
            Volume::EmptyDir { .. } | Volume::Projected { .. } | Volume::Image { .. } => true,
        };
        if shared && lock.is_none() {
            let taken =
                own_volumes::own_lock(&own).map_err(|e| refused(name, &own, Why::Failed("lock it", e)))?;
            lock = Some(taken);
        }
        own_volumes::make(setting, name, volume, &path)?;
    }
    Ok(found)
}

pub(super) fn refused(name: &VolumeName, path: &Path, why: Why) -> NotStarted {
    NotStarted::volume(VolumeError { volume: name.clone(), path: path.to_owned(), why })
}

/// Where each of a container's mounts comes from, in their order. `bundle` is where parts of volumes are mounted for it.
pub fn sources(
    container: &Container,
    placed: &BTreeMap<VolumeName, Placed>,
    variables: &[(String, String)],
    bundle: &Path,
) -> Result<Vec<Source>, NotStarted> {
    let mut sources = Vec::with_capacity(container.mounts.len());
    for (number, mount) in container.mounts.iter().enumerate() {
        let placed = placed.get(&mount.volume).ok_or_else(|| {
            NotStarted::config(format!(
                "volumeMounts: {}: the Pod has no volume {:?}",
                mount.path,
                mount.volume.as_str()
            ))
        })?;
        let sub = match &mount.sub_path {
            None => String::new(),
            Some(SubPath::Plain(path)) => path.clone(),
            Some(SubPath::Expression(text)) => {
                let known = variables.iter().cloned().collect();
                process::expand_known(text, &known).map_err(|name| {
                    NotStarted::config(format!(
                        "volumeMounts: {}: subPathExpr {text:?}: missing value for {name:?}",
                        mount.path
                    ))
                })?
            }
        };
        let mut source = placed.source.clone();
        if mount.sub_path.is_some() || mount.recursive_read_only {
            let staging = bundle.join("volumes").join(number.to_string());
            source.path = sub_path::stage(&placed.path, &sub, !placed.source.read_only, mount, &staging)
                .map_err(|e| NotStarted::config(format!("volume {:?}: {e}", mount.volume.as_str())))?;
        }
        sources.push(source);
    }
    Ok(sources)
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
pub(super) fn make_directories(path: &Path) -> io::Result<()> {
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
}
