//! The steps of a plan, carried out: requests to the API server, and what is remembered of its answers.

use serde_json::{Value, json};

use super::client::Method;
use super::object::{Key, Wanted};
use super::plan::{Memory, Mirror, Step};
use super::{Shower, read};

impl Shower {
    /// Carries one step out.
    pub(super) fn carry_out(
        &mut self,
        step: &Step,
        wanted: &[Wanted],
        has: &[Mirror],
        node: Option<&str>,
    ) -> Result<(), String> {
        match (step, node) {
            (Step::Create(place), Some(node)) => match wanted.get(*place) {
                Some(pod) => self.create(pod, node),
                None => Ok(()),
            },
            (Step::Replace(place, uid), Some(node)) => match wanted.get(*place) {
                Some(pod) => {
                    self.delete(&pod.key, uid)?;
                    self.create(pod, node)
                }
                None => Ok(()),
            },
            (Step::Status(place, there), _) => match (wanted.get(*place), has.get(*there)) {
                (Some(pod), Some(mirror)) => {
                    let known = self.memory.get(&mirror.uid);
                    let (editable, carried) = match known {
                        Some(known) => (known.editable.clone(), known.carried.clone()),
                        // Whoever made it, it is to have what the static Pod has.
                        None => (mirror.editable.clone(), pod.own()),
                    };
                    self.send_status(pod, mirror, editable, carried)
                }
                _ => Ok(()),
            },
            (Step::Mend(place, there), _) => match (wanted.get(*place), has.get(*there)) {
                (Some(pod), Some(mirror)) => self.mend(pod, &mirror.uid, node),
                _ => Ok(()),
            },
            (Step::Delete(place), _) => match has.get(*place) {
                // A directory that changes while it is read may not show all that is in it.
                Some(mirror) if !self.is_published(&mirror.key) => self.delete(&mirror.key, &mirror.uid),
                _ => Ok(()),
            },
            (Step::Taken(_), _) => {
                Err("a Pod of this name that is no mirror is on this node already; it is left alone"
                    .to_owned())
            }
            (Step::Create(_) | Step::Replace(..), None) => Ok(()),
        }
    }

    fn is_published(&self, (namespace, name): &Key) -> bool {
        let path = self.spec.roots.pod_status(&format!("{namespace}/{name}"));
        read(&path).is_some_and(|file| Wanted::of(&file).is_some())
    }

    fn create(&mut self, pod: &Wanted, node: &str) -> Result<(), String> {
        let (namespace, _) = &pod.key;
        let object = pod.owned_by(&self.spec.node, node);
        let made = self
            .ask(&Method::Post(&object), &format!("/api/v1/namespaces/{namespace}/pods"))
            .map_err(|e| format!("cannot be made: {e}"))?;
        let mirror = Mirror::of(&made).ok_or("cannot be made: the answer is no Pod")?;
        // What the server has made of it by itself is not to be put right.
        let (editable, carried) = (mirror.editable.clone(), pod.carried(&mirror.metadata));
        self.send_status(pod, &mirror, editable, carried)
    }

    /// Puts labels and annotations right. A node may not (under NodeRestriction): it makes the mirror anew.
    fn mend(&mut self, pod: &Wanted, uid: &str, node: Option<&str>) -> Result<(), String> {
        let mut metadata = pod.own();
        metadata["uid"] = json!(uid);
        match (self.ask(&Method::Merge(&json!({ "metadata": metadata })), &path_of(&pod.key)), node) {
            (Ok(answer), _) => {
                if let Some(known) = self.memory.get_mut(uid) {
                    known.carried = pod.carried(&answer["metadata"]);
                }
                Ok(())
            }
            (Err(e), Some(node)) if e.is(403) => {
                self.delete(&pod.key, uid)?;
                self.create(pod, node)
            }
            (Err(e), _) if e.is(404) || e.is(409) => Ok(()),
            (Err(e), _) => Err(format!("its labels and annotations cannot be put right: {e}")),
        }
    }

    fn send_status(
        &mut self,
        pod: &Wanted,
        mirror: &Mirror,
        editable: Vec<String>,
        carried: Value,
    ) -> Result<(), String> {
        let path = format!("{}/status", path_of(&pod.key));
        let answer = match self.ask(&Method::Merge(&pod.patch(&mirror.uid, &mirror.status)), &path) {
            Ok(answer) => answer,
            // It is not there any more, or is another by now: the next look sees that.
            Err(e) if e.is(404) || e.is(409) => return Ok(()),
            Err(e) => return Err(format!("its status cannot be sent: {e}")),
        };
        let answered = answer["status"].clone();
        let memory = Memory { editable, carried, sent: pod.status.clone(), answered };
        self.memory.insert(mirror.uid.clone(), memory);
        Ok(())
    }

    fn delete(&mut self, key: &Key, uid: &str) -> Result<(), String> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid}});
        match self.ask(&Method::Delete(&options), &path_of(key)) {
            Ok(_) => Ok(()),
            Err(e) if e.is(404) || e.is(409) => Ok(()),
            Err(e) => Err(format!("cannot be removed: {e}")),
        }
    }
}

fn path_of((namespace, name): &Key) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}
