//! What the fuzz targets do with one input: a function for each target, shared by libFuzzer (tests/fuzz) and by
//! `cargo test` (tests/fuzz_seeds.rs), which has every seed go through it.
//!
//! A panic is a defect wherever it comes from: podstrap's own code or an assertion here.

mod archive;
mod cni;
mod config;
mod docker;
mod docker_log;
mod files;
mod grpc;
mod health;
mod kubeconfig;
mod layer;
mod log;
mod manifest;
mod reference;
mod state;
mod tar;
mod url;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What a target does with one input.
type Body = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Body); 16] = [
    ("archive", archive::run),
    ("cni", cni::run),
    ("config", config::run),
    ("docker", docker::run),
    ("docker_log", docker_log::run),
    ("files", files::run),
    ("grpc", grpc::run),
    ("health", health::run),
    ("kubeconfig", kubeconfig::run),
    ("layer", layer::run),
    ("log", log::run),
    ("manifest", manifest::run),
    ("reference", reference::run),
    ("state", state::run),
    ("tar", tar::run),
    ("url", url::run),
];

/// One input may take this much processor time. libFuzzer's code and cargo's for tests are several times slower than a
/// release.
const TIME: Duration = Duration::from_secs(5);

/// Gives one input to a target, and looks at how long that took.
pub fn run(target: &str, data: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of that name");
    let begin = cpu_time();
    body(data);
    let taken = cpu_time() - begin;
    assert!(taken < TIME, "{target}: {} bytes took {taken:?}", data.len());
}

/// Processor time of this thread: what a busy machine takes away does not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
}

/// A directory of this process's own, in memory where the host has that; gone when this is dropped.
struct Scratch(PathBuf);

fn scratch(name: &str) -> Scratch {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let path = base.join(format!("podstrap-fuzz-{name}-{}", std::process::id()));
    // Whoever left one had our pid, and was ended by libFuzzer.
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Scratch(path)
}

impl std::ops::Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.0);
        // Nothing that was put there can be in the way of that.
        assert!(removed.is_ok() || std::thread::panicking(), "{}: {removed:?}", self.0.display());
    }
}

/// Splits off the first byte, which chooses among the formats of a target.
fn choice(data: &[u8], of: u8) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, rest)| (first % of, rest))
}

/// Whether a path can be handed to a runtime: absolute, and leading nowhere but down.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0') && path.split('/').all(|part| part != "..")
}

/// Whether text may be shown on a terminal: foreign controls must have been escaped.
fn is_shown(text: &str) -> bool {
    !text.contains(|c: char| c.is_control())
}
