//! Every field of the v1 Pod, up to Kubernetes 1.35, and what becomes of it here.
//!
//! One table, in parts (`pod`, `container`, `volume`), drives the check of unknown and unsupported fields and the field list
//! of podstrap-manifest(5). A field is refused only when it cannot be honoured *and* its loss would change what the Pod
//! means; a verdict on an object holds for all that is below it. Source: the types of <https://github.com/kubernetes/api/blob/master/core/v1/types.go>.

mod container;
mod pod;
mod set;
mod volume;

pub(super) use container::{ENV_FROM, VALUE_FROM};
pub(super) use set::{DAEMON_SET, NODE_TERMS, STATEFUL_SET, TOLERATION};
pub(super) use volume::{PROJECTION, VOLUME};

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has its effect (or rightly has none in this place).
    Honoured,
    /// It is ignored, with a warning.
    Warned,
    /// The document is refused.
    Refused,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One value.
    Scalar,
    /// A list of values.
    Scalars,
    /// Names and values, freely chosen.
    Map,
    /// An object with these fields.
    Object(&'static [Field]),
    /// A list of such objects.
    List(&'static [Field]),
    /// An object with the fields of another one, which the note names; they are listed there only.
    ObjectLike(&'static [Field]),
    /// A list of such objects.
    ListLike(&'static [Field]),
    /// Not looked into.
    Opaque,
    /// One of several things that exclude each other: its mere presence counts, also when it is empty. Not looked into.
    Source,
}

/// One field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What it holds.
    pub kind: Kind,
    /// Values that say no more than the absent field (beside null and the empty list, map and object).
    pub silent: &'static [&'static str],
    /// Why, or what is special.
    pub note: &'static str,
}

const fn field(name: &'static str, verdict: Verdict, kind: Kind, note: &'static str) -> Field {
    Field { name, verdict, kind, silent: &[], note }
}

/// Honoured, one value.
const fn yes(name: &'static str, note: &'static str) -> Field {
    field(name, Verdict::Honoured, Kind::Scalar, note)
}

/// Honoured, of another kind.
const fn has(name: &'static str, kind: Kind, note: &'static str) -> Field {
    field(name, Verdict::Honoured, kind, note)
}

/// Ignored with a warning.
const fn warn(name: &'static str, silent: &'static [&'static str], note: &'static str) -> Field {
    Field { silent, ..field(name, Verdict::Warned, Kind::Opaque, note) }
}

/// Refused.
const fn no(name: &'static str, silent: &'static [&'static str], note: &'static str) -> Field {
    Field { silent, ..field(name, Verdict::Refused, Kind::Opaque, note) }
}

/// Refused, also when empty.
const fn never(name: &'static str, note: &'static str) -> Field {
    field(name, Verdict::Refused, Kind::Source, note)
}

const SERVER: &str = "set by an API server";
const NO_OBJECTS: &str = "static Pods may not refer to API objects";
const NEEDS_SERVER: &str = "needs an API server";
const NEEDS_CLUSTER: &str = "needs a cluster's storage drivers";
const SCHEDULER: &str = "for a scheduler; this Pod runs on this node";
const WINDOWS: &str = "for Windows nodes";

/// The whole document.
pub const POD: &[Field] = &[
    yes("apiVersion", "v1"),
    yes("kind", "Pod"),
    has("metadata", Kind::Object(METADATA), ""),
    has("spec", Kind::Object(pod::SPEC), ""),
    warn("status", &[], "what an API server reports; it does not enter the generation"),
];

const METADATA: &[Field] = &[
    yes("name", "DNS subdomain; the node's name is appended: NAME-NODE"),
    yes("namespace", "DNS label; default when absent"),
    yes("uid", "letters, digits and dashes, at most 64; when absent or otherwise, the generation"),
    has("labels", Kind::Map, ""),
    has(
        "annotations",
        Kind::Map,
        "kubernetes.io/config.mirror is ignored with a warning; .hash and .source are set; podstrap.io/depends-on names \
         the Pods that this one waits for",
    ),
    warn("generateName", &[""], "only an API server makes up names"),
    warn("creationTimestamp", &[], SERVER),
    warn("deletionTimestamp", &[], SERVER),
    warn("deletionGracePeriodSeconds", &[], SERVER),
    warn("finalizers", &[], "there is no API server to keep them"),
    warn("ownerReferences", &[], "a static Pod has no owner"),
    warn("managedFields", &[], SERVER),
    warn("resourceVersion", &["", "0"], SERVER),
    warn("generation", &["0"], SERVER),
    warn("selfLink", &[""], SERVER),
    warn("clusterName", &[""], SERVER),
];

/// A ConfigMap or Secret: what a Pod of the same namespace may refer to.
pub const OBJECT: &[Field] = &[
    yes("apiVersion", "v1"),
    yes("kind", "ConfigMap or Secret"),
    has(
        "metadata",
        Kind::ObjectLike(METADATA),
        "name (taken as it is, a DNS subdomain) and namespace; the rest is without effect",
    ),
    has(
        "data",
        Kind::Map,
        "text in a ConfigMap, base64 in a Secret; keys of letters, digits, '-', '_' and '.'; at most 1 MiB in all",
    ),
    has("binaryData", Kind::Map, "base64; ConfigMap only"),
    has("stringData", Kind::Map, "text, replaces data of the same key; Secret only"),
    yes("immutable", "without effect: the file may always be changed"),
    yes("type", "without effect; Secret only"),
];

/// All fields with their paths (`spec.containers[].image`), parents before children, in the order of the table.
pub fn all() -> Vec<(String, &'static Field)> {
    let mut out = Vec::new();
    collect(POD, "", &mut out);
    out
}

/// The same of a ConfigMap or Secret.
pub fn all_of_objects() -> Vec<(String, &'static Field)> {
    let mut out = Vec::new();
    collect(OBJECT, "", &mut out);
    out
}

/// The same of a DaemonSet, or of a StatefulSet.
pub fn all_of_sets(stateful: bool) -> Vec<(String, &'static Field)> {
    let mut out = Vec::new();
    collect(if stateful { STATEFUL_SET } else { DAEMON_SET }, "", &mut out);
    out
}

fn collect(fields: &'static [Field], prefix: &str, out: &mut Vec<(String, &'static Field)>) {
    for field in fields {
        let path = format!("{prefix}{}", field.name);
        match field.kind {
            Kind::Object(below) => {
                out.push((path.clone(), field));
                collect(below, &format!("{path}."), out);
            }
            Kind::List(below) => {
                let path = format!("{path}[]");
                out.push((path.clone(), field));
                collect(below, &format!("{path}."), out);
            }
            Kind::ListLike(_) | Kind::Scalars => out.push((format!("{path}[]"), field)),
            Kind::ObjectLike(_) | Kind::Scalar | Kind::Map | Kind::Opaque | Kind::Source => {
                out.push((path, field))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_stands_twice_in_an_object() {
        let mut paths: Vec<String> = all().into_iter().map(|(p, _)| p).collect();
        let count = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), count);
        assert!(count > 200, "{count}");
    }

    #[test]
    fn whoever_is_not_honoured_says_why() {
        for (path, field) in all() {
            assert!(field.verdict == Verdict::Honoured || !field.note.is_empty(), "{path}");
        }
    }
}
