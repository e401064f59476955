//! A Pod as `v1.Pod` has it: its document, with the status that it has now.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::statuses::{Statuses, was_made};
use crate::core::Stamp;
use crate::core::container::{ContainerState, Phase};
use crate::core::life::{Life, Opened, StopReason};
use crate::log::rfc3339;
use crate::pod::Pod;
use crate::report::ContainerStatus;

/// `status.phase`.
pub fn phase(life: Option<&Life>, statuses: &Statuses) -> &'static str {
    let Some(life) = life else { return "Pending" };
    let ended = life.containers.iter().all(|s| matches!(s.phase, Phase::Done));
    if let Some(stop) = life.stop.filter(|_| ended) {
        let failed =
            || statuses.main.iter().any(|s| s.state.terminated.as_ref().is_some_and(|t| t.exit_code != 0));
        match stop.why {
            StopReason::InitFailed | StopReason::DeadlineExceeded => return "Failed",
            StopReason::Finished if failed() => return "Failed",
            StopReason::Finished => return "Succeeded",
            StopReason::Removed
            | StopReason::Replaced
            | StopReason::Held
            | StopReason::Restarted
            | StopReason::Drain => {}
        }
    }
    let begun =
        |s: &ContainerState| s.last.as_ref().is_some_and(was_made) || matches!(s.phase, Phase::Running(_));
    let mains = life.containers.iter().skip(life.pod.init_containers.len());
    if life.initialized && mains.into_iter().all(begun) { "Running" } else { "Pending" }
}

/// The whole object.
#[allow(clippy::too_many_arguments)]
pub fn v1_pod(
    pod: &Pod,
    mut object: Value,
    life: Option<&Life>,
    statuses: &Statuses,
    created: Option<&str>,
    deletion: Option<&str>,
    host_ips: &[IpAddr],
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
    let ready = life.is_some_and(|l| l.ready.0);
    let initialized = life.is_some_and(|l| l.initialized);
    let opened = life.is_some_and(|l| l.opened == Opened::Yes);
    let started_at = since.map(|s| rfc3339(s.unix_ms));
    let changed_at = life.map(|l| rfc3339(l.ready.1.unix_ms)).or_else(|| created.map(str::to_owned));
    let phase = phase(life, statuses);
    let condition = |kind: &str, status: bool| {
        let since = if kind.ends_with("Ready") || life.is_none() { &changed_at } else { &started_at };
        let mut c = json!({"type": kind, "status": if status { "True" } else { "False" },
            "lastProbeTime": null, "lastTransitionTime": since});
        if status && kind == "Initialized" && phase == "Succeeded" {
            c["reason"] = json!("PodCompleted");
        }
        if !status && let Some(c) = c.as_object_mut() {
            let unready = |list: &[ContainerStatus]| {
                list.iter().filter(|s| !s.ready).map(|s| s.name.clone()).collect::<Vec<_>>().join(" ")
            };
            let (reason, message) = match kind {
                "Initialized" => (
                    "ContainersNotInitialized",
                    format!("containers with incomplete status: [{}]", unready(&statuses.init)),
                ),
                "PodReadyToStartContainers" => ("", String::new()),
                _ if phase == "Succeeded" => ("PodCompleted", String::new()),
                _ if phase == "Failed" => ("PodFailed", String::new()),
                _ => (
                    "ContainersNotReady",
                    format!("containers with unready status: [{}]", unready(&statuses.main)),
                ),
            };
            if !reason.is_empty() {
                c.insert("reason".to_owned(), json!(reason));
            }
            if !message.is_empty() {
                c.insert("message".to_owned(), json!(message));
            }
        }
        c
    };
    let mut status = json!({
        "phase": phase,
        "conditions": [condition("PodReadyToStartContainers", opened), condition("Initialized", initialized),
            condition("Ready", ready), condition("ContainersReady", ready), condition("PodScheduled", true)],
        "containerStatuses": statuses.main,
        "qosClass": pod.qos().as_str(),
        "startTime": started_at,
    });
    if let (false, Some(status)) = (statuses.init.is_empty(), status.as_object_mut()) {
        status.insert("initContainerStatuses".to_owned(), json!(statuses.init));
    }
    if let (Some(stop), Some(status)) = (life.and_then(|l| l.stop), status.as_object_mut())
        && stop.why == StopReason::DeadlineExceeded
    {
        status.insert("reason".to_owned(), json!("DeadlineExceeded"));
        status.insert(
            "message".to_owned(),
            json!("Pod was active on the node longer than the specified deadline"),
        );
    }
    if let (Some(life), Some(status)) = (life.filter(|l| !l.addresses.is_empty()), status.as_object_mut()) {
        let all: Vec<Value> = life.addresses.iter().map(|ip| json!({"ip": ip})).collect();
        status.insert("podIP".to_owned(), json!(life.addresses.first()));
        status.insert("podIPs".to_owned(), json!(all));
    }
    if let (Some(first), Some(status)) = (host_ips.first(), status.as_object_mut()) {
        let all: Vec<Value> = host_ips.iter().map(|ip| json!({"ip": ip})).collect();
        if pod.host_network {
            status.insert("podIP".to_owned(), json!(first));
            status.insert("podIPs".to_owned(), json!(all));
        }
        status.insert("hostIP".to_owned(), json!(first));
        status.insert("hostIPs".to_owned(), json!(all));
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
