//! The volumes that are a Pod's own: emptyDir, projected files, images. Its monitors make them together, each once, and they
//! stay until the Pod is removed (`helper::remove`).

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use super::start::{self, NotStarted};
use super::volumes::{Setting, Why, make_directories, refused};
use super::{facts, project};
use crate::pod::{Medium, Volume, VolumeName};
use crate::runtime::resources;
use crate::sys::lock::{self, Lock};
use crate::sys::mount;

/// The lock among a Pod's own volumes: no volume's name begins with a dot.
pub const LOCK: &str = ".lock";

/// Takes the lock of a Pod's own volumes, which its monitors make together. `root` is made.
pub fn own_lock(root: &Path) -> io::Result<Lock> {
    // Secrets lie below: nobody but root comes in.
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    lock::wait(&root.join(LOCK))
}

/// Makes one volume that is the Pod's own, or finds it made.
pub fn make(
    setting: &Setting<'_>,
    name: &VolumeName,
    volume: &Volume,
    path: &Path,
) -> Result<(), NotStarted> {
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
            // Read under the lock, so that the one who writes last has read last.
            let objects = facts::objects(pod, roots).map_err(failed("read the Pod's objects"))?;
            project::volume(pod, name, path, setting.facts, &objects).map_err(NotStarted::volume)?;
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

fn empty_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make_directories(path)?;
    // Whatever user the containers run as may write there; the parents are root's own.
    fs::set_permissions(path, Permissions::from_mode(0o777))
}

#[cfg(test)]
mod tests {
    use super::*;

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
