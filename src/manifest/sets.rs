//! DaemonSets and StatefulSets: the rules around the template, which itself is read as any Pod is.
//!
//! The template becomes the document of a Pod: its own nodes, in their places, with a name put in. So whatever is wrong in it
//! is found by the very code that reads Pods, and told at its place in the file. Rules and defaults are the API server's
//! (`pkg/apis/apps/{v1/defaults.go,validation/validation.go}` of <https://github.com/kubernetes/kubernetes>).

mod placement;
mod render;
mod template;

pub use render::{pod_name, pod_of, restarted};

pub(super) use template::refuse_owner;

use std::collections::{BTreeMap, BTreeSet};

use super::escape::quoted;
use super::findings::Findings;
use super::metadata::{item_name, misfit, namespace};
use super::node::Value;
use super::resources::quantity;
use super::spot::Spot;
use super::{Context, fields, names, schema};
use crate::pod::Origin;
use crate::pod::node::{Operator, Placement, Requirement};
use crate::pod::quantity::Bytes;
use crate::pod::set::{Claim, Retention, Set, SetKey, SetKind, Update};

/// More Pods of one set on one host are a typing error.
const MOST_REPLICAS: i64 = 1000;

/// A StatefulSet's name is part of a label's value and of host names: with `-` and ten digits it has to fit into 63.
const STATEFUL_NAME_MAX: usize = 52;

/// The API's integers are 32 bits wide.
const INT32_MAX: i64 = 2_147_483_647;

/// What a document turned out to be: its name, if that could be told, and the set, unless it was refused.
#[derive(Debug)]
pub(super) struct Reading {
    pub key: Option<SetKey>,
    pub set: Option<Set>,
}

/// Reads one set, reporting everything that is wrong with it.
pub(super) fn read(
    document: &Spot<'_>,
    kind: SetKind,
    origin: Origin,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Reading {
    let table = match kind {
        SetKind::DaemonSet => fields::DAEMON_SET,
        SetKind::StatefulSet => fields::STATEFUL_SET,
    };
    schema::check_part(document, table, findings);
    let key = key(document, kind, findings);
    let Some(spec) = document.get("spec") else {
        findings.error(document.id(), "spec", "is missing");
        return Reading { key, set: None };
    };
    let claims = claims(&spec, kind, findings);
    let names: Vec<String> = claims.iter().map(|c| c.name.clone()).collect();
    let service = service(&spec, kind, findings);
    let mut labels = BTreeMap::new();
    let mut placement = Placement::default();
    let mut made = None;
    match spec.get("template") {
        None => {
            findings.error(spec.id(), "spec.template", "is missing").help("it is a Pod without a name");
        }
        Some(template) => {
            made = template::read(&template, kind, key.as_ref(), &names, context, findings);
            let at = |path: &str| made.as_ref().and_then(|m| m.pointer(path));
            for (label, value) in at("/metadata/labels").and_then(|l| l.as_object()).into_iter().flatten() {
                labels.extend(value.as_str().map(|text| (label.clone(), text.to_owned())));
            }
            if kind == SetKind::DaemonSet
                && let Some(spec) = template.get("spec")
            {
                let host_network = at("/spec/hostNetwork").is_some_and(|h| h == true);
                placement = placement::read(&spec, host_network, findings);
            }
        }
    }
    selector(&spec, made.is_some(), &labels, findings);
    let update = match kind {
        SetKind::DaemonSet => daemon_update(&spec, findings),
        SetKind::StatefulSet => stateful_update(&spec, findings),
    };
    let number = |field: &str, low, high, findings: &mut Findings| {
        let value = spec.get(field).and_then(|s| s.int(findings, low, high));
        value.and_then(|n| u32::try_from(n).ok())
    };
    number("revisionHistoryLimit", 0, INT32_MAX, findings);
    let min_ready_seconds = number("minReadySeconds", 0, INT32_MAX, findings).unwrap_or(0);
    let replicas = match kind {
        SetKind::DaemonSet => 1,
        SetKind::StatefulSet => number("replicas", 0, MOST_REPLICAS, findings).unwrap_or(1),
    };
    let start =
        spec.get("ordinals").and_then(|o| o.get("start")).and_then(|s| s.int(findings, 0, INT32_MAX / 2));
    const POLICIES: &[(&str, bool)] = &[("OrderedReady", false), ("Parallel", true)];
    let parallel = spec.get("podManagementPolicy").and_then(|s| s.choice(findings, POLICIES));
    let retention = retention(&spec, findings);
    let set = key.clone().zip(made).map(|(key, made)| Set {
        template: render::template(&made, service, names),
        key,
        origin,
        replicas,
        start: start.and_then(|s| u32::try_from(s).ok()).unwrap_or(0),
        parallel: parallel.unwrap_or(false),
        update: update.unwrap_or(Update::OnDelete),
        min_ready_seconds,
        placement,
        claims,
        retention,
    });
    Reading { key, set: set.filter(|_| !findings.refused()) }
}

fn key(document: &Spot<'_>, kind: SetKind, findings: &mut Findings) -> Option<SetKey> {
    let spot = super::objects::name_of(document, findings)?;
    let text = spot.text(findings)?;
    let fits = match kind {
        SetKind::DaemonSet => names::subdomain(text),
        SetKind::StatefulSet => names::label(text),
    };
    if let Err(reason) = fits {
        misfit(&spot, text, reason, findings);
        return None;
    }
    if kind == SetKind::StatefulSet && text.len() > STATEFUL_NAME_MAX {
        let message = format!("must be at most {STATEFUL_NAME_MAX} characters long, and has {}", text.len());
        spot.error(findings, message).help("the Pods' host names and labels are made of it");
        return None;
    }
    let namespace = document.get("metadata").and_then(|m| namespace(&m, findings))?;
    Some(SetKey { kind, namespace, name: text.to_owned() })
}

fn service(spec: &Spot<'_>, kind: SetKind, findings: &mut Findings) -> Option<String> {
    let spot = spec.get("serviceName").filter(|_| kind == SetKind::StatefulSet)?;
    let text = spot.filled(findings)?;
    if let Err(reason) = names::label(text) {
        misfit(&spot, text, reason, findings);
        return None;
    }
    Some(text.to_owned())
}

/// `spec.selector` must match the labels of the template, and match something at all.
fn selector(spec: &Spot<'_>, is_read: bool, labels: &BTreeMap<String, String>, findings: &mut Findings) {
    const OPERATORS: &[(&str, Operator)] = &[
        ("In", Operator::In),
        ("NotIn", Operator::NotIn),
        ("Exists", Operator::Exists),
        ("DoesNotExist", Operator::DoesNotExist),
    ];
    let help = "write it as in the template: selector: {matchLabels: {app: NAME}}";
    let Some(selector) = spec.get("selector") else {
        findings.error(spec.id(), "spec.selector", "is missing").help(help);
        return;
    };
    let mut count = 0;
    let mut hold = |spot: &Spot<'_>, requirement: Requirement, findings: &mut Findings| {
        count += 1;
        let value = labels.get(&requirement.key).map(String::as_str);
        // Of a template that could not be read the labels are not known.
        if is_read && !requirement.is_met(value) {
            let message = format!("does not match the template's labels: {requirement}");
            spot.error(findings, message).help("a set's Pods must be found by its selector");
        }
    };
    for (key, _, value) in selector.get("matchLabels").iter().flat_map(Spot::pairs) {
        if let Some(text) = value.text(findings) {
            let requirement =
                Requirement { key: key.to_owned(), operator: Operator::In, values: vec![text.to_owned()] };
            hold(&value, requirement, findings);
        }
    }
    for item in selector.list("matchExpressions") {
        if let Some(requirement) = placement::requirement(&item, OPERATORS, findings) {
            hold(&item, requirement, findings);
        }
    }
    if count == 0 {
        selector.error(findings, "is empty, and would match every Pod").help(help);
    }
}

/// A number, or a percentage of one node: whether it is above 0.
fn is_some_of_one(spot: &Spot<'_>, findings: &mut Findings) -> Option<bool> {
    let Value::Text(text) = &spot.node.value else {
        return spot.int(findings, 0, INT32_MAX).map(|n| n > 0);
    };
    match text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()).filter(|n| *n <= 100) {
        Some(percent) => Some(percent > 0),
        None => {
            spot.error(findings, format!("{} is neither a number nor a percentage", quoted(text)))
                .help("for example 1 or 10%");
            None
        }
    }
}

const ROLLING: &[(&str, bool)] = &[("RollingUpdate", true), ("OnDelete", false)];

/// `updateStrategy`, and whether it is RollingUpdate.
fn strategy<'n>(spec: &Spot<'n>, findings: &mut Findings) -> Option<(bool, Option<Spot<'n>>)> {
    let Some(strategy) = spec.get("updateStrategy") else { return Some((true, None)) };
    let is_rolling = match strategy.get("type") {
        None => true,
        Some(spot) => spot.choice(findings, ROLLING)?,
    };
    let rolling = strategy.get("rollingUpdate");
    if let Some(rolling) = rolling.as_ref().filter(|_| !is_rolling) {
        rolling.error(findings, "does not belong to type OnDelete");
    }
    Some((is_rolling, rolling))
}

fn daemon_update(spec: &Spot<'_>, findings: &mut Findings) -> Option<Update> {
    let (is_rolling, rolling) = strategy(spec, findings)?;
    if !is_rolling {
        return Some(Update::OnDelete);
    }
    let of = |field: &str, default: bool, findings: &mut Findings| {
        let spot = rolling.as_ref().and_then(|r| r.get(field));
        spot.map_or(Some(default), |spot| is_some_of_one(&spot, findings))
    };
    let unavailable = of("maxUnavailable", true, findings)?;
    let surge = of("maxSurge", false, findings)?;
    let at = rolling.as_ref().and_then(|r| r.get("maxSurge").or_else(|| r.get("maxUnavailable")));
    match (unavailable, surge) {
        (true, false) => Some(Update::Replace),
        (false, true) => Some(Update::Surge),
        (is_both, _) => {
            let (message, help) = if is_both {
                ("may not be above 0 beside maxUnavailable, which is 1 when absent", "add maxUnavailable: 0")
            } else {
                (
                    "maxUnavailable and maxSurge are both 0: nothing could ever be replaced",
                    "maxUnavailable: 1",
                )
            };
            if let Some(spot) = at {
                spot.error(findings, message).help(help);
            }
            None
        }
    }
}

fn stateful_update(spec: &Spot<'_>, findings: &mut Findings) -> Option<Update> {
    let (is_rolling, rolling) = strategy(spec, findings)?;
    if !is_rolling {
        return Some(Update::OnDelete);
    }
    let partition = match rolling.and_then(|r| r.get("partition")) {
        None => 0,
        Some(spot) => spot.int(findings, 0, INT32_MAX)?,
    };
    u32::try_from(partition).ok().map(Update::Partition)
}

fn retention(spec: &Spot<'_>, findings: &mut Findings) -> Retention {
    const POLICIES: &[(&str, bool)] = &[("Retain", false), ("Delete", true)];
    let policy = spec.get("persistentVolumeClaimRetentionPolicy");
    let of = |field: &str, findings: &mut Findings| {
        let spot = policy.as_ref().and_then(|p| p.get(field));
        spot.and_then(|s| s.choice(findings, POLICIES)).unwrap_or(false)
    };
    Retention { delete_with_set: of("whenDeleted", findings), delete_when_scaled: of("whenScaled", findings) }
}

fn claims(spec: &Spot<'_>, kind: SetKind, findings: &mut Findings) -> Vec<Claim> {
    let mut taken = BTreeSet::new();
    let mut out = Vec::new();
    if kind == SetKind::DaemonSet {
        return out;
    }
    for item in spec.list("volumeClaimTemplates") {
        let Some(metadata) = item.get("metadata") else {
            findings.error(item.id(), &item.path_of("metadata.name"), "is missing");
            continue;
        };
        let name = item_name(&metadata, "volumeClaimTemplates", &mut taken, findings);
        let requests = item.get("spec").and_then(|s| s.get("resources")).and_then(|r| r.get("requests"));
        let mut request = None;
        for (key, id, value) in requests.iter().flat_map(Spot::pairs) {
            if key == "storage" {
                request = quantity(&value, Bytes::parse, findings);
            } else {
                findings.warning(id, &value.path, "has no effect: a claim asks for storage only");
            }
        }
        out.extend(name.map(|name| Claim { name, request }));
    }
    out
}

#[cfg(test)]
mod tests;
