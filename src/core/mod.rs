//! Decides. Cannot act: no clock, no process, no file.
//!
//! One turn of the daemon is: fold every [`Event`] into the [`World`] by [`World::step`], then ask [`World::plan`] what is
//! to be done. Time and exits are arguments, so the whole state machine runs in tests with neither a process nor a clock.
//! `plan` marks what it asks for; asking twice gives nothing the second time.
//!
//! A Pod is two things that are kept apart: what its manifest *wants* ([`Slot::want`]) and the one generation of it that
//! *lives* ([`Slot::life`]). A life ends before the next begins, so two generations of a Pod never overlap. While a Pod waits
//! for others ([`Slot::waiting`]) it has no life.

mod adopt;
pub mod backoff;
pub mod container;
pub mod depends;
pub mod images;
pub mod life;
mod plan;
mod ports;
pub mod probes;
pub mod run;
pub mod saved;
pub mod sets;
mod step;
mod turns;
mod world;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::pod::reference::Reference;
use crate::pod::{ContainerName, Generation, Namespace, ObjectRef, Origin, Pod, PodKey};

pub use self::backoff::BackoffRule;
pub use self::life::Life;
pub use self::saved::Saved;
pub use self::world::{Slot, World};

/// A moment on the boot clock, in milliseconds. Only ever goes forward; every deadline is one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// So many milliseconds later.
    pub fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` until this; 0 when it is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The same moment on both clocks: one to reckon with, one to show to people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The boot clock.
    pub boot: Time,
    /// Unix time in milliseconds; may jump.
    pub unix_ms: i64,
}

/// One run of one container of one generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    /// Whose.
    pub generation: Generation,
    /// Which container.
    pub container: ContainerName,
    /// Which run: the restart count that it has.
    pub attempt: u32,
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.generation, self.container, self.attempt)
    }
}

/// Why and how a run is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Its init exited.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// Its init was killed by a signal.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// By the kernel, for want of memory.
        oom: bool,
    },
    /// It could not even be made: the host's or the manifest's fault. Not counted as a restart.
    NotCreated {
        /// `CreateContainerConfigError`, `CreateContainerError` …
        reason: String,
        /// What failed, and what can be done.
        message: String,
    },
    /// It was made, but its program could not be started. Counted as a restart.
    NotStarted {
        /// `StartError` …
        reason: String,
        /// What failed, and what can be done.
        message: String,
    },
    /// It is gone and nobody saw how. Treated as a failure.
    Lost,
}

impl Ending {
    /// Exit code 0.
    pub fn success(&self) -> bool {
        matches!(self, Self::Exited { code: 0 })
    }

    /// The code that Kubernetes shows: 128 + signal, 128 for what could not be started, 137 for what was lost.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exited { code } => *code,
            Self::Signaled { signal, .. } => 128_i32.saturating_add(*signal),
            Self::NotCreated { .. } | Self::NotStarted { .. } => 128,
            Self::Lost => 137,
        }
    }

    /// The reason as Kubernetes names it.
    pub fn reason(&self) -> &str {
        match self {
            Self::Exited { code: 0 } => "Completed",
            Self::Exited { .. } | Self::Signaled { oom: false, .. } => "Error",
            Self::Signaled { oom: true, .. } => "OOMKilled",
            Self::NotCreated { reason, .. } | Self::NotStarted { reason, .. } => reason,
            Self::Lost => "ContainerStatusUnknown",
        }
    }

    /// What an operator should read beside the reason.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Exited { .. } | Self::Signaled { .. } => None,
            Self::NotCreated { message, .. } | Self::NotStarted { message, .. } => Some(message),
            Self::Lost => Some("its monitor was killed, so its exit code is not known"),
        }
    }
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProbeKind {
    /// `startupProbe`
    Startup,
    /// `livenessProbe`
    Liveness,
    /// `readinessProbe`
    Readiness,
}

impl ProbeKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// Its field's name without `Probe`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
        }
    }
}

/// How the reason of a stop begins that a postStart hook has caused.
pub const HOOK_FAILED: &str = "its postStart hook failed";

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookKind {
    /// `lifecycle.postStart`
    PostStart,
    /// `lifecycle.preStop`
    PreStop,
}

impl HookKind {
    /// Its field's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PostStart => "postStart",
            Self::PreStop => "preStop",
        }
    }
}

/// What one try of a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Success,
    /// Not as it should be, or too late.
    Failure,
    /// The prober itself failed: says nothing about the container.
    Unknown,
}

/// What has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The sources' whole desired set. While not every source has been read once, nothing is removed.
    Desired {
        /// Every Pod that should be.
        pods: BTreeMap<PodKey, Rc<Pod>>,
        /// Every source has been read at least once.
        complete: bool,
    },
    /// All documents that are refused now. Comes before the desired set to which it belongs.
    Refused(Vec<Refusal>),
    /// A generation that an earlier daemon left behind.
    Found(Box<Found>),
    /// Which references the image store knows now, and whether more is being loaded or could be pulled.
    Images {
        /// Full reference → image id.
        index: BTreeMap<String, String>,
        /// Archives are being loaded: what is missing may come.
        loading: bool,
        /// There is a program that can pull.
        can_pull: bool,
    },
    /// A pull has ended.
    Pulled {
        /// The full reference.
        reference: String,
        /// What went wrong, for people.
        error: Option<String>,
    },
    /// The ConfigMaps and Secrets that there are.
    Objects {
        /// All of them.
        present: BTreeSet<(Namespace, ObjectRef)>,
    },
    /// [`Action::Open`] is done.
    Opened {
        /// Which.
        generation: Generation,
        /// The first attempt of each container: above any log file that an earlier life of this generation left.
        first_attempts: BTreeMap<ContainerName, u32>,
        /// The Pod's own addresses; empty under hostNetwork.
        addresses: Vec<String>,
    },
    /// [`Action::Open`] has failed; it is tried again.
    OpenFailed {
        /// Which.
        generation: Generation,
        /// What failed, and what can be done.
        message: String,
    },
    /// A container's program runs.
    Started {
        /// Which run.
        run: RunKey,
        /// Since when.
        at: Stamp,
        /// The image's id.
        image_id: Option<String>,
        /// The runtime's own id of the container, where that is not ours.
        container: Option<String>,
    },
    /// A run is over.
    Ended {
        /// Which run.
        run: RunKey,
        /// How.
        ending: Ending,
        /// When; its back-off counts from here.
        at: Stamp,
        /// What the container itself left as its last word.
        message: Option<String>,
    },
    /// A run's monitor (or sweeper) has ended and nothing of the run is left.
    Cleared {
        /// Which run.
        run: RunKey,
    },
    /// A run's monitor ended before its work was done.
    MonitorLost {
        /// Which run.
        run: RunKey,
    },
    /// A sweep found that the run's monitor lives: it had been slow to begin.
    Monitored {
        /// Which run.
        run: RunKey,
    },
    /// A sweep could not clear everything away; it is tried again.
    SweepFailed {
        /// Which run.
        run: RunKey,
        /// What is left, for people; `None` where that is nobody's fault but the runtime's, which does not answer.
        error: Option<String>,
    },
    /// A probe's try has ended.
    Probed {
        /// Which run.
        run: RunKey,
        /// Which probe.
        kind: ProbeKind,
        /// What it found.
        verdict: Verdict,
        /// The reply's first line, or the error.
        message: String,
    },
    /// A hook has ended.
    Hooked {
        /// Which run.
        run: RunKey,
        /// Which hook.
        kind: HookKind,
        /// What went wrong, if something did.
        error: Option<String>,
    },
    /// [`Action::Remove`] has ended.
    Removed {
        /// Which generation.
        generation: Generation,
        /// What could not be removed, for people: it is tried again. `None`: everything is gone.
        left: Option<String>,
    },
    /// A generation's own namespaces are gone, with whoever held them: everything in them must be started anew.
    SandboxLost {
        /// Which.
        generation: Generation,
    },
    /// Whether the runtime answers. While it does not, nothing is begun, and no back-off burnt.
    Runtime {
        /// What is wrong with it, for people; `None`: nothing.
        trouble: Option<String>,
    },
    /// `podstrap down POD…`: stop these and leave them stopped until their manifest changes.
    Hold {
        /// Which Pods.
        pods: BTreeSet<PodKey>,
    },
    /// `podstrap restart POD…`: stop these in good order, and let them begin anew.
    Restart {
        /// Which Pods.
        pods: BTreeSet<PodKey>,
    },
    /// Which Pods an earlier daemon was asked to keep stopped, of generations that are wanted still. Comes before the desired set.
    Held {
        /// By Pod: the generation that is not to be started.
        pods: BTreeMap<PodKey, Generation>,
    },
    /// Stop every Pod, in the steps of [`crate::pod::stop`]. No life is begun any more; what waits for its turn goes on as before.
    Drain,
}

/// A document that is refused and has no earlier version that its file remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which Pod it would be, if that can be told.
    pub key: Option<PodKey>,
    /// Its file, as [`Origin`] has it.
    pub path: String,
}

impl Refusal {
    /// Whether it may be what has become of the document of that Pod: it says so, or it comes from the same file and does
    /// not say which Pod it is.
    pub fn may_be(&self, key: &PodKey, origin: &Origin) -> bool {
        match &self.key {
            Some(named) => named == key,
            None => self.path == origin.path,
        }
    }
}

/// What an earlier daemon left of one generation.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its directories and namespaces are there.
    pub opened: bool,
    /// The Pod's own addresses.
    pub addresses: Vec<String>,
    /// The Pod, from its stored document.
    pub pod: Rc<Pod>,
    /// What that daemon had saved.
    pub saved: Saved,
    /// The runs that have a directory.
    pub runs: Vec<FoundRun>,
}

/// One run that was found.
#[derive(Clone, Debug)]
pub struct FoundRun {
    /// Which run.
    pub run: RunKey,
    /// Its monitor lives.
    pub monitored: bool,
    /// Since when it runs, if it got that far.
    pub started: Option<Stamp>,
    /// How it ended, if it did.
    pub ended: Option<(Ending, Stamp)>,
    /// What it left as its last word.
    pub message: Option<String>,
    /// The image's id.
    pub image_id: Option<String>,
    /// The runtime's own id of the container, where that is not ours.
    pub container: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the directories and namespaces of a new life; answered by [`Event::Opened`] or [`Event::OpenFailed`].
    Open {
        /// The Pod.
        pod: Rc<Pod>,
    },
    /// Start a container; answered by `Started` or `Ended`, and in the end by `Cleared` or `MonitorLost`.
    Start {
        /// The Pod.
        pod: Rc<Pod>,
        /// Which run.
        run: RunKey,
    },
    /// Send the stop signal of its image (TERM by default).
    Term {
        /// The Pod.
        pod: Rc<Pod>,
        /// Which run.
        run: RunKey,
        /// Why, for the log.
        why: String,
    },
    /// Send KILL.
    Kill {
        /// The Pod.
        pod: Rc<Pod>,
        /// Which run.
        run: RunKey,
    },
    /// Kill the monitor of a run that has not begun in time; answered by `MonitorLost`.
    GiveUp {
        /// The Pod.
        pod: Rc<Pod>,
        /// Which run.
        run: RunKey,
    },
    /// Clear away a run whose monitor is gone; answered by `Ended` (if that was not known), then `Cleared`, or by
    /// `SweepFailed`.
    Sweep {
        /// Which run.
        run: RunKey,
    },
    /// Try a probe once; answered by `Probed`.
    Probe {
        /// The Pod.
        pod: Rc<Pod>,
        /// Which run.
        run: RunKey,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Run a hook that is not a mere wait; answered by `Hooked`.
    Hook {
        /// The Pod.
        pod: Rc<Pod>,
        /// Which run.
        run: RunKey,
        /// Which hook.
        kind: HookKind,
        /// How long it may take, in milliseconds; `None` for no bound.
        within_ms: Option<u64>,
    },
    /// Pull an image; answered by `Pulled`.
    Pull {
        /// The reference.
        reference: Reference,
    },
    /// Remove what a life leaves behind; answered by `Removed`.
    Remove {
        /// The Pod.
        pod: Rc<Pod>,
    },
}

/// A container that has not begun after so many milliseconds is given up: its monitor hangs, in a mount on a dead server as
/// a rule. Longer than what a monitor itself gives the runtime (docker 180 s); the kubelet's `runtimeRequestTimeout` is two
/// minutes for each of the calls that make one container.
pub const START_MS: u64 = 300_000;

/// What is told of a container whose start was given up.
pub const GIVEN_UP: &str = "its start hung and was given up: look whether the file systems of its volumes answer (a dead NFS \
                            or FUSE server as a rule); it is tried again by itself";

/// What the core needs to know of the instance's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How restarts are spaced.
    pub backoff: BackoffRule,
    /// How many containers may be in the middle of being started at one time.
    pub parallel_starts: usize,
    /// How long a start may take, in milliseconds; [`START_MS`] outside of tests.
    pub start_ms: u64,
}
