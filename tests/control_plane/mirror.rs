//! Mirror Pods: what kubectl shows of a control plane that no kubelet runs, with the certificate that kubeadm makes for a
//! node, under the Node authorizer and NodeRestriction; and that nothing that is done to a mirror reaches what runs.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::{NODE, host, image, text};
use crate::plane::{PODS, Plane, START, plane};

/// How soon the cluster has to show what is so: its mirrors are looked at every 4 s.
const SHOWN: Duration = Duration::from_secs(30);

/// One field of a Pod as the cluster has it; empty where there is none.
fn field(p: &Plane, namespace: &str, pod: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    p.kubectl(&["get", "pod", "-n", namespace, &format!("{pod}-{NODE}"), "--ignore-not-found", "-o", &path])
}

/// READY, STATUS and RESTARTS of a Pod in kubectl's table.
fn row(p: &Plane, pod: &str) -> String {
    let name = format!("{pod}-{NODE}");
    let table = p.kubectl(&["get", "pods", "-A", "--no-headers"]);
    let words = table.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
    words.filter(|w| w[1] == name).map(|w| w[2..5].join(" ")).collect()
}

fn until_row(p: &Plane, pod: &str, wanted: &str) {
    p.i.until_within(SHOWN, &format!("kubectl shows {pod} as {wanted:?}"), |_| row(p, pod) == wanted);
}

/// A small Pod, in the version of that number.
fn small(name: &str, namespace: &str, version: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  annotations: {{version: \"{version}\"}}\n\
         spec:\n  hostNetwork: true\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: main\n    image: {}\n    \
         imagePullPolicy: IfNotPresent\n    command: [sleep, \"100000\"]\n",
        image::BUSYBOX
    )
}

#[test]
fn kubectl_shows_what_runs_and_changes_nothing() {
    let Some(mut p) = plane() else { return };
    image::provide_busybox(&p.i.images_dir());
    let kubeconfig = |p: &Plane, from: &str| {
        let dir = p.i.dir.join("kubernetes");
        fs::copy(dir.join(from), dir.join("mirror.part")).unwrap();
        fs::rename(dir.join("mirror.part"), dir.join("mirror.conf")).unwrap();
    };
    // The certificate of system:node:NODE.
    kubeconfig(&p, "kubelet.conf");
    p.i.args(&["--kubeconfig", "/etc/kubernetes/mirror.conf"]);
    p.boot();
    p.i.until("without a Node nothing can be shown, and status says what to do", |i| {
        let said = i.cli_ok("status", &[]);
        said.contains("mirror Pods: node node1 is not registered") && said.contains("--register-node")
    });
    assert_eq!(p.kubectl(&["get", "pods", "-A", "-o", "name"]), "");

    let pids = PODS.map(|pod| p.pid(pod));
    assert!(p.i.terminate().success());
    p.i.args(&["--register-node"]).start();
    let began = Instant::now();
    for pod in PODS {
        until_row(&p, pod, "1/1 Running 0");
    }
    eprintln!(
        "all four are shown {:.1} s after the start with --register-node",
        began.elapsed().as_secs_f64()
    );
    p.i.until("nothing is wrong any more", |i| !i.cli_ok("status", &[]).contains("irror Pod"));
    p.until_kubectl(&["get", "node", NODE, "--no-headers"], |said| said.contains(" Ready "));
    let node = |path: &str| p.kubectl(&["get", "node", NODE, "-o", &format!("jsonpath={{{path}}}")]);
    assert_eq!(node(".spec.taints[?(@.key==\"podstrap.io/no-kubelet\")].effect"), "NoSchedule");
    assert!(node(".status.addresses[*].address").contains("192.0.2.10"));
    assert!(!node(".status.allocatable.memory").is_empty());
    let lease =
        || p.kubectl(&["get", "lease", "-n", "kube-node-lease", NODE, "-o", "jsonpath={.spec.renewTime}"]);
    let renewed = lease();

    // What the kubelet makes, field by field.
    let etcd = |path: &str| field(&p, "kube-system", "etcd", path);
    let hash = p.i.pod("etcd").unwrap().uid.unwrap().to_string();
    assert_eq!(etcd(".metadata.annotations.kubernetes\\.io/config\\.mirror"), hash);
    assert_eq!(etcd(".metadata.annotations.kubernetes\\.io/config\\.hash"), hash);
    assert_eq!(etcd(".metadata.annotations.kubernetes\\.io/config\\.source"), "file");
    assert_eq!(etcd(".metadata.labels.tier"), "control-plane");
    assert_eq!(etcd(".spec.nodeName"), NODE);
    let owner = ["apiVersion", "kind", "name", "uid", "controller"]
        .map(|f| etcd(&format!(".metadata.ownerReferences[0].{f}")))
        .join(" ");
    assert_eq!(owner, format!("v1 Node {NODE} {} true", node(".metadata.uid")));
    assert!(etcd(".spec.tolerations").contains("NoExecute"));
    assert_eq!(etcd(".status.podIP"), "192.0.2.10");
    assert_eq!(etcd(".status.qosClass"), "Burstable");
    assert!(etcd(".status.containerStatuses[0].containerID").contains("://"));

    // Killed by hand: the cluster counts it.
    host::signal(p.pid("kube-scheduler"), Signal::SIGKILL);
    until_row(&p, "kube-scheduler", "1/1 Running 1");
    let ended = ".status.containerStatuses[0].lastState.terminated.exitCode";
    assert_eq!(field(&p, "kube-system", "kube-scheduler", ended), "137");

    // Deleted and changed by hand: nothing that runs takes note, and the mirror is put right.
    let scheduler = p.pid("kube-scheduler");
    for grace in ["--grace-period=30", "--force"] {
        let uid = etcd(".metadata.uid");
        let began = Instant::now();
        p.kubectl(&["delete", "pod", "-n", "kube-system", &format!("etcd-{NODE}"), grace]);
        p.i.until_within(SHOWN, "the mirror is back", |_| {
            ![String::new(), uid.clone()].contains(&etcd(".metadata.uid"))
        });
        eprintln!("deleted with {grace}: back after {:.1} s", began.elapsed().as_secs_f64());
        until_row(&p, "etcd", "1/1 Running 0");
    }
    let image = ".spec.containers[0].image";
    let was = field(&p, "kube-system", "kube-scheduler", image);
    let name = format!("pod/kube-scheduler-{NODE}");
    p.kubectl(&["set", "image", "-n", "kube-system", &name, "kube-scheduler=evil.example/x:1"]);
    p.i.until_within(SHOWN, "the image is the manifest's again", |_| {
        field(&p, "kube-system", "kube-scheduler", image) == was
    });
    until_row(&p, "kube-scheduler", "1/1 Running 1");
    // A label of the manifest's is put right: by a new mirror, because a node may not patch. What others add is theirs.
    let label = |path: &str| field(&p, "kube-system", "kube-scheduler", path);
    let uid = label(".metadata.uid");
    p.kubectl(&["label", "-n", "kube-system", &name, "theirs=1"]);
    p.i.holds_for(Duration::from_secs(6), "a label of others stays", |_| {
        label(".metadata.labels.theirs") == "1" && label(".metadata.uid") == uid
    });
    p.kubectl(&["label", "-n", "kube-system", &name, "--overwrite", "tier=none"]);
    p.i.until_within(SHOWN, "the label is the manifest's again", |_| {
        label(".metadata.labels.tier") == "control-plane" && label(".metadata.uid") != uid
    });
    until_row(&p, "kube-scheduler", "1/1 Running 1");
    assert_eq!((p.pid("etcd"), p.pid("kube-apiserver")), (pids[0], pids[1]));
    assert_eq!(p.pid("kube-scheduler"), scheduler);

    // kubeadm finds the Node that it wants to mark; and a Node that is deleted is made again, with mirrors of its own.
    let config = p.configuration();
    p.kubernetes.phase(&p.node, &config, "mark-control-plane");
    assert!(node(".metadata.labels").contains("node-role.kubernetes.io/control-plane"));
    let former = node(".metadata.uid");
    p.kubectl(&["delete", "node", NODE]);
    p.i.until_within(SHOWN, "etcd's mirror has a new Node", |_| {
        let owner = etcd(".metadata.ownerReferences[0].uid");
        !owner.is_empty() && owner != former && row(&p, "etcd") == "1/1 Running 0"
    });

    // Many edits end with the last one: running, and shown. Of a Pod that nobody touches nothing is sent.
    let untouched = etcd(".metadata.resourceVersion");
    let began = Instant::now();
    for version in 1..=300 {
        p.i.write_manifest("small.yaml", &small("small", "default", version));
        std::thread::sleep(
            Duration::from_millis(100).saturating_mul(version as u32).saturating_sub(began.elapsed()),
        );
    }
    p.i.until_within(START, "the last edit runs", |i| {
        let annotation = "/metadata/annotations/version";
        let version = i.pod("small").and_then(|s| Some(s.pod.pointer(annotation)?.as_str()?.to_owned()));
        version.as_deref() == Some("300") && i.ready("small")
    });
    let edited = began.elapsed();
    p.i.until_within(SHOWN, "the last edit is shown", |_| {
        field(&p, "default", "small", ".metadata.annotations.version") == "300"
            && row(&p, "small") == "1/1 Running 0"
    });
    eprintln!("300 edits: the last one runs after {edited:.1?}, and is shown after {:.1?}", began.elapsed());
    assert_eq!(etcd(".metadata.resourceVersion"), untouched);
    p.i.remove("small.yaml");
    p.i.until_within(SHOWN, "what is removed is not shown any more", |_| row(&p, "small").is_empty());
    assert_ne!(lease(), renewed, "the Lease is renewed");

    // What the server refuses stands in status, and the Pod runs all the same.
    p.i.write_manifest("lost.yaml", &small("lost", "nowhere", 1));
    p.i.until_within(SHOWN, "the refusal is told", |i| {
        // It is not there at once.
        text(&i.cli("status", &["nowhere/lost"]).stdout)
            .contains("mirror Pod: cannot be made: HTTP 404: namespaces \"nowhere\" not found")
    });
    p.i.until("it runs all the same", |i| i.ready("lost"));
    let said = p.i.status();
    let items = said["items"].as_array().unwrap().iter();
    let mirrors: Vec<_> = items.filter_map(|pod| pod["podstrap"]["mirror"].as_str()).collect();
    assert!(mirrors.len() == 1 && mirrors[0].contains("nowhere"), "{mirrors:?}");

    // The API server goes: the others keep their pace, and what was missed is shown when it is back.
    let away = p.i.dir.join("kube-apiserver.yaml");
    fs::rename(p.i.manifests.join("kube-apiserver.yaml"), &away).unwrap();
    p.i.until_within(START, "it is gone", |i| i.pod("kube-apiserver").is_none());
    p.i.until("its absence is told", |i| i.cli_ok("status", &[]).contains("mirror Pods: "));
    let began = Instant::now();
    p.i.write_manifest("small.yaml", &small("small", "default", 301));
    p.i.until("a Pod starts without it", |i| i.ready("small"));
    eprintln!("without an API server a Pod is ready after {:.1?}", began.elapsed());
    p.i.remove("lost.yaml");
    p.i.until("a Pod goes without it", |i| i.pod("lost").is_none());
    fs::rename(&away, p.i.manifests.join("kube-apiserver.yaml")).unwrap();
    p.wait_ready();
    let back = Instant::now();
    until_row(&p, "small", "1/1 Running 0");
    eprintln!(
        "the mirror of a Pod that was missed is there {:.1?} after the API server is ready",
        back.elapsed()
    );
    // The same manifest again is a restart of the same Pod, as with the kubelet.
    let restarts = p.i.restarts("kube-apiserver", "kube-apiserver");
    until_row(&p, "kube-apiserver", &format!("1/1 Running {restarts}"));
    assert_eq!(p.pid("etcd"), pids[0]);

    // An administrator's kubeconfig does as well, and is read anew by itself; and a child that is killed is replaced.
    kubeconfig(&p, "admin.conf");
    until_row(&p, "small", "1/1 Running 0");
    let untouched = field(&p, "default", "small", ".metadata.uid");
    p.kubectl(&["annotate", "pod", &format!("small-{NODE}"), "--overwrite", "version=0"]);
    p.i.until_within(SHOWN, "the annotation is the manifest's again", |_| {
        field(&p, "default", "small", ".metadata.annotations.version") == "301"
    });
    assert_eq!(field(&p, "default", "small", ".metadata.uid"), untouched, "an administrator may patch");
    let child = || {
        let all = p.node.processes();
        all.into_iter().find(|(_, line)| line.starts_with("podstrap mirror")).map(|(pid, _)| pid)
    };
    let former = child().expect("the child that shows them lives");
    host::signal(former, Signal::SIGKILL);
    p.kubectl(&["delete", "pod", &format!("small-{NODE}")]);
    until_row(&p, "small", "1/1 Running 0");
    assert!(child().is_some_and(|pid| pid != former));
    p.i.remove("small.yaml");
    p.i.until_within(SHOWN, "what is removed is not shown any more", |_| row(&p, "small").is_empty());
}
