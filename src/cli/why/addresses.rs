//! Which addresses a program wanted and could not have, by what it has said and what its manifest declares.

use serde_json::Value;

use super::explain::spec_of;
use super::listeners::Address;
use crate::report::PodStatusFile;

/// Whether a line tells of an address that another one has.
pub fn is_in_use(line: &str) -> bool {
    let line = line.to_lowercase();
    ["address already in use", "address in use", "eaddrinuse", "port is already allocated"]
        .iter()
        .any(|t| line.contains(t))
}

/// The addresses in question: those in such lines, else those that the container tells of itself.
pub fn in_question(entry: &PodStatusFile, container: &str, lines: &[String]) -> Vec<Address> {
    let used: Vec<&String> = lines.iter().filter(|l| is_in_use(l)).collect();
    if used.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<Address> = used.iter().flat_map(|l| addresses_in(l)).collect();
    if let (true, Some(spec)) = (found.is_empty(), spec_of(entry, container)) {
        found = declared(spec);
    }
    found.dedup();
    found
}

/// The ports of a container's manifest: declared, probed, and in its command.
fn declared(spec: &Value) -> Vec<Address> {
    let number = |value: &Value| value.as_u64().and_then(|p| u16::try_from(p).ok());
    let mut all = Vec::new();
    for port in spec["ports"].as_array().into_iter().flatten() {
        let numbers = [&port["hostPort"], &port["containerPort"]].into_iter().filter_map(number);
        let of = if port["protocol"] == "UDP" { Address::Udp } else { Address::Tcp };
        all.extend(numbers.map(of));
    }
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let probed = ["httpGet", "tcpSocket", "grpc"].into_iter().map(|how| &spec[kind][how]["port"]);
        all.extend(probed.filter_map(number).map(Address::Tcp));
    }
    let words = ["command", "args"].into_iter().flat_map(|k| spec[k].as_array().into_iter().flatten());
    let line: Vec<&str> = words.filter_map(Value::as_str).collect();
    all.extend(ports_in(&line.join(" ")).into_iter().map(Address::Tcp));
    all
}

/// What a line names: the path of a socket, else ports. It may not tell of what kind they are.
fn addresses_in(line: &str) -> Vec<Address> {
    let lower = line.to_lowercase();
    let words = || line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '(' | ')'));
    if lower.contains("unix") || lower.contains(".sock") {
        let trimmed = words().map(|w| w.trim_start_matches("unix:").trim_end_matches([':', ';', '.']));
        let names = trimmed.map(|w| w.strip_prefix("//").unwrap_or(w));
        let is_name = |w: &&str| w.len() > 1 && w.starts_with(['/', '@']);
        let found: Vec<Address> = names.filter(is_name).map(|w| Address::Unix(w.to_owned())).collect();
        if !found.is_empty() {
            return found;
        }
    }
    let (is_udp, is_tcp) = (lower.contains("udp"), lower.contains("tcp"));
    let mut found = Vec::new();
    for port in ports_in(line) {
        if is_tcp || !is_udp {
            found.push(Address::Tcp(port));
        }
        if is_udp || !is_tcp {
            found.push(Address::Udp(port));
        }
    }
    found
}

/// `:2379` at the end of addresses, and the number after the word port. A time of day is none.
fn ports_in(line: &str) -> Vec<u16> {
    let is_end =
        |c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '[' | ']' | '*' | '-' | '_'));
    let words: Vec<&str> = line.split(is_end).map(|w| w.trim_end_matches([':', '.'])).collect();
    let mut found = Vec::new();
    for (place, word) in words.iter().enumerate() {
        let names_port = |w: &&str| *w == "port" || w.ends_with("-port") || *w == "-p";
        let after_port = place > 0 && words.get(place - 1).is_some_and(names_port);
        let port = match word.rsplit_once(':') {
            Some((host, port))
                if !host.chars().all(|c| c.is_ascii_digit() || c == ':')
                    || host.is_empty()
                    || host == "::" =>
            {
                port
            }
            Some(_) => continue,
            None if after_port => word,
            None => continue,
        };
        found.extend(port.parse::<u16>().ok().filter(|p| *p != 0));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_tell_of_ports_and_sockets() {
        let (tcp, udp) = (Address::Tcp, Address::Udp);
        let unix = |path: &str| Address::Unix(path.to_owned());
        for (line, found) in [
            ("12:45:22 bind() to 0.0.0.0:80 failed (98: Address already in use)", vec![tcp(80), udp(80)]),
            ("listen tcp [::]:2379: bind: address already in use", vec![tcp(2379)]),
            ("listen tcp :10259: bind: address already in use", vec![tcp(10259)]),
            ("listen udp 10.0.0.1:53: bind: address already in use", vec![udp(53)]),
            ("2026-01-01T10:20:30Z EADDRINUSE: port 3000", vec![tcp(3000), udp(3000)]),
            ("listen unix /run/x/a.sock: bind: address already in use", vec![unix("/run/x/a.sock")]),
            ("bind unix:///run/b.sock: address already in use", vec![unix("/run/b.sock")]),
            ("listen unix @c: bind: address already in use", vec![unix("@c")]),
        ] {
            assert!(is_in_use(line), "{line}");
            assert_eq!(addresses_in(line), found, "{line}");
        }
    }

    #[test]
    fn a_manifest_declares_ports_of_its_kind() {
        let spec = json!({
            "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 8080, "hostPort": 80}],
            "livenessProbe": {"httpGet": {"port": 9153}}, "command": ["x", "--listen=:10250", "--secure-port=10257", "-p", "99"],
        });
        let (tcp, udp) = (Address::Tcp, Address::Udp);
        assert_eq!(
            declared(&spec),
            [udp(53), tcp(80), tcp(8080), tcp(9153), tcp(10250), tcp(10257), tcp(99)]
        );
    }
}
