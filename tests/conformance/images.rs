//! The images beside busybox: one with users of its own, one with a command of its own, one that only holds files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{describe, host, image, text};

/// Its passwd and group know `app` (1234:2345, further group 3456), and its user is `app`.
pub const USERS: &str = "localhost/users:test";
/// The same, its user being 1234.
pub const NUMBER: &str = "localhost/number:test";
/// ENTRYPOINT `echo entry`, CMD `cmd one`, WORKDIR /space, STOPSIGNAL SIGUSR1 and a variable.
pub const COMMAND: &str = "localhost/command:test";
/// /data/hello and /data/sub/inner, and no program.
pub const FILES: &str = "localhost/files:test";

/// Packs them below a directory; gives the archives.
pub fn pack(dir: &Path) -> Vec<PathBuf> {
    let root = dir.join("root");
    let users = ["--cmd", r#"["/bin/sh"]"#, "--env", r#"["PATH=/bin"]"#, "--workdir", "/home/app", "--user"];
    let command = [
        "--entrypoint",
        r#"["/bin/echo","entry"]"#,
        "--cmd",
        r#"["cmd","one"]"#,
        "--env",
        r#"["PATH=/bin","FROM_IMAGE=image"]"#,
        "--workdir",
        "/space",
        "--stop-signal",
        "SIGUSR1",
    ];
    make_root(&root);
    let mut made = vec![
        pack_one(dir, USERS, &root, &[&users[..], &["app"]].concat()),
        pack_one(dir, NUMBER, &root, &[&users[..], &["1234"]].concat()),
        pack_one(dir, COMMAND, &root, &command),
    ];
    let files = dir.join("files");
    fs::create_dir_all(files.join("data/sub")).unwrap();
    fs::write(files.join("data/hello"), "hello from the image\n").unwrap();
    fs::write(files.join("data/sub/inner"), "inner\n").unwrap();
    made.push(pack_one(dir, FILES, &files, &[]));
    made
}

fn make_root(root: &Path) {
    for sub in ["bin", "etc", "tmp", "home/app", "work"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    fs::set_permissions(root.join("home/app"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1234:2345:App:/home/app:/bin/sh\n",
    )
    .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:2345:\nextra:x:3456:app\n").unwrap();
    let busybox = host::find("busybox").expect("busybox was looked for before");
    fs::copy(&busybox, root.join("bin/busybox")).unwrap();
    let list = text(&Command::new(&busybox).arg("--list").output().unwrap().stdout);
    for applet in list.lines().filter(|a| *a != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
}

fn pack_one(dir: &Path, name: &str, root: &Path, options: &[&str]) -> PathBuf {
    let short = name.trim_start_matches("localhost/").replace(':', "-");
    let archive = dir.join(format!("{short}.tar"));
    let output = Command::new("sh")
        .arg(image::in_tree("tests/tools/pack-image"))
        .arg(&archive)
        .arg(name)
        .arg(root)
        .args(options)
        .output()
        .unwrap();
    assert!(output.status.success(), "pack-image: {}", describe(&output));
    archive
}
