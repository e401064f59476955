//! `--manifest-url`: what `podstrap fetch` makes of every kind of answer, and what the daemon does with Pods from a URL while
//! the server answers, fails, lies or is away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;
mod pods;
mod server;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{host, podstrap};
use podstrap::config::{Header, HeaderValue};
use podstrap::helper::fetch::{FetchSpec, Fetched, Validators};
use server::{Server, ok, reply};

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("podstrap-url-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn spec(url: &str, dir: &Scratch) -> FetchSpec {
    FetchSpec { url: url.to_owned(), file: dir.0.join("body"), timeout_ms: 3_000, ..FetchSpec::default() }
}

/// What `podstrap fetch` says.
fn fetch(spec: &FetchSpec) -> Result<Fetched, String> {
    let mut child = Command::new(podstrap())
        .arg("fetch")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A proxy of the caller's must not be asked.
        .env("http_proxy", "http://127.0.0.1:1")
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(spec).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let line = common::text(&output.stdout);
    assert_eq!(line.lines().count(), 1, "{line:?}");
    if output.status.success() {
        Ok(serde_json::from_str(&line).unwrap())
    } else {
        Err(line.trim().to_owned())
    }
}

#[test]
fn an_answer_is_a_file_and_the_same_one_is_not_sent_again() {
    let dir = Scratch::new("same");
    let server = Server::new(|request| {
        Some(if request.contains("if-none-match: \"v1\"\n") && request.contains("if-modified-since: sun") {
            reply("304 Not Modified", "", b"")
        } else {
            reply("200 OK", "ETag: \"v1\"\r\nLast-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\n", b"hello")
        })
    });
    let mut spec = spec(&server.url(), &dir);
    spec.headers = vec![Header { name: "X-Token".into(), value: HeaderValue::File(dir.0.join("token")) }];
    assert!(fetch(&spec).unwrap_err().contains("token"));
    fs::write(dir.0.join("token"), " Secret\n").unwrap();
    let Ok(Fetched::Body(validators)) = fetch(&spec) else { panic!() };
    let request = server.requests.recv().unwrap();
    assert!(
        request.starts_with("get /pods.yaml http/1.1\n") && request.contains("x-token: secret\n"),
        "{request}"
    );
    assert_eq!(fs::read(&spec.file).unwrap(), b"hello");
    assert_eq!(validators.etag.as_deref(), Some("\"v1\""));
    spec.validators = validators;
    assert_eq!(fetch(&spec), Ok(Fetched::Same));
    // Without having asked for it, it is no answer.
    server.set(|_| Some(reply("304 Not Modified", "", b"")));
    spec.validators = Validators::default();
    assert!(fetch(&spec).unwrap_err().contains("304"));
}

#[test]
fn every_bad_answer_is_an_error_and_no_file() {
    let dir = Scratch::new("bad");
    let server = Server::new(|_| None);
    let spec = spec(&server.url(), &dir);
    let expect = |words: &str| {
        let error = fetch(&spec).expect_err(words);
        assert!(error.contains(words), "{words}: {error}");
        assert!(!spec.file.exists(), "{words}");
    };
    expect("");
    for (status, words) in
        [("500 Oops", "HTTP 500"), ("404 Not Found", "HTTP 404 Not Found"), ("204 None", "HTTP 204")]
    {
        server.set(move |_| Some(reply(status, "", b"apiVersion: v1")));
        expect(words);
    }
    server.set(|_| Some(ok("")));
    expect("is empty");
    server.set(|_| Some(ok("  \n\n")));
    expect("is empty");
    server.set(|_| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\napiVersion: v1".to_vec()));
    expect("breaks off");
    server.set(|_| Some(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec()));
    expect("breaks off");
    server.set(|_| Some(reply("200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b")));
    expect("compressed");
    server.set(|_| {
        let mut all = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        all.resize((10 << 20) + 100, b'#');
        Some(all)
    });
    expect("larger than 10 MiB");
    server.set(|_| Some(b"SSH-2.0-OpenSSH\r\n".to_vec()));
    expect("");
    server.set(|_| Some(reply("302 Found", "Location: http://localhost:1/x\r\n", b"")));
    expect("another host");
    server.set(|_| Some(reply("302 Found", "Location: /again\r\n", b"")));
    expect("redirects");
    server.set(|_| Some(reply("302 Found", "", b"")));
    expect("redirects");
    let port = server.port;
    drop(server);
    let gone = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(gone.elapsed() < Duration::from_secs(5));
    }
    expect("refused");
}

#[test]
fn a_slow_server_has_its_time_and_no_more() {
    let dir = Scratch::new("slow");
    let server = Server::new(|_| {
        std::thread::sleep(Duration::from_secs(20));
        None
    });
    let spec = FetchSpec { timeout_ms: 1_000, ..spec(&server.url(), &dir) };
    let begin = Instant::now();
    assert!(fetch(&spec).unwrap_err().contains("within 1 s"));
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_redirect_within_the_host_is_followed_and_a_pin_is_held() {
    let dir = Scratch::new("pin");
    let server = Server::new(|request| {
        Some(if request.starts_with("get /pods.yaml ") {
            reply("307 Temporary Redirect", "Location: real\r\n", b"")
        } else {
            ok("abc")
        })
    });
    let mut spec = spec(&server.url(), &dir);
    assert!(matches!(fetch(&spec), Ok(Fetched::Body(_))));
    // SHA-256 of "abc": FIPS 180-2, appendix B.1.
    spec.sha256 = Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into());
    assert!(matches!(fetch(&spec), Ok(Fetched::Body(_))));
    fs::remove_file(&spec.file).unwrap();
    server.set(|_| Some(ok("abd")));
    assert!(fetch(&spec).unwrap_err().contains("SHA-256"));
    assert!(!spec.file.exists());
}

/// `openssl s_server` with a certificate of a CA of the test's own; gives what lies in `dir`.
struct TlsServer(Child, u16);

impl TlsServer {
    fn new(dir: &Path) -> Self {
        let openssl = |args: &[&str]| {
            let output = Command::new("openssl").args(args).current_dir(dir).output().unwrap();
            assert!(output.status.success(), "{}", common::text(&output.stderr));
        };
        let new =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
        openssl(&[&new[..], &["-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"]].concat());
        openssl(&[&new[..], &["-subj", "/CN=other", "-keyout", "other.key", "-out", "other.pem"]].concat());
        openssl(
            &[
                &new[..],
                &[
                    "-subj",
                    "/CN=server",
                    "-CA",
                    "ca.pem",
                    "-CAkey",
                    "ca.key",
                    "-keyout",
                    "s.key",
                    "-out",
                    "s.pem",
                ],
                &["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
            ]
            .concat(),
        );
        let port = host::free_port();
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-WWW", "-cert", "s.pem", "-key", "s.key", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self(child, port);
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "openssl s_server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn https_is_verified() {
    let dir = Scratch::new("tls");
    fs::write(dir.0.join("pods.yaml"), "hello").unwrap();
    let server = TlsServer::new(&dir.0);
    let port = server.1;
    let url = format!("https://127.0.0.1:{port}/pods.yaml");
    let mut spec = spec(&url, &dir);
    spec.ca = Some(dir.0.join("ca.pem"));
    assert!(matches!(fetch(&spec), Ok(Fetched::Body(_))), "{:?}", fetch(&spec));
    assert_eq!(fs::read(&spec.file).unwrap(), b"hello");
    // A redirect from http to https is one to the same host, and as strict.
    let plain = Server::new(move |_| {
        Some(reply("302 Found", &format!("Location: https://127.0.0.1:{port}/pods.yaml\r\n"), b""))
    });
    let mut redirected = FetchSpec { url: plain.url(), ..spec.clone() };
    fs::remove_file(&spec.file).unwrap();
    assert!(matches!(fetch(&redirected), Ok(Fetched::Body(_))), "{:?}", fetch(&redirected));
    assert_eq!(fs::read(&spec.file).unwrap(), b"hello");
    redirected.ca = Some(dir.0.join("other.pem"));
    assert!(fetch(&redirected).unwrap_err().contains("certificate"), "{:?}", fetch(&redirected));
    fs::remove_file(&spec.file).unwrap();
    spec.ca = Some(dir.0.join("other.pem"));
    assert!(fetch(&spec).unwrap_err().contains("certificate"), "{:?}", fetch(&spec));
    // The host's own list knows nothing of it.
    spec.ca = None;
    fetch(&spec).unwrap_err();
    assert!(!spec.file.exists());
    spec.ca = Some(dir.0.join("pods.yaml"));
    assert!(fetch(&spec).unwrap_err().contains("no PEM certificate"));
    // Its certificate is not for that name.
    spec.url = url.replace("127.0.0.1", "localhost");
    spec.ca = Some(dir.0.join("ca.pem"));
    fetch(&spec).unwrap_err();
}
