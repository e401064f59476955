//! One control plane: what kubeadm writes on a node of the test's own, podstrap on it, and kubectl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use crate::common::engine::{Engine, runtime};
use crate::common::image;
use crate::common::kubernetes::Kubernetes;
use crate::common::node::Node;
use crate::common::{Instance, NODE, assert_exit, describe, host, instance_without_engine, text};

/// The node's address: of a network that is set aside for documentation.
pub const ADDRESS: &str = "192.0.2.10";

/// The Pods, in the order in which they can work.
pub const PODS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// How long a start may take on a busy machine: the probes of kubeadm's manifests begin after 10 s, and ask every 10 s.
pub const START: Duration = Duration::from_secs(180);

/// A node with kubeadm's files, images, and a podstrap that is not started yet.
pub struct Plane {
    /// Goes before the node on which its daemon runs.
    pub i: Instance,
    _engine: Option<Engine>,
    /// The host of all of it.
    pub node: Node,
    /// The programs.
    pub kubernetes: Kubernetes,
}

/// Makes one. `None`, said aloud, where it cannot be had.
pub fn plane() -> Option<Plane> {
    let plane = bare()?;
    plane.provide(&PODS);
    plane.kubeadm();
    Some(plane)
}

/// Makes one without kubeadm's files, and without images.
pub fn bare() -> Option<Plane> {
    let mut i = instance_without_engine()?;
    let kubernetes = match Kubernetes::get() {
        Ok(kubernetes) => kubernetes,
        Err(reason) => {
            host::skip(&reason);
            return None;
        }
    };
    let node = Node::new(&i.dir, ADDRESS);
    // Its daemon has to be on the node, too, where the host's network is the node's.
    let engine = (runtime() != "runc").then(|| Engine::start_by(node.command(Path::new("bash")), &runtime()));
    if let Some(engine) = &engine {
        i.with_docker(&engine.cli);
    }
    i.prefix = node.prefix();
    // As the node sees it: /etc/kubernetes/manifests.
    fs::remove_dir(&i.manifests).unwrap();
    i.manifests = i.dir.join("kubernetes/manifests");
    Some(Plane { i, _engine: engine, node, kubernetes })
}

impl Plane {
    /// Puts the images of these Pods where podstrap finds them.
    pub fn provide(&self, pods: &[&str]) {
        for pod in pods {
            let archive = Path::new(self.kubernetes.value(pod));
            image::provide(archive, &self.i.images_dir(), &format!("{pod}.tar"));
        }
    }

    /// Writes the configuration for kubeadm, and tells where.
    pub fn configuration(&self) -> PathBuf {
        let config = self.i.dir.join("kubeadm.yaml");
        self.kubernetes.configure(&config, NODE, ADDRESS, "");
        config
    }

    /// Lets kubeadm write what it writes: keys, kubeconfigs and manifests.
    fn kubeadm(&self) {
        let config = self.configuration();
        for phase in ["certs all", "kubeconfig all", "control-plane all", "etcd local"] {
            self.kubernetes.phase(&self.node, &config, phase);
        }
    }

    /// Starts podstrap and waits until all Pods are ready.
    pub fn boot(&mut self) {
        self.i.start();
        self.wait_ready();
    }

    /// Waits until all Pods are ready.
    pub fn wait_ready(&self) {
        let names = PODS.map(|p| format!("kube-system/{p}"));
        let timeout = format!("{}s", START.as_secs());
        let mut args = vec!["--for", "ready", "--timeout", &timeout];
        args.extend(names.iter().map(String::as_str));
        assert_exit(&self.i.wait(&args), 0);
    }

    /// The pid of a Pod's one container.
    pub fn pid(&self, pod: &str) -> i32 {
        self.i.running_pid(pod, pod).unwrap_or_else(|| panic!("{pod} runs"))
    }

    /// Waits until another process than this one runs in a Pod, and the Pod is ready; gives the pid.
    pub fn until_anew(&self, pod: &str, former: i32) -> i32 {
        self.i.until_within(START, &format!("{pod} runs anew, and is ready"), |i| {
            i.running_pid(pod, pod).is_some_and(|p| p != former) && i.ready(pod)
        });
        self.pid(pod)
    }

    /// `kubectl ARGS…`, run to its end, with this on its standard input.
    pub fn try_kubectl(&self, args: &[&str], input: &str) -> Output {
        let file = self.i.dir.join("kubectl.yaml");
        fs::write(&file, input).unwrap();
        self.node
            .command(&self.kubernetes.program("kubectl"))
            .args(["--kubeconfig=/etc/kubernetes/admin.conf", "--request-timeout=20s"])
            .args(args)
            .stdin(fs::File::open(file).unwrap())
            // Its cache lies below.
            .env("HOME", &self.i.dir)
            .output()
            .unwrap()
    }

    /// What kubectl wrote on standard output, when it exits 0; the test fails otherwise.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.kubectl_with(args, "")
    }

    /// The same with something on its standard input.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> String {
        let output = self.try_kubectl(args, input);
        assert!(output.status.success(), "kubectl {args:?}: {}", describe(&output));
        text(&output.stdout)
    }

    /// Polls kubectl until what it says, without blanks at its ends, is as wanted.
    pub fn until_kubectl(&self, args: &[&str], wanted: impl Fn(&str) -> bool) {
        let end = Instant::now() + START;
        loop {
            let output = self.try_kubectl(args, "");
            if output.status.success() && wanted(text(&output.stdout).trim()) {
                return;
            }
            assert!(Instant::now() < end, "not within {START:?}: kubectl {args:?}: {}", describe(&output));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Writes a ConfigMap, which etcd then holds.
    pub fn put(&self, name: &str, value: &str) {
        let value = format!("--from-literal=value={value}");
        self.kubectl(&["create", "configmap", name, &value]);
    }

    /// Reads it.
    pub fn get(&self, name: &str) -> String {
        self.kubectl(&["get", "configmap", name, "-o", "jsonpath={.data.value}"])
    }

    /// A manifest as it is now.
    pub fn manifest(&self, pod: &str) -> String {
        fs::read_to_string(self.i.manifests.join(format!("{pod}.yaml"))).unwrap()
    }
}
