//! What was loaded into docker, so that each archive of an image directory is loaded once: and again when docker has lost
//! what came of it.
//!
//! ```text
//! STATE/docker/archives.json  which archives were loaded, what came of each, and names that docker does not keep
//! STATE/docker/lock           held (flock) by whoever changes that
//! ```
//!
//! All of it can be lost without harm: then archives are loaded that docker has already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive::Stamp;
use super::discover;
use super::error::ImageError;
use super::load::Loaded;
use crate::sys::atomic::{self, Durability};
use crate::sys::lock;

/// The version of the file that is written here.
const VERSION: u32 = 1;

/// STATE/docker/archives.json.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Format version.
    version: u32,
    /// Path of an archive, as [`discover::key`] writes it → what came of loading it.
    #[serde(default)]
    archives: BTreeMap<String, Handed>,
    /// Full reference with a digest → image id. Archives cannot bring such names into docker, and podman keeps only one of
    /// several digests.
    #[serde(default)]
    names: BTreeMap<String, String>,
}

/// An archive of an image directory that docker was given, or that was refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Handed {
    /// What the file was.
    stamp: Stamp,
    /// What docker has listed of it afterwards.
    images: Vec<HandedImage>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// An image of an archive as docker has listed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HandedImage {
    /// `sha256:…`, as docker names it.
    id: String,
    /// Its full references with a tag.
    references: Vec<String>,
}

/// What docker has: its names and its ids, as a listing tells them.
#[derive(Clone, Copy, Debug)]
pub struct Has<'a> {
    /// Full reference → image id.
    pub references: &'a BTreeMap<String, String>,
    /// The ids of all images.
    pub ids: &'a BTreeSet<String>,
}

impl Known {
    /// Reads what stands below `root` (STATE/docker). What is not there, is damaged or was written by another version counts
    /// as nothing.
    pub fn read(root: &Path) -> io::Result<Self> {
        match fs::read(root.join("archives.json")) {
            Ok(bytes) => {
                let known = serde_json::from_slice::<Self>(&bytes).ok();
                Ok(known.filter(|known| known.version == VERSION).unwrap_or_default())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e),
        }
    }

    /// The archives of `directory` that are to be loaded: those that are new or have changed, and those of which docker has
    /// lost something. See [`discover::archives`].
    pub fn waiting(&self, directory: &Path, has: Has<'_>) -> io::Result<Vec<PathBuf>> {
        discover::archives_but(directory, |key| {
            self.archives.get(key).filter(|handed| handed.is_whole(has)).map(|handed| handed.stamp)
        })
    }

    /// All names by which images can be asked for: docker's own, and those that stand here for images that docker has.
    pub fn index(&self, has: Has<'_>) -> BTreeMap<String, String> {
        let ours = self.names.iter().filter(|(_, id)| has.ids.contains(*id));
        let ours = ours.map(|(name, id)| (name.clone(), id.clone()));
        ours.chain(has.references.iter().map(|(name, id)| (name.clone(), id.clone()))).collect()
    }

    /// Takes in what came of an archive and what docker has since.
    fn loaded(&mut self, archive: &Path, stamp: Stamp, images: &[Loaded], has: Has<'_>) {
        self.name(images, has);
        let images = images.iter().filter_map(|image| HandedImage::of(image, has)).collect();
        self.archives.insert(discover::key(archive), Handed { stamp, images, error: None });
    }

    /// Remembers the names with a digest of images that docker has, and forgets those of images that it has no more.
    fn name(&mut self, images: &[Loaded], has: Has<'_>) {
        self.names.retain(|_, id| has.ids.contains(id));
        for image in images {
            for reference in image.references.iter().filter(|reference| reference.digest().is_some()) {
                if has.ids.contains(&image.id) {
                    self.names.insert(reference.full.clone(), image.id.clone());
                }
            }
        }
    }
}

impl Handed {
    /// Whether docker still has what came of it. A name that another image has taken since is not missing: to load the
    /// archive again would take it back.
    fn is_whole(&self, has: Has<'_>) -> bool {
        self.images.iter().all(|image| match &image.references[..] {
            [] => has.ids.contains(&image.id),
            names => names.iter().all(|name| has.references.contains_key(name)),
        })
    }
}

impl HandedImage {
    /// What docker has of an image; `None` when that is nothing, and so nothing can be missed later.
    fn of(image: &Loaded, has: Has<'_>) -> Option<Self> {
        let tags = image.references.iter().filter(|reference| reference.digest().is_none());
        let references: Vec<String> =
            tags.map(|tag| tag.full.clone()).filter(|name| has.references.contains_key(name)).collect();
        // Some name images by other digests than that of the configuration.
        let named = || references.first().and_then(|name| has.references.get(name));
        let id = has.ids.get(&image.id).or_else(named)?.clone();
        Some(Self { id, references })
    }
}

/// Takes in what came of an archive of an image directory, and what docker has since. An archive that is at fault itself is
/// remembered too, by `fault`.
pub fn record(
    root: &Path,
    archive: &Path,
    stamp: Stamp,
    outcome: Result<(&[Loaded], Has<'_>), String>,
) -> Result<(), ImageError> {
    change(root, |known| {
        known.archives.retain(|key, _| discover::path_of(key).symlink_metadata().is_ok());
        match outcome {
            Ok((images, has)) => known.loaded(archive, stamp, images, has),
            Err(fault) => {
                let handed = Handed { stamp, images: Vec::new(), error: Some(fault) };
                known.archives.insert(discover::key(archive), handed);
            }
        }
    })
}

/// Remembers the names with a digest of images that docker has.
pub fn record_names(root: &Path, images: &[Loaded], has: Has<'_>) -> Result<(), ImageError> {
    let any = images.iter().any(|image| image.references.iter().any(|r| r.digest().is_some()));
    if any { change(root, |known| known.name(images, has)) } else { Ok(()) }
}

fn change(root: &Path, with: impl FnOnce(&mut Known)) -> Result<(), ImageError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .map_err(ImageError::io("make the directory", root))?;
    let lock = root.join("lock");
    let _lock = lock::wait(&lock).map_err(ImageError::io("lock", &lock))?;
    let path = root.join("archives.json");
    let mut known = Known::read(root).map_err(ImageError::io("read", &path))?;
    with(&mut known);
    known.version = VERSION;
    let writing = |cause| ImageError::Io { action: "write", path: path.clone(), cause };
    let mut bytes = serde_json::to_vec_pretty(&known).map_err(|e| writing(e.into()))?;
    bytes.push(b'\n');
    atomic::write(&path, &bytes, 0o600, Durability::Power).map_err(writing)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Scratch;
    use super::*;
    use crate::pod::reference::Reference;

    fn loaded(id: &str, references: &[&str]) -> Loaded {
        Loaded {
            id: id.to_owned(),
            references: references.iter().map(|r| Reference::parse(r).unwrap()).collect(),
            layers: 1,
            size: 1,
            platform: "linux/amd64".to_owned(),
            fits: true,
        }
    }

    /// What docker has, by lines `name id`, the name `-` for none.
    fn has(lines: &[&str]) -> (BTreeMap<String, String>, BTreeSet<String>) {
        let pairs: Vec<(&str, &str)> = lines.iter().map(|l| l.split_once(' ').unwrap()).collect();
        let names = pairs.iter().filter(|(name, _)| *name != "-");
        (
            names.map(|(name, id)| (Reference::parse(name).unwrap().full, (*id).to_owned())).collect(),
            pairs.iter().map(|(_, id)| (*id).to_owned()).collect(),
        )
    }

    struct Directory {
        scratch: Scratch,
        archive: PathBuf,
    }

    impl Directory {
        fn new(name: &str) -> Self {
            let scratch = Scratch::new(&format!("known-{name}"));
            fs::create_dir(scratch.0.join("images.d")).unwrap();
            let archive = scratch.write("images.d/a.tar", b"archive");
            Self { scratch, archive }
        }

        fn root(&self) -> PathBuf {
            self.scratch.0.join("docker")
        }

        fn stamp(&self) -> Stamp {
            Stamp::of(&fs::metadata(&self.archive).unwrap())
        }

        fn waits(&self, lines: &[&str]) -> bool {
            let (references, ids) = has(lines);
            let known = Known::read(&self.root()).unwrap();
            let has = Has { references: &references, ids: &ids };
            let waiting = known.waiting(&self.scratch.0.join("images.d"), has).unwrap();
            assert!(waiting.len() <= 1);
            !waiting.is_empty()
        }

        fn record(&self, images: &[Loaded], lines: &[&str]) {
            let (references, ids) = has(lines);
            let has = Has { references: &references, ids: &ids };
            record(&self.root(), &self.archive, self.stamp(), Ok((images, has))).unwrap();
        }
    }

    #[test]
    fn an_archive_is_loaded_once_and_again_when_docker_has_lost_a_name() {
        let d = Directory::new("again");
        assert!(d.waits(&[]));
        d.record(&[loaded("one", &["a:1", "b:1"])], &["a:1 one", "b:1 one"]);
        assert!(!d.waits(&["a:1 one", "b:1 one", "c:1 two"]));
        assert!(d.waits(&["a:1 one"]), "one name is gone");
        assert!(d.waits(&[]), "docker was emptied");
        assert!(!d.waits(&["a:1 two", "b:1 one"]), "what another image was named since stays so");
        fs::write(&d.archive, "another archive").unwrap();
        assert!(d.waits(&["a:1 one", "b:1 one"]));
    }

    #[test]
    fn images_without_a_name_are_known_by_their_id() {
        let d = Directory::new("nameless");
        d.record(&[loaded("one", &[])], &["- one"]);
        assert!(!d.waits(&["- one"]));
        assert!(d.waits(&["- two"]));
        // What docker never showed cannot be missed: it would be loaded for ever.
        d.record(&[loaded("one", &[])], &["- two"]);
        assert!(!d.waits(&[]));
        d.record(&[loaded("one", &["a:1"])], &["a:1 two"]);
        assert!(!d.waits(&["a:1 two"]), "another id than ours");
        assert!(d.waits(&["- two"]));
    }

    #[test]
    fn an_archive_at_fault_is_not_tried_again_until_it_changes() {
        let d = Directory::new("fault");
        record(&d.root(), &d.archive, d.stamp(), Err("not an image".to_owned())).unwrap();
        assert!(!d.waits(&[]));
        let text = fs::read_to_string(d.root().join("archives.json")).unwrap();
        assert!(text.contains("not an image"), "{text}");
        fs::write(&d.archive, "another archive").unwrap();
        assert!(d.waits(&[]));
    }

    #[test]
    fn digests_are_names_as_long_as_docker_has_the_image() {
        let d = Directory::new("digest");
        let digest = format!("a@sha256:{}", "0".repeat(64));
        let full = Reference::parse(&digest).unwrap().full;
        d.record(&[loaded("one", &[&digest])], &["- one"]);
        let index = |lines: &[&str]| {
            let (references, ids) = has(lines);
            Known::read(&d.root()).unwrap().index(Has { references: &references, ids: &ids })
        };
        assert_eq!(index(&["- one", "b:1 one"]).get(&full).map(String::as_str), Some("one"));
        assert_eq!(index(&["- one", "b:1 one"]).len(), 2);
        assert_eq!(index(&["b:1 two"]).get(&full), None);
        assert!(d.waits(&["b:1 two"]), "it had no name that docker knows");
    }

    #[test]
    fn what_cannot_be_understood_counts_as_nothing() {
        let d = Directory::new("damaged");
        d.record(&[loaded("one", &["a:1"])], &["a:1 one"]);
        for text in ["", "{", "[]", r#"{"version":2,"archives":7}"#, r#"{"version":2}"#] {
            fs::write(d.root().join("archives.json"), text).unwrap();
            assert!(d.waits(&["a:1 one"]), "{text}");
        }
        d.record(&[loaded("one", &["a:1"])], &["a:1 one"]);
        assert!(!d.waits(&["a:1 one"]));
        // Archives that are gone are forgotten.
        let gone = d.archive.with_file_name("gone.tar");
        fs::write(&gone, "x").unwrap();
        record(&d.root(), &gone, d.stamp(), Err("bad".to_owned())).unwrap();
        fs::remove_file(&gone).unwrap();
        d.record(&[loaded("one", &["a:1"])], &["a:1 one"]);
        assert_eq!(Known::read(&d.root()).unwrap().archives.len(), 1);
    }
}
