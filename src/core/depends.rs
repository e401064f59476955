//! Pods that wait for others: who may begin, and whose turn it is to end.
//!
//! A dependency counts at the beginning of a life and at its end, never between: what becomes unready or is replaced
//! later stops nobody. A Pod that waits has no life yet: no directory, no namespace, no back-off and no time that runs
//! against it. Nothing of this is saved; it follows from the manifests and from what is ready.

use std::collections::{BTreeMap, BTreeSet};

use super::container::Role;
use super::life::{Life, Opened, StopReason};
use super::plan::holds_up_until;
use super::ports::Claims;
use super::world::{Slot, World};
use super::{Stamp, Time};
use crate::pod::host_ports::HostPort;
use crate::pod::{Dependency, Pod, PodKey, depends, stop};

/// What a Pod waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// This Pod is not ready.
    On(PodKey),
    /// There is no Pod of this name; its manifest may come.
    Unknown {
        /// The name.
        key: PodKey,
        /// Its manifest is there, in this file, and is refused.
        refused: Option<String>,
    },
    /// It depends on itself by way of these, beginning with itself: it never begins.
    Cycle(Vec<PodKey>),
    /// Another Pod has a port of the host that it declares.
    HostPort {
        /// The port, as this Pod wants it.
        port: HostPort,
        /// Who has it.
        holder: PodKey,
    },
}

impl Wait {
    /// A manifest must change, or go, before this ends. A Pod that runs is not stopped for the sake of a version that may
    /// never begin.
    pub fn is_of_manifests(&self) -> bool {
        match self {
            Self::On(_) => false,
            Self::Unknown { .. } | Self::Cycle(_) | Self::HostPort { .. } => true,
        }
    }
}

/// What a Pod waits for, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Since when.
    pub since: Stamp,
    /// For what; never empty.
    pub on: Vec<Wait>,
}

/// One turn of a full stop.
#[derive(Clone, Debug)]
pub(super) struct StopTurn {
    pub key: PodKey,
    pub step: usize,
    /// Places in the list of turns.
    pub after: Vec<usize>,
}

impl Life {
    /// Whether Pods that depend on it may begin: it is ready, or has done its work.
    pub fn is_dependable(&self) -> bool {
        let is_well = |place: usize| match Role::of(&self.pod, place) {
            Role::Main => self.containers.get(place).is_some_and(|c| c.has_succeeded()),
            Role::Init | Role::Sidecar => true,
        };
        match self.stop {
            // What has lost its namespaces, or is to begin anew, only seems so still.
            None => self.opened == Opened::Yes && !self.restarting && self.is_ready(),
            Some(stop) => stop.why == StopReason::Finished && (0..self.containers.len()).all(is_well),
        }
    }
}

impl World {
    /// Which Pods wait for others, and for what: that these are ready, or give a port free. Only those that would begin a life now, or a new one.
    pub(super) fn waits(&self) -> BTreeMap<PodKey, Vec<Wait>> {
        let mut out = BTreeMap::new();
        // Those that live first: what they have is theirs.
        let (alive, others): (Vec<_>, Vec<_>) = self
            .slots
            .iter()
            .filter_map(|(key, slot)| Some((key, slot, self.begins(slot)?)))
            .partition(|(_, slot, _)| slot.life.is_some());
        if alive.is_empty() && others.is_empty() {
            return out;
        }
        let is_asked = alive.iter().chain(&others).any(|(_, _, want)| want.host_ports().next().is_some());
        let mut claims = if is_asked { self.claims() } else { Claims::default() };
        for (key, slot, want) in alive.into_iter().chain(others) {
            let lives = slot.life.is_some();
            let mut waits = self.waits_of(want);
            match claims.conflict(key, want, lives) {
                Some(wait) => waits.push(wait),
                None if waits.is_empty() => claims.take(key, want, lives),
                None => {}
            }
            if !waits.is_empty() {
                out.insert(key.clone(), waits);
            }
        }
        out
    }

    /// What would begin a life now, or a new one, if nothing were in its way.
    fn begins<'a>(&self, slot: &'a Slot) -> Option<&'a Pod> {
        let want = slot.want.as_deref()?;
        let is_new = slot.life.as_ref().is_none_or(|life| life.pod.generation != want.generation);
        let is_held = slot.held.as_ref() == Some(&want.generation);
        (is_new && !is_held && !self.draining).then_some(want)
    }

    fn waits_of(&self, pod: &Pod) -> Vec<Wait> {
        if let Some(way) = self.cycles.get(&pod.key) {
            return vec![Wait::Cycle(way.clone())];
        }
        let of = |dependency: &Dependency| {
            // What is gone for good is forgotten only when this is known.
            let get = |key: &PodKey| self.slots.get(key).filter(|s| s.want.is_some() || s.life.is_some());
            let Some((key, slot)) = dependency.find(get) else {
                let key = dependency.key().clone();
                let refused = self.refused.iter().find(|r| r.key.as_ref() == Some(&key));
                return Some(Wait::Unknown { refused: refused.map(|r| r.path.clone()), key });
            };
            let is_ready = slot.life.as_ref().is_some_and(Life::is_dependable);
            (!is_ready).then(|| Wait::On(key.clone()))
        };
        let mut waits = Vec::new();
        for wait in pod.depends_on.iter().filter_map(of) {
            // Two names may mean one Pod.
            if !waits.contains(&wait) {
                waits.push(wait);
            }
        }
        waits
    }

    /// Notes what each Pod waits for. Returns those of which something else is so now.
    pub(super) fn note_waits(&mut self, waits: &BTreeMap<PodKey, Vec<Wait>>, now: Stamp) -> Vec<PodKey> {
        let mut changed = Vec::new();
        for (key, slot) in &mut self.slots {
            let on = waits.get(key).filter(|_| slot.is_kept_waiting(waits.get(key)));
            if slot.waiting.as_ref().map(|w| &w.on) != on {
                let since = slot.waiting.as_ref().map_or(now, |w| w.since);
                slot.waiting = on.map(|on| Waiting { since, on: on.clone() });
                changed.push(key.clone());
            }
        }
        changed
    }

    /// Whenever the manifests or the lives are other ones.
    pub(super) fn find_cycles(&mut self) {
        let wanted = |(key, slot)| Some((key, wanted_of(slot)?.depends_on.as_slice()));
        let depends = |slot: &Slot| wanted_of(slot).is_some_and(|pod| !pod.depends_on.is_empty());
        self.cycles = if self.slots.values().any(depends) {
            depends::cycles(&self.slots.iter().filter_map(wanted).collect())
        } else {
            BTreeMap::new()
        };
    }

    /// The turns of a full stop. What has no life (any more) counts too: a Pod may depend on another by way of it.
    pub(super) fn stop_turns(&self) -> Vec<StopTurn> {
        let pods = self.slots.values().filter_map(|s| s.life.as_ref().map(|l| &l.pod).or(s.want.as_ref()));
        let members: Vec<stop::Member<'_>> = pods
            .map(|pod| stop::Member {
                key: &pod.key,
                priority: pod.priority(),
                origin: &pod.origin,
                depends_on: &pod.depends_on,
            })
            .collect();
        let turns = stop::order(&members).into_iter();
        turns
            .filter_map(|turn| {
                let key = members.get(turn.member)?.key.clone();
                Some(StopTurn { key, step: turn.step, after: turn.after })
            })
            .collect()
    }

    /// Of the Pods that `podstrap down POD…` stops, those that must wait until others of them have ended.
    pub(super) fn held_back(&self, now: Time) -> BTreeSet<PodKey> {
        let held = |slot: &Slot| slot.held.is_some() && slot.life.is_some();
        let depends = |slot: &Slot| slot.life.as_ref().is_some_and(|l| !l.pod.depends_on.is_empty());
        let mut out = BTreeSet::new();
        if self.slots.values().filter(|s| held(s)).count() < 2 || !self.slots.values().any(depends) {
            return out;
        }
        let turns = self.stop_turns();
        let goes_on: Vec<bool> = turns
            .iter()
            .map(|turn| {
                let slot = self.slots.get(&turn.key).filter(|s| held(s));
                slot.and_then(|s| s.life.as_ref()).is_some_and(|life| goes_on(life, now) && !is_at_rest(life))
            })
            .collect();
        for turn in &turns {
            if turn.after.iter().any(|place| goes_on.get(*place) == Some(&true)) {
                out.insert(turn.key.clone());
            }
        }
        out
    }
}

fn wanted_of(slot: &Slot) -> Option<&Pod> {
    slot.want.as_deref()
}

/// Whether others must wait for the end of a life that is to be stopped, or already is.
pub(super) fn goes_on(life: &Life, now: Time) -> bool {
    match life.leaving() {
        Some(_) => holds_up_until(life).is_some_and(|until| now < until),
        None => !super::plan::is_over(life),
    }
}

/// Nothing of it runs: when it is to be stopped, it ends at that moment.
fn is_at_rest(life: &Life) -> bool {
    life.containers.iter().all(|c| c.is_still() && c.uncleared.is_empty())
}

impl Slot {
    /// Whether this keeps it from going on: whatever it is, a new life; and the end of an old one only if it may last.
    pub(super) fn is_kept_waiting(&self, waits: Option<&Vec<Wait>>) -> bool {
        let Some(waits) = waits else { return false };
        match &self.life {
            None => !waits.is_empty(),
            Some(life) => life.leaving().is_none() && waits.iter().any(Wait::is_of_manifests),
        }
    }
}
