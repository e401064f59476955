//! The bodies of the fuzz targets (tests/fuzz) over their seeds and over the corpora of the other tests, so that the targets
//! keep compiling and everything that once was found stays mended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests may fail as tests do.

#[path = "fuzz/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::path::{Path, PathBuf};

fn files_of(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    found.sort();
    found
}

/// Every seed of a target, then what is made of it by cutting it off, and by changing single bytes.
fn run(target: &str, more: &[&str], hurt: usize) {
    let mut seeds = files_of(&format!("tests/fuzz/seeds/{target}"));
    assert!(!seeds.is_empty());
    more.iter().for_each(|folder| seeds.extend(files_of(folder)));
    for seed in seeds {
        let bytes = fs::read(&seed).unwrap();
        println!("{}", seed.display());
        bodies::run(target, &bytes);
        for n in 0..hurt.min(bytes.len()) {
            let at = (bytes.len() * n) / hurt;
            bodies::run(target, &bytes[..at]);
            let mut odd = bytes.clone();
            odd[at] = odd[at].wrapping_add(u8::try_from(n % 251).unwrap() | 1);
            bodies::run(target, &odd);
        }
    }
}

macro_rules! targets {
    ($($name:ident: $more:expr, $hurt:expr;)*) => {
        $(#[test] fn $name() { run(stringify!($name), &$more, $hurt); })*

        #[test]
        fn every_target_is_here_and_can_be_built_by_cargo_fuzz() {
            let named = [$(stringify!($name)),*];
            let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/Cargo.toml")).unwrap();
            for (target, _) in bodies::TARGETS {
                assert!(named.contains(&target), "{target}");
                assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
            }
            let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds")).unwrap();
            assert_eq!(folders.count(), bodies::TARGETS.len());
        }
    };
}

targets! {
    archive: [], 20;
    cni: [], 20;
    config: [], 60;
    docker: [], 20;
    docker_log: [], 20;
    files: [], 20;
    grpc: [], 60;
    health: [], 60;
    kubeconfig: [], 60;
    layer: [], 20;
    log: [], 20;
    manifest: ["tests/corpus", "tests/kubeadm", "tests/whole"], 5;
    reference: [], 20;
    state: [], 20;
    tar: [], 60;
    url: [], 60;
}
