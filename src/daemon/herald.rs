//! What systemd is to hear and when: ready, how the Pods fare, that the daemon lives, that it stops and needs more time.
//!
//! A message that finds the queue full is sent again; one that finds nobody is not. Without `NOTIFY_SOCKET` nothing in here
//! does anything, and nothing wakes the loop.

use std::collections::VecDeque;

use super::Daemon;
use crate::report::line;
use crate::sys::clock;
use crate::sys::notify::{self, Notifier, Sent};
use crate::warning;

/// A full queue is tried again after so many milliseconds.
const AGAIN_MS: u64 = 200;
/// While Pods are being stopped, more time is asked for at such intervals (milliseconds) ...
const EXTEND_EVERY_MS: u64 = 10_000;
/// ... and each time so much of it (microseconds): a message or two may come late.
const EXTEND_BY_US: u64 = EXTEND_EVERY_MS * 1000 * 6;

/// What has been said, and what is to be said.
#[derive(Debug, Default)]
pub struct Herald {
    notifier: Option<Notifier>,
    /// What could not be said yet, in its order.
    unsaid: VecDeque<String>,
    again: Option<u64>,
    status: String,
    is_ready: bool,
    is_stopping: bool,
    watchdog: Option<Watchdog>,
    /// When more time is asked for.
    extend: Option<u64>,
}

/// Signs of life. They go with any turn of the loop that comes in the second half of the time that they have, so that they
/// seldom need a turn of their own.
#[derive(Debug)]
struct Watchdog {
    /// Half of what systemd allows, in milliseconds.
    every: u64,
    /// Milliseconds on the boot clock.
    last: Option<u64>,
}

impl Watchdog {
    fn new(interval_ms: u64) -> Self {
        Self { every: (interval_ms / 2).max(1), last: None }
    }

    fn is_due(&self, now: u64) -> bool {
        self.last.is_none_or(|last| now.saturating_sub(last) >= (self.every / 2).max(1))
    }

    fn deadline(&self) -> u64 {
        self.last.map_or(0, |last| last.saturating_add(self.every))
    }
}

impl Herald {
    /// The herald that the environment asks for. An address that cannot be used is told, and is no error.
    pub fn from_environment() -> Self {
        match Notifier::from_environment() {
            Ok(Some(notifier)) => Self::new(notifier, notify::watchdog_ms()),
            Ok(None) => Self::default(),
            Err(e) => {
                warning!("NOTIFY_SOCKET cannot be used: {e}; nobody is told of the daemon's state");
                Self::default()
            }
        }
    }

    fn new(notifier: Notifier, watchdog_ms: Option<u64>) -> Self {
        Self { notifier: Some(notifier), watchdog: watchdog_ms.map(Watchdog::new), ..Self::default() }
    }

    /// Whether anybody wants to hear anything.
    pub fn is_on(&self) -> bool {
        self.notifier.is_some()
    }

    /// How the Pods fare; said if it is another line than the last one.
    pub fn status(&mut self, line: String) {
        if self.is_on() && line != self.status {
            // An older line that nobody has heard yet need not be heard any more.
            self.unsaid.retain(|message| !message.starts_with("STATUS="));
            self.unsaid.push_back(format!("STATUS={line}"));
            self.status = line;
        }
    }

    /// The loop runs, and every source has been looked at. Said once.
    pub fn ready(&mut self) {
        if self.is_on() && !std::mem::replace(&mut self.is_ready, true) {
            self.unsaid.push_back("READY=1".to_owned());
        }
    }

    /// The sources have been read again, as was asked for at that moment of the monotonic clock (microseconds).
    pub fn reloaded(&mut self, asked_at_us: u64) {
        // While nobody listens, reloads are not kept for later.
        if self.is_on() && self.is_ready && !self.is_stopping && self.unsaid.is_empty() {
            self.unsaid.push_back(format!("RELOADING=1\nMONOTONIC_USEC={asked_at_us}"));
            self.unsaid.push_back("READY=1".to_owned());
        }
    }

    /// The daemon is about to end; from now on it asks for more time as long as it takes.
    pub fn stopping(&mut self) {
        if self.is_on() && !std::mem::replace(&mut self.is_stopping, true) {
            self.unsaid.push_back("STOPPING=1".to_owned());
            self.extend = Some(0);
        }
    }

    /// Says what is to be said by now.
    pub fn turn(&mut self, now: u64) {
        let Some(notifier) = &self.notifier else { return };
        if self.again.is_some_and(|t| now < t) {
            return;
        }
        self.again = None;
        while let Some(message) = self.unsaid.front() {
            if notifier.send(message) == Sent::Full {
                self.again = Some(now.saturating_add(AGAIN_MS));
                return;
            }
            self.unsaid.pop_front();
        }
        if let Some(watchdog) = self.watchdog.as_mut().filter(|w| w.is_due(now)) {
            if notifier.send("WATCHDOG=1") == Sent::Full {
                self.again = Some(now.saturating_add(AGAIN_MS));
                return;
            }
            watchdog.last = Some(now);
        }
        if self.extend.is_some_and(|t| t <= now) {
            if notifier.send(&format!("EXTEND_TIMEOUT_USEC={EXTEND_BY_US}")) == Sent::Full {
                self.again = Some(now.saturating_add(AGAIN_MS));
                return;
            }
            self.extend = Some(now.saturating_add(EXTEND_EVERY_MS));
        }
    }

    /// The next moment at which [`Self::turn`] has something to say by itself (boot clock, milliseconds).
    pub fn deadline(&self) -> Option<u64> {
        match self.again {
            Some(again) => Some(again),
            None => self.watchdog.as_ref().map(Watchdog::deadline).into_iter().chain(self.extend).min(),
        }
    }
}

impl Daemon {
    /// Tells systemd what is new.
    pub(super) fn inform(&mut self) {
        if !self.herald.is_on() {
            return;
        }
        if self.publisher.take_news() {
            let around = line::Around {
                draining: self.world.is_draining(),
                trouble: self.world.trouble(),
                refused: self.merged.refusals(),
                sources: self.publisher.sources(),
            };
            self.herald.status(line::line(self.publisher.briefs(), around));
        }
        // A source that cannot be read must not keep systemd from calling the rest ready.
        if self.sources.iter().all(|s| s.standing().is_synced() || s.standing().error().is_some()) {
            self.herald.ready();
        }
        self.herald.turn(clock::boot_ms());
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn pair(name: &str, watchdog_ms: Option<u64>) -> (Herald, UnixDatagram) {
        let name = format!("podstrap-herald-{name}-{}", std::process::id());
        let listener =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        (Herald::new(Notifier::to(OsStr::new(&format!("@{name}"))).unwrap(), watchdog_ms), listener)
    }

    fn heard(listener: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 1024];
        std::iter::from_fn(|| listener.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()))
            .map(|b| String::from_utf8(b).unwrap())
            .collect()
    }

    #[test]
    fn without_anybody_to_tell_nothing_is_said_and_nothing_is_due() {
        let mut herald = Herald::default();
        herald.ready();
        herald.status("x".into());
        herald.reloaded(1);
        herald.stopping();
        herald.turn(1_000_000);
        assert_eq!((herald.deadline(), herald.unsaid.len()), (None, 0));
    }

    #[test]
    fn each_thing_is_said_once_and_in_its_order() {
        let (mut herald, listener) = pair("order", None);
        herald.reloaded(5);
        herald.status("no Pods".into());
        herald.ready();
        herald.turn(1);
        herald.ready();
        herald.status("no Pods".into());
        herald.turn(2);
        assert_eq!(heard(&listener), ["STATUS=no Pods", "READY=1"]);
        assert_eq!(herald.deadline(), None, "idle");
        herald.reloaded(42);
        herald.turn(3);
        assert_eq!(heard(&listener), ["RELOADING=1\nMONOTONIC_USEC=42", "READY=1"]);
        herald.stopping();
        herald.stopping();
        herald.reloaded(43);
        herald.turn(10);
        assert_eq!(heard(&listener), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=60000000"]);
        assert_eq!(herald.deadline(), Some(10 + EXTEND_EVERY_MS));
        herald.turn(10 + EXTEND_EVERY_MS - 1);
        assert_eq!(heard(&listener), [""; 0]);
        herald.turn(10 + EXTEND_EVERY_MS);
        assert_eq!(heard(&listener), ["EXTEND_TIMEOUT_USEC=60000000"]);
    }

    #[test]
    fn signs_of_life_come_in_half_the_time_and_ride_along_with_other_turns() {
        let (mut herald, listener) = pair("watchdog", Some(4_000));
        assert_eq!(herald.deadline(), Some(0));
        herald.turn(10_000);
        assert_eq!(heard(&listener), ["WATCHDOG=1"]);
        assert_eq!(herald.deadline(), Some(12_000));
        herald.turn(10_999);
        assert_eq!(heard(&listener), [""; 0]);
        herald.turn(11_000);
        assert_eq!((heard(&listener).len(), herald.deadline()), (1, Some(13_000)));
        herald.turn(13_000);
        assert_eq!((heard(&listener).len(), herald.deadline()), (1, Some(15_000)));
    }

    #[test]
    fn a_full_queue_delays_and_loses_nothing_but_old_status_lines() {
        let (mut herald, listener) = pair("full", Some(1_000));
        let notifier = herald.notifier.as_ref().unwrap();
        while notifier.send("X=1") != Sent::Full {}
        herald.status("old".into());
        herald.ready();
        herald.turn(100);
        herald.status("new".into());
        herald.turn(101);
        assert_eq!(herald.deadline(), Some(100 + AGAIN_MS));
        assert!(heard(&listener).iter().all(|m| m == "X=1"));
        herald.turn(102);
        assert_eq!(heard(&listener), [""; 0], "not before its time");
        herald.turn(300);
        assert_eq!(heard(&listener), ["READY=1", "STATUS=new", "WATCHDOG=1"]);
    }
}
