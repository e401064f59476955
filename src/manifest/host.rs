//! What a Pod's containers see of the host and the net: namespaces, names, name servers.

use std::net::IpAddr;

use super::escape::quoted;
use super::findings::Findings;
use super::metadata::misfit;
use super::names;
use super::node::Value;
use super::references::required;
use super::spot::Spot;
use crate::pod::{Dns, DnsPolicy, HostAlias};

/// Limits of resolver(5) as Kubernetes has them (`pkg/apis/core/validation/validation.go`).
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCHES_LENGTH_MAX: usize = 2048;

/// The longest host name of Linux.
const HOSTNAME_MAX: usize = 64;

/// Which namespaces the Pod shares, and what it is called.
#[derive(Debug)]
pub(super) struct HostView {
    pub network: bool,
    pub pid: bool,
    pub ipc: bool,
    pub share_process_namespace: bool,
    pub hostname: Option<String>,
    pub subdomain: Option<String>,
    pub fqdn_as_hostname: bool,
    pub aliases: Vec<HostAlias>,
    pub dns: Dns,
}

/// Reads all of it.
pub(super) fn read(spec: &Spot<'_>, findings: &mut Findings) -> HostView {
    let flag = |name: &str, findings: &mut Findings| {
        spec.get(name).and_then(|s| s.boolean(findings)).unwrap_or(false)
    };
    let network = flag("hostNetwork", findings);
    let pid = flag("hostPID", findings);
    let ipc = flag("hostIPC", findings);
    let share_process_namespace = flag("shareProcessNamespace", findings);
    if let Some(spot) = spec.get("shareProcessNamespace").filter(|_| pid && share_process_namespace) {
        spot.error(findings, "cannot be true together with hostPID");
    }
    let hostname = name(spec, "hostname", findings);
    let subdomain = name(spec, "subdomain", findings);
    let fqdn_as_hostname = flag("setHostnameAsFQDN", findings);
    if network {
        for field in ["hostname", "setHostnameAsFQDN"] {
            let set = match field {
                "hostname" => hostname.is_some(),
                _ => fqdn_as_hostname,
            };
            if let Some(spot) = spec.get(field).filter(|_| set) {
                spot.warning(
                    findings,
                    "has no effect: under hostNetwork containers have the node's host name",
                );
            }
        }
    }
    let own = hostname_override(spec, network, fqdn_as_hostname, findings);
    // It replaces the name in all its forms.
    let (hostname, subdomain) = if own.is_some() { (own, None) } else { (hostname, subdomain) };
    HostView {
        network,
        pid,
        ipc,
        share_process_namespace,
        hostname,
        subdomain,
        fqdn_as_hostname,
        aliases: aliases(spec, findings),
        dns: dns(spec, findings),
    }
}

fn name(spec: &Spot<'_>, field: &str, findings: &mut Findings) -> Option<String> {
    let spot = spec.get(field)?;
    let text = spot.filled(findings)?;
    if let Err(reason) = names::label(text) {
        misfit(&spot, text, reason, findings);
    }
    Some(text.to_owned())
}

fn hostname_override(spec: &Spot<'_>, network: bool, fqdn: bool, findings: &mut Findings) -> Option<String> {
    let spot = spec.get("hostnameOverride")?;
    let text = spot.filled(findings)?;
    if let Err(reason) = names::subdomain(text) {
        misfit(&spot, text, reason, findings);
    } else if text.len() > HOSTNAME_MAX {
        spot.error(
            findings,
            format!("must be at most {HOSTNAME_MAX} characters long, and has {}", text.len()),
        );
    }
    if network {
        spot.error(findings, "cannot be honoured: under hostNetwork containers have the node's host name");
    } else if fqdn {
        spot.error(findings, "cannot be set together with setHostnameAsFQDN");
    }
    Some(text.to_owned())
}

fn is_address(spot: &Spot<'_>, text: &str, findings: &mut Findings) {
    if text.parse::<IpAddr>().is_err() {
        spot.error(findings, format!("{} is no address", quoted(text)));
    }
}

fn aliases(spec: &Spot<'_>, findings: &mut Findings) -> Vec<HostAlias> {
    let mut out = Vec::new();
    for item in spec.list("hostAliases").filter(|i| matches!(i.node.value, Value::Map(_))) {
        let mut hostnames = Vec::new();
        for name in item.list("hostnames") {
            let Some(text) = name.text(findings) else { continue };
            if let Err(reason) = names::subdomain(text) {
                misfit(&name, text, reason, findings);
            }
            hostnames.push(text.to_owned());
        }
        let ip = required(&item, "ip", findings).and_then(|ip| {
            let text = ip.text(findings)?;
            is_address(&ip, text, findings);
            Some(text.to_owned())
        });
        out.extend(ip.map(|ip| HostAlias { ip, hostnames }));
    }
    out
}

fn dns(spec: &Spot<'_>, findings: &mut Findings) -> Dns {
    let choices = [
        ("ClusterFirst", DnsPolicy::ClusterFirst),
        ("ClusterFirstWithHostNet", DnsPolicy::ClusterFirstWithHostNet),
        ("Default", DnsPolicy::Default),
        ("None", DnsPolicy::None),
    ];
    let policy = spec.get("dnsPolicy").and_then(|s| Some((s.choice(findings, &choices)?, s)));
    let config = spec.get("dnsConfig");
    let nameservers = texts(config.as_ref(), "nameservers", findings, is_address);
    let searches = texts(config.as_ref(), "searches", findings, |spot, text, findings| {
        let name = text.strip_suffix('.').unwrap_or(text);
        // Names of services have underscores; "." is the root.
        if text != "." && names::subdomain(&name.replace('_', "a")).is_err() {
            spot.error(findings, format!("{} is no domain", quoted(text)));
        }
    });
    let given = |field: &str| config.as_ref().and_then(|c| c.get(field));
    if let Some(spot) = given("nameservers").filter(|_| nameservers.len() > NAMESERVERS_MAX) {
        let message = format!("has {} addresses, and at most {NAMESERVERS_MAX} are used", nameservers.len());
        spot.error(findings, message);
    }
    if let Some(spot) = given("searches") {
        let length = searches.join(" ").chars().count();
        if searches.len() > SEARCHES_MAX {
            spot.error(
                findings,
                format!("has {} domains, and at most {SEARCHES_MAX} are allowed", searches.len()),
            );
        } else if length > SEARCHES_LENGTH_MAX {
            let message =
                format!("is {length} characters long in all, and at most {SEARCHES_LENGTH_MAX} are allowed");
            spot.error(findings, message);
        }
    }
    if let Some((DnsPolicy::None, spot)) = &policy
        && given("nameservers").is_none_or(|n| n.node.value == Value::List(Vec::new()))
    {
        spot.error(findings, "needs a name server of its own").help("dnsConfig: {nameservers: [ADDRESS]}");
    }
    let options = config.iter().flat_map(|c| c.list("options"));
    let options = options.filter(|i| matches!(i.node.value, Value::Map(_)));
    let options = options.filter_map(|item| option(&item, findings)).collect();
    Dns { policy: policy.map_or(DnsPolicy::default(), |(p, _)| p), nameservers, searches, options }
}

fn texts(
    config: Option<&Spot<'_>>,
    field: &str,
    findings: &mut Findings,
    check: impl Fn(&Spot<'_>, &str, &mut Findings),
) -> Vec<String> {
    let mut out = Vec::new();
    for item in config.into_iter().flat_map(|c| c.list(field)) {
        if let Some(text) = item.text(findings) {
            check(&item, text, findings);
            out.push(text.to_owned());
        }
    }
    out
}

/// One line's worth: what is in it stands in resolv.conf as it is.
fn option(item: &Spot<'_>, findings: &mut Findings) -> Option<(String, Option<String>)> {
    let mut word = |spot: &Spot<'_>| {
        let text = spot.text(findings)?;
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            spot.error(findings, format!("{} is not one word", quoted(text)));
        }
        Some(text.to_owned())
    };
    let value = item.get("value").and_then(|v| word(&v));
    let name = item.get("name").map(|n| (word(&n), n));
    match name {
        Some((Some(text), spot)) => {
            if text.is_empty() {
                spot.error(findings, "must not be empty");
            }
            Some((text, value))
        }
        Some((None, _)) => None,
        None => {
            findings.error(item.id(), &item.path_of("name"), "is missing");
            None
        }
    }
}
