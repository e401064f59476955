//! What a DaemonSet's template asks of its node.

use std::collections::BTreeMap;

use crate::manifest::escape::quoted;
use crate::manifest::findings::Findings;
use crate::manifest::metadata::misfit;
use crate::manifest::spot::Spot;
use crate::manifest::{fields, names, schema};
use crate::pod::node::{Effect, Operator, Placement, Requirement, Term, Toleration, daemon_tolerations};

/// Where the terms stand that a node must meet.
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Reads nodeName, nodeSelector, required nodeAffinity and tolerations; adds what Kubernetes adds for a DaemonSet.
pub(super) fn read(spec: &Spot<'_>, host_network: bool, findings: &mut Findings) -> Placement {
    let node_name = spec.get("nodeName").and_then(|s| s.filled(findings)).map(str::to_owned);
    let mut selector = BTreeMap::new();
    for (key, id, value) in spec.get("nodeSelector").iter().flat_map(Spot::pairs) {
        if let Err(reason) = names::qualified(key) {
            findings.error(id, &value.path, format!("the key {} {}", quoted(key), reason.reason));
        }
        let Some(text) = value.text(findings) else { continue };
        if let Err(reason) = names::label_value(text) {
            misfit(&value, text, reason, findings);
        }
        selector.insert(key.to_owned(), text.to_owned());
    }
    let affinity = spec.get("affinity").and_then(|a| a.get("nodeAffinity")).and_then(|n| n.get(REQUIRED));
    let required = affinity.map(|spot| terms(&spot, findings));
    let mut tolerations: Vec<Toleration> =
        spec.list("tolerations").filter_map(|item| toleration(&item, findings)).collect();
    tolerations.extend(daemon_tolerations(host_network).map(|(key, effect)| Toleration {
        key: Some(key.to_owned()),
        value: None,
        effect: Some(effect),
    }));
    Placement { node_name, selector, required, tolerations }
}

fn terms(spot: &Spot<'_>, findings: &mut Findings) -> Vec<Term> {
    schema::check_part(spot, fields::NODE_TERMS, findings);
    let mut out = Vec::new();
    for item in spot.list("nodeSelectorTerms") {
        let all = |field: &str, findings: &mut Findings| -> Vec<Requirement> {
            item.list(field).filter_map(|r| requirement(&r, Operator::ALL, findings)).collect()
        };
        let term =
            Term { expressions: all("matchExpressions", findings), fields: all("matchFields", findings) };
        if let Some(other) = term.fields.iter().find(|f| f.key != "metadata.name") {
            item.error(findings, format!("{} is no field that can be matched", quoted(&other.key)))
                .help("metadata.name is the only one");
        }
        out.push(term);
    }
    if out.is_empty() {
        findings
            .error(spot.id(), &spot.path_of("nodeSelectorTerms"), "is missing or empty")
            .help("without a term no node would fit");
    }
    out
}

/// One of `matchExpressions`.
pub(super) fn requirement(
    item: &Spot<'_>,
    operators: &[(&str, Operator)],
    findings: &mut Findings,
) -> Option<Requirement> {
    let needed = |field: &str, findings: &mut Findings| {
        let spot = item.get(field);
        if spot.is_none() {
            findings.error(item.id(), &item.path_of(field), "is missing");
        }
        spot
    };
    let (key, operator) = (needed("key", findings), needed("operator", findings));
    let key = key?.text(findings)?.to_owned();
    let operator = operator?.choice(findings, operators)?;
    let values = item.get("values").map(|v| v.texts(findings)).unwrap_or_default();
    let wrong = match operator {
        Operator::In | Operator::NotIn if values.is_empty() => Some("needs values"),
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => Some("takes no values"),
        Operator::Gt | Operator::Lt
            if values.len() != 1 || values.iter().any(|v| v.parse::<i64>().is_err()) =>
        {
            Some("needs one value, a whole number")
        }
        _ => None,
    };
    if let Some(why) = wrong {
        let name = Operator::ALL.iter().find(|(_, o)| *o == operator).map_or("", |(name, _)| name);
        item.error(findings, format!("the operator {name} {why}"));
        return None;
    }
    Some(Requirement { key, operator, values })
}

fn toleration(item: &Spot<'_>, findings: &mut Findings) -> Option<Toleration> {
    const OPERATORS: &[(&str, bool)] = &[("Equal", false), ("Exists", true), ("", false)];
    schema::check_part(item, fields::TOLERATION, findings);
    let text = |field: &str, findings: &mut Findings| {
        item.get(field).and_then(|s| s.filled(findings)).map(str::to_owned)
    };
    let key = text("key", findings);
    let value = text("value", findings);
    let exists = match item.get("operator") {
        None => false,
        Some(spot) => spot.choice(findings, OPERATORS)?,
    };
    let effect = match item.get("effect") {
        None => None,
        Some(spot) => match spot.filled(findings) {
            None => None,
            Some(_) => Some(spot.choice(findings, &Effect::ALL)?),
        },
    };
    if key.is_none() && !exists {
        item.error(findings, "has no key, which only operator: Exists may leave out");
        return None;
    }
    if exists && value.is_some() {
        item.error(findings, "has a value, which operator: Exists does not take");
        return None;
    }
    Some(Toleration { key, value: (!exists).then(|| value.unwrap_or_default()), effect })
}
