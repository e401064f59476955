//! What is sent of a Pod: its mirror, as the kubelet makes it, and its status.

use serde_json::{Map, Value, json};

use crate::report::PodStatusFile;

/// Marks a mirror Pod; its value is that of [`HASH`].
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Which version of a Pod it is.
const HASH: &str = "kubernetes.io/config.hash";
/// Where it comes from: `file` or `http`.
const SOURCE: &str = "kubernetes.io/config.source";

/// The fields of a Pod's status that are ours to tell. Not `qosClass`: the server works that out by itself when the Pod is
/// made, and refuses another one.
const STATUS: [&str; 11] = [
    "phase",
    "conditions",
    "message",
    "reason",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
];

/// Namespace and name.
pub type Key = (String, String);

/// A Pod that is to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its name in the cluster.
    pub key: Key,
    /// `config.hash`.
    pub hash: String,
    /// Its mirror, but for the owner.
    pub object: Value,
    /// What the API lets others edit of its spec.
    pub editable: Vec<String>,
    /// Its status; what it has not is null.
    pub status: Value,
    /// It is being stopped.
    pub leaving: bool,
}

impl Wanted {
    /// Out of what the daemon has published; `None` where there is no Pod (any more).
    pub fn of(file: &PodStatusFile) -> Option<Self> {
        use crate::report::ManifestState;
        let pod = &file.pod;
        let leaving = file.deletion_timestamp.is_some();
        file.generation.as_ref()?;
        if matches!(file.manifest, ManifestState::Held | ManifestState::Removed) && !leaving {
            return None;
        }
        let metadata = &pod["metadata"];
        let word = |field: &str| metadata[field].as_str().map(str::to_owned);
        let hash = metadata["annotations"][HASH].as_str()?.to_owned();
        let mut annotations = metadata["annotations"].as_object()?.clone();
        annotations.insert(MIRROR.to_owned(), json!(hash));
        let mut spec = pod["spec"].as_object()?.clone();
        if annotations.get(SOURCE).is_some_and(|source| source == "file") {
            tolerate(&mut spec);
        }
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": word("name")?, "namespace": word("namespace")?, "annotations": annotations},
            "spec": spec,
        });
        if !metadata["labels"].is_null() {
            object["metadata"]["labels"] = metadata["labels"].clone();
        }
        let editable = editable(&object);
        let status = STATUS.iter().map(|field| ((*field).to_owned(), pod["status"][*field].clone()));
        let status = Value::Object(status.collect());
        Some(Self { key: (word("namespace")?, word("name")?), hash, object, editable, status, leaving })
    }

    /// Of these metadata the labels and annotations that the static Pod has, too, with their values there; null where they
    /// are gone. What others have added is theirs.
    pub fn carried(&self, metadata: &Value) -> Value {
        let of = |field: &str| {
            let ours = self.object["metadata"][field].as_object().into_iter().flatten();
            Value::Object(ours.map(|(key, _)| (key.clone(), metadata[field][key].clone())).collect())
        };
        json!({"labels": of("labels"), "annotations": of("annotations")})
    }

    /// The labels and annotations of the static Pod.
    pub fn own(&self) -> Value {
        self.carried(&self.object["metadata"])
    }

    /// The mirror, as the Node of that UID owns it.
    pub fn owned_by(&self, node: &str, uid: &str) -> Value {
        let mut object = self.object.clone();
        object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": true}]);
        object
    }

    /// What changes the status of the mirror of that UID, which has these conditions now: those of others stay.
    pub fn patch(&self, uid: &str, has: &Value) -> Value {
        let mut status = self.status.clone();
        let list = |status: &Value| status["conditions"].as_array().cloned().unwrap_or_default();
        let mut conditions = list(&status);
        for other in list(has) {
            if conditions.iter().all(|c| c["type"] != other["type"]) {
                conditions.push(other);
            }
        }
        status["conditions"] = Value::Array(conditions);
        json!({"metadata": {"uid": uid}, "status": status})
    }
}

/// A Pod from a file stays where it is, whatever becomes of its Node.
fn tolerate(spec: &mut Map<String, Value>) {
    let all = json!({"operator": "Exists", "effect": "NoExecute"});
    if let Some(list) = spec.entry("tolerations").or_insert_with(|| json!([])).as_array_mut()
        && !list.contains(&all)
    {
        list.push(all);
    }
}

/// What the API lets others edit of a Pod's spec: the images of all containers, in its order, and the deadline. (Tolerations
/// may only be added, and mean nothing to a Pod that has its node.)
pub fn editable(pod: &Value) -> Vec<String> {
    let spec = &pod["spec"];
    let lists = ["initContainers", "containers"].iter();
    let all = lists.flat_map(|list| spec[*list].as_array().into_iter().flatten());
    let images = all.map(|c| c["image"].as_str().unwrap_or_default().to_owned());
    images.chain(spec["activeDeadlineSeconds"].as_i64().map(|seconds| seconds.to_string())).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the daemon publishes of a Pod `a-n1`.
    pub fn published(manifest: Value, deletion: Option<&str>, hash: &str) -> PodStatusFile {
        serde_json::from_value(json!({
            "namespace": "kube-system", "name": "a-n1", "generation": hash, "uid": hash,
            "origin": {"path": "/m/a.yaml", "document": 1}, "manifest": manifest, "summary": "Running",
            "message": null, "createdAt": null, "deletionTimestamp": deletion,
            "pod": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "a-n1", "namespace": "kube-system", "uid": hash, "labels": {"l": "1"},
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                    "annotations": {HASH: hash, SOURCE: "file", "mine": "x"}},
                "spec": {"nodeName": "n1", "initContainers": [{"name": "i", "image": "b"}],
                    "containers": [{"name": "c", "image": "a"}]},
                "status": {"phase": "Running", "qosClass": "Burstable",
                    "conditions": [{"type": "Ready", "status": "True"}]},
            },
        }))
        .unwrap()
    }

    fn current() -> Value {
        json!({"state": "current", "warnings": []})
    }

    #[test]
    fn a_mirror_is_what_the_kubelet_makes() {
        let w = Wanted::of(&published(current(), None, "h1")).unwrap();
        let object = w.owned_by("n1", "u1");
        let metadata = &object["metadata"];
        assert_eq!(metadata["annotations"][MIRROR], "h1");
        assert_eq!(metadata["annotations"]["mine"], "x");
        assert_eq!(metadata["labels"], json!({"l": "1"}));
        assert_eq!(
            metadata["ownerReferences"],
            json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1", "controller": true}])
        );
        assert!(
            metadata["uid"].is_null()
                && metadata["creationTimestamp"].is_null()
                && object["status"].is_null()
        );
        assert_eq!(object["spec"]["tolerations"], json!([{"operator": "Exists", "effect": "NoExecute"}]));
        assert_eq!(object["spec"]["nodeName"], "n1");
        assert_eq!(w.editable, ["b", "a"]);
        let mut timed = object.clone();
        timed["spec"]["activeDeadlineSeconds"] = json!(60);
        assert_eq!(editable(&timed), ["b", "a", "60"]);
        let mut from_url = published(current(), None, "h1");
        from_url.pod["metadata"]["annotations"][SOURCE] = json!("http");
        assert!(Wanted::of(&from_url).unwrap().object["spec"]["tolerations"].is_null(), "a URL's gets none");
    }

    #[test]
    fn of_labels_and_annotations_only_our_own_count() {
        let w = Wanted::of(&published(current(), None, "h1")).unwrap();
        let has = json!({"labels": {"l": "2", "theirs": "x"}, "annotations": {"mine": "x"}});
        let carried = w.carried(&has);
        assert_eq!(carried["labels"], json!({"l": "2"}));
        assert_eq!(carried["annotations"]["mine"], "x");
        assert_eq!(carried["annotations"][HASH], Value::Null, "it was taken away");
        assert_eq!(w.own()["labels"], json!({"l": "1"}));
    }

    #[test]
    fn a_patch_tells_what_is_gone_and_keeps_what_others_say() {
        let w = Wanted::of(&published(current(), None, "h1")).unwrap();
        let has = json!({"conditions": [{"type": "Ready", "status": "False"}, {"type": "x.io/Theirs", "status": "True"}]});
        let patch = w.patch("u", &has);
        assert_eq!(patch["metadata"]["uid"], "u");
        assert_eq!(
            patch["status"]["conditions"],
            json!([{"type": "Ready", "status": "True"}, {"type": "x.io/Theirs", "status": "True"}])
        );
        assert_eq!(patch["status"].get("reason"), Some(&Value::Null));
        assert_eq!(patch["status"].get("qosClass"), None);
    }

    #[test]
    fn only_pods_that_are_there_are_shown() {
        let removed = json!({"state": "removed"});
        assert!(Wanted::of(&published(removed.clone(), None, "h1")).is_none());
        assert!(
            Wanted::of(&published(removed, Some("2026-01-01T00:00:00Z"), "h1")).is_some_and(|w| w.leaving)
        );
        assert!(Wanted::of(&published(json!({"state": "held"}), None, "h1")).is_none());
        let mut refused = published(json!({"state": "refused", "problems": []}), None, "h1");
        (refused.generation, refused.pod) = (None, Value::Null);
        assert!(Wanted::of(&refused).is_none());
    }
}
