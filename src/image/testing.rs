//! Tar files and archives for tests, byte by byte, so that they can be as wrong as the tests want.

use std::io::Write;
use std::path::PathBuf;

use super::digest::Digest;

/// One member to be written.
#[derive(Clone)]
pub struct Entry<'a> {
    pub path: &'a str,
    pub kind: u8,
    pub link: &'a str,
    pub data: &'a [u8],
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: u64,
    pub device: (u32, u32),
    pub pax: Vec<(&'a str, &'a [u8])>,
}

pub fn file<'a>(path: &'a str, data: &'a [u8]) -> Entry<'a> {
    Entry {
        path,
        kind: b'0',
        link: "",
        data,
        mode: 0o644,
        owner: (0, 0),
        mtime: 1_000_000_000,
        device: (0, 0),
        pax: Vec::new(),
    }
}

pub fn dir(path: &str) -> Entry<'_> {
    Entry { kind: b'5', mode: 0o755, ..file(path, b"") }
}

pub fn symlink<'a>(path: &'a str, link: &'a str) -> Entry<'a> {
    Entry { kind: b'2', link, ..file(path, b"") }
}

pub fn hard<'a>(path: &'a str, link: &'a str) -> Entry<'a> {
    Entry { kind: b'1', link, ..file(path, b"") }
}

/// A header block; `size` may differ from what follows.
pub fn header(entry: &Entry<'_>, size: u64) -> [u8; 512] {
    let mut block = [0_u8; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, entry.path.as_bytes().get(..100).unwrap_or(entry.path.as_bytes()));
    put(100, format!("{:07o}", entry.mode).as_bytes());
    put(108, format!("{:07o}", entry.owner.0).as_bytes());
    put(116, format!("{:07o}", entry.owner.1).as_bytes());
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{:011o}", entry.mtime).as_bytes());
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, entry.link.as_bytes().get(..100).unwrap_or(entry.link.as_bytes()));
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", entry.device.0).as_bytes());
    put(337, format!("{:07o}", entry.device.1).as_bytes());
    seal(&mut block);
    block
}

/// Sets the checksum.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = 1 + key.len() + 1 + value.len() + 1;
    let length = (1..8).map(|digits| body + digits).find(|n| n.to_string().len() + body == *n).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub fn member(entry: &Entry<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !entry.pax.is_empty() {
        let records: Vec<u8> = entry.pax.iter().flat_map(|(key, value)| record(key, value)).collect();
        let extension = Entry { kind: b'x', ..file("pax", b"") };
        bytes.extend(header(&extension, records.len() as u64));
        bytes.extend(padded(&records));
    }
    bytes.extend(header(entry, entry.data.len() as u64));
    bytes.extend(padded(entry.data));
    bytes
}

pub fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(member).collect();
    bytes.extend([0; 1024]);
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// A configuration with these layers (as they are without compression).
pub fn config(layers: &[&[u8]]) -> String {
    let ids: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
    let (os, architecture) = super::plan::this_platform();
    format!(
        r#"{{"os":"{os}","architecture":"{architecture}","config":{{"Cmd":["/x"],"Env":null}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    )
}

/// An archive as `docker save` writes it.
pub fn docker_archive(tags: &str, layers: &[&[u8]]) -> Vec<u8> {
    let config = config(layers);
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let quoted: Vec<String> = names.iter().map(|n| format!("\"{n}\"")).collect();
    let manifest =
        format!(r#"[{{"Config":"{config_name}","RepoTags":{tags},"Layers":[{}]}}]"#, quoted.join(","));
    let mut entries: Vec<Entry<'_>> =
        names.iter().zip(layers).map(|(name, layer)| file(name, layer)).collect();
    entries.push(file(&config_name, config.as_bytes()));
    entries.push(file("manifest.json", manifest.as_bytes()));
    tar(&entries)
}

/// Files of an archive by name.
type Blobs = Vec<(String, Vec<u8>)>;

/// An OCI layout; each image is its index annotations and platform (as JSON members), its configuration and its stored layers.
pub fn oci_blob(blobs: &mut Blobs, media_type: &str, bytes: &[u8], more: &str) -> String {
    let digest = Digest::of(bytes);
    blobs.push((format!("blobs/sha256/{}", digest.hex()), bytes.to_vec()));
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}{more}}}"#, bytes.len())
}

pub fn oci_manifest(blobs: &mut Blobs, config: &str, layers: &[&[u8]], more: &str) -> String {
    let config = oci_blob(blobs, "application/vnd.oci.image.config.v1+json", config.as_bytes(), "");
    let layers: Vec<String> = layers
        .iter()
        .map(|l| oci_blob(blobs, "application/vnd.oci.image.layer.v1.tar+gzip", l, ""))
        .collect();
    let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","));
    oci_blob(blobs, "application/vnd.oci.image.manifest.v1+json", manifest.as_bytes(), more)
}

pub fn oci_index(manifests: &[String]) -> String {
    format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, manifests.join(","))
}

pub fn oci_archive(mut blobs: Blobs, manifests: &[String]) -> Vec<u8> {
    blobs.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    blobs.push(("./index.json".into(), oci_index(manifests).into_bytes()));
    tar(&blobs.iter().map(|(name, bytes)| file(name, bytes)).collect::<Vec<_>>())
}

/// A directory of its own for one test, removed with what it holds.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podstrap-image-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
