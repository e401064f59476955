//! Images: missing ones, archives that appear, the `image` verbs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::common::image::{self, BUSYBOX};
use crate::common::yaml::{canary, one};
use crate::common::{Instance, assert_exit, bare_instance, describe, instance, podstrap, text};

fn waiting(i: &Instance, pod: &str) -> Option<(String, String)> {
    let waiting = i.container(pod, "main")?.state.waiting?;
    Some((waiting.reason, waiting.message.unwrap_or_default()))
}

#[test]
fn a_missing_image_is_named_with_what_mends_it_and_runs_when_its_archive_appears() {
    if !crate::common::with_runc() {
        return;
    }
    let Some(mut i) = bare_instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &["imagePullPolicy: Never"]));
    i.start();
    i.until("the image is missed", |i| {
        waiting(i, "web").is_some_and(|(reason, _)| reason == "ErrImageNeverPull")
    });
    let (_, message) = waiting(&i, "web").unwrap();
    assert!(message.contains(BUSYBOX), "{message}");
    let status = i.cli_ok("status", &[]);
    assert!(status.contains("ErrImageNeverPull"), "{status}");
    let told = format!("{message}\n{}", i.pod("web").unwrap().message.unwrap_or_default());
    assert!(told.contains("podstrap image load"), "no word of how to mend it: {told}");
    image::provide_busybox(&i.images_dir());
    i.until_ready("web");
}

#[test]
fn an_image_that_cannot_be_pulled_is_tried_again_and_then_loaded() {
    let Some(mut i) = bare_instance() else { return };
    // Nothing listens on this port, so the pull fails at once.
    let name = "127.0.0.1:9/busybox:test";
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[&format!("image: {name}")]));
    i.start();
    i.until("the pull fails", |i| {
        waiting(i, "web").is_some_and(|(reason, _)| reason == "ErrImagePull" || reason == "ImagePullBackOff")
    });
    let archive = packed(&i, name);
    let output = Command::new(podstrap())
        .args(["image", "load", "--run-dir"])
        .arg(&i.run)
        .arg("--state-dir")
        .arg(&i.state)
        .arg(&archive)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", describe(&output));
    i.until_ready("web");
}

/// The busybox image under another name.
fn packed(i: &Instance, name: &str) -> PathBuf {
    let root = i.dir.join("image-root");
    fs::create_dir_all(root.join("bin")).unwrap();
    let busybox = crate::common::host::find("busybox").unwrap();
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in ["sh", "sleep", "test", "cat"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    // A layer of its own: one that another test's container has mounted would not be pruned.
    fs::write(root.join("name"), format!("{name} {}", i.dir.display())).unwrap();
    let archive = i.dir.join("image.tar");
    image::pack(&archive, name, &root);
    fs::remove_dir_all(root).unwrap();
    archive
}

#[test]
fn compressed_and_oci_archives_are_loaded() {
    let Some(mut i) = bare_instance() else { return };
    i.start();
    let plain = packed(&i, "localhost/gz:1");
    let gz = i.dir.join("image.tar.gz");
    let status = Command::new("sh")
        .args(["-c", "gzip -c \"$1\" >\"$2\"", "sh"])
        .arg(&plain)
        .arg(&gz)
        .status()
        .unwrap();
    assert!(status.success());
    image::provide(&gz, &i.images_dir(), "gz.tar.gz");
    i.write_manifest("gz.yaml", &one(&i, "gz", &canary("gz"), &["image: localhost/gz:1"]));
    i.until_ready("gz");

    if crate::common::host::find("zstd").is_some() {
        let plain = packed(&i, "localhost/zst:1");
        let zst = i.dir.join("image.tar.zst");
        let status = Command::new("zstd").arg("-q").arg(&plain).arg("-o").arg(&zst).status().unwrap();
        assert!(status.success());
        image::provide(&zst, &i.images_dir(), "zst.tar.zst");
        i.write_manifest("zst.yaml", &one(&i, "zst", &canary("zst"), &["image: localhost/zst:1"]));
        i.until_ready("zst");
    } else {
        crate::common::host::skip("no zstd on PATH: zstd archives");
    }

    if crate::common::host::find("skopeo").is_some() {
        let plain = packed(&i, "localhost/oci:1");
        let oci = i.dir.join("oci.tar");
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet"])
            .arg(format!("docker-archive:{}", plain.display()))
            .arg(format!("oci-archive:{}:localhost/oci:1", oci.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", describe(&output));
        image::provide(&oci, &i.images_dir(), "oci.tar");
        i.write_manifest("oci.yaml", &one(&i, "oci", &canary("oci"), &["image: localhost/oci:1"]));
        i.until_ready("oci");
    } else {
        crate::common::host::skip("no skopeo on PATH: OCI archives");
    }
}

#[test]
fn a_damaged_archive_is_told_and_harms_nothing() {
    let Some(mut i) = instance() else { return };
    let good = fs::read(image::busybox()).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    fs::write(i.images_dir().join("flipped.tar"), &flipped).unwrap();
    fs::write(i.images_dir().join("cut.tar"), &good[..good.len() / 3]).unwrap();
    fs::write(i.images_dir().join("noise.tar"), b"this is no archive\n").unwrap();
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    i.until_ready("web");
    i.until("each is told", |i| {
        let log = fs::read_to_string(i.daemon_log()).unwrap_or_default();
        ["flipped.tar", "cut.tar", "noise.tar"].iter().all(|n| log.contains(n))
    });
}

#[test]
fn image_list_and_prune() {
    if !crate::common::with_runc() {
        return;
    }
    let Some(mut i) = instance() else { return };
    let extra = packed(&i, "localhost/extra:1");
    image::provide(&extra, &i.images_dir(), "extra.tar");
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    i.until_ready("web");
    let image = |verb: &[&str]| {
        let output = Command::new(podstrap())
            .arg("image")
            .args(verb)
            .arg("--run-dir")
            .arg(&i.run)
            .arg("--state-dir")
            .arg(&i.state)
            .output()
            .unwrap();
        assert_exit(&output, 0);
        text(&output.stdout)
    };
    i.until("both are listed", |_| {
        let list = image(&["list"]);
        list.contains("localhost/busybox") && list.contains("localhost/extra")
    });
    // The archive goes, so that it is not loaded again.
    fs::remove_file(i.images_dir().join("extra.tar")).unwrap();
    image(&["prune", "--all"]);
    let list = image(&["list"]);
    assert!(list.contains("localhost/busybox") && !list.contains("localhost/extra"), "{list}");
    i.holds_for(Duration::from_secs(1), "what is in use runs on", |i| i.ready("web"));
    // A container that starts after the pruning has all of its layers.
    crate::common::host::signal(i.running_pid("web", "main").unwrap(), nix::sys::signal::Signal::SIGKILL);
    i.until("it was started again", |i| i.restarts("web", "main") == 1 && i.ready("web"));
}

#[test]
fn a_containers_writes_do_not_outlive_it() {
    let Some(mut i) = instance() else { return };
    let script =
        format!("[ ! -e /tmp/mark ] || echo stale >>/shared/stale; echo x >/tmp/mark\n{}", canary("web"));
    i.write_manifest("web.yaml", &one(&i, "web", &script, &[]));
    i.start();
    let pid = i.until_ready("web");
    crate::common::host::signal(pid, nix::sys::signal::Signal::SIGKILL);
    i.until("it was started again", |i| i.restarts("web", "main") == 1 && i.ready("web"));
    assert!(i.lines("stale").is_empty(), "a fresh root at every start");
}
