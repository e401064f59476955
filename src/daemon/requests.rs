//! What command-line verbs ask of the daemon: one file each under RUN/requests, and a nudge.

use std::collections::BTreeSet;
use std::fs;

use serde::{Deserialize, Serialize};

use super::Daemon;
use crate::core::Event;
use crate::info;
use crate::pod::{Namespace, PodKey, PodName};
use crate::warning;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum Request {
    /// `podstrap down`: stop these Pods, or, where none is named, all of them and the daemon.
    Down {
        /// `NAMESPACE/NAME`, with the node's suffix.
        pods: Vec<String>,
    },
}

impl Daemon {
    /// Takes in every request that is there. Returns whether everything is to be stopped.
    pub(super) fn requests(&mut self) -> bool {
        let mut all = false;
        let Ok(entries) = fs::read_dir(self.config.roots.requests()) else { return false };
        for path in entries.filter_map(Result::ok).map(|e| e.path()) {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let request = fs::read(&path).map(|bytes| serde_json::from_slice::<Request>(&bytes));
            let _ = fs::remove_file(&path);
            match request {
                Ok(Ok(Request::Down { pods })) if pods.is_empty() => all = true,
                Ok(Ok(Request::Down { pods })) => {
                    info!("asked to stop {}", pods.join(", "));
                    let pods: BTreeSet<PodKey> = pods.iter().filter_map(|p| key(p)).collect();
                    self.events.push_back(Event::Hold { pods });
                }
                Ok(Err(e)) => warning!("{}: is no request: {e}", path.display()),
                Err(e) => warning!("{}: cannot be read: {e}", path.display()),
            }
        }
        all
    }
}

fn key(text: &str) -> Option<PodKey> {
    let (namespace, name) = text.split_once('/')?;
    Some(PodKey { namespace: Namespace::new(namespace), name: PodName::new(name) })
}
