//! The Pod's network, by the Container Network Interface (<https://www.cni.dev/docs/spec/>, versions 0.3.0 to 1.1.0):
//! ADD when the Pod begins, DEL when it ends, whatever happened in between.
//!
//! What DEL needs is on disk before ADD begins, so that a network can be left after any crash, and after its
//! configuration was changed or removed.

mod config;
mod plugin;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::config::Network;
use self::plugin::Call;
use super::{SandboxError, SandboxSpec, namespaces};
use crate::pod::Pod;
use crate::sys::clock::boot_ms;
use crate::sys::namespace::is_kept;
use crate::sys::process;

/// The interface's name in the Pod, as every Kubernetes runtime has it.
pub const INTERFACE: &str = "eth0";

/// How long a plugin of a helper that was killed may go on, in milliseconds, before it is killed too.
const ORPHAN_MS: u64 = 5_000;

/// RUN/pods/GENERATION/cni.json: all that DEL and CHECK need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The network as it was configured then.
    pub network: Network,
    /// What the plugins were told of host ports.
    pub port_mappings: Vec<Value>,
    /// Where the plugins were found.
    pub bin_dirs: Vec<PathBuf>,
    /// The answer of the last plugin; `None` when ADD did not come to its end.
    pub result: Option<Value>,
}

/// Adds the namespace `net` to the network and gives the Pod's addresses.
pub fn add(spec: &SandboxSpec, network: &Network, net: &Path) -> Result<Vec<IpAddr>, SandboxError> {
    for plugin in &network.plugins {
        plugin::find(&plugin.kind, &spec.cni.bin_dirs)?;
    }
    let mut joined = Joined {
        network: network.clone(),
        port_mappings: port_mappings(&spec.pod),
        bin_dirs: spec.cni.bin_dirs.clone(),
        result: None,
    };
    let record = spec.roots.network(&spec.pod.generation);
    super::write(&record, &joined)?;
    let result = match add_all(spec, &joined, net) {
        // What a plugin keeps may have outlived a reboot that our own record did not: then it refuses to give the same Pod
        // an address twice. A clean leave mends that.
        Err(SandboxError::Plugin { .. }) => {
            let _ = delete_all(spec, &joined, Some(net));
            add_all(spec, &joined, net)?
        }
        other => other?,
    };
    let addresses = addresses(&result);
    joined.result = Some(result);
    super::write(&record, &joined)?;
    if addresses.is_empty() {
        return Err(SandboxError::NoAddress(network.name.clone()));
    }
    Ok(addresses)
}

/// Leaves the network that was joined, if one was. `net` may be gone already.
pub fn delete(spec: &SandboxSpec, net: &Path) -> Result<(), SandboxError> {
    let record = spec.roots.network(&spec.pod.generation);
    let Some(joined) = super::read::<Joined>(&record)? else { return super::remove(&record) };
    delete_all(spec, &joined, Some(net).filter(|n| is_kept(n)))?;
    super::remove(&record)
}

/// Asks the plugins whether the Pod's network is still as they made it (CHECK of version 0.4.0 and later; networks that
/// do not want it, or are older, are always well).
pub fn check(spec: &SandboxSpec) -> Result<(), SandboxError> {
    let Some(joined) = super::read::<Joined>(&spec.roots.network(&spec.pod.generation))? else {
        return Ok(());
    };
    if joined.network.disable_check || !joined.network.has_check() {
        return Ok(());
    }
    let net = namespaces::net_file(&spec.roots, &spec.pod.generation);
    for plugin in &joined.network.plugins {
        let config = joined.network.request(plugin, &joined.port_mappings, joined.result.as_ref());
        call(spec, &joined, "CHECK", Some(&net)).run(&plugin.kind, &config)?;
    }
    Ok(())
}

fn call<'a>(
    spec: &'a SandboxSpec,
    joined: &'a Joined,
    command: &'static str,
    net: Option<&'a Path>,
) -> Call<'a> {
    Call { command, pod: &spec.pod, net, dirs: [&spec.cni.bin_dirs, &joined.bin_dirs] }
}

/// Every plugin in its order, each told what the one before it answered.
fn add_all(spec: &SandboxSpec, joined: &Joined, net: &Path) -> Result<Value, SandboxError> {
    let mut result = None;
    for plugin in &joined.network.plugins {
        let config = joined.network.request(plugin, &joined.port_mappings, result.as_ref());
        let answer = call(spec, joined, "ADD", Some(net)).run(&plugin.kind, &config)?;
        let value: Value = serde_json::from_slice(&answer).map_err(|e| SandboxError::Plugin {
            plugin: plugin.kind.clone(),
            command: "ADD",
            problem: format!("its answer is not JSON: {e}"),
        })?;
        result = Some(value);
    }
    Ok(result.unwrap_or(Value::Null))
}

/// Every plugin in reverse order; a failure does not keep the others from it.
fn delete_all(spec: &SandboxSpec, joined: &Joined, net: Option<&Path>) -> Result<(), SandboxError> {
    // The answer of the last ADD is for every plugin; before 0.4.0 there was no such thing.
    let result = joined.result.as_ref().filter(|_| joined.network.has_check());
    let mut errors = Vec::new();
    for plugin in joined.network.plugins.iter().rev() {
        let config = joined.network.request(plugin, &joined.port_mappings, result);
        errors.extend(call(spec, joined, "DEL", net).run(&plugin.kind, &config).err());
    }
    if errors.is_empty() { Ok(()) } else { Err(SandboxError::Leave(errors)) }
}

/// Host ports as the capability `portMappings` has them.
fn port_mappings(pod: &Pod) -> Vec<Value> {
    let ports = pod.all_containers().flat_map(|c| &c.ports);
    ports
        .filter_map(|port| {
            let mut mapping = json!({
                "hostPort": port.host_port.filter(|p| *p != 0)?,
                "containerPort": port.container_port,
                "protocol": port.protocol.to_ascii_lowercase(),
            });
            if let (Some(ip), Some(fields)) =
                (port.host_ip.as_deref().filter(|ip| !ip.is_empty()), mapping.as_object_mut())
            {
                fields.insert("hostIP".to_owned(), ip.into());
            }
            Some(mapping)
        })
        .collect()
}

/// `ips` of an answer, in order: `[{ "address": "10.1.2.3/24" }]`.
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result.get("ips").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    ips.iter().filter_map(|ip| ip.get("address")?.as_str()?.split('/').next()?.parse().ok()).collect()
}

/// Waits for plugins that a killed helper has left running for this Pod, and kills those that go on for too long: they
/// would undo what is done next.
pub fn outlast(spec: &SandboxSpec) -> Result<(), SandboxError> {
    if !spec.roots.network(&spec.pod.generation).exists() {
        return Ok(());
    }
    let failed = |error| SandboxError::Process { what: "a CNI plugin of a former try", error };
    let until = boot_ms().saturating_add(ORPHAN_MS);
    let at_last = until.saturating_add(ORPHAN_MS);
    // Looked for again each time: what is killed or waited for may have started another before.
    loop {
        let found = orphans(spec).map_err(failed)?;
        if found.is_empty() {
            return Ok(());
        }
        let now = boot_ms();
        if now >= at_last {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        let limit = if now >= until { at_last } else { until };
        if now >= until {
            for pidfd in &found {
                // Fails only when it has just ended.
                let _ = process::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
        for pidfd in &found {
            namespaces::wait_for_end(pidfd.as_fd(), limit.saturating_sub(boot_ms())).map_err(failed)?;
        }
    }
}

/// Processes whose environment says that they work on this Pod's network.
fn orphans(spec: &SandboxSpec) -> io::Result<Vec<OwnedFd>> {
    let id = format!("CNI_CONTAINERID={}", spec.pod.generation);
    let net = format!("CNI_NETNS={}", namespaces::net_file(&spec.roots, &spec.pod.generation).display());
    let is_ours = |environment: &Path| {
        let Ok(bytes) = fs::read(environment) else { return false };
        let has = |wanted: &str| bytes.split(|b| *b == 0).any(|v| v == wanted.as_bytes());
        has(&id) && (has(&net) || has("CNI_NETNS="))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let environment = entry.path().join("environ");
        // Looked at again when the descriptor is open: the number may have been reused in between.
        if is_ours(&environment)
            && let Ok(pidfd) = process::pidfd_open(pid)
            && is_ours(&environment)
        {
            found.push(pidfd);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_the_order_of_the_answer() {
        let result = json!({ "ips": [
            { "address": "10.1.2.3/24", "gateway": "10.1.2.1" }, { "address": "fd00::5/64" }, { "address": "x" }, {},
        ] });
        let expected: [IpAddr; 2] = ["10.1.2.3".parse().unwrap(), "fd00::5".parse().unwrap()];
        assert_eq!(addresses(&result), expected);
        assert!(addresses(&Value::Null).is_empty());
    }
}
