//! The end of a history: nothing fails any more, and what is wanted must come to be; or a full stop, and nothing may be left.

use std::collections::BTreeSet;

use super::host::role_of;
use super::pods::{self, FAR, NAMES, NEVER};
use super::{File, Sim};
use crate::core::container::Role;
use crate::core::depends::Wait;
use crate::core::life::StopReason;
use crate::core::*;
use crate::pod::*;

/// So often is everything answered, and time passes to what is due, until all must be as it should be.
const PATIENCE: u32 = 600;

impl Sim {
    /// The faults cease.
    pub(super) fn heal(&mut self) {
        self.note(|| "from here on nothing fails".to_owned());
        self.host.is_full = false;
        self.host.trouble = None;
        self.host.images.extend([FAR.to_owned(), NEVER.to_owned()]);
        for name in NAMES {
            if matches!(self.files.get(name), Some(File::Bad { .. })) && self.dice.once_in(2) {
                self.files.insert(name, File::Good(self.pool.any(&mut self.dice, name)));
            }
        }
        let events =
            [Event::Runtime { trouble: None }, self.host.index()].into_iter().chain(self.read()).collect();
        self.turn(events);
    }

    /// What a world without trouble answers, all in one turn. Half of all runs do not listen to TERM; every preStop hook hangs.
    pub(super) fn answer(&mut self) {
        let mut events = Vec::new();
        for generation in self.host.openers.clone() {
            events.push(self.host.opened(&generation));
        }
        for reference in self.host.pulls.clone() {
            events.extend(self.pulled(reference, None));
        }
        for run in self.host.sweepers.clone() {
            let Some(dir) = self.host.runs.get_mut(&run) else { continue };
            if std::mem::take(&mut dir.hidden) {
                dir.monitored = true;
                self.host.sweepers.remove(&run);
                events.push(Event::Monitored { run });
                continue;
            }
            if dir.lives() {
                events.push(self.over(run.clone(), Ending::Lost));
            }
            events.push(self.host.cleared(run));
        }
        for generation in self.host.removers.clone() {
            events.push(self.host.removed(generation, true));
        }
        for run in self.host.runs.keys().cloned().collect::<Vec<_>>() {
            events.extend(self.goes_on(run));
        }
        for (run, kind) in self.host.hooks.clone() {
            if kind == HookKind::PostStart {
                self.host.hooks.remove(&(run.clone(), kind));
                events.push(Event::Hooked { run, kind, error: None });
            }
        }
        for (run, kind) in std::mem::take(&mut self.host.probes) {
            events.push(Event::Probed { run, kind, verdict: Verdict::Success, message: String::new() });
        }
        self.turn(events);
    }

    /// What becomes of a run by itself.
    fn goes_on(&mut self, run: RunKey) -> Option<Event> {
        let dir = self.host.runs.get(&run)?;
        if !dir.monitored {
            return None;
        }
        if !dir.lives() {
            return (!dir.finished).then(|| self.host.cleared(run));
        }
        if !dir.runs() {
            return Some(self.begun(run));
        }
        let pod = &self.host.pods[&run.generation];
        let (role, policy) = (role_of(pod, &run), pod.restart_policy);
        let watch = self.referee.stops.get(&run);
        let is_deaf = run.attempt.is_multiple_of(2);
        let is_told = watch.is_some_and(|w| w.killed.is_some() || (w.termed.is_some() && !is_deaf));
        if is_told {
            Some(self.over(run, Ending::Exited { code: 143 }))
        } else if role == Role::Init || (role == Role::Main && policy != RestartPolicy::Always) {
            Some(self.over(run, Ending::Exited { code: 0 }))
        } else {
            None
        }
    }

    /// Time passes to what the core itself says is due.
    fn pass_to_deadline(&mut self) {
        match self.world.deadline(Time(self.now)) {
            Some(next) => {
                assert!(next.0 > self.now, "a deadline in the past: {}", next.0);
                self.now = next.0;
            }
            None => self.now += 1,
        }
    }

    fn has_work(&self) -> bool {
        let host = &self.host;
        let is_open = |d: &super::host::Dir| d.monitored && !d.finished && !d.runs();
        !(host.openers.is_empty()
            && host.pulls.is_empty()
            && host.sweepers.is_empty()
            && host.removers.is_empty()
            && host.probes.is_empty())
            || host.runs.values().any(is_open)
    }

    /// Quiet, until all is as it should be.
    pub(super) fn settles(&mut self) {
        self.heal();
        // It comes to be so, and after a while it is so still, or again: a Pod may come to its own end.
        for more in [0, self.dice.roll(4)] {
            for _ in 0..more {
                self.pass_to_deadline();
                self.answer();
            }
            for _ in 0..PATIENCE {
                self.answer();
                if self.has_work() {
                    continue;
                }
                if self.unsettled().is_none() {
                    break;
                }
                self.pass_to_deadline();
            }
            assert_eq!(self.unsettled(), None);
        }
    }

    /// A full stop in the middle of whatever goes on.
    pub(super) fn stops(&mut self, turns: u32) {
        self.drain();
        for _ in 0..turns {
            self.now += self.dice.roll(500);
            let events = self.something();
            self.turn(events);
        }
        self.heal();
        // No more than: the Pods, one after the other, each with its grace period, the least after a hook, and retries.
        let latest = self.now + NAMES.len() as u64 * 75_000;
        while !self.world.is_empty() {
            self.answer();
            if self.world.is_empty() || self.has_work() {
                continue;
            }
            // What has been answered may call for more answers before the next deadline.
            let soon = self.now + 100;
            self.now = self.world.deadline(Time(self.now)).map_or(soon, |t| t.0.min(soon));
            assert!(
                self.now <= latest,
                "the full stop is not over: {:?}",
                self.world
                    .slots()
                    .map(|(_, s)| s.life.as_ref().map(|l| (&l.stop, &l.opened, l.restarting, &l.containers)))
                    .collect::<Vec<_>>()
            );
        }
        assert!(self.host.living().next().is_none());
        assert!(self.host.runs.values().all(|d| d.finished), "{:?} is left", self.host.runs);
    }

    fn wants(&self, from: &PodKey, to: &PodKey) -> bool {
        self.told.pods.get(from).is_some_and(|p| p.depends_on.iter().any(|d| d.key() == to))
    }

    fn has_failed(&self, key: &PodKey) -> bool {
        let stop = self.world.slot(key).and_then(|s| s.life.as_ref()).and_then(|l| l.stop);
        stop.is_some_and(|s| s.why != StopReason::Finished)
    }

    /// What is not yet as it should be.
    fn unsettled(&self) -> Option<String> {
        for (key, slot) in self.world.slots() {
            let is_kept = self.told.refused.iter().any(|r| {
                slot.life.as_ref().is_some_and(|l| l.leaving().is_none() && r.may_be(key, &l.pod.origin))
            });
            if !self.told.pods.contains_key(key) && !is_kept {
                return Some(format!("{key} is known and not wanted"));
            }
        }
        for pod in self.told.pods.values() {
            if let Some(why) = self.unsettled_pod(pod) {
                return Some(format!("{}: {why}", pod.generation));
            }
        }
        for run in self.host.runs.keys() {
            let lives = |l: &Life| l.pod.generation == run.generation;
            if !self.world.slots().any(|(_, s)| s.life.as_ref().is_some_and(lives)) {
                return Some(format!("{run} is left"));
            }
        }
        None
    }

    fn unsettled_pod(&self, p: &Pod) -> Option<String> {
        let Some(slot) = self.world.slot(&p.key) else { return Some("is not known".into()) };
        if self.held.get(&p.key) == Some(&p.generation) {
            return slot.life.is_some().then(|| "is held and lives".to_owned());
        }
        let on = || slot.waiting.iter().flat_map(|w| &w.on);
        let life = slot.life.as_ref().filter(|l| l.pod.generation == p.generation);
        if life.is_none() != (on().count() > 0) {
            return Some("neither waits nor lives, or both".into());
        }
        for wait in on() {
            let is_so = match wait {
                Wait::On(key) => !self.host.is_well(key) || self.has_failed(key),
                Wait::Unknown { key, .. } => !self.told.pods.contains_key(key),
                // It lives; or it was there first, and is to be started anew.
                Wait::HostPort { holder, port } => self.world.slot(holder).is_some_and(|other| {
                    let life = other.life.as_ref().map(|l| &l.pod).or(other.want.as_ref());
                    life.is_some_and(|pod| pod.host_ports().any(|p| p.conflicts(port)))
                }),
                Wait::Cycle(way) => {
                    let next = |n: usize| &way[(n + 1) % way.len()];
                    way[0] == p.key && (0..way.len()).all(|n| self.wants(&way[n], next(n)))
                }
            };
            if !is_so {
                return Some(format!("waits for nothing: {wait:?}"));
            }
        }
        if let Some(old) = slot.life.as_ref().filter(|_| life.is_none()) {
            let is_kept = on().any(Wait::is_of_manifests);
            return (!is_kept).then(|| format!("{} is kept", old.pod.generation));
        }
        let life = life?;
        let living: BTreeSet<&str> = self
            .host
            .living()
            .filter(|(r, _)| r.generation == p.generation)
            .map(|(r, _)| r.container.as_str())
            .collect();
        let lasting: BTreeSet<&str> = match &life.stop {
            Some(stop) if stop.why.removes() => return Some(format!("is removed for ever: {stop:?}")),
            Some(_) => BTreeSet::new(),
            None if p.restart_policy != RestartPolicy::Always => return Some("has not ended".into()),
            None => p
                .init_containers
                .iter()
                .filter(|c| c.sidecar)
                .chain(&p.containers)
                .map(|c| c.name.as_str())
                .collect(),
        };
        (living != lasting).then(|| format!("{living:?} run, not {lasting:?}"))
    }

    /// How a history ends whose number is this.
    pub(super) fn play(&mut self, seed: u64) {
        if seed % 5 == 4 {
            self.chance(40);
            // The order shows best where everything runs.
            if self.dice.once_in(2) {
                self.settles();
            }
            self.stops(15);
        } else {
            let turns = [20, 40, 80][self.dice.roll(3) as usize];
            self.chance(turns);
            self.settles();
        }
        let known: BTreeSet<PodKey> = NAMES.iter().map(|name| pods::key(name)).collect();
        assert!(self.world.slots().all(|(key, _)| known.contains(key)));
    }
}
