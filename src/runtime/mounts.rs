//! The container's mounts: what every container has, what the host shows it, and the Pod's volumes, parents before children.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::HostFiles;
use crate::pod::{Container, Pod, Propagation, VolumeName};

/// `linux.maskedPaths`: files that would tell about, or harm, the host (docker's and containerd's list).
pub const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// `linux.readonlyPaths`, from the same lists.
pub const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A volume mount names a volume that the Pod does not have.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownVolume {
    /// The name.
    pub volume: String,
    /// Where it was to appear.
    pub path: String,
}

impl std::fmt::Display for UnknownVolume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "volumeMounts: {}: the Pod has no volume {:?}", self.path, self.volume)
    }
}

impl std::error::Error for UnknownVolume {}

/// `mounts` of config.json. `volumes` says where on the host each volume lies.
pub fn mounts(
    pod: &Pod,
    container: &Container,
    volumes: &BTreeMap<VolumeName, PathBuf>,
    files: &HostFiles,
) -> Result<Vec<Value>, UnknownVolume> {
    let mut all = base(pod, container);
    for (target, source) in [
        ("/etc/hosts", &files.hosts),
        ("/etc/hostname", &files.hostname),
        ("/etc/resolv.conf", &files.resolv_conf),
    ] {
        if let Some(source) = source {
            // The host's own file must not be writable from inside: read-only.
            all.push((target.to_owned(), bind(target, source, &["rprivate", "ro"])));
        }
    }
    for mount in &container.mounts {
        let source = volumes.get(&mount.volume).ok_or_else(|| UnknownVolume {
            volume: mount.volume.as_str().to_owned(),
            path: mount.path.clone(),
        })?;
        let propagation = match mount.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        let access = if mount.read_only { "ro" } else { "rw" };
        // The Pod's own mount at one of our places stands instead of ours.
        all.retain(|(target, _)| *target != mount.path);
        all.push((mount.path.clone(), bind(&mount.path, source, &[propagation, access])));
    }
    // Stable, so what lies side by side keeps its order; a parent has fewer components than its children.
    all.sort_by_key(|(target, _)| Path::new(target).components().count());
    Ok(all.into_iter().map(|(_, mount)| mount).collect())
}

/// `linux.rootfsPropagation`: what the strongest propagation among the mounts needs at the root (docker's rule); without
/// any, runc's own default.
pub fn root_propagation(container: &Container) -> Option<&'static str> {
    let any = |p| container.mounts.iter().any(|m| m.propagation == p);
    if any(Propagation::Bidirectional) {
        Some("shared")
    } else if any(Propagation::HostToContainer) {
        Some("rslave")
    } else {
        None
    }
}

fn base(pod: &Pod, container: &Container) -> Vec<(String, Value)> {
    let system = if container.privileged { "rw" } else { "ro" };
    let shm = if pod.host_ipc {
        bind("/dev/shm", Path::new("/dev/shm"), &["rprivate", "rw"])
    } else {
        special("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"])
    };
    let mqueue = if pod.host_ipc {
        bind("/dev/mqueue", Path::new("/dev/mqueue"), &["rprivate", "rw"])
    } else {
        special("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])
    };
    let all = [
        special("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        special("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        special("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", system]),
        special(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        shm,
        mqueue,
        special("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", system]),
    ];
    all.into_iter()
        .map(|m| (m.get("destination").and_then(Value::as_str).unwrap_or_default().to_owned(), m))
        .collect()
}

fn special(target: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": target, "type": kind, "source": source, "options": options })
}

fn bind(target: &str, source: &Path, options: &[&str]) -> Value {
    let mut all = vec!["rbind"];
    all.extend(options);
    json!({ "destination": target, "type": "bind", "source": source.to_string_lossy(), "options": all })
}

/// /etc/hosts of a Pod with a network of its own (the kubelet's lines).
pub fn hosts_file(hostname: &str) -> String {
    format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n127.0.0.1\t{hostname}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::bundle::tests::{container, pod};
    use super::*;
    use crate::pod::Mount;

    fn mount(volume: &str, path: &str, read_only: bool, propagation: Propagation) -> Mount {
        Mount {
            volume: VolumeName::new(volume),
            path: path.into(),
            read_only,
            propagation,
            recursive_read_only: false,
            sub_path: None,
        }
    }

    #[test]
    fn parents_come_first_and_the_pod_wins() {
        let mut c = container();
        c.mounts = vec![
            mount("v", "/data/a/b", true, Propagation::Private),
            mount("v", "/data", false, Propagation::HostToContainer),
            mount("v", "/etc/hosts", true, Propagation::Private),
            mount("v", "/dev/shm", false, Propagation::Bidirectional),
        ];
        let volumes = BTreeMap::from([(VolumeName::new("v"), PathBuf::from("/host/v"))]);
        let files = HostFiles { hosts: Some("/h".into()), resolv_conf: Some("/r".into()), hostname: None };
        let all = mounts(&pod(), &c, &volumes, &files).unwrap();
        let at = |path: &str| {
            let found: Vec<_> = all.iter().enumerate().filter(|(_, m)| m["destination"] == path).collect();
            assert_eq!(found.len(), 1, "{path}");
            found[0]
        };
        assert!(at("/data").0 < at("/data/a/b").0);
        assert!(at("/dev").0 < at("/dev/shm").0);
        assert_eq!(at("/data/a/b").1["options"], json!(["rbind", "rprivate", "ro"]));
        assert_eq!(at("/data").1["options"], json!(["rbind", "rslave", "rw"]));
        assert_eq!(at("/etc/hosts").1["source"], "/host/v");
        assert_eq!(at("/etc/resolv.conf").1["source"], "/r");
        assert_eq!(at("/dev/shm").1["options"], json!(["rbind", "rshared", "rw"]));
        assert!(!all.iter().any(|m| m["destination"] == "/etc/hostname"));
        assert_eq!(root_propagation(&c), Some("shared"));
        c.mounts.truncate(2);
        assert_eq!(root_propagation(&c), Some("rslave"));
        c.mounts.truncate(1);
        assert_eq!(root_propagation(&c), None);
        c.mounts[0].volume = VolumeName::new("w");
        assert_eq!(mounts(&pod(), &c, &volumes, &files).unwrap_err().volume, "w");
    }
}
