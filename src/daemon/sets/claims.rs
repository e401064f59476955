//! The directories that stand for a StatefulSet's claims: STATE/claims/NAMESPACE/CLAIM-NAME-ORDINAL.
//!
//! They are found again by name, and stay when the Pod, its number or the whole set goes, unless the set says otherwise. Beside
//! each lies a file that says whose it is. What is to be removed is first given another name, so that nobody finds half of it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::PathBuf;

use crate::core::sets::Members;
use crate::daemon::Daemon;
use crate::manifest::sets;
use crate::paths::{ClaimFile, Roots, fnv1a};
use crate::pod::Pod;
use crate::pod::set::{Set, SetKey, SetKind, Template};
use crate::sys::atomic::{self, Durability};
use crate::sys::clock;
use crate::{info, warning};

/// How the names of directories begin that are about to be removed.
const REMOVED: &str = ".removed-";

impl Daemon {
    /// Makes the directories of one Pod's claims, or finds them made.
    pub(super) fn make_claims(
        &self,
        set: &Set,
        template: &Template,
        ordinal: u32,
        pod: &Pod,
    ) -> io::Result<()> {
        if template.claims.is_empty() {
            return Ok(());
        }
        let parent = self.config.roots.claims().join(set.key.namespace.as_str());
        // What the containers write is nobody else's on this host.
        DirBuilder::new().recursive(true).mode(0o700).create(&parent)?;
        for claim in &template.claims {
            let name = format!("{claim}-{}", sets::pod_name(&set.key, ordinal));
            let request = set.claims.iter().find(|c| c.name == *claim).and_then(|c| c.request);
            let file = ClaimFile {
                set: set.key.clone(),
                claim: claim.clone(),
                ordinal,
                request: request.map(|b| b.0),
            };
            let about = parent.join(format!("{name}.json"));
            let text = serde_json::to_vec(&file)?;
            if fs::read(&about).ok().as_ref() != Some(&text) {
                atomic::write(&about, &text, 0o600, Durability::Process)?;
            }
            let directory = parent.join(&name);
            match DirBuilder::new().mode(0o755).create(&directory) {
                Ok(()) => {
                    // Whatever user the containers run as may write there; the parents are root's own.
                    let mode = match pod.fs_group {
                        Some(group) => {
                            chown(&directory, None, Some(group))?;
                            0o2770
                        }
                        None => 0o777,
                    };
                    fs::set_permissions(&directory, Permissions::from_mode(mode))?;
                    info!("{}: made {}", set.key, directory.display());
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Removes the claims of numbers that a set has no more, where it says so.
    pub(super) fn remove_scaled_claims(&mut self, all_members: &BTreeMap<SetKey, Members>, is_changed: bool) {
        let scaled = self.merged.sets.values().filter(|held| {
            held.set.retention.delete_when_scaled && held.kept_for.is_none() && !held.set.claims.is_empty()
        });
        let scaled: Vec<_> = scaled.map(|held| held.set.clone()).collect();
        for set in scaled {
            let range = set.start..set.start.saturating_add(set.replicas);
            let numbers: Vec<u32> =
                all_members.get(&set.key).map(|m| m.keys().copied().collect()).unwrap_or_default();
            let known = self.sets.known.entry(set.key.clone()).or_default();
            if !is_changed && known.numbers == numbers {
                continue;
            }
            known.numbers = numbers;
            let lives = |n: u32| all_members.get(&set.key).is_some_and(|m| m.contains_key(&n));
            self.remove_claims_of(&set.key, |n| !range.contains(&n) && !lives(n));
        }
    }

    /// Removes the claims of a set whose numbers are meant.
    pub(super) fn remove_claims_of(&mut self, key: &SetKey, is_meant: impl Fn(u32) -> bool) {
        if key.kind != SetKind::StatefulSet {
            return;
        }
        let mut directories = Vec::new();
        for (file, directory) in claims_in(&self.config.roots, key) {
            if file.set != *key || !is_meant(file.ordinal) {
                continue;
            }
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mark = fnv1a(format!("{name} {}", clock::boot_ms()).as_bytes());
            let removed = directory.with_file_name(format!("{REMOVED}{mark:016x}"));
            match fs::rename(&directory, &removed) {
                Ok(()) => {
                    info!(
                        "{key}: removes the claim {name}, as its persistentVolumeClaimRetentionPolicy says"
                    );
                    directories.push(removed);
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    warning!("{}: cannot be removed: {e}", directory.display());
                    continue;
                }
            }
            // Nothing is left that it could tell of.
            let _ = fs::remove_file(directory.with_file_name(format!("{name}.json")));
        }
        self.remove_directories(directories);
    }

    /// Goes on with removals that an earlier daemon had begun.
    pub(in crate::daemon) fn remove_left_claims(&mut self) {
        let namespaces = fs::read_dir(self.config.roots.claims()).into_iter().flatten().flatten();
        let entries = namespaces.flat_map(|n| fs::read_dir(n.path()).into_iter().flatten().flatten());
        let is_removed = |e: &fs::DirEntry| e.file_name().to_string_lossy().starts_with(REMOVED);
        let directories = entries.filter(is_removed).map(|e| e.path()).collect();
        self.remove_directories(directories);
    }
}

/// The claims of one namespace, with their directories.
fn claims_in(roots: &Roots, key: &SetKey) -> Vec<(ClaimFile, PathBuf)> {
    let parent = roots.claims().join(key.namespace.as_str());
    let names = fs::read_dir(&parent).into_iter().flatten().flatten().map(|e| e.path());
    let read = |path: PathBuf| {
        let file = ClaimFile::parse(&fs::read(&path).ok()?)?;
        Some((file, path.with_extension("")))
    };
    names.filter(|p| p.extension().is_some_and(|e| e == "json")).filter_map(read).collect()
}
