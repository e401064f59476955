//! Comparing what is wanted with what lives, and saying what is to be done about it.
//!
//! The order of a Pod's containers, of replacement (new image first, then the old generation's end, then the new one's
//! start) and of a full stop (the last Pod first) lives here and nowhere else.

use super::images::{Images, Missing};
use super::state::{
    ContainerState, Life, Opened, Phase, PodStop, Removal, Slot, StopReason, Stopping, Uncleared, World,
};
use super::{Action, ProbeKind, RunKey, Stamp, Time};
use crate::pod::{Container, PodKey};

/// KILL is sent again after this many milliseconds, should it not help (a process in uninterruptible sleep).
const KILL_AGAIN_MS: u64 = 5_000;

/// A container that has been starting for this many milliseconds hangs (in a mount, for want of a disk) and no longer counts
/// among those that are started at one time: others need not wait for it.
const SLOW_START_MS: u64 = 10_000;

/// A container whose old runs cannot be cleared away is not started any more beyond this many of them.
const MOST_UNCLEARED: usize = 3;

impl World {
    /// What is to be done now. Marks what it asks for, so a second call at once gives nothing.
    pub fn plan(&mut self, now: Stamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.draining {
            self.drain_next(now);
        }
        let mut starting = self
            .slots
            .values()
            .filter_map(|s| s.life.as_ref())
            .flat_map(|l| &l.containers)
            .filter(
                |c| matches!(c.phase, Phase::Starting { since, .. } if now.boot < since.plus(SLOW_START_MS)),
            )
            .count();
        let room = self.settings.parallel_starts;
        for (key, slot) in &mut self.slots {
            let before = actions.len();
            if plan_slot(slot, &mut self.images, self.draining, room, &mut starting, now, &mut actions)
                || actions.len() > before
            {
                self.dirty.insert(key.clone());
            }
        }
        let draining = self.draining;
        self.slots.retain(|_, slot| slot.life.is_some() || (slot.want.is_some() && !draining));
        actions
            .extend(self.images.begin_due(now.boot).into_iter().map(|reference| Action::Pull { reference }));
        actions
    }

    /// Full stop: one Pod at a time, the one whose manifest comes last first.
    fn drain_next(&mut self, now: Stamp) {
        if self.slots.values().any(|s| s.life.as_ref().is_some_and(|l| l.stop.is_some())) {
            return;
        }
        let last = self
            .slots
            .iter_mut()
            .filter_map(|(key, slot)| slot.life.as_mut().map(|l| (key, l)))
            .max_by(|(_, a), (_, b)| a.pod.origin.cmp(&b.pod.origin));
        if let Some((key, life)) = last {
            stop_life(life, StopReason::Drain, now);
            self.dirty.insert(key.clone());
        }
    }

    /// The next moment at which `plan` will have something to do by itself, given that it has just been asked at `now`:
    /// whatever was due by then has been done or waits for an event.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        self.slots.values().filter_map(|slot| slot_deadline(slot, &self.images, now)).min()
    }
}

/// Returns whether something changed that no action shows.
fn plan_slot(
    slot: &mut Slot,
    images: &mut Images,
    draining: bool,
    room: usize,
    starting: &mut usize,
    now: Stamp,
    actions: &mut Vec<Action>,
) -> bool {
    let mut changed = false;
    if slot.life.is_none()
        && let Some(want) = &slot.want
        && slot.held.as_ref() != Some(&want.generation)
        && !draining
    {
        let mut life = Life::new(want.clone(), now);
        // What was pulled for the replacement need not be pulled again for the start.
        for (state, ticket) in life.containers.iter_mut().zip(&slot.tickets) {
            state.ticket = *ticket;
        }
        slot.life = Some(life);
        slot.replacement_waits = None;
        changed = true;
    }
    if let Some(why) = reason_to_stop(slot, images, &mut changed)
        && let Some(life) = &mut slot.life
    {
        stop_life(life, why, now);
        changed = true;
    }
    let Some(life) = &mut slot.life else { return changed };
    if life.opened == Opened::No && life.stop.is_none() {
        life.opened = Opened::Asked;
        actions.push(Action::Open { pod: life.pod.clone() });
    }
    changed |= plan_containers(life, images, room, starting, now, actions);
    changed |= life.note_ready(now);
    if life.stop.is_some()
        && life.containers.iter().all(|c| matches!(c.phase, Phase::Done) && c.uncleared.is_empty())
        && matches!(life.removal, Removal::Due(at) if at <= now.boot)
    {
        life.removal = Removal::Running;
        actions.push(Action::Remove { pod: life.pod.clone() });
    }
    changed
}

/// Whether the life must end, and why. A full stop is decided elsewhere, in its order.
fn reason_to_stop(slot: &mut Slot, images: &mut Images, changed: &mut bool) -> Option<StopReason> {
    let life = slot.life.as_mut().filter(|l| l.stop.is_none())?;
    let Some(want) = &slot.want else { return Some(StopReason::Removed) };
    if slot.held.is_some() {
        return Some(StopReason::Held);
    }
    let mut missing: Option<Missing> = None;
    if want.generation != life.pod.generation {
        for (container, ticket) in want.containers.iter().zip(&mut slot.tickets) {
            if let Err(m) = images.ready(container, ticket) {
                missing.get_or_insert(m);
            }
        }
    }
    let waits = missing.is_some();
    if slot.replacement_waits != missing {
        slot.replacement_waits = missing;
        *changed = true;
    }
    (want.generation != life.pod.generation && !waits).then_some(StopReason::Replaced)
}

fn stop_life(life: &mut Life, why: StopReason, now: Stamp) {
    life.stop = Some(PodStop { why, since: now });
    life.removal = Removal::Due(now.boot);
    for state in &mut life.containers {
        if matches!(state.phase, Phase::Waiting { .. } | Phase::Backoff { .. }) {
            state.phase = Phase::Done;
        }
    }
}

fn plan_containers(
    life: &mut Life,
    images: &mut Images,
    room: usize,
    starting: &mut usize,
    now: Stamp,
    actions: &mut Vec<Action>,
) -> bool {
    let pod = life.pod.clone();
    let grace_ms = u64::from(pod.grace_seconds) * 1000;
    let opened = life.opened == Opened::Yes;
    let pod_stop = life.stop;
    let mut turn = opened && pod_stop.is_none();
    let mut changed = false;
    for (container, state) in pod.containers.iter().zip(&mut life.containers) {
        let key = |attempt| RunKey {
            generation: pod.generation.clone(),
            container: container.name.clone(),
            attempt,
        };
        for (attempt, who) in &mut state.uncleared {
            if matches!(who, Uncleared::SweepDue(at) if *at <= now.boot) {
                *who = Uncleared::Sweeping;
                actions.push(Action::Sweep { run: key(*attempt) });
            }
        }
        if turn {
            changed |= start_if_due(container, state, images, *starting < room, now.boot);
            if let Phase::Starting { attempt, .. } = state.phase
                && state.uncleared.insert(attempt, Uncleared::Monitor).is_none()
            {
                *starting += 1;
                actions.push(Action::Start { pod: pod.clone(), run: key(attempt) });
            }
        }
        turn &= state.has_begun();
        let Phase::Running(run) = &mut state.phase else { continue };
        if run.stop.is_none() {
            let why = match (pod_stop, run.probes.failed()) {
                (Some(stop), _) => Some(stop.why.as_str().to_owned()),
                (None, Some(kind)) => {
                    let said = run.probes.get(kind).map_or("", |p| p.message());
                    Some(format!("its {} probe failed: {said}", kind.as_str()))
                }
                (None, None) => None,
            };
            if let Some(why) = why {
                run.stop = Some(Stopping {
                    since: now,
                    kill_at: now.boot.plus(grace_ms),
                    killed: false,
                    why: why.clone(),
                });
                actions.push(Action::Term { pod: pod.clone(), run: key(run.attempt), why });
            }
        }
        if let Some(stop) = &mut run.stop
            && stop.kill_at <= now.boot
        {
            stop.killed = true;
            stop.kill_at = now.boot.plus(KILL_AGAIN_MS);
            actions.push(Action::Kill { pod: pod.clone(), run: key(run.attempt) });
        }
        let stopping = run.stop.is_some();
        for kind in ProbeKind::ALL {
            if run.probes.begin_due(kind, stopping, now.boot) {
                actions.push(Action::Probe { pod: pod.clone(), run: key(run.attempt), kind });
            }
        }
    }
    changed
}

/// Moves a container whose time has come to `Starting`, or notes what it waits for.
fn start_if_due(
    container: &Container,
    state: &mut ContainerState,
    images: &mut Images,
    room: bool,
    now: Time,
) -> bool {
    match &state.phase {
        Phase::Waiting { .. } => {}
        Phase::Backoff { until } if *until <= now => {}
        Phase::Backoff { .. } | Phase::Starting { .. } | Phase::Running(_) | Phase::Done => return false,
    }
    // A run that could not be made is tried again under the same number, once nothing of it is left.
    if state.uncleared.contains_key(&state.next_attempt) || state.uncleared.len() >= MOST_UNCLEARED {
        return false;
    }
    match images.ready(container, &mut state.ticket) {
        Err(missing) => {
            let same = matches!(&state.phase, Phase::Waiting { missing: Some(m) } if *m == missing);
            state.phase = Phase::Waiting { missing: Some(missing) };
            !same
        }
        Ok(_) if room => {
            state.ticket.used();
            state.phase = Phase::Starting { attempt: state.next_attempt, since: now };
            true
        }
        Ok(_) => false,
    }
}

fn slot_deadline(slot: &Slot, images: &Images, now: Time) -> Option<Time> {
    let life = slot.life.as_ref()?;
    let mut next: Option<Time> = None;
    let mut at = |t: Option<Time>| next = [next, t.filter(|t| *t > now)].into_iter().flatten().min();
    if let (Some(want), Some(_)) = (&slot.want, &slot.replacement_waits) {
        for container in &want.containers {
            at(images.deadline(&container.image));
        }
    }
    let mut all_gone = life.stop.is_some();
    for (container, state) in life.each() {
        for who in state.uncleared.values() {
            match who {
                Uncleared::SweepDue(t) => at(Some(*t)),
                Uncleared::Monitor | Uncleared::Sweeping => {}
            }
        }
        all_gone &= matches!(state.phase, Phase::Done) && state.uncleared.is_empty();
        match &state.phase {
            Phase::Waiting { missing: Some(_) } => at(images.deadline(&container.image)),
            Phase::Backoff { until } if state.uncleared.len() < MOST_UNCLEARED => at(Some(*until)),
            Phase::Running(run) => {
                at(run.stop.as_ref().map(|s| s.kill_at));
                at(run.probes.deadline(run.stop.is_some()));
            }
            Phase::Starting { since, .. } => at(Some(since.plus(SLOW_START_MS))),
            Phase::Waiting { missing: None } | Phase::Backoff { .. } | Phase::Done => {}
        }
    }
    match life.removal {
        Removal::Due(t) if all_gone => at(Some(t)),
        Removal::Due(_) | Removal::Running => {}
    }
    next
}

impl World {
    /// The key of the Pod that a generation belongs to, while it lives.
    pub fn key_of(&self, run: &RunKey) -> Option<&PodKey> {
        self.slots
            .iter()
            .find(|(_, s)| s.life.as_ref().is_some_and(|l| l.pod.generation == run.generation))
            .map(|(k, _)| k)
    }
}
