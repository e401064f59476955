//! Kubernetes' arithmetic from requests and limits to cgroup values (kubelet: cm/helpers_linux.go, qos/policy.go).

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

/// What the Pod's own group gets: (`cpu.shares`, quota, memory). Shares are the sum of the requests, or the containers of
/// two Pods would not be weighed against each other; a limit holds for the Pod only where every container has one.
pub fn pod_limits(pod: &Pod) -> (u64, Option<u64>, Option<u64>) {
    let sum = |part: fn(&Resources) -> Option<u64>| {
        pod.containers
            .iter()
            .try_fold(0_u64, |total, c| Some(total.saturating_add(part(&c.resources).filter(|v| *v > 0)?)))
    };
    let requested = pod
        .containers
        .iter()
        .fold(0_u64, |t, c| t.saturating_add(c.resources.cpu_request.map_or(0, |m| m.0)));
    (
        cpu_shares(Some(MilliCpu(requested))),
        cpu_quota(sum(|r| r.cpu_limit.map(|m| m.0)).map(MilliCpu)),
        sum(|r| r.memory_limit.map(|b| b.0)),
    )
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
        assert_eq!(pod_limits(&p), (102, Some(10_000), Some(gib)));
        p.containers.push(container());
        assert_eq!(pod_limits(&p), (102, None, None));
    }
}
