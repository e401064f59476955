//! Requests to an API server, each with a deadline and a bound on its answer: the server may be slow, hostile or gone.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::kubeconfig::Access;
use crate::helper::http::{self, Connections, certificates};
use crate::helper::text;

/// How long the server has for a whole answer, in milliseconds.
pub const ANSWER_MS: u64 = 10_000;

/// An answer of more bytes is refused.
const MOST_BYTES: u64 = 10 << 20;

/// An error is told in so many characters.
const LINE: usize = 400;

/// Why there is no answer, or not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server refuses, by its code and its words.
    Refused {
        /// HTTP's.
        code: u16,
        /// For people, one line.
        message: String,
    },
    /// No answer that could be understood; for people, one line.
    Silent(String),
}

impl Failure {
    /// Whether the server has refused with this code.
    pub fn is(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, message } => write!(f, "HTTP {code}: {message}"),
            Self::Silent(why) => f.write_str(why),
        }
    }
}

/// What a request is to do.
#[derive(Debug)]
pub enum Method<'v> {
    /// Read.
    Get,
    /// Make.
    Post(&'v Value),
    /// Change these fields (RFC 7386: a null removes one, a list is replaced).
    Merge(&'v Value),
    /// Remove, by these DeleteOptions.
    Delete(&'v Value),
}

/// One server, over connections that are kept.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    server: String,
    token: Option<String>,
}

impl Client {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// The certificates cannot be used; for people.
    pub fn new(access: &Access, answer_ms: u64) -> Result<Self, String> {
        let mut tls = TlsConfig::builder().disable_verification(access.insecure);
        if access.server.starts_with("https:") && !access.insecure {
            let pem = match &access.ca {
                Some(pem) => pem.clone(),
                None => {
                    let path = http::host_roots().ok_or("the kubeconfig names no certificate-authority, and the host has no list of certificates to trust")?;
                    fs::read(path).map_err(|e| format!("read {}: {e}", Path::new(path).display()))?
                }
            };
            let certificates = certificates(&pem);
            if certificates.is_empty() {
                return Err("certificate-authority: there is no PEM certificate in it".to_owned());
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        if let Some((certificate, key)) = &access.certificate {
            let chain = certificates(certificate);
            if chain.is_empty() {
                return Err("client-certificate: there is no PEM certificate in it".to_owned());
            }
            let key = PrivateKey::from_pem(key)
                .map_err(|_| "client-key: there is no PEM private key in it".to_owned())?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        let tls = tls.build();
        let agent = http::agent(tls, answer_ms, http::USER_AGENT, "application/json", Connections::Kept);
        Ok(Self { agent, server: access.server.clone(), token: access.token.clone() })
    }

    /// Asks, and gives the object of the answer.
    ///
    /// # Errors
    /// A refusal, or silence.
    pub fn ask(&self, method: &Method<'_>, path: &str) -> Result<Value, Failure> {
        let silent = |e: ureq::Error| Failure::Silent(text::first_line(&e.to_string(), LINE));
        let mut response = self.send(method, &format!("{}{path}", self.server)).map_err(silent)?;
        let mut bytes = Vec::new();
        let mut reader = response.body_mut().as_reader().take(MOST_BYTES + 1);
        reader.read_to_end(&mut bytes).map_err(|e| silent(e.into()))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(Failure::Silent(format!("the answer is larger than {} MiB", MOST_BYTES >> 20)));
        }
        let answer = serde_json::from_slice::<Value>(&bytes);
        let status = response.status();
        if !status.is_success() {
            // A `v1.Status` has the reason; what is between us and the server says it in its own way.
            let said = answer.ok().and_then(|a| a["message"].as_str().map(str::to_owned));
            let said = said.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason").to_owned());
            return Err(Failure::Refused { code: status.as_u16(), message: text::first_line(&said, LINE) });
        }
        match answer {
            Ok(object) if object.is_object() => Ok(object),
            Ok(_) => Err(Failure::Silent("the answer is no object".to_owned())),
            Err(e) => {
                let why = text::first_line(&e.to_string(), LINE);
                Err(Failure::Silent(format!("the answer is no JSON: {why}")))
            }
        }
    }

    fn send(&self, method: &Method<'_>, url: &str) -> Result<Response<Body>, ureq::Error> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let (request, kind, body) = match method {
            Method::Get => {
                let mut request = self.agent.get(url);
                if let Some(bearer) = bearer {
                    request = request.header("Authorization", bearer);
                }
                return request.call();
            }
            Method::Post(body) => (self.agent.post(url), "application/json", body),
            Method::Merge(body) => (self.agent.patch(url), "application/merge-patch+json", body),
            Method::Delete(body) => (self.agent.delete(url).force_send_body(), "application/json", body),
        };
        let mut request = request.content_type(kind);
        if let Some(bearer) = bearer {
            request = request.header("Authorization", bearer);
        }
        request.send(body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    /// A server that takes one request and answers with these bytes, over and over where `endless`; gives the client's
    /// result, and what it was asked.
    fn asked(method: &Method<'_>, answer: &[u8], endless: bool) -> (Result<Value, Failure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let answer = answer.to_vec();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = n.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            head.push_str(std::str::from_utf8(&body).unwrap());
            let _ = stream.write_all(&answer);
            while endless && stream.write_all(&[b'x'; 65536]).is_ok() {}
            if answer.is_empty() {
                // Until the client has given up.
                let _ = reader.read_line(&mut String::new());
            }
            head
        });
        let access =
            Access { server, ca: None, insecure: false, certificate: None, token: Some("abc".to_owned()) };
        let result = Client::new(&access, 1_000).unwrap().ask(method, "/api");
        (result, serving.join().unwrap())
    }

    fn answer(status: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[test]
    fn each_method_is_sent_as_the_api_wants_it() {
        let ok = answer("200 OK", "{\"kind\":\"Pod\"}");
        let (result, head) = asked(&Method::Get, &ok, false);
        assert_eq!(result.unwrap()["kind"], "Pod");
        assert!(
            head.starts_with("GET /api HTTP/1.1\r\n")
                && head.to_lowercase().contains("authorization: bearer abc"),
            "{head}"
        );
        let body = json!({"a": 1});
        for (method, line, kind) in [
            (Method::Post(&body), "POST /api ", "application/json"),
            (Method::Merge(&body), "PATCH /api ", "application/merge-patch+json"),
            (Method::Delete(&body), "DELETE /api ", "application/json"),
        ] {
            let (result, head) = asked(&method, &ok, false);
            result.unwrap();
            assert!(head.starts_with(line) && head.ends_with("{\"a\":1}"), "{head}");
            assert!(head.to_lowercase().contains(&format!("content-type: {kind}\r\n")), "{head}");
        }
    }

    #[test]
    fn refusals_are_told_in_the_servers_words() {
        for (code, text) in
            [(401, "Unauthorized"), (403, "Forbidden"), (409, "Conflict"), (500, "Internal Server Error")]
        {
            let status = json!({"kind": "Status", "message": "because\u{1b}[2J of it\nand more"}).to_string();
            let (result, _) = asked(&Method::Get, &answer(&format!("{code} {text}"), &status), false);
            let failure = result.unwrap_err();
            assert!(failure.is(code), "{failure}");
            assert_eq!(failure.to_string(), format!("HTTP {code}: because\\u{{1b}}[2J of it"));
            let (result, _) = asked(&Method::Get, &answer(&format!("{code} {text}"), "<html>"), false);
            assert_eq!(result.unwrap_err().to_string(), format!("HTTP {code}: {text}"));
        }
        // Nothing is followed anywhere: our credentials are for one server.
        let moved = b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n";
        assert!(asked(&Method::Get, moved, false).0.unwrap_err().is(302));
    }

    #[test]
    fn what_is_no_answer_is_silence() {
        let silent = |answer: &[u8], endless| match asked(&Method::Get, answer, endless).0 {
            Err(Failure::Silent(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(silent(&answer("200 OK", "garbage"), false).contains("no JSON"));
        assert!(silent(&answer("200 OK", "[\"x\"]"), false).contains("no object"));
        assert!(silent(b"garbage\r\n\r\n", false).contains("http"));
        // It breaks off.
        silent(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", false);
        assert!(silent(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", true).contains("larger than 10 MiB"));
        let began = Instant::now();
        assert!(silent(b"", false).contains("timeout"), "it is slow");
        assert!(began.elapsed() < Duration::from_secs(20));
        let access = Access {
            server: "http://127.0.0.1:1".to_owned(),
            ca: None,
            insecure: false,
            certificate: None,
            token: None,
        };
        let refused = Client::new(&access, 1_000).unwrap().ask(&Method::Get, "/").unwrap_err();
        assert!(refused.to_string().contains("refused"), "{refused}");
    }

    #[test]
    fn certificates_that_are_none_are_named() {
        let access = |ca: &[u8], certificate: Option<(&[u8], &[u8])>| Access {
            server: "https://h".to_owned(),
            ca: Some(ca.to_vec()),
            insecure: ca.is_empty(),
            certificate: certificate.map(|(c, k)| (c.to_vec(), k.to_vec())),
            token: None,
        };
        let error = |access: Access| Client::new(&access, 1_000).unwrap_err();
        assert!(error(access(b"x", None)).contains("certificate-authority"));
        assert!(error(access(b"", Some((b"x", b"y")))).contains("client-certificate"));
    }
}
