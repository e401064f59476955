//! A template as the document of a Pod: the same nodes, so that every finding has its place.

use serde_json::Value as Json;

use super::{SetKind, render};
use crate::manifest::escape::quoted;
use crate::manifest::findings::Findings;
use crate::manifest::node::{Entry, Node, Value};
use crate::manifest::spot::Spot;
use crate::manifest::{Context, generation, pod};
use crate::pod::set::{OWNER, SetKey};
use crate::pod::{Generation, Origin};

/// Reads the template as the first Pod of the set, reporting everything that is wrong with that. Returns the Pod's document,
/// be it refused: what is held against it beside is told as well.
pub(super) fn read(
    template: &Spot<'_>,
    kind: SetKind,
    key: Option<&SetKey>,
    claims: &[String],
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Json> {
    let Value::Map(_) = template.node.value else { return None };
    if template.get("spec").is_none() {
        findings.error(template.id(), &template.path_of("spec"), "is missing");
        return None;
    }
    restrictions(template, findings);
    let name = key.map_or_else(|| "x".to_owned(), |key| render::pod_name(key, 0));
    let tree = tree(template, kind, &name, key, claims, findings);
    let root = Spot::below(&tree, &template.path);
    let origin = Origin { path: context.path.to_owned(), document: 1 };
    pod(&root, origin, Generation::new(""), context, findings);
    Some(generation::canonical(&tree, None))
}

/// What the API server refuses of a template (`ValidatePodTemplateSpecForStatefulSet` and its like).
fn restrictions(template: &Spot<'_>, findings: &mut Findings) {
    let Some(spec) = template.get("spec") else { return };
    if let Some(policy) = spec.get("restartPolicy")
        && let Value::Text(text) = &policy.node.value
        && text != "Always"
    {
        policy.error(findings, format!("{} is not Always, as it must be here", quoted(text)));
    }
    if let Some(spot) = spec.get("activeDeadlineSeconds") {
        spot.error(findings, "does not belong here: a set's Pods run for ever");
    }
    let metadata = template.get("metadata");
    for field in ["name", "generateName", "namespace"] {
        if let Some(spot) = metadata.as_ref().and_then(|m| m.get(field)) {
            spot.warning(findings, "has no effect: Pods are named after their set, and are in its namespace");
        }
    }
    let annotations = metadata.and_then(|m| m.get("annotations"));
    refuse_owner(annotations.as_ref(), findings);
}

/// The mark of a set's Pods is not for manifests.
pub(in crate::manifest) fn refuse_owner(annotations: Option<&Spot<'_>>, findings: &mut Findings) {
    for (key, id, value) in annotations.into_iter().flat_map(Spot::pairs) {
        if key == OWNER {
            findings
                .error(id, &value.path, "is set by podstrap, for the Pods of DaemonSets and StatefulSets")
                .help("remove it");
        }
    }
}

fn tree(
    template: &Spot<'_>,
    kind: SetKind,
    name: &str,
    key: Option<&SetKey>,
    claims: &[String],
    findings: &mut Findings,
) -> Node {
    let id = template.node.id;
    let text = |text: &str| Node { id, value: Value::Text(text.to_owned()) };
    let entry = |key: &str, value: Node| Entry { id, key: key.to_owned(), value };
    let mut metadata = vec![entry("name", text(name))];
    metadata.extend(key.map(|key| entry("namespace", text(key.namespace.as_str()))));
    let mut id_of_metadata = id;
    if let Some(given) = template.get("metadata") {
        id_of_metadata = given.node.id;
        match &given.node.value {
            Value::Map(entries) => {
                let counts = |e: &&Entry| !["name", "generateName", "namespace"].contains(&e.key.as_str());
                metadata.extend(entries.iter().filter(counts).cloned());
            }
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_) => {
                given.error(findings, format!("must be an object, and is {}", given.is()));
            }
        }
    }
    let metadata = Node { id: id_of_metadata, value: Value::Map(metadata) };
    let mut all =
        vec![entry("apiVersion", text("v1")), entry("kind", text("Pod")), entry("metadata", metadata)];
    if let Value::Map(entries) = &template.node.value {
        for given in entries.iter().filter(|e| e.key == "spec") {
            let mut given = given.clone();
            if kind == SetKind::DaemonSet {
                drop_placement(&mut given.value);
            }
            add_claims(&mut given.value, claims, id, findings);
            all.push(given);
        }
    }
    Node { id, value: Value::Map(all) }
}

fn entries_of(node: &mut Node) -> Option<&mut Vec<Entry>> {
    match &mut node.value {
        Value::Map(entries) => Some(entries),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::List(_) => {
            None
        }
    }
}

/// What has decided whether the Pod runs here is of no concern to the Pod that does.
fn drop_placement(spec: &mut Node) {
    let Some(entries) = entries_of(spec) else { return };
    entries.retain(|e| !["nodeName", "nodeSelector"].contains(&e.key.as_str()));
    for affinity in entries.iter_mut().filter(|e| e.key == "affinity") {
        let Some(kinds) = entries_of(&mut affinity.value) else { continue };
        for of_node in kinds.iter_mut().filter(|e| e.key == "nodeAffinity") {
            if let Some(rules) = entries_of(&mut of_node.value) {
                rules.retain(|e| !e.key.starts_with("required"));
            }
        }
        kinds.retain(|e| !matches!(&e.value.value, Value::Map(rules) if rules.is_empty()));
    }
}

/// A claim takes the place of a volume of its name, as in Kubernetes.
fn add_claims(spec: &mut Node, claims: &[String], id: u32, findings: &mut Findings) {
    if claims.is_empty() {
        return;
    }
    let Some(entries) = entries_of(spec) else { return };
    let text = |text: &str| Node { id, value: Value::Text(text.to_owned()) };
    let entry = |key: &str, value: Node| Entry { id, key: key.to_owned(), value };
    if entries.iter().all(|e| e.key != "volumes" || e.value.value == Value::Null) {
        entries.retain(|e| e.key != "volumes");
        entries.push(entry("volumes", Node { id, value: Value::List(Vec::new()) }));
    }
    for volumes in entries.iter_mut().filter(|e| e.key == "volumes") {
        let Value::List(list) = &mut volumes.value.value else { continue };
        list.retain(|volume| {
            let named = Spot::below(volume, "").get("name");
            let is_claim =
                named.is_some_and(|n| matches!(&n.node.value, Value::Text(t) if claims.contains(t)));
            if is_claim {
                findings.warning(
                    volume.id,
                    "spec.template.spec.volumes",
                    "has no effect: there is a volumeClaimTemplate of its name",
                );
            }
            !is_claim
        });
        for claim in claims {
            let path = Node { id, value: Value::Map(vec![entry("path", text("/.claim"))]) };
            let volume = vec![entry("name", text(claim)), entry("hostPath", path)];
            list.push(Node { id, value: Value::Map(volume) });
        }
    }
}
