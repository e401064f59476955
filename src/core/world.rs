//! The state itself: every Pod by name, what is wanted of it and which life it has.
//!
//! | want | life | what follows |
//! |---|---|---|
//! | some | none | a life is opened, once the Pods that it depends on are ready |
//! | none | some, not stopping | it is stopped |
//! | other generation | some, not stopping | once the new images are at hand, it is stopped |
//! | any | some, stopping | every container ends, then what is left is removed, then the life is over |

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::depends::{StopTurn, Wait, Waiting};
use super::images::{Images, Missing, Ticket};
use super::life::Life;
use super::{Refusal, RunKey, Settings};
use crate::pod::host_ports::HostPort;
use crate::pod::{Generation, Namespace, ObjectRef, Pod, PodKey};

/// Everything the core knows.
#[derive(Debug)]
pub struct World {
    pub(super) settings: Settings,
    pub(super) slots: BTreeMap<PodKey, Slot>,
    pub(super) images: Images,
    pub(super) objects: BTreeSet<(Namespace, ObjectRef)>,
    pub(super) complete: bool,
    pub(super) refused: Vec<Refusal>,
    pub(super) draining: bool,
    /// The order of the full stop, from its beginning on.
    pub(super) stop_order: Vec<StopTurn>,
    /// Of Pods that depend on themselves, by way of which others.
    pub(super) cycles: BTreeMap<PodKey, Vec<PodKey>>,
    /// Why the runtime cannot be asked for anything just now.
    pub(super) trouble: Option<String>,
    pub(super) dirty: BTreeSet<PodKey>,
}

impl World {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            slots: BTreeMap::new(),
            images: Images::default(),
            objects: BTreeSet::new(),
            complete: false,
            refused: Vec::new(),
            draining: false,
            stop_order: Vec::new(),
            cycles: BTreeMap::new(),
            trouble: None,
            dirty: BTreeSet::new(),
        }
    }

    /// All Pods, by name.
    pub fn slots(&self) -> impl Iterator<Item = (&PodKey, &Slot)> {
        self.slots.iter()
    }

    /// The generations that were stopped by hand and are not to be started.
    pub fn held(&self) -> BTreeMap<PodKey, Generation> {
        let held = |(key, slot): (&PodKey, &Slot)| Some((key.clone(), slot.held.clone()?));
        self.slots.iter().filter_map(held).collect()
    }

    /// One Pod.
    pub fn slot(&self, key: &PodKey) -> Option<&Slot> {
        self.slots.get(key)
    }

    /// The Pods of which something has changed since [`World::take_dirty`].
    pub fn dirty(&self) -> impl Iterator<Item = &PodKey> {
        self.dirty.iter()
    }

    /// The Pods whose state has changed since this was asked last; those that are gone are named too, and those that wait for
    /// one that has changed.
    pub fn take_dirty(&mut self) -> BTreeSet<PodKey> {
        let mut dirty = std::mem::take(&mut self.dirty);
        let waits_for = |wait: &Wait| matches!(wait, Wait::On(key) | Wait::HostPort { holder: key, .. } if dirty.contains(key));
        let is_meant = |slot: &Slot| slot.waiting.iter().flat_map(|w| &w.on).any(waits_for);
        let more: Vec<PodKey> =
            self.slots.iter().filter(|(_, slot)| is_meant(slot)).map(|(key, _)| key.clone()).collect();
        dirty.extend(more);
        dirty
    }

    /// Whether every source has been read once: what no manifest names now is not merely unread.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether nothing lives any more.
    pub fn is_empty(&self) -> bool {
        self.slots.values().all(|slot| slot.life.is_none())
    }

    /// How often it was tried in vain to clear this run away.
    pub fn failed_sweeps(&self, run: &RunKey) -> u32 {
        let of = |life: &Life| Some(life.get(&run.container)?.1.stuck.get(&run.attempt)?.times);
        self.life_of(&run.generation).and_then(of).unwrap_or(0)
    }

    /// How often it was tried in vain to remove what this generation has left.
    pub fn failed_removals(&self, generation: &Generation) -> u32 {
        let stuck = self.life_of(generation).and_then(|life| life.unremoved.as_ref());
        stuck.map_or(0, |stuck| stuck.times)
    }

    fn life_of(&self, generation: &Generation) -> Option<&Life> {
        let mut lives = self.slots.values().filter_map(|slot| slot.life.as_ref());
        lives.find(|life| life.pod.generation == *generation)
    }

    /// Why the runtime cannot be asked for anything just now.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Whether every Pod is being stopped, each in its turn, and no life is begun any more.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// The life that a generation has now.
    pub(super) fn find(&mut self, generation: &Generation) -> Option<(PodKey, &mut Life)> {
        self.slots.iter_mut().find_map(|(key, slot)| {
            slot.life.as_mut().filter(|l| l.pod.generation == *generation).map(|l| (key.clone(), l))
        })
    }
}

/// One Pod by name: what is wanted, and what lives.
#[derive(Debug, Default)]
pub struct Slot {
    /// What the manifest says, if there is one.
    pub want: Option<Rc<Pod>>,
    /// The one generation that lives.
    pub life: Option<Life>,
    /// Stopped by hand; until the wanted generation differs from this one.
    pub held: Option<Generation>,
    /// What a replacement waits for.
    pub replacement_waits: Option<Missing>,
    /// What keeps its next life from beginning: other Pods.
    pub waiting: Option<Waiting>,
    /// The ports of the host that its last life had, until the next begins.
    pub(super) kept_ports: Vec<HostPort>,
    /// A source has asked for it since this daemon began.
    pub(super) seen: bool,
    /// For the wanted generation's containers, in the order of [`Pod::all_containers`]: which pull each must have seen.
    pub(super) tickets: Vec<Ticket>,
    /// The same for its volumes, in theirs.
    pub(super) volume_tickets: Vec<Ticket>,
}
