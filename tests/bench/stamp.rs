//! The contained process of the benchmarks, and what it says: when it was started, by its own clock.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use podstrap::paths::fnv1a;
use podstrap::sys::signals::Signals;

use crate::common::image::{in_tree, pack};

/// The name of its image.
pub const IMAGE: &str = "localhost/stamp:bench";

/// How long anything may take that is waited for.
const LONG: Duration = Duration::from_secs(300);

thread_local! {
    static INTERRUPTS: RefCell<Option<Signals>> = const { RefCell::new(None) };
}

/// From now on an interrupt does not end this process on the spot, but at its next look at the clock, as a failure does:
/// daemons, Pods and mounts are taken away.
pub fn heed_interrupts() {
    let signals = Signals::block(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]).unwrap();
    INTERRUPTS.set(Some(signals));
}

fn heed() {
    let seen = INTERRUPTS.with_borrow_mut(|s| s.as_mut().map(Signals::drain).unwrap_or_default());
    assert!(seen.is_empty() || std::thread::panicking(), "interrupted ({})", seen[0]);
}

/// Nanoseconds by the clock that the contained process reads.
pub fn now() -> u64 {
    heed();
    let t = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    t.tv_sec().unsigned_abs() * 1_000_000_000 + t.tv_nsec().unsigned_abs()
}

/// An archive with the program alone in it, built and packed once in a target directory.
pub fn image() -> PathBuf {
    let source = in_tree("tests/bench/stamp.c");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let archive = dir.join(format!("stamp-{:016x}.tar", fnv1a(&fs::read(&source).unwrap())));
    if !archive.exists() {
        let root = dir.join("stamp-root");
        fs::create_dir_all(&root).unwrap();
        let built = Command::new("cc")
            .args(["-static", "-Os", "-s", "-Wall", "-Werror", "-o"])
            .arg(root.join("stamp"))
            .arg(&source)
            .status()
            .unwrap();
        assert!(built.success(), "{} cannot be compiled", source.display());
        pack(&archive, IMAGE, &root);
        fs::remove_dir_all(&root).unwrap();
    }
    archive
}

/// One line of what was said.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Who.
    pub name: String,
    /// What: `start`, `exit`, `written`.
    pub word: String,
    /// When, in nanoseconds.
    pub at: u64,
}

/// The file that is written to by all containers that have a directory as /shared.
#[derive(Debug)]
pub struct Stamps {
    file: PathBuf,
    events: Inotify,
}

impl Stamps {
    /// That of this directory.
    pub fn of(shared: &Path) -> Self {
        let file = shared.join("stamps");
        fs::write(&file, "").unwrap();
        let events = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).unwrap();
        events.add_watch(&file, AddWatchFlags::IN_MODIFY).unwrap();
        Self { file, events }
    }

    /// All lines.
    pub fn all(&self) -> Vec<Stamp> {
        let text = fs::read_to_string(&self.file).unwrap();
        let stamp = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let (name, word) = (words.next()?, words.next()?);
            Some(Stamp { name, word, at: words.next()?.parse().ok()? })
        };
        text.lines().filter_map(stamp).collect()
    }

    /// Forgets them.
    pub fn clear(&self) {
        fs::write(&self.file, "").unwrap();
    }

    /// Waits until so many have said a word, and gives the time of the last one.
    pub fn count(&self, word: &str, n: usize) -> u64 {
        self.until(&format!("{n} have said `{word}`"), |stamps| {
            let mut times: Vec<u64> = stamps.iter().filter(|s| s.word == word).map(|s| s.at).collect();
            times.sort_unstable();
            times.get(n.wrapping_sub(1)).copied()
        })
    }

    /// Waits until somebody has said a word for the n-th time (from 1), and gives the time.
    pub fn nth(&self, name: &str, word: &str, n: usize) -> u64 {
        self.until(&format!("{name} has said `{word}` {n} times"), |stamps| {
            stamps.iter().filter(|s| s.name == name && s.word == word).nth(n - 1).map(|s| s.at)
        })
    }

    /// Sleeps until something is written, however often it takes; who writes is not disturbed by any looking.
    fn until(&self, what: &str, found: impl Fn(&[Stamp]) -> Option<u64>) -> u64 {
        let end = Instant::now() + LONG;
        loop {
            if let Some(at) = found(&self.all()) {
                return at;
            }
            assert!(Instant::now() < end, "not within {LONG:?}: {what}");
            wait(&self.events);
        }
    }
}

/// Waits for an event, for a second at most, and takes all that are there.
pub fn wait(events: &Inotify) {
    heed();
    let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(events), PollFlags::POLLIN)];
    let _ = poll(&mut fds, PollTimeout::from(1000_u16));
    while events.read_events().is_ok_and(|e| !e.is_empty()) {}
}
