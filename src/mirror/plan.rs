//! What is to be done, decided: what the cluster has of this node × what is to be shown → steps. Pure, so that every case can
//! be shown without a server.

use std::collections::BTreeMap;

use serde_json::Value;

use super::object::{Key, MIRROR, Wanted, editable};

/// A Pod of this node in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// Its name.
    pub key: Key,
    /// The server's own UID, not the static Pod's.
    pub uid: String,
    /// The annotation of mirror Pods; `None`: somebody else's Pod.
    pub hash: Option<String>,
    /// It was asked to be deleted.
    pub deleting: bool,
    /// The UID of the Node that owns it.
    pub owner: String,
    /// What the API lets others edit of its spec.
    pub editable: Vec<String>,
    /// Its metadata: labels and annotations are wanted.
    pub metadata: Value,
    /// Its status.
    pub status: Value,
}

impl Mirror {
    /// Those of this node in a `v1.PodList`. It was asked for them alone; what is between us and the server may not know how
    /// to choose, and those of other nodes are not ours to remove.
    pub fn all(list: &Value, node: &str) -> Vec<Self> {
        let items = list["items"].as_array().into_iter().flatten();
        items.filter(|pod| pod["spec"]["nodeName"] == node).filter_map(Self::of).collect()
    }

    /// Out of a `v1.Pod`; `None` where it is not one.
    pub fn of(pod: &Value) -> Option<Self> {
        let metadata = &pod["metadata"];
        let word = |field: &str| metadata[field].as_str().map(str::to_owned);
        Some(Self {
            key: (word("namespace")?, word("name")?),
            uid: word("uid")?,
            hash: metadata["annotations"][MIRROR].as_str().map(str::to_owned),
            deleting: !metadata["deletionTimestamp"].is_null(),
            owner: metadata["ownerReferences"][0]["uid"].as_str().unwrap_or_default().to_owned(),
            editable: editable(pod),
            metadata: metadata.clone(),
            status: pod["status"].clone(),
        })
    }
}

/// What is remembered of a mirror, by its UID: how the server has answered. It may keep a Pod differently from how it was
/// sent (fields that it does not know, images that an admission webhook changes), so that only a difference from its own
/// answer is a change by others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// What others may edit of the spec that it was made with.
    pub editable: Vec<String>,
    /// The static Pod's labels and annotations, as the server keeps them.
    pub carried: Value,
    /// The status that was sent last.
    pub sent: Value,
    /// The status that was answered to that.
    pub answered: Value,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the mirror of this wanted Pod.
    Create(usize),
    /// Remove the mirror of this UID, then make it.
    Replace(usize, String),
    /// Send the status of this wanted Pod to that mirror in the cluster.
    Status(usize, usize),
    /// Put the labels and annotations of this wanted Pod back on that mirror in the cluster.
    Mend(usize, usize),
    /// Remove this mirror from the cluster: its Pod has gone.
    Delete(usize),
    /// Somebody else has a Pod of that name on this node.
    Taken(usize),
}

/// Decides. `node`: the UID of the Node; without one nothing can be made. `synced`: the daemon has read all of its sources,
/// so a Pod that is not wanted is none.
pub fn plan(
    wanted: &[Wanted],
    has: &[Mirror],
    memory: &BTreeMap<String, Memory>,
    node: Option<&str>,
    synced: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (place, pod) in wanted.iter().enumerate() {
        let Some((there, mirror)) = has.iter().enumerate().find(|(_, m)| m.key == pod.key) else {
            if node.is_some() && !pod.leaving {
                steps.push(Step::Create(place));
            }
            continue;
        };
        if mirror.hash.is_none() {
            steps.push(Step::Taken(place));
            continue;
        }
        let known = memory.get(&mirror.uid);
        let expected = known.map_or(&pod.editable, |m| &m.editable);
        let differs = mirror.hash.as_ref() != Some(&pod.hash)
            || mirror.deleting
            || mirror.editable != *expected
            || node.is_some_and(|uid| uid != mirror.owner);
        if differs && !pod.leaving && node.is_some() {
            steps.push(Step::Replace(place, mirror.uid.clone()));
        } else if mirror.hash.as_ref() == Some(&pod.hash)
            && known.is_none_or(|m| m.sent != pod.status || m.answered != mirror.status)
        {
            steps.push(Step::Status(place, there));
        } else if !pod.leaving && known.is_some_and(|m| m.carried != pod.carried(&mirror.metadata)) {
            steps.push(Step::Mend(place, there));
        }
    }
    if synced {
        let orphan = |m: &Mirror| m.hash.is_some() && wanted.iter().all(|w| w.key != m.key);
        steps.extend(has.iter().enumerate().filter(|(_, m)| orphan(m)).map(|(place, _)| Step::Delete(place)));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::object::tests::published;
    use super::*;
    use serde_json::json;

    const NODE: Option<&str> = Some("node-uid");

    fn wanted(hash: &str) -> Wanted {
        Wanted::of(&published(json!({"state": "current", "warnings": []}), None, hash)).unwrap()
    }

    fn leaving(hash: &str) -> Wanted {
        Wanted { leaving: true, ..wanted(hash) }
    }

    /// The mirror as the server has it after its status was sent, and what is remembered of that.
    fn settled(w: &Wanted) -> (Mirror, BTreeMap<String, Memory>) {
        let mut object = w.owned_by("n1", "node-uid");
        object["metadata"]["uid"] = json!("u1");
        object["status"] = json!({"phase": "Running", "qosClass": "Burstable"});
        let mirror = Mirror::of(&object).unwrap();
        let memory = Memory {
            editable: mirror.editable.clone(),
            carried: w.own(),
            sent: w.status.clone(),
            answered: mirror.status.clone(),
        };
        (mirror, BTreeMap::from([("u1".to_owned(), memory)]))
    }

    #[test]
    fn the_pods_of_other_nodes_are_none_of_ours() {
        let mine = wanted("h1").owned_by("n1", "node-uid");
        let mut theirs = mine.clone();
        theirs["spec"]["nodeName"] = json!("n2");
        let mut list = json!({"items": [mine, theirs, {}]});
        for item in list["items"].as_array_mut().unwrap() {
            item["metadata"]["uid"] = json!("u");
        }
        assert_eq!(Mirror::all(&list, "n1").len(), 1);
        assert_eq!(Mirror::all(&json!("nonsense"), "n1"), []);
    }

    #[test]
    fn made_where_it_is_not_and_left_alone_where_it_is() {
        let w = wanted("h1");
        let (mirror, memory) = settled(&w);
        let all = std::slice::from_ref(&w);
        assert_eq!(plan(all, &[], &memory, NODE, true), [Step::Create(0)]);
        assert_eq!(plan(all, &[], &memory, None, true), [], "without its Node it cannot have an owner");
        assert_eq!(plan(all, &[mirror], &memory, NODE, true), []);
        assert_eq!(plan(&[leaving("h1")], &[], &memory, NODE, true), [], "what goes is not made again");
    }

    #[test]
    fn what_others_did_to_it_is_put_right() {
        let w = wanted("h1");
        let (mirror, memory) = settled(&w);
        let replaced = [Step::Replace(0, "u1".to_owned())];
        for changed in [
            Mirror { hash: Some("h0".to_owned()), ..mirror.clone() },
            Mirror { deleting: true, ..mirror.clone() },
            Mirror { editable: vec!["b".to_owned(), "evil".to_owned()], ..mirror.clone() },
            Mirror { owner: "a former Node".to_owned(), ..mirror.clone() },
        ] {
            assert_eq!(
                plan(std::slice::from_ref(&w), std::slice::from_ref(&changed), &memory, NODE, true),
                replaced
            );
            let steps = plan(&[leaving("h1")], &[changed], &memory, NODE, true);
            assert_eq!(
                steps.iter().filter(|s| matches!(s, Step::Replace(..))).count(),
                0,
                "not while it is stopped"
            );
        }
        let mut labelled = mirror.clone();
        labelled.metadata["labels"]["theirs"] = json!("x");
        let wanted_only = std::slice::from_ref(&w);
        assert_eq!(plan(wanted_only, &[labelled.clone()], &memory, NODE, true), [], "that is theirs");
        labelled.metadata["labels"]["l"] = json!("2");
        assert_eq!(plan(wanted_only, &[labelled.clone()], &memory, NODE, true), [Step::Mend(0, 0)]);
        assert_eq!(plan(&[leaving("h1")], &[labelled], &memory, NODE, true), []);
        let marked = Mirror { status: json!({"phase": "Failed"}), ..mirror.clone() };
        assert_eq!(plan(std::slice::from_ref(&w), &[marked], &memory, NODE, true), [Step::Status(0, 0)]);
        let theirs = Mirror { hash: None, ..mirror };
        assert_eq!(plan(&[w], &[theirs], &memory, NODE, true), [Step::Taken(0)]);
    }

    #[test]
    fn a_server_that_keeps_it_differently_is_not_sent_it_for_ever() {
        let w = wanted("h1");
        let (mut mirror, mut memory) = settled(&w);
        mirror.editable = vec!["mirror.example/b".to_owned(), "mirror.example/a".to_owned()];
        mirror.metadata["labels"]["l"] = json!("of a webhook");
        let remembered = memory.get_mut("u1").unwrap();
        remembered.editable = mirror.editable.clone();
        remembered.carried = w.carried(&mirror.metadata);
        assert_eq!(plan(std::slice::from_ref(&w), &[mirror.clone()], &memory, NODE, true), []);
        // What is not remembered is told once.
        let (mirror, _) = settled(&w);
        assert_eq!(plan(&[w], &[mirror], &BTreeMap::new(), NODE, true), [Step::Status(0, 0)]);
    }

    #[test]
    fn status_follows_the_pod_and_no_other_version_of_it() {
        let w = wanted("h1");
        let (mirror, memory) = settled(&w);
        let mut changed = w.clone();
        changed.status["phase"] = json!("Pending");
        let has = [mirror];
        assert_eq!(plan(&[changed], &has, &memory, NODE, true), [Step::Status(0, 0)]);
        assert_eq!(
            plan(&[wanted("h2")], &has, &memory, None, true),
            [],
            "no Node: the old one stays, untouched"
        );
        let mut changed = leaving("h1");
        changed.status["phase"] = json!("Succeeded");
        assert_eq!(plan(&[changed], &has, &memory, NODE, true), [Step::Status(0, 0)]);
    }

    #[test]
    fn orphans_go_when_all_sources_are_known() {
        let (mirror, memory) = settled(&wanted("h1"));
        let theirs = Mirror { hash: None, ..mirror.clone() };
        assert_eq!(plan(&[], &[theirs, mirror.clone()], &memory, NODE, true), [Step::Delete(1)]);
        assert_eq!(plan(&[], std::slice::from_ref(&mirror), &memory, None, true), [Step::Delete(0)]);
        assert_eq!(plan(&[], &[mirror], &memory, NODE, false), []);
    }
}
