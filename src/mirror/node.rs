//! The Node object of this host, for those who ask for it (`--register-node`): made when it is not there, kept Ready, and its
//! Lease renewed. A scheduler is told to keep away: nobody here runs what the API server assigns.

use std::fs;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::pod::node::{NodeFacts, architecture};

/// Where Leases of Nodes are.
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
/// How long a Lease is good for, in seconds: the kubelet's.
const LEASE_SECONDS: u32 = 40;
/// Keeps Pods away that do not tolerate everything.
const TAINT: &str = "podstrap.io/no-kubelet";

/// What is told of this host.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The Node's name.
    pub name: String,
    /// Its labels and taints.
    pub facts: NodeFacts,
    /// Towards the world.
    pub addresses: Vec<IpAddr>,
    /// How many processors there are.
    pub cpus: usize,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// `runc` or `docker`.
    pub runtime: String,
    /// Of this boot.
    pub boot_id: String,
    /// Of this installation.
    pub machine_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution, for people.
    pub os_image: String,
}

impl Host {
    /// Looks. What cannot be found stays empty: it is only shown.
    pub fn look(facts: &NodeFacts, runtime: &str, addresses: Vec<IpAddr>) -> Self {
        let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let meminfo = line("/proc/meminfo");
        let total = meminfo
            .lines()
            .find_map(|l| l.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
        let release = line("/etc/os-release");
        let pretty = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
        Self {
            name: facts.name.to_string(),
            facts: facts.clone(),
            addresses,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_kib: total.unwrap_or(0),
            runtime: runtime.to_owned(),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            machine_id: line("/etc/machine-id"),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
        }
    }

    /// The Node, new.
    pub fn node(&self) -> Value {
        let taints = self.facts.taints.iter().map(|t| {
            let mut taint = json!({"key": t.key, "effect": t.effect});
            if !t.value.is_empty() {
                taint["value"] = json!(t.value);
            }
            taint
        });
        let ours = json!({"key": TAINT, "effect": "NoSchedule"});
        let taints: Vec<Value> = [ours].into_iter().chain(taints).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self.facts.labels},
            "spec": {"taints": taints},
        })
    }

    /// What changes the status of the Node; `had` is the status that it has, `now` RFC 3339. What others say of the Node
    /// (the network of a cloud) stays.
    pub fn status(&self, had: &Value, now: &str) -> Value {
        let former = had["conditions"].as_array().cloned().unwrap_or_default();
        let mut conditions: Vec<Value> = [
            ("MemoryPressure", "False", "PodstrapDoesNotLook", "podstrap evicts nothing"),
            ("DiskPressure", "False", "PodstrapDoesNotLook", "podstrap evicts nothing"),
            ("PIDPressure", "False", "PodstrapDoesNotLook", "podstrap evicts nothing"),
            ("Ready", "True", "PodstrapReady", "podstrap runs static Pods only"),
        ]
        .map(|(kind, status, reason, message)| {
            let same = former.iter().find(|c| c["type"] == kind && c["status"] == status);
            let since = same.map_or(json!(now), |c| c["lastTransitionTime"].clone());
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": since})
        })
        .into();
        let ours: Vec<Value> = conditions.iter().map(|c| c["type"].clone()).collect();
        conditions.extend(former.into_iter().filter(|c| !ours.contains(&c["type"])));
        let ips = self.addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip}));
        let addresses: Vec<Value> = ips.chain([json!({"type": "Hostname", "address": self.name})]).collect();
        let amounts =
            json!({"cpu": self.cpus.to_string(), "memory": format!("{}Ki", self.memory_kib), "pods": "110"});
        // The API wants a version of Kubernetes' form there.
        let version = concat!("v", env!("CARGO_PKG_VERSION"), "+podstrap");
        json!({"status": {
            "conditions": conditions,
            "addresses": addresses,
            "capacity": amounts,
            "allocatable": amounts,
            "nodeInfo": {
                "machineID": self.machine_id,
                "systemUUID": self.machine_id,
                "bootID": self.boot_id,
                "kernelVersion": self.kernel,
                "osImage": self.os_image,
                "containerRuntimeVersion": format!("{}://unknown", self.runtime),
                "kubeletVersion": version,
                "kubeProxyVersion": version,
                "operatingSystem": "linux",
                "architecture": architecture(),
            },
        }})
    }

    /// Whether this status says all of it, its time aside.
    pub fn is_told_by(&self, had: &Value) -> bool {
        let ready = had["conditions"].as_array().into_iter().flatten();
        let is_ready = ready
            .into_iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True" && c["reason"] == "PodstrapReady");
        let wanted = &self.status(had, "")["status"];
        is_ready && ["addresses", "capacity", "nodeInfo"].iter().all(|field| had[*field] == wanted[*field])
    }

    /// The Lease, new: the Node owns it.
    pub fn lease(&self, node_uid: &str, now: &str) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": "kube-node-lease",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": node_uid}]},
            "spec": self.lease_spec(now),
        })
    }

    /// What renews it. `now` is RFC 3339 with microseconds.
    pub fn renewal(&self, now: &str) -> Value {
        json!({"spec": self.lease_spec(now)})
    }

    fn lease_spec(&self, now: &str) -> Value {
        json!({"holderIdentity": self.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> NodeFacts {
        let labels = [("disk".to_owned(), "ssd".to_owned())].into();
        NodeFacts::new(crate::pod::NodeName::new("n1"), labels, vec!["gpu=yes:NoExecute".parse().unwrap()])
    }

    fn host() -> Host {
        Host::look(&facts(), "runc", vec!["192.0.2.1".parse().unwrap()])
    }

    #[test]
    fn a_node_keeps_pods_away_and_says_what_it_is() {
        let host = host();
        assert!(host.memory_kib > 0 && !host.kernel.is_empty() && !host.boot_id.is_empty());
        let node = host.node();
        assert_eq!(node["spec"]["taints"][0], json!({"key": TAINT, "effect": "NoSchedule"}));
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
        assert_eq!(node["metadata"]["labels"]["disk"], "ssd");
        assert_eq!(node["spec"]["taints"][1], json!({"key": "gpu", "value": "yes", "effect": "NoExecute"}));
        let status = &host.status(&Value::Null, "2026-01-01T00:00:00Z")["status"];
        assert_eq!(
            status["addresses"],
            json!([{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n1"}])
        );
        assert!(host.is_told_by(status) && !host.is_told_by(&Value::Null));
        assert!(!Host { cpus: host.cpus + 1, ..host.clone() }.is_told_by(status));
    }

    #[test]
    fn conditions_keep_their_beginning_and_those_of_others_stay() {
        let had = json!({"conditions": [
            {"type": "NetworkUnavailable", "status": "False"},
            {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2025-01-01T00:00:00Z"},
            {"type": "DiskPressure", "status": "False", "lastTransitionTime": "2025-01-01T00:00:00Z"},
        ]});
        assert!(!host().is_told_by(&had));
        let status = host().status(&had, "2026-01-01T00:00:00Z");
        let list = status["status"]["conditions"].as_array().unwrap();
        let of = |kind: &str| list.iter().find(|c| c["type"] == kind).unwrap();
        assert_eq!(of("Ready")["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(of("DiskPressure")["lastTransitionTime"], "2025-01-01T00:00:00Z");
        assert_eq!(of("NetworkUnavailable")["status"], "False");
        assert_eq!(list.len(), 5);
    }

    #[test]
    fn a_lease_is_the_nodes() {
        let lease = host().lease("u", "2026-01-01T00:00:00.000000Z");
        assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(lease["spec"], host().renewal("2026-01-01T00:00:00.000000Z")["spec"]);
        assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
    }
}
