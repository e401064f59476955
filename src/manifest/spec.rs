//! The document as a Pod: kind, metadata and spec put together.

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::Value;
use super::spot::Spot;
use super::volumes::Volumes;
use super::{containers, metadata, names, schema, security, volumes};
use crate::pod::{Generation, NodeName, Origin, Pod, PodKey, RestartPolicy, Uid};

/// Containers of the four control-plane programs run with this class and number.
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// What a document turned out to be: its name, if that could be told, and the Pod, unless it was refused.
#[derive(Debug)]
pub(super) struct Reading {
    pub key: Option<PodKey>,
    pub pod: Option<Pod>,
}

/// Reads one document, reporting everything that is wrong with it.
pub(super) fn read(
    document: &Spot<'_>,
    node: &NodeName,
    origin: Origin,
    generation: Generation,
    findings: &mut Findings,
) -> Reading {
    if !is_pod(document, findings) {
        return Reading { key: None, pod: None };
    }
    schema::check(document, findings);
    let metadata = metadata::read(document, node, findings);
    let key = metadata.key.clone();
    let pod = match document.get("spec") {
        Some(spec) => pod(&spec, metadata, node, origin, generation, findings),
        None => {
            findings.error(document.id(), "spec", "is missing");
            None
        }
    };
    Reading { key, pod: pod.filter(|_| !findings.refused()) }
}

/// What a document of another kind is told.
fn other_kind(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        "List" | "PodList" => {
            ("is not supported yet", "write the Pods as documents of their own, set apart by ---")
        }
        "DaemonSet" => ("is not supported yet", "write its spec.template as a Pod"),
        "StatefulSet" => ("is not supported yet", "write its spec.template as a Pod, one for each replica"),
        "Deployment" | "ReplicaSet" | "ReplicationController" => {
            ("needs a controller of an API server", "write its spec.template as a Pod")
        }
        "Job" | "CronJob" => (
            "needs a controller of an API server",
            "write its template as a Pod with restartPolicy: OnFailure",
        ),
        "ConfigMap" | "Secret" => {
            ("is not supported yet", "put the files on the host and mount them with a hostPath volume")
        }
        "Service" | "Ingress" | "Endpoints" => {
            ("needs an API server", "a static Pod is reached by hostNetwork")
        }
        "PodTemplate" => ("needs an API server", "write its template as a Pod"),
        _ => return None,
    })
}

fn is_pod(document: &Spot<'_>, findings: &mut Findings) -> bool {
    let Value::Map(entries) = &document.node.value else {
        document
            .error(findings, format!("the document must be an object, and is {}", document.is()))
            .help("a manifest begins with apiVersion: v1 and kind: Pod");
        return false;
    };
    let mut fits = true;
    for (field, wanted) in [("apiVersion", "v1"), ("kind", "Pod")] {
        let Some(spot) = document.get(field) else {
            fits = false;
            let finding = findings.error(document.id(), field, "is missing");
            match nearest(field, entries.iter().map(|e| e.key.as_str())) {
                Some(near) => finding.help(format!("there is {near}: field names are case-sensitive")),
                None => finding.help(format!("{field}: {wanted}")),
            };
            continue;
        };
        let Some(text) = spot.text(findings) else {
            fits = false;
            continue;
        };
        if text == wanted {
            continue;
        }
        fits = false;
        if field == "kind" {
            match other_kind(text) {
                Some((why, help)) => spot.error(findings, format!("a {text} {why}")).help(help),
                None => {
                    let finding = spot.error(findings, format!("{} is not Pod", quoted(text)));
                    match nearest(text, ["Pod"]) {
                        Some(near) => finding.help(format!("did you mean {near}?")),
                        None => finding.help("only Pods are read from manifests"),
                    }
                }
            };
        } else if document.get("kind").is_some_and(|k| k.node.value == Value::Text("Pod".to_owned())) {
            // Of other kinds the kind is the news.
            spot.error(findings, format!("{} is not v1", quoted(text))).help("a Pod has apiVersion: v1");
        }
    }
    fits
}

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
        Some(spot) => spot.choice(
            findings,
            &[
                ("Always", RestartPolicy::Always),
                ("OnFailure", RestartPolicy::OnFailure),
                ("Never", RestartPolicy::Never),
            ],
        ),
    };
    let grace_seconds = grace(spec, findings);
    let host_network = host_network(spec, findings);
    let flag = |name: &str, findings: &mut Findings| {
        spec.get(name).and_then(|s| s.boolean(findings)).unwrap_or(false)
    };
    let host_pid = flag("hostPID", findings);
    let host_ipc = flag("hostIPC", findings);
    let hostname = hostname(spec, host_network, findings);
    let (priority, priority_class) = priority(spec, findings);
    fixed_fields(spec, node, findings);
    let context = spec.get("securityContext");
    let security = security::shared(context.as_ref(), findings);
    let supplemental_groups = context
        .iter()
        .flat_map(|c| c.list("supplementalGroups"))
        .filter_map(|item| security::id(&item, findings))
        .collect();
    let volumes: Volumes = volumes::read(spec, findings);
    let containers = containers::read(spec, &volumes, host_network, findings);

    let key = metadata.key?;
    let mut annotations = metadata.annotations;
    annotations.insert("kubernetes.io/config.hash".to_owned(), generation.as_str().to_owned());
    annotations.insert("kubernetes.io/config.source".to_owned(), "file".to_owned());
    Some(Pod {
        uid: metadata.uid.unwrap_or_else(|| Uid::new(generation.as_str())),
        origin,
        labels: metadata.labels,
        annotations,
        restart_policy: restart_policy?,
        grace_seconds: grace_seconds?,
        host_network,
        host_pid,
        host_ipc,
        hostname,
        priority_class,
        priority,
        security,
        supplemental_groups,
        volumes: volumes.usable,
        ..Pod::new(key, generation, node.clone(), containers)
    })
}

fn grace(spec: &Spot<'_>, findings: &mut Findings) -> Option<u32> {
    /// 68 years.
    const MAX: i64 = 2_147_483_647;
    let Some(spot) = spec.get("terminationGracePeriodSeconds") else { return Some(30) };
    let seconds = spot.int(findings, i64::MIN, i64::MAX)?;
    if seconds < 0 {
        spot.warning(findings, "is negative: taken for 1");
    } else if seconds > MAX {
        spot.warning(findings, format!("is taken for {MAX}"));
    }
    u32::try_from(seconds.clamp(1, MAX)).ok()
}

fn host_network(spec: &Spot<'_>, findings: &mut Findings) -> bool {
    const NOT_YET: &str = "Pod networking is not supported yet";
    match spec.get("hostNetwork") {
        None => {
            findings.error(spec.id(), &spec.path_of("hostNetwork"), NOT_YET).help("set hostNetwork: true");
            false
        }
        Some(spot) => match spot.boolean(findings) {
            Some(false) => {
                spot.error(findings, NOT_YET).help("set hostNetwork: true");
                false
            }
            Some(true) => true,
            // Reported already; ports are checked as if it were meant.
            None => true,
        },
    }
}

fn hostname(spec: &Spot<'_>, host_network: bool, findings: &mut Findings) -> Option<String> {
    let spot = spec.get("hostname")?;
    let text = spot.filled(findings)?;
    if let Err(reason) = names::label(text) {
        metadata::misfit(&spot, text, reason, findings);
    } else if host_network {
        spot.warning(findings, "has no effect: under hostNetwork containers have the node's host name");
    }
    Some(text.to_owned())
}

fn priority(spec: &Spot<'_>, findings: &mut Findings) -> (Option<i32>, Option<String>) {
    let class = spec.get("priorityClassName").and_then(|s| Some((s.filled(findings)?.to_owned(), s)));
    let priority = spec
        .get("priority")
        .and_then(|s| Some((s.int(findings, i64::from(i32::MIN), i64::from(i32::MAX))?, s)));
    match (&class, &priority) {
        (Some((class, spot)), _) => {
            if let Err(reason) = names::subdomain(class) {
                metadata::misfit(spot, class, reason, findings);
            }
            let system = SYSTEM_CLASSES.iter().find(|(name, _)| name == class);
            match (system, &priority) {
                (Some((_, number)), Some((given, spot))) if number != given => {
                    spot.warning(findings, format!("does not fit {class}, whose priority is {number}"));
                }
                (None, None) => {
                    spot.warning(findings, format!("has no effect: {class} is known to an API server only"))
                        .help("the classes known here are system-node-critical and system-cluster-critical");
                }
                (Some(_) | None, _) => {}
            }
        }
        (None, Some((given, spot))) if *given != 0 => {
            spot.warning(findings, "has no effect without priorityClassName");
        }
        (None, _) => {}
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
    if let Some(spot) = spec.get("dnsPolicy") {
        let choices =
            [("Default", true), ("ClusterFirst", true), ("ClusterFirstWithHostNet", true), ("None", false)];
        if spot.choice(findings, &choices) == Some(false) {
            spot.error(findings, "cannot be honoured: dnsConfig is not supported yet");
        }
    }
    if let Some(spot) = spec.get("os").and_then(|os| os.get("name"))
        && let Some(text) = spot.text(findings)
        && text != "linux"
    {
        spot.error(findings, format!("{} is not linux", quoted(text)));
    }
}
