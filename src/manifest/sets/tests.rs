//! Sets as documents: what is accepted, what is refused and where, and what Pods come of them.

use std::path::Path;

use super::{pod_name, pod_of, restarted};
use crate::manifest::{Accepted, Context, Document, Limits, Runtime, read};
use crate::pod::node::NodeFacts;
use crate::pod::set::{Set, Update};
use crate::pod::{NodeName, Pod};

const DAEMON: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: fluentd
  namespace: kube-system
  labels: {k8s-app: fluentd}
spec:
  selector:
    matchLabels:
      name: fluentd
  template:
    metadata:
      labels:
        name: fluentd
    spec:
      tolerations:
      - key: node-role.kubernetes.io/control-plane
        operator: Exists
        effect: NoSchedule
      nodeSelector: {disk: ssd}
      containers:
      - name: fluentd
        image: fluentd
";

const STATEFUL: &str = "\
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: web
spec:
  selector:
    matchLabels:
      app: nginx
  serviceName: nginx
  replicas: 3
  minReadySeconds: 10
  template:
    metadata:
      labels:
        app: nginx
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: nginx
        image: nginx
        volumeMounts:
        - name: www
          mountPath: /usr/share/nginx/html
  volumeClaimTemplates:
  - metadata:
      name: www
    spec:
      accessModes: [ReadWriteOnce]
      storageClassName: my-storage-class
      resources:
        requests:
          storage: 1Gi
";

fn documents(text: &str) -> Vec<Document> {
    let node = NodeName::new("n1");
    let context = Context { node: &node, path: "f.yaml", limits: Limits::default(), runtime: Runtime::Runc };
    read(text.as_bytes(), &context)
}

fn set(text: &str) -> Set {
    let document = documents(text).remove(0);
    assert!(document.warnings.is_empty(), "{:?}", document.warnings);
    match document.outcome {
        Ok(Accepted::Set(set)) => *set,
        other => panic!("{other:?}"),
    }
}

/// `LINE:COLUMN FIELD MESSAGE` of every error.
fn errors(text: &str) -> Vec<String> {
    let document = documents(text).remove(0);
    let errors = document.outcome.err().unwrap_or_default();
    errors.iter().map(|e| format!("{}:{} {} {}", e.line, e.column, e.field, e.message)).collect()
}

fn pod(set: &Set, ordinal: u32) -> Pod {
    let node = NodeName::new("n1");
    let context = Context { node: &node, path: "f.yaml", limits: Limits::default(), runtime: Runtime::Runc };
    let made = pod_of((&set.key, &set.origin), &set.template, ordinal, Path::new("/claims"), &context);
    Pod::clone(&made.unwrap().0)
}

#[test]
fn the_daemon_set_of_the_documentation_is_taken() {
    let set = set(DAEMON);
    assert_eq!(set.key.to_string(), "kube-system/daemonset/fluentd");
    assert_eq!((set.update, set.replicas), (Update::Replace, 1));
    let node = |labels: &[(&str, &str)], taints: &[&str]| {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        NodeFacts::new(NodeName::new("n1"), labels, taints.iter().map(|t| t.parse().unwrap()).collect())
    };
    let ssd = [("disk", "ssd")];
    assert_eq!(set.placement.misfit(&node(&ssd, &[])), None);
    assert_eq!(
        set.placement.misfit(&node(&ssd, &["node-role.kubernetes.io/control-plane:NoSchedule"])),
        None
    );
    assert_eq!(set.placement.misfit(&node(&ssd, &["node.kubernetes.io/unschedulable:NoSchedule"])), None);
    assert!(
        set.placement.misfit(&node(&ssd, &["node.kubernetes.io/network-unavailable:NoSchedule"])).is_some()
    );
    assert!(set.placement.misfit(&node(&[], &[])).unwrap().contains("disk=ssd"));
    let pod = pod(&set, 0);
    assert_eq!(pod.key.to_string(), format!("kube-system/{}-n1", pod_name(&set.key, 0)));
    assert_eq!(pod.labels["controller-revision-hash"], set.template.revision.as_str());
    assert_eq!(pod.owner.as_ref().unwrap().set(&pod.key.namespace), set.key);
    assert_ne!(pod_name(&set.key, 0), pod_name(&set.key, 1));
}

#[test]
fn the_stateful_set_of_the_documentation_is_taken() {
    let set = set(STATEFUL);
    assert_eq!((set.replicas, set.start, set.parallel), (3, 0, false));
    assert_eq!((set.update, set.min_ready_seconds), (Update::Partition(0), 10));
    assert_eq!(set.claims[0].request.unwrap().0, 1 << 30);
    let pod = pod(&set, 2);
    assert_eq!(pod.key.to_string(), "default/web-2-n1");
    assert_eq!((pod.hostname.as_deref(), pod.subdomain.as_deref()), (Some("web-2"), Some("nginx")));
    assert_eq!(pod.labels["statefulset.kubernetes.io/pod-name"], "web-2");
    assert_eq!(pod.labels["apps.kubernetes.io/pod-index"], "2");
    assert_eq!(pod.labels["controller-revision-hash"], format!("web-{}", set.template.revision));
    let volume = format!("{:?}", pod.volumes.values().next().unwrap());
    assert!(volume.contains("/claims/default/www-web-2"), "{volume}");
    assert_eq!(pod.origin.path, "f.yaml");
}

#[test]
fn a_revision_is_of_the_template_and_of_nothing_else() {
    let first = set(STATEFUL);
    let same =
        [("replicas: 3", "replicas: 5"), ("1Gi", "2Gi"), ("minReadySeconds: 10", "minReadySeconds: 1")];
    for (from, to) in same {
        assert_eq!(set(&STATEFUL.replace(from, to)).template, first.template, "{to}");
    }
    let other =
        [("image: nginx", "image: nginx:2"), ("serviceName: nginx", "serviceName: other"), ("www", "data")];
    for (from, to) in other {
        assert_ne!(set(&STATEFUL.replace(from, to)).template.revision, first.template.revision, "{to}");
    }
    // The very document that Pods run by: another form of it would start every Pod anew.
    assert_eq!(first.template.revision.as_str(), "762623321c");
    assert_eq!(pod(&first, 0).generation.as_str(), "334c91b407c8d3774b142ca9b721bdb3");
    let anew = restarted(&first.template, "2026-01-01T00:00:00Z");
    assert_ne!(anew.revision, first.template.revision);
    assert_eq!(restarted(&first.template, "2026-01-01T00:00:00Z"), anew);
}

#[test]
fn what_is_wrong_in_a_template_is_told_at_its_place() {
    let found = errors(&STATEFUL.replace("image: nginx", "image: \"no image\""));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("20:16 spec.template.spec.containers[0].image "), "{found:?}");
    let found = errors(&STATEFUL.replace("        - name: www\n", "        - name: other\n"));
    assert!(found[0].starts_with("22:17 spec.template.spec.containers[0].volumeMounts[0].name"), "{found:?}");
    let found = errors(&DAEMON.replace("      containers:", "      restartPolicy: Never\n      containers:"));
    assert!(
        found[0].starts_with("21:22 spec.template.spec.restartPolicy \"Never\" is not Always"),
        "{found:?}"
    );
}

#[test]
fn every_problem_is_told_at_once() {
    let found = errors(
        &STATEFUL
            .replace("image: nginx", "image: \"no image\"")
            .replace("app: nginx\n  serviceName", "app: x\n  serviceName"),
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("does not match the template's labels"), "{found:?}");
}

#[test]
fn what_cannot_be_is_refused_by_name_and_place() {
    for (text, from, to, wanted) in [
        (
            DAEMON,
            "      name: fluentd\n  template",
            "      name: other\n  template",
            "10:13 spec.selector.matchLabels[name] does not match",
        ),
        (DAEMON, "    matchLabels:\n      name: fluentd\n", "    {}\n", "is empty"),
        (DAEMON, "  selector:\n    matchLabels:\n      name: fluentd\n", "", "spec.selector is missing"),
        (
            DAEMON,
            "  template:",
            "  updateStrategy: {rollingUpdate: {maxSurge: 1}}\n  template:",
            "maxSurge may not be above 0 beside",
        ),
        (
            DAEMON,
            "  template:",
            "  updateStrategy: {rollingUpdate: {maxUnavailable: 0}}\n  template:",
            "both 0",
        ),
        (
            DAEMON,
            "  template:",
            "  updateStrategy: {type: Recreate}\n  template:",
            "\"Recreate\" is not one of",
        ),
        (DAEMON, "operator: Exists", "operator: Exists\n        value: x", "has a value"),
        (DAEMON, "disk: ssd", "disk: s/d", "nodeSelector[disk]"),
        (DAEMON, "apps/v1", "v1", "\"v1\" is not apps/v1"),
        (DAEMON, "kind: DaemonSet", "kind: Deployment", "a Deployment is not run here"),
        (STATEFUL, "name: web", "name: web.1", "2:1"),
        (STATEFUL, "replicas: 3", "replicas: -1", "spec.replicas must be a number"),
        (
            STATEFUL,
            "replicas: 3",
            "updateStrategy: {rollingUpdate: {maxUnavailable: 2}}",
            "cannot be honoured",
        ),
        (STATEFUL, "accessModes: [ReadWriteOnce]", "volumeMode: Block", "block device"),
        (STATEFUL, "storage: 1Gi", "storage: 1Gb", "\"1Gb\""),
        (STATEFUL, "replicas: 3", "podManagementPolicy: Ordered", "\"Ordered\""),
        (STATEFUL, "terminationGracePeriodSeconds: 10", "activeDeadlineSeconds: 10", "does not belong here"),
        (STATEFUL, "labels:", "annotations: {podstrap.io/owner: x}\n      labels:", "is set by podstrap"),
    ] {
        assert!(text.contains(from), "{from}");
        let found = errors(&text.replacen(from, to, 1));
        let wanted = wanted.trim_start_matches("2:1");
        assert!(found.iter().any(|e| e.contains(wanted)), "{to}: {found:?}");
    }
}

#[test]
fn lists_and_pods_with_the_mark_of_a_set() {
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", STATEFUL.replace('\n', "\n  ").trim_end());
    assert!(matches!(documents(&list)[0].outcome, Ok(Accepted::Set(_))), "{:?}", documents(&list));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations: {podstrap.io/owner: StatefulSet/a/b/1}\n\
               spec: {containers: [{name: c, image: i}]}\n";
    assert!(errors(pod)[0].contains("is set by podstrap"));
}
