//! What command-line verbs ask of the daemon: one file each under RUN/requests, and a nudge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

use serde::{Deserialize, Serialize};

use super::Daemon;
use crate::core::Event;
use crate::info;
use crate::pod::set::SetKey;
use crate::pod::{Generation, Namespace, PodKey, PodName};
use crate::sys::{clock, doom};
use crate::warning;

/// No request has more bytes than this: some thousand names.
const MOST_BYTES: u64 = 1024 * 1024;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum Request {
    /// `podstrap down`: stop these Pods, or, where none is named, all of them and the daemon.
    Down {
        /// `NAMESPACE/NAME`, with the node's suffix.
        pods: Vec<String>,
    },
    /// `podstrap restart`: stop these Pods in good order and let them begin anew, and have sets replace theirs.
    Restart {
        /// `NAMESPACE/NAME`, with the node's suffix.
        pods: Vec<String>,
        /// DaemonSets and StatefulSets.
        sets: Vec<SetKey>,
    },
}

impl Daemon {
    /// What is asked for is over, or is to be left undone: nobody goes on with it.
    pub(super) fn forget_requests(&self) {
        let Ok(entries) = fs::read_dir(self.config.roots.requests()) else { return };
        for path in entries.filter_map(Result::ok).map(|e| e.path()) {
            let _ = fs::remove_file(path);
        }
    }

    /// Takes in every request that is there. Returns whether everything is to be stopped.
    pub(super) fn requests(&mut self) -> bool {
        let mut all = false;
        let Ok(entries) = fs::read_dir(self.config.roots.requests()) else { return false };
        for path in entries.filter_map(Result::ok).map(|e| e.path()) {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let request = read(&path).map(|bytes| serde_json::from_slice::<Request>(&bytes));
            // A full stop stays to be read until it is over: a daemon that comes after this one goes on with it.
            if matches!(&request, Ok(Ok(Request::Down { pods })) if pods.is_empty()) {
                all = true;
                continue;
            }
            match request {
                Ok(Ok(Request::Down { pods })) => {
                    info!("asked to stop {}", pods.join(", "));
                    let pods: BTreeSet<PodKey> = pods.iter().filter_map(|p| key(p)).collect();
                    self.events.push_back(Event::Hold { pods });
                    // Not before it stands in a file of ours.
                    self.taken.push(path);
                    continue;
                }
                Ok(Ok(Request::Restart { pods, sets })) => {
                    let names = pods.iter().cloned().chain(sets.iter().map(ToString::to_string));
                    info!("asked to start {} anew", names.collect::<Vec<_>>().join(", "));
                    let at = clock::unix_ms();
                    for set in &sets {
                        self.restart_set(set, at);
                    }
                    let pods: BTreeSet<PodKey> = pods.iter().filter_map(|p| key(p)).collect();
                    self.events.push_back(Event::Restart { pods });
                    // Not before it stands in files of ours, and is published: who asked waits for what comes of it.
                    self.restarting.push(path);
                    continue;
                }
                Ok(Err(e)) => warning!("{}: is no request: {e}", path.display()),
                Err(e) => warning!("{}: cannot be read: {e}", path.display()),
            }
            let _ = fs::remove_file(&path);
        }
        all
    }

    /// Tells the core which Pods an earlier daemon, or `down` without one, was asked to keep stopped.
    pub(super) fn find_held(&mut self) {
        let path = self.config.roots.held();
        let Ok(bytes) = fs::read(&path) else { return };
        match serde_json::from_slice::<BTreeMap<String, Generation>>(&bytes) {
            Ok(held) => {
                let pods = held.into_iter().filter_map(|(name, generation)| Some((key(&name)?, generation)));
                self.events.push_back(Event::Held { pods: pods.collect() });
            }
            Err(e) => warning!("{}: is damaged ({e}): stopped Pods are started again", path.display()),
        }
    }

    /// Saves which Pods were stopped by hand; then the requests that said so have done their work.
    pub(super) fn save_held(&mut self) {
        let held = self.world.held();
        let path = self.config.roots.held();
        let is_saved = if held.is_empty() {
            self.publisher.forget(&path);
            !path.exists()
        } else {
            let named: BTreeMap<String, Generation> =
                held.into_iter().map(|(key, generation)| (key.to_string(), generation)).collect();
            serde_json::to_vec(&named).is_ok_and(|bytes| self.publisher.write(path, &bytes))
        };
        if is_saved {
            for path in std::mem::take(&mut self.taken) {
                let _ = fs::remove_file(path);
                doom::done("a request taken");
            }
        }
    }
}

/// Reads a request. What is no file, or far too large for one, is an error: reading it could take for ever.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.is_empty() || bytes.len() as u64 > MOST_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(bytes)
}

fn key(text: &str) -> Option<PodKey> {
    let (namespace, name) = text.split_once('/')?;
    Some(PodKey { namespace: Namespace::new(namespace), name: PodName::new(name) })
}
