//! The same bundles by runc alone: what podstrap has made of a Pod, copied and called by hand.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use podstrap::sys::process::pidfd_open;
use serde_json::{Value, json};

use crate::common::host::{self, find};
use crate::pods::Bench;

/// Bundles like that of one running Pod, which lends them its root and its files.
pub struct Bare {
    config: Value,
    dir: PathBuf,
    group: String,
}

impl Bare {
    /// Like that of this Pod, which must go on to run.
    pub fn like(bench: &Bench, pod: &str) -> Self {
        bench.i.until(&format!("{pod} runs"), |i| i.running_pid(pod, "main").is_some());
        let (run, _) = bench.i.records(pod, "main").pop().unwrap();
        let bundle = run.join("bundle");
        let mut config: Value =
            serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
        let root = bundle.join(config["root"]["path"].as_str().unwrap());
        config["root"]["path"] = json!(root);
        let dir = bench.memory.0.join("bare");
        fs::create_dir_all(dir.join("root")).unwrap();
        Self { config, dir, group: format!("{}/bare", bench.i.cgroup_root) }
    }

    /// Makes the bundle of a container.
    pub fn bundle(&self, name: &str) -> PathBuf {
        let mut config = self.config.clone();
        config["process"]["args"] = json!(["/stamp", name]);
        config["linux"]["cgroupsPath"] = json!(format!("/{}/{name}", self.group));
        let bundle = self.dir.join(name);
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle
    }

    /// A call of runc.
    pub fn runc(&self) -> Command {
        let mut command = Command::new(find("runc").unwrap());
        command.arg("--root").arg(self.dir.join("root"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Creates and starts a container, and waits until runc has ended.
    pub fn run(&self, name: &str) {
        let bundle = self.dir.join(name);
        let mut command = self.runc();
        command.args(["run", "-d", "--bundle"]).arg(&bundle).arg("--pid-file").arg(bundle.join("pid"));
        assert!(command.arg(name).status().unwrap().success(), "runc run {name}");
    }

    /// Stops a container by TERM, and removes it: the way of whoever has nothing but runc.
    pub fn stop(&self, name: &str) {
        let pid = self.pid(name);
        assert!(self.runc().args(["kill", name, "TERM"]).status().unwrap().success(), "runc kill {name}");
        let pidfd = pidfd_open(pid.as_raw()).unwrap();
        poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        // An orphan of runc's is ours.
        waitpid(pid, None).unwrap();
        assert!(self.runc().args(["delete", name]).status().unwrap().success(), "runc delete {name}");
    }

    /// Removes containers at once.
    pub fn kill(&self, names: &[String]) {
        for name in names {
            let _ = self.runc().args(["delete", "--force", name]).stderr(Stdio::null()).status();
            let _ = waitpid(self.pid(name), None);
        }
    }

    /// Where the bundles are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn pid(&self, name: &str) -> Pid {
        let pid = fs::read_to_string(self.dir.join(name).join("pid")).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for state in host::entries(&self.dir.join("root")) {
            let name = state.file_name().unwrap_or_default().to_owned();
            let _ = self.runc().args(["delete", "--force"]).arg(name).stderr(Stdio::null()).status();
        }
        for mount in host::cgroup_mounts() {
            let _ = fs::remove_dir(mount.join(&self.group));
        }
    }
}
