//! Comparing what is wanted with what lives, and saying what is to be done about it: Pods.
//!
//! The order of replacement (new image first, then the old generation's end, then the new one's start) lives here and
//! nowhere else; that of a full stop is [`crate::pod::stop`]'s, that of Pods which depend on others is `depends`'s, and
//! that of a Pod's containers lives in `turns`.

use super::container::{Phase, Role, Uncleared};
use super::depends::{Wait, goes_on};
use super::images::{Images, Missing};
use super::life::{Life, Opened, PodStop, Removal, StopReason};
use super::turns::{self, Turns, image_of};
use super::world::{Slot, World};
use super::{Action, RunKey, Stamp, Time};
use crate::pod::{PodKey, Volume};

/// A container that has been starting for this many milliseconds hangs (in a mount, for want of a disk) and no longer counts
/// among those that are started at one time: others need not wait for it.
pub(super) const SLOW_START_MS: u64 = 10_000;

/// In a full stop, a Pod that has not ended so many milliseconds after its grace period (KILL does not help against a process
/// that waits for a dead disk) no longer holds up those that are to end after it.
const HOLDS_UP_MS: u64 = 30_000;

impl World {
    /// What is to be done now. Marks what it asks for, so a second call at once gives nothing.
    pub fn plan(&mut self, now: Stamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.draining {
            self.drain(now);
        }
        let starting = self.starting(now.boot);
        let mut room = match self.trouble {
            Some(_) => 0,
            None => self.settings.parallel_starts.saturating_sub(starting),
        };
        let held_back = self.held_back(now.boot);
        let former = self.waits();
        self.plan_slots(now, &mut room, &mut actions, |key, slot| {
            slot.life.is_some().then(|| Gate::new(slot, former.get(key), held_back.contains(key)))
        });
        // Who has become ready just now, or is to end, counts from here on. Nothing becomes ready by what follows.
        let waits = self.waits();
        let changed = self.note_waits(&waits, now);
        self.plan_slots(now, &mut room, &mut actions, |key, slot| {
            // A wait that came and went within this call was never noted, but has held up the first round.
            let goes_on = slot.life.is_none()
                || changed.binary_search(key).is_ok()
                || former.get(key) != waits.get(key);
            goes_on.then(|| Gate::new(slot, waits.get(key), held_back.contains(key)))
        });
        self.dirty.extend(changed);
        let (draining, complete, dirty) = (self.draining, self.complete, &mut self.dirty);
        self.slots.retain(|key, slot| {
            let is_unread = slot.held.is_some() && !complete;
            let stays = slot.life.is_some() || ((slot.want.is_some() || is_unread) && !draining);
            if !stays {
                // Its end may have been published before it was forgotten.
                dirty.insert(key.clone());
            }
            stays
        });
        actions
            .extend(self.images.begin_due(now.boot).into_iter().map(|reference| Action::Pull { reference }));
        actions
    }

    /// How many containers are being started, but for those that hang.
    pub fn starting(&self, now: Time) -> usize {
        let lives = self.slots.values().filter_map(|s| s.life.as_ref());
        let is_starting =
            |phase: &Phase| matches!(phase, Phase::Starting { since, .. } if now < since.plus(SLOW_START_MS));
        lives.flat_map(|l| &l.containers).filter(|c| is_starting(&c.phase)).count()
    }

    /// Plans those for which `gate` has an answer.
    fn plan_slots(
        &mut self,
        now: Stamp,
        room: &mut usize,
        actions: &mut Vec<Action>,
        gate: impl Fn(&PodKey, &Slot) -> Option<Gate>,
    ) {
        let start_ms = self.settings.start_ms;
        let (images, objects) = (&mut self.images, &self.objects);
        let mut turns = Turns { images, objects, room: *room, start_ms, now, actions };
        for (key, slot) in &mut self.slots {
            let Some(gate) = gate(key, slot) else { continue };
            let before = turns.actions.len();
            if plan_slot(slot, &mut turns, gate, self.draining, self.trouble.is_some())
                || turns.actions.len() > before
            {
                self.dirty.insert(key.clone());
            }
        }
        *room = turns.room;
    }

    /// Full stop: every step begins when nothing of the ones before it runs any more, and within a step each Pod when
    /// nothing runs that depends on it. What has never run is not started just to be stopped in its turn.
    fn drain(&mut self, now: Stamp) {
        let (mut step, mut before, mut in_step) = (0, false, false);
        let mut running = Vec::with_capacity(self.stop_order.len());
        for turn in &self.stop_order {
            if turn.step != step {
                before |= in_step;
                (step, in_step) = (turn.step, false);
            }
            let life = self.slots.get_mut(&turn.key).and_then(|slot| slot.life.as_mut());
            let runs = life.is_some_and(|life| {
                let is_held_up = before || turn.after.iter().any(|place| running.get(*place) == Some(&true));
                if life.leaving().is_none() && (!is_held_up || has_never_run(life)) {
                    stop_life(life, StopReason::Drain, now);
                    self.dirty.insert(turn.key.clone());
                }
                goes_on(life, now.boot)
            });
            running.push(runs);
            in_step |= runs;
        }
    }

    /// The next moment at which `plan` will have something to do by itself, given that it has just been asked at `now`:
    /// whatever was due by then has been done or waits for an event.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        let waited_for = |slot: &&Slot| self.draining || slot.held.is_some();
        let lives = self.slots.values().filter(waited_for).filter_map(|slot| slot.life.as_ref());
        let stuck = lives.filter_map(holds_up_until).filter(|until| *until > now);
        self.slots
            .values()
            .filter_map(|slot| slot_deadline(slot, &self.images, self.settings.start_ms, now))
            .chain(stuck)
            .min()
    }

    /// The key of the Pod that a generation belongs to, while it lives.
    pub fn key_of(&self, run: &RunKey) -> Option<&PodKey> {
        self.slots
            .iter()
            .find(|(_, s)| s.life.as_ref().is_some_and(|l| l.pod.generation == run.generation))
            .map(|(k, _)| k)
    }
}

/// What other Pods allow one to do now.
#[derive(Clone, Copy, Debug)]
struct Gate {
    /// Its next life may begin, or make the old one end.
    begin: bool,
    /// It may be stopped because it is held.
    hold: bool,
}

impl Gate {
    fn new(slot: &Slot, waits: Option<&Vec<Wait>>, held_back: bool) -> Self {
        Self { begin: !slot.is_kept_waiting(waits), hold: !held_back }
    }
}

/// Returns whether something changed that no action shows.
fn plan_slot(slot: &mut Slot, turns: &mut Turns<'_>, gate: Gate, draining: bool, trouble: bool) -> bool {
    let now = turns.now;
    let mut changed = false;
    if slot.life.is_none()
        && let Some(want) = &slot.want
        && slot.held.as_ref() != Some(&want.generation)
        && !draining
        && gate.begin
    {
        let mut life = Life::new(want.clone(), now);
        // What was pulled for the replacement need not be pulled again for the start.
        for (state, ticket) in life.containers.iter_mut().zip(&slot.tickets) {
            state.ticket = *ticket;
        }
        for (of_life, ticket) in life.volume_tickets.iter_mut().zip(&slot.volume_tickets) {
            *of_life = *ticket;
        }
        slot.life = Some(life);
        slot.kept_ports.clear();
        slot.replacement_waits = None;
        changed = true;
    }
    if !draining
        && let Some(why) = reason_to_stop(slot, turns.images, gate, &mut changed)
        && let Some(life) = &mut slot.life
    {
        stop_life(life, why, now);
        changed = true;
    }
    let Some(life) = &mut slot.life else { return changed };
    changed |= turns::start_anew(life);
    if let Some(why) = own_end(life, now.boot) {
        stop_life(life, why, now);
        changed = true;
    }
    changed |= turns::plan(life, turns);
    let open = match life.opened {
        Opened::No => true,
        Opened::Failed { retry_at, .. } => retry_at <= now.boot,
        Opened::Asked | Opened::Yes => false,
    };
    // What is made anew is made when everything that was in the old one has ended.
    if open && life.stop.is_none() && !trouble && !life.restarting {
        life.opened = Opened::Asked;
        turns.actions.push(Action::Open { pod: life.pod.clone() });
    }
    changed |= life.note_ready(now);
    // Whatever makes the Pod's namespaces at that time is ended by the removal: a plugin may hang for minutes.
    if life.leaving().is_some() && is_over(life) && matches!(life.removal, Removal::Due(at) if at <= now.boot)
    {
        life.removal = Removal::Running;
        turns.actions.push(Action::Remove { pod: life.pod.clone() });
    }
    changed
}

/// Every container has ended and nothing of any run is left.
pub(super) fn is_over(life: &Life) -> bool {
    life.containers.iter().all(|c| matches!(c.phase, Phase::Done) && c.uncleared.is_empty())
}

/// Nothing of it runs, is about to, or ever did.
fn has_never_run(life: &Life) -> bool {
    life.containers.iter().all(|c| c.is_still() && c.last.is_none() && c.uncleared.is_empty())
}

/// Until when a life that is being stopped keeps others from being stopped, in a full stop; `None` if nothing of it is left
/// that runs. What it leaves on disk holds up nobody.
pub(super) fn holds_up_until(life: &Life) -> Option<Time> {
    let stop = life.leaving().filter(|_| !is_over(life))?;
    Some(stop.since.boot.plus(u64::from(life.pod.grace_seconds) * 1000).plus(HOLDS_UP_MS))
}

/// Whether the life must make room, and why. Not asked in a full stop, where each has its turn: a manifest that goes or
/// changes then must not end etcd under what still writes to it.
fn reason_to_stop(
    slot: &mut Slot,
    images: &mut Images,
    gate: Gate,
    changed: &mut bool,
) -> Option<StopReason> {
    let life = slot.life.as_mut().filter(|l| l.leaving().is_none())?;
    let Some(want) = &slot.want else { return Some(StopReason::Removed) };
    if slot.held.is_some() {
        return gate.hold.then_some(StopReason::Held);
    }
    let mut missing: Option<Missing> = None;
    if want.generation != life.pod.generation {
        for (container, ticket) in want.all_containers().zip(&mut slot.tickets) {
            if let Err(m) = images.ready(container, ticket) {
                missing.get_or_insert(m);
            }
        }
        for (volume, ticket) in want.volumes.values().zip(&mut slot.volume_tickets) {
            if let Volume::Image { reference, pull_policy } = volume
                && let Err(m) = images.image_ready(reference, *pull_policy, ticket)
            {
                missing.get_or_insert(m);
            }
        }
    }
    let waits = missing.is_some();
    if slot.replacement_waits != missing {
        slot.replacement_waits = missing;
        *changed = true;
    }
    (want.generation != life.pod.generation && !waits && gate.begin).then_some(StopReason::Replaced)
}

/// Whether the life has come to its own end, and how.
fn own_end(life: &Life, now: Time) -> Option<StopReason> {
    if life.stop.is_some() {
        return None;
    }
    if deadline_of(life).is_some_and(|t| t <= now) {
        return Some(StopReason::DeadlineExceeded);
    }
    // What ends for the sake of a new beginning has come to no end of its own.
    if life.restarting {
        return None;
    }
    let mut mains = 0;
    let mut mains_done = 0;
    for (place, state) in life.containers.iter().enumerate() {
        let done = matches!(state.phase, Phase::Done);
        match Role::of(&life.pod, place) {
            Role::Init if done && !life.initialized && !state.has_succeeded() => {
                return Some(StopReason::InitFailed);
            }
            Role::Init | Role::Sidecar => {}
            Role::Main => {
                mains += 1;
                mains_done += usize::from(done);
            }
        }
    }
    (mains == mains_done).then_some(StopReason::Finished)
}

/// When `activeDeadlineSeconds` are over.
fn deadline_of(life: &Life) -> Option<Time> {
    life.pod.active_deadline_seconds.map(|s| life.since.boot.plus(u64::from(s) * 1000))
}

pub(super) fn stop_life(life: &mut Life, why: StopReason, now: Stamp) {
    // A Pod that has come to its own end is deleted when it is, not when it ended.
    let since = life.leaving().map_or(now, |s| s.since);
    life.stop = Some(PodStop { why, since });
    life.restarting = false;
    life.removal = Removal::Due(now.boot);
    for state in &mut life.containers {
        if matches!(state.phase, Phase::Waiting { .. } | Phase::Backoff { .. }) {
            state.phase = Phase::Done;
        }
    }
}

fn slot_deadline(slot: &Slot, images: &Images, start_ms: u64, now: Time) -> Option<Time> {
    let life = slot.life.as_ref()?;
    let mut next: Option<Time> = None;
    let mut at = |t: Option<Time>| next = [next, t.filter(|t| *t > now)].into_iter().flatten().min();
    if let (Some(want), Some(_)) = (&slot.want, &slot.replacement_waits) {
        for image in want.all_containers().map(|c| &c.image).chain(want.volumes.values().filter_map(image_of))
        {
            at(images.deadline(image));
        }
    }
    if life.stop.is_none() {
        at(deadline_of(life));
    }
    if let Opened::Failed { retry_at, .. } = life.opened {
        at(Some(retry_at));
    }
    for (container, state) in life.each() {
        for who in state.uncleared.values() {
            match who {
                Uncleared::SweepDue(t) => at(Some(*t)),
                Uncleared::Monitor | Uncleared::Sweeping => {}
            }
        }
        at(turns::deadline(life, container, state, images, start_ms, now));
    }
    match life.removal {
        Removal::Due(t) if life.leaving().is_some() && is_over(life) => at(Some(t)),
        Removal::Due(_) | Removal::Running => {}
    }
    next
}
