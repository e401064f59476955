//! Pulling with a program in skopeo's place. A file of its own, since whoever pulls takes the exits of all children of
//! its process.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{SigSet, Signal};
use podstrap::image::error::ImageError;
use podstrap::image::load::Loaded;
use podstrap::image::pull::{Options, PullError, run};
use podstrap::image::store::Store;
use podstrap::pod::reference::Reference;

const REFERENCE: &str = "registry.example/app:1";
/// Set in the process that is to be interrupted: where it may work.
const INTERRUPTED: &str = "PODSTRAP_TEST_INTERRUPTED_PULL";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podstrap-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pull(scratch: &Path, script: &str, deadline_ms: u64) -> (Store, Result<Loaded, PullError>) {
    let program = scratch.join("skopeo");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let store = Store::new(&scratch.join("images"));
    let options = Options { program: Some(program), deadline_ms, ..Options::default() };
    let result = run(&store, &Reference::parse(REFERENCE).unwrap(), &options, &mut |_| {});
    assert_eq!(fs::read_dir(scratch.join("images/tmp")).unwrap().count(), 0, "nothing is left of a pull");
    (store, result)
}

#[test]
fn a_pull_loads_fails_or_ends_in_time() {
    if let Some(scratch) = std::env::var_os(INTERRUPTED) {
        let (_, result) = pull(Path::new(&scratch), "kill -TERM $PPID; exec sleep 1000", 60_000);
        assert!(matches!(result, Err(PullError::Interrupted { signal: 15 })), "{result:?}");
        return;
    }
    let scratch = Scratch::new("image-pull");
    let root = scratch.0.join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "served").unwrap();
    let archive = scratch.0.join("served.tar");
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/pack-image");
    assert!(Command::new(tool).arg(&archive).arg("").arg(&root).status().unwrap().success());
    // By a signal. The test harness has threads; all of them inherit this mask, as if there were one.
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.thread_block().unwrap();
    let mut interrupted = Command::new(std::env::current_exe().unwrap());
    interrupted.args(["--exact", "a_pull_loads_fails_or_ends_in_time", "--test-threads=1"]);
    let output = interrupted.env(INTERRUPTED, &scratch.0).output().unwrap();
    mask.thread_unblock().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let copy = format!("for last; do :; done; cp {} \"${{last#docker-archive:}}\"", archive.display());
    let (store, result) = pull(&scratch.0, &copy, 60_000);
    let id = result.unwrap().id;
    let image = store.resolve(&Reference::parse(REFERENCE).unwrap()).unwrap().unwrap();
    assert_eq!(image.id, id);
    assert_eq!(fs::read(image.layers_root.join(&image.layers[0]).join("file")).unwrap(), b"served");

    let script = "echo starting; echo 'level=fatal msg=\"manifest unknown\"' >&2; exit 3";
    let text = pull(&scratch.0, script, 60_000).1.unwrap_err().to_string();
    for part in [REFERENCE, "manifest unknown", "exit code 3"] {
        assert!(text.contains(part), "{text}");
    }
    let result = pull(&scratch.0, "sleep 1000 & wait", 200).1;
    assert!(matches!(result, Err(PullError::Deadline { deadline_ms: 200, .. })), "{result:?}");
    let result = pull(&scratch.0, "exit 0", 60_000).1;
    assert!(matches!(result, Err(PullError::Image(ImageError::Io { .. }))), "{result:?}");
}
