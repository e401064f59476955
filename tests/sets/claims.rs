//! What a StatefulSet's Pods write outlives them.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::{INDEX, noting, pods, set, wait_ready};
use crate::common::{Instance, assert_exit, instance, podstrap, text};

const MOUNTS: &str = "volumeMounts: [{name: shared, mountPath: /shared}, {name: data, mountPath: /data}]";

fn db(i: &Instance, replicas: u32, more: &[&str]) -> String {
    let replicas = format!("replicas: {replicas}");
    let claim = "volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: \
                 {storage: 64Mi}}}}]";
    let mut spec = vec![replicas.as_str(), claim];
    spec.extend(more);
    let script = format!("echo $N >>/data/file; {}", noting("a"));
    set(i, "StatefulSet", "db", &spec, &script, &[MOUNTS, INDEX])
}

fn claim(i: &Instance, args: &[&str]) -> Output {
    let (verb, rest) = args.split_first().unwrap();
    Command::new(podstrap()).args(["claim", verb, "--run-dir"]).arg(&i.run).args(rest).output().unwrap()
}

fn data(i: &Instance, n: u32) -> PathBuf {
    i.state.join(format!("claims/default/data-db-{n}/file"))
}

fn content(i: &Instance, n: u32) -> String {
    std::fs::read_to_string(data(i, n)).unwrap_or_default()
}

#[test]
fn claims_outlive_pods_numbers_and_sets() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("db.yaml", &db(&i, 2, &[]));
    i.start();
    wait_ready(&i, "statefulset/db");
    assert_eq!((content(&i, 0).as_str(), content(&i, 1).as_str()), ("0\n", "1\n"));
    let listed = text(&claim(&i, &["list"]).stdout);
    let row = listed.lines().find(|l| l.contains("data-db-1")).unwrap();
    assert!(row.contains(" db ") && row.contains("64Mi") && row.contains("default/db-1-node1"), "{listed}");
    let refused = claim(&i, &["rm", "data-db-1"]);
    assert_exit(&refused, 1);
    assert!(text(&refused.stderr).contains("is used by default/db-1-node1"), "{}", text(&refused.stderr));
    // The number goes and comes back; then the whole set.
    i.write_manifest("db.yaml", &db(&i, 1, &[]));
    i.until("one is left", |i| pods(i, "db") == ["db-0"]);
    i.until("it is unused", |i| !text(&claim(i, &["list"]).stdout).contains("db-1-node1"));
    i.write_manifest("db.yaml", &db(&i, 2, &[]));
    i.until("the number is back, with what it had", |i| content(i, 1) == "1\n1\n");
    i.remove("db.yaml");
    i.until("nothing is left", |i| i.published().is_empty());
    i.write_manifest("db.yaml", &db(&i, 1, &[]));
    i.until("the set is back, with what it had", |i| content(i, 0) == "0\n0\n" && content(i, 1) == "1\n1\n");
    let json: serde_json::Value = serde_json::from_slice(&claim(&i, &["list", "-o", "json"]).stdout).unwrap();
    assert_eq!((json[1]["ordinal"].as_u64(), json[1]["request"].as_u64()), (Some(1), Some(64 << 20)));
    assert_eq!(text(&claim(&i, &["rm", "data-db-1"]).stdout), "default/data-db-1: removed\n");
    assert!(!data(&i, 1).exists() && data(&i, 0).exists());
    assert_exit(&claim(&i, &["rm", "data-db-1"]), 1);
}

#[test]
fn claims_go_where_the_set_says_so() {
    let Some(mut i) = instance() else { return };
    let policy = ["persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}"];
    i.write_manifest("db.yaml", &db(&i, 2, &policy));
    i.start();
    wait_ready(&i, "statefulset/db");
    assert!(data(&i, 1).exists());
    i.write_manifest("db.yaml", &db(&i, 1, &policy));
    i.until("its claim has gone with the number", |i| !data(i, 1).exists());
    assert!(data(&i, 0).exists());
    // A file that is broken is no set that is gone.
    i.write_manifest("db.yaml", "kind: [");
    i.kill9();
    i.start();
    i.until("it is told", |i| !i.published().is_empty());
    assert!(data(&i, 0).exists());
    i.remove("db.yaml");
    i.until("the other has gone with the set", |i| !data(i, 0).exists());
}
