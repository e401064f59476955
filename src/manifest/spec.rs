//! The document as a Pod: metadata and spec put together.

use super::escape::quoted;
use super::findings::Findings;
use super::node::Value;
use super::spot::Spot;
use super::{containers, host, metadata, names, pod_security, references, resources, schema, volumes};
use crate::pod::stop::SYSTEM_CLASSES;
use crate::pod::{Generation, NodeName, Origin, Pod, PodKey, RestartPolicy, Uid};

/// What a document turned out to be: its name, if that could be told, and the Pod, unless it was refused.
#[derive(Debug)]
pub(super) struct Reading {
    pub key: Option<PodKey>,
    pub pod: Option<Pod>,
    /// The number of what says on which Pods it depends.
    pub depends_on: Option<u32>,
}

/// Reads one document, reporting everything that is wrong with it.
pub(super) fn read(
    document: &Spot<'_>,
    node: &NodeName,
    origin: Origin,
    generation: Generation,
    findings: &mut Findings,
) -> Reading {
    schema::check(document, findings);
    let metadata = metadata::read(document, node, findings);
    let key = metadata.key.clone();
    let depends_on = metadata.depends_on.id;
    let pod = match document.get("spec") {
        Some(spec) => pod(&spec, metadata, node, origin, generation, findings),
        None => {
            findings.error(document.id(), "spec", "is missing");
            None
        }
    };
    Reading { key, pod: pod.filter(|_| !findings.refused()), depends_on }
}

/// `restartPolicy`, of the Pod and of containers.
pub(super) const RESTART_POLICIES: &[(&str, RestartPolicy)] = &[
    ("Always", RestartPolicy::Always),
    ("OnFailure", RestartPolicy::OnFailure),
    ("Never", RestartPolicy::Never),
];

/// The API's integers are 32 bits wide: 68 years of seconds.
const INT32_MAX: i64 = 2_147_483_647;

fn pod(
    spec: &Spot<'_>,
    metadata: metadata::Metadata,
    node: &NodeName,
    origin: Origin,
    generation: Generation,
    findings: &mut Findings,
) -> Option<Pod> {
    let Value::Map(_) = spec.node.value else { return None };
    let restart_policy = match spec.get("restartPolicy") {
        None => Some(RestartPolicy::Always),
        Some(spot) => spot.choice(findings, RESTART_POLICIES),
    };
    let grace = grace(spec, findings);
    let active_deadline_seconds = spec
        .get("activeDeadlineSeconds")
        .and_then(|s| s.int(findings, 1, INT32_MAX))
        .and_then(|s| u32::try_from(s).ok());
    let host = host::read(spec, findings);
    if let Some(spot) = spec.get("hostUsers") {
        // The table of fields refuses false.
        spot.boolean(findings);
    }
    let (priority, priority_class) = priority(spec, findings);
    fixed_fields(spec, node, findings);
    let shares = pod_security::Host { network: host.network, ipc: host.ipc };
    let security = pod_security::read(spec, shares, findings);
    let names = references::container_names(spec);
    let mut volumes = volumes::read(spec, &names, findings);
    let shared = containers::Shared { volumes: &volumes, names: &names, host_network: host.network, grace };
    let (mut init_containers, mut containers) = containers::read(spec, &shared, findings);
    let all = init_containers.iter().chain(&containers);
    volumes::settle_huge_pages(spec, &mut volumes.usable, all, findings);
    let resources = resources::pod(spec, &init_containers, &containers, findings);
    for container in init_containers.iter_mut().chain(&mut containers) {
        if container.security.app_armor.is_none() {
            container.security.app_armor = metadata.app_armor.get(container.name.as_str()).cloned();
        }
    }

    let key = metadata.key?;
    let mut annotations = metadata.annotations;
    annotations.insert("kubernetes.io/config.hash".to_owned(), generation.as_str().to_owned());
    // The path of a file is absolute, and no URL.
    let source = if origin.path.contains("://") { "http" } else { "file" };
    annotations.insert("kubernetes.io/config.source".to_owned(), source.to_owned());
    Some(Pod {
        uid: metadata.uid.unwrap_or_else(|| Uid::new(generation.as_str())),
        origin,
        labels: metadata.labels,
        annotations,
        depends_on: metadata.depends_on.list,
        owner: metadata.owner,
        restart_policy: restart_policy?,
        grace_seconds: grace?,
        host_network: host.network,
        host_pid: host.pid,
        host_ipc: host.ipc,
        share_process_namespace: host.share_process_namespace,
        hostname: host.hostname,
        subdomain: host.subdomain,
        fqdn_as_hostname: host.fqdn_as_hostname,
        host_aliases: host.aliases,
        dns: host.dns,
        active_deadline_seconds,
        priority_class,
        priority,
        security: security.shared,
        supplemental_groups: security.supplemental_groups,
        strict_supplemental_groups: security.strict_supplemental_groups,
        fs_group: security.fs_group,
        fs_group_on_root_mismatch: security.fs_group_on_root_mismatch,
        sysctls: security.sysctls,
        resources,
        volumes: volumes.usable,
        init_containers,
        ..Pod::new(key, generation, node.clone(), containers)
    })
}

fn grace(spec: &Spot<'_>, findings: &mut Findings) -> Option<u32> {
    const MAX: i64 = INT32_MAX;
    let Some(spot) = spec.get("terminationGracePeriodSeconds") else { return Some(30) };
    let seconds = spot.int(findings, i64::MIN, i64::MAX)?;
    if seconds < 0 {
        spot.warning(findings, "is negative: taken for 1");
    } else if seconds > MAX {
        spot.warning(findings, format!("is taken for {MAX}"));
    }
    u32::try_from(seconds.clamp(1, MAX)).ok()
}

fn priority(spec: &Spot<'_>, findings: &mut Findings) -> (Option<i32>, Option<String>) {
    let class = spec.get("priorityClassName").and_then(|s| Some((s.filled(findings)?.to_owned(), s)));
    let priority = spec
        .get("priority")
        .and_then(|s| Some((s.int(findings, i64::from(i32::MIN), i64::from(i32::MAX))?, s)));
    if let Some((class, spot)) = &class {
        if let Err(reason) = names::subdomain(class) {
            metadata::misfit(spot, class, reason, findings);
        }
        let system = SYSTEM_CLASSES.iter().find(|(name, _)| name == class);
        match (system, &priority) {
            (Some((_, number)), Some((given, spot))) if i64::from(*number) != *given => {
                spot.warning(findings, format!("does not fit {class}, whose priority is {number}"));
            }
            (None, None) => {
                spot.warning(findings, format!("has no effect: {class} is known to an API server only"))
                    .help("the classes known here are system-node-critical and system-cluster-critical");
            }
            (Some(_) | None, _) => {}
        }
    }
    (priority.and_then(|(p, _)| i32::try_from(p).ok()), class.map(|(c, _)| c))
}

/// Fields of which only one value can be honoured.
fn fixed_fields(spec: &Spot<'_>, node: &NodeName, findings: &mut Findings) {
    if let Some(spot) = spec.get("nodeName")
        && let Some(text) = spot.filled(findings)
        && text != node.as_str()
    {
        spot.warning(findings, format!("{} is another node; the Pod runs here, on {node}", quoted(text)));
    }
    if let Some(spot) = spec.get("os").and_then(|os| os.get("name"))
        && let Some(text) = spot.text(findings)
        && text != "linux"
    {
        spot.error(findings, format!("{} is not linux", quoted(text)));
    }
}
