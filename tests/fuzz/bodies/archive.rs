//! Whole image archives into an image store: those of docker and of the OCI, plain and compressed.

use std::fs;

use podstrap::image::bounds::Bounds;
use podstrap::image::store::Store;

use super::{reference, scratch};

pub fn run(data: &[u8]) {
    let around = scratch("archive");
    let file = around.join("image.tar");
    fs::write(&file, data).expect("room for an archive");
    let bounds = Bounds { unpacked: 1 << 20, entries: 300, json: 64 << 10, path: 512, depth: 32, layers: 8 };
    let root = around.join("images");
    let store = Store::new(&root).with_bounds(bounds);
    match store.load_and_record(&file, &mut |_| {}) {
        Ok(loaded) => {
            assert!(!loaded.is_empty());
            for image in &loaded {
                let found =
                    store.image(&image.id).expect("a whole store").expect("the image that was loaded");
                // A layer that occurs twice is mounted once.
                assert!((1..=image.layers).contains(&found.layers.len()) || image.layers == 0);
                image.references.iter().for_each(reference::check);
                for reference in &image.references {
                    let found =
                        store.resolve(reference).expect("a whole store").expect("the image by its name");
                    assert!(loaded.iter().any(|l| l.id == found.id));
                }
            }
            // Twice is once.
            let again = store.load(&file, &mut |_| {}).expect("what was loaded once");
            assert_eq!(again.len(), loaded.len());
        }
        Err(error) => {
            let _ = error.to_string();
            assert!(store.list().expect("a whole store").is_empty(), "half an archive");
        }
    }
    // Nothing is left of what was under way.
    let left = fs::read_dir(root.join("tmp")).map(|d| d.count()).unwrap_or(0);
    assert_eq!(left, 0);
}
