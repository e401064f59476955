//! The state itself.
//!
//! | want | life | what follows |
//! |---|---|---|
//! | some | none | a life is opened, once the Pods that it depends on are ready |
//! | none | some, not stopping | it is stopped |
//! | other generation | some, not stopping | once the new images are at hand, it is stopped |
//! | any | some, stopping | every container ends, then what is left is removed, then the life is over |
//!
//! A container's [`Phase`] carries only what makes sense in it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::backoff::{Backoff, doubled};
use super::depends::{StopTurn, Wait, Waiting};
use super::images::{Images, Missing, Ticket};
use super::probes::Probes;
use super::{Ending, Refusal, RunKey, Settings, Stamp, Time};
use crate::pod::host_ports::HostPort;
use crate::pod::objects::References;
use crate::pod::{Container, ContainerName, Generation, Namespace, ObjectRef, Pod, PodKey};

/// A sweep or removal that failed is tried again after this many milliseconds …
pub(super) const RETRY_MS: u64 = 2_000;
/// … so many times, and then after twice as many each time …
const QUICK_RETRIES: u32 = 4;
/// … up to this many.
const RETRY_MAX_MS: u64 = 10_000;

/// A container whose old runs cannot be cleared away is not started any more beyond this many of them.
pub(super) const MOST_UNCLEARED: usize = 3;

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

/// One life of one generation.
#[derive(Debug)]
pub struct Life {
    /// The Pod.
    pub pod: Rc<Pod>,
    /// When it was begun.
    pub since: Stamp,
    /// Whether its directories are there.
    pub opened: Opened,
    /// The Pod's own addresses.
    pub addresses: Vec<String>,
    pub(super) open_failures: u32,
    /// How often its namespaces did not last, in a row, and when the present ones were made.
    pub(super) losses: u32,
    pub(super) opened_at: Time,
    /// Its init containers are done and its sidecars were started: the others have their turn.
    pub initialized: bool,
    /// A restart rule wants every container started anew; nothing is started until all have ended.
    pub restarting: bool,
    /// It is being stopped, or has come to its own end.
    pub stop: Option<PodStop>,
    /// How far its removal is.
    pub removal: Removal,
    /// What its removal failed for.
    pub unremoved: Option<Stuck>,
    /// Whether all containers are ready, and since when that is so: `lastTransitionTime` of the condition `Ready`.
    pub ready: (bool, Stamp),
    /// In the order of [`Pod::all_containers`].
    pub containers: Vec<ContainerState>,
    pub(super) references: References,
    pub(super) volume_tickets: Vec<Ticket>,
}

/// Whether a life's directories are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not asked for yet.
    No,
    /// Asked for.
    Asked,
    /// There.
    Yes,
    /// It failed, and is tried again.
    Failed {
        /// When.
        retry_at: Time,
        /// What failed, and what can be done.
        message: String,
    },
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
    /// `podstrap restart POD`.
    Restarted,
    /// Everything is being stopped.
    Drain,
    /// Its containers have ended and none will be started again.
    Finished,
    /// An init container failed that will not be started again.
    InitFailed,
    /// `activeDeadlineSeconds` are over.
    DeadlineExceeded,
}

impl StopReason {
    /// Whether the life is removed in the end. Otherwise it stays, to be looked at, as Succeeded or Failed.
    pub fn removes(self) -> bool {
        match self {
            Self::Removed | Self::Replaced | Self::Held | Self::Restarted | Self::Drain => true,
            Self::Finished | Self::InitFailed | Self::DeadlineExceeded => false,
        }
    }

    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "its manifest is gone",
            Self::Replaced => "its manifest has changed",
            Self::Held => "stopped by `podstrap down`",
            Self::Restarted => "started anew by `podstrap restart`",
            Self::Drain => "everything is being stopped",
            Self::Finished => "its containers have come to their end",
            Self::InitFailed => "an init container has failed",
            Self::DeadlineExceeded => "it was active longer than its activeDeadlineSeconds",
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
    /// The one before that.
    pub previous: Option<Past>,
    /// Runs that have not been cleared away yet, the living one included.
    pub uncleared: BTreeMap<u32, Uncleared>,
    /// Of those, the ones that could not be cleared away when that was tried.
    pub stuck: BTreeMap<u32, Stuck>,
    pub(super) ticket: Ticket,
    /// A run of it has ended since the Pod began (anew).
    pub(super) had_turn: bool,
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

/// What cannot be got rid of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stuck {
    /// How often that was tried.
    pub times: u32,
    /// What was in the way the last time, for people.
    pub error: String,
}

impl Stuck {
    /// One more try has failed. Returns how long to wait before the next, in milliseconds: at first a trifle, then more.
    pub(super) fn again(&mut self, error: String) -> u64 {
        self.error = error;
        self.times = self.times.saturating_add(1);
        doubled(RETRY_MS, self.times.saturating_sub(QUICK_RETRIES)).min(RETRY_MAX_MS)
    }
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
        /// It took too long: its monitor was ended, and is waited for.
        overdue: bool,
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
    /// The runtime's own id of the container, where that is not ours.
    pub container: Option<String>,
    /// Its probes.
    pub probes: Probes,
    /// How far its postStart hook is.
    pub post_start: HookState,
    /// It is being stopped.
    pub stop: Option<Stopping>,
}

impl Run {
    /// Its postStart hook (if any) has ended well: until then Kubernetes does not call it running.
    pub fn is_up(&self) -> bool {
        self.post_start == HookState::Done
    }
}

/// How far a hook is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookState {
    /// There is none, or it has not begun.
    #[default]
    Pending,
    /// It was asked for.
    Running,
    /// It waits.
    Sleeping(Time),
    /// It has ended well.
    Done,
    /// It has failed.
    Failed(String),
}

/// How far the stop of a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Since when.
    pub since: Stamp,
    /// How far its preStop hook is.
    #[serde(default)]
    pub pre_stop: HookState,
    /// The stop signal has been sent.
    #[serde(default)]
    pub termed: bool,
    /// When the grace period is over: KILL follows (and follows again, should it not help).
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
    /// The runtime's own id of the container, where that is not ours.
    #[serde(default)]
    pub container: Option<String>,
    /// Why we stopped it, if we did.
    pub stopped: Option<String>,
    /// What it left as its last word.
    #[serde(default)]
    pub message: Option<String>,
}

/// Which part a container has in its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An init container: it runs to its end before the next begins.
    Init,
    /// An init container with `restartPolicy: Always`: it runs beside the others.
    Sidecar,
    /// One of `spec.containers`.
    Main,
}

impl Role {
    /// The role of the container at this place of [`Pod::all_containers`].
    pub fn of(pod: &Pod, place: usize) -> Self {
        match pod.init_containers.get(place) {
            None => Self::Main,
            Some(container) if container.sidecar => Self::Sidecar,
            Some(_) => Self::Init,
        }
    }
}

impl ContainerState {
    pub(super) fn new() -> Self {
        Self {
            next_attempt: 0,
            backoff: Backoff::default(),
            phase: Phase::Waiting { missing: None },
            last: None,
            previous: None,
            uncleared: BTreeMap::new(),
            stuck: BTreeMap::new(),
            ticket: Ticket::default(),
            had_turn: false,
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

    /// Whether its first turn has come and gone, so that the next container may begin: a postStart hook belongs to it.
    pub(super) fn has_begun(&self) -> bool {
        match &self.phase {
            Phase::Waiting { missing } => missing.is_some(),
            Phase::Starting { .. } | Phase::Backoff { .. } => self.had_turn,
            Phase::Running(run) => self.had_turn || run.post_start == HookState::Done,
            Phase::Done => true,
        }
    }

    /// Whether old runs are in the way of the next: it has the number of one of them, or there are too many.
    pub(super) fn is_kept_by_old_runs(&self) -> bool {
        self.uncleared.contains_key(&self.next_attempt) || self.uncleared.len() >= MOST_UNCLEARED
    }

    /// What keeps it from being started (again): a run that cannot be cleared away.
    pub fn kept_by(&self) -> Option<&Stuck> {
        let waits = matches!(self.phase, Phase::Waiting { .. } | Phase::Backoff { .. });
        self.stuck.values().next_back().filter(|_| waits && self.is_kept_by_old_runs())
    }

    /// It has ended well and stays so.
    pub fn has_succeeded(&self) -> bool {
        matches!(self.phase, Phase::Done) && self.last.as_ref().is_some_and(|p| p.ending.success())
    }

    /// Nothing of it runs or is about to.
    pub(super) fn is_still(&self) -> bool {
        !matches!(self.phase, Phase::Starting { .. } | Phase::Running(_))
    }

    /// Running, started, and its readiness probe (if any) stands at success.
    pub fn is_ready(&self) -> bool {
        matches!(&self.phase, Phase::Running(run) if run.is_up() && run.probes.ready())
    }

    /// Running, and its startup probe (if any) has succeeded.
    pub fn is_started(&self) -> bool {
        matches!(&self.phase, Phase::Running(run) if run.is_up() && run.probes.started())
    }
}

impl Life {
    pub(super) fn new(pod: Rc<Pod>, since: Stamp) -> Self {
        let containers = pod.all_containers().map(|_| ContainerState::new()).collect();
        Self {
            since,
            opened: Opened::No,
            addresses: Vec::new(),
            open_failures: 0,
            losses: 0,
            opened_at: since.boot,
            initialized: false,
            restarting: false,
            stop: None,
            removal: Removal::Due(Time(0)),
            unremoved: None,
            ready: (false, since),
            containers,
            references: References::of(&pod),
            volume_tickets: vec![Ticket::default(); pod.volumes.len()],
            pod,
        }
    }

    /// The stop that ends in the life's removal, if there is one.
    pub fn leaving(&self) -> Option<PodStop> {
        self.stop.filter(|s| s.why.removes())
    }

    /// Whether all containers are ready now.
    pub fn is_ready(&self) -> bool {
        let counts = |place: usize| Role::of(&self.pod, place) != Role::Init;
        self.containers.iter().enumerate().filter(|(n, _)| counts(*n)).all(|(_, c)| c.is_ready())
    }

    /// Notes whether all containers are ready now. Returns whether that is new.
    pub(super) fn note_ready(&mut self, now: Stamp) -> bool {
        let ready = self.is_ready();
        if self.ready.0 == ready {
            return false;
        }
        self.ready = (ready, now);
        true
    }

    /// The containers with their states.
    pub fn each(&self) -> impl Iterator<Item = (&Container, &ContainerState)> {
        self.pod.all_containers().zip(&self.containers)
    }

    /// The container of that name with its state.
    pub fn get(&self, name: &ContainerName) -> Option<(&Container, &ContainerState)> {
        self.each().find(|(c, _)| c.name == *name)
    }

    pub(super) fn get_mut(&mut self, name: &ContainerName) -> Option<(&Container, &mut ContainerState)> {
        self.pod.all_containers().zip(&mut self.containers).find(|(c, _)| c.name == *name)
    }

    /// The key of one run.
    pub fn run_key(&self, container: &ContainerName, attempt: u32) -> RunKey {
        RunKey { generation: self.pod.generation.clone(), container: container.clone(), attempt }
    }
}
