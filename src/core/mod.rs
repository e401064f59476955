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
mod event;
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

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pod::{ContainerName, Generation};

pub use self::backoff::BackoffRule;
pub use self::event::{Action, Event, Found, FoundRun, Refusal};
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
