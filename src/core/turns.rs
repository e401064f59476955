//! The containers of one Pod: whose turn it is to start, and whose to stop.
//!
//! Init containers run one after the other, each to its end; a sidecar among them has had its turn once it is *started*.
//! Then the others start, one after the other in their order, each after the postStart hook of the one before. A stop goes to
//! all of them at once: preStop hooks first, then the stop signal; sidecars get theirs only when every other container has
//! ended, the last sidecar first, all within the one grace period (Kubernetes' `terminationOrdering`).

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use super::container::{ContainerState, MOST_UNCLEARED, Phase, Role, Uncleared};
use super::images::{Images, Missing};
use super::life::{Life, Opened, PodStop};
use super::plan::SLOW_START_MS;
use super::run::{HookState, Run, Stopping};
use super::step::After;
use super::{Action, HOOK_FAILED, HookKind, ProbeKind, RunKey, Stamp, Time};
use crate::pod::reference::Reference;
use crate::pod::{Container, ContainerName, Hook, Namespace, ObjectKind, ObjectRef, Pod, Volume};

/// KILL is sent again after this many milliseconds, should it not help (a process in uninterruptible sleep).
const KILL_AGAIN_MS: u64 = 5_000;

/// What is left to a container between its stop signal and KILL at the least, in milliseconds (the kubelet's minimum).
const LEAST_GRACE_MS: u64 = 2_000;

/// What planning a Pod's containers needs from outside the Pod.
pub(super) struct Turns<'a> {
    pub images: &'a mut Images,
    pub objects: &'a BTreeSet<(Namespace, ObjectRef)>,
    /// How many more containers may be started now.
    pub room: usize,
    /// How long a start may take, in milliseconds.
    pub start_ms: u64,
    pub now: Stamp,
    pub actions: &'a mut Vec<Action>,
}

/// Plans every container of a life. Returns whether something changed that no action shows.
pub(super) fn plan(life: &mut Life, turns: &mut Turns<'_>) -> bool {
    let pod = life.pod.clone();
    let mut changed = false;
    let missing = missing_objects(life, turns.objects);
    let mut turn = life.opened == Opened::Yes && life.stop.is_none() && !life.restarting;
    if turn && pod.init_containers.is_empty() {
        life.initialized = true;
    }
    let mut volume_tickets = std::mem::take(&mut life.volume_tickets);
    for place in 0..life.containers.len() {
        let role = Role::of(&pod, place);
        let may_end = may_end(life, place);
        let (Some(container), Some(state)) =
            (pod.all_containers().nth(place), life.containers.get_mut(place))
        else {
            break;
        };
        let key = |attempt| RunKey {
            generation: pod.generation.clone(),
            container: container.name.clone(),
            attempt,
        };
        for (attempt, who) in &mut state.uncleared {
            if matches!(who, Uncleared::SweepDue(at) if *at <= turns.now.boot) {
                *who = Uncleared::Sweeping;
                turns.actions.push(Action::Sweep { run: key(*attempt) });
            }
        }
        let give_up_at = give_up_at(life.stop, &pod, turns.start_ms, &state.phase);
        if let Phase::Starting { attempt, overdue: overdue @ false, .. } = &mut state.phase
            && give_up_at.is_some_and(|at| at <= turns.now.boot)
            && state.uncleared.get(attempt) == Some(&Uncleared::Monitor)
        {
            *overdue = true;
            turns.actions.push(Action::GiveUp { pod: pod.clone(), run: key(*attempt) });
        }
        let is_due = match role {
            Role::Init => !life.initialized,
            Role::Sidecar => true,
            Role::Main => life.initialized,
        };
        if turn && is_due {
            changed |= start_if_due(&pod, container, state, missing.as_ref(), &mut volume_tickets, turns);
            // One whose monitor was lost is left to its sweeper.
            if let Phase::Starting { attempt, .. } = state.phase
                && let Entry::Vacant(place) = state.uncleared.entry(attempt)
            {
                place.insert(Uncleared::Monitor);
                turns.room = turns.room.saturating_sub(1);
                turns.actions.push(Action::Start { pod: pod.clone(), run: key(attempt) });
            }
        }
        if let Phase::Running(run) = &mut state.phase {
            let attempt = run.attempt;
            let stop_of_pod = match (life.stop, life.restarting) {
                (Some(stop), _) => Some(stop.why.as_str()),
                (None, true) if life.opened != Opened::Yes => Some("its namespaces are gone"),
                (None, true) => Some("a restart rule wants every container started anew"),
                (None, false) => None,
            };
            changed |=
                Running { pod: &pod, container, run, key: key(attempt) }.plan(stop_of_pod, may_end, turns);
        }
        // After its hook: one that has just slept its time out opens the way now.
        turn &= life.initialized && role != Role::Main
            || match role {
                Role::Init => state.has_succeeded(),
                Role::Sidecar => state.is_started() && state.has_begun(),
                Role::Main => state.has_begun(),
            };
        if turn && !life.initialized && place + 1 == pod.init_containers.len() {
            life.initialized = true;
            changed = true;
        }
    }
    life.volume_tickets = volume_tickets;
    changed
}

/// When a start is given up that has not been yet: nobody waits for ever for a monitor that hangs. In a stop it has the grace
/// period that the container would have, once it is slow.
fn give_up_at(stop: Option<PodStop>, pod: &Pod, start_ms: u64, phase: &Phase) -> Option<Time> {
    let Phase::Starting { since, overdue: false, .. } = phase else { return None };
    let at = since.plus(start_ms);
    Some(match stop {
        None => at,
        Some(stop) => {
            let grace_ends = stop.since.boot.plus(u64::from(pod.grace_seconds) * 1000);
            at.min(grace_ends.max(since.plus(SLOW_START_MS)))
        }
    })
}

/// When every container is to be started anew and all have ended: back to the beginning. Where it was no rule that wanted it
/// but the loss of the Pod's namespaces, what has come to its end stays so.
pub(super) fn start_anew(life: &mut Life) -> bool {
    if !life.restarting || life.stop.is_some() || !life.containers.iter().all(ContainerState::is_still) {
        return false;
    }
    life.restarting = false;
    life.initialized = false;
    let is_lost = life.opened != Opened::Yes;
    reset(life, is_lost, |_| false);
    true
}

/// Puts every container back to the beginning, but for those that have begun anew and, where the namespaces were lost, what
/// has come to its end.
pub(super) fn reset(life: &mut Life, is_lost: bool, has_begun: impl Fn(&ContainerName) -> bool) {
    let pod = life.pod.clone();
    for (place, (container, state)) in pod.all_containers().zip(&mut life.containers).enumerate() {
        let role = Role::of(&pod, place);
        let is_over = is_lost
            && role == Role::Main
            && matches!(state.phase, Phase::Done)
            && state
                .last
                .as_ref()
                .is_some_and(|p| After::of(&pod, role, container, &p.ending) == After::Nothing);
        if is_over || has_begun(&container.name) {
            continue;
        }
        state.had_turn = false;
        // The container whose rule it was keeps its back-off.
        if matches!(state.phase, Phase::Done | Phase::Waiting { .. }) {
            state.phase = Phase::Waiting { missing: None };
        }
    }
}

/// Whether a container of a stopping Pod may get its stop signal: sidecars wait for all others, the last one first.
fn may_end(life: &Life, place: usize) -> bool {
    // Under a restart of all, what has ended may have a back-off ahead.
    let ended = |(_, state): (usize, &ContainerState)| state.is_still();
    match Role::of(&life.pod, place) {
        Role::Init | Role::Main => true,
        Role::Sidecar => life
            .containers
            .iter()
            .enumerate()
            .filter(|(other, _)| match Role::of(&life.pod, *other) {
                Role::Sidecar => *other > place,
                Role::Init | Role::Main => true,
            })
            .all(ended),
    }
}

/// The first ConfigMap or Secret that the Pod cannot do without and that is not there.
fn missing_objects(life: &Life, present: &BTreeSet<(Namespace, ObjectRef)>) -> Option<Missing> {
    let namespace = &life.pod.key.namespace;
    let absent =
        life.references.required.iter().find(|o| !present.contains(&(namespace.clone(), (*o).clone())))?;
    let kind = match absent.kind {
        ObjectKind::ConfigMap => "configmap",
        ObjectKind::Secret => "secret",
    };
    Some(Missing {
        reason: if life.references.of_environment.contains(absent) {
            "CreateContainerConfigError"
        } else {
            "ContainerCreating"
        },
        message: format!(
            "{kind} \"{}\" not found: it must be a document in namespace {namespace} beside the Pods' manifests",
            absent.name
        ),
    })
}

/// Moves a container whose time has come to `Starting`, or notes what it waits for.
fn start_if_due(
    pod: &Pod,
    container: &Container,
    state: &mut ContainerState,
    missing_object: Option<&Missing>,
    volume_tickets: &mut [super::images::Ticket],
    turns: &mut Turns<'_>,
) -> bool {
    match &state.phase {
        Phase::Waiting { .. } => {}
        Phase::Backoff { until } if *until <= turns.now.boot => {}
        Phase::Backoff { .. } | Phase::Starting { .. } | Phase::Running(_) | Phase::Done => return false,
    }
    // A run that could not be made is tried again under the same number, once nothing of it is left.
    if state.is_kept_by_old_runs() {
        return false;
    }
    let ready = match missing_object {
        Some(missing) => Err(missing.clone()),
        None => images_ready(pod, container, state, volume_tickets, turns.images),
    };
    match ready {
        Err(missing) => {
            let same = matches!(&state.phase, Phase::Waiting { missing: Some(m) } if *m == missing);
            state.phase = Phase::Waiting { missing: Some(missing) };
            !same
        }
        Ok(()) if turns.room > 0 => {
            state.ticket.used();
            let (attempt, since) = (state.next_attempt, turns.now.boot);
            state.phase = Phase::Starting { attempt, since, overdue: false };
            true
        }
        Ok(()) => false,
    }
}

/// The container's own image, and those that its Pod uses as volumes.
fn images_ready(
    pod: &Pod,
    container: &Container,
    state: &mut ContainerState,
    volume_tickets: &mut [super::images::Ticket],
    images: &mut Images,
) -> Result<(), Missing> {
    images.ready(container, &mut state.ticket)?;
    for (volume, ticket) in pod.volumes.values().zip(volume_tickets) {
        if let Volume::Image { reference, pull_policy } = volume {
            images.image_ready(reference, *pull_policy, ticket)?;
        }
    }
    Ok(())
}

/// A container that runs.
struct Running<'a> {
    pod: &'a Rc<Pod>,
    container: &'a Container,
    run: &'a mut Run,
    key: RunKey,
}

impl Running<'_> {
    fn plan(mut self, stop_of_pod: Option<&'static str>, may_end: bool, turns: &mut Turns<'_>) -> bool {
        let now = turns.now;
        // What is to be stopped begins nothing new.
        let is_last = stop_of_pod.is_some() || self.run.stop.is_some();
        let mut changed = !(is_last && self.run.post_start == HookState::Pending) && self.post_start(turns);
        if self.run.stop.is_none()
            && let Some((why, grace_seconds)) = self.reason_to_stop(stop_of_pod)
        {
            let kill_at = now.boot.plus(u64::from(grace_seconds) * 1000);
            let pre_stop = HookState::Pending;
            self.run.stop =
                Some(Stopping { since: now, pre_stop, termed: false, kill_at, killed: false, why });
            changed = true;
        }
        changed |= self.stop(may_end || stop_of_pod.is_none(), turns);
        let stopping = self.run.stop.is_some();
        for kind in ProbeKind::ALL {
            if self.run.is_up() && self.run.probes.begin_due(kind, stopping, now.boot) {
                turns.actions.push(Action::Probe { pod: self.pod.clone(), run: self.key.clone(), kind });
            }
        }
        changed
    }

    /// Why the run must be stopped, and with how many seconds of grace.
    fn reason_to_stop(&self, stop_of_pod: Option<&'static str>) -> Option<(String, u32)> {
        let grace = self.pod.grace_seconds;
        if let Some(why) = stop_of_pod {
            return Some((why.to_owned(), grace));
        }
        if let HookState::Failed(error) = &self.run.post_start {
            return Some((format!("{HOOK_FAILED}: {error}"), grace));
        }
        let kind = self.run.probes.failed()?;
        let rule = match kind {
            ProbeKind::Startup => &self.container.startup,
            ProbeKind::Liveness => &self.container.liveness,
            ProbeKind::Readiness => &self.container.readiness,
        };
        let said = self.run.probes.get(kind).map_or("", |p| p.message());
        let own_grace = rule.as_ref().and_then(|r| r.grace_seconds);
        Some((format!("its {} probe failed: {said}", kind.as_str()), own_grace.unwrap_or(grace)))
    }

    fn post_start(&mut self, turns: &mut Turns<'_>) -> bool {
        let hook = self.container.lifecycle.post_start.as_ref();
        let begun = begin(hook, &mut self.run.post_start, turns.now.boot);
        if begun == Begun::Call {
            turns.actions.push(Action::Hook {
                pod: self.pod.clone(),
                run: self.key.clone(),
                kind: HookKind::PostStart,
                within_ms: None,
            });
        }
        begun != Begun::Nothing
    }

    /// Moves a stop on: hook, signal, KILL.
    fn stop(&mut self, may_end: bool, turns: &mut Turns<'_>) -> bool {
        // A Pod that wants less than the minimum gets what it wants.
        let least = LEAST_GRACE_MS.min(u64::from(self.pod.grace_seconds) * 1000);
        let Some(stop) = &mut self.run.stop else { return false };
        let now = turns.now.boot;
        let in_grace = now < stop.kill_at;
        let mut changed = false;
        if !stop.termed && in_grace {
            let hook = self.container.lifecycle.pre_stop.as_ref();
            let begun = begin(hook, &mut stop.pre_stop, now);
            if begun == Begun::Call {
                turns.actions.push(Action::Hook {
                    pod: self.pod.clone(),
                    run: self.key.clone(),
                    kind: HookKind::PreStop,
                    within_ms: Some(stop.kill_at.since(now)),
                });
            }
            changed |= begun != Begun::Nothing;
        }
        let hook_is_over = match &stop.pre_stop {
            HookState::Pending => self.container.lifecycle.pre_stop.is_none(),
            HookState::Running | HookState::Sleeping(_) => false,
            HookState::Done | HookState::Failed(_) => true,
        };
        if !stop.termed && ((hook_is_over && may_end) || !in_grace) {
            stop.termed = true;
            // A hook that took all of the grace, or a sidecar whose turn came late, still leaves a moment to end well.
            stop.kill_at = stop.kill_at.max(now.plus(least));
            turns.actions.push(Action::Term {
                pod: self.pod.clone(),
                run: self.key.clone(),
                why: stop.why.clone(),
            });
        } else if stop.termed && !in_grace {
            stop.killed = true;
            stop.kill_at = now.plus(KILL_AGAIN_MS);
            turns.actions.push(Action::Kill { pod: self.pod.clone(), run: self.key.clone() });
        }
        changed
    }
}

/// What beginning (or going on with) a hook came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    Nothing,
    Changed,
    Call,
}

fn begin(hook: Option<&Hook>, state: &mut HookState, now: Time) -> Begun {
    match (&*state, hook) {
        (HookState::Pending, None)
        | (HookState::Running | HookState::Done | HookState::Failed(_), _)
        | (HookState::Sleeping(_), None) => Begun::Nothing,
        (HookState::Pending, Some(Hook::Call(_))) => {
            *state = HookState::Running;
            Begun::Call
        }
        (HookState::Pending, Some(Hook::Sleep(seconds))) => {
            *state = match seconds {
                0 => HookState::Done,
                n => HookState::Sleeping(now.plus(u64::from(*n) * 1000)),
            };
            Begun::Changed
        }
        (HookState::Sleeping(until), Some(_)) if *until <= now => {
            *state = HookState::Done;
            Begun::Changed
        }
        (HookState::Sleeping(_), Some(_)) => Begun::Nothing,
    }
}

/// The image that a volume is made of.
pub(super) fn image_of(volume: &Volume) -> Option<&Reference> {
    match volume {
        Volume::Image { reference, .. } => Some(reference),
        Volume::HostPath { .. } | Volume::EmptyDir { .. } | Volume::Projected { .. } => None,
    }
}

/// When something of a container is due by itself, after `now`.
pub(super) fn deadline(
    life: &Life,
    container: &Container,
    state: &ContainerState,
    images: &Images,
    start_ms: u64,
    now: Time,
) -> Option<Time> {
    // What is past has been done or waits for an event; it must not hide what is still to come.
    let coming = |t: &Time| *t > now;
    match &state.phase {
        Phase::Waiting { missing: Some(_) } => {
            let volumes = life.pod.volumes.values().filter_map(image_of);
            volumes.chain([&container.image]).filter_map(|i| images.deadline(i)).filter(coming).min()
        }
        Phase::Backoff { until } if state.uncleared.len() < MOST_UNCLEARED => Some(*until),
        Phase::Running(run) => {
            let sleeping = |hook: &HookState| match hook {
                HookState::Sleeping(until) => Some(*until),
                HookState::Pending | HookState::Running | HookState::Done | HookState::Failed(_) => None,
            };
            [
                sleeping(&run.post_start),
                run.stop.as_ref().and_then(|s| sleeping(&s.pre_stop)),
                run.stop.as_ref().map(|s| s.kill_at),
                run.probes.deadline(run.stop.is_some()).filter(|_| run.is_up()),
            ]
            .into_iter()
            .flatten()
            .filter(coming)
            .min()
        }
        Phase::Starting { since, .. } => {
            let given_up = give_up_at(life.stop, &life.pod, start_ms, &state.phase);
            [Some(since.plus(SLOW_START_MS)), given_up].into_iter().flatten().filter(coming).min()
        }
        Phase::Waiting { missing: None } | Phase::Backoff { .. } | Phase::Done => None,
    }
}
