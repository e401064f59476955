//! Death after every single thing that is done: the daemon, a monitor or a helper kills itself after the first file written,
//! child spawned, mount, unmount, removal … of a scenario, then after the second, and so on until none is left. A service
//! manager starts a dead daemon again. Each time the scenario ends as it does without any death.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use podstrap::sys::doom;

use crate::common::Instance;
use crate::scenario::{self, Starts};

/// No scenario does more than this; one that does would go on for ever.
const MOST: usize = 2000;

/// Instances that work at a time.
const WORKERS: usize = 6;

/// Plays the scenario once, with a death after the n-th thing done. Gives all that was done, and what was started.
fn play(i: &mut Instance, n: usize) -> (Vec<String>, Starts) {
    let done = i.dir.join("done");
    fs::write(&done, "").unwrap();
    i.env = vec![(doom::VARIABLE.to_owned(), format!("{n}:{}", done.display()))];
    let starts = scenario::play(i, &|i| {
        if let Some(status) = i.ended() {
            assert!(status.signal() == Some(9) || status.success(), "the daemon ended with {status}");
            if !status.success() {
                i.launch();
            }
        }
    });
    let lines = fs::read_to_string(&done).unwrap();
    assert_eq!(lines.len() % doom::LINE, 0, "{lines}");
    (lines.lines().map(|l| l.trim_end().to_owned()).collect(), starts)
}

#[test]
fn death_comes_after_everything_that_is_done() {
    if !cfg!(debug_assertions) || std::env::var_os("PODSTRAP_TEST_BINARY").is_some() {
        return eprintln!("a release build does not kill itself");
    }
    let Some(first) = crate::inject::instance() else { return };
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        let work = |mut i: Instance| {
            i.args(&["--restart-backoff", "20ms,200ms"]);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let (done, starts) = play(&mut i, n);
                let clean = scenario::clean_starts();
                if n == 0 || done.len() < n {
                    assert_eq!(starts, clean, "nobody died");
                }
                assert!(done.len() > 100, "only {} things were done: {done:?}", done.len());
                if done.len() < n {
                    return;
                }
                assert!(done.len() < MOST, "{} things were done", done.len());
                let (last, who) = match n.checked_sub(1).and_then(|at| done.get(at)) {
                    Some(last) => (last.as_str(), last.split(' ').next().unwrap_or_default()),
                    None => continue,
                };
                // The end of a container whose monitor is no more is not known, so it is started again; whoever else dies
                // costs no start.
                let more: usize = starts.values().sum::<usize>() - clean.values().sum::<usize>();
                assert!(more <= usize::from(who == "monitor"), "death {n}, after {last}: {starts:?}");
                assert!(
                    clean.iter().all(|(k, v)| starts.get(k) >= Some(v)),
                    "death {n}, after {last}: {starts:?}"
                );
            }
        };
        let others = (1..WORKERS).map(|_| crate::inject::instance().expect("there was one before"));
        for i in others.chain([first]) {
            scope.spawn(move || work(i));
        }
    });
    eprintln!("{} scenarios with a death in {:?}", next.load(Ordering::Relaxed), begun.elapsed());
}
