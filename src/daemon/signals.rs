//! The signals that containers are sent: their stop signal, and KILL when they have not ended by it. Those that this process
//! is sent are the loop's.

use std::os::fd::AsFd;

use nix::libc;

use super::Daemon;
use super::jobs::Purpose;
use crate::core::RunKey;
use crate::pod::Pod;
use crate::runtime::engine::Engine;
use crate::runtime::runc::Runc;
use crate::sys::process;
use crate::sys::spawn::ExitStatus;
use crate::{error, info, warning};

/// So many runtimes are called at a time to send signals: a full stop of hundreds of Pods is not to fill the memory with them.
const MOST_SIGNALS: usize = 16;

impl Daemon {
    pub(super) fn term(&mut self, pod: &Pod, run: RunKey, why: &str) {
        info!("{}/{}: stopping (grace {} s): {why}", pod.key, run.container, pod.grace_seconds);
        let signal = self.stop_signal(&run);
        self.signal(run, signal);
    }

    pub(super) fn kill(&mut self, pod: &Pod, run: RunKey) {
        if self.is_new(format!("kill {run}"), "") {
            warning!("{}/{}: did not end within its grace period: KILL", pod.key, run.container);
        } else {
            self.kill_by_docker(&run);
        }
        self.signal(run, libc::SIGKILL);
    }

    fn stop_signal(&self, run: &RunKey) -> i32 {
        self.runs
            .get(run)
            .and_then(|info| info.read_record(&self.boot_id))
            .and_then(|r| r.stop_signal)
            .unwrap_or(libc::SIGTERM)
    }

    fn signal(&mut self, run: RunKey, signal: i32) {
        self.unsent.push_back((run, signal));
        self.send_signals();
    }

    fn send_signals(&mut self) {
        while self.jobs.count(|p| matches!(p, Purpose::Signal(..))) < MOST_SIGNALS
            && let Some((run, signal)) = self.unsent.pop_front()
        {
            self.send_signal(run, signal);
        }
    }

    fn send_signal(&mut self, run: RunKey, signal: i32) {
        let Some(info) = self.runs.get(&run) else { return };
        // Exact to the millisecond, and whether a runtime answers or not. Only KILL is runc's: a frozen container of cgroup v1
        // has to be thawed to die.
        let is_for_runtime = info.engine.docker().is_none() && signal == libc::SIGKILL;
        if !is_for_runtime && self.signal_directly(&run, signal) {
            return;
        }
        let root = self.config.roots.runc();
        let line = match &info.engine {
            Engine::Runc { binary } => Runc { binary, root: &root }.kill(&info.id, signal),
            Engine::Docker(_) => return,
        };
        if let Err(e) = self.jobs.start(Purpose::Signal(run.clone(), signal), &line, true) {
            warning!("{}: the runtime cannot be called ({e}): the signal is sent directly", info.name(&run));
            self.signal_directly(&run, signal);
        }
    }

    /// For what our own KILL has not ended: it may be paused, and docker knows how to thaw it. Nothing waits for this: KILL
    /// follows again.
    fn kill_by_docker(&mut self, run: &RunKey) {
        let purpose = Purpose::Signal(run.clone(), libc::SIGKILL);
        if self.world.trouble().is_some() || self.jobs.any(|p| *p == purpose) {
            return;
        }
        let Some(info) = self.runs.get(run) else { return };
        if let (Some(docker), Some(id)) = (info.engine.docker(), info.container(&self.boot_id))
            && let Err(e) = self.jobs.start(purpose, &docker.kill(&id), true)
        {
            warning!("{}: docker kill cannot be started: {e}", info.name(run));
        }
    }

    /// By our own record, through a pidfd whose start time matches. False when it could not be sent: there is no record, or
    /// the kernel refuses.
    fn signal_directly(&self, run: &RunKey, signal: i32) -> bool {
        let Some(info) = self.runs.get(run) else { return true };
        let Some(record) = info.read_record(&self.boot_id) else { return false };
        let Some(init) = record.init.filter(|_| record.end.is_none()) else { return record.end.is_some() };
        let sent = process::pidfd_open(init.pid).and_then(|fd| {
            if process::start_ticks(init.pid)? == Some(init.start_ticks) {
                process::pidfd_signal(fd.as_fd(), signal)?;
            }
            Ok(())
        });
        match sent {
            Ok(()) => true,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => true,
            Err(e) => {
                error!("{}: signal {signal} cannot be sent: {e}", info.name(run));
                false
            }
        }
    }

    pub(super) fn signal_ended(&mut self, run: &RunKey, signal: i32, status: ExitStatus) {
        if !status.success() {
            // The run may have ended meanwhile; otherwise runc has failed, and we have not.
            self.signal_directly(run, signal);
        }
        self.send_signals();
    }
}
