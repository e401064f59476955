//! How a run in docker ended: the kernel tells at once that it did, docker's events a moment later how, and mostly there is
//! nothing more to ask. Where docker might start the container anew by itself, or its word does not come, a helper asks it,
//! which takes longer.

use super::Daemon;
use super::jobs::Purpose;
use super::runs::Monitor;
use crate::command::{CommandLine, SELF};
use crate::core::{Event, RunKey};
use crate::monitor::docker::Order;
use crate::runtime::docker::Flavour;
use crate::runtime::docker::events::{Fate, Verdict};
use crate::sys::clock;
use crate::warning;

/// How long docker's word is waited for, in milliseconds. It comes some 20 ms after the end, later where much ends at once.
const WORD_MS: u64 = 500;
/// What ended so may have been killed for want of memory, of which the event does not tell.
const KILLED: i32 = 137;
/// docker 20.10 tells this where containerd could not say, though it comes to know the true code.
const UNKNOWN: i32 = 255;

/// What docker's events have told of the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Word {
    /// Nothing yet.
    #[default]
    Unsaid,
    /// All that is to be known.
    Said(Verdict),
    /// Not enough: docker has to be asked.
    Unsure,
}

impl Word {
    /// What is known when docker has told one thing more.
    pub fn and(self, fate: Fate) -> Self {
        match (self, fate) {
            // Whoever asks docker to end a container may have asked it to start it anew after that.
            (Self::Unsure, _) | (_, Fate::Meddled | Fate::Over) => Self::Unsure,
            (_, Fate::Ended(Verdict { code: KILLED | UNKNOWN, .. })) => Self::Unsure,
            (_, Fate::Ended(verdict)) => Self::Said(verdict),
        }
    }
}

impl Daemon {
    /// The next moment at which docker's word is not waited for any longer.
    pub(super) fn word_deadline(&self) -> Option<u64> {
        self.runs.values().filter_map(|info| info.awaits_word()).min()
    }

    /// Where docker's word has not come in time, docker is asked.
    pub(super) fn words_overdue(&mut self) {
        let now = clock::boot_ms();
        let late = self.runs.iter().filter(|(_, info)| info.awaits_word().is_some_and(|until| until <= now));
        let late: Vec<RunKey> = late.map(|(run, _)| run.clone()).collect();
        for run in late {
            self.settle_or_sweep(run);
        }
    }

    /// Something has become of docker's `container`, which has the labels of a run; that it has ended, its own pidfd has usually
    /// told already.
    pub(super) fn docker_told_of(&mut self, id: &str, container: &str, fate: Fate) {
        let found = self.runs.iter_mut().find(|(_, info)| info.id.as_str() == id);
        let Some((run, info)) = found.map(|(run, info)| (run.clone(), info)) else { return };
        if info.container(&self.boot_id).is_none_or(|known| known != container) {
            return;
        }
        info.word = info.word.and(fate);
        // Otherwise it runs, or a helper is at work on it already.
        if info.awaits_word().is_some() || self.has_died(&run) {
            self.settle_or_sweep(run);
        }
    }

    /// Who is at a run whose process has ended from now on. `None`: a helper could not be started.
    pub(super) fn over(&mut self, run: &RunKey) -> Option<Monitor> {
        match self.word(run) {
            Word::Unsaid => Some(Monitor::Awaited { until: clock::boot_ms().saturating_add(WORD_MS) }),
            Word::Said(_) | Word::Unsure => self.settle(run.clone()).then_some(Monitor::Child),
        }
    }

    fn settle_or_sweep(&mut self, run: RunKey) {
        let is_begun = self.settle(run.clone());
        if let Some(info) = self.runs.get_mut(&run) {
            info.monitor = if is_begun { Monitor::Child } else { Monitor::Gone };
        }
        if !is_begun {
            self.events.push_back(Event::MonitorLost { run });
        }
    }

    /// What docker has told of the end of a run, if all that it had to tell was heard.
    fn word(&self, run: &RunKey) -> Word {
        let Some(info) = self.runs.get(run) else { return Word::Unsure };
        let tells = info.engine.docker().is_some_and(|docker| docker.flavour == Flavour::Docker);
        let since = info.read_record(&self.boot_id).and_then(|record| record.started_boot_ms);
        let was_heard = since.is_some_and(|since| self.docker.has_listened_since(since));
        if tells && was_heard && self.has_successor(run) { info.word } else { Word::Unsure }
    }

    /// Whether another run of the container may follow.
    fn has_successor(&self, run: &RunKey) -> bool {
        let slot = self.world.key_of(run).and_then(|key| self.world.slot(key));
        slot.and_then(|slot| slot.life.as_ref()).is_some_and(|life| life.stop.is_none())
    }

    /// Starts what makes an end of a run of docker's.
    pub(super) fn settle(&mut self, run: RunKey) -> bool {
        let Some(info) = self.runs.get(&run) else { return false };
        let order = match (self.word(&run), self.has_successor(&run)) {
            (Word::Said(verdict), _) => Order::Record(verdict),
            (Word::Unsaid | Word::Unsure, true) => Order::AskAndLinger,
            (Word::Unsaid | Word::Unsure, false) => Order::Ask,
        };
        let line = CommandLine::new(SELF).arg("monitor").arg(info.directory()).arg(info.name(&run));
        match self.jobs.start(Purpose::Monitor(run), &line.args(order.words()), false) {
            Ok(_) => true,
            Err(e) => {
                warning!("what makes an end of a run cannot be started: {e}");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: Fate = Fate::Ended(Verdict { code: 3, unix_ms: 5 });

    fn told(fates: &[Fate]) -> Word {
        fates.iter().fold(Word::default(), |word, fate| word.and(*fate))
    }

    #[test]
    fn an_end_of_its_own_is_all_there_is_to_know() {
        assert_eq!(told(&[]), Word::Unsaid);
        assert_eq!(told(&[ENDED]), Word::Said(Verdict { code: 3, unix_ms: 5 }));
    }

    /// `docker restart` is told as a signal, an end and a start.
    #[test]
    fn an_end_that_docker_was_asked_for_is_not() {
        assert_eq!(told(&[Fate::Meddled, ENDED]), Word::Unsure);
        assert_eq!(told(&[ENDED, Fate::Meddled]), Word::Unsure);
        assert_eq!(told(&[Fate::Meddled, ENDED, ENDED]), Word::Unsure);
    }

    #[test]
    fn nor_is_one_that_may_be_a_want_of_memory_or_of_which_nothing_is_told() {
        for code in [137, 255] {
            assert_eq!(told(&[Fate::Ended(Verdict { code, unix_ms: 5 })]), Word::Unsure, "{code}");
        }
        assert_eq!(told(&[Fate::Over]), Word::Unsure);
    }
}
