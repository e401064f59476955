//! A life of a Pod begins: what it is made of is written down first, so that a later daemon can make the same Pod again, and
//! its containers' runs are numbered on from those that left something.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::Daemon;
use crate::monitor::record;
use crate::pod::{Origin, Pod};
use crate::sys::atomic::{self, Durability};
use crate::{error, warning};

/// RUN/pods/GENERATION/pod.json: enough to make the same Pod again.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredPod {
    /// [`record::VERSION`].
    pub version: u32,
    /// The boot in which this was written.
    pub boot_id: String,
    /// The node's name at that time.
    pub node: String,
    /// File and document.
    pub origin: Origin,
    /// The input document.
    pub document: serde_json::Value,
}

impl Daemon {
    pub(super) fn open(&mut self, pod: &Rc<Pod>) {
        let generation = pod.generation.clone();
        let stored = self.store_pod(pod);
        if let Err(e) = stored {
            // The life goes on without it: a later daemon would then see a stray and stop it in good order.
            error!("{}: cannot write {}: {e}", pod.key, self.config.roots.pod(&generation).display());
        }
        // Nothing of a life stands here before it begins, unless it is one that could not be read when the daemon began.
        let left = self.run_dirs(&generation);
        // The newest of each container. Not a number above it: two of them would live at a time.
        let newest: BTreeMap<_, _> = left.iter().map(|(r, _)| (r.container.clone(), r.attempt)).collect();
        // Known already: its sandbox was lost, and is made anew. To be told of it again would only ask for that again.
        // What is over waits only for its removal.
        if left.iter().any(|(run, dir)| !self.runs.contains_key(run) && !self.finished.contains(dir)) {
            match self.take_over(pod.clone(), left) {
                Ok(found) => {
                    warning!("{}: runs already; its damaged state is made anew", pod.key);
                    self.tell_found(found);
                }
                Err(e) => error!("{}: what runs of it cannot be taken over: {e}", pod.key),
            }
        }
        let first_attempts = pod
            .all_containers()
            .map(|c| {
                let dir = self.config.roots.pod_logs(pod).join(c.name.as_str());
                let attempt = newest.get(&c.name).copied().unwrap_or_else(|| first_free_attempt(&dir));
                (c.name.clone(), attempt)
            })
            .collect();
        self.open_sandbox(pod, first_attempts);
    }

    fn store_pod(&self, pod: &Pod) -> io::Result<()> {
        let dir = self.config.roots.pod(&pod.generation);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let document = match self.merged.good.get(&pod.key) {
            Some(good) if good.pod.generation == pod.generation => serde_json::from_str(&good.canonical)?,
            // Held back since: what runs on is what was stored when it began.
            Some(_) | None => return Ok(()),
        };
        let stored = StoredPod {
            version: record::VERSION,
            boot_id: self.boot_id.clone(),
            node: pod.node.to_string(),
            origin: pod.origin.clone(),
            document,
        };
        atomic::write(&dir.join("pod.json"), &serde_json::to_vec(&stored)?, 0o600, Durability::Process)
    }
}

/// One above the highest attempt that has a log file.
fn first_free_attempt(dir: &PathBuf) -> u32 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .filter_map(|e| e.file_name().to_str()?.split('.').next()?.parse::<u32>().ok())
        .max()
        .map_or(0, |n| n.saturating_add(1))
}
