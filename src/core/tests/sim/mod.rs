//! One simulator for every random history: the core is driven by seeded dice against a model of the world outside, and a
//! referee who knows the promises watches each turn.
//!
//! A history is chance for a while (manifests that come, change, break and go; containers that exit; helpers that fail, come
//! late or never answer; a daemon that is killed between any two actions; a host that reboots; a disk that is full), and then
//! quiet: nothing fails any more, and time passes only to what the core itself says is due. In the end everything that is
//! wanted runs and nothing else is left. Some histories end with a full stop instead.
//!
//! The same seed is the same history on every machine. A failure prints its seed and the whole history:
//! `PODSTRAP_TEST_SEED=n cargo test --lib sim::` plays that one alone, `PODSTRAP_TEST_HISTORIES=n` plays so many.

mod carry;
mod chance;
mod crash;
pub(super) mod dice;

mod histories;
mod host;
mod order;
mod pods;
mod quiet;
mod referee;
mod tale;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use self::dice::Dice;
use self::host::Host;
use self::pods::Pool;
use self::referee::Referee;
use super::{at, settings};
use crate::core::*;
use crate::pod::*;

/// A manifest.
#[derive(Clone, Debug)]
enum File {
    Good(Rc<Pod>),
    /// It is refused. A last good version goes on if there is one that is remembered; `named`: it says which Pod it would be.
    Bad {
        kept: Option<Rc<Pod>>,
        named: bool,
    },
}

/// What the core was told last of the manifests.
#[derive(Debug, Default)]
struct Told {
    pods: BTreeMap<PodKey, Rc<Pod>>,
    refused: Vec<Refusal>,
    complete: bool,
    /// By this daemon, at any time.
    ever: BTreeSet<PodKey>,
}

/// One history.
struct Sim {
    dice: Dice,
    now: u64,
    world: World,
    host: Host,
    referee: Referee,
    pool: Rc<Pool>,
    files: BTreeMap<&'static str, File>,
    told: Told,
    /// By `podstrap down POD`: which generation of each.
    held: BTreeMap<PodKey, Generation>,
    /// By `podstrap restart POD`, at any time.
    restarted: BTreeSet<PodKey>,
    /// When the full stop began: every Pod that there was.
    at_stop: BTreeMap<PodKey, Rc<Pod>>,
    parallel_starts: usize,
    crashes: u32,
    /// Lines that tell what happened; only of a history that is played again because it failed.
    tale: Option<Vec<String>>,
}

impl Sim {
    fn new(seed: u64, pool: Rc<Pool>, is_told: bool) -> Self {
        let mut dice = Dice::new(seed);
        let parallel_starts = [1, 2, 4][dice.roll(3) as usize];
        let host = Host::new();
        let mut sim = Self {
            dice,
            now: 0,
            world: World::new(settings(parallel_starts)),
            host,
            referee: Referee::default(),
            pool,
            files: BTreeMap::new(),
            told: Told::default(),
            held: BTreeMap::new(),
            restarted: BTreeSet::new(),
            at_stop: BTreeMap::new(),
            parallel_starts,
            crashes: 0,
            tale: is_told.then(Vec::new),
        };
        sim.turn(vec![sim.host.index()]);
        sim
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(tale) = &mut self.tale {
            tale.push(format!("{now:>9} {}", line()));
        }
    }

    /// One turn of the daemon: events are folded in, what follows is carried out and published.
    fn turn(&mut self, events: Vec<Event>) {
        self.turn_until(events, None);
    }

    /// The same; with `dies_after`, the daemon is killed when it has carried out so many actions. Returns whether it was.
    fn turn_until(&mut self, events: Vec<Event>, mut dies_after: Option<u64>) -> bool {
        let mut queue = events;
        loop {
            for event in std::mem::take(&mut queue) {
                self.note(|| tale::event(&event));
                self.holds(&event);
                self.referee.hears(&event, &self.world, self.now);
                let ended = match &event {
                    Event::Ended { run, .. } if self.goes_by(run) => Some(run.clone()),
                    _ => None,
                };
                self.world.step(event, at(self.now));
                if let Some(run) = ended {
                    self.counts(&run);
                }
            }
            if self.host.runs.values().any(|d| d.finished) {
                self.publish();
            }
            let actions = self.world.plan(at(self.now));
            self.forget_holds();
            self.watch();
            for action in actions {
                if let Some(left) = &mut dies_after {
                    if *left == 0 {
                        return true;
                    }
                    *left -= 1;
                }
                self.note(|| tale::action(&action));
                queue.extend(self.carry(action));
            }
            if queue.is_empty() {
                break;
            }
        }
        self.nothing_is_overdue();
        if self.dice.roll(8) == 0 {
            let more = self.world.plan(at(self.now));
            assert_eq!(more, [], "planning twice asks for nothing more");
        }
        if dies_after.is_some() {
            return true;
        }
        self.publish();
        false
    }

    /// What the daemon writes down of what has changed. With a full disk it stays as it was.
    fn publish(&mut self) {
        self.host.unsaved.extend(self.world.take_dirty());
        if self.host.is_full {
            return;
        }
        for key in std::mem::take(&mut self.host.unsaved) {
            if let Some(life) = self.world.slot(&key).and_then(|slot| slot.life.as_ref())
                && self.host.pods.contains_key(&life.pod.generation)
            {
                self.host.disk.insert(life.pod.generation.clone(), life.saved());
            }
        }
        self.host.runs.retain(|_, d| !d.finished);
    }

    /// The manifests as they are now, in the order in which the daemon tells of them.
    fn read(&mut self) -> Vec<Event> {
        let mut pods = BTreeMap::new();
        let mut refused = Vec::new();
        for (name, file) in &self.files {
            let key = pods::key(name);
            match file {
                File::Good(pod) | File::Bad { kept: Some(pod), .. } => drop(pods.insert(key, pod.clone())),
                File::Bad { kept: None, named } => {
                    refused.push(Refusal { key: named.then_some(key), path: format!("/m/{name}.yaml") });
                }
            }
        }
        self.told.ever.extend(pods.keys().cloned());
        self.told.complete = true;
        self.told.pods = pods.clone();
        self.told.refused = refused.clone();
        vec![Event::Refused(refused), Event::Desired { pods, complete: true }]
    }

    /// What `podstrap down` and the manifests after it come to.
    fn holds(&mut self, event: &Event) {
        match event {
            Event::Hold { pods } => {
                for key in pods {
                    let Some(slot) = self.world.slot(key) else { continue };
                    let pod = slot.want.as_ref().or(slot.life.as_ref().map(|l| &l.pod));
                    self.held.extend(pod.map(|p| (key.clone(), p.generation.clone())));
                }
            }
            Event::Restart { pods } => self.restarted.extend(pods.iter().cloned()),
            Event::Desired { pods, .. } => {
                self.held.retain(|key, held| pods.get(key).is_none_or(|p| p.generation == *held));
            }
            _ => {}
        }
    }

    /// A Pod that is forgotten altogether is not held any more.
    fn forget_holds(&mut self) {
        let world = &self.world;
        self.held.retain(|key, _| world.slot(key).is_some());
    }
}
