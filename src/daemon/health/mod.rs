//! The health endpoint: `/healthz`, which `kubeadm init` polls where a kubelet would be, and `/metrics`.
//!
//! It is served by the loop itself, so an answer is the proof that the loop turns. No socket is ever waited for but in the
//! loop's `poll`, and everything that others can make large or long has a bound. Who comes when all places are taken gets
//! that of the one who has been there longest: clients that do nothing cannot keep out one that asks at once.

pub mod request;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::poll::PollFlags;

use self::request::{MOST_BYTES, answer, asked};
use super::Daemon;
use super::object::phase;
use super::statuses::Statuses;
use crate::core::{ProbeKind, Verdict};
use crate::report::metrics::{self, ContainerMetrics, Metrics, PodMetrics};
use crate::sys::clock;
use crate::warning;

/// So many connections are open at a time, and so many are accepted in one turn of the loop.
const MOST_CONNECTIONS: usize = 16;
/// A connection ends after so many milliseconds, whatever it is doing.
const MOST_MS: u64 = 5_000;
/// What a client sends after its answer is thrown away, up to so many bytes.
const MOST_THROWN_AWAY: usize = 64 * 1024;
/// When nothing can be accepted, for want of descriptors or memory, it is tried again after so many milliseconds.
const REST_MS: u64 = 1_000;

/// The listener and its clients.
#[derive(Debug)]
pub struct Health {
    listener: TcpListener,
    /// The oldest first.
    clients: Vec<Client>,
    /// Nothing is accepted until then (boot clock, milliseconds).
    rests_until: Option<u64>,
    /// That nothing can be accepted has been told.
    told: bool,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    until: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Its request comes.
    Asking(Vec<u8>),
    /// Its answer goes; so much of it is gone.
    Answered(Vec<u8>, usize),
    /// It has its answer and is to close. Closing first, with bytes unread, would take the answer away from it. So many
    /// bytes have been thrown away.
    Leaving(usize),
}

impl Health {
    /// Listens at `address`.
    ///
    /// # Errors
    /// The port is in use, or the host has no such address.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: Vec::new(), rests_until: None, told: false })
    }

    /// What `poll` is to watch, and for what.
    pub fn descriptors(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = self.rests_until.is_none().then(|| (self.listener.as_fd(), PollFlags::POLLIN));
        let clients = self.clients.iter().map(|c| {
            let flags = match c.state {
                State::Asking(_) | State::Leaving(_) => PollFlags::POLLIN,
                State::Answered(..) => PollFlags::POLLOUT,
            };
            (c.stream.as_fd(), flags)
        });
        listener.into_iter().chain(clients)
    }

    /// The next moment at which [`Self::turn`] has something to do by itself (boot clock, milliseconds).
    pub fn deadline(&self) -> Option<u64> {
        self.clients.iter().map(|c| c.until).chain(self.rests_until).min()
    }

    /// Takes in and answers what is there, without waiting; `render` makes the page of metrics.
    pub fn turn(&mut self, now: u64, render: impl Fn() -> String) {
        self.accept(now);
        self.clients.retain_mut(|client| now < client.until && client.turn(&render));
    }

    fn accept(&mut self, now: u64) {
        if self.rests_until.is_some_and(|t| now < t) {
            return;
        }
        self.rests_until = None;
        for _ in 0..MOST_CONNECTIONS {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.told = false;
                    if stream.set_nonblocking(true).is_err() {
                        continue;
                    }
                    if self.clients.len() >= MOST_CONNECTIONS {
                        self.clients.remove(0);
                    }
                    let until = now.saturating_add(MOST_MS);
                    self.clients.push(Client { stream, until, state: State::Asking(Vec::new()) });
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // It was there and has gone again, or another is next in the queue.
                Err(e) if is_of_one(&e) => {}
                // The connection stays in the queue, so `poll` would return at once, for ever.
                Err(e) => {
                    if !std::mem::replace(&mut self.told, true) {
                        warning!("health endpoint: cannot accept: {e}; tried again every second");
                    }
                    self.rests_until = Some(now.saturating_add(REST_MS));
                    return;
                }
            }
        }
    }
}

/// Whether an error of accept(2) tells only of the one connection that it would have been.
fn is_of_one(error: &io::Error) -> bool {
    let network = [
        libc::ECONNABORTED,
        libc::EINTR,
        libc::EPERM,
        libc::EPROTO,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENONET,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
    ];
    error.raw_os_error().is_some_and(|e| network.contains(&e))
}

impl Client {
    /// Goes on as far as it goes without waiting. Returns whether the connection stays.
    fn turn(&mut self, render: &impl Fn() -> String) -> bool {
        // Each state is left at most once, and every pass but the last leaves one or moves bytes of a bounded number.
        loop {
            match self.step(render) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    fn step(&mut self, render: &impl Fn() -> String) -> io::Result<bool> {
        let mut buffer = [0; MOST_BYTES];
        match &mut self.state {
            State::Asking(request) => {
                let room = MOST_BYTES.saturating_sub(request.len());
                let read = self.stream.read(buffer.get_mut(..room).unwrap_or_default())?;
                request.extend_from_slice(buffer.get(..read).unwrap_or_default());
                let answer = answer(asked(request), render);
                if let Some(bytes) = answer {
                    self.state = State::Answered(bytes, 0);
                    return Ok(true);
                }
                Ok(read > 0)
            }
            State::Answered(bytes, gone) => {
                let rest = bytes.get(*gone..).unwrap_or_default();
                if rest.is_empty() {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.state = State::Leaving(0);
                    return Ok(true);
                }
                let written = self.stream.write(rest)?;
                *gone = gone.saturating_add(written);
                Ok(written > 0)
            }
            State::Leaving(thrown) => {
                let read = self.stream.read(&mut buffer)?;
                *thrown = thrown.saturating_add(read);
                Ok(read > 0 && *thrown < MOST_THROWN_AWAY)
            }
        }
    }
}

impl Daemon {
    /// Serves the health endpoint, where there is one.
    pub(super) fn serve_health(&mut self) {
        // Taken out for as long as what it tells of is looked at.
        let Some(mut health) = self.health.take() else { return };
        health.turn(clock::boot_ms(), || metrics::render(&self.metrics()));
        self.health = Some(health);
    }

    fn metrics(&self) -> Metrics {
        let pods = self.world.slots().map(|(key, slot)| {
            let life = slot.life.as_ref();
            let statuses = life.map(Statuses::of).unwrap_or_default();
            PodMetrics {
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
                phase: phase(life, &statuses),
                ready: life.is_some_and(|l| l.ready.0),
                containers: statuses
                    .all()
                    .map(|c| ContainerMetrics {
                        name: c.name.clone(),
                        running: c.state.running.is_some(),
                        restarts: c.restart_count,
                    })
                    .collect(),
            }
        });
        let verdicts = [Verdict::Success, Verdict::Failure, Verdict::Unknown];
        let verdicts = ProbeKind::ALL.iter().flat_map(|kind| {
            verdicts.iter().map(|verdict| {
                let count = self.verdicts.get(&(*kind, word(*verdict))).copied().unwrap_or_default();
                (kind.as_str(), word(*verdict), count)
            })
        });
        Metrics {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: self.engine.name().to_owned(),
            started_unix_ms: self.started_unix_ms,
            pods: pods.collect(),
            refused: self.merged.refusals(),
            verdicts: verdicts.collect(),
            sources: self
                .sources
                .iter()
                .map(|s| (s.standing().shown().to_owned(), s.standing().read_at()))
                .collect(),
        }
    }

    /// Counts the end of a probe.
    pub(super) fn count_verdict(&mut self, kind: ProbeKind, verdict: Verdict) {
        let count = self.verdicts.entry((kind, word(verdict))).or_default();
        *count = count.saturating_add(1);
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "success",
        Verdict::Failure => "failure",
        Verdict::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nix::poll::{PollFd, PollTimeout, poll};

    use super::*;

    fn listening() -> Health {
        Health::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
    }

    fn connect(health: &Health) -> TcpStream {
        let stream = TcpStream::connect(health.listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// Turns as the loop does, until the client has read to the end, or nothing has happened for a second.
    fn reply(health: &mut Health, client: &mut TcpStream, page: &str) -> String {
        let mut all = Vec::new();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            let mut fds: Vec<PollFd<'_>> = health.descriptors().map(|(fd, f)| PollFd::new(fd, f)).collect();
            poll(&mut fds, PollTimeout::from(10_u8)).unwrap();
            health.turn(1_500, || page.to_owned());
            let mut buffer = [0; 64 * 1024];
            match client.read(&mut buffer) {
                Ok(0) => return String::from_utf8(all).unwrap(),
                Ok(n) => all.extend_from_slice(&buffer[..n]),
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock, "{e}"),
            }
        }
        panic!("no end came after {} bytes", all.len());
    }

    #[test]
    fn a_request_that_comes_byte_by_byte_is_answered() {
        let mut health = listening();
        let mut client = connect(&health);
        for byte in b"GET /healthz HTTP/1.1\r\n\r\n" {
            health.turn(0, String::new);
            client.write_all(&[*byte]).unwrap();
        }
        let reply = reply(&mut health, &mut client, "");
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\nok"), "{reply}");
    }

    #[test]
    fn an_answer_that_is_larger_than_any_buffer_arrives_whole_at_a_slow_reader() {
        let mut health = listening();
        let mut client = connect(&health);
        client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let page = "x".repeat(8_000_000) + "end\n";
        let reply = reply(&mut health, &mut client, &page);
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(body == page, "{} of {} bytes came", body.len(), page.len());
    }

    #[test]
    fn whoever_sends_too_much_still_gets_the_answer() {
        let mut health = listening();
        let mut client = connect(&health);
        client.write_all(&[b'x'; 3 * MOST_BYTES]).unwrap();
        let reply = reply(&mut health, &mut client, "");
        assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    }

    #[test]
    fn connections_have_a_deadline_and_their_number_a_bound() {
        let mut health = listening();
        let idle: Vec<TcpStream> = (0..MOST_CONNECTIONS + 4).map(|_| connect(&health)).collect();
        health.turn(1_000, String::new);
        assert_eq!(health.clients.len(), MOST_CONNECTIONS);
        health.turn(1_001, String::new);
        assert_eq!(health.clients.len(), MOST_CONNECTIONS);
        // One that asks at once gets its answer all the same.
        let mut client = connect(&health);
        client.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
        let answer = reply(&mut health, &mut client, "");
        assert!(answer.ends_with("ok"), "{answer}");
        drop(client);
        let mut late = connect(&health);
        health.turn(2_000, String::new);
        assert_eq!(health.deadline(), Some(1_000 + MOST_MS));
        health.turn(1_001 + MOST_MS, String::new);
        assert_eq!((health.clients.len(), health.deadline()), (1, Some(2_000 + MOST_MS)));
        health.turn(2_000 + MOST_MS, String::new);
        assert_eq!((health.clients.len(), health.deadline()), (0, None));
        late.set_nonblocking(false).unwrap();
        assert_eq!(late.read(&mut [0; 1]).unwrap_or(0), 0, "it was closed");
        drop(idle);
    }

    #[test]
    fn a_flood_behind_the_answer_is_not_read_for_ever() {
        let mut health = listening();
        let mut client = connect(&health);
        client.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        let mut sent = 0;
        loop {
            assert!(Instant::now() < end, "{sent} bytes were taken");
            health.turn(0, String::new);
            match client.write(&[b'x'; 16 * 1024]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        assert_eq!(health.clients.len(), 0);
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let first = listening();
        let again = Health::listen(first.listener.local_addr().unwrap());
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
