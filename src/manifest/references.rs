//! References: to fields of the Pod, to its containers' resources, to ConfigMaps and Secrets and their keys.
//!
//! Which fields may be named where: `pkg/apis/core/validation/validation.go` and `pkg/fieldpath/fieldpath.go` of
//! <https://github.com/kubernetes/kubernetes>.

use std::collections::BTreeSet;

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::metadata::misfit;
use super::node::Value;
use super::spot::Spot;
use super::{names, resources};
use crate::pod::quantity::{Bytes, MilliCpu, QuantityError};
use crate::pod::{ContainerName, FieldRef, ObjectKind, ObjectRef};

/// Where a reference stands; some fields are for one place only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Env,
    Volume,
}

/// The names of all containers, well-formed or not, so that references to refused ones are not reported as well.
pub(super) fn container_names<'n>(spec: &Spot<'n>) -> BTreeSet<&'n str> {
    let items = ["initContainers", "containers"].into_iter().flat_map(|list| spec.list(list));
    items
        .filter_map(|item| match item.get("name")?.node {
            super::node::Node { value: Value::Text(text), .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// `metadata.labels['KEY']` → `metadata.labels`, `KEY`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

const PATHS: &[(&str, FieldRef, Option<Place>)] = &[
    ("metadata.name", FieldRef::Name, None),
    ("metadata.namespace", FieldRef::Namespace, None),
    ("metadata.uid", FieldRef::Uid, None),
    ("metadata.labels", FieldRef::Labels, Some(Place::Volume)),
    ("metadata.annotations", FieldRef::Annotations, Some(Place::Volume)),
    ("spec.nodeName", FieldRef::NodeName, Some(Place::Env)),
    ("spec.serviceAccountName", FieldRef::ServiceAccountName, Some(Place::Env)),
    ("status.hostIP", FieldRef::HostIp, Some(Place::Env)),
    ("status.hostIPs", FieldRef::HostIps, Some(Place::Env)),
    ("status.podIP", FieldRef::PodIp, Some(Place::Env)),
    ("status.podIPs", FieldRef::PodIps, Some(Place::Env)),
];

/// Reads a `fieldRef`.
pub(super) fn field(spot: &Spot<'_>, place: Place, findings: &mut Findings) -> Option<FieldRef> {
    if let Some(version) = spot.get("apiVersion")
        && let Some(text) = version.filled(findings)
        && text != "v1"
    {
        version.error(findings, format!("{} is not v1", quoted(text)));
    }
    let path = required(spot, "fieldPath", findings)?;
    let text = path.text(findings)?;
    if let Some((map, key)) = subscript(text) {
        let make = match map {
            "metadata.labels" => FieldRef::Label,
            "metadata.annotations" => FieldRef::Annotation,
            _ => {
                path.error(findings, format!("{} has no keys", quoted(map)))
                    .help("only metadata.labels and metadata.annotations have");
                return None;
            }
        };
        // The prefix of an annotation may have capitals.
        let lower = key.to_ascii_lowercase();
        let checked = if map == "metadata.annotations" { lower.as_str() } else { key };
        if let Err(reason) = names::qualified(checked) {
            path.error(findings, format!("the key {} {}", quoted(key), reason.reason));
            return None;
        }
        return Some(make(key.to_owned()));
    }
    match PATHS.iter().find(|(name, ..)| *name == text) {
        Some((_, field, only)) if only.is_none_or(|only| only == place) => Some(field.clone()),
        Some((_, FieldRef::Labels | FieldRef::Annotations, _)) => {
            path.error(findings, format!("{text} as a whole cannot be a variable"))
                .help(format!("name one key: {text}['KEY']"));
            None
        }
        Some(_) => {
            path.error(findings, format!("{text} cannot be a file")).help("use it in env");
            None
        }
        None => {
            let finding =
                path.error(findings, format!("{} is no field that can be referred to", quoted(text)));
            if let Some(near) = nearest(text, PATHS.iter().map(|(name, ..)| *name)) {
                finding.help(format!("did you mean {near}?"));
            }
            None
        }
    }
}

const PLAIN_RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

/// Reads a `resourceFieldRef`.
pub(super) fn resource(
    spot: &Spot<'_>,
    place: Place,
    containers: &BTreeSet<&str>,
    findings: &mut Findings,
) -> Option<FieldRef> {
    let container = match spot.get("containerName") {
        Some(name) => {
            let text = name.filled(findings);
            if let Some(text) = text
                && !containers.contains(text)
            {
                let finding = name.error(findings, format!("there is no container {}", quoted(text)));
                if let Some(near) = nearest(text, containers.iter().copied()) {
                    finding.help(format!("did you mean {near}?"));
                }
            }
            text.map(ContainerName::new)
        }
        None => None,
    };
    if container.is_none() && place == Place::Volume && spot.get("containerName").is_none() {
        findings.error(spot.id(), &spot.path_of("containerName"), "is missing");
    }
    let resource = required(spot, "resource", findings)?;
    let text = resource.text(findings)?;
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().find_map(|p| text.strip_prefix(p));
    let known = match huge {
        Some(size) => Bytes::parse(size).is_ok_and(|s| s.0 > 0),
        None => PLAIN_RESOURCES.contains(&text),
    };
    if !known {
        let finding = resource.error(findings, format!("{} is no resource of a container", quoted(text)));
        if let Some(near) = nearest(text, PLAIN_RESOURCES.iter().copied()) {
            finding.help(format!("did you mean {near}?"));
        }
        return None;
    }
    let divisor_milli = match spot.get("divisor") {
        None => 1000,
        Some(divisor) => self::divisor(&divisor, text.ends_with(".cpu"), findings)?,
    };
    Some(FieldRef::Resource { container, resource: text.to_owned(), divisor_milli })
}

/// In thousandths; 0 is what Go cannot tell from absent.
fn divisor(spot: &Spot<'_>, cpu: bool, findings: &mut Findings) -> Option<u64> {
    // 1E and 1Ei do not fit. No container has so much: what they divide is 1, and it is by this as well.
    const MOST: u64 = i64::MAX.unsigned_abs();
    let milli = |text: &str| match MilliCpu::parse(text) {
        Ok(amount) => Ok((amount.0, Bytes::parse(text)?.0)),
        Err(QuantityError::TooLarge) => Ok((MOST, Bytes::parse(text)?.0)),
        Err(error) => Err(error),
    };
    let (milli, bytes) = resources::quantity(spot, milli, findings)?;
    if milli == 0 {
        return Some(1000);
    }
    let power_of =
        |base: u64| std::iter::successors(Some(1_u64), |p| p.checked_mul(base)).any(|p| p == bytes);
    let fits = if cpu {
        milli == 1 || milli == 1000
    } else {
        (milli == MOST || milli % 1000 == 0) && (power_of(1000) || power_of(1024))
    };
    if !fits {
        let which = if cpu {
            "1m or 1"
        } else {
            "1, or 1 with one of the suffixes k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei"
        };
        spot.error(findings, format!("must be {which}"));
        return None;
    }
    Some(milli)
}

/// The field that must be there.
pub(super) fn required<'n>(spot: &Spot<'n>, name: &str, findings: &mut Findings) -> Option<Spot<'n>> {
    let found = spot.get(name);
    if found.is_none() {
        findings.error(spot.id(), &spot.path_of(name), "is missing");
    }
    found
}

/// Reads the name of a ConfigMap or Secret.
pub(super) fn object(
    spot: &Spot<'_>,
    field: &str,
    kind: ObjectKind,
    findings: &mut Findings,
) -> Option<ObjectRef> {
    let name = required(spot, field, findings)?;
    let text = name.text(findings)?;
    if let Err(reason) = names::subdomain(text) {
        misfit(&name, text, reason, findings);
        return None;
    }
    Some(ObjectRef { kind, name: text.to_owned() })
}

/// Reads the key of a ConfigMap or Secret.
pub(super) fn key(spot: &Spot<'_>, findings: &mut Findings) -> Option<String> {
    let key = required(spot, "key", findings)?;
    let text = key.text(findings)?;
    if let Err(reason) = names::data_key(text) {
        misfit(&key, text, reason, findings);
        return None;
    }
    Some(text.to_owned())
}

/// Reads `optional`.
pub(super) fn optional(spot: &Spot<'_>, findings: &mut Findings) -> bool {
    spot.get("optional").and_then(|s| s.boolean(findings)).unwrap_or(false)
}

/// The one source of an object that must have exactly one; a second or an unknown one is reported.
pub(super) fn only<'n>(
    spot: &Spot<'n>,
    what: &str,
    known: &[super::fields::Field],
    findings: &mut Findings,
) -> Option<(&'n str, Spot<'n>)> {
    let is_source = |name: &str, value: &Spot<'_>| {
        value.node.value != Value::Null
            && known.iter().any(|f| f.name == name && !matches!(f.kind, super::fields::Kind::Scalar))
    };
    let mut given = spot.pairs().filter(|(name, _, value)| is_source(name, value)).map(|(name, ..)| name);
    let Some(first) = given.next() else {
        spot.error(findings, format!("{what} has no source that is known"));
        return None;
    };
    if let Some(second) = given.next()
        && let Some(other) = spot.get(second)
    {
        other.error(findings, format!("{what} has one source, and this one has {first} and {second}"));
        return None;
    }
    Some((first, spot.get(first)?))
}
