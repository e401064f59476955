//! Publishing: one file per Pod under RUN/status, and what a later daemon must know under RUN/pods. A file is written only
//! when it differs from what was written last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::Daemon;
use super::{view, waits};
use crate::config::{MissingDir, RunConfig};
use crate::core::{Action, Refusal, Saved};
use crate::log::rfc3339;
use crate::paths::{Roots, fnv1a};
use crate::pod::{Generation, PodKey};
use crate::report::line::{Brief, is_well};
use crate::report::{DaemonStatus, ManifestState, PodStatusFile, Reading, SetStatus, SourceStatus};
use crate::runtime::engine::Engine;
use crate::source::{Refused, Source};
use crate::sys::atomic::{self, Durability};
use crate::sys::net::host_addresses;
use crate::sys::{clock, doom};
use crate::{error, info, warning};

/// What could not be written is tried again after this many milliseconds.
const AGAIN_MS: u64 = 1_000;

/// What has been written.
#[derive(Debug)]
pub struct Publisher {
    daemon: DaemonStatus,
    written: BTreeMap<PathBuf, u64>,
    sources_changed: bool,
    daemon_changed: bool,
    refused_files: BTreeSet<PathBuf>,
    failing: bool,
    /// When what could not be written is tried again (boot clock, milliseconds).
    again: Option<u64>,
    host_ips: Vec<IpAddr>,
    /// What one line can tell of each Pod.
    briefs: BTreeMap<PodKey, Brief>,
    /// Something that the line may tell of has changed since it was asked for.
    has_news: bool,
}

/// How a warning begins that tells of a runtime that does not answer.
const TROUBLE: &str = "runtime: ";

impl Publisher {
    /// Nothing has been written yet.
    pub fn new(config: &RunConfig, boot_id: &str, engine: &Engine) -> Self {
        let daemon = DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id() as i32,
            boot_id: boot_id.to_owned(),
            started_at: rfc3339(clock::unix_ms()),
            node_name: config.node.to_string(),
            runtime: engine.name().to_owned(),
            sources: Vec::new(),
            roots: config.roots.clone(),
            cgroup_root: config.cgroup_root.clone(),
            runtime_binary: engine.binary().clone(),
            reading: Reading {
                max_bytes: config.max_manifest_bytes,
                keep_missing: config.missing_dir == MissingDir::Keep,
                allow_foreign: config.allow_foreign,
            },
            sets: Vec::new(),
            node: Some(config.facts.clone()),
            warnings: Vec::new(),
        };
        Self {
            daemon,
            written: BTreeMap::new(),
            sources_changed: true,
            daemon_changed: true,
            refused_files: BTreeSet::new(),
            failing: false,
            again: None,
            host_ips: Vec::new(),
            briefs: BTreeMap::new(),
            has_news: true,
        }
    }

    /// Something that an operator should know of this host.
    pub fn warn(&mut self, line: String) {
        self.daemon.warnings.push(line);
        self.sources_changed = true;
    }

    /// Whether the runtime answers, and what is wrong if it does not.
    pub fn set_trouble(&mut self, trouble: Option<String>) {
        self.daemon.warnings.retain(|line| !line.starts_with(TROUBLE));
        self.daemon.warnings.extend(trouble.map(|why| format!("{TROUBLE}{why}")));
        self.daemon_changed = true;
    }

    /// How sets fare.
    pub fn set_sets(&mut self, sets: Vec<SetStatus>) {
        if self.daemon.sets != sets {
            self.daemon.sets = sets;
            self.daemon_changed = true;
        }
    }

    /// What the sources say has changed: problems, warnings, refused documents.
    pub fn sources_changed(&mut self) {
        self.sources_changed = true;
    }

    /// What one line can tell of each Pod, as it was published last.
    pub fn briefs(&self) -> &BTreeMap<PodKey, Brief> {
        &self.briefs
    }

    /// The sources, as they were published last.
    pub fn sources(&self) -> &[SourceStatus] {
        &self.daemon.sources
    }

    /// Whether anything has been published since this was asked last.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// The next moment at which [`Daemon::publish`] has something to do by itself.
    pub fn deadline(&self) -> Option<u64> {
        self.again
    }

    /// Writes a file if its content is new, and returns whether it stands there now; otherwise it is tried again soon. An
    /// error is told once until everything could be written: a full disk must not fill the log as well.
    pub(super) fn write(&mut self, path: PathBuf, bytes: &[u8]) -> bool {
        let hash = fnv1a(bytes);
        if self.stands(&path, hash) {
            return true;
        }
        match atomic::write(&path, bytes, 0o600, Durability::Process) {
            Ok(()) => {
                self.written.insert(path, hash);
                true
            }
            Err(e) => {
                if !std::mem::replace(&mut self.failing, true) {
                    error!("cannot write {}: {e}; Pods go on, their status is out of date", path.display());
                }
                self.written.remove(&path);
                self.again = Some(clock::boot_ms().saturating_add(AGAIN_MS));
                false
            }
        }
    }

    /// Whether that was written there last.
    fn stands(&self, path: &Path, hash: u64) -> bool {
        self.written.get(path) == Some(&hash)
    }

    /// Writes what the next daemon has to know of a life, if that has changed.
    fn save(&mut self, generation: &Generation, saved: &Saved, roots: &Roots) {
        let path = roots.pod(generation).join("state.json");
        if let Ok(bytes) = serde_json::to_vec(saved)
            && !self.stands(&path, fnv1a(&bytes))
            && path.parent().is_some_and(Path::exists)
        {
            self.write(path, &bytes);
        }
    }

    /// Whether something could not be written and is not yet.
    pub fn is_behind(&self) -> bool {
        self.again.is_some()
    }

    /// A life is over, and its directory is gone.
    pub fn forget_life(&mut self, state: &Path) {
        self.written.remove(state);
    }

    pub(super) fn forget(&mut self, path: &Path) {
        self.written.remove(path);
        // A file that is gone already is as good as removed.
        let _ = fs::remove_file(path);
    }
}

/// Under which subject it is noted that the log tells of a Pod's wait for others.
fn waits_for(key: &PodKey) -> String {
    format!("waits {key}")
}

impl Daemon {
    /// Writes what the next daemon has to know, and nothing that people see: of what has happened it is not yet decided what
    /// follows.
    pub(super) fn save_lives(&mut self) {
        for life in self.world.dirty().filter_map(|key| self.world.slot(key)?.life.as_ref()) {
            self.publisher.save(&life.pod.generation, &life.saved(), &self.config.roots);
        }
    }

    /// The same of the Pods of sets that are about to be told to end. That they were told is not written yet: should this daemon
    /// be killed, the next one tells them again.
    pub(super) fn save_ends_of_members(&mut self, actions: &[Action]) {
        let ends = actions.iter().filter_map(|action| match action {
            Action::Term { pod, run, .. } if pod.owner.is_some() => Some((&pod.key, run)),
            _ => None,
        });
        for (key, run) in ends {
            let Some(life) = self.world.slot(key).and_then(|slot| slot.life.as_ref()) else { continue };
            let mut saved = life.saved();
            if let Some(stop) = saved.containers.get_mut(&run.container).and_then(|c| c.stop.as_mut()) {
                stop.termed = false;
            }
            self.publisher.save(&life.pod.generation, &saved, &self.config.roots);
        }
    }

    /// Writes whatever has changed.
    pub(super) fn publish(&mut self) {
        let mut dirty = self.world.take_dirty();
        let due = self.publisher.again.is_some_and(|t| t <= clock::boot_ms());
        if due {
            self.publisher.again = None;
            self.publisher.sources_changed = true;
        }
        if std::mem::take(&mut self.publisher.sources_changed) {
            dirty.extend(self.world.slots().map(|(k, _)| k.clone()));
            dirty.extend(self.merged.good.keys().cloned());
            self.publish_refused();
            self.publisher.host_ips = host_addresses();
            self.publisher.daemon_changed = true;
        }
        self.publisher.has_news |= !dirty.is_empty() || self.publisher.daemon_changed;
        if !dirty.is_empty() || !self.taken.is_empty() {
            self.save_held();
        }
        for key in dirty {
            self.publish_pod(&key);
        }
        // Last: who reads that a source was read completely must find its Pods.
        if std::mem::take(&mut self.publisher.daemon_changed) {
            self.publish_daemon();
        }
        for path in std::mem::take(&mut self.restarting) {
            // Whatever it asked for stands in the files of the lives and sets that it concerns.
            let _ = fs::remove_file(path);
            doom::done("a request taken");
        }
        if due && self.publisher.again.is_none() && std::mem::take(&mut self.publisher.failing) {
            info!("{}: can be written again", self.config.roots.run.display());
        }
    }

    fn publish_daemon(&mut self) {
        self.publisher.daemon.sources = self
            .sources
            .iter()
            .map(|s| SourceStatus {
                path: s.standing().shown().to_owned(),
                synced: s.standing().is_synced(),
                error: s.standing().error().map(str::to_owned),
                ignored: s.ignored(),
            })
            .collect();
        if let Ok(bytes) = serde_json::to_vec(&self.publisher.daemon) {
            // Tried again at the next turn.
            self.publisher.daemon_changed = !self.publisher.write(self.config.roots.daemon_status(), &bytes);
        }
    }

    fn publish_pod(&mut self, key: &PodKey) {
        let path = self.config.roots.pod_status(&key.to_string());
        // One that was stopped by hand, of a source that has not been read yet, is nothing that could be shown.
        let Some(slot) = self.world.slot(key).filter(|s| s.want.is_some() || s.life.is_some()) else {
            self.publisher.forget(&path);
            self.publisher.briefs.remove(key);
            self.worked.forget(key);
            self.said.remove(&waits_for(key));
            return;
        };
        let waits = slot.waiting.as_ref().map(|waiting| waits::tell(&self.world, waiting));
        let to_mend = slot.waiting.as_ref().and_then(|w| waits::tell_of_manifests(&self.world, w));
        if let Some(life) = &slot.life {
            self.publisher.save(&life.pod.generation, &life.saved(), &self.config.roots);
        }
        let good = self.merged.good.get(key);
        let stored = self.stored_document(slot);
        let kept_for = if good.is_none() { self.kept_for(key, slot) } else { Vec::new() };
        let file =
            view::pod_status(key, slot, waits.as_ref(), good, kept_for, stored, &self.publisher.host_ips);
        let works = is_well(&file) && file.deletion_timestamp.is_none();
        let ready = slot.life.as_ref().filter(|_| works).map(|life| &life.pod.generation);
        self.worked.see(key, ready, clock::boot_ms());
        if self.herald.is_on() {
            self.publisher.briefs.insert(key.clone(), Brief::of(&file, self.config.node.as_str()));
        }
        if let Ok(bytes) = serde_json::to_vec(&file) {
            self.publisher.write(path, &bytes);
        }
        match to_mend {
            Some(text) if self.is_new(waits_for(key), &text) => warning!("{key}: {text}"),
            Some(_) => {}
            None => drop(self.said.remove(&waits_for(key))),
        }
    }

    /// Why a Pod that no source gives goes on: its document is refused, or its source has not been read yet.
    fn kept_for(&self, key: &PodKey, slot: &crate::core::Slot) -> Vec<String> {
        let Some(want) = &slot.want else { return Vec::new() };
        let is_it = |r: &&Refused| {
            Refusal { key: r.key.clone(), path: r.origin.path.clone() }.may_be(key, &want.origin)
        };
        let mut problems: Vec<String> =
            self.merged.refused.iter().filter(is_it).flat_map(|r| r.problems.iter().cloned()).collect();
        if problems.is_empty() {
            let unread = self.sources.iter().map(Source::standing).filter(|s| !s.is_synced());
            problems.extend(unread.map(|s| match s.error() {
                Some(error) => format!("{}: {error}", s.shown()),
                None => format!("{}: has not been read yet", s.shown()),
            }));
        }
        problems
    }

    /// The document of what lives, where it is not the one that the sources give now.
    fn stored_document(&self, slot: &crate::core::Slot) -> Option<serde_json::Value> {
        let life = slot.life.as_ref()?;
        let good = self.merged.good.get(&life.pod.key);
        if let Some(good) = good.filter(|g| g.pod.generation == life.pod.generation) {
            return serde_json::from_str(&good.canonical).ok();
        }
        let bytes = fs::read(self.config.roots.pod(&life.pod.generation).join("pod.json")).ok()?;
        serde_json::from_slice::<super::open::StoredPod>(&bytes).ok().map(|s| s.document)
    }

    fn publish_refused(&mut self) {
        let mut files = BTreeSet::new();
        let refused = self.merged.refused.clone();
        for refused in refused {
            let name = format!("refused-{:016x}.json", fnv1a(refused.origin.to_string().as_bytes()));
            let path = self.config.roots.status().join(name);
            let file = PodStatusFile {
                namespace: refused.key.as_ref().map(|k| k.namespace.clone()),
                name: refused.key.as_ref().map(|k| k.name.clone()),
                generation: None,
                uid: None,
                origin: refused.origin.clone(),
                manifest: ManifestState::Refused { problems: refused.problems.to_vec() },
                summary: "Refused".to_owned(),
                message: refused.problems.first().cloned(),
                created_at: None,
                deletion_timestamp: None,
                pod: serde_json::Value::Null,
            };
            if let Ok(bytes) = serde_json::to_vec(&file) {
                self.publisher.write(path.clone(), &bytes);
            }
            files.insert(path);
        }
        let gone: Vec<PathBuf> = self.publisher.refused_files.difference(&files).cloned().collect();
        for path in gone {
            self.publisher.forget(&path);
        }
        self.publisher.refused_files = files;
    }

    /// Removes what an earlier daemon published and this one does not know.
    pub(super) fn forget_old_status(&self) {
        let Ok(entries) = fs::read_dir(self.config.roots.status()) else { return };
        for path in entries.filter_map(Result::ok).map(|e| e.path()) {
            if !self.publisher.written.contains_key(&path) {
                let _ = fs::remove_file(path);
            }
        }
    }
}
