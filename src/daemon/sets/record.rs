//! What is kept on disk of a set: the version of its template that was settled last, and when it was started anew by hand.
//!
//! A Pod that was stopped below a partition, or that a reboot ended in the middle of a roll-out, is made of the old template,
//! which is in no source any more. So it lies in STATE/sets: written at once, for a daemon that is killed, and by the child
//! that keeps manifests once more with all that a power cut wants.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::daemon::Daemon;
use crate::log::rfc3339;
use crate::paths::{Roots, fnv1a};
use crate::pod::set::{Retention, SetKey, Template};
use crate::source::keep::Keep;
use crate::sys::atomic::Durability;
use crate::{info, warning};

/// What is kept of one set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose.
    pub key: SetKey,
    /// The version that was settled last.
    pub current: Option<Template>,
    /// When it was started anew by hand.
    #[serde(default)]
    pub restarted_at: Option<String>,
    /// What becomes of its claims.
    #[serde(default)]
    pub retention: Retention,
}

impl Record {
    /// Of a set that is new.
    pub fn new(key: SetKey) -> Self {
        Self { key, current: None, restarted_at: None, retention: Retention::default() }
    }
}

fn file_of(directory: &Path, key: &SetKey) -> PathBuf {
    directory.join(format!("{:016x}.json", fnv1a(key.to_string().as_bytes())))
}

/// What is kept of all sets. What cannot be read is as if the set were new.
pub fn records(roots: &Roots) -> BTreeMap<SetKey, Record> {
    let mut records = BTreeMap::new();
    for path in fs::read_dir(roots.sets()).into_iter().flatten().flatten().map(|e| e.path()) {
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        match fs::read(&path).map(|bytes| serde_json::from_slice::<Record>(&bytes)) {
            Ok(Ok(record)) => drop(records.insert(record.key.clone(), record)),
            Ok(Err(e)) => warning!("{}: is damaged ({e}): the set begins anew", path.display()),
            Err(e) => warning!("{}: cannot be read: {e}: the set begins anew", path.display()),
        }
    }
    records
}

impl Daemon {
    /// Reads what is kept.
    pub(in crate::daemon) fn find_records(&mut self) {
        for (key, record) in records(&self.config.roots) {
            self.sets.known.entry(key).or_default().record = Some(record);
        }
    }

    /// Writes what is to be kept.
    pub(super) fn save_record(&mut self, record: &Record) {
        let Ok(text) = serde_json::to_string(record) else { return };
        let keep = Keep::text(file_of(&self.config.roots.sets(), &record.key), text);
        let written = keep.carry_out(Durability::Process);
        if let Err(e) = &written
            && self.is_new(format!("record {}", record.key), &e.to_string())
        {
            warning!("{}: its revision cannot be kept on disk: {e}", record.key);
        }
        self.keep_also(keep);
    }

    /// The set is in no source any more, and none of its Pods lives.
    pub(super) fn forget_set(&mut self, key: &SetKey) {
        let record = self.sets.known.remove(key).and_then(|k| k.record);
        self.forget_members(key);
        if record.is_some_and(|r| r.retention.delete_with_set) {
            self.remove_claims_of(key, |_| true);
        }
        let keep = Keep::nothing(file_of(&self.config.roots.sets(), key));
        // The child tries it again.
        let _ = keep.carry_out(Durability::Process);
        self.keep_also(keep);
        info!("{key}: is gone");
    }

    /// `podstrap restart` of a set: its template counts as a new version from now on.
    pub(in crate::daemon) fn restart_set(&mut self, key: &SetKey, unix_ms: i64) {
        if !self.merged.sets.contains_key(key) {
            warning!("{key}: there is no such set to be started anew");
            return;
        }
        let known = self.sets.known.entry(key.clone()).or_default();
        known.update = None;
        known.made.clear();
        let record = known.record.get_or_insert_with(|| Record::new(key.clone()));
        record.restarted_at = Some(rfc3339(unix_ms));
        let record = record.clone();
        self.save_record(&record);
        self.sets.is_changed = true;
    }
}
