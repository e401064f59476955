//! The daemon is killed, or the whole host goes down; another daemon begins with what is found.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::host::Host;
use super::{File, Sim, Told};
use crate::core::tests::at;
use crate::core::*;
use crate::pod::*;

impl Sim {
    fn new_world(&mut self) {
        self.crashes += 1;
        self.world = World::new(super::settings(self.parallel_starts));
        self.told = Told::default();
        self.held.clear();
        self.referee.forgets();
        self.host.unsaved.clear();
    }

    /// Whoever helped the daemon that was killed tells nobody any more. `is_told`: it had carried out and written down all.
    pub(super) fn crash(&mut self, is_told: bool) {
        self.note(|| "the daemon is killed".to_owned());
        let is_exact = is_told && !self.host.is_full;
        let host = &mut self.host;
        host.openers.clear();
        host.removers.clear();
        host.sweepers.clear();
        host.hooks.clear();
        host.probes.clear();
        host.pulls.clear();
        self.new_world();
        if !is_exact {
            // Nobody knows that they were to run once more.
            self.host.succeeded = self.host.ever.clone();
        }
        let had_down_time = self.dice.once_in(3);
        if had_down_time {
            self.down_time();
        }
        let is_damaged = self.dice.once_in(12);
        if is_damaged {
            self.damage();
        }
        let found: Vec<Event> =
            self.host.pods.clone().into_iter().flat_map(|(g, p)| self.found(g, p)).collect();
        for event in found {
            self.note(|| super::tale::event(&event));
            self.referee.hears(&event, &self.world, self.now);
            self.world.step(event, at(self.now));
        }
        if is_exact && !had_down_time && !is_damaged {
            self.is_taken_over();
        }
        self.referee.takes_over(&self.world, &self.host.disk, self.now);
        let first = [self.host.index(), Event::Runtime { trouble: self.host.trouble.clone() }];
        if self.dice.once_in(2) {
            // The sources are read only later.
            let unread = Event::Desired { pods: BTreeMap::new(), complete: false };
            self.turn(first.into_iter().chain([unread]).collect());
            let read = self.read();
            self.turn(read);
        } else {
            let read = self.read();
            self.turn(first.into_iter().chain(read).collect());
        }
    }

    /// While no daemon runs, containers end all the same.
    fn down_time(&mut self) {
        self.now += self.dice.roll(20_000);
        let living: Vec<RunKey> =
            self.host.runs.iter().filter(|(_, d)| d.runs() && d.monitored).map(|(r, _)| r.clone()).collect();
        for run in living {
            if self.dice.once_in(4) {
                let ending = self.any_ending();
                let _nobody_hears_it = self.over(run, ending);
            }
        }
    }

    /// A last good version, or what was saved of a life, cannot be read.
    fn damage(&mut self) {
        for file in self.files.values_mut() {
            if let File::Bad { kept, .. } = file {
                *kept = None;
            }
        }
        if let Some(generation) = self.dice.pick_key(&self.host.disk, |_, _| true) {
            self.note(|| format!("what was saved of {generation} is damaged"));
            self.host.disk.remove(&generation);
            self.referee.loses_count(&generation);
            // Nobody knows any more that what is to run once has run.
            self.host.begun.retain(|(g, _)| *g != generation);
        }
    }

    fn found(&mut self, generation: Generation, pod: Rc<Pod>) -> Vec<Event> {
        let saved = self.host.disk.get(&generation).cloned().unwrap_or_default();
        let mut runs = Vec::new();
        for (run, dir) in self.host.runs.iter_mut().filter(|(run, _)| run.generation == generation) {
            if std::mem::take(&mut dir.finished) {
                (dir.monitored, dir.hidden) = (false, false);
            }
            if dir.lives() && !dir.runs() && dir.monitored {
                dir.hidden = self.dice.once_in(6);
                dir.monitored = !dir.hidden;
            } else if dir.hidden {
                (dir.hidden, dir.monitored) = (false, true);
            }
            runs.push(FoundRun {
                run: run.clone(),
                monitored: dir.monitored,
                started: dir.started.map(at),
                ended: dir.ended.clone().map(|(ending, ms)| (ending, at(ms))),
                message: None,
                image_id: None,
                container: None,
            });
        }
        let is_open = pod.host_network || saved.opened || !runs.is_empty();
        let found = Found { opened: is_open, addresses: vec![], pod, saved, runs };
        let lost = self.host.lost.contains(&generation).then_some(Event::SandboxLost { generation });
        [Event::Found(Box::new(found))].into_iter().chain(lost).collect()
    }

    /// A daemon that is killed when all is written down loses nothing: the next one knows the same.
    fn is_taken_over(&self) {
        for (_, slot) in self.world.slots() {
            let Some(life) = &slot.life else { continue };
            let generation = &life.pod.generation;
            let (was, mut is) = (&self.host.disk[generation], life.saved());
            if self.host.lost.contains(generation) {
                continue;
            }
            for (name, container) in &mut is.containers {
                let old = &was.containers[name];
                // A hook that was being waited for is run again.
                if let (Some(stop), Some(old)) = (&mut container.stop, &old.stop) {
                    stop.pre_stop.clone_from(&old.pre_stop);
                }
            }
            assert_eq!(is, *was, "{generation} is known as it was saved");
        }
    }

    /// Nothing is left but what lies on disk for good; the boot clock begins anew.
    pub(super) fn reboot(&mut self) {
        self.note(|| "the host goes down and comes up".to_owned());
        let (images, logs) = (self.host.images.clone(), self.host.logs.clone());
        self.host = Host { images, logs, ..Host::default() };
        self.now = self.dice.roll(5_000);
        self.new_world();
        self.referee = super::Referee::default();
        let first = self.host.index();
        let read = self.read();
        self.turn([first].into_iter().chain(read).collect());
    }
}
