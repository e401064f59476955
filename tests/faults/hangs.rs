//! A file system that does not answer: every access waits, as on a dead NFS or FUSE server, until it is unmounted or the process
//! is killed.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::common::yaml::{container, pod};
use crate::common::{Instance, host, text};
use crate::inject::{assert_no_double, guard, instance, unmount, until_guarded};

/// A mount of FUSE whose server never says a word.
struct Dead {
    at: PathBuf,
    server: Option<File>,
}

impl Dead {
    /// `None`, said aloud, where there is no FUSE.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let server = match File::options().read(true).write(true).open("/dev/fuse") {
            Ok(server) => server,
            Err(e) => {
                host::skip(&format!("no FUSE: {e}"));
                return None;
            }
        };
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if let Err(e) = mount(Some("podstrap-test"), at, Some("fuse"), flags, Some(options.as_str())) {
            host::skip(&format!("FUSE cannot be mounted: {e}"));
            return None;
        }
        Some(Self { at: at.to_owned(), server: Some(server) })
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        // Whoever waits is told of an error now.
        drop(self.server.take());
        unmount(&self.at);
    }
}

/// A Pod of one guard, with this directory as one more volume.
fn with_volume(i: &Instance, name: &str, tag: &str, at: &Path) -> String {
    let mounts = "volumeMounts: [{name: shared, mountPath: /shared}";
    let main = container("main", &guard(name, tag), &[])
        .replace(mounts, &format!("{mounts}, {{name: more, mountPath: /more}}"));
    let volume = format!("  - {{name: more, hostPath: {{path: {}, type: Directory}}}}\n", at.display());
    pod(i, name, &[], &[main]) + &volume
}

/// What a Pod's container waits for.
fn waits(i: &Instance, name: &str) -> String {
    let waiting = i.container(name, "main").and_then(|c| c.state.waiting);
    waiting.map(|w| format!("{}: {}", w.reason, w.message.unwrap_or_default())).unwrap_or_default()
}

fn told(i: &Instance) -> usize {
    fs::read_to_string(i.daemon_log()).unwrap().matches("its start hung and was given up").count()
}

#[test]
fn a_start_that_hangs_on_a_dead_volume_is_given_up_told_and_tried_again() {
    if !cfg!(debug_assertions) || std::env::var_os("PODSTRAP_TEST_BINARY").is_some() {
        return eprintln!("a release build waits for five minutes");
    }
    let Some(mut i) = instance() else { return };
    let at = i.dir.join("dead");
    let Some(dead) = Dead::mount(&at) else { return };
    i.env = vec![("PODSTRAP_TEST_START_MS".to_owned(), "1500".to_owned())];
    i.args(&["--restart-backoff", "100ms,500ms"]);
    i.write_manifest("web.yaml", &with_volume(&i, "web", "1", &at));
    i.write_manifest("other.yaml", &crate::common::yaml::one(&i, "other", &guard("other", "1"), &[]));
    i.start();
    until_guarded(&i, "other", "1");
    i.until("it is told", |i| {
        waits(i, "web").starts_with("CreateContainerError: its start hung and was given up")
    });
    let why = text(&i.cli("why", &["web"]).stdout);
    assert!(why.contains("mend the file system that does not answer"), "{why}");
    i.until("it is tried again, and given up again", |_| told(&i) >= 2);
    // Another daemon, in the middle of the next try.
    i.until("it is tried once more", |i| waits(i, "web") == "ContainerCreating: ");
    i.kill9();
    let before = told(&i);
    i.start();
    i.until("it gives up, too", |i| told(i) > before);
    // One that is to go needs no file system for that.
    i.write_manifest("late.yaml", &with_volume(&i, "late", "1", &at));
    i.until("it begins", |i| i.pod("late").is_some());
    i.remove("late.yaml");
    i.until_within(Duration::from_secs(15), "it is gone", |i| i.pod("late").is_none());
    assert_eq!((i.lines("web").len(), i.lines("late").len(), i.restarts("web", "main")), (0, 0, 0));
    // The server is back: here, a directory is in its place.
    drop(dead);
    until_guarded(&i, "web", "1");
    assert_eq!((i.lines("web").len(), i.restarts("web", "main")), (1, 0), "what never ran is no restart");
    assert_eq!(i.lines("other").len(), 1);
    assert_no_double(&i);
}

#[test]
fn a_manifest_directory_that_may_hang_is_warned_of_before_it_is_read() {
    let Some(mut i) = instance() else { return };
    let at = i.dir.join("dead");
    let Some(dead) = Dead::mount(&at) else { return };
    let link = i.dir.join("link");
    std::os::unix::fs::symlink(at.join("manifests"), &link).unwrap();
    let begun = |i: &Instance| fs::read_to_string(i.daemon_log()).unwrap_or_default();
    for path in [at.join("manifests"), link] {
        let _ = fs::remove_file(i.daemon_log());
        i.args(&["--manifest-dir", path.to_str().unwrap()]);
        i.launch();
        let line = format!("{}: is on a file system (fuse) that may not answer", path.display());
        i.until("it is warned of", |i| begun(i).contains(&line));
        i.kill9();
    }
    drop(dead);
    // An ordinary one is not.
    fs::create_dir(at.join("manifests")).unwrap();
    fs::remove_file(i.daemon_log()).unwrap();
    i.start();
    assert!(!begun(&i).contains("may not answer"), "{}", begun(&i));
}
