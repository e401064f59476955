//! From the core's state to what Kubernetes would show: phase, conditions, container statuses, and kubectl's one word.

use std::net::IpAddr;

use serde_json::Value;

use super::object::v1_pod;
use super::statuses::Statuses;
use super::stuck;
use super::waits::WaitText;
use crate::core::Slot;
use crate::core::container::{ContainerState, Phase, Role};
use crate::core::life::{Life, Opened, StopReason};
use crate::log::rfc3339;
use crate::pod::PodKey;
use crate::report::{ContainerStatus, ManifestState, PodStatusFile, Terminated, Waiting};
use crate::source::Good;

/// Everything that is published of one Pod. `kept_for`: why it goes on though no source gives it now; `waits`: what its next
/// life waits for.
pub fn pod_status(
    key: &PodKey,
    slot: &Slot,
    waits: Option<&WaitText>,
    good: Option<&Good>,
    kept_for: Vec<String>,
    document: Option<Value>,
    host_ips: &[IpAddr],
) -> PodStatusFile {
    let life = slot.life.as_ref();
    let pod = life.map(|l| &l.pod).or(slot.want.as_ref());
    let statuses = match (life, waits, pod) {
        (Some(life), ..) => Statuses::of(life),
        (None, Some(waits), Some(pod)) => Statuses::waiting(pod, waits.reason, &waits.message),
        (None, ..) => Statuses::default(),
    };
    let (summary, message) = match life {
        Some(life) => summary(slot, life, &statuses, waits),
        None if slot.held.is_some() => ("Stopped".to_owned(), Some("stopped by `podstrap down`".to_owned())),
        None => match waits {
            Some(waits) => (waits.reason.to_owned(), Some(waits.message.clone())),
            None => ("Pending".to_owned(), None),
        },
    };
    let deletion = life.and_then(Life::leaving).map(|s| rfc3339(s.since.unix_ms));
    let since = life.map(|l| l.since).or_else(|| slot.waiting.as_ref().map(|w| w.since));
    let created = since.map(|since| rfc3339(since.unix_ms));
    // The file's name may have changed since this life began.
    let origin = good.map(|g| g.pod.origin.clone()).or_else(|| pod.map(|p| p.origin.clone()));
    let object = match (pod, document.or_else(|| good.and_then(|g| serde_json::from_str(&g.canonical).ok())))
    {
        (Some(pod), Some(document)) => {
            v1_pod(pod, document, life, &statuses, created.as_deref(), deletion.as_deref(), host_ips)
        }
        _ => Value::Null,
    };
    PodStatusFile {
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        generation: pod.map(|p| p.generation.clone()),
        uid: pod.map(|p| p.uid.clone()),
        origin: origin.unwrap_or(crate::pod::Origin { path: "-".to_owned(), document: 1 }),
        manifest: manifest_state(slot, waits, good, kept_for),
        summary,
        message,
        created_at: created,
        deletion_timestamp: deletion,
        pod: object,
    }
}

fn manifest_state(
    slot: &Slot,
    waits: Option<&WaitText>,
    good: Option<&Good>,
    kept_for: Vec<String>,
) -> ManifestState {
    if slot.held.is_some() {
        return ManifestState::Held;
    }
    let Some(good) = good else {
        return match &slot.want {
            Some(_) => ManifestState::Kept { problems: kept_for },
            None => ManifestState::Removed,
        };
    };
    if let Some(problems) = &good.kept_for {
        return ManifestState::Kept { problems: problems.to_vec() };
    }
    match &slot.life {
        Some(life) if life.pod.generation != good.pod.generation => ManifestState::Replacing {
            waits_for: replacement_waits(slot, waits).map(|(reason, message)| format!("{reason}: {message}")),
        },
        Some(_) | None => ManifestState::Current { warnings: good.warnings.to_vec() },
    }
}

/// Why the old generation lives on: reason and message.
fn replacement_waits<'a>(slot: &'a Slot, waits: Option<&'a WaitText>) -> Option<(&'static str, &'a str)> {
    let for_pods = waits.map(|w| (w.reason, w.message.as_str()));
    for_pods.or_else(|| slot.replacement_waits.as_ref().map(|m| (m.reason, m.message.as_str())))
}

/// kubectl's STATUS word, and what to read beside it.
pub(super) fn summary(
    slot: &Slot,
    life: &Life,
    statuses: &Statuses,
    waits: Option<&WaitText>,
) -> (String, Option<String>) {
    if let Some(stop) = life.leaving() {
        let why = stop.why.as_str();
        let message = stuck::of_life(life).map_or_else(|| why.to_owned(), |stuck| format!("{why}; {stuck}"));
        return ("Terminating".to_owned(), Some(message));
    }
    if let (Opened::Failed { message, .. }, None) = (&life.opened, life.stop) {
        return ("ContainerCreating".to_owned(), Some(message.clone()));
    }
    if life.stop.is_some_and(|s| s.why == StopReason::DeadlineExceeded) {
        return ("DeadlineExceeded".to_owned(), Some(StopReason::DeadlineExceeded.as_str().to_owned()));
    }
    if !life.initialized {
        return init_summary(life, statuses);
    }
    let mut running = 0;
    let first_main = life.pod.init_containers.len();
    for (place, (status, (_, state))) in statuses.all().zip(life.each()).enumerate() {
        let role = Role::of(&life.pod, place);
        let name = &status.name;
        if role == Role::Init {
            continue;
        }
        if let Some(waiting) = &status.state.waiting {
            return (waiting.reason.clone(), waiting_text(status, waiting));
        }
        if let Some(ended) = &status.state.terminated {
            if ended.exit_code != 0 && place >= first_main {
                return (ended.reason.clone(), Some(format!("{name}: {}", ended_text(ended))));
            }
        } else if place >= first_main {
            running += 1;
        }
        if let Phase::Running(run) = &state.phase
            && let Some(stop) = &run.stop
        {
            return ("Running".to_owned(), Some(format!("{name}: is being stopped: {}", stop.why)));
        }
    }
    if running == 0 {
        return ("Completed".to_owned(), None);
    }
    if let Some((_, message)) = replacement_waits(slot, waits) {
        return ("Running".to_owned(), Some(format!("replacement waits: {message}")));
    }
    let unready = life.each().zip(statuses.all()).find(|(_, s)| !s.ready && s.state.running.is_some());
    let message = unready.map(|((_, state), status)| format!("{}: {}", status.name, unready_text(state)));
    // It runs all the same; somebody should look, though.
    let message = message.or_else(|| stuck::of_life(life));
    ("Running".to_owned(), message)
}

/// The same while the init containers run: `Init:0/2`, `Init:Error`, `Init:CrashLoopBackOff`.
fn init_summary(life: &Life, statuses: &Statuses) -> (String, Option<String>) {
    let total = statuses.init.len();
    for (done, (status, (_, state))) in statuses.init.iter().zip(life.each()).enumerate() {
        let is_past = match Role::of(&life.pod, done) {
            Role::Sidecar => state.is_started(),
            Role::Init | Role::Main => state.has_succeeded(),
        };
        if is_past {
            continue;
        }
        let count = format!("Init:{done}/{total}");
        return match (&status.state.waiting, &status.state.terminated) {
            (Some(waiting), _) if waiting.reason != "ContainerCreating" || waiting.message.is_some() => {
                (format!("Init:{}", waiting.reason), waiting_text(status, waiting))
            }
            (_, Some(ended)) => {
                (format!("Init:{}", ended.reason), Some(format!("{}: {}", status.name, ended_text(ended))))
            }
            (Some(_) | None, _) => (count, None),
        };
    }
    // All are done, or there are none: what holds the others up stands with the first of them.
    match statuses.main.first().and_then(|s| Some((s, s.state.waiting.as_ref()?))) {
        Some((status, waiting)) => (waiting.reason.clone(), waiting_text(status, waiting)),
        None => ("Pending".to_owned(), None),
    }
}

fn waiting_text(status: &ContainerStatus, waiting: &Waiting) -> Option<String> {
    let last = status.last_state.terminated.as_ref();
    let message = waiting.message.clone().or_else(|| last.map(ended_text));
    message.map(|m| format!("{}: {m}", status.name))
}

fn ended_text(t: &Terminated) -> String {
    let how = match t.signal {
        Some(signal) => format!("killed by signal {signal}"),
        None => format!("exit code {}", t.exit_code),
    };
    match &t.message {
        Some(message) => message.clone(),
        None if t.reason == "OOMKilled" => "killed for want of memory (its memory limit)".to_owned(),
        None => how,
    }
}

fn unready_text(state: &ContainerState) -> String {
    use crate::core::ProbeKind::{Readiness, Startup};
    let Phase::Running(run) = &state.phase else { return "not running".to_owned() };
    for kind in [Startup, Readiness] {
        if let Some(probe) = run.probes.get(kind)
            && probe.verdict() != Some(true)
        {
            let said = probe.message();
            return match said {
                "" => format!("its {} probe has not been tried yet", kind.as_str()),
                said => format!("{} probe: {said}", kind.as_str()),
            };
        }
    }
    "not ready".to_owned()
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
