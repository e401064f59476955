//! One life of a Pod: from the moment at which its directories are asked for until what it leaves behind is removed.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::container::{ContainerState, Role, Stuck};
use super::images::Ticket;
use super::{RunKey, Stamp, Time};
use crate::pod::objects::References;
use crate::pod::{Container, ContainerName, Pod};

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
