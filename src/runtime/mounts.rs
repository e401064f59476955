//! The container's mounts: what every container has, what the host shows it, and the Pod's volumes, parents before children.

use std::path::Path;

use serde_json::{Value, json};

use super::{HostFiles, Source};
use crate::pod::{Container, Pod, Propagation};

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

/// `mounts` of config.json. `sources` says where each of the container's volume mounts comes from, in their order.
pub fn mounts(pod: &Pod, container: &Container, sources: &[Source], files: &HostFiles) -> Vec<Value> {
    let mut all = base(pod, container, files.shm.as_deref());
    let read_only_root = if container.read_only_root { "ro" } else { "rw" };
    for (target, source, access) in [
        // The kubelet's own mount is always writable; the others are the runtime's.
        ("/etc/hosts", &files.hosts, "rw"),
        ("/etc/hostname", &files.hostname, read_only_root),
        ("/etc/resolv.conf", &files.resolv_conf, read_only_root),
        (container.termination_message_path.as_str(), &files.termination_message, "rw"),
    ] {
        if let Some(source) = source {
            all.push((target.to_owned(), bind(target, source, &["rprivate", access])));
        }
    }
    for (mount, source) in container.mounts.iter().zip(sources) {
        let propagation = match mount.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        let access = if mount.read_only || source.read_only { "ro" } else { "rw" };
        // The Pod's own mount at one of our places stands instead of ours.
        all.retain(|(target, _)| *target != mount.path);
        let mut options = vec![propagation, access];
        if source.no_exec {
            options.extend(["noexec", "nosuid", "nodev"]);
        }
        all.push((mount.path.clone(), bind(&mount.path, &source.path, &options)));
    }
    // Stable, so what lies side by side keeps its order; a parent has fewer components than its children.
    all.sort_by_key(|(target, _)| Path::new(target).components().count());
    all.into_iter().map(|(_, mount)| mount).collect()
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

fn base(pod: &Pod, container: &Container, shared: Option<&Path>) -> Vec<(String, Value)> {
    let system = if container.privileged { "rw" } else { "ro" };
    let shm = if pod.host_ipc {
        bind("/dev/shm", Path::new("/dev/shm"), &["rprivate", "rw"])
    } else if let Some(source) = shared {
        bind("/dev/shm", source, &["rprivate", "rw"])
    } else {
        special("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"])
    };
    // Of whatever IPC namespace the container is in, the host's too: a host need not have it mounted anywhere.
    let mqueue = special("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
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

#[cfg(test)]
mod tests {
    use super::super::bundle::tests::{container, pod};
    use super::*;
    use crate::pod::{Mount, VolumeName};

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
        let source = |read_only| Source { path: "/host/v".into(), read_only, no_exec: false };
        let sources = [source(false), source(false), source(false), source(true)];
        let files = HostFiles {
            hosts: Some("/h".into()),
            resolv_conf: Some("/r".into()),
            termination_message: Some("/t".into()),
            ..HostFiles::default()
        };
        let all = mounts(&pod(), &c, &sources, &files);
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
        assert_eq!(at("/dev/termination-log").1["source"], "/t");
        assert_eq!(at("/dev/shm").1["options"], json!(["rbind", "rshared", "ro"]));
        assert!(!all.iter().any(|m| m["destination"] == "/etc/hostname"));
        assert_eq!(root_propagation(&c), Some("shared"));
        c.mounts.truncate(2);
        assert_eq!(root_propagation(&c), Some("rslave"));
        c.mounts.truncate(1);
        assert_eq!(root_propagation(&c), None);
        c.mounts.clear();
        let files = HostFiles { shm: Some("/s".into()), ..HostFiles::default() };
        assert!(mounts(&pod(), &c, &[], &files).iter().any(|m| m["source"] == "/s"));
    }
}
