//! Tests of writing archives out: what came in by any form comes out as one, and what lies is cut off before its manifest.

use super::super::store::Store;
use super::super::testing::{
    Scratch, config, docker_archive, file, gzip, oci_archive, oci_manifest, tar, zstd,
};
use super::*;

fn layer(name: &str, text: &str) -> Vec<u8> {
    tar(&[file(name, text.as_bytes())])
}

fn export(scratch: &Scratch, bytes: &[u8], bounds: &Bounds) -> (Vec<u8>, Result<Vec<Loaded>, ExportError>) {
    let archive = scratch.write("archive", bytes);
    let mut out = Vec::new();
    let result = Export::open(&archive, &scratch.0, bounds, &mut |_| {})
        .map_err(ExportError::from)
        .and_then(|export| export.write(&mut out, &mut |_| {}));
    (out, result)
}

/// The members of what was written, in order, by our own reader.
fn members(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut reader = Reader::new(Stream(bytes));
    let mut found = Vec::new();
    while let Ok(Some(member)) = reader.next_member() {
        let mut data = Vec::new();
        if reader.read_to_end(&mut data).is_ok() {
            found.push((String::from_utf8(member.path).unwrap(), data));
        }
    }
    found
}

fn names(loaded: &[Loaded]) -> Vec<Vec<&str>> {
    loaded.iter().map(|i| i.references.iter().map(|r| r.full.as_str()).collect()).collect()
}

#[test]
fn every_form_comes_out_as_one() {
    let (a, b) = (layer("a", "1"), layer("b", "22"));
    let plain = docker_archive(r#"["etcd:3.5","localhost/etcd"]"#, &[&a, &b]);
    let mut outputs = Vec::new();
    for (name, bytes) in [("plain", plain.clone()), ("gzip", gzip(&plain)), ("zstd", zstd(&plain))] {
        let scratch = Scratch::new(&format!("export-{name}"));
        let (out, result) = export(&scratch, &bytes, &Bounds::default());
        let loaded = result.unwrap();
        assert_eq!(names(&loaded), [["docker.io/library/etcd:3.5", "localhost/etcd:latest"]]);
        assert_eq!((loaded[0].layers, loaded[0].size, loaded[0].fits), (2, 3, true));
        assert_eq!(out.len() % BLOCK, 0);
        // The store, which reads what docker reads, knows it for the same image.
        let store = Store::new(&scratch.0.join("images"));
        let again = store.load(&scratch.write("out.tar", &out), &mut |_| {}).unwrap();
        assert_eq!((&again[0].id, names(&again)), (&loaded[0].id, names(&loaded)));
        assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 3, "nothing is left in the spool");
        outputs.push(out);
    }
    assert!(outputs.iter().all(|out| *out == outputs[0]));
    let last = members(&outputs[0]).pop().unwrap();
    assert_eq!(last.0, "manifest.json");
}

#[test]
fn layers_are_written_once_and_only_zstd_is_decompressed() {
    let scratch = Scratch::new("export-oci");
    let (base, a, b) = (layer("base", "base"), layer("a", "1"), layer("b", &"2".repeat(5000)));
    let mut blobs = Vec::new();
    let name = |name: &str| format!(r#","annotations":{{"io.containerd.image.name":"{name}"}}"#);
    let pinned = format!("r.example/a@sha256:{}", "0".repeat(64));
    let one = config(&[&base, &a]);
    let manifests = [
        oci_manifest(&mut blobs, &one, &[&gzip(&base), &a], &name("r.example/a:1")),
        oci_manifest(&mut blobs, &config(&[&base, &b]), &[&gzip(&base), &zstd(&b)], ""),
        oci_manifest(&mut blobs, &one, &[&gzip(&base), &a], &name("r.example/a:2")),
        oci_manifest(&mut blobs, &one, &[&gzip(&base), &a], &name("r.example/a:1")),
        oci_manifest(&mut blobs, &one, &[&gzip(&base), &a], &name(&pinned)),
    ];
    let (out, result) = export(&scratch, &oci_archive(blobs, &manifests), &Bounds::default());
    let loaded = result.unwrap();
    assert_eq!(names(&loaded), [vec!["r.example/a:1", "r.example/a:2", &pinned], vec![]]);
    let members = members(&out);
    let of = |layer: &[u8]| format!("{}.tar", Digest::of(layer).hex());
    let data = |name: &str| {
        let all: Vec<_> = members.iter().filter(|(n, _)| n == name).collect();
        assert_eq!(all.len(), 1, "{name}");
        all[0].1.clone()
    };
    assert_eq!(data(&of(&base)), gzip(&base), "as it is stored");
    assert_eq!(data(&of(&a)), a);
    assert_eq!(data(&of(&b)), b, "docker 20.10 does not read zstd");
    assert_eq!(members.len(), 3 + 2 + 1);
    let manifest: serde_json::Value = serde_json::from_slice(&data("manifest.json")).unwrap();
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["r.example/a:1", "r.example/a:2"]));
    assert_eq!(manifest[1]["RepoTags"], serde_json::Value::Null);
    assert_eq!(manifest[1]["Layers"], serde_json::json!([of(&base), of(&b)]));
}

#[test]
fn what_lies_is_refused_before_its_manifest_as_the_store_refuses_it() {
    let scratch = Scratch::new("export-lies");
    let (a, b) = (layer("a", "1"), layer("b", "2"));
    let evil = tar(&[file("ok", b""), file("../../evil", b"")]);
    let huge = layer("huge", &"x".repeat(200_000));
    let lying = |diff: &[u8], stored: &[u8]| {
        let config = config(&[diff]);
        let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
        let manifest = format!(r#"[{{"Config":"{name}","RepoTags":["x"],"Layers":["l"]}}]"#);
        tar(&[file("l", stored), file(&name, config.as_bytes()), file("manifest.json", manifest.as_bytes())])
    };
    let mut blobs = Vec::new();
    let manifest = oci_manifest(&mut blobs, &config(&[&a]), &[&zstd(&a)], "");
    let stored = format!("blobs/sha256/{}", Digest::of(&zstd(&a)).hex());
    let mut tampered = blobs.clone();
    let blob = tampered.iter_mut().find(|(name, _)| *name == stored).unwrap();
    blob.1[10] ^= 1;
    let bounds = Bounds { unpacked: 100_000, ..Bounds::default() };
    for (bytes, part) in [
        (lying(&a, &b), "digest mismatch"),
        (lying(&a, &gzip(&b)), "digest mismatch"),
        (lying(&a, &zstd(&b)), "digest mismatch"),
        (lying(&evil, &evil), "leaves the layer"),
        (lying(&evil, &zstd(&evil)), "leaves the layer"),
        (lying(&huge, &gzip(&huge)), "more than 100000 bytes"),
        (lying(&huge, &zstd(&huge)), "more than 100000 bytes"),
        (lying(&a, &gzip(&a)[..20]), "cut off"),
        (lying(&a, b"BZh91AY&SYrest"), "bzip2"),
        (oci_archive(tampered, std::slice::from_ref(&manifest)), "layer"),
        (b"hello".to_vec(), "cut off"),
        (tar(&[file("x", b"")]), "not an image archive"),
    ] {
        let (out, result) = export(&scratch, &bytes, &bounds);
        let error = result.unwrap_err();
        assert!(error.to_string().contains(part), "{error}, not {part}");
        assert!(matches!(&error, ExportError::Archive(e) if e.is_permanent()), "{error}");
        assert!(members(&out).iter().all(|(name, _)| name != "manifest.json"));
        let store = Store::new(&scratch.0.join("images")).with_bounds(bounds);
        let as_store = store.load(&scratch.0.join("archive"), &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), as_store.to_string());
    }
    assert!(export(&scratch, &oci_archive(blobs, &[manifest]), &bounds).1.is_ok());
}

/// Takes so many bytes, then no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let n = bytes.len().min(self.0);
        self.0 -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn whoever_reads_no_more_is_not_taken_for_a_fault_of_the_archive() {
    let scratch = Scratch::new("export-full");
    let (a, b) = (layer("a", "1"), layer("b", "2"));
    let archive = scratch.write("a.tar", &docker_archive(r#"["x"]"#, &[&a, &b]));
    let bounds = Bounds::default();
    let export = Export::open(&archive, &scratch.0, &bounds, &mut |_| {}).unwrap();
    let mut whole = Vec::new();
    export.write(&mut whole, &mut |_| {}).unwrap();
    for room in [0, 100, 512, 700, 3000, whole.len() - 2 * BLOCK - 1] {
        let error = export.write(&mut Full(room), &mut |_| {}).unwrap_err();
        assert!(
            matches!(&error, ExportError::Output(e) if e.kind() == io::ErrorKind::BrokenPipe),
            "{room}: {error}"
        );
    }
    // Without the two empty blocks at its end a tar file is whole for those who read it.
    assert!(export.write(&mut Full(whole.len() - 2 * BLOCK), &mut |_| {}).is_ok());
}

#[test]
fn sizes_beyond_eight_gibibytes_are_written_as_gnu_does() {
    let reader = |size| {
        let block = header("x", size);
        Reader::new(Stream(&block[..])).next_member().unwrap().unwrap().size
    };
    for size in [0, 511, (1 << 33) - 1, 1 << 33, 32 << 30] {
        assert_eq!(reader(size), size);
    }
}

#[test]
fn progress_is_told_to_its_end() {
    let scratch = Scratch::new("export-progress");
    let (a, b) = (layer("a", "1"), layer("b", "2"));
    let archive = scratch.write("a.tar", &gzip(&docker_archive(r#"["x"]"#, &[&a, &b])));
    let bounds = Bounds::default();
    let mut told = Vec::new();
    Export::open(&archive, &scratch.0, &bounds, &mut |p| told.push(p))
        .unwrap()
        .write(&mut io::sink(), &mut |p| told.push(p))
        .unwrap();
    assert!(told.iter().any(|p| p.stage == Stage::Decompress));
    let last = told.last().unwrap();
    assert_eq!((last.stage, last.done, last.total), (Stage::Send, last.total, (a.len() + b.len()) as u64));
}
