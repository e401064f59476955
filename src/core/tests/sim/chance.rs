//! What may happen while nothing is quiet.

use std::collections::BTreeSet;

use super::pods::{FAR, NAMES, NEVER, key};
use super::{File, Sim};
use crate::core::life::Opened;
use crate::core::*;
use crate::pod::*;

impl Sim {
    /// Time passes: mostly little, now and then to the very millisecond at which something is due, rarely a lot.
    pub(super) fn pass(&mut self) {
        self.now += match self.dice.roll(16) {
            0..=2 => 0,
            3..=6 => self.world.deadline(Time(self.now)).map_or(1, |t| t.0 - self.now),
            7 if self.dice.once_in(12) => 600_000 + self.dice.roll(600_000),
            7 => self.dice.roll(40_000),
            _ => self.dice.roll(1_500),
        };
    }

    /// So many things of chance, a daemon that is killed among them.
    pub(super) fn chance(&mut self, turns: u32) {
        for _ in 0..turns {
            self.pass();
            let mut events = self.something();
            while self.dice.once_in(4) {
                events.extend(self.something());
            }
            match self.dice.roll(40) {
                0 => {
                    let after = self.dice.roll(4);
                    self.turn_until(events, Some(after));
                    self.crash(false);
                }
                1 => {
                    self.turn(events);
                    self.crash(true);
                }
                2 if self.dice.once_in(8) => self.reboot(),
                _ => self.turn(events),
            }
        }
    }

    /// What happens next, if anything does.
    pub(super) fn something(&mut self) -> Vec<Event> {
        match self.dice.roll(24) {
            0 | 1 => return self.edit(),
            2 => {
                let one = self.one_lost().into_iter();
                return one.chain(self.trouble()).collect();
            }
            3 => return self.of_images(),
            4 => return self.hold(),
            _ => {}
        }
        self.of_helpers().into_iter().collect()
    }

    fn edit(&mut self) -> Vec<Event> {
        let name = self.dice.one_of(&NAMES);
        match self.dice.roll(12) {
            0..=2 => drop(self.files.remove(name)),
            3 => {
                let named = self.dice.once_in(2);
                let kept = match self.files.remove(name) {
                    Some(File::Good(pod)) => Some(pod),
                    Some(File::Bad { kept, .. }) => kept,
                    None => None,
                };
                self.files.insert(name, File::Bad { kept, named });
            }
            // Written again as it is.
            4 => {}
            _ => {
                let pod = self.pool.any(&mut self.dice, name);
                self.files.insert(name, File::Good(pod));
            }
        }
        self.read()
    }

    fn hold(&mut self) -> Vec<Event> {
        if !self.dice.once_in(3) {
            return vec![];
        }
        let pods: BTreeSet<PodKey> =
            NAMES.iter().filter(|_| self.dice.once_in(2)).map(|name| key(name)).collect();
        if self.dice.once_in(2) {
            return vec![Event::Restart { pods }];
        }
        vec![Event::Hold { pods }]
    }

    fn of_images(&mut self) -> Vec<Event> {
        match self.dice.roll(4) {
            0 => {
                self.host.images.insert(NEVER.to_owned());
            }
            1 => {
                let gone = self.dice.one_of(&[FAR, NEVER]);
                self.host.images.remove(gone);
            }
            _ => {
                let Some(reference) = self.dice.pick(&self.host.pulls) else { return vec![] };
                let error = self.dice.once_in(2).then_some("no route");
                return self.pulled(reference, error);
            }
        }
        vec![self.host.index()]
    }

    fn one_lost(&mut self) -> Option<Event> {
        let is_open = |g: &Generation, pod: &Pod| {
            let life = self.world.slot(&pod.key).and_then(|s| s.life.as_ref());
            life.is_some_and(|l| l.pod.generation == *g && l.opened == Opened::Yes)
        };
        let generation = self.dice.pick_key(&self.host.pods, |g, pod| is_open(g, pod))?;
        self.dice.once_in(3).then(|| self.host.lose(generation))
    }

    fn trouble(&mut self) -> Option<Event> {
        match self.dice.roll(4) {
            0 => {
                let trouble = self.dice.once_in(2).then(|| "docker does not answer".to_owned());
                self.host.trouble.clone_from(&trouble);
                Some(Event::Runtime { trouble })
            }
            1 => {
                self.host.is_full = self.dice.once_in(2);
                self.note_disk();
                None
            }
            _ => None,
        }
    }

    pub(super) fn note_disk(&mut self) {
        let is_full = self.host.is_full;
        self.note(|| format!("the disk is {}", if is_full { "full" } else { "not full" }));
    }

    fn of_helpers(&mut self) -> Option<Event> {
        match self.dice.roll(14) {
            0 | 1 => {
                let generation = self.dice.pick(&self.host.openers)?;
                if self.dice.once_in(3) {
                    self.host.openers.remove(&generation);
                    return Some(Event::OpenFailed { generation, message: "no network".into() });
                }
                Some(self.host.opened(&generation))
            }
            2..=4 => {
                let run =
                    self.dice.pick_key(&self.host.runs, |_, d| d.lives() && !d.runs() && d.monitored)?;
                let (reason, message) = (String::from("CreateContainerError"), String::from("x"));
                match self.dice.roll(12) {
                    0 => Some(self.over(run, Ending::NotCreated { reason, message })),
                    1 => Some(self.over(run, Ending::NotStarted { reason: "StartError".into(), message })),
                    _ => Some(self.begun(run)),
                }
            }
            5 | 6 => {
                let run = self.dice.pick_key(&self.host.runs, |_, d| d.runs() && d.monitored)?;
                let ending = self.any_ending();
                Some(self.over(run, ending))
            }
            7 | 8 => {
                let run =
                    self.dice.pick_key(&self.host.runs, |_, d| !d.lives() && d.monitored && !d.finished)?;
                Some(self.host.cleared(run))
            }
            9 => {
                let run = self.dice.pick_key(&self.host.runs, |_, d| d.monitored && !d.finished)?;
                if !self.dice.once_in(4) {
                    return None;
                }
                self.host.runs.get_mut(&run).unwrap().monitored = false;
                Some(Event::MonitorLost { run })
            }
            10 => {
                if self.dice.once_in(2) {
                    return self.swept();
                }
                let generation = self.dice.pick(&self.host.removers)?;
                let done = !self.dice.once_in(4);
                Some(self.host.removed(generation, done))
            }
            11 | 12 => {
                let (run, kind) = self.dice.pick(&self.host.hooks)?;
                self.host.hooks.remove(&(run.clone(), kind));
                let error = self.dice.once_in(3).then(|| "no".to_owned());
                Some(Event::Hooked { run, kind, error })
            }
            _ => {
                let (run, kind) = self.dice.pick(&self.host.probes)?;
                self.host.probes.remove(&(run.clone(), kind));
                let verdict = self.dice.one_of(&[
                    Verdict::Success,
                    Verdict::Failure,
                    Verdict::Failure,
                    Verdict::Unknown,
                ]);
                Some(Event::Probed { run, kind, verdict, message: String::new() })
            }
        }
    }

    pub(super) fn any_ending(&mut self) -> Ending {
        match self.dice.roll(8) {
            0..=2 => Ending::Exited { code: 0 },
            3 | 4 => Ending::Exited { code: 1 },
            5 => Ending::Exited { code: 42 },
            _ => Ending::Signaled { signal: 9, oom: self.dice.once_in(2) },
        }
    }

    /// A sweep comes to its end, one way or another.
    fn swept(&mut self) -> Option<Event> {
        let run = self.dice.pick(&self.host.sweepers)?;
        let dir = self.host.runs.get_mut(&run)?;
        if self.dice.once_in(4) {
            self.host.sweepers.remove(&run);
            let error = self.dice.once_in(2).then(|| "busy".to_owned());
            return Some(Event::SweepFailed { run, error });
        }
        if dir.hidden {
            (dir.hidden, dir.monitored) = (false, true);
            self.host.sweepers.remove(&run);
            return Some(Event::Monitored { run });
        }
        if dir.lives() {
            // It is cleared away with the next answer; a daemon tells of both at once.
            return Some(self.over(run, Ending::Lost));
        }
        Some(self.host.cleared(run))
    }
}
