//! What a Pod waits for, in words: the other Pods, and what is the matter with each of them or what it has.

use super::statuses::Statuses;
use super::view;
use crate::core::Slot;
use crate::core::World;
use crate::core::depends::{Wait, Waiting};
use crate::pod::depends::{DEPENDS_ON, circle};

/// So many Pods are told of; of the others, how many they are.
const MOST: usize = 3;

/// Why a Pod does not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitText {
    /// One word, as Kubernetes would name it.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Everything that is waited for.
pub fn tell(world: &World, waiting: &Waiting) -> WaitText {
    let is_unknown = |wait: &Wait| matches!(wait, Wait::Unknown { .. });
    let is_cycle = |wait: &Wait| matches!(wait, Wait::Cycle(_));
    let is_port = |wait: &Wait| matches!(wait, Wait::HostPort { .. });
    let reason = if waiting.on.iter().any(is_cycle) {
        "DependencyCycle"
    } else if waiting.on.iter().any(is_unknown) {
        "DependencyNotFound"
    } else if waiting.on.iter().any(is_port) {
        "NodePorts"
    } else {
        "DependencyNotReady"
    };
    // What a manifest must mend comes first.
    let (first, then): (Vec<&Wait>, Vec<&Wait>) = waiting.on.iter().partition(|w| w.is_of_manifests());
    let all: Vec<&Wait> = first.into_iter().chain(then).collect();
    let mut parts: Vec<String> = all.iter().take(MOST).map(|wait| of(world, wait)).collect();
    if let more @ 1.. = all.len().saturating_sub(MOST) {
        parts.push(format!("waits for {more} more"));
    }
    WaitText { reason, message: parts.join("; ") }
}

/// What only another manifest can end, for the log.
pub fn tell_of_manifests(world: &World, waiting: &Waiting) -> Option<String> {
    let parts: Vec<String> = waiting
        .on
        .iter()
        .filter(|wait| match wait {
            Wait::On(_) => false,
            // Of a refused manifest the log tells more than this.
            Wait::Unknown { refused, .. } => world.is_complete() && refused.is_none(),
            Wait::Cycle(_) | Wait::HostPort { .. } => true,
        })
        .map(|wait| of(world, wait))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn of(world: &World, wait: &Wait) -> String {
    match wait {
        Wait::On(key) => match world.slot(key).map(state_of) {
            Some(state) => format!("waits for {key}, which is not ready: {state}"),
            None => format!("waits for {key}, which is not ready"),
        },
        Wait::Unknown { key, refused: Some(path) } => {
            format!("waits for {key}, whose manifest is refused: {path}")
        }
        Wait::Unknown { key, refused: None } if !world.is_complete() => {
            format!("waits for {key}, of which no manifest has been read yet")
        }
        Wait::Unknown { key, refused: None } => format!("waits for {key}, of which there is no manifest"),
        Wait::HostPort { port, holder } => {
            let state = world.slot(holder).map_or("", holder_state);
            format!("waits for port {port} of the host, which {holder} has{state}")
        }
        Wait::Cycle(way) => format!(
            "depends on itself, so it is never started: {}; take one of them out of {DEPENDS_ON}",
            circle(way)
        ),
    }
}

/// Why a Pod has a port that it may not seem to use.
fn holder_state(slot: &Slot) -> &'static str {
    match slot.life.as_ref().and_then(|life| life.stop) {
        Some(stop) if !stop.why.removes() => {
            ", though its containers have ended: its network lasts until its manifest goes"
        }
        Some(_) | None => "",
    }
}

/// What is the matter with a Pod that is not ready. One that waits for others is not asked what is the matter with those:
/// each tells of its own.
fn state_of(slot: &Slot) -> String {
    match (&slot.life, &slot.waiting) {
        (Some(life), _) => match view::summary(slot, life, &Statuses::of(life), None) {
            (word, Some(message)) => format!("{word}: {message}"),
            (word, None) => word,
        },
        (None, _) if slot.held.is_some() => "stopped by `podstrap down`".to_owned(),
        (None, Some(waiting)) => {
            let name = |wait: &Wait| match wait {
                Wait::On(key) | Wait::Unknown { key, .. } => key.to_string(),
                Wait::HostPort { port, .. } => format!("port {port} of the host"),
                Wait::Cycle(way) => circle(way),
            };
            let names: Vec<String> = waiting.on.iter().take(MOST).map(name).collect();
            format!("it waits for {}", names.join(", "))
        }
        (None, None) => "Pending".to_owned(),
    }
}
