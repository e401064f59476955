//! Files of the state directory, read by who needs them: an image store's index, what docker was given, the last good
//! manifests; and a run's record and spec, as they lie below RUN.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use podstrap::image::discover;
use podstrap::image::known::{Has, Known};
use podstrap::image::store::Store;
use podstrap::monitor::record::{self, MonitorSpec, Record};
use podstrap::paths::{AttemptDir, Roots, container_id, fnv1a};
use podstrap::pod::reference::Reference;
use podstrap::source::keep;

use super::{choice, scratch};

pub fn run(data: &[u8]) {
    let Some((format, bytes)) = choice(data, 5) else { return };
    let directory = scratch("files");
    match format {
        0 => index(&directory, bytes),
        1 => known(&directory, bytes),
        2 => kept(&directory, bytes),
        3 => run_of_a_container(&directory, bytes),
        _ => {
            if let Ok(text) = std::str::from_utf8(bytes) {
                let path = discover::path_of(text);
                assert_eq!(discover::path_of(&discover::key(&path)), path);
            }
        }
    }
}

/// An index that cannot be read is set aside; one that can be leads to no file outside of the store.
fn index(directory: &Path, bytes: &[u8]) {
    let root = directory.join("images");
    fs::create_dir_all(&root).expect("a directory");
    fs::write(directory.join("outside"), "untouched").expect("a file");
    fs::write(root.join("index.json"), bytes).expect("an index");
    let store = Store::new(&root);
    let reference = Reference::parse("busybox:1").expect("a reference");
    if let Ok(index) = store.index() {
        for (name, id) in &index.references {
            let _ = store.image(id).map(|image| image.map(|i| i.layers.len()));
            if let Ok(reference) = Reference::parse(name) {
                let _ = store.resolve(&reference);
            }
        }
        for image in index.images.values() {
            let _ = index.size(image);
        }
        let _ = (discover::archives(directory, &index), index.id(&reference));
    }
    let _ = (store.list(), store.resolve(&reference));
    let _ = store.mend();
    assert_eq!(fs::read_to_string(directory.join("outside")).expect("the file"), "untouched");
}

fn known(directory: &Path, bytes: &[u8]) {
    fs::write(directory.join("archives.json"), bytes).expect("a file");
    fs::write(directory.join("a.tar"), "x").expect("a file");
    let known = Known::read(directory).expect("a file that is there");
    let references = BTreeMap::from([("docker.io/library/a:1".to_owned(), "sha256:1".to_owned())]);
    let ids = BTreeSet::from(["sha256:1".to_owned()]);
    let has = Has { references: &references, ids: &ids };
    let _ = known.waiting(directory, has).expect("a directory that is there");
    assert!(known.index(has).contains_key("docker.io/library/a:1"));
}

/// What was kept of another file, or not by us, is never taken for what was kept of this one.
fn kept(directory: &Path, bytes: &[u8]) {
    let manifest = Path::new("/m/a.yaml");
    let file = directory.join(format!("{:016x}.json", fnv1a(b"/m/a.yaml")));
    fs::write(file, bytes).expect("a file");
    if keep::load(directory, manifest).is_some() {
        let value: serde_json::Value = serde_json::from_slice(bytes).expect("it was read");
        let path: Vec<u8> = serde_json::from_value(value["path"].clone()).unwrap_or_default();
        assert!(path == b"/m/a.yaml" || value.is_array());
    }
    let _ = keep::forget_others(directory, Path::new("/m"), |_| false);
}

fn run_of_a_container(directory: &Path, bytes: &[u8]) {
    let roots =
        Roots { run: directory.join("run"), state: directory.join("state"), log: directory.join("log") };
    // The first line is the name of a generation's directory, the rest is both files.
    let mut parts = bytes.splitn(2, |b| *b == b'\n');
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let text = parts.next().unwrap_or_default();
    if name.is_empty() || name.len() > 255 || name.contains(['/', '\0']) || name == "." || name == ".." {
        return;
    }
    let dir = AttemptDir(roots.pods().join(&name).join("c/main/0"));
    fs::create_dir_all(&dir.0).expect("a directory");
    fs::write(dir.spec(), text).expect("a file");
    fs::write(dir.record(), text).expect("a file");
    for generation in record::generations(&roots) {
        for attempt in record::attempts(&roots, &generation) {
            let id = container_id(&generation, &attempt.container, attempt.attempt);
            assert!(!id.as_str().is_empty());
            let _ = Record::read(&attempt.dir, "boot");
            if let Some(spec) = MonitorSpec::read(&attempt.dir) {
                let _ = spec.pod.container(&spec.container);
                let _ = container_id(&spec.pod.generation, &spec.container, spec.attempt);
            }
        }
    }
}
