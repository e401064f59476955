//! The real programs of Kubernetes, as `tests/tools/control-plane` builds them once, and their image archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::describe;
use super::image::in_tree;
use super::node::Node;

/// Where the programs and archives are: what `tests/tools/control-plane` prints.
#[derive(Debug)]
pub struct Kubernetes {
    said: String,
}

impl Kubernetes {
    /// Gets it, from the cache or by building it; an error tells why there is none.
    pub fn get() -> Result<Self, String> {
        let output = Command::new("sh").arg(in_tree("tests/tools/control-plane")).output().unwrap();
        match output.status.success() {
            true => Ok(Self { said: super::text(&output.stdout) }),
            false => Err(format!("no control plane: {}", super::text(&output.stderr).trim())),
        }
    }

    /// One of the values.
    pub fn value(&self, key: &str) -> &str {
        let found = self.said.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("control-plane does not tell `{key}`:\n{}", self.said))
    }

    /// A program for the host.
    pub fn program(&self, name: &str) -> PathBuf {
        match name {
            "etcd" => Path::new(self.value("etcdctl")).with_file_name("etcd"),
            _ => Path::new(self.value("bin")).join(name),
        }
    }

    /// Writes a configuration of kubeadm for a node with this name and address; `more` is fields of the cluster's.
    pub fn configure(&self, file: &Path, node: &str, address: &str, more: &str) {
        let version = self.value("version");
        let content = format!(
            "apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\n\
             localAPIEndpoint: {{advertiseAddress: {address}}}\n\
             nodeRegistration: {{name: {node}, criSocket: /run/no-runtime.sock}}\n---\n\
             apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nkubernetesVersion: {version}\n{more}"
        );
        fs::write(file, content).unwrap();
    }

    /// `kubeadm init phase PHASE` on a node, by this configuration.
    pub fn phase(&self, node: &Node, config: &Path, phase: &str) {
        let mut command = node.command(&self.program("kubeadm"));
        command.args(["init", "phase"]).args(phase.split(' ')).arg("--config").arg(config);
        let output = command.output().unwrap();
        assert!(output.status.success(), "kubeadm init phase {phase}: {}", describe(&output));
    }
}
