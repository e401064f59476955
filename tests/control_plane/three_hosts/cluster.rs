//! Three hosts on one network, each with kubeadm's files for one member of etcd, and a client beside them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::writer::{KEYS, Pairs};
use crate::common::image;
use crate::common::kubernetes::Kubernetes;
use crate::common::node::{Network, Node};
use crate::common::{Instance, SOON, assert_exit, describe, host, instance_without_engine, text, with_runc};

/// How long a start may take on a busy machine: kubeadm's startup probe asks every 10 s.
const START: &str = "90s";

/// One host.
pub struct Member {
    /// Its podstrap; goes before the host on which its daemon runs.
    pub i: Instance,
    /// While it has power.
    node: Option<Node>,
    address: String,
}

impl Member {
    /// Lets the host boot.
    pub fn power_on(&mut self, network: &Network) {
        let node = Node::wired(&self.i.dir, &self.address, network);
        self.i.prefix = node.prefix();
        self.node = Some(node);
        self.i.start();
    }

    /// Takes its power away: no process ends in good order, nobody on the network hears of it, and of files, mounts and
    /// control groups is left what a disk keeps.
    pub fn power_cut(&mut self, network: &Network) {
        let node = self.node.take().expect("it has power");
        network.unplug(&node);
        // Before the others, which it would start anew.
        self.i.kill9();
        // All others that the host's network shows, which the clients beside it are not in.
        let end = Instant::now() + SOON;
        loop {
            let left = node.processes();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < end, "still running: {left:?}");
            left.iter().for_each(|(pid, _)| host::signal(*pid, Signal::SIGKILL));
        }
        drop(node);
        // The last of the dead may leave theirs a moment later.
        self.i.until("the control groups are gone", |i| {
            let left = host::cgroups_of(&i.cgroup_root);
            left.iter().filter(|cgroup| fs::remove_dir(cgroup).is_err()).count() == 0
        });
        // On a real host it is a tmpfs.
        fs::remove_dir_all(&self.i.run).unwrap();
    }

    /// The pid of its etcd.
    pub fn pid(&self) -> i32 {
        self.i.running_pid("etcd", "etcd").expect("etcd runs")
    }

    fn endpoint(&self) -> String {
        format!("https://{}:2379", self.address)
    }
}

/// The three of them.
pub struct Cluster {
    /// In the order of their addresses.
    pub members: Vec<Member>,
    /// What they are wired to.
    pub network: Network,
    kubernetes: Kubernetes,
}

/// Makes them, without power. `None`, said aloud, where it cannot be had.
pub fn cluster() -> Option<Cluster> {
    if !with_runc() {
        // A power cut of docker would be another test.
        return None;
    }
    let instances: Vec<Instance> = (0..3).filter_map(|_| instance_without_engine()).collect();
    if instances.len() < 3 {
        return None;
    }
    let kubernetes = match Kubernetes::get() {
        Ok(kubernetes) => kubernetes,
        Err(reason) => {
            host::skip(&reason);
            return None;
        }
    };
    let network = Network::new("192.0.2.1");
    let numbered = instances.into_iter().enumerate();
    let members = numbered.map(|(n, i)| member(n, i, &kubernetes)).collect();
    let cluster = Cluster { members, network, kubernetes };
    cluster.kubeadm();
    Some(cluster)
}

fn member(n: usize, mut i: Instance, kubernetes: &Kubernetes) -> Member {
    image::provide(Path::new(kubernetes.value("etcd")), &i.images_dir(), "etcd.tar");
    i.node = format!("host{n}");
    // As the host sees it: /etc/kubernetes/manifests.
    fs::remove_dir(&i.manifests).unwrap();
    i.manifests = i.dir.join("kubernetes/manifests");
    Member { i, node: None, address: format!("192.0.2.{}", 10 + n) }
}

impl Cluster {
    /// What kubeadm's guide tells to do: the authority on the first host, copied to the others; then, on each, its own
    /// certificates and its manifest.
    fn kubeadm(&self) {
        let peers = self.members.iter().map(|m| format!("{}=https://{}:2380", m.i.node, m.address));
        let peers = peers.collect::<Vec<_>>().join(",");
        let more = format!(
            "etcd: {{local: {{extraArgs: {{initial-cluster: \"{peers}\", initial-cluster-state: new}}}}}}\n"
        );
        for (n, member) in self.members.iter().enumerate() {
            let node = Node::wired(&member.i.dir, &member.address, &self.network);
            let config = member.i.dir.join("kubeadm.yaml");
            self.kubernetes.configure(&config, &member.i.node, &member.address, &more);
            let phase = |name| self.kubernetes.phase(&node, &config, name);
            match n {
                0 => phase("certs etcd-ca"),
                _ => {
                    let of =
                        |n: usize, file: &str| self.members[n].i.dir.join("kubernetes/pki/etcd").join(file);
                    fs::create_dir_all(of(n, "")).unwrap();
                    for file in ["ca.crt", "ca.key"] {
                        fs::copy(of(0, file), of(n, file)).unwrap();
                    }
                }
            }
            for name in
                ["certs etcd-server", "certs etcd-peer", "certs etcd-healthcheck-client", "etcd local"]
            {
                phase(name);
            }
            self.network.unplug(&node);
        }
    }

    /// The endpoints of all, whether they are there or not.
    pub fn all(&self) -> String {
        self.members.iter().map(Member::endpoint).collect::<Vec<_>>().join(",")
    }

    /// The words of an etcdctl beside the hosts, for these endpoints.
    pub fn client(&self, endpoints: &str) -> Vec<String> {
        let command = self.network.command(Path::new(self.kubernetes.value("etcdctl")));
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let mut words: Vec<String> = words.map(|w| w.to_str().unwrap().to_owned()).collect();
        let pki = self.members[0].i.dir.join("kubernetes/pki/etcd");
        for (flag, file) in
            [("cacert", "ca.crt"), ("cert", "healthcheck-client.crt"), ("key", "healthcheck-client.key")]
        {
            words.push(format!("--{flag}={}", pki.join(file).display()));
        }
        words.push(format!("--endpoints={endpoints}"));
        words
    }

    fn try_etcdctl(&self, endpoints: &str, args: &[&str]) -> Output {
        let words = self.client(endpoints);
        Command::new(&words[0]).args(&words[1..]).args(args).output().unwrap()
    }

    /// What etcdctl wrote on standard output, when it exits 0; the test fails otherwise.
    pub fn etcdctl(&self, endpoints: &str, args: &[&str]) -> String {
        let output = self.try_etcdctl(endpoints, args);
        assert!(output.status.success(), "etcdctl {args:?}: {}", describe(&output));
        text(&output.stdout)
    }

    /// Waits until a host's member says that it can write.
    pub fn until_healthy(&self, n: usize) {
        let end = Instant::now() + SOON;
        loop {
            let output = self.try_etcdctl(&self.members[n].endpoint(), &["endpoint", "health", "-w", "json"]);
            let health = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
            if health[0]["health"] == true {
                return;
            }
            assert!(Instant::now() < end, "host {n} is not healthy: {}", describe(&output));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a host's Pod is ready, and its member healthy, too.
    pub fn until_ready(&self, n: usize) {
        let wait = ["--for", "ready", "--timeout", START, "kube-system/etcd"];
        assert_exit(&self.members[n].i.wait(&wait), 0);
        self.until_healthy(n);
    }

    /// The number of the host that leads and has power, in the eyes of this one's member; `None` while there is none.
    pub fn leader_of(&self, n: usize) -> Option<usize> {
        let leader = self.status(n)?["leader"].as_u64()?;
        let id = |n: &usize| self.status(*n).and_then(|s| s["header"]["member_id"].as_u64());
        (0..3).filter(|n| self.members[*n].node.is_some()).find(|n| id(n) == Some(leader))
    }

    /// The number of the host that leads; waited for.
    pub fn leader(&self) -> usize {
        let end = Instant::now() + SOON;
        loop {
            let seen: Vec<_> = (0..3).map(|n| self.leader_of(n)).collect();
            match seen[..] {
                [Some(a), Some(b), Some(c)] if a == b && b == c => return a,
                _ => assert!(Instant::now() < end, "one leader is known to all: {seen:?}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has the leader hand over to another, and gives that.
    pub fn let_lead(&self, leader: usize, next: usize) -> usize {
        let id = self.status(next).and_then(|s| s["header"]["member_id"].as_u64()).expect("it is there");
        self.etcdctl(&self.members[leader].endpoint(), &["move-leader", &format!("{id:x}")]);
        assert_eq!(self.leader(), next);
        next
    }

    fn status(&self, n: usize) -> Option<Value> {
        let output = self.try_etcdctl(&self.members[n].endpoint(), &["endpoint", "status", "-w", "json"]);
        let list: Value = serde_json::from_slice(&output.stdout).ok()?;
        list.get(0)?.get("Status").cloned()
    }

    /// What a host's member holds itself, without asking the others.
    pub fn held(&self, n: usize) -> Pairs {
        let args = ["get", "--prefix", KEYS, "--consistency=s"];
        let output = self.try_etcdctl(&self.members[n].endpoint(), &args);
        let text = text(&output.stdout);
        let lines: Vec<&str> = text.lines().collect();
        lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
    }

    /// Waits until a host's member holds all of these itself.
    pub fn until_member(&self, n: usize, wanted: &Pairs) {
        let end = Instant::now() + 2 * SOON;
        loop {
            let held = self.held(n);
            let missing: Vec<_> =
                wanted.iter().filter(|(key, value)| held.get(*key) != Some(value)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "host {n} does not hold what was acknowledged: {missing:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A hash of all that each member holds, all versions of it included.
    pub fn hashes(&self) -> Vec<u64> {
        let said = self.etcdctl(&self.all(), &["endpoint", "hashkv", "-w", "json"]);
        let list: Value = serde_json::from_str(&said).unwrap();
        let hashes: Vec<u64> =
            list.as_array().unwrap().iter().map(|h| h["HashKV"]["hash"].as_u64().unwrap()).collect();
        assert_eq!(hashes.len(), 3, "{said}");
        hashes
    }
}
