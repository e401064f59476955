//! `handover --to-kubelet`, and a real kubelet after it: it starts the same manifests on the same data, and nothing is lost;
//! and the way back.
//!
//! The kubelet is of the control plane's own version, which still speaks to docker by itself.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::MACHINE;
use crate::common::engine::{self, Engine};
use crate::common::image::{self, in_tree};
use crate::common::{NODE, assert_exit, describe, host};
use crate::plane::{ADDRESS, PODS, Plane, START, plane};

/// What a kubelet writes outside of its own directories goes to mounts of its own: logs, and the kernel's settings, which are
/// the real host's.
const PREPARE: &str = r#"
set -eu
dir=$1
shift
mount -t tmpfs tmpfs /var/log
mkdir "$dir"
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
	kernel/keys/root_maxbytes; do
	copy=$dir/$(echo "$name" | tr / .)
	cat "/proc/sys/$name" >"$copy"
	mount --bind "$copy" "/proc/sys/$name"
done
exec "$@"
"#;

/// What keeps a Pod's namespaces under that kubelet.
const PAUSE: &str = "podstrap.test/pause:1";

/// A kubelet on the node, which ends with this.
struct Kubelet(Child);

impl Kubelet {
    fn start(p: &Plane, engine: &Engine) -> Self {
        let config = p.i.dir.join("kubelet.yaml");
        fs::write(
            &config,
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
             staticPodPath: /etc/kubernetes/manifests\nfailSwapOn: false\ncgroupDriver: cgroupfs\ncgroupsPerQOS: false\n\
             enforceNodeAllocatable: []\nmakeIPTablesUtilChains: false\noomScoreAdj: 0\nevictionHard: {memory.available: 1Mi}\n",
        )
        .unwrap();
        let log = File::create(p.i.dir.join("kubelet.log")).unwrap();
        let child = p
            .node
            .command(Path::new("unshare"))
            .args(["--mount", "--propagation", "private", "sh", "-c", PREPARE, "sh"])
            .arg(p.i.dir.join("settings"))
            .arg(p.kubernetes.program("kubelet"))
            .arg(format!("--config={}", config.display()))
            .args(["--kubeconfig=/etc/kubernetes/kubelet.conf", "--container-runtime=docker"])
            .arg(format!("--hostname-override={NODE}"))
            .arg(format!("--docker-endpoint=unix://{}", engine.dir.join("docker.sock").display()))
            .arg(format!("--pod-infra-container-image={PAUSE}"))
            // Else it asks the name service of this host for the node, again and again.
            .arg(format!("--node-ip={ADDRESS}"))
            // Between itself and the part of it that speaks to docker.
            .arg(format!("--container-runtime-endpoint=unix://{}", p.i.dir.join("dockershim.sock").display()))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A docker on the node with all images that the kubelet needs.
fn docker(p: &Plane) -> Engine {
    let mut command = p.node.command(Path::new("bash"));
    command.env("PODSTRAP_TEST_ENGINE_RUNC", in_tree("tests/tools/lenient-runc"));
    let engine = Engine::start_by(command, "docker");
    let run = |args: &[&str]| engine::ok(&engine.cli, args);
    let mut archives = PODS.map(|pod| p.kubernetes.value(pod).to_owned()).to_vec();
    archives.push(image::busybox().display().to_string());
    for archive in archives {
        let loaded = engine::try_run(&engine.cli, &["load", "-q", "-i", &archive], START);
        assert_exit(&loaded.unwrap(), 0);
    }
    let container = run(&["create", image::BUSYBOX, "true"]);
    run(&["commit", "--change", "CMD [\"sleep\", \"1000000000\"]", &container, PAUSE]);
    run(&["rm", &container]);
    engine
}

#[test]
fn a_kubelet_takes_over_and_gives_back() {
    let _machine = MACHINE.read().unwrap_or_else(|e| e.into_inner());
    if let Some(reason) = engine::missing("docker") {
        return host::skip(&reason);
    }
    let Some(mut p) = plane() else { return };
    p.boot();
    p.put("kept", "yes");
    let (manifests, pids) = (PODS.map(|pod| p.manifest(pod)), PODS.map(|pod| p.pid(pod)));
    let member = host::inode(&p.i.dir.join("etcd/member"));
    let began = Instant::now();
    let output = p.i.cli("handover", &["--to-kubelet", "--timeout", "120s"]);
    assert_exit(&output, 0);
    assert!(output.stderr.is_empty(), "nothing is to be noted: {}", describe(&output));
    assert!(p.i.daemon_exit(crate::common::SOON).success());
    let stopped = began.elapsed();
    assert!(!pids.iter().any(|pid| host::alive(*pid)));
    assert_eq!(PODS.map(|pod| p.manifest(pod)), manifests, "nobody writes to the manifests");

    let engine = docker(&p);
    let began = Instant::now();
    let mut kubelet = Kubelet::start(&p, &engine);
    let log = || fs::read_to_string(p.i.dir.join("kubelet.log")).unwrap();
    p.i.until_within(START, "the API server is ready under the kubelet", |_| {
        let ended = kubelet.0.try_wait().unwrap();
        assert!(ended.is_none(), "the kubelet has ended, {}: {}", ended.unwrap_or_default(), log());
        p.try_kubectl(&["get", "--raw", "/readyz"], "").status.success()
    });
    let ready = began.elapsed();
    assert_eq!(p.get("kept"), "yes", "what podstrap's etcd was told");
    assert_eq!(host::inode(&p.i.dir.join("etcd/member")), member);
    p.put("under-the-kubelet", "yes");
    // It is a kubelet that runs them. (In the cluster it shows them a minute later, when it looks at them again.)
    for pod in PODS {
        let label = format!("label=io.kubernetes.container.name={pod}");
        let name = engine::ok(&engine.cli, &["ps", "--filter", &label, "--format", "{{.Names}}"]);
        assert!(name.starts_with(&format!("k8s_{pod}_{pod}-{NODE}_kube-system_")), "{pod}: {name}");
    }
    eprintln!("stopped after {stopped:.1?}; the API server is ready {ready:.1?} after the kubelet's start");
    p.until_kubectl(&["get", "node", NODE, "-o", "jsonpath={.status.nodeInfo.kubeletVersion}"], |said| {
        said == p.kubernetes.value("version")
    });

    // Back again, as handover says: the kubelet and its containers end, and podstrap starts.
    host::signal(kubelet.0.id() as i32, Signal::SIGTERM);
    p.i.until("the kubelet ends", |_| kubelet.0.try_wait().unwrap().is_some());
    drop(engine);
    p.boot();
    assert_eq!([p.get("kept"), p.get("under-the-kubelet")], ["yes", "yes"]);
    assert_eq!(host::inode(&p.i.dir.join("etcd/member")), member);
}
