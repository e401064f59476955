//! SIGKILL for the daemon, for monitors and for runc, at moments that nobody chose.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::common::yaml::one;
use crate::common::{Instance, host};
use crate::inject::{Dice, assert_no_double, fake_runc, guard, instance, until_guarded};

const PODS: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];

/// What the manifests say: for each Pod the tag of its script, or that there is none.
struct Churn {
    dice: Dice,
    tags: [Option<u32>; 5],
    next: u32,
}

impl Churn {
    fn new(i: &Instance, seed: u64) -> Self {
        let mut churn = Self { dice: Dice(seed), tags: [None; 5], next: 0 };
        for n in 0..PODS.len() {
            churn.write(i, n);
        }
        churn
    }

    fn write(&mut self, i: &Instance, n: usize) {
        self.next += 1;
        self.tags[n] = Some(self.next);
        self.put(i, n);
    }

    fn put(&self, i: &Instance, n: usize) {
        let tag = self.tags[n].unwrap().to_string();
        i.write_manifest(&format!("{}.yaml", PODS[n]), &one(i, PODS[n], &guard(PODS[n], &tag), &[]));
    }

    /// One change of one manifest, or a killed container.
    fn stir(&mut self, i: &Instance) {
        let n = self.dice.below(PODS.len() as u64) as usize;
        match (self.dice.below(4), self.tags[n]) {
            (0, Some(_)) => {
                i.remove(&format!("{}.yaml", PODS[n]));
                self.tags[n] = None;
            }
            (1, Some(_)) => {
                if let Some(pid) = i.running_pid(PODS[n], "main") {
                    host::signal(pid, Signal::SIGKILL);
                }
            }
            (_, _) => self.write(i, n),
        }
    }

    /// Waits until what runs is what the manifests say.
    fn settle(&self, i: &Instance) {
        for (name, tag) in PODS.iter().zip(self.tags) {
            match tag {
                Some(tag) => until_guarded(i, name, &tag.to_string()),
                None => i.until(&format!("{name} is gone"), |i| i.pod(name).is_none()),
            }
        }
    }
}

#[test]
fn the_daemon_is_killed_thirty_times_while_pods_come_and_go() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "100ms,1s"]);
    let mut churn = Churn::new(&i, 0x5eed_1234);
    for round in 0..30 {
        i.start();
        for _ in 0..=churn.dice.below(3) {
            churn.stir(&i);
            std::thread::sleep(Duration::from_millis(churn.dice.below(150)));
        }
        i.kill9();
        assert_no_double(&i);
        if round % 10 == 9 {
            i.start();
            churn.settle(&i);
            i.kill9();
        }
    }
    i.start();
    churn.settle(&i);
    // What runs now goes on through a last death: adopted, not started again.
    let before: Vec<_> = PODS.iter().map(|p| i.lines(p).len()).collect();
    i.kill9();
    i.start();
    churn.settle(&i);
    assert_eq!(PODS.iter().map(|p| i.lines(p).len()).collect::<Vec<_>>(), before);
    assert_no_double(&i);
}

#[test]
fn monitors_are_killed_while_pods_come_and_go() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "100ms,500ms"]);
    let mut churn = Churn::new(&i, 0xdead_beef);
    i.start();
    for _ in 0..20 {
        churn.stir(&i);
        std::thread::sleep(Duration::from_millis(churn.dice.below(120)));
        let name = PODS[churn.dice.below(5) as usize];
        for (_, record) in i.records(name, "main") {
            if record.end.is_none() && record.monitor.pid > 1 {
                host::signal(record.monitor.pid, Signal::SIGKILL);
            }
        }
    }
    churn.settle(&i);
    assert_no_double(&i);
}

#[test]
fn runc_is_killed_in_the_middle_of_whatever_it_does() {
    let Some(mut i) = instance() else { return };
    i.args(&["--restart-backoff", "50ms,200ms"]);
    // Two of three calls of any verb are cut off within 30 ms of their beginning, for the first sixty calls.
    fake_runc(
        &mut i,
        r#"[ "$verb" = --version ] && exec "$real" "$@"
           echo $verb >>$dir/calls; n=$(wc -l <$dir/calls)
           if [ $n -lt 60 ] && [ $((n % 3)) -ne 0 ]; then
             "$real" "$@" & pid=$!
             sleep 0.0$((n % 4))$((n * 7 % 10)); kill -9 $pid; wait $pid; exit $?
           fi
           exec "$real" "$@""#,
    );
    let mut churn = Churn::new(&i, 0xcafe_f00d);
    i.start();
    for _ in 0..12 {
        churn.stir(&i);
        std::thread::sleep(Duration::from_millis(churn.dice.below(200)));
    }
    churn.settle(&i);
    let calls = std::fs::read_to_string(i.dir.join("calls")).unwrap().lines().count();
    assert!(calls > 20, "runc was called {calls} times");
    assert_no_double(&i);
}
