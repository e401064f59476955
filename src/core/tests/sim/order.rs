//! The order of Pods: who may begin, and who may be stopped.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Sim;
use crate::core::life::StopReason;
use crate::core::*;
use crate::pod::*;

/// What is critical is stopped one by one.
const CRITICAL: i32 = 2_000_000_000;

/// Whether two Pods want a port that only one can have.
pub(super) fn shares_port(one: &Pod, other: &Pod) -> bool {
    one.host_ports().any(|a| other.host_ports().any(|b| a.conflicts(&b)))
}

impl Sim {
    /// What a Pod depends on is ready when its life begins.
    pub(super) fn may_begin(&self, pod: &Pod) {
        for dependency in &pod.depends_on {
            let (now, key) = (self.now, dependency.key());
            let life = self.world.slot(key).and_then(|s| s.life.as_ref());
            // It may have become this Pod's turn to be replaced at the same moment.
            let is_ready = life.is_some_and(|life| {
                life.is_dependable() || life.leaving().is_some_and(|s| s.since.boot == Time(now))
            });
            assert!(is_ready && self.host.is_well(key), "{} begins before {key}", pod.key);
        }
    }

    /// Nobody else has a port of the host that it wants. One that has ended for good in the host's network has none.
    pub(super) fn has_its_ports(&self, pod: &Pod) {
        let others = self.host.pods.values().filter(|other| other.key != pod.key);
        for other in others.filter(|other| shares_port(pod, other)) {
            let life = self.world.slot(&other.key).and_then(|s| s.life.as_ref());
            let is_over = life.and_then(|l| l.stop).is_some_and(|stop| !stop.why.removes());
            let runs = self.host.lives(&other.generation, |_| true);
            let has_ended = is_over && !runs && other.host_network;
            assert!(has_ended, "{} begins while {} has its port", pod.generation, other.generation);
        }
    }

    /// The Pod of that name that counts in a stop: what lives, or else what is wanted.
    fn pod_of(&self, key: &PodKey) -> Option<Rc<Pod>> {
        let slot = self.world.slot(key)?;
        slot.life.as_ref().map(|l| l.pod.clone()).or_else(|| slot.want.clone())
    }

    fn depends(from: &PodKey, to: &PodKey, pod_of: &dyn Fn(&PodKey) -> Option<Rc<Pod>>) -> bool {
        let (mut open, mut seen) = (vec![from.clone()], BTreeSet::new());
        while let Some(key) = open.pop() {
            for next in pod_of(&key).iter().flat_map(|p| &p.depends_on) {
                if seen.insert(next.key().clone()) {
                    open.push(next.key().clone());
                }
            }
        }
        seen.contains(to)
    }

    /// It depends on the other one, which does not depend on it.
    fn hangs_on(from: &PodKey, to: &PodKey, pod_of: &dyn Fn(&PodKey) -> Option<Rc<Pod>>) -> bool {
        Self::depends(from, to, pod_of) && !Self::depends(to, from, pod_of)
    }

    /// It has been stopped for so long that it holds up nobody any more.
    fn is_stuck(&self, life: &Life) -> bool {
        let longest = u64::from(life.pod.grace_seconds) * 1000 + 30_000;
        life.leaving().is_some_and(|s| Time(self.now).since(s.since.boot) >= longest)
    }

    /// `podstrap down POD…`: nothing of those runs any more that depends on this one.
    pub(super) fn may_be_held(&self, pod: &Pod) -> bool {
        self.held.keys().filter(|key| **key != pod.key).all(|key| {
            let life = self.world.slot(key).and_then(|s| s.life.as_ref());
            life.is_none_or(|life| {
                !Self::hangs_on(key, &pod.key, &|k| self.pod_of(k))
                    || self.is_stuck(life)
                    || !self.host.lives(&life.pod.generation, |_| true)
            })
        })
    }

    /// Its own priority, or that of the most important Pod that depends on it.
    fn priority(&self, key: &PodKey) -> i32 {
        let pod_of = |k: &PodKey| self.at_stop.get(k).cloned();
        let all = self.at_stop.iter().filter(|(k, _)| *k == key || Self::hangs_on(k, key, &pod_of));
        all.map(|(_, pod)| pod.priority()).max().unwrap()
    }

    /// In a full stop: nothing runs any more that is to end before this Pod.
    pub(super) fn has_its_turn(&self, pod: &Pod) {
        let pod_of = |k: &PodKey| self.at_stop.get(k).cloned();
        let has_order = self.at_stop.values().any(|p| !p.depends_on.is_empty());
        for (_, slot) in self.world.slots() {
            let Some(life) = slot.life.as_ref().filter(|l| l.pod.key != pod.key) else { continue };
            let (other_key, origin) = (&life.pod.key, &life.pod.origin);
            let (other, own) = (self.priority(other_key), self.priority(&pod.key));
            let is_critical = other == own && own >= CRITICAL;
            let is_first = other < own
                || Self::hangs_on(other_key, &pod.key, &pod_of)
                // One after the other, but not always from the last.
                || (is_critical && has_order && life.leaving().is_some_and(|s| s.why == StopReason::Drain))
                || (is_critical && !has_order && *origin > pod.origin);
            let lives = self.host.lives(&life.pod.generation, |_| true);
            let generation = &life.pod.generation;
            assert!(!is_first || self.is_stuck(life) || !lives, "{} before {generation}", pod.key);
        }
    }

    pub(super) fn drain(&mut self) {
        let keys: Vec<PodKey> = self.world.slots().map(|(key, _)| key.clone()).collect();
        self.at_stop = keys.into_iter().filter_map(|key| Some((key.clone(), self.pod_of(&key)?))).collect();
        self.turn(vec![Event::Drain]);
    }
}
