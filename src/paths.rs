//! Where everything lies on disk. Every path below the roots is made here and nowhere else.
//!
//! ```text
//! RUN/lock                          held (flock) by the living daemon; holds its pid
//! RUN/boot_id                       the boot that the rest of RUN is of; under another one it is cleared
//! RUN/notify                        FIFO: monitors and `down` nudge the daemon; what happened stands in files
//! RUN/requests/                     one file per request of a command-line verb
//! RUN/runc/                         runc's own --root
//! RUN/objects/                      ConfigMaps and Secrets of the sources, for monitors
//! RUN/urls.json                     how manifest URLs are asked, headers and all, so that `plan` asks them alike
//! RUN/mirror.json                   how mirror Pods fare; written by the helper that speaks to the API server
//! RUN/docker/config.json            registry credentials for docker, where --authfile gives some
//! RUN/status/                       published: daemon.json, and one file per Pod or refused document
//! RUN/pods/GENERATION/pod.json      the input document, so that a later daemon (or build) knows the Pod
//! RUN/pods/GENERATION/state.json    restart counts, back-off and last states
//! RUN/pods/GENERATION/sandbox.json  its own namespaces and addresses
//! RUN/pods/GENERATION/sandbox.lock  held (flock) by whoever makes or ends them
//! RUN/pods/GENERATION/cni.json      the network that the Pod was added to, and the plugins' answer
//! RUN/pods/GENERATION/ns/           mounts that keep the namespaces: net, ipc, uts, pid; shm (/dev/shm); pause.json
//! RUN/pods/GENERATION/volumes/      projected files, memory, huge pages, image volumes
//! RUN/pods/GENERATION/c/CONTAINER/ATTEMPT/{spec.json,lock,record.json,bundle/}
//! STATE/boot_id                     the boot that STATE/containers is of; a new RUN alone does not clear that
//! STATE/images/                     layers and images (see `image::store`)
//! STATE/images.d/                   archives to load
//! STATE/docker/                     under docker: which archives were loaded (see `image::known`), files on their way
//! STATE/containers/ID/{upper,work}  writable layer of a running container
//! STATE/pods/GENERATION/volumes/    emptyDir volumes on disk
//! STATE/seccomp/                    seccomp profiles of the operator's own
//! STATE/manifests/                  the last good content of each manifest file
//! STATE/worked/                     per Pod the document of the last generation that was ready, for `why`
//! LOG/NAMESPACE_POD_UID/CONTAINER/ATTEMPT.log
//! LOG/../containers/                links for log shippers
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::pod::set::SetKey;
use crate::pod::{ContainerId, ContainerName, Generation, Pod};

/// The three roots of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roots {
    /// State that a reboot clears: `/run/podstrap`.
    pub run: PathBuf,
    /// State that a reboot keeps: `/var/lib/podstrap`.
    pub state: PathBuf,
    /// Container logs: `/var/log/pods`.
    pub log: PathBuf,
}

impl Roots {
    /// The daemon's lock file.
    pub fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// The same for the state directory, which daemons of several run directories must not share.
    pub fn state_lock(&self) -> PathBuf {
        self.state.join("daemon.lock")
    }

    /// The FIFO by which the daemon is nudged.
    pub fn notify(&self) -> PathBuf {
        self.run.join("notify")
    }

    /// Requests of command-line verbs.
    pub fn requests(&self) -> PathBuf {
        self.run.join("requests")
    }

    /// Where the answer of a manifest URL is put, until it has been read.
    pub fn fetched(&self, source: usize) -> PathBuf {
        self.run.join(format!("fetched.{source}"))
    }

    /// The same for a verb that asks for itself: its process is of that number.
    pub fn fetched_by(&self, pid: u32) -> PathBuf {
        self.run.join(format!("fetched.by.{pid}"))
    }

    /// How manifest URLs are asked.
    pub fn urls(&self) -> PathBuf {
        self.run.join("urls.json")
    }

    /// The document of the generation of a Pod that was ready last; its key is `NAMESPACE/NAME`.
    pub fn worked(&self, key: &str) -> PathBuf {
        self.state.join("worked").join(format!("{:016x}.json", fnv1a(key.as_bytes())))
    }

    /// Which Pods were stopped by hand.
    pub fn held(&self) -> PathBuf {
        self.run.join("held.json")
    }

    /// What `runc --root` is given.
    pub fn runc(&self) -> PathBuf {
        self.run.join("runc")
    }

    /// Published status.
    pub fn status(&self) -> PathBuf {
        self.run.join("status")
    }

    /// The daemon's own published status.
    pub fn daemon_status(&self) -> PathBuf {
        self.status().join("daemon.json")
    }

    /// What is published of the Pod of this key, `NAMESPACE/NAME`.
    pub fn pod_status(&self, key: &str) -> PathBuf {
        self.status().join(format!("{:016x}.json", fnv1a(key.as_bytes())))
    }

    /// How mirror Pods fare.
    pub fn mirror_status(&self) -> PathBuf {
        self.run.join("mirror.json")
    }

    /// ConfigMaps and Secrets of the sources, for monitors.
    pub fn objects(&self) -> PathBuf {
        self.run.join("objects")
    }

    /// Registry credentials for docker.
    pub fn docker_config(&self) -> PathBuf {
        self.run.join("docker")
    }

    /// What is remembered of the archives that docker was given.
    pub fn docker(&self) -> PathBuf {
        self.state.join("docker")
    }

    /// What is known of a Pod's own namespaces (network, IPC, UTS …); see `helper::sandbox`.
    pub fn sandbox(&self, generation: &Generation) -> PathBuf {
        self.pod(generation).join("sandbox.json")
    }

    /// Where a Pod's own namespaces are mounted, one file each: `net`, `ipc`, `uts`, `pid`.
    pub fn namespaces(&self, generation: &Generation) -> PathBuf {
        self.pod(generation).join("ns")
    }

    /// What is needed to take a Pod out of its network again; see `helper::sandbox`.
    pub fn network(&self, generation: &Generation) -> PathBuf {
        self.pod(generation).join("cni.json")
    }

    /// Held (flock) by whoever makes or ends the namespaces of a generation.
    pub fn sandbox_lock(&self, generation: &Generation) -> PathBuf {
        self.pod(generation).join("sandbox.lock")
    }

    /// The volumes of a generation that a reboot may clear: projected files, memory, huge pages, images.
    pub fn run_volumes(&self, generation: &Generation) -> PathBuf {
        self.pod(generation).join("volumes")
    }

    /// Seccomp profiles of the operator's own.
    pub fn seccomp(&self) -> PathBuf {
        self.state.join("seccomp")
    }

    /// All generations known.
    pub fn pods(&self) -> PathBuf {
        self.run.join("pods")
    }

    /// One generation.
    pub fn pod(&self, generation: &Generation) -> PathBuf {
        self.pods().join(generation.as_str())
    }

    /// All runs of all containers of one generation.
    pub fn containers(&self, generation: &Generation) -> PathBuf {
        self.pod(generation).join("c")
    }

    /// One run of one container.
    pub fn attempt(&self, generation: &Generation, container: &ContainerName, attempt: u32) -> AttemptDir {
        AttemptDir(self.containers(generation).join(container.as_str()).join(attempt.to_string()))
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// The writable layer of one run of a container.
    pub fn container_root(&self, id: &ContainerId) -> PathBuf {
        self.state.join("containers").join(id.as_str())
    }

    /// What lives as long as one generation: its volumes.
    pub fn pod_state(&self, generation: &Generation) -> PathBuf {
        self.state.join("pods").join(generation.as_str())
    }

    /// The last good contents of manifest files.
    pub fn manifests(&self) -> PathBuf {
        self.state.join("manifests")
    }

    /// What is kept of each DaemonSet and StatefulSet.
    pub fn sets(&self) -> PathBuf {
        self.state.join("sets")
    }

    /// The data of StatefulSets: a directory for each namespace, in it one for each claim of each Pod.
    pub fn claims(&self) -> PathBuf {
        self.state.join("claims")
    }

    /// The lines by which the Pods of a StatefulSet find each other.
    pub fn members(&self, key: &SetKey) -> PathBuf {
        self.run.join("members").join(format!("{:016x}", fnv1a(key.to_string().as_bytes())))
    }

    /// The directory of one Pod's logs.
    pub fn pod_logs(&self, pod: &Pod) -> PathBuf {
        self.log.join(format!("{}_{}_{}", pod.key.namespace, pod.key.name, pod.uid))
    }

    /// The log of one run of one container.
    pub fn log_file(&self, pod: &Pod, container: &ContainerName, attempt: u32) -> PathBuf {
        self.pod_logs(pod).join(container.as_str()).join(format!("{attempt}.log"))
    }

    /// Where log shippers look for links: `containers` beside the log root.
    pub fn log_links(&self) -> PathBuf {
        self.log.parent().unwrap_or(Path::new("/")).join("containers")
    }
}

/// Where the host's CNI keeps its networks and plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniPaths {
    /// The directory of network configurations.
    pub conf_dir: PathBuf,
    /// The directories in which plugins are looked for, in order.
    pub bin_dirs: Vec<PathBuf>,
}

impl Default for CniPaths {
    /// The directories of the CNI's own documentation, and Debian's for its packaged plugins.
    fn default() -> Self {
        Self {
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
        }
    }
}

/// CLAIM-NAME-ORDINAL.json beside the directory of that name: whose claim it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimFile {
    /// The StatefulSet.
    pub set: SetKey,
    /// The claim's name in its volumeClaimTemplates.
    pub claim: String,
    /// The Pod's number.
    pub ordinal: u32,
    /// How much storage was asked for, in bytes.
    pub request: Option<u64>,
}

impl ClaimFile {
    /// Reads it; `None` where it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// The directory of one run of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptDir(pub PathBuf);

impl AttemptDir {
    /// What the monitor is to do; written by the daemon, once.
    pub fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// Held (flock) by the living monitor, and by nobody else.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// What the monitor has seen; replaced whole at every change.
    pub fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    /// The OCI bundle.
    pub fn bundle(&self) -> PathBuf {
        self.0.join("bundle")
    }

    /// The mount point of the container's root.
    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }
}

/// The name of one run of a container for the runtime: `GENERATION-CONTAINER-ATTEMPT`, at most 64 bytes; a name too
/// long for that is cut and told apart by a hash. (A generation that is none, the name of a directory that somebody else
/// made below RUN/pods, may make it longer; nothing is ever run under that.)
pub fn container_id(generation: &Generation, container: &ContainerName, attempt: u32) -> ContainerId {
    let tail = format!("-{attempt}");
    let room = 64_usize.saturating_sub(generation.as_str().len() + 1 + tail.len());
    let name = container.as_str();
    let name = if name.len() <= room {
        name.to_owned()
    } else {
        let kept = name.get(..room.saturating_sub(9)).unwrap_or("");
        format!("{kept}-{:08x}", fnv1a(name.as_bytes()) as u32)
    };
    ContainerId::new(format!("{generation}-{name}{tail}"))
}

/// FNV-1a, 64 bits: a short stable hash for names (not for content).
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_fit_and_differ() {
        let generation = Generation::new("0123456789abcdef0123456789abcdef");
        let id = container_id(&generation, &ContainerName::new("etcd"), 7);
        assert_eq!(id.as_str(), "0123456789abcdef0123456789abcdef-etcd-7");
        let a = container_id(&generation, &ContainerName::new("a".repeat(63)), u32::MAX);
        let b = container_id(&generation, &ContainerName::new(format!("{}b", "a".repeat(62))), u32::MAX);
        assert_eq!(a.as_str().len(), 64);
        assert_ne!(a, b);
        // The name of a directory, not a generation.
        let long = container_id(&Generation::new("n".repeat(255)), &ContainerName::new("a"), 0);
        assert!(long.as_str().starts_with("nnn"));
    }
}
