//! Sources of manifests: directories, files and URLs → documents that are settled and whole, merged into one desired set.
//!
//! A source that cannot be read keeps what it said last. Only a file that was seen to go (or a directory that was seen
//! to be absent twice) takes its Pods with it. Two documents with one namespace and name: the first in order of source,
//! file name and place wins, the other is reported.

pub mod dir;
mod file;
pub mod keep;
pub mod standing;
pub mod url;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use self::dir::DirSource;
use self::file::FileState;
use self::standing::Standing;
use self::url::UrlSource;
use crate::manifest::Context;
use crate::pod::objects::Object;
use crate::pod::set::{Set, SetKey};
use crate::pod::{Namespace, ObjectRef, Origin, Pod, PodKey};
use crate::sys::watch::{Change, Watcher};

/// One document that was accepted, now or by an earlier content of its file.
#[derive(Clone, Debug)]
pub struct Good {
    /// The Pod.
    pub pod: Rc<Pod>,
    /// The input document as JSON, from which a later daemon makes the same Pod.
    pub canonical: Rc<str>,
    /// Warnings, rendered.
    pub warnings: Rc<[String]>,
    /// The file's present content is refused for these reasons; this is what it said before.
    pub kept_for: Option<Rc<[String]>>,
}

/// A ConfigMap or Secret that Pods may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldObject {
    /// The object.
    pub object: Rc<Object>,
    /// File and document.
    pub origin: Origin,
}

/// A DaemonSet or StatefulSet that was accepted, now or by an earlier content of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSet {
    /// The set.
    pub set: Rc<Set>,
    /// Warnings, rendered.
    pub warnings: Rc<[String]>,
    /// The file's present content is refused for these reasons; this is what it said before.
    pub kept_for: Option<Rc<[String]>>,
}

/// One document (or whole file) that was refused and has no earlier version to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The Pod it would be, if that could be told.
    pub key: Option<PodKey>,
    /// File and document.
    pub origin: Origin,
    /// Every problem, rendered.
    pub problems: Rc<[String]>,
}

/// All sources together.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// What should run.
    pub good: BTreeMap<PodKey, Good>,
    /// The ConfigMaps and Secrets that Pods may refer to.
    pub objects: BTreeMap<(Namespace, ObjectRef), HeldObject>,
    /// The DaemonSets and StatefulSets of which Pods are made.
    pub sets: BTreeMap<SetKey, HeldSet>,
    /// What was refused.
    pub refused: Vec<Refused>,
    /// Every source has been read at least once.
    pub complete: bool,
}

impl Merged {
    /// How many documents are refused now, those too of which an earlier version goes on.
    pub fn refusals(&self) -> usize {
        let is_kept = |g: &&Good| g.kept_for.is_some() && g.pod.owner.is_none();
        let kept = self.good.values().filter(is_kept).count();
        let sets = self.sets.values().filter(|s| s.kept_for.is_some()).count();
        self.refused.len().saturating_add(kept).saturating_add(sets)
    }
}

/// One source.
#[derive(Debug)]
pub enum Source {
    /// A directory, or a file.
    Dir(Box<DirSource>),
    /// A URL.
    Url(Box<UrlSource>),
}

impl Source {
    /// How it fares.
    pub fn standing(&self) -> &Standing {
        match self {
            Self::Dir(source) => source.standing(),
            Self::Url(source) => source.standing(),
        }
    }

    /// The same, to take from.
    pub fn standing_mut(&mut self) -> &mut Standing {
        match self {
            Self::Dir(source) => source.standing_mut(),
            Self::Url(source) => source.standing_mut(),
        }
    }

    /// What is passed over, with the reason.
    pub fn ignored(&self) -> Vec<String> {
        match self {
            Self::Dir(source) => source.ignored(),
            Self::Url(_) => Vec::new(),
        }
    }

    /// The next moment at which there is something to do (boot clock, milliseconds).
    pub fn deadline(&self) -> Option<u64> {
        match self {
            Self::Dir(source) => Some(source.deadline()),
            Self::Url(source) => source.deadline(),
        }
    }

    /// Takes in a directory event, or that everything is to be read again.
    pub fn notice(&mut self, change: &Change, now: u64) {
        match (self, change) {
            (Self::Dir(source), _) => source.notice(change, now),
            (Self::Url(source), Change::Overflow) => source.reload(now),
            (Self::Url(_), Change::Name(..) | Change::Gone(_)) => {}
        }
    }

    /// Looks at whatever is due. Returns whether what this source says has changed.
    pub fn turn(&mut self, now: u64, watcher: &mut Option<Watcher>) -> bool {
        match self {
            Self::Dir(source) => source.turn(now, watcher),
            Self::Url(source) => source.turn(),
        }
    }

    /// What it says, with whether that has gone and its removal settles.
    fn files(&self) -> Vec<(&FileState, bool)> {
        match self {
            Self::Dir(source) => source.files().collect(),
            Self::Url(source) => vec![(source.state(), false)],
        }
    }
}

/// Merges the sources, in their order.
pub fn merge(sources: &[Source]) -> Merged {
    merge_with(sources, None)
}

/// Reads what is there now, for who plans and does not run: nobody is watched, nothing is kept on disk, and a directory that is
/// absent counts as confirmed.
pub fn read_once(sources: &mut [Source]) {
    // So many looks, as far apart as their own clock wants them, settle everything that time alone can settle.
    for look in 0..4_u64 {
        for source in &mut *sources {
            source.turn(look * 1_500, &mut None);
        }
    }
}

/// Merges the sources, and after them a text of another origin.
pub fn merge_with(sources: &[Source], text: Option<(&[u8], &Context<'_>)>) -> Merged {
    let mut state = FileState::default();
    if let Some((bytes, context)) = text {
        state.take(bytes, 0, context);
    }
    let files = sources.iter().map(|source| (source.standing().is_synced(), source.files()));
    merge_files(files.chain([(true, vec![(&state, false)])]))
}

/// Merges what sources say: of each whether it has been read, and its files with whether they have gone.
fn merge_files<'s>(sources: impl IntoIterator<Item = (bool, Vec<(&'s FileState, bool)>)>) -> Merged {
    let mut merged = Merged { complete: true, ..Merged::default() };
    // What has gone from one file counts only as long as no other file has it: that is a file that was renamed.
    let mut leaving: BTreeSet<PodKey> = BTreeSet::new();
    let mut leaving_sets: BTreeSet<SetKey> = BTreeSet::new();
    for (is_synced, files) in sources {
        merged.complete &= is_synced;
        for (file, is_leaving) in files {
            for good in file.good() {
                let key = &good.pod.key;
                match merged.good.get(key) {
                    Some(_) if is_leaving => {}
                    Some(_) if leaving.remove(key) => {
                        merged.good.insert(key.clone(), good.clone());
                    }
                    None => {
                        if is_leaving {
                            leaving.insert(key.clone());
                        }
                        merged.good.insert(good.pod.key.clone(), good.clone());
                    }
                    Some(first) => merged.refused.push(Refused {
                        key: Some(good.pod.key.clone()),
                        origin: good.pod.origin.clone(),
                        problems: Rc::new([format!(
                            "{}: error: Pod {} is defined in {} already, and the first file in byte order wins; \
                             remove or rename one of the two",
                            good.pod.origin, good.pod.key, first.pod.origin
                        )]),
                    }),
                }
            }
            for held in file.sets() {
                let key = &held.set.key;
                match merged.sets.get(key) {
                    Some(_) if is_leaving => {}
                    Some(first) if !leaving_sets.remove(key) => merged.refused.push(Refused {
                        key: None,
                        origin: held.set.origin.clone(),
                        problems: Rc::new([twice(&held.set, &first.set.origin)]),
                    }),
                    Some(_) | None => {
                        if is_leaving {
                            leaving_sets.insert(key.clone());
                        }
                        merged.sets.insert(key.clone(), held.clone());
                    }
                }
            }
            for held in file.objects() {
                let key = (held.object.namespace.clone(), held.object.reference.clone());
                match merged.objects.get(&key) {
                    None => {
                        merged.objects.insert(key, held.clone());
                    }
                    Some(first) => merged.refused.push(Refused {
                        key: None,
                        origin: held.origin.clone(),
                        problems: Rc::new([format!(
                            "{}: error: {} {}/{} is defined in {} already, and the first file in byte order wins; remove \
                             or rename one of the two",
                            held.origin,
                            key.1.kind.as_str(),
                            key.0,
                            key.1.name,
                            first.origin
                        )]),
                    }),
                }
            }
            merged.refused.extend(file.refused().iter().cloned());
        }
    }
    // A refused document whose Pod is kept running from another place is still worth telling, so it stays in the list.
    merged
}

/// What is told of a set that another document has defined already.
fn twice(set: &Set, first: &Origin) -> String {
    format!(
        "{}: error: {} {}/{} is defined in {first} already, and the first file in byte order wins; remove or rename one of \
         the two",
        set.origin,
        set.key.kind.as_str(),
        set.key.namespace,
        set.key.name
    )
}
