//! Tests of loading: both kinds of archive, every compression, and archives that lie.

use std::collections::BTreeSet;
use std::fs;

use super::super::bounds::Bounds;
use super::super::testing::{
    Entry, Scratch, config, docker_archive, file, gzip, oci_archive, oci_blob, oci_index, oci_manifest,
    symlink, tar, zstd,
};
use super::*;
use crate::pod::reference::Reference;

fn store(scratch: &Scratch) -> Store {
    Store::new(&scratch.0.join("images"))
}

fn load(store: &Store, scratch: &Scratch, bytes: &[u8]) -> Result<Vec<Loaded>, ImageError> {
    let archive = scratch.write("archive", bytes);
    store.load(&archive, &mut |_| {})
}

/// Everything below the store but the lock.
fn contents(store: &Store) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for directory in [store.layers_path(), store.configs_path(), store.tmp_path()] {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            found.insert(
                entry
                    .unwrap()
                    .path()
                    .strip_prefix(directory.parent().unwrap())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .into(),
            );
        }
    }
    found
}

fn layer(name: &str, text: &str) -> Vec<u8> {
    tar(&[file(name, text.as_bytes())])
}

#[test]
fn a_docker_archive_loads_whole_compressed_or_not() {
    let (a, b) = (layer("a", "1"), layer("b", "22"));
    let plain = docker_archive(r#"["etcd:3.5","localhost/etcd"]"#, &[&a, &b]);
    for (name, bytes) in [("plain", plain.clone()), ("gzip", gzip(&plain)), ("zstd", zstd(&plain))] {
        let scratch = Scratch::new(&format!("load-{name}"));
        let store = store(&scratch);
        let loaded = load(&store, &scratch, &bytes).unwrap();
        let [image] = &loaded[..] else { panic!("{loaded:?}") };
        assert_eq!((image.layers, image.size, image.fits), (2, 3, true));
        let names: Vec<_> = image.references.iter().map(|r| r.full.as_str()).collect();
        assert_eq!(names, ["docker.io/library/etcd:3.5", "localhost/etcd:latest"]);
        let found = store.resolve(&Reference::parse("etcd:3.5").unwrap()).unwrap().unwrap();
        assert_eq!(found.id, image.id);
        assert_eq!(found.config.cmd, ["/x"]);
        let short: Vec<String> = [&a, &b].iter().map(|l| Digest::of(l).hex()[..16].to_owned()).collect();
        assert_eq!(found.layers, short);
        assert_eq!(fs::read(found.layers_root.join(&short[1]).join("b")).unwrap(), b"22");
        assert!(store.resolve(&Reference::parse("etcd").unwrap()).unwrap().is_none());
        assert_eq!(fs::read_dir(store.tmp_path()).unwrap().count(), 0);
    }
}

#[test]
fn layers_are_shared_and_read_once() {
    let scratch = Scratch::new("load-shared");
    let store = store(&scratch);
    let (base, a, b) = (layer("base", "base"), layer("a", "1"), layer("b", "2"));
    load(&store, &scratch, &docker_archive(r#"["a"]"#, &[&base, &a])).unwrap();
    let inode = |store: &Store| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(store.layers_path().join(&Digest::of(&base).hex()[..16])).unwrap().ino()
    };
    let before = inode(&store);
    let mut unpacked = 0;
    let archive = scratch.write("second", &docker_archive(r#"["b"]"#, &[&base, &b]));
    store.load(&archive, &mut |progress| unpacked = progress.total).unwrap();
    assert_eq!((inode(&store), unpacked), (before, b.len() as u64));
    assert_eq!(fs::read_dir(store.layers_path()).unwrap().count(), 3);
}

#[test]
fn legacy_links_and_nameless_images_load() {
    let scratch = Scratch::new("load-legacy");
    let store = store(&scratch);
    let a = layer("a", "1");
    let config = config(&[&a, &a]);
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let manifest =
        format!(r#"[{{"Config":"{name}","RepoTags":null,"Layers":["x/layer.tar","y/layer.tar"]}}]"#);
    let archive = tar(&[
        symlink("x/layer.tar", "../y/layer.tar"),
        Entry { path: "./y/layer.tar", ..file("", &a) },
        file(&name, config.as_bytes()),
        file("manifest.json", manifest.as_bytes()),
    ]);
    let loaded = load(&store, &scratch, &archive).unwrap();
    assert!(loaded[0].references.is_empty());
    let image = store.image(&loaded[0].id).unwrap().unwrap();
    assert_eq!(image.layers.len(), 1, "one directory may not stand twice in a mount");
}

#[test]
fn an_oci_archive_loads_with_nested_indexes_and_compressed_layers() {
    let scratch = Scratch::new("load-oci");
    let store = store(&scratch);
    let (a, b, c) = (layer("a", "1"), layer("b", "2"), layer("c", "3"));
    let mut blobs = Vec::new();
    let (os, architecture) = plan::this_platform();
    let ours = format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#);
    let other = r#","platform":{"os":"linux","architecture":"z80"}"#;
    let attestation = r#","platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#;
    let inner = [
        oci_manifest(&mut blobs, &config(&[&b]), &[&b], other),
        oci_manifest(&mut blobs, &config(&[&a, &c]), &[&gzip(&a), &zstd(&c)], &ours),
        oci_manifest(&mut blobs, "{}", &[], attestation),
    ];
    let nested = oci_index(&inner);
    let manifests = [
        oci_blob(
            &mut blobs,
            "application/vnd.oci.image.index.v1+json",
            nested.as_bytes(),
            r#","annotations":{"org.opencontainers.image.ref.name":"3.5","io.containerd.image.name":"registry.example/etcd:3.5"}"#,
        ),
        oci_manifest(
            &mut blobs,
            &config(&[&b]),
            &[&b],
            r#","annotations":{"org.opencontainers.image.ref.name":"b:1"}"#,
        ),
        oci_manifest(
            &mut blobs,
            &config(&[&c]),
            &[&gzip(&c)],
            r#","annotations":{"org.opencontainers.image.ref.name":"latest"}"#,
        ),
    ];
    let loaded = load(&store, &scratch, &oci_archive(blobs, &manifests)).unwrap();
    let names: Vec<Vec<&str>> =
        loaded.iter().map(|i| i.references.iter().map(|r| r.full.as_str()).collect()).collect();
    assert_eq!(names, [vec!["registry.example/etcd:3.5"], vec!["docker.io/library/b:1"], vec![]]);
    assert_eq!(loaded[0].layers, 2);
    let image = store.image(&loaded[0].id).unwrap().unwrap();
    assert_eq!(fs::read(image.layers_root.join(&image.layers[1]).join("c")).unwrap(), b"3");
}

#[test]
fn an_index_without_our_platform_names_what_it_has() {
    let scratch = Scratch::new("load-platform");
    let a = layer("a", "1");
    let mut blobs = Vec::new();
    let other = r#","platform":{"os":"linux","architecture":"arm","variant":"v7"}"#;
    let manifests = [oci_manifest(&mut blobs, &config(&[&a]), &[&a], other)];
    let error = load(&store(&scratch), &scratch, &oci_archive(blobs, &manifests)).unwrap_err();
    assert!(matches!(&error, ImageError::Platform { found, .. } if found == &["linux/arm/v7"]), "{error}");
}

/// What is refused leaves an existing store as it was, names the cause, and is refused again.
#[test]
fn archives_that_lie_are_refused_whole() {
    let (a, b) = (layer("a", "1"), layer("b", "2"));
    let evil = tar(&[file("ok", b""), file("../../evil", b"")]);
    let hex = "0".repeat(64);
    let good = config(&[&a]);
    let plain = |config_name: &str, config: &str, stored: &[u8]| {
        let manifest = format!(r#"[{{"Config":"{config_name}","RepoTags":["x"],"Layers":["l"]}}]"#);
        tar(&[
            file("l", stored),
            file(config_name, config.as_bytes()),
            file("manifest.json", manifest.as_bytes()),
        ])
    };
    let mut blobs = Vec::new();
    let manifest = oci_manifest(&mut blobs, &good, &[&gzip(&a)], "");
    let layer_name = format!("blobs/sha256/{}", Digest::of(&gzip(&a)).hex());
    let tampered = |with: &[u8]| {
        let mut blobs = blobs.clone();
        blobs.iter_mut().find(|(name, _)| *name == layer_name).unwrap().1 = with.to_vec();
        oci_archive(blobs, std::slice::from_ref(&manifest))
    };
    let mut same_size = gzip(&a);
    // A byte of gzip's header that the decoder does not look at: only the blob's digest can tell.
    same_size[4] ^= 1;
    let whole = docker_archive(r#"["x"]"#, &[&a, &b]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("config digest", plain(&format!("{hex}.json"), &good, &a), "digest mismatch"),
        ("diff id", plain("c.json", &good, &b), "digest mismatch"),
        ("blob digest", tampered(&same_size), "digest mismatch"),
        ("blob size", tampered(b"short"), "bytes, is 5"),
        ("missing blob", oci_archive(Vec::new(), std::slice::from_ref(&manifest)), "does not hold it"),
        ("evil member", docker_archive(r#"["x"]"#, &[&a, &evil]), "leaves the layer"),
        ("layer count", plain("c.json", &config(&[&a, &b]), &a), "same number"),
        ("no layers", plain("c.json", &config(&[]), &a), "no layers"),
        ("bad name", docker_archive(r#"["--privileged"]"#, &[&a]), "not an image reference"),
        ("bad json", plain("c.json", "{", &a), "c.json"),
        ("no manifest", tar(&[file("etc/passwd", b"")]), "not an image archive"),
        ("cut", whole[..whole.len() / 2].to_vec(), "cut off"),
        ("cut gzip", gzip(&whole)[..300].to_vec(), "damaged compressed data"),
        ("xz", b"\xfd7zXZ\0....".to_vec(), "xz"),
        ("text", b"hello".to_vec(), "cut off"),
        ("no tar", vec![b'x'; 4096], "not a tar file"),
        ("layer no tar", docker_archive(r#"["x"]"#, &[&[b'x'; 1024]]), "not a tar file"),
    ];
    for (name, bytes, expected) in cases {
        let scratch = Scratch::new("load-lies");
        let store = store(&scratch);
        load(&store, &scratch, &docker_archive(r#"["there"]"#, &[&b])).unwrap();
        let before = (contents(&store), store.index().unwrap());
        let error = load(&store, &scratch, &bytes).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "{name}: {text}");
        assert!(error.is_permanent(), "{name}");
        assert_eq!((contents(&store), store.index().unwrap()), before, "{name}");
        assert!(!scratch.0.join("evil").exists() && !scratch.0.join("images/evil").exists());
    }
}

#[test]
fn both_digests_are_named() {
    let scratch = Scratch::new("load-digests");
    let (a, b) = (layer("a", "1"), layer("b", "2"));
    let manifest = r#"[{"Config":"c","RepoTags":[],"Layers":["l"]}]"#;
    let config = config(&[&a]);
    let archive =
        tar(&[file("l", &b), file("c", config.as_bytes()), file("manifest.json", manifest.as_bytes())]);
    let text = load(&store(&scratch), &scratch, &archive).unwrap_err().to_string();
    assert!(
        text.contains(&Digest::of(&a).to_string()) && text.contains(&Digest::of(&b).to_string()),
        "{text}"
    );
}

#[test]
fn bombs_are_refused() {
    let scratch = Scratch::new("load-bombs");
    let big = layer("zeros", &"\0".repeat(3 << 20));
    let archive = docker_archive(r#"["x"]"#, &[&big]);
    let many: Vec<Entry<'_>> = (0..50).map(|_| file("f", b"")).collect();
    let small = Bounds { unpacked: 1 << 20, entries: 40, json: 2000, ..Bounds::default() };
    let store = store(&scratch).with_bounds(small);
    let mut blobs = Vec::new();
    let manifests = [oci_manifest(&mut blobs, &config(&[&big]), &[&gzip(&big)], "")];
    let long_json = format!(r#"[{{"Config":"c","RepoTags":[],"Layers":[],"x":"{}"}}]"#, "x".repeat(3000));
    for (name, bytes) in [
        ("layer", archive.clone()),
        ("compressed layer", oci_archive(blobs, &manifests)),
        ("compressed whole", gzip(&archive)),
        ("members of a layer", docker_archive(r#"["x"]"#, &[&tar(&many)])),
        ("members of the archive", tar(&many)),
        ("json", tar(&[file("manifest.json", long_json.as_bytes())])),
    ] {
        let error = load(&store, &scratch, &bytes).unwrap_err();
        assert!(matches!(error, ImageError::Exceeded { .. }), "{name}: {error}");
        assert!(contents(&store).is_empty(), "{name}");
    }
}

#[test]
fn leftovers_of_the_killed_are_swept() {
    let scratch = Scratch::new("load-sweep");
    let store = store(&scratch);
    load(&store, &scratch, &docker_archive(r#"["a"]"#, &[&layer("a", "1")])).unwrap();
    let before = contents(&store);
    fs::create_dir_all(store.tmp_path().join("load-1/half/layer")).unwrap();
    fs::create_dir_all(store.layers_path().join("0123456789abcdef/etc")).unwrap();
    fs::write(store.configs_path().join(".x.json.12"), "").unwrap();
    fs::create_dir_all(store.tmp_path().join("pull-dead")).unwrap();
    fs::create_dir_all(store.tmp_path().join("pull-alive")).unwrap();
    let alive = crate::sys::lock::wait(&store.tmp_path().join("pull-alive/lock")).unwrap();
    load(&store, &scratch, &docker_archive(r#"["a"]"#, &[&layer("a", "1")])).unwrap();
    let mut expected = before;
    expected.insert("tmp/pull-alive".into());
    assert_eq!(contents(&store), expected);
    drop(alive);
}

#[test]
fn recorded_archives_are_passed_over_until_they_change() {
    let scratch = Scratch::new("load-record");
    let store = store(&scratch);
    let directory = scratch.0.join("images.d");
    fs::create_dir(&directory).unwrap();
    let waiting = || discover::archives(&directory, &store.index().unwrap()).unwrap();
    fs::write(directory.join("good.tar"), docker_archive(r#"["a"]"#, &[&layer("a", "1")])).unwrap();
    fs::write(directory.join("bad.tar"), "garbage").unwrap();
    let results: Vec<bool> =
        waiting().iter().map(|path| store.load_and_record(path, &mut |_| {}).is_ok()).collect();
    assert_eq!(results, [false, true]);
    assert!(waiting().is_empty());
    let index = store.index().unwrap();
    let record = |name: &str| index.archives.get(&discover::key(&directory.join(name))).unwrap();
    assert!(record("bad.tar").error.as_deref().unwrap().contains("cut off"));
    assert_eq!(record("good.tar").images, [index.references["docker.io/library/a:latest"].clone()]);
    fs::write(directory.join("bad.tar"), docker_archive(r#"["b"]"#, &[&layer("b", "1")])).unwrap();
    assert_eq!(waiting(), [directory.join("bad.tar")]);
    fs::remove_file(directory.join("good.tar")).unwrap();
    store.load_and_record(&directory.join("bad.tar"), &mut |_| {}).unwrap();
    assert_eq!(store.index().unwrap().archives.len(), 1, "records of archives that are gone go too");
}

#[test]
fn a_damaged_store_says_so() {
    let scratch = Scratch::new("load-damaged");
    let store = store(&scratch);
    let loaded = load(&store, &scratch, &docker_archive(r#"["a"]"#, &[&layer("a", "1")])).unwrap();
    let image = store.image(&loaded[0].id).unwrap().unwrap();
    let gone = image.layers_root.join(&image.layers[0]);
    fs::rename(&gone, scratch.0.join("aside")).unwrap();
    let text = store.image(&loaded[0].id).unwrap_err().to_string();
    assert!(text.contains(gone.to_str().unwrap()) && text.contains("podstrap image load"), "{text}");
    // And loading mends it.
    load(&store, &scratch, &docker_archive(r#"["a"]"#, &[&layer("a", "1")])).unwrap();
    assert!(store.image(&loaded[0].id).unwrap().is_some());
}

#[test]
fn an_opaque_root_hides_the_layers_below() {
    let scratch = Scratch::new("load-opaque");
    let store = store(&scratch);
    let (a, b) = (layer("a", "1"), tar(&[file(".wh..wh..opq", b""), file("b", b"2")]));
    let loaded = load(&store, &scratch, &docker_archive("[]", &[&a, &b])).unwrap();
    assert_eq!(store.image(&loaded[0].id).unwrap().unwrap().layers, [Digest::of(&b).hex()[..16].to_owned()]);
}
