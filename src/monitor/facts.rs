//! What is known of a Pod where it runs: its own namespaces and addresses, the node's resources, its ConfigMaps and Secrets.

use std::fs;
use std::io;

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::objects;
use super::start::NotStarted;
use crate::paths::Roots;
use crate::pod::objects::References;
use crate::pod::{EnvValue, Pod, Volume};
use crate::runtime::Sandbox;
use crate::runtime::environment::{Facts, Objects};
use crate::sys::net::host_addresses;

/// The Pod's sandbox; `None` for a Pod that needs none.
pub fn sandbox(pod: &Pod, roots: &Roots, boot_id: &str) -> Result<Option<Sandbox>, NotStarted> {
    if !pod.needs_sandbox() {
        return Ok(None);
    }
    let path = roots.sandbox(&pod.generation);
    let failed = |why: &str| {
        NotStarted::create(format!("the Pod's own namespaces are not there ({}): {why}", path.display()))
    };
    let bytes = fs::read(&path).map_err(|e| failed(&e.to_string()))?;
    let sandbox: Sandbox = serde_json::from_slice(&bytes).map_err(|e| failed(&e.to_string()))?;
    if sandbox.boot_id != boot_id {
        return Err(failed("made in another boot"));
    }
    if pod.share_process_namespace && sandbox.pid.is_none() {
        return Err(failed("it has no pid namespace, and shareProcessNamespace is set"));
    }
    Ok(Some(sandbox))
}

/// What the Pod's environment and volumes can refer to; for a Pod that refers to none of it, nothing is looked up.
pub fn look(pod: &Pod, roots: &Roots, sandbox: Option<&Sandbox>) -> Facts {
    let in_env = pod.all_containers().flat_map(|c| &c.env).any(|v| matches!(v.value, EnvValue::Field(_)));
    let in_volumes = pod.volumes.values().any(|v| matches!(v, Volume::Projected { .. }));
    if !in_env && !in_volumes {
        return Facts::default();
    }
    let host_ips = host_addresses();
    let pod_ips = if pod.host_network {
        host_ips.clone()
    } else {
        sandbox.map(|s| s.addresses.clone()).unwrap_or_default()
    };
    Facts {
        pod_ips,
        host_ips,
        cpu_milli: cpus().saturating_mul(1000),
        memory: memory(),
        storage: statvfs(&roots.state).map_or(0, |s| s.blocks().saturating_mul(s.fragment_size())),
    }
}

/// Bytes of memory that the machine has.
pub fn memory() -> u64 {
    nix::sys::sysinfo::sysinfo().map_or(0, |s| s.ram_total())
}

/// How many cpus are online.
fn cpus() -> u64 {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    count(text.trim()).max(1)
}

/// How many numbers a list such as `0-3,7` has.
fn count(list: &str) -> u64 {
    list.split(',')
        .filter_map(|range| match range.split_once('-') {
            Some((first, last)) => last.parse::<u64>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1),
            None => range.parse::<u64>().ok().map(|_| 1),
        })
        .fold(0, u64::saturating_add)
}

/// The objects that the Pod refers to, as far as they are there.
pub fn objects(pod: &Pod, roots: &Roots) -> io::Result<Objects> {
    let references = References::of(pod);
    let mut found = Objects::new();
    for object in references.required.into_iter().chain(references.optional) {
        if let Some(data) = objects::read(roots, &pod.key.namespace, &object)? {
            found.insert(object, data);
        }
    }
    Ok(found)
}

/// The text of a seccomp profile below STATE/seccomp.
pub fn seccomp_profile(roots: &Roots, path: &str) -> Result<String, NotStarted> {
    let inside = !path.is_empty()
        && Path::new(path).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if !inside {
        return Err(NotStarted::config(format!(
            "seccompProfile.localhostProfile {path:?} must be a relative path without .."
        )));
    }
    let file = roots.seccomp().join(path);
    fs::read_to_string(&file).map_err(|e| {
        NotStarted::create(format!(
            "cannot load seccomp profile {:?}: {e}; put it there",
            file.display().to_string()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        for (list, n) in [("0-1", 2), ("0", 1), ("0-3,7,9-10", 7), ("", 0), ("x-y", 0)] {
            assert_eq!(count(list), n, "{list}");
        }
        assert!(cpus() >= 1 && memory() > 0);
    }
}
