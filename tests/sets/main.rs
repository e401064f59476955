//! DaemonSets and StatefulSets under the real binary, with a real runtime and a busybox image; and an etcd of three members
//! out of one StatefulSet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

mod claims;
mod crash;
mod daemon_set;
mod etcd;
mod restart;
mod stateful_set;

use podstrap::report::SetStatus;

use crate::common::image::BUSYBOX;
use crate::common::{Instance, assert_exit};

/// A StatefulSet or DaemonSet of one busybox container, which runs until TERM. `spec` are further lines of its spec, and
/// `container` of the container.
pub(crate) fn set(
    i: &Instance,
    kind: &str,
    name: &str,
    spec: &[&str],
    script: &str,
    container: &[&str],
) -> String {
    let script = serde_json::to_string(script).unwrap();
    let lines =
        |list: &[&str], indent: &str| list.iter().map(|l| format!("{indent}{l}\n")).collect::<String>();
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n\
         {}  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      hostNetwork: true\n      \
         terminationGracePeriodSeconds: 2\n      containers:\n      - name: main\n        image: {BUSYBOX}\n        \
         imagePullPolicy: IfNotPresent\n        command: [sh, -c, {script}]\n{}      volumes:\n      \
         - {{name: shared, hostPath: {{path: {}, type: Directory}}}}\n",
        lines(spec, "  "),
        lines(container, "        "),
        i.shared.display()
    )
}

/// Where a script finds the shared directory, and its Pod's number.
pub(crate) const MOUNTS: &str = "volumeMounts: [{name: shared, mountPath: /shared}]";
pub(crate) const INDEX: &str = "env: [{name: N, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['apps.kubernetes.io/pod-index']\"}}}]";

/// Notes `VERSION NUMBER start` and `… term`, and runs until TERM.
pub(crate) fn noting(version: &str) -> String {
    format!(
        "say() {{ echo \"{version} $N $1\" >>/shared/events; }}\ntrap 'say term; exit 0' TERM\nsay start\n\
         while :; do sleep 1000 & wait $!; done"
    )
}

/// What is published of the set.
pub(crate) fn set_status(i: &Instance, name: &str) -> Option<SetStatus> {
    i.daemon_status()?.sets.into_iter().find(|s| s.name == name)
}

/// Waits until the set is complete, by the verb.
pub(crate) fn wait_ready(i: &Instance, set: &str) {
    assert_exit(&i.wait(&["--for", "ready", "--timeout", "60s", set]), 0);
}

/// The names of its Pods that live, without the node's, in order.
pub(crate) fn pods(i: &Instance, name: &str) -> Vec<String> {
    let tail = format!("-{}", i.node);
    let all = set_status(i, name).map(|s| s.pods).unwrap_or_default();
    all.iter().map(|p| p.trim_end_matches(&tail).to_owned()).collect()
}
