//! `tcpSocket`: a connection that comes about in time is good (`pkg/probe/tcp`).

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Outcome;
use crate::sys::clock::boot_ms;

/// Connects to the first address of `host` that answers, and closes at once.
pub fn connect(host: &str, port: u16, timeout_ms: u64) -> Outcome {
    match open(host, port, timeout_ms).map(|stream| stream.peer_addr()) {
        Ok(Ok(address)) => Outcome::success(format!("connected to {address}")),
        // It was there, and has closed the connection at once.
        Ok(Err(_)) => Outcome::success(format!("connected to {host}:{port}")),
        Err(outcome) => outcome,
    }
}

/// Connects to the first address of `host` that answers; what speaks against it otherwise.
pub fn open(host: &str, port: u16, timeout_ms: u64) -> Result<TcpStream, Outcome> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let until = boot_ms().saturating_add(timeout_ms);
    let addresses = match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(e) => return Err(Outcome::failure(format!("look up {host}: {e}"))),
    };
    let mut last = Outcome::failure(format!("look up {host}: no address"));
    for address in addresses {
        let left = until.saturating_sub(boot_ms());
        if left == 0 {
            return Err(Outcome::timed_out(timeout_ms));
        }
        match TcpStream::connect_timeout(&address, Duration::from_millis(left)) {
            Ok(stream) => return Ok(stream),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => last = Outcome::timed_out(timeout_ms),
            Err(e) => last = Outcome::failure(format!("connect to {address}: {e}")),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::probe::Verdict;
    use std::net::TcpListener;

    #[test]
    fn an_open_port_is_good_and_a_closed_one_is_not() {
        for host in ["127.0.0.1", "[::1]"] {
            let bare = host.trim_matches(['[', ']']);
            let listener = TcpListener::bind((bare, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(connect(host, port, 1000).verdict, Verdict::Success);
            drop(listener);
            let outcome = connect(host, port, 1000);
            assert_eq!(outcome.verdict, Verdict::Failure);
            assert!(outcome.line.contains("Connection refused"), "{}", outcome.line);
        }
    }
}
