//! `--kubeconfig` where there is no API server worth the name: Pods take no notice, `status` tells, and the child that speaks
//! to it comes and goes with the daemon. What a real one shows is in the control plane's tests.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::yaml::{canary, one};
use crate::common::{Instance, SOON, host, instance};

/// A kubeconfig for this server and these fields of the user.
fn kubeconfig(path: &Path, server: &str, user: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: \"{server}\", insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}]\n"
    );
    fs::write(path.with_extension("part"), text).unwrap();
    fs::rename(path.with_extension("part"), path).unwrap();
}

/// The pid of the child that shows Pods.
fn child(i: &Instance) -> Option<i32> {
    let pid = i.daemon_pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let pids = children.split_whitespace().map(|p| p.parse::<i32>().unwrap());
    pids.into_iter().find(|pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"podstrap\0mirror"))
    })
}

#[test]
fn a_server_that_never_answers_delays_nothing_and_is_told_of() {
    let Some(mut i) = instance() else { return };
    let path = i.dir.join("kubelet.conf");
    i.args(&["--kubeconfig", path.to_str().unwrap(), "--register-node"]);
    i.start();
    let says = |i: &Instance, words: &str| i.cli_ok("status", &[]).contains(words);
    i.until("the file is missed", |i| says(i, "mirror Pods: read ") && says(i, "kubelet.conf: No such file"));

    // It takes connections, and that is all.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    kubeconfig(&path, &format!("http://{address}"), "");
    let (_connection, _) = server.accept().unwrap();
    let began = Instant::now();
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.until_ready("web");
    i.remove("web.yaml");
    i.until("the Pod is gone", |i| i.pod("web").is_none());
    assert!(began.elapsed() < Duration::from_secs(9), "while the first request still waits");
    i.until_within(SOON, "the silence is told", |i| says(i, "mirror Pods: timeout"));
    let status = i.status();
    assert_eq!(status["podstrap"]["mirror"]["server"], format!("http://{address}"));

    // It goes with the daemon, however that ends.
    let former = child(&i).expect("the child lives");
    i.kill9();
    i.until("the child is gone", |_| !host::alive(former));
    i.start();
    i.until("there is another", |i| child(i).is_some());
    let former = child(&i).unwrap();
    assert!(i.terminate().success());
    i.until("the child is gone", |_| !host::alive(former));
}

#[test]
fn a_key_that_is_none_is_named() {
    let Some(mut i) = instance() else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let pem = |kind: &str| {
        let path = i.dir.join(format!("{}.pem", kind.replace(' ', "")));
        fs::write(&path, format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n")).unwrap();
        path.display().to_string()
    };
    let user = format!("client-certificate: {}, client-key: {}", pem("CERTIFICATE"), pem("PRIVATE KEY"));
    let path = i.dir.join("kubelet.conf");
    kubeconfig(&path, &format!("https://{}", server.local_addr().unwrap()), &user);
    i.args(&["--kubeconfig", path.to_str().unwrap()]);
    i.start();
    i.until("the reason is told", |i| {
        let said = i.cli_ok("status", &[]);
        said.contains("kubelet.conf: the client certificate and its key cannot be used")
    });
    // By a child that gives up, and another that tries again once the file is mended.
    kubeconfig(&path, &format!("http://{}", server.local_addr().unwrap()), "");
    i.until("the former reason is gone", |i| !i.cli_ok("status", &[]).contains("cannot be used"));
}
