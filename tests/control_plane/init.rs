//! `kubeadm init` itself, from its first file to its last object, with podstrap where it expects the kubelet.

use std::fs::{self, File};
use std::time::Duration;

use crate::common::NODE;
use crate::common::image::in_tree;
use crate::plane::{PODS, START, bare};

/// The phases that podstrap(8) says to skip: what they need is a kubelet, or a Node object that a kubelet would make.
const SKIPPED: &str = "preflight,kubelet-start,upload-config/kubelet,mark-control-plane";

#[test]
fn kubeadm_init_goes_through() {
    let Some(mut p) = bare() else { return };
    // kubeadm asks /healthz when there is no apiserver for 40 s: this one's image comes late.
    let (late, others): (Vec<&str>, Vec<&str>) = PODS.iter().partition(|pod| **pod == "kube-apiserver");
    p.provide(&others);
    let unit = fs::read_to_string(in_tree("dist/podstrap-kubeadm.conf")).unwrap();
    let (_, flags) = unit.rsplit_once("ExecStart=/usr/local/bin/podstrap run ").unwrap();
    p.i.args(&flags.split_whitespace().collect::<Vec<_>>());
    let manual = fs::read_to_string(in_tree("man/podstrap.8")).unwrap();
    assert!(manual.contains(&format!("--skip-phases {SKIPPED}\n")), "the manual has another list");
    let object = manual.split("kubectl create -f - <<END\n").nth(1).unwrap().split("END\n").next().unwrap();
    assert!(!p.i.manifests.exists(), "kubeadm makes it");
    p.i.start();
    assert_eq!(p.node.ask("http://127.0.0.1:10248/healthz"), Ok("ok".to_owned()));

    let config = p.configuration();
    let path = p.i.dir.join("kubeadm.log");
    let log = File::create(&path).unwrap();
    let said = || fs::read_to_string(&path).unwrap();
    let mut kubeadm = p
        .node
        .command(&p.kubernetes.program("kubeadm"))
        .arg("init")
        .arg("--config")
        .arg(&config)
        .args(["--skip-phases", SKIPPED])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    p.i.until_within(Duration::from_secs(80), "kubeadm asks for the kubelet's health", |_| {
        let ended = kubeadm.try_wait().unwrap();
        assert!(ended.is_none(), "kubeadm ended, {}: {}", ended.unwrap_or_default(), said());
        said().contains("[kubelet-check] Initial timeout of 40s passed.")
    });
    p.provide(&late);
    p.i.until_within(START, "kubeadm ends", |_| kubeadm.try_wait().unwrap().is_some());
    let said = said();
    assert!(kubeadm.wait().unwrap().success(), "{said}");
    assert!(said.contains("Your Kubernetes control-plane has initialized successfully!"), "{said}");
    // What it says when nobody answers, or something else.
    assert!(!said.contains("It seems like the kubelet isn't running or healthy."), "{said}");

    p.wait_ready();
    for object in [
        "configmap/kubeadm-config -n kube-system",
        "configmap/cluster-info -n kube-public",
        "deployment/coredns -n kube-system",
        "daemonset/kube-proxy -n kube-system",
    ] {
        let mut args = vec!["get", "-o", "name"];
        args.extend(object.split(' '));
        p.kubectl(&args);
    }
    p.put("hello", "world");
    assert_eq!(p.get("hello"), "world");

    // With a Node, made by hand, the other phases work, too.
    assert_eq!(p.kubectl(&["get", "nodes", "-o", "name"]), "");
    p.kubectl_with(&["create", "-f", "-"], &object.replace("$(hostname)", NODE));
    for phase in ["upload-config kubelet", "mark-control-plane"] {
        p.kubernetes.phase(&p.node, &config, phase);
    }
    let nodes = p.kubectl(&["get", "nodes"]);
    assert!(nodes.contains("control-plane,master"), "{nodes}");
    assert_eq!(
        p.kubectl(&["get", "node", NODE, "-o", "jsonpath={.status.allocatable}"]),
        "",
        "no room on it"
    );
    let maps = p.kubectl(&["get", "configmaps", "-n", "kube-system", "-o", "name"]);
    assert!(maps.contains("configmap/kubelet-config-1.20\n"), "{maps}");
    let metrics = p.node.ask("http://127.0.0.1:10248/metrics").unwrap();
    assert!(metrics.contains("podstrap_pods_ready 4\n"), "{metrics}");
    assert!(said.contains("[addons] Applied essential addon: kube-proxy"), "{said}");
}
