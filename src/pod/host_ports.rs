//! Ports of the host that a Pod takes: each of them is one Pod's at a time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{Pod, Port};

/// One port of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// The number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// At this address only; `None`: at every one.
    pub address: Option<IpAddr>,
}

impl HostPort {
    fn of(port: &Port) -> Option<Self> {
        let address = port.host_ip.as_deref().and_then(|text| text.parse().ok());
        Some(Self {
            port: port.host_port?,
            protocol: port.protocol.clone(),
            address: address.filter(|ip| *ip != IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        })
    }

    /// Whether both cannot be had at one time: the same number and protocol, at one address or at every one
    /// (`k8s.io/kubernetes/pkg/scheduler/framework`, `HostPortInfo.CheckConflict`; `::` is every IPv6 address here as it is
    /// for the host).
    pub fn conflicts(&self, other: &Self) -> bool {
        let every_v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let is_at_one = match (self.address, other.address) {
            (None, _) | (_, None) => true,
            (Some(a), Some(b)) => a == b || (a.is_ipv6() && b.is_ipv6() && (a == every_v6 || b == every_v6)),
        };
        self.port == other.port && self.protocol == other.protocol && is_at_one
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            None => {}
        }
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl Pod {
    /// The ports of the host that its containers and sidecars declare; under hostNetwork that is every `containerPort`. What
    /// an init container that ends declares does not count, as in Kubernetes.
    pub fn host_ports(&self) -> impl Iterator<Item = HostPort> {
        let sidecars = self.init_containers.iter().filter(|c| c.sidecar);
        sidecars.chain(&self.containers).flat_map(|c| &c.ports).filter_map(HostPort::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: u16, protocol: &str, ip: Option<&str>) -> HostPort {
        let (protocol, host_ip) = (protocol.to_owned(), ip.map(str::to_owned));
        HostPort::of(&Port { name: None, container_port: 1, host_port: Some(port), protocol, host_ip })
            .unwrap()
    }

    #[test]
    fn a_port_is_taken_at_an_address_or_at_every_one() {
        let all = port(80, "TCP", None);
        for (other, conflicts) in [
            (port(80, "TCP", None), true),
            (port(81, "TCP", None), false),
            (port(80, "UDP", None), false),
            (port(80, "TCP", Some("0.0.0.0")), true),
            (port(80, "TCP", Some("127.0.0.1")), true),
            (port(80, "TCP", Some("::1")), true),
        ] {
            assert_eq!((all.conflicts(&other), other.conflicts(&all)), (conflicts, conflicts), "{other}");
        }
        let one = port(80, "TCP", Some("127.0.0.1"));
        for (other, conflicts) in
            [("127.0.0.1", true), ("127.0.0.2", false), ("0.0.0.0", true), ("::", false)]
        {
            assert_eq!(one.conflicts(&port(80, "TCP", Some(other))), conflicts, "{other}");
        }
        let v6 = port(80, "TCP", Some("::"));
        assert!(v6.conflicts(&port(80, "TCP", Some("::1"))));
        assert!(!port(80, "TCP", Some("::2")).conflicts(&port(80, "TCP", Some("::1"))));
    }

    #[test]
    fn it_is_told_as_people_write_it() {
        assert_eq!(port(80, "TCP", None).to_string(), "80/TCP");
        assert_eq!(port(53, "UDP", Some("10.0.0.1")).to_string(), "10.0.0.1:53/UDP");
        assert_eq!(port(80, "TCP", Some("::1")).to_string(), "[::1]:80/TCP");
    }
}
