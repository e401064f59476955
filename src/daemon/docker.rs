//! Keeping in touch with docker's daemon: one `docker events` child tells what happens, and a look at everything follows each
//! time that it has answered again. While it does not answer, nothing is begun; what runs is watched through its own pidfd.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use super::Daemon;
use super::jobs::Purpose;
use crate::command::{CommandLine, SELF};
use crate::core::Event;
use crate::helper::look::LookSpec;
use crate::helper::sandbox::Sandbox;
use crate::monitor::record::ProcessId;
use crate::pod::Generation;
use crate::runtime::docker::{self, Docker, events::Happening};
use crate::runtime::engine::Engine;
use crate::sys::spawn::{ExitStatus, Output};
use crate::sys::{clock, process};
use crate::{info, warning};

/// A docker that does not answer is asked again after this many milliseconds, doubling …
const AGAIN_MS: u64 = 1_000;
/// … up to this many.
const AGAIN_MAX_MS: u64 = 2_000;
/// Events that end by themselves are asked for again at least this often, in milliseconds.
const LISTEN_MAX_MS: u64 = 60_000;
/// A look may take this long, in milliseconds: docker has a minute to answer it, containers that nobody knows have another
/// to end, and all that it asks has a deadline of its own.
const LOOK_MS: u64 = 180_000;
/// A line longer than this is no event.
const LINE_MAX: usize = 1 << 20;

/// What the daemon knows of docker.
#[derive(Debug, Default)]
pub struct DockerDesk {
    events: Option<Lines>,
    /// What was said last that is no event: why there are none.
    complaint: String,
    /// When to ask again (boot clock, milliseconds).
    again: Option<u64>,
    pause: u64,
    /// docker does not answer, or has not yet.
    away: bool,
    /// When to listen to its events again, and the pause after the next end of them.
    listen_at: Option<u64>,
    listen_pause: u64,
    listening_since: u64,
    /// Nobody has listened for a while, and what happened then is not known yet.
    missed: bool,
    /// Something failed that only a docker that does not answer makes fail, or it is time: look.
    look_at: Option<u64>,
    /// Pause containers.
    holders: BTreeMap<Generation, Holder>,
}

/// The output of a child, in lines.
#[derive(Debug)]
struct Lines {
    pipe: File,
    pending: Vec<u8>,
}

impl Lines {
    /// What is there now; and whether more may come.
    fn read(&mut self) -> (Vec<String>, bool) {
        let mut open = true;
        let mut buffer = [0; 16 * 1024];
        for _ in 0..64 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => {
                    open = false;
                    break;
                }
                Ok(n) => self.pending.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    open = false;
                    break;
                }
            }
        }
        let whole = self.pending.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let rest = self.pending.split_off(whole);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = if rest.len() > LINE_MAX { Vec::new() } else { rest };
        (text.lines().map(str::to_owned).collect(), open)
    }
}

impl DockerDesk {
    /// The next moment at which something is due here.
    pub fn deadline(&self) -> Option<u64> {
        let at_once = self.holders.values().any(|h| matches!(h, Holder::Dead)).then_some(0);
        let listen = self.listen_at.filter(|_| !self.away);
        self.again.into_iter().chain(self.look_at).chain(listen).chain(at_once).min()
    }

    /// Whether docker's events were listened to from then (boot clock, milliseconds) until now.
    pub fn has_listened_since(&self, since: u64) -> bool {
        self.events.is_some() && self.listening_since <= since
    }

    /// The descriptors to poll.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let events = self.events.iter().map(|e| e.pipe.as_fd());
        events.chain(self.holders.values().filter_map(|holder| match holder {
            Holder::Watched(fd) => Some(fd.as_fd()),
            Holder::Unseen(_) | Holder::Dead => None,
        }))
    }
}

/// The process, if it is still that one and has not ended. An error (no descriptor is to be had) tells neither.
pub fn living(process: ProcessId) -> io::Result<Option<OwnedFd>> {
    if process.pid <= 0 || process.start_ticks == 0 {
        return Ok(None);
    }
    let fd = match process::pidfd_open(process.pid) {
        Ok(fd) => fd,
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(e) => return Err(e),
    };
    // Asked after the descriptor was opened: it cannot come to mean another process any more.
    let same = process::start_ticks(process.pid)? == Some(process.start_ticks);
    Ok((same && !has_ended(&fd)).then_some(fd))
}

fn has_ended(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// The first process of a pause container.
#[derive(Debug)]
enum Holder {
    /// Its pidfd.
    Watched(OwnedFd),
    /// It could not be looked at yet.
    Unseen(ProcessId),
    /// It was found dead.
    Dead,
}

impl Holder {
    fn of(process: ProcessId) -> Self {
        match living(process) {
            Ok(Some(fd)) => Self::Watched(fd),
            Ok(None) => Self::Dead,
            Err(_) => Self::Unseen(process),
        }
    }
}

impl Daemon {
    /// docker, if that runs the containers.
    pub(super) fn docker(&self) -> Option<&Docker> {
        self.engine.docker()
    }

    /// Begins to listen, and looks.
    pub(super) fn docker_at_boot(&mut self) {
        if self.docker().is_none() {
            return;
        }
        self.trouble(Some("docker has not answered yet".to_owned()));
        self.listen();
        self.look();
    }

    fn trouble(&mut self, trouble: Option<String>) {
        self.docker.away = trouble.is_some();
        self.publisher.set_trouble(trouble.clone());
        self.events.push_back(Event::Runtime { trouble });
    }

    fn listen(&mut self) {
        let Some(line) = self.docker().map(|docker| docker.events(clock::unix_ms())) else { return };
        self.docker.listening_since = clock::boot_ms();
        let started = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from).and_then(|(read, write)| {
            fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            let errors = write.try_clone()?;
            self.jobs.start_to(Purpose::Events, &line, Output::To(write, errors))?;
            Ok(read)
        });
        match started {
            Ok(read) => {
                self.docker.events = Some(Lines { pipe: File::from(read), pending: Vec::new() });
            }
            Err(e) => {
                self.docker.listen_at = Some(clock::boot_ms().saturating_add(LISTEN_MAX_MS));
                self.docker_is_away(format!("docker events cannot be started: {e}"));
            }
        }
    }

    fn look(&mut self) {
        self.docker.look_at = None;
        let Some(docker) = self.docker().cloned() else { return };
        if self.jobs.any(|p| *p == Purpose::Look) {
            return;
        }
        let spec = LookSpec {
            docker,
            roots: self.config.roots.clone(),
            log_max_bytes: self.config.log_max_bytes,
            log_max_files: self.config.log_max_files,
        };
        let started = serde_json::to_vec(&spec).map_err(io::Error::from).and_then(|spec| {
            let line = CommandLine::new(SELF).arg("look").stdin(spec).deadline(LOOK_MS);
            self.jobs.start(Purpose::Look, &line, true)
        });
        if let Err(e) = started {
            self.docker_is_away(format!("a look at docker cannot be started: {e}"));
        }
    }

    /// Something has failed as it does when docker does not answer.
    pub(super) fn look_soon(&mut self) {
        if self.docker().is_some() && self.docker.again.is_none() {
            self.docker.look_at = Some(0);
        }
    }

    fn docker_is_away(&mut self, why: String) {
        if self.is_new("docker".to_owned(), &why) {
            warning!("docker does not answer: {why}; its containers go on, nothing is begun until it does");
        }
        self.docker.pause = (self.docker.pause * 2).clamp(AGAIN_MS, AGAIN_MAX_MS);
        self.docker.again = Some(clock::boot_ms().saturating_add(self.docker.pause));
        self.trouble(Some(format!("docker does not answer: {why}")));
    }

    /// A look has ended.
    pub(super) fn looked(&mut self, status: ExitStatus, output: &str, overdue: bool) {
        if !status.success() {
            let why = if overdue { "it took too long" } else { output.lines().last().unwrap_or_default() };
            return self.docker_is_away(why.to_owned());
        }
        let mut lines = output.lines();
        if let (Engine::Docker(docker), Some(driver)) = (&mut self.engine, lines.next()) {
            docker.cgroups = docker::parse_info(driver);
        }
        let lines: Vec<&str> = lines.collect();
        // What cannot be removed now cannot be at the next look either.
        if !lines.is_empty() && self.is_new("containers that nobody knows".to_owned(), &lines.join("\n")) {
            lines.iter().for_each(|line| warning!("{line}"));
        }
        if self.said.remove("docker").is_some() {
            info!("docker answers again");
        }
        self.docker.pause = 0;
        self.docker.again = None;
        self.docker.look_at = Some(clock::boot_ms().saturating_add(self.config.rescan_ms));
        let missed = std::mem::take(&mut self.docker.missed);
        if self.docker.away {
            self.trouble(None);
        } else if !missed {
            return;
        }
        self.images_changed();
    }

    /// The child that tells of events has ended: docker's daemon has, or has been started anew.
    pub(super) fn events_ended(&mut self, status: ExitStatus) {
        self.read_events();
        self.docker.events = None;
        // Whether docker answers a look will tell. One that does and has no events to tell is asked for them less and less
        // often; the ends of containers are seen without.
        let now = clock::boot_ms();
        let lived = now.saturating_sub(self.docker.listening_since);
        let former = if lived > LISTEN_MAX_MS { 0 } else { self.docker.listen_pause };
        self.docker.listen_pause = (former * 2).clamp(AGAIN_MS, LISTEN_MAX_MS);
        self.docker.listen_at = Some(now.saturating_add(self.docker.listen_pause));
        if !self.docker.away && self.is_new("docker events".to_owned(), &self.docker.complaint.clone()) {
            let said = docker::complaint(&self.docker.complaint);
            warning!("docker events has ended ({status}): {said}; it is started again");
        }
        self.look_soon();
    }

    /// Takes in what docker tells, the ends of pause containers, and what is due.
    pub(super) fn docker_turn(&mut self) {
        // Also where another program runs the containers now: an earlier daemon may have left some of docker's.
        self.holders_ended();
        if self.docker().is_none() {
            return;
        }
        self.read_events();
        self.words_overdue();
        let now = clock::boot_ms();
        if !self.docker.away && self.docker.listen_at.is_some_and(|t| t <= now) {
            self.docker.listen_at = None;
            self.docker.missed = true;
            self.listen();
            self.look_soon();
        }
        if self.docker.again.is_some_and(|t| t <= now) {
            self.docker.again = None;
            self.look();
        }
        if self.docker.look_at.is_some_and(|t| t <= now) {
            self.look();
        }
    }

    fn read_events(&mut self) {
        let Some(events) = &mut self.docker.events else { return };
        let (lines, open) = events.read();
        if !open {
            self.docker.events = None;
        }
        let mut images = false;
        for line in lines {
            match docker::events::parse(&line) {
                Some(Happening::Images) => images = true,
                Some(Happening::Container { run_dir, id, container, fate }) => {
                    if Path::new(&run_dir) == self.config.roots.run {
                        self.docker_told_of(&id, &container, fate);
                    }
                }
                None => self.docker.complaint = line,
            }
        }
        if images {
            self.images_changed();
        }
    }

    /// The process that holds a Pod's namespaces is watched from now on.
    pub(super) fn watch_holder(&mut self, generation: &Generation, sandbox: &Sandbox) {
        if sandbox.container.is_none() {
            return;
        }
        let process = sandbox.pause.map(|p| ProcessId { pid: p.pid, start_ticks: p.start_ticks });
        self.docker.holders.insert(generation.clone(), process.map_or(Holder::Dead, Holder::of));
    }

    /// It is not watched any more: it is about to be ended.
    pub(super) fn forget_holder(&mut self, generation: &Generation) {
        self.docker.holders.remove(generation);
    }

    fn holders_ended(&mut self) {
        for holder in self.docker.holders.values_mut() {
            if let Holder::Unseen(process) = holder {
                *holder = Holder::of(*process);
            }
        }
        let is_dead = |holder: &Holder| match holder {
            Holder::Watched(fd) => has_ended(fd),
            Holder::Unseen(_) => false,
            Holder::Dead => true,
        };
        let ended: Vec<Generation> =
            self.docker.holders.iter().filter(|(_, h)| is_dead(h)).map(|(g, _)| g.clone()).collect();
        for generation in ended {
            self.docker.holders.remove(&generation);
            warning!(
                "{generation}: the container that holds the Pod's namespaces has ended: its containers are started anew"
            );
            self.events.push_back(Event::SandboxLost { generation });
        }
    }
}
