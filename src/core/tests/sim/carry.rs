//! Carrying out what the core asks for: what it does to the world outside, and what may never be asked for.

use std::rc::Rc;

use super::Sim;
use super::host::{Dir, name_of, place_of, role_of};
use crate::core::container::{Phase, Role};
use crate::core::life::StopReason;
use crate::core::*;
use crate::pod::*;

impl Sim {
    /// Returns what is told of it at once.
    pub(super) fn carry(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Open { pod } => return self.open(pod),
            Action::Start { pod, run } => self.start(&pod, run),
            Action::Term { pod, run, .. } => self.term(&pod, &run),
            Action::Kill { run, .. } => self.kill(&run),
            Action::GiveUp { pod, run } => return Some(self.give_up(&pod, run)),
            Action::Sweep { run } => {
                assert!(self.host.runs.contains_key(&run), "{run} is swept and is not there");
                assert!(self.host.sweepers.insert(run.clone()), "{run} is swept twice at once");
            }
            Action::Probe { run, kind, pod } => {
                let has_startup = pod.container(&run.container).is_some_and(|c| c.startup.is_some());
                if has_startup && kind != ProbeKind::Startup {
                    let done = self.referee.startup_done.contains(&run);
                    assert!(done, "{run}: {} before its startup probe has succeeded", kind.as_str());
                }
                assert!(self.host.probes.insert((run.clone(), kind)), "{run}: {kind:?} twice at once");
            }
            Action::Hook { run, kind, .. } => {
                let is_new = self.referee.called.insert((run.clone(), kind));
                assert!(is_new, "{run}: {kind:?} is called twice");
                self.host.hooks.insert((run, kind));
            }
            Action::Pull { reference } => {
                let reference = reference.full;
                let (failures, at) = self.referee.pulls.get(&reference).copied().unwrap_or((0, 0));
                let wait = if failures == 0 { 0 } else { (10_000 << (failures - 1).min(10)).min(300_000) };
                assert!(self.now >= at + wait, "{reference} is pulled {failures} failures after {at}");
                assert!(self.host.pulls.insert(reference.clone()), "{reference} is pulled twice at once");
            }
            Action::Remove { pod } => {
                let generation = &pod.generation;
                let left = self.host.runs.iter().any(|(r, d)| r.generation == *generation && !d.finished);
                assert!(!left, "{generation} is removed while something of it is left");
                // A helper that is still opening it is ended before anything is removed.
                self.host.openers.remove(generation);
                assert!(
                    self.host.removers.insert(generation.clone()),
                    "{generation} is removed twice at once"
                );
            }
        }
        None
    }

    fn open(&mut self, pod: Rc<Pod>) -> Option<Event> {
        let generation = pod.generation.clone();
        assert_eq!(self.world.trouble(), None, "{generation} is opened");
        assert!(!self.host.lives(&generation, |_| true), "{generation} lives and is opened");
        assert!(!self.host.removers.contains(&generation), "{generation} is being removed and is opened");
        let other = self.host.pods.values().find(|o| o.key == pod.key && o.generation != generation);
        assert!(other.is_none(), "{generation} is opened beside {other:?}");
        let is_held = self.held.get(&pod.key) == Some(&generation) && !self.world.is_draining();
        // One that waits until others, which depend on it, have ended is kept as it was meanwhile.
        let lives = |key: &PodKey| self.world.slot(key).is_some_and(|s| s.life.is_some());
        let is_kept = self.host.pods.contains_key(&generation)
            && self.held.keys().any(|other| *other != pod.key && lives(other));
        assert!(!is_held || is_kept, "{generation} is held and is opened");
        assert!(self.host.openers.insert(generation.clone()), "{generation} is opened twice at once");
        let slot = self.world.slot(&pod.key).unwrap();
        // One that could not be opened at once lives all the same, and is replaced only when the new one can begin.
        let is_old = slot.replacement_waits.is_some() || slot.waiting.is_some();
        let is_now = slot.life.as_ref().is_some_and(|l| l.since.boot == Time(self.now)) && !is_old;
        if !self.host.pods.contains_key(&generation) && is_now {
            let told = self.told.pods.get(&pod.key).map(|p| &p.generation);
            // One whose document is refused now goes on as it was, and is started anew as it was.
            let is_last_good =
                told.is_none() && self.told.refused.iter().any(|r| r.may_be(&pod.key, &pod.origin));
            assert!(told == Some(&generation) || is_last_good, "{generation} begins, and {told:?} is wanted");
            assert!(!self.world.is_draining(), "{generation} begins in a full stop");
            self.may_begin(&pod);
            self.has_its_ports(&pod);
        }
        let is_quick = pod.host_network;
        self.host.pods.insert(generation.clone(), pod);
        is_quick.then(|| self.host.opened(&generation))
    }

    fn start(&mut self, pod: &Rc<Pod>, run: RunKey) {
        assert_eq!(self.world.trouble(), None, "{run} is started");
        let generation = &run.generation;
        assert!(!self.host.lost.contains(generation), "{run} is started in namespaces that are gone");
        let name = name_of(&run);
        let twice = self.host.living().find(|(r, _)| name_of(r) == name);
        assert!(twice.is_none(), "{run} is started while {twice:?} lives");
        let due = self.due(&run);
        assert!(Time(self.now) >= due, "{run} is started before {}", due.0);
        let life = self.world.slot(&pod.key).and_then(|s| s.life.as_ref()).unwrap();
        assert_eq!(life.stop, None, "{run} is started in a Pod that is being stopped");
        self.is_its_turn(pod, &run);
        let has_rules = pod.all_containers().any(|c| !c.restart_rules.is_empty());
        if pod.restart_policy == RestartPolicy::Never && role_of(pod, &run) != Role::Sidecar && !has_rules {
            let begun = self.host.begun.contains(&name);
            assert!(!begun, "{run} runs again in spite of its policy");
        }
        self.has_its_image(pod, &run);
        if self.host.runs.get(&run).is_some_and(|d| d.finished) {
            self.host.runs.remove(&run);
        }
        let next = self.host.logs.entry(name).or_default();
        *next = (*next).max(run.attempt + 1);
        self.referee.given_up.remove(&run);
        let dir = Dir { monitored: true, asked: self.now, ..Dir::default() };
        let former = self.host.runs.insert(run.clone(), dir);
        assert!(former.is_none(), "{run} is used again before it was cleared");
    }

    /// Its monitor is killed; what it may have left is for a sweeper.
    fn give_up(&mut self, pod: &Pod, run: RunKey) -> Event {
        let now = self.now;
        let dir =
            self.host.runs.get_mut(&run).unwrap_or_else(|| panic!("{run} is given up and is not there"));
        assert!(dir.monitored && dir.started.is_none(), "{run} is given up and is {dir:?}");
        let stop = self.world.slot(&pod.key).and_then(|s| s.life.as_ref()).and_then(|l| l.stop);
        let least = match stop {
            None => dir.asked + START_MS,
            Some(stop) => {
                let grace_ends = stop.since.boot.0 + u64::from(pod.grace_seconds) * 1000;
                (dir.asked + START_MS).min(grace_ends.max(dir.asked + plan::SLOW_START_MS))
            }
        };
        assert!(now >= least, "{run} is given up at {now}, before {least}");
        assert!(self.referee.given_up.insert(run.clone()), "{run} is given up twice");
        dir.monitored = false;
        Event::MonitorLost { run }
    }

    /// Init containers come one after the other and before all others; postStart hooks hold up the next container.
    fn is_its_turn(&self, pod: &Pod, run: &RunKey) {
        let lives = |role: fn(Role) -> bool| self.host.lives(&run.generation, role);
        let succeeded =
            |c: &Container| self.host.succeeded.contains(&(run.generation.clone(), c.name.clone()));
        match role_of(pod, run) {
            Role::Main => {
                for c in pod.init_containers.iter().filter(|c| !c.sidecar) {
                    assert!(succeeded(c), "{run} starts before {} has succeeded", c.name);
                }
                assert!(!lives(|r| r == Role::Init), "{run} beside an init container");
            }
            Role::Init => assert!(!lives(|r| r != Role::Sidecar), "{run} beside others"),
            Role::Sidecar => {}
        }
        let is_first = !self.host.begun.contains(&name_of(run));
        for before in pod.all_containers().take(place_of(pod, &run.container)).filter(|_| is_first) {
            let name = (run.generation.clone(), before.name.clone());
            // One that could not be made holds up nobody.
            let is_init =
                role_of(pod, &RunKey { container: before.name.clone(), ..run.clone() }) == Role::Init;
            assert!(!is_init || succeeded(before), "{run} starts before {}", before.name);
            let runs = self.host.living().find(|(r, d)| name_of(r) == name && d.runs());
            // One that could not be made, or has ended once, has had its turn.
            let is_new = !self.referee.last.contains_key(&name);
            let Some((other, _)) = runs.filter(|_| is_new && before.lifecycle.post_start.is_some()) else {
                continue;
            };
            if let (Some(Hook::Call(_)), 0) = (&before.lifecycle.post_start, other.attempt) {
                let is_over = self.referee.hooked.contains(&(other.clone(), HookKind::PostStart));
                assert!(is_over, "{run} starts before the hook of {other} has ended");
            }
        }
    }

    fn has_its_image(&mut self, pod: &Pod, run: &RunKey) {
        let container = pod.container(&run.container).unwrap();
        let image = &container.image.full;
        assert!(self.host.images.contains(image), "{run} is started without its image {image}");
        if container.pull_policy == PullPolicy::Always {
            let pulled = self.referee.pulled.get(image).copied().unwrap_or(0);
            let before = self.referee.started_with.insert(name_of(run), pulled).unwrap_or(0);
            assert!(pulled > before, "{run} is started with an image that was not pulled anew");
        }
    }

    fn term(&mut self, pod: &Pod, run: &RunKey) {
        let now = self.now;
        assert!(self.host.runs.get(run).is_some_and(|d| d.lives()), "TERM to {run}, which does not live");
        let life = self.world.slot(&pod.key).and_then(|s| s.life.as_ref()).unwrap();
        let Phase::Running(_) = &life.get(&run.container).unwrap().1.phase else { panic!("TERM to {run}") };
        if life.stop.is_some_and(|s| s.why == StopReason::Drain) {
            self.has_its_turn(pod);
        }
        let watch = self.referee.stops.get_mut(run).unwrap_or_else(|| panic!("TERM to {run}, unasked"));
        assert!(
            watch.termed.is_none() || watch.termed_by != self.crashes,
            "{run} is termed twice, at {now} and {:?}",
            watch.termed
        );
        (watch.termed, watch.termed_by) = (Some(now), self.crashes);
        let (since, grace_ms) = (watch.since, watch.grace_ms);
        if now < since + grace_ms {
            match &pod.container(&run.container).unwrap().lifecycle.pre_stop {
                Some(Hook::Call(_)) => {
                    let is_over = self.referee.hooked.contains(&(run.clone(), HookKind::PreStop));
                    assert!(is_over, "{run} is termed before its preStop hook has ended");
                }
                Some(Hook::Sleep(seconds)) => {
                    assert!(
                        now >= since + u64::from(*seconds) * 1000,
                        "{run} is termed in its preStop sleep"
                    );
                }
                None => {}
            }
            if let Some(stop) = life.stop
                && role_of(pod, run) == Role::Sidecar
            {
                // A probe may have stopped it before the Pod.
                let others = self.host.lives(&run.generation, |r| r != Role::Sidecar);
                let is_own = grace_ms != u64::from(pod.grace_seconds) * 1000 || stop.since.boot.0 > since;
                assert!(!others || is_own, "sidecar {run} is termed before the others");
            }
        }
    }

    fn kill(&mut self, run: &RunKey) {
        let now = self.now;
        let watch = self.referee.stops.get_mut(run).unwrap_or_else(|| panic!("KILL to {run}, unasked"));
        let Some(termed) = watch.termed else { panic!("{run} is killed without a word") };
        assert!(now >= watch.since + watch.grace_ms, "{run} is killed in its grace, since {}", watch.since);
        assert!(now >= termed + watch.least_ms, "{run} is killed too soon after TERM");
        if let Some(killed) = watch.killed.filter(|_| watch.killed_by == self.crashes) {
            assert!(now >= killed + 5_000, "{run} is killed again too soon");
        }
        (watch.killed, watch.killed_by) = (Some(now), self.crashes);
    }
}
