//! The child that shows the Pods in an API server, where a kubeconfig is given. It reads what is published, so nothing here
//! waits for it or tells it anything: it is only started again when it ends.

use std::fs;
use std::io;

use super::Daemon;
use super::jobs::Purpose;
use crate::command::{CommandLine, SELF};
use crate::mirror::MirrorSpec;
use crate::sys::clock;
use crate::sys::spawn::{ExitStatus, Output};
use crate::warning;

/// It is started again after this many milliseconds, doubling …
const AGAIN_MS: u64 = 1_000;
/// … up to this many. One that has lived longer begins anew.
const AGAIN_MAX_MS: u64 = 30_000;

/// When it is started (again).
#[derive(Debug, Default)]
pub struct MirrorDesk {
    /// Boot clock, milliseconds.
    at: Option<u64>,
    pause: u64,
    started: u64,
}

impl MirrorDesk {
    /// The next moment at which something is due here.
    pub fn deadline(&self) -> Option<u64> {
        self.at
    }

    fn again(&mut self) {
        let now = clock::boot_ms();
        let former = if now.saturating_sub(self.started) > AGAIN_MAX_MS { 0 } else { self.pause };
        self.pause = (former * 2).clamp(AGAIN_MS, AGAIN_MAX_MS);
        self.at = Some(now.saturating_add(self.pause));
    }
}

impl Daemon {
    /// What a former daemon's child left tells nothing any more.
    pub(super) fn mirror_at_boot(&mut self) {
        let _ = fs::remove_file(self.config.roots.mirror_status());
        self.mirror.at = self.config.mirror.is_some().then(clock::boot_ms);
    }

    /// Starts the child, if that is due.
    pub(super) fn mirror_due(&mut self) {
        let Some(config) = &self.config.mirror else { return };
        if self.mirror.at.is_none_or(|at| at > clock::boot_ms()) {
            return;
        }
        let spec = MirrorSpec {
            kubeconfig: config.kubeconfig.clone(),
            register_node: config.register_node,
            node: self.config.node.to_string(),
            facts: self.config.facts.clone(),
            roots: self.config.roots.clone(),
        };
        self.mirror.at = None;
        self.mirror.started = clock::boot_ms();
        let started = serde_json::to_vec(&spec).map_err(io::Error::from).and_then(|text| {
            let line = CommandLine::new(SELF).arg("mirror").stdin(text).tied();
            // Its lines are for the log, like ours.
            self.jobs.start_to(Purpose::Mirror, &line, Output::Inherit)
        });
        if let Err(e) = started {
            warning!("mirror Pods: the child that shows them cannot be started: {e}");
            self.mirror.again();
        }
    }

    /// It has ended; it never does by itself.
    pub(super) fn mirror_ended(&mut self, status: ExitStatus) {
        self.mirror.again();
        warning!("mirror Pods: the child that shows them has ended ({status}); it is started again");
    }
}
