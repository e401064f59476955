//! DaemonSets and StatefulSets: from the sources to the Pods that the core is told to want.
//!
//! The core says which Pods of a set are wanted now ([`crate::core::sets`]); here they are made out of the set's template and
//! put beside the Pods that the sources give. From there on they are Pods like any other: their documents are stored,
//! adopted, planned and published as all are.

mod claims;
mod members;
mod record;
mod status;

pub use self::record::{Record, records};

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::rc::Rc;

use super::open::StoredPod;
use super::{Daemon, engine};
use crate::core::sets::{Choice, Members, Question, answer_for_gone};
use crate::core::{Event, Refusal, Stamp, Time};
use crate::error;
use crate::manifest::{Context, Limits, sets};
use crate::pod::set::{Revision, SetKey, Template};
use crate::pod::{Generation, Pod, PodKey, PodName};
use crate::source::{Good, HeldSet, Merged, Refused};

/// What the daemon knows of sets.
#[derive(Debug, Default)]
pub struct SetDesk {
    /// The Pods that the sources give themselves.
    plain: BTreeMap<PodKey, Good>,
    /// What the core was told last.
    told: BTreeMap<PodKey, Generation>,
    /// The sources, or what was asked by hand, say something else than when the core was told.
    is_changed: bool,
    /// What is known of each set.
    known: BTreeMap<SetKey, Known>,
    /// When the answer may be another one by itself.
    deadline: Option<Time>,
}

/// What is known of one set.
#[derive(Debug, Default)]
struct Known {
    /// What is kept of it on disk.
    record: Option<Record>,
    /// The template that it has now.
    update: Option<Rc<Template>>,
    /// Pods that were made, by number: making them takes longer than asking whether they are wanted.
    made: Vec<(u32, Revision, Good)>,
    /// A source has had it since this daemon began.
    is_seen: bool,
    /// The text of the members' names that was written last, and for which runs.
    hosts: String,
    /// Which numbers lived when claims were last looked at.
    numbers: Vec<u32>,
    /// Why it, or one of its Pods, is not as it should be.
    troubles: Vec<String>,
}

impl SetDesk {
    /// The next moment at which [`Daemon::expand`] has something to do by itself.
    pub fn deadline(&self) -> Option<u64> {
        self.deadline.map(|t| t.0)
    }

    /// The sources say something else.
    pub(super) fn sources_changed(&mut self, merged: &Merged) {
        self.plain.clone_from(&merged.good);
        for known in self.known.values_mut() {
            known.update = None;
            known.made.clear();
        }
        self.is_changed = true;
    }
}

/// What is wanted of one set.
struct Wanted {
    goods: BTreeMap<PodKey, Good>,
    troubles: Vec<String>,
}

impl Daemon {
    /// Tells the core which Pods are wanted, those of sets among them, if that is something else than it was told last.
    /// Returns whether it was.
    pub(super) fn expand(&mut self, now: Stamp) -> bool {
        let is_changed = std::mem::take(&mut self.sets.is_changed);
        self.sets.deadline = None;
        // In a full stop nothing is begun, and each Pod has its turn to end.
        if self.world.is_draining() && !is_changed {
            return false;
        }
        let all_members = self.world.members();
        let has_none = self.merged.sets.is_empty() && self.sets.known.is_empty() && all_members.is_empty();
        if has_none && !is_changed {
            return false;
        }
        let mut goods = self.sets.plain.clone();
        let held: Vec<(SetKey, HeldSet)> =
            self.merged.sets.iter().map(|(k, h)| (k.clone(), h.clone())).collect();
        let nobody = Members::new();
        for (key, set) in &held {
            self.sets.known.entry(key.clone()).or_default().is_seen = true;
            let members = all_members.get(key).unwrap_or(&nobody);
            let wanted = self.wanted(key, set, members, now);
            goods.extend(wanted.goods);
            self.tell_troubles(key, wanted.troubles);
        }
        let gone: BTreeSet<SetKey> = all_members.keys().chain(self.sets.known.keys()).cloned().collect();
        for key in gone {
            if self.merged.sets.contains_key(&key) {
                continue;
            }
            let members = all_members.get(&key).unwrap_or(&nobody);
            goods.extend(self.wanted_of_gone(&key, members));
        }
        let told: BTreeMap<PodKey, Generation> =
            goods.iter().map(|(key, good)| (key.clone(), good.pod.generation.clone())).collect();
        let is_new = is_changed || told != self.sets.told;
        if is_new {
            self.sets.told = told;
            let pods = goods.iter().map(|(k, g)| (k.clone(), g.pod.clone())).collect();
            self.merged.good = goods;
            let event = Event::Desired { pods, complete: self.merged.complete };
            self.world.step(event, now);
        }
        self.remove_scaled_claims(&all_members, is_new);
        self.publish_sets(&all_members, now.boot);
        self.tell_members(&all_members);
        is_new
    }

    /// The key of a Pod of the set: with the node's name at its end.
    fn pod_key(&self, key: &SetKey, ordinal: u32) -> PodKey {
        let name = format!("{}-{}", sets::pod_name(key, ordinal), self.config.node);
        PodKey { namespace: key.namespace.clone(), name: PodName::new(name) }
    }

    /// What a set's template is now: as the source has it, or started anew by hand since.
    fn update_of(&mut self, key: &SetKey, set: &HeldSet) -> Rc<Template> {
        let known = self.sets.known.entry(key.clone()).or_default();
        if let Some(update) = &known.update {
            return update.clone();
        }
        let restarted_at = known.record.as_ref().and_then(|r| r.restarted_at.as_deref());
        let template = match restarted_at {
            Some(at) => sets::restarted(&set.set.template, at),
            None => set.set.template.clone(),
        };
        let template = Rc::new(template);
        known.update = Some(template.clone());
        template
    }

    fn wanted(&mut self, key: &SetKey, held: &HeldSet, members: &Members, now: Stamp) -> Wanted {
        let update = self.update_of(key, held);
        let is_new_here = members.values().all(|m| m.revision == update.revision);
        let known = self.sets.known.entry(key.clone()).or_default();
        let before = known.record.clone();
        let record = known.record.get_or_insert_with(|| Record::new(key.clone()));
        if record.current.is_none() && is_new_here {
            record.current = Some(update.as_ref().clone());
        }
        record.retention = held.set.retention;
        let question = Question {
            set: &held.set,
            current: record.current.as_ref().map(|t| &t.revision),
            update: &update.revision,
            members,
            fits: held.set.placement.misfit(&self.config.facts).is_none(),
        };
        let answer = question.answer(now.boot);
        if answer.is_settled && record.current.as_ref() != Some(update.as_ref()) {
            record.current = Some(update.as_ref().clone());
        }
        let current = record.current.clone();
        if Some(&*record) != before.as_ref() {
            let record = record.clone();
            self.save_record(&record);
        }
        self.sets.deadline = [self.sets.deadline, answer.deadline].into_iter().flatten().min();
        let mut wanted = Wanted { goods: BTreeMap::new(), troubles: Vec::new() };
        for (ordinal, choice) in answer.wanted {
            let pod_key = self.pod_key(key, ordinal);
            if let Some(other) = self.sets.plain.get(&pod_key) {
                wanted.troubles.push(format!(
                    "its Pod {pod_key} cannot be: {} defines a Pod of that name",
                    other.pod.origin
                ));
                continue;
            }
            let living = members.get(&ordinal);
            let made = match (&choice, living) {
                (Choice::AsIs, Some(member)) => self.as_it_is(&member.key, held),
                (Choice::AsIs, None) => None,
                // Under another name of this node it lives still: there are never two of one number.
                (Choice::Of(_), Some(member)) if member.key != pod_key => None,
                (Choice::Of(revision), _) => {
                    let template = match &current {
                        Some(current) if current.revision == *revision => current,
                        Some(_) | None => update.as_ref(),
                    };
                    let made = self.make(key, held, ordinal, template).and_then(|good| {
                        let claims = self.make_claims(&held.set, template, ordinal, &good.pod);
                        claims.map(|()| good).map_err(|e| format!("its claims: {e}"))
                    });
                    match made {
                        Ok(good) => Some(good),
                        Err(why) => {
                            wanted.troubles.push(format!("{pod_key} cannot be made: {why}"));
                            living.and_then(|member| self.as_it_is(&member.key, held))
                        }
                    }
                }
            };
            if let Some(good) = made {
                wanted.goods.insert(good.pod.key.clone(), good);
            }
        }
        wanted
    }

    /// A Pod of the set, made of this template.
    fn make(
        &mut self,
        key: &SetKey,
        held: &HeldSet,
        ordinal: u32,
        template: &Template,
    ) -> Result<Good, String> {
        let is_it = |m: &&(u32, Revision, Good)| m.0 == ordinal && m.1 == template.revision;
        if let Some((.., good)) = self.sets.known.get(key).and_then(|k| k.made.iter().find(is_it)) {
            return Ok(good.clone());
        }
        let context = Context {
            node: &self.config.node,
            path: &held.set.origin.path,
            limits: Limits::default(),
            runtime: engine::runtime(&self.engine),
        };
        let claims = self.config.roots.claims();
        let made = sets::pod_of((key, &held.set.origin), template, ordinal, &claims, &context);
        let (pod, document) = made.map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("; ")
        })?;
        let good = Good {
            pod,
            canonical: document.to_string().into(),
            // They are told with the set.
            warnings: Rc::from([]),
            kept_for: held.kept_for.clone(),
        };
        let known = self.sets.known.entry(key.clone()).or_default();
        known.made.push((ordinal, template.revision.clone(), good.clone()));
        Ok(good)
    }

    /// The Pod that lives, whatever it was made of.
    fn as_it_is(&self, key: &PodKey, held: &HeldSet) -> Option<Good> {
        let pod = self.living(key)?;
        let mut good = self.stored_good(&pod)?;
        good.kept_for = held.kept_for.clone();
        Some(good)
    }

    fn living(&self, key: &PodKey) -> Option<Rc<Pod>> {
        self.world.slot(key)?.life.as_ref().map(|life| life.pod.clone())
    }

    /// A Pod that lives, with its document: as it was made by this daemon, or stored by whoever began it.
    fn stored_good(&self, pod: &Rc<Pod>) -> Option<Good> {
        let is_it = |good: &&Good| good.pod.generation == pod.generation;
        let known = self.merged.good.get(&pod.key).filter(is_it);
        if let Some(known) = known {
            return Some(Good { pod: pod.clone(), ..known.clone() });
        }
        let stored = fs::read(self.config.roots.pod(&pod.generation).join("pod.json")).ok();
        let stored = stored.and_then(|bytes| serde_json::from_slice::<StoredPod>(&bytes).ok());
        let canonical = stored.map_or_else(|| "{}".to_owned(), |s| s.document.to_string());
        let (warnings, kept_for) = (Rc::from([]), None);
        Some(Good { pod: pod.clone(), canonical: canonical.into(), warnings, kept_for })
    }

    /// What is still wanted of a set that no source has.
    fn wanted_of_gone(&mut self, key: &SetKey, members: &Members) -> BTreeMap<PodKey, Good> {
        let mut goods = BTreeMap::new();
        // It may be in a source that has not been read yet, or in a document that is refused: the core keeps its Pods.
        if !self.merged.complete && !self.sets.known.get(key).is_some_and(|k| k.is_seen) {
            return goods;
        }
        let may_be = |pod: &Pod| {
            let refusal = |r: &Refused| Refusal { key: r.key.clone(), path: r.origin.path.clone() };
            self.merged.refused.iter().map(refusal).any(|r| r.may_be(&pod.key, &pod.origin))
        };
        let is_refused = members.values().filter_map(|m| self.living(&m.key)).any(|pod| may_be(&pod));
        if is_refused {
            return goods;
        }
        if members.is_empty() {
            if self.merged.complete && self.merged.refused.is_empty() {
                self.forget_set(key);
            }
            return goods;
        }
        for (ordinal, choice) in answer_for_gone(key.kind, members) {
            let pod = match choice {
                Choice::AsIs => members.get(&ordinal).and_then(|m| self.living(&m.key)),
                Choice::Of(_) => None,
            };
            if let Some(good) = pod.and_then(|pod| self.stored_good(&pod)) {
                goods.insert(good.pod.key.clone(), good);
            }
        }
        goods
    }

    /// Tells what is wrong with a set, once.
    fn tell_troubles(&mut self, key: &SetKey, troubles: Vec<String>) {
        let known = self.sets.known.entry(key.clone()).or_default();
        for line in troubles.iter().filter(|line| !known.troubles.contains(line)) {
            error!("{key}: {line}");
        }
        known.troubles = troubles;
    }

    /// Which generations sets may still come to want: their volumes are not stale because their turn has not come.
    pub(super) fn generations_of_sets(&mut self) -> BTreeSet<Generation> {
        let held: Vec<(SetKey, HeldSet)> =
            self.merged.sets.iter().map(|(k, h)| (k.clone(), h.clone())).collect();
        let mut out = BTreeSet::new();
        for (key, set) in held {
            let known = self.sets.known.get(&key);
            let current = known.and_then(|k| k.record.as_ref()?.current.clone());
            let update = self.update_of(&key, &set);
            for ordinal in set.set.start..set.set.start.saturating_add(set.set.replicas) {
                for template in current.iter().chain([update.as_ref()]) {
                    out.extend(
                        self.make(&key, &set, ordinal, template).ok().map(|g| g.pod.generation.clone()),
                    );
                }
            }
        }
        out
    }
}
