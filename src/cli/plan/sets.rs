//! DaemonSets and StatefulSets in a plan: the Pods that there are to be in the end, whatever the order in which that comes
//! about.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::decide::Living;
use crate::daemon::SetRecord;
use crate::manifest::{Context, sets};
use crate::paths::Roots;
use crate::pod::Pod;
use crate::pod::node::NodeFacts;
use crate::pod::set::{OWNER, Owner, SetKey, SetKind, Template, Update};
use crate::source::dir::Rules;
use crate::source::{Good, HeldSet, Merged};

/// What is known beside the documents.
pub struct Known<'a> {
    pub rules: &'a Rules,
    pub roots: &'a Roots,
    pub facts: NodeFacts,
    pub records: BTreeMap<SetKey, SetRecord>,
    pub living: &'a [Living],
}

impl Known<'_> {
    /// Puts the Pods of all sets beside those that the documents give themselves.
    pub fn expand(&self, merged: &mut Merged) {
        let held: Vec<_> = merged.sets.values().cloned().collect();
        for held in held {
            let set = &held.set;
            if set.placement.misfit(&self.facts).is_some() {
                continue;
            }
            let record = self.records.get(&set.key);
            let update = match record.and_then(|r| r.restarted_at.as_deref()) {
                Some(at) => sets::restarted(&set.template, at),
                None => set.template.clone(),
            };
            let current = record.and_then(|r| r.current.clone());
            let members = self.members(&set.key);
            let ordinals: Vec<u32> = match set.key.kind {
                SetKind::DaemonSet => vec![members.keys().next().copied().unwrap_or(0)],
                SetKind::StatefulSet => (set.start..set.start.saturating_add(set.replicas)).collect(),
            };
            for ordinal in ordinals {
                let is_below = matches!(set.update, Update::Partition(p) if ordinal - set.start < p);
                let stays = is_below || set.update == Update::OnDelete;
                let living = members.get(&ordinal).filter(|_| stays);
                let template = match (is_below, &current) {
                    (true, Some(current)) => current,
                    (true | false, _) => &update,
                };
                let good = match living.and_then(|l| l.document.as_ref()) {
                    Some(document) => self.of_document(&held, document),
                    None => self.of_template(&held, template, ordinal),
                };
                if let Some(good) = good {
                    merged.good.entry(good.pod.key.clone()).or_insert(good);
                }
            }
        }
    }

    fn context<'c>(&'c self, path: &'c str) -> Context<'c> {
        Context { node: &self.rules.node, path, limits: self.rules.limits, runtime: self.rules.runtime }
    }

    fn of_template(&self, held: &HeldSet, template: &Template, ordinal: u32) -> Option<Good> {
        let context = self.context(&held.set.origin.path);
        let set = (&held.set.key, &held.set.origin);
        let (pod, document) = sets::pod_of(set, template, ordinal, &self.roots.claims(), &context).ok()?;
        Some(self.good(held, pod, &document))
    }

    /// What lives and is not to be replaced.
    fn of_document(&self, held: &HeldSet, document: &serde_json::Value) -> Option<Good> {
        let pod = crate::manifest::from_canonical(document, &self.context(&held.set.origin.path)).ok()?;
        Some(self.good(held, Rc::new(pod), document))
    }

    fn good(&self, held: &HeldSet, pod: Rc<Pod>, document: &serde_json::Value) -> Good {
        Good {
            pod,
            canonical: document.to_string().into(),
            warnings: held.warnings.clone(),
            kept_for: held.kept_for.clone(),
        }
    }

    fn members(&self, key: &SetKey) -> BTreeMap<u32, &Living> {
        let owner = |l: &Living| {
            let text = l.document.as_ref()?.pointer("/metadata/annotations")?.get(OWNER)?.as_str()?;
            Owner::parse(text).filter(|o| o.set(&l.key.namespace) == *key)
        };
        self.living.iter().filter_map(|l| Some((owner(l)?.ordinal, l))).collect()
    }
}
