//! A directory of manifests: which of its entries count, when a file may be believed, and when a Pod's manifest is gone. A
//! single file is a directory of which one entry counts.
//!
//! A scan is the truth; inotify only says where to look again. A file is read when nobody has it open for writing. What
//! is new is acted on at once; a change of a file in use waits a moment for the next event of the same edit, and a
//! removal waits a little longer, so that "delete, then write anew" is one replacement.

mod read;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use self::read::{Print, Read, Unsettled, foreign, read_one};
use super::file::FileState;
use super::keep::{self, Keep};
use super::standing::Standing;
use crate::config::MissingDir;
use crate::manifest::escape::escape;
use crate::manifest::{Context, Limits, Runtime};
use crate::pod::NodeName;
use crate::sys::watch::{Change, WatchId, Watcher};

/// How long a change of a file in use settles, in milliseconds.
const CHANGE_SETTLES_MS: u64 = 50;
/// How long a removal settles, in milliseconds.
const REMOVAL_SETTLES_MS: u64 = 250;
/// When a file that is being written is looked at again, in milliseconds; its writer's close is an event anyway.
const BUSY_AGAIN_MS: u64 = 1_000;
/// When an absent or unreadable directory is looked at again, in milliseconds.
const ABSENT_AGAIN_MS: u64 = 1_000;
/// A file that was found open for writing so many times in a row is named.
const BUSY_TOLD: u32 = 5;
/// At most so many passed-over entries are named.
const MOST_IGNORED: usize = 20;

/// What does not change about a source.
#[derive(Clone, Debug)]
pub struct Rules {
    /// This node.
    pub node: NodeName,
    /// Bounds of a file.
    pub limits: Limits,
    /// What is to run the Pods.
    pub runtime: Runtime,
    /// Milliseconds between two scans.
    pub rescan_ms: u64,
    /// What becomes of the Pods of a directory that is gone.
    pub on_missing: MissingDir,
    /// Files that do not belong to root, or that everybody may write to, count too.
    pub allow_foreign: bool,
    /// STATE/manifests.
    pub keep_dir: PathBuf,
}

#[derive(Debug, Default)]
struct Entry {
    state: FileState,
    /// How the file looked when it was read last; `None`: read it again.
    print: Option<Print>,
    /// It has been judged at least once: read, or found unreadable.
    seen: bool,
    /// How often in a row it was found open for writing.
    busy: u32,
    /// An unequal read of a file on a file system that cannot tell of writers: read again no sooner than this.
    unsettled: Unsettled,
}

/// One directory.
#[derive(Debug)]
pub struct DirSource {
    path: PathBuf,
    /// The one entry that counts, where the source is a file.
    only: Option<OsString>,
    standing: Standing,
    rules: Rc<Rules>,
    entries: BTreeMap<OsString, Entry>,
    ignored: BTreeMap<OsString, String>,
    /// Names to look at, and when (boot clock, milliseconds); gone names wait here for their removal.
    due: BTreeMap<OsString, u64>,
    gone: BTreeMap<OsString, u64>,
    watch: Option<WatchId>,
    /// The kernel has said something about the directory itself: its watch may be of another directory by now.
    watch_is_stale: bool,
    /// That it cannot be watched has been told.
    unwatched: bool,
    identity: Option<(u64, u64)>,
    /// The file system that holds the directory's own name.
    parent_device: Option<u64>,
    /// All its names have been read at least once.
    listed: bool,
    next_scan: u64,
    absent: u32,
}

impl DirSource {
    /// The source at `path`, not read yet. It is a file when a file is there, or when nothing is there and it is named as
    /// manifests are.
    pub fn new(path: PathBuf, rules: Rc<Rules>) -> Self {
        let shown = escape(&path.to_string_lossy()).into_owned();
        let is_file = match fs::metadata(&path) {
            Ok(found) => !found.is_dir(),
            Err(_) => has_manifest_suffix(path.as_os_str()),
        };
        let (path, only) = match (is_file, path.parent(), path.file_name()) {
            (true, Some(parent), Some(name)) => (parent.to_owned(), Some(name.to_owned())),
            (_, _, _) => (path, None),
        };
        Self {
            path,
            only,
            standing: Standing::new(shown),
            rules,
            entries: BTreeMap::new(),
            ignored: BTreeMap::new(),
            due: BTreeMap::new(),
            gone: BTreeMap::new(),
            watch: None,
            watch_is_stale: false,
            unwatched: false,
            identity: None,
            parent_device: None,
            listed: false,
            next_scan: 0,
            absent: 0,
        }
    }

    /// How it fares; its name is the directory's, escaped for display.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The same, to take from.
    pub fn standing_mut(&mut self) -> &mut Standing {
        &mut self.standing
    }

    /// Entries that are passed over, with the reason; a bounded number of them.
    pub fn ignored(&self) -> Vec<String> {
        let mut list: Vec<String> = self.ignored.values().take(MOST_IGNORED).cloned().collect();
        if self.ignored.len() > MOST_IGNORED {
            list.push(format!("{}: and {} more", self.standing.shown, self.ignored.len() - MOST_IGNORED));
        }
        list
    }

    /// The files in byte order of their names, each with whether it has gone and its removal settles.
    pub(super) fn files(&self) -> impl Iterator<Item = (&FileState, bool)> {
        self.entries.iter().map(|(name, e)| (&e.state, self.gone.contains_key(name)))
    }

    /// The next moment at which [`Self::turn`] has something to do (boot clock, milliseconds).
    pub fn deadline(&self) -> u64 {
        let names = self.due.values().chain(self.gone.values()).copied();
        names.chain([self.next_scan]).min().unwrap_or(self.next_scan)
    }

    /// Takes in a directory event.
    pub fn notice(&mut self, change: &Change, now: u64) {
        match change {
            Change::Name(id, name) if self.watch.as_ref() == Some(id) => {
                if name.as_bytes() == b"..data" {
                    // An atomic writer has swapped the directory that all the links lead through.
                    self.next_scan = now;
                } else if self.counts(name) {
                    let in_use = self.entries.get(name).is_some_and(|e| !e.state.good().is_empty());
                    if in_use && is_gone(&self.path.join(name)) {
                        // Noted at once, so that the same document under its new name is not taken for a second one.
                        self.leaves(name.clone(), now);
                    }
                    self.due.insert(name.clone(), if in_use { now + CHANGE_SETTLES_MS } else { now });
                }
            }
            Change::Gone(id) if self.watch.as_ref() == Some(id) => {
                self.watch_is_stale = true;
                self.next_scan = now;
            }
            Change::Overflow => self.next_scan = now,
            Change::Name(..) | Change::Gone(_) => {}
        }
    }

    /// Looks at whatever is due. Returns whether what this source says has changed.
    pub fn turn(&mut self, now: u64, watcher: &mut Option<Watcher>) -> bool {
        let mut changed = false;
        if self.next_scan <= now {
            changed |= self.scan(now, watcher);
        }
        let due: Vec<OsString> =
            self.due.iter().filter(|(_, t)| **t <= now).map(|(n, _)| n.clone()).collect();
        for name in due {
            self.due.remove(&name);
            changed |= self.look(&name, now);
        }
        let gone: Vec<OsString> =
            self.gone.iter().filter(|(_, t)| **t <= now).map(|(n, _)| n.clone()).collect();
        for name in gone {
            self.gone.remove(&name);
            // It may have come back without an event; the last word is the file's own.
            match fs::metadata(self.path.join(&name)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && self.standing.error.is_none() => {
                    changed |= self.drop_entry(&name);
                }
                Ok(_) | Err(_) => changed |= self.look(&name, now),
            }
        }
        // A file that is open for writing when it is first seen may hold a Pod that an earlier daemon left running.
        if !self.standing.synced
            && self.listed
            && self.standing.error.is_none()
            && self.entries.values().all(|e| e.seen)
        {
            self.standing.synced = true;
            changed = true;
        }
        changed
    }

    fn drop_entry(&mut self, name: &OsStr) -> bool {
        self.ignored.remove(name);
        if self.entries.remove(name).is_none() {
            return false;
        }
        self.standing.keeps.push(Keep::forget(&self.rules.keep_dir, &self.path.join(name)));
        true
    }

    /// Reads the directory itself: its identity, its watch, and every name in it.
    fn scan(&mut self, now: u64, watcher: &mut Option<Watcher>) -> bool {
        self.next_scan = now + self.rules.rescan_ms;
        let metadata = match fs::metadata(&self.path) {
            Ok(m) if m.is_dir() => m,
            Ok(_) => return self.unreadable("it is not a directory", now),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.missing(now),
            Err(e) => return self.unreadable(&e.to_string(), now),
        };
        let identity = (metadata.dev(), metadata.ino());
        if self.identity != Some(identity) || self.watch.is_none() || self.watch_is_stale {
            self.rewatch(watcher);
        }
        let is_foreign = if self.rules.allow_foreign { None } else { foreign(&metadata) };
        if let Some(why) = is_foreign.filter(|_| self.identity != Some(identity)) {
            let shown = &self.standing.shown;
            self.standing
                .news
                .push(format!("{shown}: {why}: others than root may take manifests away, and so end Pods"));
        }
        let names = match fs::read_dir(&self.path).and_then(|d| d.map(|e| e.map(|e| e.file_name())).collect())
        {
            Ok(names) => names,
            Err(e) => return self.unreadable(&e.to_string(), now),
        };
        let mut names: Vec<OsString> = names;
        names.retain(|n| self.counts(n));
        let moved_to_other_device = self.identity.is_some_and(|(device, _)| device != identity.0);
        if names.is_empty() && moved_to_other_device && !self.entries.is_empty() {
            // What was mounted here is gone, and with it the manifests: that is a failure of the host, not a wish.
            return self.unreadable("the file system that was mounted here is gone", now);
        }
        self.identity = Some(identity);
        self.parent_device = self.path.parent().and_then(|p| fs::metadata(p).ok()).map(|m| m.dev());
        self.absent = 0;
        let recovered = self.standing.is_read(crate::sys::clock::unix_ms());
        let mut changed = recovered || !self.standing.synced;
        names.sort();
        if !std::mem::replace(&mut self.listed, true) {
            // Files that went while no daemon looked: what they said once must not come back.
            let here = |path: &Path| {
                path.file_name().is_some_and(|n| !self.counts(n) || names.iter().any(|name| name == n))
            };
            self.standing.keeps.extend(keep::forget_others(&self.rules.keep_dir, &self.path, here));
        }
        for name in &names {
            if !self.due.contains_key(name) {
                changed |= self.look(name, now);
            }
        }
        let left: Vec<OsString> = self
            .entries
            .keys()
            .chain(self.ignored.keys().filter(|_| self.only.is_none()))
            .filter(|n| names.binary_search(n).is_err())
            .cloned()
            .collect();
        for name in left {
            self.leaves(name, now);
        }
        if let Some(only) = self.only.clone()
            && names.is_empty()
            && !self.entries.contains_key(&only)
        {
            changed |= self.pass_over(&only, format!("{}: does not exist", self.standing.shown));
        }
        changed
    }

    fn leaves(&mut self, name: OsString, now: u64) {
        if self.entries.contains_key(&name) {
            self.gone.entry(name).or_insert(now + REMOVAL_SETTLES_MS);
        } else {
            self.ignored.remove(&name);
        }
    }

    fn rewatch(&mut self, watcher: &mut Option<Watcher>) {
        let Some(watcher) = watcher else { return };
        if let Some(old) = self.watch.take() {
            watcher.remove(&old);
        }
        self.watch_is_stale = false;
        match watcher.add(&self.path) {
            Ok(id) => {
                self.watch = Some(id);
                self.unwatched = false;
            }
            Err(_) if std::mem::replace(&mut self.unwatched, true) => {}
            Err(e) => self.standing.news.push(format!(
                "{}: cannot be watched ({e}): changes are seen by the scan every {} s",
                self.standing.shown,
                self.rules.rescan_ms / 1000
            )),
        }
    }

    fn unreadable(&mut self, why: &str, now: u64) -> bool {
        self.next_scan = now + ABSENT_AGAIN_MS.min(self.rules.rescan_ms);
        self.watch_is_stale = true;
        // Whatever was under way is judged anew by the scan that finds the directory readable.
        self.due.clear();
        self.gone.clear();
        self.standing.fails(format!("cannot be read: {why}"), "; its Pods go on as they are")
    }

    /// An absent directory is believed when it was seen twice.
    fn missing(&mut self, now: u64) -> bool {
        if self.parent_device.is_some_and(|device| nearest_device(&self.path) != Some(device)) {
            return self.unreadable("the file system that held it is gone", now);
        }
        self.due.clear();
        self.gone.clear();
        self.next_scan = now + ABSENT_AGAIN_MS.min(self.rules.rescan_ms);
        self.watch_is_stale = true;
        self.identity = None;
        self.absent = self.absent.saturating_add(1);
        let mut changed = self.standing.fails("does not exist".to_owned(), "");
        if self.absent == 2 && self.rules.on_missing == MissingDir::Remove {
            if !self.entries.is_empty() {
                self.standing.news.push(format!("{}: is gone; its Pods are stopped", self.standing.shown));
            }
            self.ignored.clear();
            let names: Vec<OsString> = self.entries.keys().cloned().collect();
            for name in names {
                self.drop_entry(&name);
            }
            self.standing.synced = true;
            changed = true;
        }
        changed
    }

    /// Looks at one name.
    fn look(&mut self, name: &OsStr, now: u64) -> bool {
        let path = self.path.join(name);
        let shown = escape(&path.to_string_lossy()).into_owned();
        if self.only.is_none() && !has_manifest_suffix(name) {
            if fs::symlink_metadata(&path).is_err() {
                self.ignored.remove(name);
                return false;
            }
            let why = if fs::metadata(&path).is_ok_and(|m| m.is_dir()) {
                format!("{shown}: passed over: it is a directory")
            } else {
                format!("{shown}: passed over: its name does not end in .yaml, .yml or .json")
            };
            return self.pass_over(name, why);
        }
        let rules = self.rules.clone();
        let context =
            Context { node: &rules.node, path: &shown, limits: rules.limits, runtime: rules.runtime };
        let former = self.entries.remove(name);
        let first = former.is_none();
        let mut entry = former.unwrap_or_default();
        let read = read_one(&path, entry.print, &mut entry.unsettled, &rules, now);
        match read {
            Read::Gone if first => return false,
            Read::NotAFile(_) if first => {}
            _ => {
                self.entries.insert(name.to_owned(), entry);
            }
        }
        match read {
            Read::Gone => {
                self.leaves(name.to_owned(), now);
                false
            }
            Read::NotAFile(what) => {
                let changed = self.entries.contains_key(name) && self.drop_entry(name);
                self.pass_over(name, format!("{shown}: passed over: it is {what}")) || changed
            }
            Read::Busy => {
                self.gone.remove(name);
                self.due.insert(name.to_owned(), now + BUSY_AGAIN_MS);
                let entry = self.entries.entry(name.to_owned()).or_default();
                entry.busy = entry.busy.saturating_add(1);
                if entry.busy == BUSY_TOLD {
                    self.standing
                        .news
                        .push(format!("{shown}: is open for writing; it is read when nobody writes to it"));
                }
                false
            }
            Read::Same => {
                self.gone.remove(name);
                false
            }
            Read::Failed(why) => {
                self.gone.remove(name);
                let entry = self.entries.entry(name.to_owned()).or_default();
                entry.print = None;
                entry.busy = 0;
                let mut changed = false;
                if !std::mem::replace(&mut entry.seen, true)
                    && let Some(kept) = keep::load(&rules.keep_dir, &path)
                {
                    changed |= entry.state.take(&kept, 0, &context);
                }
                entry.state.take_error(format!("{shown}: error: {why}"), &context) || changed
            }
            Read::Content(content, print) => {
                self.gone.remove(name);
                let mut changed = self.ignored.remove(name).is_some();
                let entry = self.entries.entry(name.to_owned()).or_default();
                entry.busy = 0;
                let kept = if !std::mem::replace(&mut entry.seen, true) {
                    keep::load(&rules.keep_dir, &path)
                } else {
                    None
                };
                if let Some(kept) = kept.filter(|k| *k != content) {
                    changed |= entry.state.take(&kept, 0, &context);
                }
                let before = entry.state.good_content().map(<[u8]>::to_vec);
                changed |= entry.state.take(&content, print.changed, &context);
                entry.print = (!print.is_fresh()).then_some(print);
                if let Some(good) = entry.state.good_content()
                    && before.as_deref() != Some(good)
                {
                    self.standing.keeps.push(Keep::content(&rules.keep_dir, &path, good));
                }
                changed
            }
        }
    }

    /// Whether an entry of that name is looked at.
    fn counts(&self, name: &OsStr) -> bool {
        self.only.as_deref().map_or_else(|| !is_hidden(name), |only| only == name)
    }

    fn pass_over(&mut self, name: &OsStr, why: String) -> bool {
        if self.ignored.get(name) == Some(&why) {
            return false;
        }
        if self.ignored.len() < MOST_IGNORED {
            self.standing.news.push(why.clone());
        }
        self.ignored.insert(name.to_owned(), why);
        true
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

/// Whether there is nothing of that name, not even a link that leads nowhere.
fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// The file system of the nearest ancestor that is there.
fn nearest_device(path: &Path) -> Option<u64> {
    path.ancestors().skip(1).find_map(|p| fs::metadata(p).ok()).map(|m| m.dev())
}

fn has_manifest_suffix(name: &OsStr) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|s| name.as_bytes().ends_with(s.as_bytes()))
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
