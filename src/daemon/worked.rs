//! Which generation of each Pod has worked, written down so that `why` can tell what was changed since.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::Daemon;
use super::open::StoredPod;
use crate::log::rfc3339;
use crate::pod::{Generation, PodKey};
use crate::report::worked::Worked;
use crate::source::keep::Keep;
use crate::sys::clock;

/// A Pod that has been ready for so many milliseconds works: one that crashes is ready for a moment, too.
const WORKS_AFTER_MS: u64 = 10_000;
/// Full so many milliseconds: Pods that became ready together are written down by one wake-up.
const TOGETHER_MS: u64 = 1_000;

/// What is known of that.
#[derive(Debug, Default)]
pub struct WorkedDesk {
    /// Pods that are ready, and when that is to count (boot clock, milliseconds).
    settling: BTreeMap<PodKey, (Generation, u64)>,
    /// What has been written down.
    noted: BTreeMap<PodKey, Generation>,
}

impl WorkedDesk {
    /// The next moment at which there is something to write down.
    pub fn deadline(&self) -> Option<u64> {
        self.settling.values().map(|(_, at)| *at).min()
    }

    /// Takes in which generation of a Pod is ready now, if one is.
    pub fn see(&mut self, key: &PodKey, ready: Option<&Generation>, now: u64) {
        let (Some(generation), noted) = (ready, self.noted.get(key)) else {
            self.settling.remove(key);
            return;
        };
        if noted == Some(generation) {
            self.settling.remove(key);
        } else if self.settling.get(key).is_none_or(|(settling, _)| settling != generation) {
            let at = now.saturating_add(WORKS_AFTER_MS).next_multiple_of(TOGETHER_MS);
            self.settling.insert(key.clone(), (generation.clone(), at));
        }
    }

    /// The Pods that are due; they are not any more.
    fn due(&mut self, now: u64) -> Vec<(PodKey, Generation)> {
        let is_due = |(_, (_, at)): &(&PodKey, &(Generation, u64))| *at <= now;
        let due: Vec<_> =
            self.settling.iter().filter(is_due).map(|(key, (g, _))| (key.clone(), g.clone())).collect();
        for (key, generation) in &due {
            self.settling.remove(key);
            self.noted.insert(key.clone(), generation.clone());
        }
        due
    }

    /// A Pod is no more; what is on disk of it stays.
    pub fn forget(&mut self, key: &PodKey) {
        self.settling.remove(key);
        self.noted.remove(key);
    }
}

impl Daemon {
    /// Has what has been found to work written down, by the child that keeps manifests: the disk may be slow.
    pub(super) fn note_what_works(&mut self) {
        for (key, generation) in self.worked.due(clock::boot_ms()) {
            let roots = &self.config.roots;
            let stored = fs::read(roots.pod(&generation).join("pod.json")).ok();
            let stored = stored.and_then(|bytes| serde_json::from_slice::<StoredPod>(&bytes).ok());
            let key = key.to_string();
            let path = roots.worked(&key);
            if let Some(StoredPod { document, .. }) = stored
                && let since = rfc3339(clock::unix_ms())
                && let Ok(text) = serde_json::to_string(&Worked { key, generation, since, document })
            {
                self.keep_also(Keep::text(path, text));
            }
        }
    }

    /// Removes, once in a boot, what is known of Pods that there are not.
    pub(super) fn forget_what_worked(&self) {
        if !self.merged.refused.is_empty() {
            // A refused document may be of any Pod.
            return;
        }
        let roots = &self.config.roots;
        let here: Vec<PathBuf> = self.world.slots().map(|(key, _)| roots.worked(&key.to_string())).collect();
        let entries = fs::read_dir(roots.state.join("worked")).into_iter().flatten().flatten();
        for path in entries.map(|e| e.path()).filter(|path| !here.contains(path)) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::{Namespace, PodName};

    #[test]
    fn what_is_ready_for_a_while_works() {
        let key = PodKey { namespace: Namespace::new("default"), name: PodName::new("a-n") };
        let (one, two) = (Generation::new("1"), Generation::new("2"));
        let mut desk = WorkedDesk::default();
        desk.see(&key, Some(&one), 1_000);
        desk.see(&key, Some(&one), 9_000);
        assert_eq!((desk.deadline(), desk.due(10_999)), (Some(11_000), vec![]));
        assert_eq!(desk.due(11_000), [(key.clone(), one.clone())]);
        desk.see(&key, Some(&one), 12_000);
        assert_eq!(desk.deadline(), None, "it is known");
        // One that crashes is ready again and again, and never for long.
        for at in [20_000, 26_000, 32_000] {
            desk.see(&key, Some(&two), at);
            assert_eq!(desk.due(at + 5_000), []);
            desk.see(&key, None, at + 5_500);
        }
        assert_eq!(desk.deadline(), None);
        desk.see(&key, Some(&two), 40_000);
        desk.see(&key, Some(&one), 45_000);
        assert_eq!(desk.deadline(), None, "the former one, which is known, is back");
        desk.forget(&key);
        desk.see(&key, Some(&one), 50_000);
        assert_eq!(desk.deadline(), Some(60_000));
        desk.see(&PodKey { name: PodName::new("b-n"), ..key }, Some(&one), 49_200);
        assert_eq!((desk.deadline(), desk.due(60_000).len()), (Some(60_000), 2), "by one wake-up");
    }
}
