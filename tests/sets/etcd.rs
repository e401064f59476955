//! Three members of a real etcd, out of one StatefulSet, on loopback addresses of their own: they form a cluster in order,
//! keep every acknowledged write over a rolling change of their command, and their data over the set's removal and return.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{pods, set_status, wait_ready};
use crate::common::image;
use crate::common::{bare_instance, describe, host, text};

const SLOW: Duration = Duration::from_secs(90);

#[derive(Clone)]
struct Cluster {
    etcdctl: PathBuf,
    /// The first three numbers of the members' addresses; the last one is 10 and their own.
    net: String,
}

impl Cluster {
    /// A member alone is no cluster and answers nobody, so in order none can wait for the former one's answer: it has run for
    /// some seconds.
    fn manifest(&self, image: &str, snapshot_count: u32) -> String {
        let net = &self.net;
        let peer = |n: u32| format!("etcd-{n}=http://{net}.1{n}:2380");
        let members = (0..3).map(peer).collect::<Vec<_>>().join(",");
        format!(
            r#"apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: etcd, namespace: kube-system, labels: {{app: etcd}}}}
spec:
  serviceName: etcd
  replicas: 3
  minReadySeconds: 3
  selector: {{matchLabels: {{app: etcd}}}}
  template:
    metadata: {{labels: {{app: etcd}}}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 20
      containers:
      - name: etcd
        image: {image}
        imagePullPolicy: IfNotPresent
        env: [{{name: N, valueFrom: {{fieldRef: {{fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}}}}}]
        command:
        - etcd
        - --name=etcd-$(N)
        - --data-dir=/var/lib/etcd
        - --listen-peer-urls=http://{net}.1$(N):2380
        - --initial-advertise-peer-urls=http://{net}.1$(N):2380
        - --listen-client-urls=http://{net}.1$(N):2379
        - --advertise-client-urls=http://{net}.1$(N):2379
        - --listen-metrics-urls=http://{net}.1$(N):2381
        - --initial-cluster={members}
        - --snapshot-count={snapshot_count}
        volumeMounts: [{{name: data, mountPath: /var/lib/etcd}}]
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"#
        )
    }

    fn ctl(&self, args: &[&str]) -> Output {
        let net = &self.net;
        let endpoints = format!("--endpoints=http://{net}.10:2379,http://{net}.11:2379,http://{net}.12:2379");
        Command::new(&self.etcdctl).arg(endpoints).arg("--command-timeout=3s").args(args).output().unwrap()
    }

    /// Every key that this member has, asked of it alone.
    fn keys(&self, member: u32) -> BTreeSet<String> {
        let endpoint = format!("--endpoints=http://{}.1{member}:2379", self.net);
        let mut command = Command::new(&self.etcdctl);
        let output = command.arg(endpoint).args(["get", "--prefix", "w-", "--keys-only"]).output().unwrap();
        assert!(output.status.success(), "{}", describe(&output));
        text(&output.stdout).lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
    }
}

/// Writes one key after the other until it is told to end. Returns those that were acknowledged.
fn write(cluster: &Cluster, ends: &AtomicBool) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for n in 0.. {
        let key = format!("w-{n:06}");
        if cluster.ctl(&["put", &key, "x"]).status.success() {
            acknowledged.insert(key);
        }
        if ends.load(Ordering::Relaxed) {
            break;
        }
    }
    acknowledged
}

#[test]
fn three_members_form_a_cluster_in_order_and_lose_no_write_in_a_roll_out() {
    let Some(mut i) = bare_instance() else { return };
    let etcd = match image::etcd() {
        Ok(etcd) => etcd,
        Err(reason) => return host::skip(&reason),
    };
    image::provide(&etcd.archive, &i.images_dir(), "etcd.tar");
    let pid = std::process::id();
    let net = format!("127.{}.{}", 10 + pid / 250 % 200, pid % 250);
    let cluster = Cluster { etcdctl: etcd.etcdctl.clone(), net };
    i.write_manifest("etcd.yaml", &cluster.manifest(&etcd.image, 10_000));
    i.start();
    i.until_within(SLOW, "the second waits for the first", |i| pods(i, "etcd") == ["etcd-0"]);
    i.until_within(SLOW, "all three are there", |i| set_status(i, "etcd").is_some_and(|s| s.is_complete()));
    let began = |n: u32| i.pod(&format!("etcd-{n}")).unwrap().created_at.unwrap();
    assert!(began(0) < began(1) && began(1) < began(2));
    let healthy = |cluster: &Cluster| cluster.ctl(&["endpoint", "health"]).status.success();
    i.until_within(SLOW, "the cluster is healthy", |_| healthy(&cluster));

    let ends = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (cluster, ends) = (cluster.clone(), ends.clone());
        move || write(&cluster, &ends)
    });
    i.until("something is written", |_| !cluster.keys(0).is_empty());
    let before = i.pod("etcd-0").unwrap().generation;
    i.write_manifest("etcd.yaml", &cluster.manifest(&etcd.image, 5_000));
    i.until_within(SLOW, "all three have the new command", |i| {
        set_status(i, "etcd")
            .is_some_and(|s| s.is_complete() && s.updated == 3 && s.current_revision == s.update_revision)
            && i.pod("etcd-0").is_some_and(|p| p.generation != before)
    });
    i.until_within(SLOW, "the cluster is healthy", |_| healthy(&cluster));
    let written = cluster.keys(0).len();
    i.until("it is written on", |_| cluster.keys(0).len() > written);
    ends.store(true, Ordering::Relaxed);
    let acknowledged = writer.join().unwrap();
    println!("{} writes were acknowledged", acknowledged.len());
    for member in 0..3 {
        let lost: Vec<_> = acknowledged.difference(&cluster.keys(member)).cloned().collect();
        assert_eq!(lost, Vec::<String>::new(), "of member {member}");
    }

    // Taken away and put back: what it had is there.
    i.remove("etcd.yaml");
    i.until_within(SLOW, "nothing is left", |i| i.published().is_empty());
    i.write_manifest("etcd.yaml", &cluster.manifest(&etcd.image, 5_000));
    i.until_within(SLOW, "all three are back", |i| set_status(i, "etcd").is_some_and(|s| s.is_complete()));
    wait_ready(&i, "kube-system/statefulset/etcd");
    i.until_within(SLOW, "the cluster is healthy", |_| healthy(&cluster));
    assert!(cluster.keys(2).is_superset(&acknowledged));
}
