//! A Pod's own namespaces and network: made and unmade by a helper, known here by what that leaves on disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;

use nix::libc;

use super::jobs::Purpose;
use super::{Daemon, adopt};
use crate::command::{CommandLine, SELF};
use crate::core::Event;
use crate::helper::sandbox::{Sandbox, SandboxSpec};
use crate::pod::{ContainerName, Generation, Pod};
use crate::sys::process;
use crate::sys::spawn::ExitStatus;
use crate::{error, info};

/// Making a sandbox may take this long, in milliseconds: a chain of network plugins has its own bounds.
const UP_MS: u64 = 300_000;

impl Daemon {
    /// Makes what the Pod's life needs beyond directories; tells the core when it is there.
    pub(super) fn open_sandbox(&mut self, pod: &Pod, first_attempts: BTreeMap<ContainerName, u32>) {
        let generation = pod.generation.clone();
        if !pod.needs_sandbox() {
            self.events.push_back(Event::Opened { generation, first_attempts, addresses: Vec::new() });
            return;
        }
        let spec = SandboxSpec {
            roots: self.config.roots.clone(),
            boot_id: self.boot_id.clone(),
            pod: pod.clone(),
            cni: self.config.cni.clone(),
            cluster_domain: self.config.cluster_domain.clone(),
            cgroup_root: Some(self.config.cgroup_root.clone()),
            docker: self.engine.docker().cloned(),
        };
        let purpose = Purpose::Sandbox(pod.key.clone(), generation.clone(), first_attempts);
        let started = serde_json::to_vec(&spec).map_err(io::Error::from).and_then(|spec| {
            let line = CommandLine::new(SELF).arg("sandbox").arg("up").stdin(spec).deadline(UP_MS);
            self.jobs.start(purpose, &line, true)
        });
        if let Err(e) = started {
            let message = format!("the helper that makes its network cannot be started: {e}");
            error!("{}: {message}", pod.key);
            self.events.push_back(Event::OpenFailed { generation, message });
        }
    }

    pub(super) fn sandbox_ended(
        &mut self,
        key: &crate::pod::PodKey,
        generation: Generation,
        first_attempts: BTreeMap<ContainerName, u32>,
        status: ExitStatus,
        output: &str,
        overdue: bool,
    ) {
        match self.sandbox_of(&generation).filter(|_| status.success()) {
            Some(sandbox) => {
                self.said.remove(&format!("sandbox {generation}"));
                self.watch_holder(&generation, &sandbox);
                let addresses: Vec<String> = sandbox.addresses.iter().map(ToString::to_string).collect();
                if !addresses.is_empty() {
                    info!("{key}: has the address {}", addresses.join(", "));
                }
                self.events.push_back(Event::Opened { generation, first_attempts, addresses });
            }
            None => {
                let message = match output.lines().last() {
                    _ if overdue => format!(
                        "its network or namespaces were not made within {} s: a network plugin hangs as a rule; it is \
                         tried again by itself",
                        UP_MS / 1000
                    ),
                    Some(line) => line.strip_prefix("podstrap: ").unwrap_or(line).to_owned(),
                    None => format!("its network or namespaces cannot be made ({status})"),
                };
                // Of one that was ended because its Pod is to go, there is nothing to be told.
                let life = self.world.slot(key).and_then(|s| s.life.as_ref());
                let stays = life.is_some_and(|l| l.leaving().is_none());
                // It is tried again for as long as it takes: the same is not said each time.
                if stays && self.is_new(format!("sandbox {generation}"), &message) {
                    error!("{key}: {message}");
                }
                self.events.push_back(Event::OpenFailed { generation, message });
            }
        }
    }

    /// Ends whatever makes the sandbox of a generation that is to go, be it of an earlier daemon: plugins may hang for
    /// minutes. What it leaves half done is what removal looks for.
    pub(super) fn end_sandbox_helpers(&self, generation: &Generation) {
        self.jobs.kill(|p| matches!(p, Purpose::Sandbox(_, g, _) if g == generation));
        // Fails only when there is none, or it has just ended.
        if let Ok(Some(holder)) = adopt::living_holder(&self.config.roots.sandbox_lock(generation)) {
            let _ = process::pidfd_signal(holder.as_fd(), libc::SIGKILL);
        }
    }

    /// What is known of a generation's sandbox, if it was made in this boot.
    pub(super) fn sandbox_of(&self, generation: &Generation) -> Option<Sandbox> {
        let bytes = fs::read(self.config.roots.sandbox(generation)).ok()?;
        let sandbox: Sandbox = serde_json::from_slice(&bytes).ok()?;
        (sandbox.boot_id == self.boot_id).then_some(sandbox)
    }
}
