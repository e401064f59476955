//! Who knows the promises, and watches whether they are kept: nothing is stopped without a reason, no restart comes early or
//! late, every stop has its grace and its end.

use std::collections::{BTreeMap, BTreeSet};

use super::Sim;
use super::host::name_of;
use crate::core::backoff::RESET_MS;
use crate::core::container::{ContainerState, Phase, Role};
use crate::core::life::{Life, Opened, StopReason};
use crate::core::tests::RULE;
use crate::core::*;
use crate::pod::*;

type Name = (Generation, ContainerName);

/// The stop of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct StopWatch {
    pub since: u64,
    pub grace_ms: u64,
    /// What is left between the signal and KILL at the least.
    pub least_ms: u64,
    pub termed: Option<u64>,
    pub killed: Option<u64>,
    /// Which daemon sent the signals.
    pub termed_by: u32,
    pub killed_by: u32,
}

/// The restarts of one container.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// The end that was counted last.
    seen: Option<(u32, Time)>,
    /// How many have been counted in a row, if that is known.
    failures: Option<u32>,
    /// When it may be started again.
    due: Option<Time>,
}

#[derive(Debug, Default)]
pub(super) struct Referee {
    pub stops: BTreeMap<RunKey, StopWatch>,
    counts: BTreeMap<Name, Count>,
    reasons: BTreeMap<Generation, StopReason>,
    /// How each container ended last, by what the host knows.
    pub last: BTreeMap<Name, (u32, Ending)>,
    /// Tries of a probe that have failed in a row.
    fails: BTreeMap<(RunKey, ProbeKind), u32>,
    pub startup_done: BTreeSet<RunKey>,
    /// Hooks that have ended, for good or ill.
    pub hooked: BTreeSet<(RunKey, HookKind)>,
    hook_failed: BTreeSet<RunKey>,
    /// By this daemon.
    pub called: BTreeSet<(RunKey, HookKind)>,
    /// Failures in a row and the time of the last one; pulls that have succeeded.
    pub pulls: BTreeMap<String, (u32, u64)>,
    pub pulled: BTreeMap<String, u32>,
    pub started_with: BTreeMap<Name, u32>,
    /// Runs whose start was given up, by this daemon.
    pub given_up: BTreeSet<RunKey>,
}

/// What the end of a run is followed by, as `man 5 podstrap-manifest` has it.
fn follows(pod: &Pod, place: usize, ending: &Ending) -> &'static str {
    let container = pod.all_containers().nth(place).unwrap();
    let code = ending.exit_code();
    if matches!(ending, Ending::NotCreated { .. }) {
        return "again";
    }
    if container.restart_rules.iter().any(|r| r.exit_codes.contains(&code)) {
        return "all anew";
    }
    match (Role::of(pod, place), pod.restart_policy) {
        (Role::Sidecar, _) | (Role::Main, RestartPolicy::Always) => "again",
        (_, RestartPolicy::Never) => "nothing",
        _ if code == 0 => "nothing",
        _ => "again",
    }
}

fn schedule(failures: u32) -> u64 {
    match failures {
        0 => 0,
        n => (RULE.initial_ms << (n - 1).min(20)).min(RULE.max_ms),
    }
}

impl Referee {
    /// An event that the core is about to be told of.
    pub(super) fn hears(&mut self, event: &Event, world: &World, now: u64) {
        match event {
            Event::Ended { run, ending, .. } => {
                // What was given up was never made.
                let (reason, message) = (String::from("CreateContainerError"), GIVEN_UP.to_owned());
                let ending = match ending {
                    Ending::Lost if self.given_up.contains(run) => Ending::NotCreated { reason, message },
                    other => other.clone(),
                };
                self.last.insert(name_of(run), (run.attempt, ending));
                self.stops.remove(run);
                self.startup_done.remove(run);
                self.fails.retain(|(r, _), _| r != run);
            }
            Event::Found(found) => {
                // Where a success could not be written down, failures count that came before it.
                for run in &found.runs {
                    let saved = found.saved.containers.get(&run.run.container);
                    for (kind, saved) in ProbeKind::ALL.into_iter().filter_map(|k| Some((k, saved?))) {
                        let fails = self.fails.entry((run.run.clone(), kind)).or_default();
                        *fails = saved.failures.of(kind).max(*fails);
                    }
                }
                for run in &found.runs {
                    let is_old = |last: &(u32, Ending)| last.0 > run.run.attempt;
                    if let Some((ending, _)) = &run.ended
                        && !self.last.get(&name_of(&run.run)).is_some_and(is_old)
                    {
                        self.last.insert(name_of(&run.run), (run.run.attempt, ending.clone()));
                    }
                }
            }
            Event::Hooked { run, kind, error } => {
                self.hooked.insert((run.clone(), *kind));
                if error.is_some() && *kind == HookKind::PostStart {
                    self.hook_failed.insert(run.clone());
                }
            }
            Event::Probed { run, kind, verdict, .. } => {
                let fails = self.fails.entry((run.clone(), *kind)).or_default();
                match verdict {
                    Verdict::Success => *fails = 0,
                    Verdict::Failure => *fails += 1,
                    Verdict::Unknown => {}
                }
                if *kind == ProbeKind::Startup && *verdict == Verdict::Success {
                    self.startup_done.insert(run.clone());
                }
            }
            Event::Pulled { reference, error: Some(_) } => {
                let failures = self.pulls.get(reference).map_or(0, |(n, _)| *n);
                self.pulls.insert(reference.clone(), (failures + 1, now));
            }
            Event::Pulled { reference, error: None } => {
                self.pulls.remove(reference);
                *self.pulled.entry(reference.clone()).or_default() += 1;
            }
            Event::Removed { generation, left: None } => {
                let _ = world;
                self.stops.retain(|r, _| r.generation != *generation);
                self.counts.retain(|(g, _), _| g != generation);
                self.last.retain(|(g, _), _| g != generation);
                self.reasons.remove(generation);
                self.fails.retain(|(r, _), _| r.generation != *generation);
            }
            _ => {}
        }
    }

    /// The daemon has been killed: what was only in its mind is gone.
    pub(super) fn forgets(&mut self) {
        self.reasons.clear();
        self.called.clear();
        self.pulls.clear();
        self.pulled.clear();
        self.started_with.clear();
        self.given_up.clear();
    }

    /// What was saved of this generation is gone.
    pub(super) fn loses_count(&mut self, generation: &Generation) {
        self.counts.retain(|(g, _), _| g != generation);
        self.stops.retain(|r, _| r.generation != *generation);
    }

    /// Another daemon knows what it has found.
    pub(super) fn takes_over(&mut self, world: &World, disk: &BTreeMap<Generation, Saved>, now: u64) {
        let mut stopping = BTreeSet::new();
        for (_, slot) in world.slots() {
            let Some(life) = &slot.life else { continue };
            let generation = &life.pod.generation;
            if let Some(stop) = life.stop {
                self.reasons.insert(generation.clone(), stop.why);
            }
            for (container, state) in life.each() {
                let name = (generation.clone(), container.name.clone());
                let count = self.counts.entry(name).or_insert(Count { failures: None, ..Count::default() });
                let id = |past: &run::Past| (past.attempt, past.finished.boot);
                let (last, previous) = (state.last.as_ref().map(id), state.previous.as_ref().map(id));
                let saved = disk.get(generation).and_then(|s| s.containers.get(&container.name));
                let known = saved.and_then(|s| s.last.as_ref()).map(id);
                if last == count.seen && known == last {
                    if let (Phase::Backoff { until }, Some(due)) = (&state.phase, count.due) {
                        assert_eq!(*until, due, "{generation} {}: its back-off goes on", container.name);
                    }
                } else if previous == count.seen && known == previous {
                    count.takes_in(state);
                } else {
                    // More than one end was not saved: which of them counted is not known here.
                    *count = Count { seen: last, failures: None, due: None };
                }
                if let Phase::Running(now_runs) = &state.phase
                    && let Some(stop) = &now_runs.stop
                {
                    let run = life.run_key(&container.name, now_runs.attempt);
                    let known = self.stops.get(&run).map(|w| w.since);
                    assert_eq!(known, Some(stop.since.boot.0), "{run}: was being stopped at {now}");
                    stopping.insert(run);
                }
            }
        }
        // A stop that was not saved begins anew, if there is still a reason.
        self.stops.retain(|run, _| stopping.contains(run));
    }
}

impl Count {
    /// A new end has just been folded in.
    fn takes_in(&mut self, state: &ContainerState) {
        let Some(last) = &state.last else { return };
        self.seen = Some((last.attempt, last.finished.boot));
        let Phase::Backoff { until } = state.phase else {
            self.due = None;
            return;
        };
        let uptime = last.started.map_or(0, |s| last.finished.boot.since(s.boot));
        if uptime >= RESET_MS {
            self.failures = Some(0);
        }
        if let Some(failures) = &mut self.failures {
            let delay = until.since(last.finished.boot);
            assert_eq!(delay, schedule(*failures), "the back-off after {failures} restarts in a row");
            *failures += 1;
        }
        self.due = Some(until);
    }
}

impl Sim {
    /// The container that the core knows by this run.
    fn state_of(&self, run: &RunKey) -> Option<&ContainerState> {
        let mut lives = self.world.slots().filter_map(|(_, slot)| slot.life.as_ref());
        let life = lives.find(|l| l.pod.generation == run.generation)?;
        life.get(&run.container).map(|(_, state)| state)
    }

    /// Whether the core takes this run for the present one.
    pub(super) fn goes_by(&self, run: &RunKey) -> bool {
        self.state_of(run).is_some_and(|state| match &state.phase {
            Phase::Starting { attempt, .. } => *attempt == run.attempt,
            Phase::Running(present) => present.attempt == run.attempt,
            Phase::Waiting { .. } | Phase::Backoff { .. } | Phase::Done => false,
        })
    }

    /// The end of the present run has just been folded in.
    pub(super) fn counts(&mut self, run: &RunKey) {
        let mut counts = std::mem::take(&mut self.referee.counts);
        if let Some(state) = self.state_of(run) {
            let new = Count { failures: Some(0), ..Count::default() };
            counts.entry(name_of(run)).or_insert(new).takes_in(state);
        }
        self.referee.counts = counts;
    }

    /// When a container may be started (again).
    pub(super) fn due(&self, run: &RunKey) -> Time {
        self.referee.counts.get(&name_of(run)).and_then(|c| c.due).unwrap_or_default()
    }

    /// After each plan.
    pub(super) fn watch(&mut self) {
        let mut referee = std::mem::take(&mut self.referee);
        let young = |p: &Phase| matches!(p, Phase::Starting { since, .. } if self.now < since.0 + plan::SLOW_START_MS);
        let lives = || self.world.slots().filter_map(|(_, slot)| slot.life.as_ref());
        let starting = lives().flat_map(|l| &l.containers).filter(|c| young(&c.phase)).count();
        let is_full = self.host.trouble.is_some() || starting >= self.parallel_starts;
        for life in lives() {
            let generation = &life.pod.generation;
            let why = life.stop.map(|s| s.why);
            let known = referee.reasons.get(generation).copied();
            if why != known {
                let Some(why) = why else { panic!("{generation}: its stop ({known:?}) is taken back") };
                assert!(self.is_reason(&referee, life, why), "{generation}: is stopped: {}", why.as_str());
                referee.reasons.insert(generation.clone(), why);
            }
            for (place, (container, state)) in life.each().enumerate() {
                if let Phase::Backoff { until } = state.phase
                    && until.0 <= self.now
                    && !is_full
                {
                    let waits = is_kept(life, place);
                    assert!(waits, "{generation} {}: was to start at {}", container.name, until.0);
                }
                let Phase::Running(run) = &state.phase else { continue };
                let Some(stop) = &run.stop else { continue };
                let key = life.run_key(&container.name, run.attempt);
                if referee.stops.get(&key).is_none_or(|w| w.since != stop.since.boot.0) {
                    assert_eq!(stop.since.boot.0, self.now, "{key}: its stop begins now");
                    self.is_why(&referee, life, container, &key, &stop.why);
                    let of_pod = u64::from(life.pod.grace_seconds) * 1000;
                    let watch = StopWatch {
                        since: self.now,
                        grace_ms: grace_of(&stop.why, container).unwrap_or(of_pod),
                        least_ms: of_pod.min(2_000),
                        termed: None,
                        killed: None,
                        termed_by: 0,
                        killed_by: 0,
                    };
                    referee.stops.insert(key, watch);
                }
            }
        }
        self.referee = referee;
    }

    /// Whether a Pod may be stopped for this reason now.
    fn is_reason(&self, referee: &Referee, life: &Life, why: StopReason) -> bool {
        let pod = &life.pod;
        let told = self.told.pods.get(&pod.key);
        let last = |place: usize| {
            let name = pod.all_containers().nth(place).map(|c| c.name.clone());
            name.and_then(|name| referee.last.get(&(pod.generation.clone(), name))).map(|(_, ending)| ending)
        };
        let ended = |place: usize| last(place).is_some_and(|e| follows(pod, place, e) == "nothing");
        let first_main = pod.init_containers.len();
        let all = first_main + pod.containers.len();
        match why {
            StopReason::Removed => {
                let is_known = self.told.complete || self.told.ever.contains(&pod.key);
                let may_be = |r: &Refusal| r.may_be(&pod.key, &pod.origin);
                told.is_none() && is_known && !self.told.refused.iter().any(may_be)
            }
            StopReason::Replaced => told.is_some_and(|new| {
                let is_here = |c: &Container| self.host.images.contains(&c.image.full);
                // What it is stopped for can begin: no other Pod that runs has a port that the new version wants.
                let in_the_way = self.host.living().any(|(run, _)| {
                    let other = &self.host.pods[&run.generation];
                    other.key != pod.key && super::order::shares_port(new, other)
                });
                new.generation != pod.generation && new.all_containers().all(is_here) && !in_the_way
            }),
            StopReason::Held => self.held.contains_key(&pod.key) && self.may_be_held(pod),
            StopReason::Restarted => self.restarted.contains(&pod.key),
            StopReason::Drain => self.world.is_draining(),
            StopReason::Finished => {
                let lost = self.host.lost.contains(&pod.generation);
                (first_main..all).all(ended) || (lost && pod.restart_policy == RestartPolicy::Never)
            }
            StopReason::InitFailed => (0..first_main).any(|place| {
                Role::of(pod, place) == Role::Init
                    && ended(place)
                    && last(place).is_some_and(|e| !e.success())
            }),
            StopReason::DeadlineExceeded => {
                let limit = pod.active_deadline_seconds.map(|s| u64::from(s) * 1000);
                limit.is_some_and(|ms| self.now >= life.since.boot.0 + ms)
            }
        }
    }

    /// Whether a container may be stopped for what is told of it.
    fn is_why(&self, referee: &Referee, life: &Life, container: &Container, run: &RunKey, why: &str) {
        let failed = |kind, rule: &Option<Probe>| {
            let fails = referee.fails.get(&(run.clone(), kind)).copied().unwrap_or(0);
            rule.as_ref().is_some_and(|r| fails >= r.failure_threshold)
        };
        let is_so = match why {
            "its namespaces are gone" => self.host.lost.contains(&run.generation),
            "a restart rule wants every container started anew" => {
                life.pod.all_containers().enumerate().any(|(place, c)| {
                    let last = referee.last.get(&(run.generation.clone(), c.name.clone()));
                    last.is_some_and(|(_, e)| follows(&life.pod, place, e) == "all anew")
                })
            }
            _ if why.starts_with(HOOK_FAILED) => referee.hook_failed.contains(run),
            _ if why.starts_with("its liveness") => failed(ProbeKind::Liveness, &container.liveness),
            _ if why.starts_with("its startup") => failed(ProbeKind::Startup, &container.startup),
            _ => life.stop.is_some_and(|s| s.why.as_str() == why),
        };
        assert!(is_so, "{run}: is stopped: {why}");
    }

    /// After each turn: no signal is late.
    pub(super) fn nothing_is_overdue(&self) {
        for life in self.world.slots().filter_map(|(_, slot)| slot.life.as_ref()) {
            for (container, state) in life.each() {
                let Phase::Starting { attempt, since, overdue: false } = state.phase else { continue };
                let waits = state.uncleared.get(&attempt) == Some(&container::Uncleared::Monitor);
                let name = &container.name;
                assert!(!waits || self.now < since.0 + START_MS, "{name} was to be given up at {since:?}");
            }
        }
        for (run, watch) in &self.referee.stops {
            if !self.host.runs.get(run).is_some_and(|d| d.runs()) {
                continue;
            }
            let end = watch.since + watch.grace_ms;
            assert!(
                self.now < end || watch.termed.is_some(),
                "{run}: its grace ended at {end}, without TERM"
            );
            let kill = watch.termed.map_or(u64::MAX, |t| end.max(t + watch.least_ms));
            assert!(self.now < kill || watch.killed.is_some(), "{run}: KILL was due at {kill}");
        }
    }
}

/// Why a container whose back-off is over need not be started at once.
fn is_kept(life: &Life, place: usize) -> bool {
    let (pod, state) = (&life.pod, &life.containers[place]);
    let is_main = |n: usize| Role::of(pod, n) == Role::Main;
    let is_free = match (life.initialized, is_main(place)) {
        (true, true) => (0..place).filter(|n| is_main(*n)).all(|n| life.containers[n].has_begun()),
        (true, false) => Role::of(pod, place) == Role::Sidecar,
        (false, _) => place == 0,
    };
    !is_free
        || life.opened != Opened::Yes
        || life.stop.is_some()
        || life.restarting
        || state.uncleared.contains_key(&state.next_attempt)
        || state.uncleared.len() >= 3
}

/// A probe's own grace.
fn grace_of(why: &str, container: &Container) -> Option<u64> {
    let rule = match why {
        _ if why.starts_with("its liveness") => &container.liveness,
        _ if why.starts_with("its startup") => &container.startup,
        _ => return None,
    };
    rule.as_ref().and_then(|r| r.grace_seconds).map(|s| u64::from(s) * 1000)
}
