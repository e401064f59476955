//! Probes of one container.

use std::net::Ipv6Addr;

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::Value;
use super::spot::Spot;
use crate::pod::{Port, Probe, ProbeAction};

/// The API's integers are 32 bits wide.
const INT32_MAX: i64 = 2_147_483_647;

/// Reads one of the three probes.
pub(super) fn read(
    container: &Spot<'_>,
    name: &str,
    ports: &[Port],
    findings: &mut Findings,
) -> Option<Probe> {
    let spot = container.get(name)?;
    let Value::Map(_) = spot.node.value else { return None };
    let action = action(&spot, ports, findings);
    // 0 is what Go cannot tell from absent.
    let mut number = |field: &str, default: u32| {
        let value = spot.get(field).and_then(|s| s.int(findings, 0, INT32_MAX));
        value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
    };
    let (initial_delay, timeout, period) =
        (number("initialDelaySeconds", 0), number("timeoutSeconds", 1), number("periodSeconds", 10));
    let (success_threshold, failure_threshold) =
        (number("successThreshold", 1), number("failureThreshold", 3));
    if success_threshold != 1
        && name != "readinessProbe"
        && let Some(spot) = spot.get("successThreshold")
    {
        spot.error(findings, format!("must be 1 for a {name}"));
    }
    let grace_seconds = spot.get("terminationGracePeriodSeconds").and_then(|s| {
        if name == "readinessProbe" {
            s.error(findings, "must not be set for a readinessProbe, which stops nothing");
        }
        s.int(findings, 1, INT32_MAX).and_then(|v| u32::try_from(v).ok())
    });
    Some(Probe {
        action: action?,
        initial_delay,
        timeout,
        period,
        success_threshold,
        failure_threshold,
        grace_seconds,
    })
}

fn action(probe: &Spot<'_>, ports: &[Port], findings: &mut Findings) -> Option<ProbeAction> {
    const HANDLERS: [&str; 4] = ["httpGet", "tcpSocket", "exec", "grpc"];
    let mut given = HANDLERS.iter().filter_map(|h| Some((*h, probe.get(h)?)));
    let Some((name, spot)) = given.next() else {
        probe.error(findings, "asks nothing").help("add httpGet, tcpSocket, exec or grpc");
        return None;
    };
    if let Some((second, other)) = given.next() {
        other.error(findings, format!("a probe asks one thing, and this one has {name} and {second}"));
        return None;
    }
    match name {
        "httpGet" => http_get(&spot, ports, findings),
        "tcpSocket" => {
            let host = host(&spot, findings);
            let port = port(&spot, ports, findings);
            Some(ProbeAction::TcpSocket { host: host?, port: port? })
        }
        "exec" => Some(ProbeAction::Exec { command: command(&spot, findings)? }),
        _ => grpc(&spot, findings),
    }
}

fn grpc(spot: &Spot<'_>, findings: &mut Findings) -> Option<ProbeAction> {
    let Value::Map(_) = spot.node.value else { return None };
    let port = super::references::required(spot, "port", findings).and_then(|port| {
        if let Value::Text(text) = &port.node.value {
            port.error(findings, format!("must be a number, and is the text {}", quoted(text)))
                .help("the port of a grpc probe has no name");
            return None;
        }
        port.int(findings, 1, 65535).and_then(|v| u16::try_from(v).ok())
    });
    let service = match spot.get("service") {
        None => Some(""),
        Some(service) => service.text(findings),
    };
    Some(ProbeAction::Grpc { port: port?, service: service?.to_owned() })
}

/// The command of a probe or hook.
pub(super) fn command(spot: &Spot<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    let Value::Map(_) = spot.node.value else { return None };
    let given = spot.get("command");
    if given.as_ref().is_some_and(|c| !matches!(c.node.value, Value::List(_))) {
        return None;
    }
    let command = given.map(|c| c.texts(findings)).unwrap_or_default();
    if command.is_empty() {
        findings.error(spot.id(), &spot.path_of("command"), "must have at least one item");
        return None;
    }
    Some(command)
}

/// An HTTP request of a probe or hook.
pub(super) fn http_get(spot: &Spot<'_>, ports: &[Port], findings: &mut Findings) -> Option<ProbeAction> {
    let host = host(spot, findings);
    let port = port(spot, ports, findings);
    let path = match spot.get("path") {
        None => Some("/".to_owned()),
        Some(path) => path.text(findings).and_then(|text| {
            if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
                path.error(findings, "must not contain blanks or control characters")
                    .help("write a blank as %20");
                return None;
            }
            Some(if text.starts_with('/') { text.to_owned() } else { format!("/{text}") })
        }),
    };
    let https = match spot.get("scheme") {
        None => Some(false),
        Some(scheme) => scheme.choice(findings, &[("HTTP", false), ("HTTPS", true)]),
    };
    let headers = headers(spot, findings);
    Some(ProbeAction::HttpGet { host: host?, port: port?, path: path?, https: https?, headers })
}

fn headers(spot: &Spot<'_>, findings: &mut Findings) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for item in spot.list("httpHeaders") {
        if !matches!(item.node.value, Value::Map(_)) {
            continue;
        }
        let Some(name) = item.get("name") else {
            findings.error(item.id(), &item.path_of("name"), "is missing");
            continue;
        };
        let value = item.get("value");
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let name_text = name.text(findings);
        if name_text.is_some_and(|n| n.is_empty() || !n.chars().all(token)) {
            name.error(findings, "is no name of an HTTP header");
            continue;
        }
        let text = match &value {
            None => Some(""),
            Some(value) => value.text(findings),
        };
        if let (Some(text), Some(value)) = (text, &value)
            && text.contains(|c: char| c.is_control() && c != '\t')
        {
            value.error(findings, "must not contain control characters");
            continue;
        }
        if let (Some(name), Some(text)) = (name_text, text) {
            out.push((name.to_owned(), text.to_owned()));
        }
    }
    out
}

/// The outer `None` is a refused host, the inner one no host.
#[allow(clippy::option_option)]
fn host(spot: &Spot<'_>, findings: &mut Findings) -> Option<Option<String>> {
    let Some(host) = spot.get("host") else { return Some(None) };
    let text = host.text(findings)?;
    if text.is_empty() {
        return Some(None);
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '%');
    if text.len() > 253 || !text.chars().all(good) || text.starts_with('-') {
        let finding = host.error(findings, format!("{} is no host name or address", quoted(text)));
        if text.contains("://") || text.contains('/') {
            finding.help("scheme and path have fields of their own");
        }
        return None;
    }
    let address = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address = address.split('%').next().unwrap_or(address);
    if text.contains(':') && address.parse::<Ipv6Addr>().is_err() {
        host.error(findings, format!("{} is no host name or address", quoted(text)))
            .help("the port has a field of its own");
        return None;
    }
    Some(Some(text.to_owned()))
}

fn port(spot: &Spot<'_>, ports: &[Port], findings: &mut Findings) -> Option<u16> {
    let Some(port) = spot.get("port") else {
        findings.error(spot.id(), &spot.path_of("port"), "is missing");
        return None;
    };
    let Value::Text(text) = &port.node.value else {
        return port.int(findings, 1, 65535).and_then(|v| u16::try_from(v).ok());
    };
    if let Some(found) = ports.iter().find(|p| p.name.as_deref() == Some(text)) {
        return Some(found.container_port);
    }
    if text.parse::<u16>().is_ok() {
        port.error(findings, format!("{} is text, and names no port", quoted(text)))
            .help(format!("remove the quotes: {text}"));
        return None;
    }
    let finding = port.error(findings, format!("the container has no port named {}", quoted(text)));
    let names: Vec<&str> = ports.iter().filter_map(|p| p.name.as_deref()).collect();
    match nearest(text, names.iter().copied()) {
        Some(near) => finding.help(format!("did you mean {near}?")),
        None if names.is_empty() => finding.help("name one in the container's ports, or write its number"),
        None => finding.help(format!("its ports are named {}", names.join(", "))),
    };
    None
}
