//! `spec.containers`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::escape::quoted;
use super::findings::Findings;
use super::metadata::misfit;
use super::node::Value;
use super::spot::Spot;
use super::volumes::{self, Volumes};
use super::{names, probes, resources, security};
use crate::pod::reference::Reference;
use crate::pod::{Container, ContainerName, EnvValue, EnvVar, Port, PullPolicy};

/// Reads all containers. What could not be read is left out, and has been reported.
pub(super) fn read(
    spec: &Spot<'_>,
    volumes: &Volumes,
    host_network: bool,
    findings: &mut Findings,
) -> Vec<Container> {
    let mut out = Vec::new();
    let mut taken_names = BTreeSet::new();
    let mut taken_ports = BTreeSet::new();
    let mut any = false;
    for item in spec.list("containers") {
        any = true;
        if matches!(item.node.value, Value::Map(_)) {
            let ports = ports(&item, host_network, &mut taken_ports, findings);
            out.extend(container(&item, volumes, &mut taken_names, ports, findings));
        }
    }
    let not_a_list = spec.get("containers").is_some_and(|c| !matches!(c.node.value, Value::List(_)));
    if !any && !not_a_list {
        findings.error(spec.id(), &spec.path_of("containers"), "must have at least one container");
    }
    out
}

fn container(
    item: &Spot<'_>,
    volumes: &Volumes,
    taken: &mut BTreeSet<String>,
    ports: Vec<Port>,
    findings: &mut Findings,
) -> Option<Container> {
    let name = name(item, taken, findings);
    let image = image(item, findings);
    let pull_policy = pull_policy(item, image.as_ref(), findings);
    let security = security::container(item.get("securityContext").as_ref(), findings);
    let mounts = volumes::mounts(item, volumes, security.privileged, findings);
    let texts =
        |field: &str, findings: &mut Findings| item.get(field).map(|s| s.texts(findings)).unwrap_or_default();
    let command = texts("command", findings);
    let args = texts("args", findings);
    let working_dir = working_dir(item, findings);
    let env = env(item, findings);
    let resources = resources::read(item, findings);
    let liveness = probes::read(item, "livenessProbe", &ports, findings);
    let readiness = probes::read(item, "readinessProbe", &ports, findings);
    let startup = probes::read(item, "startupProbe", &ports, findings);
    Some(Container {
        pull_policy: pull_policy?,
        command,
        args,
        working_dir,
        env,
        ports,
        resources,
        mounts,
        liveness,
        readiness,
        startup,
        security: security.shared,
        privileged: security.privileged,
        allow_privilege_escalation: security.allow_privilege_escalation,
        read_only_root: security.read_only_root,
        cap_add: security.cap_add,
        cap_drop: security.cap_drop,
        ..Container::new(name?, image?)
    })
}

fn working_dir(item: &Spot<'_>, findings: &mut Findings) -> Option<String> {
    let spot = item.get("workingDir")?;
    let text = spot.filled(findings)?;
    // The OCI runtime would refuse it at every start.
    if !text.starts_with('/') {
        spot.error(findings, format!("{} is not absolute", quoted(text)))
            .help(format!("did you mean /{text}?"));
    }
    Some(text.to_owned())
}

fn name(item: &Spot<'_>, taken: &mut BTreeSet<String>, findings: &mut Findings) -> Option<ContainerName> {
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
        spot.error(findings, format!("there are two containers named {}", quoted(text)));
        return None;
    }
    Some(ContainerName::new(text))
}

fn image(item: &Spot<'_>, findings: &mut Findings) -> Option<Reference> {
    let Some(spot) = item.get("image") else {
        findings.error(item.id(), &item.path_of("image"), "is missing");
        return None;
    };
    let text = spot.text(findings)?;
    match Reference::parse(text) {
        Ok(reference) => Some(reference),
        Err(error) => {
            let finding = spot.error(findings, format!("{}: {error}", quoted(text)));
            let lower = text.trim().to_lowercase();
            let lower = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
            if lower != text && Reference::parse(lower).is_ok() {
                finding.help(format!("did you mean {lower}?"));
            }
            None
        }
    }
}

fn pull_policy(item: &Spot<'_>, image: Option<&Reference>, findings: &mut Findings) -> Option<PullPolicy> {
    let default = match image {
        Some(image) if image.is_latest() => PullPolicy::Always,
        Some(_) | None => PullPolicy::IfNotPresent,
    };
    match item.get("imagePullPolicy") {
        None => Some(default),
        Some(spot) => spot.choice(
            findings,
            &[
                ("Always", PullPolicy::Always),
                ("IfNotPresent", PullPolicy::IfNotPresent),
                ("Never", PullPolicy::Never),
            ],
        ),
    }
}

fn env(item: &Spot<'_>, findings: &mut Findings) -> Vec<EnvVar> {
    let mut out = Vec::new();
    for variable in item.list("env") {
        if !matches!(variable.node.value, Value::Map(_)) {
            continue;
        }
        let value = match variable.get("value") {
            None => Some(""),
            Some(value) => value.text(findings),
        };
        value_from(&variable, findings);
        let Some(name) = variable.get("name") else {
            findings.error(variable.id(), &variable.path_of("name"), "is missing");
            continue;
        };
        let Some(text) = name.text(findings) else { continue };
        if let Err(reason) = names::env_name(text) {
            misfit(&name, text, reason, findings);
        } else if let Some(value) = value {
            out.push(EnvVar { name: text.to_owned(), value: EnvValue::Text(value.to_owned()) });
        }
    }
    out
}

/// The sources that are known are refused by the table of fields; here those that are not known.
fn value_from(variable: &Spot<'_>, findings: &mut Findings) {
    if let Some(spot) = variable.get("valueFrom")
        && !super::fields::VALUE_FROM.iter().any(|f| spot.get(f.name).is_some())
    {
        spot.error(findings, "has no source that is known");
    }
}

/// Host ports that a container of this Pod has taken: port, protocol, address.
type TakenPorts = BTreeSet<(u16, String, Option<String>)>;

fn ports(item: &Spot<'_>, host_network: bool, taken: &mut TakenPorts, findings: &mut Findings) -> Vec<Port> {
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
