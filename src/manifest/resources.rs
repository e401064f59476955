//! `resources` of one container: how much of the node it may use.

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::Value;
use super::spot::Spot;
use crate::pod::Resources;
use crate::pod::quantity::{Bytes, MilliCpu, QuantityError};

/// Reads `resources`. A missing request is taken from its limit, as the API server would fill it in.
pub(super) fn read(container: &Spot<'_>, findings: &mut Findings) -> Resources {
    let Some(spot) = container.get("resources") else { return Resources::default() };
    let limits = amounts(&spot, "limits", findings);
    let requests = amounts(&spot, "requests", findings);
    exceeds(&requests.cpu, &limits.cpu, "cpu", findings);
    exceeds(&requests.memory, &limits.memory, "memory", findings);
    let cpu_limit = limits.cpu.map(|(q, _)| q);
    let memory_limit = limits.memory.map(|(q, _)| q);
    Resources {
        cpu_request: requests.cpu.map(|(q, _)| q).or(cpu_limit),
        cpu_limit,
        memory_request: requests.memory.map(|(q, _)| q).or(memory_limit),
        memory_limit,
        ..Resources::default()
    }
}

#[derive(Default)]
struct Amounts<'n> {
    cpu: Option<(MilliCpu, Spot<'n>)>,
    memory: Option<(Bytes, Spot<'n>)>,
}

fn amounts<'n>(resources: &Spot<'n>, field: &str, findings: &mut Findings) -> Amounts<'n> {
    let mut out = Amounts::default();
    let Some(spot) = resources.get(field) else { return out };
    for (name, id, value) in spot.pairs().filter(|(.., value)| value.node.value != Value::Null) {
        match name {
            "cpu" => out.cpu = quantity(&value, MilliCpu::parse, findings).map(|q| (q, value)),
            "memory" => out.memory = quantity(&value, Bytes::parse, findings).map(|q| (q, value)),
            _ if name == "ephemeral-storage" || name.starts_with("hugepages-") => {
                // A request is for a scheduler; only a limit would bind the container.
                let amount = quantity(&value, Bytes::parse, findings);
                if field == "limits" && amount.is_some_and(|q| q.0 > 0) {
                    findings.warning(id, &value.path, "has no effect: it is not enforced");
                }
            }
            _ => {
                let message = format!("cannot be honoured: there is no resource {} here", quoted(name));
                let finding = findings.error(id, &value.path, message);
                if let Some(near) = nearest(name, ["cpu", "memory", "ephemeral-storage"]) {
                    finding.help(format!("did you mean {near}?"));
                }
            }
        }
    }
    out
}

fn quantity<T>(
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
