//! The Pod's volumes on the host: checked or made before a container starts. Runs in the monitor, because a path of the
//! host may hang (a dead NFS server) and then holds up nothing but its own container.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, FileType, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::start::{self, NotStarted};
use super::{facts, project, sub_path};
use crate::paths::Roots;
use crate::pod::{Container, HostPathType, Medium, Pod, SubPath, Volume, VolumeName};
use crate::runtime::environment::{Facts, Objects};
use crate::runtime::{Source, process, resources};
use crate::sys::lock::{self, Lock};
use crate::sys::mount;

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
    /// The ConfigMaps and Secrets that were found.
    pub objects: &'a Objects,
}

/// Takes the lock of a Pod's own volumes, which its monitors make together. `root` is made.
pub fn own_lock(root: &Path) -> io::Result<Lock> {
    // Secrets lie below: nobody but root comes in.
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    // No volume's name begins with a dot.
    lock::wait(&root.join(".lock"))
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
            let taken = own_lock(&own).map_err(|e| refused(name, &own, Why::Failed("lock it", e)))?;
            lock = Some(taken);
        }
        make(setting, name, volume, &path)?;
    }
    Ok(found)
}

fn refused(name: &VolumeName, path: &Path, why: Why) -> NotStarted {
    NotStarted::config(VolumeError { volume: name.clone(), path: path.to_owned(), why })
}

/// Makes one volume that is the Pod's own, or finds it made.
fn make(setting: &Setting<'_>, name: &VolumeName, volume: &Volume, path: &Path) -> Result<(), NotStarted> {
    let Setting { pod, roots, .. } = *setting;
    let failed = |what| move |e| refused(name, path, Why::Failed(what, e));
    match volume {
        Volume::HostPath { .. } => return Ok(()),
        Volume::EmptyDir { medium, size_limit } => {
            empty_dir(path).map_err(failed("make the directory"))?;
            match medium {
                Medium::Disk => {}
                Medium::Memory => {
                    let limits = [size_limit.map(|b| b.0), resources::pod_limits(pod, &[]).memory];
                    let size = limits.into_iter().flatten().filter(|b| *b > 0).min();
                    if !is_mounted(path).map_err(failed("look at it"))? {
                        let size = size.unwrap_or_else(facts::memory);
                        mount::tmpfs(path, Some(size), 0o777).map_err(failed("mount memory"))?;
                    }
                }
                Medium::HugePages(page) => {
                    if *page > 0 && !page_sizes().contains(page) {
                        return Err(refused(name, path, Why::NoHugePages(*page)));
                    }
                    if !is_mounted(path).map_err(failed("look at it"))? {
                        mount::hugetlbfs(path, *page, 0o777).map_err(failed("mount huge pages"))?;
                    }
                }
            }
            if let Some(group) = pod.fs_group {
                give_to_group(setting, name, path, group).map_err(failed("give it to fsGroup"))?;
            }
        }
        Volume::Projected { .. } => {
            project::volume(pod, name, path, setting.facts, setting.objects).map_err(NotStarted::config)?;
        }
        Volume::Image { reference, .. } => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .map_err(failed("make the directory"))?;
            if !is_mounted(path).map_err(failed("look at it"))? {
                let image = start::resolve(roots, reference)?;
                if !image.layers.is_empty() {
                    let empty = roots.run_volumes(&pod.generation).join(".empty");
                    mount::overlay_read_only(&image.layers_root, &image.layers, &empty, path)
                        .map_err(NotStarted::create)?;
                }
            }
        }
    }
    Ok(())
}

/// The shared memory of a Pod whose containers share an IPC namespace: mounted once, 64 MiB as containerd has it.
pub fn shared_memory(setting: &Setting<'_>) -> Result<PathBuf, NotStarted> {
    let Setting { pod, roots, .. } = *setting;
    let path = roots.shm(&pod.generation);
    let failed = |e: io::Error| NotStarted::create(format!("cannot make {}: {e}", path.display()));
    let _lock = own_lock(&roots.run_volumes(&pod.generation)).map_err(failed)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
    if !is_mounted(&path).map_err(failed)? {
        mount::tmpfs(&path, Some(64 << 20), 0o1777).map_err(failed)?;
    }
    Ok(path)
}

/// Whether something is mounted there: it lies on another file system than its parent.
fn is_mounted(path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok(fs::metadata(path)?.dev() != fs::metadata(parent)?.dev())
}

/// The sizes of huge pages that the host has, in bytes.
pub fn page_sizes() -> Vec<u64> {
    let Ok(entries) = fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let size = |name: &str| {
        name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let mut sizes: Vec<u64> = entries.flatten().filter_map(|e| size(e.file_name().to_str()?)).collect();
    sizes.sort_unstable();
    sizes
}

/// Gives all of an emptyDir to the fsGroup, once in a boot: no container of the Pod runs yet (pkg/volume/volume_linux.go).
fn give_to_group(setting: &Setting<'_>, name: &VolumeName, root: &Path, group: u32) -> io::Result<()> {
    let mark = setting.roots.run_volumes(&setting.pod.generation).join(format!(".group-{name}"));
    if fs::read_to_string(&mark).is_ok_and(|text| text == setting.boot_id) {
        return Ok(());
    }
    let metadata = fs::metadata(root)?;
    let fits = metadata.gid() == group && metadata.mode() & DIRECTORY_BITS == DIRECTORY_BITS;
    if !(fits && setting.pod.fs_group_on_root_mismatch) {
        let mut open = vec![root.to_owned()];
        while let Some(path) = open.pop() {
            let metadata = fs::symlink_metadata(&path)?;
            lchown(&path, None, Some(group))?;
            let kind = metadata.file_type();
            if kind.is_symlink() {
                continue;
            }
            let bits = if kind.is_dir() { DIRECTORY_BITS } else { FILE_BITS };
            // After the change of the group, which takes set-id bits away.
            fs::set_permissions(&path, Permissions::from_mode(metadata.mode() & 0o7777 | bits))?;
            if kind.is_dir() {
                for entry in fs::read_dir(&path)? {
                    open.push(entry?.path());
                }
            }
        }
    }
    fs::write(mark, setting.boot_id)
}

/// rw for the group, and for directories x and that what is made in them is the group's too.
const FILE_BITS: u32 = 0o660;
const DIRECTORY_BITS: u32 = 0o2770;

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
