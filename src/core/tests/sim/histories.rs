//! A hundred thousand histories, in shards that the test harness plays side by side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

use super::Sim;
use super::pods::Pool;

/// Of all shards together. `PODSTRAP_TEST_HISTORIES` plays another number.
const HISTORIES: u64 = 100_000;
const SHARDS: u64 = 4;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}: a number")))
}

/// Plays one history. Returns how often the daemon was killed in it.
fn play(seed: u64, pool: &Rc<Pool>) -> u32 {
    let run = |is_told| {
        let mut sim = Sim::new(seed, pool.clone(), is_told);
        let outcome = catch_unwind(AssertUnwindSafe(|| sim.play(seed)));
        (outcome, sim)
    };
    let (outcome, sim) = run(false);
    if outcome.is_ok() {
        return sim.crashes;
    }
    let (again, sim) = run(true);
    let why = again.expect_err("the same seed is the same history");
    let why = why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    for line in sim.tale.iter().flatten() {
        eprintln!("{line}");
    }
    panic!(
        "seed {seed}: {}; the history stands above, and PODSTRAP_TEST_SEED={seed} plays it alone",
        why.unwrap_or_default()
    );
}

fn shard(of: u64) {
    let pool = Rc::new(Pool::new());
    if let Some(seed) = number("PODSTRAP_TEST_SEED") {
        if seed % SHARDS == of {
            play(seed, &pool);
        }
        return;
    }
    let (began, all) = (Instant::now(), number("PODSTRAP_TEST_HISTORIES").unwrap_or(HISTORIES));
    let seeds: Vec<u64> = (0..all).filter(|seed| seed % SHARDS == of).collect();
    let crashes: u64 = seeds.iter().map(|seed| u64::from(play(*seed, &pool))).sum();
    let seconds = began.elapsed().as_secs_f64();
    let rate = seeds.len() as f64 / seconds;
    println!("{} histories in {seconds:.1} s ({rate:.0} a second), {crashes} daemons killed", seeds.len());
    assert!(crashes > seeds.len() as u64 / 2, "daemons were killed in the middle: {crashes}");
}

#[test]
fn random_histories_keep_the_promises_0() {
    shard(0);
}

#[test]
fn random_histories_keep_the_promises_1() {
    shard(1);
}

#[test]
fn random_histories_keep_the_promises_2() {
    shard(2);
}

#[test]
fn random_histories_keep_the_promises_3() {
    shard(3);
}
