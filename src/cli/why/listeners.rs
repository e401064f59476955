//! Which process has an address of this host: the socket in /proc/net, and who has that socket open.

use std::fmt;
use std::fs;

use crate::helper::text::escape;

/// What a program wanted and could not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp(u16),
    /// A UDP port.
    Udp(u16),
    /// A socket in the file system, or with an `@` before it an abstract one, as its owner names it.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "port {port}"),
            Self::Udp(port) => write!(f, "UDP port {port}"),
            Self::Unix(path) => write!(f, "socket {}", escape(path)),
        }
    }
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Which.
    pub address: Address,
    /// Pid and name; `None` where no process of ours to see has the socket open.
    pub process: Option<(i32, String)>,
}

/// The holders of those of these addresses that have one.
pub fn at(wanted: &[Address]) -> Vec<Listener> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let table = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let mut sockets: Vec<(u64, Address)> = Vec::new();
    for name in ["tcp", "tcp6"] {
        sockets
            .extend(ports(&table(name), "0A").into_iter().map(|(inode, port)| (inode, Address::Tcp(port))));
    }
    for name in ["udp", "udp6"] {
        sockets
            .extend(ports(&table(name), "07").into_iter().map(|(inode, port)| (inode, Address::Udp(port))));
    }
    sockets.extend(paths(&table("unix")).into_iter().map(|(inode, path)| (inode, Address::Unix(path))));
    sockets.retain(|(_, address)| wanted.contains(address));
    let mut found: Vec<Listener> = Vec::new();
    for (_, address) in &sockets {
        if !found.iter().any(|l| l.address == *address) {
            found.push(Listener { address: address.clone(), process: None });
        }
    }
    if !found.is_empty() {
        find_owners(&sockets, &mut found);
    }
    found
}

/// Inode and port of every socket in this state: 0A is a TCP socket that listens, 07 a UDP socket that takes from anybody.
fn ports(table: &str, state: &str) -> Vec<(u64, u16)> {
    let of = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let port = columns.get(1)?.rsplit_once(':')?.1;
        let is_it = columns.get(3) == Some(&state);
        is_it.then_some((columns.get(9)?.parse().ok()?, u16::from_str_radix(port, 16).ok()?))
    };
    table.lines().skip(1).filter_map(of).collect()
}

/// Inode and name of every Unix socket that has one and was not made by a connection (state 03).
fn paths(table: &str) -> Vec<(u64, String)> {
    let of = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let path = columns.get(7)?;
        (columns.get(5) != Some(&"03")).then_some((columns.get(6)?.parse().ok()?, (*path).to_owned()))
    };
    table.lines().skip(1).filter_map(of).collect()
}

/// Names the first process that has a socket of each address open.
fn find_owners(sockets: &[(u64, Address)], found: &mut [Listener]) {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let inode =
                target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            let address = inode.and_then(|inode: u64| sockets.iter().find(|s| s.0 == inode)).map(|s| &s.1);
            let listener = found.iter_mut().find(|l| Some(&l.address) == address && l.process.is_none());
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
    fn the_kernels_tables_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n   \
             1: 0100007F:0016 0200007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n   \
             2: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n";
        assert_eq!(ports(table, "0A"), [(4711, 2379)]);
        assert_eq!(ports(table, "07"), [(4713, 53)]);
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 31 /run/a.sock\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 32 /run/a.sock\n\
             0000000000000000: 00000002 00000000 00000000 0002 01 33\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 34 @abstract\n";
        assert_eq!(paths(table), [(31, "/run/a.sock".to_owned()), (34, "@abstract".to_owned())]);
    }

    #[test]
    fn what_this_very_process_listens_at_is_found() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("[::]:0").unwrap();
        let path = std::env::temp_dir().join(format!("podstrap-listeners-{}", std::process::id()));
        let _unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let wanted = [
            Address::Tcp(tcp.local_addr().unwrap().port()),
            Address::Udp(udp.local_addr().unwrap().port()),
            Address::Unix(path.to_str().unwrap().to_owned()),
            Address::Unix("/nobody/listens/here".to_owned()),
        ];
        let found = at(&wanted);
        fs::remove_file(&path).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let told: Vec<_> =
            found.iter().map(|l| (l.address.clone(), l.process.as_ref().map(|p| p.0))).collect();
        let expected: Vec<_> = wanted.into_iter().take(3).map(|address| (address, Some(me))).collect();
        assert_eq!(told, expected);
    }
}
