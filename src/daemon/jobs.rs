//! The children of the daemon: what each is for, its output, and when it has taken too long.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::unistd::Pid;

use crate::command::CommandLine;
use crate::core::{HookKind, ProbeKind, RunKey};
use crate::pod::{ContainerName, Generation, Namespace, ObjectRef, PodKey};
use crate::sys::clock;
use crate::sys::spawn::{self, Capture, Output};

/// A helper that clears away or removes may take this long, in milliseconds.
pub const CLEAR_MS: u64 = 120_000;

/// What a child is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It owns a container.
    Monitor(RunKey),
    /// It clears a run away.
    Sweep(RunKey),
    /// It sends a signal to a container.
    Signal(RunKey, i32),
    /// It tries a probe once.
    Probe(RunKey, ProbeKind),
    /// It runs a hook.
    Hook(RunKey, HookKind),
    /// It makes a Pod's own namespaces and network.
    Sandbox(PodKey, Generation, BTreeMap<ContainerName, u32>),
    /// It writes the volumes of these ConfigMaps and Secrets anew.
    Project(BTreeSet<(Namespace, ObjectRef)>),
    /// It loads archives.
    Load,
    /// It lists docker's images.
    Images,
    /// It pulls an image.
    Pull(String),
    /// It removes what a Pod leaves behind.
    Remove(PodKey, Generation),
    /// It removes what earlier boots left.
    Stale,
    /// It says which version the runtime has.
    Version,
    /// It tells what happens at docker's.
    Events,
    /// It looks at what docker has.
    Look,
    /// It writes the last good manifests to the disk.
    Keep,
    /// It asks the URL of the source of that number.
    Fetch(usize),
    /// It shows Pods in an API server.
    Mirror,
}

/// A child that has ended.
#[derive(Debug)]
pub struct Job {
    /// What it was for.
    pub purpose: Purpose,
    /// What it said.
    pub output: String,
    /// It has said more than that.
    pub cut: bool,
    /// It was killed because it took too long.
    pub overdue: bool,
}

#[derive(Debug)]
struct Running {
    purpose: Purpose,
    output: Option<Capture>,
    deadline: Option<u64>,
    overdue: bool,
}

/// All living children.
#[derive(Debug, Default)]
pub struct Jobs(BTreeMap<Pid, Running>);

impl Jobs {
    /// Starts a child. `capture`: keep what it says (monitors outlive us and say nothing).
    pub fn start(&mut self, purpose: Purpose, line: &CommandLine, capture: bool) -> io::Result<Pid> {
        self.start_to(purpose, line, if capture { Output::Capture } else { Output::Null })
    }

    /// Starts a child whose output is a list: `most` bytes of it are kept.
    pub fn start_list(&mut self, purpose: Purpose, line: &CommandLine, most: usize) -> io::Result<Pid> {
        self.start_to(purpose, line, Output::CaptureMost(most))
    }

    /// The same, with its output where the caller wants it.
    pub fn start_to(&mut self, purpose: Purpose, line: &CommandLine, output: Output) -> io::Result<Pid> {
        let child = spawn::spawn(line, output)?;
        let deadline = line.deadline_ms.map(|ms| clock::boot_ms().saturating_add(ms));
        self.0.insert(child.pid, Running { purpose, output: child.output, deadline, overdue: false });
        Ok(child.pid)
    }

    /// Takes a child that has ended out of the table.
    pub fn ended(&mut self, pid: Pid) -> Option<Job> {
        self.0.remove(&pid).map(|mut r| {
            if let Some(output) = &mut r.output {
                // What was said last; it tells too whether all of it is kept.
                output.read();
            }
            Job {
                purpose: r.purpose,
                cut: r.output.as_ref().is_some_and(Capture::is_cut),
                output: r.output.map(Capture::finish).unwrap_or_default(),
                overdue: r.overdue,
            }
        })
    }

    /// Whether a child with this purpose lives.
    pub fn any(&self, wanted: impl Fn(&Purpose) -> bool) -> bool {
        self.0.values().any(|r| wanted(&r.purpose))
    }

    /// How many children with this purpose live.
    pub fn count(&self, wanted: impl Fn(&Purpose) -> bool) -> usize {
        self.0.values().filter(|r| wanted(&r.purpose)).count()
    }

    /// Kills the children with this purpose; their end is reaped like any other.
    pub fn kill(&self, wanted: impl Fn(&Purpose) -> bool) {
        for (pid, _) in self.0.iter().filter(|(_, r)| wanted(&r.purpose)) {
            spawn::kill_group(*pid);
        }
    }

    /// The descriptors to read from.
    pub fn outputs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.values().filter_map(|r| r.output.as_ref()).filter(|o| o.is_open()).map(AsFd::as_fd)
    }

    /// Reads what has been said.
    pub fn read_output(&mut self) {
        for running in self.0.values_mut() {
            if let Some(output) = running.output.as_mut().filter(|o| o.is_open()) {
                output.read();
            }
        }
    }

    /// The next moment at which a child has taken too long.
    pub fn deadline(&self) -> Option<u64> {
        self.0.values().filter_map(|r| r.deadline).min()
    }

    /// Kills every child that has taken too long; its end is reaped like any other. Returns lines for the log.
    pub fn kill_overdue(&mut self, now: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for (pid, running) in &mut self.0 {
            if running.deadline.is_some_and(|d| d <= now) {
                running.deadline = None;
                running.overdue = true;
                spawn::kill_group(*pid);
                lines.push(format!("{}: took too long and was killed", running.purpose));
            }
        }
        lines
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Monitor(run) => write!(f, "monitor of {run}"),
            Self::Sweep(run) => write!(f, "sweep of {run}"),
            Self::Signal(run, signal) => write!(f, "signal {signal} to {run}"),
            Self::Probe(run, kind) => write!(f, "{} probe of {run}", kind.as_str()),
            Self::Hook(run, kind) => write!(f, "{} hook of {run}", kind.as_str()),
            Self::Sandbox(key, ..) => write!(f, "network of {key}"),
            Self::Project(_) => write!(f, "writing volumes"),
            Self::Load => write!(f, "loading image archives"),
            Self::Images => write!(f, "listing images"),
            Self::Pull(reference) => write!(f, "pull of {reference}"),
            Self::Remove(key, _) => write!(f, "removal of {key}"),
            Self::Stale => write!(f, "removal of what earlier boots left"),
            Self::Version => write!(f, "runc --version"),
            Self::Events => write!(f, "docker events"),
            Self::Look => write!(f, "a look at docker"),
            Self::Keep => write!(f, "keeping manifests"),
            Self::Fetch(_) => write!(f, "asking a manifest URL"),
            Self::Mirror => write!(f, "showing mirror Pods"),
        }
    }
}
