//! One container of a life, through all of its runs: what it is doing now, when it is started again, and which of its old runs
//! are not cleared away yet. Its [`Phase`] carries only what makes sense in it.

use std::collections::BTreeMap;

use super::Time;
use super::backoff::{Backoff, doubled};
use super::images::{Missing, Ticket};
use super::run::{HookState, Past, Run};
use crate::pod::Pod;

/// A sweep or removal that failed is tried again after this many milliseconds …
pub(super) const RETRY_MS: u64 = 2_000;
/// … so many times, and then after twice as many each time …
const QUICK_RETRIES: u32 = 4;
/// … up to this many.
const RETRY_MAX_MS: u64 = 10_000;

/// A container whose old runs cannot be cleared away is not started any more beyond this many of them.
pub(super) const MOST_UNCLEARED: usize = 3;

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
