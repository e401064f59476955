//! ConfigMaps and Secrets: from the sources to the files that monitors read, and on to the volumes of Pods that run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use super::Daemon;
use super::jobs::Purpose;
use crate::command::{CommandLine, SELF};
use crate::core::Event;
use crate::helper::project::Projection;
use crate::monitor::objects;
use crate::pod::objects::References;
use crate::pod::{Namespace, ObjectRef, Pod};
use crate::source::{HeldObject, Merged};
use crate::sys::clock;
use crate::sys::spawn::ExitStatus;
use crate::{error, info, warning};

/// Writing volumes anew may take this long, in milliseconds.
const PROJECT_MS: u64 = 60_000;
/// Volumes that could not be written anew are tried again after this many milliseconds.
const PROJECT_AGAIN_MS: u64 = 2_000;

/// All objects by namespace and name.
pub type Objects = BTreeMap<(Namespace, ObjectRef), HeldObject>;

impl Daemon {
    /// Takes in what the sources hold now: writes what is new, removes what is gone, and has the volumes of Pods that refer to
    /// it written anew.
    pub(super) fn objects_changed(&mut self, merged: &Merged) {
        if merged.objects == self.merged.objects && self.objects_told {
            return;
        }
        let mut changed: BTreeSet<(Namespace, ObjectRef)> = BTreeSet::new();
        for (key, held) in &merged.objects {
            if self.objects_told && self.merged.objects.get(key).is_some_and(|h| h.object == held.object) {
                continue;
            }
            if let Err(e) = objects::write(&self.config.roots, &held.object) {
                error!("{} {}/{}: cannot be written: {e}", key.1.kind.as_str(), key.0, key.1.name);
            }
            changed.insert(key.clone());
        }
        if !self.objects_told {
            self.forget_old_objects(&merged.objects);
        }
        // What is gone stays in the volumes that have it, as under the kubelet; a new start finds it missing.
        for key in self.merged.objects.keys().filter(|k| !merged.objects.contains_key(*k)) {
            if let Err(e) = objects::remove(&self.config.roots, &key.0, &key.1) {
                error!("{} {}/{}: cannot be removed: {e}", key.1.kind.as_str(), key.0, key.1.name);
            }
        }
        self.objects_told = true;
        self.events.push_back(Event::Objects { present: merged.objects.keys().cloned().collect() });
        // The lives that an earlier daemon left are known only when their events have been folded.
        self.unprojected.extend(changed);
        self.project_again = None;
    }

    /// Has the volumes of Pods that refer to what has changed written anew, if that is due.
    pub(super) fn project_due(&mut self) {
        if !self.unprojected.is_empty() && self.project_again.is_none_or(|t| t <= clock::boot_ms()) {
            self.project_again = None;
            let changed = std::mem::take(&mut self.unprojected);
            self.project(changed);
        }
    }

    /// What an earlier daemon wrote and no source holds any more.
    fn forget_old_objects(&self, present: &Objects) {
        let known: BTreeSet<_> = present
            .keys()
            .map(|(namespace, object)| objects::file(&self.config.roots, namespace, object))
            .collect();
        let Ok(entries) = fs::read_dir(self.config.roots.objects()) else { return };
        for path in entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| !known.contains(p)) {
            // It can wait: nothing refers to it that is not told so by the core.
            let _ = fs::remove_file(path);
        }
    }

    fn project(&mut self, changed: BTreeSet<(Namespace, ObjectRef)>) {
        let refers = |pod: &Pod| {
            let references = References::of(pod);
            let mut all = references.required.iter().chain(&references.optional);
            all.any(|o| changed.contains(&(pod.key.namespace.clone(), o.clone())))
        };
        let pods: Vec<Pod> = self
            .world
            .slots()
            .filter_map(|(_, slot)| slot.life.as_ref())
            .filter(|life| life.leaving().is_none() && refers(&life.pod))
            .map(|life| Pod::clone(&life.pod))
            .collect();
        if pods.is_empty() {
            return;
        }
        let request = Projection { roots: self.config.roots.clone(), pods };
        let started = serde_json::to_vec(&request).map_err(io::Error::from).and_then(|request| {
            let line = CommandLine::new(SELF).arg("project").stdin(request).deadline(PROJECT_MS);
            self.jobs.start(Purpose::Project(changed.clone()), &line, true)
        });
        if let Err(e) = started {
            self.project_failed(changed, &format!("its helper cannot be started: {e}"));
        }
    }

    fn project_failed(&mut self, changed: BTreeSet<(Namespace, ObjectRef)>, why: &str) {
        if self.is_new("volumes".to_owned(), why) {
            for line in why.lines() {
                warning!("volumes of ConfigMaps and Secrets cannot be written anew yet: {line}");
            }
        }
        self.unprojected.extend(changed);
        self.project_again = Some(clock::boot_ms().saturating_add(PROJECT_AGAIN_MS));
    }

    pub(super) fn projected(
        &mut self,
        changed: BTreeSet<(Namespace, ObjectRef)>,
        status: ExitStatus,
        output: &str,
    ) {
        if !status.success() {
            let why = if output.is_empty() { status.to_string() } else { output.to_owned() };
            return self.project_failed(changed, &why);
        }
        self.said.remove("volumes");
        for line in output.lines() {
            info!("{line}");
        }
    }
}
