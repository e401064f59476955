//! A template, made into the document of one Pod.
//!
//! A generation is a hash over the document, so what is written here must stay as it is: another form of the same document
//! would start every Pod of every set anew.

use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use crate::manifest::{Context, Problem, from_canonical};
use crate::pod::set::{OWNER, Owner, RESTARTED_AT, Revision, SetKey, SetKind, Template};
use crate::pod::{Origin, Pod};

fn hex(parts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update(b"\0");
    }
    hash.finalize().iter().take(bytes).map(|b| format!("{b:02x}")).collect()
}

/// The template of a document that was read. The placeholders of claims go: where they lie is said when a Pod is made.
pub(super) fn template(document: &Json, service: Option<String>, claims: Vec<String>) -> Template {
    let mut document = document.clone();
    if let Some(metadata) = document.pointer_mut("/metadata").and_then(Json::as_object_mut) {
        metadata.retain(|key, _| key == "labels" || key == "annotations");
    }
    if let Some(volumes) = document.pointer_mut("/spec/volumes").and_then(Json::as_array_mut) {
        volumes.retain(|v| !claims.iter().any(|c| v["name"] == c.as_str()));
    }
    of_parts(document, service, claims)
}

fn of_parts(document: Json, service: Option<String>, claims: Vec<String>) -> Template {
    // serde_json keeps the keys of a map sorted.
    let revision = hex(&[&document.to_string(), service.as_deref().unwrap_or(""), &claims.join(",")], 5);
    Template { revision: Revision::new(revision), document, service, claims }
}

/// The same template as a new revision, as `kubectl rollout restart` makes one.
pub fn restarted(template: &Template, at: &str) -> Template {
    let mut document = template.document.clone();
    let annotations = object(object(&mut document, "metadata"), "annotations");
    if let Some(map) = annotations.as_object_mut() {
        map.insert(RESTARTED_AT.to_owned(), json!(at));
    }
    of_parts(document, template.service.clone(), template.claims.clone())
}

/// The object of that name in an object; made if it is not there.
fn object<'j>(json: &'j mut Json, key: &str) -> &'j mut Json {
    let Json::Object(map) = json else { return json };
    map.entry(key.to_owned()).or_insert_with(|| Json::Object(Map::new()))
}

/// The name of a Pod of the set, without the node's.
///
/// A DaemonSet's Pod has a name that its template does not change: as for any Pod, its old version then goes on until the
/// images of the new one are at hand. Two names are enough to have the new one ready before the old one ends.
pub fn pod_name(key: &SetKey, ordinal: u32) -> String {
    match key.kind {
        SetKind::StatefulSet => format!("{}-{ordinal}", key.name),
        SetKind::DaemonSet => {
            let mark = hex(&[key.namespace.as_str(), &key.name, &ordinal.to_string()], 3);
            format!("{}-{}", key.name, mark.get(..5).unwrap_or(&mark))
        }
    }
}

/// The document of one Pod: a v1 Pod, canonical. `claims` is the directory below which the claims of all namespaces lie.
pub fn render(key: &SetKey, template: &Template, ordinal: u32, claims: &Path) -> Json {
    let mut document = template.document.clone();
    let name = pod_name(key, ordinal);
    let owner =
        Owner { kind: key.kind, name: key.name.clone(), revision: template.revision.clone(), ordinal };
    let metadata = object(&mut document, "metadata");
    let labels = object(metadata, "labels");
    if let Some(labels) = labels.as_object_mut() {
        let mut set = |key: &str, value: String| labels.insert(key.to_owned(), Json::String(value));
        match key.kind {
            SetKind::DaemonSet => {
                set("controller-revision-hash", template.revision.to_string());
            }
            SetKind::StatefulSet => {
                set("controller-revision-hash", format!("{}-{}", key.name, template.revision));
                set("statefulset.kubernetes.io/pod-name", name.clone());
                set("apps.kubernetes.io/pod-index", ordinal.to_string());
            }
        }
    }
    if let Some(annotations) = object(metadata, "annotations").as_object_mut() {
        annotations.insert(OWNER.to_owned(), Json::String(owner.to_string()));
    }
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("namespace".to_owned(), json!(key.namespace));
        metadata.insert(
            "ownerReferences".to_owned(),
            json!([{"apiVersion": "apps/v1", "kind": key.kind.as_str(), "name": key.name,
                "uid": hex(&[&key.to_string()], 16), "controller": true, "blockOwnerDeletion": true}]),
        );
    }
    if let (SetKind::StatefulSet, Some(spec)) = (key.kind, object(&mut document, "spec").as_object_mut()) {
        if !spec.contains_key("hostnameOverride") {
            spec.insert("hostname".to_owned(), json!(name));
            if let Some(service) = &template.service {
                spec.insert("subdomain".to_owned(), json!(service));
            }
        }
        if !template.claims.is_empty()
            && let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut()
        {
            for claim in &template.claims {
                let path = claims.join(key.namespace.as_str()).join(format!("{claim}-{name}"));
                volumes.push(json!({"name": claim, "hostPath": {"path": path, "type": "Directory"}}));
            }
        }
    }
    document
}

/// One Pod of a set, with its document.
///
/// # Errors
/// Everything for which this build refuses the document.
pub fn pod_of(
    set: (&SetKey, &Origin),
    template: &Template,
    ordinal: u32,
    claims: &Path,
    context: &Context<'_>,
) -> Result<(Rc<Pod>, Json), Vec<Problem>> {
    let document = render(set.0, template, ordinal, claims);
    let mut pod = from_canonical(&document, context)?;
    pod.origin = set.1.clone();
    Ok((Rc::new(pod), document))
}
