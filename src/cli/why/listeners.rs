//! Which process listens at a TCP port of this host: the port's socket in /proc/net, and who has that socket open.

use std::fs;

use crate::helper::text::escape;

/// Who listens at a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub port: u16,
    /// Pid and name; `None` where no process of ours to see has the socket open.
    pub process: Option<(i32, String)>,
}

/// The listeners at those of these ports that have one.
pub fn at(ports: &[u16]) -> Vec<Listener> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|t| fs::read_to_string(t).unwrap_or_default());
    let sockets = tables.iter().flat_map(|text| listening(text)).filter(|(_, port)| ports.contains(port));
    let sockets: Vec<(u64, u16)> = sockets.collect();
    let mut found: Vec<Listener> = Vec::new();
    for (_, port) in &sockets {
        if !found.iter().any(|l| l.port == *port) {
            found.push(Listener { port: *port, process: None });
        }
    }
    if !found.is_empty() {
        find_owners(&sockets, &mut found);
    }
    found
}

/// Inode and port of every socket in state LISTEN (0A).
fn listening(table: &str) -> Vec<(u64, u16)> {
    let of = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let port = columns.get(1)?.rsplit_once(':')?.1;
        let is_listening = columns.get(3) == Some(&"0A");
        is_listening.then_some((columns.get(9)?.parse().ok()?, u16::from_str_radix(port, 16).ok()?))
    };
    table.lines().skip(1).filter_map(of).collect()
}

/// Names the first process that has a socket of each port open.
fn find_owners(sockets: &[(u64, u16)], found: &mut [Listener]) {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let inode =
                target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            let port = inode.and_then(|inode: u64| sockets.iter().find(|s| s.0 == inode)).map(|s| s.1);
            let listener = found.iter_mut().find(|l| Some(l.port) == port && l.process.is_none());
            if let Some(listener) = listener {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                listener.process = Some((pid, escape(name.trim())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n   \
             1: 0100007F:0016 0200007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        assert_eq!(listening(table), [(4711, 2379)]);
    }

    #[test]
    fn a_listener_of_this_very_process_is_found() {
        let here = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = here.local_addr().unwrap().port();
        let found = at(&[port]);
        let pid = found[0].process.as_ref().unwrap().0;
        assert_eq!((found[0].port, pid), (port, i32::try_from(std::process::id()).unwrap()));
    }
}
