//! From the core's state to what Kubernetes would show: phase, conditions, container statuses, and kubectl's one word.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::core::state::{ContainerState, Life, Past, Phase, Slot, StopReason};
use crate::core::{Ending, Stamp};
use crate::log::rfc3339;
use crate::paths::container_id;
use crate::pod::{Container, Pod, PodKey, RestartPolicy};
use crate::report::{self, ContainerStatus, ManifestState, PodStatusFile, Running, Terminated, Waiting};
use crate::source::Good;

/// Everything that is published of one Pod. `kept_for`: why it goes on though no source gives it now.
pub fn pod_status(
    key: &PodKey,
    slot: &Slot,
    good: Option<&Good>,
    kept_for: Vec<String>,
    document: Option<Value>,
    host_ip: Option<IpAddr>,
) -> PodStatusFile {
    let life = slot.life.as_ref();
    let pod = life.map(|l| &l.pod).or(slot.want.as_ref());
    let statuses: Vec<ContainerStatus> = life.map(container_statuses).unwrap_or_default();
    let (summary, message) = match life {
        Some(life) => summary(slot, life, &statuses),
        None if slot.held.is_some() => ("Stopped".to_owned(), Some("stopped by `podstrap down`".to_owned())),
        None => ("Pending".to_owned(), None),
    };
    let deletion = life.and_then(|l| l.stop).map(|s| rfc3339(s.since.unix_ms));
    let created = life.map(|l| rfc3339(l.since.unix_ms));
    // The file's name may have changed since this life began.
    let origin = good.map(|g| g.pod.origin.clone()).or_else(|| pod.map(|p| p.origin.clone()));
    let object = match (pod, document.or_else(|| good.and_then(|g| serde_json::from_str(&g.canonical).ok())))
    {
        (Some(pod), Some(document)) => {
            v1_pod(pod, document, life, &statuses, created.as_deref(), deletion.as_deref(), host_ip)
        }
        _ => Value::Null,
    };
    PodStatusFile {
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        generation: pod.map(|p| p.generation.clone()),
        uid: pod.map(|p| p.uid.clone()),
        origin: origin.unwrap_or(crate::pod::Origin { path: "-".to_owned(), document: 1 }),
        manifest: manifest_state(slot, good, kept_for),
        summary,
        message,
        created_at: created,
        deletion_timestamp: deletion,
        pod: object,
    }
}

fn manifest_state(slot: &Slot, good: Option<&Good>, kept_for: Vec<String>) -> ManifestState {
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
            waits_for: slot.replacement_waits.as_ref().map(|m| format!("{}: {}", m.reason, m.message)),
        },
        Some(_) | None => ManifestState::Current { warnings: good.warnings.to_vec() },
    }
}

/// kubectl's STATUS word, and what to read beside it.
fn summary(slot: &Slot, life: &Life, statuses: &[ContainerStatus]) -> (String, Option<String>) {
    if let Some(stop) = life.stop {
        return ("Terminating".to_owned(), Some(stop_text(stop.why).to_owned()));
    }
    let mut running = 0;
    for (status, (_, state)) in statuses.iter().zip(life.each()) {
        let name = &status.name;
        if let Some(waiting) = &status.state.waiting {
            let last = status.last_state.terminated.as_ref();
            let message = waiting.message.clone().or_else(|| last.map(ended_text));
            return (waiting.reason.clone(), message.map(|m| format!("{name}: {m}")));
        }
        if let Some(ended) = &status.state.terminated {
            if ended.exit_code != 0 {
                return (ended.reason.clone(), Some(format!("{name}: {}", ended_text(ended))));
            }
        } else {
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
    if let Some(missing) = &slot.replacement_waits {
        return ("Running".to_owned(), Some(format!("replacement waits: {}", missing.message)));
    }
    let unready = life.each().zip(statuses).find(|(_, s)| !s.ready && s.state.running.is_some());
    let message = unready.map(|((_, state), status)| format!("{}: {}", status.name, unready_text(state)));
    ("Running".to_owned(), message)
}

fn stop_text(why: StopReason) -> &'static str {
    why.as_str()
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

fn container_statuses(life: &Life) -> Vec<ContainerStatus> {
    life.each().map(|(container, state)| container_status(life, container, state)).collect()
}

fn container_status(life: &Life, container: &Container, state: &ContainerState) -> ContainerStatus {
    let name_of =
        |attempt| format!("runc://{}", container_id(&life.pod.generation, &container.name, attempt));
    // What could not even be made is no former life.
    let last = state.last.as_ref().filter(|p| was_made(p)).map(|p| terminated(p, &name_of));
    let mut status = ContainerStatus {
        name: container.name.to_string(),
        ready: state.is_ready(),
        started: Some(state.is_started()),
        restart_count: state.restart_count(),
        image: container.image.given.clone(),
        image_id: state.last.as_ref().and_then(|p| p.image_id.clone()).unwrap_or_default(),
        container_id: state.last.as_ref().filter(|p| p.started.is_some()).map(|p| name_of(p.attempt)),
        state: report::ContainerState::default(),
        last_state: report::ContainerState::default(),
    };
    let mut last_is_state = false;
    match &state.phase {
        Phase::Waiting { missing } => {
            status.state.waiting = Some(match missing {
                Some(m) => Waiting { reason: m.reason.to_owned(), message: Some(m.message.clone()) },
                None => Waiting { reason: "ContainerCreating".to_owned(), message: None },
            });
        }
        Phase::Backoff { .. } => status.state.waiting = Some(backoff_waiting(state)),
        Phase::Starting { .. } => {
            let reason = if last.is_some() { "Restarting" } else { "ContainerCreating" };
            status.state.waiting = Some(Waiting { reason: reason.to_owned(), message: None });
        }
        Phase::Running(run) => {
            status.state.running = Some(Running { started_at: rfc3339(run.at.unix_ms) });
            status.image_id = run.image_id.clone().unwrap_or_default();
            status.container_id = Some(name_of(run.attempt));
        }
        Phase::Done => match &last {
            Some(last) => {
                status.state.terminated = Some(last.clone());
                last_is_state = true;
            }
            None => {
                status.state.waiting =
                    Some(Waiting { reason: "ContainerCreating".to_owned(), message: None });
            }
        },
    }
    if !last_is_state {
        status.last_state.terminated = last;
    }
    status
}

fn backoff_waiting(state: &ContainerState) -> Waiting {
    match state.last.as_ref().map(|p| &p.ending) {
        Some(Ending::NotCreated { reason, message }) => {
            Waiting { reason: reason.clone(), message: Some(message.clone()) }
        }
        Some(ending) => Waiting {
            reason: "CrashLoopBackOff".to_owned(),
            message: Some(match ending.message() {
                Some(message) => message.to_owned(),
                None => format!("last run: {}", describe(ending)),
            }),
        },
        None => Waiting { reason: "ContainerCreating".to_owned(), message: None },
    }
}

fn was_made(past: &Past) -> bool {
    !matches!(past.ending, Ending::NotCreated { .. })
}

fn describe(ending: &Ending) -> String {
    match ending {
        Ending::Exited { code } => format!("exit code {code}"),
        Ending::Signaled { signal, oom: false } => format!("killed by signal {signal}"),
        Ending::Signaled { oom: true, .. } => "killed for want of memory (OOMKilled)".to_owned(),
        Ending::NotCreated { reason, .. } | Ending::NotStarted { reason, .. } => reason.clone(),
        Ending::Lost => "lost".to_owned(),
    }
}

fn terminated(past: &Past, name_of: &impl Fn(u32) -> String) -> Terminated {
    let signal = match past.ending {
        Ending::Signaled { signal, .. } => Some(signal),
        Ending::Exited { .. } | Ending::NotCreated { .. } | Ending::NotStarted { .. } | Ending::Lost => None,
    };
    Terminated {
        exit_code: past.ending.exit_code(),
        signal,
        reason: past.ending.reason().to_owned(),
        message: past.ending.message().map(str::to_owned).or_else(|| past.stopped.clone()),
        started_at: past.started.map(|s| rfc3339(s.unix_ms)),
        finished_at: Some(rfc3339(past.finished.unix_ms)),
        container_id: past.started.map(|_| name_of(past.attempt)),
    }
}

fn phase(life: Option<&Life>, statuses: &[ContainerStatus]) -> &'static str {
    let Some(life) = life else { return "Pending" };
    let begun =
        |s: &ContainerState| s.last.as_ref().is_some_and(was_made) || matches!(s.phase, Phase::Running(_));
    if !life.containers.iter().all(begun) {
        return "Pending";
    }
    if life.containers.iter().all(|s| matches!(s.phase, Phase::Done)) && life.stop.is_none() {
        let failed = statuses.iter().any(|s| s.state.terminated.as_ref().is_some_and(|t| t.exit_code != 0));
        return match (failed, life.pod.restart_policy) {
            (true, _) => "Failed",
            (false, RestartPolicy::Always | RestartPolicy::OnFailure | RestartPolicy::Never) => "Succeeded",
        };
    }
    "Running"
}

#[allow(clippy::too_many_arguments)]
fn v1_pod(
    pod: &Pod,
    mut object: Value,
    life: Option<&Life>,
    statuses: &[ContainerStatus],
    created: Option<&str>,
    deletion: Option<&str>,
    host_ip: Option<IpAddr>,
) -> Value {
    let since: Option<Stamp> = life.map(|l| l.since);
    let mut annotations = pod.annotations.clone();
    if let Some(since) = since {
        annotations.insert("kubernetes.io/config.seen".to_owned(), seen(since.unix_ms));
    }
    let Some(fields) = object.as_object_mut() else { return Value::Null };
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("name".to_owned(), json!(pod.key.name));
        metadata.insert("namespace".to_owned(), json!(pod.key.namespace));
        metadata.insert("uid".to_owned(), json!(pod.uid));
        metadata.insert("annotations".to_owned(), json!(annotations));
        if let Some(created) = created {
            metadata.insert("creationTimestamp".to_owned(), json!(created));
        }
        if let Some(deletion) = deletion {
            metadata.insert("deletionTimestamp".to_owned(), json!(deletion));
            metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(pod.grace_seconds));
        }
    }
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("nodeName".to_owned(), json!(pod.node));
    }
    let ready = !statuses.is_empty() && statuses.iter().all(|s| s.ready);
    let started_at = since.map(|s| rfc3339(s.unix_ms));
    let changed_at = life.map(|l| rfc3339(l.ready.1.unix_ms));
    let condition = |kind: &str, status: bool| {
        let since = if kind.ends_with("Ready") { &changed_at } else { &started_at };
        let mut c = json!({"type": kind, "status": if status { "True" } else { "False" },
            "lastProbeTime": null, "lastTransitionTime": since});
        if !status && let Some(c) = c.as_object_mut() {
            let unready: Vec<&str> = statuses.iter().filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
            c.insert("reason".to_owned(), json!("ContainersNotReady"));
            c.insert(
                "message".to_owned(),
                json!(format!("containers with unready status: [{}]", unready.join(" "))),
            );
        }
        c
    };
    let mut status = json!({
        "phase": phase(life, statuses),
        "conditions": [condition("Initialized", true), condition("Ready", ready),
            condition("ContainersReady", ready), condition("PodScheduled", true)],
        "containerStatuses": statuses,
        "qosClass": pod.qos().as_str(),
        "startTime": started_at,
    });
    if let (Some(ip), Some(status)) = (host_ip, status.as_object_mut()) {
        status.insert("hostIP".to_owned(), json!(ip));
        status.insert("hostIPs".to_owned(), json!([{"ip": ip}]));
        if pod.host_network {
            status.insert("podIP".to_owned(), json!(ip));
            status.insert("podIPs".to_owned(), json!([{"ip": ip}]));
        }
    }
    fields.insert("status".to_owned(), status);
    object
}

/// `kubernetes.io/config.seen`: RFC 3339 with nine fraction digits.
fn seen(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(t) => t.strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
