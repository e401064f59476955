//! Writing projected volumes so that a reader sees all of the old files or all of the new: the layout of the kubelet's
//! atomic writer (pkg/volume/util/atomic_writer.go), which programs that watch their configuration know.
//!
//! ```text
//! VOLUME/..1767323045.123456789/   the files themselves
//! VOLUME/..data                    a link to it, replaced by rename
//! VOLUME/NAME                      links to ..data/NAME
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::facts;
use super::own_volumes::LOCK;
use crate::paths::Roots;
use crate::pod::{Pod, Volume, VolumeName};
use crate::runtime::environment::{Facts, Objects};
use crate::runtime::projection::{self, Files, ProjectionError};
use crate::sys::{clock, lock, process};

/// Why a projected volume could not be written.
#[derive(Debug)]
pub enum ProjectError {
    /// What it is to hold cannot be told.
    Content(VolumeName, ProjectionError),
    /// The disk refused.
    Write(VolumeName, PathBuf, io::Error),
    /// The Pod's facts cannot be read.
    Facts(String),
}

impl std::fmt::Display for ProjectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Content(volume, e) => {
                write!(f, "MountVolume.SetUp failed for volume {:?}: {e}", volume.as_str())
            }
            Self::Write(volume, path, e) => write!(
                f,
                "MountVolume.SetUp failed for volume {:?}: cannot write {}: {e}",
                volume.as_str(),
                path.display()
            ),
            Self::Facts(e) => f.write_str(e),
        }
    }
}

impl std::error::Error for ProjectError {}

/// Writes anew those projected volumes of a Pod whose content has changed, and names them. For a Pod whose containers run;
/// a volume that was never written is left alone. A volume that cannot be told or written keeps its old files.
pub fn project(pod: &Pod, roots: &Roots) -> Result<Vec<VolumeName>, Vec<ProjectError>> {
    let setup = |e: String| vec![ProjectError::Facts(e)];
    let root = roots.run_volumes(&pod.generation);
    if !root.exists() {
        return Ok(Vec::new());
    }
    let boot_id = process::boot_id().map_err(|e| setup(format!("boot id: {e}")))?;
    let sandbox = facts::sandbox(pod, roots, &boot_id).map_err(|e| setup(e.message))?;
    let facts = facts::look(pod, roots, sandbox.as_ref());
    // Not made here: a Pod that has just been removed must not get a directory again.
    let _lock = lock::wait(&root.join(LOCK)).map_err(|e| setup(format!("{}: {e}", root.display())))?;
    // Under the lock, so that the one who writes last has read last.
    let objects = facts::objects(pod, roots).map_err(|e| setup(format!("objects: {e}")))?;
    let (mut changed, mut failed) = (Vec::new(), Vec::new());
    for name in pod.volumes.keys().filter(|n| root.join(n.as_str()).exists()) {
        match volume(pod, name, &root.join(name.as_str()), &facts, &objects) {
            Ok(true) => changed.push(name.clone()),
            Ok(false) => {}
            Err(e) => failed.push(e),
        }
    }
    if failed.is_empty() { Ok(changed) } else { Err(failed) }
}

/// Writes one volume of a Pod if it is a projected one; whether anything changed.
pub fn volume(
    pod: &Pod,
    name: &VolumeName,
    path: &Path,
    facts: &Facts,
    objects: &Objects,
) -> Result<bool, ProjectError> {
    let Some(Volume::Projected { sources, default_mode }) = pod.volumes.get(name) else { return Ok(false) };
    let files = projection::files(pod, sources, *default_mode, objects, facts)
        .map_err(|e| ProjectError::Content(name.clone(), e))?;
    write(path, files, pod.fs_group).map_err(|e| ProjectError::Write(name.clone(), path.to_owned(), e))
}

/// Makes `root` hold exactly `files`; whether anything changed. With a group, all belongs to it and may be read by it, as
/// the kubelet has it for volumes that are read-only.
fn write(root: &Path, mut files: Files, group: Option<u32>) -> io::Result<bool> {
    if group.is_some() {
        files.values_mut().for_each(|f| f.mode |= 0o440);
    }
    let directories = if group.is_some() { 0o2775 } else { 0o755 };
    if !root.is_dir() {
        directory(root, directories, group)?;
    }
    let current = fs::read_link(root.join("..data")).ok();
    let changed = match &current {
        Some(name) => !holds(&root.join(name), &files, group)?,
        None => true,
    };
    let mut name = current.unwrap_or_default();
    if changed {
        let (seconds, nanoseconds) = clock::unix();
        name = PathBuf::from(format!("..{seconds}.{nanoseconds:09}"));
        fill(&root.join(&name), &files, directories, group)?;
        let next = root.join("..data_tmp");
        remove(&next)?;
        symlink(&name, &next)?;
        fs::rename(&next, root.join("..data"))?;
    }
    // Also when nothing has changed: a writer that was killed may have left this undone.
    let mut wanted: BTreeSet<&str> = files.keys().filter_map(|p| p.split('/').next()).collect();
    for entry in fs::read_dir(root)? {
        let found = entry?.file_name();
        let text = found.to_str().unwrap_or_default();
        let stays = text == "..data" || found == name || wanted.remove(text);
        if !stays {
            remove(&root.join(&found))?;
        }
    }
    for missing in wanted {
        symlink(Path::new("..data").join(missing), root.join(missing))?;
    }
    Ok(changed)
}

/// Whether the directory holds exactly these files.
fn holds(directory: &Path, files: &Files, group: Option<u32>) -> io::Result<bool> {
    let mut found = 0_usize;
    let mut open = vec![(directory.to_owned(), String::new())];
    while let Some((path, prefix)) = open.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                open.push((entry.path(), format!("{name}/")));
                continue;
            }
            let Some(file) = files.get(&name) else { return Ok(false) };
            let same = metadata.mode() & 0o7777 == file.mode
                && group.is_none_or(|g| metadata.gid() == g)
                && metadata.len() == file.bytes.len() as u64
                && fs::read(entry.path())? == file.bytes;
            if !same {
                return Ok(false);
            }
            found = found.saturating_add(1);
        }
    }
    Ok(found == files.len())
}

fn fill(directory_of_all: &Path, files: &Files, mode: u32, group: Option<u32>) -> io::Result<()> {
    directory(directory_of_all, mode, group)?;
    for (path, file) in files {
        let target = directory_of_all.join(path);
        let parents: Vec<&Path> = target.ancestors().skip(1).take_while(|p| *p != directory_of_all).collect();
        for parent in parents.into_iter().rev().filter(|p| !p.is_dir()) {
            directory(parent, mode, group)?;
        }
        let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        made.write_all(&file.bytes)?;
        chown(&target, None, group)?;
        made.set_permissions(Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

fn directory(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    chown(path, None, group)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn remove(path: &Path) -> io::Result<()> {
    super::clear::remove(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::projection::File;

    fn files(list: &[(&str, &str, u32)]) -> Files {
        list.iter()
            .map(|(p, t, m)| (p.to_string(), File { bytes: t.as_bytes().to_vec(), mode: *m }))
            .collect()
    }

    #[test]
    fn swaps_are_whole_and_only_for_what_differs() {
        let dir = std::env::temp_dir().join(format!("podstrap-project-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let root = dir.join("v");
        let read = |p: &str| fs::read_to_string(root.join(p)).unwrap();
        let first = files(&[("a", "1", 0o644), ("d/b", "2", 0o400), ("old", "3", 0o644)]);
        assert!(write(&root, first.clone(), None).unwrap());
        assert_eq!((read("a"), read("d/b"), read("old")), ("1".into(), "2".into(), "3".into()));
        assert_eq!(fs::read_link(root.join("d")).unwrap(), Path::new("..data/d"));
        assert_eq!(fs::metadata(root.join("d/b")).unwrap().mode() & 0o7777, 0o400);
        let data = fs::read_link(root.join("..data")).unwrap();
        assert!(!write(&root, first.clone(), None).unwrap());
        assert_eq!(fs::read_link(root.join("..data")).unwrap(), data);
        // What a killed writer left, and a link that it did not make, are mended.
        fs::create_dir(root.join("..1.5")).unwrap();
        symlink("x", root.join("..data_tmp")).unwrap();
        fs::remove_file(root.join("a")).unwrap();
        assert!(!write(&root, first, None).unwrap());
        assert_eq!(read("a"), "1");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 5);

        assert!(write(&root, files(&[("a", "x", 0o400), ("n", "4", 0o644)]), Some(77)).unwrap());
        assert_eq!((read("a"), read("n")), ("x".into(), "4".into()));
        assert!(!root.join("old").exists() && !root.join("d").exists() && !root.join(&data).exists());
        let a = fs::metadata(root.join("a")).unwrap();
        assert_eq!((a.mode() & 0o7777, a.gid()), (0o440, 77));
        assert!(write(&root, Files::new(), None).unwrap());
        assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
        fs::remove_dir_all(&dir).unwrap();
    }
}
