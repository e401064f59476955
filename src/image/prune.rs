//! Removing images that nobody needs, without pulling a layer from under a running container.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::archive::Stamp;
use super::discover;
use super::error::ImageError;
use super::store::{Index, Store};

/// What a prune removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of the images.
    pub images: Vec<String>,
    /// Full references that named them.
    pub references: Vec<String>,
    /// Diff ids of the layers.
    pub layers: Vec<String>,
    /// Bytes of those layers.
    pub size: u64,
}

impl Store {
    /// Removes images that no reference names, or with `all` every image, except those of `in_use` (image ids), those
    /// that are mounted, and those whose archive lies in an image directory (it would be loaded again at once); then the
    /// layers that no image has any more.
    pub fn prune(&self, in_use: &BTreeSet<String>, all: bool) -> Result<Pruned, ImageError> {
        let (_lock, mut index) = self.lock_index()?;
        let pruned = forget(&mut index, in_use, all)?;
        // The index first: from then on nobody finds what goes, and a later sweep finishes what is cut short here.
        self.write_index(&mut index)?;
        self.sweep(&index)?;
        Ok(pruned)
    }

    /// What [`Store::prune`] would remove now.
    pub fn plan_prune(&self, in_use: &BTreeSet<String>, all: bool) -> Result<Pruned, ImageError> {
        forget(&mut self.read_index()?, in_use, all)
    }
}

/// The mounts that this process sees. The names of layers are parts of digests, so finding one in the options of a mount
/// is proof enough; paths need not be compared.
pub(super) struct Mounts(String);

impl Mounts {
    pub fn read() -> Result<Self, ImageError> {
        let path = Path::new("/proc/self/mountinfo");
        let bytes = fs::read(path).map_err(ImageError::io("read", path))?;
        Ok(Self(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether some mount is made of the layer in the directory of that name.
    pub fn hold(&self, layer: &str) -> bool {
        layer.len() >= 16 && self.0.contains(layer)
    }
}

fn forget(index: &mut Index, in_use: &BTreeSet<String>, all: bool) -> Result<Pruned, ImageError> {
    let mounts = Mounts::read()?;
    let mut kept: BTreeSet<String> = in_use.clone();
    if !all {
        kept.extend(index.references.values().cloned());
    }
    // Records of archives that are gone or have changed hold nothing.
    index.archives.retain(|key, record| {
        fs::metadata(discover::path_of(key)).is_ok_and(|meta| Stamp::of(&meta) == record.stamp)
    });
    kept.extend(index.archives.values().flat_map(|record| record.images.iter().cloned()));
    let mut pruned = Pruned::default();
    let layers = &index.layers;
    index.images.retain(|id, image| {
        // All of them: single layers may be shared with an image that is mounted.
        let is_mounted =
            image.layers.iter().all(|id| layers.get(id).is_some_and(|layer| mounts.hold(&layer.dir)));
        let keep = kept.contains(id) || is_mounted;
        if !keep {
            pruned.images.push(id.clone());
        }
        keep
    });
    index.references.retain(|reference, id| {
        let keep = index.images.contains_key(id);
        if !keep {
            pruned.references.push(reference.clone());
        }
        keep
    });
    let needed: BTreeSet<&String> = index.images.values().flat_map(|image| &image.layers).collect();
    index.layers.retain(|diff_id, layer| {
        let keep = needed.contains(diff_id) || mounts.hold(&layer.dir);
        if !keep {
            pruned.layers.push(diff_id.clone());
            pruned.size = pruned.size.saturating_add(layer.size);
        }
        keep
    });
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Scratch, docker_archive, file, tar};
    use super::*;
    use crate::pod::reference::Reference;

    fn load(store: &Store, scratch: &Scratch, name: &str, layers: &[&[u8]]) -> String {
        let archive = scratch.write("archive", &docker_archive(&format!("[\"{name}\"]"), layers));
        store.load(&archive, &mut |_| {}).unwrap().remove(0).id
    }

    #[test]
    fn images_go_when_nothing_needs_them() {
        let scratch = Scratch::new("prune");
        let store = Store::new(&scratch.0.join("images"));
        let layer = |text: &str| tar(&[file("f", text.as_bytes())]);
        let (base, one, two, three) = (layer("base"), layer("1"), layer("22"), layer("333"));
        let old = load(&store, &scratch, "app", &[&base, &one]);
        let new = load(&store, &scratch, "app", &[&base, &two]);
        let other = load(&store, &scratch, "other", &[&base, &three]);
        let nobody = BTreeSet::new();

        let in_use = BTreeSet::from([old.clone()]);
        assert_eq!(store.prune(&in_use, false).unwrap(), Pruned::default(), "a dangling image in use stays");
        let planned = store.plan_prune(&nobody, false).unwrap();
        assert_eq!((&planned.images[..], planned.size), (&[old.clone()][..], 1));
        assert!(store.image(&old).unwrap().is_some(), "a plan changes nothing");
        assert_eq!(store.prune(&nobody, false).unwrap(), planned);
        assert!(store.image(&old).unwrap().is_none());
        assert!(store.image(&new).unwrap().is_some());
        assert_eq!(fs::read_dir(store.layers_path()).unwrap().count(), 3);

        let pruned = store.prune(&BTreeSet::from([other.clone()]), true).unwrap();
        assert_eq!(
            (pruned.images, pruned.references),
            (vec![new], vec!["docker.io/library/app:latest".into()])
        );
        assert!(store.image(&other).unwrap().is_some());
        assert!(store.resolve(&Reference::parse("app").unwrap()).unwrap().is_none());
        store.prune(&nobody, true).unwrap();
        for directory in [store.layers_path(), store.configs_path()] {
            assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
        }
    }

    #[test]
    fn an_image_whose_archive_lies_in_wait_stays() {
        let scratch = Scratch::new("prune-archive");
        let store = Store::new(&scratch.0.join("images"));
        let archive = scratch.write("a.tar", &docker_archive(r#"["a"]"#, &[&tar(&[file("f", b"")])]));
        store.load_and_record(&archive, &mut |_| {}).unwrap();
        assert_eq!(store.prune(&BTreeSet::new(), true).unwrap(), Pruned::default());
        fs::remove_file(&archive).unwrap();
        assert_eq!(store.prune(&BTreeSet::new(), true).unwrap().images.len(), 1);
        assert!(store.index().unwrap().archives.is_empty());
    }
}
