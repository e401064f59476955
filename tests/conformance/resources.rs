//! Resources: what stands in the host's cgroup tree, what happens at the limits, and the class of the Pod.

use std::fs;

use crate::bench::{Bench, Level, host_hierarchy};
use crate::case::{Case, case, part};

const SHARES: (&str, &str) = ("cpu", "cpu.shares");
const QUOTA: (&str, &str) = ("cpu", "cpu.cfs_quota_us");
const PERIOD: (&str, &str) = ("cpu", "cpu.cfs_period_us");
const MEMORY: (&str, &str) = ("memory", "memory.limit_in_bytes");

/// The weight in cgroup v2 of so many shares.
fn weight(shares: u64) -> u64 {
    1 + ((shares - 2) * 9999) / 262_142
}

fn cpu_share(t: &Bench<'_>, container: &str, level: Level, shares: u64) {
    let expected = if host_hierarchy("cpu").is_some() { shares } else { weight(shares) };
    assert_eq!(
        t.cgroup(container, level, SHARES, "cpu.weight"),
        expected.to_string(),
        "{level:?} of {container}"
    );
}

/// Microseconds in each 100 ms; none is no limit.
fn cpu_quota(t: &Bench<'_>, container: &str, level: Level, quota: Option<u64>) {
    let found = t.cgroup(container, level, QUOTA, "cpu.max");
    let expected = if host_hierarchy("cpu").is_some() {
        if quota.is_some() {
            assert_eq!(t.cgroup(container, level, PERIOD, ""), "100000");
        }
        quota.map_or("-1".to_owned(), |q| q.to_string())
    } else {
        format!("{} 100000", quota.map_or("max".to_owned(), |q| q.to_string()))
    };
    assert_eq!(found, expected, "{level:?} of {container}");
}

fn memory(t: &Bench<'_>, container: &str, level: Level, limit: Option<u64>) {
    let found = t.cgroup(container, level, MEMORY, "memory.max");
    match limit {
        Some(limit) => assert_eq!(found, limit.to_string(), "{level:?} of {container}"),
        // v1 shows the largest multiple of the page size.
        None => assert!(
            found == "max" || found.parse::<u64>().unwrap() > 1 << 60,
            "{level:?} of {container}: {found}"
        ),
    }
}

/// A container that stays, with these resources.
fn with(field: &'static str, what: &'static str, resources: &str) -> Case {
    case(field, what).main("say main; stay", &format!("resources: {resources}")).then(|t| {
        t.event("main");
    })
}

fn class(what: &'static str, resources: &str, expected: &'static str) -> Case {
    with("status.qosClass", what, resources).then(move |t| assert_eq!(t.at("/status/qosClass"), expected))
}

fn adjustment(t: &Bench<'_>, container: &str) -> i64 {
    let pid = t.pid(container);
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

/// oom_score_adj is this; a lower one than the test's own takes CAP_SYS_RESOURCE, without which it is left as it is.
fn adjusted(t: &Bench<'_>, container: &str, expected: i64) {
    let own: i64 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let caps = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap().trim().to_owned();
    let may = u64::from_str_radix(&caps, 16).unwrap() & (1 << 24) != 0;
    let expected = if expected < own && !may { own } else { expected };
    assert_eq!(adjustment(t, container), expected);
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        with(
            "spec.containers.resources.requests.cpu",
            "is the share: 1024 for a whole one",
            "{requests: {cpu: 250m}}",
        )
        .then(|t| {
            cpu_share(t, "main", Level::Container, 256);
            cpu_quota(t, "main", Level::Container, None);
        }),
        with("spec.containers.resources.requests.cpu", "absent: the least share", "{}")
            .then(|t| cpu_share(t, "main", Level::Container, 2)),
        with(
            "spec.containers.resources.limits.cpu",
            "is the quota of 100 ms, and the request",
            "{limits: {cpu: 500m}}",
        )
        .then(|t| {
            cpu_quota(t, "main", Level::Container, Some(50_000));
            cpu_share(t, "main", Level::Container, 512);
        }),
        with("spec.containers.resources.limits.cpu", "at least 1 ms", "{limits: {cpu: 5m}}")
            .then(|t| cpu_quota(t, "main", Level::Container, Some(1000))),
        with("spec.containers.resources.limits.memory", "is the limit", "{limits: {memory: 48Mi}}")
            .then(|t| memory(t, "main", Level::Container, Some(48 << 20))),
        with("spec.containers.resources.requests.memory", "is no limit", "{requests: {memory: 48Mi}}")
            .then(|t| memory(t, "main", Level::Container, None)),
        case("spec.containers.resources", "the Pod's cgroup has the sums, and limits where all have one")
            .container(
                part("one", "say one; stay")
                    .with("resources: {requests: {cpu: 100m}, limits: {cpu: 200m, memory: 32Mi}}"),
            )
            .container(
                part("two", "say two; stay")
                    .with("resources: {requests: {cpu: 200m}, limits: {cpu: 300m, memory: 32Mi}}"),
            )
            .then(|t| {
                t.event("two");
                cpu_share(t, "one", Level::Pod, 307);
                cpu_quota(t, "one", Level::Pod, Some(50_000));
                memory(t, "one", Level::Pod, Some(64 << 20));
            }),
        case("spec.containers.resources", "a container without a limit: the Pod has none")
            .container(part("one", "say one; stay").with("resources: {limits: {cpu: 200m, memory: 32Mi}}"))
            .container(part("two", "say two; stay").with("resources: {requests: {cpu: 200m}}"))
            .then(|t| {
                t.event("two");
                cpu_quota(t, "one", Level::Pod, None);
                memory(t, "one", Level::Pod, None);
                memory(t, "one", Level::Container, Some(32 << 20));
            }),
        case(
            "spec.initContainers.resources",
            "the Pod's request is the larger of their own and the containers' sum",
        )
        .init(part("init", "true").with("resources: {requests: {cpu: 400m}}"))
        .main("say main; stay", "resources: {requests: {cpu: 100m}}")
        .then(|t| {
            t.event("main");
            cpu_share(t, "main", Level::Pod, 409);
            cpu_share(t, "main", Level::Container, 102);
        }),
        case("spec.resources", "limits of the Pod as a whole")
            .spec("resources: {requests: {cpu: 300m, memory: 32Mi}, limits: {cpu: 700m, memory: 96Mi}}")
            .main("say main; stay", "")
            .then(|t| {
                t.event("main");
                cpu_share(t, "main", Level::Pod, 307);
                cpu_quota(t, "main", Level::Pod, Some(70_000));
                memory(t, "main", Level::Pod, Some(96 << 20));
                assert_eq!(t.at("/status/qosClass"), "Burstable");
            }),
        class("BestEffort: nothing is asked for", "{}", "BestEffort"),
        class("Burstable: something is", "{requests: {cpu: 10m}}", "Burstable"),
        class(
            "Guaranteed: limits, and requests equal to them",
            "{limits: {cpu: 100m, memory: 32Mi}}",
            "Guaranteed",
        ),
        class(
            "Burstable: requests less than limits",
            "{requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: 100m, memory: 32Mi}}",
            "Burstable",
        ),
    ];
    cases.extend(limits());
    cases
}

/// Takes a good deal more memory than the limit.
const HOG: &str = "say main; head -c 200000000 /dev/zero | tail -c 150000000 >/dev/null; x=$(head -c 100000000 /dev/zero | tr '\\0' x); exit 9";

fn limits() -> Vec<Case> {
    vec![
        case("spec.containers.resources.limits.memory", "beyond it: OOMKilled, 137")
            .differs("podman", "it does not always see why: Error, 137", |t| {
                let ended = t.ended("main");
                assert_eq!(ended["exitCode"], 137);
                assert!(ended["reason"] == "Error" || ended["reason"] == "OOMKilled", "{ended}");
                t.phase("Failed");
            })
            .container(
                crate::case::Part::of_image("main")
                    .with("command: [tail, /dev/zero]")
                    .with("resources: {limits: {memory: 24Mi}}"),
            )
            .then(|t| {
                let ended = t.ended("main");
                assert_eq!((&ended["exitCode"], &ended["reason"]), (&137.into(), &"OOMKilled".into()));
                t.phase("Failed");
            }),
        case("spec.containers.resources.limits.memory", "beyond it, and restarted: told of the former life")
            .differs("podman", "it does not always see why: Error, 137", |t| {
                t.nth("main", 2);
                let former = t.former("main");
                assert!(former["exitCode"] == 137 || former["exitCode"] == 9, "{former}");
            })
            .spec("restartPolicy: Always")
            .container(part("main", HOG).with("resources: {limits: {memory: 24Mi}}"))
            .then(|t| {
                t.nth("main", 2);
                let former = t.former("main");
                // The shell itself, or its child: then the shell goes on, and ends with 9.
                assert!(former["reason"] == "OOMKilled" || former["exitCode"] == 9, "{former}");
            }),
        with("spec.containers.resources", "oom_score_adj of BestEffort: 1000", "{}")
            .then(|t| adjusted(t, "main", 1000)),
        with(
            "spec.containers.resources",
            "oom_score_adj of Burstable: by its share of the node's memory",
            "{requests: {memory: 1Gi}}",
        )
        .then(|t| {
            let info = fs::read_to_string("/proc/meminfo").unwrap();
            let total = info.lines().find_map(|l| l.strip_prefix("MemTotal:")).unwrap().trim();
            let total: i64 = total.split(' ').next().unwrap().parse::<i64>().unwrap() * 1024;
            adjusted(t, "main", (1000 - 1000 * (1 << 30) / total).clamp(3, 999));
        }),
        with(
            "spec.containers.resources",
            "oom_score_adj of Guaranteed: -997, or what the host allows",
            "{limits: {cpu: 100m, memory: 32Mi}}",
        )
        .then(|t| adjusted(t, "main", -997)),
        case("spec.priorityClassName=system-node-critical", "oom_score_adj -997, or what the host allows")
            .spec("priorityClassName: system-node-critical")
            .spec("priority: 2000001000")
            .main("say main; stay", "")
            .then(|t| {
                t.event("main");
                adjusted(t, "main", -997);
            }),
        case("spec.containers.resources.requests", "refused when greater than the limit")
            .main("true", "resources: {requests: {memory: 64Mi}, limits: {memory: 32Mi}}")
            .refused(&["resources.requests", "memory"]),
        case("spec.containers.resources.limits.memory", "refused when it is no quantity")
            .main("true", "resources: {limits: {memory: lots}}")
            .refused(&["resources.limits", "memory", "lots"]),
    ]
}
