//! The loop, one turn after another in the order that the room's first paragraph tells; and how it ends.

use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::health::Health;
use super::{Daemon, End, Task, now};
use crate::config::OnExit;
use crate::core::Event;
use crate::source::Source;
use crate::sys::fifo::Fifo;
use crate::sys::signals::Signals;
use crate::sys::watch::Change;
use crate::sys::{clock, doom, process, spawn};
use crate::{error, info, warning};

/// However many SIGHUPs come, the sources are read again no sooner than so many milliseconds after the last time.
const RELOAD_PAUSE_MS: u64 = 100;

/// A wait of so many milliseconds is worth giving memory back before it.
const LONG_WAIT_MS: u32 = 1_000;

impl Daemon {
    pub(super) fn serve(mut self, mut signals: Signals, mut fifo: Fifo, task: Task) -> End {
        let mut is_ending = false;
        // Before anything is done about what was found: what is to be stopped must not be started first.
        let only = match task {
            Task::Supervise => None,
            Task::Down { pods, within_ms } => {
                self.give_up_at = within_ms.map(|ms| clock::boot_ms().saturating_add(ms));
                is_ending = pods.is_empty();
                self.events.push_back(match is_ending {
                    true => Event::Drain,
                    false => Event::Hold { pods: pods.iter().cloned().collect() },
                });
                Some(pods).filter(|pods| !pods.is_empty())
            }
        };
        is_ending |= only.is_none() && self.asked_to_end(is_ending);
        self.fold();
        if only.is_none() {
            self.forget_old_status();
        }
        loop {
            self.fold();
            if is_ending && self.world.is_empty() {
                info!("every Pod is stopped");
                self.publish();
                self.inform();
                self.remove_cgroup_root();
                self.forget_requests();
                return End::Done;
            }
            if let Some(pods) = &only
                && pods.iter().all(|k| self.world.slot(k).is_none_or(|s| s.life.is_none()))
            {
                self.publish();
                return End::Done;
            }
            if self.give_up_at.is_some_and(|t| t <= clock::boot_ms()) {
                self.publish();
                return End::TimedOut;
            }
            self.inform();
            let mut changes = Vec::new();
            match self.wait(&signals, &fifo) {
                Ok(()) => self.poll_fails = false,
                // The kernel lacks memory, or the limit of open files was lowered below what is polled: everything is looked
                // at all the same, only not at once.
                Err(e) => {
                    if !std::mem::replace(&mut self.poll_fails, true) {
                        error!("poll: {e}; looking ten times a second until it works again");
                    }
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
            let seen = signals.drain();
            self.serve_health();
            self.reap();
            self.adopted_ended();
            self.docker_turn();
            let (lines, overflow) = fifo.drain();
            for line in lines {
                self.nudged(&line);
            }
            if overflow || self.look_again.is_some_and(|t| t <= clock::boot_ms()) {
                self.look_again = None;
                self.look_at_every_record();
            }
            self.jobs.read_output();
            if let Some(watcher) = &mut self.watcher {
                changes = watcher.drain();
            }
            self.look_at_directories(&changes);
            self.mirror_due();
            self.note_what_works();
            self.overdue();
            for signal in seen {
                match signal {
                    Signal::SIGTERM | Signal::SIGINT => {
                        let stop = self.config.on_exit == OnExit::Stop;
                        if is_ending || !stop || only.is_some() {
                            return self.leave(signal);
                        }
                        info!(
                            "{signal}: stopping every Pod, critical ones last; once more leaves them running"
                        );
                        is_ending = true;
                        self.herald.stopping();
                        self.events.push_back(Event::Drain);
                    }
                    Signal::SIGHUP => {
                        let least = self.reloaded.saturating_add(RELOAD_PAUSE_MS);
                        self.reload.get_or_insert(least);
                    }
                    // SIGCHLD is what `reap` above has dealt with; SIGIO belongs to the lease test.
                    _ => {}
                }
            }
            if self.reload.is_some_and(|t| t <= clock::boot_ms()) {
                info!("SIGHUP: reading every source again");
                self.reload = None;
                self.reloaded = clock::boot_ms();
                let asked_at = clock::monotonic_us();
                self.look_at_directories(&[Change::Overflow]);
                self.herald.reloaded(asked_at);
            }
            is_ending |= self.asked_to_end(is_ending);
        }
    }

    /// Whether a verb has asked for a full stop, and none is under way: then it begins.
    fn asked_to_end(&mut self, is_ending: bool) -> bool {
        let asked = std::mem::take(&mut self.has_requests) && self.requests() && !is_ending;
        if asked {
            info!("asked to stop every Pod and end");
            self.herald.stopping();
            self.events.push_back(Event::Drain);
        }
        asked
    }

    /// Leaves: Pods go on, and the next daemon finds them by what is on disk.
    fn leave(mut self, signal: Signal) -> End {
        // Nobody would do it later.
        self.keep_again = self.keep_again.map(|_| 0);
        self.fold();
        if self.world.is_draining() {
            // Who starts the next one wants the Pods to run.
            self.forget_requests();
        }
        let living = self.world.slots().filter(|(_, s)| s.life.is_some()).count();
        self.herald.stopping();
        self.herald.status(format!("left; {living} Pods go on without a daemon"));
        self.herald.turn(clock::boot_ms());
        info!("{signal}: leaving; {living} Pods go on without a daemon");
        End::Done
    }

    /// Folds every event into the world, carries out what follows, and publishes it; until nothing follows any more.
    fn fold(&mut self) {
        loop {
            let now = now();
            while let Some(event) = self.events.pop_front() {
                self.world.step(event, now);
            }
            if !self.finished.is_empty() {
                // Before anything is begun: what could not be made is tried again under the same number, in this directory.
                // And before it is planned: what is written down as done must have been done, should this daemon be killed.
                self.save_lives();
                self.remove_finished();
            }
            self.expand(now);
            let actions = self.world.plan(now);
            self.planned_at = now.boot;
            // Whose turn it is to be replaced is no matter of its manifest alone: a daemon that comes after this one must know
            // that it was, or would start again what has just ended.
            self.save_ends_of_members(&actions);
            for action in actions {
                self.act(action, now);
                doom::done("an action");
            }
            // Who has become ready just now may let others begin.
            if self.events.is_empty() && !self.expand(now) {
                break;
            }
        }
        self.project_due();
        self.publish();
        self.keep_manifests();
        if self.is_first_of_boot && self.merged.complete {
            self.is_first_of_boot = false;
            self.remove_stale();
            self.forget_what_worked();
        }
    }

    /// The only place that waits.
    fn wait(&mut self, signals: &Signals, fifo: &Fifo) -> io::Result<()> {
        let timeout = self.timeout();
        self.before_a_long_wait(timeout);
        let mut fds = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(fifo.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(watcher) = &self.watcher {
            fds.push(PollFd::new(watcher.as_fd(), PollFlags::POLLIN));
        }
        for fd in self.jobs.outputs() {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        for run in self.runs.values() {
            if let Some(pidfd) = run.adopted_monitor() {
                fds.push(PollFd::new(pidfd, PollFlags::POLLIN));
            }
        }
        for fd in self.docker.descriptors() {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        for (fd, flags) in self.health.iter().flat_map(Health::descriptors) {
            fds.push(PollFd::new(fd, flags));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn timeout(&self) -> PollTimeout {
        let now = clock::boot_ms();
        let next = self
            .sources
            .iter()
            .filter_map(Source::deadline)
            .chain(self.world.deadline(self.planned_at).map(|t| t.0))
            .chain(self.sets.deadline())
            .chain(self.jobs.deadline())
            .chain(self.images.deadline())
            .chain(self.docker.deadline())
            .chain(self.word_deadline())
            .chain(self.publisher.deadline())
            .chain(self.mirror.deadline())
            .chain(self.worked.deadline())
            .chain(self.herald.deadline())
            .chain(self.health.as_ref().and_then(Health::deadline))
            .chain(self.look_again)
            .chain(self.keep_again)
            .chain(self.project_again)
            .chain(self.reload)
            .chain(self.give_up_at)
            .min();
        match next {
            Some(at) => i32::try_from(at.saturating_sub(now))
                .map_or(PollTimeout::MAX, |ms| PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)),
            None => PollTimeout::NONE,
        }
    }

    /// When no child is due to end and nothing is soon to be done: what was needed to get here need not stay in memory.
    fn before_a_long_wait(&self, timeout: PollTimeout) {
        let is_long = timeout.as_millis().is_none_or(|ms| ms >= LONG_WAIT_MS);
        if is_long && self.jobs.deadline().is_none() {
            process::give_back_program();
        }
    }

    fn reap(&mut self) {
        for (pid, status) in spawn::reap() {
            if let Some(job) = self.jobs.ended(pid) {
                self.job_ended(job, status);
            }
        }
    }

    fn overdue(&mut self) {
        for text in self.jobs.kill_overdue(clock::boot_ms()) {
            warning!("{text}");
        }
    }
}
