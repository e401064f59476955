//! The HTTP client that all helpers have in common: no proxy, no redirect followed by itself, no compression, and one time
//! limit for everything. What a probe, a manifest URL and the API server want beyond that, each says itself.

use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::tls::{Certificate, PemItem, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;

use super::resolver::BlockingResolver;

/// Who we are to servers that are no probe's.
pub const USER_AGENT: &str = concat!("podstrap/", env!("CARGO_PKG_VERSION"));

/// Where hosts keep the certificates that they trust: Debian, Fedora, SUSE, Alpine.
const ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What becomes of a connection after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// The next request may use it.
    Kept,
    /// Each request has its own.
    Single,
}

/// A client. `accept` and `user_agent` are sent where they are not empty; the time limit is in milliseconds.
pub fn agent(
    tls: TlsConfig,
    timeout_ms: u64,
    user_agent: &str,
    accept: &str,
    connections: Connections,
) -> Agent {
    let mut config = Config::builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_millis(timeout_ms)))
        .user_agent(user_agent)
        .accept(accept)
        .accept_encoding("")
        .tls_config(tls);
    if connections == Connections::Single {
        config = config.max_idle_connections(0);
    }
    Agent::with_parts(config.build(), DefaultConnector::default(), BlockingResolver)
}

/// The certificates in a PEM text; what else is in it counts for nothing.
pub fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let items = parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    });
    items.collect()
}

/// The file of the certificates that this host trusts.
pub fn host_roots() -> Option<&'static str> {
    ROOTS.into_iter().find(|path| Path::new(path).exists())
}
