//! Which kinds of documents there are, and what is told of those that are not read.

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::Value;
use super::spot::Spot;
use crate::pod::ObjectKind;
use crate::pod::set::SetKind;

/// What a document of another kind is told.
fn other_kind(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        "Deployment" | "ReplicaSet" | "ReplicationController" => (
            "is not run here",
            "on one host a DaemonSet (one Pod) or a StatefulSet (several) does its work; or write its spec.template as a Pod",
        ),
        "Job" | "CronJob" => (
            "needs a controller of an API server",
            "write its template as a Pod with restartPolicy: OnFailure",
        ),
        "Ingress" | "Endpoints" => ("needs an API server", "a static Pod is reached by hostNetwork"),
        "PodTemplate" => ("needs an API server", "write its template as a Pod"),
        _ => return None,
    })
}

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Object(ObjectKind),
    Set(SetKind),
    /// A Service, of which only the headless one of a StatefulSet has a place here.
    Service,
    /// Of things that each tell their kind, or all are of this one.
    List(Option<&'static str>),
}

const KINDS: [(&str, Kind); 12] = [
    ("Pod", Kind::Pod),
    ("ConfigMap", Kind::Object(ObjectKind::ConfigMap)),
    ("Secret", Kind::Object(ObjectKind::Secret)),
    ("List", Kind::List(None)),
    ("PodList", Kind::List(Some("Pod"))),
    ("ConfigMapList", Kind::List(Some("ConfigMap"))),
    ("SecretList", Kind::List(Some("Secret"))),
    ("Service", Kind::Service),
    ("DaemonSet", Kind::Set(SetKind::DaemonSet)),
    ("StatefulSet", Kind::Set(SetKind::StatefulSet)),
    ("DaemonSetList", Kind::List(Some("DaemonSet"))),
    ("StatefulSetList", Kind::List(Some("StatefulSet"))),
];

/// Tells what an item of a list is about. In a list of one kind, as an API server gives it, the items do not say it again.
pub(super) fn of_item(
    item: &Spot<'_>,
    implied: Option<&'static str>,
    findings: &mut Findings,
) -> Option<Kind> {
    let kind = match (implied, item.get("kind").is_some(), item.get("apiVersion").is_some()) {
        (Some(implied), false, false) => {
            KINDS.iter().find(|(name, _)| *name == implied).map(|(_, kind)| *kind)
        }
        (Some(_) | None, _, _) => of(item, findings),
    };
    match kind {
        Some(Kind::List(_)) => {
            item.error(findings, "a list in a list is not read").help("write its items into the outer list");
            None
        }
        Some(Kind::Pod | Kind::Object(_) | Kind::Set(_) | Kind::Service) | None => kind,
    }
}

/// Tells what a document is about; anything that is not read here is reported.
pub(super) fn of(document: &Spot<'_>, findings: &mut Findings) -> Option<Kind> {
    let Value::Map(entries) = &document.node.value else {
        document
            .error(findings, format!("the document must be an object, and is {}", document.is()))
            .help("a manifest begins with apiVersion: v1 and kind: Pod");
        return None;
    };
    let missing = |field: &str, wanted: &str, findings: &mut Findings| {
        let finding = findings.error(document.id(), field, "is missing");
        match nearest(field, entries.iter().map(|e| e.key.as_str())) {
            Some(near) => finding.help(format!("there is {near}: field names are case-sensitive")),
            None => finding.help(format!("{field}: {wanted}")),
        };
    };
    let kind = match document.get("kind") {
        None => {
            missing("kind", "Pod", findings);
            None
        }
        Some(spot) => spot.text(findings).and_then(|text| named(&spot, text, findings)),
    };
    let version = match document.get("apiVersion") {
        None => {
            missing("apiVersion", kind.map_or("v1", version_of), findings);
            None
        }
        Some(spot) => spot.text(findings).filter(|text| {
            // Of kinds that are not read here the kind is the news.
            let version = kind.map_or("v1", version_of);
            if *text != version && kind.is_some() {
                let name = KINDS.iter().find(|(_, k)| Some(*k) == kind).map_or("Pod", |(name, _)| name);
                spot.error(findings, format!("{} is not {version}", quoted(text)))
                    .help(format!("a {name} has apiVersion: {version}"));
            }
            *text == version
        }),
    };
    version.and(kind)
}

/// The `apiVersion` of a kind.
fn version_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Set(_) | Kind::List(Some("DaemonSet" | "StatefulSet")) => "apps/v1",
        Kind::Pod | Kind::Object(_) | Kind::Service | Kind::List(_) => "v1",
    }
}

/// A headless Service beside a StatefulSet says no more than its serviceName does. Any other has nobody who would route to it.
/// Returns whether it is passed over.
pub(super) fn service(document: &Spot<'_>, findings: &mut Findings) -> bool {
    let address = document.get("spec").and_then(|s| s.get("clusterIP"));
    let is_headless = matches!(address.map(|a| &a.node.value), Some(Value::Text(text)) if text == "None");
    let Some(kind) = document.get("kind") else { return false };
    if is_headless {
        kind.warning(
            findings,
            "a headless Service has no effect: a StatefulSet's Pods find each other by its serviceName",
        );
    } else {
        kind.error(findings, "a Service needs an API server").help("a static Pod is reached by hostNetwork");
    }
    is_headless && !findings.refused()
}

fn named(spot: &Spot<'_>, text: &str, findings: &mut Findings) -> Option<Kind> {
    if let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == text) {
        return Some(*kind);
    }
    match other_kind(text) {
        Some((why, help)) => {
            spot.error(findings, format!("a {text} {why}")).help(help);
        }
        None => {
            let finding = spot.error(
                findings,
                format!("{} is not Pod, DaemonSet, StatefulSet, ConfigMap or Secret", quoted(text)),
            );
            match nearest(text, KINDS.iter().map(|(name, _)| *name)) {
                Some(near) => finding.help(format!("did you mean {near}?")),
                None => finding.help("only Pods, DaemonSets, StatefulSets, and the ConfigMaps and Secrets they refer to, are read"),
            };
        }
    }
    None
}
