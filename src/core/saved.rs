//! What a later daemon must know of a life: written to RUN/pods/GENERATION/state.json whenever it changes.
//!
//! Every time in it is on the boot clock, so it is worth something only in the boot that wrote it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::container::Phase;
use super::life::{Life, Opened, PodStop};
use super::probes::Failures;
use super::run::{HookState, Past, Stopping};
use super::{Stamp, Time};
use crate::pod::ContainerName;

/// One life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// When it was begun.
    pub since: Option<Stamp>,
    /// It is being stopped.
    pub stop: Option<PodStop>,
    /// Its directories and namespaces are there.
    pub opened: bool,
    /// Its init containers are done.
    pub initialized: bool,
    /// A restart rule wants every container started anew.
    pub restarting: bool,
    /// Whether all its containers were ready, and since when that was so.
    pub ready: Option<(bool, Stamp)>,
    /// Its containers.
    pub containers: BTreeMap<ContainerName, SavedContainer>,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedContainer {
    /// The attempt that the next start gets.
    pub next_attempt: u32,
    /// Its back-off.
    pub backoff: Backoff,
    /// When it is started again.
    pub backoff_until: Option<Time>,
    /// It ended and stays so.
    pub done: bool,
    /// Its last run that ended.
    pub last: Option<Past>,
    /// The one before that.
    pub previous: Option<Past>,
    /// How far its stop is.
    pub stop: Option<Stopping>,
    /// Its startup probe had succeeded.
    pub started: bool,
    /// Its readiness probe stood at success.
    pub ready: bool,
    /// How often its probes had failed in a row.
    pub failures: Failures,
    /// Its postStart hook has ended well.
    pub post_start_done: bool,
}

impl Life {
    /// What a later daemon must know.
    pub fn saved(&self) -> Saved {
        let containers = self
            .each()
            .map(|(container, state)| {
                let (backoff_until, stop, done) = match &state.phase {
                    Phase::Backoff { until } => (Some(*until), None, false),
                    Phase::Running(run) => (None, run.stop.clone(), false),
                    Phase::Done => (None, None, true),
                    Phase::Waiting { .. } | Phase::Starting { .. } => (None, None, false),
                };
                let saved = SavedContainer {
                    next_attempt: state.next_attempt,
                    backoff: state.backoff,
                    backoff_until,
                    done,
                    last: state.last.clone(),
                    previous: state.previous.clone(),
                    stop,
                    started: state.is_started(),
                    ready: state.is_ready(),
                    failures: match &state.phase {
                        Phase::Running(run) => run.probes.failures(),
                        Phase::Waiting { .. }
                        | Phase::Starting { .. }
                        | Phase::Backoff { .. }
                        | Phase::Done => Failures::default(),
                    },
                    post_start_done: matches!(&state.phase,
                        Phase::Running(run) if run.post_start == HookState::Done),
                };
                (container.name.clone(), saved)
            })
            .collect();
        Saved {
            since: Some(self.since),
            stop: self.stop,
            opened: self.opened == Opened::Yes,
            initialized: self.initialized,
            restarting: self.restarting,
            ready: Some(self.ready),
            containers,
        }
    }
}
