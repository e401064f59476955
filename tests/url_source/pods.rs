//! Pods from a URL, while the server answers, fails, lies or is away.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::common::yaml::{canary, one};
use crate::common::{Instance, assert_exit, host, instance, text};
use crate::server::{Server, ok, reply};

/// An instance that also reads the URL, once a second.
fn with_url(url: &str) -> Option<Instance> {
    let mut i = instance()?;
    i.args(&["--manifest-url", url, "--manifest-url-period", "1s"]);
    Some(i)
}

fn said(i: &Instance) -> String {
    text(&i.cli("status", &[]).stdout)
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
    i.until("the refusal is told", |i| text(&i.cli("status", &["-o", "wide"]).stdout).contains("Main!"));
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
    all.push_str(&text(&i.cli("status", &["-o", "json"]).stdout));
    let mut files = host::entries(&i.run.join("status"));
    files.extend(host::entries(&i.run));
    // The one file that has to hold what the daemon was given; root's alone.
    let urls = i.run.join("urls.json");
    assert_eq!(fs::metadata(&urls).unwrap().permissions().mode() & 0o7777, 0o600);
    files.retain(|file| *file != urls);
    for file in files.iter().filter(|f| f.is_file()) {
        let mut bytes = Vec::new();
        fs::File::open(file).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
        all.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(!all.contains("marker-of-the-test"), "{all}");
}

#[test]
fn plan_asks_the_url_as_the_daemon_does_and_says_where_it_cannot() {
    let server = Server::new(|_| None);
    let Some(mut i) = instance() else { return };
    // With a secret in its query and one in a header; and the daemon asks it once.
    let url = format!("{}?key=marker", server.url());
    i.args(&["--manifest-url", &url, "--manifest-url-period", "1h"]);
    i.args(&["--manifest-url-header", "X-Token: marker-too"]);
    let web = one(&i, "web", &canary("web"), &["env: [{name: A, value: one}]"]);
    let says = |body: &str| {
        let body = body.to_owned();
        move |request: &str| {
            let knows = request.starts_with("get /pods.yaml?key=marker ")
                && request.contains("x-token: marker-too\n")
                && !request.contains("if-none-match");
            Some(if knows { ok(&body) } else { reply("403 Forbidden", "", b"") })
        }
    };
    server.set(says(&web));
    i.start();
    i.until_ready("web");
    let plan = |i: &Instance, code: i32| {
        let output = i.cli("plan", &[]);
        assert_exit(&output, code);
        (text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(plan(&i, 0), ("1 unchanged\n".to_owned(), String::new()));
    server.set(says(&web.replace("value: one", "value: two")));
    let (told, notes) = plan(&i, 1);
    assert!(
        told.starts_with("replace   default/web-") && told.contains("env[A].value: \"one\" → \"two\""),
        "{told}"
    );
    assert_eq!(notes, "");
    // As the daemon would take them: what cannot be used changes nothing, and is told.
    server.set(|_| Some(reply("500 Oops", "", b"")));
    let (told, notes) = plan(&i, 0);
    assert_eq!(told, "1 unchanged\n");
    let note =
        "pods.yaml?… cannot be read now (HTTP 500 Internal Server Error): it counts with what it said last";
    assert!(notes.contains(note) && !notes.contains("marker"), "{notes}");
    let json: serde_json::Value = serde_json::from_slice(&i.cli("plan", &["-o", "json"]).stdout).unwrap();
    assert!(json["notes"][0].as_str().is_some_and(|n| n.contains(note)), "{json}");
    server.set(says(&web.replace("image:", "image: no image #")));
    let (told, _) = plan(&i, 3);
    assert!(told.starts_with("keep      default/web-"), "{told}");
    // The daemon is away: the same. Without what it has left it is only known what the URL said last.
    server.set(says("apiVersion: v1\nkind: PodList\nitems: []\n"));
    i.kill9();
    assert!(plan(&i, 1).0.starts_with("stop      default/web-"));
    fs::remove_file(i.run.join("urls.json")).unwrap();
    let (_, notes) = plan(&i, 3);
    assert!(notes.contains("is not asked, only the daemon knows how"), "{notes}");
    assert!(host::entries(&i.run).iter().all(|f| !f.to_string_lossy().contains("fetched")));
    i.start();
}
