//! Against real servers: a listener in a thread that answers with literal bytes, and `openssl s_server` for TLS.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::*;
use crate::helper::probe::Verdict;

/// A server that answers the n-th connection with the n-th reply, and tells what it was asked.
struct Server {
    port: u16,
    asked: Receiver<Vec<String>>,
}

impl Server {
    fn new(host: &str, replies: Vec<String>) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            for reply in replies {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut lines = Vec::new();
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    match line {
                        Ok(line) if !line.is_empty() => lines.push(line),
                        _ => break,
                    }
                }
                let _ = tell.send(lines);
                let _ = stream.write_all(reply.replace("PORT", &port.to_string()).as_bytes());
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.recv_timeout(Duration::from_secs(5)).unwrap()
    }
}

fn ask(server: &Server, host: &str, headers: &[(String, String)]) -> Outcome {
    get(&Request {
        url: Url::new(false, host, server.port, "/healthz?a=b"),
        headers,
        timeout_ms: 5000,
        client: Client::Probe,
    })
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn the_status_decides_and_the_first_line_explains() {
    for (status, body, verdict, line) in [
        ("200 OK", "ok\nmore", Verdict::Success, "HTTP 200: ok"),
        ("204 No Content", "", Verdict::Success, "HTTP 204 No Content"),
        ("399 Odd", "", Verdict::Success, "HTTP 399"),
        ("304 Not Modified", "", Verdict::Success, "HTTP 304 Not Modified"),
        ("302 Found", "no location", Verdict::Success, "HTTP 302: no location"),
        ("400 Bad Request", "", Verdict::Failure, "HTTP 400 Bad Request"),
        ("500 Internal Server Error", "\n\x1b[2Jdown", Verdict::Failure, "HTTP 500: \\u{1b}[2Jdown"),
        ("503 Service Unavailable", "etcd is not ready", Verdict::Failure, "HTTP 503: etcd is not ready"),
    ] {
        let server = Server::new("127.0.0.1", vec![reply(status, "", body)]);
        let outcome = ask(&server, "127.0.0.1", &[]);
        assert_eq!((outcome.verdict, outcome.line.as_str()), (verdict, line), "{status}");
    }
}

#[test]
fn the_request_is_the_kubelets() {
    let server = Server::new("127.0.0.1", vec![reply("200 OK", "", "")]);
    ask(&server, "127.0.0.1", &[("X-One".into(), "1".into()), ("x-one".into(), "2".into())]);
    let mut asked = server.asked();
    assert_eq!(asked.remove(0), "GET /healthz?a=b HTTP/1.1");
    let mut lower: Vec<String> = asked.iter().map(|l| l.to_lowercase()).collect();
    lower.sort();
    let host = format!("host: 127.0.0.1:{}", server.port);
    assert_eq!(
        lower,
        [
            "accept: */*",
            "connection: close",
            host.as_str(),
            "user-agent: kube-probe/1.35",
            "x-one: 1",
            "x-one: 2"
        ]
    );
}

#[test]
fn the_probes_own_headers_win() {
    let server = Server::new("127.0.0.1", vec![reply("200 OK", "", "")]);
    let headers = [("Host", "example.org"), ("User-Agent", "me"), ("Accept", ""), ("host", "second.org")];
    let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    assert_eq!(ask(&server, "127.0.0.1", &headers).verdict, Verdict::Success);
    let mut lower: Vec<String> = server.asked().iter().skip(1).map(|l| l.to_lowercase()).collect();
    lower.sort();
    assert_eq!(lower, ["connection: close", "host: example.org", "user-agent: me"]);
    let server = Server::new("127.0.0.1", vec![]);
    let outcome = ask(&server, "127.0.0.1", &[("X".into(), "a\r\nEvil: 1".into())]);
    assert_eq!(outcome.verdict, Verdict::Failure, "{}", outcome.line);
}

#[test]
fn redirects_stay_in_the_house() {
    let same = reply("302 Found", "Location: /next\r\n", "");
    let server = Server::new("127.0.0.1", vec![same.clone(), reply("503 No", "", "still starting")]);
    assert_eq!(ask(&server, "127.0.0.1", &[]), Outcome::failure("HTTP 503: still starting"));
    server.asked();
    assert_eq!(server.asked().first().map(String::as_str), Some("GET /next HTTP/1.1"));

    let absolute = reply("307 Go", "Location: http://127.0.0.1:PORT/x\r\n", "");
    let server = Server::new("127.0.0.1", vec![absolute, reply("200 OK", "", "ok")]);
    let host = [("Host".to_owned(), "example.org".to_owned())];
    assert_eq!(ask(&server, "127.0.0.1", &host), Outcome::success("HTTP 200: ok"));
    assert!(server.asked().iter().any(|l| l.eq_ignore_ascii_case("host: example.org")));
    assert!(
        server.asked().iter().any(|l| l.eq_ignore_ascii_case(&format!("host: 127.0.0.1:{}", server.port)))
    );

    let other = reply("301 Moved", "Location: https://other.example/login\r\n", "");
    let server = Server::new("127.0.0.1", vec![other]);
    let outcome = ask(&server, "127.0.0.1", &[]);
    assert_eq!(outcome.verdict, Verdict::Success);
    assert!(outcome.line.contains("warning") && outcome.line.contains("https://other.example/login"));

    let server = Server::new("127.0.0.1", vec![same.clone(); 11]);
    assert_eq!(ask(&server, "127.0.0.1", &[]), Outcome::failure("stopped after 10 redirects"));
    let mut ten = vec![same; 10];
    ten.push(reply("200 OK", "", "there"));
    assert_eq!(ask(&Server::new("127.0.0.1", ten), "127.0.0.1", &[]), Outcome::success("HTTP 200: there"));
}

#[test]
fn nonsense_and_silence_are_failures() {
    let server = Server::new("127.0.0.1", vec!["hello, I am no HTTP server\r\n\r\n".into()]);
    assert_eq!(ask(&server, "127.0.0.1", &[]).verdict, Verdict::Failure);
    let server = Server::new("127.0.0.1", vec![String::new()]);
    assert_eq!(ask(&server, "127.0.0.1", &[]).verdict, Verdict::Failure);
    // A body that ends before its announced length.
    let server = Server::new("127.0.0.1", vec!["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".into()]);
    assert_eq!(ask(&server, "127.0.0.1", &[]).verdict, Verdict::Failure);

    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let begin = Instant::now();
    let request = Request {
        url: Url::new(false, "127.0.0.1", port, "/"),
        headers: &[],
        timeout_ms: 300,
        client: Client::Probe,
    };
    assert_eq!(get(&request), Outcome::failure("timed out after 0.3s"));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn a_reply_that_drips_does_not_outlive_the_timeout() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let begin = Instant::now();
    let request = Request {
        url: Url::new(false, "127.0.0.1", port, "/"),
        headers: &[],
        timeout_ms: 400,
        client: Client::Probe,
    };
    assert_eq!(get(&request), Outcome::failure("timed out after 0.4s"));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn a_large_body_is_read_no_further_than_ten_kibibytes() {
    let mut head = String::from("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
    head.push_str(&"x".repeat(20 * 1024));
    // The server closes after 20 KiB of the 100 MB it promised: only a client that reads on would notice.
    let server = Server::new("127.0.0.1", vec![head]);
    assert_eq!(ask(&server, "127.0.0.1", &[]).verdict, Verdict::Success);
}

#[test]
fn addresses_of_the_sixth_version_work() {
    let server = Server::new("::1", vec![reply("200 OK", "", "six")]);
    assert_eq!(ask(&server, "::1", &[]), Outcome::success("HTTP 200: six"));
    let host = format!("host: [::1]:{}", server.port);
    assert!(server.asked().iter().any(|l| l.to_lowercase() == host));
}

/// Ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn certificates_are_not_verified() {
    let dir = std::env::temp_dir().join(format!("podstrap-probe-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    for algorithm in [&["rsa:2048"][..], &["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]] {
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=nobody",
                "-keyout",
                "key",
                "-out",
                "cert",
            ])
            .arg("-newkey")
            .args(algorithm)
            .current_dir(&dir)
            .stderr(Stdio::null())
            .status()
            .expect("this test needs the openssl command");
        assert!(made.success());
        let server = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-key", "key", "-cert", "cert", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Killed(server);
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "openssl s_server did not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        let request = |https| Request {
            url: Url::new(https, "127.0.0.1", port, "/livez"),
            headers: &[],
            timeout_ms: 5000,
            client: Client::Probe,
        };
        let outcome = get(&request(true));
        assert_eq!(outcome.verdict, Verdict::Success, "{}", outcome.line);
        assert!(outcome.line.starts_with("HTTP 200: <"), "{}", outcome.line);
        assert_eq!(get(&request(false)).verdict, Verdict::Failure);
        drop(server);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
