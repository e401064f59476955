//! What podstrap is for: a real control plane from the manifests that kubeadm writes, not a byte of them changed. Started,
//! used, killed, frozen, changed, stopped and started again; by `kubeadm init` itself (`init.rs`); and an etcd on three hosts
//! that lose their power (`three_hosts`).
//!
//! Each test has a node of its own, so that every one of them may have its apiserver on port 6443.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;
mod handover;
mod init;
mod mirror;
#[allow(dead_code)] // the benchmark uses the rest of it
mod plane;
mod three_hosts;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{NODE, assert_exit, describe, host, podstrap, text};
use nix::sys::signal::Signal;
use plane::{PODS, plane};

#[test]
fn kubeadms_manifests_become_a_control_plane() {
    let Some(mut p) = plane() else { return };
    let manifests = PODS.map(|pod| p.manifest(pod));
    let output = Command::new(podstrap())
        .arg("validate")
        .args(PODS.map(|pod| p.i.manifests.join(format!("{pod}.yaml"))))
        .output()
        .unwrap();
    assert_exit(&output, 0);
    assert!(!describe(&output).contains("warning"), "{}", describe(&output));

    let began = Instant::now();
    p.boot();
    eprintln!("all four are ready after {:.1} s", began.elapsed().as_secs_f64());
    let status = p.i.cli_ok("status", &[]);
    for pod in PODS {
        let row = status.lines().find(|l| l.contains(&format!("{pod}-{NODE}"))).expect("a row for each");
        assert!(row.contains("kube-system") && row.contains("1/1") && row.contains("Running"), "{status}");
    }
    assert_eq!(p.i.restarts("etcd", "etcd"), 0, "{status}");
    let ready = p.kubectl(&["get", "--raw", "/readyz?verbose"]);
    assert!(ready.contains("[+]etcd ok") && ready.contains("readyz check passed"), "{ready}");
    let version = p.kubectl(&["version", "--short"]);
    assert!(version.contains(&format!("Server Version: {}", p.kubernetes.value("version"))), "{version}");
    let namespaces = p.kubectl(&["get", "namespaces", "-o", "name"]);
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(namespaces.contains(&format!("namespace/{name}\n")), "{namespaces}");
    }
    p.put("hello", "world");
    assert_eq!(p.get("hello"), "world");
    assert_eq!(p.kubectl(&["get", "nodes", "-o", "name"]), "");

    let etcd = p.kubectl(&["get", "componentstatuses", "etcd-0", "-o", "jsonpath={.conditions[0].status}"]);
    assert_eq!(etcd, "True");
    // kubeadm closes the ports on which `componentstatuses` asks these two.
    for port in [10257, 10259] {
        assert_eq!(p.node.ask(&format!("https://127.0.0.1:{port}/healthz")), Ok("ok".to_owned()));
    }

    // The controllers made the account, the scheduler finds the place: all four at work together.
    p.until_kubectl(&["get", "serviceaccount", "default", "-o", "name"], |s| s == "serviceaccount/default");
    p.kubectl_with(
        &["create", "-f", "-"],
        "apiVersion: v1\nkind: Node\nmetadata: {name: worker}\n\
         status: {capacity: {pods: 10, cpu: 1, memory: 1Gi}, allocatable: {pods: 10, cpu: 1, memory: 1Gi}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: wanderer}\n\
         spec:\n  tolerations: [{operator: Exists}]\n  containers: [{name: main, image: none}]\n",
    );
    p.until_kubectl(&["get", "pod", "wanderer", "-o", "jsonpath={.spec.nodeName}"], |s| s == "worker");
    assert_eq!(manifests, PODS.map(|pod| p.manifest(pod)), "nobody writes to the manifests");
}

#[test]
fn each_component_is_killed_and_comes_back() {
    let Some(mut p) = plane() else { return };
    p.boot();
    p.put("kept", "yes");
    for victim in ["kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"] {
        let (former, etcd) = (p.pid(victim), p.pid("etcd"));
        let restarts = p.i.restarts(victim, victim);
        let killed = Instant::now();
        host::signal(former, Signal::SIGKILL);
        p.i.until("another process runs", |i| i.running_pid(victim, victim).is_some_and(|n| n != former));
        let again = killed.elapsed();
        assert!(again < Duration::from_secs(2), "{victim} runs again after {again:?}");
        p.until_anew(victim, former);
        eprintln!("{victim}: runs after {again:.2?}, is ready after {:.1?}", killed.elapsed());
        assert_eq!(p.i.restarts(victim, victim), restarts + 1);
        let ended = p.i.container(victim, victim).unwrap().last_state.terminated.expect("a former life");
        assert_eq!(ended.exit_code, 137);
        if victim != "etcd" {
            assert_eq!(p.pid("etcd"), etcd, "etcd does not notice");
        }
        // What lost its apiserver or its etcd meanwhile may have ended for it, and is there again as well.
        p.wait_ready();
        assert_eq!(p.get("kept"), "yes");
    }
    p.put("after", "all");

    // None of them notices that podstrap itself is killed.
    let pids = PODS.map(|pod| p.pid(pod));
    p.i.kill9();
    p.put("without", "podstrap");
    p.i.start();
    p.wait_ready();
    assert_eq!(PODS.map(|pod| p.pid(pod)), pids);
    assert_eq!(p.get("without"), "podstrap");
}

#[test]
fn edited_moved_away_and_back() {
    let Some(mut p) = plane() else { return };
    p.boot();
    p.put("kept", "yes");

    // A flag of the apiserver: that one alone is replaced, and once.
    let (api, etcd) = (p.pid("kube-apiserver"), p.pid("etcd"));
    let generation = |p: &plane::Plane| p.i.pod("kube-apiserver").unwrap().pod["metadata"]["uid"].clone();
    let before = generation(&p);
    let edited = p
        .manifest("kube-apiserver")
        .replace("    - --secure-port=", "    - --event-ttl=2h\n    - --secure-port=");
    p.i.write_manifest("kube-apiserver.yaml", &edited);
    let changed = p.until_anew("kube-apiserver", api);
    assert_ne!(generation(&p), before);
    assert!(text(&fs::read(format!("/proc/{changed}/cmdline")).unwrap()).contains("--event-ttl=2h"));
    assert!(p.kubectl(&["get", "--raw", "/readyz?verbose"]).contains("readyz check passed"));
    assert_eq!(p.pid("etcd"), etcd, "etcd is not touched");
    assert_eq!(p.i.restarts("kube-apiserver", "kube-apiserver"), 0);
    p.i.holds_for(Duration::from_secs(5), "it was replaced once", |i| {
        i.running_pid("kube-apiserver", "kube-apiserver") == Some(changed)
    });
    assert_eq!(p.get("kept"), "yes");

    // etcd goes and comes back: with its data.
    let member = host::inode(&p.i.dir.join("etcd/member"));
    let away = p.i.dir.join("etcd.yaml");
    fs::rename(p.i.manifests.join("etcd.yaml"), &away).unwrap();
    assert_exit(&p.i.wait(&["--for", "gone", "--timeout", "60s", "kube-system/etcd"]), 0);
    assert!(!host::alive(etcd));
    p.i.until_within(Duration::from_secs(90), "the apiserver is not ready without etcd", |i| {
        !i.ready("kube-apiserver")
    });
    fs::rename(&away, p.i.manifests.join("etcd.yaml")).unwrap();
    p.wait_ready();
    assert_eq!(p.get("kept"), "yes");
    assert_eq!(host::inode(&p.i.dir.join("etcd/member")), member);
}

#[test]
fn stopped_in_order_and_started_again() {
    let Some(mut p) = plane() else { return };
    p.boot();
    p.put("kept", "yes");
    let pids = PODS.map(|pod| p.pid(pod));
    // Their logs go with the Pods: read on through descriptors of our own.
    let mut logs = PODS.map(|pod| {
        let of_pod = format!("kube-system_{pod}-{NODE}_");
        let dirs = host::entries(&p.i.log);
        let dir =
            dirs.iter().find(|d| d.file_name().unwrap().to_string_lossy().starts_with(&of_pod)).unwrap();
        // With docker it is a link.
        fs::File::open(dir.join(pod).join("0.log")).unwrap()
    });
    let began = Instant::now();
    let mut down = Command::new(podstrap())
        .args(["down", "--timeout", "120s", "--run-dir"])
        .arg(&p.i.run)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut ended: Vec<(&str, Duration)> = Vec::new();
    let exit = loop {
        let exit = down.try_wait().unwrap();
        for (pod, pid) in PODS.iter().zip(pids) {
            if !host::alive(pid) && ended.iter().all(|(e, _)| e != pod) {
                ended.push((pod, began.elapsed()));
            }
        }
        match exit {
            Some(exit) => break exit,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    eprintln!("ended: {ended:.2?}");
    assert!(exit.success(), "podstrap down: {exit}");
    let order: Vec<&str> = ended.iter().map(|(pod, _)| *pod).collect();
    let mut expected = PODS;
    expected.reverse();
    assert_eq!(order, expected, "what needs another ends before it");
    // TERM was enough for each: nobody's 30 s ran out, and nobody was killed. The controllers and the scheduler of this
    // version do not listen to it, and end as a Go program does that is a container's first process.
    assert!(began.elapsed() < Duration::from_secs(30), "{ended:?}");
    let daemon = fs::read_to_string(p.i.daemon_log()).unwrap();
    for (pod, how) in
        PODS.iter().zip(["(exit code 0)", "(exit code 0)", "with exit code 2", "with exit code 2"])
    {
        assert!(daemon.contains(&format!("{pod}: ended {how}\n")), "{pod} {how}: {daemon}");
    }
    let said = logs.each_mut().map(|log| std::io::read_to_string(log).unwrap());
    assert!(
        said[0].contains("received terminated signal") || said[0].contains("received signal"),
        "{}",
        said[0]
    );
    assert!(said[1].contains("Shutting down"), "{}", said[1]);
    assert!(p.i.daemon_exit(common::SOON).success());
    let mut left = p.node.processes();
    left.retain(|(_, command)| !command.contains("/podstrap-engine-"));
    assert_eq!(left, [], "nothing runs any more");
    p.boot();
    assert_eq!(p.get("kept"), "yes");
}

#[test]
fn a_frozen_apiserver_is_killed_by_its_liveness() {
    let Some(mut p) = plane() else { return };
    p.boot();
    p.put("kept", "yes");
    let (former, etcd) = (p.pid("kube-apiserver"), p.pid("etcd"));
    let frozen = Instant::now();
    host::signal(former, Signal::SIGSTOP);
    p.i.until_within(Duration::from_secs(90), "readiness sees it", |i| !i.ready("kube-apiserver"));
    let unready = frozen.elapsed();
    // Eight tries of up to 15 s each, and a grace period of 30 s in which it cannot do anything.
    p.i.until_within(Duration::from_secs(300), "it was killed, and another runs", |i| {
        i.running_pid("kube-apiserver", "kube-apiserver").is_some_and(|n| n != former)
    });
    let again = frozen.elapsed();
    assert!(again > Duration::from_secs(8 * 10), "all of its tries were made: {again:?}");
    p.until_anew("kube-apiserver", former);
    eprintln!(
        "frozen: not ready after {unready:.1?}, runs again after {again:.1?}, ready after {:.1?}",
        frozen.elapsed()
    );
    assert_eq!(p.i.restarts("kube-apiserver", "kube-apiserver"), 1);
    assert_eq!(p.pid("etcd"), etcd, "etcd is not touched");
    p.wait_ready();
    assert_eq!(p.get("kept"), "yes");
}
