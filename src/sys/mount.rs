//! Mounts: the container's root is an overlay that we mount and that must be gone afterwards, also when whoever mounted it
//! was killed. What is mounted is always asked of the kernel (/proc/self/mountinfo), never remembered.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::doom;

/// One line of mountinfo (proc(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Where it is mounted.
    pub path: PathBuf,
    /// The file system's type: `overlay`, `cgroup`, `cgroup2` …
    pub kind: Vec<u8>,
    /// The super block's options, as written by the kernel.
    pub options: Vec<u8>,
}

/// Everything that is mounted in our mount namespace, in the order of mounting.
pub fn list() -> io::Result<Vec<MountPoint>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// Parses the text of mountinfo; lines that are not understood are passed over.
pub fn parse(mountinfo: &[u8]) -> Vec<MountPoint> {
    mountinfo.split(|b| *b == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|b| *b == b' ');
    let path = fields.nth(4)?;
    // A varying number of optional fields ends with a dash; type, source and options follow.
    let mut rest = fields.skip_while(|f| *f != b"-").skip(1);
    let kind = rest.next()?.to_vec();
    let options = rest.nth(1).unwrap_or_default().to_vec();
    Some(MountPoint { path: PathBuf::from(OsString::from_vec(unescape(path))), kind, options })
}

/// Undoes the kernel's `\ooo` for blanks, tabs, newlines and backslashes.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// What is mounted at or below `path`, the last mounted first: the order in which it can be unmounted.
pub fn beneath(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        list()?.into_iter().map(|m| m.path).filter(|mounted| mounted.starts_with(path)).collect();
    found.reverse();
    Ok(found)
}

/// Takes a mount out of the tree at once; the kernel ends it when its last user is gone. Nothing mounted there (or no
/// such path) is success.
pub fn unmount(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => {
            doom::done("an unmount");
            Ok(())
        }
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Unmounts all that is mounted at or below `path`. `path` must have no symbolic link in it, as the paths of mountinfo.
pub fn unmount_all(path: &Path) -> io::Result<()> {
    // Several mounts may lie upon one another at one point: each has its own line.
    beneath(path)?.iter().try_for_each(|p| unmount(p))
}

/// Why an overlay could not be mounted.
#[derive(Debug)]
pub enum OverlayError {
    /// A path that the mount's option string cannot carry.
    Unspeakable(PathBuf),
    /// More layers than fit into the option string of one page.
    TooManyLayers(usize),
    /// A directory could not be made or entered.
    Directory(PathBuf, io::Error),
    /// The kernel refused.
    Mount(PathBuf, Errno),
}

impl fmt::Display for OverlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unspeakable(path) => write!(
                f,
                "overlay: {path:?} has a comma, colon or backslash, which mount options cannot carry; \
                 choose another state or run directory"
            ),
            Self::TooManyLayers(n) => write!(
                f,
                "overlay: {n} layers do not fit into one mount; rebuild the image with fewer layers"
            ),
            Self::Directory(path, e) => write!(f, "overlay: {}: {e}", path.display()),
            Self::Mount(path, Errno::ENODEV) => write!(
                f,
                "overlay: mount {}: this kernel has no overlay file system; load the module overlay",
                path.display()
            ),
            Self::Mount(path, e) => write!(f, "overlay: mount {}: {}", path.display(), e.desc()),
        }
    }
}

impl std::error::Error for OverlayError {}

/// Mounts an overlay at `target` (which must exist): `layers` (names below `layers_root`, lowest first) beneath the
/// writable directory `scratch`/upper. `scratch` is made. An image without layers gets an empty lower directory.
///
/// Changes the working directory for a moment (to `layers_root`, then to `/`), so that the names of the layers stay short:
/// the kernel takes at most one page of options.
pub fn overlay(
    layers_root: &Path,
    layers: &[String],
    scratch: &Path,
    target: &Path,
) -> Result<(), OverlayError> {
    if let Some(bad) = [layers_root, scratch].into_iter().find(|p| !speakable(p)) {
        return Err(OverlayError::Unspeakable(bad.to_owned()));
    }
    for name in ["upper", "work"] {
        make_directory(&scratch.join(name))?;
    }
    let lower = if layers.is_empty() {
        make_directory(&scratch.join("empty"))?;
        scratch.join("empty").to_string_lossy().into_owned()
    } else {
        let names: Vec<&str> = layers.iter().rev().map(String::as_str).collect();
        names.join(":")
    };
    let scratch_text = scratch.to_string_lossy();
    // volatile: the upper directory is thrown away after this run, so nothing of it need ever be flushed to the disk.
    let base = format!("lowerdir={lower},upperdir={scratch_text}/upper,workdir={scratch_text}/work");
    if base.len() + ",volatile".len() >= 4096 {
        return Err(OverlayError::TooManyLayers(layers.len()));
    }
    let enter = |path: &Path| {
        nix::unistd::chdir(path).map_err(|e| OverlayError::Directory(path.to_owned(), e.into()))
    };
    doom::done("directories of an overlay");
    enter(layers_root)?;
    let options = format!("{base},volatile");
    let mounted = match mount_overlay(target, &options) {
        // Kernels before 5.10 do not know the option.
        Err(Errno::EINVAL) => mount_overlay(target, &base),
        other => other,
    };
    doom::done("an overlay");
    enter(Path::new("/"))?;
    mounted.map_err(|e| OverlayError::Mount(target.to_owned(), e))
}

/// Mounts `layers` (as for [`overlay`], at least one) at `target` with nothing writable above them. `empty` is made; the
/// kernel wants two layers where none is writable.
pub fn overlay_read_only(
    layers_root: &Path,
    layers: &[String],
    empty: &Path,
    target: &Path,
) -> Result<(), OverlayError> {
    if let Some(bad) = [layers_root, empty].into_iter().find(|p| !speakable(p)) {
        return Err(OverlayError::Unspeakable(bad.to_owned()));
    }
    make_directory(empty)?;
    let names: Vec<&str> = layers.iter().rev().map(String::as_str).collect();
    let options = format!("lowerdir={}:{}", names.join(":"), empty.display());
    if options.len() >= 4096 {
        return Err(OverlayError::TooManyLayers(layers.len()));
    }
    let enter = |path: &Path| {
        nix::unistd::chdir(path).map_err(|e| OverlayError::Directory(path.to_owned(), e.into()))
    };
    enter(layers_root)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    let mounted = mount(Some("overlay"), target, Some("overlay"), flags, Some(options.as_str()));
    enter(Path::new("/"))?;
    mounted.map_err(|e| OverlayError::Mount(target.to_owned(), e))
}

/// Mounts memory at `target`: at most `size` bytes (else half of the machine's), its root with mode `mode`.
pub fn tmpfs(target: &Path, size: Option<u64>, mode: u32) -> io::Result<()> {
    let size = size.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let options = format!("mode={mode:o}{size}");
    mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).map_err(Into::into)
}

/// Mounts huge pages of `page` bytes (0: the kernel's default size) at `target`, its root with mode `mode`.
pub fn hugetlbfs(target: &Path, page: u64, mode: u32) -> io::Result<()> {
    let size = if page == 0 { String::new() } else { format!(",pagesize={}K", page >> 10) };
    let options = format!("mode={mode:o}{size}");
    mount(Some("hugetlbfs"), target, Some("hugetlbfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(Into::into)
}

fn speakable(path: &Path) -> bool {
    path.to_str().is_some() && !path.as_os_str().as_bytes().iter().any(|b| matches!(b, b',' | b':' | b'\\'))
}

fn make_directory(path: &Path) -> Result<(), OverlayError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|e| OverlayError::Directory(path.to_owned(), e))
}

fn mount_overlay(target: &Path, options: &str) -> nix::Result<()> {
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_with_its_escapes() {
        let text = b"36 35 98:0 /mnt1 /a\\040b\\134c rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
            37 35 0:3 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            rubbish\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].path, Path::new("/a b\\c"));
        assert_eq!(mounts[0].kind, b"ext3");
        assert_eq!(mounts[1].options, b"rw,memory");
    }

    #[test]
    fn overlays_of_none_one_and_many_layers() {
        let dir = std::env::temp_dir().join(format!("podstrap-mount-{}", std::process::id()));
        let layers: Vec<String> = (0..120).map(|i| format!("l{i:03}")).collect();
        for layer in &layers {
            fs::create_dir_all(dir.join("layers").join(layer)).unwrap();
            fs::write(dir.join("layers").join(layer).join("who"), layer).unwrap();
        }
        for n in [0, 1, 2, 120] {
            let target = dir.join(format!("root{n}"));
            fs::create_dir(&target).unwrap();
            let scratch = dir.join(format!("scratch{n}"));
            overlay(&dir.join("layers"), &layers[..n], &scratch, &target).unwrap();
            if n > 0 {
                assert_eq!(fs::read_to_string(target.join("who")).unwrap(), layers[n - 1]);
            }
            fs::write(target.join("new"), "x").unwrap();
            assert!(scratch.join("upper/new").exists());
            assert_eq!(beneath(&target).unwrap(), std::slice::from_ref(&target));
            unmount_all(&target).unwrap();
            assert!(beneath(&target).unwrap().is_empty());
            unmount(&target).unwrap();
        }
        let many: Vec<String> = (0..900).map(|i| format!("l{i:03}")).collect();
        let refused = overlay(&dir.join("layers"), &many, &dir.join("s"), &dir.join("root1"));
        assert!(matches!(refused, Err(OverlayError::TooManyLayers(900))), "{refused:?}");
        let refused = overlay(&dir.join("layers"), &layers, &dir.join("a,b"), &dir.join("root1"));
        assert!(matches!(refused, Err(OverlayError::Unspeakable(_))), "{refused:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
