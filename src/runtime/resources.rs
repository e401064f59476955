//! Kubernetes' arithmetic from requests and limits to cgroup values (kubelet: cm/helpers_linux.go, qos/policy.go).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Host;
use crate::pod::quantity::MilliCpu;
use crate::pod::{Container, Pod, Qos, Resources};

/// Microseconds: the period in which a cpu quota holds.
pub const CPU_PERIOD: u64 = 100_000;

/// `cpu.shares`: 1024 for each cpu requested, at least 2, at most 262144; 2 when nothing is requested.
pub fn cpu_shares(milli: Option<MilliCpu>) -> u64 {
    (milli.map_or(0, |m| m.0).saturating_mul(1024) / 1000).clamp(2, 262_144)
}

/// The quota in microseconds for each [`CPU_PERIOD`], at least 1000; none without a limit.
pub fn cpu_quota(milli: Option<MilliCpu>) -> Option<u64> {
    milli.filter(|m| m.0 > 0).map(|m| (m.0.saturating_mul(CPU_PERIOD) / 1000).max(1000))
}

/// The oom_score_adj that the kubelet would give (spec of 1.32: critical Pods and Guaranteed ones −997, BestEffort 1000,
/// Burstable by their share of the machine's memory, in 3 … 999).
pub fn oom_score_adj(pod: &Pod, container: &Container, machine_memory: u64) -> i32 {
    if pod.priority_class.as_deref() == Some("system-node-critical") {
        return -997;
    }
    match pod.qos() {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = container.resources.memory_request.map_or(0, |b| b.0);
            let thousandths = request.saturating_mul(1000).checked_div(machine_memory).unwrap_or(0);
            1000_i32.saturating_sub(i32::try_from(thousandths).unwrap_or(i32::MAX)).clamp(3, 999)
        }
    }
}

/// What the Pod's own group is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    /// `cpu.shares`.
    pub cpu_shares: u64,
    /// Microseconds in each [`CPU_PERIOD`].
    pub cpu_quota: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Page size in bytes → bytes, for every size that the host has.
    pub huge_pages: BTreeMap<u64, u64>,
}

/// What the Pod's own group gets (cm/helpers_linux.go, ResourceConfigForPod): what `spec.resources` says, else the sums
/// over the containers that run together. Shares are set for every Pod, or the containers of two Pods would not be weighed
/// against each other; a limit holds for the Pod only where every container has one.
pub fn pod_limits(pod: &Pod, page_sizes: &[u64]) -> PodLimits {
    let own = pod.resources.as_ref();
    let total = |part: fn(&Resources) -> Option<u64>| together(pod, |r| part(r).unwrap_or(0));
    let limit = |part: fn(&Resources) -> Option<u64>| {
        let declared = pod.all_containers().all(|c| part(&c.resources).is_some_and(|v| v > 0));
        own.and_then(part).filter(|v| *v > 0).or_else(|| declared.then(|| total(part)))
    };
    let requested = own
        .and_then(|r| r.cpu_request.or(r.cpu_limit))
        .map_or_else(|| total(|r| r.cpu_request.map(|m| m.0)), |m| m.0);
    PodLimits {
        cpu_shares: cpu_shares(Some(MilliCpu(requested))),
        cpu_quota: cpu_quota(limit(|r| r.cpu_limit.map(|m| m.0)).map(MilliCpu)),
        memory: limit(|r| r.memory_limit.map(|b| b.0)),
        huge_pages: page_sizes
            .iter()
            .map(|size| {
                let given = own.and_then(|r| r.huge_pages.get(size)).map(|b| b.0);
                let sum = || together(pod, |r| r.huge_pages.get(size).map_or(0, |b| b.0));
                (*size, given.unwrap_or_else(sum))
            })
            .collect(),
    }
}

/// The most that the Pod's containers need at one time: all of them with the sidecars, or one init container with the
/// sidecars that were started before it (component-helpers/resource/helpers.go, AggregateContainerRequests).
fn together(pod: &Pod, part: impl Fn(&Resources) -> u64) -> u64 {
    let (mut sidecars, mut most) = (0_u64, 0_u64);
    for init in &pod.init_containers {
        let needs = part(&init.resources);
        most = most.max(sidecars.saturating_add(needs));
        if init.sidecar {
            sidecars = sidecars.saturating_add(needs);
        }
    }
    let sum = pod.containers.iter().fold(sidecars, |total, c| total.saturating_add(part(&c.resources)));
    most.max(sum)
}

/// `linux.resources`. Devices: runc itself adds the harmless ones (null, zero, full, random, urandom, tty, ptmx, pts).
pub fn limits(container: &Container, host: &Host) -> Value {
    let asked = &container.resources;
    let mut cpu = json!({ "shares": cpu_shares(asked.cpu_request.or(asked.cpu_limit)) });
    if let (Some(quota), Some(cpu)) = (cpu_quota(asked.cpu_limit), cpu.as_object_mut()) {
        cpu.insert("quota".to_owned(), json!(quota));
        cpu.insert("period".to_owned(), json!(CPU_PERIOD));
    }
    let mut limits = json!({ "devices": [{ "allow": container.privileged, "access": "rwm" }], "cpu": cpu });
    let Some(map) = limits.as_object_mut() else { return limits };
    if let Some(bytes) = asked.memory_limit.filter(|b| b.0 > 0) {
        // Swap equal to memory: none beyond the limit.
        map.insert("memory".to_owned(), json!({ "limit": bytes.0, "swap": bytes.0 }));
        if host.cgroup_v2 {
            // As the kubelet: one process killed for want of memory takes the whole container with it.
            map.insert("unified".to_owned(), json!({ "memory.oom.group": "1" }));
        }
    }
    if !host.page_sizes.is_empty() {
        // The kubelet's default is none of any size.
        let pages = host.page_sizes.iter().map(|size| {
            let limit = asked.huge_pages.get(size).map_or(0, |b| b.0);
            json!({ "pageSize": page_name(*size), "limit": limit })
        });
        map.insert("hugepageLimits".to_owned(), pages.collect());
    }
    limits
}

/// The size of a huge page as control groups name it: `2MB`, `1GB`.
pub fn page_name(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{}GB", b >> 30),
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{}MB", b >> 20),
        b => format!("{}KB", b >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::super::bundle::tests::{container, pod};
    use super::*;
    use crate::pod::quantity::Bytes;

    #[test]
    fn shares_and_quotas() {
        assert_eq!(cpu_shares(None), 2);
        assert_eq!(cpu_shares(Some(MilliCpu(250))), 256);
        assert_eq!(cpu_shares(Some(MilliCpu(u64::MAX))), 262_144);
        assert_eq!(cpu_quota(None), None);
        assert_eq!(cpu_quota(Some(MilliCpu(5))), Some(1000));
        assert_eq!(cpu_quota(Some(MilliCpu(1500))), Some(150_000));
    }

    #[test]
    fn oom_scores_and_pod_limits() {
        let mut p = pod();
        let gib = 1 << 30;
        let score = |p: &Pod| oom_score_adj(p, &p.containers[0], 4 * gib);
        assert_eq!(score(&p), 1000);
        p.containers[0].resources.memory_request = Some(Bytes(gib));
        assert_eq!(score(&p), 750);
        p.containers[0].resources.memory_request = Some(Bytes(1));
        assert_eq!(score(&p), 999);
        p.containers[0].resources.memory_request = Some(Bytes(5 * gib));
        assert_eq!(score(&p), 3);
        p.priority_class = Some("system-node-critical".into());
        assert_eq!(score(&p), -997);
        p.priority_class = None;
        p.containers[0].resources = Resources {
            cpu_request: Some(MilliCpu(100)),
            cpu_limit: Some(MilliCpu(100)),
            memory_request: Some(Bytes(gib)),
            memory_limit: Some(Bytes(gib)),
            ..Resources::default()
        };
        assert_eq!(score(&p), -997);
        let of = |p: &Pod| {
            let l = pod_limits(p, &[]);
            (l.cpu_shares, l.cpu_quota, l.memory)
        };
        assert_eq!(of(&p), (102, Some(10_000), Some(gib)));
        p.containers.push(container());
        assert_eq!(of(&p), (102, None, None));
        p.resources = Some(Resources {
            cpu_limit: Some(MilliCpu(500)),
            memory_limit: Some(Bytes(7)),
            ..Resources::default()
        });
        assert_eq!(of(&p), (512, Some(50_000), Some(7)));
        assert_eq!(p.qos(), Qos::Burstable);
        let (cpu, memory) = (Some(MilliCpu(500)), Some(Bytes(7)));
        p.resources = Some(Resources {
            cpu_request: cpu,
            cpu_limit: cpu,
            memory_request: memory,
            memory_limit: memory,
            ..Resources::default()
        });
        assert_eq!(p.qos(), Qos::Guaranteed);
    }

    #[test]
    fn init_containers_and_sidecars_count_when_they_run() {
        let mut p = pod();
        let needs = |milli: u64, sidecar| {
            let mut c = container();
            c.sidecar = sidecar;
            c.resources.cpu_request = Some(MilliCpu(milli));
            c.resources.memory_limit = Some(Bytes(milli));
            c.resources.huge_pages = BTreeMap::from([(2 << 20, Bytes(milli))]);
            c
        };
        p.containers = vec![needs(100, false), needs(200, false)];
        p.init_containers = vec![needs(250, false), needs(50, true), needs(280, false)];
        let made = pod_limits(&p, &[2 << 20, 1 << 30]);
        assert_eq!((made.cpu_shares, made.memory), (358, Some(350)));
        assert_eq!(made.huge_pages, BTreeMap::from([(2 << 20, 350), (1 << 30, 0)]));
        p.init_containers.push(needs(500, false));
        assert_eq!(pod_limits(&p, &[]).memory, Some(550));
        let host = Host { page_sizes: vec![2 << 20, 1 << 30, 64 << 10], ..Host::default() };
        let made = limits(&p.containers[0], &host);
        assert_eq!(
            made["hugepageLimits"],
            json!([
                { "pageSize": "2MB", "limit": 100 },
                { "pageSize": "1GB", "limit": 0 },
                { "pageSize": "64KB", "limit": 0 }
            ])
        );
    }
}
