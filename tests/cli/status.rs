use crate::fixture::{Fixture, ago, container, pod, refused, running};
use podstrap::report::ManifestState;
use serde_json::{Value, json};

fn mixed(f: &Fixture) {
    f.write(&pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]));
    let mut broken = pod(
        "api",
        "CrashLoopBackOff",
        "Running",
        vec![
            container(
                "api",
                false,
                3,
                json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 4s" } }),
                json!({ "terminated": { "exitCode": 1, "reason": "Error", "finishedAt": ago(12) } }),
            ),
            container("sidecar", true, 0, running(), json!({})),
        ],
    );
    broken.message = Some("container api: exit code 1\nnext start in 4s\x1b[2J".into());
    f.write(&broken);
    let mut kept = pod("kept", "Running", "Running", vec![container("c", true, 0, running(), json!({}))]);
    kept.manifest = ManifestState::Kept {
        problems: vec![
            "kept.yaml:3:5: unknown key `imge`\n  3 |     imge: x\n    |     ^^^^ did you mean `image`?"
                .into(),
        ],
    };
    f.write(&kept);
    f.write(&refused("/etc/kubernetes/manifests/bad.yaml", &["bad.yaml:1:1: kind is missing"]));
}

#[test]
fn the_table_and_what_is_wrong_below_it() {
    let f = Fixture::new();
    let _lock = f.daemon();
    mixed(&f);
    let ran = f.run(&["status"]);
    let expected = "\
NAMESPACE     NAME         READY   STATUS             RESTARTS      AGE
default       (bad.yaml)   -       Refused            -             -
kube-system   api-host1    1/2     CrashLoopBackOff   3 (12s ago)   12m
kube-system   etcd-host1   1/1     Running            0             12m
kube-system   kept-host1   1/1     Running            0             12m

(bad.yaml): Refused
  bad.yaml:1:1: kind is missing
kube-system/api-host1: CrashLoopBackOff
  container api: exit code 1
  next start in 4s\\u{1b}[2J
kube-system/kept-host1: Running
  its manifest was changed and refused; the last good one goes on:
  kept.yaml:3:5: unknown key `imge`
    3 |     imge: x
      |     ^^^^ did you mean `image`?
";
    // A second may pass between writing and reading.
    let out = ran.out.replace("13s ago", "12s ago").replace("14s ago", "12s ago");
    assert_eq!((out.as_str(), ran.err.as_str(), ran.code), (expected, "", Some(0)));
}

#[test]
fn wide_says_where_and_sources_speak_up() {
    let f = Fixture::new();
    let _lock = f.daemon();
    mixed(&f);
    let mut daemon = f.daemon_status();
    daemon.sources[0].error = Some("Permission denied".into());
    daemon.warnings = vec!["vulnerable-runtime: runc 1.1.5".into()];
    f.write_daemon(&daemon);
    let out = f.run(&["status", "-owide"]).out;
    for text in [
        "AGE   NODE    UID        FILE                                  MESSAGE\n",
        "host1   uid-api    /etc/kubernetes/manifests/api.yaml    container api: exit code 1\n",
        "bad.yaml:1:1: kind is missing\n",
        "source /etc/kubernetes/manifests: Permission denied\n",
        "source /etc/kubernetes/manifests: ignored: notes.txt: not .yaml, .yml or .json\n",
        "warning: vulnerable-runtime: runc 1.1.5\n",
    ] {
        assert!(out.contains(text), "{text}\nnot in\n{out}");
    }
    let narrow = f.run(&["status", "etcd"]).out;
    assert!(!narrow.contains("source") && narrow.lines().count() == 2, "{narrow}");
}

#[test]
fn json_is_a_v1_pod_list_or_a_v1_pod() {
    let f = Fixture::new();
    let _lock = f.daemon();
    mixed(&f);
    let list: Value = serde_json::from_str(&f.run(&["status", "-o", "json"]).out).unwrap();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("PodList"), &json!("v1")));
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    assert_eq!(list["items"][1]["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(
        list["items"][0]["podstrap"]["message"],
        "container api: exit code 1\nnext start in 4s\x1b[2J"
    );
    assert_eq!(list["podstrap"]["running"], true);
    assert_eq!(
        list["podstrap"]["refused"][0]["podstrap"]["manifest"]["problems"][0],
        "bad.yaml:1:1: kind is missing"
    );
    let one: Value =
        serde_json::from_str(&f.run(&["status", "kube-system/etcd-host1", "-ojson"]).out).unwrap();
    assert_eq!((&one["kind"], &one["metadata"]["name"]), (&json!("Pod"), &json!("etcd-host1")));
    let yaml = f.run(&["status", "etcd", "-oyaml"]).out;
    let yaml: Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(yaml, one);
}

#[test]
fn without_a_daemon_it_shows_what_is_left_and_says_so() {
    let f = Fixture::new();
    let ran = f.run(&["status"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(6), ""), "{ran:?}");
    assert!(ran.err.contains("the daemon is not running"), "{ran:?}");
    let lock = f.daemon();
    let ran = f.run(&["status"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "podstrap: no Pods\n"), "{ran:?}");
    mixed(&f);
    drop(lock);
    let ran = f.run(&["status"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains("etcd-host1") && ran.err.contains("this is what it last published"), "{ran:?}");
    std::fs::write(f.roots.status().join("odd.json"), "{").unwrap();
    let ran = f.run(&["status"]);
    assert!(ran.out.contains("etcd-host1") && ran.err.contains("odd.json"), "{ran:?}");
    // A pid that lives but does not hold the lock is no daemon.
    std::fs::write(f.roots.lock(), std::process::id().to_string()).unwrap();
    assert!(f.run(&["status"]).err.contains("not running"));
}

#[test]
fn names_are_found_with_and_without_namespace_and_node() {
    let f = Fixture::new();
    let _lock = f.daemon();
    mixed(&f);
    for name in ["etcd", "etcd-host1", "kube-system/etcd", "kube-system/etcd-host1"] {
        assert!(f.run(&["status", name]).out.contains("kube-system   etcd-host1"), "{name}");
    }
    let ran = f.run(&["status", "default/etcd"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("no Pod default/etcd; there are: kube-system/api-host1"), "{ran:?}");
    let mut other = pod("etcd2", "Running", "Running", vec![]);
    other.namespace = Some(podstrap::pod::Namespace::new("other"));
    other.name = Some(podstrap::pod::PodName::new("etcd-host1"));
    f.write(&other);
    let ran = f.run(&["status", "etcd"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("kube-system/etcd-host1 or other/etcd-host1"), "{ran:?}");
    assert_eq!(f.run(&["status", "other/etcd"]).code, Some(0));
}

#[test]
fn watch_prints_the_rows_that_change() {
    let f = Fixture::new();
    let _lock = f.daemon();
    let state = json!({ "waiting": { "reason": "ContainerCreating" } });
    f.write(&pod(
        "etcd",
        "ContainerCreating",
        "Pending",
        vec![container("etcd", false, 0, state, json!({}))],
    ));
    let mut watch = f.start(&["status", "--watch"]);
    watch.until("ContainerCreating");
    f.write(&pod("etcd", "Running", "Running", vec![container("etcd", true, 0, running(), json!({}))]));
    let out = watch.until("Running").to_owned();
    assert_eq!(out.matches("NAMESPACE").count(), 1, "{out}");
    assert_eq!(out.lines().count(), 3, "{out}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let f = Fixture::new();
    let _lock = f.daemon();
    mixed(&f);
    let program = env!("CARGO_BIN_EXE_podstrap");
    let script = format!("{program} status --watch --run-dir {} 2>&1 | head -n 1", f.roots.run.display());
    let mut child = std::process::Command::new("sh")
        .arg("-c")
        .arg(script)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe breaks at the next change.
    let begin = std::time::Instant::now();
    let mut n = 0;
    while child.try_wait().unwrap().is_none() {
        n += 1;
        f.write(&pod("etcd", &format!("Word{n}"), "Running", vec![]));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(begin.elapsed().as_secs() < 20);
    }
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("NAMESPACE"));
}
