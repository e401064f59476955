//! ConfigMaps and Secrets.
//!
//! What stands in a Secret is not repeated in a problem: neither the value nor the source line.

use std::collections::BTreeMap;

use super::base64;
use super::escape::quoted;
use super::findings::Findings;
use super::metadata::{self, misfit};
use super::node::Value;
use super::spot::Spot;
use super::{names, schema};
use crate::pod::objects::Object;
use crate::pod::{Namespace, ObjectKind, ObjectRef};

/// All values of one object together, as the API has it.
const SIZE_MAX: usize = 1 << 20;

/// Its namespace, kind and name, if they could be told, and the object, unless it was refused.
#[derive(Debug)]
pub(super) struct Reading {
    pub key: Option<(Namespace, ObjectRef)>,
    pub object: Option<Object>,
}

/// Reads one ConfigMap or Secret.
pub(super) fn read(document: &Spot<'_>, kind: ObjectKind, findings: &mut Findings) -> Reading {
    schema::check_object(document, findings);
    let key = key(document, kind, findings);
    let foreign: &[&str] = match kind {
        ObjectKind::ConfigMap => &["stringData", "type"],
        ObjectKind::Secret => &["binaryData"],
    };
    for spot in foreign.iter().filter_map(|name| document.get(name)) {
        let help = match kind {
            ObjectKind::ConfigMap => "a ConfigMap has data and binaryData",
            ObjectKind::Secret => "a Secret has data and stringData",
        };
        spot.error(findings, "does not belong here").help(help);
    }
    if let Some(spot) = document.get("immutable") {
        spot.boolean(findings);
    }
    if let Some(spot) = document.get("type").filter(|_| kind == ObjectKind::Secret) {
        spot.text(findings);
    }
    let mut data = BTreeMap::new();
    match kind {
        ObjectKind::ConfigMap => {
            values(document, "data", Form::Text, &mut data, findings);
            values(document, "binaryData", Form::Base64, &mut data, findings);
        }
        ObjectKind::Secret => {
            values(document, "data", Form::Base64, &mut data, findings);
            values(document, "stringData", Form::Replacing, &mut data, findings);
        }
    }
    let size: usize = data.values().map(Vec::len).sum();
    if size > SIZE_MAX {
        document.error(
            findings,
            format!("its values are {size} bytes in all, and at most {SIZE_MAX} are allowed"),
        );
    }
    let object = key.clone().filter(|_| !findings.refused());
    let object = object.map(|(namespace, reference)| Object { namespace, reference, data });
    Reading { key, object }
}

/// A document's `metadata.name`, which it must have.
pub(super) fn name_of<'d>(document: &Spot<'d>, findings: &mut Findings) -> Option<Spot<'d>> {
    let metadata = document.get("metadata");
    let name = metadata.as_ref().and_then(|m| m.get("name"));
    if name.is_none() {
        let at = metadata.as_ref().map_or(document.id(), Spot::id);
        findings.error(at, "metadata.name", "is missing");
    }
    name
}

fn key(document: &Spot<'_>, kind: ObjectKind, findings: &mut Findings) -> Option<(Namespace, ObjectRef)> {
    let spot = name_of(document, findings)?;
    let text = spot.text(findings)?;
    if let Err(reason) = names::subdomain(text) {
        misfit(&spot, text, reason, findings);
        return None;
    }
    let namespace = document.get("metadata").and_then(|m| metadata::namespace(&m, findings))?;
    Some((namespace, ObjectRef { kind, name: text.to_owned() }))
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Base64,
    /// Text that replaces what stands there.
    Replacing,
}

fn values(
    document: &Spot<'_>,
    field: &str,
    form: Form,
    data: &mut BTreeMap<String, Vec<u8>>,
    findings: &mut Findings,
) {
    let Some(map) = document.get(field) else { return };
    for (key, id, value) in map.pairs() {
        if let Err(reason) = names::data_key(key) {
            findings.error(id, &value.path, format!("the key {} {}", quoted(key), reason.reason));
            continue;
        }
        let text = match &value.node.value {
            Value::Text(text) => text.as_str(),
            Value::Null => {
                value.warning(findings, "is empty: taken for \"\"").help("write \"\" if that is meant");
                ""
            }
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                value
                    .error(findings, format!("must be text, and is {}", value.is()))
                    .help("put it in quotes");
                continue;
            }
            Value::List(_) | Value::Map(_) => {
                value.error(findings, format!("must be text, and is {}", value.is()));
                continue;
            }
        };
        let bytes = match form {
            Form::Text | Form::Replacing => text.as_bytes().to_vec(),
            Form::Base64 => match base64::decode(text) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let finding = value.error(findings, error.reason());
                    if field == "data" {
                        finding.help("plain text goes into stringData");
                    }
                    continue;
                }
            },
        };
        if data.insert(key.to_owned(), bytes).is_some() && form == Form::Base64 {
            findings.error(id, &value.path, "stands in data and in binaryData");
        }
    }
}
