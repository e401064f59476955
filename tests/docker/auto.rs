//! `--runtime auto` on hosts that have this and have not that: a mount namespace of the daemon's own hides one program and
//! shows another.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::stage::instance;
use crate::common::yaml::{canary, one};
use crate::common::{Instance, SOON, engine, host};

/// Where programs are looked for first.
const FIRST: &str = "/usr/local/sbin";
/// runc is not there, wherever it is looked for.
const NO_RUNC: &str = "for p in /usr/local/bin/runc /usr/sbin/runc /usr/bin/runc; do \
                       [ ! -e $p ] || mount --bind /dev/null $p; done";
/// runc is there, and of no use.
const NO_CGROUPS: &str = "umount --recursive --lazy /sys/fs/cgroup";

/// An instance that is to choose for itself, on a host where this was done and `docker` is such a script; it has the real
/// command line in `real`, which is given, too.
fn on_a_host(hidden: &str, docker: &str) -> Option<(Instance, PathBuf)> {
    let mut i = instance()?;
    let real = i.docker.take().expect("it runs on docker");
    i.runtime = "auto";
    let programs: PathBuf = i.dir.join("programs");
    fs::create_dir(&programs).unwrap();
    let script = format!("#!/bin/sh\nreal={}\n{docker}\n", real.display());
    fs::write(programs.join("docker"), script).unwrap();
    fs::set_permissions(programs.join("docker"), fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!("{hidden}; mount --bind {} {FIRST}; exec \"$@\"", programs.display());
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"];
    i.prefix = words.map(str::to_owned).into();
    Some((i, real))
}

/// Whether runc is here; said aloud where it is not.
fn has_runc() -> bool {
    let found = host::find("runc").is_some();
    if !found {
        host::skip("no runc on PATH");
    }
    found
}

/// What the daemon says that cannot begin.
fn refused(mut i: Instance) -> String {
    i.launch();
    assert_eq!(i.daemon_exit(SOON).code(), Some(1));
    fs::read_to_string(i.daemon_log()).unwrap()
}

#[test]
fn runc_is_taken_where_it_is_usable() {
    if !has_runc() {
        return;
    }
    // docker is not even asked.
    let Some((mut i, _)) = on_a_host("true", "touch \"$0.asked\"; exec $real \"$@\"") else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    i.until_ready("web");
    let status = i.daemon_status().unwrap();
    assert_eq!(status.runtime, "runc");
    assert!(status.runtime_binary.ends_with("runc"), "{}", status.runtime_binary.display());
    assert!(!i.dir.join("programs/docker.asked").exists());
    i.cli_ok("down", &[]);
}

#[test]
fn docker_is_taken_where_there_is_no_runc() {
    let Some((mut i, cli)) = on_a_host(NO_RUNC, "exec $real \"$@\"") else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    i.until_ready("web");
    let status = i.daemon_status().unwrap();
    assert_eq!(status.runtime, "docker");
    assert_eq!(status.runtime_binary, PathBuf::from(FIRST).join("docker"));
    assert_eq!(engine::containers_of(&cli, &i.run).unwrap().len(), 1);
    i.cli_ok("down", &[]);
}

#[test]
fn docker_is_taken_where_runc_is_of_no_use() {
    // Without a Pod: whose control groups nobody sees, he cannot remove them either.
    let Some((mut i, _)) = on_a_host(NO_CGROUPS, "exec $real \"$@\"") else { return };
    i.start();
    assert_eq!(i.daemon_status().unwrap().runtime, "docker");
}

#[test]
fn where_neither_can_be_used_it_is_said_why_of_both() {
    let Some((i, _)) = on_a_host(NO_RUNC, "echo no such luck >&2; exit 3") else { return };
    let said = refused(i);
    assert!(said.contains("runc was not found in ") && said.contains("docker: --version: "), "{said}");
    assert!(said.contains("no such luck"), "{said}");
    if !has_runc() {
        return;
    }
    let Some((i, _)) = on_a_host(NO_CGROUPS, "echo no such luck >&2; exit 3") else { return };
    let said = refused(i);
    assert!(said.contains("cgroup") && said.contains("no such luck"), "{said}");
}
