//! What the core is told, and what it asks to be done. The two stand together because they answer each other: of each action it
//! says which event tells of its end.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{Ending, HookKind, ProbeKind, RunKey, Saved, Stamp, Verdict};
use crate::pod::reference::Reference;
use crate::pod::{ContainerName, Generation, Namespace, ObjectRef, Origin, Pod, PodKey};

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
