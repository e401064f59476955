//! Order, scaling, roll-outs, partitions and revisions of StatefulSets.

use std::time::Duration;

use podstrap::report::ManifestState;

use super::{INDEX, MOUNTS, noting, pods, set, set_status, wait_ready};
use crate::common::{Instance, assert_exit, instance, text};

const READY_FILE: &str = "readinessProbe: {exec: {command: [sh, -c, test -e /shared/ready-$N]}, periodSeconds: 1, failureThreshold: 1}";

fn web(i: &Instance, spec: &[&str], version: &str, more: &[&str]) -> String {
    let mut container = vec![MOUNTS, INDEX];
    container.extend(more);
    set(i, "StatefulSet", "web", spec, &noting(version), &container)
}

fn events(i: &Instance) -> Vec<String> {
    i.lines("events")
}

#[test]
fn pods_begin_in_order_when_the_former_is_ready_and_go_in_reverse() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &web(&i, &["replicas: 3", "serviceName: nginx"], "a", &[READY_FILE]));
    i.start();
    i.until("the first one runs", |i| events(i) == ["a 0 start"]);
    i.holds_for(Duration::from_secs(2), "the second one waits for it", |i| pods(i, "web") == ["web-0"]);
    for n in 0..3 {
        std::fs::write(i.shared.join(format!("ready-{n}")), "").unwrap();
        if n < 2 {
            i.until("the next one begins", |i| events(i).len() == n + 2);
        }
    }
    wait_ready(&i, "statefulset/web");
    assert_eq!(events(&i), ["a 0 start", "a 1 start", "a 2 start"]);
    let pod = i.pod("web-1").unwrap();
    assert_eq!(pod.manifest, ManifestState::Current { warnings: vec![] });
    let labels = &pod.pod["metadata"]["labels"];
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "web-1");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "1");
    assert_eq!(pod.pod["metadata"]["ownerReferences"][0]["kind"], "StatefulSet");
    assert_eq!(pod.pod["spec"]["subdomain"], "nginx");
    let status = i.cli_ok("status", &[]);
    let rows: Vec<&str> = status.lines().filter(|l| l.contains("web")).collect();
    assert!(
        rows[0].contains("statefulset/web") && rows[0].contains("3/3") && rows[0].contains("Ready"),
        "{status}"
    );
    assert!(rows[1].contains("  web-0") && rows[3].contains("  web-2"), "{status}");

    i.write_manifest("web.yaml", &web(&i, &["replicas: 1", "serviceName: nginx"], "a", &[READY_FILE]));
    i.until("two are gone", |i| pods(i, "web") == ["web-0"]);
    assert_eq!(events(&i)[3..], ["a 2 term", "a 1 term"]);
    // The whole set goes in the same way.
    i.write_manifest("web.yaml", &web(&i, &["replicas: 3", "serviceName: nginx"], "a", &[READY_FILE]));
    i.until("all three are back", |i| events(i).len() == 7);
    wait_ready(&i, "statefulset/web");
    i.remove("web.yaml");
    assert_exit(&i.wait(&["--for", "gone", "--timeout", "60s", "statefulset/web"]), 0);
    i.until("all are gone", |i| i.published().is_empty());
    assert_eq!(events(&i)[7..], ["a 2 term", "a 1 term", "a 0 term"]);
}

#[test]
fn parallel_pods_begin_together() {
    let Some(mut i) = instance() else { return };
    let spec = ["replicas: 3", "podManagementPolicy: Parallel", "ordinals: {start: 4}"];
    i.write_manifest("web.yaml", &web(&i, &spec, "a", &[READY_FILE]));
    i.start();
    i.until("all three run though none is ready", |i| pods(i, "web") == ["web-4", "web-5", "web-6"]);
    i.until("they have begun", |i| events(i).len() == 3);
}

#[test]
fn a_roll_out_keeps_the_partition_and_stops_at_a_broken_template() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &web(&i, &["replicas: 3"], "a", &[]));
    i.start();
    wait_ready(&i, "statefulset/web");
    let first = set_status(&i, "web").unwrap().current_revision;

    let part = ["replicas: 3", "updateStrategy: {rollingUpdate: {partition: 2}}"];
    i.write_manifest("web.yaml", &web(&i, &part, "b", &[]));
    i.until("the last one is new", |i| {
        set_status(i, "web").is_some_and(|s| s.updated == 1 && s.is_complete())
    });
    assert_eq!(events(&i)[3..], ["a 2 term", "b 2 start"]);
    let status = set_status(&i, "web").unwrap();
    assert_eq!((status.current_revision.as_str(), status.outdated.len()), (first.as_str(), 2));
    assert!(i.cli_ok("status", &[]).contains("partition is 2"));
    // Below the partition a Pod is made anew of what it was made of.
    i.cli_ok("restart", &["web-0"]);
    i.until("it is back", |i| events(i).len() == 7);
    assert_eq!(events(&i)[5..], ["a 0 term", "a 0 start"]);
    wait_ready(&i, "statefulset/web");
    // A reboot's worth: neither daemon nor Pods, and the old template is in no source.
    assert_exit(&i.cli("down", &[]), 0);
    i.daemon_exit(Duration::from_secs(20));
    let before = events(&i).len();
    i.start();
    wait_ready(&i, "statefulset/web");
    let starts: Vec<String> = events(&i)[before..].to_vec();
    assert_eq!(starts, ["a 0 start", "a 1 start", "b 2 start"]);

    let all = ["replicas: 3"];
    let before = events(&i).len();
    i.write_manifest(
        "web.yaml",
        &web(&i, &all, "c", &["readinessProbe: {exec: {command: [\"false\"]}, periodSeconds: 1}"]),
    );
    i.until("the last one is broken", |i| events(i).last().is_some_and(|e| e == "c 2 start"));
    i.holds_for(Duration::from_secs(3), "no other is touched", |i| events(i).len() == before + 2);
    let output = i.wait(&["--timeout", "1s", "statefulset/web"]);
    assert_exit(&output, 4);
    assert!(text(&output.stderr).contains("2 of 3 Pods are available"), "{}", text(&output.stderr));
    // What was is put back: the broken one is mended, and the rest follows.
    i.write_manifest("web.yaml", &web(&i, &all, "b", &[]));
    i.until("it is settled", |i| {
        set_status(i, "web").is_some_and(|s| s.is_complete() && s.current_revision == s.update_revision)
    });
    let after: Vec<String> = events(&i)[before + 2..].to_vec();
    let wanted = ["c 2 term", "b 2 start", "a 1 term", "b 1 start", "a 0 term", "b 0 start"];
    assert_eq!(after, wanted);
}

#[test]
fn on_delete_waits_for_a_restart_by_hand() {
    let Some(mut i) = instance() else { return };
    let spec = ["replicas: 2", "updateStrategy: {type: OnDelete}"];
    i.write_manifest("web.yaml", &web(&i, &spec, "a", &[]));
    i.start();
    wait_ready(&i, "statefulset/web");
    i.write_manifest("web.yaml", &web(&i, &spec, "b", &[]));
    i.until("both are outdated", |i| set_status(i, "web").is_some_and(|s| s.outdated.len() == 2));
    let status = i.cli_ok("status", &[]);
    assert!(status.contains("Outdated") && status.contains("podstrap restart POD"), "{status}");
    i.cli_ok("restart", &["web-1"]);
    i.until("that one is new", |i| {
        set_status(i, "web").is_some_and(|s| s.outdated.len() == 1 && s.is_complete())
    });
    assert_eq!(events(&i)[2..], ["a 1 term", "b 1 start"]);
}

#[test]
fn the_plan_and_validate_tell_of_sets() {
    let Some(mut i) = instance() else { return };
    let file = web(&i, &["replicas: 2"], "a", &[]);
    i.start();
    i.write_manifest("web.yaml", &file);
    wait_ready(&i, "statefulset/web");
    let plan = i.cli("plan", &[]);
    assert_exit(&plan, 0);
    i.write_manifest(".next.yaml", &web(&i, &["replicas: 1"], "b", &[]));
    let next = i.manifests.join(".next.yaml");
    let path = i.dir.join("next.yaml");
    std::fs::rename(next, &path).unwrap();
    let plan = i.cli("plan", &[path.to_str().unwrap()]);
    assert_exit(&plan, 1);
    let told = text(&plan.stdout);
    assert!(told.contains("replace   default/web-0-node1"), "{told}");
    let validated = i.cli_ok("validate", &[path.to_str().unwrap()]);
    assert!(validated.contains("StatefulSet default/web"), "{validated}");
    // A broken edit keeps what was.
    i.write_manifest("web.yaml", &file.replace("replicas: 2", "replicas: two"));
    i.until("it is told", |i| set_status(i, "web").is_some_and(|s| s.is_kept));
    assert_eq!(pods(&i, "web"), ["web-0", "web-1"]);
    assert_exit(&i.wait(&["--timeout", "20s", "statefulset/web"]), 3);
}

#[test]
fn members_find_each_other_by_name() {
    let Some(mut i) = instance() else { return };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: nginx, labels: {app: web}}\nspec: {clusterIP: None, ports: [{port: 80, name: web}], \
                   selector: {app: web}}\n---\n";
    i.write_manifest(
        "web.yaml",
        &(service.to_owned() + &web(&i, &["replicas: 2", "serviceName: nginx"], "a", &[])),
    );
    i.start();
    wait_ready(&i, "statefulset/web");
    for (pod, other) in [("web-0", "web-1"), ("web-1", "web-0")] {
        for name in [format!("{other}.nginx"), format!("{other}.nginx.default.svc.cluster.local")] {
            let command = format!("grep -w {name} /etc/hosts");
            i.until("the name is there", |i| {
                i.cli("exec", &[pod, "--", "sh", "-c", &command]).status.success()
            });
        }
    }
    i.write_manifest("web.yaml", &web(&i, &["replicas: 1", "serviceName: nginx"], "a", &[]));
    i.until("the name is gone", |i| {
        !i.cli("exec", &["web-0", "--", "grep", "-q", "web-1.nginx", "/etc/hosts"]).status.success()
    });
}
