//! `ports` of one container.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::escape::quoted;
use super::findings::Findings;
use super::metadata::misfit;
use super::names;
use super::node::Value;
use super::spot::Spot;
use crate::pod::Port;

/// Host ports that a container of this Pod has taken: port, protocol, address.
pub(super) type TakenPorts = BTreeSet<(u16, String, Option<String>)>;

/// Reads `ports`.
pub(super) fn read(
    item: &Spot<'_>,
    host_network: bool,
    taken: &mut TakenPorts,
    findings: &mut Findings,
) -> Vec<Port> {
    let mut out: Vec<Port> = Vec::new();
    for entry in item.list("ports") {
        if !matches!(entry.node.value, Value::Map(_)) {
            continue;
        }
        let Some(port) = port(&entry, host_network, findings) else { continue };
        if port.name.is_some() && out.iter().any(|p| p.name == port.name) {
            let name = port.name.as_deref().unwrap_or("");
            findings.error(
                entry.id(),
                &entry.path_of("name"),
                format!("there are two ports named {}", quoted(name)),
            );
        }
        if let Some(host_port) = port.host_port
            && !taken.insert((host_port, port.protocol.clone(), port.host_ip.clone()))
        {
            let message =
                format!("port {host_port}/{} of the host is taken twice in this Pod", port.protocol);
            entry.error(findings, message);
        }
        out.push(port);
    }
    out
}

fn port(entry: &Spot<'_>, host_network: bool, findings: &mut Findings) -> Option<Port> {
    let number = |spot: &Spot<'_>, low: i64, findings: &mut Findings| {
        spot.int(findings, low, 65535).and_then(|v| u16::try_from(v).ok())
    };
    let container_port = match entry.get("containerPort") {
        Some(spot) => number(&spot, 1, findings),
        None => {
            findings.error(entry.id(), &entry.path_of("containerPort"), "is missing");
            None
        }
    };
    let name = entry.get("name").and_then(|spot| {
        let text = spot.filled(findings)?;
        if let Err(reason) = names::port_name(text) {
            misfit(&spot, text, reason, findings);
        }
        Some(text.to_owned())
    });
    let protocol = match entry.get("protocol") {
        None => Some("TCP"),
        Some(spot) => spot.choice(findings, &[("TCP", "TCP"), ("UDP", "UDP"), ("SCTP", "SCTP")]),
    };
    let host_ip = entry.get("hostIP").and_then(|spot| {
        let text = spot.filled(findings)?;
        if text.parse::<IpAddr>().is_err() {
            spot.error(findings, format!("{} is no address", quoted(text)));
        }
        Some(text.to_owned())
    });
    // 0 is what Go cannot tell from absent.
    let host_port = entry.get("hostPort").and_then(|spot| Some((number(&spot, 0, findings)?, spot)));
    let host_port = host_port.filter(|(port, _)| *port != 0);
    let container_port = container_port?;
    if let Some((host_port, spot)) = &host_port
        && host_network
        && *host_port != container_port
    {
        spot.error(findings, format!("must equal containerPort ({container_port}) under hostNetwork"));
    }
    let host_port = host_port.map(|(port, _)| port).or(host_network.then_some(container_port));
    Some(Port { name, container_port, host_port, protocol: protocol?.to_owned(), host_ip })
}
