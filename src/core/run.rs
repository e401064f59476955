//! One run of a container: what is known of it while its program runs, and what is left to tell when it is over.

use serde::{Deserialize, Serialize};

use super::probes::Probes;
use super::{Ending, Stamp, Time};

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
