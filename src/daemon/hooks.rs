//! Carrying out hooks: each is a child, however quick it may be.

use std::io;
use std::rc::Rc;

use super::Daemon;
use super::jobs::Purpose;
use super::probes::expanded;
use crate::command::{CommandLine, SELF};
use crate::core::{Event, HookKind, RunKey};
use crate::helper::hook::HookSpec;
use crate::helper::probe::ExecTarget;
use crate::pod::{Hook, Pod, ProbeAction};
use crate::sys::spawn::ExitStatus;
use crate::warning;

/// A postStart hook has no bound of its own; nobody waits longer than a day for it, in milliseconds.
const LONGEST_MS: u64 = 24 * 3_600_000;
/// What a hook's helper may take beyond its bound, in milliseconds.
const SLACK_MS: u64 = 3_000;

impl Daemon {
    pub(super) fn hook(&mut self, pod: &Rc<Pod>, run: RunKey, kind: HookKind, within_ms: Option<u64>) {
        let Some(container) = pod.container(&run.container) else { return };
        let hook = match kind {
            HookKind::PostStart => &container.lifecycle.post_start,
            HookKind::PreStop => &container.lifecycle.pre_stop,
        };
        let (Some(Hook::Call(action)), Some(info)) = (hook, self.runs.get(&run)) else {
            // A mere wait is the core's own affair, so this is a run that is over: nobody may wait for it.
            let error = Some("its container is gone".to_owned());
            self.events.push_back(Event::Hooked { run, kind, error });
            return;
        };
        let deadline_ms = within_ms.unwrap_or(LONGEST_MS);
        let exec = matches!(action, ProbeAction::Exec { .. }).then(|| ExecTarget {
            engine: info.engine.clone(),
            runc_root: self.config.roots.runc(),
            id: info.name_in(&self.boot_id),
        });
        let spec = HookSpec {
            action: expanded(action, container),
            default_host: self.address_of(pod),
            deadline_ms,
            exec,
        };
        let started = serde_json::to_vec(&spec).map_err(io::Error::from).and_then(|spec| {
            let line =
                CommandLine::new(SELF).arg("hook").stdin(spec).deadline(deadline_ms.saturating_add(SLACK_MS));
            self.jobs.start(Purpose::Hook(run.clone(), kind), &line, true)
        });
        if let Err(e) = started {
            self.hook_ended(run, kind, ExitStatus::Code(1), format!("its helper cannot be started: {e}"));
        }
    }

    pub(super) fn hook_ended(&mut self, run: RunKey, kind: HookKind, status: ExitStatus, output: String) {
        let error = match status.success() {
            true => None,
            false if output.is_empty() => Some(status.to_string()),
            false => Some(output),
        };
        if let (Some(error), Some(info)) = (&error, self.runs.get(&run)) {
            warning!("{}: {} hook: {error}", info.name(&run), kind.as_str());
        }
        self.events.push_back(Event::Hooked { run, kind, error });
    }

    /// Where a probe or hook connects that names no host.
    pub(super) fn address_of(&self, pod: &Pod) -> String {
        self.world
            .slot(&pod.key)
            .and_then(|s| s.life.as_ref())
            .filter(|l| l.pod.generation == pod.generation)
            .and_then(|l| l.addresses.first().cloned())
            .unwrap_or_else(|| "127.0.0.1".to_owned())
    }
}
