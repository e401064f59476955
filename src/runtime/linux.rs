//! The `linux` part of config.json: namespaces, cgroup, masks, seccomp, sysctls, devices.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::bundle::{BundleError, Parts, container_cgroup, set};
use super::{Device, Sandbox, capabilities, labels, mounts, profile, resources, seccomp, user};
use crate::pod::Seccomp;

/// `linux` of config.json.
pub fn linux(parts: &Parts<'_>) -> Result<Value, BundleError> {
    let Parts { pod, container, host, .. } = *parts;
    let mut linux = json!({
        "cgroupsPath": format!("/{}", container_cgroup(parts.cgroup_root, pod, parts.id).display()),
        "namespaces": namespaces(parts),
        "resources": resources::limits(container, host),
    });
    if !container.privileged {
        if !container.proc_unmasked {
            set(&mut linux, "maskedPaths", json!(mounts::MASKED));
            set(&mut linux, "readonlyPaths", json!(mounts::READ_ONLY));
        }
        let security = user::security(pod, container);
        // Refused names do not matter here: `process` has reported them.
        let set_of = || capabilities::of(container, host.capabilities).unwrap_or_default().0;
        match (&security.seccomp, parts.profile) {
            (Some(Seccomp::RuntimeDefault), _) => {
                set(&mut linux, "seccomp", seccomp::runtime_default(set_of()));
            }
            (Some(Seccomp::Localhost(path)), text) => {
                let made = profile::localhost(text.unwrap_or_default(), set_of(), host.kernel)
                    .map_err(|e| BundleError::Profile(path.clone(), e))?;
                set(&mut linux, "seccomp", made);
            }
            (Some(Seccomp::Unconfined) | None, _) => {}
        }
        if let Some((_, label)) = labels::selinux(&security, host).map_err(BundleError::Label)? {
            set(&mut linux, "mountLabel", json!(label));
        }
    }
    if !pod.sysctls.is_empty() {
        set(&mut linux, "sysctl", pod.sysctls.iter().map(|(k, v)| (k.clone(), json!(v))).collect());
    }
    if let Some(propagation) = mounts::root_propagation(container) {
        set(&mut linux, "rootfsPropagation", json!(propagation));
    }
    if container.privileged {
        set(&mut linux, "devices", host.devices.iter().map(device).collect());
    }
    Ok(linux)
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path.to_string_lossy(),
        "type": if device.block { "b" } else { "c" },
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

/// A namespace that is not listed is the host's; one with a path is the Pod's.
fn namespaces(parts: &Parts<'_>) -> Value {
    let pod = parts.pod;
    let of_pod = |path: fn(&Sandbox) -> &Option<PathBuf>| parts.sandbox.and_then(|s| path(s).as_deref());
    let own: Option<&Path> = None;
    let all = [
        ("mount", true, own),
        ("pid", !pod.host_pid, of_pod(|s| &s.pid).filter(|_| pod.share_process_namespace)),
        ("network", !pod.host_network, of_pod(|s| &s.net)),
        ("ipc", !pod.host_ipc, of_pod(|s| &s.ipc)),
        // The kubelet: a Pod in the host's network has the host's name too.
        ("uts", !pod.host_network, of_pod(|s| &s.uts)),
        ("cgroup", parts.host.cgroup_v2 && !parts.container.privileged, own),
    ];
    let wanted = all.into_iter().filter(|(_, own, _)| *own);
    wanted
        .map(|(kind, _, path)| match path {
            Some(path) => json!({ "type": kind, "path": path.to_string_lossy() }),
            None => json!({ "type": kind }),
        })
        .collect()
}
