//! Somebody who writes numbered keys all the time, and remembers which writes were acknowledged.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::SOON;

/// What the keys begin with.
pub const KEYS: &str = "write/";

/// Keys and values.
pub type Pairs = BTreeMap<String, String>;

/// The writer: one write after the other, each by a client of its own that knows all members.
pub struct Writer {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<(usize, Instant)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts one, by this command of etcdctl.
    pub fn start(client: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(Mutex::new(Vec::new()));
        let (stopped, acknowledged) = (stop.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (key, value) = pair(number);
                let mut command = Command::new(&client[0]);
                command.args(&client[1..]).args(["--command-timeout=2s", "put", &key, &value]);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                // One that failed may have been written, or not: nothing was promised.
                if command.status().unwrap().success() {
                    acknowledged.lock().unwrap().push((number, Instant::now()));
                }
            }
        });
        Self { stop, done, thread: Some(thread) }
    }

    /// What was acknowledged until now.
    pub fn acknowledged(&self) -> Pairs {
        self.done.lock().unwrap().iter().map(|(number, _)| pair(*number)).collect()
    }

    /// Waits until this many more writes that are begun from now on are acknowledged.
    pub fn until_more(&self, count: usize, when: &str) {
        // The one that is under way does not count.
        let wanted = self.done.lock().unwrap().len() + count + 1;
        let end = Instant::now() + 2 * SOON;
        while self.done.lock().unwrap().len() < wanted {
            assert!(Instant::now() < end, "writes are acknowledged while {when}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// When the second write since then was acknowledged; the first may have been under way.
    pub fn first_after(&self, then: Instant) -> Instant {
        let done = self.done.lock().unwrap();
        done.iter().filter(|(_, at)| *at > then).nth(1).expect("it was waited for").1
    }

    /// Ends it; what was acknowledged.
    pub fn stop(mut self) -> Pairs {
        self.end();
        self.acknowledged()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "etcdctl can be run");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

fn pair(number: usize) -> (String, String) {
    (format!("{KEYS}{number:06}"), format!("value of {number}"))
}
