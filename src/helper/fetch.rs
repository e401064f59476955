//! `podstrap fetch`: gets what is at a manifest URL. A server may be slow, hostile or gone: this process has its own time
//! and memory, and the daemon reads nothing but a file that is whole.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use ureq::Body;
use ureq::http::Response;
use ureq::http::header::{CONTENT_ENCODING, ETAG, HeaderName, LAST_MODIFIED, LOCATION};
use ureq::tls::{RootCerts, TlsConfig};

use super::http::{self, Connections};
use super::text;
use super::url::Url;
use crate::command::{CommandLine, SELF};
use crate::config::{Header, HeaderValue};
use crate::sys::atomic::{self, Durability};
use crate::sys::{alarm, clock};

/// A body of more bytes is refused: the kubelet's bound (`pkg/kubelet/config/common.go`).
pub const MOST_BYTES: u64 = 10 << 20;

/// How many redirects are followed (Go's limit).
const REDIRECTS: usize = 10;

/// A request of more bytes is none of ours.
const MOST_SPEC: u64 = 1 << 20;

/// An error is told in so many characters.
const LINE: usize = 400;

/// How long the child has, in milliseconds, beyond what the server has: it ends by itself, unless it is frozen.
const CHILD_MS: u64 = 5_000;

/// What is to be fetched; JSON on standard input, because headers are secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchSpec {
    /// Where from; as [`Url::parse`] takes it.
    pub url: String,
    /// Headers that go with the request.
    pub headers: Vec<Header>,
    /// PEM certificates that are trusted in place of the host's.
    pub ca: Option<PathBuf>,
    /// What the server said of the answer that we have.
    pub validators: Validators,
    /// The body's digest, in lower-case hexadecimal digits; another body is refused.
    pub sha256: Option<String>,
    /// Where the body is put.
    pub file: PathBuf,
    /// For everything together, in milliseconds.
    pub timeout_ms: u64,
}

impl FetchSpec {
    /// The child that does it.
    ///
    /// # Errors
    /// It cannot be written down as JSON: never, for what is in it.
    pub fn command(&self) -> io::Result<CommandLine> {
        let text = serde_json::to_vec(self)?;
        Ok(CommandLine::new(SELF).arg("fetch").stdin(text).deadline(self.timeout_ms + CHILD_MS).tied())
    }
}

/// By what a server can tell that nothing has changed (RFC 9110 §8.8), as it said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fetched {
    /// The server says that it is what we have.
    Same,
    /// The body is in the file.
    Body(Validators),
}

/// The helper: reads a [`FetchSpec`] from standard input, and prints a [`Fetched`] as JSON; or one line that says what is wrong,
/// with exit code 1.
pub fn run() -> ExitCode {
    let mut bytes = Vec::new();
    let spec = io::stdin()
        .take(MOST_SPEC)
        .read_to_end(&mut bytes)
        .and_then(|_| serde_json::from_slice::<FetchSpec>(&bytes).map_err(io::Error::from));
    let (line, code) = match spec {
        Err(e) => (format!("fetch: standard input: {e}"), ExitCode::FAILURE),
        Ok(spec) => match fetch(&spec).and_then(|f| serde_json::to_string(&f).map_err(|e| e.to_string())) {
            Ok(line) => (line, ExitCode::SUCCESS),
            Err(why) => (text::first_line(&why, LINE), ExitCode::FAILURE),
        },
    };
    // Nobody may be listening any more; the exit code still speaks.
    let _ = writeln!(io::stdout(), "{line}");
    code
}

fn fetch(spec: &FetchSpec) -> Result<Fetched, String> {
    let late = format!("no whole answer within {} s", spec.timeout_ms / 1000);
    // A name look-up cannot be told a time.
    alarm::exit_after(spec.timeout_ms.saturating_add(20), 1, &late)
        .map_err(|e| format!("set the timer: {e}"))?;
    let first = Url::parse(&spec.url).ok_or("not an http or https URL")?;
    let until = clock::boot_ms().saturating_add(spec.timeout_ms);
    let headers = headers(spec)?;
    let (mut url, mut trusted) = (first.clone(), None);
    for _ in 0..=REDIRECTS {
        let left = until.saturating_sub(clock::boot_ms());
        if left == 0 {
            return Err(late);
        }
        // A redirect may lead from http to https.
        if url.is_https() && trusted.is_none() {
            trusted = Some(roots(spec.ca.as_deref())?);
        }
        let response = call(&url, &headers, spec, trusted.clone(), left).map_err(|e| match e {
            ureq::Error::Timeout(_) => late.clone(),
            e => e.to_string(),
        })?;
        match response.status().as_u16() {
            200 => return body(response, spec),
            304 if spec.validators != Validators::default() => return Ok(Fetched::Same),
            301 | 302 | 303 | 307 | 308 => url = redirect(&first, &url, &response)?,
            code => {
                let reason = response.status().canonical_reason().unwrap_or_default();
                return Err(format!("HTTP {code} {reason}").trim_end().to_owned());
            }
        }
    }
    Err(format!("stopped after {REDIRECTS} redirects"))
}

/// Only within the host that was named, and never from https to http: whoever answers there decides what runs here.
fn redirect(first: &Url, url: &Url, response: &Response<Body>) -> Result<Url, String> {
    let code = response.status().as_u16();
    let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).unwrap_or_default();
    let Some((next, _)) = url.join(location) else {
        return Err(format!("HTTP {code}: bad Location {location}"));
    };
    if !next.host().eq_ignore_ascii_case(first.host()) {
        return Err(format!("redirected to another host, not followed: {}", next.shown()));
    }
    if url.is_https() && !next.is_https() {
        return Err(format!("redirected from https to http, not followed: {}", next.shown()));
    }
    Ok(next)
}

fn body(mut response: Response<Body>, spec: &FetchSpec) -> Result<Fetched, String> {
    if let Some(coding) = response.headers().get(CONTENT_ENCODING).filter(|c| *c != "identity") {
        return Err(format!(
            "the answer is compressed ({}), which was not asked for",
            String::from_utf8_lossy(coding.as_bytes())
        ));
    }
    let said = |name: HeaderName| {
        let value = response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        value.filter(|v| !v.is_empty() && v.len() <= 1024)
    };
    let validators = Validators { etag: said(ETAG), last_modified: said(LAST_MODIFIED) };
    let mut bytes = Vec::new();
    let mut reader = response.body_mut().as_reader().take(MOST_BYTES + 1);
    reader.read_to_end(&mut bytes).map_err(|e| format!("the answer breaks off: {}", ureq::Error::from(e)))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("the answer is larger than {} MiB", MOST_BYTES >> 20));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("the answer is empty (a PodList with items: [] says that there is nothing)".to_owned());
    }
    if let Some(wanted) = &spec.sha256 {
        let digest = sha256(&bytes);
        if digest != *wanted {
            return Err(format!("the answer's SHA-256 is {digest}, and is to be {wanted}"));
        }
    }
    atomic::write(&spec.file, &bytes, 0o600, Durability::Process)
        .map_err(|e| format!("write {}: {e}", spec.file.display()))?;
    Ok(Fetched::Body(validators))
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn headers(spec: &FetchSpec) -> Result<Vec<(&str, String)>, String> {
    let value = |header: &Header| match &header.value {
        HeaderValue::Text(text) => Ok(text.clone()),
        HeaderValue::File(file) => fs::read_to_string(file)
            .map(|text| text.trim().to_owned())
            .map_err(|e| format!("header {}: read {}: {e}", header.name, file.display())),
    };
    spec.headers.iter().map(|header| Ok((header.name.as_str(), value(header)?))).collect()
}

fn roots(ca: Option<&Path>) -> Result<RootCerts, String> {
    let Some(path) = ca.or_else(|| http::host_roots().map(Path::new)) else {
        return Err("the host has no list of certificates to trust: install ca-certificates, or give --manifest-url-ca"
            .to_owned());
    };
    let pem = fs::read(path).map_err(|e| format!("read {}: {e}", path.display()))?;
    let certificates = http::certificates(&pem);
    if certificates.is_empty() {
        return Err(format!("{}: there is no PEM certificate in it", path.display()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

fn call(
    url: &Url,
    headers: &[(&str, String)],
    spec: &FetchSpec,
    roots: Option<RootCerts>,
    left_ms: u64,
) -> Result<Response<Body>, ureq::Error> {
    let mut tls = TlsConfig::builder();
    if let Some(roots) = roots {
        tls = tls.root_certs(roots);
    }
    let accept = "application/yaml, application/json, */*";
    let agent = http::agent(tls.build(), left_ms, http::USER_AGENT, accept, Connections::Single);
    let mut request = agent.get(url.to_string()).header("Connection", "close");
    if let Some(etag) = &spec.validators.etag {
        request = request.header("If-None-Match", etag);
    }
    if let Some(time) = &spec.validators.last_modified {
        request = request.header("If-Modified-Since", time);
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request.call()
}
