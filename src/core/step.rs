//! Folding one event into the world. Nothing is asked for here; that is `plan`'s part.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::images::Ticket;
use super::probes::Probes;
use super::saved::SavedContainer;
use super::state::{
    ContainerState, Life, Opened, Past, Phase, Removal, Run, Slot, Stopping, Uncleared, World,
};
use super::{BackoffRule, Ending, Event, Found, FoundRun, RunKey, Stamp, Time};
use crate::pod::{Container, ContainerName, Pod, PodKey, RestartPolicy};

/// A sweep or removal that failed is tried again after this many milliseconds.
pub(super) const RETRY_MS: u64 = 2_000;

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
            Event::Opened { generation, first_attempts } => {
                let Some((key, life)) = self.find(&generation) else { return };
                life.opened = Opened::Yes;
                for (name, attempt) in first_attempts {
                    if let Some((_, state)) = life.get_mut(&name) {
                        state.next_attempt = state.next_attempt.max(attempt);
                    }
                }
                self.dirty.insert(key);
            }
            Event::Started { run, at, image_id } => self.with_run(&run, |container, state, _| {
                if matches!(state.phase, Phase::Starting { attempt, .. } if attempt == run.attempt) {
                    let probes = Probes::new(container, at.boot, now.boot);
                    state.phase = Phase::Running(Box::new(Run {
                        attempt: run.attempt,
                        at,
                        image_id,
                        probes,
                        stop: None,
                    }));
                }
            }),
            Event::Ended { run, ending, at } => self.ended(&run, ending, at),
            Event::Cleared { run } => self.with_run(&run, |_, state, _| {
                state.uncleared.remove(&run.attempt);
            }),
            Event::MonitorLost { run } => self.with_run(&run, |_, state, _| {
                if let Some(who) = state.uncleared.get_mut(&run.attempt) {
                    *who = Uncleared::SweepDue(now.boot);
                }
            }),
            Event::Monitored { run } => self.with_run(&run, |_, state, _| {
                if let Some(who) = state.uncleared.get_mut(&run.attempt) {
                    *who = Uncleared::Monitor;
                }
            }),
            Event::SweepFailed { run } => self.with_run(&run, |_, state, _| {
                if let Some(who) = state.uncleared.get_mut(&run.attempt) {
                    *who = Uncleared::SweepDue(now.boot.plus(RETRY_MS));
                }
            }),
            Event::Probed { run, kind, verdict, message } => self.with_run(&run, |_, state, _| {
                if let Phase::Running(r) = &mut state.phase
                    && r.attempt == run.attempt
                {
                    r.probes.take(kind, verdict, message, now.boot);
                }
            }),
            Event::Removed { generation, done } => {
                let Some((key, life)) = self.find(&generation) else { return };
                if done {
                    if let Some(slot) = self.slots.get_mut(&key) {
                        slot.life = None;
                    }
                } else {
                    life.removal = Removal::Due(now.boot.plus(RETRY_MS));
                }
                self.dirty.insert(key);
            }
            Event::Hold { pods } => self.hold(pods),
            Event::Drain => {
                self.draining = true;
                self.dirty.extend(self.slots.keys().cloned());
            }
        }
    }

    fn desired(&mut self, pods: BTreeMap<PodKey, Rc<Pod>>, complete: bool) {
        self.complete |= complete;
        for (key, slot) in &mut self.slots {
            if !pods.contains_key(key) {
                // A source that has not been read yet may still want what an earlier daemon left; but a document that this
                // daemon has read and that is there no more was taken away. A refused one is no wish that its Pod should end.
                let unread = !self.complete && !slot.seen;
                let kept = slot.life.as_ref().filter(|life| {
                    life.stop.is_none()
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
                slot.tickets = vec![Ticket::default(); pod.containers.len()];
                slot.want = Some(pod);
                self.dirty.insert(key);
            }
        }
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

    fn ended(&mut self, run: &RunKey, ending: Ending, at: Stamp) {
        let rule = self.settings.backoff;
        let Some((key, life)) = self.find(&run.generation) else { return };
        let policy = life.pod.restart_policy;
        let stopping = life.stop.is_some();
        let Some((_, state)) = life.get_mut(&run.container) else { return };
        end_run(state, run.attempt, ending, at, rule, policy, stopping);
        self.dirty.insert(key);
    }

    fn found(&mut self, found: Found, now: Stamp) {
        let Found { pod, saved, runs } = found;
        let rule = self.settings.backoff;
        let mut life = Life::new(pod.clone(), saved.since.unwrap_or(now));
        life.stop = saved.stop;
        life.ready = saved.ready.unwrap_or(life.ready);
        life.opened = Opened::Yes;
        let stopping = life.stop.is_some();
        for (container, state) in pod.containers.iter().zip(&mut life.containers) {
            let mut mine: Vec<&FoundRun> =
                runs.iter().filter(|r| r.run.container == container.name).collect();
            mine.sort_by_key(|r| r.run.attempt);
            adopt(container, state, &saved, &mine, rule, pod.restart_policy, stopping, now.boot);
        }
        let key = pod.key.clone();
        // What was being stopped is not wanted until a source says so.
        let want = (!stopping).then_some(pod);
        let slot = Slot { want, life: Some(life), ..Slot::default() };
        self.slots.insert(key.clone(), slot);
        self.dirty.insert(key);
    }
}

/// The end of a run: what it means for its container.
fn end_run(
    state: &mut ContainerState,
    attempt: u32,
    ending: Ending,
    at: Stamp,
    rule: BackoffRule,
    policy: RestartPolicy,
    stopping: bool,
) {
    let (started, image_id, stop) = match &mut state.phase {
        Phase::Starting { attempt: current, .. } if *current == attempt => (None, None, None),
        Phase::Running(run) if run.attempt == attempt => {
            (Some(run.at), run.image_id.take(), run.stop.take().map(|s: Stopping| s.why))
        }
        // An old run, or one that has been taken in already.
        Phase::Waiting { .. }
        | Phase::Backoff { .. }
        | Phase::Starting { .. }
        | Phase::Running(_)
        | Phase::Done => return,
    };
    let counted = !matches!(ending, Ending::NotCreated { .. });
    if counted {
        state.next_attempt = attempt.saturating_add(1);
    }
    let again = match (&ending, policy) {
        (Ending::NotCreated { .. }, _) | (_, RestartPolicy::Always) => true,
        (ending, RestartPolicy::OnFailure) => !ending.success(),
        (_, RestartPolicy::Never) => false,
    };
    let uptime = started.map_or(0, |s| at.boot.since(s.boot));
    state.phase = if stopping || !again {
        Phase::Done
    } else {
        Phase::Backoff { until: state.backoff.next(rule, uptime, at.boot) }
    };
    state.last = Some(Past { attempt, ending, started, finished: at, image_id, stopped: stop });
}

/// Rebuilds a container's state from what was saved and from the runs that were found.
#[allow(clippy::too_many_arguments)]
fn adopt(
    container: &Container,
    state: &mut ContainerState,
    saved: &super::Saved,
    runs: &[&FoundRun],
    rule: BackoffRule,
    policy: RestartPolicy,
    stopping: bool,
    now: Time,
) {
    let name: &ContainerName = &container.name;
    let saved = saved.containers.get(name).cloned().unwrap_or_default();
    state.next_attempt = saved.next_attempt;
    state.backoff = saved.backoff;
    state.last = saved.last.clone();
    state.phase = match (saved.done, saved.backoff_until) {
        (true, _) => Phase::Done,
        (false, Some(until)) => Phase::Backoff { until },
        (false, None) if stopping => Phase::Done,
        (false, None) => Phase::Waiting { missing: None },
    };
    for run in runs {
        let who = if run.monitored { Uncleared::Monitor } else { Uncleared::SweepDue(now) };
        state.uncleared.insert(run.run.attempt, who);
    }
    // What was saved may be older than the newest run: each end that it does not know of is taken in, in order.
    for (n, run) in runs.iter().enumerate() {
        let attempt = run.run.attempt;
        let is_newest = n + 1 == runs.len();
        if attempt < state.next_attempt || is_known(&saved, run) || (run.ended.is_none() && !is_newest) {
            continue;
        }
        state.phase = match run.started {
            Some(at) => {
                let mut probes = Probes::new(container, at.boot, now);
                // Verdicts and a stop belong to the run that was the present one when they were saved.
                let mut stop = None;
                if attempt == saved.next_attempt {
                    probes.assume(saved.started, saved.ready);
                    stop.clone_from(&saved.stop);
                }
                let image_id = run.image_id.clone();
                Phase::Running(Box::new(Run { attempt, at, image_id, probes, stop }))
            }
            None => Phase::Starting { attempt, since: now },
        };
        if let Some((ending, at)) = &run.ended {
            end_run(state, attempt, ending.clone(), *at, rule, policy, stopping);
        }
    }
}

/// Whether the end of this run is the one that was saved. A run that could not be made leaves its number to the next try.
fn is_known(saved: &SavedContainer, run: &FoundRun) -> bool {
    saved.last.as_ref().is_some_and(|past| {
        past.attempt == run.run.attempt
            && (!matches!(past.ending, Ending::NotCreated { .. })
                || run.ended.as_ref().is_some_and(|(_, at)| *at == past.finished))
    })
}
