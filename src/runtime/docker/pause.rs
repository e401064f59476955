//! `docker run` of the pause container, which holds a Pod's namespaces while its containers come and go.

use std::path::Path;

use super::Docker;
use super::run::{PODMAN_PROCESSES, SHM, START_MS, Words, of_instance};
use crate::command::CommandLine;
use crate::pod::Pod;

/// What a pause container's command line is made of.
#[derive(Clone, Copy, Debug)]
pub struct PauseParts<'a> {
    /// Its name for docker.
    pub name: &'a str,
    /// Which instance's it is.
    pub run_dir: &'a Path,
    /// The Pod's host name.
    pub host_name: &'a str,
    /// The Pod is put into docker's own network.
    pub own_network: bool,
    /// The parent of all Pod cgroups, without slashes at its ends.
    pub cgroup_root: &'a str,
    /// Our own hard limit of open files.
    pub open_files: u64,
    /// Our own hard limit of processes.
    pub processes: u64,
    /// What it gets.
    pub oom_score_adj: i32,
    /// Where docker is to write the container's id.
    pub id_file: &'a Path,
}

impl Docker {
    /// The container that holds a Pod's namespaces. `network`: docker's own network; otherwise the Pod is put into one after
    /// it has begun (or has the host's).
    pub fn run_pause(&self, pod: &Pod, parts: &PauseParts<'_>, image: &str) -> CommandLine {
        let mut words = Words::default();
        words.add(["run", "--detach", "--pull", "never", "--restart", "no", "--no-healthcheck"]);
        words.pair("--name", parts.name);
        words.pair("--cidfile", parts.id_file);
        for (name, value) in &pod.labels {
            words.label(name, value);
        }
        // Of two of a name the later one counts: by these it is found again.
        of_instance(&mut words, parts.run_dir, pod, &super::pause_id(&pod.generation));
        words.label("io.kubernetes.docker.type", "podsandbox");
        words.label("io.kubernetes.container.name", "POD");
        if pod.host_network {
            words.add(["--network", "host", "--uts", "host"]);
        } else {
            words.pair("--network", if parts.own_network { "bridge" } else { "none" });
            words.pair("--hostname", parts.host_name);
        }
        if parts.own_network {
            for port in pod.all_containers().flat_map(|c| &c.ports) {
                let Some(host_port) = port.host_port.filter(|p| *p != 0) else { continue };
                let protocol = port.protocol.to_ascii_lowercase();
                let ip = match port.host_ip.as_deref().filter(|ip| !ip.is_empty()) {
                    Some(ip) if ip.contains(':') => format!("[{ip}]:"),
                    Some(ip) => format!("{ip}:"),
                    None => String::new(),
                };
                words.pair("--publish", format!("{ip}{host_port}:{}/{protocol}", port.container_port));
            }
        }
        if pod.host_ipc {
            words.add(["--ipc", "host"]);
        } else {
            words.add(["--ipc", "shareable", "--shm-size", SHM]);
        }
        for (name, value) in &pod.sysctls {
            words.pair("--sysctl", format!("{name}={value}"));
        }
        self.cgroup_parent(&mut words, parts.cgroup_root, pod);
        words.add(["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--cpu-shares", "2"]);
        words.pair("--ulimit", format!("nofile={0}:{0}", parts.open_files.min(1024)));
        words.pair("--ulimit", format!("nproc={0}:{0}", parts.processes.min(PODMAN_PROCESSES)));
        words.pair("--oom-score-adj", parts.oom_score_adj.to_string());
        self.no_log(&mut words);
        words.add(["--user", "65535:65535", "--entrypoint", "/podstrap", "--", image, "pause", "container"]);
        // A removal ends the helper that waits for this: the container must not come after it.
        self.command().deadline(START_MS).args(words.0).tied()
    }

    fn no_log(&self, words: &mut Words) {
        words.pair("--log-driver", "none");
    }
}
