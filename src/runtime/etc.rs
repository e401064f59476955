//! The three files below /etc that the kubelet gives to a container: hosts, hostname and resolv.conf
//! (pkg/kubelet/kubelet_pods.go, pkg/kubelet/network/dns/dns.go; the text of resolv.conf is containerd's).

use std::fmt;
use std::net::IpAddr;

use super::runc::cut;
use crate::pod::{DnsPolicy, HostAlias, Pod};

/// How the lines begin by which the Pods of a StatefulSet find each other; they stand last in /etc/hosts.
pub const MEMBERS: &str = "\n# Members of ";

/// What is known of a cluster: perhaps nothing but the name of its domain.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// The addresses of its name servers.
    pub dns: &'a [String],
    /// Its domain: `cluster.local`.
    pub domain: &'a str,
}

/// The longest host name that Linux takes (sethostname(2)).
const HOST_NAME_MAX: usize = 64;

/// setHostnameAsFQDN, and the full name is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongName(String);

impl fmt::Display for LongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "setHostnameAsFQDN: {} is too long for a host name ({HOST_NAME_MAX} characters is the max, {} characters \
             requested); shorten hostname or subdomain",
            self.0,
            self.0.len()
        )
    }
}

impl std::error::Error for LongName {}

/// The short name of the container's own host: `spec.hostname`, else the Pod's name, cut to 63 bytes without a trailing
/// dash or dot. Under hostNetwork it is the node's.
pub fn short_name(pod: &Pod) -> &str {
    if pod.host_network {
        return pod.node.as_str();
    }
    let name = pod.hostname.as_deref().unwrap_or(pod.key.name.as_str());
    cut(name, 63).trim_end_matches(['-', '.'])
}

/// `SUBDOMAIN.NAMESPACE.svc.DOMAIN`, for a Pod with a subdomain.
fn domain(pod: &Pod, cluster: Cluster<'_>) -> Option<String> {
    let subdomain = pod.subdomain.as_deref().filter(|s| !s.is_empty())?;
    Some(format!("{subdomain}.{}.svc.{}", pod.key.namespace, cluster.domain))
}

/// What `hostname` shows: the short name, or with setHostnameAsFQDN the full one.
pub fn host_name(pod: &Pod, cluster: Cluster<'_>) -> Result<String, LongName> {
    let short = short_name(pod);
    match domain(pod, cluster) {
        Some(domain) if pod.fqdn_as_hostname && !pod.host_network => {
            let full = format!("{short}.{domain}");
            if full.len() > HOST_NAME_MAX { Err(LongName(full)) } else { Ok(full) }
        }
        Some(_) | None => Ok(short.to_owned()),
    }
}

/// The text of /etc/hosts. `of_host` is the node's own file.
pub fn hosts(pod: &Pod, addresses: &[IpAddr], of_host: &str, cluster: Cluster<'_>) -> String {
    let mut text = String::new();
    if pod.host_network {
        text.push_str("# Kubernetes-managed hosts file (host network).\n");
        text.push_str(of_host);
    } else {
        text.push_str(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        let short = short_name(pod);
        let names = match domain(pod, cluster) {
            Some(domain) => format!("{short}.{domain}\t{short}"),
            None => short.to_owned(),
        };
        if addresses.is_empty() {
            // Loopback is all the network there is.
            text.push_str(&format!("127.0.0.1\t{names}\n"));
        }
        for address in addresses {
            text.push_str(&format!("{address}\t{names}\n"));
        }
    }
    if !pod.host_aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for HostAlias { ip, hostnames } in &pod.host_aliases {
            text.push_str(&format!("{ip}\t{}\n", hostnames.join("\t")));
        }
    }
    text
}

/// The limits of the kubelet's validation (MaxDNSNameservers, MaxDNSSearchPaths, MaxDNSSearchListChars).
const SERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_BYTES: usize = 2048;

/// What a resolv.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<(String, Option<String>)>,
}

impl Resolver {
    /// Reads resolv.conf(5): all servers, the last search list, all options.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().map(str::trim) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => found.servers.extend(words.next().map(str::to_owned)),
                Some("search") => {
                    found.searches = words.map(|w| w.strip_suffix('.').unwrap_or(w).to_owned()).collect();
                }
                Some("options") => {
                    for word in words {
                        let (name, value) = match word.split_once(':') {
                            Some((name, value)) => (name, Some(value.to_owned())),
                            None => (word, None),
                        };
                        found.set_option(name, value);
                    }
                }
                Some(_) | None => {}
            }
        }
        found
    }

    fn set_option(&mut self, name: &str, value: Option<String>) {
        match self.options.iter_mut().find(|(n, _)| n == name) {
            Some(slot) => slot.1 = value,
            None => self.options.push((name.to_owned(), value)),
        }
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        for server in &self.servers {
            writeln!(f, "nameserver {server}")?;
        }
        let options: Vec<String> = self
            .options
            .iter()
            .map(|(name, value)| match value {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                Some(_) | None => name.clone(),
            })
            .collect();
        if options.is_empty() { Ok(()) } else { writeln!(f, "options {}", options.join(" ")) }
    }
}

/// The Pod's resolv.conf, and warnings. `of_host` is the text of the host's.
pub fn resolver(pod: &Pod, of_host: &str, cluster: Cluster<'_>) -> (Resolver, Vec<String>) {
    let host = Resolver::parse(of_host);
    let in_cluster = match pod.dns.policy {
        DnsPolicy::ClusterFirst => !pod.host_network && !cluster.dns.is_empty(),
        DnsPolicy::ClusterFirstWithHostNet => !cluster.dns.is_empty(),
        DnsPolicy::Default | DnsPolicy::None => false,
    };
    let mut made = if in_cluster {
        let (namespace, domain) = (&pod.key.namespace, cluster.domain);
        let own = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
        Resolver {
            servers: cluster.dns.to_vec(),
            searches: own.into_iter().chain(host.searches).collect(),
            options: vec![("ndots".to_owned(), Some("5".to_owned()))],
        }
    } else if pod.dns.policy == DnsPolicy::None {
        Resolver::default()
    } else {
        host
    };
    made.servers.extend(pod.dns.nameservers.iter().cloned());
    made.searches.extend(pod.dns.searches.iter().map(|s| s.strip_suffix('.').unwrap_or(s).to_owned()));
    for (name, value) in &pod.dns.options {
        made.set_option(name, value.clone());
    }
    deduplicate(&mut made.servers);
    deduplicate(&mut made.searches);
    let mut warnings = Vec::new();
    if made.servers.len() > SERVERS {
        made.servers.truncate(SERVERS);
        warnings.push(format!(
            "resolv.conf: more than {SERVERS} name servers; used are {}",
            made.servers.join(" ")
        ));
    }
    let given = made.searches.len();
    made.searches.truncate(SEARCHES);
    let mut bytes = 0_usize;
    let fit = made.searches.iter().take_while(|s| {
        bytes = bytes.saturating_add(s.len()).saturating_add(1);
        bytes <= SEARCH_BYTES.saturating_add(1)
    });
    let fit = fit.count();
    made.searches.truncate(fit);
    if made.searches.len() < given {
        warnings.push(format!(
            "resolv.conf: the search list is beyond {SEARCHES} names or {SEARCH_BYTES} characters; the last {} are left out",
            given.saturating_sub(fit)
        ));
    }
    (made, warnings)
}

fn deduplicate(list: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use super::super::bundle::tests::pod;
    use super::*;
    use crate::pod::PodName;

    const ALONE: Cluster<'_> = Cluster { dns: &[], domain: "cluster.local" };
    const HOST: &str =
        "# comment\nnameserver 192.0.2.1\nsearch old\nsearch a.example. b\noptions timeout:1 rotate\n";

    #[test]
    fn host_names_are_cut() {
        let mut p = pod();
        p.host_network = true;
        assert_eq!(short_name(&p), "host1");
        p.host_network = false;
        p.key.name = PodName::new(format!("{}.-x", "a".repeat(61)));
        assert_eq!(short_name(&p), "a".repeat(61));
        p.hostname = Some("web".into());
        assert_eq!(host_name(&p, ALONE).unwrap(), "web");
        p.fqdn_as_hostname = true;
        assert_eq!(host_name(&p, ALONE).unwrap(), "web");
        p.subdomain = Some("sub".into());
        assert_eq!(host_name(&p, ALONE).unwrap(), "web.sub.ns.svc.cluster.local");
        p.subdomain = Some("s".repeat(60));
        assert!(host_name(&p, ALONE).unwrap_err().to_string().contains("64 characters is the max, 85"));
        p.fqdn_as_hostname = false;
        assert_eq!(host_name(&p, ALONE).unwrap(), "web");
    }

    #[test]
    fn hosts_files() {
        let mut p = pod();
        p.subdomain = Some("sub".into());
        p.host_aliases = vec![HostAlias { ip: "1.2.3.4".into(), hostnames: vec!["x".into(), "y".into()] }];
        let text = hosts(&p, &["10.0.0.2".parse().unwrap()], "", ALONE);
        let end = "fe00::2\tip6-allrouters\n10.0.0.2\tp-host1.sub.ns.svc.cluster.local\tp-host1\n\n\
                   # Entries added by HostAliases.\n1.2.3.4\tx\ty\n";
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with(end), "{text}");
        p.host_network = true;
        let text = hosts(&p, &[], "1.1.1.1 one\n", ALONE);
        assert_eq!(
            text,
            "# Kubernetes-managed hosts file (host network).\n1.1.1.1 one\n\n# Entries added by HostAliases.\n1.2.3.4\tx\ty\n"
        );
    }

    #[test]
    fn every_dns_policy() {
        let servers = ["10.96.0.10".to_owned()];
        let known = Cluster { dns: &servers, domain: "d" };
        let mut p = pod();
        let mut of = |policy, host_network, cluster| {
            (p.dns.policy, p.host_network) = (policy, host_network);
            resolver(&p, HOST, cluster).0.to_string()
        };
        let host = "search a.example b\nnameserver 192.0.2.1\noptions timeout:1 rotate\n";
        let cluster = "search ns.svc.d svc.d d a.example b\nnameserver 10.96.0.10\noptions ndots:5\n";
        assert_eq!(of(DnsPolicy::Default, false, known), host);
        assert_eq!(of(DnsPolicy::ClusterFirst, false, ALONE), host);
        assert_eq!(of(DnsPolicy::ClusterFirst, false, known), cluster);
        assert_eq!(of(DnsPolicy::ClusterFirst, true, known), host);
        assert_eq!(of(DnsPolicy::ClusterFirstWithHostNet, true, known), cluster);
        assert_eq!(of(DnsPolicy::None, false, known), "");
        p.dns.nameservers = ["192.0.2.1", "1.1.1.1", "2.2.2.2", "3.3.3.3"].map(String::from).to_vec();
        p.dns.searches = (0..40).map(|i| format!("s{i}")).collect();
        p.dns.options = vec![("timeout".into(), Some("9".into())), ("debug".into(), None)];
        p.dns.policy = DnsPolicy::Default;
        let (made, warnings) = resolver(&p, HOST, ALONE);
        let text = made.to_string();
        assert!(text.starts_with("search a.example b s0 s1 "), "{text}");
        assert!(text.contains(" s29\nnameserver 192.0.2.1\nnameserver 1.1.1.1\nnameserver 2.2.2.2\noptions timeout:9 rotate debug\n"), "{text}");
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}
