//! The part of a Pod's security context that only the Pod has: groups and kernel parameters.

use std::collections::BTreeSet;

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::Value;
use super::references::required;
use super::security;
use super::spot::Spot;
use crate::pod::Security;

/// What Kubernetes calls safe: they count for the Pod only, and cannot hurt the node
/// (<https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/>).
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Which namespaces of the host the Pod shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    pub network: bool,
    pub ipc: bool,
}

/// A Pod's security context.
#[derive(Debug, Default)]
pub(super) struct PodSecurity {
    pub shared: Security,
    pub supplemental_groups: Vec<u32>,
    pub strict_supplemental_groups: bool,
    pub fs_group: Option<u32>,
    pub fs_group_on_root_mismatch: bool,
    pub sysctls: Vec<(String, String)>,
}

/// Reads `spec.securityContext`.
pub(super) fn read(spec: &Spot<'_>, host: Host, findings: &mut Findings) -> PodSecurity {
    let Some(context) = spec.get("securityContext") else { return PodSecurity::default() };
    let choice = |name: &str, choices: &[(&str, bool)], findings: &mut Findings| {
        let spot = context.get(name).filter(|s| s.node.value != Value::Text(String::new()));
        spot.and_then(|s| s.choice(findings, choices)).unwrap_or(false)
    };
    PodSecurity {
        shared: security::shared(Some(&context), findings),
        supplemental_groups: context
            .list("supplementalGroups")
            .filter_map(|item| security::id(&item, findings))
            .collect(),
        strict_supplemental_groups: choice(
            "supplementalGroupsPolicy",
            &[("Merge", false), ("Strict", true)],
            findings,
        ),
        fs_group: context.get("fsGroup").and_then(|s| security::id(&s, findings)),
        fs_group_on_root_mismatch: choice(
            "fsGroupChangePolicy",
            &[("Always", false), ("OnRootMismatch", true)],
            findings,
        ),
        sysctls: sysctls(&context, host, findings),
    }
}

fn sysctls(context: &Spot<'_>, host: Host, findings: &mut Findings) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut taken = BTreeSet::new();
    for item in context.list("sysctls").filter(|i| matches!(i.node.value, Value::Map(_))) {
        let value = required(&item, "value", findings).and_then(|value| {
            let text = value.text(findings)?;
            if text.contains(|c: char| c.is_control() && c != '\t') {
                value.error(findings, "must not contain control characters");
            }
            Some(text)
        });
        let Some(spot) = required(&item, "name", findings) else { continue };
        let Some(text) = spot.text(findings) else { continue };
        // Both ways of writing it are known: a/b.c is a.b/c, but none of the names here has both signs.
        let name = text.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            let message = format!(
                "{} is not one of the kernel parameters that are safe to set for a Pod",
                quoted(text)
            );
            let finding = spot.error(findings, message);
            if let Some(near) = nearest(&name, SAFE_SYSCTLS.iter().copied()) {
                finding.help(format!("did you mean {near}?"));
            } else {
                finding.help("set it on the node");
            }
        } else if host.network && name.starts_with("net.") {
            spot.error(findings, "would be set for the node: the Pod has hostNetwork")
                .help("set it on the node");
        } else if host.ipc && name.starts_with("kernel.") {
            spot.error(findings, "would be set for the node: the Pod has hostIPC").help("set it on the node");
        } else if !taken.insert(name.clone()) {
            spot.error(findings, format!("{name} is set twice"));
        } else if let Some(value) = value {
            out.push((name, value.to_owned()));
        }
    }
    out
}
