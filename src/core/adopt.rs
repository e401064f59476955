//! What an earlier daemon left is taken over as it is: a life is made from what was saved of it and from the runs that are there
//! now, as if no daemon had ended.
//!
//! Either may be the newer; and what was saved may be lost: then the runs are the witnesses of how far the Pod had come.

use super::container::{ContainerState, Phase, Role, Uncleared};
use super::life::{Life, Opened};
use super::probes::Probes;
use super::run::{HookState, Past, Run};
use super::saved::SavedContainer;
use super::step::{After, End, end_run, no_hook_is_done};
use super::turns;
use super::world::{Slot, World};
use super::{BackoffRule, Ending, Found, FoundRun, Stamp, Time};
use crate::pod::{Container, ContainerName, Pod};

impl World {
    pub(super) fn found(&mut self, found: Found, now: Stamp) {
        let Found { opened, addresses, pod, mut saved, runs } = found;
        let rule = self.settings.backoff;
        // Nothing is started before all have ended that are to be started anew: that was over already.
        let is_anew = saved.restarting && runs.iter().any(|run| is_newer(&saved, run));
        saved.restarting &= !is_anew;
        saved.initialized &= !is_anew;
        let mut life = Life::new(pod.clone(), saved.since.unwrap_or(now));
        life.stop = saved.stop;
        life.opened = if opened { Opened::Yes } else { Opened::No };
        life.addresses = addresses;
        // Containers begin after the init containers: where what was saved is lost, they are the witnesses.
        let is_main = |r: &FoundRun| pod.containers.iter().any(|c| c.name == r.run.container);
        let by_witness = saved.since.is_none() && runs.iter().any(is_main);
        // An init container that has begun once more since that was saved is a better witness.
        let begins = pod.init_containers.iter().any(|c| !c.sidecar && begins_anew(&c.name, &saved, &runs));
        let by_witness = by_witness && !begins;
        life.initialized = (saved.initialized || by_witness) && !begins;
        life.restarting = saved.restarting;
        life.ready = saved.ready.unwrap_or(life.ready);
        let stopping = life.stop.is_some();
        for (place, (container, state)) in pod.all_containers().zip(&mut life.containers).enumerate() {
            let mut mine: Vec<&FoundRun> =
                runs.iter().filter(|r| r.run.container == container.name).collect();
            mine.sort_by_key(|r| r.run.attempt);
            let role = Role::of(&pod, place);
            life.restarting |= adopt(&pod, role, container, state, &saved, &mine, rule, stopping, now.boot);
            // So is a later init container for those before it.
            let is_later =
                |r: &FoundRun| init_place(&pod, &r.run.container).is_some_and(|later| later > place);
            let is_witness = |r: &FoundRun| (mine.is_empty() || r.ended.is_none()) && is_later(r);
            let is_passed = saved.since.is_none() && runs.iter().any(is_witness);
            if (by_witness || is_passed) && role == Role::Init && !state.has_succeeded() {
                succeeded_unseen(state, now);
            }
        }
        if is_anew {
            turns::reset(&mut life, !saved.opened, |name| {
                runs.iter().any(|run| run.run.container == *name && is_newer(&saved, run))
            });
        }
        // The others had their turn: the init containers are done, whatever was saved (or could not be read) of them.
        let is_main = |place: usize| Role::of(&pod, place) == Role::Main;
        if life.containers.iter().enumerate().any(|(n, c)| is_main(n) && !c.is_still()) {
            life.initialized = true;
        }
        let key = pod.key.clone();
        let former = self.slots.remove(&key).and_then(|s| s.life);
        if !opened && former.is_some_and(|l| l.pod.generation == pod.generation && l.opened == Opened::Asked)
        {
            life.opened = Opened::Asked;
        }
        // What was being removed is not wanted until a source says so. What has come to its own end is: it stays to be
        // looked at, and is not begun again.
        let want = life.leaving().is_none().then_some(pod);
        let slot = Slot { want, life: Some(life), ..Slot::default() };
        self.slots.insert(key.clone(), slot);
        self.dirty.insert(key);
        self.find_cycles();
        if self.draining {
            self.stop_order = self.stop_turns();
        }
    }
}

/// An init container of which nothing is known any more, in a Pod that is beyond it: taken for one that ended well, as the
/// kubelet does (`pkg/kubelet/kubelet_pods.go`, `convertToAPIContainerStatuses`).
fn succeeded_unseen(state: &mut ContainerState, now: Stamp) {
    state.phase = Phase::Done;
    state.last = Some(Past {
        attempt: state.next_attempt,
        ending: Ending::Exited { code: 0 },
        started: None,
        finished: now,
        image_id: None,
        container: None,
        stopped: None,
        message: Some("its end is not known any more; the Pod was initialized, so it ended well".to_owned()),
    });
}

/// Whether an init container's newest run is not known to what was saved, and has not ended well.
fn begins_anew(name: &ContainerName, saved: &super::Saved, runs: &[FoundRun]) -> bool {
    let newest = runs.iter().filter(|r| r.run.container == *name).max_by_key(|r| r.run.attempt);
    let is_old = |r: &FoundRun| {
        let saved = saved.containers.get(name);
        saved.is_some_and(|s| r.run.attempt < s.next_attempt || is_known(s, r))
    };
    newest.is_some_and(|r| !is_old(r) && r.ended.as_ref().is_none_or(|(ending, _)| !ending.success()))
}

/// The place of an init container that runs to its end.
fn init_place(pod: &Pod, name: &ContainerName) -> Option<usize> {
    pod.init_containers.iter().position(|c| c.name == *name && !c.sidecar)
}

/// Whether a run was begun after that was saved.
fn is_newer(saved: &super::Saved, run: &FoundRun) -> bool {
    let Some(saved) = saved.containers.get(&run.run.container) else { return true };
    let had_ended = saved.done || saved.backoff_until.is_some();
    let is_next = had_ended && run.run.attempt == saved.next_attempt && !is_known(saved, run);
    is_next || run.run.attempt > saved.next_attempt
}

/// Rebuilds a container's state from what was saved and from the runs that were found. Returns whether the end that no
/// daemon saw wants every container started anew.
#[allow(clippy::too_many_arguments)]
fn adopt(
    pod: &Pod,
    role: Role,
    container: &Container,
    state: &mut ContainerState,
    all: &super::Saved,
    runs: &[&FoundRun],
    rule: BackoffRule,
    stopping: bool,
    now: Time,
) -> bool {
    let name: &ContainerName = &container.name;
    let saved = all.containers.get(name).cloned().unwrap_or_default();
    state.next_attempt = saved.next_attempt;
    state.backoff = saved.backoff;
    state.last = saved.last.clone();
    state.previous = saved.previous.clone();
    state.had_turn = state.last.is_some();
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
    let mut all_anew = false;
    for (n, run) in runs.iter().enumerate() {
        let attempt = run.run.attempt;
        let is_newest = n + 1 == runs.len();
        if attempt < state.next_attempt || is_known(&saved, run) || (run.ended.is_none() && !is_newest) {
            continue;
        }
        // By this it is known as the present one when it is saved and found again.
        state.next_attempt = attempt;
        state.phase = match run.started {
            Some(at) => {
                let mut probes = Probes::new(container, at.boot, now);
                // Verdicts, hooks and a stop belong to the run that was the present one when they were saved.
                let mut stop = None;
                let mut post_start = no_hook_is_done(container);
                if attempt == saved.next_attempt {
                    probes.assume(saved.started, saved.ready);
                    probes.assume_failures(saved.failures, now);
                    stop.clone_from(&saved.stop);
                    if saved.post_start_done {
                        post_start = HookState::Done;
                    }
                }
                // A hook that an earlier daemon was waiting for is run again: at least once is what Kubernetes promises.
                if let Some(stop) = stop.as_mut().filter(|s| s.pre_stop == HookState::Running) {
                    stop.pre_stop = HookState::Pending;
                }
                let image_id = run.image_id.clone();
                let container = run.container.clone();
                Phase::Running(Box::new(Run { attempt, at, image_id, container, probes, post_start, stop }))
            }
            None => Phase::Starting { attempt, since: now, overdue: false },
        };
        if let Some((ending, at)) = &run.ended {
            let after = After::of(pod, role, container, ending);
            let end = End { ending: ending.clone(), at: *at, message: run.message.clone() };
            // As in `ended`: what ends because everything is to be started anew has not failed.
            let stopping = stopping || all.restarting;
            end_run(state, attempt, end, rule, after, stopping);
            // A later run tells that this was obeyed.
            all_anew |= after == After::All && !stopping && is_newest;
        }
    }
    all_anew
}

/// Whether the end of this run is the one that was saved. A run that could not be made leaves its number to the next try.
fn is_known(saved: &SavedContainer, run: &FoundRun) -> bool {
    saved.last.as_ref().is_some_and(|past| {
        past.attempt == run.run.attempt
            && (!matches!(past.ending, Ending::NotCreated { .. })
                || run.ended.as_ref().is_some_and(|(_, at)| *at == past.finished))
    })
}
