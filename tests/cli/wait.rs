use crate::fixture::{Fixture, container, pod, refused, running, write_log};
use podstrap::report::ManifestState;
use serde_json::{Value, json};

fn creating() -> Value {
    json!({ "waiting": { "reason": "ContainerCreating" } })
}

#[test]
fn it_begins_before_there_is_anything_and_tells_every_change() {
    let f = Fixture::new();
    let mut wait = f.start(&["wait", "--timeout", "60s"]);
    wait.until("waiting for the daemon");
    let _lock = f.daemon();
    wait.until("the daemon is running");
    f.write(&pod(
        "etcd",
        "ContainerCreating",
        "Pending",
        vec![container("etcd", false, 0, creating(), json!({}))],
    ));
    wait.until("kube-system/etcd-host1: ContainerCreating (0/1 ready)");
    f.write(&pod("etcd", "Running", "Running", vec![container("etcd", false, 0, running(), json!({}))]));
    wait.until("kube-system/etcd-host1: ContainerCreating → Running (0/1 ready)");
    f.write(&pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]));
    let ran = wait.end();
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.out.contains("kube-system/etcd-host1: Running (1/1 ready)"), "{ran:?}");
    assert!(ran.out.ends_with("s ready: done\n"), "{ran:?}");
}

#[test]
fn all_means_at_least_one_and_every_source_read() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let ran = f.run(&["wait", "--timeout", "0"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(
        ran.err.contains("not ready after 0s") && ran.err.contains("no manifest has been found"),
        "{ran:?}"
    );
    f.write(&pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]));
    assert_eq!(f.run(&["wait", "--timeout", "0"]).code, Some(0));
    let mut daemon = f.daemon_status();
    daemon.sources[0].synced = false;
    daemon.sources[0].error = Some("No such file or directory".into());
    f.write_daemon(&daemon);
    let ran = f.run(&["wait", "--timeout", "0"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("source /etc/kubernetes/manifests: No such file"), "{ran:?}");
    // A Pod that is named is enough by itself.
    assert_eq!(f.run(&["wait", "etcd", "--timeout", "0"]).code, Some(0));
    let ran = f.run(&["wait", "api", "--timeout", "0"]);
    assert_eq!(ran.code, Some(4));
    assert!(ran.err.contains("api: no manifest has been read for it"), "{ran:?}");
}

#[test]
fn files_of_a_former_daemon_prove_nothing() {
    let f = Fixture::new();
    let lock = f.daemon();
    f.write(&pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]));
    drop(lock);
    let ran = f.run(&["wait", "etcd", "--timeout", "0"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("the daemon is not running"), "{ran:?}");
    // A new daemon holds the lock, but daemon.json is still the old one's.
    let _lock = f.daemon();
    let mut daemon = f.daemon_status();
    daemon.pid += 1;
    f.write_daemon(&daemon);
    let ran = f.run(&["wait", "etcd", "--timeout", "0"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.out.contains("the daemon is starting"), "{ran:?}");
}

#[test]
fn a_refused_manifest_ends_it_at_once() {
    let f = Fixture::new();
    let _lock = f.daemon();
    f.write(&pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]));
    let bad = refused("/m/bad.yaml", &["bad.yaml:1:1: kind is missing", "bad.yaml:9:9: and more"]);
    f.write(&bad);
    let ran = f.run(&["wait"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("bad.yaml:1:1: kind is missing\nbad.yaml:9:9: and more\n"), "{ran:?}");
    // It has nothing to do with a Pod that is named.
    assert_eq!(f.run(&["wait", "etcd", "--timeout", "0"]).code, Some(0));
    f.remove(&bad);
    let mut kept = pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]);
    kept.manifest = ManifestState::Kept { problems: vec!["etcd.yaml:2:2: no".into()] };
    f.write(&kept);
    let ran = f.run(&["wait", "etcd"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("etcd.yaml:2:2: no"), "{ran:?}");
}

#[test]
fn the_end_names_the_container_and_its_last_words() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 4s" } });
    let crash =
        pod("api", "CrashLoopBackOff", "Running", vec![container("api", false, 3, waiting, json!({}))]);
    f.write(&crash);
    let lines: Vec<String> = (1..=12).map(|i| format!("2026-01-02T03:04:05Z stderr F line {i}")).collect();
    write_log(&f.logs(&crash, "api").join("3.log"), &lines.iter().map(String::as_str).collect::<Vec<_>>());
    write_log(&f.logs(&crash, "api").join("4.log"), &[]);
    let ran = f.run(&["wait", "api", "--timeout", "0.1"]);
    assert_eq!(ran.code, Some(5), "{ran:?}");
    let expected = "\
podstrap: wait: not ready after 0.1s:
  kube-system/api-host1: CrashLoopBackOff: container api: CrashLoopBackOff: back-off 4s
  last lines of container api:
    line 3
";
    assert!(ran.err.starts_with(expected) && ran.err.ends_with("    line 12\n"), "{}", ran.err);
    // Not ready, but not in a loop: the time is up, no more.
    let slow = container("api", false, 3, running(), json!({}));
    f.write(&pod("api", "Running", "Running", vec![slow]));
    assert_eq!(f.run(&["wait", "api", "--timeout", "0.1"]).code, Some(4));
}

#[test]
fn a_pod_that_has_failed_is_not_waited_for_and_one_that_has_succeeded_is_there() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let ended = |code: i32| json!({ "terminated": { "exitCode": code, "reason": "Error" } });
    f.write(&pod("job", "Error", "Failed", vec![container("job", false, 0, ended(7), json!({}))]));
    let ran = f.run(&["wait", "job"]);
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.err.contains("has failed") && ran.err.contains("exit code 7 (Error)"), "{ran:?}");
    f.write(&pod("job", "Completed", "Succeeded", vec![container("job", false, 0, ended(0), json!({}))]));
    assert_eq!(f.run(&["wait", "--timeout", "0"]).code, Some(0));
}

#[test]
fn running_asks_for_less_than_ready_and_a_replacement_for_more() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let mut etcd = pod("etcd", "Running", "Running", vec![container("etcd", false, 0, running(), json!({}))]);
    f.write(&etcd);
    assert_eq!(f.run(&["wait", "--for=running", "--timeout", "0"]).code, Some(0));
    assert_eq!(f.run(&["wait", "--timeout", "0"]).code, Some(4));
    etcd = pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]);
    etcd.manifest = ManifestState::Replacing { waits_for: Some("image x".into()) };
    f.write(&etcd);
    assert_eq!(f.run(&["wait", "--for", "running", "--timeout", "0"]).code, Some(4));
}

#[test]
fn gone_needs_no_daemon() {
    let f = Fixture::new();
    assert_eq!(f.run(&["wait", "--for", "gone", "etcd", "--timeout", "0"]).code, Some(0));
    let etcd = pod("etcd", "Terminating", "Running", vec![container("etcd", true, 0, running(), json!({}))]);
    f.write(&etcd);
    assert_eq!(f.run(&["wait", "--for", "gone", "etcd", "--timeout", "0"]).code, Some(4));
    let mut wait = f.start(&["wait", "--for", "gone"]);
    wait.until("Terminating");
    f.remove(&etcd);
    let ran = wait.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("etcd-host1: Terminating → gone"), "{ran:?}");
}
