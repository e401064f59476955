//! Which Pods of a DaemonSet or StatefulSet are wanted now.
//!
//! Order is expressed as what is desired, and as nothing else: a Pod whose turn to begin has not come is not wanted yet, one
//! whose turn to be replaced has not come is wanted as it is. What follows from that (the old one's end before the new one's
//! beginning, images first, back-offs, hooks) is the same for all Pods. Nothing here is kept: every answer follows from the
//! set, from the revision that it had before, and from the Pods that live; so a daemon that dies in the middle of a roll-out
//! is followed by one that goes on from there. The order is that of Kubernetes (`pkg/controller/statefulset/
//! stateful_set_control.go`, `pkg/controller/daemon/update.go`), but for one thing: a Pod that is broken and has an old
//! template is replaced by what is new, where Kubernetes waits for somebody to delete it.

use std::collections::{BTreeMap, BTreeSet};

use super::life::StopReason;
use super::plan::stop_life;
use super::world::World;
use super::{Stamp, Time};
use crate::pod::PodKey;
use crate::pod::set::{Revision, Set, SetKey, SetKind, Update};

/// A Pod of a set that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub key: PodKey,
    /// The version of the template that it was made of.
    pub revision: Revision,
    /// It is being stopped.
    pub leaving: bool,
    /// Since when it is ready, if it is.
    pub ready_since: Option<Time>,
}

/// The Pods of one set that live, by number.
pub type Members = BTreeMap<u32, Member>;

/// How a Pod is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// As it lives, whatever it was made of.
    AsIs,
    /// Made of this version.
    Of(Revision),
}

/// The answer for one set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The Pods that are wanted, by number.
    pub wanted: BTreeMap<u32, Choice>,
    /// When the answer may be another one by the passing of time alone.
    pub deadline: Option<Time>,
    /// Every Pod that there should be is available and of the new version: that is the current one from now on.
    pub is_settled: bool,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The set.
    pub set: &'a Set,
    /// The version that was settled last, if it is known still.
    pub current: Option<&'a Revision>,
    /// The version that its template has now.
    pub update: &'a Revision,
    /// Its Pods that live.
    pub members: &'a Members,
    /// The node fits.
    pub fits: bool,
}

impl Question<'_> {
    /// Whether it has been ready for long enough; what is to become so is noted as a deadline.
    fn is_available(&self, member: &Member, now: Time, deadline: &mut Option<Time>) -> bool {
        let Some(since) = member.ready_since.filter(|_| !member.leaving) else { return false };
        let at = since.plus(u64::from(self.set.min_ready_seconds) * 1000);
        if at <= now {
            return true;
        }
        *deadline = [*deadline, Some(at)].into_iter().flatten().min();
        false
    }

    /// The answer at `now`.
    pub fn answer(&self, now: Time) -> Answer {
        match self.set.key.kind {
            SetKind::DaemonSet => self.daemon(now),
            SetKind::StatefulSet => self.stateful(now),
        }
    }

    /// One Pod, in one of two places.
    fn daemon(&self, now: Time) -> Answer {
        let mut answer = Answer::default();
        if !self.fits {
            answer.is_settled = self.members.is_empty();
            return answer;
        }
        let available = |m: &Member, deadline: &mut Option<Time>| self.is_available(m, now, deadline);
        let is_new = |m: &Member| m.revision == *self.update;
        let living: Vec<(u32, &Member, bool)> = self
            .members
            .iter()
            .filter(|(_, m)| !m.leaving)
            .map(|(n, m)| (*n, m, available(m, &mut answer.deadline)))
            .collect();
        let new = || Choice::Of(self.update.clone());
        match living.as_slice() {
            [] => {
                // In the place of the one that is about to go: they must not overlap.
                let place = self.members.keys().next().copied().unwrap_or(0);
                answer.wanted.insert(place, new());
            }
            [(place, member, is_available)] => {
                let choice = match self.set.update {
                    _ if is_new(member) => Choice::AsIs,
                    Update::OnDelete => Choice::AsIs,
                    Update::Replace | Update::Partition(_) => new(),
                    Update::Surge => {
                        answer.wanted.insert(1 - (*place).min(1), new());
                        Choice::AsIs
                    }
                };
                answer.is_settled = is_new(member) && *is_available && self.members.len() == 1;
                answer.wanted.insert(*place, choice);
            }
            [one, two, ..] => {
                // Both run since a roll-out, or since the strategy was another one.
                let rank = |m: &(u32, &Member, bool)| (m.2 && is_new(m.1), m.2, !is_new(m.1));
                let (kept, other) = if rank(two) > rank(one) { (two, one) } else { (one, two) };
                answer.wanted.insert(kept.0, Choice::AsIs);
                let waits = !is_new(kept.1) && self.set.update == Update::Surge;
                if waits {
                    answer.wanted.insert(other.0, if is_new(other.1) { Choice::AsIs } else { new() });
                }
            }
        }
        answer
    }

    /// The version of which a Pod is made that is not there.
    fn made_of(&self, ordinal: u32) -> &Revision {
        match (self.set.update, self.current) {
            (Update::Partition(partition), Some(current))
                if ordinal.saturating_sub(self.set.start) < partition =>
            {
                current
            }
            _ => self.update,
        }
    }

    /// Numbered Pods.
    fn stateful(&self, now: Time) -> Answer {
        let mut answer = Answer::default();
        let (set, members) = (self.set, self.members);
        let range = set.start..set.start.saturating_add(set.replicas);
        // Each in turn: whoever is there stays, whoever is not begins when all before it are available.
        let mut all_available = true;
        for ordinal in range.clone() {
            let member = members.get(&ordinal);
            let is_available = member.is_some_and(|m| self.is_available(m, now, &mut answer.deadline));
            match member {
                Some(member) if !member.leaving => {
                    answer.wanted.insert(ordinal, Choice::AsIs);
                }
                Some(_) | None if set.parallel || all_available => {
                    answer.wanted.insert(ordinal, Choice::Of(self.made_of(ordinal).clone()));
                }
                Some(_) | None => {}
            }
            all_available &= is_available;
        }
        // What is beyond the range goes from its end, one at a time, and not while another is not well.
        let beyond = || members.iter().filter(|(n, _)| !range.contains(n));
        let is_one_leaving = beyond().any(|(_, m)| m.leaving);
        let is_waited_for = !set.parallel && (is_one_leaving || !all_available);
        let last = beyond().map(|(n, _)| *n).max();
        for (ordinal, _) in beyond().filter(|(_, m)| !m.leaving) {
            let goes = set.parallel || (!is_waited_for && Some(*ordinal) == last);
            if !goes {
                answer.wanted.insert(*ordinal, Choice::AsIs);
            }
        }
        let is_in_range = beyond().next().is_none();
        if let Update::Partition(partition) = set.update {
            // What is beyond goes first; but it goes only when all others are well, and one that is broken may be mended.
            let rolls = all_available && (is_in_range || set.parallel);
            self.replace(now, partition, (rolls, !all_available), &mut answer);
        }
        let is_new = |n: u32| members.get(&n).is_some_and(|m| m.revision == *self.update);
        answer.is_settled = is_in_range && all_available && range.clone().all(is_new);
        answer
    }

    /// Has one Pod replaced, if it is the turn of one.
    fn replace(&self, now: Time, partition: u32, (rolls, mends): (bool, bool), answer: &mut Answer) {
        let first = self.set.start.saturating_add(partition);
        let in_range = |n: u32| n >= self.set.start && n - self.set.start < self.set.replicas;
        let old = || {
            let counts = |(n, m): &(&u32, &Member)| {
                in_range(**n) && **n >= first && !m.leaving && m.revision != *self.update
            };
            self.members.iter().rev().filter(counts)
        };
        let mut ignored = None;
        // One that is broken and old is replaced first: it can only become better. But one that is new and not available is
        // waited for, as is one that is on its way out or in.
        let broken = old().find(|(_, m)| !self.is_available(m, now, &mut ignored));
        let is_on_its_way = answer.wanted.iter().any(|(n, choice)| {
            in_range(*n)
                && match self.members.get(n) {
                    None => true,
                    Some(m) if m.leaving => true,
                    Some(m) => {
                        let is_old = m.revision != *self.update && *n >= first;
                        !is_old && *choice == Choice::AsIs && !self.is_available(m, now, &mut ignored)
                    }
                }
        });
        let next = if rolls { old().next() } else { broken.filter(|_| mends && !is_on_its_way) };
        if let Some((ordinal, _)) = next {
            answer.wanted.insert(*ordinal, Choice::Of(self.update.clone()));
        }
    }
}

/// Which Pods of a set are wanted that is in no source any more: a StatefulSet's go one at a time, the last one first.
pub fn answer_for_gone(kind: SetKind, members: &Members) -> BTreeMap<u32, Choice> {
    let living = || members.iter().filter(|(_, m)| !m.leaving).map(|(n, _)| *n);
    let is_one_leaving = members.values().any(|m| m.leaving);
    match kind {
        SetKind::DaemonSet => BTreeMap::new(),
        SetKind::StatefulSet => {
            let last = living().max().filter(|_| !is_one_leaving);
            living().filter(|n| Some(*n) != last).map(|n| (n, Choice::AsIs)).collect()
        }
    }
}

impl World {
    /// The Pods of sets that live.
    pub fn members(&self) -> BTreeMap<SetKey, Members> {
        let mut out: BTreeMap<SetKey, Members> = BTreeMap::new();
        for (key, slot) in &self.slots {
            let Some(life) = &slot.life else { continue };
            let Some(owner) = &life.pod.owner else { continue };
            // One that waits for its end because it is held, or has come to it, is none that could be relied on.
            let leaving = life.leaving().is_some();
            let ready_since = Some(life.ready.1.boot).filter(|_| life.ready.0 && life.stop.is_none());
            let member = Member { key: key.clone(), revision: owner.revision.clone(), leaving, ready_since };
            out.entry(owner.set(&key.namespace)).or_default().insert(owner.ordinal, member);
        }
        out
    }

    /// Stops these Pods in good order; they begin anew at once, unless they are held.
    pub(super) fn restart(&mut self, pods: BTreeSet<PodKey>, now: Stamp) {
        for key in pods {
            if self.draining {
                return;
            }
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            let Some(life) = slot.life.as_mut().filter(|l| l.leaving().is_none()) else { continue };
            stop_life(life, StopReason::Restarted, now);
            self.dirty.insert(key);
        }
    }
}
