//! `httpGet` as the kubelet does it (`pkg/probe/http`): certificates not verified, no proxy, no reuse of connections, no
//! compression, redirects followed only within the same host name.

use std::borrow::Cow;
use std::io::Read;

use ureq::Body;
use ureq::http::StatusCode;
use ureq::http::header::LOCATION;
use ureq::tls::TlsConfig;

use super::Outcome;
use crate::helper::http::{self, Connections};
use crate::helper::text;
use crate::helper::url::{Absolute, Url};
use crate::sys::clock::boot_ms;

/// `kube-probe/MAJOR.MINOR` of the Kubernetes whose behaviour this follows; servers are known to look for it.
pub const USER_AGENT: &str = "kube-probe/1.35";

/// How much of a body is read: the kubelet's `maxRespBodyLength`.
const BODY: u64 = 10 * 1024;

/// How many redirects are followed (Go's limit).
const REDIRECTS: usize = 10;

/// One GET.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where to.
    pub url: Url,
    /// The probe's own headers; they win over ours.
    pub headers: &'a [(String, String)],
    /// For everything together, in milliseconds.
    pub timeout_ms: u64,
    /// Who asks.
    pub client: Client,
}

/// Who makes a request: the kubelet has two clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A probe.
    Probe,
    /// A lifecycle hook: when an https server turns out to speak plain http, it is asked so, without credentials
    /// (`pkg/kubelet/lifecycle`).
    Hook,
}

impl Client {
    fn user_agent(self) -> &'static str {
        match self {
            Self::Probe => USER_AGENT,
            Self::Hook => "kube-lifecycle/1.35",
        }
    }
}

/// How the reply is to be understood.
enum Reply {
    /// Ends the try.
    Final(Outcome),
    /// Go there next.
    Redirect(Url, Absolute),
}

/// Makes the request, follows what is to be followed, and judges the last reply: 200–399 is good.
pub fn get(request: &Request<'_>) -> Outcome {
    let until = boot_ms().saturating_add(request.timeout_ms);
    let mut url = request.url.clone();
    let mut own_host = true;
    let mut headers = Cow::Borrowed(request.headers);
    for _ in 0..=REDIRECTS {
        let left = until.saturating_sub(boot_ms());
        if left == 0 {
            return Outcome::timed_out(request.timeout_ms);
        }
        let user_agent = request.client.user_agent();
        let reply = match call(&url, &headers, own_host, left, user_agent) {
            Ok(response) => judge(response, request, &url),
            Err(e) if request.client == Client::Hook && url.is_https() && is_plain_http(&e) => {
                headers.to_mut().retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
                Reply::Redirect(url.without_tls(), Absolute::No)
            }
            Err(e) => Reply::Final(failure(&e, request.timeout_ms)),
        };
        match reply {
            Reply::Final(outcome) => return outcome,
            Reply::Redirect(next, absolute) => {
                // Go keeps a Host header of the caller's making only as long as the server does not name a host itself.
                own_host &= absolute == Absolute::No;
                url = next;
            }
        }
    }
    Outcome::failure(format!("stopped after {REDIRECTS} redirects"))
}

fn judge(mut response: ureq::http::Response<Body>, request: &Request<'_>, url: &Url) -> Reply {
    let status = response.status();
    if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
        && let Some(location) = response.headers().get(LOCATION)
        && !location.is_empty()
    {
        let Some((next, absolute)) = location.to_str().ok().and_then(|l| url.join(l)) else {
            let shown = String::from_utf8_lossy(location.as_bytes()).into_owned();
            return Reply::Final(Outcome::failure(format!("HTTP {}: bad Location {shown}", status.as_u16())));
        };
        if next.host().eq_ignore_ascii_case(request.url.host()) {
            return Reply::Redirect(next, absolute);
        }
        return Reply::Final(Outcome::success(format!(
            "HTTP {}: warning: redirected to another host, not followed: {next}",
            status.as_u16()
        )));
    }
    let mut body = Vec::new();
    if let Err(e) = response.body_mut().as_reader().take(BODY).read_to_end(&mut body) {
        let e = ureq::Error::from(e);
        return Reply::Final(failure(&e, request.timeout_ms));
    }
    Reply::Final(verdict(status, &body))
}

fn verdict(status: StatusCode, body: &[u8]) -> Outcome {
    let first = text::first_line(&String::from_utf8_lossy(body), super::LINE);
    let line = match (first.is_empty(), status.canonical_reason()) {
        (false, _) => format!("HTTP {}: {first}", status.as_u16()),
        (true, Some(reason)) => format!("HTTP {} {reason}", status.as_u16()),
        (true, None) => format!("HTTP {}", status.as_u16()),
    };
    if (200..400).contains(&status.as_u16()) { Outcome::success(line) } else { Outcome::failure(line) }
}

/// Whether the server has answered the begin of a TLS connection with something that is no TLS. The TLS library says so in
/// words only; what a server that speaks TLS can send never leads to these.
fn is_plain_http(error: &ureq::Error) -> bool {
    error.to_string().contains("InvalidContentType")
}

/// Every transport error is a failure, as under the kubelet.
fn failure(error: &ureq::Error, timeout_ms: u64) -> Outcome {
    match error {
        ureq::Error::Timeout(_) => Outcome::timed_out(timeout_ms),
        e => Outcome::failure(e.to_string()),
    }
}

fn call(
    url: &Url,
    headers: &[(String, String)],
    own_host: bool,
    left_ms: u64,
    user_agent: &str,
) -> Result<ureq::http::Response<Body>, ureq::Error> {
    let given = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    // A header of the probe's own stands in the place of ours.
    let ours = |name: &str, value| if given(name) { "" } else { value };
    let tls = TlsConfig::builder().disable_verification(true).build();
    let (user_agent, accept) = (ours("user-agent", user_agent), ours("accept", "*/*"));
    let agent = http::agent(tls, left_ms, user_agent, accept, Connections::Single);
    let mut request = agent.get(url.to_string());
    if !given("connection") {
        request = request.header("Connection", "close");
    }
    let mut host_seen = false;
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("host") {
            // Go sends the first one, and none of the others.
            if host_seen || !own_host || value.is_empty() {
                continue;
            }
            host_seen = true;
        }
        // An empty Accept or User-Agent means: send none.
        let dropped_when_empty =
            name.eq_ignore_ascii_case("accept") || name.eq_ignore_ascii_case("user-agent");
        if !(value.is_empty() && dropped_when_empty) {
            request = request.header(name, value);
        }
    }
    request.call()
}

#[cfg(test)]
mod tests;
