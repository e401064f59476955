//! `env` and `envFrom` of one container.

use std::collections::BTreeSet;

use super::fields;
use super::findings::Findings;
use super::metadata::misfit;
use super::names;
use super::node::Value;
use super::references::{self, Place};
use super::spot::Spot;
use crate::pod::{EnvFrom, EnvValue, EnvVar, ObjectKind};

/// Reads `env`.
pub(super) fn variables(
    item: &Spot<'_>,
    containers: &BTreeSet<&str>,
    findings: &mut Findings,
) -> Vec<EnvVar> {
    let mut out = Vec::new();
    for variable in item.list("env") {
        if !matches!(variable.node.value, Value::Map(_)) {
            continue;
        }
        let value = value(&variable, containers, findings);
        let Some(name) = references::required(&variable, "name", findings) else { continue };
        let Some(text) = name.text(findings) else { continue };
        if let Err(reason) = names::env_name(text) {
            misfit(&name, text, reason, findings);
        } else if let Some(value) = value {
            out.push(EnvVar { name: text.to_owned(), value });
        }
    }
    out
}

fn value(variable: &Spot<'_>, containers: &BTreeSet<&str>, findings: &mut Findings) -> Option<EnvValue> {
    let text = match variable.get("value") {
        None => Some(""),
        Some(value) => value.text(findings),
    };
    let Some(from) = variable.get("valueFrom") else { return text.map(|t| EnvValue::Text(t.to_owned())) };
    if text.is_some_and(|t| !t.is_empty()) {
        from.error(findings, "a variable has value or valueFrom, and this one has both");
        return None;
    }
    let Value::Map(_) = from.node.value else { return None };
    let (name, source) = references::only(&from, "a valueFrom", fields::VALUE_FROM, findings)?;
    let Value::Map(_) = source.node.value else { return None };
    match name {
        "fieldRef" => references::field(&source, Place::Env, findings).map(EnvValue::Field),
        "resourceFieldRef" => {
            references::resource(&source, Place::Env, containers, findings).map(EnvValue::Field)
        }
        "configMapKeyRef" => key(&source, ObjectKind::ConfigMap, findings),
        "secretKeyRef" => key(&source, ObjectKind::Secret, findings),
        // Refused by the table of fields.
        _ => None,
    }
}

fn key(source: &Spot<'_>, kind: ObjectKind, findings: &mut Findings) -> Option<EnvValue> {
    let object = references::object(source, "name", kind, findings);
    let key = references::key(source, findings);
    let optional = references::optional(source, findings);
    Some(EnvValue::Key { object: object?, key: key?, optional })
}

/// Reads `envFrom`.
pub(super) fn sources(item: &Spot<'_>, findings: &mut Findings) -> Vec<EnvFrom> {
    let maps = item.list("envFrom").filter(|i| matches!(i.node.value, Value::Map(_)));
    maps.filter_map(|from| {
        let prefix = match from.get("prefix") {
            None => Some(""),
            Some(prefix) => prefix.text(findings).inspect(|text| {
                if !text.is_empty()
                    && let Err(reason) = names::env_name(text)
                {
                    misfit(&prefix, text, reason, findings);
                }
            }),
        };
        let (name, source) = references::only(&from, "an item of envFrom", fields::ENV_FROM, findings)?;
        let Value::Map(_) = source.node.value else { return None };
        let kind = if name == "secretRef" { ObjectKind::Secret } else { ObjectKind::ConfigMap };
        let object = references::object(&source, "name", kind, findings);
        let optional = references::optional(&source, findings);
        Some(EnvFrom { prefix: prefix?.to_owned(), object: object?, optional })
    })
    .collect()
}
