//! `metadata`: who the Pod is.

use std::collections::{BTreeMap, BTreeSet};

use super::depends;
use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::names::{self, Misfit};
use super::node::Value;
use super::security;
use super::spot::Spot;
use crate::pod::depends::DEPENDS_ON;
use crate::pod::set::{OWNER, Owner};
use crate::pod::{AppArmor, Dependency, Namespace, NodeName, PodKey, PodName, Uid};

/// All annotations of a Pod together, keys and values
/// (<https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/validation.go>).
const ANNOTATIONS_MAX: usize = 256 << 10;

/// By this annotation a kubelet knows a mirror Pod; in a file it would make the Pod one.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// With a container's name after it: its AppArmor profile, where the field is not set.
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// What `metadata` tells.
#[derive(Debug)]
pub(super) struct Metadata {
    /// `None` when name or namespace is unusable, or there is none.
    pub key: Option<PodKey>,
    /// The manifest's own uid, if usable.
    pub uid: Option<Uid>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// AppArmor profiles of containers by name, from the annotations that came before the field.
    pub app_armor: BTreeMap<String, AppArmor>,
    pub depends_on: Depends,
    /// The set that it was made for.
    pub owner: Option<Owner>,
}

/// What the annotation [`DEPENDS_ON`] tells.
#[derive(Debug, Default)]
pub(super) struct Depends {
    pub list: Vec<Dependency>,
    /// The number of its value, where there is one.
    pub id: Option<u32>,
}

/// Reports a name that does not fit.
pub(super) fn misfit(spot: &Spot<'_>, text: &str, misfit: Misfit, findings: &mut Findings) {
    let finding = spot.error(findings, format!("{} {}", quoted(text), misfit.reason));
    if let Some(suggestion) = misfit.suggestion {
        finding.help(format!("for example {suggestion}"));
    }
}

/// The name of an item of a list in which each has one of its own: a DNS-1123 label. `list` is what they are, for the message.
pub(super) fn item_name(
    item: &Spot<'_>,
    list: &str,
    taken: &mut BTreeSet<String>,
    findings: &mut Findings,
) -> Option<String> {
    let Some(spot) = item.get("name") else {
        findings.error(item.id(), &item.path_of("name"), "is missing");
        return None;
    };
    let text = spot.text(findings)?;
    if let Err(reason) = names::label(text) {
        misfit(&spot, text, reason, findings);
        return None;
    }
    if !taken.insert(text.to_owned()) {
        spot.error(findings, format!("there are two {list} named {}", quoted(text)));
        return None;
    }
    Some(text.to_owned())
}

/// Reads `metadata`.
pub(super) fn read(document: &Spot<'_>, node: &NodeName, findings: &mut Findings) -> Metadata {
    let Some(metadata) = document.get("metadata") else {
        findings
            .error(document.id(), "metadata.name", "is missing")
            .help("every Pod needs a name: metadata: {name: NAME}");
        return Metadata {
            key: None,
            uid: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            app_armor: BTreeMap::new(),
            depends_on: Depends::default(),
            owner: None,
        };
    };
    let name = name(&metadata, node, findings);
    let namespace = namespace(&metadata, findings);
    let key = name.zip(namespace).map(|(name, namespace)| PodKey { namespace, name });
    let mut app_armor = BTreeMap::new();
    let annotations = annotations(&metadata, &mut app_armor, findings);
    Metadata {
        depends_on: depends_on(&metadata, key.as_ref(), node, findings),
        owner: annotations.get(OWNER).and_then(|text| Owner::parse(text)),
        key,
        uid: uid(&metadata, findings),
        labels: labels(&metadata, findings),
        annotations,
        app_armor,
    }
}

fn name(metadata: &Spot<'_>, node: &NodeName, findings: &mut Findings) -> Option<PodName> {
    let Some(spot) = metadata.get("name") else {
        let finding = findings.error(metadata.id(), "metadata.name", "is missing");
        if metadata.get("generateName").is_some() {
            finding.help("generateName works only with an API server; write name");
        }
        return None;
    };
    let text = spot.text(findings)?;
    if let Err(reason) = names::subdomain(text) {
        misfit(&spot, text, reason, findings);
        return None;
    }
    let full = format!("{text}-{node}");
    if full.len() > names::SUBDOMAIN_MAX {
        let message = format!(
            "is too long: with the node's name appended it has {} characters, and at most {} are allowed",
            full.len(),
            names::SUBDOMAIN_MAX
        );
        spot.error(findings, message);
        return None;
    }
    Some(PodName::new(full))
}

pub(super) fn namespace(metadata: &Spot<'_>, findings: &mut Findings) -> Option<Namespace> {
    let Some(spot) = metadata.get("namespace") else { return Some(Namespace::new("default")) };
    let text = spot.text(findings)?;
    if text.is_empty() {
        return Some(Namespace::new("default"));
    }
    match names::label(text) {
        Ok(()) => Some(Namespace::new(text)),
        Err(reason) => {
            misfit(&spot, text, reason, findings);
            None
        }
    }
}

fn uid(metadata: &Spot<'_>, findings: &mut Findings) -> Option<Uid> {
    let spot = metadata.get("uid")?;
    let text = spot.filled(findings)?;
    // It becomes part of a directory's name.
    let safe = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if safe {
        return Some(Uid::new(text));
    }
    spot.warning(findings, format!("{} is not usable, ignored", quoted(text)))
        .help("a uid has at most 64 letters, digits and dashes; without one it is made from the content");
    None
}

fn labels(metadata: &Spot<'_>, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let Some(spot) = metadata.get("labels") else { return out };
    for (key, id, value) in spot.pairs() {
        key_of(key, id, &value, findings);
        if let Some(text) = value_of(&value, findings) {
            if let Err(reason) = names::label_value(&text) {
                misfit(&value, &text, reason, findings);
            }
            out.insert(key.to_owned(), text);
        }
    }
    out
}

fn annotations(
    metadata: &Spot<'_>,
    app_armor: &mut BTreeMap<String, AppArmor>,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let Some(spot) = metadata.get("annotations") else { return out };
    let mut size = 0_usize;
    for (key, id, value) in spot.pairs() {
        // Their prefix may have capitals.
        key_of(&key.to_ascii_lowercase(), id, &value, findings);
        let Some(text) = value_of(&value, findings) else { continue };
        size += key.len() + text.len();
        if key == MIRROR {
            findings
                .warning(id, &value.path, "marks a mirror Pod of an API server, ignored")
                .help("remove it, as everything that an API server added to an exported Pod");
            continue;
        }
        if let Some(container) = key.strip_prefix(APPARMOR) {
            match security::app_armor_annotation(&text) {
                Some(profile) => {
                    app_armor.insert(container.to_owned(), profile);
                }
                None => {
                    value
                        .error(findings, format!("{} is no AppArmor profile", quoted(&text)))
                        .help("runtime/default, unconfined or localhost/NAME");
                }
            }
        }
        out.insert(key.to_owned(), text);
    }
    if size > ANNOTATIONS_MAX {
        let message = format!("are {size} bytes in all, and at most {ANNOTATIONS_MAX} are allowed");
        spot.error(findings, message);
    }
    out
}

/// The annotations that are ours. A misspelt one would have no effect, and nobody would notice until an order is not kept.
fn depends_on(
    metadata: &Spot<'_>,
    own: Option<&PodKey>,
    node: &NodeName,
    findings: &mut Findings,
) -> Depends {
    let mut out = Depends::default();
    for (key, id, value) in metadata.get("annotations").iter().flat_map(Spot::pairs) {
        if key == DEPENDS_ON
            && let Value::Text(text) = &value.node.value
        {
            out = Depends { list: depends::read(&value, text, own, node, findings), id: Some(value.id()) };
        } else if ![DEPENDS_ON, OWNER].contains(&key) && key.starts_with(depends::PREFIX) {
            let finding = findings.warning(id, &value.path, "is not known to podstrap, and has no effect");
            if nearest(key, [DEPENDS_ON]).is_some() {
                finding.help(format!("did you mean {DEPENDS_ON}?"));
            }
        }
    }
    out
}

fn key_of(key: &str, id: u32, value: &Spot<'_>, findings: &mut Findings) {
    if let Err(reason) = names::qualified(key) {
        findings.error(id, &value.path, format!("the key {} {}", quoted(key), reason.reason));
    }
    if super::scalar::yaml11_bool(key).is_some() {
        findings
            .warning(
                id,
                &value.path,
                format!("the key {key} is kept as it is; a kubelet would take it for a boolean"),
            )
            .help(format!("quote it: \"{key}\""))
            .if_plain();
    }
}

/// A value, "" with a warning where it is null, as in Go.
fn value_of(value: &Spot<'_>, findings: &mut Findings) -> Option<String> {
    if value.node.value == Value::Null {
        value.warning(findings, "is empty: taken for \"\"").help("write \"\" if that is meant");
        return Some(String::new());
    }
    value.text(findings).map(str::to_owned)
}
