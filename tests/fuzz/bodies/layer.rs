//! Unpacking one layer onto a disk: nothing may come to be, or change, outside of its directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use podstrap::image::bounds::{Bounds, Budget, Metered};
use podstrap::image::tarball::{Reader, Stream};
use podstrap::image::{codec, unpack};

use super::scratch;

pub fn run(data: &[u8]) {
    let around = scratch("layer");
    let root = around.join("root");
    let outside = around.join("outside");
    fs::create_dir(&root).expect("a directory");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("file"), "untouched").expect("a file");
    let before = seen(&around);

    let bounds = Bounds { unpacked: 1 << 20, entries: 300, depth: 32, ..Bounds::default() };
    let entries = Budget::new("members", bounds.entries);
    let bytes = Budget::new("bytes", bounds.unpacked);
    if let Ok(decoded) = codec::decoder(data) {
        let mut reader = Reader::new(Stream(Metered::new(decoded, &bytes)));
        // What is refused is refused; what was unpacked before that stays where it may be.
        let _ = unpack::unpack(&mut reader, &root, &bounds, &entries);
    }
    assert_eq!(seen(&around), before);
    assert_eq!(fs::read_to_string(outside.join("file")).expect("the file"), "untouched");
}

/// What stands around the layer's directory, with all that a member could have changed about it.
fn seen(around: &Path) -> Vec<(String, u32, u32, u64, u64)> {
    let mut found = Vec::new();
    for directory in [around.to_owned(), around.join("outside")] {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let meta = entry.metadata().expect("its metadata");
            let name = entry.file_name().to_string_lossy().into_owned();
            // The layer may say something of its own root.
            if name != "root" {
                found.push((name, meta.mode(), meta.uid(), meta.nlink(), meta.size()));
            } else {
                found.push((name, 0, 0, 0, 0));
            }
        }
    }
    found.sort();
    found
}
