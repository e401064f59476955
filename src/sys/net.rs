//! Which addresses this host has towards the world.

use std::net::{IpAddr, UdpSocket};

/// The addresses that this host would use towards the outside, IPv4 first. Connecting a datagram socket sends nothing: it only
/// asks for the route.
pub fn host_addresses() -> Vec<IpAddr> {
    let towards = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let addresses = towards.iter().filter_map(|(local, remote)| {
        let address = UdpSocket::bind(local).and_then(|s| s.connect(remote).and_then(|()| s.local_addr()));
        address.ok().map(|a| a.ip()).filter(|ip| !ip.is_unspecified())
    });
    addresses.collect()
}
