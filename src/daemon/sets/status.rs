//! What is published of sets: how many Pods there are, should be, are ready and are of the new version, and why not.

use std::collections::BTreeMap;

use crate::core::Time;
use crate::core::sets::{Member, Members};
use crate::daemon::Daemon;
use crate::pod::set::{SetKey, SetKind, Update};
use crate::report::SetStatus;

impl Daemon {
    /// Publishes how each set fares, if that has changed.
    pub(super) fn publish_sets(&mut self, all_members: &BTreeMap<SetKey, Members>, now: Time) {
        let mut list = Vec::new();
        let nobody = Members::new();
        for (key, held) in &self.merged.sets {
            let set = &held.set;
            let members = all_members.get(key).unwrap_or(&nobody);
            let misfit = set.placement.misfit(&self.config.facts);
            let known = self.sets.known.get(key);
            let update = known.and_then(|k| k.update.as_ref()).map(|t| t.revision.clone());
            let current = known.and_then(|k| k.record.as_ref()?.current.as_ref());
            let ready = |m: &&Member| m.ready_since.is_some() && !m.leaving;
            let available = |m: &&Member| {
                let since = m.ready_since.filter(|_| !m.leaving);
                since.is_some_and(|t| t.plus(u64::from(set.min_ready_seconds) * 1000) <= now)
            };
            let is_new = |m: &&Member| Some(&m.revision) == update.as_ref() && !m.leaving;
            let old = members.values().filter(|m| !m.leaving && Some(&m.revision) != update.as_ref());
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let mut problems = known.map(|k| k.troubles.clone()).unwrap_or_default();
            problems.extend(held.kept_for.iter().flat_map(|p| p.iter().cloned()));
            list.push(SetStatus {
                kind: key.kind.as_str().to_owned(),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                origin: set.origin.clone(),
                start: set.start,
                desired: if misfit.is_some() { 0 } else { set.replicas },
                current: count(members.len()),
                ready: count(members.values().filter(ready).count()),
                available: count(members.values().filter(available).count()),
                updated: count(members.values().filter(is_new).count()),
                outdated: old.map(|m| m.key.name.to_string()).collect(),
                pods: members.values().map(|m| m.key.name.to_string()).collect(),
                update_strategy: match set.update {
                    Update::OnDelete => "OnDelete",
                    Update::Replace | Update::Surge | Update::Partition(_) => "RollingUpdate",
                }
                .to_owned(),
                partition: match set.update {
                    Update::Partition(partition) => partition,
                    Update::OnDelete | Update::Replace | Update::Surge => 0,
                },
                update_revision: update.map(|r| r.to_string()).unwrap_or_default(),
                current_revision: current.map(|t| t.revision.to_string()).unwrap_or_default(),
                not_here: misfit.filter(|_| key.kind == SetKind::DaemonSet),
                warnings: held.warnings.to_vec(),
                is_kept: held.kept_for.is_some(),
                problems,
            });
        }
        self.publisher.set_sets(list);
    }
}
