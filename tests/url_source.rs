//! `--manifest-url`: what `podstrap fetch` makes of every kind of answer, and what the daemon does with Pods from a URL while
//! the server answers, fails, lies or is away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::yaml::{canary, one};
use common::{Instance, host, instance, podstrap};
use podstrap::config::{Header, HeaderValue};
use podstrap::helper::fetch::{FetchSpec, Fetched, Validators};

/// What the server says to a request (its lines, in lower case); `None`: it closes the connection.
type Answer = dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync;

/// An HTTP server whose answer can be changed.
struct Server {
    port: u16,
    answer: Arc<Mutex<Arc<Answer>>>,
    requests: mpsc::Receiver<String>,
    over: Arc<AtomicBool>,
}

impl Server {
    fn new(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::at(0, answer)
    }

    fn at(port: u16, answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer: Arc<Mutex<Arc<Answer>>> = Arc::new(Mutex::new(Arc::new(answer)));
        let (told, requests) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let (current, is_over) = (answer.clone(), over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let answer = current.lock().unwrap().clone();
                let told = told.clone();
                std::thread::spawn(move || serve(stream, &*answer, &told));
            }
        });
        Self { port, answer, requests, over }
    }

    fn set(&self, answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/pods.yaml", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Its listener closes when it has seen that.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut stream: TcpStream, answer: &Answer, told: &mpsc::Sender<String>) {
    let mut request = String::new();
    for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        request.push_str(&line.to_ascii_lowercase());
        request.push('\n');
    }
    if let Some(bytes) = answer(&request) {
        let _ = stream.write_all(&bytes);
    }
    let _ = told.send(request);
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn ok(body: &str) -> Vec<u8> {
    reply("200 OK", "", body.as_bytes())
}

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
    let url = format!("https://127.0.0.1:{}/pods.yaml", server.1);
    let mut spec = spec(&url, &dir);
    spec.ca = Some(dir.0.join("ca.pem"));
    assert!(matches!(fetch(&spec), Ok(Fetched::Body(_))), "{:?}", fetch(&spec));
    assert_eq!(fs::read(&spec.file).unwrap(), b"hello");
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

/// An instance that also reads the URL, once a second.
fn with_url(url: &str) -> Option<Instance> {
    let mut i = instance()?;
    i.args(&["--manifest-url", url, "--manifest-url-period", "1s"]);
    Some(i)
}

fn said(i: &Instance) -> String {
    common::text(&i.cli("status", &[]).stdout)
}

#[test]
fn pods_of_a_url_go_on_whatever_becomes_of_the_server() {
    let server = Server::new(|_| None);
    let Some(mut i) = with_url(&server.url()) else { return };
    i.start();
    i.until("the source's error is told", |i| said(i).contains("cannot be read"));
    let (web, etcd) = (one(&i, "web", &canary("web"), &[]), one(&i, "etcd", &canary("etcd"), &[]));
    let both = format!("{web}---\n{etcd}");
    let body = both.clone();
    server.set(move |_| Some(ok(&body)));
    let pids = [i.until_ready("web"), i.until_ready("etcd")];
    let pod = i.pod("web").unwrap();
    assert_eq!(pod.pod["metadata"]["annotations"]["kubernetes.io/config.source"], "http");
    assert_eq!(pod.origin.path, server.url());

    // One of them is refused: the other one is changed all the same.
    let broken = web.replace("name: main", "name: Main!");
    let both = format!("{web}---\n{}", one(&i, "etcd", &canary("etcd2"), &[]));
    let body = both.replace(&web, &broken);
    server.set(move |_| Some(ok(&body)));
    i.until("the other one is changed", |i| i.lines("etcd2").len() == 1);
    let pids = [pids[0], i.until_ready("etcd")];
    i.until("the refusal is told", |i| {
        common::text(&i.cli("status", &["-o", "wide"]).stdout).contains("Main!")
    });
    type Bad = fn(&str) -> Option<Vec<u8>>;
    let bad: [Bad; 6] = [
        |_| Some(ok("")),
        |_| Some(reply("500 Oops", "", b"")),
        |_| Some(ok("<html><body>hello</body></html>")),
        |_| Some(ok("apiVersion: v1\nkind: Pod\n")),
        |_| {
            Some(
                b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\napiVersion: v1\nkind: List\nitems: []\n"
                    .to_vec(),
            )
        },
        |_| None,
    ];
    for answer in bad {
        while server.requests.try_recv().is_ok() {}
        server.set(answer);
        server.requests.recv_timeout(Duration::from_secs(10)).unwrap();
        server.requests.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!([i.running_pid("web", "main"), i.running_pid("etcd", "main")], pids.map(Some));
    }
    let body = both.clone();
    server.set(move |_| Some(ok(&body)));
    i.until("it can be read again", |i| !said(i).contains("cannot be read"));

    // The server is gone, the daemon is killed, and so is what it ran: the last good answer is on disk.
    let port = server.port;
    drop(server);
    i.kill9();
    i.start();
    assert_eq!([i.until_ready("web"), i.until_ready("etcd")], pids);
    assert!(i.cli("down", &[]).status.success());
    i.daemon_exit(Duration::from_secs(20));
    i.start();
    let again = [i.until_ready("web"), i.until_ready("etcd")];
    assert!(again.iter().all(|p| !pids.contains(p)));

    // That there is nothing must be said.
    let _server = Server::at(port, |_| Some(ok("apiVersion: v1\nkind: PodList\nitems: []\n")));
    i.until("both are stopped", |i| i.pod("web").is_none() && i.pod("etcd").is_none());
}

#[test]
fn a_beginning_of_the_last_answer_is_believed_when_it_is_given_twice() {
    let server = Server::new(|_| None);
    let Some(mut i) = with_url(&server.url()) else { return };
    let (web, etcd) = (one(&i, "web", &canary("web"), &[]), one(&i, "etcd", &canary("etcd"), &[]));
    let both = format!("{web}---\n{etcd}");
    server.set(move |_| Some(ok(&both)));
    i.start();
    i.until_ready("web");
    i.until_ready("etcd");
    server.set(move |_| Some(reply("200 OK", "ETag: \"2\"\r\n", web.as_bytes())));
    i.until("the other one is stopped", |i| i.pod("etcd").is_none());
    let log = fs::read_to_string(i.daemon_log()).unwrap();
    assert!(log.contains("mere beginning"), "{log}");
    assert!(i.ready("web"));
}

#[test]
fn no_header_is_told() {
    let server =
        Server::new(|request| request.contains("x-token: marker-of-the-test").then(|| ok("kind: [")));
    let Some(mut i) = with_url(&format!("{}?key=marker-of-the-test", server.url())) else { return };
    let token = i.dir.join("token");
    fs::write(&token, "marker-of-the-test").unwrap();
    i.args(&["--manifest-url-header", &format!("X-Token: @{}", token.display())]);
    i.start();
    i.until("what it says is refused", |i| said(i).contains("pods.yaml?…"));
    let mut all = fs::read_to_string(i.daemon_log()).unwrap() + &said(&i);
    all.push_str(&common::text(&i.cli("status", &["-o", "json"]).stdout));
    let mut files = host::entries(&i.run.join("status"));
    files.extend(host::entries(&i.run));
    for file in files.iter().filter(|f| f.is_file()) {
        let mut bytes = Vec::new();
        fs::File::open(file).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
        all.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(!all.contains("marker-of-the-test"), "{all}");
}
