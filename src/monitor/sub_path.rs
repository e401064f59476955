//! One part of a volume for one container. A container may write links into its volume at any moment, so a path is
//! resolved once, beneath the volume's root (openat2(2)), and what was found is mounted by its descriptor, never by name.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};

use crate::pod::{Mount, Propagation};
use crate::sys::detached::{Hears, Tree};

/// Why a part of a volume cannot be mounted.
#[derive(Debug)]
pub struct SubPathError {
    path: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Outside,
    Missing,
    Failed(&'static str, io::Error),
}

impl fmt::Display for SubPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.why {
            Why::Outside => write!(f, "subPath {path:?} leads out of its volume"),
            Why::Missing => write!(f, "subPath {path:?} is not in its volume, which is read-only"),
            Why::Failed(what, e) if e.raw_os_error() == Some(nix::libc::ENOSYS) => {
                write!(f, "subPath {path:?}: cannot {what}: this needs Linux 5.12 or later")
            }
            Why::Failed(what, e) => write!(f, "subPath {path:?}: cannot {what}: {e}"),
        }
    }
}

impl std::error::Error for SubPathError {}

/// Mounts what lies at `sub` (empty: all) of the volume at `root` to a place of its own below `staging`, and says where
/// the container's mount is to come from. A missing directory is made with the volume's own mode if `make` allows.
pub fn stage(
    root: &Path,
    sub: &str,
    make: bool,
    mount: &Mount,
    staging: &Path,
) -> Result<PathBuf, SubPathError> {
    let error = |why| SubPathError { path: sub.to_owned(), why };
    let failed = |what| move |e: io::Error| error(Why::Failed(what, e));
    let found = find(root, sub, make).map_err(error)?;
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    if mount.propagation == Propagation::Bidirectional {
        // Cut off from its peers it could not propagate. Only privileged containers may ask for it: they need no link to
        // get anywhere.
        return fs::read_link(by_descriptor).map_err(failed("look at it"));
    }
    let is_directory = File::from(found.try_clone().map_err(failed("open it"))?)
        .metadata()
        .map_err(failed("look at it"))?
        .is_dir();
    let made = if is_directory {
        DirBuilder::new().recursive(true).mode(0o700).create(staging)
    } else {
        let parent = staging.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .and_then(|()| File::create(staging).map(drop))
    };
    made.map_err(failed("make a place for it"))?;
    let hears = match mount.propagation {
        Propagation::HostToContainer => Hears::Source,
        Propagation::Private | Propagation::Bidirectional => Hears::Nothing,
    };
    let tree = Tree::copy(&found).map_err(failed("copy its mount"))?;
    tree.set(hears, mount.recursive_read_only).map_err(failed("set up its mount"))?;
    tree.attach(staging).map_err(failed("mount it"))?;
    Ok(staging.to_owned())
}

/// Opens (O_PATH) what lies at `sub` beneath `root`.
fn find(root: &Path, sub: &str, make: bool) -> Result<OwnedFd, Why> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let volume = open(root, flags, Mode::empty()).map_err(|e| Why::Failed("open the volume", e.into()))?;
    let mut done = PathBuf::new();
    let mut found: Option<OwnedFd> = None;
    for part in Path::new(sub).components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return Err(Why::Outside),
        };
        done.push(name);
        let above = found.as_ref().unwrap_or(&volume);
        let next = match beneath(&volume, &done) {
            Ok(found) => found,
            Err(Errno::ENOENT) if !make => return Err(Why::Missing),
            Err(Errno::ENOENT) => {
                // Of `above`, which is open and beneath the volume: a single name that leads nowhere else.
                let mode =
                    fs::metadata(root).map_err(|e| Why::Failed("look at the volume", e))?.mode() & 0o7777;
                match mkdirat(above, name, Mode::from_bits_truncate(mode)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(e) => return Err(Why::Failed("make it", e.into())),
                }
                let made = beneath(&volume, &done).map_err(outside)?;
                // Past the umask; by the descriptor, so that whatever stands at the name now is not touched.
                let by_descriptor = format!("/proc/self/fd/{}", made.as_raw_fd());
                fchmodat(
                    nix::fcntl::AT_FDCWD,
                    by_descriptor.as_str(),
                    Mode::from_bits_truncate(mode),
                    FchmodatFlags::FollowSymlink,
                )
                .map_err(|e| Why::Failed("set its mode", e.into()))?;
                made
            }
            Err(e) => return Err(outside(e)),
        };
        found = Some(next);
    }
    Ok(found.unwrap_or(volume))
}

fn outside(e: Errno) -> Why {
    match e {
        Errno::EXDEV | Errno::ELOOP => Why::Outside,
        e => Why::Failed("open it", e.into()),
    }
}

fn beneath(volume: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    loop {
        match openat2(volume, path, how) {
            // The kernel asks for another try when something was renamed meanwhile.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn nothing_leads_out() {
        let dir = std::env::temp_dir().join(format!("podstrap-subpath-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let root = dir.join("v");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(dir.join("out")).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o2777)).unwrap();
        symlink("../out", root.join("up")).unwrap();
        symlink(dir.join("out"), root.join("absolute")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("a", root.join("inside")).unwrap();
        let real = |sub: &str, make| {
            find(&root, sub, make).map(|fd| {
                let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
                path.strip_prefix(fs::canonicalize(&root).unwrap()).unwrap().to_owned()
            })
        };
        assert_eq!(real("", false).unwrap(), Path::new(""));
        assert_eq!(real("inside/b", false).unwrap(), Path::new("a/b"));
        assert_eq!(real("inside/new/deep", true).unwrap(), Path::new("a/new/deep"));
        assert_eq!(fs::metadata(root.join("a/new")).unwrap().mode() & 0o7777, 0o2777);
        for sub in ["up", "up/x", "absolute", "magic", "magic/etc", "../out", "/etc"] {
            assert!(matches!(real(sub, true), Err(Why::Outside)), "{sub}: {:?}", real(sub, true));
        }
        assert!(real("dangling", true).is_err());
        assert!(matches!(real("gone", false), Err(Why::Missing)));
        assert!(!dir.join("out/x").exists() && !root.join("nowhere").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn nothing_leads_out_while_it_is_being_exchanged() {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        use std::sync::atomic::{AtomicBool, Ordering};

        let dir = std::env::temp_dir().join(format!("podstrap-subpath-race-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let (root, out) = (dir.join("v"), dir.join("out"));
        fs::create_dir_all(root.join("d/x")).unwrap();
        fs::create_dir_all(out.join("x")).unwrap();
        symlink("../out", root.join("link")).unwrap();
        let inside = fs::canonicalize(&root).unwrap();
        let stop = AtomicBool::new(false);
        let (mut found, mut refused, mut outside) = (0, 0, Vec::new());
        std::thread::scope(|scope| {
            // What a container may do with its volume: a directory and a link that leads out take each other's place.
            let exchange = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let (a, b) = (root.join("d"), root.join("link"));
                    renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE).unwrap();
                }
            });
            // Until both have been met many times.
            while (found < 500 || refused < 500) && outside.is_empty() && !exchange.is_finished() {
                match find(&root, "d/x/new", true) {
                    Ok(fd) => {
                        let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
                        outside.extend(Some(path).filter(|path| !path.starts_with(&inside)));
                        found += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(outside.is_empty() && found >= 500 && refused >= 500, "{found} {refused} {outside:?}");
        assert_eq!(fs::read_dir(out.join("x")).unwrap().count(), 0, "made outside of the volume");
        fs::remove_dir_all(&dir).unwrap();
    }
}
