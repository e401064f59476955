//! Where a DaemonSet runs, and how its Pod is replaced.

use std::fs;

use super::{MOUNTS, noting, pods, set, set_status, wait_ready};
use crate::common::{Instance, assert_exit, instance, text};

fn agent(i: &Instance, spec: &[&str], version: &str, more: &[&str]) -> String {
    let mut container = vec![MOUNTS];
    container.extend(more);
    set(i, "DaemonSet", "agent", spec, &noting(version), &container)
}

#[test]
fn it_runs_where_the_node_fits_and_says_why_where_not() {
    let Some(mut i) = instance() else { return };
    i.args(&["--node-label", "disk=hdd", "--node-taint", "gpu=yes:NoSchedule"]);
    let file = agent(&i, &[], "a", &[]);
    let choosy =
        |more: &str| file.replace("      hostNetwork: true\n", &format!("      hostNetwork: true\n{more}"));
    i.write_manifest("agent.yaml", &file);
    i.start();
    i.until("it says why not", |i| {
        set_status(i, "agent")
            .is_some_and(|s| s.not_here.is_some_and(|w| w.contains("taint gpu=yes:NoSchedule")))
    });
    let status = i.cli_ok("status", &[]);
    assert!(status.contains("NotHere") && status.contains("is not tolerated"), "{status}");
    assert_exit(&i.wait(&["--timeout", "20s", "daemonset/agent"]), 0);
    let tolerant = "      tolerations: [{operator: Exists}]\n";
    i.write_manifest("agent.yaml", &choosy(&format!("{tolerant}      nodeSelector: {{disk: ssd}}\n")));
    i.until("it says why not", |i| {
        set_status(i, "agent").is_some_and(|s| s.not_here.is_some_and(|w| w.contains("disk=ssd")))
    });
    assert!(pods(&i, "agent").is_empty());
    let affinity = "      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{\
                    matchExpressions: [{key: disk, operator: NotIn, values: [ssd]}, {key: kubernetes.io/os, operator: In, \
                    values: [linux]}]}]}}}\n";
    i.write_manifest("agent.yaml", &choosy(&format!("{tolerant}{affinity}")));
    i.until("it runs", |i| pods(i, "agent").len() == 1);
    wait_ready(&i, "daemonset/agent");
    let log = fs::read_to_string(i.daemon_log()).unwrap();
    assert!(!log.contains("has no effect"), "{log}");
    // Another node, another answer: the Pod goes.
    assert!(i.terminate().success());
    i.args(&["--node-taint", "out:NoExecute"]);
    let exact = tolerant.replace("operator: Exists", "key: gpu, operator: Exists");
    i.write_manifest("agent.yaml", &choosy(&exact));
    i.start();
    i.until("it has gone", |i| pods(i, "agent").is_empty() && i.published().is_empty());
    i.until("it says why", |i| {
        set_status(i, "agent").is_some_and(|s| s.not_here.is_some_and(|w| w.contains("out:NoExecute")))
    });
}

#[test]
fn its_pod_is_replaced_one_after_the_other() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("agent.yaml", &agent(&i, &[], "a", &[]));
    i.start();
    wait_ready(&i, "daemonset/agent");
    let name = pods(&i, "agent");
    i.write_manifest("agent.yaml", &agent(&i, &[], "b", &[]));
    i.until("the new one runs", |i| i.lines("events") == ["a  start", "a  term", "b  start"]);
    assert_eq!(pods(&i, "agent"), name);
    // A template whose image is not at hand ends nobody.
    let far = agent(&i, &[], "c", &[]).replace("image: localhost/busybox:test", "image: localhost/none:1");
    i.write_manifest("agent.yaml", &far);
    i.until("it waits", |i| {
        i.pod(&name[0]).is_some_and(|p| p.message.is_some_and(|m| m.contains("replacement waits")))
    });
    assert_eq!(i.lines("events").len(), 3);
}

#[test]
fn with_surge_the_new_one_is_ready_before_the_old_one_ends() {
    let Some(mut i) = instance() else { return };
    let spec = ["updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}", "minReadySeconds: 1"];
    let probe =
        "readinessProbe: {exec: {command: [test, -e, /shared/ready]}, periodSeconds: 1, failureThreshold: 1}";
    i.write_manifest("agent.yaml", &agent(&i, &spec, "a", &[]));
    i.start();
    wait_ready(&i, "daemonset/agent");
    i.write_manifest("agent.yaml", &agent(&i, &spec, "b", &[probe]));
    i.until("both run", |i| i.lines("events") == ["a  start", "b  start"]);
    assert_eq!(pods(&i, "agent").len(), 2);
    fs::write(i.shared.join("ready"), "").unwrap();
    i.until("the old one is gone", |i| {
        set_status(i, "agent").is_some_and(|s| s.current == 1 && s.is_complete())
    });
    assert_eq!(i.lines("events"), ["a  start", "b  start", "a  term"]);
    // And back again, in the other place; then all of it goes.
    i.write_manifest("agent.yaml", &agent(&i, &spec, "c", &[]));
    i.until("the next one is there", |i| i.lines("events").last().is_some_and(|e| e == "b  term"));
    i.remove("agent.yaml");
    i.until("nothing is left", |i| i.published().is_empty() && set_status(i, "agent").is_none());
}

#[test]
fn kinds_that_are_not_run_are_refused_by_name() {
    let Some(mut i) = instance() else { return };
    i.start();
    for (kind, help) in [
        ("Deployment", "a StatefulSet"),
        ("ReplicaSet", "a StatefulSet"),
        ("Job", "restartPolicy: OnFailure"),
        ("CronJob", "restartPolicy: OnFailure"),
    ] {
        let path = i.dir.join("other.yaml");
        fs::write(&path, format!("apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: a}}\n")).unwrap();
        let output = i.cli("validate", &[path.to_str().unwrap()]);
        assert_exit(&output, 3);
        let told = text(&output.stdout) + &text(&output.stderr);
        assert!(told.contains(&format!("a {kind} ")) && told.contains(help), "{told}");
    }
}
