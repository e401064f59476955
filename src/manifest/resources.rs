//! `resources`, of one container and of the Pod: how much of the node they may use.

use std::collections::BTreeMap;

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::Value;
use super::spot::Spot;
use crate::pod::quantity::{Bytes, MilliCpu, QuantityError};
use crate::pod::{Container, Resources};

/// Reads `resources`. A missing request is taken from its limit, as the API server would fill it in.
pub(super) fn read(container: &Spot<'_>, findings: &mut Findings) -> Resources {
    let Some(spot) = container.get("resources") else { return Resources::default() };
    let (limits, requests) = both(&spot, false, findings);
    let cpu_limit = limits.cpu.map(|(q, _)| q);
    let memory_limit = limits.memory.map(|(q, _)| q);
    let storage_limit = limits.storage.map(|(q, _)| q);
    Resources {
        cpu_request: requests.cpu.map(|(q, _)| q).or(cpu_limit),
        cpu_limit,
        memory_request: requests.memory.map(|(q, _)| q).or(memory_limit),
        memory_limit,
        huge_pages: limits.huge.into_iter().map(|(size, (q, _))| (size, q)).collect(),
        ephemeral_storage_limit: storage_limit,
        ephemeral_storage_request: requests.storage.map(|(q, _)| q).or(storage_limit),
    }
}

/// Reads `spec.resources`, in which the containers must fit. A missing request is what the containers request, or else
/// the limit (`pkg/apis/core/v1/defaults.go`).
pub(super) fn pod(
    spec: &Spot<'_>,
    inits: &[Container],
    others: &[Container],
    findings: &mut Findings,
) -> Option<Resources> {
    let spot = spec.get("resources")?;
    let (limits, requests) = both(&spot, true, findings);
    let cpu = |c: &Container| c.resources.cpu_request.map_or(0, |q| q.0);
    let memory = |c: &Container| c.resources.memory_request.map_or(0, |q| q.0);
    let (all_cpu, all_memory) = (together(inits, others, cpu), together(inits, others, memory));
    let too_small = "is less than the containers request together";
    if let Some((_, spot)) = requests.cpu.as_ref().filter(|(q, _)| q.0 < all_cpu) {
        spot.error(findings, format!("{too_small}: {all_cpu}m"));
    }
    if let Some((_, spot)) = requests.memory.as_ref().filter(|(q, _)| q.0 < all_memory) {
        spot.error(findings, format!("{too_small}: {all_memory}"));
    }
    for container in inits.iter().chain(others) {
        let r = &container.resources;
        let name = &container.name;
        let over = |what: &str| format!("is less than the limits.{what} of the container {name}");
        if let (Some((pod, spot)), Some(own)) = (&limits.cpu, r.cpu_limit)
            && own > *pod
        {
            spot.error(findings, over("cpu"));
        }
        if let (Some((pod, spot)), Some(own)) = (&limits.memory, r.memory_limit)
            && own > *pod
        {
            spot.error(findings, over("memory"));
        }
    }
    for (size, (limit, spot)) in &limits.huge {
        let all = together(inits, others, |c| c.resources.huge_pages.get(size).map_or(0, |q| q.0));
        if limit.0 < all {
            spot.error(findings, format!("is less than the containers have together: {all}"));
        }
    }
    let default = |sum: u64, limit: Option<u64>| if sum > 0 { Some(sum) } else { limit };
    let cpu_limit = limits.cpu.map(|(q, _)| q);
    let memory_limit = limits.memory.map(|(q, _)| q);
    Some(Resources {
        cpu_request: requests.cpu.map(|(q, _)| q).or(default(all_cpu, cpu_limit.map(|q| q.0)).map(MilliCpu)),
        cpu_limit,
        memory_request: requests
            .memory
            .map(|(q, _)| q)
            .or(default(all_memory, memory_limit.map(|q| q.0)).map(Bytes)),
        memory_limit,
        huge_pages: limits.huge.into_iter().map(|(size, (q, _))| (size, q)).collect(),
        ephemeral_storage_limit: None,
        ephemeral_storage_request: None,
    })
}

/// What runs at one time at most: all containers and sidecars, or an init container and the sidecars before it.
fn together(inits: &[Container], others: &[Container], of: impl Fn(&Container) -> u64) -> u64 {
    let (mut sidecars, mut peak) = (0_u64, 0_u64);
    for container in inits {
        if container.sidecar {
            sidecars = sidecars.saturating_add(of(container));
        } else {
            peak = peak.max(sidecars.saturating_add(of(container)));
        }
    }
    others.iter().fold(sidecars, |sum, c| sum.saturating_add(of(c))).max(peak)
}

type Amount<'n, T> = Option<(T, Spot<'n>)>;

#[derive(Default)]
struct Amounts<'n> {
    cpu: Amount<'n, MilliCpu>,
    memory: Amount<'n, Bytes>,
    storage: Amount<'n, Bytes>,
    /// By size of the pages.
    huge: BTreeMap<u64, (Bytes, Spot<'n>)>,
}

/// Limits and requests, held against each other.
fn both<'n>(spot: &Spot<'n>, of_pod: bool, findings: &mut Findings) -> (Amounts<'n>, Amounts<'n>) {
    let limits = amounts(spot, "limits", of_pod, findings);
    let requests = amounts(spot, "requests", of_pod, findings);
    exceeds(&requests.cpu, &limits.cpu, "cpu", findings);
    exceeds(&requests.memory, &limits.memory, "memory", findings);
    exceeds(&requests.storage, &limits.storage, "ephemeral-storage", findings);
    let base = [&limits, &requests].into_iter().any(|a| a.cpu.is_some() || a.memory.is_some());
    for (size, (amount, spot)) in &requests.huge {
        if limits.huge.get(size).is_none_or(|(limit, _)| limit != amount) {
            spot.error(findings, "must equal the limit: huge pages are not shared out twice");
        }
    }
    if let Some((_, spot)) = limits.huge.values().next().filter(|_| !base) {
        spot.error(findings, "needs cpu or memory beside it, as every container with huge pages does");
    }
    (limits, requests)
}

fn amounts<'n>(resources: &Spot<'n>, field: &str, of_pod: bool, findings: &mut Findings) -> Amounts<'n> {
    let mut out = Amounts::default();
    let Some(spot) = resources.get(field) else { return out };
    for (name, id, value) in spot.pairs().filter(|(.., value)| value.node.value != Value::Null) {
        match name {
            "cpu" => out.cpu = quantity(&value, MilliCpu::parse, findings).map(|q| (q, value)),
            "memory" => out.memory = quantity(&value, Bytes::parse, findings).map(|q| (q, value)),
            "ephemeral-storage" if !of_pod => {
                // A request is for a scheduler; only a limit would bind the container.
                let amount = quantity(&value, Bytes::parse, findings);
                if field == "limits" && amount.is_some_and(|q| q.0 > 0) {
                    findings.warning(id, &value.path, "has no effect: it is not enforced");
                }
                out.storage = amount.map(|q| (q, value));
            }
            _ => {
                if let Some(size) = name.strip_prefix("hugepages-") {
                    let pages = huge_pages(size, id, &value, findings);
                    out.huge.extend(pages.map(|(size, amount)| (size, (amount, value))));
                    continue;
                }
                let whose = if of_pod { "of a Pod as a whole" } else { "here" };
                let message = format!("cannot be honoured: there is no resource {} {whose}", quoted(name));
                let finding = findings.error(id, &value.path, message);
                let known = ["cpu", "memory", "hugepages-2Mi", "ephemeral-storage"];
                let known = known.get(..if of_pod { 3 } else { 4 }).unwrap_or(&known);
                if let Some(near) = nearest(name, known.iter().copied()) {
                    finding.help(format!("did you mean {near}?"));
                }
            }
        }
    }
    out
}

/// Size of the pages and amount, which is in whole pages.
fn huge_pages(size: &str, id: u32, value: &Spot<'_>, findings: &mut Findings) -> Option<(u64, Bytes)> {
    let amount = quantity(value, Bytes::parse, findings);
    let Some(size) = Bytes::parse(size).ok().filter(|s| s.0.is_power_of_two()) else {
        findings
            .error(id, &value.path, format!("{} is no size of a page", quoted(size)))
            .help("for example hugepages-2Mi");
        return None;
    };
    let amount = amount?;
    if !amount.0.is_multiple_of(size.0) {
        value.error(findings, "must be a whole number of pages");
    }
    Some((size.0, amount))
}

/// An amount; `parse` gives its unit.
pub(super) fn quantity<T>(
    value: &Spot<'_>,
    parse: impl Fn(&str) -> Result<T, QuantityError>,
    findings: &mut Findings,
) -> Option<T> {
    let text = match &value.node.value {
        Value::Text(text) => text.clone(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => f.to_string(),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
            value.error(findings, format!("must be an amount such as 100m or 128Mi, and is {}", value.is()));
            return None;
        }
    };
    match parse(&text) {
        Ok(quantity) => Some(quantity),
        Err(error) => {
            let finding = value.error(findings, format!("{}: {error}", quoted(&text)));
            let trimmed = text.strip_suffix('B').or_else(|| text.strip_suffix('b')).unwrap_or("");
            let spaceless: String = text.split_whitespace().collect();
            for candidate in [spaceless.as_str(), trimmed, &text.replace('K', "k"), &capital(&text)] {
                if candidate != text && parse(candidate).is_ok() {
                    finding.help(format!("did you mean {candidate}?"));
                    break;
                }
            }
            None
        }
    }
}

/// `128mi` → `128Mi`.
fn capital(text: &str) -> String {
    match text.find(|c: char| c.is_ascii_alphabetic()).and_then(|i| text.split_at_checked(i)) {
        Some((number, suffix)) => {
            let mut chars = suffix.chars();
            let first = chars.next().map(|c| c.to_ascii_uppercase());
            number.chars().chain(first).chain(chars).collect()
        }
        None => String::new(),
    }
}

fn exceeds<T: Ord>(
    request: &Option<(T, Spot<'_>)>,
    limit: &Option<(T, Spot<'_>)>,
    name: &str,
    findings: &mut Findings,
) {
    if let (Some((request, spot)), Some((limit, _))) = (request, limit)
        && request > limit
    {
        spot.error(findings, format!("the request is larger than limits.{name}"));
    }
}
