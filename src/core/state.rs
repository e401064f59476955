//! The state itself.
//!
//! | want | life | what follows |
//! |---|---|---|
//! | some | none | a life is opened |
//! | none | some, not stopping | it is stopped |
//! | other generation | some, not stopping | once the new images are at hand, it is stopped |
//! | any | some, stopping | every container ends, then what is left is removed, then the life is over |
//!
//! A container's [`Phase`] carries only what makes sense in it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::images::{Images, Missing, Ticket};
use super::probes::Probes;
use super::{Ending, Refusal, RunKey, Settings, Stamp, Time};
use crate::pod::{Container, ContainerName, Generation, Pod, PodKey};

/// Everything the core knows.
#[derive(Debug)]
pub struct World {
    pub(super) settings: Settings,
    pub(super) slots: BTreeMap<PodKey, Slot>,
    pub(super) images: Images,
    pub(super) complete: bool,
    pub(super) refused: Vec<Refusal>,
    pub(super) draining: bool,
    pub(super) dirty: BTreeSet<PodKey>,
}

impl World {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            slots: BTreeMap::new(),
            images: Images::default(),
            complete: false,
            refused: Vec::new(),
            draining: false,
            dirty: BTreeSet::new(),
        }
    }

    /// All Pods, by name.
    pub fn slots(&self) -> impl Iterator<Item = (&PodKey, &Slot)> {
        self.slots.iter()
    }

    /// One Pod.
    pub fn slot(&self, key: &PodKey) -> Option<&Slot> {
        self.slots.get(key)
    }

    /// The Pods whose state has changed since this was asked last; those that are gone are named too.
    pub fn take_dirty(&mut self) -> BTreeSet<PodKey> {
        std::mem::take(&mut self.dirty)
    }

    /// Whether nothing lives any more.
    pub fn is_empty(&self) -> bool {
        self.slots.values().all(|slot| slot.life.is_none())
    }

    /// Whether every Pod is being stopped and none is started any more.
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
    /// A source has asked for it since this daemon began.
    pub(super) seen: bool,
    /// For the wanted generation's containers, in order: which pull each must have seen.
    pub(super) tickets: Vec<Ticket>,
}

/// One life of one generation.
#[derive(Debug)]
pub struct Life {
    /// The Pod.
    pub pod: Rc<Pod>,
    /// When it was begun.
    pub since: Stamp,
    /// Whether its directories are there.
    pub opened: Opened,
    /// It is being stopped.
    pub stop: Option<PodStop>,
    /// How far its removal is.
    pub removal: Removal,
    /// Whether all containers are ready, and since when that is so: `lastTransitionTime` of the condition `Ready`.
    pub ready: (bool, Stamp),
    /// In the order of the Pod's containers.
    pub containers: Vec<ContainerState>,
}

/// Whether a life's directories are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not asked for yet.
    No,
    /// Asked for.
    Asked,
    /// There.
    Yes,
}

/// How far a life's removal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Not asked for, or to be asked for again at this time.
    Due(Time),
    /// Under way.
    Running,
}

/// Why and since when a life is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStop {
    /// Why.
    pub why: StopReason,
    /// Since when.
    pub since: Stamp,
}

/// Why a life is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// Its manifest is gone.
    Removed,
    /// Its manifest has changed.
    Replaced,
    /// `podstrap down POD`.
    Held,
    /// Everything is being stopped.
    Drain,
}

impl StopReason {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "its manifest is gone",
            Self::Replaced => "its manifest has changed",
            Self::Held => "stopped by `podstrap down`",
            Self::Drain => "everything is being stopped",
        }
    }
}

/// One container of one life.
#[derive(Debug)]
pub struct ContainerState {
    /// The attempt that the next start gets.
    pub next_attempt: u32,
    /// Its back-off.
    pub backoff: Backoff,
    /// What it is doing.
    pub phase: Phase,
    /// Its last run that ended.
    pub last: Option<Past>,
    /// Runs that have not been cleared away yet, the living one included.
    pub uncleared: BTreeMap<u32, Uncleared>,
    pub(super) ticket: Ticket,
}

/// Who will clear a run away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncleared {
    /// Its monitor, which lives.
    Monitor,
    /// A sweeper, to be started at this time.
    SweepDue(Time),
    /// A sweeper, which is at work.
    Sweeping,
}

/// What a container is doing.
#[derive(Debug)]
pub enum Phase {
    /// Its turn has not come, or its image is missing.
    Waiting {
        /// What is missing.
        missing: Option<Missing>,
    },
    /// It ended and will be started again.
    Backoff {
        /// When.
        until: Time,
    },
    /// Its monitor was asked for.
    Starting {
        /// Which run.
        attempt: u32,
        /// Since when.
        since: Time,
    },
    /// Its program runs.
    Running(Box<Run>),
    /// It ended and stays so.
    Done,
}

/// A run that runs.
#[derive(Debug)]
pub struct Run {
    /// Which run.
    pub attempt: u32,
    /// Since when.
    pub at: Stamp,
    /// The image's id.
    pub image_id: Option<String>,
    /// Its probes.
    pub probes: Probes,
    /// It is being stopped.
    pub stop: Option<Stopping>,
}

/// How far the stop of a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Since when.
    pub since: Stamp,
    /// When KILL follows (and follows again, should it not help).
    pub kill_at: Time,
    /// KILL has been sent.
    pub killed: bool,
    /// Why, for people: the probe that failed, or the Pod's own reason.
    pub why: String,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Which run.
    pub attempt: u32,
    /// How it ended.
    pub ending: Ending,
    /// When it was started, if it was.
    pub started: Option<Stamp>,
    /// When it ended.
    pub finished: Stamp,
    /// The image's id.
    pub image_id: Option<String>,
    /// Why we stopped it, if we did.
    pub stopped: Option<String>,
}

impl ContainerState {
    pub(super) fn new() -> Self {
        Self {
            next_attempt: 0,
            backoff: Backoff::default(),
            phase: Phase::Waiting { missing: None },
            last: None,
            uncleared: BTreeMap::new(),
            ticket: Ticket::default(),
        }
    }

    /// `restartCount`: the attempt of the run there is, or else of the last one.
    pub fn restart_count(&self) -> u32 {
        match &self.phase {
            Phase::Starting { attempt, .. } => *attempt,
            Phase::Running(run) => run.attempt,
            Phase::Waiting { .. } | Phase::Backoff { .. } | Phase::Done => {
                self.last.as_ref().map_or(self.next_attempt, |p| p.attempt)
            }
        }
    }

    /// Whether its first turn has come and gone, so that the next container may begin.
    pub(super) fn has_begun(&self) -> bool {
        match &self.phase {
            Phase::Waiting { missing } => missing.is_some(),
            Phase::Starting { .. } => self.last.is_some(),
            Phase::Backoff { .. } | Phase::Running(_) | Phase::Done => true,
        }
    }

    /// Running, started, and its readiness probe (if any) stands at success.
    pub fn is_ready(&self) -> bool {
        matches!(&self.phase, Phase::Running(run) if run.probes.ready())
    }

    /// Running, and its startup probe (if any) has succeeded.
    pub fn is_started(&self) -> bool {
        matches!(&self.phase, Phase::Running(run) if run.probes.started())
    }
}

impl Life {
    pub(super) fn new(pod: Rc<Pod>, since: Stamp) -> Self {
        let containers = pod.containers.iter().map(|_| ContainerState::new()).collect();
        Self {
            pod,
            since,
            opened: Opened::No,
            stop: None,
            removal: Removal::Due(Time(0)),
            ready: (false, since),
            containers,
        }
    }

    /// Notes whether all containers are ready now. Returns whether that is new.
    pub(super) fn note_ready(&mut self, now: Stamp) -> bool {
        let ready = self.containers.iter().all(ContainerState::is_ready);
        if self.ready.0 == ready {
            return false;
        }
        self.ready = (ready, now);
        true
    }

    /// The containers with their states.
    pub fn each(&self) -> impl Iterator<Item = (&Container, &ContainerState)> {
        self.pod.containers.iter().zip(&self.containers)
    }

    /// The container of that name with its state.
    pub fn get(&self, name: &ContainerName) -> Option<(&Container, &ContainerState)> {
        self.each().find(|(c, _)| c.name == *name)
    }

    pub(super) fn get_mut(&mut self, name: &ContainerName) -> Option<(&Container, &mut ContainerState)> {
        self.pod.containers.iter().zip(&mut self.containers).find(|(c, _)| c.name == *name)
    }

    /// The key of one run.
    pub fn run_key(&self, container: &ContainerName, attempt: u32) -> RunKey {
        RunKey { generation: self.pod.generation.clone(), container: container.clone(), attempt }
    }
}
