//! The world outside of the core: processes, helpers, images and files, and what each of them tells.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Sim;
use super::pods::HERE;
use crate::core::container::Role;
use crate::core::tests::at;
use crate::core::*;
use crate::pod::*;

/// A run's directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    /// When it was asked for.
    pub asked: u64,
    pub started: Option<u64>,
    pub ended: Option<(Ending, u64)>,
    /// Its monitor lives.
    pub monitored: bool,
    /// Its monitor lives and no daemon has seen it yet: it had been slow to begin.
    pub hidden: bool,
    /// Over, to be removed once that is saved.
    pub finished: bool,
}

impl Dir {
    pub(super) fn lives(&self) -> bool {
        self.ended.is_none()
    }

    pub(super) fn runs(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }
}

#[derive(Debug, Default)]
pub(super) struct Host {
    pub runs: BTreeMap<RunKey, Dir>,
    /// Whoever makes the namespaces of these.
    pub openers: BTreeSet<Generation>,
    pub removers: BTreeSet<Generation>,
    pub sweepers: BTreeSet<RunKey>,
    pub hooks: BTreeSet<(RunKey, HookKind)>,
    pub probes: BTreeSet<(RunKey, ProbeKind)>,
    pub pulls: BTreeSet<String>,
    pub images: BTreeSet<String>,
    /// The Pods that have a directory.
    pub pods: BTreeMap<Generation, Rc<Pod>>,
    pub disk: BTreeMap<Generation, Saved>,
    pub unsaved: BTreeSet<PodKey>,
    pub is_full: bool,
    pub trouble: Option<String>,
    /// Those whose namespaces are gone, and not made anew yet.
    pub lost: BTreeSet<Generation>,
    /// The first number without a log file.
    pub logs: BTreeMap<(Generation, ContainerName), u32>,
    /// In this life: containers that have succeeded.
    pub succeeded: BTreeSet<(Generation, ContainerName)>,
    /// The same, whether or not they are to run once more.
    pub ever: BTreeSet<(Generation, ContainerName)>,
    /// In this life: containers that were started.
    pub begun: BTreeSet<(Generation, ContainerName)>,
}

pub(super) fn name_of(run: &RunKey) -> (Generation, ContainerName) {
    (run.generation.clone(), run.container.clone())
}

pub(super) fn place_of(pod: &Pod, container: &ContainerName) -> usize {
    pod.all_containers().position(|c| c.name == *container).unwrap()
}

pub(super) fn role_of(pod: &Pod, run: &RunKey) -> Role {
    Role::of(pod, place_of(pod, &run.container))
}

impl Host {
    pub(super) fn new() -> Self {
        Self { images: BTreeSet::from([HERE.to_owned()]), ..Self::default() }
    }

    /// Something of the generation lives in this role.
    pub(super) fn lives(&self, generation: &Generation, role: impl Fn(Role) -> bool) -> bool {
        self.runs.iter().any(|(run, dir)| {
            run.generation == *generation && dir.lives() && role(role_of(&self.pods[generation], run))
        })
    }

    pub(super) fn living(&self) -> impl Iterator<Item = (&RunKey, &Dir)> {
        self.runs.iter().filter(|(_, dir)| dir.lives())
    }

    /// Whether a Pod does what it is there for, as it is seen from outside of the core.
    pub(super) fn is_well(&self, key: &PodKey) -> bool {
        let Some(pod) = self.pods.values().find(|p| p.key == *key) else { return false };
        let runs = |c: &Container| {
            let is_it = |r: &RunKey| r.generation == pod.generation && r.container == c.name;
            self.runs.iter().any(|(r, d)| is_it(r) && d.runs())
        };
        let succeeded = |c: &Container| self.succeeded.contains(&(pod.generation.clone(), c.name.clone()));
        let sidecars = || pod.init_containers.iter().filter(|c| c.sidecar);
        pod.containers.iter().all(succeeded) || sidecars().chain(&pod.containers).all(runs)
    }

    pub(super) fn index(&self) -> Event {
        let index = self.images.iter().map(|name| (name.clone(), "sha256:1".to_owned())).collect();
        Event::Images { index, loading: false, can_pull: true }
    }

    pub(super) fn opened(&mut self, generation: &Generation) -> Event {
        self.openers.remove(generation);
        self.lost.remove(generation);
        let pod = &self.pods[generation];
        let first = |name: &ContainerName| self.logs.get(&(generation.clone(), name.clone())).copied();
        let first_attempts =
            pod.all_containers().filter_map(|c| Some((c.name.clone(), first(&c.name)?))).collect();
        Event::Opened { generation: generation.clone(), first_attempts, addresses: vec![] }
    }

    pub(super) fn cleared(&mut self, run: RunKey) -> Event {
        self.sweepers.remove(&run);
        self.runs.get_mut(&run).unwrap().finished = true;
        Event::Cleared { run }
    }

    pub(super) fn removed(&mut self, generation: Generation, done: bool) -> Event {
        self.removers.remove(&generation);
        if done {
            self.pods.remove(&generation);
            self.lost.remove(&generation);
            self.disk.remove(&generation);
            self.runs.retain(|r, _| r.generation != generation);
            self.begun.retain(|(g, _)| *g != generation);
            self.succeeded.retain(|(g, _)| *g != generation);
            self.ever.retain(|(g, _)| *g != generation);
        }
        Event::Removed { generation, left: (!done).then(|| "busy".to_owned()) }
    }

    /// The namespaces of a generation are gone. Init containers run once more; what else has done its work does not.
    pub(super) fn lose(&mut self, generation: Generation) -> Event {
        self.lost.insert(generation.clone());
        let inits = &self.pods[&generation].init_containers;
        let again = |name: &ContainerName| inits.iter().any(|c| c.name == *name);
        self.succeeded.retain(|(g, name)| *g != generation || !again(name));
        Event::SandboxLost { generation }
    }
}

impl Sim {
    pub(super) fn begun(&mut self, run: RunKey) -> Event {
        self.host.runs.get_mut(&run).unwrap().started = Some(self.now);
        self.host.begun.insert(name_of(&run));
        Event::Started { run, at: at(self.now), image_id: None, container: None }
    }

    pub(super) fn over(&mut self, run: RunKey, ending: Ending) -> Event {
        if ending.success() {
            self.host.succeeded.insert(name_of(&run));
            self.host.ever.insert(name_of(&run));
        }
        self.host.runs.get_mut(&run).unwrap().ended = Some((ending.clone(), self.now));
        Event::Ended { run, ending, at: at(self.now), message: None }
    }

    pub(super) fn pulled(&mut self, reference: String, error: Option<&str>) -> Vec<Event> {
        self.host.pulls.remove(&reference);
        let error = error.map(str::to_owned);
        let mut events = Vec::new();
        if error.is_none() {
            self.host.images.insert(reference.clone());
            events.push(self.host.index());
        }
        events.push(Event::Pulled { reference, error });
        events
    }
}
