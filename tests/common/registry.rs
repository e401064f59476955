//! A registry of images on the loopback, in plain HTTP, which docker takes from 127.0.0.0/8 only. It has what it is given,
//! counts what it is asked for, and lets a download hang for as long as a test wants to look at it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};

use podstrap::image::digest::Digest;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Lives until its process ends.
pub struct Registry {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    /// Manifests, by tag and by digest.
    manifests: BTreeMap<String, Vec<u8>>,
    /// Configurations and layers, by digest.
    blobs: BTreeMap<String, Vec<u8>>,
    /// By tag: how often its manifest was asked for.
    asked: BTreeMap<String, usize>,
    /// Blobs are not given out now.
    held: bool,
}

impl Registry {
    /// An empty one.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let registry = Self { port, shared: Arc::default() };
        let shared = registry.shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    let _ = serve(stream, &shared);
                });
            }
        });
        registry
    }

    /// The name of its one repository, to which a tag is to be added.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}/app", self.port)
    }

    /// Gives the repository an image of one layer under a tag; the digest of its manifest.
    pub fn put(&self, tag: &str, config: &[u8], layer: &[u8]) -> String {
        let layer = gzip(layer);
        let mut state = self.shared.0.lock().unwrap();
        let mut blob = |kind: &str, bytes: &[u8]| {
            let digest = Digest::of(bytes).to_string();
            state.blobs.insert(digest.clone(), bytes.to_vec());
            serde_json::json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": blob("application/vnd.docker.container.image.v1+json", config),
            "layers": [blob("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = Digest::of(&manifest).to_string();
        for name in [tag, &digest] {
            state.manifests.insert(name.to_owned(), manifest.clone());
        }
        digest
    }

    /// How often a tag was asked for.
    pub fn asked(&self, tag: &str) -> usize {
        self.shared.0.lock().unwrap().asked.get(tag).copied().unwrap_or_default()
    }

    /// Whether downloads are to hang from now on.
    pub fn hold(&self, held: bool) {
        self.shared.0.lock().unwrap().held = held;
        self.shared.1.notify_all();
    }
}

/// What is to be given out for a path, and its type.
fn answer((state, released): &(Mutex<State>, Condvar), path: &str) -> Option<(&'static str, Vec<u8>)> {
    let last = path.rsplit('/').next().unwrap_or_default();
    let mut state = state.lock().unwrap();
    if path == "/v2/" {
        return Some(("application/json", b"{}".to_vec()));
    }
    if path.contains("/manifests/") {
        *state.asked.entry(last.to_owned()).or_default() += 1;
        return state.manifests.get(last).map(|bytes| (MANIFEST, bytes.clone()));
    }
    let state = released.wait_while(state, |state| state.held).unwrap();
    state.blobs.get(last).map(|bytes| ("application/octet-stream", bytes.clone()))
}

fn serve(mut stream: TcpStream, shared: &(Mutex<State>, Condvar)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line);
        }
        let mut words = lines[0].split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let unknown = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        let (status, kind, body) = match answer(shared, path) {
            Some((kind, body)) => ("200 OK", kind, body),
            None => ("404 Not Found", "application/json", unknown.to_vec()),
        };
        let digest = Digest::of(&body);
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {digest}\r\n\r\n",
            body.len()
        )?;
        if method == "GET" {
            stream.write_all(&body)?;
        }
    }
}

/// Compressed as layers are.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Configuration and plain layer of an archive of one image.
pub fn parts(archive: &Path) -> (Vec<u8>, Vec<u8>) {
    let member = |name: &str| {
        let out = Command::new("tar").arg("-xOf").arg(archive).arg(format!("./{name}")).output().unwrap();
        assert!(out.status.success(), "{}", super::describe(&out));
        out.stdout
    };
    let manifest: serde_json::Value = serde_json::from_slice(&member("manifest.json")).unwrap();
    (member(manifest[0]["Config"].as_str().unwrap()), member(manifest[0]["Layers"][0].as_str().unwrap()))
}
