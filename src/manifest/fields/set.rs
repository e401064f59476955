//! The table's part for DaemonSets and StatefulSets (<https://github.com/kubernetes/api/blob/master/apps/v1/types.go>). What
//! stands in `template` is a Pod's and is held against the table of Pods.

use super::{Field, Kind, METADATA, NEEDS_CLUSTER, SERVER, has, no, warn, yes};

const OF_SET: &str = "name (see podstrap-sets(5)) and namespace; the rest is without effect";

/// A DaemonSet.
pub(in crate::manifest) const DAEMON_SET: &[Field] = &[
    yes("apiVersion", "apps/v1"),
    yes("kind", "DaemonSet"),
    has("metadata", Kind::ObjectLike(METADATA), OF_SET),
    has("spec", Kind::Object(DAEMON_SPEC), ""),
    warn("status", &[], SERVER),
];

/// A StatefulSet.
pub(in crate::manifest) const STATEFUL_SET: &[Field] = &[
    yes("apiVersion", "apps/v1"),
    yes("kind", "StatefulSet"),
    has("metadata", Kind::ObjectLike(METADATA), OF_SET),
    has("spec", Kind::Object(STATEFUL_SPEC), ""),
    warn("status", &[], SERVER),
];

const TEMPLATE: Field = has(
    "template",
    Kind::Object(POD_TEMPLATE),
    "a Pod without a name; restartPolicy must be Always, and activeDeadlineSeconds is refused",
);

const POD_TEMPLATE: &[Field] = &[
    has("metadata", Kind::Opaque, "labels and annotations; a name has no effect"),
    has(
        "spec",
        Kind::Opaque,
        "as for a Pod; of a DaemonSet nodeName, nodeSelector, required nodeAffinity and tolerations decide whether it runs here",
    ),
];

const SELECTOR: Field = has("selector", Kind::Object(LABEL_SELECTOR), "must match the template's labels");

const LABEL_SELECTOR: &[Field] = &[
    has("matchLabels", Kind::Map, ""),
    has("matchExpressions", Kind::List(EXPRESSION), "In, NotIn, Exists and DoesNotExist"),
];

const EXPRESSION: &[Field] = &[yes("key", ""), yes("operator", ""), has("values", Kind::Scalars, "")];

const HISTORY: Field =
    yes("revisionHistoryLimit", "without effect: the former revision is kept, and no other");
const MIN_READY: Field = yes("minReadySeconds", "0 when absent");

const DAEMON_SPEC: &[Field] =
    &[SELECTOR, TEMPLATE, has("updateStrategy", Kind::Object(DAEMON_UPDATE), ""), MIN_READY, HISTORY];

const DAEMON_UPDATE: &[Field] = &[
    yes("type", "RollingUpdate (default) or OnDelete"),
    has("rollingUpdate", Kind::Object(DAEMON_ROLLING), ""),
];

const DAEMON_ROLLING: &[Field] = &[
    yes("maxUnavailable", "a number or percentage, 1 when absent; on one node all above 0 are the same"),
    yes(
        "maxSurge",
        "a number or percentage, 0 when absent; above 0, with maxUnavailable 0, the new Pod is ready before the old one ends",
    ),
];

const STATEFUL_SPEC: &[Field] = &[
    yes("replicas", "0 to 1000, 1 when absent"),
    has("ordinals", Kind::Object(ORDINALS), ""),
    SELECTOR,
    yes("serviceName", "DNS label: the Pods' subdomain, by which they find each other"),
    TEMPLATE,
    yes("podManagementPolicy", "OrderedReady (default) or Parallel"),
    has("updateStrategy", Kind::Object(STATEFUL_UPDATE), ""),
    MIN_READY,
    HISTORY,
    has("volumeClaimTemplates", Kind::List(CLAIM), "each a directory for each Pod, below STATE/claims"),
    has("persistentVolumeClaimRetentionPolicy", Kind::Object(RETENTION), ""),
];

const ORDINALS: &[Field] = &[yes("start", "the first Pod's number, 0 when absent")];

const STATEFUL_UPDATE: &[Field] = &[
    yes("type", "RollingUpdate (default) or OnDelete"),
    has("rollingUpdate", Kind::Object(STATEFUL_ROLLING), ""),
];

const STATEFUL_ROLLING: &[Field] = &[
    yes("partition", "0 when absent: only Pods of this place and above are replaced"),
    no("maxUnavailable", &["1"], "Pods are replaced one at a time here"),
];

const RETENTION: &[Field] =
    &[yes("whenDeleted", "Retain (default) or Delete"), yes("whenScaled", "Retain (default) or Delete")];

const CLAIM: &[Field] = &[
    yes("apiVersion", "v1"),
    yes("kind", "PersistentVolumeClaim"),
    has("metadata", Kind::ObjectLike(METADATA), "name (DNS label), by which containers mount it"),
    has("spec", Kind::Object(CLAIM_SPEC), ""),
    warn("status", &[], SERVER),
];

const CLAIM_SPEC: &[Field] = &[
    has("accessModes", Kind::Scalars, "without effect: it is a directory of this node"),
    has("resources", Kind::Object(CLAIM_RESOURCES), ""),
    yes("storageClassName", "without effect: it is a directory of this node"),
    no("volumeMode", &["", "Filesystem"], "a block device cannot be made here"),
    no("volumeName", &[""], NEEDS_CLUSTER),
    no("selector", &[], NEEDS_CLUSTER),
    no("dataSource", &[], NEEDS_CLUSTER),
    no("dataSourceRef", &[], NEEDS_CLUSTER),
    warn("volumeAttributesClassName", &[""], NEEDS_CLUSTER),
];

const CLAIM_RESOURCES: &[Field] = &[
    has("requests", Kind::Map, "storage: shown by podstrap claim list, and not enforced"),
    warn("limits", &[], "a directory has no limit"),
];

/// `affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution`.
pub(in crate::manifest) const NODE_TERMS: &[Field] = &[has("nodeSelectorTerms", Kind::List(TERM), "")];

const TERM: &[Field] = &[
    has("matchExpressions", Kind::List(EXPRESSION), ""),
    has("matchFields", Kind::List(EXPRESSION), "metadata.name"),
];

/// One of `tolerations`.
pub(in crate::manifest) const TOLERATION: &[Field] = &[
    yes("key", ""),
    yes("operator", "Equal or Exists"),
    yes("value", ""),
    yes("effect", ""),
    yes("tolerationSeconds", "without effect: nobody evicts"),
];
