//! Carrying out what the core decided: each action is a file or two and a child. Here stands only which part of the daemon sees
//! to which action, and which to the end of which child.

use super::Daemon;
use super::jobs::{Job, Purpose};
use crate::core::{Action, Stamp};
use crate::sys::spawn::ExitStatus;

impl Daemon {
    pub(super) fn act(&mut self, action: Action, now: Stamp) {
        match action {
            Action::Open { pod } => self.open(&pod),
            Action::Start { pod, run } => self.start(&pod, run, now),
            Action::Term { pod, run, why } => self.term(&pod, run, &why),
            Action::Kill { pod, run } => self.kill(&pod, run),
            Action::GiveUp { pod, run } => self.give_up(&pod, run),
            Action::Sweep { run } => self.sweep(run),
            Action::Probe { pod, run, kind } => self.probe(&pod, run, kind),
            Action::Hook { pod, run, kind, within_ms } => self.hook(&pod, run, kind, within_ms),
            Action::Pull { reference } => self.pull(&reference),
            Action::Remove { pod } => self.remove(&pod),
        }
    }

    /// Takes in the end of a child.
    pub(super) fn job_ended(&mut self, job: Job, status: ExitStatus) {
        let Job { purpose, output, cut, overdue } = job;
        match purpose {
            Purpose::Monitor(run) => self.monitor_ended(run, status),
            Purpose::Sweep(run) => self.sweep_ended(run, status, &output),
            Purpose::Signal(run, signal) => self.signal_ended(&run, signal, status),
            Purpose::Probe(run, kind) => self.probe_ended(run, kind, status, output, overdue),
            Purpose::Hook(run, kind) => self.hook_ended(run, kind, status, output),
            Purpose::Sandbox(key, generation, first) => {
                self.sandbox_ended(&key, generation, first, status, &output, overdue);
            }
            Purpose::Project(changed) => self.projected(changed, status, &output),
            Purpose::Load => self.load_ended(status, &output),
            Purpose::Images => self.images_listed(status, &output, cut),
            Purpose::Pull(reference) => self.pull_ended(reference, status, output),
            Purpose::Remove(key, generation) => self.remove_ended(key, generation, status, &output),
            Purpose::Stale => self.stale_ended(status, &output),
            Purpose::Version => self.version_told(status, &output),
            Purpose::Events => self.events_ended(status),
            Purpose::Look => self.looked(status, &output, overdue),
            Purpose::Fetch(source) => self.fetched(source, status, &output, overdue),
            Purpose::Mirror => self.mirror_ended(status),
            Purpose::Keep => self.keep_ended(status, &output),
        }
    }
}
