//! Carrying out probes: each try is a child, and what it finds is a verdict for the core to count.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::Daemon;
use super::jobs::Purpose;
use crate::command::{CommandLine, SELF};
use crate::core::{Event, ProbeKind, RunKey, Verdict};
use crate::helper::probe::{ExecTarget, ProbeSpec};
use crate::pod::{Container, EnvValue, Pod, ProbeAction};
use crate::runtime::process::expand;
use crate::sys::spawn::ExitStatus;
use crate::warning;

/// What a probe's helper may take beyond the probe's own timeout, in milliseconds.
const PROBE_SLACK_MS: u64 = 5_000;

impl Daemon {
    pub(super) fn probe(&mut self, pod: &Rc<Pod>, run: RunKey, kind: ProbeKind) {
        let Some(container) = pod.container(&run.container) else { return };
        let rule = match kind {
            ProbeKind::Startup => &container.startup,
            ProbeKind::Liveness => &container.liveness,
            ProbeKind::Readiness => &container.readiness,
        };
        let (Some(rule), Some(info)) = (rule, self.runs.get(&run)) else { return };
        let timeout_ms = u64::from(rule.timeout) * 1000;
        let exec = matches!(rule.action, ProbeAction::Exec { .. }).then(|| ExecTarget {
            engine: info.engine.clone(),
            runc_root: self.config.roots.runc(),
            id: info.name_in(&self.boot_id),
        });
        let spec = ProbeSpec {
            action: expanded(&rule.action, container),
            timeout_ms,
            default_host: self.address_of(pod),
            exec,
        };
        let started = serde_json::to_vec(&spec).map_err(io::Error::from).and_then(|spec| {
            let line = CommandLine::new(SELF)
                .arg("probe")
                .stdin(spec)
                .deadline(timeout_ms.saturating_add(PROBE_SLACK_MS));
            self.jobs.start(Purpose::Probe(run.clone(), kind), &line, true)
        });
        if let Err(e) = started {
            let message = format!("the prober cannot be started: {e}");
            self.events.push_back(Event::Probed { run, kind, verdict: Verdict::Unknown, message });
        }
    }

    pub(super) fn probe_ended(
        &mut self,
        run: RunKey,
        kind: ProbeKind,
        status: ExitStatus,
        output: String,
        overdue: bool,
    ) {
        let verdict = match (overdue, status) {
            (true, _) => Verdict::Failure,
            (false, ExitStatus::Code(0)) => Verdict::Success,
            (false, ExitStatus::Code(1)) => Verdict::Failure,
            (false, ExitStatus::Code(_) | ExitStatus::Signal(_)) => Verdict::Unknown,
        };
        self.count_verdict(kind, verdict);
        // A probe that goes on to fail says the same each time; a new failure after a success is news.
        let subject = format!("{} {run}", kind.as_str());
        if verdict == Verdict::Success {
            self.said.remove(&subject);
        } else if self.runs.contains_key(&run)
            && self.is_new(subject, &output)
            && let Some(info) = self.runs.get(&run)
        {
            warning!("{}: {} probe: {output}", info.name(&run), kind.as_str());
        }
        self.events.push_back(Event::Probed { run, kind, verdict, message: output });
    }
}

/// A probe's command has its `$(VAR)` expanded from what the manifest itself says of the environment, as under the kubelet.
pub fn expanded(action: &ProbeAction, container: &Container) -> ProbeAction {
    match action {
        ProbeAction::Exec { command } => {
            let mut known = BTreeMap::new();
            for variable in &container.env {
                let EnvValue::Text(text) = &variable.value else { continue };
                let value = expand(text, &known);
                known.insert(variable.name.clone(), value);
            }
            ProbeAction::Exec { command: command.iter().map(|word| expand(word, &known)).collect() }
        }
        ProbeAction::HttpGet { .. } | ProbeAction::TcpSocket { .. } | ProbeAction::Grpc { .. } => {
            action.clone()
        }
    }
}
