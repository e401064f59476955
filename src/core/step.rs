//! Folding one event into the world. Nothing is asked for here; that is `plan`'s part. What an earlier daemon left is taken in by
//! `adopt`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::backoff::{RESET_MS, doubled};
use super::container::{ContainerState, Phase, RETRY_MS, Role, Uncleared};
use super::images::Ticket;
use super::life::{Life, Opened, Removal, StopReason};
use super::plan::stop_life;
use super::probes::Probes;
use super::run::{HookState, Past, Run, Stopping};
use super::world::World;
use super::{BackoffRule, Ending, Event, GIVEN_UP, HookKind, RunKey, Stamp, Time};
use crate::pod::{Container, Pod, PodKey, RestartAction, RestartPolicy, RestartRule};

/// A Pod whose namespaces or network cannot be made is tried again after this many milliseconds, doubling …
const OPEN_INITIAL_MS: u64 = 500;
/// … up to this many.
const OPEN_MAX_MS: u64 = 60_000;

impl World {
    /// Takes in what has happened. Events about runs or generations that are not known (any more) change nothing.
    pub fn step(&mut self, event: Event, now: Stamp) {
        match event {
            Event::Refused(documents) => self.refused = documents,
            Event::Desired { pods, complete } => self.desired(pods, complete),
            Event::Found(found) => self.found(*found, now),
            Event::Images { index, loading, can_pull } => {
                self.images.update(index, loading, can_pull);
            }
            Event::Pulled { reference, error } => self.images.pulled(&reference, error, now.boot),
            Event::Objects { present } => {
                self.objects = present;
                self.dirty.extend(self.slots.keys().cloned());
            }
            Event::Opened { generation, first_attempts, addresses } => {
                let Some((key, life)) = self.find(&generation) else { return };
                life.opened = Opened::Yes;
                life.opened_at = now.boot;
                life.addresses = addresses;
                for (name, attempt) in first_attempts {
                    if let Some((_, state)) = life.get_mut(&name) {
                        state.next_attempt = state.next_attempt.max(attempt);
                    }
                }
                self.dirty.insert(key);
            }
            Event::OpenFailed { generation, message } => {
                let Some((key, life)) = self.find(&generation) else { return };
                let wait = doubled(OPEN_INITIAL_MS, life.open_failures).min(OPEN_MAX_MS);
                life.open_failures = life.open_failures.saturating_add(1);
                life.opened = Opened::Failed { retry_at: now.boot.plus(wait), message };
                self.dirty.insert(key);
            }
            Event::Started { run, at, image_id, container: id } => {
                self.with_run(&run, |container, state, _| {
                    let probes = Probes::new(container, at.boot, now.boot);
                    match &mut state.phase {
                        Phase::Starting { attempt, .. } if *attempt == run.attempt => {
                            state.phase = Phase::Running(Box::new(Run {
                                attempt: run.attempt,
                                at,
                                image_id,
                                container: id,
                                probes,
                                post_start: no_hook_is_done(container),
                                stop: None,
                            }));
                        }
                        // Somebody has started it anew, behind our back: the run is the same one, and what was found out about
                        // its program is void.
                        Phase::Running(r) if r.attempt == run.attempt && r.at != at => {
                            (r.at, r.probes) = (at, probes);
                        }
                        Phase::Waiting { .. }
                        | Phase::Backoff { .. }
                        | Phase::Starting { .. }
                        | Phase::Running(_)
                        | Phase::Done => {}
                    }
                })
            }
            Event::Ended { run, ending, at, message } => self.ended(&run, ending, at, message),
            Event::Cleared { run } => self.with_run(&run, |_, state, _| {
                state.uncleared.remove(&run.attempt);
                state.stuck.remove(&run.attempt);
            }),
            Event::MonitorLost { run } => self.with_run(&run, |_, state, _| {
                if let Some(who) = state.uncleared.get_mut(&run.attempt) {
                    *who = Uncleared::SweepDue(now.boot);
                }
            }),
            Event::Monitored { run } => self.with_run(&run, |_, state, _| {
                if let Some(who) = state.uncleared.get_mut(&run.attempt) {
                    *who = Uncleared::Monitor;
                    state.stuck.remove(&run.attempt);
                }
            }),
            Event::SweepFailed { run, error } => self.with_run(&run, |_, state, _| {
                if let Some(who) = state.uncleared.get_mut(&run.attempt) {
                    let wait = match error {
                        Some(error) => state.stuck.entry(run.attempt).or_default().again(error),
                        None => RETRY_MS,
                    };
                    *who = Uncleared::SweepDue(now.boot.plus(wait));
                }
            }),
            Event::Probed { run, kind, verdict, message } => self.with_run(&run, |_, state, _| {
                if let Phase::Running(r) = &mut state.phase
                    && r.attempt == run.attempt
                {
                    r.probes.take(kind, verdict, message, now.boot);
                }
            }),
            Event::Hooked { run, kind, error } => self.with_run(&run, |_, state, _| {
                let Phase::Running(r) = &mut state.phase else { return };
                if r.attempt != run.attempt {
                    return;
                }
                let ended = error.map_or(HookState::Done, HookState::Failed);
                match (kind, &mut r.stop) {
                    (HookKind::PostStart, _) => r.post_start = ended,
                    (HookKind::PreStop, Some(stop)) => stop.pre_stop = ended,
                    (HookKind::PreStop, None) => {}
                }
            }),
            Event::Removed { generation, left } => {
                let Some((key, life)) = self.find(&generation) else { return };
                match left {
                    Some(error) => {
                        let wait = life.unremoved.get_or_insert_default().again(error);
                        life.removal = Removal::Due(now.boot.plus(wait));
                    }
                    None => {
                        let kept_ports = self.ports_to_keep(&key);
                        if let Some(slot) = self.slots.get_mut(&key) {
                            slot.life = None;
                            slot.kept_ports = kept_ports;
                        }
                    }
                }
                self.dirty.insert(key);
            }
            Event::SandboxLost { generation } => {
                let Some((key, life)) = self.find(&generation) else { return };
                life.opened = made_anew(life, now.boot);
                // Nothing is begun anew in what is to end. Nor is a Pod that has begun and is to run only once: it has failed
                // (`pkg/kubelet/kuberuntime/kuberuntime_manager.go`, `computePodActions`).
                if life.stop.is_none() && runs_once(&life.pod) && life.containers.iter().any(has_run) {
                    stop_life(life, StopReason::Finished, now);
                } else {
                    life.restarting = life.stop.is_none();
                }
                self.dirty.insert(key);
            }
            Event::Runtime { trouble } => {
                if self.trouble != trouble {
                    self.trouble = trouble;
                    self.dirty.extend(self.slots.keys().cloned());
                }
            }
            Event::Hold { pods } => self.hold(pods),
            Event::Restart { pods } => self.restart(pods, now),
            Event::Held { pods } => {
                for (key, generation) in pods {
                    self.slots.entry(key.clone()).or_default().held = Some(generation);
                    self.dirty.insert(key);
                }
            }
            Event::Drain => {
                if !std::mem::replace(&mut self.draining, true) {
                    self.stop_order = self.stop_turns();
                }
                self.dirty.extend(self.slots.keys().cloned());
            }
        }
    }

    fn desired(&mut self, pods: BTreeMap<PodKey, Rc<Pod>>, complete: bool) {
        if complete && !std::mem::replace(&mut self.complete, true) {
            // What was merely not read yet is known not to be there.
            self.dirty.extend(self.slots.keys().cloned());
        }
        for (key, slot) in &mut self.slots {
            if !pods.contains_key(key) {
                // A source that has not been read yet may still want what an earlier daemon left; but a document that this
                // daemon has read and that is there no more was taken away. A refused one is no wish that its Pod should end.
                let unread = !self.complete && !slot.seen;
                let kept = slot.life.as_ref().filter(|life| {
                    life.leaving().is_none()
                        && (unread || self.refused.iter().any(|r| r.may_be(key, &life.pod.origin)))
                });
                slot.want = kept.map(|life| life.pod.clone());
                self.dirty.insert(key.clone());
            }
        }
        for (key, pod) in pods {
            let slot = self.slots.entry(key.clone()).or_default();
            slot.seen = true;
            if slot.want.as_ref() != Some(&pod) {
                if slot.held.as_ref().is_some_and(|g| *g != pod.generation) {
                    slot.held = None;
                }
                slot.tickets = vec![Ticket::default(); pod.all_containers().count()];
                slot.volume_tickets = vec![Ticket::default(); pod.volumes.len()];
                slot.want = Some(pod);
                self.dirty.insert(key);
            }
        }
        self.find_cycles();
    }

    fn hold(&mut self, pods: BTreeSet<PodKey>) {
        for key in pods {
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.held = slot
                    .want
                    .as_ref()
                    .map(|p| p.generation.clone())
                    .or_else(|| slot.life.as_ref().map(|l| l.pod.generation.clone()));
                self.dirty.insert(key);
            }
        }
    }

    /// Applies a change to the state of the run's container, if its generation lives.
    fn with_run(&mut self, run: &RunKey, change: impl FnOnce(&Container, &mut ContainerState, bool)) {
        let Some((key, life)) = self.find(&run.generation) else { return };
        let stopping = life.stop.is_some();
        if let Some((container, state)) = life.get_mut(&run.container) {
            change(container, state, stopping);
            self.dirty.insert(key);
        }
    }

    fn ended(&mut self, run: &RunKey, ending: Ending, at: Stamp, message: Option<String>) {
        let rule = self.settings.backoff;
        let Some((key, life)) = self.find(&run.generation) else { return };
        let pod = life.pod.clone();
        // What ends because everything is to be started anew has not failed.
        let stopping = life.stop.is_some() || life.restarting;
        let Some(place) = pod.all_containers().position(|c| c.name == run.container) else { return };
        let (Some(container), Some(state)) =
            (pod.all_containers().nth(place), life.containers.get_mut(place))
        else {
            return;
        };
        let ending = unless_given_up(state, run.attempt, ending);
        let after = After::of(&pod, Role::of(&pod, place), container, &ending);
        end_run(state, run.attempt, End { ending, at, message }, rule, after, stopping);
        if after == After::All && !stopping {
            life.restarting = true;
        }
        self.dirty.insert(key);
    }
}

/// A run that was given up before it began was never made. What its monitor has told is believed: it may have ended just then.
fn unless_given_up(state: &ContainerState, attempt: u32, ending: Ending) -> Ending {
    match &state.phase {
        Phase::Starting { attempt: current, overdue: true, .. }
            if *current == attempt && ending == Ending::Lost =>
        {
            let (reason, message) = ("CreateContainerError".to_owned(), GIVEN_UP.to_owned());
            Ending::NotCreated { reason, message }
        }
        _ => ending,
    }
}

/// When namespaces that are lost are made anew: at once, unless it happens again and again.
fn made_anew(life: &mut Life, now: Time) -> Opened {
    if now.since(life.opened_at) >= RESET_MS {
        life.losses = 0;
    }
    let before = life.losses;
    life.losses = before.saturating_add(1);
    match before.checked_sub(1) {
        None => Opened::No,
        Some(n) => Opened::Failed {
            retry_at: now.plus(doubled(OPEN_INITIAL_MS, n).min(OPEN_MAX_MS)),
            message: format!("its namespaces were lost {} times in a row", life.losses),
        },
    }
}

/// A container without a postStart hook has nothing to wait for.
pub(super) fn no_hook_is_done(container: &Container) -> HookState {
    if container.lifecycle.post_start.is_some() { HookState::Pending } else { HookState::Done }
}

/// Nothing in it is ever started a second time.
fn runs_once(pod: &Pod) -> bool {
    pod.restart_policy == RestartPolicy::Never
        && pod.all_containers().all(|c| c.restart.is_none() && c.restart_rules.is_empty())
}

/// A run of it has ended, or is there.
fn has_run(state: &ContainerState) -> bool {
    state.last.is_some() || !state.is_still()
}

/// What follows the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It is started again.
    Again,
    /// It is not.
    Nothing,
    /// Every container of the Pod is.
    All,
}

impl After {
    /// By the container's part, its rules (the first that fits decides), its own policy, and the Pod's.
    pub(super) fn of(pod: &Pod, role: Role, container: &Container, ending: &Ending) -> Self {
        if matches!(ending, Ending::NotCreated { .. }) {
            return Self::Again;
        }
        let code = ending.exit_code();
        let fits = |r: &&RestartRule| r.exit_codes.contains(&code) != r.not_in;
        match container.restart_rules.iter().find(fits).map(|r| r.action) {
            Some(RestartAction::Restart) => return Self::Again,
            Some(RestartAction::RestartAllContainers) => return Self::All,
            None => {}
        }
        let policy = match role {
            Role::Sidecar => RestartPolicy::Always,
            Role::Init | Role::Main => container.restart.unwrap_or(pod.restart_policy),
        };
        let again = match (policy, role) {
            (RestartPolicy::Always, Role::Main | Role::Sidecar) => true,
            (RestartPolicy::Always, Role::Init) | (RestartPolicy::OnFailure, _) => !ending.success(),
            (RestartPolicy::Never, _) => false,
        };
        if again { Self::Again } else { Self::Nothing }
    }
}

/// How and when a run ended.
pub(super) struct End {
    pub(super) ending: Ending,
    pub(super) at: Stamp,
    pub(super) message: Option<String>,
}

/// The end of a run: what it means for its container.
pub(super) fn end_run(
    state: &mut ContainerState,
    attempt: u32,
    end: End,
    rule: BackoffRule,
    after: After,
    stopping: bool,
) {
    let (started, image_id, container, stop) = match &mut state.phase {
        Phase::Starting { attempt: current, .. } if *current == attempt => (None, None, None, None),
        Phase::Running(run) if run.attempt == attempt => (
            Some(run.at),
            run.image_id.take(),
            run.container.take(),
            run.stop.take().map(|s: Stopping| s.why),
        ),
        // An old run, or one that has been taken in already.
        Phase::Waiting { .. }
        | Phase::Backoff { .. }
        | Phase::Starting { .. }
        | Phase::Running(_)
        | Phase::Done => return,
    };
    let End { ending, at, message } = end;
    if !matches!(ending, Ending::NotCreated { .. }) {
        state.next_attempt = attempt.saturating_add(1);
    }
    state.had_turn = true;
    let uptime = started.map_or(0, |s| at.boot.since(s.boot));
    state.phase = if stopping || after == After::Nothing {
        Phase::Done
    } else {
        Phase::Backoff { until: state.backoff.next(rule, uptime, at.boot) }
    };
    state.previous = state.last.take();
    state.last =
        Some(Past { attempt, ending, started, finished: at, image_id, container, stopped: stop, message });
}
